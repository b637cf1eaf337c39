//! Worker: how sessions change the packet filter.
//!
//! Lives here: [`Firewall`], the handle that sessions open pinholes with; [`Opening`], the answer that is to come; [`Lease`],
//! which closes its pinhole when it is dropped, and [`RangeLease`] for a range of ports; and the thread behind them. Below it: `changes` (what is in force, and
//! transactions). Not here: which port an entrance gets (`ports`), how a packet filter is changed (the backends).
//!
//! **Who does it.** A change of a packet filter is a system call that blocks for microseconds and now and then, when the
//! administrator loads a large ruleset or a change fails, for milliseconds. So there is a thread that may be blocked; what has queued
//! up meanwhile goes into one transaction. But to hand over and to be woken costs as much as the change itself. Where changes are
//! that quick ([`Habits::direct`]), a session carries out its own on the spot, unless somebody else is at it, something that was
//! asked for before is still waiting, or the last transaction failed: then it is the thread's. Closings are not urgent: they go along
//! with the next opening, and the thread sees to it that they never wait for longer than 10 ms.
//!
//! Changes are carried out in the order in which they were asked for, but for closings, which come early: a lease dropped before
//! an open is closed before it or in the same transaction.

use std::fmt;
use std::iter;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, LockResult, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::changes::{Changes, Step};
use super::{Backend, Error, ErrorKind, Habits, Reset, no_ranges};
use crate::pinhole::{Key, Pinhole, RangeRequest, Request, SessionId};

mod changes;
mod lease;

pub use self::lease::{Lease, Opening, RangeLease, RangeOpening};

/// How long the closing of a pinhole may wait for company, where changes are carried out directly. Mostly it was used up by its first
/// packet anyway, and all of them end by themselves.
const CLOSE_WITHIN: Duration = Duration::from_millis(10);

/// The number of no lease that opened anything.
const NOBODY: u64 = u64::MAX;

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
    door: Door,
    backend_name: &'static str,
    habits: Habits,
}

/// The way to whoever carries out changes. The thread ends when the last one is dropped.
#[derive(Clone, Debug)]
struct Door {
    inbox: Sender<Message>,
    desk: Arc<Desk>,
}

/// What the thread and those who help themselves have in common.
struct Desk {
    /// Held while something is changed. `None` once everything is closed for good.
    changes: Mutex<Option<Changes>>,
    /// Messages that were sent and are not carried out yet, but for `Tidy`.
    outstanding: AtomicUsize,
    /// Pinholes, with the number of their lease, that are to be closed with the next change.
    closings: Mutex<Vec<(Key, u64)>>,
    /// Whether the thread knows that there are some.
    tidying: AtomicBool,
    direct: bool,
    state: Arc<State>,
}

/// What is told without being asked.
#[derive(Debug, Default)]
struct State {
    live: AtomicUsize,
    /// Whether the last transaction failed.
    ailing: AtomicBool,
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
    OpenRange(RangeOrder),
    CloseRange(RangeRequest),
    /// There are closings that must not wait for ever.
    Tidy,
    /// Who waits for the end holds the other end of the channel, and learns of it when this one is dropped.
    Stop(Sender<()>),
}

/// A pinhole asked for.
#[derive(Debug)]
struct Order {
    session: SessionId,
    request: Request,
    asked: Instant,
    /// Ports that somebody else had.
    missed: u8,
    /// For the lease. The thread has none of its own: with one it would wait for ever.
    door: Door,
    answer: oneshot::Sender<Result<Lease, Error>>,
}

