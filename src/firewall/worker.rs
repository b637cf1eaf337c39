//! Worker: the one thread that owns a backend.
//!
//! Lives here: [`Firewall`], the handle that sessions open pinholes with; [`Opening`], the answer that is to come; [`Lease`],
//! which closes its pinhole when it is dropped; and the thread behind them. Not here: which port an entrance gets (`ports`),
//! how a packet filter is changed (the backends).
//!
//! A thread, because a change of a packet filter is a system call that blocks for microseconds and now and then, when the
//! administrator loads a large ruleset or a change fails, for milliseconds. What has queued up meanwhile goes into one
//! transaction. The truth about what is in force is kept here and not asked of the kernel: a transaction that fails costs
//! thousands of times what one that succeeds does, so failure must never be part of the normal course.
//!
//! Changes are carried out in the order in which they were asked for, whoever asked: a lease dropped before an open is closed
//! before it or in the same transaction.

use std::collections::HashMap;
use std::future::Future;
use std::iter;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ports::Ports;
use super::{Backend, Change, Error, ErrorKind, Habits, Reset};
use crate::pinhole::{EntrancePort, Joint, Key, Pinhole, Request, SessionId};

/// How long to wait before each further try when the packet filter is busy.
const BUSY_PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];

/// What the thread needs to know besides its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `data.ports`: the ports of entrances at addresses of the gateway.
    pub ports: RangeInclusive<u16>,
    /// How long such a port rests before the same client gets it again at the same address.
    pub cooldown: Duration,
    /// Makes the ports unpredictable. Must be secret and new in every process.
    pub seed: u64,
}

/// The handle of the firewall thread. Clones are handles of the same thread, which ends with the last of them and the last
/// lease, or with [`Firewall::stop`].
#[derive(Clone, Debug)]
pub struct Firewall {
    inbox: Sender<Message>,
    state: Arc<State>,
    backend_name: &'static str,
    habits: Habits,
}

/// What the thread tells without being asked.
#[derive(Debug, Default)]
struct State {
    live: AtomicUsize,
    close_failures: AtomicU64,
    reset_failures: AtomicU64,
    /// What the last `clear` said.
    cleared: OnceLock<Result<(), Error>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Message {
    Open(Order),
    Close {
        key: Key,
        owner: u64,
    },
    Reset(Reset),
    /// Who waits for the end holds the other end of the channel, and learns of it when this one is dropped.
    Stop(Sender<()>),
}

/// A pinhole asked for.
#[derive(Debug)]
struct Order {
    session: SessionId,
    request: Request,
    asked: Instant,
    /// For the lease. The thread has no sender of its own: with one it would wait for ever.
    inbox: Sender<Message>,
    answer: oneshot::Sender<Result<Lease, Error>>,
}

impl Firewall {
    /// Starts the thread, lets the backend verify itself on it and waits for the answer. Blocks.
    ///
    /// # Errors
    /// What the backend says; or the thread cannot be started.
    pub fn start(backend: Box<dyn Backend>, settings: Settings) -> Result<Self, Error> {
        let (backend_name, habits) = (backend.name(), backend.habits());
        let (inbox, messages) = mpsc::channel();
        let (verified, answer) = mpsc::channel();
        let state = Arc::new(State::default());
        let worker = Worker {
            ports: Ports::new(settings.ports.clone(), settings.cooldown, settings.seed),
            backend,
            settings,
            held: HashMap::new(),
            next_owner: 0,
            state: Arc::clone(&state),
        };
        thread::Builder::new()
            .name("firewall".into())
            .spawn(move || worker.main(&messages, &verified))
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start the firewall thread: {error}")))?;
        answer.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { inbox, state, backend_name, habits })
    }

    /// Asks for a pinhole for a session. Never blocks.
    pub fn open(&self, session: SessionId, request: Request) -> Opening {
        let (sender, answer) = oneshot::channel();
        let order = Order { session, request, asked: Instant::now(), inbox: self.inbox.clone(), answer: sender };
        // If the thread is gone, the other end of `answer` is dropped here, and that is the answer.
        let _ = self.inbox.send(Message::Open(order));
        Opening { answer }
    }

