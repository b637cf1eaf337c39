//! Joint: data connections of which both ends dial the relay, or both are dialled by it (`data.server_mode`).
//!
//! Lives here: [`dial`], which reaches both ends, and [`Meetings`], where the server's connection waits for the client's, or the
//! client's for the server's. Not here: who may come in (`book`, `door`), copying (`copy`).
//!
//! Where both ends dial there is an entrance for each: a pinhole whose target has no port yet, for the server; and a pinhole
//! whose target is the entrance of that one, for the client. Its data connection is the client's: it begins when the client comes in.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::super::tracking::Flow;
use super::super::{Error, ErrorKind};
use super::{Shared, copy};
use crate::pinhole::{Announcement, Key, Pinhole, Protection, SessionId};

/// Servers' connections and those who wait for them, by the server's pinhole.
#[derive(Debug, Default)]
pub(super) struct Meetings(HashMap<Key, Meeting>);

#[derive(Debug)]
enum Meeting {
    /// The client is in.
    Awaited(oneshot::Sender<TcpStream>),
    /// The server is in.
    Here(TcpStream),
}

/// What the client's connection is joined to, as soon as it is there.
pub(super) type Awaited = oneshot::Receiver<TcpStream>;

/// Whether who comes in by this pinhole is joined to somebody who comes in by another one.
pub(super) fn waits(pinhole: &Pinhole) -> bool {
    pinhole.target.port() == 0
}

impl Meetings {
    /// The server is in.
    pub(super) fn arrive(&mut self, key: Key, stream: TcpStream) {
        match self.0.remove(&key) {
            // If the client has gone meanwhile, its connection is reset, as the client's was.
            Some(Meeting::Awaited(client)) => drop(client.send(stream)),
            _ => drop(self.0.insert(key, Meeting::Here(stream))),
        }
    }

    /// The client is in. `expected`: whether the server may still come.
    pub(super) fn join(&mut self, key: Key, expected: bool) -> Option<Awaited> {
        let (client, awaited) = oneshot::channel();
        match self.0.remove(&key) {
            Some(Meeting::Here(stream)) => drop(client.send(stream)),
            _ if expected => drop(self.0.insert(key, Meeting::Awaited(client))),
            _ => return None,
        }
        Some(awaited)
    }

    /// Whether the server is in and the client is not.
    pub(super) fn is_here(&self, key: &Key) -> bool {
        matches!(self.0.get(key), Some(Meeting::Here(_)))
    }

    /// Whoever waits does so in vain: that connection is reset.
    pub(super) fn cancel(&mut self, key: &Key) {
        self.0.remove(key);
    }

    /// The same for all.
    pub(super) fn cancel_all(&mut self) {
        self.0.clear();
    }
}

/// Both ends of a data connection that the relay dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// What the client calls it.
    pub announcement: Announcement,
    /// Where the client listens, and the address that it must see as the peer.
    pub client: (SocketAddr, IpAddr),
    /// Where the server listens, and the address that it must see as the peer.
    pub server: (SocketAddr, IpAddr),
    /// Which of the two are TLS.
    pub protection: Protection,
}

/// A data connection that nobody has taken charge of yet: it is reset if nobody does.
struct Unclaimed(Option<(Arc<Shared>, Flow)>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some((shared, flow)) = &self.0 {
            shared.book().reset(flow);
        }
    }
}

/// Dials both ends. The pinhole is what it would have been if the server had dialled, as the client's announcement has it.
///
/// # Errors
/// One of them cannot be reached within `timeouts.connect`, or the client has too many data connections already.
pub(super) async fn dial(
    shared: Arc<Shared>,
    runtime: Handle,
    session: SessionId,
    calls: Calls,
) -> Result<Pinhole, Error> {
    let (answer, answered) = oneshot::channel();
    runtime.spawn(async move {
        let connected = connect(&shared, calls).await;
        let _ = answer.send(connected.map(|(server, client)| begin(&shared, session, calls, server, client)));
    });
    let ended = |_| Err(Error::new(ErrorKind::Other, "the relay has ended"));
    let (pinhole, mut unclaimed) = answered.await.unwrap_or_else(ended)?;
    unclaimed.0 = None;
    Ok(pinhole)
}

async fn connect(shared: &Shared, calls: Calls) -> Result<(TcpStream, TcpStream), Error> {
    let limit = shared.connect_timeout();
    shared.book().has_room(calls.client.0.ip(), shared.settings.most_per_client)?;
    let reach = async |(target, source): (SocketAddr, IpAddr)| {
        copy::reach(shared, target, source, limit).await.map_err(|(incident, error)| {
            shared.report(incident);
            let text = format!("cannot reach {target} for a data connection: {error}");
            Error::new(ErrorKind::Unreachable, text)
        })
    };
    tokio::try_join!(reach(calls.server), reach(calls.client))
}

/// Both ends are there: from now on they are joined.
fn begin(
    shared: &Arc<Shared>,
    session: SessionId,
    calls: Calls,
    server: TcpStream,
    client: TcpStream,
) -> (Pinhole, Unclaimed) {
    let (peer, source) = calls.server;
    let pinhole = Pinhole {
        session,
        announcement: calls.announcement,
        initiator: peer.ip(),
        on_behalf_of: None,
        // What the server would have dialled; no other connection with it has this port at this moment.
        entrance: server.local_addr().unwrap_or(SocketAddr::new(source, 0)),
        target: calls.client.0,
        source: calls.client.1,
        lifetime: Duration::ZERO,
        protection: calls.protection,
    };
    let ended = shared.begin(&mut shared.book(), &pinhole, peer);
    let flow = ended.flow;
    shared.arrive(&flow);
    let task = tokio::spawn(async move { copy::carry(ended, server, client, &pinhole).await }).abort_handle();
    shared.book().run(&flow, task);
    (pinhole, Unclaimed(Some((Arc::clone(shared), flow))))
}
