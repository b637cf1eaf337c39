//! The anchors brought to life: where a test asks for it (the knob `realise`), every load also becomes nftables rules, so that real
//! clients and servers meet what the pf rules say: the same addresses, the same translations, behind a firewall that drops.
//!
//! Only the shapes that ftpgate's anchors have, addresses and ports one each; anything else is loud. No `max`, no `quick`, no labels: those
//! are for the model (`tests/pf/model.rs`), which knows what pf makes of them.
//!
//! A forwarded packet is looked at where pf of both systems has translated its destination and not yet its source: there OpenBSD
//! evaluates the rules for `out`, and FreeBSD's rules for `in` see the same addresses.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::grammar::ast::{Action, Direction, Host, Item, Matching, Pool, Ports, Side, TranslationKind};
use crate::grammar::{Dialect, Place, parse};

/// The rules of all anchors, as a table that replaces the one before.
pub fn realise(dialect: Dialect, anchors: &BTreeMap<String, String>, mark: &str) {
    let (mut before, mut marked, mut after) = (String::new(), String::new(), String::new());
    for text in anchors.values() {
        let ruleset = parse(dialect, Place::Anchor(&[]), text).expect("only correct anchors are kept");
        for item in &ruleset.items {
            match item {
                // Keeps rules behind the anchor from translating; there are none here.
                Item::Translation(rule) if rule.no => {}
                Item::Translation(rule) => {
                    let target = rule.target.as_ref().expect("translations of ours have a target");
                    let (chain, verb) = match rule.kind {
                        TranslationKind::Rdr => (&mut before, "dnat"),
                        TranslationKind::Nat => (&mut after, "snat"),
                        other => panic!("{other:?} is none of ours"),
                    };
                    let _ = writeln!(chain, "{} {}", condition(&rule.matching), translation(verb, target));
                }
                Item::Rule(rule) if rule.action == Action::Pass => {
                    let decides = match dialect {
                        Dialect::FreeBsd => Direction::In,
                        Dialect::OpenBsd => Direction::Out,
                    };
                    if rule.direction == Some(decides) {
                        let _ = writeln!(marked, "{} ct mark set {mark}", condition(&rule.matching));
                    }
                    if let Some(target) = &rule.rdr_to {
                        let _ = writeln!(before, "{} {}", condition(&rule.matching), translation("dnat", target));
                    }
                    if let Some(target) = &rule.nat_to {
                        let _ = writeln!(after, "{} {}", condition(&rule.matching), translation("snat", target));
                    }
                }
                // What cuts connections off.
                Item::Rule(rule) => assert!(matches!(rule.action, Action::Block(_)), "{text}"),
                other => panic!("{other:?} is none of ours"),
            }
        }
    }
    load(&format!(
        "table inet fake_pf {{ }}\ndelete table inet fake_pf\ntable inet fake_pf {{\n\
         chain before {{ type nat hook prerouting priority -101; policy accept;\n{before}}}\n\
         chain marked {{ type filter hook forward priority -10; policy accept;\nct state != new return\n{marked}}}\n\
         chain after {{ type nat hook postrouting priority 99; policy accept;\n{after}}}\n}}\n"
    ));
}

/// `ip saddr A ip daddr B tcp dport P`
fn condition(matching: &Matching) -> String {
    let (from, to) = (host(&matching.from), host(&matching.to));
    let [Ports::Equal(port)] = matching.to.ports[..] else { panic!("one port: {matching:?}") };
    let ip = if from.is_ipv6() { "ip6" } else { "ip" };
    format!("{ip} saddr {from} {ip} daddr {to} tcp dport {port}")
}

fn host(side: &Side) -> IpAddr {
    match &side.hosts[..] {
        [(false, Host::Net(net))] if net.prefix == if net.address.is_ipv6() { 128 } else { 32 } => net.address,
        other => panic!("one address: {other:?}"),
    }
}

/// `dnat ip to A:P`
fn translation(verb: &str, target: &Pool) -> String {
    let [Host::Net(net)] = &target.hosts[..] else { panic!("one address: {target:?}") };
    let port = target.port.map(|(port, _)| format!(":{port}")).unwrap_or_default();
    match net.address {
        IpAddr::V4(address) => format!("{verb} ip to {address}{port}"),
        IpAddr::V6(address) => format!("{verb} ip6 to [{address}]{port}"),
    }
}

fn load(ruleset: &str) {
    let mut nft = Command::new("/usr/sbin/nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    nft.stdin.take().unwrap().write_all(ruleset.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success(), "{ruleset}");
}
