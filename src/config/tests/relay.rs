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
