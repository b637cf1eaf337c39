//! Registry: who waits for which connection.
//!
//! Lives here: what the tracker knows, and what an event means to whom; no I/O but that of the closures it is given. Not
//! here: receiving events and asking the kernel (`conntrack`, `pf`).
//!
//! A watch waits under the key of its pinhole until a connection begins with that key; from then on it is for that one
//! connection, and the key is free for the next watch. Connections that nobody waits for are counted and nothing else. The
//! later of two watches under one key gets the connection: the kernel renews a pinhole that is announced again.

use std::collections::HashMap;

use tokio::sync::mpsc::UnboundedSender;

use super::{Counters, Flow, FlowEvent, Snapshot, TcpState};
use crate::pinhole::Key;

/// Tells watches apart.
pub(super) type WatchId = u64;

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) enum Kind {
    /// Its first packet has passed.
    New,
    /// Something about it has changed; or it is the answer to a question.
    Update,
    /// It is gone from the table.
    Destroy,
}

/// What the kernel tells without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::firewall) struct Event {
    pub(in crate::firewall) kind: Kind,
    pub(in crate::firewall) snapshot: Snapshot,
}

/// What the tracker knows.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Registry {
    waiting: HashMap<Key, Listener>,
    /// Connections that live, and those that have closed but are still watched.
    flows: HashMap<Flow, Followed>,
    /// Which connection a watch has become one for.
    found: HashMap<WatchId, Flow>,
    /// How many of `flows` have not closed.
    live: usize,
    /// What has not been told yet: see [`Registry::news`].
    untold: Vec<(UnboundedSender<FlowEvent>, FlowEvent)>,
    next: WatchId,
}

/// The sending end of a watch.
#[derive(Debug)]
struct Listener {
    watch: WatchId,
    sender: UnboundedSender<FlowEvent>,
}

impl Listener {
    fn note(&self, untold: &mut Vec<(UnboundedSender<FlowEvent>, FlowEvent)>, event: FlowEvent) {
        untold.push((self.sender.clone(), event));
    }
}

/// What is to be told, see [`Registry::news`].
#[derive(Debug)]
pub(in crate::firewall) struct News(Vec<(UnboundedSender<FlowEvent>, FlowEvent)>);

impl News {
    /// Tells it. Needs no lock on the registry.
    pub(in crate::firewall) fn tell(self) {
        for (sender, event) in self.0 {
            // A watch that is just being dropped need not be told.
            let _ = sender.send(event);
        }
    }
}

/// A connection and how far it has come.
#[derive(Debug, Default)]
struct Followed {
    listener: Option<Listener>,
    established: bool,
    closed: bool,
}

impl Registry {
    /// Waits for a connection with this key, in place of a watch that still waits for one.
    pub(in crate::firewall) fn watch(&mut self, key: Key, sender: UnboundedSender<FlowEvent>) -> WatchId {
        let watch = self.next;
        self.next += 1;
        self.waiting.insert(key, Listener { watch, sender });
        watch
    }

    /// Waits no longer.
    pub(in crate::firewall) fn unwatch(&mut self, key: Key, watch: WatchId) {
        if self.waiting.get(&key).is_some_and(|listener| listener.watch == watch) {
            self.waiting.remove(&key);
        }
        let Some(flow) = self.found.remove(&watch) else { return };
        if let Some(followed) = self.flows.get_mut(&flow) {
            followed.listener = None;
            if followed.closed {
                self.flows.remove(&flow);
            }
        }
    }

    /// Tells every watch that nothing more will come.
    pub(in crate::firewall) fn close(&mut self) {
        *self = Self { next: self.next, ..Self::default() };
    }

    /// What the watches are to be told of the events so far, together: a task that is woken once for all that has happened
    /// to its connection takes half the time of one that is woken for each.
    pub(in crate::firewall) fn news(&mut self) -> News {
        News(std::mem::take(&mut self.untold))
    }

    /// Connections that live now.
    pub(in crate::firewall) fn live(&self) -> usize {
        self.live
    }

    /// Takes in an event. `counters` asks what a connection has carried.
    pub(in crate::firewall) fn apply(&mut self, event: &Event, counters: impl FnOnce(&Flow) -> Option<Counters>) {
        let Snapshot { flow, state, .. } = event.snapshot;
        match event.kind {
            // One that is known was found by a dump that overtook this message.
            Kind::New if !self.flows.contains_key(&flow) => self.begin(flow),
            Kind::New | Kind::Update => self.advance(&flow, state, counters),
            Kind::Destroy => self.end(&flow, event.snapshot.counters),
        }
    }

