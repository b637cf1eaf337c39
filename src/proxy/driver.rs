//! One task that owns one session.
//!
//! Lives here: the life of a session from the accepted connection to the last byte, and the carrying out of its effects. Not
//! here: any decision about FTP (`session`).
//!
//! Effects are carried out without waiting: what a socket does not take is kept by its `pipe`, and the answer of the firewall
//! comes back as an event. So the buffers that an event needs belong to the thread, and an idle session owns none.
//!
//! The task is as large as the largest of its moments, so what an idle session does not need lives on the heap while it is
//! needed: the beginning, the end, and everything about data connections (`busy`). Sizes: `docs/scaling.md`.

mod data;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, timeout};

use super::begin::{Admitted, Begun, begin};
use super::busy::{Busy, Ranged};
use super::herald::Ear;
use super::limits::Permit;
use super::listener::Alive;
use super::pipe::Pipe;
use super::record::Record;
use super::{GoingDown, Live, drain};
use crate::firewall::path::DataPath;
use crate::session::Session;
use crate::session::effect::{Effect, Effects, EndReason, Event, Millis, Side};
use crate::sys;

/// How long last words may take to be sent, and then how long a peer may take to close its side.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LINGER: Duration = Duration::from_secs(2);

/// Most bytes read at once.
const READ: usize = 16 * 1024;

struct Scratch {
    buffer: Box<[u8]>,
    effects: Effects,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        RefCell::new(Scratch { buffer: vec![0; READ].into_boxed_slice(), effects: Effects::new() });
}

/// Runs one session to its end.
///
/// A function that returns a future, not an `async fn`: that would keep its arguments beside what is made of them.
pub fn run(admitted: Admitted) -> impl Future<Output = ()> + Send {
    let beginning = Box::pin(async { begin(admitted).await.map(Driver::new) });
    async move {
        let Some(mut driver) = beginning.await else { return };
        {
            let mut timer = pin!(tokio::time::sleep_until(driver.record.shared.instant(driver.scheduled)));
            poll_fn(|context| driver.poll(context, timer.as_mut())).await;
        }
        Box::pin(driver.finish()).await;
    }
}

/// Fields are dropped from first to last: the place in the count, and the daemon's leave to end, come last.
struct Driver {
    session: Session,
    client: Pipe,
    server: Pipe,
    /// What there is about data connections, if anything is.
    busy: Option<Box<Busy>>,
    /// When the timer fires: the session's deadline, or sooner.
    scheduled: Millis,
    /// Hears that the daemon is going down.
    ear: Ear,
    /// How far down the session knows the daemon to be.
    obeyed: GoingDown,
    end: Option<EndReason>,
    record: Record,
    /// What the session goes by.
    live: Arc<Live>,
    _permit: Permit,
    _alive: Alive,
}

impl Driver {
    fn new(begun: Begun) -> Self {
        let Begun { session, client, server, record, live, permit, alive } = begun;
        Self {
            scheduled: session.deadline().unwrap_or(Millis(u64::MAX / 2)),
            session,
            client,
            server: Pipe::new(server),
            busy: None,
            ear: record.shared.herald.ear(),
            obeyed: GoingDown::No,
            end: None,
            record,
            live,
            _permit: permit,
            _alive: alive,
        }
    }

    /// Until the session ends.
    fn poll(&mut self, context: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        while self.end.is_none() {
            ready!(self.poll_next(context, timer.as_mut()));
        }
        Poll::Ready(())
    }

