//! Changes: from what is asked for to transactions of the packet filter.
//!
//! Lives here: [`Changes`], which owns the backend and the truth of what is in force, and carries out batches of steps; how often a
//! step is tried. Not here: who calls it when (`worker`), which port an entrance gets (`ports`).
//!
//! The truth is kept here and not asked of the kernel: a transaction that fails costs thousands of times what one that succeeds
//! does, so failure must never be part of the normal course.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Lease, Order, RangeLease, RangeOrder, Settings, State};
use crate::firewall::ports::Ports;
use crate::firewall::{Backend, Change, Error, ErrorKind, Reset};
use crate::pinhole::{EntrancePort, Key, Pinhole, RangeRequest, Request};

/// How long to wait before each further try when the packet filter is busy.
const BUSY_PAUSES: [Duration; 2] = [Duration::ZERO, Duration::from_millis(5)];

/// How often another port is tried for an entrance when somebody else on this host has the one that was chosen.
const OTHER_PORTS: u8 = 8;

/// The backend, and what is in force.
pub(super) struct Changes {
    backend: Box<dyn Backend>,
    ports: Ports,
    settings: Settings,
    /// The truth: what is in force, and for which lease.
    held: HashMap<Key, Held>,
    /// The same of ranges of ports, with the number of leases of each.
    ranges: HashMap<RangeRequest, usize>,
    /// Ranges that could not be closed: they do not end by themselves, so the next change of one tries again.
    unclosed: Vec<RangeRequest>,
    next_owner: u64,
    state: Arc<State>,
}

struct Held {
    owner: u64,
    pinhole: Pinhole,
}

/// One operation of a transaction.
pub(super) enum Step {
    Open(Pinhole, Order),
    Close(Key),
    Reset(Reset),
    OpenRange(RangeOrder),
    CloseRange(RangeRequest),
}

impl Step {
    fn key(&self) -> Option<Key> {
        match self {
            Self::Open(pinhole, _) => Some(pinhole.key()),
            Self::Close(key) => Some(*key),
            Self::Reset(_) | Self::OpenRange(_) | Self::CloseRange(_) => None,
        }
    }

    fn range(&self) -> Option<&RangeRequest> {
        match self {
            Self::OpenRange(order) => Some(&order.range),
            Self::CloseRange(range) => Some(range),
            Self::Open(..) | Self::Close(_) | Self::Reset(_) => None,
        }
    }
}

impl Changes {
    /// Nothing is in force yet.
    pub(super) fn new(backend: Box<dyn Backend>, settings: Settings, state: Arc<State>) -> Self {
        let ports = Ports::new(settings.ports.clone(), settings.cooldown, settings.seed);
        Self {
            backend,
            ports,
            settings,
            held: HashMap::new(),
            ranges: HashMap::new(),
            unclosed: Vec::new(),
            next_owner: 0,
            state,
        }
    }

    /// Sees to it that pinholes can be opened.
    pub(super) fn verify(&mut self) -> Result<(), Error> {
        self.backend.verify()
    }

    /// Closes everything, for good. Some backends clean up when they are dropped: that is over too.
    pub(super) fn clear(mut self) -> Result<(), Error> {
        let cleared = self.backend.clear();
        self.state.live.store(0, Ordering::Relaxed);
        cleared
    }

    /// Steps that a batch should have at most.
    pub(super) fn largest_batch(&self) -> usize {
        self.backend.habits().largest_batch
    }

