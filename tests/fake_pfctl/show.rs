//! What `-s` shows, in pfctl's layout.
//!
//! Weaker than the original: rules are shown as they were written, not as pf would write them. Not here: states (`pf/state.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::Answer;
use crate::grammar::ast::{AnchorKind, Item};
use crate::grammar::words::limits;
use crate::grammar::{Dialect, Place, Ruleset, parse};
use crate::store::Store;

/// `a/b/c`: a, a/b, a/b/c.
pub fn ancestors(name: &str) -> Vec<String> {
    let ends = name.match_indices('/').map(|(at, _)| at).chain([name.len()]);
    ends.map(|end| name[..end].to_owned()).collect()
}

/// Every anchor that there is: those with rules, those above them, those that the main ruleset refers to.
pub fn nodes(store: &Store, anchors: &BTreeMap<String, String>) -> BTreeSet<String> {
    let referred = store.main().map(|main| main.anchors()).unwrap_or_default();
    anchors.keys().chain(&referred).flat_map(|name| ancestors(name)).collect()
}

pub fn show(store: &Store, what: &str, anchor: &str, verbosity: usize) -> Answer {
    match what {
        "Anchors" => show_anchors(store, anchor, verbosity),
        "states" => Answer::print(store.states().iter().map(|state| state.print(store.dialect, verbosity)).collect()),
        "info" => info(store),
        "memory" => memory(store),
        _ => rules(store, what, anchor),
    }
}

/// The children of `anchor`, one a line. OpenBSD goes down into them always, FreeBSD 14 with `-v`.
fn show_anchors(store: &Store, anchor: &str, verbosity: usize) -> Answer {
    let nodes = nodes(store, &store.anchors());
    if !anchor.is_empty() && !nodes.contains(anchor) {
        // pfctl says so and ends with 0.
        return Answer { stderr: format!("Anchor '{anchor}' not found.\n"), ..Answer::default() };
    }
    let recursive = verbosity > 0 || store.dialect == Dialect::OpenBsd;
    let below = |node: &&String| match node.strip_prefix(anchor) {
        Some(rest) if anchor.is_empty() => recursive || !rest.contains('/'),
        Some(rest) => rest.strip_prefix('/').is_some_and(|name| recursive || !name.contains('/')),
        None => false,
    };
    Answer::print(nodes.iter().filter(below).map(|node| format!("  {node}\n")).collect())
}

fn info(store: &Store) -> Answer {
    let status = if store.disabled() { "Disabled" } else { "Enabled" };
    let debug = match store.dialect {
        Dialect::FreeBsd => "Debug: Urgent",
        Dialect::OpenBsd => "Debug: err",
    };
    let mut text = format!("{:<44}{debug:>15}\n\n", format!("Status: {status} for 0 days 00:01:10"));
    text += &format!("{:<27} {:>14} {:>16}\n", "State Table", "Total", "Rate");
    text += &format!("  {:<25} {:>14} {:>14}\n", "current entries", store.states().len(), "");
    Answer::print(text)
}

fn memory(store: &Store) -> Answer {
    let set = store.main().map(|main| main.limits).unwrap_or_default();
    let line = |(name, default): &(&str, u64)| {
        let limit = set.iter().rfind(|(known, _)| known == name).map_or(*default, |(_, limit)| *limit);
        let limit = if *name == "anchors" { store.anchor_limit() as u64 } else { limit };
        format!("{name:<13} hard limit {limit:>8}\n")
    };
    Answer::print(limits(store.dialect).iter().map(line).collect())
}

/// `rules`, `nat` and `labels` of one ruleset.
fn rules(store: &Store, what: &str, anchor: &str) -> Answer {
    let anchors = store.anchors();
    let text = if anchor.is_empty() {
        store.main_text().unwrap_or_default()
    } else {
        match anchors.get(anchor) {
            Some(text) => text.clone(),
            None if nodes(store, &anchors).contains(anchor) => String::new(),
            None => {
                // Said, and then it ends with 0.
                let said = if what == "nat" { "DIOCGETRULES: Invalid argument" } else { "Anchor does not exist" };
                return Answer { stderr: format!("pfctl: {said}\n"), ..Answer::default() };
            }
        }
    };
    let main = store.main();
    let tables: Vec<String> = main.iter().flat_map(|main| main.tables.iter().map(|table| table.name.clone())).collect();
    let place = if anchor.is_empty() { Place::Main } else { Place::Anchor(&tables) };
    let ruleset = parse(store.dialect, place, &text).expect("only correct rules are kept");
    Answer::print(match what {
        "labels" => labels(store, &ruleset),
        _ => shown(&ruleset, &text, what == "nat"),
    })
}

fn shown(ruleset: &Ruleset, text: &str, nat: bool) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let chosen = ruleset.items.iter().filter_map(|item| match item {
        Item::Rule(rule) => (!nat).then_some(rule.line),
        Item::Translation(translation) => nat.then_some(translation.line),
        Item::Anchor(anchor) => (nat == (anchor.kind != AnchorKind::Filter)).then_some(anchor.line),
        Item::Scrub | Item::Antispoof => None,
    });
    chosen.map(|line| format!("{}\n", lines[line - 1].trim())).collect()
}

/// `label evaluations packets bytes packets-in bytes-in packets-out bytes-out states`, a line for each rule with a label.
fn labels(store: &Store, ruleset: &Ruleset) -> String {
    let states = store.states();
    let filter = ruleset.items.iter().filter(|item| matches!(item, Item::Rule(_) | Item::Anchor(_)));
    let mut text = String::new();
    for (number, item) in filter.enumerate() {
        let Item::Rule(rule) = item else { continue };
        let Some(label) = rule.labels.first() else { continue };
        let own = states.iter().filter(|state| {
            state.label.as_ref() == Some(label) && state.rule.is_none_or(|rule| rule as usize == number)
        });
        let (mut packets, mut bytes, mut count) = ((0, 0), (0, 0), 0);
        for state in own {
            let flip = |pair: (u64, u64)| if state.outbound { (pair.1, pair.0) } else { pair };
            let (p, b) = (flip(state.packets), flip(state.bytes));
            packets = (packets.0 + p.0, packets.1 + p.1);
            bytes = (bytes.0 + b.0, bytes.1 + b.1);
            count += 1;
        }
        text += &format!(
            "{} {count} {} {} {} {} {} {} {count}\n",
            rule.labels.join(" "),
            packets.0 + packets.1,
            bytes.0 + bytes.1,
            packets.0,
            bytes.0,
            packets.1,
            bytes.1
        );
    }
    text
}
