//! What a pf.conf says, once parsed: the part of it that decides packets, in full; of the rest (queues, normalisation, timeouts)
//! that it was there.
//!
//! Not here: the syntax (`statement.rs`, `rule.rs`, `translation.rs`), what pfctl checks beyond it (`check.rs`), what a packet meets
//! (`model.rs`).

use std::fmt;
use std::net::IpAddr;

/// Whose pfctl reads the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// FreeBSD 14: nat and rdr rules, order of sections, filtering after translation.
    FreeBsd,
    /// OpenBSD 7.x: rdr-to and nat-to on pass and match rules.
    OpenBsd,
}

impl Dialect {
    /// The word of the file `dialect` that lies beside the stand-in for pfctl.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FreeBsd => "freebsd",
            Self::OpenBsd => "openbsd",
        }
    }

    /// The dialect that `word` names.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::FreeBsd, Self::OpenBsd].into_iter().find(|dialect| dialect.as_str() == word)
    }
}

/// Why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Counted from 1.
    pub line: usize,
    /// As pfctl says it; a syntax error also names the token that cannot stand there.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.message)
    }
}

/// One text: a main ruleset, or what an anchor holds.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// In the order of the text.
    pub items: Vec<Item>,
    /// The tables it defines.
    pub tables: Vec<Table>,
    /// The queues it defines.
    pub queues: Vec<String>,
    /// `set limit NAME N`.
    pub limits: Vec<(String, u64)>,
    /// `set block-policy return`.
    pub block_returns: bool,
    /// `set state-policy if-bound`.
    pub if_bound: bool,
    /// The interfaces of `set skip on`.
    pub skipped: Vec<String>,
}

impl Ruleset {
    /// Whether it leaves nothing in an anchor: no rule and no table.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty() && self.tables.is_empty()
    }

    /// Every anchor that its anchor rules name, without a trailing `/*`.
    pub fn anchors(&self) -> Vec<String> {
        let names = self.items.iter().filter_map(|item| match item {
            Item::Anchor(anchor) => anchor.name.as_deref(),
            _ => None,
        });
        names.map(|name| name.trim_end_matches("/*").to_owned()).collect()
    }
}

/// One statement that has its place in the order of evaluation.
#[derive(Clone, Debug)]
pub enum Item {
    Rule(Box<Rule>),
    Translation(Box<Translation>),
    Anchor(Box<Anchor>),
    /// `scrub …` of FreeBSD; decides no packet of this model.
    Scrub,
    /// `antispoof for IF`: what it expands to is not modelled.
    Antispoof,
}

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// Networks, and interfaces that stand for their addresses.
    pub addresses: Vec<(bool, Host)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Inet,
    Inet6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Inet } else { Self::Inet6 }
    }
}

/// What a block rule sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// What `set block-policy` says.
    Policy,
    Drop,
    /// A reset, or an ICMP error, by protocol.
    Any,
    Rst,
    Icmp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Pass,
    Block(Return),
    Match,
}

/// An address with its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    pub address: IpAddr,
    pub prefix: u8,
}

impl Net {
    pub fn contains(&self, other: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
            IpAddr::V6(v6) => u128::from(v6),
        };
        let shift = 128 - u32::from(self.prefix);
        self.address.is_ipv4() == other.is_ipv4()
            && (shift == 128 || bits(self.address) >> shift == bits(other) >> shift)
    }
}

/// One item of a `from` or `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Any,
    NoRoute,
    UrpfFailed,
    Table(String),
    Net(Net),
    /// `em0`, `(em0)`, `egress`, `self`, `em0:network`.
    Interface(String),
}

impl Host {
    /// The address family, where the text fixes one.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::Net(net) => Some(Family::of(net.address)),
            _ => None,
        }
    }
}

/// `= 80`, `1024:65535`, `<> `… in the numbering of pf.conf(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ports {
    Equal(u16),
    NotEqual(u16),
    Less(u16),
    LessOrEqual(u16),
    Greater(u16),
    GreaterOrEqual(u16),
    /// `a:b`, both included.
    Range(u16, u16),
    /// `a >< b`, neither included.
    Inside(u16, u16),
    /// `a <> b`, below a or above b.
    Outside(u16, u16),
}

impl Ports {
    pub fn contains(self, port: u16) -> bool {
        match self {
            Self::Equal(a) => port == a,
            Self::NotEqual(a) => port != a,
            Self::Less(a) => port < a,
            Self::LessOrEqual(a) => port <= a,
            Self::Greater(a) => port > a,
            Self::GreaterOrEqual(a) => port >= a,
            Self::Range(a, b) => (a..=b).contains(&port),
            Self::Inside(a, b) => a < port && port < b,
            Self::Outside(a, b) => port < a || port > b,
        }
    }
}