/// A range of ports asked for.
#[derive(Debug)]
struct RangeOrder {
    range: RangeRequest,
    door: Door,
    answer: oneshot::Sender<Result<RangeLease, Error>>,
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
        let desk = Arc::new(Desk {
            changes: Mutex::new(Some(Changes::new(backend, settings, Arc::clone(&state)))),
            outstanding: AtomicUsize::new(0),
            closings: Mutex::default(),
            tidying: AtomicBool::new(false),
            direct: habits.direct,
            state,
        });
        let thread = Thread { desk: Arc::clone(&desk), messages, tidy_at: None };
        thread::Builder::new()
            .name("firewall".into())
            .spawn(move || thread.main(&verified))
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start the firewall thread: {error}")))?;
        answer.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Self { door: Door { inbox, desk }, backend_name, habits })
    }

    /// Asks for a pinhole for a session. Blocks for as long as one change takes, if at all.
    pub fn open(&self, session: SessionId, request: Request) -> Opening {
        let (sender, answer) = oneshot::channel();
        let order =
            Order { session, request, asked: Instant::now(), missed: 0, door: self.door.clone(), answer: sender };
        match self.door.desk.free() {
            Some(mut changes) => self.door.desk.open(&mut changes, order),
            None => self.door.send(Message::Open(order)),
        }
        Opening::of_change(answer)
    }

    /// Asks for a range of ports, until every lease of the same range is dropped. Never blocks: the session that asks has a TLS
    /// handshake and a login before it, so this is the thread's. There are no more ranges than sessions.
    pub fn open_range(&self, range: RangeRequest) -> RangeOpening {
        let (answer, opening) = oneshot::channel();
        if self.habits.ranges {
            self.door.send(Message::OpenRange(RangeOrder { range, door: self.door.clone(), answer }));
        } else {
            let _ = answer.send(Err(no_ranges(self.backend_name)));
        }
        RangeOpening::new(opening)
    }

    /// A lease of what is there already and needs no closing.
    pub(super) fn hold(&self, pinhole: Pinhole, took: Duration) -> Lease {
        Lease::new(pinhole, NOBODY, took, self.door.clone())
    }

    /// Ends a live data connection, after what was asked for before: drop its lease first. Never blocks.
    pub fn reset(&self, reset: Reset) {
        self.door.send(Message::Reset(reset));
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
        self.door.desk.state.live.load(Ordering::Relaxed)
    }

    /// Pinholes that could not be closed since the start. They end with their lifetime.
    pub fn close_failures(&self) -> u64 {
        self.door.desk.state.close_failures.load(Ordering::Relaxed)
    }

    /// Data connections that could not be reset since the start. Their ends notice nothing.
    pub fn reset_failures(&self) -> u64 {
        self.door.desk.state.reset_failures.load(Ordering::Relaxed)
    }

    /// Closes everything, after what was asked for before, and ends the thread. Blocks until that is done. Whoever opens
    /// later gets an error; a lease dropped later has nothing to close. Doing so twice is fine.
    ///
    /// # Errors
    /// What the backend says to `clear`; or the thread had died before.
    pub fn stop(&self) -> Result<(), Error> {
        let (waiting, done) = mpsc::channel();
        self.door.send(Message::Stop(waiting));
        let _ = done.recv();
        self.door.desk.state.cleared.get().cloned().unwrap_or_else(|| Err(gone()))
    }
}

fn gone() -> Error {
    let text = "the firewall thread has ended: ftpgate is stopping, or the log tells what the thread died of";
    Error::new(ErrorKind::Other, text)
}

impl Door {
    fn send(&self, message: Message) {
        self.desk.outstanding.fetch_add(1, Ordering::SeqCst);
        // If the thread is gone, it has closed everything, and what waits for an answer learns of it by being dropped here.
        let _ = self.inbox.send(message);
    }

