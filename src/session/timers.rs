//! Deadlines of a session, in one table.
//!
//! Lives here: what runs when, and when it runs out. Not here: what happens then (`mod.rs`).

use serde::{Deserialize, Serialize};

use super::effect::Millis;
use super::{Settings, Sides};

/// How long the other side has, once one side has closed, to say its last words (milliseconds). Not configurable: it only
/// bounds what a vanished peer can hold.
pub const HALF_CLOSED: u64 = 30_000;

/// How long a transfer may take without a word on the control connection: a week. The data connection's own limits are the
/// firewall's; this is only so that no session lasts for ever, whatever its peers leave open.
pub const TRANSFER: u64 = 7 * 24 * 3_600_000;

/// What ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// The pinhole was not used; the kernel has closed it by itself.
    Pinhole,
    /// Nobody logged in.
    Login,
    /// Nothing happened.
    Idle,
    /// One side closed, the other did not follow.
    HalfClosed,
}

/// The deadlines, and what they are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// When the login must be done; `None` once it is.
    pub login: Option<Millis>,
    /// When the pinhole in force gives up waiting.
    pub pinhole: Option<Millis>,
    /// When a side last said something.
    last_activity: Millis,
}

impl Timers {
    /// All as at the start of a session.
    pub fn new(settings: &Settings, now: Millis) -> Self {
        let mut timers = Self { login: None, pinhole: None, last_activity: now };
        timers.await_login(settings);
        timers
    }

    /// A side said something.
    pub fn activity(&mut self, now: Millis) {
        self.last_activity = now;
    }

    /// The login begins, or begins again (REIN).
    pub fn await_login(&mut self, settings: &Settings) {
        self.login = Some(Millis(self.last_activity.0.saturating_add(settings.login_timeout)));
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self, settings: &Settings, transferring: bool, closed: Sides) -> Option<Millis> {
        self.all(settings, transferring, closed).into_iter().flatten().map(|(at, _)| at).min()
    }

    /// What has run out by `now`, the earliest first.
    pub(super) fn expired(&self, settings: &Settings, transferring: bool, closed: Sides, now: Millis) -> Option<Timer> {
        let all = self.all(settings, transferring, closed);
        all.into_iter().flatten().filter(|(at, _)| *at <= now).min_by_key(|(at, _)| *at).map(|(_, timer)| timer)
    }

    fn all(&self, settings: &Settings, transferring: bool, closed: Sides) -> [Option<(Millis, Timer)>; 4] {
        let after = |span: u64| Millis(self.last_activity.0.saturating_add(span));
        // RFC 1123 §4.1.3.2, RFC 6384 §12: a session with a transfer under way is not idle, however quiet its control
        // connection is; nor is its pinhole unused.
        let quiet = !transferring;
        // A server that has closed will not end its transfer. One whose client has closed may, but not take for ever.
        let half_closed = match (closed.client, closed.server) {
            (_, true) => Some(HALF_CLOSED),
            (true, false) if transferring => Some(settings.idle_timeout),
            (true, false) => Some(HALF_CLOSED),
            (false, false) => None,
        };
        [
            self.login.map(|at| (at, Timer::Login)),
            self.pinhole.filter(|_| quiet).map(|at| (at, Timer::Pinhole)),
            Some((after(if quiet { settings.idle_timeout } else { TRANSFER }), Timer::Idle)),
            half_closed.map(|span| (after(span), Timer::HalfClosed)),
        ]
    }
}
