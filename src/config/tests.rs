//! Tests of the configuration as a whole: what is read, what is refused and in which words, the way back to YAML.

use std::time::Duration;

use super::*;

mod login;
mod relay;
mod tls;

const SMALL: &str = "listeners: [ { listen: \"0.0.0.0:8021\" } ]\n";

fn parse(text: &str) -> Config {
    Config::parse(text, "t.yaml").unwrap_or_else(|error| panic!("{error}\n--- in\n{text}"))
}

fn fault(text: &str) -> Error {
    match Config::parse(text, "t.yaml") {
        Ok(config) => panic!("accepted:\n{text}\n{config:#?}"),
        Err(error) => error,
    }
}

/// A listener in reverse mode with one more line.
fn reverse(line: &str) -> String {
    format!(
        "listeners:\n  - name: dmz\n    listen: 0.0.0.0:8022\n    mode: reverse\n    server: 192.0.2.10:21\n    {line}\n"
    )
}

#[test]
fn one_listener_is_enough_and_everything_else_has_a_default() {
    let config = parse(SMALL);
    let [listener] = config.listeners.as_slice() else { panic!("{config:?}") };
    assert_eq!(listener.name, "listener1");
    assert_eq!(
        (listener.mode, listener.capture, &listener.source),
        (Mode::Forward, Capture::Redirect, &Source::Gateway)
    );
    assert_eq!(config.firewall.nftables.mark, 0x1000_0000);
    assert_eq!(config.data.ports, PortRange { low: 49152, high: 65535 });
    assert_eq!(config.limits.sessions, 10_000);
    assert_eq!(config.timeouts.idle, Duration::from_secs(900));
    assert_eq!(config.metrics.as_ref().unwrap().listen, "127.0.0.1:9821".parse().unwrap());
    assert_eq!(config.user.as_deref(), Some("ftpgate"));
    assert_eq!(config.warnings(), Vec::<String>::new());
}

/// The example of the contract, with what this version cannot do left out.
const FULL: &str = r#"
listeners:
  - name: outbound
    listen: [ "0.0.0.0:8021", "[::]:8021" ]
    mode: forward
    capture: redirect
    source: gateway
    ftps: pass
  - name: dmz
    listen: "0.0.0.0:8022"
    mode: reverse
    capture: tproxy
    source: [ "198.51.100.1", "2001:db8::1" ]
    server: [ "192.0.2.10:21", "[2001:db8::10]:2121", "2001:db8::11", "192.0.2.11" ]
    external_address: [ 203.0.113.1 ]
    passive_ports: 50000-50100
    proxy_protocol: { accept_from: [ 192.0.2.7, "2001:db8::/64" ], send: v2 }
firewall:
  backend: nftables
  nftables: { table: gw, ownership: sets, mark: 0x20000000, mask: 0x30000000 }
  pf: { anchor: ftp, tag: ftpdata, queue: bulk }
data: { ports: 50000-60000, pinhole_timeout: 90s, idle_timeout: 10m, on_control_close: keep }
limits: { sessions: 10, sessions_per_client: 2, line_length: 512, pipeline: 8 }
timeouts: { connect: 5s, proxy_header: 2s, login: 1m, idle: 1h30m }
policy: { servers: [ 192.0.2.0/24, "[2001:db8::/32]:2121", "*.example.net:*" ] }
metrics: { listen: "[::1]:9900" }
log: { level: debug, format: json, transfers: null }
control: { socket: null }
user: null
"#;

#[test]
fn every_key_is_read() {
    let config = parse(FULL);
    let [outbound, dmz] = config.listeners.as_slice() else { panic!("{config:?}") };
    assert_eq!(outbound.listen.len(), 2);
    assert_eq!((dmz.mode, dmz.capture), (Mode::Reverse, Capture::Tproxy));
    assert_eq!(dmz.source.address_for(true), Some("2001:db8::1".parse().unwrap()));
    assert_eq!(dmz.server_for(false), Some("192.0.2.10:21".parse().unwrap()));
    assert_eq!(dmz.server_for(true), Some("[2001:db8::10]:2121".parse().unwrap()));
    assert_eq!(dmz.servers[2], "[2001:db8::11]:21".parse().unwrap());
    assert_eq!(dmz.external_for(false), Some("203.0.113.1".parse().unwrap()));
    assert_eq!(dmz.external_for(true), None);
    assert_eq!(dmz.passive_ports, Some(PortRange { low: 50000, high: 50100 }));
    let nftables = &config.firewall.nftables;
    assert_eq!((nftables.table.as_str(), nftables.ownership, nftables.mark), ("gw", Ownership::Sets, 0x2000_0000));
    assert_eq!(config.firewall.pf.tag.as_deref(), Some("ftpdata"));
    assert_eq!(config.data.on_control_close, OnControlClose::Keep);
    assert_eq!(config.timeouts.idle, Duration::from_secs(5400));
    assert_eq!((config.log.level, config.log.format), (Level::Debug, LogFormat::Json));
    assert_eq!((config.control.socket, config.user), (None, None));
}

