//! Behind: the relay behind a packet filter.
//!
//! Lives here: [`Front`], which makes of one request of a session the relay's pinhole and those of the packet filter that lead to its
//! socket, or away from it. Not here: what either does with them.
//!
//! The relay listens and connects with addresses of this host. That its peers believe to speak with one another is the packet
//! filter's doing, leg by leg:
//!
//! - **a leg that a peer dials** ([`Front::listens_at`], [`Front::towards`]): the relay listens at an address of this host; a pinhole sends
//!   there what the peer dials. Where the peer dials that very address, the pinhole translates nothing, and is there so that the
//!   administrator's input chain can tell this connection from others: by the mark;
//! - **a leg that the gateway dials** ([`Front::away`]): where the target must see an address that is not this host's, a pinhole for
//!   the relay's own connection gives it that source.
//!
//! A pinhole that leads nowhere is never announced: the relay listens, and its way out is there, before the packet filter lets anybody
//! in; and what the session holds in the end closes all of it. With a packet filter whose pinholes must be closed when they are seen used
//! (pf) this would close the way out before the relay has taken it, so the configuration refuses that.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::super::relay::Calls;
use super::super::worker::{Firewall, Opening};
use super::super::{Error, ErrorKind};
use crate::pinhole::{Announcement, EntrancePort, Protection, Request, SessionId};
use crate::sys;

/// How much longer than its peer has to dial the relay has to dial on: a connection may come at the last moment.
const DIAL_ON: Duration = Duration::from_secs(2);

/// For which session, and for how long.
#[derive(Clone, Copy, Debug)]
struct Call {
    session: SessionId,
    announcement: Announcement,
    lifetime: Duration,
}

impl Call {
    fn of(session: SessionId, request: &Request) -> Self {
        Self { session, announcement: request.announcement, lifetime: request.lifetime }
    }
}

/// The packet filter in front of the relay. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Front {
    filter: Firewall,
    /// The addresses of this host at the start. One that came later is translated like a stranger's, which works as well.
    own: Arc<[IpAddr]>,
    /// The address of this host that the route to another suggests.
    source_for: fn(IpAddr) -> io::Result<IpAddr>,
}

impl Front {
    /// In front of this host's relay.
    pub(super) fn new(filter: Firewall) -> Self {
        Self { filter, own: sys::own_addresses().unwrap_or_default().into(), source_for: sys::source_for }
    }

    /// Whether its pinholes are used up without anybody's doing.
    pub(super) fn is_one_shot(&self) -> bool {
        self.filter.habits().one_shot
    }

    /// As of [`Firewall::stop`].
    pub(super) fn stop(&self) -> Result<(), Error> {
        self.filter.stop()
    }

    /// A pinhole of the relay, and what leads to it and away from it. What the session gets is the front: its entrance is what the
    /// peer is told.
    pub(super) fn open(&self, relay: &Firewall, session: SessionId, request: Request) -> Opening {
        match self.away(Call::of(session, &request), request.target, request.source) {
            Ok((source, away)) => self.listen(relay, session, Request { source, ..request }, away),
            Err(error) => Opening::refused(error),
        }
    }

    /// The same where nobody must be deceived about who dials, or where `away` does that already.
    pub(super) fn listen(
        &self,
        relay: &Firewall,
        session: SessionId,
        request: Request,
        away: Option<Opening>,
    ) -> Opening {
        let Request { initiator, entrance, entrance_port, .. } = request;
        let behind = self
            .listens_at(initiator, entrance)
            .map(|at| relay.open(session, Request { entrance: at, entrance_port: EntrancePort::Any, ..request }));
        let front = self.clone();
        Opening::in_steps(async move {
            let behind = behind?.await?;
            let behind = match away {
                Some(away) => behind.with(away.await?),
                None => behind,
            };
            tracing::debug!(session, pinhole = %behind.pinhole(), "the relay waits behind the packet filter");
            let (call, socket) = (Call::of(session, &request), behind.pinhole().entrance);
            let towards = front.towards(call, (initiator, entrance, entrance_port), socket).await?;
            Ok(towards.in_front_of(behind))
        })
    }

    /// Two legs that the relay dials: from which addresses, and the pinholes that let their targets see others.
    pub(super) fn dial(
        &self,
        session: SessionId,
        calls: &Calls,
        lifetime: Duration,
    ) -> Result<(Calls, [Option<Opening>; 2]), Error> {
        let call = Call { session, announcement: calls.announcement, lifetime };
        let (for_client, first) = self.away(call, calls.client.0, calls.client.1)?;
        let (for_server, second) = self.away(call, calls.server.0, calls.server.1)?;
        let calls = Calls { client: (calls.client.0, for_client), server: (calls.server.0, for_server), ..*calls };
        Ok((calls, [first, second]))
    }

    /// Where the relay listens for a peer that dials `entrance`: there, if that is an address of this host; else at the address that
    /// the route to the peer suggests.
    fn listens_at(&self, initiator: IpAddr, entrance: IpAddr) -> Result<IpAddr, Error> {
        if self.is_own(entrance) { Ok(entrance) } else { self.address_towards(initiator) }
    }

    /// The pinhole that leads a peer from what it dials to the relay's socket, which sees the peer's own address.
    fn towards(
        &self,
        call: Call,
        (initiator, entrance, port): (IpAddr, IpAddr, EntrancePort),
        socket: SocketAddr,
    ) -> Opening {
        let is_socket = entrance == socket.ip();
        let request = Request {
            announcement: call.announcement,
            initiator,
            on_behalf_of: None,
            entrance,
            entrance_port: if is_socket { EntrancePort::Fixed(socket.port()) } else { port },
            target: socket,
            source: initiator,
            lifetime: call.lifetime,
            protection: Protection::default(),
        };
        self.filter.open(call.session, request)
    }

    /// The address of this host that the relay dials a target from, and the pinhole that lets the target see `source` instead, if
    /// that is not this host's.
    fn away(&self, call: Call, target: SocketAddr, source: IpAddr) -> Result<(IpAddr, Option<Opening>), Error> {
        if self.is_own(source) {
            return Ok((source, None));
        }
        let local = self.address_towards(target.ip())?;
        let request = Request {
            announcement: call.announcement,
            initiator: local,
            on_behalf_of: None,
            entrance: target.ip(),
            entrance_port: EntrancePort::Fixed(target.port()),
            target,
            source,
            lifetime: call.lifetime + DIAL_ON,
            protection: Protection::default(),
        };
        Ok((local, Some(self.filter.open(call.session, request))))
    }

    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own.contains(&address)
    }

    fn address_towards(&self, peer: IpAddr) -> Result<IpAddr, Error> {
        (self.source_for)(peer).map_err(|error| {
            let text = format!("the relay has no address towards {peer}: {error}; give this host a route there");
            Error::new(ErrorKind::Other, text)
        })
    }
}

#[cfg(test)]
#[path = "behind_tests.rs"]
mod tests;
