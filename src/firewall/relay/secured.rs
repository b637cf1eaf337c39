//! Secured: a data connection of which one leg is TLS, or both are.
//!
//! Lives here: the handshakes, and copying both ways with half-close, time limits, and the end of a file that is one. Not here: TLS
//! itself (whoever made [`Settings::secure`](super::Settings)), data connections that the kernel copies (`copy`).
//!
//! **A file that was cut off never looks complete.** Its end is close_notify (RFC 8446 §6.1); a leg that ends without it was cut,
//! by whomever, and then the other end is reset.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::book::{Counts, Ended};
use super::{Incident, Peer, Shared, Stream};
use crate::pinhole::Pinhole;
use crate::sys;

/// Most bytes of one direction that are held here: two records of TLS.
const HELD: usize = 32 * 1024;

/// Rounds before others have their turn.
const ROUNDS: u32 = 16;

/// From the moment when both ends are there to the end.
pub(super) async fn carry(ended: &Ended, initiator: TcpStream, target: TcpStream, pinhole: &Pinhole) {
    let shared = &*ended.shared;
    let session = pinhole.session;
    let (mut initiator, mut target) = match shake_hands(shared, initiator, target, pinhole).await {
        Ok(both) => both,
        // Its transfer was refused, so there was nothing to be secured.
        Err(error) if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            return tracing::debug!(session, %error, "data connection closed before its TLS handshake");
        }
        Err(error) => {
            shared.report(Incident::Tls);
            return tracing::info!(session, reason = Incident::Tls.as_str(), "data connection without TLS: {error}");
        }
    };
    match both_ways(shared, &ended.counts, &mut *initiator, &mut *target).await {
        Ok(()) => {
            // All has passed: what the kernel still has to send, it sends.
            let _ = sys::reset_on_close(initiator.socket(), false);
            let _ = sys::reset_on_close(target.socket(), false);
        }
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            shared.report(Incident::Truncated);
            tracing::info!(
                session,
                reason = Incident::Truncated.as_str(),
                "data connection cut: one end closed it without a word in TLS; the other is reset"
            );
        }
        Err(error) => {
            tracing::debug!(session, dialler = %ended.flow.original.source, %error, "data connection broken off");
        }
    }
}

/// Both ends at once: each waits for its transfer command, and servers wait for their client. So there is as much time as for
/// anything else to move.
async fn shake_hands(
    shared: &Shared,
    initiator: TcpStream,
    target: TcpStream,
    pinhole: &Pinhole,
) -> io::Result<(Box<dyn Stream>, Box<dyn Stream>)> {
    sys::keep_alive(&initiator)?;
    sys::keep_alive(&target)?;
    let active = pinhole.announcement.is_active();
    let one = |stream: TcpStream, is_client: bool| async move {
        let (wanted, peer) = match is_client {
            true => (pinhole.protection.client, Peer::Client),
            false => (pinhole.protection.server, Peer::Server),
        };
        let plain: Box<dyn Stream> =
            if wanted { (shared.settings.secure)(stream, pinhole.session, peer).await? } else { Box::new(stream) };
        Ok(plain)
    };
    let both = async { tokio::try_join!(one(initiator, !active), one(target, active)) };
    timeout(shared.settings.idle_timeout, both).await.unwrap_or_else(|late| Err(late.into()))
}

/// Copies until both ends have closed.
async fn both_ways(
    shared: &Shared,
    counts: &Counts,
    initiator: &mut dyn Stream,
    target: &mut dyn Stream,
) -> io::Result<()> {
    let (mut there, mut back) = (Direction::new(&counts.from_initiator), Direction::new(&counts.to_initiator));
    loop {
        let half_closed = there.is_done || back.is_done;
        // As in `copy`.
        let limit: Duration = shared.settings.idle_timeout * if half_closed { 1 } else { 2 };
        let before = counts.counters();
        let next = poll_fn(|context| {
            let one = there.poll(context, initiator, target, &back);
            let other = back.poll(context, target, initiator, &there);
            for done in [one, other] {
                if let Poll::Ready(Err(error)) = done {
                    return Poll::Ready(Err(error));
                }
            }
            let done = there.is_done && back.is_done;
            if done || (there.is_done || back.is_done) != half_closed { Poll::Ready(Ok(done)) } else { Poll::Pending }
        });
        match timeout(limit, next).await {
            Ok(Ok(true)) => return Ok(()),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => return Err(error),
            Err(late) if counts.counters() == before => return Err(late.into()),
            Err(_) => {}
        }
    }
}

/// One direction.
struct Direction<'a> {
    count: &'a AtomicU64,
    /// While something is under way.
    buffer: Vec<u8>,
    sent: usize,
    /// Something was written that may not have left yet.
    to_flush: bool,
    /// Its end was seen, and is being passed on.
    is_over: bool,
    /// All of it has been passed on, also the end.
    is_done: bool,
}

impl<'a> Direction<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        Self { count, buffer: Vec::new(), sent: 0, to_flush: false, is_over: false, is_done: false }
    }

    /// Ready when it is done; an error ends both directions.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        from: &mut dyn Stream,
        to: &mut dyn Stream,
        other: &Direction<'_>,
    ) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS {
            if self.is_done {
                return Poll::Ready(Ok(()));
            }
            if self.is_over {
                return self.close(context, to);
            }
            if self.sent < self.buffer.len() {
                ready!(self.drain(context, to))?;
            } else if self.fill(context, from, other)?.is_pending() {
                // Nothing more is there for now: what was written is to arrive.
                if self.to_flush && Pin::new(&mut *to).poll_flush(context)?.is_ready() {
                    self.to_flush = false;
                }
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn fill(
        &mut self,
        context: &mut Context<'_>,
        from: &mut dyn Stream,
        other: &Direction<'_>,
    ) -> io::Result<Poll<()>> {
        self.buffer.resize(HELD, 0);
        let mut space = ReadBuf::new(&mut self.buffer);
        let read = Pin::new(from).poll_read(context, &mut space);
        let filled = space.filled().len();
        self.buffer.truncate(filled);
        self.sent = 0;
        match read {
            Poll::Ready(Ok(())) => {
                self.is_over = filled == 0;
                Ok(Poll::Ready(()))
            }
            Poll::Ready(Err(error)) => {
                // Whoever has only received may go without a word once it has it all: nothing of its own can be missing.
                let nothing = self.count.load(Ordering::Relaxed) == 0 && other.is_done;
                let gone = matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset);
                if nothing && gone && other.count.load(Ordering::Relaxed) > 0 {
                    self.is_over = true;
                    return Ok(Poll::Ready(()));
                }
                Err(error)
            }
            Poll::Pending => {
                // An idle direction holds nothing.
                self.buffer = Vec::new();
                Ok(Poll::Pending)
            }
        }
    }

    fn drain(&mut self, context: &mut Context<'_>, to: &mut dyn Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.buffer.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut *to).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
            self.to_flush = true;
            self.count.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    /// Passes the end on.
    fn close(&mut self, context: &mut Context<'_>, to: &mut dyn Stream) -> Poll<io::Result<()>> {
        match ready!(Pin::new(to).poll_shutdown(context)) {
            // Who has gone already need not be told.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Poll::Ready(Err(error)),
            _ => {
                self.is_done = true;
                Poll::Ready(Ok(()))
            }
        }
    }
}
