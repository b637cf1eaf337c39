//! Hostile and broken input against the running daemon.
//!
//! Every case asks: was the peer answered as it should be, did the other side see nothing of it, is there no pinhole that should
//! not be, is the reason counted, does the session live on. Not here: the same and many more cases against the session alone.

use std::sync::mpsc;
use std::time::Duration;

use crate::lab::Family;
use crate::lab::control::{Control, accept_data, announced_227, data_connection};
use crate::lab::fake_server::{FakeServer, let_in, next_command};
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::{Ftpgate, Metrics, pinholes};
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{LARGE, ServerKind};
use crate::lab::topology::{Lab, Topology};

/// A gateway between a client and a server that writes down every command and answers 200 to it.
struct Stage {
    _ftpgates: Vec<Ftpgate>,
    heard: mpsc::Receiver<String>,
    _server: FakeServer,
    lab: Lab,
}

impl Stage {
    fn new() -> Self {
        Self::answering(|_| "200 ok\r\n".to_owned())
    }

    /// The server answers what `answer` says.
    fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let lab = Lab::new(Topology::Forward);
        let (hear, heard) = mpsc::channel();
        let server = FakeServer::start(&lab.server, move |mut control| {
            let mut command = let_in(&mut control);
            while let Some(line) = command {
                let text = answer(&line);
                hear.send(line).unwrap();
                control.send(text.as_bytes());
                command = next_command(&mut control);
            }
        });
        let ftpgates = start_all(&lab, |config| config);
        Self { _ftpgates: ftpgates, heard, _server: server, lab }
    }

    fn login(&self, family: Family) -> Control {
        Control::login(&self.lab.client, self.lab.ftp(family), "anybody")
    }

    fn refusals(&self, reason: &str) -> f64 {
        Metrics::read(self.lab.gateway()).sum("ftpgate_refusals_total", &[("reason", reason)])
    }

    fn pinholes(&self) -> usize {
        Family::ALL.into_iter().map(|family| pinholes(self.lab.gateway(), "ftpgate", family).len()).sum()
    }

    /// What the server has heard until now, given that the session lives: a marker tells when all has arrived.
    fn server_heard(&self, control: &mut Control) -> Vec<String> {
        control.must("NOOP marker", 200);
        let mut all = Vec::new();
        loop {
            match self.heard.recv_timeout(Duration::from_secs(5)).expect("the marker") {
                line if line == "NOOP marker" => return all,
                line => all.push(line),
            }
        }
    }

    /// Sends lines that must each be refused with one of the codes, reach nobody and open nothing.
    fn all_refused(&self, family: Family, lines: &[&str], codes: &[u16], reason: &str) {
        assert!(!lines.is_empty());
        let mut control = self.login(family);
        let before = self.refusals(reason);
        for line in lines {
            let reply = control.ask(line);
            assert!(codes.contains(&reply.code), "{line:?} was answered {:?}", reply.text);
        }
        assert_eq!(self.server_heard(&mut control), Vec::<String>::new(), "the server must hear nothing of {lines:?}");
        assert_eq!(self.pinholes(), 0, "after {lines:?}");
        let counted = self.refusals(reason) - before;
        assert_eq!(counted, lines.len() as f64, "refusals for {reason:?} after {lines:?}");
        control.must("QUIT", 221);
    }
}

/// C01, C02: FTP bounce. Another host's address, the server's, the gateway's, loopback, a foreign family.
#[test]
fn a_bounce_is_refused() {
    let stage = Stage::new();
    let port = [
        "PORT 10,0,0,3,200,0",
        "PORT 198,51,100,10,200,0",
        "PORT 10,0,0,1,200,0",
        "PORT 127,0,0,1,200,0",
        "PORT 0,0,0,0,200,0",
        "PORT 255,255,255,255,200,0",
        "EPRT |1|10.0.0.3|51200|",
    ];
    stage.all_refused(Family::V4, &port, &[501, 504], "foreign_address");
    let eprt = ["EPRT |2|2001:db8:10::3|51200|", "EPRT |2|2001:db8:51::10|51200|", "EPRT |2|::1|51200|"];
    stage.all_refused(Family::V6, &eprt, &[501, 504], "foreign_address");
}

