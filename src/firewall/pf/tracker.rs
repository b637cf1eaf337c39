//! Tracker: what becomes of data connections, found out by looking at pf's states.
//!
//! Lives here: [`Tracker`], which looks while there is something to see and sleeps otherwise; [`Source`], whom it asks; [`Interest`],
//! what it wants to know. Not here: running pfctl (`pfctl`, behind the source), reading its output (`states`).
//!
//! pf tells nobody of its own accord when a connection begins or ends. So its use is noticed up to a quarter of a second late, its
//! end up to a second late (later on a gateway with very many states, see `SHARE`), and a connection that was reset and
//! forgotten between two looks is seen only as far as the last one showed it.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::firewall::tracking::{Flow, Follow, Snapshot, Watch, Watches};
use crate::firewall::{Error, ErrorKind};
use crate::pinhole::Key;

/// Between two looks while a data connection is awaited.
const SOON: Duration = Duration::from_millis(250);

/// Between two looks while there are only data connections that have begun.
const LATER: Duration = Duration::from_secs(1);

/// Looking may take one part in so many of the time: pfctl prints all states of the gateway, half a millisecond for a thousand.
const SHARE: u32 = 20;

/// How long the states of a connection that is over are told from those of a new one: pf keeps them for 90 s
/// (`tcp.closed`, `tcp.finwait` in pf.conf(5)).
const PAST: Duration = Duration::from_secs(300);

/// pf tells ages in whole seconds.
const ROUNDING: u64 = 1;

/// Whom the tracker asks.
pub trait Source: Send {
    /// What there is of interest now.
    ///
    /// # Errors
    /// Nobody can be asked, or pfctl failed.
    fn look(&mut self, interest: &Interest) -> Result<Vec<Seen>, Error>;
}

/// A connection that is of interest, now.
pub type Seen = Snapshot;

/// What is wanted of all the states of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interest {
    /// Connections with these keys that are no older than so many seconds.
    pub awaited: Vec<(Key, u64)>,
    /// Connections with these numbers.
    pub followed: Vec<u64>,
}

impl Interest {
    fn is_empty(&self) -> bool {
        self.awaited.is_empty() && self.followed.is_empty()
    }

    /// Those of all connections, with their ages in seconds, that are of interest.
    pub fn of(&self, all: impl Iterator<Item = (Snapshot, u64)>) -> Vec<Seen> {
        let awaited: HashMap<Key, u64> = self.awaited.iter().copied().collect();
        let followed: HashSet<u64> = self.followed.iter().copied().collect();
        let wanted = |snapshot: &Snapshot, age: u64| {
            followed.contains(&snapshot.flow.id)
                || awaited.get(&snapshot.flow.key()).is_some_and(|oldest| age <= *oldest)
        };
        all.filter(|(snapshot, age)| wanted(snapshot, *age)).map(|(snapshot, _)| snapshot).collect()
    }
}

/// The handle of the tracker's thread, which ends with [`Follow::stop`].
#[derive(Clone)]
pub struct Tracker {
    watches: Watches,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").field("watches", &self.watches).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// Since when keys are awaited.
    since: HashMap<Key, Instant>,
    /// The last that was seen of connections that are followed.
    known: HashMap<u64, Snapshot>,
    /// Connections that nobody follows any more, and since when.
    past: HashMap<u64, Instant>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tracker {
    /// Starts the thread. It asks nothing until there is something to watch.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(source: Box<dyn Source>) -> Result<Self, Error> {
        let (watches, shared) = (Watches::default(), Arc::new(Shared::default()));
        let thread = Thread { source, watches: watches.clone(), shared: Arc::clone(&shared), failures: 0 };
        let thread = thread::Builder::new()
            .name("states".into())
            .spawn(move || thread.main())
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start the states thread: {error}")))?;
        Ok(Self { watches, shared, thread: Arc::new(Mutex::new(Some(thread))) })
    }
}