    /// Asks for a data connection of two legs that both dial or are both dialled. No packet filter can make one: it refuses.
    pub fn join(&self, _: SessionId, _: Joint) -> Opening {
        let (sender, answer) = oneshot::channel();
        let text = format!(
            "{} cannot join two data connections, as data.server_mode asks for where client and server are in different modes; \
             use as-client",
            self.backend_name
        );
        let _ = sender.send(Err(Error::new(ErrorKind::Unsupported, text)));
        Opening { answer }
    }

    /// Ends a live data connection, after what was asked for before: drop its lease first. Never blocks.
    pub fn reset(&self, reset: Reset) {
        // If the thread is gone, so are the rules that would do it.
        let _ = self.inbox.send(Message::Reset(reset));
    }

    /// The word of the backend for logs and metrics.
    pub fn backend_name(&self) -> &'static str {
        self.backend_name
    }

    /// What the backend can do by itself.
    pub fn habits(&self) -> Habits {
        self.habits
    }

    /// Pinholes that leases hold open now, used or not.
    pub fn live(&self) -> usize {
        self.state.live.load(Ordering::Relaxed)
    }

    /// Pinholes that could not be closed since the start. They end with their lifetime.
    pub fn close_failures(&self) -> u64 {
        self.state.close_failures.load(Ordering::Relaxed)
    }

    /// Data connections that could not be reset since the start. Their ends notice nothing.
    pub fn reset_failures(&self) -> u64 {
        self.state.reset_failures.load(Ordering::Relaxed)
    }

    /// Closes everything, after what was asked for before, and ends the thread. Blocks until that is done. Whoever opens
    /// later gets an error; a lease dropped later has nothing to close. Doing so twice is fine.
    ///
    /// # Errors
    /// What the backend says to `clear`; or the thread had died before.
    pub fn stop(&self) -> Result<(), Error> {
        let (waiting, done) = mpsc::channel();
        let _ = self.inbox.send(Message::Stop(waiting));
        let _ = done.recv();
        self.state.cleared.get().cloned().unwrap_or_else(|| Err(gone()))
    }
}

fn gone() -> Error {
    let text = "the firewall thread has ended: ftpgate is stopping, or the log tells what the thread died of";
    Error::new(ErrorKind::Other, text)
}

/// A pinhole that is on its way. Dropped before it is ready, it closes the pinhole, or never opens it.
#[derive(Debug)]
pub struct Opening {
    answer: oneshot::Receiver<Result<Lease, Error>>,
}

impl Future for Opening {
    type Output = Result<Lease, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

/// A pinhole in force. Closes it when dropped, whether it was used or not, unless another lease has taken it over.
#[derive(Debug)]
pub struct Lease {
    pinhole: Pinhole,
    owner: u64,
    took: Duration,
    inbox: Sender<Message>,
}

impl Lease {
    /// What is open.
    pub fn pinhole(&self) -> &Pinhole {
        &self.pinhole
    }

    /// The time from the request until the pinhole was in force.
    pub fn took(&self) -> Duration {
        self.took
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // If the thread is gone, it has closed everything.
        let _ = self.inbox.send(Message::Close { key: self.pinhole.key(), owner: self.owner });
    }
}

/// What the thread owns.
struct Worker {
    backend: Box<dyn Backend>,
    ports: Ports,
    settings: Settings,
    /// The truth: what is in force, and for which lease.
    held: HashMap<Key, Held>,
    next_owner: u64,
    state: Arc<State>,
}

struct Held {
    owner: u64,
    pinhole: Pinhole,
}

/// One operation of a transaction.
enum Step {
    Open(Pinhole, Order),
    Close(Key),
    Reset(Reset),
}

impl Step {
    fn key(&self) -> Option<Key> {
        match self {
            Self::Open(pinhole, _) => Some(pinhole.key()),
            Self::Close(key) => Some(*key),
            Self::Reset(_) => None,
        }
    }
}

impl Worker {
    fn main(mut self, messages: &Receiver<Message>, verified: &Sender<Result<(), Error>>) {
        let answer = self.backend.verify();
        let failed = answer.is_err();
        if verified.send(answer).is_err() || failed {
            return;
        }
        let waiting = self.serve(messages);
        let cleared = self.backend.clear();
        let state = Arc::clone(&self.state);
        state.live.store(0, Ordering::Relaxed);
        // Some backends clean up when they are dropped: whoever waits for the end waits for that too.
        drop(self);
        let _ = state.cleared.set(cleared);
        drop(waiting);
    }

