//! Ruleset: the sets, maps, chains and rules that make pinholes work, described once.
//!
//! Lives here: what there is and in which order, as plain data. Not here: its two renderings, nft's text (`text`) and netlink
//! expressions (`expressions`, `install`), which a test holds against each other; the elements (`elements`).
//!
//! How a pinhole works: the `pinhole` chain sees the first segment of a connection that a pinhole permits, takes the
//! pinhole away and marks the connection. Only marked connections are translated, so a second connection to a used pinhole
//! is neither marked nor translated, even while the elements of its translation are still there. The administrator's forward
//! chain accepts the mark. With the relay behind the packet filter both ends of a data connection are on this host: then the
//! input chain accepts the mark, and the `pinhole_output` chain does for the relay's own connections what `pinhole` does for others'.
//!
//! How a range of ports works, for a session whose control channel became TLS: the address pair is in a set of that range, and the
//! range itself is in the rule. A set whose elements are intervals would need no rule for each range, but the kernel copies such a
//! set with every change: measured with nft on Linux 6.18, a change took 2 ms with 100 elements, 21 ms with 5000, and below 1 ms
//! here with either. There is nothing to take away, as it is for
//! any number of connections; the elements stay until the session ends. Ports are not translated.
//!
//! How a live data connection is reset: at first only the packets of the end that receives the file are in the `reset` set.
//! The data passes, so that the receiver goes on acknowledging; the next acknowledgement is not passed on but answered with a
//! RST, and from then on the rule rejects the sender's packets as well. The order matters. An end believes a RST only if its
//! number is the very next byte that it expects (RFC 5961 §3.2), and the kernel takes that number from the packet that it
//! rejects. To reset the sender first would leave the receiver waiting: it sends nothing unless something arrives. A RST
//! that more data has overtaken is not believed, but as nothing passes any more, the receiver's next acknowledgement, which
//! that data causes, is answered with the right number.

use std::borrow::Cow;

use super::Ports;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// What a set or map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Permission: a set of `initiator . entrance address . entrance port`.
    Permission,
    /// Destination NAT: a map from the same key to `target address . target port`.
    Destination,
    /// Source NAT: a map from `initiator . target address . target port` to the source.
    Source,
    /// Reset: a set of `source . its port . destination . its port` of packets as they are forwarded.
    Reset,
    /// Permission for any number of connections to a range of ports: a set of `initiator . entrance address`.
    RangePermission,
    /// Destination NAT of those, which keeps the port: a map from the same key to the target's address.
    RangeDestination,
    /// Source NAT of those: a map from `initiator . target address` to the source.
    RangeSource,
}

/// A named set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Its name, or what that begins with.
    pub(super) stem: &'static str,
    pub(super) role: Role,
    pub(super) family: Family,
    /// The ports that it is for, if it is for some only: they end its name.
    pub(super) ports: Option<Ports>,
}

impl Set {
    /// One that is always there.
    const fn fixed(stem: &'static str, role: Role, family: Family) -> Self {
        Self { stem, role, family, ports: None }
    }

    /// The one of a range of ports.
    pub(super) fn of_range(role: Role, family: Family, ports: Ports) -> Self {
        let stem = match (role, family) {
            (Role::RangeDestination, Family::V4) => "range_dnat4",
            (Role::RangeDestination, Family::V6) => "range_dnat6",
            (Role::RangeSource, Family::V4) => "range_snat4",
            (Role::RangeSource, Family::V6) => "range_snat6",
            (_, Family::V4) => "range4",
            (_, Family::V6) => "range6",
        };
        Self { stem, role, family, ports: Some(ports) }
    }

    /// Its name in the table.
    pub(super) fn name(&self) -> Cow<'static, str> {
        match self.ports {
            None => Cow::Borrowed(self.stem),
            Some((first, last)) => Cow::Owned(format!("{}_{first}_{last}", self.stem)),
        }
    }
}

/// The sets and maps of a range of ports.
fn of_range(ports: Ports) -> impl Iterator<Item = Set> {
    let roles = [Role::RangePermission, Role::RangeDestination, Role::RangeSource];
    [Family::V4, Family::V6].into_iter().flat_map(move |family| roles.map(|role| Set::of_range(role, family, ports)))
}

/// All sets and maps where these ranges of ports may be opened, in the order in which they are created.
pub(super) fn sets(ranges: &[Ports]) -> impl Iterator<Item = Set> {
    SETS.into_iter().chain(ranges.iter().copied().flat_map(of_range))
}

