//! What a skeleton must say, in which order, and what it must not. That pfctl would load it: `tests/cli.rs`.

use super::*;

fn rules(dialect: Dialect, yaml: &str) -> String {
    let config = Config::parse(yaml, "test").unwrap_or_else(|error| panic!("{error}"));
    ruleset(&config, dialect, "lan0", "wan0", Path::new("/etc/x.yaml"))
}

/// Whether the lines stand in this order in the text, other lines between them or not.
fn has(text: &str, lines: &[&str]) {
    let mut rest = text.lines();
    for line in lines {
        assert!(rest.any(|found| found == *line), "{line:?} in its place in\n{text}");
    }
}

#[test]
fn a_configuration_for_another_system_is_told_what_to_change() {
    let foreign = |dialect, word| {
        rules(
            dialect,
            &format!(
                "listeners: [ {{ listen: \"0.0.0.0:8021\" }} ]\nfirewall: {{ backend: pf, pf: {{ dialect: {word} }} }}"
            ),
        )
    };
    let hint = |text: &str| text.contains("this takes `capture: ");
    assert!(hint(&foreign(Dialect::OpenBsd, "freebsd")) && hint(&foreign(Dialect::FreeBsd, "openbsd")));
    assert!(!hint(&foreign(Dialect::OpenBsd, "openbsd")) && !hint(&foreign(Dialect::FreeBsd, "freebsd")));
}

const FORWARD: &str = "listeners: [ { listen: [\"0.0.0.0:8021\", \"[::]:8021\"] } ]\nuser: _ftpgate";

#[test]
fn openbsd_diverts_and_closes_before_it_opens() {
    let text = rules(Dialect::OpenBsd, FORWARD);
    has(
        &text,
        &[
            "inside = \"lan0\"",
            "table <gateway> const { self }",
            "set limit anchors 20000",
            "set block-policy drop",
            "set skip on lo",
            "block all",
            "anchor \"ftpgate/*\"",
            "# match out on $outside inet from $inside:network to any nat-to ($outside:0)",
            "pass in quick on $inside inet proto tcp from any to ! <gateway> port 21 divert-to 127.0.0.1 port 8021",
            "pass in quick on $inside inet6 proto tcp from any to ! <gateway> port 21 divert-to ::1 port 8021",
            "pass inet6 proto icmp6 all icmp6-type { neighbrsol, neighbradv, routersol, routeradv }",
            "pass out proto tcp from self to any port 21 user _ftpgate",
        ],
    );
    assert!(!text.contains("\nrdr") && !text.contains("\nnat-anchor") && !text.contains("inside6"), "{text}");
}

#[test]
fn freebsd_translates_first_and_never_redirects_to_loopback_over_ipv6() {
    let text = rules(Dialect::FreeBsd, FORWARD);
    has(
        &text,
        &[
            "inside6 = \"2001:db8:1::1\"",
            "# set limit anchors 20000",
            "set skip on lo0",
            "nat-anchor \"ftpgate/*\"",
            "rdr-anchor \"ftpgate/*\"",
            "# nat on $outside inet from $inside:network to any -> ($outside:0)",
            "rdr pass on $inside inet proto tcp from any to ! <gateway> port 21 -> 127.0.0.1 port 8021",
            "rdr pass on $inside inet6 proto tcp from any to ! <gateway> port 21 -> $inside6 port 8021",
            "block all",
            "anchor \"ftpgate/*\"",
        ],
    );
    assert!(!text.contains("divert-to ") && !text.contains("-> ::1") && !text.contains("outside6"), "{text}");
    let loopback = rules(Dialect::FreeBsd, "listeners: [ { listen: \"[::1]:8021\" } ]");
    has(&loopback, &["# The listener must be on that address, or on [::]:8021, instead of ::1."]);
    assert!(
        loopback.contains("-> $inside6 port 8021") && !loopback.contains("inet proto tcp from any to ! "),
        "{loopback}"
    );
}

#[test]
fn reverse_mode_matches_the_address_that_clients_dial() {
    let yaml = "listeners: [ { name: d, listen: [\"10.0.0.1:8022\", \"[::]:8022\"], mode: reverse, \
                server: [10.0.0.5, \"[fd00::5]:2121\"], external_address: 203.0.113.1 } ]\nuser: null";
    let text = rules(Dialect::OpenBsd, yaml);
    has(
        &text,
        &[
            "# Listener d: clients outside to the servers behind the gateway.",
            "pass in quick on $outside inet proto tcp from any to 203.0.113.1 port 21 divert-to 10.0.0.1 port 8022",
            "pass in quick on $outside inet6 proto tcp from any to ($outside) port 21 divert-to ::1 port 8022",
            "pass out inet proto tcp from self to 10.0.0.5 port 21",
            "pass out inet6 proto tcp from self to fd00::5 port 2121",
        ],
    );
    assert!(!text.contains("to any port 21"), "{text}");
    let text = rules(Dialect::FreeBsd, yaml);
    has(
        &text,
        &[
            "outside6 = \"2001:db8:51::1\"",
            "rdr pass on $outside inet proto tcp from any to 203.0.113.1 port 21 -> 10.0.0.1 port 8022",
            "rdr pass on $outside inet6 proto tcp from any to ($outside) port 21 -> $outside6 port 8022",
        ],
    );
}

