//! Book: which elements are in the kernel because of which pinhole.
//!
//! Lives here: working out, from the pinholes that are open and the changes that are wanted, which elements must go and
//! which must come; pure. Not here: the bytes of elements (`elements`), carrying it out (`mod`). The element
//! of a reset is not kept account of: it goes away with its time.
//!
//! The truth is kept here rather than asked from the kernel, because a refused batch is expensive (see `elements`). An
//! element that the book knows may be gone, used up or expired; one that it does not know is not there.
//!
//! The key of source NAT is who dialled and where it really goes, so pinholes of one initiator to one target share an
//! element. It stays until the last of them is closed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::elements::{Element, MAX_CHANGES};
use super::ranges::{self, Ranges};
use crate::firewall::{Change, Error, ErrorKind};
use crate::pinhole::{Key, Pinhole};

/// The pinholes that are open.
#[derive(Debug, Default)]
pub(super) struct Book {
    open: BTreeMap<Key, Pinhole>,
    /// Those of them that need source NAT, by the key of its element.
    arrivals: BTreeMap<Arrival, BTreeMap<Key, Pinhole>>,
    ranges: Ranges,
}

/// The key of source NAT: who dialled, and where it really goes.
type Arrival = (IpAddr, SocketAddr);

/// What a transaction does to the kernel's elements, and to the book if the kernel takes it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Take these away first. Some may be gone.
    pub(super) removed: Vec<Element>,
    /// Then add these.
    pub(super) added: Vec<Element>,
    outcome: BTreeMap<Key, Option<Pinhole>>,
    ranges: ranges::Plan,
}

impl Book {
    /// Works out what these changes mean. The book stays as it is.
    ///
    /// # Errors
    /// `Other`: a pinhole that cannot be expressed, or too many changes.
    pub(super) fn plan(&self, changes: &[Change]) -> Result<Plan, Error> {
        if changes.len() > MAX_CHANGES {
            let count = changes.len();
            return Err(Error::new(
                ErrorKind::Other,
                format!(
                    "{count} changes do not fit into one nftables transaction; send at most {MAX_CHANGES} at a time"
                ),
            ));
        }
        let mut plan = Plan { outcome: self.outcome(changes)?, ..Plan::default() };
        plan.added.extend(changes.iter().filter_map(|change| match change {
            Change::Reset(reset) => Some(Element::reset(reset)),
            Change::Open(_) | Change::Close(_) | Change::OpenRange(_) | Change::CloseRange(_) => None,
        }));
        // With those that are opened of each.
        let mut arrivals: BTreeMap<Arrival, Vec<Pinhole>> = BTreeMap::new();
        for (key, pinhole) in &plan.outcome {
            // One that is opened again is replaced: older kernels do not renew the timeout of an element that is there.
            if let Some(old) = self.open.get(key) {
                plan.removed.extend(of_entrance(old));
                if let Some(arrival) = arrival(old) {
                    arrivals.entry(arrival).or_default();
                }
            }
            if let Some(new) = pinhole {
                plan.added.extend(of_entrance(new));
                if let Some(arrival) = arrival(new) {
                    arrivals.entry(arrival).or_default().push(*new);
                }
            }
        }
        for (arrival, opened) in arrivals {
            self.plan_source(arrival, &opened, &mut plan)?;
        }
        plan.ranges = self.ranges.plan(changes)?;
        plan.removed.append(&mut plan.ranges.removed);
        plan.added.append(&mut plan.ranges.added);
        Ok(plan)
    }

    /// Takes over what the kernel has taken.
    pub(super) fn commit(&mut self, plan: Plan) {
        self.ranges.commit(plan.ranges);
        for (key, pinhole) in plan.outcome {
            if let Some(old) = self.open.remove(&key)
                && let Some(arrival) = arrival(&old)
                && let Some(sharers) = self.arrivals.get_mut(&arrival)
            {
                sharers.remove(&key);
                if sharers.is_empty() {
                    self.arrivals.remove(&arrival);
                }
            }
            if let Some(new) = pinhole {
                self.open.insert(key, new);
                if let Some(arrival) = arrival(&new) {
                    self.arrivals.entry(arrival).or_default().insert(key, new);
                }
            }
        }
    }

