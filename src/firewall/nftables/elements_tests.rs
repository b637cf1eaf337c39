//! Tests of `elements`: bytes measured on the wire of nft 1.0.6, and an independent encoder as an oracle.

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetElementAttribute, SetElementList, SetElementMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use proptest::prelude::*;

use super::super::ruleset::{Family, Role};
use super::*;

const PIN4: Set = Set { stem: "pin4", role: Role::Destination, family: Family::V4, ports: None };

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `pin4` has `192.0.2.10 . 198.51.100.20 . 40000 timeout 30s : 10.1.2.3 . 50000`.
fn pin4() -> Element {
    let key = key([192, 0, 2, 10].into(), "198.51.100.20:40000".parse().unwrap());
    let data = Columns::NONE.end("10.1.2.3:50000".parse().unwrap());
    Element::new(PIN4, key, data, Duration::from_secs(30))
}

/// `pin4` has `2001:db8::1 . 2001:db8::2 . 40000 timeout 30s : 2001:db8::3 . 50000`.
fn pin6() -> Element {
    let key = key("2001:db8::1".parse().unwrap(), "[2001:db8::2]:40000".parse().unwrap());
    let data = Columns::NONE.end("[2001:db8::3]:50000".parse().unwrap());
    Element::new(PIN4, key, data, Duration::from_secs(30))
}

fn message(element: &Element, kind: u8) -> Message {
    Elements { set: PIN4, all: std::slice::from_ref(element) }.message("crlab", kind)
}

/// The measured bytes have NLM_F_EXCL (0x200) among the flags; ours must not, see `Elements::message`.
fn without_excl(bytes: &str) -> String {
    let (with, without) = ("0c0a0506", "0c0a0504");
    assert!(bytes.contains(with));
    bytes.replacen(with, without, 1)
}

#[test]
fn a_batch_has_the_bytes_that_nft_sends() {
    let bytes = Batch(vec![message(&pin4(), kind::NEWSETELEM)]).encode(0);
    let begin = "140000001000010000000000000000000000000a";
    let add = "640000000c0a05060100000000000000010000000a00010063726c61620000000900020070696e34000000003800038034000180\
               0c00040000000000000075301400018010000100c000020ac63364149c400000100002800c0001000a010203c3500000";
    let end = "140000001100010002000000000000000000000a";
    assert_eq!(hex(&bytes), [begin, &without_excl(add), end].concat());
}

#[test]
fn a_removal_has_the_bytes_that_nft_sends() {
    let rest = "0a05000100000000000000010000000a00010063726c61620000000900020070696e34000000001c000380180001801400018010\
                000100c000020ac63364149c400000";
    assert_eq!(hex(&message(&pin4(), kind::DELSETELEM).encode(1)), format!("480000000e{rest}"));
    assert_eq!(hex(&message(&pin4(), kind::DESTROYSETELEM).encode(1)), format!("480000001e{rest}"));
}

#[test]
fn ipv6_has_the_bytes_that_nft_sends() {
    let add = "880000000c0a05060100000000000000010000000a00010063726c61620000000900020070696e34000000005c00038058000180\
               0c00040000000000000075302c0001802800010020010db800000000000000000000000120010db8000000000000000000000002\
               9c4000001c0002801800010020010db8000000000000000000000003c3500000";
    let delete = "600000000e0a05000100000000000000010000000a00010063726c61620000000900020070696e340000000034000380300001\
                  802c0001802800010020010db800000000000000000000000120010db80000000000000000000000029c400000";
    assert_eq!(hex(&message(&pin6(), kind::NEWSETELEM).encode(1)), without_excl(add));
    assert_eq!(hex(&message(&pin6(), kind::DELSETELEM).encode(1)), delete);
}

#[test]
fn no_timeout_means_for_ever() {
    let nobody = "0.0.0.0:0".parse().unwrap();
    for lifetime in [Duration::ZERO, Duration::from_nanos(1)] {
        assert_eq!(Element::permission([0; 4].into(), nobody, lifetime).timeout, Some(SHORTEST));
    }
    assert_eq!(Element::destination([0; 4].into(), nobody, nobody, Duration::MAX).timeout, Some(LONGEST));
}

#[test]
fn a_translation_outlasts_its_permission() {
    let (host, at) = ([192, 0, 2, 1].into(), "203.0.113.1:21".parse().unwrap());
    let lifetime = Duration::from_secs(60);
    assert!(Element::destination(host, at, at, lifetime).timeout > Element::permission(host, at, lifetime).timeout);
    assert!(Element::source(host, at, host, lifetime).timeout > Element::permission(host, at, lifetime).timeout);
}

#[test]
fn the_largest_batch_fits_into_one_send() {
    let at = SocketAddr::from(([0x2001; 8], 21));
    let mut elements = Vec::new();
    for _ in 0..MAX_CHANGES {
        elements.push(Element::permission(at.ip(), at, Duration::MAX));
        elements.push(Element::destination(at.ip(), at, at, Duration::MAX));
        elements.push(Element::source(at.ip(), at, at.ip(), Duration::MAX));
    }
    let batch = replace(&"t".repeat(255), Removal::AddThenDelete, &elements, &elements);
    // /proc/sys/net/core/wmem_default is 212992.
    assert!(batch.encode(1).len() < 200_000, "{}", batch.encode(1).len());
    assert!(batch.0.iter().all(|message| message.encode(1).len() < usize::from(u16::MAX)));
}

