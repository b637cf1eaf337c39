//! `mode: login`: clients dial the gateway and name the server. Every client and mode; what is refused, and what the client hears then.
//!
//! Not here: notations (`src/protocol/destination.rs`), the lobby byte by byte (`src/session/lobby_tests.rs`), pinholes (`tests/e2e`).

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::control::Control;
use crate::lab::fake_server::FakeServer;
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::NAME_SERVER;
use crate::lab::matrix::every_combination;
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, ServerKind};
use crate::lab::{Family, wait_for};
use crate::scene::login;

fn every_client(kind: ServerKind) {
    let mut scene = login(kind, |config| config);
    every_combination(&scene);
    let metrics = scene.metrics();
    assert_eq!(metrics.sum("ftpgate_firewall_errors_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_connections_rejected_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_refusals_total", &[]), 0.0);
    let log = scene.ftpgate().log();
    assert!(!log.contains(PASSWORD), "a password is on the log");
    let transfers = scene.ftpgate().transfers();
    assert!(!transfers.is_empty() && transfers.iter().all(|transfer| transfer["user"] == scene.server.user()));
}

#[test]
fn vsftpd_every_client() {
    every_client(ServerKind::Vsftpd);
}

#[test]
fn proftpd_every_client() {
    every_client(ServerKind::Proftpd);
}

#[test]
fn pure_ftpd_every_client() {
    every_client(ServerKind::PureFtpd);
}

/// A client in the lobby.
fn visitor(scene: &Scene, family: Family) -> Control {
    let mut control = Control::connect(scene.client(), scene.ftp(family));
    assert!(control.expect(220).text.contains("user@host"));
    control
}

fn rejected(scene: &Scene, reason: &str) -> f64 {
    scene.metrics().sum("ftpgate_connections_rejected_total", &[("reason", reason)])
}

/// Logs in behind a USER that was answered, and fetches a file.
fn goes_on(scene: &Scene, control: &mut Control, family: Family) {
    control.must(&format!("PASS {PASSWORD}"), 230);
    control.must("TYPE I", 200);
    assert!(control.download(scene.client(), family, &format!("RETR {LARGE}")) == noise(1, MIB));
}

#[test]
fn forbidden_servers_are_refused_and_the_client_may_name_another() {
    let mut scene = login(ServerKind::Vsftpd, |config| config);
    let mut refused = 0.0;
    for (family, destinations) in [
        (
            Family::V4,
            [
                // Not listed: an address, a port, a name, a name that looks like a listed one.
                "203.0.113.9",
                "198.51.100.10:2121",
                "ftp.example.net:22",
                "example.org:22",
                "evil-example.org:22",
            ],
        ),
        (
            Family::V6,
            // Listed as a name, which leads to this host or to no host at all.
            [
                "loop.example.org",
                "gateway.example.org:9821",
                "nothing.example.org",
                "cloud.example.org:80",
                "loop6.example.org",
            ],
        ),
        (
            Family::V4,
            // This host, within a listed network or by a name of it; and what a resolver would take for it.
            ["198.51.100.1", "gateway2.example.org", "127.0.0.1", "::ffff:127.0.0.1", "[::1]:9821"],
        ),
    ] {
        let mut control = visitor(&scene, family);
        for destination in destinations {
            let reply = control.must(&format!("USER anonymous@{destination}"), 530);
            assert!(reply.text.contains("is not a server that this gateway connects to."), "{reply:?}");
            refused += 1.0;
            assert_eq!(rejected(&scene, "policy"), refused, "{destination}");
            // What belonged to that login.
            control.must(&format!("PASS {PASSWORD}"), 530);
        }
        control.must("USER anonymous@ftp.example.net", 331);
        goes_on(&scene, &mut control, family);
    }
    let line = scene.ftpgate().daemon.wait_for_line(Duration::from_secs(5), |line| {
        line.contains("session refused: 203.0.113.9:21 is not a server that this gateway connects to")
    });
    assert!(line.is_some());
    assert_eq!(scene.metrics().sum("ftpgate_sessions_total", &[]), 3.0);
    let mut control = visitor(&scene, Family::V4);
    for odd in
        ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "localhost.", "127.0.0.1.", "ftp.example.net:0", "a:99999"]
    {
        let code = control.ask(&format!("USER anonymous@{odd}")).code;
        assert_eq!(code, if odd == "localhost." { 530 } else { 501 }, "{odd}");
    }
}