pub(super) const PINHOLE4: Set = Set::fixed("pinhole4", Role::Permission, Family::V4);
pub(super) const DNAT4: Set = Set::fixed("dnat4", Role::Destination, Family::V4);
pub(super) const SNAT4: Set = Set::fixed("snat4", Role::Source, Family::V4);
pub(super) const RESET4: Set = Set::fixed("reset4", Role::Reset, Family::V4);
pub(super) const PINHOLE6: Set = Set::fixed("pinhole6", Role::Permission, Family::V6);
pub(super) const DNAT6: Set = Set::fixed("dnat6", Role::Destination, Family::V6);
pub(super) const SNAT6: Set = Set::fixed("snat6", Role::Source, Family::V6);
pub(super) const RESET6: Set = Set::fixed("reset6", Role::Reset, Family::V6);

/// Those that are always there.
pub(super) const SETS: [Set; 8] = [PINHOLE4, DNAT4, SNAT4, RESET4, PINHOLE6, DNAT6, SNAT6, RESET6];

/// How many elements a set may hold. Used and expired ones count until the kernel collects them, about a second later, so
/// this is several times what may be open at once. Kernel 6.18 was measured to allocate the hash table of a set with this
/// size as elements come, but 2 MiB ahead for one with 65535.
pub(super) const SET_SIZE: u32 = 131_072;

/// How many seconds the rule goes on rejecting the sender's packets once it has reset the receiver: longer than the pause
/// between two of a sender that gets no answer, unless it has been blocked for half of that before.
pub(super) const SENDER_TIMEOUT: u64 = 60;

/// A part of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The packet begins a connection.
    NewConnection,
    /// The packet is TCP. Nft's text implies it.
    Tcp,
    /// The segment opens a TCP connection. Without this a segment of a connection that the kernel forgot would do.
    Syn,
    /// The packet is of this family. Nft's text implies it.
    Is(Family),
    /// The packet is the one that an element of the set permits.
    In(Set),
    /// Takes that element away. Does not end the rule when there is none, hence [`Step::In`] before it.
    Delete(Set),
    /// Sets our bits of the connection's mark.
    SetMark,
    /// The connection's mark has our bits.
    HasMark,
    /// Sends the connection where the map says. Ends the rule when the map has no such element.
    TranslateDestination(Set),
    /// The segment is no reset itself: those may pass, and are never answered.
    NoReset,
    /// The packet is of a connection and direction in the set.
    Between(Set),
    /// Adds the other direction to the set, for [`SENDER_TIMEOUT`].
    AddOpposite(Set),
    /// Drops the packet, and answers it with a reset on behalf of the other end.
    Reject,
    /// Lets the connection come from where the map says. Ends the rule when the map has no such element.
    TranslateSource(Set),
    /// The packet goes to one of these ports.
    PortWithin(Ports),
}

/// Where a chain is attached, `enum nf_inet_hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Prerouting,
    Forward,
    /// What this host itself sends.
    Output,
    Postrouting,
}

/// A base chain. Its policy is accept: what it does not know is not its business.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) name: &'static str,
    /// `filter` or `nat`.
    pub(super) kind: &'static str,
    pub(super) hook: Hook,
    pub(super) priority: i32,
    pub(super) rules: [&'static [Step]; 2],
    /// The rule that it has besides for a range of ports.
    pub(super) ranged: Option<fn(Family, Ports) -> Vec<Step>>,
}

impl Chain {
    /// All of its rules where these ranges of ports may be opened. Pinholes come first: what one permits goes where it leads.
    pub(super) fn all_rules(&self, ranges: &[Ports]) -> Vec<Vec<Step>> {
        let fixed = self.rules.iter().map(|steps| steps.to_vec());
        let ranged = self.ranged.into_iter().flat_map(|rule| {
            ranges.iter().flat_map(move |ports| [Family::V4, Family::V6].map(|family| rule(family, *ports)))
        });
        fixed.chain(ranged).collect()
    }
}

/// Marks the connections of a session that cannot be read, as many as there are:
/// ct state new tcp flags & (fin | syn | rst | ack) == syn tcp dport 50000-50100 ip saddr . ip daddr @range4_50000_50100
/// ct mark set ct mark & ~MASK | MARK
fn permit_range(family: Family, ports: Ports) -> Vec<Step> {
    let set = Set::of_range(Role::RangePermission, family, ports);
    vec![
        Step::NewConnection,
        Step::Tcp,
        Step::Syn,
        Step::PortWithin(ports),
        Step::Is(family),
        Step::In(set),
        Step::SetMark,
    ]
}