#[test]
fn what_is_written_back_reads_the_same() {
    for text in [SMALL, FULL, "listeners: [ { name: '007', listen: '[::1]:8021' } ]\nmetrics: null\n", &reverse("")] {
        let config = parse(text);
        let yaml = config.to_yaml();
        assert_eq!(parse(&yaml), config, "{yaml}");
        let json = config.to_json().to_string();
        assert_eq!(parse(&json), config, "JSON is YAML too: {json}");
    }
    let yaml = parse(SMALL).to_yaml();
    for line in
        ["  sessions: 10000", "  pinhole_timeout: 1m", "    mark: '0x10000000'", "  servers: null", "  transfers: null"]
    {
        assert!(yaml.lines().any(|l| l == line), "{line} in\n{yaml}");
    }
}

/// Text, key, line and column, a part of the problem, a part of the remedy.
fn refused(text: &str, key: &str, place: Option<(usize, usize)>, problem: &str, remedy: &str) {
    let error = fault(text);
    assert_eq!(error.key, key, "{error}");
    assert_eq!(error.place.as_ref().map(|place| (place.line, place.column)), place, "{error}");
    assert!(error.problem.contains(problem), "{problem:?} in {error}");
    assert!(error.remedy.contains(remedy), "{remedy:?} in {error}");
}

#[test]
fn the_form_of_the_file_is_checked() {
    refused("", "listeners", Some((1, 1)), "no listener", "add one");
    refused("# nothing\n", "listeners", Some((2, 1)), "no listener", "add one");
    refused("a: 1\n---\nb: 2\n", "a", Some((1, 1)), "unknown key", "known keys here: listeners");
    refused("---\nlisteners: []\n---\nb: 2\n", "", None, "more than one", "---");
    let text = format!("{SMALL}limits:\n  idle_sec: 5\n  sessions: 7\n");
    refused(&text, "limits.idle_sec", Some((3, 3)), "unknown key", "known keys here: sessions, sessions_per_client");
    let text = format!("{SMALL}limits: {{ session: 5 }}\n");
    refused(&text, "limits.session", Some((2, 11)), "unknown key", "did you mean `sessions`?");
    let text = format!("{SMALL}policy:\n  clients: []\n");
    refused(&text, "policy.clients", Some((3, 3)), "unknown key", "known keys here: servers");
    let text = format!("{SMALL}limits: {{ sessions: 1, sessions: 2 }}\n");
    refused(&text, "limits.sessions", Some((2, 9)), "twice", "keep one");
    refused(&format!("{SMALL}log: info\n"), "log", Some((2, 6)), "section of `key: value` pairs", "configuration.md");
    refused(
        &format!("{SMALL}log: {{ level: [ info ] }}\n"),
        "log.level",
        Some((2, 15)),
        "a list where a single value",
        "",
    );
    refused("listeners: x\n", "listeners", Some((1, 12)), "where a sequence is needed", "");
    refused("listeners: [ { listen: { a: 1 } } ]\n", "listeners[0].listen", Some((1, 24)), "a value or a list", "");
    refused("listeners:\n\t- name: x\n", "", Some((2, 1)), "not valid YAML", "no tabs");
    refused("listeners: [\n", "", Some((2, 1)), "not valid YAML", "brackets");
    refused(&format!("{SMALL}user: \"a\x07b\"\n"), "", Some((2, 9)), "control character", "remove it");
    refused("~\n", "", Some((1, 1)), "nothing where a section", "");
    assert!(fault("a: &a [*a]\n").to_string().contains("t.yaml"));
}

#[test]
fn errors_read_well() {
    let text = format!("{SMALL}timeouts:\n  connect: 30s\n  login: 60\n");
    assert_eq!(
        fault(&text).to_string(),
        "t.yaml:4:10: timeouts.login: \"60\" has no unit\n 4 |   login: 60\n   |          ^\n  \
         fix: write the unit, for example 60s for seconds or 60m for minutes"
    );
}

