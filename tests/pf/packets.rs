//! The model against known answers: the rules of ftp-proxy(8) in both dialects, as they were captured on real kernels, and the rules of
//! evaluation that pf.conf(5) states.

use std::net::SocketAddr;

use crate::grammar::Dialect;
use crate::grammar::ast::Direction;
use crate::model::{Model, Packet, RST, Reply, Verdict, Why};

const OPENBSD: &str = "
set limit anchors 20000
set skip on lo
block drop
anchor \"ftpgate/*\"
match out on em0 inet from 10.0.0.0/24 to any nat-to (em0)
pass in on em1 proto tcp to port 21 divert-to 127.0.0.1 port 8021
";

const FREEBSD: &str = "
set limit anchors 20000
set skip on lo
nat-anchor \"ftpgate/*\"
nat on em0 inet from 10.0.0.0/24 to any -> (em0)
rdr-anchor \"ftpgate/*\"
rdr pass on em1 proto tcp from any to any port 21 -> 127.0.0.1 port 8021
block drop
anchor \"ftpgate/*\"
";

/// em0 outside with 198.51.100.1, em1 inside with 10.0.0.1.
fn gateway(dialect: Dialect, main: &str) -> Model {
    let mut model = Model::new(dialect, main);
    model.interface("em0", &["198.51.100.1/24", "2001:db8:51::1/64"], &["egress"]);
    model.interface("em1", &["10.0.0.1/24", "2001:db8:10::1/64"], &[]);
    model.interface("lo0", &["127.0.0.1/8", "::1/128"], &["lo"]);
    model
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn syn(from: &str, to: &str, entering: &str, leaving: &str) -> Packet {
    Packet::syn(at(from), at(to), entering, leaving)
}

fn passed(verdict: Verdict) -> (SocketAddr, SocketAddr) {
    match verdict {
        Verdict::Passed { from, to, .. } => (from, to),
        other => panic!("{other:?}"),
    }
}

fn why(verdict: Verdict) -> (Direction, Reply, Why) {
    match verdict {
        Verdict::Blocked { direction, reply, why } => (direction, reply, why),
        other => panic!("{other:?}"),
    }
}

/// Client 10.0.0.2, server 203.0.113.5 that listens on 50000, told to the client as 60000; the gateway is 198.51.100.1.
const PASSIVE: [(Dialect, &str, &str); 2] = [
    (
        Dialect::OpenBsd,
        OPENBSD,
        "pass in quick on rdomain 0 inet proto tcp from 10.0.0.2 to 203.0.113.5 port = 60000 flags S/SA keep state (max 1) \
         label \"f1\" rtable 0 rdr-to 203.0.113.5 port 50000
pass out quick on rdomain 0 inet proto tcp from 10.0.0.2 to 203.0.113.5 port = 50000 flags S/SA keep state (max 1) label \"f1\" \
         nat-to 198.51.100.1
",
    ),
    (
        Dialect::FreeBsd,
        FREEBSD,
        "rdr inet proto tcp from 10.0.0.2 to 203.0.113.5 port 60000 -> 203.0.113.5 port 50000
nat inet proto tcp from 10.0.0.2 to 203.0.113.5 port 50000 -> 198.51.100.1
pass in quick inet proto tcp from 10.0.0.2 to 203.0.113.5 port = 50000 flags S/SA keep state (max 1) label \"f1\"
pass out quick inet proto tcp from 198.51.100.1 to 203.0.113.5 port = 50000 flags S/SA keep state (max 1) label \"f1\"
",
    ),
];

#[test]
fn passive_of_ftp_proxy_lets_the_announced_connection_through_and_nothing_else() {
    for (dialect, main, anchor) in PASSIVE {
        let mut model = gateway(dialect, main);
        let first = syn("10.0.0.2:40000", "203.0.113.5:60000", "em1", "em0");
        assert!(matches!(model.send(&first), Verdict::Blocked { .. }), "{dialect:?}: nothing is open yet");
        model.load("ftpgate/1.1", anchor);

        for (from, to, entering, leaving) in [
            ("10.0.0.3:40000", "203.0.113.5:60000", "em1", "em0"),
            ("10.0.0.2:40000", "203.0.113.6:60000", "em1", "em0"),
            ("10.0.0.2:40000", "203.0.113.5:60001", "em1", "em0"),
            ("203.0.113.5:40000", "10.0.0.2:60000", "em0", "em1"),
        ] {
            let other = syn(from, to, entering, leaving);
            assert_eq!(why(model.send(&other)).1, Reply::Nothing, "{dialect:?}: {other:?}");
        }
        assert!(matches!(model.send(&first.later()), Verdict::Blocked { .. }), "no connection begins without a SYN");

        let arrived = passed(model.send(&first));
        assert_eq!((arrived.0.ip(), arrived.1), (at("198.51.100.1:0").ip(), at("203.0.113.5:50000")), "{dialect:?}");
        assert!((50001..=65535).contains(&arrived.0.port()), "{dialect:?}");
        let answer = first.answer(arrived);
        assert_eq!(
            passed(model.send(&answer)),
            (first.to, first.from),
            "{dialect:?}: as if the server had answered itself"
        );
        assert_eq!(passed(model.send(&first.later())), arrived);

        let second = syn("10.0.0.2:40001", "203.0.113.5:60000", "em1", "em0");
        assert_eq!(why(model.send(&second)), (Direction::In, Reply::Nothing, Why::TooManyStates), "{dialect:?}");

        model.load("ftpgate/1.1", "");
        assert_eq!(passed(model.send(&first.later())), arrived, "{dialect:?}: states outlive their rules");
        assert!(matches!(why(model.send(&second)).2, Why::Rule(..)), "{dialect:?}");
        assert_eq!(model.kill("nobody"), 0);
        assert_eq!(model.kill("f1"), 2, "{dialect:?}");
        assert!(matches!(model.send(&first.later()), Verdict::Blocked { .. }), "{dialect:?}");
    }
}

#[test]
fn active_of_ftp_proxy_keeps_port_20() {
    let openbsd = "pass in quick inet proto tcp from 203.0.113.5 to 198.51.100.1 port = 60000 flags S/SA keep state (max 1) \
         rdr-to 10.0.0.2 port 40000
pass out quick inet proto tcp from 203.0.113.5 to 10.0.0.2 port = 40000 flags S/SA keep state (max 1) nat-to 203.0.113.5 port 20
";
    let freebsd = "rdr inet proto tcp from 203.0.113.5 to 198.51.100.1 port 60000 -> 10.0.0.2 port 40000
nat inet proto tcp from 203.0.113.5 to 10.0.0.2 port 40000 -> 203.0.113.5 port 20
pass in quick inet proto tcp from 203.0.113.5 to 10.0.0.2 port = 40000 flags S/SA keep state (max 1)
pass out quick inet proto tcp from 203.0.113.5 to 10.0.0.2 port = 40000 flags S/SA keep state (max 1)
";
    for (dialect, main, anchor) in [(Dialect::OpenBsd, OPENBSD, openbsd), (Dialect::FreeBsd, FREEBSD, freebsd)] {
        let mut model = gateway(dialect, main);
        model.load("ftpgate/1.1", anchor);
        let stranger = syn("203.0.113.6:20", "198.51.100.1:60000", "em0", "em1");
        assert!(matches!(model.send(&stranger), Verdict::Blocked { .. }));
        let first = syn("203.0.113.5:31000", "198.51.100.1:60000", "em0", "em1");
        let arrived = passed(model.send(&first));
        assert_eq!(arrived, (at("203.0.113.5:20"), at("10.0.0.2:40000")), "{dialect:?}");
        assert_eq!(passed(model.send(&first.answer(arrived))), (first.to, first.from));
        let second = syn("203.0.113.5:31001", "198.51.100.1:60000", "em0", "em1");
        assert_eq!(why(model.send(&second)).2, Why::TooManyStates, "{dialect:?}");
        model.end();
        assert_eq!(passed(model.send(&second)).1, at("10.0.0.2:40000"), "{dialect:?}: the rules are still there");
    }
}

#[test]
fn a_port_that_is_taken_towards_the_same_target_stops_the_connection() {
    let main = "block\npass in\npass out inet proto tcp from any to 10.0.0.2 nat-to 203.0.113.5 port 20\n";
    let mut model = gateway(Dialect::OpenBsd, main);
    passed(model.send(&syn("203.0.113.5:1", "10.0.0.2:40000", "em0", "em1")));
    let other = syn("203.0.113.5:2", "10.0.0.2:40000", "em0", "em1");
    assert_eq!(why(model.send(&other)), (Direction::Out, Reply::Nothing, Why::NoPort));
    passed(model.send(&syn("203.0.113.5:2", "10.0.0.2:40001", "em0", "em1")));
}

#[test]
fn capture_differs_by_dialect() {
    let first = syn("10.0.0.2:40000", "203.0.113.5:21", "em1", "em0");
    let mut openbsd = gateway(Dialect::OpenBsd, OPENBSD);
    assert_eq!(openbsd.send(&first), Verdict::Diverted(at("127.0.0.1:8021")));
    let mut freebsd = gateway(Dialect::FreeBsd, FREEBSD);
    let local = Packet { leaving: None, ..first };
    assert_eq!(passed(freebsd.send(&local)), (at("10.0.0.2:40000"), at("127.0.0.1:8021")));
}

/// A match rule translates at once, so that what comes behind it no longer sees the client: the anchor belongs in front of it.
#[test]
fn an_anchor_behind_the_translation_of_the_administrator_does_not_see_its_clients() {
    let (dialect, main, anchor) = PASSIVE[0];
    let nat = "match out on em0 inet from 10.0.0.0/24 to any nat-to (em0)\n";
    let behind = format!("{nat}{}", main.replace(nat, "").replace("set limit anchors 20000\nset skip on lo\n", ""));
    let mut model = gateway(dialect, &behind);
    model.load("ftpgate/1.1", anchor);
    let first = syn("10.0.0.2:40000", "203.0.113.5:60000", "em1", "em0");
    assert_eq!(why(model.send(&first)).0, Direction::Out);
}

/// Whether one packet from 10.0.0.2 to 203.0.113.5:5000 passes.
fn passes(dialect: Dialect, main: &str, anchors: &[(&str, &str)]) -> bool {
    let mut model = gateway(dialect, main);
    for (name, text) in anchors {
        model.load(name, text);
    }
    matches!(model.send(&syn("10.0.0.2:40000", "203.0.113.5:5000", "em1", "em0")), Verdict::Passed { .. })
}

#[test]
fn the_last_match_decides_unless_one_is_quick_and_anchors_count_where_they_stand() {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let all = |main: &str, anchors: &[(&str, &str)]| passes(dialect, main, anchors);
        assert!(all("", &[]), "without a rule everything passes");
        assert!(!all("pass\nblock", &[]));
        assert!(all("block\npass", &[]));
        assert!(!all("block quick\npass", &[]));
        assert!(all("block\nanchor \"x/*\"", &[("x/1", "pass")]));
        assert!(!all("anchor \"x/*\"\nblock", &[("x/1", "pass")]));
        assert!(all("anchor \"x/*\"\nblock", &[("x/1", "pass quick")]));
        assert!(!all("block\nanchor \"x\"", &[("x/1", "pass")]), "only the children");
        assert!(!all("block\nanchor \"x/*\"", &[("x/1/2", "pass"), ("x", "pass"), ("xy", "pass")]), "only direct ones");
        assert!(all("block\nanchor \"x/*\"", &[("x/1", "block"), ("x/2", "pass")]), "in alphabetical order");
        assert!(!all("block\nanchor \"x/*\"", &[("x/10", "pass"), ("x/9", "block")]));
        assert!(!all("block\nanchor \"x/*\" in on em0", &[("x/1", "pass")]));
        assert!(all("block\nanchor x", &[("x", "anchor y"), ("x/y", "pass")]), "relative to the anchor it stands in");
        assert!(all("block\nanchor x quick\nblock", &[("x", "pass")]));
        assert!(!all("block\nanchor x quick\nblock", &[("x", "pass proto udp")]));
        assert!(all("block\nanchor on em1 {\npass\n}\npass on em0", &[]));
        assert!(!all("block\npass in\n", &[]), "both ways through the gateway need a rule");
        assert!(all("block\npass in\npass out\n", &[]));
        assert!(!all("block\npass proto tcp user root", &[]), "nobody on the gateway owns what it forwards");
        assert!(!all("table <t> { 10.0.0.0/24 !10.0.0.2 }\nblock\npass in from <t>\npass out", &[]));
        assert!(all("table <t> { 10.0.0.0/24 !10.0.0.3 }\nblock\npass in from <t>\npass out", &[]));
        assert!(all("block\npass in on em from em1:network\npass out on egress", &[]));
        assert!(!all("block\npass in from em1\npass out", &[]));
    }
}

