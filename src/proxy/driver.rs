//! One task that owns one session.
//!
//! Lives here: the life of a session from the accepted connection to the last byte, and the carrying out of its effects. Not
//! here: any decision about FTP (`session`).
//!
//! Effects are carried out without waiting: what a socket does not take is kept by its `pipe`, and the answer of the firewall
//! comes back as an event. So the buffers that an event needs belong to the thread, and an idle session owns none.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::origin::{self, Way};
use super::pipe::Pipe;
use super::record::Record;
use super::{GoingDown, ListenerSettings, Live, Shared, drain, upstream};
use crate::firewall;
use crate::firewall::tracking::{End, Flow, FlowEvent, Watch};
use crate::firewall::worker::{Lease, Opening};
use crate::observe::metrics::Rejection;
use crate::pinhole::{Announcement, DataEvent};
use crate::session::data::{Direction, Outcome, Transfer};
use crate::session::effect::{Effect, Effects, EndReason, Event, Millis, PinholeId, Side};
use crate::session::{Ends, Session};
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
pub async fn run(
    client: TcpStream,
    peer: SocketAddr,
    listener: &ListenerSettings,
    shared: &Arc<Shared>,
    live: Arc<Live>,
) {
    let record = Record::start(shared.session_id(), peer, &listener.name, shared);
    // What is over before the session begins lives on the heap until then, not in every session's task.
    let (way, server, source) = match Box::pin(begin(&client, peer, listener, shared, &live)).await {
        Ok(begun) => begun,
        Err((reason, why)) => {
            record.rejected(reason, &why);
            let mut client = Pipe::new(client);
            client.send(format!("421 {why}.\r\n").as_bytes());
            return Box::pin(close(&mut client)).await;
        }
    };
    record.opened(way, source);
    let announced = origin::of_family(&listener.announced, way.original.ip());
    let ends = Ends {
        client: peer,
        original: way.original,
        source,
        server: way.server,
        announced,
        // Another name of this host is where packets for that name arrive. If it is no address of this host, a gateway
        // before this one translates it, and they arrive where the control connection did.
        entrance: announced.filter(|address| shared.is_own(*address)),
    };
    let mut driver = Driver {
        session: Session::new(live.session, ends, shared.now()),
        client: Pipe::new(client),
        server: Pipe::new(server),
        openings: Vec::new(),
        watches: Vec::new(),
        receivers: Vec::new(),
        to_measure: Vec::new(),
        leases: Vec::new(),
        end: None,
        record,
        shared,
        drain: live.drain,
    };
    driver.drive().await;
}

/// From the accepted connection to the connected server, or the word and the sentence that say why not.
async fn begin(
    client: &TcpStream,
    peer: SocketAddr,
    listener: &ListenerSettings,
    shared: &Shared,
    live: &Live,
) -> Result<(Way, TcpStream, SocketAddr), (Rejection, String)> {
    let local = client.local_addr().map(origin::canonical);
    let local = local.and_then(|local| sys::tune(client).map(|()| local));
    let local = local.map_err(|error| (Rejection::Internal, error.to_string()))?;
    let way =
        origin::find(client, peer, local, listener, shared).map_err(|lost| (lost.counts_as(), lost.to_string()))?;
    let connected = upstream::connect(way.server, peer, listener, live.connect_timeout).await;
    let (server, source) = connected.map_err(|error| (error.counts_as(), error.to_string()))?;
    Ok((way, server, source))
}

/// Who hears of the data connection of a pinhole, and that connection once there is one.
pub(super) type Watched = (PinholeId, Watch, Option<Flow>);

struct Driver<'a> {
    session: Session,
    client: Pipe,
    server: Pipe,
    /// Pinholes that were asked for; two at most, one held line each way.
    openings: Vec<(PinholeId, Announcement, Opening)>,
    /// The data connections that come through them.
    watches: Vec<Watched>,
    /// Where the files go of those that outlive the session.
    receivers: Vec<(Flow, End)>,
    /// Data connections whose traffic the session asked for.
    to_measure: Vec<PinholeId>,
    /// Pinholes in force. Dropping a lease closes its pinhole, so no way out of here leaves one open.
    leases: Vec<(PinholeId, Lease)>,
    end: Option<EndReason>,
    record: Record<'a>,
    shared: &'a Arc<Shared>,
    /// How long data connections may outlive the session, if somebody looks after them then.
    drain: Option<Duration>,
}

