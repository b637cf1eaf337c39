//! The PROXY protocol with real HAProxy: in front of the gateway and in front of the server, both versions, both families.
//!
//! Every test looks for the client's true address where it has to be: in the log, at the pinhole, at the server. Not here: headers
//! that are wrong (`proxy_headers.rs`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::control::{Control, announced_227, data_connection};
use crate::lab::fake_server::{FakeServer, let_in, next_command};
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::ftpgate::{Config, Ftpgate, Metrics};
use crate::lab::haproxy::Haproxy;
use crate::lab::host::Host;
use crate::lab::scene::start_all;
use crate::lab::server::{LARGE, PASSWORD, STORED, Server, ServerKind};
use crate::lab::topology::{Lab, Topology, accept_ftp};
use crate::lab::{Family, wait_for};

/// The example of reverse mode, with this in the section.
fn with_section(config: Config, section: &str) -> Config {
    config.replacing("mode: reverse", &format!("mode: reverse\n    proxy_protocol: {{ {section} }}"))
}

/// Where HAProxy listens on its own.
const FRONT: u16 = 2121;

/// curl: a listing, and then a fetched and a stored file, which must be whole.
fn list_fetch_store(client: &Host, from: &str, server: &Server, to: SocketAddr, options: &[&str]) {
    let folder = Folder::new();
    let (fetched, url, login) =
        (folder.file("fetched"), format!("ftp://{to}/"), format!("{}:{PASSWORD}", server.user()));
    let common = ["curl", "-s", "-S", "--max-time", "15", "--interface", from, "--user", &login];
    let curl = |more: &[&str]| {
        let args: Vec<&str> = common.iter().chain(options).chain(more).copied().collect();
        client.run(&args).expect_ok()
    };
    assert!(curl(&[&url]).contains(LARGE), "the listing");
    curl(&["-o", &fetched.to_string_lossy(), &format!("{url}{LARGE}")]);
    assert!(std::fs::read(&fetched).unwrap() == noise(1, MIB), "the file that was fetched");
    let content = noise(7, 100_000);
    let source = folder.write("source", &content);
    curl(&["-T", &source.to_string_lossy(), &format!("{url}{STORED}")]);
    server.wait_for_content(STORED, &content);
}

/// The lines that tell of a session's begin, with this in them; so many.
fn opened(ftpgate: &Ftpgate, with: &str, count: usize) -> Vec<String> {
    let all = wait_for(&format!("{count} sessions with {with:?} on the log"), Duration::from_secs(5), || {
        let log = ftpgate.daemon.log().into_iter();
        let all: Vec<_> = log.filter(|line| line.contains("session opened") && line.contains(with)).collect();
        (all.len() >= count).then_some(all)
    });
    assert_eq!(all.len(), count, "{all:#?}");
    all
}

/// HAProxy on the gateway, ftpgate behind it on loopback: every mode of every client works, with no address to configure.
fn on_the_gateway(send: &str, change: impl Fn(Config) -> Config) {
    let lab = Lab::new(Topology::Reverse);
    lab.gateway()
        .run(&["nft", "add", "rule", "inet", "gateway", "input", "tcp", "dport", "2121", "accept"])
        .expect_ok();
    // For data connections that are relayed; nobody else has the mark.
    lab.gateway()
        .run(&["nft", "add", "rule", "inet", "gateway", "input", "ct", "mark", "&", "0x10000000", "!=", "0", "accept"])
        .expect_ok();
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let ftpgates = start_all(&lab, |config| change(with_section(config, "accept_from: 127.0.0.1")));
    // Over IPv4 for clients of both families: what counts is the header.
    let section = format!(
        "listen ftp\n    bind 0.0.0.0:{FRONT}\n    bind [::]:{FRONT} v6only\n    server gateway 127.0.0.1:8022 {send} check check-send-proxy inter 100ms\n"
    );
    let _haproxy = Haproxy::start(lab.gateway(), FRONT, &section);
    for family in Family::ALL {
        let front = SocketAddr::new(lab.dialled(family), FRONT);
        let client = lab.client_address(family).to_string();
        for mode in [&[][..], &["--disable-epsv"], &["--ftp-port", "-"]] {
            list_fetch_store(&lab.client, &client, &server, front, mode);
        }
        let ours = opened(&ftpgates[0], &format!("original={front} "), 9);
        for line in ours {
            let true_client = format!("client={}", SocketAddr::new(lab.client_address(family), 0));
            assert!(line.contains(true_client.strip_suffix('0').unwrap()) && line.contains("via=127.0.0.1:"), "{line}");
        }
    }
    // Around HAProxy nobody gets in: the redirect of reverse.nft still leads to the listener.
    let mut stranger = Control::connect(&lab.client, lab.ftp(Family::V4));
    stranger.expect_end();
    let metrics = Metrics::read(lab.gateway());
    let rejected = |reason| metrics.sum("ftpgate_connections_rejected_total", &[("reason", reason)]);
    assert_eq!(rejected("proxy_untrusted"), 1.0);
    // HAProxy has looked whether we are there, and nothing else was turned away.
    assert!(rejected("proxy_local") >= 1.0, "{}", metrics.0);
    let all = metrics.sum("ftpgate_connections_rejected_total", &[]);
    assert_eq!(all, 1.0 + rejected("proxy_local"), "{}", metrics.0);
}