#[test]
fn listeners_are_checked() {
    refused("limits: {}\n", "listeners", Some((1, 1)), "no listener", "add one");
    refused("listeners: []\n", "listeners", Some((1, 12)), "no listener", "8021");
    refused("listeners: [ { name: a } ]\n", "listeners[0].listen", Some((1, 14)), "no address", "listen:");
    refused(
        "listeners: [ { listen: 8021 } ]\n",
        "listeners[0].listen[0]",
        Some((1, 24)),
        "not an address with a port",
        "0.0.0.0",
    );
    refused(
        "listeners: [ { listen: [ 0.0.0.0 ] } ]\n",
        "listeners[0].listen[0]",
        Some((1, 26)),
        "port",
        "\"0.0.0.0:8021\"",
    );
    refused("listeners: [ { listen: \"::\" } ]\n", "listeners[0].listen[0]", Some((1, 24)), "port", "\"[::]:8021\"");
    refused(
        "listeners: [ { listen: localhost:21 } ]\n",
        "listeners[0].listen[0]",
        Some((1, 24)),
        "localhost",
        "not looked up",
    );
    refused(
        "listeners: [ { listen: \"[::ffff:1.2.3.4]:21\" } ]\n",
        "listeners[0].listen[0]",
        Some((1, 24)),
        "IPv4",
        "1.2.3.4",
    );
    refused("listeners: [ { listen: \"0.0.0.0:0\" } ]\n", "listeners[0].listen[0]", Some((1, 24)), "port 0", "8021");
    refused(
        "listeners: [ { name: \"a b\", listen: \"0.0.0.0:1\" } ]\n",
        "listeners[0].name",
        Some((1, 22)),
        "name",
        "letters",
    );
    let two = |a: &str, b: &str| format!("listeners:\n  - {{ {a} }}\n  - {{ {b} }}\n");
    let text = two("name: a, listen: \"0.0.0.0:1\"", "name: a, listen: \"0.0.0.0:2\"");
    refused(&text, "listeners[1].name", Some((3, 13)), "two listeners are called \"a\"", "own name");
    let text = two("listen: \"0.0.0.0:1\"", "listen: [\"[::]:1\", \"127.0.0.1:1\"]");
    refused(&text, "listeners[1].listen[1]", Some((3, 26)), "cannot be had beside 0.0.0.0:1", "another port");
    refused(
        "listeners: [ { listen: [\"1.1.1.1:1\", \"1.1.1.1:1\"] } ]\n",
        "listeners[0].listen[1]",
        Some((1, 38)),
        "beside",
        "port",
    );
    parse(&two("listen: \"0.0.0.0:1\"", "listen: \"[::]:1\""));
}

#[test]
fn modes_need_what_they_need_and_nothing_else() {
    let forward = |line: &str| format!("listeners:\n  - listen: 0.0.0.0:8021\n    {line}\n");
    refused(&forward("mode: backward"), "listeners[0].mode", Some((3, 11)), "\"backward\"", "forward, reverse, login");
    refused(&forward("capture: divert"), "listeners[0].capture", Some((3, 14)), "OpenBSD's", "redirect or tproxy");
    refused(&forward("capture: direct"), "listeners[0].capture", Some((3, 14)), "name no server", "mode: reverse");
    refused(&forward("mode: reverse"), "listeners[0].server", Some((2, 5)), "needs to know the server", "server:");
    refused(&forward("server: 192.0.2.1"), "listeners[0].server", Some((3, 13)), "client chooses", "remove `server`");
    refused(
        &forward("external_address: 192.0.2.1"),
        "listeners[0].external_address",
        Some((3, 23)),
        "no address",
        "source",
    );
    refused(&forward("ftps: bridge"), "listeners[0].ftps", Some((3, 11)), "bridge", "ftps: pass");
    for kind in ["interface:eth0", "file:/a", "dns:example.net"] {
        let text = reverse(&format!("external_address: \"{kind}\""));
        refused(&text, "listeners[0].external_address[0]", Some((6, 23)), "yet", "the address itself");
    }
    let text = reverse("external_address: [ 203.0.113.1, 203.0.113.2 ]");
    refused(&text, "listeners[0].external_address[1]", Some((6, 38)), "second address", "one IPv4 and one IPv6");
    let text = reverse("external_address: 0.0.0.0");
    refused(&text, "listeners[0].external_address[0]", Some((6, 23)), "no address of a host", "");
    let text = reverse("").replace("192.0.2.10:21", "ftp.example.net");
    refused(&text, "listeners[0].server[0]", Some((5, 13)), "not an address", "not looked up");
    let text = reverse("").replace("192.0.2.10:21", "0.0.0.0:21");
    refused(&text, "listeners[0].server[0]", Some((5, 13)), "nobody can connect", "own address");
}

