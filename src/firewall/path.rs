//! Path: the way of a listener's data connections.
//!
//! Lives here: [`DataPath`], who opens pinholes and who tells what becomes of them, as a session sees both. Below it: `behind` (the relay
//! behind a packet filter), `joint` (client and server in different modes). Not here: when a pinhole is wanted (`session`), how one is
//! opened (`worker` and the backends).

mod behind;
mod joint;

use std::sync::Arc;
use std::time::Duration;

use self::behind::Front;
use super::tracking::Follow;
use super::worker::{Firewall, Opening, RangeOpening};
use super::{Error, ErrorKind, Habits, Reset, no_ranges, relay};
use crate::pinhole::{Joint, RangeRequest, Request, SessionId};

/// The way of data connections. Clones are the same way.
#[derive(Clone, Debug)]
pub struct DataPath {
    firewall: Firewall,
    tracker: Option<Arc<dyn Follow>>,
    /// Where data connections are relayed: `firewall` is the relay's.
    relay: Option<Relayed>,
}

/// What the relay has besides.
#[derive(Clone, Debug)]
struct Relayed {
    /// Who dials.
    dialler: relay::Tracker,
    /// What leads to it, where it is behind a packet filter.
    front: Option<Front>,
}

impl DataPath {
    /// Through the packet filter. `tracker` follows them, where that can be done.
    pub fn new(firewall: Firewall, tracker: Option<Arc<dyn Follow>>) -> Self {
        Self { firewall, tracker, relay: None }
    }

    /// Through the relay, whose backend `firewall` has. `followed`: whether sessions want to know what becomes of them.
    pub fn relay(firewall: Firewall, relay: relay::Tracker, followed: bool) -> Self {
        let tracker = followed.then(|| Arc::new(relay.clone()) as Arc<dyn Follow>);
        Self { firewall, tracker, relay: Some(Relayed { dialler: relay, front: None }) }
    }

    /// The same, whose sockets packets reach and leave by a packet filter: so that its peers see the addresses that they would see
    /// without it.
    #[must_use]
    pub fn behind(mut self, filter: Firewall) -> Self {
        if let Some(relay) = &mut self.relay {
            relay.front = Some(Front::new(filter));
        }
        self
    }

    /// Asks for a pinhole for a session. Blocks for as long as one change takes, if at all.
    pub fn open(&self, session: SessionId, request: Request) -> Opening {
        match self.front() {
            None => self.firewall.open(session, request),
            Some(front) => front.open(&self.firewall, session, request),
        }
    }

    /// Asks for a data connection of two legs that both dial or are both dialled. No packet filter can make one: it refuses.
    pub fn join(&self, session: SessionId, joint: Joint) -> Opening {
        if let Some(relay) = &self.relay {
            return relay.join(&self.firewall, session, joint);
        }
        let text = format!(
            "{} cannot join two data connections, as data.server_mode asks for where client and server are in different modes; \
             use as-client",
            self.name()
        );
        Opening::refused(Error::new(ErrorKind::Unsupported, text))
    }

    /// From now on connecting to a target may take so long, where the relay does that.
    pub fn connect_within(&self, limit: Duration) {
        if let Some(relay) = &self.relay {
            relay.dialler.connect_within(limit);
        }
    }

    /// Asks for a range of ports. Never blocks. Only packet filters can: data connections that cannot be read are not relayed either.
    pub fn open_range(&self, range: RangeRequest) -> RangeOpening {
        if self.relay.is_some() {
            return RangeOpening::refused(no_ranges("the relay"));
        }
        self.firewall.open_range(range)
    }

    /// Ends a live data connection, after what was asked for before: drop its lease first. Never blocks.
    pub fn reset(&self, reset: Reset) {
        self.firewall.reset(reset);
    }

    /// Who tells what becomes of data connections, where somebody does.
    pub fn tracker(&self) -> Option<&Arc<dyn Follow>> {
        self.tracker.as_ref()
    }

    /// The word of the backend for logs and metrics.
    pub fn name(&self) -> &'static str {
        self.firewall.backend_name()
    }

    /// What the backend can do by itself.
    pub fn habits(&self) -> Habits {
        let own = self.firewall.habits();
        match self.front() {
            None => own,
            Some(front) => Habits { one_shot: own.one_shot && front.is_one_shot(), ..own },
        }
    }

    /// Data connections end here and begin anew, so they can lead from one address family to the other.
    pub fn terminates(&self) -> bool {
        self.relay.is_some()
    }

    /// Entrances can only be addresses of this host: no packet filter brings here what is sent to others.
    pub fn own_addresses_only(&self) -> bool {
        self.habits().listens && self.front().is_none()
    }

    /// Closes everything and ends. Blocks until that is done. Doing so twice is fine.
    ///
    /// # Errors
    /// What the backend says; or its thread had died before.
    pub fn stop(&self) -> Result<(), Error> {
        if let Some(tracker) = &self.tracker {
            tracker.stop();
        }
        let stopped = self.firewall.stop();
        self.front().map_or(Ok(()), Front::stop).and(stopped)
    }

    fn front(&self) -> Option<&Front> {
        self.relay.as_ref()?.front.as_ref()
    }
}
