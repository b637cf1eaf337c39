//! The PROXY header: who the client is whom a load balancer stands in for.
//!
//! Lives here: whom to believe, the wait for a header, and what becomes of a connection without a good one. Not here: the format
//! (`protocol::proxy_header`), what the addresses lead to (`origin`), the header that servers are sent (`upstream`).
//!
//! A connection that waits for its header holds a place among all sessions, and a small task of its own: the task of a session
//! begins when its client is known.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ipnet::IpNet;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::begin::Admitted;
use super::crew::Crew;
use super::driver;
use super::limits::Permit;
use super::listener::{self, Alive};
use super::{GoingDown, ListenerSettings, Live, Shared};
use crate::observe::limiter::Limiter;
use crate::observe::metrics::Rejection;
use crate::protocol::proxy_header::{self, Fault, Header, Reader, Version};

/// Strangers can cause one each, and so can a load balancer that is not set up right.
static UNTRUSTED: Limiter = Limiter::per_second(1);
static FAULTS: Limiter = Limiter::per_second(1);

/// What a listener does about PROXY headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Who must begin with one. If there is anybody, nobody else is let in.
    pub accept_from: Vec<IpNet>,
    /// Whether data connections of clients come from there too, behind headers of their own.
    pub data: bool,
    /// What servers are sent before anything else.
    pub send: Option<Version>,
}

impl ProxyProtocol {
    /// Whether connections begin with a header.
    pub fn is_expected(&self) -> bool {
        !self.accept_from.is_empty()
    }

    /// Whether this sender is believed.
    fn trusts(&self, sender: IpAddr) -> bool {
        self.accept_from.iter().any(|net| net.contains(&sender))
    }
}

/// What a header told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Who sent it: the peer of the connection.
    pub sender: SocketAddr,
    /// The address that the client dialled.
    pub dialled: SocketAddr,
}

/// Takes in a connection that has to begin with a header.
pub fn admit(
    stream: TcpStream,
    sender: SocketAddr,
    listener: &Arc<ListenerSettings>,
    shared: &Arc<Shared>,
    crew: &Crew,
    alive: &Alive,
) {
    if !listener.proxy_protocol.trusts(sender.ip()) {
        shared.metrics.rejected(Rejection::ProxyUntrusted);
        if let Some(suppressed) = UNTRUSTED.admit() {
            tracing::info!(
                listener = listener.name,
                %sender,
                suppressed,
                reason = Rejection::ProxyUntrusted.as_str(),
                "connection closed: its address is not in proxy_protocol.accept_from of this listener"
            );
        }
        return;
    }
    let live = shared.live();
    match shared.limits.admit_unknown(live.sessions) {
        Ok(permit) => {
            let (own_listener, shared, alive) = (listener.clone(), shared.clone(), alive.clone());
            let started = crew.start(stream, |stream| {
                Waiting { stream, sender, listener: own_listener, shared, live, permit, alive }.for_header()
            });
            listener::cannot_serve(started, sender, listener);
        }
        Err(full) => listener::turn_away(&stream, sender, full, listener, shared),
    }
}

/// A connection whose client is not known yet.
struct Waiting {
    stream: TcpStream,
    sender: SocketAddr,
    listener: Arc<ListenerSettings>,
    shared: Arc<Shared>,
    live: Arc<Live>,
    permit: Permit,
    alive: Alive,
}

impl Waiting {
    async fn for_header(self) {
        let mut ear = self.shared.herald.ear();
        let going_down = poll_fn(|context| match ear.hear(context) {
            GoingDown::No => Poll::Pending,
            _ => Poll::Ready(()),
        });
        let read = tokio::select! {
            read = timeout(self.live.header_timeout, read(&self.stream, self.sender)) => read,
            () = going_down => Ok(Err(Rejection::Draining)),
        };
        match read.unwrap_or(Err(Rejection::ProxyTimeout)) {
            Ok((client, dialled)) => self.begin(client, dialled),
            Err(reason) => self.close(reason),
        }
    }

