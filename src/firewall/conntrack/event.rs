//! Event: what ctnetlink says of a connection, coming in.
//!
//! Lives here: decoding events and the answers to questions; pure. Not here: telling messages apart in a datagram
//! (`netlink::answer`), asking (`message`), what an event means to whom (`tracking`).
//!
//! A message is `nlmsghdr`, `nfgenmsg` and `enum ctattr_type`, everything behind the headers in network order. Source of the
//! numbers: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::firewall::netlink::answer::{Answer, find, number};
use crate::firewall::netlink::encode::flag;
use crate::firewall::tracking::{Counters, Event, Flow, Kind, Snapshot, Tally, TcpState, Tuple};

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: what begins, changes, and the answer to a question.
const NEW: u16 = 0x0100;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`: what has ended.
const DELETE: u16 = 0x0102;

/// Reads a message about a TCP connection; `None` for any other.
pub(super) fn decode(message: &Answer<'_>) -> Option<Event> {
    let kind = match message.kind {
        NEW if message.flags & (flag::CREATE | flag::EXCL) != 0 => Kind::New,
        NEW => Kind::Update,
        DELETE => Kind::Destroy,
        _ => return None,
    };
    Some(Event { kind, snapshot: snapshot(message)? })
}

/// The attributes: `CTA_TUPLE_ORIG` (1), `CTA_TUPLE_REPLY` (2), `CTA_PROTOINFO` (4),
/// `CTA_COUNTERS_ORIG` (9), `CTA_COUNTERS_REPLY` (10), `CTA_ID` (12), `CTA_ZONE` (18).
fn snapshot(message: &Answer<'_>) -> Option<Snapshot> {
    let (mut original, mut reply, mut id) = (None, None, None);
    let (mut zone, mut state) = (0, None);
    let (mut from_initiator, mut to_initiator) = (None, None);
    for (kind, payload) in message.attributes() {
        match kind {
            1 => original = tuple(payload),
            2 => reply = tuple(payload),
            4 => state = tcp_state(payload),
            9 => from_initiator = tally(payload),
            10 => to_initiator = tally(payload),
            12 => id = number(payload).map(u64::from),
            18 => zone = payload.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))?,
            _ => {}
        }
    }
    let flow = Flow { original: original?, reply: reply?, id: id?, zone };
    let counters = match (from_initiator, to_initiator) {
        (Some(from_initiator), Some(to_initiator)) => Some(Counters { from_initiator, to_initiator }),
        _ => None,
    };
    Some(Snapshot { flow, state, counters })
}

/// `CTA_TUPLE_IP` (1) { `CTA_IP_V4_SRC` (1), `_V4_DST` (2) or `CTA_IP_V6_SRC` (3), `_V6_DST` (4) },
/// `CTA_TUPLE_PROTO` (2) { `CTA_PROTO_NUM` (1), `CTA_PROTO_SRC_PORT` (2), `CTA_PROTO_DST_PORT` (3) }.
fn tuple(payload: &[u8]) -> Option<Tuple> {
    let (hosts, protocol) = (find(payload, 1)?, find(payload, 2)?);
    if find(protocol, 1)? != [super::message::TCP] {
        return None;
    }
    let host = |v4, v6| -> Option<IpAddr> {
        match (find(hosts, v4), find(hosts, v6)) {
            (Some(bytes), _) => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            (None, Some(bytes)) => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            (None, None) => None,
        }
    };
    let port = |kind| Some(u16::from_be_bytes(find(protocol, kind)?.try_into().ok()?));
    Some(Tuple { source: SocketAddr::new(host(1, 3)?, port(2)?), destination: SocketAddr::new(host(2, 4)?, port(3)?) })
}

/// `CTA_PROTOINFO_TCP` (1) { `CTA_PROTOINFO_TCP_STATE` (1) }: `enum tcp_conntrack`.
fn tcp_state(payload: &[u8]) -> Option<TcpState> {
    Some(match find(find(payload, 1)?, 1)?.first()? {
        0..=2 | 9 => TcpState::Opening,
        3 => TcpState::Established,
        4..=6 => TcpState::Finishing,
        7 | 8 => TcpState::Closed,
        _ => return None,
    })
}

/// `CTA_COUNTERS_PACKETS` (1), `CTA_COUNTERS_BYTES` (2).
fn tally(payload: &[u8]) -> Option<Tally> {
    let long = |kind| Some(u64::from_be_bytes(find(payload, kind)?.try_into().ok()?));
    Some(Tally { packets: long(1)?, bytes: long(2)? })
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
