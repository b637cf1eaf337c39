//! Pinholes in the rulesets that ftpgate ships: with the administrator's own rules and translation around the anchors, each kind leads its
//! connection to the right place, and nothing goes around ftpgate.
//!
//! The model and the grammar know nothing of ftpgate. Not here: pinholes of all shapes in a bare ruleset (`pinholes.rs`), the text of
//! rules (`src/firewall/pf/rules/tests.rs`).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ftpgate::firewall::pf::rules::{self, Cut, Options};
use ftpgate::pinhole::{Announcement, Pinhole};

use crate::grammar::Dialect;
use crate::model::{Model, Packet, Reply, Verdict};

const ANCHOR: &str = "ftpgate/811.3";

const MAINS: [(Dialect, &str, &str); 2] = [
    (
        Dialect::FreeBsd,
        include_str!("../../pf-examples/freebsd-both.conf"),
        include_str!("../../pf-examples/freebsd-tags-queues.conf"),
    ),
    (
        Dialect::OpenBsd,
        include_str!("../../pf-examples/openbsd-both.conf"),
        include_str!("../../pf-examples/openbsd-tags-queues.conf"),
    ),
];

/// The gateway of the examples' pictures.
fn gateway(dialect: Dialect, main: &str) -> Model {
    let mut model = Model::new(dialect, main);
    model.interface("em0", &["198.51.100.1/24", "2001:db8:51::1/64"], &["egress"]);
    model.interface("em1", &["10.0.0.1/24", "2001:db8:10::1/64"], &[]);
    model.interface("em2", &["10.20.0.1/24", "2001:db8:20::1/64"], &[]);
    model.interface("lo0", &["127.0.0.1/8", "::1/128"], &["lo"]);
    model
}

