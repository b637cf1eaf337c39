//! The simulation's firewall: it takes its time, grants or refuses, and holds what it granted until told otherwise.
//!
//! Lives here: [`Firewall`] and the rules that every request must keep, whoever talks. Not here: when it answers (`world`).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ftpgate::pinhole::{Announcement, EntrancePort, Request};
use ftpgate::session::effect::PinholeId;
use ftpgate::session::{Ends, Settings};

use super::random::Random;

/// Requests that wait, and pinholes that are open.
#[derive(Default)]
pub struct Firewall {
    waiting: Vec<(PinholeId, Request)>,
    open: BTreeMap<PinholeId, (Request, u16)>,
    last: Option<PinholeId>,
}

/// Its answer.
pub enum Answer {
    /// In force at this port.
    Granted(PinholeId, u16),
    /// Not possible.
    Refused(PinholeId),
}

impl Firewall {
    /// A request of the session: is it one that may ever be made?
    pub fn ask(&mut self, id: PinholeId, request: Request, ends: &Ends, settings: &Settings) {
        assert!(self.last.is_none_or(|last| last < id), "the number {id:?} was used before");
        self.last = Some(id);
        let (client, server) = (ends.client.ip(), ends.server.ip());
        let (initiator, target, entrance, source) = if request.announcement.is_active() {
            (server, client, ends.source.ip(), ends.original.ip())
        } else {
            (client, server, ends.entrance.unwrap_or(ends.original.ip()), ends.source.ip())
        };
        assert_eq!(request.initiator, initiator, "who dials: {request:?}");
        assert_eq!(request.target.ip(), target, "a pinhole to a host that is not a peer: {request:?}");
        assert_eq!(request.entrance, entrance, "{request:?}");
        assert_eq!(request.source, source, "{request:?}");
        assert!(request.target.port() >= 1024, "a pinhole below 1024: {request:?}");
        assert_eq!(request.lifetime, Duration::from_millis(settings.pinhole_timeout));
        let fixed = (entrance == target).then(|| EntrancePort::Fixed(request.target.port()));
        assert_eq!(request.entrance_port, fixed.unwrap_or(EntrancePort::Any), "{request:?}");
        self.waiting.push((id, request));
    }

    /// The session wants it no more.
    pub fn close(&mut self, id: PinholeId) {
        assert!(self.open.remove(&id).is_some(), "{id:?} is closed and was not open");
    }

    /// The session is over: the driver drops every lease, and nobody waits for an answer.
    pub fn drop_all(&mut self) {
        self.waiting.clear();
        self.open.clear();
    }

    /// Answers one of those that wait, any of them.
    pub fn answer(&mut self, random: &mut Random) -> Option<Answer> {
        if self.waiting.is_empty() {
            return None;
        }
        let (id, request) = self.waiting.swap_remove(random.below(self.waiting.len()));
        if random.once_in(8) {
            return Some(Answer::Refused(id));
        }
        let port = match request.entrance_port {
            EntrancePort::Fixed(port) => port,
            EntrancePort::Any => 49_152 + u16::try_from(random.below(16_384)).unwrap(),
        };
        self.open.insert(id, (request, port));
        Some(Answer::Granted(id, port))
    }

    /// Whether nothing waits.
    pub fn is_quiet(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, and what is open.
    pub fn ids(&self) -> (Vec<u32>, Vec<u32>) {
        let mut waiting: Vec<u32> = self.waiting.iter().map(|(id, _)| id.0).collect();
        waiting.sort_unstable();
        (waiting, self.open.keys().map(|id| id.0).collect())
    }

    /// Whether a pinhole is open that this announcement names, or one that means the same where families differ. A 229 names a
    /// port only.
    pub fn has(
        &self,
        announcement: Announcement,
        named: SocketAddr,
        address: impl Fn(&Request) -> std::net::IpAddr,
    ) -> bool {
        self.open
            .values()
            .any(|(request, port)| same(request, announcement) && SocketAddr::new(address(request), *port) == named)
    }

    /// Whether an extended passive pinhole is open at this port.
    pub fn has_extended(&self, named: u16) -> bool {
        self.open.values().any(|(request, port)| same(request, Announcement::Epsv) && *port == named)
    }
}

fn same(request: &Request, announced: Announcement) -> bool {
    if request.initiator.is_ipv6() == request.target.is_ipv6() {
        return request.announcement == announced;
    }
    // The client knows a passive one by its own word, the server an active one by its own.
    let active = request.announcement.is_active();
    active == announced.is_active() && (active || request.announcement == announced)
}