impl Driver<'_> {
    async fn drive(&mut self) {
        let mut going_down = self.shared.going_down.clone();
        let mut obeyed = GoingDown::No;
        let mut scheduled = self.session.deadline().unwrap_or(Millis(u64::MAX));
        let mut timer = pin!(tokio::time::sleep_until(self.shared.instant(scheduled)));
        while self.end.is_none() {
            // Deadlines mostly move away, with every line; the timer is set anew only when one comes nearer, or when it fires.
            if let Some(at) = self.session.deadline().filter(|at| *at < scheduled) {
                scheduled = at;
                timer.as_mut().reset(self.shared.instant(at));
            }
            self.measure();
            let client = self.interest(Side::Client);
            let server = self.interest(Side::Server);
            tokio::select! {
                biased;
                (id, announcement, opened) = next_opened(&mut self.openings), if !self.openings.is_empty() => {
                    self.opened(id, announcement, opened);
                }
                (id, event) = next_of_flows(&mut self.watches), if !self.watches.is_empty() => self.flow_event(id, event),
                ready = readiness(self.client.stream(), client), if client.is_some() => self.io(Side::Client, ready),
                ready = readiness(self.server.stream(), server), if server.is_some() => self.io(Side::Server, ready),
                () = &mut timer => {
                    if self.session.deadline().is_some_and(|at| at <= self.shared.now()) {
                        self.step(Event::Tick);
                    }
                    // tokio's clock has millisecond steps, and so has ours: never aim at a moment that has passed.
                    let next = self.session.deadline().unwrap_or(Millis(u64::MAX / 2));
                    scheduled = next;
                    timer.as_mut().reset(self.shared.instant(next).max(Instant::now() + Duration::from_millis(1)));
                }
                Ok(how_far) = wait_beyond(&mut going_down, obeyed) => {
                    obeyed = how_far;
                    match how_far {
                        GoingDown::Now => self.step(Event::Lost(EndReason::Drained)),
                        _ => self.step(Event::Drain),
                    }
                }
            }
        }
        let reason = self.end.unwrap_or(EndReason::ClientClosed);
        // RFC 959 §3.2: nothing of the session outlives its control connection. First of all no pinhole.
        self.openings.clear();
        for (_, lease) in self.leases.drain(..) {
            self.record.pinhole_closed(lease.pinhole());
        }
        if let Some(limit) = self.drain {
            let receivers = std::mem::take(&mut self.receivers);
            let watches = std::mem::take(&mut self.watches);
            drain::after(self.shared.clone(), self.record.session(), watches, receivers, limit);
        }
        if let Some(tracker) = &self.shared.tracker {
            self.shared.metrics.overruns(tracker.lost());
        }
        self.record.ended(reason);
        Box::pin(async { tokio::join!(close(&mut self.client), close(&mut self.server)) }).await;
    }

    /// What to wait for on a side: bytes, if the session wants them and the other side can take what they lead to; room, if
    /// something waits to be sent.
    fn interest(&self, side: Side) -> Option<Interest> {
        let (own, other) = match side {
            Side::Client => (&self.client, &self.server),
            Side::Server => (&self.server, &self.client),
        };
        if own.has_failed() {
            return None;
        }
        let read = self.session.wants(side) && !other.is_full() && !own.is_full();
        match (read, own.is_waiting()) {
            (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::WRITABLE),
            (false, false) => None,
        }
    }

    fn pipe(&mut self, side: Side) -> &mut Pipe {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn io(&mut self, side: Side, ready: io::Result<Ready>) {
        let Ok(ready) = ready else { return self.gone(side) };
        if ready.is_writable() && self.pipe(side).is_waiting() {
            self.pipe(side).flush();
        }
        if ready.is_readable() && self.session.wants(side) {
            self.read(side);
        }
        if self.pipe(side).has_failed() {
            self.gone(side);
        }
    }

    fn read(&mut self, side: Side) {
        // Commands that are sent as urgent data interrupt a transfer; without one the mark means nothing, and is not asked for.
        if side == Side::Client && self.session.is_transferring() && sys::at_urgent_mark(self.client.stream()) {
            self.step(Event::Urgent);
        }
        let now = self.shared.now();
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
        let now = self.shared.now();
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
                    let opening = self.shared.firewall.open(self.record.session(), request);
                    self.openings.push((id, request.announcement, opening));
                }
                Effect::Close(id) => self.close_pinhole(id),
                Effect::Measure(id) => self.to_measure.push(id),
                // At its end the session loses interest in all, but some may outlive it (`drain`).
                Effect::Unwatch(_) if self.session.has_ended() => {}
                Effect::Unwatch(id) => {
                    self.watches.retain(|(watched, ..)| *watched != id);
                    if self.watches.is_empty() {
                        self.watches = Vec::new();
                    }
                }
                Effect::Reset(id, receiver) => self.reset(id, receiver),
                Effect::Note(note) => self.record.note(note),
                Effect::Transferred(transfer) => {
                    self.remember_receiver(&transfer);
                    self.record.transferred(&transfer, self.session.ends());
                }
                Effect::End(reason) => self.end = Some(reason),
            }
        }
    }

    fn opened(&mut self, id: PinholeId, announcement: Announcement, opened: Result<Lease, firewall::Error>) {
        match opened {
            Ok(lease) => {
                self.record.pinhole_opened(lease.pinhole(), lease.took());
                // Nobody has been told of the entrance yet, so nothing can come through it before it is watched.
                if let Some(tracker) = &self.shared.tracker {
                    self.watches.push((id, tracker.watch(lease.pinhole().key()), None));
                }
                let port = lease.pinhole().entrance.port();
                self.leases.push((id, lease));
                self.step(Event::Granted(id, port));
            }
            Err(error) => {
                self.record.pinhole_failed(announcement, &error);
                self.step(Event::Refused(id));
            }
        }
    }

    fn close_pinhole(&mut self, id: PinholeId) {
        self.openings.retain(|(opening, ..)| *opening != id);
        if let Some(at) = self.leases.iter().position(|(lease, _)| *lease == id) {
            let (_, lease) = self.leases.swap_remove(at);
            self.record.pinhole_closed(lease.pinhole());
        }
        if self.leases.is_empty() {
            self.leases = Vec::new();
        }
    }

    /// Something happened to a data connection.
    fn flow_event(&mut self, id: PinholeId, event: Option<FlowEvent>) {
        let event = match event {
            Some(FlowEvent::Used(flow)) => {
                if let Some((.., known)) = self.watches.iter_mut().find(|(watched, ..)| *watched == id) {
                    *known = Some(flow);
                }
                if !self.shared.firewall.habits().one_shot {
                    self.close_pinhole(id);
                }
                DataEvent::Used { dialler: flow.original.source }
            }
            Some(FlowEvent::Established) => return,
            Some(FlowEvent::Closing(counters) | FlowEvent::Gone(counters)) => {
                let ipv6 = self.session.ends().client.is_ipv6();
                DataEvent::Over(counters.map(|counters| counters.traffic(ipv6)))
            }
            None => {
                self.watches.retain(|(watched, ..)| *watched != id);
                return;
            }
        };
        self.step(Event::Data(id, event));
    }

    fn flow(&self, id: PinholeId) -> Option<Flow> {
        self.watches.iter().find(|(watched, ..)| *watched == id).and_then(|(.., flow)| *flow)
    }

    /// Looks at what the session asked to be looked at.
    fn measure(&mut self) {
        while let Some(id) = self.to_measure.pop() {
            let (Some(tracker), Some(flow)) = (&self.shared.tracker, self.flow(id)) else { continue };
            let counters = tracker.query(&flow).ok().flatten().and_then(|snapshot| snapshot.counters);
            if let Some(counters) = counters {
                // Keepalives and window probes are packets, but move nothing.
                let ipv6 = self.session.ends().client.is_ipv6();
                self.step(Event::Measured(id, counters.traffic(ipv6).total()));
            }
        }
    }

    /// Ends a data connection so that both its ends notice.
    fn reset(&mut self, id: PinholeId, receiver: Option<Side>) {
        let Some(flow) = self.flow(id) else { return };
        // Its pinhole must be gone first, lest the kernel take the next packet of it for a new connection.
        self.close_pinhole(id);
        self.record.reset(&flow);
        let receiver = receiver.map(|side| self.end_of(&flow, side));
        drain::end(self.shared, self.record.session(), &flow, receiver);
    }

    /// A transfer is recorded while its data connection lives on: `drain` will want to know which end to reset first.
    fn remember_receiver(&mut self, transfer: &Transfer) {
        let lives = |flow: &&Flow| Some(flow.original.source) == transfer.dialler;
        let flow = self.watches.iter().filter_map(|(.., flow)| flow.as_ref()).find(lives).copied();
        if let Some(flow) = flow.filter(|_| self.drain.is_some() && transfer.outcome == Outcome::ControlClosed) {
            let side = if transfer.direction == Direction::Upload { Side::Server } else { Side::Client };
            self.receivers.push((flow, self.end_of(&flow, side)));
        }
    }

    fn end_of(&self, flow: &Flow, side: Side) -> End {
        let client_dialled = flow.original.source.ip() == self.session.ends().client.ip();
        if (side == Side::Client) == client_dialled { End::Initiator } else { End::Target }
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

/// The next pinhole that is in force or refused.
async fn next_opened(
    openings: &mut Vec<(PinholeId, Announcement, Opening)>,
) -> (PinholeId, Announcement, Result<Lease, firewall::Error>) {
    poll_fn(|context| {
        for (at, (.., opening)) in openings.iter_mut().enumerate() {
            if let Poll::Ready(opened) = Future::poll(Pin::new(opening), context) {
                let (id, announcement, _) = openings.swap_remove(at);
                return Poll::Ready((id, announcement, opened));
            }
        }
        Poll::Pending
    })
    .await
}

/// What happens next to one of the data connections; `None` when nothing more will.
async fn next_of_flows(watches: &mut [Watched]) -> (PinholeId, Option<FlowEvent>) {
    poll_fn(|context| {
        for (id, watch, _) in watches.iter_mut() {
            if let Poll::Ready(event) = watch.poll_next(context) {
                return Poll::Ready((*id, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for what a side is waited for. By polling rather than with `TcpStream::ready`, which joins a list of waiters and leaves
/// it again at every event, whichever side it is of.
async fn readiness(stream: &TcpStream, interest: Option<Interest>) -> io::Result<Ready> {
    let Some(interest) = interest else { return std::future::pending().await };
    poll_fn(|context| {
        let mut ready = Ready::EMPTY;
        if interest.is_readable()
            && let Poll::Ready(readable) = stream.poll_read_ready(context)
        {
            readable?;
            ready |= Ready::READABLE;
        }
        if interest.is_writable()
            && let Poll::Ready(writable) = stream.poll_write_ready(context)
        {
            writable?;
            ready |= Ready::WRITABLE;
        }
        if ready.is_empty() { Poll::Pending } else { Poll::Ready(Ok(ready)) }
    })
    .await
}

/// Waits until the daemon is further down than `obeyed`.
async fn wait_beyond(
    going_down: &mut tokio::sync::watch::Receiver<GoingDown>,
    obeyed: GoingDown,
) -> Result<GoingDown, tokio::sync::watch::error::RecvError> {
    going_down.wait_for(|how_far| *how_far > obeyed).await.map(|how_far| *how_far)
}

/// Sends what waits, half-closes, and gives the peer a moment to close as well: a socket closed with unread bytes in it is
/// reset, and the reset could overtake the last words.
async fn close(pipe: &mut Pipe) {
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
