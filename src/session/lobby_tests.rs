//! Tests of the lobby: what clients say before they have a server, in every cut, and what hostile ones say.

use proptest::prelude::*;

use super::*;

const GREETING: &str = "220 FTP gateway: log in as user@host or user@host:port.\r\n";
const LOG_IN: &str = "530 Log in first: USER user@host or USER user@host:port.\r\n";

/// A lobby that has heard this, and what it has said behind its greeting.
fn heard(bytes: &[u8]) -> (Lobby, String) {
    let mut lobby = Lobby::new(100);
    assert_eq!(lobby.said(), GREETING.as_bytes());
    lobby.bytes(bytes);
    let said = said(&mut lobby);
    (lobby, said)
}

fn said(lobby: &mut Lobby) -> String {
    String::from_utf8(lobby.said()).unwrap()
}

fn wanted(lobby: &Lobby) -> Option<String> {
    lobby.wanted().map(ToString::to_string)
}

#[test]
fn user_names_the_server_and_what_is_behind_it_is_kept() {
    let (lobby, said) = heard(b"USER joe@ftp.example.net:2121\r\nPASS secret\r\nSYST\r\nPW");
    assert_eq!((said.as_str(), wanted(&lobby).as_deref(), lobby.end()), ("", Some("ftp.example.net:2121"), None));
    let mut named = lobby.leave().unwrap();
    assert_eq!(named.user, b"joe");
    assert_eq!(&*named.rest.join(b"D\r\n"), b"PASS secret\r\nSYST\r\nPWD\r\n");
    assert!(heard(b"NOOP\r\n").0.leave().is_none());
}

#[test]
fn clients_that_ask_before_they_log_in_go_on() {
    for (line, expected) in [
        ("USER joe", LOG_IN),
        ("USER", LOG_IN),
        ("PASS joe@ftp.example.net", LOG_IN),
        ("FEAT", LOG_IN),
        ("SYST", LOG_IN),
        ("OPTS UTF8 ON", LOG_IN),
        ("CLNT x", LOG_IN),
        ("HOST ftp.example.net", LOG_IN),
        ("PBSZ 0", LOG_IN),
        ("PASV", LOG_IN),
        ("EPSV", LOG_IN),
        ("PORT 127,0,0,1,0,22", LOG_IN),
        ("REIN", LOG_IN),
        ("LIST", LOG_IN),
        ("noop", "200 Okay.\r\n"),
        ("AUTH TLS", "534 There is no server yet to secure the connection with; log in first.\r\n"),
        ("QUIT", "221 Goodbye.\r\n"),
    ] {
        let (lobby, said) = heard(format!("{line}\r\n").as_bytes());
        assert_eq!(said, expected, "{line}");
        assert_eq!(lobby.end(), (line == "QUIT").then_some(Leaving::Quit), "{line}");
        assert!(lobby.wanted().is_none(), "{line}");
    }
    let (_, help) = heard(b"HELP\r\n");
    let lines: Vec<&str> = help.split_inclusive("\r\n").collect();
    assert!(
        lines.len() > 2 && lines[0].starts_with("214-") && lines.iter().all(|line| line.ends_with("\r\n")),
        "{help:?}"
    );
    assert!(lines.last().unwrap().starts_with("214 ") && !help.contains("  "), "{help:?}");
}

#[test]
fn a_destination_that_cannot_be_had_is_said_and_another_may_be_named() {
    let (mut lobby, _) = heard(b"USER joe@a\r\nPASS secret\r\nUSER joe@b\r\nPASS secret\r\n");
    assert_eq!(wanted(&lobby).as_deref(), Some("a:21"));
    lobby.refused("a:21 is not a server that this gateway connects to");
    // PASS belongs to the server that could not be had.
    assert_eq!(said(&mut lobby), format!("530 a:21 is not a server that this gateway connects to.\r\n{LOG_IN}"));
    assert_eq!(wanted(&lobby).as_deref(), Some("b:21"));
    lobby.refused("x\r\n230 welcome");
    assert_eq!(said(&mut lobby), format!("530 x230 welcome.\r\n{LOG_IN}"), "no reason can be a reply of its own");
    assert_eq!((wanted(&lobby), lobby.end()), (None, None));
    assert_eq!(lobby.refusals(), []);
}

#[test]
fn attempts_and_commands_are_bounded() {
    let (mut lobby, _) = heard(b"");
    for attempt in 1..=DESTINATIONS {
        lobby.bytes(b"USER joe@a\r\n");
        assert!(lobby.wanted().is_some() && lobby.end().is_none(), "{attempt}");
        lobby.refused("no");
    }
    assert_eq!((lobby.end(), lobby.refusals()), (Some(Leaving::Hostile), vec![Refusal::Attempts]));
    assert!(said(&mut lobby).ends_with("421 Too many attempts to log in; closing control connection.\r\n"));
    lobby.bytes(b"USER joe@a\r\n");
    assert!(lobby.wanted().is_none(), "it is over");

    let (mut lobby, said) = heard(&b"NOOP\r\n".repeat(usize::from(COMMANDS)));
    assert_eq!((said, lobby.end()), ("200 Okay.\r\n".repeat(usize::from(COMMANDS)), None));
    lobby.bytes(b"NOOP\r\nNOOP\r\n");
    assert_eq!((lobby.end(), lobby.refusals()), (Some(Leaving::Hostile), vec![Refusal::Attempts]));
}