    fn close(&self, key: Key, owner: u64) {
        if !self.desk.direct {
            return self.send(Message::Close { key, owner });
        }
        self.desk.closings().push((key, owner));
        if !self.desk.tidying.swap(true, Ordering::SeqCst) {
            let _ = self.inbox.send(Message::Tidy);
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("direct", &self.direct).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Desk {
    /// What is to be changed, for whoever carries it out. An error after a panic of the backend.
    fn changes(&self) -> LockResult<MutexGuard<'_, Option<Changes>>> {
        self.changes.lock()
    }

    fn closings(&self) -> MutexGuard<'_, Vec<(Key, u64)>> {
        self.closings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be changed, if whoever asks may do so here and now.
    fn free(&self) -> Option<MutexGuard<'_, Option<Changes>>> {
        let changes = self.direct.then(|| self.changes.try_lock().ok()).flatten()?;
        let is_next = self.outstanding.load(Ordering::SeqCst) == 0 && !self.state.ailing.load(Ordering::Relaxed);
        (changes.is_some() && is_next).then_some(changes)
    }

    fn open(&self, changes: &mut Option<Changes>, order: Order) {
        let Some(changes) = changes else { return };
        let mut batch = Vec::new();
        self.take_closings(changes, &mut batch);
        changes.prepare_open(order, &mut batch);
        changes.carry_out(&mut batch);
    }

    /// Puts the closings that wait into a batch.
    fn take_closings(&self, changes: &mut Changes, batch: &mut Vec<Step>) {
        let closings = std::mem::take(&mut *self.closings());
        for (key, owner) in closings {
            changes.prepare_close(key, owner, batch);
            if batch.len() >= changes.largest_batch() {
                changes.carry_out(batch);
            }
        }
    }
}

/// What the thread owns.
struct Thread {
    desk: Arc<Desk>,
    messages: Receiver<Message>,
    /// When it sees to the closings.
    tidy_at: Option<Instant>,
}

impl Thread {
    fn main(mut self, verified: &Sender<Result<(), Error>>) {
        let answer = match self.desk.changes() {
            Ok(mut changes) => changes.as_mut().map_or_else(|| Err(gone()), Changes::verify),
            Err(_) => Err(gone()),
        };
        let failed = answer.is_err();
        if verified.send(answer).is_err() || failed {
            return;
        }
        let waiting = self.serve();
        // A backend that has panicked is not asked to clean up.
        let Ok(changes) = self.desk.changes().map(|mut changes| changes.take()) else { return };
        let cleared = changes.map_or_else(|| Err(gone()), Changes::clear);
        let _ = self.desk.state.cleared.set(cleared);
        drop(waiting);
    }

    /// Carries out what it is told until it is told to stop, or until nobody is left who could, or the backend panics.
    fn serve(&mut self) -> Option<Sender<()>> {
        loop {
            let first = match self.tidy_at {
                None => Some(self.messages.recv().ok()?),
                Some(at) => match self.messages.recv_timeout(at.saturating_duration_since(Instant::now())) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
            };
            if matches!(first, Some(Message::Tidy)) {
                self.tidy_at = Some(Instant::now() + CLOSE_WITHIN);
                continue;
            }
            if self.tidy_at.is_some_and(|at| at <= Instant::now()) {
                self.tidy_at = None;
                // First, so that whoever comes from now on says so again.
                self.desk.tidying.store(false, Ordering::SeqCst);
            }
            if let ControlFlow::Break(waiting) = self.work(first)? {
                return Some(waiting);
            }
        }
    }

    /// Carries out the closings, this message, and what has queued up behind it. `None` if the backend has panicked.
    fn work(&mut self, first: Option<Message>) -> Option<ControlFlow<Sender<()>>> {
        let mut changes = self.desk.changes().ok()?;
        let changes = changes.as_mut()?;
        let mut batch = Vec::new();
        self.desk.take_closings(changes, &mut batch);
        let more = iter::from_fn(|| self.messages.try_recv().ok());
        for message in first.into_iter().chain(more).take(changes.largest_batch()) {
            if matches!(message, Message::Tidy) {
                self.tidy_at = Some(Instant::now() + CLOSE_WITHIN);
                continue;
            }
            self.desk.outstanding.fetch_sub(1, Ordering::SeqCst);
            match message {
                Message::Open(order) => changes.prepare_open(order, &mut batch),
                Message::Close { key, owner } => changes.prepare_close(key, owner, &mut batch),
                Message::Reset(reset) => batch.push(Step::Reset(reset)),
                Message::OpenRange(order) => changes.prepare_open_range(order, &mut batch),
                Message::CloseRange(range) => changes.prepare_close_range(range, &mut batch),
                Message::Tidy => {}
                Message::Stop(waiting) => {
                    changes.carry_out(&mut batch);
                    return Some(ControlFlow::Break(waiting));
                }
            }
        }
        changes.carry_out(&mut batch);
        Some(ControlFlow::Continue(()))
    }
}

#[cfg(test)]
mod tests;