#[test]
fn haproxy_on_the_gateway_sends_version_1() {
    on_the_gateway("send-proxy", |config| config);
}

#[test]
fn haproxy_on_the_gateway_sends_version_2_with_more_than_addresses() {
    on_the_gateway("send-proxy-v2 proxy-v2-options crc32c,unique-id", |config| config);
}

#[test]
fn haproxy_on_the_gateway_and_a_listener_that_relays() {
    on_the_gateway("send-proxy-v2", |config| {
        config.replacing("capture: redirect", "capture: redirect\n    data: relay")
    });
}

/// HAProxy on another host, here at the client's second address. Data connections come straight to the gateway, from the client.
#[test]
fn haproxy_on_another_host_and_data_that_comes_by_itself() {
    let lab = Lab::new(Topology::Reverse);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let (balancer4, balancer6) = (lab.stranger_address(Family::V4), lab.stranger_address(Family::V6));
    let ftpgates = start_all(&lab, |config| {
        with_section(config, &format!("accept_from: [\"{balancer4}\", \"{balancer6}\"]"))
            .replacing("mode: reverse", "external_address: [ 198.51.100.2, \"2001:db8:51::2\" ]\n    mode: reverse")
    });
    let (to4, to6) = (lab.ftp(Family::V4), lab.ftp(Family::V6));
    let section = format!(
        "listen four\n    bind {balancer4}:{FRONT}\n    server gateway {to4} send-proxy source {balancer4}\n\
         listen six\n    bind [{balancer6}]:{FRONT}\n    server gateway {to6} send-proxy-v2 source [{balancer6}]\n"
    );
    let _haproxy = Haproxy::start(&lab.client, FRONT, &section);
    // Clients of EPSV dial the load balancer: that is said in docs/proxy-protocol.md.
    let pasv: &[&str] = &["--disable-epsv", "--no-ftp-skip-pasv-ip"];
    let (front4, front6) = (SocketAddr::new(balancer4, FRONT), SocketAddr::new(balancer6, FRONT));
    let client4 = lab.client_address(Family::V4).to_string();
    list_fetch_store(&lab.client, &client4, &server, front4, pasv);
    // The server's connections come from the gateway's address: the client's firewall takes nobody else's.
    list_fetch_store(&lab.client, &client4, &server, front4, &["--ftp-port", &client4]);
    let client6 = lab.client_address(Family::V6).to_string();
    list_fetch_store(&lab.client, &client6, &server, front6, &["--ftp-port", &client6]);
    for line in opened(&ftpgates[0], "via=", 9) {
        let four = line.contains(&format!("client={client4}:")) && line.contains(&format!("via={balancer4}:"));
        let six = line.contains(&format!("client=[{client6}]:")) && line.contains(&format!("via=[{balancer6}]:"));
        assert!(four || six, "{line}");
    }
}

/// Without `external_address` the load balancer's is announced; what it forwards of that arrives at the gateway's.
#[test]
fn what_a_load_balancer_forwards_of_data_is_let_in() {
    let lab = Lab::new(Topology::Reverse);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let balancer = lab.stranger_address(Family::V4);
    let _ftpgates = start_all(&lab, |config| with_section(config, &format!("accept_from: {balancer}")));
    let section = format!(
        "listen ftp\n    bind {balancer}:{FRONT}\n    server gateway {} send-proxy source {balancer}\n",
        lab.ftp(Family::V4)
    );
    let _haproxy = Haproxy::start(&lab.client, FRONT, &section);
    let front = SocketAddr::new(balancer, FRONT);
    let mut control = Control::connect_from(&lab.client, lab.client_address(Family::V4), front);
    control.expect(220);
    control.log_in(server.user());
    let announced = announced_227(&control.must("PASV", 227).text);
    assert_eq!(announced.ip(), balancer);
    // As destination NAT on the load balancer would make it.
    let mut data = data_connection(&lab.client, SocketAddr::new(lab.dialled(Family::V4), announced.port()));
    control.must(&format!("RETR {LARGE}"), 150);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut data, &mut bytes).unwrap();
    assert!(bytes == noise(1, MIB));
    control.expect(226);
}