    /// The session, if this client may have one more.
    fn begin(self, client: SocketAddr, dialled: SocketAddr) {
        let Self { stream, sender, listener, shared, live, mut permit, alive } = self;
        match permit.belongs_to(client.ip(), live.sessions_per_client) {
            Ok(()) => {
                let told = Some(Told { sender, dialled });
                let admitted = Admitted { client: stream, peer: client, told, listener, shared, live, permit, alive };
                tokio::spawn(driver::run(admitted));
            }
            Err(full) => listener::turn_away(&stream, client, full, &listener, &shared),
        }
    }

    /// Without a word: whoever sent no header does not speak for a client, and a client behind it could make nothing of it.
    fn close(self, reason: Rejection) {
        self.shared.metrics.rejected(reason);
        let (listener, sender, word) = (&self.listener.name, self.sender, reason.as_str());
        match reason {
            Rejection::ProxyLocal | Rejection::Draining => {
                tracing::debug!(listener, %sender, reason = word, "connection of a load balancer closed");
            }
            _ => {
                if let Some(suppressed) = FAULTS.admit() {
                    tracing::warn!(
                        listener,
                        %sender,
                        reason = word,
                        suppressed,
                        "connection closed: it has no good PROXY header; see whether its sender is set to send one"
                    );
                }
            }
        }
    }
}

/// The client of a load balancer's data connection, if that says so in time.
pub async fn introduce(stream: TcpStream, sender: SocketAddr, limit: Duration) -> Option<(TcpStream, IpAddr)> {
    let (client, _) = timeout(limit, read(&stream, sender)).await.ok()?.ok()?;
    Some((stream, client.ip()))
}

/// The client and the address that it dialled, from the header in front of the stream. What is behind that stays in the socket.
async fn read(stream: &TcpStream, sender: SocketAddr) -> Result<(SocketAddr, SocketAddr), Rejection> {
    let mut reader = Reader::default();
    let mut buffer = [0; 128];
    loop {
        let seen = match stream.peek(&mut buffer).await {
            Ok(count) => buffer.get(..count).unwrap_or_default(),
            Err(_) => &[],
        };
        if seen.is_empty() {
            // Health checks that only connect close, or reset, before they send anything.
            return Err(if reader.taken() == 0 { Rejection::ProxyLocal } else { Rejection::ProxyMalformed });
        }
        let (taken, header) = reader.take(seen).map_err(counts_as)?;
        discard(stream, taken, &mut buffer).await.map_err(|_| Rejection::ProxyMalformed)?;
        match header {
            Some(Header::Proxied { client, dialled }) => {
                let (client, dialled) = proxy_header::addresses(client, dialled, sender.ip()).map_err(counts_as)?;
                // HAProxy's health checks say so in version 1, which has no LOCAL.
                return if client == sender { Err(Rejection::ProxyLocal) } else { Ok((client, dialled)) };
            }
            Some(Header::Local) => return Err(Rejection::ProxyLocal),
            None => {}
        }
    }
}

/// Takes so many bytes, which have been seen, out of the socket.
async fn discard(stream: &TcpStream, mut count: usize, buffer: &mut [u8]) -> io::Result<()> {
    while count > 0 {
        stream.readable().await?;
        let room = buffer.len().min(count);
        match stream.try_read(buffer.get_mut(..room).unwrap_or_default()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(taken) => count = count.saturating_sub(taken),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn counts_as(fault: Fault) -> Rejection {
    match fault {
        Fault::Missing => Rejection::ProxyMissing,
        Fault::Malformed => Rejection::ProxyMalformed,
        Fault::Oversized => Rejection::ProxyOversized,
        Fault::Family => Rejection::ProxyFamily,
        Fault::Address => Rejection::ProxyAddress,
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
