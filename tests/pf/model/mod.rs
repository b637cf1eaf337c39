//! What a ruleset does to TCP packets: which pass, where they arrive, what becomes of those that do not. Pure.
//!
//! FreeBSD: rdr rules, then the filter, when a packet comes in; nat rules, then the filter, when it goes out; the first translation that
//! matches counts, and the filter sees translated addresses. OpenBSD: one list of rules; match rules translate at once, the pass
//! rule that decides translates at the end. Both: the last rule that matches decides, unless one says `quick`; anchors
//! are evaluated where they stand; states let everything through that belongs to them. Left out: protocols but TCP, sequence
//! numbers, timeouts (`end`), pools of several addresses (the first is taken), source limits, lists as several rules (each
//! would count its own `max`). Not here: whether a rule looks at a packet (`view.rs`).

mod view;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::grammar::ast::{
    Action, Anchor, AnchorKind, Dialect, Direction, Family, Host, Item, Matching, Net, Pool, Ports, Return, Rule,
    Ruleset, Table, Translation, TranslationKind,
};
use crate::grammar::{Place, parse};
use view::{Interfaces, View};

pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// A TCP packet on its way through the gateway.
#[derive(Clone, Debug)]
pub struct Packet {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub flags: u8,
    /// Absent where the gateway itself sends it.
    pub entering: Option<String>,
    /// Absent where it is for the gateway itself.
    pub leaving: Option<String>,
}

impl Packet {
    /// The first packet of a connection, from one interface to another.
    pub fn syn(from: SocketAddr, to: SocketAddr, entering: &str, leaving: &str) -> Self {
        Self { from, to, flags: SYN, entering: Some(entering.to_owned()), leaving: Some(leaving.to_owned()) }
    }

    /// Any later one.
    pub fn later(&self) -> Self {
        Self { flags: ACK, ..self.clone() }
    }

    /// An answer to what has `arrived` at the other end, on its way back.
    pub fn answer(&self, arrived: (SocketAddr, SocketAddr)) -> Self {
        let (entering, leaving) = (self.leaving.clone(), self.entering.clone());
        Self { from: arrived.1, to: arrived.0, flags: SYN | ACK, entering, leaving }
    }
}

/// What the sender of a blocked packet hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    Nothing,
    Reset,
    Icmp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Blocked {
        /// Where it was stopped.
        direction: Direction,
        reply: Reply,
        why: Why,
    },
    Passed {
        /// As whoever gets it sees it.
        from: SocketAddr,
        to: SocketAddr,
        /// The labels of the states that it made.
        labels: Vec<String>,
    },
    /// To this socket, and the packet still bears its addresses.
    Diverted(SocketAddr),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The rule at this line of this anchor, empty for the main ruleset.
    Rule(String, usize),
    /// The rule passes it and has all the states it may have.
    TooManyStates,
    /// The port that it would have to come from is taken.
    NoPort,
}

/// A rule as it was loaded: the same text loaded again is another rule, and has made no states yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id {
    anchor: String,
    generation: u64,
    line: usize,
}

type Addresses = (SocketAddr, SocketAddr);

/// A state. It outlives its rule.
#[derive(Clone, Debug)]
pub struct Live {
    rule: Id,
    pub label: Option<String>,
    interface: Option<String>,
    pub outbound: bool,
    pub before: Addresses,
    pub after: Addresses,
    tag: Option<String>,
}

#[derive(Clone, Debug)]
struct Loaded {
    ruleset: Ruleset,
    generation: u64,
}

#[derive(Clone, Debug)]
pub struct Model {
    dialect: Dialect,
    main: Loaded,
    anchors: BTreeMap<String, Loaded>,
    interfaces: Interfaces,
    states: Vec<Live>,
    generation: u64,
    next_port: u16,
}

/// One walk through the rules.
struct Walk<'a> {
    view: View,
    last: Option<(&'a Rule, Id)>,
    /// What match rules have already done.
    port_taken: bool,
}

/// Where rules stand.
#[derive(Clone, Copy)]
struct Spot<'a> {
    path: &'a str,
    loaded: &'a Loaded,
}

impl Model {
    /// pf with this main ruleset, no anchors and no states.
    pub fn new(dialect: Dialect, main: &str) -> Self {
        let ruleset = parse(dialect, Place::Main, main).unwrap_or_else(|error| panic!("{error} in\n{main}"));
        Self {
            dialect,
            main: Loaded { ruleset, generation: 0 },
            anchors: BTreeMap::new(),
            interfaces: Interfaces::default(),
            states: Vec::new(),
            generation: 0,
            next_port: 50000,
        }
    }

