//! Tests of `event`: messages that kernel 6.18 was seen to send, an independent encoder as an oracle, and any bytes.

use std::net::IpAddr;

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Protocol, Tuple as TheirTuple,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use proptest::prelude::*;

use super::super::message;
use super::*;
use crate::firewall::netlink::answer::answers;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap()).collect()
}

fn events(bytes: &[u8]) -> Vec<Event> {
    answers(bytes).filter_map(|answer| decode(&answer)).collect()
}

/// 127.0.0.1:57390 → 127.0.0.1:5000 and back.
const TUPLES: &str =
    "340001801400018008000100 7f000001 08000200 7f000001 1c000280050001000600000006000200 e02e 000006000300 1388 0000
    340002801400018008000100 7f000001 08000200 7f000001 1c000280050001000600000006000200 1388 000006000300 e02e 0000
    08000c00 3b45e5d3";

fn loopback() -> Flow {
    let original = Tuple { source: "127.0.0.1:57390".parse().unwrap(), destination: "127.0.0.1:5000".parse().unwrap() };
    let reply = Tuple { source: original.destination, destination: original.source };
    Flow { original, reply, id: 0x3b45_e5d3, zone: 0 }
}

#[test]
fn a_beginning_is_read() {
    let message = format!(
        "cc000000 0001 0006 00000000 00000000 02000000 {TUPLES} 08000300 00000008 08000700 00000078 300004802c000180
         05000100 01 000000 05000200 0a 000000 05000300 00 000000 06000400 0300 0000 06000500 0000 0000 08000800 10000000"
    );
    let snapshot = Snapshot { flow: loopback(), state: Some(TcpState::Opening), counters: None };
    assert_eq!(events(&bytes(&message)), [Event { kind: Kind::New, snapshot }]);
}

#[test]
fn a_change_is_read() {
    let message = format!(
        "cc000000 0001 0000 00000000 00000000 02000000 {TUPLES} 08000300 0000000e 08000700 00069780 300004802c000180
         05000100 03 000000 05000200 0a 000000 05000300 0a 000000 06000400 2300 0000 06000500 2300 0000 08000800 10000000"
    );
    let [event] = events(&bytes(&message))[..] else { panic!() };
    assert_eq!((event.kind, event.snapshot.state), (Kind::Update, Some(TcpState::Established)));
}

#[test]
fn an_end_is_read_with_its_counters() {
    let message = format!(
        "e4000000 0201 0000 00000000 48ca17b3 02000000 {TUPLES} 08000300 0000020e 08000700 00000009
         1c000980 0c000100 0000000000000004 0c000200 00000000000000dd
         1c000a80 0c000100 0000000000000003 0c000200 00000000000000a4
         10000480 0c000180 05000100 08 000000 08000800 10000000"
    );
    let counters =
        Counters { from_initiator: Tally { packets: 4, bytes: 0xdd }, to_initiator: Tally { packets: 3, bytes: 0xa4 } };
    let [event] = events(&bytes(&message))[..] else { panic!() };
    assert_eq!((event.kind, event.snapshot.counters), (Kind::Destroy, Some(counters)));
    assert_eq!((event.snapshot.flow, event.snapshot.state), (loopback(), Some(TcpState::Closed)));
}

#[test]
fn an_end_of_ipv6_is_read() {
    let message = "14010000 0201 0000 00000000 48ca17b3 0a000000
        4c0001802c000180 14000300 00000000000000000000000000000001 14000400 00000000000000000000000000000001
        1c000280050001000600000006000200 cf84 000006000300 1388 0000
        4c0002802c000180 14000300 00000000000000000000000000000001 14000400 00000000000000000000000000000001
        1c000280050001000600000006000200 1388 000006000300 cf84 0000
        08000c00 373aac34 08000300 0000020e 08000700 00000009
        1c000980 0c000100 0000000000000004 0c000200 000000000000012d
        1c000a80 0c000100 0000000000000003 0c000200 00000000000000e0
        10000480 0c000180 05000100 08 000000 08000800 10000000";
    let [event] = events(&bytes(message))[..] else { panic!() };
    assert_eq!(event.snapshot.flow.original.source, "[::1]:53124".parse().unwrap());
    assert_eq!(event.snapshot.flow.key().entrance, "[::1]:5000".parse().unwrap());
}

fn their_tuple(tuple: &Tuple, protocol: Protocol) -> Vec<TheirTuple> {
    vec![
        TheirTuple::Ip(vec![
            IPTuple::SourceAddress(tuple.source.ip()),
            IPTuple::DestinationAddress(tuple.destination.ip()),
        ]),
        TheirTuple::Proto(vec![
            ProtoTuple::Protocol(protocol),
            ProtoTuple::SourcePort(tuple.source.port()),
            ProtoTuple::DestinationPort(tuple.destination.port()),
        ]),
    ]
}