    /// Takes in all connections that there are, after messages were lost. `is_there` asks for one that is not among them.
    pub(in crate::firewall) fn reconcile(&mut self, all: &[Snapshot], mut is_there: impl FnMut(&Flow) -> bool) {
        for snapshot in all {
            let closing = matches!(snapshot.state, Some(TcpState::Finishing | TcpState::Closed));
            // One that is about to end is an earlier one with the same key, or of interest to nobody.
            if !self.flows.contains_key(&snapshot.flow) && !closing {
                self.begin(snapshot.flow);
            }
            self.advance(&snapshot.flow, snapshot.state, |_| snapshot.counters);
        }
        let listed: std::collections::HashSet<Flow> = all.iter().map(|snapshot| snapshot.flow).collect();
        // A dump can miss one that is there when the kernel's table is resized meanwhile.
        let gone: Vec<Flow> =
            self.flows.keys().filter(|flow| !listed.contains(flow) && !is_there(flow)).copied().collect();
        gone.iter().for_each(|flow| self.end(flow, None));
    }

    /// Takes in a connection that was found by looking, whatever it has come to meanwhile, if somebody waits for it or follows
    /// it.
    pub(in crate::firewall) fn see(&mut self, snapshot: &Snapshot) {
        if !self.flows.contains_key(&snapshot.flow) && self.awaits(&snapshot.flow.key()) {
            self.begin(snapshot.flow);
        }
        self.advance(&snapshot.flow, snapshot.state, |_| snapshot.counters);
    }

    /// Whether somebody waits for a connection with this key.
    pub(in crate::firewall) fn awaits(&self, key: &Key) -> bool {
        self.waiting.contains_key(key)
    }

    /// Connections that somebody follows.
    pub(in crate::firewall) fn followed(&self) -> impl Iterator<Item = &Flow> {
        self.flows.iter().filter(|(_, followed)| followed.listener.is_some()).map(|(flow, _)| flow)
    }

    /// Whether somebody follows a connection.
    pub(in crate::firewall) fn is_followed(&self, flow: &Flow) -> bool {
        self.flows.get(flow).is_some_and(|followed| followed.listener.is_some())
    }

    /// Forgets connections that nobody follows any more.
    pub(in crate::firewall) fn retain_followed(&mut self) {
        self.flows.retain(|_, followed| followed.listener.is_some());
        self.live = self.flows.values().filter(|followed| !followed.closed).count();
    }

    fn begin(&mut self, flow: Flow) {
        let listener = self.waiting.remove(&flow.key());
        if let Some(listener) = &listener {
            self.found.insert(listener.watch, flow);
            listener.note(&mut self.untold, FlowEvent::Used(flow));
        }
        self.flows.insert(flow, Followed { listener, ..Followed::default() });
        self.live += 1;
    }

    fn advance(&mut self, flow: &Flow, state: Option<TcpState>, counters: impl FnOnce(&Flow) -> Option<Counters>) {
        // One that is not known was over before anybody here heard of it.
        let Some(followed) = self.flows.get_mut(flow) else { return };
        match state {
            Some(TcpState::Established | TcpState::Finishing) if !followed.established => {
                followed.established = true;
                if let Some(listener) = &followed.listener {
                    listener.note(&mut self.untold, FlowEvent::Established);
                }
            }
            Some(TcpState::Closed) if !followed.closed => {
                followed.closed = true;
                self.live = self.live.saturating_sub(1);
                match &followed.listener {
                    Some(listener) => listener.note(&mut self.untold, FlowEvent::Closing(counters(flow))),
                    None => drop(self.flows.remove(flow)),
                }
            }
            _ => {}
        }
    }

    /// A connection is gone.
    pub(in crate::firewall) fn end(&mut self, flow: &Flow, counters: Option<Counters>) {
        let Some(followed) = self.flows.remove(flow) else { return };
        if !followed.closed {
            self.live = self.live.saturating_sub(1);
        }
        if let Some(listener) = followed.listener {
            listener.note(&mut self.untold, FlowEvent::Gone(counters));
            self.found.remove(&listener.watch);
        }
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
