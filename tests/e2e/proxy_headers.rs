//! PROXY headers by hand: each way of being wrong, every way of being cut, and what a client that is named by one may do.
//!
//! The lab's client plays the load balancer; in its headers it speaks for its own second address. Not here: real load balancers
//! (`proxy_protocol.rs`), all that can be wrong with the format (`src/protocol/proxy_header`).

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::control::Control;
use crate::lab::fake_server::{FakeServer, let_in, serve};
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::{Config, Ftpgate, Metrics};
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{LARGE, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};

fn trusting(config: Config) -> Config {
    config.replacing(
        "mode: reverse",
        "mode: reverse\n    proxy_protocol: { accept_from: [ 198.51.100.20, \"2001:db8:51::20\" ] }",
    )
}

/// A gateway that trusts the lab's client, and a server that greets.
struct Stage {
    ftpgates: Vec<Ftpgate>,
    _server: FakeServer,
    lab: Lab,
}

impl Stage {
    fn new(change: impl Fn(Config) -> Config) -> Self {
        let lab = Lab::new(Topology::Reverse);
        let server = FakeServer::start(&lab.server, |control| serve(control, |command| format!("200 {command}")));
        let ftpgates = start_all(&lab, |config| change(trusting(config)));
        Self { ftpgates, _server: server, lab }
    }

    fn rejected(&self, reason: &str) -> f64 {
        Metrics::read(self.lab.gateway()).sum("ftpgate_connections_rejected_total", &[("reason", reason)])
    }

    fn logged(&mut self, text: &str) {
        let line = self.ftpgates[0].daemon.wait_for_line(Duration::from_secs(5), |line| line.contains(text));
        assert!(line.is_some(), "{text:?} is not on the log:\n{}", self.ftpgates[0].log());
    }

    /// Says `bytes`; the connection must then be closed without a word, counted for `reason` and for nothing else.
    fn closed(&self, bytes: &[u8], reason: &str) {
        let counted = |reason: &str| Metrics::read(self.lab.gateway()).sum(reason, &[]);
        let (before, all) = (self.rejected(reason), counted("ftpgate_connections_rejected_total"));
        let mut control = Control::connect(&self.lab.client, self.lab.ftp(Family::V4));
        control.send(bytes);
        control.expect_end();
        wait_for(&format!("{reason} for {}", bytes.escape_ascii()), Duration::from_secs(5), || {
            (self.rejected(reason) == before + 1.0).then_some(())
        });
        assert_eq!(counted("ftpgate_connections_rejected_total"), all + 1.0);
        assert_eq!(counted("ftpgate_sessions_total"), 0.0, "{}", bytes.escape_ascii());
    }
}

/// Version 2 with this command, family and content.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &length, content].concat()
}

/// The header for the client's second address.
fn header(lab: &Lab, family: Family, port: u16) -> String {
    let word = if family == Family::V4 { "TCP4" } else { "TCP6" };
    format!("PROXY {word} {} {} {port} 21\r\n", lab.stranger_address(family), lab.dialled(family))
}

