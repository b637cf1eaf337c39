//! States: reading what `pfctl -vv -s states` prints.
//!
//! Lives here: [`parse`] and [`connections`], from text to the connections that came through the gateway; pure. Not here:
//! running pfctl (`pfctl`), when to look (`tracker`).
//!
//! pf has a state for each side of the gateway that a connection passes: one `in` where the initiator's packets arrive, one
//! `out` where they leave. Both systems print a state the same way (pf_print_state.c of pfctl), addresses of the `in` state
//! being those of the connection as it leaves, and those on the wire in parentheses where they differ:
//!
//! ```text
//! all tcp 10.0.0.5:50000 (203.0.113.1:61000) <- 198.51.100.7:40000       ESTABLISHED:ESTABLISHED
//!    [1402873812 + 65535] wscale 7  [3306419817 + 65535] wscale 7
//!    age 00:00:12, expires in 23:59:58, 17:21 pkts, 1012:28231 bytes, anchor 3, rule 1
//!    id: 6748c1b200000001 creatorid: 9f4e20c1
//! all tcp 10.0.0.1:55555 (198.51.100.7:40000) -> 10.0.0.5:50000       ESTABLISHED:ESTABLISHED
//! ```
//!
//! What cannot be read is no connection of ours: it is skipped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::firewall::tracking::{Counters, Flow, Snapshot, TcpState, Tuple};

/// A TCP state of pf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// Whether it is of the side where the initiator's packets arrive.
    pub(super) inbound: bool,
    /// The initiator, as this side of the gateway sees it.
    pub(super) source: SocketAddr,
    /// The initiator before translation by this state, which can only be of an `out` state; otherwise the same.
    pub(super) source_before: SocketAddr,
    /// Where it dials, after translation by this state.
    pub(super) destination: SocketAddr,
    /// What was on the wire before translation by this state, which can only be of an `in` state; otherwise the same.
    pub(super) destination_before: SocketAddr,
    /// How far it has come.
    pub(super) tcp: TcpState,
    /// How old it is, in seconds.
    pub(super) age: u64,
    /// What it has carried, from the initiator and to it.
    pub(super) counters: Option<Counters>,
    /// pf's number for it.
    pub(super) id: u64,
}

/// A connection that was seen on its way into the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) snapshot: Snapshot,
    /// In seconds.
    pub(super) age: u64,
    /// The state on its way out, if it has one.
    pub(super) outbound: Option<u64>,
}

/// All TCP states in what pfctl printed.
pub(super) fn parse(text: &str) -> Vec<State> {
    let mut states = Vec::new();
    let mut current: Option<State> = None;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some(state) = &mut current {
                detail(line, state);
            }
        } else {
            states.extend(current.take());
            current = head(line);
        }
    }
    states.extend(current);
    states
}

/// The connections behind states: each `in` state, with what its `out` state knows.
pub(super) fn connections(states: &[State]) -> Vec<Connection> {
    let outbound: HashMap<_, _> = states
        .iter()
        .filter(|state| !state.inbound)
        .map(|state| ((state.source_before, state.destination), state))
        .collect();
    let connection = |state: &State| {
        let out = outbound.get(&(state.source, state.destination));
        // Port 0 stands for one that is not known; a reset then cuts all ports.
        let seen_by_target = out.map_or(SocketAddr::new(state.source.ip(), 0), |out| out.source);
        let flow = Flow {
            original: Tuple { source: state.source, destination: state.destination_before },
            reply: Tuple { source: state.destination, destination: seen_by_target },
            id: state.id,
            zone: 0,
        };
        let snapshot = Snapshot { flow, state: Some(state.tcp), counters: state.counters };
        Connection { snapshot, age: state.age, outbound: out.map(|out| out.id) }
    };
    states.iter().filter(|state| state.inbound).map(connection).collect()
}

