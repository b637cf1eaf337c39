//! The connection to the server.
//!
//! Lives here: source address, time limit, the PROXY header that comes first if there is to be one, and what to tell the client when
//! it fails. Not here: which server (`origin`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::origin::{self, Way, canonical};
use super::{ListenerSettings, Source};
use crate::observe::metrics::Rejection;
use crate::protocol::proxy_header;
use crate::sys;

/// Why there is no connection. The text is for the client, after `421 `, and for the log.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// `timeouts.connect` passed.
    #[error("the server {0} did not answer in {1:?}")]
    Timeout(SocketAddr, Duration),
    /// The kernel or the server said no.
    #[error("the server {0} cannot be reached: {1}")]
    Failed(SocketAddr, io::Error),
    /// The connection came out on our own side.
    #[error("the gateway does not connect to itself ({0})")]
    Loop(SocketAddr),
}

impl Unreachable {
    /// What it counts as.
    pub fn counts_as(&self) -> Rejection {
        match self {
            Self::Timeout(..) => Rejection::ConnectTimeout,
            Self::Failed(..) => Rejection::Connect,
            Self::Loop(..) => Rejection::Loop,
        }
    }
}

/// Connects to the way's server as the listener says, and says which source address it got.
///
/// # Errors
/// There is no connection.
pub async fn connect(
    way: Way,
    client: SocketAddr,
    listener: &ListenerSettings,
    limit: Duration,
) -> Result<(TcpStream, SocketAddr), Unreachable> {
    let server = way.server;
    let until = Instant::now() + limit;
    let from = match &listener.source {
        Source::Gateway => sys::From::Any,
        Source::Client if client.is_ipv6() == server.is_ipv6() => sys::From::Foreign(client.ip()),
        // An address of the other family cannot be the source.
        Source::Client => sys::From::Any,
        Source::Addresses(addresses) => {
            origin::of_family(addresses, server.ip()).map_or(sys::From::Any, sys::From::Address)
        }
    };
    let failed = |error| Unreachable::Failed(server, error);
    let socket = TcpSocket::from_std_stream(sys::connecting_socket(server, from).map_err(failed)?);
    let mut stream = match timeout_at(until, socket.connect(server)).await {
        Ok(connected) => connected.map_err(failed)?,
        Err(_) => return Err(Unreachable::Timeout(server, limit)),
    };
    sys::tune(&stream).map_err(failed)?;
    let source = canonical(stream.local_addr().map_err(failed)?);
    // In forward mode the administrator did not choose the server: it must not be us.
    if matches!(listener.route, super::Route::Original) && source.ip() == server.ip() {
        return Err(Unreachable::Loop(server));
    }
    if let Some(version) = listener.proxy_protocol.send {
        let header = proxy_header::write(version, client, way.original);
        match timeout_at(until, stream.write_all(&header)).await {
            Ok(sent) => sent.map_err(failed)?,
            Err(_) => return Err(Unreachable::Timeout(server, limit)),
        }
    }
    Ok((stream, source))
}