    /// Forgets every pinhole and range: all elements are gone.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.arrivals.clear();
        self.ranges.clear();
    }

    /// What becomes of each key that the changes touch.
    fn outcome(&self, changes: &[Change]) -> Result<BTreeMap<Key, Option<Pinhole>>, Error> {
        let mut outcome = BTreeMap::new();
        for change in changes {
            match change {
                Change::Open(pinhole) => {
                    check_family(pinhole)?;
                    outcome.insert(pinhole.key(), Some(*pinhole));
                }
                Change::Close(pinhole) => {
                    let key = pinhole.key();
                    let there = outcome.get(&key).copied().unwrap_or_else(|| self.open.get(&key).copied());
                    // Another one may have taken its place, and stays.
                    if there.is_some_and(|there| (there.target, there.source) == (pinhole.target, pinhole.source)) {
                        outcome.insert(key, None);
                    }
                }
                Change::Reset(reset) => {
                    let (receiver, sender) = reset.ends();
                    if receiver.is_ipv6() != sender.is_ipv6() {
                        let text = format!("a connection from {sender} to {receiver} cannot be");
                        return Err(Error::new(ErrorKind::Other, text));
                    }
                }
                Change::OpenRange(_) | Change::CloseRange(_) => {}
            }
        }
        Ok(outcome)
    }

    /// Plans the element of source NAT that the pinholes of this arrival share. `opened`: those that the changes open.
    fn plan_source(&self, (initiator, target): Arrival, opened: &[Pinhole], plan: &mut Plan) -> Result<(), Error> {
        let before = self.arrivals.get(&(initiator, target));
        let untouched = before.into_iter().flatten().filter(|(key, _)| !plan.outcome.contains_key(key));
        let untouched: Vec<_> = untouched.map(|(_, pinhole)| *pinhole).collect();
        if opened.is_empty() && !untouched.is_empty() {
            return Ok(());
        }
        if let Some(old) = before.and_then(|sharers| sharers.values().next()) {
            plan.removed.push(Element::source(initiator, target, old.source, old.lifetime));
        }
        let mut sharers = untouched.iter().chain(opened);
        let Some(first) = sharers.next() else { return Ok(()) };
        if let Some(other) = sharers.find(|other| other.source != first.source) {
            return Err(conflict(first, other));
        }
        // It must outlast each of them.
        let lifetime = untouched.iter().chain(opened).map(|sharer| sharer.lifetime).max().unwrap_or(Duration::ZERO);
        plan.added.push(Element::source(initiator, target, first.source, lifetime));
        Ok(())
    }
}

/// The elements whose key is that of the pinhole: the permission, and destination NAT where it is needed.
fn of_entrance(pinhole: &Pinhole) -> impl Iterator<Item = Element> + use<> {
    let Pinhole { initiator, entrance, target, lifetime, .. } = *pinhole;
    let destination = pinhole.needs_dnat().then(|| Element::destination(initiator, entrance, target, lifetime));
    [Element::permission(initiator, entrance, lifetime)].into_iter().chain(destination)
}

/// The key of its source NAT, if it needs that.
fn arrival(pinhole: &Pinhole) -> Option<Arrival> {
    pinhole.needs_snat().then_some((pinhole.initiator, pinhole.target))
}

/// All addresses must fit into one column width.
fn check_family(pinhole: &Pinhole) -> Result<(), Error> {
    let families = [pinhole.initiator.is_ipv6(), pinhole.target.is_ipv6(), pinhole.source.is_ipv6()];
    if families.iter().all(|is_ipv6| *is_ipv6 == pinhole.is_ipv6()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Other,
        format!(
            "a pinhole cannot lead from one address family to the other ({pinhole}); give the listener a server of \
             the client's family"
        ),
    ))
}

/// Two pinholes ask for different sources where there is only one element.
fn conflict(one: &Pinhole, other: &Pinhole) -> Error {
    let (initiator, target) = (one.initiator, one.target);
    let (first, second) = (one.source, other.source);
    Error::new(
        ErrorKind::Other,
        format!(
            "pinholes that are open at the same time want connections from {initiator} to {target} to come from \
             {first} and from {second}, and nftables can only do one of them; give the listeners that lead there the \
             same `source`"
        ),
    )
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
