//! Random conversations: what clients and servers say, and much that they do not, in segments of several lines.
//!
//! Lives here: [`random`], [`random_about_tls`], [`records`]. Not here: what must be true of them (`chunking.rs`, `translation.rs`).

use ftpgate::session::effect::Side;
use ftpgate::session::{Ends, Ftps, Security, ServerMode, Settings};
use proptest::prelude::*;

use super::transcript::{Input, Step, Transcript, What};

/// What clients say. AUTH is not among them: while it is unanswered, what the client says next and what the server says next
/// are a race that segmentation decides; the recorded conversations and the simulation have it.
fn from_client() -> impl Strategy<Value = Vec<u8>> {
    let line = |text: &'static [u8]| Just([text, b"\r\n"].concat());
    prop_oneof![
        4 => prop::sample::select(vec![
            &b"PASV"[..], b"EPSV", b"epsv 1", b"PORT 10,0,0,7,156,164", b"EPRT |1|10.0.0.7|40101|",
            b"EPRT |2|2001:db8:a::7|40101|", b"ALGS STATUS64", b"ALGS DISABLE64", b"algs enable64", b"LIST", b"RETR x",
            b"STOR y", b"NOOP", b"ABOR", b"STAT", b"PWD", b"CWD \xe4\xff\xff", b"SIZE a\r\0b",
        ]).prop_flat_map(line),
        2 => prop::sample::select(vec![
            &b"PORT 10,0,0,8,156,164"[..], b"PORT 10,0,0,7,0,22", b"PORT 1,2", b"EPRT |2|::1|40000|", b"LPSV", b"EPSV 2",
            b"EPSV ALL", b"PASVX", b"  PASV", b"PO\0RT", b"PWD\rQUIT", b"", b"\xff\xfd\x03NOOP", b"NO\xff\xfb\x01OP",
            b"\xff\xfa\x01\x02\xff\xf0PWD", b"REIN", b"227 (1,2,3,4,5,6)", b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ]).prop_flat_map(line),
        1 => Just(b"NOOP\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

/// What servers say, whether anybody asked or not.
fn from_server() -> impl Strategy<Value = Vec<u8>> {
    let line = |text: &'static [u8]| Just([text, b"\r\n"].concat());
    prop_oneof![
        4 => prop::sample::select(vec![
            &b"227 ok (203,0,113,5,195,80)."[..], b"227 =10,9,9,9,195,81", b"229 ok (|||50002|)", b"200 ok", b"150 go", b"226 done",
            b"250 ok", b"550 no", b"425 no", b"426 aborted", b"230 in", b"220 ready", b"502 what",
        ]).prop_flat_map(line),
        2 => prop::sample::select(vec![
            &b"227 Logout."[..], b"227 ok (1,2,3,4,0,25)", b"227-first", b"227 last (203,0,113,5,195,80)", b"213-status", b"213 end",
            b" text", b"hello", b"22", b"200", b"229 (||1|5|)", b"228 (4,4,1,2,3,4,2,5,6)", b"211 stat",
            b"200 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ]).prop_flat_map(line),
        1 => Just(b"200 ok\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
    ]
}

/// Forward mode; an IPv6 client of an IPv4 server; an IPv4 client of an IPv6 server.
pub fn ends() -> [Ends; 3] {
    let ends = |client: &str, original: &str, source: &str, server: &str| Ends {
        client: client.parse().unwrap(),
        original: original.parse().unwrap(),
        source: source.parse().unwrap(),
        server: server.parse().unwrap(),
        detour: None,
    };
    [
        ends("10.0.0.7:40001", "203.0.113.5:21", "198.51.100.1:40001", "203.0.113.5:21"),
        ends("[2001:db8:a::7]:40001", "[2001:db8:b::1]:21", "198.51.100.1:40001", "203.0.113.5:21"),
        ends("10.0.0.7:40001", "203.0.113.5:21", "[2001:db8:c::1]:40001", "[2001:db8:b::5]:21"),
    ]
}

/// A conversation after the login, between peers of one address family or of two.
pub fn random() -> impl Strategy<Value = Transcript> {
    let segment = prop_oneof![
        prop::collection::vec(from_client(), 1..6).prop_map(|lines| (Side::Client, lines.concat())),
        prop::collection::vec(from_server(), 1..6).prop_map(|lines| (Side::Server, lines.concat())),
    ];
    (prop::sample::select(ends().to_vec()), prop::collection::vec(segment, 1..25))
        .prop_map(|(ends, segments)| conversation(ends, Security::default(), segments))
}

fn conversation(ends: Ends, security: Security, segments: Vec<(Side, Vec<u8>)>) -> Transcript {
    Transcript {
        name: "a random conversation".to_owned(),
        ends,
        settings: Settings {
            line_length: 48,
            // Never reached: which commands were read when an answer comes is decided by the client, not by the pieces.
            pipeline: 10_000,
            pinhole_timeout: 60_000,
            login_timeout: 120_000,
            idle_timeout: 900_000,
            data_idle_timeout: 300_000,
            tracked: false,
            reset_on_close: true,
            server_mode: ServerMode::AsClient,
        },
        security,
        as_it_is: false,
        logged_in: true,
        lobby: None,
        steps: segments
            .into_iter()
            .map(|(side, bytes)| Step { line: 0, what: What::Input(Input::Bytes(side, bytes)) })
            .collect(),
    }
}

/// A conversation about TLS after the login, with all that may be set. A line that a handshake can follow is the last of its
/// segment: what stands behind it is found out only if it comes with it. The server says one line at a time: whether the client,
/// which waits for it, or the server says more first is a race that segmentation decides.
pub fn random_about_tls() -> impl Strategy<Value = Transcript> {
    let line = |text: &'static [u8]| Just([text, b"\r\n"].concat());
    let about = prop::sample::select(vec![
        &b"PBSZ 0"[..],
        b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        b"PORT 1,2",
        b"",
        b"PROT P",
        b"prot c",
        b"PROT S",
        b"PROT",
        b"PBSZ x",
        b"CCC",
        b"FEAT",
        b"REIN",
        b"ADAT x",
        b"AUTH GSSAPI",
        b"PASV",
        b"EPSV",
        b"PORT 10,0,0,7,156,164",
        b"LIST",
        b"NOOP",
        b"USER joe",
        b"ABOR",
    ])
    .prop_flat_map(line);
    let answers = prop::sample::select(vec![
        &b"211-Features:"[..],
        b" AUTH TLS",
        b" SIZE",
        b"211 End",
        b"200 ok",
        b"227 ok (203,0,113,5,195,80).",
        b"229 ok (|||50002|)",
        b"534 no",
        b"503 no",
        b"226 done",
        b"220 ready",
    ])
    .prop_flat_map(line);
    let segment = prop_oneof![
        4 => prop::collection::vec(about, 1..5).prop_map(|lines| (Side::Client, lines.concat())),
        6 => answers.prop_map(|line| (Side::Server, line)),
        1 => prop::sample::select(vec![&b"AUTH TLS\r\n"[..], b"auth ssl\r\n", b"NOOP\r\nAUTH TLS-P\r\n"])
            .prop_map(|bytes| (Side::Client, bytes.to_vec())),
        1 => Just((Side::Server, b"234 go\r\n".to_vec())),
    ];
    let ftps = prop::sample::select(vec![Ftps::Refuse, Ftps::Terminate, Ftps::Bridge]);
    let security =
        (ftps, any::<bool>()).prop_map(|(ftps, allow_ccc)| Security { ftps, allow_ccc, ..Security::default() });
    (prop::sample::select(ends().to_vec()), security, prop::collection::vec(segment, 1..25)).prop_map(
        |(ends, security, mut segments)| {
            // One of them: what waits in the socket behind a refused one is read at once, or in pieces.
            let mut count = 0;
            segments.retain(|(_, bytes)| {
                let begins = bytes.to_ascii_uppercase().windows(8).any(|it| it == b"AUTH TLS" || it == b"AUTH SSL");
                count += u32::from(begins);
                !begins || count == 1
            });
            conversation(ends, security, segments)
        },
    )
}

/// TLS that passes, and what claims to be, and what may follow it.
pub fn records() -> impl Strategy<Value = Transcript> {
    let record = |kind: u8| [&[kind, 3, 3, 0, 9][..], b"PORT 1,2\n"].concat();
    let part = prop_oneof![
        3 => Just(record(23)),
        3 => Just(record(21)),
        1 => Just(record(22)),
        1 => Just(b"PASV\r\n".to_vec()),
        1 => Just(b"227 ok (203,0,113,5,195,80)\r\n".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    let segment = (any::<bool>(), prop::collection::vec(part, 1..4))
        .prop_map(|(client, parts)| (if client { Side::Client } else { Side::Server }, parts.concat()));
    let security = Security { range: Some((50_000, 50_100)), ..Security::default() };
    (prop::collection::vec(segment, 1..12), any::<bool>()).prop_map(move |(segments, begins)| {
        let [ends, ..] = ends();
        let hello = begins.then(|| (Side::Client, record(22)));
        let auth = [(Side::Client, b"AUTH TLS\r\n".to_vec()), (Side::Server, b"234 go\r\n".to_vec())];
        conversation(ends, security, auth.into_iter().chain(hello).chain(segments).collect())
    })
}
