//! Bytes on the control connection: half-close, back-pressure, urgent data, long and odd replies, AUTH TLS.
//!
//! The servers here are scripted: each does something that a real one does rarely or never.

use std::io::Write;
use std::sync::mpsc;
use std::time::Duration;

use crate::lab::Family;
use crate::lab::control::Control;
use crate::lab::fake_server::{FakeServer, let_in, next_command};
use crate::lab::scene::start_all;
use crate::lab::topology::{Lab, Topology};

const PATIENCE: Duration = Duration::from_secs(10);

/// The client sends its last command and closes its half; the answer still comes, and then the end.
#[test]
fn a_client_that_half_closes_gets_its_last_reply() {
    let lab = Lab::new(Topology::Forward);
    let _server = FakeServer::start(&lab.server, |mut control| {
        assert_eq!(let_in(&mut control).as_deref(), Some("STAT"));
        assert_eq!(control.read_line(), None, "the client's end must have come through");
        control.line("211-begin");
        control.line("211 end");
    });
    let _ftpgates = start_all(&lab, |config| config);
    for family in Family::ALL {
        let mut control = Control::login(&lab.client, lab.ftp(family), "anybody");
        control.line("STAT");
        control.shutdown();
        assert_eq!(control.expect(211).text, "211-begin\n211 end");
        control.expect_end();
    }
}

/// The server says its last and closes its half; the client's QUIT may still come, and nothing hangs.
#[test]
fn a_server_that_half_closes_ends_the_session() {
    let lab = Lab::new(Topology::Forward);
    let _server = FakeServer::start(&lab.server, |mut control| {
        assert_eq!(let_in(&mut control).as_deref(), Some("STAT"));
        control.line("211 last words");
        control.shutdown();
        while control.read_line().is_some() {}
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    assert_eq!(control.ask("STAT").text, "211 last words");
    control.expect_end();
}

/// A client that does not read, a server that does not stop: the server is slowed down, the gateway's memory stays small,
/// and when the client reads at last, every line is there.
#[test]
fn a_client_that_does_not_read_slows_the_server_down() {
    // 48 MB, far more than all socket buffers on the way hold; fewer lines than a reply may have.
    const LINES: usize = 50_000;
    let line = |number: usize| format!("211-{number:0>950}");
    let lab = Lab::new(Topology::Forward);
    let (progress, written) = mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        assert_eq!(let_in(&mut control).as_deref(), Some("STAT"));
        let mut stream = control.stream();
        stream.set_write_timeout(None).unwrap();
        for number in 0..LINES {
            if stream.write_all(format!("{}\r\n", line(number)).as_bytes()).is_err() {
                return;
            }
            progress.send(number).unwrap();
        }
        control.line("211 end");
        assert_eq!(next_command(&mut control), None);
    });
    let ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let before = ftpgates[0].memory_kib();
    control.line("STAT");
    // It goes on until every buffer on the way is full.
    let mut last = 0;
    while let Ok(number) = written.recv_timeout(Duration::from_millis(500)) {
        last = number;
    }
    assert!(last > 0, "the reply has begun");
    assert!(last < LINES / 2, "the server could send {last} of {LINES} lines to a client that reads nothing");
    let grown = ftpgates[0].memory_kib().saturating_sub(before);
    assert!(grown < 4096, "ftpgate has grown by {grown} KiB");
    for number in 0..LINES {
        let got = control.read_line().unwrap_or_else(|| panic!("closed after {number} lines"));
        assert!(got == line(number), "line {number} is {got:?}");
    }
    assert_eq!(control.read_line().as_deref(), Some("211 end"));
    control.must("QUIT", 221);
}