fn their_bytes(message: ConntrackMessage, flow: &Flow, flags: u16) -> Vec<u8> {
    let family = if flow.original.source.is_ipv6() { NetfilterProtoFamily::IPv6 } else { NetfilterProtoFamily::IPv4 };
    let mut message = NetlinkMessage::from(NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), message));
    message.header.flags = flags;
    message.header.sequence_number = 1;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

prop_compose! {
    fn flows()(
        v6 in any::<bool>(), hosts in any::<[u128; 4]>(), ports in any::<[u16; 4]>(), id in any::<u32>(),
    ) -> Flow {
        let address = |bits: u128| -> IpAddr {
            if v6 { Ipv6Addr::from(bits).into() } else { Ipv4Addr::from(bits as u32).into() }
        };
        let end = |index: usize| SocketAddr::new(address(hosts[index]), ports[index]);
        let (original, reply) =
            (Tuple { source: end(0), destination: end(1) }, Tuple { source: end(2), destination: end(3) });
        Flow { original, reply, id: id.into(), zone: 0 }
    }
}

proptest! {
    #[test]
    fn what_another_encoder_writes_is_read(flow in flows(), mark in any::<u32>(), state in 0..10_u8, new in any::<bool>()) {
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(their_tuple(&flow.original, Protocol::Tcp)),
            ConntrackAttribute::CtaTupleReply(their_tuple(&flow.reply, Protocol::Tcp)),
            ConntrackAttribute::CtaProtoInfo(vec![ProtoInfo::TCP(vec![ProtoInfoTCP::State(state)])]),
            ConntrackAttribute::CtaMark(mark),
            ConntrackAttribute::Other(DefaultNla::new(12, (flow.id as u32).to_be_bytes().to_vec())),
        ];
        let flags = if new { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
        let [event] = events(&their_bytes(ConntrackMessage::New(attributes), &flow, flags))[..] else { panic!() };
        prop_assert_eq!(event.kind, if new { Kind::New } else { Kind::Update });
        prop_assert_eq!(event.snapshot.flow, flow);
        prop_assert!(event.snapshot.state.is_some());
    }

    #[test]
    fn a_question_is_what_another_encoder_writes(flow in flows()) {
        let attributes = vec![ConntrackAttribute::CtaTupleOrig(their_tuple(&flow.original, Protocol::Tcp))];
        let theirs = their_bytes(ConntrackMessage::Get(attributes), &flow, NLM_F_REQUEST);
        prop_assert_eq!(message::get(&flow, 1), theirs);
    }

    #[test]
    fn a_deletion_is_what_another_encoder_writes(flow in flows()) {
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(their_tuple(&flow.original, Protocol::Tcp)),
            ConntrackAttribute::Other(DefaultNla::new(12, (flow.id as u32).to_be_bytes().to_vec())),
        ];
        let theirs = their_bytes(ConntrackMessage::Delete(attributes), &flow, NLM_F_REQUEST | NLM_F_ACK);
        prop_assert_eq!(message::delete(&flow, 1), theirs);
    }

    #[test]
    fn other_protocols_are_none_of_ours(flow in flows()) {
        let attributes = vec![
            ConntrackAttribute::CtaTupleOrig(their_tuple(&flow.original, Protocol::Udp)),
            ConntrackAttribute::CtaTupleReply(their_tuple(&flow.reply, Protocol::Udp)),
            ConntrackAttribute::Other(DefaultNla::new(12, (flow.id as u32).to_be_bytes().to_vec())),
        ];
        prop_assert_eq!(events(&their_bytes(ConntrackMessage::New(attributes), &flow, 0)), []);
    }

    #[test]
    fn any_bytes_are_survived(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = events(&noise);
        // Behind headers that are right.
        let mut message = bytes("ffff0000 0001 0006 00000000 00000000 02000000");
        message.extend(noise);
        let _ = events(&message);
    }

    #[test]
    fn a_message_with_any_byte_changed_is_survived(at in 16..204_usize, byte in any::<u8>()) {
        let mut message = bytes(&format!(
            "cc000000 0001 0006 00000000 00000000 02000000 {TUPLES} 08000300 00000008 08000700 00000078 300004802c000180
             05000100 01 000000 05000200 0a 000000 05000300 00 000000 06000400 0300 0000 06000500 0000 0000 08000800 10000000"
        ));
        message[at] = byte;
        let _ = events(&message);
    }
}
