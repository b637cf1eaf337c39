//! Accepts connections and starts a session for each.
//!
//! Lives here: the accept loop, its back-off, and the answer to those who are over a limit. Not here: anything about a session
//! that has begun (`driver`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use super::begin::Admitted;
use super::crew::Crew;
use super::driver;
use super::limits::Full;
use super::origin::canonical;
use super::{GoingDown, ListenerSettings, Shared, header};
use crate::observe::metrics::Rejection;

/// Back-off after an accept error that will not pass by itself at once (no descriptors, no memory): from the first to the
/// second, doubling. Accept errors are weather: they never end the loop.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Held by every session; when the last one is dropped the daemon knows that all have ended.
pub type Alive = mpsc::Sender<std::convert::Infallible>;

/// Accepts until the daemon goes down.
pub async fn serve(
    listener: TcpListener,
    settings: Arc<ListenerSettings>,
    shared: Arc<Shared>,
    crew: Arc<Crew>,
    mut going_down: watch::Receiver<GoingDown>,
    alive: Alive,
) {
    let mut back_off = BACK_OFF.0;
    shared.herald.start(going_down.clone());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = going_down.wait_for(|&how_far| how_far > GoingDown::No) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF.0;
                admit(stream, canonical(peer), &settings, &shared, &crew, &alive);
            }
            Err(error) => {
                shared.metrics.accept_error();
                if is_of_the_connection(&error) {
                    continue;
                }
                tracing::warn!(
                    listener = settings.name,
                    %error,
                    "cannot accept connections for now; raise the limit of open files ({}) if this stays",
                    crate::sys::OPEN_FILES
                );
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Whether an accept error concerns that one connection, which is gone, and not the listener (accept(2), "Error handling").
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied
    )
}

fn admit(
    stream: TcpStream,
    client: SocketAddr,
    settings: &Arc<ListenerSettings>,
    shared: &Arc<Shared>,
    crew: &Crew,
    alive: &Alive,
) {
    if settings.proxy_protocol.is_expected() {
        return header::admit(stream, client, settings, shared, crew, alive);
    }
    let live = shared.live();
    match shared.limits.admit(client.ip(), live.sessions, live.sessions_per_client) {
        Ok(permit) => {
            let (listener, shared, alive) = (settings.clone(), shared.clone(), alive.clone());
            let started = crew.start(stream, |stream| {
                driver::run(Admitted {
                    client: stream,
                    peer: client,
                    told: None,
                    listener,
                    shared,
                    live,
                    permit,
                    alive,
                })
            });
            cannot_serve(started, client, settings);
        }
        Err(full) => turn_away(&stream, client, full, settings, shared),
    }
}

/// Says so when a connection could not be given to a thread.
pub(super) fn cannot_serve(started: io::Result<()>, client: SocketAddr, settings: &ListenerSettings) {
    if let Err(error) = started {
        tracing::warn!(listener = settings.name, %client, %error, "cannot serve a connection; it is closed");
    }
}

/// Tells a client that there is no place, and leaves the connection to be closed.
pub(super) fn turn_away(
    stream: &TcpStream,
    client: SocketAddr,
    full: Full,
    settings: &ListenerSettings,
    shared: &Shared,
) {
    let (text, reason): (&[u8], _) = match full {
        Full::Sessions => (b"421 Too many sessions on this gateway; try again later.\r\n", Rejection::Sessions),
        Full::Client => (b"421 Too many sessions from your address; end one first.\r\n", Rejection::SessionsPerClient),
    };
    shared.metrics.rejected(reason);
    tracing::debug!(listener = settings.name, %client, reason = reason.as_str(), "connection turned away");
    // A new connection has room for a line; if not, closing says enough.
    let _ = stream.try_write(text);
    if settings.proxy_protocol.is_expected() {
        // A socket closed with a header unread in it is reset, and the reset could overtake the line.
        let _ = stream.try_read(&mut [0; 512]);
    }
}
