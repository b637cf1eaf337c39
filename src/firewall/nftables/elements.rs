//! Elements: single elements of sets and maps, and the batch that takes some away and adds others.
//!
//! Lives here: what an element of each set looks like and its bytes, pure. Not here: which elements a pinhole needs and
//! which of them are there already (`book`).
//!
//! Columns are in network order, each padded on the right to a multiple of four bytes. Source of the numbers:
//! `include/uapi/linux/netfilter/nf_tables.h`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::message::{Attributes, Batch, Message, Subject, flag, kind};
use super::ruleset::{DNAT4, DNAT6, Family, PINHOLE4, PINHOLE6, RESET4, RESET6, Role, SETS, SNAT4, SNAT6, Set};
use crate::firewall::Reset;
use crate::pinhole::RangeRequest;

/// How many changes fit into one transaction. Each makes up to three elements in three sets and may replace three
/// others: with all of IPv6 a message stays below the 64 KiB of an attribute, and a batch below the 208 KiB that a socket
/// sends at once.
pub const MAX_CHANGES: usize = 256;

/// How much longer a translation lasts than its permission, so that it never expires before.
const TRANSLATION_EXTRA: Duration = Duration::from_secs(2);
/// The kernel counts in ticks of up to 10 ms and takes none at all for "for ever".
const SHORTEST: Duration = Duration::from_millis(100);
/// Bytes of the attributes that name table and set, unless the table has a long name, and of an element of IPv6 with data.
const NAMES: usize = 64;
const LONGEST_ELEMENT: usize = 92;
/// What nobody needs, and far from where the kernel's arithmetic ends.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    set: Set,
    key: Columns,
    data: Columns,
    /// `None`: it stays until it is taken away.
    timeout: Option<Duration>,
}

impl Element {
    /// `add element inet ftpgate pinhole4 { 192.0.2.10 . 203.0.113.1 . 61000 timeout 60s }`
    pub(super) fn permission(initiator: IpAddr, entrance: SocketAddr, lifetime: Duration) -> Self {
        let set = if entrance.is_ipv6() { PINHOLE6 } else { PINHOLE4 };
        Self::new(set, key(initiator, entrance), Columns::NONE, lifetime)
    }

    /// `add element inet ftpgate dnat4 { 192.0.2.10 . 203.0.113.1 . 61000 timeout 62s : 10.0.0.5 . 50000 }`
    pub(super) fn destination(initiator: IpAddr, entrance: SocketAddr, target: SocketAddr, lifetime: Duration) -> Self {
        let set = if entrance.is_ipv6() { DNAT6 } else { DNAT4 };
        let data = Columns::NONE.end(target);
        Self::new(set, key(initiator, entrance), data, lifetime.saturating_add(TRANSLATION_EXTRA))
    }

    /// `add element inet ftpgate snat4 { 192.0.2.10 . 10.0.0.5 . 50000 timeout 62s : 10.0.0.1 }`
    pub(super) fn source(initiator: IpAddr, target: SocketAddr, source: IpAddr, lifetime: Duration) -> Self {
        let set = if target.is_ipv6() { SNAT6 } else { SNAT4 };
        let data = Columns::NONE.address(source);
        Self::new(set, key(initiator, target), data, lifetime.saturating_add(TRANSLATION_EXTRA))
    }

    /// `add element inet ftpgate reset4 { 192.0.2.10 . 40000 . 10.0.0.5 . 50000 timeout 30s }`
    pub(super) fn reset(reset: &Reset) -> Self {
        let (receiver, sender) = reset.ends();
        let set = if receiver.is_ipv6() { RESET6 } else { RESET4 };
        Self::new(set, Columns::NONE.end(receiver).end(sender), Columns::NONE, reset.lifetime)
    }

    /// `add element inet ftpgate range4_50000_50100 { 192.0.2.10 . 203.0.113.1 }`
    pub(super) fn range_permission(range: &RangeRequest) -> Self {
        Self::lasting(range, Role::RangePermission, range.entrance, None)
    }

    /// `add element inet ftpgate range_dnat4_50000_50100 { 192.0.2.10 . 203.0.113.1 : 10.0.0.5 }`
    pub(super) fn range_destination(range: &RangeRequest) -> Self {
        Self::lasting(range, Role::RangeDestination, range.entrance, Some(range.target))
    }

    /// `add element inet ftpgate range_snat4_50000_50100 { 192.0.2.10 . 10.0.0.5 : 10.0.0.1 }`
    pub(super) fn range_source(range: &RangeRequest) -> Self {
        Self::lasting(range, Role::RangeSource, range.target, Some(range.source))
    }

    /// One whose key is the initiator and this address.
    fn lasting(range: &RangeRequest, role: Role, address: IpAddr, data: Option<IpAddr>) -> Self {
        let family = if address.is_ipv6() { Family::V6 } else { Family::V4 };
        let set = Set::of_range(role, family, range.ports);
        let key = Columns::NONE.address(range.initiator).address(address);
        let data = data.map_or(Columns::NONE, |data| Columns::NONE.address(data));
        Self { set, key, data, timeout: None }
    }

