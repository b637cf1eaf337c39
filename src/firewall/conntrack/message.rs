//! Message: ctnetlink requests, going out.
//!
//! Lives here: asking for a connection, for all with a mark, and deleting one; pure. Not here: sending them (`requests`),
//! reading the answers (`event`).
//!
//! **A deletion that names no connection deletes all of them**, the administrator's too: the kernel takes one without a
//! tuple, or with only attributes that it does not filter on, for a flush. Hence [`delete`] takes a [`Flow`], from which the
//! whole tuple always comes, and nothing else here makes a deletion.
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nfnetlink_conntrack.h`.

use std::net::IpAddr;

use crate::firewall::netlink::encode::{Attributes, flag, request};
use crate::firewall::tracking::{Flow, Tuple};

/// `IPPROTO_TCP`.
pub(super) const TCP: u8 = 6;

/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 0x0101;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_DELETE`.
const DELETE: u16 = 0x0102;
/// `CTA_TUPLE_ORIG`.
const TUPLE_ORIGINAL: u16 = 1;

/// Asks for a connection by its original tuple. Its one answer may be about another one of the same
/// addresses: compare `CTA_ID`.
pub(super) fn get(flow: &Flow, sequence: u32) -> Vec<u8> {
    request(GET, flag::REQUEST, sequence, family(flow), &named(flow))
}

/// Deletes a connection by its original tuple, unless another one has taken its place: `CTA_ID` (12).
pub(super) fn delete(flow: &Flow, sequence: u32) -> Vec<u8> {
    // It came from the kernel as 32 bits.
    let attributes = named(flow).number(12, u32::try_from(flow.id).unwrap_or_default());
    request(DELETE, flag::REQUEST | flag::ACK, sequence, family(flow), &attributes)
}

/// Asks for all connections of both families with this mark: `CTA_MARK` (8), `CTA_MARK_MASK` (21).
pub(super) fn dump(mark: u32, mask: u32, sequence: u32) -> Vec<u8> {
    let attributes = Attributes::new().number(8, mark).number(21, mask);
    request(GET, flag::REQUEST | flag::DUMP, sequence, [0; 4], &attributes)
}

/// `nfgenmsg`: `AF_INET` or `AF_INET6`.
fn family(flow: &Flow) -> [u8; 4] {
    let family = if flow.original.source.is_ipv6() { 10 } else { 2 };
    [family, 0, 0, 0]
}

/// `CTA_TUPLE_ORIG`, and `CTA_ZONE` (18) where it is not that of everybody.
fn named(flow: &Flow) -> Attributes {
    let attributes = Attributes::new().nest(TUPLE_ORIGINAL, &tuple(&flow.original));
    if flow.zone == 0 { attributes } else { attributes.put(18, &flow.zone.to_be_bytes()) }
}

/// `CTA_TUPLE_IP` (1) { `CTA_IP_V4_SRC` (1), `_V4_DST` (2) or `CTA_IP_V6_SRC` (3), `_V6_DST` (4) },
/// `CTA_TUPLE_PROTO` (2) { `CTA_PROTO_NUM` (1), `CTA_PROTO_SRC_PORT` (2), `CTA_PROTO_DST_PORT` (3) }.
fn tuple(tuple: &Tuple) -> Attributes {
    let host = |attributes: Attributes, address, v4, v6| match address {
        IpAddr::V4(address) => attributes.put(v4, &address.octets()),
        IpAddr::V6(address) => attributes.put(v6, &address.octets()),
    };
    let hosts = host(Attributes::new(), tuple.source.ip(), 1, 3);
    let hosts = host(hosts, tuple.destination.ip(), 2, 4);
    let protocol = Attributes::new()
        .put(1, &[TCP])
        .put(2, &tuple.source.port().to_be_bytes())
        .put(3, &tuple.destination.port().to_be_bytes());
    Attributes::new().nest(1, &hosts).nest(2, &protocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn flow(source: &str, destination: &str) -> Flow {
        let original = Tuple { source: source.parse().unwrap(), destination: destination.parse().unwrap() };
        let reply = Tuple { source: original.destination, destination: original.source };
        Flow { original, reply, id: 0x0102_0304, zone: 0 }
    }

    /// What `conntrack -D` was seen to send for this tuple, without its header.
    const TUPLE: &str =
        "340001801400018008000100 0a00010108000200c6336414 1c0002800500010006000000 06000200040100000600030052080000";

    #[test]
    fn a_connection_is_named_as_conntrack_tools_name_it() {
        let flow = flow("10.0.1.1:1025", "198.51.100.20:21000");
        let tuple = TUPLE.replace(' ', "");
        assert_eq!(hex(&get(&flow, 1)), format!("4800000001010100010000000000000002000000{tuple}"));
        assert_eq!(hex(&delete(&flow, 1)), format!("5000000002010500010000000000000002000000{tuple}08000c0001020304"));
    }

    #[test]
    fn a_zone_is_named_where_there_is_one() {
        let flow = Flow { zone: 7, ..flow("10.0.1.1:1025", "198.51.100.20:21000") };
        assert!(hex(&get(&flow, 1)).ends_with("520800000600120000070000"));
    }

    #[test]
    fn a_dump_is_filtered_by_mark_and_mask() {
        assert_eq!(
            hex(&dump(0x1000_0000, 0x3000_0000, 9)),
            "240000000101010309000000000000000000000008000800100000000800150030000000"
        );
    }

    #[test]
    fn no_deletion_lacks_its_tuple() {
        for flow in [flow("10.0.1.1:1", "10.0.1.2:2"), flow("[2001:db8::1]:1", "[2001:db8::2]:2")] {
            let bytes = delete(&flow, 1);
            let (_, attributes) = bytes.split_at(20);
            let tuple = crate::firewall::netlink::answer::find(attributes, TUPLE_ORIGINAL).unwrap();
            let length = if flow.original.source.is_ipv6() { 72 } else { 48 };
            assert_eq!(tuple.len(), length, "both addresses, the protocol and both ports");
        }
    }
}