#[test]
fn a_tag_stays_with_the_packet_and_lets_later_rules_decide() {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let match_in = [("x/1", "match in proto tcp from 10.0.0.2 to 203.0.113.5 port = 5000 tag FTP\n")];
        let main = "block\nanchor \"x/*\"\npass tagged FTP";
        assert!(passes(dialect, main, &match_in));
        assert!(!passes(dialect, main, &[]));
        assert!(!passes(dialect, "block\nanchor \"x/*\"\npass tagged OTHER", &match_in));
        assert!(passes(dialect, "pass\nanchor \"x/*\"\nblock ! tagged FTP", &match_in));
    }
    // A match rule translates at once: what comes behind it sees the new address.
    let rdr = [("x/1", "match in proto tcp to port = 5000 rdr-to 203.0.113.7 port 6000 tag FTP\n")];
    assert!(passes(
        Dialect::OpenBsd,
        "block\nanchor \"x/*\"\npass proto tcp to 203.0.113.7 port 6000 tagged FTP",
        &rdr
    ));
    assert!(!passes(Dialect::OpenBsd, "block\nanchor \"x/*\"\npass proto tcp to 203.0.113.5 port 5000", &rdr));
    // A pass rule does so last.
    assert!(passes(
        Dialect::OpenBsd,
        "block\npass in proto tcp to 203.0.113.5 port 5000 rdr-to 203.0.113.7\npass out to 203.0.113.7",
        &[]
    ));
}