    /// Takes in the next thing that happens; what is first here comes first. What is waited for is told by the sockets' own
    /// wakers: futures for both, and one for the daemon's end, would be a quarter of the task.
    fn poll_next(&mut self, context: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<()> {
        // Deadlines mostly move away, with every line; the timer is set anew only when one comes nearer, or when it fires.
        if let Some(at) = self.session.deadline().filter(|at| *at < self.scheduled) {
            self.scheduled = at;
            timer.as_mut().reset(self.record.shared.instant(at));
        }
        self.measure();
        if let Some(busy) = &mut self.busy {
            if let Poll::Ready((id, announcement, opened)) = busy.poll_opened(context) {
                self.opened(id, announcement, opened);
                return Poll::Ready(());
            }
            if let Poll::Ready(opened) = busy.poll_range(context) {
                self.range_opened(opened);
                return Poll::Ready(());
            }
            if let Poll::Ready((id, event)) = busy.poll_flows(context) {
                self.flow_event(id, event);
                return Poll::Ready(());
            }
        }
        for side in [Side::Client, Side::Server] {
            let (read, write) = self.interest(side);
            if let Poll::Ready(ready) = self.pipe(side).poll_ready(read, write, context) {
                self.io(side, ready);
                return Poll::Ready(());
            }
        }
        if timer.as_mut().poll(context).is_ready() {
            let now = self.record.shared.now();
            if self.session.deadline().is_some_and(|at| at <= now) {
                if self.carries_unseen() {
                    self.step(Event::Alive);
                }
                // Does nothing if that has moved the deadline.
                self.step(Event::Tick);
            }
            // tokio's clock has millisecond steps, and so has ours: never aim at a moment that has passed.
            let next = self.session.deadline().unwrap_or(Millis(u64::MAX / 2));
            self.scheduled = next;
            timer.reset(self.record.shared.instant(next).max(Instant::now() + Duration::from_millis(1)));
            return Poll::Ready(());
        }
        let how_far = self.ear.hear(context);
        if how_far > self.obeyed {
            self.obeyed = how_far;
            match how_far {
                GoingDown::Now => self.step(Event::Lost(EndReason::Drained)),
                _ => self.step(Event::Drain),
            }
            return Poll::Ready(());
        }
        self.busy.take_if(|busy| busy.is_over());
        Poll::Pending
    }

    /// What is to be done when the session has ended.
    async fn finish(&mut self) {
        let reason = self.end.unwrap_or(EndReason::ClientClosed);
        // RFC 959 §3.2: nothing of the session outlives its control connection. First of all no pinhole.
        self.close_range();
        if let Some(busy) = self.busy.take() {
            let Busy { openings, watches, receivers, leases, .. } = *busy;
            drop(openings);
            for (_, lease) in leases {
                self.record.pinhole_closed(lease.pinhole());
            }
            if let Some(limit) = self.live.drain {
                let after = (self.record.shared.clone(), self.path().clone());
                drain::after(after, self.record.session(), watches, receivers, limit);
            }
        }
        self.record.shared.tls.end(self.record.session());
        if let Some(tracker) = self.path().tracker() {
            self.record.shared.metrics.overruns(tracker.lost());
        }
        self.record.ended(reason);
        tokio::join!(close(&mut self.client), close(&mut self.server));
    }

    fn path(&self) -> &DataPath {
        &self.record.listener.path
    }

    fn busy(&mut self) -> &mut Busy {
        self.busy.get_or_insert_default()
    }

    /// What to wait for on a side: bytes, if the session wants them and the other side can take what they lead to; room, if
    /// something waits to be sent.
    fn interest(&self, side: Side) -> (bool, bool) {
        let (own, other) = match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        };
        if own.has_failed() {
            return (false, false);
        }
        let waits = side == Side::Server && self.busy.as_ref().is_some_and(|busy| busy.server_waits);
        if own.is_shaking_hands() {
            return (true, own.is_waiting());
        }
        (self.session.wants(side) && !waits && !other.is_full() && !own.is_full(), own.is_waiting())
    }

