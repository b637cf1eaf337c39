//! The rules that ftpgate makes, in the model: whatever the pinhole, its connection passes and arrives as it should, and no other does.
//!
//! Not here: what the rules look like (the golden files beside them in `src`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ftpgate::firewall::pf::rules::{self, Cut, Options, session_label};
use ftpgate::pinhole::{Announcement, Pinhole};
use proptest::prelude::*;

use crate::grammar::Dialect;
use crate::model::{ACK, Model, Packet, Reply, SYN, Verdict, Why};

const OURS: &str = "ftpgate/811.3";
const TAG: &str = "ftp_data";

fn dialect(dialect: rules::Dialect) -> Dialect {
    match dialect {
        rules::Dialect::FreeBsd => Dialect::FreeBsd,
        rules::Dialect::OpenBsd => Dialect::OpenBsd,
    }
}

/// Nothing passes, but for what the anchors let through or, with a tag, what they mark. What stands behind the anchors has no say in
/// what they pass.
fn gateway(kind: rules::Dialect, options: &Options) -> Model {
    let (mut main, mut end) = (String::new(), String::new());
    if kind == rules::Dialect::FreeBsd {
        main += "nat-anchor \"ftpgate/*\"\nrdr-anchor \"ftpgate/*\"\n";
    }
    if let Some(tag) = &options.tag {
        end = format!("pass quick proto tcp tagged \"{tag}\"\n");
    }
    Model::new(dialect(kind), &format!("{main}block drop\nanchor \"ftpgate/*\"\nblock drop\n{end}"))
}

/// Host `number` of a network that both families have.
fn host(ipv6: bool, number: u8) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(192, 0, 2, number).into()
    }
}

fn anchor(kind: rules::Dialect, options: &Options, label: &str, pinholes: &[Pinhole], cuts: &[Cut]) -> String {
    let passages: Vec<_> = pinholes.iter().map(|pinhole| (*pinhole).into()).collect();
    rules::anchor(kind, options, label, &passages, cuts)
}

/// The `index`th of some pinholes of one session. Hosts 1 to 40 occur, so that others are free for strangers.
fn pinhole(index: u8) -> impl Strategy<Value = Pinhole> {
    let announcement = prop::sample::select(Announcement::ALL.to_vec());
    let ports = (1024..65500u16, 1024..65500u16);
    (announcement, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), ports, 1..11u8).prop_map(
        move |(announcement, ipv6, other_address, other_port, translated, (entrance, target), base)| {
            // No two pinholes share an entrance or a target: each has ports of its own.
            let own = |port: u16| port / 3 * 3 + u16::from(index);
            let target = SocketAddr::new(host(ipv6, base), own(target));
            let entrance = SocketAddr::new(
                if other_address { host(ipv6, base + 10) } else { target.ip() },
                if other_port { own(entrance) } else { target.port() },
            );
            let initiator = host(ipv6, base + 20);
            let source = if translated { host(ipv6, base + 30) } else { initiator };
            Pinhole {
                session: 3,
                announcement,
                initiator,
                on_behalf_of: None,
                entrance,
                target,
                source,
                lifetime: Duration::from_secs(60),
                protection: ftpgate::pinhole::Protection::default(),
            }
        },
    )
}

fn pinholes() -> impl Strategy<Value = Vec<Pinhole>> {
    let all = (pinhole(0), pinhole(1), pinhole(2), 1..4usize);
    all.prop_map(|(a, b, c, count)| vec![a, b, c].into_iter().take(count).collect())
}

/// Without a queue: see the test of queues.
fn options() -> impl Strategy<Value = (rules::Dialect, Options)> {
    let kind = prop::sample::select(rules::Dialect::ALL.to_vec());
    (kind, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(kind, tag, queue, rtable, log)| {
        let options = Options {
            tag: tag.then(|| TAG.to_owned()),
            queue: (queue && kind == rules::Dialect::FreeBsd).then(|| "bulk".to_owned()),
            rtable: rtable.then_some(2),
            log,
        };
        (kind, options)
    })
}

fn first(pinhole: &Pinhole, port: u16) -> Packet {
    Packet::syn(SocketAddr::new(pinhole.initiator, port), pinhole.entrance, "em0", "em1")
}

