//! Tests of what `backend: relay` asks of a configuration, and of the one that arguments make.

use super::*;

#[test]
fn the_relay_has_addresses_of_its_own_only() {
    let with =
        |line: &str| format!("listeners:\n  - listen: 0.0.0.0:8021\n    {line}\nfirewall: {{ backend: relay }}\n");
    let config = parse(&with("mode: forward"));
    assert_eq!((config.firewall.backend, config.data.tracking), (Backend::Relay, Tracking::Relay));
    assert_eq!(config.warnings(), Vec::<String>::new());
    refused(&with("capture: tproxy"), "listeners[0].capture", Some((3, 14)), "cannot listen", "capture: direct");
    refused(&with("source: client"), "listeners[0].source", Some((3, 13)), "from the gateway", "source: gateway");
    refused(
        &format!("{}data: {{ tracking: conntrack }}\n", with("")),
        "data.tracking",
        Some((5, 19)),
        "backend: relay",
        "relay or off",
    );
    let idle = format!("{}data: {{ accounting: enable }}\n", with(""));
    assert_eq!(
        parse(&idle).warnings(),
        ["data.accounting has no effect with firewall.backend: relay: the relay always counts"]
    );
}

#[test]
fn arguments_alone_need_no_privilege() {
    let from =
        |backend| Config::from_arguments(&["127.0.0.1:2121".into()], &["192.0.2.1".into()], backend, None).unwrap();
    let config = from(None);
    assert_eq!((config.firewall.backend, config.limits.sessions), (Backend::Relay, 1000));
    assert_eq!((config.user, config.control.socket, config.metrics), (None, None, None));
    let config = from(Some("nftables"));
    assert_eq!((config.firewall.backend, config.limits.sessions), (Backend::Nftables, 10_000));
}

fn listener(lines: &str, more: &str) -> String {
    format!("listeners:\n  - listen: [ \"0.0.0.0:8021\", \"[::]:8021\" ]\n    {lines}\n{more}\n")
}

#[test]
fn one_listener_can_be_relayed_behind_the_packet_filter() {
    let relayed = |text: &str| {
        let config = parse(text);
        assert_eq!(Config::parse(&config.to_yaml(), "back").unwrap(), config);
        assert_eq!(config.warnings().len(), usize::from(config.firewall.backend == Backend::DryRun));
        config.listeners[0].relayed
    };
    assert!(!relayed(&listener("mode: forward", "")));
    assert!(relayed(&listener("data: relay", "")));
    assert!(relayed(&listener("capture: tproxy\n    data: relay", "")));
    assert!(relayed(&listener("data: relay", "firewall: { backend: dry-run }")));
    // What is so anyway may be said, and is.
    for line in ["data: relay", "mode: forward"] {
        let text = listener(line, "firewall: { backend: relay }");
        assert!(relayed(&text) && parse(&text).to_yaml().contains("data: relay"));
    }
    let pf = |dialect| listener("data: relay", &format!("firewall: {{ backend: pf, pf: {{ dialect: {dialect} }} }}"));
    refused(&pf("freebsd"), "listeners[0].data", Some((3, 11)), "behind pf yet", "firewall.backend: relay");
    refused(&listener("data: kernel", ""), "listeners[0].data", Some((3, 11)), "\"kernel\"", "leave the key out");
    let client = listener("data: relay\n    source: client", "");
    refused(&client, "listeners[0].source", Some((4, 13)), "come from the gateway", "leave `data: relay` out");
    // A server of another family is no surprise then.
    let reverse = "mode: reverse\n    server: 192.0.2.10";
    let warned = |lines: &str| parse(&listener(lines, "")).warnings().len();
    assert_eq!((warned(reverse), warned(&format!("{reverse}\n    data: relay"))), (1, 0));
}

#[test]
fn nat64_is_for_relayed_listeners_behind_a_packet_filter() {
    let config = parse(&listener("data: relay\n    nat64: 64:ff9b::/96", ""));
    assert_eq!(config.listeners[0].nat64, Some(crate::protocol::nat64::Prefix::WELL_KNOWN));
    assert_eq!(Config::parse(&config.to_yaml(), "back").unwrap(), config);
    let with = |lines: &str, more: &str| listener(&format!("nat64: 64:ff9b::/96{lines}"), more);
    let faulty = |text: &str, problem: &str, remedy: &str| {
        refused(text, "listeners[0].nat64", Some((3, 12)), problem, remedy);
    };
    faulty(&with("", ""), "no packet filter can", "data: relay");
    faulty(&with("", "firewall: { backend: relay }"), "cannot pass for a server", "firewall.backend: nftables");
    faulty(&with("\n    data: relay\n    mode: reverse\n    server: 192.0.2.1", ""), "mode: forward", "remove it");
    let only4 = with("\n    data: relay", "").replace(", \"[::]:8021\"", "");
    faulty(&only4, "no IPv6 address", "[::]:8021");
    for prefix in ["64:ff9b::/95", "64:ff9b::1/96", "192.0.2.0/24"] {
        let text = with("\n    data: relay", "").replace("64:ff9b::/96", prefix);
        faulty(&text, "not a prefix", "64:ff9b::/96");
    }
}