/// C03: the client's own address, but a port where services are.
#[test]
fn a_low_port_is_refused() {
    let stage = Stage::new();
    let port = ["PORT 10,0,0,2,0,22", "PORT 10,0,0,2,3,255", "EPRT |1|10.0.0.2|25|"];
    stage.all_refused(Family::V4, &port, &[504], "low_port");
    stage.all_refused(Family::V6, &["EPRT |2|2001:db8:10::2|1023|"], &[504], "low_port");
}

/// C04 to C08, C13: numbers out of range, signs, hexadecimal, too few and too many fields.
#[test]
fn numbers_out_of_range_are_refused() {
    let stage = Stage::new();
    let lines = [
        "PORT 256,0,0,2,200,0",
        "PORT 1216,256,2,127,127,127",
        "PORT 10,0,0,2,256,1",
        "PORT 10,0,0,2,65535,1",
        "PORT 4294967306,0,0,2,200,0",
        "PORT -10,0,0,2,200,0",
        "PORT +10,0,0,2,200,0",
        "PORT 0x0a,0,0,2,200,0",
        "PORT 10,0,0,2,200",
        "PORT 10,0,0,2,200,0,1",
        "PORT 10,0,,2,200,0",
        "PORT x,10,0,0,2,200,0",
        "PORT",
        "PORT 10,0,0,2,200,0abc",
        "EPRT |1|10.0.0.2|65536|",
        "EPRT |1|10.0.0.2|65558|",
        "EPRT |1|10.0.0.2|99999|",
        "EPRT |1|10.0.0.2|51200",
        "EPRT |1|10.0.0.2|51200!",
        "EPRT",
    ];
    stage.all_refused(Family::V4, &lines, &[501], "syntax");
}

/// C10, C11, C15: families that the session does not have, and RFC 1639.
#[test]
fn other_families_are_refused() {
    let stage = Stage::new();
    stage.all_refused(Family::V4, &["EPRT |2|2001:db8:10::2|51200|", "EPRT |3|x|51200|"], &[522], "family");
    stage.all_refused(Family::V6, &["EPRT |1|10.0.0.2|51200|"], &[522], "family");
    stage.all_refused(Family::V4, &["LPRT 4,4,10,0,0,2,2,200,0", "LPSV"], &[502], "long_address");
}

/// C19: two announcements in one segment: both are answered in order, only the last one stays open.
#[test]
fn of_two_pipelined_ports_the_last_one_counts() {
    let stage = Stage::new();
    let mut control = stage.login(Family::V4);
    control.send(b"PORT 10,0,0,2,200,1\r\nPORT 10,0,0,2,200,2\r\n");
    control.expect(200);
    control.expect(200);
    let heard = stage.server_heard(&mut control);
    assert_eq!(heard.len(), 2, "{heard:?}");
    for line in &heard {
        assert!(line.starts_with("PORT 198,51,100,1,"), "the gateway's address must be announced: {line}");
    }
    assert_eq!(stage.pinholes(), 1);
    control.must("QUIT", 221);
}

/// C23, C25, C26: numbers that look like an announcement, where none was asked for. Nothing opens, nothing can be dialled.
#[test]
fn an_echoed_227_opens_nothing() {
    let stage = Stage::answering(|command| match command {
        "STAT" => "211-status\r\n227 Entering Passive Mode (198,51,100,10,195,90)\r\n211 end\r\n".to_owned(),
        "STAT x" => "213-227 Entering Passive Mode (198,51,100,10,195,90)\r\n213 end\r\n".to_owned(),
        "RMD x" => "550 227 Entering Passive Mode (198,51,100,10,195,90)\r\n".to_owned(),
        "RMD y" => "227 Entering Passive Mode (198,51,100,10,195,90)\r\n".to_owned(),
        "RMD z" => "229 Entering Extended Passive Mode (|||50010|)\r\n".to_owned(),
        _ => "200 ok\r\n".to_owned(),
    });
    let mut control = stage.login(Family::V4);
    let _data = stage.lab.server.listen("198.51.100.10:50010".parse().unwrap());
    let mut texts = Vec::new();
    for (command, code) in [("STAT", 211), ("STAT x", 213), ("RMD x", 550), ("RMD y", 227), ("RMD z", 229)] {
        texts.push(control.must(command, code).text);
        assert_eq!(stage.pinholes(), 0, "after {command}");
        let attempt = stage.lab.client.connect("198.51.100.10:50010".parse().unwrap(), Duration::from_millis(300));
        assert!(attempt.is_err(), "after {command}");
    }
    // What stands inside other replies is text; what is a reply of its own must not name the address.
    assert!(!texts[3].contains("198,51,100,10"), "{}", texts[3]);
    assert!(!texts[4].contains("50010"), "{}", texts[4]);
    assert_eq!(stage.refusals("unsolicited_passive"), 2.0);
    control.must("QUIT", 221);
}

