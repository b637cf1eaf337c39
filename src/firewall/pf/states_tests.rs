//! Tests of `states`: what both systems print, and what nobody prints.

use proptest::prelude::*;

use super::*;
use crate::firewall::tracking::Tally;

const REVERSE: &str = "\
all tcp 10.0.0.5:50000 (203.0.113.1:61000) <- 198.51.100.7:40000       ESTABLISHED:ESTABLISHED
   [1402873812 + 65535] wscale 7  [3306419817 + 65535] wscale 7
   age 00:01:10, expires in 23:59:58, 17:21 pkts, 1012:28231 bytes, anchor 3, rule 1
   id: 6748c1b200000001 creatorid: 9f4e20c1
all udp 10.0.0.1:53 <- 10.0.0.9:5353       MULTIPLE:SINGLE
   age 00:00:01, expires in 00:00:58, 1:1 pkts, 60:60 bytes, rule 0
   id: 6748c1b200000009 creatorid: 9f4e20c1
all tcp 10.0.0.1:55555 (198.51.100.7:40000) -> 10.0.0.5:50000       ESTABLISHED:ESTABLISHED
   [3306419817 + 65535] wscale 7  [1402873812 + 65535] wscale 7
   age 00:01:10, expires in 23:59:58, 17:21 pkts, 1012:28231 bytes, anchor 3, rule 2
   id: 6748c1b200000002 creatorid: 9f4e20c1 gateway: 10.0.0.5
";

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn a_translated_connection_is_seen_from_end_to_end() {
    let [connection] = connections(&parse(REVERSE))[..] else { panic!() };
    let flow = connection.snapshot.flow;
    assert_eq!(flow.original.source, address("198.51.100.7:40000"));
    assert_eq!(flow.original.destination, address("203.0.113.1:61000"), "the entrance");
    assert_eq!(flow.reply.source, address("10.0.0.5:50000"), "the target");
    assert_eq!(flow.reply.destination, address("10.0.0.1:55555"), "what the target sees");
    assert_eq!((flow.id, connection.outbound), (0x6748_c1b2_0000_0001, Some(0x6748_c1b2_0000_0002)));
    assert_eq!(connection.age, 70);
    assert_eq!(connection.snapshot.state, Some(TcpState::Established));
    let counters = Counters {
        from_initiator: Tally { bytes: 1012, packets: 17 },
        to_initiator: Tally { bytes: 28231, packets: 21 },
    };
    assert_eq!(connection.snapshot.counters, Some(counters));
}

#[test]
fn ipv6_and_an_untranslated_connection_are_read() {
    let text = "em0 tcp 2001:db8::5[50000] <- 2001:db8:9::7[40000]       FIN_WAIT_2:FIN_WAIT_2\n   \
                age 123:00:01, expires in 00:01:28, 5:4 pkts, 300:400 bytes, rule 0\n   id: 01 creatorid: 02\n";
    let [connection] = connections(&parse(text))[..] else { panic!() };
    let flow = connection.snapshot.flow;
    assert_eq!(flow.original.destination, address("[2001:db8::5]:50000"));
    assert_eq!(flow.reply.source, flow.original.destination);
    assert_eq!(flow.reply.destination.port(), 0, "its other side was not printed");
    assert_eq!(connection.snapshot.state, Some(TcpState::Closed));
    assert_eq!(connection.age, 123 * 3600 + 1);
}

#[test]
fn the_states_of_both_peers_make_one() {
    for (text, expected) in [
        ("SYN_SENT:CLOSED", TcpState::Opening),
        ("CLOSED:SYN_SENT", TcpState::Opening),
        ("SYN_SENT:ESTABLISHED", TcpState::Opening),
        ("ESTABLISHED:ESTABLISHED", TcpState::Established),
        ("ESTABLISHED:FIN_WAIT_2", TcpState::Finishing),
        ("CLOSING:ESTABLISHED", TcpState::Finishing),
        ("CLOSING:CLOSING", TcpState::Finishing),
        ("FIN_WAIT_2:FIN_WAIT_2", TcpState::Closed),
        ("TIME_WAIT:TIME_WAIT", TcpState::Closed),
        ("PROXY:DST", TcpState::Opening),
    ] {
        assert_eq!(tcp_state(text), expected, "{text}");
    }
}

#[test]
fn what_is_no_state_is_skipped() {
    for text in [
        "",
        "\n",
        "   id: 5\n",
        "all tcp\n",
        "all tcp a <- b X:Y\n",
        "all tcp 1.2.3.4:5 1.2.3.4:6 X:Y\n",
        "No ALTQ support\n",
    ] {
        assert_eq!(parse(text), [], "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "[ a-z0-9:.,()<>\\[\\]\n-]{0,200}") {
        let _ = connections(&parse(&text));
    }

    #[test]
    fn a_listing_with_any_byte_changed_is_survived(at in 0..900_usize, byte in 32..127_u8) {
        let mut bytes = REVERSE.as_bytes().to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = connections(&parse(&String::from_utf8(bytes).unwrap()));
    }
}