#[test]
fn what_is_no_header_is_closed_and_counted() {
    let mut stage = Stage::new(|config| config);
    stage.closed(b"USER anonymous\r\n", "proxy_missing");
    stage.closed(b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03", "proxy_missing");
    stage.closed(b"PROXY TCP4 198.51.100.21 198.51.100.2 1 21 \r\nUSER x\r\n", "proxy_malformed");
    stage.closed(b"PROXY TCP4 198.51.100.21 198.51.100.2 1 21\n", "proxy_malformed");
    stage.closed(&binary(0x2F, 0x11, &[1; 12]), "proxy_malformed");
    stage.closed(&binary(0x21, 0x11, &[1; 11]), "proxy_malformed");
    stage.closed(&[b"PROXY TCP4 ", &[b'1'; 97][..]].concat(), "proxy_oversized");
    stage.closed(&binary(0x21, 0x11, &[1; 5000])[..16], "proxy_oversized");
    stage.closed(&binary(0x21, 0x12, &[1; 12]), "proxy_family");
    stage.closed(&binary(0x21, 0x31, &[b'/'; 216]), "proxy_family");
    stage.closed(b"PROXY TCP6 ::ffff:198.51.100.21 2001:db8:51::2 1 21\r\n", "proxy_family");
    stage.closed(b"PROXY TCP4 198.51.100.21 198.51.100.2 0 21\r\n", "proxy_address");
    stage.closed(b"PROXY TCP4 127.0.0.1 198.51.100.2 1 21\r\n", "proxy_address");
    stage.closed(b"PROXY TCP4 198.51.100.21 0.0.0.0 1 21\r\n", "proxy_address");
    stage.closed(b"PROXY TCP6 ff02::1 2001:db8:51::2 1 21\r\n", "proxy_address");
    stage.closed(&binary(0x21, 0x11, &[224, 0, 0, 1, 198, 51, 100, 2, 1, 1, 0, 21]), "proxy_address");
    stage.logged("has no good PROXY header");
}

#[test]
fn a_health_check_is_closed_quietly() {
    let stage = Stage::new(|config| config);
    stage.closed(b"PROXY UNKNOWN\r\n", "proxy_local");
    stage.closed(&binary(0x20, 0, b""), "proxy_local");
    stage.closed(&binary(0x20, 0x11, &[1; 12]), "proxy_local");
    stage.closed(&binary(0x21, 0, &[4, 0, 1, 0]), "proxy_local");
    // One that only connects.
    drop(Control::connect(&stage.lab.client, stage.lab.ftp(Family::V6)));
    wait_for("the fifth", Duration::from_secs(5), || (stage.rejected("proxy_local") == 5.0).then_some(()));
    let lines = wait_for("five lines for those who want to know", Duration::from_secs(5), || {
        let log = stage.ftpgates[0].daemon.log();
        let ready = log.iter().position(|line| line.contains("ready"))?;
        let lines: Vec<String> = log[ready + 1..].to_vec();
        (lines.iter().filter(|line| line.contains("proxy_local")).count() == 5).then_some(lines)
    });
    assert!(lines.iter().all(|line| line.contains(" DEBUG ")), "{lines:#?}");
}

#[test]
fn whoever_is_not_trusted_is_closed_whatever_it_says() {
    let mut stage = Stage::new(|config| config);
    for family in Family::ALL {
        let stranger = stage.lab.stranger_address(family);
        let mut control = Control::connect_from(&stage.lab.client, stranger, stage.lab.ftp(family));
        // It may be closed already.
        let _ = control.try_send(header(&stage.lab, family, 40000).as_bytes());
        control.expect_end();
    }
    assert_eq!(stage.rejected("proxy_untrusted"), 2.0);
    stage.logged("not in proxy_protocol.accept_from");
}

#[test]
fn a_late_header_is_closed_and_counted_however_it_dawdles() {
    let stage = Stage::new(|config| config.with("timeouts", "{ proxy_header: 700ms }"));
    stage.closed(b"PROXY TCP4 198.51.100.21 198.51.100.2 40000", "proxy_timeout");
    stage.closed(&binary(0x21, 0x11, &[1; 40])[..30], "proxy_timeout");
    // Bytes that go on coming do not prolong it.
    let mut control = Control::connect(&stage.lab.client, stage.lab.ftp(Family::V4));
    for byte in b"PROXY TCP4 198.51.100.21 198.51.100.2 40000 21\r\n" {
        if control.try_send(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    control.expect_end();
    assert_eq!(stage.rejected("proxy_timeout"), 3.0);
}

/// The client of the header is the client: its data connections are let in, the load balancer's are not.
#[test]
fn a_header_in_single_bytes_names_the_client_and_the_client_alone() {
    let mut scene = Scene::with(Topology::Reverse, ServerKind::Vsftpd, trusting);
    for family in Family::ALL {
        let mut control = Control::connect(scene.client(), scene.ftp(family));
        for byte in header(&scene.lab, family, 40000).into_bytes() {
            control.send(&[byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        control.expect(220);
        control.log_in(scene.server.user());
        let entrance = control.passive(family);
        let balancer = scene.client().connect(entrance, Duration::from_millis(700));
        assert!(balancer.is_err(), "{family:?}: a data connection from the load balancer");
        let stranger = scene.lab.stranger_address(family);
        let mut data = scene.client().connect_from(stranger, entrance, Duration::from_secs(5)).unwrap();
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut data, &mut bytes).unwrap();
        assert!(bytes == noise(1, MIB));
        control.expect(226);
        // So is what it may announce.
        let foreign = match family {
            Family::V4 => "PORT 198,51,100,20,200,0",
            Family::V6 => "EPRT |2|2001:db8:51::20|51200|",
        };
        control.must(foreign, 501);
        let own = match family {
            Family::V4 => "PORT 198,51,100,21,200,0",
            Family::V6 => "EPRT |2|2001:db8:51::21|51200|",
        };
        control.must(own, 200);
        let name = format!("client={} ", SocketAddr::new(stranger, 40000));
        let line = scene.ftpgates[0].daemon.wait_for_line(Duration::from_secs(5), |line| line.contains(&name));
        assert!(line.is_some(), "{name:?} is not on the log");
    }
}

/// Whatever is behind the header in the same segment belongs to the session.
#[test]
fn a_command_behind_the_header_is_not_lost() {
    let lab = Lab::new(Topology::Reverse);
    let (hear, heard) = std::sync::mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        control.line("220 fake server of the lab");
        while let Some(line) = control.read_line() {
            hear.send(line.clone()).unwrap();
            control.line(if line.starts_with("USER") { "331 password?" } else { "230 in" });
        }
    });
    let _ftpgates = start_all(&lab, trusting);
    let v4 = [198, 51, 100, 21, 198, 51, 100, 2, 1, 1, 0, 21];
    let with_more = [&v4[..], &[0xEA, 0, 200], &[b'x'; 200]].concat();
    for header in
        [header(&lab, Family::V4, 40000).into_bytes(), binary(0x21, 0x11, &v4), binary(0x21, 0x11, &with_more)]
    {
        let stream = [&header[..], b"USER somebody\r\nPASS secret\r\n"].concat();
        // In one piece, cut at the header's end, and beside it.
        for cut in [0, header.len() - 1, header.len(), header.len() + 3] {
            let mut control = Control::connect(&lab.client, lab.ftp(Family::V4));
            let (first, second) = stream.split_at(cut);
            control.send(first);
            std::thread::sleep(Duration::from_millis(20));
            control.send(second);
            control.expect(220);
            control.expect(331);
            control.expect(230);
            for expected in ["USER somebody", "PASS secret"] {
                assert_eq!(heard.recv_timeout(Duration::from_secs(5)).unwrap(), expected);
            }
        }
    }
}

/// Who has not said who it is holds a place among all; who has holds one of its client's, not of the load balancer's.
#[test]
fn limits_are_for_the_true_client() {
    let stage = Stage::new(|config| config.with("limits", "{ sessions: 3, sessions_per_client: 1 }"));
    let connect = |text: &str| {
        let mut control = Control::connect(&stage.lab.client, stage.lab.ftp(Family::V4));
        control.send(text.as_bytes());
        control
    };
    let named = |last: u8| format!("PROXY TCP4 203.0.113.{last} 198.51.100.2 40000 21\r\n");
    let mut first = connect(&named(1));
    first.expect(220);
    let mut again = connect(&named(1));
    assert!(again.expect(421).text.contains("from your address"));
    again.expect_end();
    let mut second = connect(&named(2));
    second.expect(220);
    // Its place is taken before anybody knows for whom.
    let mut silent = connect("PROXY ");
    let mut too_many = connect("");
    assert!(too_many.expect(421).text.contains("on this gateway"));
    too_many.expect_end();
    silent.send(b"TCP4 203.0.113.3 198.51.100.2 40000 21\r\n");
    silent.expect(220);
    drop((first, second, silent));
    wait_for("free places", Duration::from_secs(5), || {
        let mut control = connect(&named(1));
        control.try_reply().is_some_and(|reply| reply.code == 220).then_some(())
    });
}

/// A connection that waits for its header does not keep the daemon from ending.
#[test]
fn the_wait_for_a_header_ends_with_the_daemon() {
    let mut stage = Stage::new(|config| config.with("timeouts", "{ proxy_header: 10m }"));
    let mut waiting = Control::connect(&stage.lab.client, stage.lab.ftp(Family::V4));
    waiting.send(b"PROXY TCP4");
    stage.closed(b"PROXY UNKNOWN\r\n", "proxy_local");
    stage.ftpgates[0].signal(Signal::SIGTERM);
    waiting.expect_end();
    assert!(stage.ftpgates[0].daemon.wait_for_exit(Duration::from_secs(5)).success());
}

/// Without the key a header is what it always was: no FTP command.
#[test]
fn by_default_a_header_is_no_command() {
    let lab = Lab::new(Topology::Reverse);
    let _server = FakeServer::start(&lab.server, |mut control| assert_eq!(let_in(&mut control), None));
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::connect(&lab.client, lab.ftp(Family::V4));
    control.expect(220);
    let _ = control.try_send(header(&lab, Family::V4, 40000).as_bytes());
    let end = control.try_reply();
    assert!(end.as_ref().is_none_or(|reply| reply.code >= 400), "{end:?}");
}