/// A `from` or a `to`. No host means any, no port means any.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// With whether it is negated.
    pub hosts: Vec<(bool, Host)>,
    pub ports: Vec<Ports>,
}

/// What packets a rule looks at.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    /// Interfaces with whether they are negated; none means any.
    pub interfaces: Vec<(bool, String)>,
    /// `on rdomain N`.
    pub rdomain: Option<u16>,
    pub family: Option<Family>,
    /// Protocol numbers; none means any.
    pub protocols: Vec<u8>,
    pub from: Side,
    pub to: Side,
    /// A user or group is named: only sockets of the firewall itself can match.
    pub owned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    None,
    Keep,
    Modulate,
    Synproxy,
}

/// The target of a translation.
#[derive(Clone, Debug)]
pub struct Pool {
    pub hosts: Vec<Host>,
    /// `port a`, `port a:b`, `port a:*` (the end 0).
    pub port: Option<(u16, u16)>,
    pub static_port: bool,
}

/// A pass, block or match rule.
#[derive(Clone, Debug)]
pub struct Rule {
    pub line: usize,
    pub action: Action,
    pub direction: Option<Direction>,
    pub log: bool,
    pub quick: bool,
    pub matching: Matching,
    /// `flags S/SA`: these of those; absent for `flags any` or where nothing was said.
    pub flags: Option<(u8, u8)>,
    /// Whether a `flags` was written at all.
    pub flags_written: bool,
    /// As written; pass rules keep state unless it says otherwise.
    pub state: Option<State>,
    pub state_options: bool,
    pub max: Option<u32>,
    pub labels: Vec<String>,
    pub tag: Option<String>,
    /// With whether it is negated.
    pub tagged: Option<(bool, String)>,
    pub queue: Option<String>,
    pub rtable: Option<u16>,
    pub rdr_to: Option<Pool>,
    pub nat_to: Option<Pool>,
    pub binat_to: bool,
    pub divert_to: Option<(IpAddr, u16)>,
    pub divert_reply: bool,
    /// `route-to`, `reply-to` or `dup-to`.
    pub route: Option<String>,
    pub once: bool,
    pub icmp: Option<Family>,
    pub allow_opts: bool,
    pub fragment: bool,
}

impl Rule {
    pub fn new(line: usize, action: Action) -> Self {
        Self {
            line,
            action,
            direction: None,
            log: false,
            quick: false,
            matching: Matching::default(),
            flags: None,
            flags_written: false,
            state: None,
            state_options: false,
            max: None,
            labels: Vec::new(),
            tag: None,
            tagged: None,
            queue: None,
            rtable: None,
            rdr_to: None,
            nat_to: None,
            binat_to: false,
            divert_to: None,
            divert_reply: false,
            route: None,
            once: false,
            icmp: None,
            allow_opts: false,
            fragment: false,
        }
    }

    /// Whether it keeps state: pass rules do unless told not to.
    pub fn keeps_state(&self) -> bool {
        match self.state {
            Some(State::None) => false,
            Some(_) => true,
            None => self.action == Action::Pass,
        }
    }

    /// The TCP flags it looks at: `S/SA` where a rule keeps state and says nothing else.
    pub fn effective_flags(&self) -> Option<(u8, u8)> {
        let implied = self.action == Action::Pass && self.keeps_state() && !self.fragment;
        if self.flags_written { self.flags } else { implied.then_some((0x02, 0x12)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationKind {
    Nat,
    Rdr,
    Binat,
}

/// A nat, rdr or binat rule of FreeBSD.
#[derive(Clone, Debug)]
pub struct Translation {
    pub line: usize,
    pub kind: TranslationKind,
    /// `no nat`: what matches is not translated.
    pub no: bool,
    /// `rdr pass`: what matches is not filtered.
    pub pass: bool,
    pub log: bool,
    pub matching: Matching,
    pub tag: Option<String>,
    pub tagged: Option<(bool, String)>,
    pub rtable: Option<u16>,
    pub target: Option<Pool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnchorKind {
    Filter,
    Nat,
    Rdr,
    Binat,
}

/// The place where the rules of an anchor are evaluated.
#[derive(Clone, Debug)]
pub struct Anchor {
    pub line: usize,
    pub kind: AnchorKind,
    /// May end in `/*`; absent for `anchor { … }`.
    pub name: Option<String>,
    pub direction: Option<Direction>,
    pub quick: bool,
    pub matching: Matching,
    pub tagged: Option<(bool, String)>,
    /// The rules between its braces.
    pub block: Option<Vec<Item>>,
}