/// A server that writes down how each connection begins.
fn first_bytes(version: &str, family: Family, accept: bool) -> (Vec<u8>, SocketAddr) {
    let lab = Lab::new(Topology::Reverse);
    let (tell, told) = std::sync::mpsc::channel();
    let length = if version == "v1" { None } else { Some(if family == Family::V4 { 28 } else { 52 }) };
    let _server = FakeServer::start(&lab.server, move |mut control| {
        let header = match length {
            None => control.read_bytes().unwrap_or_default(),
            Some(length) => {
                let mut header = vec![0; length];
                std::io::Read::read_exact(&mut control.stream(), &mut header).unwrap();
                header
            }
        };
        tell.send(header).unwrap();
        assert_eq!(let_in(&mut control).as_deref(), Some("NOOP"));
        control.line("200 here");
        assert_eq!(next_command(&mut control), None);
    });
    let section = format!("send: {version}");
    let accepted = format!("{section}, accept_from: [198.51.100.0/24, \"2001:db8:51::/64\"]");
    let _ftpgates = start_all(&lab, |config| with_section(config, if accept { &accepted } else { &section }));
    let mut control = Control::connect(&lab.client, lab.ftp(family));
    if accept {
        control.line("PROXY TCP4 203.0.113.9 192.0.2.80 40000 2121");
    }
    control.expect(220);
    control.log_in("anybody");
    control.must("NOOP", 200);
    control.must("QUIT", 221);
    (told.recv_timeout(Duration::from_secs(5)).unwrap(), control.local_address())
}

#[test]
fn a_server_is_sent_version_1_before_anything_else() {
    for (family, word) in [(Family::V4, "TCP4"), (Family::V6, "TCP6")] {
        let (header, client) = first_bytes("v1", family, false);
        let dialled = if family == Family::V4 { "198.51.100.2" } else { "2001:db8:51::2" };
        let expected = format!("PROXY {word} {} {dialled} {} 21", client.ip(), client.port());
        assert_eq!(String::from_utf8_lossy(&header), expected);
    }
}

#[test]
fn a_server_is_sent_version_2_before_anything_else() {
    let (header, client) = first_bytes("v2", Family::V4, false);
    let [high, low] = client.port().to_be_bytes();
    let addresses = [198, 51, 100, 20, 198, 51, 100, 2, high, low, 0, 21];
    assert_eq!(header, [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"[..], &addresses].concat());
    let (header, _) = first_bytes("v2", Family::V6, false);
    assert_eq!(header[..16], b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..]);
    assert_eq!(header[50..], [0, 21]);
}

/// A load balancer in front, a server behind: the server hears what the load balancer said.
#[test]
fn what_was_accepted_is_what_is_sent() {
    let (header, _) = first_bytes("v1", Family::V4, true);
    assert_eq!(String::from_utf8_lossy(&header), "PROXY TCP4 203.0.113.9 192.0.2.80 40000 2121");
}

/// A real receiver: HAProxy takes the header off before a real server, which is told to take data from another than its client.
#[test]
fn haproxy_before_a_server_takes_what_is_sent() {
    let lab = Lab::new(Topology::Reverse);
    lab.server.firewall(&format!("{}\ntcp dport {FRONT} accept", accept_ftp("10.20.0.1", "2001:db8:20::1")));
    let server = Server::start_with(ServerKind::Vsftpd, &lab.server, "pasv_promiscuous=YES\n");
    let section = format!(
        "listen four\n    bind 10.20.0.10:{FRONT} accept-proxy\n    server ftp 10.20.0.10:21\n\
         listen six\n    bind [2001:db8:20::10]:{FRONT} accept-proxy\n    server ftp [2001:db8:20::10]:21\n"
    );
    let haproxy = Haproxy::start(&lab.server, FRONT, &section);
    for version in ["v1", "v2"] {
        let _ftpgates = start_all(&lab, |config| {
            with_section(config, &format!("send: {version}"))
                .replacing("10.20.0.10:21", "10.20.0.10:2121")
                .replacing("[2001:db8:20::10]:21", "[2001:db8:20::10]:2121")
        });
        for family in Family::ALL {
            let mut control = Control::login(&lab.client, lab.ftp(family), server.user());
            assert!(control.download(&lab.client, family, &format!("RETR {LARGE}")) == noise(1, MIB), "{version}");
            let line = format!(
                "done {}:{} {}:21",
                lab.client_address(family),
                control.local_address().port(),
                lab.dialled(family)
            );
            control.must("QUIT", 221);
            wait_for(&format!("{line:?} on HAProxy's log"), Duration::from_secs(5), || {
                haproxy.daemon.log().iter().any(|logged| logged.contains(&line)).then_some(())
            });
        }
    }
}