/// A name server that hears and never answers.
fn name_server(scene: &Scene) -> UdpSocket {
    let socket = scene.gateway().inside(|| UdpSocket::bind((NAME_SERVER, 53))).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// The names that it was asked for, as DNS writes them: `\x03ftp\x07example\x03net`.
fn asked(name_server: &UdpSocket) -> Vec<String> {
    let mut buffer = [0; 512];
    let queries = std::iter::from_fn(|| name_server.recv(&mut buffer).ok().map(|count| buffer[12..count].to_vec()));
    let name = |query: Vec<u8>| String::from_utf8_lossy(query.split(|byte| *byte == 0).next().unwrap()).into_owned();
    let mut names: Vec<String> = queries.map(name).collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn names_that_nothing_in_the_list_could_match_are_not_looked_up() {
    // Names alone, and one network for one other port.
    let scene = login(ServerKind::Vsftpd, |config| {
        config
            .replacing("198.51.100.0/24, \"2001:db8:51::/64\"", "\"198.51.100.0/24:2121\"")
            .with("timeouts", "{ connect: 1s }")
    });
    let name_server = name_server(&scene);
    let mut control = visitor(&scene, Family::V4);
    for name in ["other.example.com", "secret.example.com", "example.org", "secret.example.com:22"] {
        let reply = control.must(&format!("USER anonymous@{name}"), 530);
        assert!(reply.text.contains("is not a server"), "{reply:?}");
    }
    assert_eq!(asked(&name_server), [""; 0]);
    assert_eq!((rejected(&scene, "policy"), rejected(&scene, "resolve")), (4.0, 0.0));
    // Listed, and the name server does not answer: the time for connecting is the bound.
    let reply = control.must("USER anonymous@slow.example.org", 530);
    assert!(reply.text.contains("the name slow.example.org cannot be looked up: no answer in time"), "{reply:?}");
    assert_eq!(asked(&name_server), ["\x04slow\x07example\x03org"]);
    // Any name may lead to the network, but an answer would tell whether there is such a name.
    let reply = control.must("USER anonymous@secret.example.com:2121", 530);
    assert!(reply.text.contains("is not a server that this gateway connects to"), "{reply:?}");
    assert_eq!(asked(&name_server).last().map(String::as_str), Some("\x06secret\x07example\x03com"));
    assert_eq!(rejected(&scene, "resolve"), 2.0);
}

#[test]
fn a_name_that_is_not_listed_may_lead_to_a_listed_address() {
    let scene = login(ServerKind::Vsftpd, |config| config);
    let mut control = visitor(&scene, Family::V4);
    // One that does not looks like one that does not exist.
    let texts = ["outside.example.com", "no.such.name.example.com"].map(|name| {
        let reply = control.must(&format!("USER anonymous@{name}"), 530);
        reply.text.replace(name, "NAME")
    });
    assert_eq!(texts[0], texts[1]);
    assert_eq!((rejected(&scene, "policy"), rejected(&scene, "resolve")), (1.0, 1.0));
    control.must("USER anonymous@other.example.com", 331);
    goes_on(&scene, &mut control, Family::V4);
}

/// Listed or not, known as its own or not: a session never leads back to the gateway.
#[test]
fn the_gateway_does_not_connect_to_itself() {
    let scene =
        login(ServerKind::Vsftpd, |config| config.replacing("198.51.100.0/24", "198.51.100.0/24, \"10.0.0.1:*\""));
    // An address that it did not have when it was started.
    scene.gateway().ip("address add 198.51.100.55/24 dev wan0\n");
    let mut control = visitor(&scene, Family::V4);
    for (destination, words, reason) in [
        ("10.0.0.1", "the gateway does not connect to itself", "loop"),
        ("198.51.100.55", "is not a server that this gateway connects to", "policy"),
        ("198.51.100.1", "is not a server that this gateway connects to", "policy"),
    ] {
        let before = rejected(&scene, reason);
        let reply = control.must(&format!("USER anonymous@{destination}"), 530);
        assert!(reply.text.contains(words), "{reply:?}");
        assert_eq!(rejected(&scene, reason), before + 1.0);
    }
    // A service of its own may be listed for its own sake.
    let text = control.must("USER anonymous@10.0.0.1:2323", 530).text;
    assert!(text.contains("10.0.0.1:2323") && text.contains("refused"), "{text}");
    assert_eq!(scene.metrics().sum("ftpgate_sessions_total", &[]), 0.0);
}

#[test]
fn a_server_that_is_not_there_is_said_and_the_next_address_is_tried() {
    let scene = login(ServerKind::Vsftpd, |config| config.with("timeouts", "{ connect: 2s }"));
    let mut control = visitor(&scene, Family::V4);
    let reply = control.must("USER anonymous@198.51.100.10:21x", 501);
    assert!(reply.text.contains("user@host:port"), "{reply:?}");
    // Nobody has that address.
    let reply = control.must("USER anonymous@away.example.org", 530);
    assert!(reply.text.starts_with("530 away.example.org: the server 198.51.100.77:21 "), "{reply:?}");
    // Somebody has, but nobody listens; the host's firewall drops that, so it takes its time.
    let reply = control.must("USER anonymous@ftp.example.org:2121", 530);
    assert!(reply.text.contains("ftp.example.org"), "{reply:?}");
    let reply = control.must("USER anonymous@four.example.org:2121", 530);
    assert!(reply.text.contains("four.example.org: the server 198.51.100.10:2121 did not answer"), "{reply:?}");
    // The first address of this one is the one that nobody has.
    control.must("USER anonymous@both.example.org", 331);
    goes_on(&scene, &mut control, Family::V4);
}

#[test]
fn a_client_of_the_other_family_is_translated() {
    let scene = login(ServerKind::Vsftpd, |config| config);
    let mut control = visitor(&scene, Family::V6);
    control.must("USER anonymous@four.example.org", 331);
    goes_on(&scene, &mut control, Family::V6);
    let mut control = visitor(&scene, Family::V4);
    control.must("USER anonymous@[2001:db8:51::10]", 331);
    goes_on(&scene, &mut control, Family::V4);
}

#[test]
fn what_comes_at_once_means_the_same_and_so_does_a_second_user() {
    let scene = login(ServerKind::Vsftpd, |config| config);
    let mut control = visitor(&scene, Family::V4);
    control.send(
        format!("FEAT\r\nNOOP\r\nUSER x@203.0.113.9\r\nUSER anonymous@ftp.example.net\r\nPASS {PASSWORD}\r\nTYPE I\r\nPWD\r\n")
            .as_bytes(),
    );
    for code in [530, 200, 530, 331, 230, 200, 257] {
        control.expect(code);
    }
    control.must("USER anonymous@198.51.100.77", 503);
    // vsftpd takes no second user, but it is vsftpd who says so.
    assert!(control.must("USER anonymous@ftp.example.net:21", 530).text.contains("guest user"));
    assert!(control.download(scene.client(), Family::V4, &format!("RETR {LARGE}")) == noise(1, MIB));
    control.must("QUIT", 221);
    control.expect_end();
    assert_eq!(scene.metrics().sum("ftpgate_refusals_total", &[("reason", "other_server")]), 1.0);
}

#[test]
fn hostile_visitors_are_told_so_and_counted() {
    let scene = login(ServerKind::Vsftpd, |config| config.with("timeouts", "{ login: 1s }"));
    for (number, hostile) in
        [&b"GET / HTTP/1.1\r\nHost: ftp.example.net\r\n\r\n"[..], b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"]
            .into_iter()
            .enumerate()
    {
        let mut control = visitor(&scene, Family::V4);
        control.send(hostile);
        control.expect(421);
        control.expect_end();
        let metrics = scene.metrics();
        let count = (number + 1) as f64;
        assert_eq!(metrics.sum("ftpgate_refusals_total", &[("reason", "cross_protocol")]), count);
        assert_eq!(rejected(&scene, "hostile"), count);
    }
    let mut control = visitor(&scene, Family::V4);
    for _ in 0..6 {
        control.must("USER x@203.0.113.9", 530);
    }
    control.expect(421);
    control.expect_end();
    // Whoever says nothing is not waited for for ever, and whoever goes leaves nothing.
    let mut silent = visitor(&scene, Family::V6);
    assert!(silent.expect(421).text.contains("Login timeout"));
    silent.expect_end();
    assert_eq!(rejected(&scene, "login_timeout"), 1.0);
    for goodbye in [true, false] {
        let mut control = visitor(&scene, Family::V4);
        if goodbye {
            control.must("QUIT", 221);
            control.expect_end();
        }
    }
    assert_eq!(scene.metrics().sum("ftpgate_sessions_total", &[]), 0.0);
    assert_eq!(scene.metrics().sum("ftpgate_connections_rejected_total", &[]), 3.0 + 6.0 + 1.0);
}

#[test]
fn the_end_of_the_daemon_is_said_in_the_lobby() {
    let mut scene = login(ServerKind::Vsftpd, |config| config);
    let mut waiting = visitor(&scene, Family::V4);
    let mut connecting = visitor(&scene, Family::V4);
    connecting.line("USER anonymous@away.example.org:2121");
    let mut in_session = scene.login(Family::V6);
    scene.ftpgates[0].signal(Signal::SIGTERM);
    for control in [&mut waiting, &mut connecting, &mut in_session] {
        assert!(control.expect(421).text.contains("shutting down"));
        control.expect_end();
    }
    assert!(scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(10)).success());
}

/// The limit for one client holds in the lobby too, and a place is given back.
#[test]
fn visitors_count_as_sessions_do() {
    let scene = login(ServerKind::Vsftpd, |config| config.with("limits", "{ sessions_per_client: 1 }"));
    let first = visitor(&scene, Family::V4);
    Control::connect(scene.client(), scene.ftp(Family::V4)).expect(421);
    drop(first);
    wait_for("the place", Duration::from_secs(5), || {
        let mut control = Control::connect(scene.client(), scene.ftp(Family::V4));
        (control.reply().code == 220).then_some(())
    });
}

/// As FileZilla's logon.cpp has it with its setting "USER@HOST": AUTH twice, and what it wants to know behind the login.
#[test]
fn the_commands_of_filezilla_in_their_order() {
    let scene = login(ServerKind::Proftpd, |config| config);
    let mut control = visitor(&scene, Family::V4);
    for (command, code) in [("AUTH TLS", 534), ("AUTH SSL", 534), ("USER anonymous@ftp.example.net", 331)] {
        control.must(command, code);
    }
    control.must(&format!("PASS {PASSWORD}"), 230);
    for (command, code) in [("SYST", 215), ("FEAT", 211), ("PWD", 257), ("TYPE I", 200)] {
        control.must(command, code);
    }
    let listing = control.download(scene.client(), Family::V4, "MLSD");
    assert!(String::from_utf8_lossy(&listing).contains(LARGE));
}

/// Behind a load balancer: the client is the one that it names, and so is the address that was dialled.
#[test]
fn a_load_balancer_may_stand_before_the_lobby() {
    let scene = login(ServerKind::Vsftpd, |config| {
        config.replacing("mode: login", "mode: login\n    proxy_protocol: { accept_from: 10.0.0.3 }")
    });
    let balancer = scene.lab.stranger_address(Family::V4);
    let stream = scene.client().connect_from(balancer, scene.ftp(Family::V4), Duration::from_secs(5)).unwrap();
    let mut control = Control::new(stream);
    control.send(b"PROXY TCP4 10.0.0.2 10.0.0.1 40000 21\r\nUSER anonymous@ftp.example.net\r\n");
    control.expect(220);
    control.expect(331);
    goes_on(&scene, &mut control, Family::V4);
}

/// The server hears the user's name alone, and the address that it is asked to dial is the gateway's.
#[test]
fn the_server_hears_of_no_gateway() {
    let lab = crate::lab::topology::Lab::new(crate::lab::topology::Topology::Login);
    lab.gateway().firewall("tcp dport { 21, 49152-65535 } accept");
    let (tell, heard) = std::sync::mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        control.line("120 in a moment");
        control.line("220-the greeting");
        control.line("230 you are in");
        control.line("220 of the server");
        tell.send(control.read_line()).unwrap();
        control.line("331 password?");
        tell.send(control.read_line()).unwrap();
        control.line("230 in");
        serve_rest(control, &tell);
    });
    let config =
        crate::lab::ftpgate::Config::new(&lab.gateways[0].configuration()).with("firewall", "{ backend: relay }");
    let _ftpgate = crate::lab::ftpgate::Ftpgate::start(lab.gateway(), &config);
    let mut control = Control::connect(&lab.client, SocketAddr::new(lab.dialled(Family::V4), 21));
    control.expect(220);
    assert_eq!(control.must("USER joe@mail.example@198.51.100.10", 331).text, "331 password?");
    control.must("PASS secret", 230);
    drop(control.active(&lab.client, Family::V4));
    let lines: Vec<String> = (0..3).map(|_| heard.recv_timeout(Duration::from_secs(5)).unwrap().unwrap()).collect();
    assert_eq!(lines[..2], ["USER joe@mail.example", "PASS secret"]);
    assert!(lines[2].starts_with("PORT 198,51,100,1,"), "{lines:?}");
}

fn serve_rest(mut control: Control, tell: &std::sync::mpsc::Sender<Option<String>>) {
    while let Some(line) = control.read_line() {
        control.line("200 noted");
        // The test may be over.
        let _ = tell.send(Some(line));
    }
}