#[test]
fn sources_are_checked() {
    let with = |capture: &str, source: &str| reverse(&format!("capture: {capture}\n    source: {source}"));
    assert_eq!(parse(&with("tproxy", "client")).listeners[0].source, Source::Client);
    assert_eq!(parse(&with("redirect", "client")).listeners[0].source, Source::Client);
    let key = "listeners[0].source";
    refused(&with("direct", "client"), key, Some((7, 13)), "capture rule", "tproxy or redirect");
    refused(&with("direct", "gatway"), &format!("{key}[0]"), Some((7, 13)), "\"gatway\"", "gateway, client, or");
    refused(
        &with("direct", "[ 192.0.2.1, client ]"),
        &format!("{key}[1]"),
        Some((7, 26)),
        "\"client\"",
        "gateway, client, or",
    );
    refused(
        &with("direct", "[ 192.0.2.1, 192.0.2.2 ]"),
        &format!("{key}[1]"),
        Some((7, 26)),
        "second",
        "one listener each",
    );
}

#[test]
fn firewalls_are_checked() {
    let with = |line: &str| format!("{SMALL}firewall:\n  {line}\n");
    refused(&with("backend: pf"), "firewall.backend", Some((3, 12)), "this is neither", "firewall.pf.dialect");
    refused(&with("backend: iptables"), "firewall.backend", Some((3, 12)), "iptables", "nftables, pf, relay, dry-run");
    let key = "firewall.nftables.table";
    for name in ["a;b", "9a", "a-b", "a b", "\"\"", "\"{}\"", "ä", "a12345678901234567890123456789012"] {
        refused(
            &with(&format!("nftables: {{ table: {name} }}")),
            key,
            Some((3, 22)),
            "cannot be the name",
            "32 characters",
        );
    }
    let mark = "firewall.nftables.mark";
    refused(&with("nftables: { mark: 0 }"), mark, Some((3, 21)), "mark of 0", "0x10000000");
    refused(
        &with("nftables: { mark: 0x30, mask: 0x10 }"),
        mark,
        Some((3, 21)),
        "bits outside the mask 0x10",
        "mask to 0x30",
    );
    refused(
        &with("nftables: { mask: 0x10 }"),
        "firewall.nftables.mask",
        Some((3, 21)),
        "outside",
        "mask to 0x10000010",
    );
    for number in ["-1", "0x100000000", "red", "0x+1", "1.5"] {
        refused(&with(&format!("nftables: {{ mark: {number} }}")), mark, Some((3, 21)), "32-bit", "hexadecimal");
    }
    let config = parse(&with("nftables: { mark: 256 }"));
    assert_eq!((config.firewall.nftables.mark, config.firewall.nftables.mask), (256, 256));
    refused(&with("pf: { tag: \"a b\" }"), "firewall.pf.tag", Some((3, 14)), "name", "letter");
    refused(&with("pf: { anchor: \"a/*\" }"), "firewall.pf.anchor", Some((3, 17)), "name", "letter");
    refused(&with("pf: { log: maybe }"), "firewall.pf.log", Some((3, 14)), "maybe", "true or false");
    refused(&with("pf: { rtable: 65536 }"), "firewall.pf.rtable", Some((3, 17)), "out of range", "65535");
    refused(
        &with("pf: { dialect: openbsd, queue: q }"),
        "firewall.pf.queue",
        Some((3, 34)),
        "takes no queue",
        "tagged TAG",
    );
    refused(&with("pf: { dialect: netbsd }"), "firewall.pf.dialect", Some((3, 18)), "netbsd", "freebsd, openbsd");
    refused(&with("pf: { pfctl: pfctl }"), "firewall.pf.pfctl", Some((3, 16)), "absolute", "root");
}