/// ct mark & MASK == MARK tcp dport 50000-50100 dnat ip to ip saddr . ip daddr map @range_dnat4_50000_50100
fn lead_range(family: Family, ports: Ports) -> Vec<Step> {
    let map = Set::of_range(Role::RangeDestination, family, ports);
    vec![Step::HasMark, Step::Tcp, Step::PortWithin(ports), Step::Is(family), Step::TranslateDestination(map)]
}

/// ct mark & MASK == MARK tcp dport 50000-50100 snat ip to ip saddr . ip daddr map @range_snat4_50000_50100
fn disguise_range(family: Family, ports: Ports) -> Vec<Step> {
    let map = Set::of_range(Role::RangeSource, family, ports);
    vec![Step::HasMark, Step::Tcp, Step::PortWithin(ports), Step::Is(family), Step::TranslateSource(map)]
}

/// Takes the pinhole of a first segment away and marks its connection:
/// ct state new tcp flags & (fin | syn | rst | ack) == syn ip saddr . ip daddr . tcp dport @pinhole4
/// delete @pinhole4 { ip saddr . ip daddr . tcp dport } ct mark set ct mark & ~MASK | MARK
const PERMIT4: &[Step] = &[
    Step::NewConnection,
    Step::Tcp,
    Step::Syn,
    Step::Is(Family::V4),
    Step::In(PINHOLE4),
    Step::Delete(PINHOLE4),
    Step::SetMark,
];
/// The same with ip6 and @pinhole6.
const PERMIT6: &[Step] = &[
    Step::NewConnection,
    Step::Tcp,
    Step::Syn,
    Step::Is(Family::V6),
    Step::In(PINHOLE6),
    Step::Delete(PINHOLE6),
    Step::SetMark,
];

/// The chains, in the order in which they are created. (`dnat` and `snat` are nft keywords and cannot name a chain.)
pub(super) static CHAINS: [Chain; 5] = [
    Chain {
        name: "pinhole",
        kind: "filter",
        hook: Hook::Prerouting,
        // After connection tracking (-200) and the usual mangle chains (-150), before the translation.
        priority: -110,
        ranged: Some(permit_range),
        rules: [PERMIT4, PERMIT6],
    },
    Chain {
        name: "pinhole_output",
        kind: "filter",
        // Connections that the relay makes: they never pass prerouting, and get their source in postrouting.
        hook: Hook::Output,
        priority: -110,
        ranged: None,
        rules: [PERMIT4, PERMIT6],
    },
    Chain {
        name: "pinhole_dnat",
        kind: "nat",
        hook: Hook::Prerouting,
        // Just before `dstnat` (-100), so that the administrator's own translations do not come first.
        priority: -101,
        ranged: Some(lead_range),
        rules: [
            // ct mark & MASK == MARK dnat ip to ip saddr . ip daddr . tcp dport map @dnat4
            &[Step::HasMark, Step::Is(Family::V4), Step::Tcp, Step::TranslateDestination(DNAT4)],
            // ct mark & MASK == MARK dnat ip6 to ip6 saddr . ip6 daddr . tcp dport map @dnat6
            &[Step::HasMark, Step::Is(Family::V6), Step::Tcp, Step::TranslateDestination(DNAT6)],
        ],
    },
    Chain {
        name: "pinhole_snat",
        kind: "nat",
        hook: Hook::Postrouting,
        // Just before `srcnat` (100), so that the administrator's masquerade does not come first.
        priority: 99,
        ranged: Some(disguise_range),
        rules: [
            // ct mark & MASK == MARK snat ip to ip saddr . ip daddr . tcp dport map @snat4
            &[Step::HasMark, Step::Is(Family::V4), Step::Tcp, Step::TranslateSource(SNAT4)],
            // ct mark & MASK == MARK snat ip6 to ip6 saddr . ip6 daddr . tcp dport map @snat6
            &[Step::HasMark, Step::Is(Family::V6), Step::Tcp, Step::TranslateSource(SNAT6)],
        ],
    },
    Chain {
        name: "pinhole_reset",
        kind: "filter",
        hook: Hook::Forward,
        // Before the administrator's filter (0), which accepts what is established. The mark comes first: all other packets
        // that are forwarded pay for no more than looking at it.
        priority: -10,
        ranged: None,
        rules: [
            // ct mark & MASK == MARK tcp flags & rst == 0 ip saddr . tcp sport . ip daddr . tcp dport @reset4
            // add @reset4 { ip daddr . tcp dport . ip saddr . tcp sport timeout 60s } reject with tcp reset
            &[
                Step::HasMark,
                Step::Tcp,
                Step::NoReset,
                Step::Is(Family::V4),
                Step::Between(RESET4),
                Step::AddOpposite(RESET4),
                Step::Reject,
            ],
            // The same with ip6 and @reset6.
            &[
                Step::HasMark,
                Step::Tcp,
                Step::NoReset,
                Step::Is(Family::V6),
                Step::Between(RESET6),
                Step::AddOpposite(RESET6),
                Step::Reject,
            ],
        ],
    },
];

