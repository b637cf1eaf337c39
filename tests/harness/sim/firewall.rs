//! The simulation's firewall: it takes its time, grants or refuses, and holds what it granted until told otherwise.
//!
//! Lives here: [`Firewall`] and the rules that every request must keep, whoever talks. Not here: when it answers (`world`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ftpgate::pinhole::{Announcement, EntrancePort, Joint, Leg, Protection, Request};
use ftpgate::session::effect::PinholeId;
use ftpgate::session::{Ends, ServerMode, Settings};

use super::random::Random;

/// What a session can ask for.
#[derive(Clone, Copy)]
enum Wanted {
    Pinhole(Request),
    Joint(Joint),
}

/// Requests that wait, and pinholes that are open.
#[derive(Default)]
pub struct Firewall {
    waiting: Vec<(PinholeId, Wanted)>,
    /// With the port that the client dials and the one that the server dials, if either does.
    open: BTreeMap<PinholeId, (Wanted, u16, u16)>,
    last: Option<PinholeId>,
}

/// Its answer.
pub enum Answer {
    /// In force at this port.
    Granted(PinholeId, u16),
    /// It stands, with the ports for client and server.
    Joined(PinholeId, u16, u16),
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
            (client, server, ends.entrance(), ends.source.ip())
        };
        assert_eq!(request.initiator, initiator, "who dials: {request:?}");
        assert_eq!(request.target.ip(), target, "a pinhole to a host that is not a peer: {request:?}");
        assert_eq!(request.entrance, entrance, "{request:?}");
        assert_eq!(request.source, source, "{request:?}");
        assert!(request.target.port() >= 1024, "a pinhole below 1024: {request:?}");
        assert_eq!(request.lifetime, Duration::from_millis(settings.pinhole_timeout));
        let fixed = (entrance == target).then(|| EntrancePort::Fixed(request.target.port()));
        assert_eq!(request.entrance_port, fixed.unwrap_or(EntrancePort::Any), "{request:?}");
        self.waiting.push((id, Wanted::Pinhole(request)));
    }

    /// A joint is asked for: between these two, and only where they are in different modes.
    pub fn ask_joint(&mut self, id: PinholeId, joint: Joint, ends: &Ends, settings: &Settings) {
        assert!(self.last.is_none_or(|last| last < id), "the number {id:?} was used before");
        self.last = Some(id);
        let ok = match (joint.client, joint.server, settings.server_mode) {
            (Leg::Dial { target, source }, Leg::Dial { target: to, source: from }, ServerMode::Passive) => {
                joint.announcement.is_active()
                    && (target.ip(), source) == (ends.client.ip(), ends.original.ip())
                    && (to.ip(), from) == (ends.server.ip(), ends.source.ip())
                    && target.port().min(to.port()) >= 1024
            }
            (
                Leg::Listen { initiator, on_behalf_of: None, entrance, port: EntrancePort::Any },
                Leg::Listen { initiator: from, on_behalf_of: None, entrance: at, port: EntrancePort::Any },
                ServerMode::Active,
            ) => {
                !joint.announcement.is_active()
                    && (initiator, entrance) == (ends.client.ip(), ends.entrance())
                    && (from, at) == (ends.server.ip(), ends.source.ip())
            }
            _ => false,
        };
        assert!(ok, "{joint:?}");
        self.waiting.push((id, Wanted::Joint(joint)));
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
        let (id, wanted) = self.waiting.swap_remove(random.below(self.waiting.len()));
        if random.once_in(8) {
            return Some(Answer::Refused(id));
        }
        let mut any = || 49_152 + u16::try_from(random.below(16_384)).unwrap();
        Some(match wanted {
            Wanted::Pinhole(request) => {
                let port = match request.entrance_port {
                    EntrancePort::Fixed(port) => port,
                    EntrancePort::Any => any(),
                };
                let (client, server) = if request.announcement.is_active() { (0, port) } else { (port, 0) };
                self.open.insert(id, (wanted, client, server));
                Answer::Granted(id, port)
            }
            Wanted::Joint(joint) => {
                let (client, server) = if joint.announcement.is_active() { (0, 0) } else { (any(), any()) };
                self.open.insert(id, (wanted, client, server));
                Answer::Joined(id, client, server)
            }
        })
    }

    /// Of all that waits and all that is open.
    pub fn protections(&self) -> impl Iterator<Item = Protection> + '_ {
        let open = self.open.values().map(|(wanted, ..)| wanted);
        self.waiting.iter().map(|(_, wanted)| wanted).chain(open).map(|wanted| match wanted {
            Wanted::Pinhole(request) => request.protection,
            Wanted::Joint(joint) => joint.protection,
        })
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

    /// Whether one of `address` is open that this announcement names, or one that means the same where families or modes differ.
    pub fn has(&self, announced: Announcement, named: SocketAddr, address: IpAddr) -> bool {
        named.ip() == address && self.has_port(announced, named.port())
    }

    /// The same for a 229, which names a port only.
    pub fn has_extended(&self, named: u16) -> bool {
        self.has_port(Announcement::Epsv, named)
    }

    fn has_port(&self, announced: Announcement, named: u16) -> bool {
        self.open.values().any(|(wanted, client, server)| {
            // The client knows what it dials by its own word, the server what it dials by its own.
            let (by, exact) = match wanted {
                Wanted::Pinhole(it) => (it.announcement, it.initiator.is_ipv6() == it.target.is_ipv6()),
                Wanted::Joint(it) => (it.announcement, false),
            };
            let port = if announced.is_active() { server } else { client };
            *port == named && if announced.is_active() { !exact || by == announced } else { by == announced }
        })
    }
}
