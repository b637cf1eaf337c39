//! Tests of `ftps: terminate` and its section `tls`.

use super::*;

fn with(lines: &str, firewall: &str) -> String {
    let reverse = "mode: reverse\n    capture: direct\n    server: 192.0.2.10";
    format!("listeners:\n  - listen: 0.0.0.0:21\n    {lines}\n    {reverse}\nfirewall: {{ backend: {firewall} }}\n")
}

const PAIR: &str = "certificate: /c.pem, key: /k.pem";

fn section(more: &str) -> String {
    with(&format!("tls: {{ {PAIR}{more} }}\n    ftps: terminate"), "relay")
}

#[test]
fn a_section_is_read_with_its_defaults_and_written_back() {
    let config = parse(&section(""));
    assert_eq!(Config::parse(&config.to_yaml(), "back").unwrap(), config);
    assert_eq!((config.listeners[0].ftps, config.warnings()), (Ftps::Terminate, Vec::new()));
    let plain = Tls {
        certificate: "/c.pem".into(),
        key: "/k.pem".into(),
        implicit: false,
        require: false,
        ccc: false,
        server: ServerTls::Plain,
        server_ca: None,
        server_name: None,
        server_verify: true,
    };
    assert_eq!(config.listeners[0].tls, Some(plain.clone()));
    let config = parse(&section(
        ", implicit: true, require: true, ccc: true, server: explicit, server_ca: /s.pem, server_name: ftp.example.net",
    ));
    assert_eq!(Config::parse(&config.to_yaml(), "back").unwrap(), config);
    let full = Tls {
        implicit: true,
        require: true,
        ccc: true,
        server: ServerTls::Explicit,
        server_ca: Some("/s.pem".into()),
        server_name: Some("ftp.example.net".into()),
        ..plain
    };
    assert_eq!(config.listeners[0].tls, Some(full));
    assert!(
        !parse(&section(", server: explicit, server_verify: false")).listeners[0].tls.as_ref().unwrap().server_verify
    );
    let behind = with(&format!("data: relay\n    tls: {{ {PAIR} }}\n    ftps: terminate"), "nftables");
    assert!(parse(&behind).listeners[0].tls.is_some());
}

#[test]
fn what_cannot_be_is_refused_with_what_to_write_instead() {
    let faulty = |text: &str, key: &str, problem: &str, remedy: &str| {
        let error = Config::parse(text, "t.yaml").expect_err(text);
        assert_eq!(error.key, format!("listeners[0].{key}"), "{error}");
        assert!(error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
    };
    let bare = |lines: &str| with(lines, "relay");
    faulty(&bare(&format!("tls: {{ {PAIR} }}")), "tls", "here none does", "ftps: terminate");
    faulty(&bare("ftps: terminate"), "tls.certificate", "needs a certificate", "key.pem");
    faulty(&bare("ftps: terminate\n    tls: { certificate: /c.pem }"), "tls.key", "needs a certificate", "key.pem");
    faulty(&bare("ftps: terminate\n    tls: { certificate: c.pem }"), "tls.certificate", "absolute", "from the root");
    faulty(&section(", client_ca: /a.pem"), "tls.client_ca", "unknown key", "certificate");
    faulty(&section(", require: maybe"), "tls.require", "\"maybe\"", "true or false");
    faulty(&section(", server: implicit"), "tls.server", "\"implicit\"", "plain, explicit");
    faulty(&section(", server: explicit"), "tls.server", "nothing says", "server_ca");
    faulty(&section(", server_ca: /s.pem"), "tls.server_ca", "clear text", "server: explicit");
    faulty(&section(", server_name: a.example"), "tls.server_name", "clear text", "server: explicit");
    let unverified = section(", server: explicit, server_verify: false, server_ca: /s.pem");
    faulty(&unverified, "tls.server_ca", "not looked at", "one of the two");
    let filtered = section("").replace("backend: relay", "backend: nftables");
    faulty(&filtered, "ftps", "packet filter cannot", "data: relay");
    let own = |mode: &str| {
        format!(
            "listeners:\n  - {{ listen: \"0.0.0.0:21\", {mode}, ftps: terminate }}\nfirewall: {{ backend: relay }}\n"
        )
    };
    faulty(&own("mode: forward"), "ftps", "no certificate", "mode: reverse");
    let login = own("mode: login").replace("ftps:", "policy: { servers: 192.0.2.0/24 }, ftps:");
    faulty(&login, "ftps", "before they name", "mode: reverse");
}