/// `all tcp A (B) <- C       ESTABLISHED:ESTABLISHED`
fn head(line: &str) -> Option<State> {
    let mut words = line.split_whitespace();
    let _interface = words.next()?;
    if words.next()? != "tcp" {
        return None;
    }
    let mut rest: Vec<&str> = words.collect();
    let tcp = tcp_state(rest.pop()?);
    let arrow = rest.iter().position(|word| matches!(*word, "<-" | "->"))?;
    let (left, right) = (rest.get(..arrow)?, rest.get(arrow + 1..)?);
    let (near, near_before) = pair(left)?;
    let (far, far_before) = pair(right)?;
    let inbound = *rest.get(arrow)? == "<-";
    let state = |source, source_before, destination, destination_before| State {
        inbound,
        source,
        source_before,
        destination,
        destination_before,
        tcp,
        age: 0,
        counters: None,
        id: 0,
    };
    Some(if inbound { state(far, far_before, near, near_before) } else { state(near, near_before, far, far_before) })
}

/// `A` or `A (B)`: the address, and what it was on the other side of the translation.
fn pair(words: &[&str]) -> Option<(SocketAddr, SocketAddr)> {
    match words {
        [one] => Some((endpoint(one)?, endpoint(one)?)),
        [one, other] => {
            let other = other.strip_prefix('(')?.strip_suffix(')')?;
            Some((endpoint(one)?, endpoint(other)?))
        }
        _ => None,
    }
}

/// `192.0.2.1:21` or `2001:db8::1[21]`, either behind a routing domain in parentheses on OpenBSD, which is none of ours.
fn endpoint(text: &str) -> Option<SocketAddr> {
    if let Some((address, port)) = text.strip_suffix(']').and_then(|text| text.rsplit_once('[')) {
        let address: Ipv6Addr = address.split('%').next()?.parse().ok()?;
        return Some(SocketAddr::new(IpAddr::V6(address), port.parse().ok()?));
    }
    text.parse().ok().filter(SocketAddr::is_ipv4)
}

/// The states of both peers, pfctl's `tcpstates`. A reset leaves `TIME_WAIT` on both sides, two FINs that are acknowledged
/// `FIN_WAIT_2`.
fn tcp_state(text: &str) -> TcpState {
    let Some((one, other)) = text.split_once(':') else { return TcpState::Opening };
    let closed = |peer: &str| matches!(peer, "FIN_WAIT_2" | "TIME_WAIT" | "CLOSED");
    let established = |peer: &str| peer == "ESTABLISHED";
    let opening = |peer: &str| matches!(peer, "SYN_SENT" | "SYN_RCVD" | "LISTEN" | "PROXY");
    match (one, other) {
        // Not there yet: a SYN that nobody has answered.
        ("CLOSED", other) if opening(other) => TcpState::Opening,
        (one, "CLOSED") if opening(one) => TcpState::Opening,
        (one, other) if closed(one) && closed(other) => TcpState::Closed,
        (one, other) if established(one) && established(other) => TcpState::Established,
        (one, other) if opening(one) || opening(other) => TcpState::Opening,
        _ => TcpState::Finishing,
    }
}

/// One of the indented lines.
fn detail(line: &str, state: &mut State) {
    for part in line.split(',').map(str::trim) {
        let words: Vec<&str> = part.split_whitespace().collect();
        match words.as_slice() {
            ["age", age] => state.age = seconds(age).unwrap_or_default(),
            [pair, "pkts"] => {
                if let Some((from, to)) = numbers(pair) {
                    let counters = state.counters.get_or_insert_default();
                    (counters.from_initiator.packets, counters.to_initiator.packets) = (from, to);
                }
            }
            [pair, "bytes"] => {
                if let Some((from, to)) = numbers(pair) {
                    let counters = state.counters.get_or_insert_default();
                    (counters.from_initiator.bytes, counters.to_initiator.bytes) = (from, to);
                }
            }
            ["id:", id, ..] => state.id = u64::from_str_radix(id, 16).unwrap_or_default(),
            _ => {}
        }
    }
}

/// `17:21`, the initiator's first.
fn numbers(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once(':')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

/// `01:02:03`; hours go beyond 99.
fn seconds(text: &str) -> Option<u64> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?.checked_add(seconds)
}

#[cfg(test)]
#[path = "states_tests.rs"]
mod tests;
