//! TLS on the data connections of sessions that have it on their control connections.
//!
//! Lives here: [`data`], which the relay calls. Not here: certificates (`tls`), copying (`firewall`), when data is private (`session`).

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::firewall::relay::{Peer, Stream};
use crate::pinhole::SessionId;
use crate::tls::Sessions;

/// The connection with one end of a session's data connection, in TLS. With the server the session's TLS is resumed: many servers
/// insist on it, because it proves that the data connection is their client's.
///
/// # Errors
/// The handshake fails, or the session is over.
pub async fn data(
    sessions: Arc<Sessions>,
    stream: TcpStream,
    session: SessionId,
    peer: Peer,
) -> io::Result<Box<dyn Stream>> {
    let over = || io::Error::new(io::ErrorKind::NotConnected, "its session is over");
    let tls = sessions.of(session).ok_or_else(over)?;
    match peer {
        Peer::Client => {
            let secured =
                TlsAcceptor::from(tls.shown()).accept(stream).await.map_err(|error| with("client", &error))?;
            Ok(Box::new(secured))
        }
        Peer::Server => {
            let (config, name) = tls.asked().ok_or_else(over)?;
            let connector = TlsConnector::from(config);
            let secured = connector.connect(name, stream).await.map_err(|error| with("server", &error))?;
            Ok(Box::new(secured))
        }
    }
}

fn with(whom: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the handshake with the {whom} failed: {error}"))
}

impl Stream for server::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Stream for client::TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}
