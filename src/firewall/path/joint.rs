//! Joint: a client and a server in different modes, for which the relay dials both, or is dialled by both.
//!
//! Lives here: which pinholes that takes. Not here: how the relay joins the two (`relay::joint`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use super::super::relay::Calls;
use super::super::worker::{Firewall, Opening};
use super::super::{Error, ErrorKind};
use super::Relayed;
use crate::pinhole::{Announcement, EntrancePort, Joint, Leg, Request, SessionId};

impl Relayed {
    /// As of [`super::DataPath::join`], with the relay's firewall.
    pub(super) fn join(&self, firewall: &Firewall, session: SessionId, joint: Joint) -> Opening {
        let Joint { announcement, lifetime, protection, .. } = joint;
        match (joint.client, joint.server) {
            (Leg::Dial { target: client, source: seen }, Leg::Dial { target: server, source }) => {
                let calls = Calls { announcement, client: (client, seen), server: (server, source), protection };
                self.dial(firewall, session, calls, joint)
            }
            (
                Leg::Listen { initiator, on_behalf_of, entrance, .. },
                Leg::Listen { initiator: server, entrance: at, .. },
            ) => {
                let for_client = Request {
                    announcement,
                    initiator,
                    on_behalf_of,
                    entrance,
                    entrance_port: EntrancePort::Any,
                    // Known when the other is there.
                    target: SocketAddr::new(server, 0),
                    source: server,
                    lifetime,
                    protection,
                };
                let for_server = Request {
                    announcement: if server.is_ipv6() { Announcement::Eprt } else { Announcement::Port },
                    initiator: server,
                    on_behalf_of: None,
                    entrance: at,
                    // Joined to whoever comes in by the other: nobody is dialled, from nowhere.
                    target: SocketAddr::new(on_behalf_of.unwrap_or(initiator), 0),
                    source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    ..for_client
                };
                self.listen(firewall, session, for_client, for_server)
            }
            (client, server) => {
                let text =
                    format!("no joint is needed where one end dials and the other is dialled: {client}; {server}");
                Opening::refused(Error::new(ErrorKind::Unsupported, text))
            }
        }
    }

    fn dial(&self, firewall: &Firewall, session: SessionId, calls: Calls, joint: Joint) -> Opening {
        let (relay, asked) = (self.clone(), Instant::now());
        let firewall = firewall.clone();
        Opening::in_steps(async move {
            let (calls, away) = match &relay.front {
                Some(front) => front.dial(session, &calls, joint.lifetime)?,
                None => (calls, [None, None]),
            };
            let mut leases = Vec::new();
            for opening in away.into_iter().flatten() {
                leases.push(opening.await?);
            }
            let pinhole = relay.dialler.dial(session, calls).await?;
            let lease = firewall.hold(pinhole, asked.elapsed()).joining(0, 0);
            Ok(leases.into_iter().fold(lease, |lease, other| lease.with(other)))
        })
    }

    fn listen(&self, firewall: &Firewall, session: SessionId, for_client: Request, for_server: Request) -> Opening {
        let (relay, firewall) = (self.clone(), firewall.clone());
        let open = move |request| match &relay.front {
            Some(front) => front.listen(&firewall, session, request, None),
            None => firewall.open(session, request),
        };
        Opening::in_steps(async move {
            let server = open(for_server).await?;
            let target = server.innermost().entrance;
            let client = open(Request { target, ..for_client }).await?;
            let ports = (client.pinhole().entrance.port(), server.pinhole().entrance.port());
            Ok(client.with(server).joining(ports.0, ports.1))
        })
    }
}