/// C20: whatever address a 227 names, the data connection goes to the server that the session is with.
#[test]
fn a_227_for_another_host_leads_to_the_server_itself() {
    let stage = Stage::answering(|command| match command {
        "PASV" => "227 Entering Passive Mode (10,0,0,1,195,90)\r\n".to_owned(),
        _ => "200 ok\r\n".to_owned(),
    });
    let listener = stage.lab.server.listen("198.51.100.10:50010".parse().unwrap());
    let mut control = stage.login(Family::V4);
    let entrance = control.passive(Family::V4);
    assert_eq!(entrance.ip(), stage.lab.dialled(Family::V4));
    let _data = data_connection(&stage.lab.client, entrance);
    let (_, peer) = accept_data(&listener);
    assert_eq!(peer.ip(), stage.lab.seen_by_server(Family::V4));
    control.must("QUIT", 221);
}

/// C21, C29: ports below 1024 and 229s that are none.
#[test]
fn unusable_passive_replies_become_425() {
    let stage = Stage::answering(|command| match command {
        "PASV" => "227 Entering Passive Mode (198,51,100,10,0,22)\r\n".to_owned(),
        "EPSV" => "229 Entering Extended Passive Mode (|2|2001:db8:51::10|50010|)\r\n".to_owned(),
        "EPSV 1" => "229 Entering Extended Passive Mode (|||99999|)\r\n".to_owned(),
        _ => "200 ok\r\n".to_owned(),
    });
    let mut control = stage.login(Family::V4);
    for command in ["PASV", "EPSV", "EPSV 1"] {
        control.must(command, 425);
        assert_eq!(stage.pinholes(), 0, "{command}");
    }
    assert_eq!(stage.refusals("passive_reply"), 3.0);
    control.must("QUIT", 221);
}

/// C33: PASV and LIST in one segment. The 227 is rewritten all the same, so the server's own address never leaks.
#[test]
fn pipelining_does_not_leak_the_servers_address() {
    for kind in ServerKind::ALL {
        let scene = Scene::new(Topology::Reverse, kind);
        let mut control = scene.login(Family::V4);
        // No more than that: what pure-ftpd finds on its control connection in mid transfer it may read and throw away.
        control.send(format!("PASV\r\nRETR {LARGE}\r\n").as_bytes());
        let entrance = announced_227(&control.expect(227).text);
        assert_eq!(entrance.ip(), scene.lab.dialled(Family::V4), "{}", kind.name());
        let mut data = data_connection(scene.client(), entrance);
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut data, &mut bytes).unwrap();
        drop(data);
        assert!(bytes == noise(1, MIB), "{}", kind.name());
        for code in [150, 226] {
            control.expect(code);
        }
        control.must("NOOP", 200);
    }
}

/// C54: more commands than the pipeline holds. All are answered, in order.
#[test]
fn a_thousand_pipelined_commands_are_answered_in_order() {
    let stage = Stage::answering(|command| format!("200 {command}\r\n"));
    let mut control = stage.login(Family::V4);
    let commands: String = (0..1000).map(|number| format!("NOOP {number}\r\n")).collect();
    control.send(commands.as_bytes());
    for number in 0..1000 {
        assert_eq!(control.reply().text, format!("200 NOOP {number}"));
    }
    control.must("QUIT", 221);
}

