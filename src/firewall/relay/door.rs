//! Door: one entrance that is listened at.
//!
//! Lives here: the listening socket and its faults in sentences; accepting, until everybody who is expected is in or their time is
//! over. Not here: who is expected (`book`), what follows (`copy`).

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::super::{Error, ErrorKind};
use super::book::{Book, Ended, Number};
use super::joint::{self, Awaited};
use super::{Incident, Shared, copy};
use crate::pinhole::{Key, Pinhole};
use crate::sys;

/// Back-off after an accept that failed: from the first to the second, doubling. Who knocks waits meanwhile.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Load balancers' connections whose header may be awaited at a time.
const MOST_INTRODUCTIONS: usize = 1024;

/// Listens, from now on.
///
/// # Errors
/// Says in one sentence what is in the way.
pub(super) fn listen(entrance: SocketAddr) -> Result<TcpListener, Error> {
    sys::listen(entrance, false).and_then(TcpListener::from_std).map_err(|error| explain(entrance, &error))
}

/// The sentence, and what the caller can do about it.
fn explain(entrance: SocketAddr, error: &io::Error) -> Error {
    use nix::errno::Errno;
    let (kind, advice) = match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRINUSE) => {
            (ErrorKind::InUse, "another program has that port; give ftpgate a range of its own with data.ports")
        }
        Some(Errno::EADDRNOTAVAIL) => (
            ErrorKind::Unsupported,
            "that is no address of this host, and the relay can listen at no other: see docs/relay.md",
        ),
        Some(Errno::EACCES | Errno::EPERM) => {
            (ErrorKind::Permission, "the system does not let this process listen there")
        }
        Some(Errno::EMFILE | Errno::ENFILE) => {
            (ErrorKind::Full, "raise the limit of open files, or lower limits.sessions")
        }
        Some(Errno::ENOBUFS | Errno::ENOMEM) => (ErrorKind::Full, "the kernel is short of memory"),
        _ => (ErrorKind::Other, "see the cause"),
    };
    Error::new(kind, format!("cannot listen on {entrance} for a data connection: {error}; {advice}"))
}

/// Accepts until the door is shut.
pub(super) async fn serve(shared: Arc<Shared>, entrance: SocketAddr, number: Number) {
    let mut back_off = BACK_OFF.0;
    loop {
        let Some(until) = shared.book().expire(entrance, number) else { return };
        // Taken out of the queue and looked at under one lock: in between nobody may shut the door.
        let accepted = poll_fn(|context| {
            let mut book = shared.book();
            let knock = ready!(book.poll_accept(entrance, number, context));
            let look = |(stream, peer)| admit(&shared, &mut book, entrance, number, stream, peer);
            Poll::Ready(knock.map(|accepted| accepted.map(look)))
        });
        match timeout_at(Instant::from_std(until), accepted).await {
            // Somebody's time is over.
            Err(_) => {}
            Ok(None) => return,
            Ok(Some(Ok(guest))) => {
                back_off = BACK_OFF.0;
                if let Some(guest) = guest {
                    let_in(&shared, guest);
                }
            }
            Ok(Some(Err(error))) => {
                shared.report(Incident::Accept);
                tracing::debug!(%entrance, %error, "cannot accept a data connection for now");
                sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Somebody who may come in, and by what.
pub(super) struct Guest {
    ended: Ended,
    stream: TcpStream,
    pinhole: Pinhole,
    /// Who is to be met, where the target dials as well.
    awaited: Option<Awaited>,
}

/// Admits the right one, and turns everybody else away.
pub(super) fn admit(
    shared: &Arc<Shared>,
    book: &mut Book,
    entrance: SocketAddr,
    number: Number,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<Guest> {
    // Until all has passed, whatever ends it resets it. A socket that was reset already may refuse.
    let _ = sys::reset_on_close(&stream, true);
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    if book.speaks_for(entrance, number, peer.ip()).is_some() {
        introduce(shared, entrance, number, stream, peer);
        return None;
    }
    let Some(pinhole) = book.admit(entrance, number, peer.ip()) else {
        return turn_away(shared, entrance, peer);
    };
    if joint::waits(&pinhole) {
        book.meetings.arrive(pinhole.key(), stream);
        return None;
    }
    Some(Guest::new(shared, book, pinhole, stream, peer))
}

fn turn_away(shared: &Shared, entrance: SocketAddr, peer: SocketAddr) -> Option<Guest> {
    shared.report(Incident::WrongPeer);
    tracing::debug!(%entrance, %peer, "refused a data connection: its peer is not the one that is expected");
    None
}

impl Guest {
    fn new(shared: &Arc<Shared>, book: &mut Book, pinhole: Pinhole, stream: TcpStream, peer: SocketAddr) -> Self {
        let awaited = book.meet(&pinhole);
        let ended = shared.begin(book, &pinhole, peer);
        Self { ended, stream, pinhole, awaited }
    }
}

/// A load balancer's connection says for whom it is before anything else. The door stays open meanwhile: whoever that is, the
/// right one may come next.
fn introduce(shared: &Arc<Shared>, entrance: SocketAddr, number: Number, stream: TcpStream, peer: SocketAddr) {
    if shared.introductions.fetch_add(1, Ordering::Relaxed) >= MOST_INTRODUCTIONS {
        shared.introductions.fetch_sub(1, Ordering::Relaxed);
        return shared.report(Incident::NoHeader);
    }
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let introduced = (shared.settings.introduce)(stream, peer).await;
        shared.introductions.fetch_sub(1, Ordering::Relaxed);
        let Some((stream, client)) = introduced else {
            tracing::debug!(%entrance, %peer, "refused a data connection: its load balancer sent no good PROXY header");
            return shared.report(Incident::NoHeader);
        };
        let mut book = shared.book();
        let guest = match book.speaks_for(entrance, number, peer.ip()) {
            Some(expected) if expected == client => {
                let pinhole = book.admit_introduced(entrance, peer.ip());
                pinhole.map(|pinhole| Guest::new(&shared, &mut book, pinhole, stream, peer))
            }
            _ => turn_away(&shared, entrance, peer),
        };
        drop(book);
        if let Some(guest) = guest {
            let_in(&shared, guest);
        }
    });
}

/// Looks at all who have knocked at the door of a pinhole, now.
pub(super) fn answer(shared: &Arc<Shared>, book: &mut Book, key: &Key) -> Vec<Guest> {
    let (number, knocked) = book.knocked(key);
    knocked.into_iter().filter_map(|(stream, peer)| admit(shared, book, key.entrance, number, stream, peer)).collect()
}

/// Starts the task that copies. The book must be free: a task that cannot be started is dropped at once, and takes itself off.
pub(super) fn let_in(shared: &Arc<Shared>, guest: Guest) {
    let Guest { ended, stream, pinhole, awaited } = guest;
    let flow = ended.flow;
    shared.watches.tell();
    let task = tokio::spawn(copy::run(ended, stream, pinhole, awaited)).abort_handle();
    shared.book().run(&flow, task);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_in_the_way_is_said() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let error = listen(taken.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InUse);
        assert!(error.to_string().contains("data.ports"), "{error}");
        let error = listen("192.0.2.1:50000".parse().unwrap()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("no address of this host"), "{error}");
    }
}
