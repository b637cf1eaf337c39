//! Tests of the list of servers: every notation, what each allows, and where no name or network may lead.

use super::*;

fn list(entries: &[&str]) -> Servers {
    let parse = |text: &&str| Entry::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
    Servers::new(entries.iter().map(parse).collect())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Whether a client gets there that writes the address.
fn by_address(servers: &Servers, address: &str, port: u16) -> bool {
    let host = Host::Address(ip(address));
    let allowed = servers.allows(&host, ip(address), port, false);
    assert_eq!(servers.may_allow(&host, port) && !is_special(ip(address)), allowed && !is_special(ip(address)));
    allowed
}

/// Whether a client gets there that writes the name, which leads to the address.
fn by_name(servers: &Servers, name: &str, address: &str, port: u16) -> bool {
    servers.allows(&Host::Name(name.to_owned()), ip(address), port, false)
}

#[test]
fn entries_are_read_and_written_back() {
    for (text, written) in [
        ("192.0.2.10", "192.0.2.10"),
        ("192.0.2.10/32", "192.0.2.10"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.0/24:2121", "192.0.2.0/24:2121"),
        ("192.0.2.10:21", "192.0.2.10"),
        ("192.0.2.10:*", "192.0.2.10:*"),
        ("192.0.2.10:1-65535", "192.0.2.10:*"),
        ("2001:db8::10", "2001:db8::10"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("[2001:db8::10]", "2001:db8::10"),
        ("[2001:db8::10]:2121", "[2001:db8::10]:2121"),
        ("[2001:db8::/32]:2000-2999", "[2001:db8::/32]:2000-2999"),
        ("ftp.example.net", "ftp.example.net"),
        ("FTP.Example.NET.:2121", "ftp.example.net:2121"),
        ("*.example.net:*", "*.example.net:*"),
        ("*.net", "*.net"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ] {
        let entry = Entry::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault:?}"));
        assert_eq!(entry.to_string(), written);
        assert_eq!(Entry::parse(written), Ok(entry));
    }
}

#[test]
fn what_is_no_entry_is_refused_with_what_to_write() {
    for (text, problem, remedy) in [
        ("", "neither", "192.0.2.10"),
        ("*", "neither", "0.0.0.0/0 and ::/0"),
        ("*.", "neither", ""),
        ("*example.net", "neither", "*.example.net"),
        ("ftp.*.net", "neither", ""),
        ("*.*.net", "neither", ""),
        ("a b", "neither", ""),
        ("127.1", "neither", ""),
        ("0x7f.1", "neither", ""),
        ("192.0.2.0/33", "neither", ""),
        ("[192.0.2.1]:21", "neither", ""),
        ("[ftp.example.net]:21", "neither", ""),
        ("[2001:db8::1", "neither", ""),
        ("[2001:db8::1]2121", "neither", ""),
        ("ftp://ftp.example.net", "nor a range", ":2121"),
        ("ftp.example.net:0", "nor a range", ":*"),
        ("ftp.example.net:", "nor a range", ""),
        ("ftp.example.net:70000", "nor a range", ""),
        ("ftp.example.net:22-21", "nor a range", ""),
        ("ftp.example.net:+21", "nor a range", ""),
        ("192.0.2.1/24", "behind its prefix", "192.0.2.0/24"),
        ("[2001:db8::1/32]:21", "behind its prefix", "2001:db8::/32"),
        ("::ffff:192.0.2.1", "written as IPv6", "192.0.2.1"),
    ] {
        let fault = Entry::parse(text).expect_err(text);
        assert!(fault.problem.contains(problem) && fault.remedy.contains(remedy), "{text}: {fault:?}");
    }
}

#[test]
fn addresses_and_ports_are_allowed_as_they_are_listed() {
    let servers = list(&["192.0.2.0/24", "198.51.100.7:2121", "[2001:db8::/32]:2000-2999", "203.0.113.9:*"]);
    for (address, port, expected) in [
        ("192.0.2.1", 21, true),
        ("192.0.2.255", 21, true),
        ("192.0.3.1", 21, false),
        ("192.0.2.1", 22, false),
        ("192.0.2.1", 2121, false),
        ("198.51.100.7", 2121, true),
        ("198.51.100.7", 21, false),
        ("198.51.100.8", 2121, false),
        ("2001:db8::1", 2000, true),
        ("2001:db8::1", 2999, true),
        ("2001:db8::1", 3000, false),
        ("2001:db8::1", 21, false),
        ("2001:db9::1", 2000, false),
        ("203.0.113.9", 1, true),
        ("203.0.113.9", 65535, true),
    ] {
        assert_eq!(by_address(&servers, address, port), expected, "{address} {port}");
        // A name that leads there is as good, and no better.
        assert_eq!(by_name(&servers, "any.example", address, port), expected, "{address} {port}");
    }
    assert!(!by_address(&Servers::default(), "192.0.2.1", 21), "an empty list allows nothing");
}

#[test]
fn names_are_compared_whole_and_below_means_below() {
    let servers = list(&["ftp.example.net", "*.example.org", "two.example.net:2121"]);
    let host = |name: &str| Host::Name(host_name(name).unwrap());
    for (name, port, expected) in [
        ("ftp.example.net", 21, true),
        ("FTP.EXAMPLE.net.", 21, true),
        ("ftp.example.net", 2121, false),
        ("two.example.net", 2121, true),
        ("two.example.net", 21, false),
        ("xftp.example.net", 21, false),
        ("a.ftp.example.net", 21, false),
        ("ftp.example.net.evil.example", 21, false),
        ("example.net", 21, false),
        ("a.example.org", 21, true),
        ("a.b.example.org", 21, true),
        ("example.org", 21, false),
        ("aexample.org", 21, false),
        ("a.example.org.evil", 21, false),
    ] {
        assert_eq!(servers.may_allow(&host(name), port), expected, "{name} {port}: is it looked up?");
        assert_eq!(servers.names(&host(name), port), expected, "{name} {port}");
        assert_eq!(servers.allows(&host(name), ip("192.0.2.1"), port, false), expected, "{name} {port}");
        // Whoever has the address of such a host has not its name.
        assert!(!by_address(&servers, "192.0.2.1", port));
    }
    // With an address in the list any name could lead to it, but only for its port.
    let servers = list(&["192.0.2.1:2121", "ftp.example.net"]);
    assert!(servers.may_allow(&host("any.example"), 2121) && !servers.names(&host("any.example"), 2121));
    assert!(!servers.may_allow(&host("any.example"), 21));
}

const SPECIAL: &[&str] = &[
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.255",
    "169.254.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::127.0.0.1",
    "fe80::1",
    "febf::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
];

#[test]
fn no_name_and_no_wide_network_leads_to_special_addresses() {
    let servers = list(&[
        "*.example.net:*",
        "0.0.0.0/0:*",
        "[::/0]:*",
        "0.0.0.0/1:*",
        "126.0.0.0/7:*",
        "[fe00::/7]:*",
        "[::/96]:*",
        "[64:ff9b::/96]:*",
        "[2002::/16]:*",
    ]);
    for address in SPECIAL {
        assert!(is_special(ip(address)), "{address}");
        for port in [1, 21, 2121] {
            assert!(!by_name(&servers, "rebound.example.net", address, port), "{address}");
            assert!(!by_address(&servers, address, port), "{address}");
        }
    }
    for address in [
        "1.0.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "223.255.255.255",
        "10.0.0.1",
        "2001:db8::1",
        "fec0::1",
        "fd00::1",
        "64:ff9b::102:304",
        "2002:102:304::1",
    ] {
        assert!(!is_special(ip(address)), "{address}");
        assert!(by_name(&servers, "ftp.example.net", address, 21) && by_address(&servers, address, 21), "{address}");
    }
}

#[test]
fn special_addresses_can_be_listed_for_their_own_sake() {
    let servers = list(&["127.0.0.0/8", "::1", "169.254.7.7", "fe80::/64"]);
    for address in ["127.0.0.1", "127.9.9.9", "::1", "169.254.7.7", "fe80::5"] {
        assert!(by_address(&servers, address, 21) && by_name(&servers, "any", address, 21), "{address}");
    }
    for address in ["169.254.169.254", "fe80:1::1", "0.0.0.0", "::"] {
        assert!(!by_address(&servers, address, 21), "{address}");
    }
}

#[test]
fn this_host_is_reached_only_if_its_very_address_is_listed() {
    let (own, host) = (ip("10.0.0.1"), Host::Name("gw.example.net".to_owned()));
    for entries in [&["10.0.0.0/8"][..], &["0.0.0.0/0"], &["gw.example.net"], &["*.example.net", "10.0.0.0/31"]] {
        let servers = list(entries);
        assert!(servers.allows(&host, own, 21, false), "{entries:?}: were it another host's");
        assert!(!servers.allows(&host, own, 21, true), "{entries:?}");
        assert!(!servers.allows(&Host::Address(own), own, 21, true), "{entries:?}");
    }
    let servers = list(&["10.0.0.1"]);
    assert!(servers.allows(&host, own, 21, true) && servers.allows(&Host::Address(own), own, 21, true));
    assert!(!servers.allows(&host, own, 2121, true));
    // Loopback is this host's too.
    for (entry, expected) in
        [("0.0.0.0/0", false), ("gw.example.net", false), ("127.0.0.0/8", true), ("127.0.0.1", true)]
    {
        assert_eq!(list(&[entry]).allows(&host, ip("127.0.0.1"), 21, true), expected, "{entry}");
    }
    // Link-local addresses of its own are no better than its others.
    assert!(!list(&["fe80::/64"]).allows(&host, ip("fe80::1"), 21, true));
}