fn blocked(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Blocked { reply: Reply::Nothing, .. })
}

fn passes(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Passed { .. })
}

/// Everything that differs from the first packet of the pinhole in one thing.
fn mutations(packet: &Packet) -> Vec<Packet> {
    let ipv6 = packet.to.is_ipv6();
    let (from, to) = (packet.from, packet.to);
    let mut all = Vec::new();
    for stranger in [host(ipv6, 99), host(ipv6, 200)] {
        all.push(Packet { from: SocketAddr::new(stranger, from.port()), ..packet.clone() });
        all.push(Packet { to: SocketAddr::new(stranger, to.port()), ..packet.clone() });
    }
    // The ports of other pinholes lie up to two away.
    for distance in [3, 600] {
        let port = if to.port() > 32_000 { to.port() - distance } else { to.port() + distance };
        all.push(Packet { to: SocketAddr::new(to.ip(), port), ..packet.clone() });
    }
    for flags in [0, ACK, SYN | ACK] {
        all.push(Packet { flags, ..packet.clone() });
    }
    all.push(Packet { from: to, to: from, ..packet.clone() });
    all
}

fn check_one(model: &mut Model, pinhole: &Pinhole, options: &Options, label: &str) -> Result<(), TestCaseError> {
    let opening = first(pinhole, 40000);
    // Who dials the target itself has a test of its own.
    for other in mutations(&opening).into_iter().filter(|other| other.to != pinhole.target || other.to == opening.to) {
        let verdict = model.send(&other);
        prop_assert!(blocked(&verdict), "{other:?}: {verdict:?}");
    }
    let verdict = model.send(&opening);
    let Verdict::Passed { from, to, labels } = verdict.clone() else {
        return Err(TestCaseError::fail(format!("{opening:?}: {verdict:?}")));
    };
    prop_assert_eq!((from.ip(), to), (pinhole.source, pinhole.target));
    match (pinhole.needs_snat(), pinhole.announcement.is_active()) {
        (false, _) => prop_assert_eq!(from.port(), 40000),
        (true, true) => prop_assert_eq!(from.port(), 20),
        (true, false) => prop_assert!(from.port() > 50000),
    }
    if options.tag.is_none() {
        prop_assert_eq!(labels, vec![label; 2]);
    }
    let back = model.send(&opening.answer((from, to)));
    let expected = Verdict::Passed { from: pinhole.entrance, to: opening.from, labels: Vec::new() };
    prop_assert_eq!(back, expected, "the answer");
    prop_assert!(passes(&model.send(&opening.later())));
    if options.tag.is_none() {
        // With a tag the rule that makes states is the administrator's, and so is the number of them.
        let second = model.send(&first(pinhole, 40001));
        prop_assert!(matches!(second, Verdict::Blocked { why: Why::TooManyStates, .. }), "the second: {second:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_announced_connection_passes_and_arrives_as_announced(
        pinholes in pinholes(),
        (kind, options) in options(),
    ) {
        let mut model = gateway(kind, &options);
        for pinhole in &pinholes {
            prop_assert!(blocked(&model.send(&first(pinhole, 40000))), "nothing is open yet");
        }
        let text = anchor(kind, &options, OURS, &pinholes, &[]);
        model.load(OURS, &text);
        for pinhole in &pinholes {
            check_one(&mut model, pinhole, &options, OURS).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        }
        // Closed: what is under way goes on, nothing new begins.
        let empty = anchor(kind, &options, OURS, &[], &[]);
        prop_assert_eq!(empty.trim(), "");
        model.load(OURS, &empty);
        for pinhole in &pinholes {
            prop_assert!(passes(&model.send(&first(pinhole, 40000).later())));
            prop_assert!(blocked(&model.send(&first(pinhole, 40002))));
        }
        if options.tag.is_none() {
            prop_assert_eq!(model.kill(OURS), 2 * pinholes.len());
            for pinhole in &pinholes {
                prop_assert!(blocked(&model.send(&first(pinhole, 40000).later())));
            }
        }
    }

    #[test]
    fn a_cut_answers_its_packets_with_a_reset_and_no_others(
        ipv6 in any::<bool>(),
        (port, to_port) in (1..65535u16, prop::option::of(1..65535u16)),
        (kind, options) in options(),
        others in pinholes(),
    ) {
        let cut = Cut { from: SocketAddr::new(host(ipv6, 150), port), to: host(ipv6, 151), to_port };
        let text = anchor(kind, &options, OURS, &others, &[cut]);
        let to = SocketAddr::new(cut.to, to_port.unwrap_or(5000));
        // Also where the administrator lets everything through.
        let anchors = match kind {
            rules::Dialect::FreeBsd => "nat-anchor \"ftpgate/*\"\nrdr-anchor \"ftpgate/*\"\nanchor \"ftpgate/*\"\n",
            rules::Dialect::OpenBsd => "anchor \"ftpgate/*\"\n",
        };
        for end in ["block drop\n", "pass flags any\n"] {
            let mut model = Model::new(dialect(kind), &format!("{anchors}{end}"));
            model.load(OURS, &text);
            for flags in [SYN, ACK, ACK | SYN] {
                let packet = Packet { flags, ..Packet::syn(cut.from, to, "em0", "em1") };
                let verdict = model.send(&packet);
                prop_assert!(matches!(verdict, Verdict::Blocked { reply: Reply::Reset, .. }), "{packet:?}: {verdict:?}\n{text}");
            }
            let other = |from: SocketAddr, to: SocketAddr| Packet { flags: ACK, ..Packet::syn(from, to, "em0", "em1") };
            let mut untouched = vec![
                other(SocketAddr::new(cut.from.ip(), port ^ 1), to),
                other(SocketAddr::new(host(ipv6, 152), port), to),
                other(cut.from, SocketAddr::new(host(ipv6, 152), to.port())),
                other(to, cut.from),
            ];
            if to_port.is_some() {
                untouched.push(other(cut.from, SocketAddr::new(cut.to, to.port() ^ 1)));
            }
            for packet in untouched {
                let verdict = model.send(&packet);
                prop_assert!(!matches!(verdict, Verdict::Blocked { reply: Reply::Reset, .. }), "{packet:?}: {verdict:?}\n{text}");
            }
        }
    }

    /// On FreeBSD the filter sees only where a packet goes, not where it was going: the initiator that knows the target's own address,
    /// and has a route to it, may dial that as well. It gets no further than through the entrance, and uses the pinhole up.
    #[test]
    fn past_the_entrance_nobody_gets_further_than_through_it(pinhole in pinhole(0), (kind, options) in options()) {
        if !pinhole.needs_dnat() {
            return Ok(());
        }
        let mut model = gateway(kind, &options);
        let text = anchor(kind, &options, OURS, &[pinhole], &[]);
        model.load(OURS, &text);
        let direct = Packet { to: pinhole.target, ..first(&pinhole, 40000) };
        let verdict = model.send(&direct);
        match (&verdict, kind) {
            (Verdict::Passed { to, .. }, rules::Dialect::FreeBsd) => prop_assert_eq!(*to, pinhole.target),
            _ => prop_assert!(blocked(&verdict), "{direct:?}: {verdict:?}\n{text}"),
        }
        let strange = Packet { from: SocketAddr::new(host(pinhole.is_ipv6(), 99), 40000), ..direct };
        prop_assert!(blocked(&model.send(&strange)));
    }

    #[test]
    fn sessions_do_not_open_each_others_pinholes(mine in pinhole(0), theirs in pinhole(1), (kind, options) in options()) {
        let mut model = gateway(kind, &options);
        let label = session_label("ftpgate", 811, 12);
        model.load(&label, &anchor(kind, &options, &label, &[theirs], &[]));
        prop_assert!(blocked(&model.send(&first(&mine, 40000))));
        model.load(OURS, &anchor(kind, &options, OURS, &[mine], &[]));
        check_one(&mut model, &mine, &options, OURS)?;
        check_one(&mut model, &theirs, &options, &label)?;
        if options.tag.is_none() {
            prop_assert_eq!(model.kill(OURS), 2);
            prop_assert!(passes(&model.send(&first(&theirs, 40000).later())));
        }
    }
}