    /// Carries out what it is told until it is told to stop, or until nobody is left who could.
    fn serve(&mut self, messages: &Receiver<Message>) -> Option<Sender<()>> {
        let mut batch = Vec::new();
        while let Ok(first) = messages.recv() {
            for message in iter::once(first).chain(messages.try_iter()).take(self.backend.habits().largest_batch) {
                match message {
                    Message::Open(order) => self.prepare_open(order, &mut batch),
                    Message::Close { key, owner } => self.prepare_close(key, owner, &mut batch),
                    Message::Reset(reset) => batch.push(Step::Reset(reset)),
                    Message::Stop(waiting) => {
                        self.carry_out(&mut batch);
                        return Some(waiting);
                    }
                }
            }
            self.carry_out(&mut batch);
        }
        None
    }

    fn prepare_open(&mut self, order: Order, batch: &mut Vec<Step>) {
        if order.answer.is_closed() {
            return;
        }
        let Some(port) = self.entrance_port(&order.request, batch) else {
            let (first, last) = (self.settings.ports.start(), self.settings.ports.end());
            let text = format!(
                "all of data.ports ({first}-{last}) are in use between one peer and one address of the gateway: \
                 widen data.ports, or lower limits.sessions_per_client"
            );
            let _ = order.answer.send(Err(Error::new(ErrorKind::Full, text)));
            return;
        };
        let pinhole = order.request.at_port(order.session, port);
        self.make_room(pinhole.key(), batch);
        self.ports.claim(pinhole.key());
        batch.push(Step::Open(pinhole, order));
    }

    fn prepare_close(&mut self, key: Key, owner: u64, batch: &mut Vec<Step>) {
        self.make_room(key, batch);
        // Another owner: the pinhole was taken over.
        if self.held.get(&key).is_some_and(|held| held.owner == owner) {
            batch.push(Step::Close(key));
        }
    }

    /// The port of the entrance; none if all are in force.
    fn entrance_port(&mut self, request: &Request, batch: &mut Vec<Step>) -> Option<u16> {
        if let EntrancePort::Fixed(port) = request.entrance_port {
            return Some(port);
        }
        let now = Instant::now();
        let port = self.ports.take(request.initiator, request.entrance, now);
        if port.is_some() || batch.is_empty() {
            return port;
        }
        // A port may be about to be closed in this very batch.
        self.carry_out(batch);
        self.ports.take(request.initiator, request.entrance, now)
    }

    /// Sees to it that no two steps of a batch have the same key, so that each can be worked out from the truth alone.
    fn make_room(&mut self, key: Key, batch: &mut Vec<Step>) {
        if batch.iter().any(|step| step.key() == Some(key)) {
            self.carry_out(batch);
        }
    }

    /// Empties the batch: all of it in one transaction; if that fails, each step alone, so that a bad one fails alone.
    ///
    /// No step is tried more than twice, and one that was alone in the first place only if nothing is known of the reason:
    /// what the administrator must put right does not pass, and a full set passes when its elements expire, within seconds,
    /// while a second failure would keep everybody waiting for some 16 ms more. A packet filter that is busy is another
    /// matter: see [`Worker::apply_when_free`].
    fn carry_out(&mut self, batch: &mut Vec<Step>) {
        let steps = std::mem::take(batch);
        if steps.is_empty() {
            return;
        }
        let changes: Vec<Change> = steps.iter().flat_map(|step| self.changes(step)).collect();
        match self.apply_when_free(&changes) {
            Ok(()) => steps.into_iter().for_each(|step| self.succeeded(step)),
            Err(error) if steps.len() == 1 && error.kind() != ErrorKind::Other => {
                steps.into_iter().for_each(|step| self.failed(step, error.clone()));
            }
            Err(error) => {
                tracing::debug!(%error, steps = steps.len(), "a transaction failed; trying its steps alone");
                for step in steps {
                    let changes: Vec<Change> = self.changes(&step).collect();
                    match self.backend.apply(&changes) {
                        Ok(()) => self.succeeded(step),
                        Err(error) => self.failed(step, error),
                    }
                }
            }
        }
    }

