//! Path: the way of a listener's data connections.
//!
//! Lives here: [`DataPath`], who opens pinholes and who tells what becomes of them, as a session sees both. Not here: when a pinhole is
//! wanted (`session`), how one is opened (`worker` and the backends).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::relay::{self, Calls};
use super::tracking::Follow;
use super::worker::{Firewall, Opening};
use super::{Error, ErrorKind, Habits, Reset};
use crate::pinhole::{Announcement, EntrancePort, Joint, Leg, Request, SessionId};

/// The way of data connections. Clones are the same way.
#[derive(Clone, Debug)]
pub struct DataPath {
    firewall: Firewall,
    tracker: Option<Arc<dyn Follow>>,
    /// Who dials, where data connections are relayed.
    relay: Option<relay::Tracker>,
}

impl DataPath {
    /// Through the packet filter. `tracker` follows them, where that can be done.
    pub fn new(firewall: Firewall, tracker: Option<Arc<dyn Follow>>) -> Self {
        Self { firewall, tracker, relay: None }
    }

    /// Through the relay, whose backend `firewall` has. `followed`: whether sessions want to know what becomes of them.
    pub fn relay(firewall: Firewall, relay: relay::Tracker, followed: bool) -> Self {
        let tracker = followed.then(|| Arc::new(relay.clone()) as Arc<dyn Follow>);
        Self { firewall, tracker, relay: Some(relay) }
    }

    /// Asks for a pinhole for a session. Blocks for as long as one change takes, if at all.
    pub fn open(&self, session: SessionId, request: Request) -> Opening {
        self.firewall.open(session, request)
    }

    /// Asks for a data connection of two legs that both dial or are both dialled. No packet filter can make one: it refuses.
    pub fn join(&self, session: SessionId, joint: Joint) -> Opening {
        let firewall = self.firewall.clone();
        match (&self.relay, joint.client, joint.server) {
            (Some(relay), Leg::Dial { target: client, source: seen }, Leg::Dial { target: server, source }) => {
                let Joint { announcement, protection, .. } = joint;
                let calls = Calls { announcement, client: (client, seen), server: (server, source), protection };
                let (relay, asked) = (relay.clone(), Instant::now());
                Opening::in_steps(async move {
                    let pinhole = relay.dial(session, calls).await?;
                    Ok(firewall.hold(pinhole, asked.elapsed()).joining(0, 0))
                })
            }
            (
                Some(_),
                Leg::Listen { initiator: client, on_behalf_of, entrance, .. },
                Leg::Listen { initiator: server, entrance: behind, .. },
            ) => {
                let for_server = Request {
                    announcement: if server.is_ipv6() { Announcement::Eprt } else { Announcement::Port },
                    initiator: server,
                    on_behalf_of: None,
                    entrance: behind,
                    entrance_port: EntrancePort::Any,
                    // Joined to whoever comes in by the other: see `relay::joint`.
                    target: SocketAddr::new(client, 0),
                    source: entrance,
                    lifetime: joint.lifetime,
                    protection: joint.protection,
                };
                Opening::in_steps(async move {
                    let behind = firewall.open(session, for_server).await?;
                    let target = behind.pinhole().entrance;
                    let for_client = Request {
                        announcement: joint.announcement,
                        initiator: client,
                        on_behalf_of,
                        entrance,
                        target,
                        source: server,
                        ..for_server
                    };
                    let front = firewall.open(session, for_client).await?;
                    let port = front.pinhole().entrance.port();
                    Ok(front.with(behind).joining(port, target.port()))
                })
            }
            (Some(_), client, server) => {
                let text =
                    format!("no joint is needed where one end dials and the other is dialled: {client}; {server}");
                Opening::refused(Error::new(ErrorKind::Unsupported, text))
            }
            (None, ..) => {
                let text = format!(
                    "{} cannot join two data connections, as data.server_mode asks for where client and server are in \
                     different modes; use as-client",
                    self.name()
                );
                Opening::refused(Error::new(ErrorKind::Unsupported, text))
            }
        }
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
        self.firewall.habits()
    }

    /// Data connections end here and begin anew, so they can lead from one address family to the other.
    pub fn terminates(&self) -> bool {
        self.relay.is_some()
    }

    /// Entrances can only be addresses of this host: no packet filter brings here what is sent to others.
    pub fn own_addresses_only(&self) -> bool {
        self.habits().listens
    }

    /// Closes everything and ends. Blocks until that is done. Doing so twice is fine.
    ///
    /// # Errors
    /// What the backend says; or its thread had died before.
    pub fn stop(&self) -> Result<(), Error> {
        if let Some(tracker) = &self.tracker {
            tracker.stop();
        }
        self.firewall.stop()
    }
}
