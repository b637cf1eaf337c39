//! Every combination of dialect, topology, announcement, family and option, against committed files; and what no combination shows.
//!
//! `FTPGATE_BLESS=1 cargo test --lib firewall::pf` writes the files below `golden` anew: read the difference before it is committed.
//! Each block of a file is the whole content of one anchor, below a comment that names the combination.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::pinhole::{Announcement, Pinhole};

/// Where clients, gateway and server stand, and who sees whom.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Topology {
    /// Clients behind the gateway; the server sees the gateway. Passive: SNAT. Active: DNAT.
    Forward,
    /// The server behind the gateway, which clients dial. DNAT and SNAT.
    Reverse,
    /// As `Forward`, and the server sees the client. No translation.
    Transparent,
    /// As `Reverse`, and the server sees the client. Passive: DNAT. Active: SNAT.
    TransparentReverse,
    /// A pinhole of `Forward` and one of `Reverse` in one anchor, behind the packets of two connections that have ended.
    Both,
}

const TOPOLOGIES: [Topology; 5] =
    [Topology::Forward, Topology::Reverse, Topology::Transparent, Topology::TransparentReverse, Topology::Both];

fn all_options() -> Vec<(&'static str, Options)> {
    let (tag, queue) = (Some("ftp_data".to_owned()), Some("bulk".to_owned()));
    vec![
        ("plain", Options::default()),
        ("tag", Options { tag: tag.clone(), ..Options::default() }),
        ("queue", Options { queue: queue.clone(), ..Options::default() }),
        ("rtable", Options { rtable: Some(2), ..Options::default() }),
        ("log", Options { log: true, ..Options::default() }),
        ("all", Options { tag, queue, rtable: Some(2), log: true }),
    ]
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Client, server, the gateway on the client's side and on the server's.
fn hosts(reverse: bool, ipv6: bool) -> [IpAddr; 4] {
    match (reverse, ipv6) {
        (false, false) => ["10.0.0.7", "192.0.2.21", "10.0.0.1", "198.51.100.1"],
        (true, false) => ["192.0.2.99", "10.20.0.10", "198.51.100.1", "10.20.0.1"],
        (false, true) => ["2001:db8:1::7", "2001:db8:ffff::21", "2001:db8:1::1", "2001:db8:51::1"],
        (true, true) => ["2001:db8:ffff::99", "2001:db8:20::10", "2001:db8:51::1", "2001:db8:20::1"],
    }
    .map(ip)
}

/// The pinhole that a session asks for (docs/architecture.md, "Words").
fn pinhole(reverse: bool, transparent: bool, announcement: Announcement, ipv6: bool) -> Pinhole {
    let [client, server, gateway, outside] = hosts(reverse, ipv6);
    let dialled = if reverse { gateway } else { server }; // O
    let seen = if transparent { client } else { outside }; // P
    let (initiator, entrance, target, source) = if announcement.is_active() {
        let target = SocketAddr::new(client, 40001);
        (server, SocketAddr::new(seen, if seen == client { 40001 } else { 55001 }), target, dialled)
    } else {
        let target = SocketAddr::new(server, 50000);
        (client, SocketAddr::new(dialled, if dialled == server { 50000 } else { 61000 }), target, seen)
    };
    Pinhole {
        session: 3,
        announcement,
        initiator,
        on_behalf_of: None,
        entrance,
        target,
        source,
        lifetime: Duration::from_secs(60),
        protection: crate::pinhole::Protection::default(),
    }
}

fn cuts(ipv6: bool) -> [Cut; 2] {
    let [client, server, ..] = hosts(false, ipv6);
    let from = |host, port| SocketAddr::new(host, port);
    [
        Cut { from: from(client, 40312), to: server, to_port: Some(50100) },
        Cut { from: from(server, 50100), to: client, to_port: None },
    ]
}

fn content(topology: Topology, announcement: Announcement, ipv6: bool) -> (Vec<Passage>, Vec<Cut>) {
    let one = |reverse, transparent| (vec![pinhole(reverse, transparent, announcement, ipv6).into()], Vec::new());
    match topology {
        Topology::Forward => one(false, false),
        Topology::Reverse => one(true, false),
        Topology::Transparent => one(false, true),
        Topology::TransparentReverse => one(true, true),
        Topology::Both => (
            vec![pinhole(false, false, announcement, ipv6).into(), pinhole(true, false, announcement, ipv6).into()],
            cuts(ipv6).to_vec(),
        ),
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/firewall/pf/rules/golden")
}

/// One file, and the combinations in it.
fn file(dialect: Dialect, options: &Options, seen: &mut BTreeSet<String>) -> String {
    let mut text = String::new();
    for topology in TOPOLOGIES {
        for announcement in Announcement::ALL {
            for ipv6 in [false, true] {
                let (pinholes, cuts) = content(topology, announcement, ipv6);
                let family = if ipv6 { "inet6" } else { "inet" };
                let name = format!("{topology:?} {} {family}", announcement.as_str());
                let rules = anchor(dialect, options, "ftpgate/811.3", &pinholes, &cuts);
                let _ = writeln!(text, "# {name}\n{rules}");
                assert!(seen.insert(format!("{} {options:?} {name}", dialect.as_str())), "{name} twice");
            }
        }
    }
    text
}

#[test]
fn every_combination_is_as_it_was_read_and_committed() {
    let mut seen = BTreeSet::new();
    let mut names = BTreeSet::new();
    for dialect in Dialect::ALL {
        for (word, options) in all_options() {
            let text = file(dialect, &options, &mut seen);
            let name = format!("{}-{word}.pf", dialect.as_str());
            let path = golden().join(&name);
            if std::env::var_os("FTPGATE_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let committed = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            for (number, (found, expected)) in text.lines().zip(committed.lines()).enumerate() {
                assert_eq!(found, expected, "{name}, line {}", number + 1);
            }
            assert_eq!(text.len(), committed.len(), "{name} has another length");
            names.insert(name);
        }
    }
    // Two dialects, five topologies, four announcements, two families, six sets of options.
    assert_eq!(seen.len(), 2 * 5 * 4 * 2 * 6);
    let files: BTreeSet<String> =
        std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(files, names, "a file that no combination writes");
}

/// What the table of topologies must not lose: each of the four ways to translate, in active and in passive mode.
#[test]
fn the_topologies_cover_every_kind_of_translation() {
    let mut kinds = BTreeSet::new();
    for topology in TOPOLOGIES {
        for announcement in Announcement::ALL {
            for Passage { pinhole, .. } in content(topology, announcement, false).0 {
                kinds.insert((announcement.is_active(), pinhole.needs_dnat(), pinhole.needs_snat()));
            }
        }
    }
    let all: BTreeSet<_> = (0..8u8).map(|bits| (bits & 4 != 0, bits & 2 != 0, bits & 1 != 0)).collect();
    assert_eq!(kinds, all);
}

#[test]
fn rules_are_those_that_ftp_proxy_installs_with_a_label() {
    let rules = |dialect, announcement| {
        anchor(dialect, &Options::default(), "s", &[pinhole(true, false, announcement, false).into()], &[])
    };
    assert_eq!(
        rules(Dialect::OpenBsd, Announcement::Pasv),
        "pass in quick inet proto tcp from 192.0.2.99 to 198.51.100.1 port = 61000 flags S/SA keep state (max 1) label \"s\" \
         rdr-to 10.20.0.10 port 50000\n\
         pass out quick inet proto tcp from 192.0.2.99 to 10.20.0.10 port = 50000 flags S/SA keep state (max 1) label \"s\" \
         nat-to 10.20.0.1\n"
    );
    assert_eq!(
        rules(Dialect::FreeBsd, Announcement::Port),
        "rdr inet proto tcp from 10.20.0.10 to 10.20.0.1 port 55001 -> 192.0.2.99 port 40001\n\
         nat inet proto tcp from 10.20.0.10 to 192.0.2.99 port 40001 -> 198.51.100.1 port 20\n\
         pass in quick inet proto tcp from 10.20.0.10 to 192.0.2.99 port = 40001 flags S/SA keep state (max 1) label \"s\"\n\
         pass out quick inet proto tcp from 198.51.100.1 to 192.0.2.99 port = 40001 flags S/SA keep state (max 1) label \"s\"\n"
    );
}

/// OpenBSD's pfctl would refuse the whole anchor.
#[test]
fn a_queue_is_for_freebsd_only() {
    let options = Options { queue: Some("bulk".to_owned()), ..Options::default() };
    let pinholes = [pinhole(true, false, Announcement::Pasv, false).into()];
    let with = |dialect| anchor(dialect, &options, "s", &pinholes, &[]);
    assert_eq!(with(Dialect::FreeBsd).matches(" queue \"bulk\"").count(), 2);
    assert_eq!(with(Dialect::OpenBsd), anchor(Dialect::OpenBsd, &Options::default(), "s", &pinholes, &[]));
}

#[test]
fn nothing_gives_an_empty_anchor() {
    for dialect in Dialect::ALL {
        for (_, options) in all_options() {
            assert_eq!(anchor(dialect, &options, "s", &[], &[]), "");
        }
    }
}

/// pf refuses a translation rule behind a filter rule, and a cut behind a `pass quick` for the same packets would never be reached.
#[test]
fn order_is_translation_then_cuts_then_the_rest() {
    let (pinholes, cuts) = content(Topology::Both, Announcement::Pasv, false);
    for dialect in Dialect::ALL {
        let rules = anchor(dialect, &Options::default(), "s", &pinholes, &cuts);
        let rank = |line: &str| match line.split(' ').next() {
            Some("rdr" | "nat" | "no") => 0,
            Some("block") => 1,
            Some("pass") => 2,
            other => panic!("{other:?}"),
        };
        let ranks: Vec<u8> = rules.lines().map(rank).collect();
        assert!(ranks.is_sorted(), "{rules}");
        assert_eq!(ranks.iter().filter(|rank| **rank == 1).count(), 2, "{rules}");
        assert!(rules.ends_with('\n') && !rules.contains("\n\n"), "{rules}");
    }
}

#[test]
fn the_longest_label_fits() {
    // An anchor's name has 32 bytes at most (config), a process id five digits (PID_MAX of both systems is 99999).
    let label = session_label(&"a".repeat(32), 99_999, u64::MAX);
    assert_eq!((label.len(), LABEL_MAX), (59, 63));
    let rules = anchor(
        Dialect::OpenBsd,
        &Options::default(),
        &label,
        &[pinhole(false, false, Announcement::Epsv, true).into()],
        &[],
    );
    assert_eq!(rules.matches(&format!("label \"{label}\"")).count(), 2, "{rules}");
}

/// Attack C93, the second lock: `config` accepts no such name.
#[test]
fn a_name_cannot_end_its_rule() {
    let hostile = "x\" keep state\npass quick all # $nr\\";
    let options = Options { tag: Some(hostile.to_owned()), queue: Some(hostile.to_owned()), ..Options::default() };
    for dialect in Dialect::ALL {
        let rules =
            anchor(dialect, &options, hostile, &[pinhole(true, false, Announcement::Pasv, false).into()], &cuts(false));
        for line in rules.lines() {
            assert!(line.matches('"').count() % 2 == 0 && !line.contains(['$', '#', '\\']), "{line}");
            assert!(
                ["rdr ", "nat ", "block return-rst in ", "match "].iter().any(|word| line.starts_with(word)),
                "{line}"
            );
        }
        assert!(rules.contains("tag \"xkeepstatepassquickallnr\""), "{rules}");
    }
}