    /// Carries out all of these in one transaction, and again if the packet filter was busy: nothing is wrong with any of them,
    /// and one transaction costs less than one for each. A refusal takes some 16 ms with nf_tables, in which what it was busy
    /// with is mostly over; the pauses are for the times when it is not.
    fn apply_when_free(&mut self, changes: &[Change]) -> Result<(), Error> {
        let mut outcome = self.backend.apply(changes);
        for pause in BUSY_PAUSES {
            match &outcome {
                Err(error) if error.kind() == ErrorKind::Busy => tracing::debug!(%error, ?pause, "trying again"),
                _ => break,
            }
            thread::sleep(pause);
            outcome = self.backend.apply(changes);
        }
        outcome
    }

    /// What a step means to the packet filter.
    fn changes(&self, step: &Step) -> impl Iterator<Item = Change> + use<> {
        let held = step.key().and_then(|key| self.held.get(&key)).map(|held| held.pinhole);
        let (close, other) = match step {
            Step::Close(_) => (held, None),
            // To open what is there with the same translation renews it; with another one the packet filter would refuse.
            Step::Open(pinhole, _) => {
                (held.filter(|held| !same_translation(held, pinhole)), Some(Change::Open(*pinhole)))
            }
            Step::Reset(reset) => (None, Some(Change::Reset(*reset))),
        };
        close.map(Change::Close).into_iter().chain(other)
    }

    fn succeeded(&mut self, step: Step) {
        match step {
            Step::Open(pinhole, order) => {
                let owner = self.next_owner;
                self.next_owner += 1;
                self.held.insert(pinhole.key(), Held { owner, pinhole });
                self.count();
                let lease = Lease { pinhole, owner, took: order.asked.elapsed(), inbox: order.inbox };
                // If nobody waits any more, the lease comes back and is dropped here: that closes the pinhole.
                let _ = order.answer.send(Ok(lease));
            }
            Step::Close(key) => self.forget(key),
            Step::Reset(_) => {}
        }
    }

    fn failed(&mut self, step: Step, error: Error) {
        match step {
            Step::Open(pinhole, order) => {
                // A lease that was to be replaced still holds what it held.
                if !self.held.contains_key(&pinhole.key()) {
                    self.ports.release(pinhole.key(), Instant::now());
                }
                let _ = order.answer.send(Err(error));
            }
            Step::Close(key) => {
                // It ends with its lifetime.
                self.forget(key);
                let failures = &self.state.close_failures;
                complain(failures, &error, "a pinhole could not be closed; it stays open for its lifetime");
            }
            Step::Reset(_) => {
                complain(&self.state.reset_failures, &error, "a data connection could not be reset; it lives on");
            }
        }
    }

    fn forget(&mut self, key: Key) {
        self.held.remove(&key);
        self.ports.release(key, Instant::now());
        self.count();
    }

    fn count(&self) {
        self.state.live.store(self.held.len(), Ordering::Relaxed);
    }
}

/// Counts a failure about which nothing can be done but to say so: not each time, because peers decide how often.
fn complain(failures: &AtomicU64, error: &Error, what: &'static str) {
    let failures = failures.fetch_add(1, Ordering::Relaxed) + 1;
    if failures.is_power_of_two() {
        tracing::warn!(%error, failures, "{what}");
    } else {
        tracing::debug!(%error, failures, "{what}");
    }
}

/// Whether two pinholes with the same key lead to the same place from the same address.
fn same_translation(a: &Pinhole, b: &Pinhole) -> bool {
    (a.target, a.source) == (b.target, b.source)
}

#[cfg(test)]
mod tests;
