//! Ranges: the part of the book that knows which ranges of ports are open.
//!
//! Lives here: which elements must go and which must come when ranges are opened and closed; pure. Not here: pinholes (`book`), how many
//! sessions want the same range (`worker::changes`), the bytes of elements (`elements`).
//!
//! The elements of a range do not expire, so the book is exact: what it knows is in the kernel, unless somebody else took it away.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Ports;
use super::elements::Element;
use crate::firewall::{Change, Error, ErrorKind};
use crate::pinhole::RangeRequest;

/// An element's key: the range of ports, the initiator, and the address that it dials or where it arrives.
type Place = (Ports, IpAddr, IpAddr);

/// The ranges that are open.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// By what is dialled. Where it leads is certain: there is one for each.
    open: BTreeMap<Place, RangeRequest>,
    /// Those of them that need source NAT, by where they arrive: several may share its element.
    arrivals: BTreeMap<Place, BTreeSet<RangeRequest>>,
}

/// What changes mean to ranges.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Take these away first.
    pub(super) removed: Vec<Element>,
    /// Then add these.
    pub(super) added: Vec<Element>,
    /// What the changes touch, and whether it is open then.
    outcome: BTreeMap<RangeRequest, bool>,
}

impl Ranges {
    /// Works out what these changes mean. The book stays as it is.
    ///
    /// # Errors
    /// `Other`: a range that cannot be expressed beside those that are open.
    pub(super) fn plan(&self, changes: &[Change]) -> Result<Plan, Error> {
        let mut plan = Plan::default();
        for change in changes {
            match change {
                Change::OpenRange(range) => {
                    check_family(range)?;
                    plan.outcome.insert(*range, true);
                }
                Change::CloseRange(range) => {
                    plan.outcome.insert(*range, false);
                }
                Change::Open(_) | Change::Close(_) | Change::Reset(_) => {}
            }
        }
        // What one transaction closes is out of the way of what it opens.
        let stays = |range: &&RangeRequest| plan.outcome.get(range).copied().unwrap_or(true);
        let opens = |range: &&RangeRequest| plan.outcome.get(range) == Some(&true);
        let mut arrivals = BTreeSet::new();
        for (range, wanted) in &plan.outcome {
            let is_open = self.open.get(&entrance(range)) == Some(range);
            if range.needs_snat() && is_open != *wanted {
                arrivals.insert(arrival(range));
            }
            if *wanted {
                let rivals = self.open.get(&entrance(range)).into_iter().filter(stays);
                let rivals =
                    rivals.chain(plan.outcome.keys().filter(opens).filter(|other| entrance(other) == entrance(range)));
                conflict(range, rivals, |range| range.target)?;
            }
            match (is_open, wanted) {
                (false, true) => plan.added.extend(of_entrance(range)),
                (true, false) => plan.removed.extend(of_entrance(range)),
                _ => {}
            }
        }
        for at in arrivals {
            let before = self.arrivals.get(&at).into_iter().flatten();
            let opened = plan.outcome.keys().filter(opens).filter(|range| range.needs_snat() && arrival(range) == at);
            let after: BTreeSet<&RangeRequest> = before.clone().filter(stays).chain(opened).collect();
            if let Some(first) = after.first() {
                conflict(first, after.iter().copied(), |range| range.source)?;
            }
            match (before.clone().next(), after.first()) {
                (None, Some(range)) => plan.added.push(Element::range_source(range)),
                (Some(range), None) => plan.removed.push(Element::range_source(range)),
                // One transaction that leaves nothing of those that were there, and opens others.
                (Some(old), Some(new)) if old.source != new.source => {
                    plan.removed.push(Element::range_source(old));
                    plan.added.push(Element::range_source(new));
                }
                _ => {}
            }
        }
        Ok(plan)
    }

    /// Takes over what the kernel has taken.
    pub(super) fn commit(&mut self, plan: Plan) {
        // First what goes, lest it take away what comes in its place.
        let (opened, closed): (Vec<_>, Vec<_>) = plan.outcome.into_iter().partition(|(_, wanted)| *wanted);
        for (range, _) in closed {
            if self.open.get(&entrance(&range)) == Some(&range) {
                self.open.remove(&entrance(&range));
            }
            if let Some(sharers) = self.arrivals.get_mut(&arrival(&range)) {
                sharers.remove(&range);
                if sharers.is_empty() {
                    self.arrivals.remove(&arrival(&range));
                }
            }
        }
        for (range, _) in opened {
            self.open.insert(entrance(&range), range);
            if range.needs_snat() {
                self.arrivals.entry(arrival(&range)).or_default().insert(range);
            }
        }
    }

    /// Forgets them all: all elements are gone.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.arrivals.clear();
    }
}

/// The key of the permission and of destination NAT.
fn entrance(range: &RangeRequest) -> Place {
    (range.ports, range.initiator, range.entrance)
}

/// The key of source NAT.
fn arrival(range: &RangeRequest) -> Place {
    (range.ports, range.initiator, range.target)
}

/// The elements that nobody shares.
fn of_entrance(range: &RangeRequest) -> impl Iterator<Item = Element> + use<> {
    let destination = range.needs_dnat().then(|| Element::range_destination(range));
    [Element::range_permission(range)].into_iter().chain(destination)
}

/// An error if one of the others has something else there.
fn conflict<'a>(
    range: &RangeRequest,
    mut others: impl Iterator<Item = &'a RangeRequest>,
    what: impl Fn(&RangeRequest) -> IpAddr,
) -> Result<(), Error> {
    match others.find(|other| what(other) != what(range)) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::Other,
            format!(
                "two sessions that became TLS want the same ports in two ways, ({range}) and ({other}), and nftables can only do one \
                 of them; give the servers different passive_ports, or the listeners the same `source`"
            ),
        )),
    }
}

/// All addresses must be of one family.
fn check_family(range: &RangeRequest) -> Result<(), Error> {
    let RangeRequest { initiator, entrance, target, source, .. } = range;
    if [entrance, target, source].iter().all(|address| address.is_ipv6() == initiator.is_ipv6()) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Other, format!("nftables cannot lead from one address family to the other ({range})")))
}

#[cfg(test)]
#[path = "ranges_tests.rs"]
mod tests;