    fn new(set: Set, key: Columns, data: Columns, timeout: Duration) -> Self {
        Self { set, key, data, timeout: Some(timeout.clamp(SHORTEST, LONGEST)) }
    }

    /// NFTA_SET_ELEM_KEY.
    fn encode_key(&self, element: Attributes) -> Attributes {
        element.nest_with(1, |key| key.put(1, self.key.bytes()))
    }

    /// NFTA_SET_ELEM_TIMEOUT in milliseconds, NFTA_SET_ELEM_KEY, NFTA_SET_ELEM_DATA.
    fn encode(&self, element: Attributes) -> Attributes {
        let element = match self.timeout {
            Some(timeout) => element.long(4, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
            None => element,
        };
        let element = self.encode_key(element);
        let data = self.data.bytes();
        if data.is_empty() { element } else { element.nest_with(2, |attributes| attributes.put(1, data)) }
    }
}

/// How to take away an element that may be gone already: used up by its connection, or expired. A refused batch would
/// cost 16 ms, during which nobody in this network namespace can change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removal {
    /// `destroy element`. Linux 6.3.
    Destroy,
    /// `add element` and `delete element` in the same batch: then it is there in any case.
    AddThenDelete,
}

/// The batch that takes away `removed` and then adds `added`: one message for each set and step, whatever their number.
pub(super) fn replace(table: &str, removal: Removal, removed: &[Element], added: &[Element]) -> Batch {
    let mut messages = Vec::new();
    let sets = SETS.into_iter().chain(of_ranges(removed, added));
    for set in sets.clone() {
        let Some(elements) = Elements::of(set, removed) else { continue };
        match removal {
            Removal::Destroy => messages.push(elements.message(table, kind::DESTROYSETELEM)),
            Removal::AddThenDelete => {
                messages.push(elements.message(table, kind::NEWSETELEM));
                messages.push(elements.message(table, kind::DELSETELEM));
            }
        }
    }
    messages.extend(sets.filter_map(|set| Some(Elements::of(set, added)?.message(table, kind::NEWSETELEM))));
    Batch(messages)
}

/// The sets of ranges of ports that any of these are of.
fn of_ranges(removed: &[Element], added: &[Element]) -> impl Iterator<Item = Set> + Clone + use<> {
    let mut sets: Vec<Set> = Vec::new();
    for element in removed.iter().chain(added).filter(|element| element.set.ports.is_some()) {
        if !sets.contains(&element.set) {
            sets.push(element.set);
        }
    }
    sets.into_iter()
}

/// The batch that finds out whether the kernel knows `destroy element`: it takes away one that never is there.
pub(super) fn probe(table: &str) -> Batch {
    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
    replace(table, Removal::Destroy, &[Element::permission(nobody.ip(), nobody, SHORTEST)], &[])
}

/// Some elements of one set; at least one.
struct Elements<'a> {
    set: Set,
    /// With those of other sets among them.
    all: &'a [Element],
}

impl<'a> Elements<'a> {
    fn of(set: Set, all: &'a [Element]) -> Option<Self> {
        all.iter().any(|element| element.set == set).then_some(Self { set, all })
    }

    /// NFTA_SET_ELEM_LIST_TABLE, _SET, _ELEMENTS { NFTA_LIST_ELEM … }. Never with NLM_F_EXCL: an element that is there
    /// with the same data is no error.
    fn message(&self, table: &str, kind: u8) -> Message {
        let adds = kind == kind::NEWSETELEM;
        let elements = self.all.iter().filter(|element| element.set == self.set);
        let add = |list: Attributes, element: &Element| {
            list.nest_with(1, |new| if adds { element.encode(new) } else { element.encode_key(new) })
        };
        let room = NAMES + elements.clone().count() * LONGEST_ELEMENT;
        let attributes = Attributes::with_capacity(room).text(1, table).text(2, &self.set.name());
        let attributes = attributes.nest_with(3, |list| elements.fold(list, add));
        Message::new(Subject::Elements(self.set), kind, if adds { flag::CREATE } else { 0 }, attributes)
    }
}

/// The columns of the key of a pinhole or a translation.
fn key(initiator: IpAddr, at: SocketAddr) -> Columns {
    Columns::NONE.address(initiator).end(at)
}

/// The columns of a key or of data, one behind the other: two addresses of IPv6 and two ports at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Columns {
    bytes: [u8; 40],
    length: usize,
}

impl Columns {
    const NONE: Self = Self { bytes: [0; 40], length: 0 };

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn put(mut self, column: &[u8]) -> Self {
        let end = self.length + column.len();
        if let Some(place) = self.bytes.get_mut(self.length..end) {
            place.copy_from_slice(column);
            self.length = end;
        }
        self
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.put(&address.octets()),
            IpAddr::V6(address) => self.put(&address.octets()),
        }
    }

    /// An address and a port, padded.
    fn end(self, end: SocketAddr) -> Self {
        let [high, low] = end.port().to_be_bytes();
        self.address(end.ip()).put(&[high, low, 0, 0])
    }
}

#[cfg(test)]
#[path = "elements_tests.rs"]
mod tests;
