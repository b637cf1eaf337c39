//! A packet as a rule sees it at one interface, and whether the rule looks at it.
//!
//! Not here: the order in which rules are asked (`mod.rs`).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::grammar::ast::{Direction, Family, Host, Matching, Net, Side, Table};

const TCP: u8 = 6;

/// The interfaces of the gateway with their addresses, and the groups they are in.
#[derive(Clone, Debug, Default)]
pub struct Interfaces {
    pub addresses: BTreeMap<String, Vec<Net>>,
    pub groups: BTreeMap<String, Vec<String>>,
}

impl Interfaces {
    /// Whether `name`, an interface or a group, stands for `interface`. Every kind of interface is a group too: `em` holds em0.
    fn stands_for(&self, name: &str, interface: &str) -> bool {
        let kind = interface.trim_end_matches(|c: char| c.is_ascii_digit());
        name == interface
            || name == kind
            || self.groups.get(name).is_some_and(|members| members.iter().any(|member| member == interface))
    }

    /// The addresses of `em0`, `self`, `egress:network`, …
    pub fn nets(&self, name: &str) -> Vec<Net> {
        let (name, modifiers) = name.split_once(':').unwrap_or((name, ""));
        let whole = modifiers.contains("network");
        let of = self.addresses.iter().filter(|(interface, _)| name == "self" || self.stands_for(name, interface));
        let prefix = |net: &Net| if whole { net.prefix } else { most(net) };
        of.flat_map(|(_, nets)| nets).map(|net| Net { prefix: prefix(net), ..*net }).collect()
    }
}

fn most(net: &Net) -> u8 {
    if net.address.is_ipv4() { 32 } else { 128 }
}

/// What a rule can see of a packet.
#[derive(Clone, Debug)]
pub struct View {
    pub direction: Direction,
    pub interface: String,
    pub from: SocketAddr,
    pub to: SocketAddr,
    /// TCP flags.
    pub flags: u8,
    /// Tags stay with a packet on its way through the gateway.
    pub tag: Option<String>,
    /// It comes from or goes to a program of the gateway itself.
    pub local: bool,
}

impl View {
    pub fn seen_by(&self, matching: &Matching, interfaces: &Interfaces, tables: &[&Table]) -> bool {
        let named = |(not, name): &(bool, String)| *not != interfaces.stands_for(name, &self.interface);
        let side = |side: &Side, address: SocketAddr| {
            let host = |(not, host): &(bool, Host)| *not != holds(host, address.ip(), interfaces, tables);
            (side.hosts.is_empty() || side.hosts.iter().any(host))
                && (side.ports.is_empty() || side.ports.iter().any(|ports| ports.contains(address.port())))
        };
        (matching.interfaces.is_empty() || matching.interfaces.iter().any(named))
            && matching.rdomain.is_none_or(|rdomain| rdomain == 0)
            && matching.family.is_none_or(|family| family == Family::of(self.to.ip()))
            && (matching.protocols.is_empty() || matching.protocols.contains(&TCP))
            && (!matching.owned || self.local)
            && side(&matching.from, self.from)
            && side(&matching.to, self.to)
    }

    /// `tagged T` and `! tagged T`.
    pub fn has_tag(&self, tagged: &Option<(bool, String)>) -> bool {
        tagged.as_ref().is_none_or(|(not, tag)| *not != (self.tag.as_ref() == Some(tag)))
    }

    /// `flags wanted/among`.
    pub fn has_flags(&self, flags: Option<(u8, u8)>) -> bool {
        flags.is_none_or(|(wanted, among)| self.flags & among == wanted)
    }
}

fn holds(host: &Host, address: IpAddr, interfaces: &Interfaces, tables: &[&Table]) -> bool {
    match host {
        Host::Any => true,
        // Every address of the model has a route, and packets come from where the route leads.
        Host::NoRoute | Host::UrpfFailed => false,
        Host::Net(net) => net.contains(address),
        Host::Interface(name) => interfaces.nets(name).iter().any(|net| net.contains(address)),
        Host::Table(name) => {
            let table = tables.iter().find(|table| table.name == *name);
            // The longest prefix decides, negated or not.
            let nets = |host: &Host| match host {
                Host::Net(net) => vec![*net],
                Host::Interface(name) => interfaces.nets(name),
                _ => Vec::new(),
            };
            let entries = table.iter().flat_map(|table| &table.addresses);
            let entries = entries.flat_map(|(not, host)| nets(host).into_iter().map(|net| (*not, net)));
            let holding = entries.filter(|(_, net)| net.contains(address));
            holding.max_by_key(|(_, net)| net.prefix).is_some_and(|(not, _)| !not)
        }
    }
}