#[test]
fn a_file_for_pf_can_be_read_on_linux_when_it_says_whose() {
    let with = |data: &str| {
        format!("{SMALL}firewall: {{ backend: pf, pf: {{ dialect: openbsd, anchor: ftp-proxy }} }}\n{data}")
    };
    let config = parse(&with(""));
    assert_eq!(config.firewall.pf.dialect, Some(Dialect::OpenBsd));
    assert_eq!((config.firewall.pf.anchor.as_str(), config.data.tracking), ("ftp-proxy", Tracking::States));
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(parse(&config.to_yaml()), config);
    let conntrack = with("data: { tracking: conntrack }\n");
    refused(&conntrack, "data.tracking", Some((3, 19)), "backend: pf", "states or off");
    let states = format!("{SMALL}data: {{ tracking: states }}\n");
    refused(&states, "data.tracking", Some((2, 19)), "backend: nftables", "conntrack or off");
    let enable = parse(&with("data: { accounting: enable }\n"));
    assert!(enable.warnings().iter().any(|warning| warning.contains("pf always counts")));
}

#[test]
fn how_connections_get_here_depends_on_the_system_that_the_file_is_for() {
    let with = |firewall: &str, line: &str| {
        format!("listeners:\n  - listen: 0.0.0.0:8021\n    {line}\nfirewall: {{ {firewall} }}\n")
    };
    let pf = |dialect: &str| format!("backend: pf, pf: {{ dialect: {dialect} }}");
    for (dialect, usual, other) in [("freebsd", Capture::Redirect, "divert"), ("openbsd", Capture::Divert, "redirect")]
    {
        let config = parse(&with(&pf(dialect), "mode: forward"));
        assert_eq!(config.listeners[0].capture, usual, "the default on {dialect}");
        assert_eq!(parse(&config.to_yaml()), config);
        for (word, instead) in [(other, usual.as_str()), ("tproxy", usual.as_str())] {
            let text = with(&pf(dialect), &format!("capture: {word}"));
            refused(&text, "listeners[0].capture", Some((3, 14)), "", &format!("use {instead}"));
        }
    }
    // Who opens no pinholes needs to be told where a connection was going all the same, by this system.
    refused(&with("backend: dry-run", "capture: divert"), "listeners[0].capture", Some((3, 14)), "OpenBSD's", "Linux");
    // A listener's fault is told first, as it stands first in the file.
    refused(&with("backend: pf", "capture: divert"), "listeners[0].capture", Some((3, 14)), "OpenBSD's", "Linux");
}

#[test]
fn numbers_times_and_names_are_checked() {
    let with = |line: &str| format!("{SMALL}{line}\n");
    refused(&with("data: { ports: 80-90 }"), "data.ports", Some((2, 16)), "below 1024", "1024");
    refused(&with("data: { ports: 5000-4000 }"), "data.ports", Some((2, 16)), "ends below", "4000-5000");
    refused(&with("limits: { sessions: 0 }"), "limits.sessions", Some((2, 21)), "out of range", "from 1");
    refused(&with("limits: { sessions: many }"), "limits.sessions", Some((2, 21)), "\"many\"", "whole number");
    refused(&with("limits: { sessions: -1 }"), "limits.sessions", Some((2, 21)), "\"-1\"", "whole number");
    refused(&with("limits: { line_length: 63 }"), "limits.line_length", Some((2, 24)), "63", "64 to 65536");
    refused(&with("limits: { pipeline: 1025 }"), "limits.pipeline", Some((2, 21)), "1025", "1 to 1024");
    refused(&with("timeouts: { idle: 0s }"), "timeouts.idle", Some((2, 19)), "above zero", "30s");
    refused(&with("timeouts: { idle: soon }"), "timeouts.idle", Some((2, 19)), "not a duration", "5m");
    refused(
        &with("data: { on_control_close: wait }"),
        "data.on_control_close",
        Some((2, 27)),
        "wait",
        "reset, drain, keep",
    );
    refused(&with("data: { tracking: on }"), "data.tracking", Some((2, 19)), "\"on\"", "conntrack, states, relay, off");
    refused(&with("metrics: { listen: 9821 }"), "metrics.listen", Some((2, 20)), "not an address", "");
    refused(&with("log: { level: loud }"), "log.level", Some((2, 15)), "loud", "error, warn, info, debug, trace");
    refused(&with("log: { transfers: xferlog }"), "log.transfers", Some((2, 19)), "absolute", "null");
    refused(&with("control: { socket: run/x }"), "control.socket", Some((2, 20)), "absolute", "null");
    refused(&with("user: \"a b\""), "user", Some((2, 7)), "user", "null");
    refused(&with("user: \"\""), "user", Some((2, 7)), "user", "null");
}