#[test]
fn a_listener_that_clients_dial_needs_no_capture() {
    let yaml = "listeners: [ { listen: [\"203.0.113.1:2121\", \"[::]:2121\"], mode: reverse, capture: direct, server: 10.0.0.5 } ]\n\
                metrics: { listen: \"10.0.0.1:9821\" }";
    for dialect in Dialect::ALL {
        let text = rules(dialect, yaml);
        has(
            &text,
            &[
                "pass in inet proto tcp from any to 203.0.113.1 port 2121",
                "pass in inet6 proto tcp from any to <gateway> port 2121",
                "# pass in proto tcp from 192.0.2.9 to <gateway> port 9821",
            ],
        );
        assert!(!text.contains("rdr pass") && !text.contains("divert-to 1"), "{text}");
    }
}

#[test]
fn borrowed_addresses_need_divert_reply_which_freebsd_lacks() {
    let yaml = "listeners: [ { listen: \"0.0.0.0:8021\", source: client } ]\nuser: _ftpgate";
    let text = rules(Dialect::OpenBsd, yaml);
    has(&text, &["pass out proto tcp from ! <gateway> to any port 21 user root divert-reply"]);
    let text = rules(Dialect::FreeBsd, yaml);
    assert!(text.contains("# FreeBSD's pf cannot do that"), "{text}");
    assert!(text.lines().all(|line| line.starts_with('#') || !line.contains("divert")), "{text}");
}

#[test]
fn tag_queue_and_anchor_are_those_of_the_configuration() {
    let yaml =
        "listeners: [ { listen: \"0.0.0.0:8021\" } ]\nfirewall: { pf: { anchor: gw, tag: ftp_data, queue: bulk } }";
    for dialect in Dialect::ALL {
        has(
            &rules(dialect, yaml),
            &["anchor \"gw/*\"", "pass quick proto tcp all flags S/SA keep state tagged \"ftp_data\""],
        );
    }
    assert!(rules(Dialect::OpenBsd, yaml).contains(" to any ! tagged \"ftp_data\" nat-to "));
    assert!(rules(Dialect::OpenBsd, yaml).contains("anchor assign it: pass ... tagged TAG set queue bulk\n"));
    assert!(
        rules(Dialect::FreeBsd, yaml).contains("\n# altq on $outside hfsc bandwidth 100Mb queue { other, \"bulk\" }\n")
    );
}

/// pf's order of sections, and that nothing passes before the block of the default.
#[test]
fn sections_come_in_the_order_that_freebsd_demands() {
    let yaml = "listeners:\n  - { listen: [\"0.0.0.0:8021\", \"[::]:8021\"] }\n  \
                - { listen: \"0.0.0.0:8022\", mode: reverse, server: 10.0.0.5 }\nfirewall: { pf: { tag: t, queue: q } }";
    for dialect in Dialect::ALL {
        let text = rules(dialect, yaml);
        let rank = |line: &str| match line.split(' ').next() {
            Some("inside" | "outside" | "inside6" | "outside6" | "table") => 0,
            Some("set") => 1,
            Some("nat-anchor" | "rdr-anchor" | "rdr") => 2,
            Some("block") => 3,
            Some("anchor" | "pass") => 4,
            other => panic!("{other:?}"),
        };
        let code = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let ranks: Vec<u8> = code.map(rank).collect();
        assert!(ranks.is_sorted(), "{text}");
        assert_eq!(ranks.iter().filter(|rank| **rank == 3).count(), 1, "{text}");
    }
}

#[test]
fn login_mode_is_reached_from_inside_and_reaches_what_is_listed() {
    for dialect in [Dialect::OpenBsd, Dialect::FreeBsd] {
        let text = rules(
            dialect,
            "listeners: [ { name: proxy, listen: [\"0.0.0.0:21\", \"[2001:db8::1]:2121\"], mode: login } ]\nuser: _ftpgate\n\
             policy: { servers: [ 192.0.2.0/24, \"[2001:db8:2::/48]:2000-2999\", \"198.51.100.7:*\", ftp.example.net ] }",
        );
        has(
            &text,
            &[
                "# Listener proxy: clients inside, to the servers of policy.servers that they name.",
                "pass in on $inside inet proto tcp from any to <gateway> port 21",
                "pass in on $inside inet6 proto tcp from any to 2001:db8::1 port 2121",
                "pass out inet proto tcp from self to 192.0.2.0/24 port 21 user _ftpgate",
                "pass out inet6 proto tcp from self to 2001:db8:2::/48 port 2000:2999 user _ftpgate",
                "pass out inet proto tcp from self to 198.51.100.7/32 user _ftpgate",
            ],
        );
        assert!(
            !text.contains("divert-to 127") && !text.contains("rdr pass") && !text.contains("to any port 21"),
            "{text}"
        );
    }
}