    /// Puts an opening into the batch, unless nobody waits for it any more or there is no port for it.
    pub(super) fn prepare_open(&mut self, order: Order, batch: &mut Vec<Step>) {
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

    /// Puts a closing into the batch, unless another lease has taken the pinhole over.
    pub(super) fn prepare_close(&mut self, key: Key, owner: u64, batch: &mut Vec<Step>) {
        self.make_room(key, batch);
        // Another owner: the pinhole was taken over.
        if self.held.get(&key).is_some_and(|held| held.owner == owner) {
            batch.push(Step::Close(key));
        }
    }

    /// Puts the opening of a range into the batch, unless it is open already or nobody waits for it any more.
    pub(super) fn prepare_open_range(&mut self, order: RangeOrder, batch: &mut Vec<Step>) {
        if order.answer.is_closed() {
            return;
        }
        self.make_room_for_range(&order.range, batch);
        match self.ranges.get_mut(&order.range) {
            Some(leases) => {
                *leases += 1;
                let _ = order.answer.send(Ok(RangeLease::new(order.range, order.door)));
            }
            None => batch.push(Step::OpenRange(order)),
        }
    }

    /// A lease of a range is gone. Puts the closing into the batch if it was the last.
    pub(super) fn prepare_close_range(&mut self, range: RangeRequest, batch: &mut Vec<Step>) {
        self.make_room_for_range(&range, batch);
        let Some(leases) = self.ranges.get_mut(&range) else { return };
        *leases = leases.saturating_sub(1);
        if *leases == 0 {
            batch.push(Step::CloseRange(range));
        }
    }

    /// Sees to it that no two steps of a batch are about the same range, and that one that could not be closed is tried again.
    fn make_room_for_range(&mut self, range: &RangeRequest, batch: &mut Vec<Step>) {
        if batch.iter().any(|step| step.range() == Some(range)) {
            self.carry_out(batch);
        }
        for unclosed in std::mem::take(&mut self.unclosed) {
            let is_unwanted = self.ranges.get(&unclosed) == Some(&0);
            if unclosed != *range && is_unwanted && batch.iter().all(|step| step.range() != Some(&unclosed)) {
                batch.push(Step::CloseRange(unclosed));
            }
        }
    }

    /// The port of the entrance; none if all are in force.
    fn entrance_port(&mut self, request: &Request, batch: &mut Vec<Step>) -> Option<u16> {
        if let EntrancePort::Fixed(port) = request.entrance_port
            && !self.backend.habits().listens
        {
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
    /// matter: see [`Changes::apply_when_free`].
    pub(super) fn carry_out(&mut self, batch: &mut Vec<Step>) {
        let steps = std::mem::take(batch);
        if steps.is_empty() {
            return;
        }
        let changes: Vec<Change> = steps.iter().flat_map(|step| self.changes(step)).collect();
        let outcome = self.apply_when_free(&changes);
        self.state.ailing.store(outcome.is_err(), Ordering::Relaxed);
        match outcome {
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
            Step::OpenRange(order) => (None, Some(Change::OpenRange(order.range))),
            Step::CloseRange(range) => (None, Some(Change::CloseRange(*range))),
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
                let took = order.asked.elapsed();
                let lease = Lease::new(pinhole, owner, took, order.door);
                // If nobody waits any more, the lease comes back and is dropped here: that closes the pinhole.
                let _ = order.answer.send(Ok(lease));
            }
            Step::Close(key) => self.forget(key),
            Step::Reset(_) => {}
            Step::OpenRange(order) => {
                self.ranges.insert(order.range, 1);
                let lease = RangeLease::new(order.range, order.door);
                // If nobody waits any more, the lease comes back and is dropped here: that closes the range.
                let _ = order.answer.send(Ok(lease));
            }
            Step::CloseRange(range) => drop(self.ranges.remove(&range)),
        }
    }

    fn failed(&mut self, step: Step, error: Error) {
        match step {
            Step::Open(pinhole, mut order) => {
                // A lease that was to be replaced still holds what it held.
                if !self.held.contains_key(&pinhole.key()) {
                    self.ports.release(pinhole.key(), Instant::now());
                }
                if error.kind() == ErrorKind::InUse && order.missed < OTHER_PORTS {
                    order.missed += 1;
                    let mut batch = Vec::new();
                    self.prepare_open(order, &mut batch);
                    return self.carry_out(&mut batch);
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
            Step::OpenRange(order) => drop(order.answer.send(Err(error))),
            Step::CloseRange(range) => {
                self.unclosed.push(range);
                let failures = &self.state.close_failures;
                complain(
                    failures,
                    &error,
                    "passive ports could not be closed; the next session that becomes TLS, or ends, tries again",
                );
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
pub(super) fn same_translation(a: &Pinhole, b: &Pinhole) -> bool {
    (a.target, a.source) == (b.target, b.source)
}