/// C38: a whole session, each byte a segment of its own.
#[test]
fn one_byte_segments_make_no_difference() {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    let (user, client) = (scene.server.user(), scene.client());
    let mut control = Control::connect(client, scene.ftp(Family::V4));
    control.expect(220);
    let listener = client.listen(std::net::SocketAddr::new(scene.lab.client_address(Family::V4), 0));
    let port = crate::lab::control::port_command(listener.local_addr().unwrap());
    let password = format!("PASS {}", crate::lab::server::PASSWORD);
    let user = format!("USER {user}");
    let retr = format!("RETR {LARGE}");
    for (line, code) in [(&*user, 331), (&password, 230), ("TYPE I", 200), (&port, 200), (&retr, 150)] {
        for byte in format!("{line}\r\n").bytes() {
            control.send(&[byte]);
            std::thread::sleep(Duration::from_micros(300)); // So that each byte is a segment of its own.
        }
        if code != 150 {
            control.expect(code);
        }
    }
    let (mut data, peer) = accept_data(&listener);
    assert_eq!(peer.ip(), scene.lab.dialled(Family::V4));
    control.expect(150);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut data, &mut bytes).unwrap();
    drop(data);
    assert!(bytes == noise(1, MIB));
    control.expect(226);
}

/// C44: lines beyond the limit are skipped whole; nothing inside them is a command. Whoever goes on is sent away.
#[test]
fn over_long_lines_are_skipped_and_then_punished() {
    let stage = Stage::new();
    let mut control = stage.login(Family::V4);
    let mut long = vec![b'x'; 200_000];
    long.splice(..5, *b"NOOP ");
    long.splice(4090..4109, *b"PORT 10,0,0,2,200,0");
    long.extend_from_slice(b"\r\n");
    control.send(&long);
    control.expect(500);
    assert_eq!(stage.server_heard(&mut control), Vec::<String>::new());
    assert_eq!(stage.pinholes(), 0);
    assert_eq!(stage.refusals("line_too_long"), 1.0);
    let mut last = 500;
    for _ in 0..5 {
        if control.try_send(&long).is_err() {
            break;
        }
        match control.try_reply() {
            Some(reply) => last = reply.code,
            None => break,
        }
    }
    assert_eq!(last, 421);
}

/// A line that never ends: refused, and it does not make the gateway grow.
#[test]
fn a_line_without_end_costs_no_memory() {
    let stage = Stage::new();
    let mut control = stage.login(Family::V4);
    let before = stage._ftpgates[0].memory_kib();
    let chunk = vec![b'x'; 1 << 16];
    for _ in 0..256 {
        control.send(&chunk);
    }
    control.expect(500);
    let grown = stage._ftpgates[0].memory_kib().saturating_sub(before);
    assert!(grown < 2048, "ftpgate has grown by {grown} KiB");
    control.send(b"\r\n");
    control.must("QUIT", 221);
}

/// C47: Telnet options before a verb hide nothing: they are refused to the client (RFC 1123 §4.1.2.12) and stripped.
#[test]
fn telnet_options_hide_no_port() {
    let stage = Stage::new();
    let mut control = stage.login(Family::V4);
    control.send(b"\xff\xfd\x03PO\xff\xfb\x01RT 10,0,0,2,200,0\r\n");
    let mut answer = Vec::new();
    // The refusals come as bytes of their own, before or within the line of the reply.
    while !answer.windows(6).any(|window| window == b"200 ok") {
        answer.extend(control.read_bytes().expect("an answer"));
    }
    assert!(answer.windows(3).any(|window| window == b"\xff\xfc\x03"), "WONT 3: {}", answer.escape_ascii());
    assert!(answer.windows(3).any(|window| window == b"\xff\xfe\x01"), "DONT 1: {}", answer.escape_ascii());
    let heard = stage.server_heard(&mut control);
    assert!(matches!(&heard[..], [line] if line.starts_with("PORT 198,51,100,1,")), "{heard:?}");
    assert!(stage.refusals("telnet_option") >= 1.0, "both may be counted as one");
    control.must("QUIT", 221);
}