    fn pipe(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// A side is ready: to be read, to be written.
    fn io(&mut self, side: Side, ready: io::Result<(bool, bool)>) {
        let Ok((readable, writable)) = ready else { return self.gone(side) };
        if writable && self.pipe(side).is_waiting() {
            self.pipe(side).flush();
        }
        if self.pipe(side).is_shaking_hands() {
            self.shake_hands(side);
        } else if readable && self.session.wants(side) && !(side == Side::Server && self.server_is_early()) {
            self.read(side);
        }
        if self.pipe(side).has_failed() {
            self.gone(side);
        }
    }

    /// Goes on with a handshake, and tells the session of its end.
    fn shake_hands(&mut self, side: Side) {
        match self.pipe(side).shake_hands() {
            Ok(false) => {}
            Ok(true) => self.step(Event::Secured(side)),
            Err(error) => {
                self.record.handshake_failed(side, &error);
                // It has heard nothing yet, or what it said would have to be told to somebody else.
                if side == Side::Server && !self.client.is_shaking_hands() {
                    self.client.send(b"421 The server did not prove in TLS that it is the right one; closing.\r\n");
                }
                self.step(Event::Lost(EndReason::Tls));
            }
        }
    }

    /// Begins TLS with a side.
    fn secure(&mut self, side: Side) {
        let tls = self.record.shared.tls.of(self.record.session());
        let begun = tls.map(|tls| match side {
            Side::Client => tls.with_client(),
            Side::Server => tls.with_server(),
        });
        match begun {
            Some(Ok(channel)) => self.pipe(side).secure(channel),
            Some(Err(error)) => {
                tracing::error!(session = self.record.session(), "{error}");
                self.end = Some(EndReason::Tls);
            }
            // Its listener has none, so its rules ask for none.
            None => self.end = Some(EndReason::Tls),
        }
    }

    /// Whether the server may speak of a data connection that the relay has accepted from it and that has not reached the client
    /// yet: a client that hears of the end before there was a beginning gives up.
    fn server_is_early(&mut self) -> bool {
        let (Some(busy), Some(tracker)) = (&mut self.busy, self.record.listener.path.tracker()) else { return false };
        let all = busy.leases.iter().flat_map(|(_, lease)| lease.all());
        let mut active = all.filter(|lease| lease.pinhole().announcement.is_active());
        busy.server_waits = active.any(|lease| tracker.is_on_its_way(&lease.watched()));
        busy.server_waits
    }

    fn read(&mut self, side: Side) {
        // Commands that are sent as urgent data interrupt a transfer; without one the mark means nothing, and is not asked for.
        if side == Side::Client && self.session.is_transferring() && sys::at_urgent_mark(self.client.stream()) {
            self.step(Event::Urgent);
        }
        let now = self.record.shared.now();
        SCRATCH.with_borrow_mut(|scratch| {
            // No FTP server sends urgent data (RFC 959 §4.1.3 has the client do so). What one that does sends behind it is read
            // with what it sends next.
            match self.pipe(side).read(&mut scratch.buffer, side == Side::Client) {
                Ok(0) => self.session.handle(Event::Eof(side), now, &mut scratch.effects),
                Ok(n) => {
                    let bytes = scratch.buffer.get(..n).unwrap_or_default();
                    self.session.handle(Event::Bytes(side, bytes), now, &mut scratch.effects);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.session.handle(Event::Lost(lost(side)), now, &mut scratch.effects),
            }
            self.carry_out(&mut scratch.effects);
        });
    }

    fn step(&mut self, event: Event<'_>) {
        let now = self.record.shared.now();
        SCRATCH.with_borrow_mut(|scratch| {
            self.session.handle(event, now, &mut scratch.effects);
            self.carry_out(&mut scratch.effects);
        });
    }

    fn carry_out(&mut self, effects: &mut Effects) {
        while let Some(effect) = effects.poll() {
            match effect {
                Effect::Send { side, bytes, urgent: false } => self.pipe(side).send(bytes),
                Effect::Send { side, bytes, urgent: true } => self.pipe(side).send_urgent(bytes),
                Effect::Shutdown(side) => self.pipe(side).shutdown(),
                Effect::Open(id, request) => {
                    let opening = self.path().open(self.record.session(), request);
                    self.busy().openings.push((id, request.announcement, opening));
                }
                Effect::Join(id, joint) => {
                    let opening = self.path().join(self.record.session(), *joint);
                    self.busy().openings.push((id, joint.announcement, opening));
                }
                Effect::Close(id) => self.close_pinhole(id),
                Effect::Measure(id) => self.busy().to_measure.push(id),
                // At its end the session loses interest in all, but some may outlive it (`drain`).
                Effect::Unwatch(_) if self.session.has_ended() => {}
                Effect::Unwatch(id) => self.unwatch(id),
                Effect::Reset(id, receiver) => self.reset(id, receiver),
                Effect::Secure(side) => self.secure(side),
                Effect::Unsecure(side) => self.pipe(side).unsecure(),
                Effect::OpenRange(range) => {
                    let opening = self.path().open_range(*range);
                    self.busy().range = Some(Box::new(Ranged::Opening(opening)));
                }
                Effect::CloseRange => self.close_range(),
                Effect::Note(note) => self.record.note(note, self.session.ends()),
                Effect::Transferred(transfer) => {
                    self.remember_receiver(&transfer);
                    self.record.transferred(&transfer, self.session.ends());
                }
                Effect::End(reason) => self.end = Some(reason),
            }
        }
    }

    /// A peer went without closing: there is nobody left to speak for.
    fn gone(&mut self, side: Side) {
        self.step(Event::Lost(lost(side)));
    }
}

fn lost(side: Side) -> EndReason {
    match side {
        Side::Client => EndReason::ClientClosed,
        Side::Server => EndReason::ServerClosed,
    }
}

/// Sends what waits, half-closes, and gives the peer a moment to close as well: a socket closed with unread bytes in it is
/// reset, and the reset could overtake the last words.
pub(super) async fn close(pipe: &mut Pipe) {
    let _ = timeout(LAST_WORDS, async {
        while pipe.is_waiting() && !pipe.has_failed() && pipe.stream().writable().await.is_ok() {
            pipe.flush();
        }
    })
    .await;
    pipe.shutdown();
    let _ = timeout(LINGER, async {
        while !pipe.has_failed() && pipe.stream().readable().await.is_ok() {
            match SCRATCH.with_borrow_mut(|scratch| pipe.stream().try_read(&mut scratch.buffer)) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    })
    .await;
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