/// An element as the oracle builds it: key, data, timeout in milliseconds.
type Wanted = (Vec<u8>, Vec<u8>, u64);

fn wanted(host: IpAddr, at: SocketAddr, data: &[u8], timeout: Duration) -> Wanted {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let mut key = [octets(host), octets(at.ip()), at.port().to_be_bytes().to_vec()].concat();
    key.resize(key.len() + 2, 0);
    (key, data.to_vec(), u64::try_from(timeout.as_millis()).unwrap())
}

/// What the oracle makes of a list of elements.
fn oracle(sequence: u32, set: &str, elements: &[Wanted], adds: bool) -> Vec<u8> {
    let attributes = |(key, data, timeout): &Wanted| {
        let mut attributes = Vec::new();
        if adds {
            attributes.push(SetElementAttribute::Timeout(*timeout));
        }
        attributes.push(SetElementAttribute::Key(DataAttribute::Value(key.clone())));
        if adds && !data.is_empty() {
            attributes.push(SetElementAttribute::Data(DataAttribute::Value(data.clone())));
        }
        ListAttribute::Element(attributes)
    };
    let list = SetElementMessage {
        attributes: vec![
            SetElementList::Table("ftpgate".to_owned()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(elements.iter().map(attributes).collect()),
        ],
    };
    let body = if adds { NfTablesMessage::NewSetElement(list) } else { NfTablesMessage::DeleteSetElement(list) };
    let header = NetfilterHeader::new(NetfilterProtoFamily::Inet, 0, 0);
    let flags = NLM_F_REQUEST | NLM_F_ACK | if adds { NLM_F_CREATE } else { 0 };
    finish(sequence, flags, NetfilterMessage::new(header, body))
}

fn finish(sequence: u32, flags: u16, message: NetfilterMessage) -> Vec<u8> {
    let mut message = NetlinkMessage::from(message);
    message.header.flags = flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

fn bracket(sequence: u32, control: ControlMessage) -> Vec<u8> {
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 10);
    finish(sequence, NLM_F_REQUEST, NetfilterMessage::new(header, control))
}

fn host(v6: bool) -> BoxedStrategy<IpAddr> {
    if v6 { any::<[u8; 16]>().prop_map(IpAddr::from).boxed() } else { any::<[u8; 4]>().prop_map(IpAddr::from).boxed() }
}

fn element() -> impl Strategy<Value = (Element, &'static str, Wanted)> {
    (any::<bool>(), 0_usize..3, any::<[u16; 2]>(), 1_u64..100_000).prop_flat_map(|(v6, role, ports, seconds)| {
        (host(v6), host(v6), host(v6)).prop_map(move |(initiator, at, other)| {
            let (at, target) = (SocketAddr::new(at, ports[0]), SocketAddr::new(other, ports[1]));
            let lifetime = Duration::from_secs(seconds);
            let longer = lifetime + TRANSLATION_EXTRA;
            let octets = wanted(other, target, &[], lifetime).0;
            let length = if v6 { 16 } else { 4 };
            let name = |four, six| if v6 { six } else { four };
            match role {
                0 => (
                    Element::permission(initiator, at, lifetime),
                    name("pinhole4", "pinhole6"),
                    wanted(initiator, at, &[], lifetime),
                ),
                1 => (
                    Element::destination(initiator, at, target, lifetime),
                    name("dnat4", "dnat6"),
                    wanted(initiator, at, &octets[length..], longer),
                ),
                _ => (
                    Element::source(initiator, at, other, lifetime),
                    name("snat4", "snat6"),
                    wanted(initiator, at, &octets[..length], longer),
                ),
            }
        })
    })
}

proptest! {
    #[test]
    fn an_independent_encoder_makes_the_same_batch(
        all in proptest::collection::vec(element(), 1..20),
        adds: bool,
        first in 0..u32::MAX - 30,
    ) {
        let elements: Vec<_> = all.iter().map(|(element, ..)| element.clone()).collect();
        let ours = if adds {
            replace("ftpgate", Removal::Destroy, &[], &elements)
        } else {
            replace("ftpgate", Removal::AddThenDelete, &elements, &[])
        };
        let mut theirs = bracket(first, ControlMessage::BatchBegin);
        let mut sequence = first;
        for set in SETS {
            let of_set = all.iter().filter(|(_, name, _)| *name == set.stem);
            let of_set: Vec<_> = of_set.map(|(.., wanted)| wanted.clone()).collect();
            if of_set.is_empty() {
                continue;
            }
            sequence += 1;
            theirs.extend(oracle(sequence, set.stem, &of_set, true));
            if !adds {
                sequence += 1;
                theirs.extend(oracle(sequence, set.stem, &of_set, false));
            }
        }
        theirs.extend(bracket(sequence + 1, ControlMessage::BatchEnd));
        prop_assert_eq!(hex(&ours.encode(first)), hex(&theirs));
    }
}
