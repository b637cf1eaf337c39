//! Copy: one data connection, from the moment its initiator is in.
//!
//! Lives here: connecting to the target, copying both ways with half-close and back-pressure, and the time limits of that. Not
//! here: who may come in (`door`), the bytes themselves (`sys::Pipe`).
//!
//! Of each direction at most one pipe's content is held here; what the receiver does not take keeps the sender waiting. A
//! direction on which nothing is under way holds nothing.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::book::{Counts, Ended};
use super::joint::Awaited;
use super::{Incident, Shared, secured};
use crate::pinhole::Pinhole;
use crate::sys::{self, Pipe};

/// Rounds before others have their turn.
const ROUNDS: u32 = 16;

/// Empty pipes that are kept: as many as are in use in one moment by threads that copy, and some.
const SPARE_PIPES: usize = 64;

/// Empty pipes. The one that was used last is taken first.
#[derive(Debug, Default)]
pub(super) struct Pipes(Mutex<Vec<Pipe>>);

impl Pipes {
    fn take(&self) -> Pipe {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        spare.unwrap_or_default()
    }

    fn give_back(&self, pipe: Pipe) {
        let mut spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pipe.held() == 0 && pipe.is_worth_keeping() && spare.len() < SPARE_PIPES {
            spare.push(pipe);
        }
    }
}

/// From the accepted connection to its end. `awaited`: the target dials too, and this is where it comes in.
pub(super) async fn run(ended: Ended, initiator: TcpStream, pinhole: Pinhole, awaited: Option<Awaited>) {
    let shared = &*ended.shared;
    let reached = match awaited {
        Some(awaited) => match timeout(pinhole.lifetime, awaited).await {
            Ok(Ok(target)) => Ok(target),
            // Its entrance was closed.
            Ok(Err(_)) => return,
            Err(late) => Err((Incident::ConnectTimeout, late.into())),
        },
        None => reach(shared, pinhole.target, pinhole.source, shared.connect_timeout()).await,
    };
    match reached {
        Ok(target) => {
            shared.arrive(&ended.flow);
            carry(ended, initiator, target, &pinhole).await;
        }
        Err((incident, error)) => refuse(shared, incident, &pinhole, &error),
    }
}

/// From the moment when both ends are there to the end.
pub(super) async fn carry(ended: Ended, initiator: TcpStream, target: TcpStream, pinhole: &Pinhole) {
    let session = pinhole.session;
    if pinhole.protection.is_some() {
        // Of its own, lest the task of every data connection be as large as this one.
        return Box::pin(secured::carry(&ended, initiator, target, pinhole)).await;
    }
    match both_ways(&ended.shared, &ended.counts, &initiator, &target).await {
        Ok(()) => {
            // All has passed: what the kernel still has to send, it sends.
            let _ = sys::reset_on_close(&initiator, false);
            let _ = sys::reset_on_close(&target, false);
        }
        Err(error) => {
            tracing::debug!(session, dialler = %ended.flow.original.source, %error, "data connection broken off");
        }
    }
}

/// The initiator sees its connection reset.
fn refuse(shared: &Shared, incident: Incident, pinhole: &Pinhole, error: &io::Error) {
    shared.report(incident);
    tracing::info!(
        session = pinhole.session,
        target = %pinhole.target,
        reason = incident.as_str(),
        "data connection refused: its target cannot be reached: {error}"
    );
}

/// The connection to a target, from the address that it must see, if that is one of this host's.
///
/// # Errors
/// There is none within the limit.
pub(super) async fn reach(
    shared: &Shared,
    target: SocketAddr,
    source: IpAddr,
    limit: Duration,
) -> Result<TcpStream, (Incident, io::Error)> {
    let connect = async {
        let from = if shared.is_own(source) { sys::From::Address(source) } else { sys::From::Any };
        let socket = TcpSocket::from_std_stream(sys::connecting_socket(target, from)?);
        // Before it is connected: whoever gives up meanwhile must not leave what looks like an empty file.
        sys::reset_on_close(&socket, true)?;
        socket.connect(target).await
    };
    match timeout(limit, connect).await {
        Ok(connected) => connected.map_err(|error| (Incident::Connect, error)),
        Err(late) => Err((Incident::ConnectTimeout, late.into())),
    }
}

/// Copies until both ends have closed.
async fn both_ways(shared: &Shared, counts: &Counts, initiator: &TcpStream, target: &TcpStream) -> io::Result<()> {
    sys::keep_alive(initiator)?;
    sys::keep_alive(target)?;
    let mut there = Direction::new(shared, initiator, target, &counts.from_initiator);
    let mut back = Direction::new(shared, target, initiator, &counts.to_initiator);
    loop {
        let half_closed = there.is_done || back.is_done;
        // Who watches it has resets of their own (`data.idle_timeout`). This is for the time when nobody does any more.
        let limit = shared.settings.idle_timeout * if half_closed { 1 } else { 2 };
        let before = counts.counters();
        let next = poll_fn(|context| {
            // Both, so that both are woken.
            let (one, other) = (there.poll(context), back.poll(context));
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
    shared: &'a Shared,
    from: &'a TcpStream,
    to: &'a TcpStream,
    count: &'a AtomicU64,
    /// While something is under way.
    pipe: Option<Pipe>,
    /// Its end was seen, and all of it has been passed on, also the end.
    is_done: bool,
}

impl<'a> Direction<'a> {
    fn new(shared: &'a Shared, from: &'a TcpStream, to: &'a TcpStream, count: &'a AtomicU64) -> Self {
        Self { shared, from, to, count, pipe: None, is_done: false }
    }

    /// Ready when it is done; an error ends both directions.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        for _ in 0..ROUNDS {
            if self.is_done {
                return Poll::Ready(Ok(()));
            }
            let polled = match &self.pipe {
                Some(pipe) if pipe.held() > 0 => self.drain(context),
                _ => self.fill(context),
            };
            if let Err(error) = ready!(polled) {
                return Poll::Ready(Err(error));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut pipe = self.pipe.take().unwrap_or_else(|| self.shared.pipes.take());
        loop {
            match self.from.try_io(Interest::READABLE, || pipe.fill(self.from)) {
                Ok(0) => {
                    self.shared.pipes.give_back(pipe);
                    self.is_done = true;
                    // Who has gone already need not be told.
                    return Poll::Ready(match SockRef::from(self.to).shutdown(Shutdown::Write) {
                        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
                        _ => Ok(()),
                    });
                }
                Ok(_) => {
                    self.pipe = Some(pipe);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.from.poll_read_ready(context) {
                    Poll::Ready(Ok(())) => {}
                    other => {
                        self.shared.pipes.give_back(pipe);
                        return other;
                    }
                },
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        while pipe.held() > 0 {
            match self.to.try_io(Interest::WRITABLE, || pipe.drain(self.to)) {
                Ok(count) => {
                    self.count.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = ready!(self.to.poll_write_ready(context)) {
                        return Poll::Ready(Err(error));
                    }
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}
