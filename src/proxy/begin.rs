//! From an accepted connection to a session whose two control connections stand.
//!
//! Lives here: what a connection brings with it ([`Admitted`]), and the steps until its session can begin, or the client's 421. Not here:
//! which server (`origin`), connecting to it (`upstream`), the session's life (`driver`).

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::driver::close;
use super::header::Told;
use super::limits::Permit;
use super::listener::Alive;
use super::origin::{self, Way};
use super::pipe::Pipe;
use super::record::Record;
use super::{ListenerSettings, Live, Route, Shared, lobby, upstream};
use crate::observe::metrics::Rejection;
use crate::session::lobby::Named;
use crate::session::{Detour, Ends, Session};
use crate::sys;

/// A connection that was admitted, and what it holds until its session has ended. Dropped from first to last.
pub struct Admitted {
    /// The connection.
    pub client: TcpStream,
    /// Who dialled.
    pub peer: SocketAddr,
    /// What a load balancer told of it, if one stands between.
    pub told: Option<Told>,
    /// Where.
    pub listener: Arc<ListenerSettings>,
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// What this one goes by.
    pub live: Arc<Live>,
    /// Its place.
    pub permit: Permit,
    /// Keeps the daemon from ending.
    pub alive: Alive,
}

/// A session that can begin, and what it holds.
pub(super) struct Begun {
    /// At its start.
    pub(super) session: Session,
    /// The connection of the client.
    pub(super) client: Pipe,
    /// That to the server.
    pub(super) server: TcpStream,
    /// What it leaves in logs and metrics.
    pub(super) record: Record,
    /// What it goes by.
    pub(super) live: Arc<Live>,
    /// Its place.
    pub(super) permit: Permit,
    /// Keeps the daemon from ending.
    pub(super) alive: Alive,
}

/// The two ends of a session, and how they came to be.
pub(super) struct Reached {
    /// Where it begins and where it goes.
    pub(super) way: Way,
    /// The connection to the server.
    pub(super) server: TcpStream,
    /// What that was made from.
    pub(super) source: SocketAddr,
    /// Login mode: what the client has said until then.
    pub(super) named: Option<Named>,
}

/// The session, unless there is none to be had: then the client has been told why.
pub(super) async fn begin(admitted: Admitted) -> Option<Begun> {
    let Admitted { client, peer, told, listener, shared, live, permit, alive } = admitted;
    let record = Record::start(shared.session_id(), listener.clone(), shared.clone());
    let mut client = Pipe::new(client);
    let reached = match listener.route {
        // Of its own, lest the beginning of every session be as large as this one.
        Route::Login { .. } => Box::pin(lobby::receive(&mut client, peer, told, &record, &listener, &live)).await,
        _ => reach(client.stream(), peer, told, &listener, &shared, &live).await.map_err(|(reason, why)| {
            record.rejected(peer, reason, &why);
            format!("421 {why}.\r\n")
        }),
    };
    let Reached { way, server, source, named } = match reached {
        Ok(reached) => reached,
        Err(last_words) => {
            // Who begins with TLS would not understand.
            if !listener.security.implicit {
                client.send(last_words.as_bytes());
            }
            close(&mut client).await;
            drop((permit, alive));
            return None;
        }
    };
    record.opened(peer, way, source);
    let origin::Face { original, announced, entrance } = origin::face(way, &listener, &shared);
    let balancer = way.via.filter(|_| listener.proxy_protocol.data).map(|balancer| balancer.ip());
    let ends = Ends {
        client: peer,
        original,
        source,
        server: way.server,
        detour: Detour { announced, entrance, balancer }.boxed(),
    };
    let settings = if listener.path.terminates() { &live.relayed } else { &live.session };
    let mut session = Session::new(settings.clone(), ends, shared.now()).with_security(listener.security);
    if shared.servers.is_without_epsv(way.server) {
        session = session.without_epsv();
    }
    if let Some(named) = named {
        session = session.named(named);
    }
    if let Some(terminator) = &listener.terminator {
        shared.tls.begin(record.session(), terminator, way.server.ip());
    }
    session = session.with_security(listener.security);
    Some(Begun { session, client, server, record, live, permit, alive })
}

/// The address of ours that a connection has arrived at; the connection is made ready on the way.
pub(super) fn arrived(client: &TcpStream) -> Result<SocketAddr, (Rejection, String)> {
    let local = client.local_addr().map(origin::canonical);
    let local = local.and_then(|local| sys::tune(client).map(|()| local));
    local.map_err(|error| (Rejection::Internal, error.to_string()))
}

/// From the accepted connection to the connected server, or the word and the sentence that say why not.
async fn reach(
    client: &TcpStream,
    peer: SocketAddr,
    told: Option<Told>,
    listener: &ListenerSettings,
    shared: &Shared,
    live: &Live,
) -> Result<Reached, (Rejection, String)> {
    let local = arrived(client)?;
    let way = origin::find(client, peer, local, told, None, listener, shared)
        .map_err(|lost| (lost.counts_as(), lost.to_string()))?;
    let connected = upstream::connect(way, peer, listener, live.connect_timeout).await;
    let (server, source) = connected.map_err(|error| (error.counts_as(), error.to_string()))?;
    Ok(Reached { way, server, source, named: None })
}