#[test]
fn what_has_no_effect_or_is_unwise_is_said() {
    let warnings = parse(FULL).warnings().join("\n");
    assert!(warnings.contains("firewall.pf has no effect with firewall.backend: nftables"), "{warnings}");
    let text = format!(
        "{}data: {{ pinhole_timeout: 2s }}\ntimeouts: {{ idle: 1m }}\nuser: www\ncontrol: {{ socket: /a }}\nfirewall: {{ backend: dry-run }}\n",
        reverse("").replace("0.0.0.0:8022", "[ \"0.0.0.0:8022\", \"[::]:8022\" ]")
    );
    let warnings = parse(&text).warnings();
    for part in
        ["timeouts.idle is 1m", "pinhole_timeout is 2s", "user has", "control.socket has", "dry-run", "no IPv6 server"]
    {
        assert_eq!(warnings.iter().filter(|warning| warning.contains(part)).count(), 1, "{part} in {warnings:#?}");
    }
    assert_eq!(warnings.len(), 6);
}

#[test]
fn what_needs_tracking_is_said_to_have_no_effect_without_it() {
    let with = |data: &str| parse(&format!("{SMALL}data: {{ tracking: off{data} }}\n"));
    assert_eq!(with("").data.tracking, Tracking::Off);
    assert_eq!(with("").warnings(), Vec::<String>::new());
    assert_eq!(Config::parse(&with("").to_yaml(), "back").unwrap(), with(""));
    for (set, key) in [
        (", idle_timeout: 10m", "data.idle_timeout"),
        (", on_control_close: drain", "data.on_control_close"),
        (", drain_timeout: 1m", "data.drain_timeout"),
        (", accounting: enable", "data.accounting"),
    ] {
        let warnings = with(set).warnings();
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].starts_with(&format!("{key} has no effect with data.tracking: off")), "{warnings:?}");
    }
}

#[test]
fn a_reload_tells_what_it_can_change() {
    let old = parse(SMALL);
    assert_eq!(reload_changes(&old, &old), ReloadChanges::default());
    let new = parse(
        "listeners: [ { listen: [ 0.0.0.0:8021, 0.0.0.0:8023 ] }, { listen: 0.0.0.0:9 } ]\nlimits: { pipeline: 4 }\n\
         timeouts: { login: 1m }\nlog: { level: warn, format: json }\nmetrics: null\ndata: { ports: 2000-3000 }\n",
    );
    let changes = reload_changes(&old, &new);
    assert_eq!(changes.live, ["limits.pipeline", "log.level", "timeouts.login"]);
    for key in ["data.ports", "listeners[0].listen", "listeners[1].name", "log.format", "metrics"] {
        assert!(changes.needs_restart.iter().any(|k| k == key), "{key} in {changes:?}");
    }
}

#[test]
fn arguments_make_a_gateway_in_front_of_a_server() {
    let strings = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let from = |listen: &[&str], server: &[&str], backend, metrics| {
        Config::from_arguments(&strings(listen), &strings(server), backend, metrics)
    };
    let config = from(&["127.0.0.1:2121"], &["192.0.2.10"], Some("dry-run"), None).unwrap();
    assert_eq!((config.listeners[0].mode, config.listeners[0].capture), (Mode::Reverse, Capture::Direct));
    assert_eq!(config.listeners[0].servers, ["192.0.2.10:21".parse().unwrap()]);
    assert_eq!((config.firewall.backend, config.metrics), (Backend::DryRun, None));
    assert!(from(&["127.0.0.1:2121"], &["192.0.2.10"], None, Some("127.0.0.1:1")).unwrap().metrics.is_some());
    for (result, key) in [
        (from(&["2121"], &["192.0.2.10"], None, None), "--listen"),
        (from(&["127.0.0.1:2121"], &["ftp.example.net"], None, None), "--server"),
        (from(&["127.0.0.1:2121"], &["192.0.2.10"], Some("iptables"), None), "--backend"),
        (from(&["127.0.0.1:2121"], &["192.0.2.10"], None, Some("x")), "--metrics"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.key, key);
        assert!(error.to_string().starts_with("command line: --"), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said_so() {
    let error = Config::load(Path::new("/nonexistent/ftpgate.yaml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/ftpgate.yaml: cannot be read"), "{error}");
    assert!(error.remedy.contains("-c FILE"));
}