/// The columns of a key or of data, as nft types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    /// `ipv4_addr` or `ipv6_addr`.
    Address(Family),
    /// `inet_service`.
    Port,
}

impl Column {
    /// Its name in nft's text.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Address(Family::V4) => "ipv4_addr",
            Self::Address(Family::V6) => "ipv6_addr",
            Self::Port => "inet_service",
        }
    }

    /// Its number in nft, `enum datatypes` in nftables' `include/datatype.h`; the kernel only keeps it.
    fn number(self) -> u32 {
        match self {
            Self::Address(Family::V4) => 7,
            Self::Address(Family::V6) => 8,
            Self::Port => 13,
        }
    }

    /// Its length in bytes. Each column is padded on the right to a multiple of four.
    fn length(self) -> u32 {
        match self {
            Self::Address(Family::V4) | Self::Port => 4,
            Self::Address(Family::V6) => 16,
        }
    }
}

/// The type number of a concatenation: nft gives each column six bits.
pub(super) fn type_number(columns: &[Column]) -> u32 {
    columns.iter().fold(0, |number, column| number << 6 | column.number())
}

/// The length of a concatenation in bytes.
pub(super) fn length(columns: &[Column]) -> u32 {
    columns.iter().map(|column| column.length()).sum()
}

/// `NFT_SET_CONSTANT`: no element may be changed.
pub(super) const CONSTANT: u32 = 0x02;
/// `NFT_SET_INTERVAL`: the elements are ranges.
pub(super) const INTERVAL: u32 = 0x04;
/// `NFT_SET_MAP`.
pub(super) const MAP: u32 = 0x08;
/// `NFT_SET_TIMEOUT`.
pub(super) const TIMEOUT: u32 = 0x10;
/// `NFT_SET_EVAL`, in text `dynamic`: rules change it.
pub(super) const DYNAMIC: u32 = 0x20;

impl Set {
    /// The columns of its key.
    pub(super) fn key(&self) -> Vec<Column> {
        let address = Column::Address(self.family);
        match self.role {
            Role::Permission | Role::Destination | Role::Source => vec![address, address, Column::Port],
            Role::Reset => vec![address, Column::Port, address, Column::Port],
            Role::RangePermission | Role::RangeDestination | Role::RangeSource => vec![address, address],
        }
    }

    /// The columns of its data; empty for a set.
    pub(super) fn data(&self) -> Vec<Column> {
        match self.role {
            Role::Permission | Role::Reset | Role::RangePermission => Vec::new(),
            Role::Destination => vec![Column::Address(self.family), Column::Port],
            Role::Source | Role::RangeDestination | Role::RangeSource => vec![Column::Address(self.family)],
        }
    }

    /// Whether it is a map.
    pub(super) fn is_map(&self) -> bool {
        !self.data().is_empty()
    }

    /// Its flags, `enum nft_set_flags`.
    pub(super) fn flags(&self) -> u32 {
        match self.role {
            Role::Permission | Role::Reset => DYNAMIC | TIMEOUT,
            Role::RangePermission => TIMEOUT,
            _ => MAP | TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_numbers_that_nft_sends() {
        assert_eq!(type_number(&PINHOLE4.key()), 0x71cd);
        assert_eq!(type_number(&DNAT4.data()), 0x1cd);
        assert_eq!(type_number(&PINHOLE6.key()), 0x8_20d);
        assert_eq!((length(&PINHOLE4.key()), length(&DNAT4.data())), (12, 8));
        assert_eq!((length(&PINHOLE6.key()), length(&DNAT6.data())), (36, 20));
    }
}