    /// Gives an interface its addresses, `192.0.2.1/24` each, and the groups it is in.
    pub fn interface(&mut self, name: &str, addresses: &[&str], groups: &[&str]) {
        let net = |text: &&str| {
            let (address, prefix) = text.split_once('/').expect("an address with its prefix");
            Net { address: address.parse().unwrap(), prefix: prefix.parse().unwrap() }
        };
        self.interfaces.addresses.insert(name.to_owned(), addresses.iter().map(net).collect());
        for group in groups {
            self.interfaces.groups.entry((*group).to_owned()).or_default().push(name.to_owned());
        }
    }

    /// `pfctl -a NAME -f -`: what the anchor held before is gone, an empty text removes it.
    pub fn load(&mut self, name: &str, text: &str) {
        let tables: Vec<String> = self.main.ruleset.tables.iter().map(|table| table.name.clone()).collect();
        let ruleset =
            parse(self.dialect, Place::Anchor(&tables), text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
        self.generation += 1;
        match ruleset.is_empty() {
            true => self.anchors.remove(name),
            false => self.anchors.insert(name.to_owned(), Loaded { ruleset, generation: self.generation }),
        };
    }

    pub fn states(&self) -> &[Live] {
        &self.states
    }

    /// `pfctl -k label -k LABEL`: how many there were.
    pub fn kill(&mut self, label: &str) -> usize {
        let before = self.states.len();
        self.states.retain(|state| state.label.as_deref() != Some(label));
        before - self.states.len()
    }

    /// Every connection is over and its states have timed out.
    pub fn end(&mut self) {
        self.states.clear();
    }

    /// Sends one packet through the gateway.
    pub fn send(&mut self, packet: &Packet) -> Verdict {
        let (mut addresses, mut tag, mut labels) = ((packet.from, packet.to), None, Vec::new());
        let ways = [(Direction::In, &packet.entering), (Direction::Out, &packet.leaving)];
        for (direction, interface) in ways {
            let Some(interface) = interface else { continue };
            if self.main.ruleset.skipped.iter().any(|skipped| interface.starts_with(skipped.as_str())) {
                continue;
            }
            if let Some((found, found_tag)) = self.known(direction, interface, addresses) {
                (addresses, tag) = (found, found_tag.or(tag));
                continue;
            }
            let view = View {
                direction,
                interface: interface.clone(),
                from: addresses.0,
                to: addresses.1,
                flags: packet.flags,
                tag,
                local: packet.entering.is_none() || packet.leaving.is_none(),
            };
            match self.decide(view) {
                Err(verdict) => return verdict,
                Ok((after, after_tag, label)) => {
                    (addresses, tag) = (after, after_tag);
                    labels.extend(label);
                }
            }
        }
        Verdict::Passed { from: addresses.0, to: addresses.1, labels }
    }

    /// Where a packet of a known connection goes on, and its tag.
    fn known(&self, direction: Direction, interface: &str, at: Addresses) -> Option<(Addresses, Option<String>)> {
        let outbound = direction == Direction::Out;
        self.states.iter().filter(|state| state.interface.as_deref().is_none_or(|bound| bound == interface)).find_map(
            |state| {
                if state.outbound == outbound {
                    (state.before == at).then(|| (state.after, state.tag.clone()))
                } else {
                    // The other way: it comes addressed as the far end knows the connection.
                    (state.after == (at.1, at.0)).then_some(((state.before.1, state.before.0), None))
                }
            },
        )
    }

    /// The rules for a packet without a state: the addresses with which it goes on, its tag, the label of the state it made.
    fn decide(&mut self, view: View) -> Result<(Addresses, Option<String>, Option<String>), Verdict> {
        let direction = view.direction;
        let blocked = |reply, why| Err(Verdict::Blocked { direction, reply, why });
        let before = (view.from, view.to);
        let mut walk = Walk { view, last: None, port_taken: false };
        let mut unfiltered = None;
        if self.dialect == Dialect::FreeBsd {
            let kind = if direction == Direction::In { TranslationKind::Rdr } else { TranslationKind::Nat };
            let main = Spot { path: "", loaded: &self.main };
            if let Some((rule, id)) = self.translation(main, &self.main.ruleset.items, kind, &walk.view)
                && let Some(target) = &rule.target
            {
                walk.view.tag = rule.tag.clone().or(walk.view.tag);
                match kind {
                    TranslationKind::Rdr => walk.view.to = self.redirect(&walk.view, target, &rule.matching),
                    _ => self.masquerade(&mut walk, target),
                }
                unfiltered = rule.pass.then_some(id);
            }
        }
        if unfiltered.is_none() {
            self.filter(Spot { path: "", loaded: &self.main }, &self.main.ruleset.items, &mut walk);
        }
        let (rule, id) = match (walk.last.take(), unfiltered) {
            (_, Some(id)) => (None, id),
            (Some((rule, id)), None) => (Some(rule), id),
            // Nothing matched: it passes, without a state.
            (None, None) => return Ok(((walk.view.from, walk.view.to), walk.view.tag, None)),
        };
        if let Some(rule) = rule {
            if let Action::Block(returning) = rule.action {
                return blocked(self.reply(returning, walk.view.flags), Why::Rule(id.anchor, id.line));
            }
            if !rule.keeps_state() {
                return Ok(((walk.view.from, walk.view.to), walk.view.tag, None));
            }
            if rule.max.is_some_and(|max| self.states.iter().filter(|state| state.rule == id).count() >= max as usize) {
                return blocked(Reply::Nothing, Why::TooManyStates);
            }
            if let Some(target) = &rule.rdr_to {
                walk.view.to = self.redirect(&walk.view, target, &rule.matching);
            }
            if let Some(target) = &rule.nat_to {
                self.masquerade(&mut walk, target);
            }
            if let Some((address, port)) = rule.divert_to {
                return Err(Verdict::Diverted(SocketAddr::new(address, port)));
            }
        }
        if walk.port_taken {
            return blocked(Reply::Nothing, Why::NoPort);
        }
        let label = rule.and_then(|rule| rule.labels.first().cloned());
        let View { from, to, tag, interface, .. } = walk.view;
        let interface = self.main.ruleset.if_bound.then_some(interface);
        let outbound = direction == Direction::Out;
        self.next_port = self.next_port.max(50000) + 1;
        let state =
            Live { rule: id, label: label.clone(), interface, outbound, before, after: (from, to), tag: tag.clone() };
        self.states.push(state);
        Ok(((from, to), tag, label))
    }

    fn reply(&self, returning: Return, flags: u8) -> Reply {
        match returning {
            Return::Icmp => Reply::Icmp,
            Return::Drop => Reply::Nothing,
            Return::Policy if !self.main.ruleset.block_returns => Reply::Nothing,
            // A reset is not answered with a reset.
            _ if flags & RST != 0 => Reply::Nothing,
            _ => Reply::Reset,
        }
    }

    /// Tables of the anchor, then those of the main ruleset.
    fn tables<'a>(&'a self, spot: Spot<'a>) -> Vec<&'a Table> {
        spot.loaded.ruleset.tables.iter().chain(&self.main.ruleset.tables).collect()
    }

    /// The anchors that `anchor` stands for, in the order in which they are evaluated.
    fn called<'a>(&'a self, spot: Spot<'a>, anchor: &'a Anchor) -> Vec<Spot<'a>> {
        let Some(name) = &anchor.name else { return Vec::new() };
        let path = match (name.strip_prefix('/'), spot.path) {
            (Some(absolute), _) => absolute.to_owned(),
            (None, "") => name.clone(),
            (None, outer) => format!("{outer}/{name}"),
        };
        let spot = |(path, loaded): (&'a String, &'a Loaded)| Spot { path, loaded };
        match path.strip_suffix('*') {
            // The direct children only, in alphabetical order.
            Some(above) => {
                let child = |name: &str| name.strip_prefix(above).is_some_and(|rest| !rest.contains('/'));
                self.anchors.iter().filter(|(name, _)| child(name)).map(spot).collect()
            }
            None => self.anchors.get_key_value(&path).map(spot).into_iter().collect(),
        }
    }

    fn enters(&self, spot: Spot<'_>, anchor: &Anchor, view: &View) -> bool {
        anchor.direction.is_none_or(|direction| direction == view.direction)
            && view.has_tag(&anchor.tagged)
            && view.seen_by(&anchor.matching, &self.interfaces, &self.tables(spot))
    }

    /// Whether evaluation ends here.
    fn filter<'a>(&'a self, spot: Spot<'a>, items: &'a [Item], walk: &mut Walk<'a>) -> bool {
        for item in items {
            match item {
                Item::Rule(rule) => {
                    let view = &walk.view;
                    if rule.direction.is_some_and(|direction| direction != view.direction)
                        || rule.icmp.is_some()
                        || rule.fragment
                        || !view.has_flags(rule.effective_flags())
                        || !view.has_tag(&rule.tagged)
                        || !view.seen_by(&rule.matching, &self.interfaces, &self.tables(spot))
                    {
                        continue;
                    }
                    // Whatever the rule decides, and whether or not a later one overrules it.
                    if rule.tag.is_some() {
                        walk.view.tag.clone_from(&rule.tag);
                    }
                    if rule.action == Action::Match {
                        if let Some(target) = &rule.rdr_to {
                            walk.view.to = self.redirect(&walk.view, target, &rule.matching);
                        }
                        if let Some(target) = &rule.nat_to {
                            self.masquerade(walk, target);
                        }
                    } else {
                        let id =
                            Id { anchor: spot.path.to_owned(), generation: spot.loaded.generation, line: rule.line };
                        walk.last = Some((rule, id));
                    }
                    if rule.quick {
                        return true;
                    }
                }
                Item::Anchor(anchor) if anchor.kind == AnchorKind::Filter && self.enters(spot, anchor, &walk.view) => {
                    let outer = walk.last.take();
                    let ends = match &anchor.block {
                        Some(items) => self.filter(spot, items, walk),
                        None => {
                            let called = self.called(spot, anchor);
                            called.into_iter().any(|inner| self.filter(inner, &inner.loaded.ruleset.items, walk))
                        }
                    };
                    let matched = walk.last.is_some();
                    walk.last = walk.last.take().or(outer);
                    if ends || (anchor.quick && matched) {
                        return true;
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// The first translation that matches.
    fn translation<'a>(
        &'a self,
        spot: Spot<'a>,
        items: &'a [Item],
        kind: TranslationKind,
        view: &View,
    ) -> Option<(&'a Translation, Id)> {
        let wanted = if kind == TranslationKind::Rdr { AnchorKind::Rdr } else { AnchorKind::Nat };
        items.iter().find_map(|item| match item {
            Item::Translation(rule) => {
                let seen = rule.kind == kind
                    && view.has_tag(&rule.tagged)
                    && view.seen_by(&rule.matching, &self.interfaces, &self.tables(spot));
                let id = Id { anchor: spot.path.to_owned(), generation: spot.loaded.generation, line: rule.line };
                seen.then_some((&**rule, id))
            }
            Item::Anchor(anchor) if anchor.kind == wanted && self.enters(spot, anchor, view) => {
                let mut called = self.called(spot, anchor).into_iter();
                called.find_map(|inner| self.translation(inner, &inner.loaded.ruleset.items, kind, view))
            }
            _ => None,
        })
    }

    fn address(&self, pool: &Pool, like: IpAddr) -> IpAddr {
        let found = pool.hosts.iter().find_map(|host| match host {
            Host::Net(net) => (Family::of(net.address) == Family::of(like)).then_some(net.address),
            Host::Interface(name) => {
                let nets = self.interfaces.nets(name);
                nets.iter().map(|net| net.address).find(|address| address.is_ipv4() == like.is_ipv4())
            }
            _ => None,
        });
        found.unwrap_or_else(|| panic!("no address to translate to in {pool:?}: give the model its interfaces"))
    }

    fn redirect(&self, view: &View, target: &Pool, matching: &Matching) -> SocketAddr {
        let port = match (target.port, matching.to.ports.first()) {
            (None, _) => view.to.port(),
            // `port a:*`: as far from a as the packet's is from the first of the rule.
            (Some((first, 0)), Some(Ports::Range(from, _))) => first + (view.to.port() - from),
            (Some((first, _)), _) => first,
        };
        SocketAddr::new(self.address(target, view.to.ip()), port)
    }

    /// The source of a packet, and whether the port it must have is in use towards this destination.
    fn masquerade(&self, walk: &mut Walk<'_>, target: &Pool) {
        let port = match target.port {
            _ if target.static_port => walk.view.from.port(),
            Some((first, last)) if first == last => first,
            Some((first, _)) => first,
            // One of 50001:65535, at random; here one after the other.
            None => self.next_port.max(50000) + 1,
        };
        walk.view.from = SocketAddr::new(self.address(target, walk.view.from.ip()), port);
        let taken = |state: &Live| state.outbound && state.after == (walk.view.from, walk.view.to);
        walk.port_taken = self.states.iter().any(taken);
    }
}