impl Follow for Tracker {
    fn watch(&self, key: Key) -> Watch {
        let watch = self.watches.watch(key);
        self.shared.lock().since.insert(key, Instant::now());
        self.shared.changed.notify_one();
        watch
    }

    /// What the last look showed.
    fn query(&self, flow: &Flow) -> Result<Option<Snapshot>, Error> {
        Ok(self.shared.lock().known.get(&flow.id).copied())
    }

    /// Nothing: a reset kills the states.
    fn forget(&self, _: &Flow) -> Result<(), Error> {
        Ok(())
    }

    /// Nothing is told, so nothing is lost.
    fn lost(&self) -> u64 {
        0
    }

    fn stop(&self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = thread.map(JoinHandle::join);
    }
}

/// What the thread owns.
struct Thread {
    source: Box<dyn Source>,
    watches: Watches,
    shared: Arc<Shared>,
    /// Looks in a row that failed.
    failures: u32,
}

impl Thread {
    fn main(mut self) {
        while let Some(interest) = self.wait_for_interest() {
            let begun = Instant::now();
            match self.source.look(&interest) {
                Ok(seen) => {
                    self.failures = 0;
                    self.take_in(&seen);
                }
                Err(error) => {
                    self.failures = self.failures.saturating_add(1);
                    if self.failures.is_power_of_two() {
                        tracing::warn!(failures = self.failures, "cannot look at pf's states: {error}");
                    }
                }
            }
            let pace = if interest.awaited.is_empty() { LATER } else { SOON };
            self.pause(pace.max(begun.elapsed() * SHARE));
        }
        self.watches.lock().close();
    }

    /// Sleeps until there is something to look for; `None` at the end.
    fn wait_for_interest(&self) -> Option<Interest> {
        let mut state = self.shared.lock();
        loop {
            if state.stopped {
                return None;
            }
            let interest = self.interest(&mut state);
            if !interest.is_empty() {
                return Some(interest);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pause(&self, length: Duration) {
        let until = Instant::now() + length;
        let mut state = self.shared.lock();
        while !state.stopped {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn interest(&self, state: &mut State) -> Interest {
        let mut registry = self.watches.lock();
        registry.retain_followed();
        state.since.retain(|key, _| registry.awaits(key));
        let awaited = state.since.iter().map(|(key, since)| (*key, since.elapsed().as_secs() + ROUNDING)).collect();
        let followed = registry.followed().map(|flow| flow.id).collect();
        Interest { awaited, followed }
    }

    /// Learns from a look.
    fn take_in(&self, seen: &[Seen]) {
        let mut state = self.shared.lock();
        let mut registry = self.watches.lock();
        for snapshot in seen {
            let id = snapshot.flow.id;
            // What the target sees is known only when its side has a state; a connection keeps the name it was first seen by.
            let known = state.known.get(&id).map(|known| known.flow);
            let flow = known.unwrap_or(snapshot.flow);
            // One that somebody has followed and does not any more is not the one that is awaited now.
            if state.past.contains_key(&id) || (known.is_some() && !registry.is_followed(&flow)) {
                continue;
            }
            let snapshot = Snapshot { flow, ..*snapshot };
            registry.see(&snapshot);
            state.known.insert(id, snapshot);
        }
        let there: HashSet<u64> = seen.iter().map(|snapshot| snapshot.flow.id).collect();
        let gone: Vec<Flow> = registry.followed().filter(|flow| !there.contains(&flow.id)).copied().collect();
        for flow in gone {
            registry.end(&flow, state.known.get(&flow.id).and_then(|last| last.counters));
        }
        let followed: HashSet<u64> = registry.followed().map(|flow| flow.id).collect();
        let now = Instant::now();
        let State { known, past, .. } = &mut *state;
        known.retain(|id, _| {
            let stays = followed.contains(id);
            if !stays {
                past.insert(*id, now);
            }
            stays
        });
        past.retain(|_, since| now.duration_since(*since) < PAST);
        let news = registry.news();
        drop(registry);
        drop(state);
        news.tell();
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