/// The other direction: commands faster than the server reads them. None is lost, and the gateway holds few.
#[test]
fn a_server_that_does_not_read_slows_the_client_down() {
    const COMMANDS: usize = 200_000;
    let lab = Lab::new(Topology::Forward);
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let _server = FakeServer::start(&lab.server, move |mut control| {
        let mut command = let_in(&mut control);
        wait.lock().unwrap().recv_timeout(Duration::from_secs(30)).unwrap();
        let mut count = 0;
        while let Some(line) = command {
            assert_eq!(line, format!("NOOP {count:0>90}"));
            control.line("200 ok");
            count += 1;
            command = next_command(&mut control);
        }
        assert_eq!(count, COMMANDS);
    });
    let ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let before = ftpgates[0].memory_kib();
    let mut writer = control.stream().try_clone().unwrap();
    writer.set_write_timeout(None).unwrap();
    let sender = std::thread::spawn(move || {
        for number in 0..COMMANDS {
            if number % 1000 == 0 && number > 0 {
                // Lets the reader see how far it got.
                std::thread::yield_now();
            }
            writer.write_all(format!("NOOP {number:0>90}\r\n").as_bytes()).unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(500)); // There is nothing to wait for: the point is that nothing happens.
    assert!(!sender.is_finished(), "all commands were taken although the server reads none");
    let grown = ftpgates[0].memory_kib().saturating_sub(before);
    assert!(grown < 4096, "ftpgate has grown by {grown} KiB");
    go.send(()).unwrap();
    for _ in 0..COMMANDS {
        control.expect(200);
    }
    sender.join().unwrap();
    control.must("QUIT", 221);
}

/// Everything but the addresses is the peers' own: odd spacing, 8-bit text, replies of several lines, bytes 128 to 255.
#[test]
fn commands_and_replies_pass_byte_for_byte() {
    const ODD: &[u8] = b"211-  two  spaces \t tab\r\n not even indented 227 (1,2,3,4,5,6)\r\n212 of another code\r\n211 caf\xe9 \xc3\xa9\r\n";
    let lab = Lab::new(Topology::Forward);
    let (heard, commands) = mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        heard.send(let_in(&mut control)).unwrap();
        control.send(ODD);
        assert_eq!(next_command(&mut control), None);
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    control.line("CWD  a folder  with spaces ");
    assert_eq!(commands.recv_timeout(PATIENCE).unwrap().as_deref(), Some("CWD  a folder  with spaces "));
    let text: Vec<String> = (0..4).map(|_| control.read_line().unwrap()).collect();
    let expected: Vec<String> =
        String::from_utf8_lossy(ODD).lines().map(|line| line.trim_end_matches('\r').to_owned()).collect();
    assert_eq!(text, expected);
    control.must("QUIT", 221);
}

/// Replies in the smallest and in the strangest pieces.
#[test]
fn the_servers_segmentation_does_not_matter() {
    let lab = Lab::new(Topology::Reverse);
    let data = lab.server.listen("10.20.0.10:50123".parse().unwrap());
    let _server = FakeServer::start(&lab.server, |mut control| {
        assert_eq!(let_in(&mut control).as_deref(), Some("PASV"));
        for byte in b"227 Entering Passive Mode (10,20,0,10,195,203).\r\n" {
            control.send(&[*byte]);
            std::thread::sleep(Duration::from_millis(1)); // So that each byte is a segment of its own.
        }
        assert_eq!(next_command(&mut control), None);
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let entrance = control.passive(Family::V4);
    assert_eq!(entrance.ip(), lab.dialled(Family::V4), "the gateway's own address must be announced");
    let connection = lab.client.connect(entrance, Duration::from_secs(2)).unwrap();
    let (_, peer) = crate::lab::control::accept_data(&data);
    assert_eq!(peer.ip(), lab.seen_by_server(Family::V4));
    drop(connection);
    control.must("QUIT", 221);
}

/// After AUTH TLS and its 234 the control connection is the peers' alone: any byte in a record, both ways.
#[test]
fn after_auth_tls_bytes_pass_untouched() {
    let lab = Lab::new(Topology::Forward);
    // What a TLS client says first, and bytes that would be commands, replies and Telnet otherwise.
    const HELLO: &[u8] = b"\x16\x03\x01\x00\x1a\xff\xf4\xff\xf2PORT 1,2,3,4,5,6\r\n\x00\xff\xfe\n";
    const ANSWER: &[u8] = b"\x16\x03\x03\x00\x2f227 Entering Passive Mode (9,9,9,9,200,1)\r\n\xff\xff\x00\n";
    let _server = FakeServer::start(&lab.server, |mut control| {
        control.line("220 ready");
        assert_eq!(control.read_line().as_deref(), Some("AUTH TLS"));
        control.line("234 go ahead");
        let mut hello = vec![0; HELLO.len()];
        std::io::Read::read_exact(&mut control.stream(), &mut hello).unwrap();
        assert_eq!(hello, HELLO);
        control.send(ANSWER);
        assert_eq!(control.read_line(), None);
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::connect(&lab.client, lab.ftp(Family::V4));
    control.expect(220);
    control.must("AUTH TLS", 234);
    control.send(HELLO);
    let mut answer = vec![0; ANSWER.len()];
    std::io::Read::read_exact(&mut control.stream(), &mut answer).unwrap();
    assert_eq!(answer, ANSWER);
}

/// AUTH that the server does not know leaves everything as it was.
#[test]
fn a_refused_auth_keeps_the_session_readable() {
    let scene = crate::lab::scene::Scene::new(Topology::Reverse, crate::lab::server::ServerKind::Vsftpd);
    let mut control = Control::connect(scene.client(), scene.ftp(Family::V4));
    control.expect(220);
    let reply = control.ask("AUTH TLS");
    assert!(reply.code >= 500, "{}", reply.text);
    control.log_in(scene.server.user());
    let listing = control.download(scene.client(), Family::V4, "LIST");
    assert!(String::from_utf8_lossy(&listing).contains(crate::lab::server::LARGE));
}