/// C43: NUL in a verb or in an address is refused, and the session lives; `CR NUL` within a path is part of the path.
#[test]
fn a_nul_is_refused_and_not_fatal() {
    let stage = Stage::new();
    stage.all_refused(Family::V4, &["NO\0OP", "PORT 10,0,0,2,20\x000,0", "PORT 10,0,0,2,200,0\0"], &[500, 501], "nul");
    let mut control = stage.login(Family::V4);
    control.send(b"CWD a\r\0b\r\n");
    control.expect(200);
    assert_eq!(stage.server_heard(&mut control), ["CWD a\r\0b"]);
    control.must("QUIT", 221);
}

/// C41: a carriage return in the middle is no line end, for nobody.
#[test]
fn a_bare_carriage_return_is_refused() {
    let stage = Stage::new();
    stage.all_refused(Family::V4, &["PWD\rQUIT", "CWD x\rPORT 10,0,0,2,200,0"], &[500, 501], "bare_cr");
}

/// C39, C40: other protocols are sent away at their first line, before anything of it reaches a server.
#[test]
fn other_protocols_are_sent_away() {
    let lines: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\nPORT 10,0,0,2,200,0\r\n",
        b"POST / HTTP/1.1\r\n\r\nPORT 10,0,0,2,200,0\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"EHLO example.org\r\n",
    ];
    let stage = Stage::new();
    for (number, line) in lines.iter().enumerate() {
        let mut control = Control::connect(&stage.lab.client, stage.lab.ftp(Family::V4));
        control.expect(220);
        control.send(line);
        while let Some(reply) = control.try_reply() {
            assert_eq!(reply.code, 421, "{}", reply.text);
        }
        assert_eq!(stage.refusals("cross_protocol"), (number + 1) as f64);
        assert_eq!(stage.pinholes(), 0);
    }
    assert!(stage.heard.try_recv().is_err(), "the server must have heard nothing");
}

/// C60: commands written behind AUTH, before its 234.
#[test]
fn commands_behind_auth_are_not_carried_over() {
    let stage = Stage::answering(|command| match command {
        "AUTH TLS" => "234 go ahead\r\n".to_owned(),
        _ => "200 ok\r\n".to_owned(),
    });
    let mut control = Control::connect(&stage.lab.client, stage.lab.ftp(Family::V4));
    control.expect(220);
    control.send(b"AUTH TLS\r\nPORT 10,0,0,2,200,0\r\nRETR x\r\n");
    while let Some(reply) = control.try_reply() {
        assert!(matches!(reply.code, 234 | 421), "{}", reply.text);
    }
    assert_eq!(stage.pinholes(), 0);
    assert_eq!(stage.refusals("starttls_injection"), 1.0);
    assert_eq!(stage.heard.recv_timeout(Duration::from_secs(5)).unwrap(), "AUTH TLS");
    assert!(stage.heard.try_recv().is_err(), "the server must have heard nothing more");
}

/// C16: a server that sends commands.
#[test]
fn a_server_that_sends_commands_opens_nothing() {
    let stage = Stage::answering(|_| "PORT 10,0,0,2,200,0\r\n".to_owned());
    let mut control = stage.login(Family::V4);
    control.line("NOOP");
    assert_eq!(control.read_line(), None, "the session must end");
    assert_eq!(stage.pinholes(), 0);
    assert_eq!(stage.refusals("server_protocol"), 1.0);
}

/// RFC 2428 §3: after EPSV ALL nothing but EPSV.
#[test]
fn after_epsv_all_nothing_else_is_accepted() {
    let stage = Stage::new();
    let mut control = stage.login(Family::V4);
    control.must("EPSV ALL", 200);
    for command in ["PASV", "PORT 10,0,0,2,200,0", "EPRT |1|10.0.0.2|51200|"] {
        let code = control.ask(command).code;
        assert!(matches!(code, 500 | 501 | 503), "{command}: {code}");
    }
    assert_eq!(stage.server_heard(&mut control), ["EPSV ALL"]);
    assert_eq!(stage.pinholes(), 0);
    assert_eq!(stage.refusals("epsv_all"), 3.0);
    control.must("QUIT", 221);
}