#[test]
fn what_a_blocked_sender_hears() {
    for (main, data, reset) in [
        ("block", Reply::Nothing, Reply::Nothing),
        ("set block-policy return\nblock", Reply::Reset, Reply::Nothing),
        ("set block-policy return\nblock drop", Reply::Nothing, Reply::Nothing),
        ("block return", Reply::Reset, Reply::Nothing),
        ("block return-rst proto tcp", Reply::Reset, Reply::Nothing),
        ("block return-icmp", Reply::Icmp, Reply::Icmp),
    ] {
        for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
            let mut model = gateway(dialect, main);
            let packet = syn("10.0.0.2:1", "203.0.113.5:2", "em1", "em0").later();
            assert_eq!(why(model.send(&packet)).1, data, "{main}");
            assert_eq!(why(model.send(&Packet { flags: RST, ..packet })).1, reset, "{main}");
        }
    }
}

#[test]
fn the_same_rule_loaded_again_counts_its_states_anew() {
    for (dialect, main, anchor) in PASSIVE {
        let mut model = gateway(dialect, main);
        model.load("ftpgate/1.1", anchor);
        passed(model.send(&syn("10.0.0.2:40000", "203.0.113.5:60000", "em1", "em0")));
        let second = syn("10.0.0.2:40001", "203.0.113.5:60000", "em1", "em0");
        assert_eq!(why(model.send(&second)).2, Why::TooManyStates);
        model.load("ftpgate/1.1", anchor);
        passed(model.send(&second));
    }
}
