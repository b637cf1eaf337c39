//! Tests of `mode: login` and of `policy.servers`: what there must be, what makes no sense, whose list counts.

use super::{Backend, Capture, Config, Mode, fault, parse, refused};

fn login(lines: &str) -> String {
    format!("listeners:\n  - listen: 0.0.0.0:2121\n    mode: login\n{lines}\n")
}

fn entries(config: &Config, listener: usize) -> Option<Vec<String>> {
    let servers = config.servers_for(&config.listeners[listener])?;
    Some(servers.entries().iter().map(ToString::to_string).collect())
}

#[test]
fn login_mode_is_dialled_and_needs_a_list() {
    let key = "listeners[0].mode";
    refused(&login(""), key, Some((3, 11)), "go nowhere until policy.servers lists", "policy: { servers:");
    refused(&login("policy: {}"), key, Some((3, 11)), "go nowhere", "");
    let text = login("    policy: { servers: [] }");
    refused(&text, "listeners[0].policy.servers", Some((4, 24)), "lets nobody go anywhere", "remove the key");
    let config = parse(&login("    policy: { servers: ftp.example.net }"));
    assert_eq!((config.listeners[0].mode, config.listeners[0].capture), (Mode::Login, Capture::Direct));
    assert_eq!(config.warnings(), Vec::<String>::new());
    assert_eq!(parse(&config.to_yaml()), config);
    // Any port will do, and an address to announce.
    parse(&login("    policy: { servers: \"::/0\" }").replace(":2121", ":0"));
    parse(&login("    external_address: 203.0.113.1\npolicy: { servers: 0.0.0.0/0 }"));
}

#[test]
fn what_makes_no_sense_in_login_mode_is_refused_with_what_to_write_instead() {
    for (line, key, problem, remedy) in [
        ("server: 192.0.2.1", "server", "the client names the server", "policy: { servers"),
        ("capture: redirect", "capture", "dial the gateway itself", "mode: forward"),
        ("capture: tproxy", "capture", "dial the gateway itself", "remove `capture`"),
        ("source: client", "source", "capture rule", "source: gateway"),
        (
            "proxy_protocol: { send: v1 }",
            "proxy_protocol.send",
            "in mode: login servers are other people's",
            "remove send",
        ),
    ] {
        let error = fault(&login(&format!("    {line}\npolicy: {{ servers: 192.0.2.1 }}")));
        assert_eq!(error.key, format!("listeners[0].{key}"), "{error}");
        assert!(error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
    }
    parse(&login("    proxy_protocol: { accept_from: 192.0.2.7 }\npolicy: { servers: 192.0.2.1 }"));
}

#[test]
fn a_listeners_own_list_counts_instead_of_that_of_all() {
    let text = "listeners:\n  - { name: a, listen: \"0.0.0.0:1\", mode: login }\n  - { name: b, listen: \"0.0.0.0:2\", mode: login, \
                policy: { servers: [ FTP.example.org., \"[2001:db8::1]:*\" ] } }\n  - { name: c, listen: \"0.0.0.0:3\" }\n  - { name: d, \
                listen: \"0.0.0.0:4\", mode: reverse, server: 192.0.2.1 }\npolicy: { servers: 192.0.2.0/24 }\n";
    let config = parse(text);
    let list = |entries: &[&str]| Some(entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>());
    assert_eq!(entries(&config, 0), list(&["192.0.2.0/24"]));
    assert_eq!(entries(&config, 1), list(&["ftp.example.org", "[2001:db8::1]:*"]));
    assert_eq!(entries(&config, 2), list(&["192.0.2.0/24"]));
    assert_eq!(entries(&config, 3), None);
    assert_eq!(parse(&config.to_yaml()), config);
    assert_eq!(entries(&parse(super::SMALL), 0), None);
}

#[test]
fn entries_and_their_places_are_checked() {
    let text = format!("{}policy:\n  servers: [ 192.0.2.1, \"ftp.example.net:0\" ]\n", super::SMALL);
    refused(&text, "policy.servers[1]", Some((3, 25)), "nor a range of ports", ":2121");
    let text = login("    policy: { servers: 127.1 }");
    refused(&text, "listeners[0].policy.servers[0]", Some((4, 24)), "neither an address", "*.example.net");
    let text = super::reverse("policy: { servers: 192.0.2.1 }");
    let error = fault(&text);
    assert_eq!(error.key, "listeners[0].policy.servers");
    assert!(error.problem.contains("go to `server` and nowhere else"), "{error}");
    // Everything is allowed to be allowed.
    let config = parse(&login("    policy: { servers: [ ftp.example.net, \"::/0\" ] }"));
    assert!(matches!(&config.warnings()[..], [one] if one.contains("every server there is")));
    // In forward mode there are only addresses to compare with.
    let config = parse(&format!("{}policy: {{ servers: [ 192.0.2.1, ftp.example.net ] }}\n", super::SMALL));
    assert!(matches!(&config.warnings()[..], [one] if one.contains("allow nothing at listener listener1")));
}

/// With pf the daemon lives where no name can be looked up.
#[test]
fn names_are_refused_where_they_cannot_be_looked_up() {
    let pf = "firewall: { backend: pf, pf: { dialect: openbsd } }\n";
    let text = login(&format!("    policy: {{ servers: [ 192.0.2.1, ftp.example.net ] }}\n{pf}"));
    refused(&text, "listeners[0].policy.servers[1]", Some((4, 37)), "no name can be looked up", "backend: relay");
    let text = login(&format!("policy: {{ servers: \"*.example.net\" }}\n{pf}"));
    refused(&text, "policy.servers[0]", Some((4, 20)), "no name can be looked up", "list addresses");
    let config = parse(&login(&format!("policy: {{ servers: 192.0.2.1 }}\n{pf}")));
    assert_eq!(config.firewall.backend, Backend::Pf);
}
