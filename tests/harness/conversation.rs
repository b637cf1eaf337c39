//! Random conversations: what clients and servers say, and much that they do not, in segments of several lines.
//!
//! Lives here: [`random`]. Not here: what must be true of them (`chunking.rs`, `translation.rs`).

use ftpgate::session::effect::Side;
use ftpgate::session::{Ends, Security, ServerMode, Settings};
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
    (prop::sample::select(ends().to_vec()), prop::collection::vec(segment, 1..25)).prop_map(|(ends, segments)| {
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
            security: Security::default(),
            as_it_is: false,
            logged_in: true,
            lobby: None,
            steps: segments
                .into_iter()
                .map(|(side, bytes)| Step { line: 0, what: What::Input(Input::Bytes(side, bytes)) })
                .collect(),
        }
    })
}