#[test]
fn what_is_no_ftp_is_told_so_and_ends() {
    let not_ftp = "421 This does not look like FTP; closing control connection.\r\n";
    for hostile in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n",
        b"EHLO mail.example.net\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\r\nUSER joe@ftp\r\n",
        b"US\0ER joe@ftp\r\n",
        b"\x16\x03\x01\x02\x00\x01",
        b"\x16",
    ] {
        let (mut lobby, said) = heard(hostile);
        assert_eq!((said.as_str(), lobby.end()), (not_ftp, Some(Leaving::Hostile)), "{}", hostile.escape_ascii());
        assert_eq!(lobby.refusals(), [Refusal::CrossProtocol]);
        assert!(lobby.wanted().is_none());
    }
    // So long a first line is none either.
    let (mut lobby, said) = heard(&[b'A'; 200]);
    assert_eq!(
        (said.as_str(), lobby.end(), lobby.refusals()),
        (not_ftp, Some(Leaving::Hostile), vec![Refusal::LineTooLong])
    );
}

#[test]
fn bad_lines_behind_a_command_are_refused_and_counted() {
    let bad_server = "501 That names no server: write USER user@host, user@host:port or user@[IPv6 address]:port.\r\n";
    let long = format!("USER joe@{}", "a".repeat(100));
    for (line, reply, refusal) in [
        ("USER @host", bad_server, Refusal::Syntax),
        ("USER joe@", bad_server, Refusal::Syntax),
        ("USER joe@host:0", bad_server, Refusal::Syntax),
        ("USER joe@host:99999", bad_server, Refusal::Syntax),
        ("USER joe@127.1", bad_server, Refusal::Syntax),
        ("USER joe@2130706433", bad_server, Refusal::Syntax),
        ("USER j\0oe@host", bad_server, Refusal::Syntax),
        ("USER j\x1boe@host", bad_server, Refusal::Syntax),
        ("USER joe@ho\0st", bad_server, Refusal::Syntax),
        ("USER joe@host\rQUIT", "500 Command not understood.\r\n", Refusal::BareCr),
        ("US\0ER joe@host", "501 Syntax error in the argument.\r\n", Refusal::Nul),
        ("U$ER joe@host", "500 Command not understood.\r\n", Refusal::BadVerb),
        ("", "500 Command not understood.\r\n", Refusal::Syntax),
        (&long, "500 Line too long.\r\n", Refusal::LineTooLong),
    ] {
        let (mut lobby, said) = heard(format!("NOOP\r\n{line}\r\nNOOP\r\n").as_bytes());
        assert_eq!(said, format!("200 Okay.\r\n{reply}200 Okay.\r\n"), "{line:?}");
        assert_eq!((lobby.refusals(), lobby.end(), wanted(&lobby)), (vec![refusal], None, None), "{line:?}");
    }
    let (lobby, said) = heard(format!("NOOP\r\n{}", format!("{long}\r\n").repeat(5)).as_bytes());
    assert!(lobby.end() == Some(Leaving::Hostile) && said.contains("421 "), "{said}");
}

#[test]
fn telnet_commands_are_refused_and_hide_nothing() {
    let (mut lobby, _) = heard(b"");
    lobby.bytes(b"\xff\xfd\x06US\xff\xf1ER joe@a\r\nPA\xff");
    assert_eq!(lobby.said(), b"\xff\xfc\x06");
    assert_eq!(lobby.refusals(), [Refusal::TelnetOption]);
    let mut named = lobby.leave().unwrap();
    // A command that was cut in two is one for the session as well.
    let (rest, _) = named.telnet.filter(b"\xf1SS x\r\n");
    assert_eq!(&*named.rest.join(&rest), b"PASS x\r\n");
}

proptest! {
    /// However the bytes are cut, the client hears and gets the same.
    #[test]
    fn any_segmentation_means_the_same(
        lines in prop::collection::vec(
            prop_oneof![
                Just("NOOP\r\n".to_owned()), Just("USER joe@a\r\n".to_owned()), Just("FEAT\n".to_owned()),
                Just("PASS x\r\n".to_owned()), Just("QUIT\r\n".to_owned()), Just("GET / HTTP/1.1\r\n".to_owned()),
                Just(format!("USER {}\r\n", "x".repeat(120))), "[ -~\r\n\0\u{16}]{0,20}",
            ],
            0..8,
        ),
        cuts in prop::collection::vec(1usize..30, 0..20),
    ) {
        let bytes: Vec<u8> = lines.concat().into_bytes();
        let run = |pieces: Vec<&[u8]>| {
            let mut lobby = Lobby::new(100);
            for piece in pieces {
                if lobby.end().is_none() {
                    lobby.bytes(piece);
                }
                // What is wanted cannot be had, at once: before more is read.
                while lobby.wanted().is_some() {
                    lobby.refused("no");
                }
            }
            (String::from_utf8(lobby.said()).unwrap(), lobby.refusals(), lobby.end(), lobby.from_client)
        };
        let whole = run(vec![&bytes]);
        let mut pieces = Vec::new();
        let mut rest: &[u8] = &bytes;
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let cut = run(pieces);
        prop_assert_eq!((&whole.0, &whole.1, whole.2), (&cut.0, &cut.1, cut.2));
        if whole.2.is_none() {
            prop_assert_eq!(whole.3, cut.3);
        }
    }
}