fn render(dialect: Dialect, options: &Options, pinholes: &[Pinhole], cuts: &[Cut]) -> String {
    let dialect = match dialect {
        Dialect::FreeBsd => rules::Dialect::FreeBsd,
        Dialect::OpenBsd => rules::Dialect::OpenBsd,
    };
    let passages: Vec<_> = pinholes.iter().map(|pinhole| (*pinhole).into()).collect();
    rules::anchor(dialect, options, ANCHOR, &passages, cuts)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A pinhole, and the interfaces that its connection comes in and goes out by.
struct Case {
    name: String,
    pinhole: Pinhole,
    entering: &'static str,
    leaving: &'static str,
}

/// All announcements, families and topologies; `reverse`: also with the server behind the gateway.
fn cases(reverse: &[bool]) -> Vec<Case> {
    let mut cases = Vec::new();
    for reverse in reverse {
        for ipv6 in [false, true] {
            let [client, server, dialled, gateway] = match (reverse, ipv6) {
                (false, false) => ["10.0.0.7", "192.0.2.21", "192.0.2.21", "198.51.100.1"],
                (false, true) => ["2001:db8:10::7", "2001:db8:ffff::21", "2001:db8:ffff::21", "2001:db8:51::1"],
                (true, false) => ["192.0.2.99", "10.20.0.10", "198.51.100.1", "10.20.0.1"],
                (true, true) => ["2001:db8:ffff::99", "2001:db8:20::10", "2001:db8:51::1", "2001:db8:20::1"],
            }
            .map(ip);
            for transparent in [false, true] {
                let seen = if transparent { client } else { gateway };
                for announcement in Announcement::ALL {
                    let own = |address: IpAddr, other: IpAddr, port, free| {
                        SocketAddr::new(address, if address == other { port } else { free })
                    };
                    let (initiator, entrance, target, source) = if announcement.is_active() {
                        (server, own(seen, client, 40001, 55001), SocketAddr::new(client, 40001), dialled)
                    } else {
                        (client, own(dialled, server, 50000, 61000), SocketAddr::new(server, 50000), seen)
                    };
                    let lifetime = Duration::from_secs(60);
                    let pinhole = Pinhole {
                        session: 3,
                        announcement,
                        initiator,
                        on_behalf_of: None,
                        entrance,
                        target,
                        source,
                        lifetime,
                        protection: ftpgate::pinhole::Protection::default(),
                    };
                    let clients = if *reverse { "em0" } else { "em1" };
                    let servers = if *reverse { "em2" } else { "em0" };
                    let (entering, leaving) =
                        if announcement.is_active() { (servers, clients) } else { (clients, servers) };
                    let name = format!("reverse {reverse}, transparent {transparent}: {pinhole}");
                    cases.push(Case { name, pinhole, entering, leaving });
                }
            }
        }
    }
    cases
}

impl Case {
    fn syn(&self, port: u16) -> Packet {
        Packet::syn(SocketAddr::new(self.pinhole.initiator, port), self.pinhole.entrance, self.entering, self.leaving)
    }

    /// Opens the pinhole and sends its connection through: what arrives, and how it was announced.
    fn use_up(&self, model: &mut Model, anchor: &str, what: &str) -> (Packet, (SocketAddr, SocketAddr)) {
        let first = self.syn(33333);
        assert!(matches!(model.send(&first), Verdict::Blocked { .. }), "{what}: nothing is open yet");
        model.load(ANCHOR, anchor);
        let stranger = Packet { from: "192.0.2.66:33333".parse().unwrap(), ..first.clone() };
        assert!(matches!(model.send(&stranger), Verdict::Blocked { .. }), "{what}: a stranger gets through");
        let other_port = Packet { to: SocketAddr::new(first.to.ip(), first.to.port() + 1), ..first.clone() };
        assert!(matches!(model.send(&other_port), Verdict::Blocked { .. }), "{what}: another port is open");
        assert!(matches!(model.send(&first.later()), Verdict::Blocked { .. }), "{what}: it begins without a SYN");
        let arrived = match model.send(&first) {
            Verdict::Passed { from, to, .. } => (from, to),
            other => panic!("{what}: {other:?}\n{anchor}"),
        };
        (first, arrived)
    }
}

fn passes(model: &mut Model, packet: &Packet) -> Option<(SocketAddr, SocketAddr)> {
    match model.send(packet) {
        Verdict::Passed { from, to, .. } => Some((from, to)),
        Verdict::Blocked { .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pinhole_leads_one_connection_to_its_target_under_the_right_address() {
    for (dialect, main, _) in MAINS {
        let cases = cases(&[false, true]);
        assert_eq!(cases.len(), 2 * 2 * 2 * 4);
        for case in cases {
            let what = format!("{dialect:?}, {}", case.name);
            let pinhole = case.pinhole;
            let mut model = gateway(dialect, main);
            let anchor = render(dialect, &Options::default(), &[pinhole], &[]);
            let (first, arrived) = case.use_up(&mut model, &anchor, &what);
            assert_eq!((arrived.0.ip(), arrived.1), (pinhole.source, pinhole.target), "{what}");
            if pinhole.needs_snat() && pinhole.announcement.is_active() {
                assert_eq!(arrived.0.port(), 20, "{what}");
            }
            let answer = first.answer(arrived);
            assert_eq!(passes(&mut model, &answer), Some((first.to, first.from)), "{what}: the answer");
            assert_eq!(passes(&mut model, &case.syn(33334)), None, "{what}: a second connection");
            model.load(ANCHOR, "");
            assert_eq!(passes(&mut model, &first.later()), Some(arrived), "{what}: closed while it is in use");
            model.end();
            assert_eq!(passes(&mut model, &case.syn(33335)), None, "{what}: it is closed");
        }
    }
}

#[test]
fn what_is_left_of_a_connection_that_has_ended_is_answered_with_a_reset() {
    for (dialect, main, _) in MAINS {
        for case in cases(&[false, true]) {
            let what = format!("{dialect:?}, {}", case.name);
            let mut model = gateway(dialect, main);
            let anchor = render(dialect, &Options::default(), &[case.pinhole], &[]);
            let (first, arrived) = case.use_up(&mut model, &anchor, &what);
            let answer = first.answer(arrived);
            let cut = |packet: &Packet| Cut { from: packet.from, to: packet.to.ip(), to_port: Some(packet.to.port()) };
            let nowhere = Cut { to_port: None, ..cut(&answer) };
            model.load(ANCHOR, &render(dialect, &Options::default(), &[], &[cut(&first), nowhere]));
            assert_eq!(model.kill(ANCHOR), 2, "{what}: both states have the session's label");
            for packet in [first.later(), answer.later()] {
                let verdict = model.send(&packet);
                assert!(matches!(verdict, Verdict::Blocked { reply: Reply::Reset, .. }), "{what}: {verdict:?}");
            }
        }
    }
}

/// The tag's example has clients behind the gateway only.
#[test]
fn with_a_tag_the_administrators_rules_decide() {
    let options = Options { tag: Some("ftp_data".to_owned()), ..Options::default() };
    for (dialect, _, main) in MAINS {
        for case in cases(&[false]) {
            let what = format!("{dialect:?}, {}", case.name);
            let pinhole = case.pinhole;
            let anchor = render(dialect, &options, &[pinhole], &[]);
            let (_, arrived) = case.use_up(&mut gateway(dialect, main), &anchor, &what);
            assert_eq!((arrived.0.ip(), arrived.1), (pinhole.source, pinhole.target), "{what}");
            let without: String = main
                .lines()
                .filter(|line| !line.contains(" tagged "))
                .fold(String::new(), |text, line| text + line + "\n");
            let mut model = gateway(dialect, &without);
            model.load(ANCHOR, &anchor);
            assert_eq!(passes(&mut model, &case.syn(33333)), None, "{what}: nobody has decided");
        }
    }
}

#[test]
fn control_connections_come_to_ftpgate_and_nothing_goes_around_it() {
    for (dialect, main, _) in MAINS {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let listeners = match dialect {
            Dialect::FreeBsd => ["127.0.0.1:8021", "[2001:db8:10::1]:8021", "127.0.0.1:8022", "[2001:db8:51::1]:8022"],
            Dialect::OpenBsd => ["127.0.0.1:8021", "[::1]:8021", "127.0.0.1:8022", "[::1]:8022"],
        };
        let dials = [
            ("10.0.0.7:1025", "192.0.2.21:21", "em1"),
            ("[2001:db8:10::7]:1025", "[2001:db8:ffff::21]:21", "em1"),
            ("192.0.2.99:1025", "198.51.100.1:21", "em0"),
            ("[2001:db8:ffff::99]:1025", "[2001:db8:51::1]:21", "em0"),
        ];
        for ((from, to, entering), listener) in dials.into_iter().zip(listeners) {
            let mut model = gateway(dialect, main);
            let mut packet = Packet::syn(at(from), at(to), entering, "em0");
            packet.leaving = None;
            let reached = match model.send(&packet) {
                Verdict::Passed { to, .. } | Verdict::Diverted(to) => to,
                other => panic!("{dialect:?}: {from} to {to}: {other:?}"),
            };
            assert_eq!(reached, at(listener), "{dialect:?}: {from} to {to}");
        }
        // The gateway's own addresses are no servers to proxy to, and its listeners are for nobody who dials them.
        for (to, entering) in
            [("10.0.0.1:21", "em1"), ("198.51.100.1:21", "em1"), ("10.0.0.1:8021", "em1"), ("198.51.100.1:8022", "em0")]
        {
            let mut packet = Packet::syn(at("10.0.0.7:1025"), at(to), entering, "em0");
            packet.leaving = None;
            assert_eq!(passes(&mut gateway(dialect, main), &packet), None, "{dialect:?}: {to} by {entering}");
        }
    }
}
