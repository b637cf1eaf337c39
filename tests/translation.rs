//! Whoever talks and whatever is said: between a client and a server of different address families (RFC 6384) or in different
//! modes no announcement of the wrong family or mode reaches either side, and none whose data connection cannot be made.
//!
//! The lines are read by the simulation's own reader, not by the code under test. Not here: what each rule of the RFC says
//! (`transcripts/rfc6384_*`), any segmentation (`chunking.rs`), peers that keep account of their answers (`simulation.rs`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may
#![allow(dead_code)] // each test binary uses its part of the harness

mod harness;
#[path = "harness/sim/text.rs"]
mod text;

use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;

use ftpgate::pinhole::{Joint, Request};
use ftpgate::session::effect::{Effect, PinholeId, Side};
use ftpgate::session::{Ends, ServerMode, Settings};
use harness::conversation;
use harness::player::Player;
use harness::transcript::{Input, Transcript, What};
use proptest::test_runner::{Config, TestRunner};
use text::{Lines, Replies, Role};

/// Both ends of the wire, and the firewall.
struct Watch {
    ends: Ends,
    mode: ServerMode,
    to_client: Lines,
    to_server: Lines,
    replies: Replies,
    /// What the session asked for and has no answer to.
    asked: Vec<(PinholeId, Request)>,
    asked_joint: Vec<(PinholeId, Joint)>,
    /// Whether it is the client that dials, and where.
    open: Vec<(PinholeId, bool, u16)>,
    /// `ALGS DISABLE64` was among what the client said.
    may_be_off: bool,
    announced: u64,
    noops: u64,
}

impl Watch {
    fn see(&mut self, effect: &Effect<'_>) {
        match effect {
            Effect::Send { side: Side::Client, bytes, .. } => {
                for line in self.to_client.feed(bytes) {
                    self.client_hears(text::without_telnet(&line));
                }
            }
            Effect::Send { side: Side::Server, bytes, .. } => {
                for line in self.to_server.feed(bytes) {
                    self.server_hears(text::without_telnet(&line));
                }
            }
            Effect::Open(id, request) => {
                let client_side =
                    if request.announcement.is_active() { request.target.ip() } else { request.initiator };
                assert_eq!(client_side, self.ends.client.ip(), "{request:?}");
                let differ = request.initiator.is_ipv6() != request.target.is_ipv6();
                assert_eq!(differ, self.ends.differ(), "{request:?}");
                assert_eq!(request.initiator.is_ipv6(), request.entrance.is_ipv6(), "{request:?}");
                assert_eq!(request.target.is_ipv6(), request.source.is_ipv6(), "{request:?}");
                self.asked.push((*id, *request));
            }
            Effect::Join(id, joint) => {
                match self.mode {
                    ServerMode::AsClient => panic!("{joint:?}"),
                    ServerMode::Passive => assert!(joint.announcement.is_active(), "{joint:?}"),
                    ServerMode::Active => assert!(!joint.announcement.is_active(), "{joint:?}"),
                }
                self.asked_joint.push((*id, **joint));
            }
            Effect::Close(id) => self.open.retain(|(open, ..)| open != id),
            _ => {}
        }
    }

    fn is_open(&self, by_client: bool, port: u16) -> bool {
        self.open.iter().any(|(_, client, open)| *client == by_client && *open == port)
    }

    fn client_hears(&mut self, line: &[u8]) {
        let role = self.replies.role(line);
        let masked = line.trim_ascii_start().iter().skip(3).all(|byte| !matches!(byte, b'1'..=b'9'));
        if !text::looks_passive(line) || masked || matches!(role, Role::Inside(code) if !(227..=229).contains(&code)) {
            return;
        }
        let shown = String::from_utf8_lossy(line);
        let port = match role {
            Role::Final(227) if self.ends.client.is_ipv4() => {
                let named = text::six_numbers(line).unwrap();
                assert_eq!(named.ip(), self.ends.original.ip(), "not ours: {shown}");
                named.port()
            }
            Role::Final(229) => text::extended_port(line).unwrap(),
            _ => panic!("the client could dial it: {shown}"),
        };
        assert!(self.is_open(true, port), "not in force: {shown}");
        self.announced += 1;
    }

    fn server_hears(&mut self, line: &[u8]) {
        let shown = String::from_utf8_lossy(line);
        let (verb, argument) = text::verb_and_argument(line);
        let ipv6 = self.ends.server.is_ipv6();
        let ours = |port| SocketAddr::new(self.ends.source.ip(), port);
        let (passive, active) = (matches!(&*verb, "PASV" | "EPSV"), matches!(&*verb, "PORT" | "EPRT"));
        assert!(!active || self.mode != ServerMode::Passive, "the server listens: {shown}");
        // `EPSV ALL` goes to no server in active mode either.
        assert!(!passive || self.mode != ServerMode::Active, "the server dials: {shown}");
        let differ = self.ends.differ();
        let named = match (&*verb, ipv6) {
            ("PASV" | "EPSV" | "NOOP", _) if !differ => return,
            ("EPRT", _) if !differ => text::extended_address(&argument),
            ("NOOP", _) => {
                self.noops += 1;
                return;
            }
            ("EPSV", true) => return assert!(matches!(&*argument, "" | "ALL"), "{shown}"),
            ("EPSV", false) => return assert!(self.may_be_off, "{shown}"),
            ("PORT", false) => text::six_numbers(line),
            ("EPRT", true) => text::extended_address(&argument),
            ("PORT" | "PASV", true) | ("EPRT", false) | ("LPRT" | "LPSV" | "SPOR" | "SPAS", _) => {
                panic!("never passes: {shown}")
            }
            _ => return,
        };
        let named = named.unwrap_or_else(|| panic!("not an address that was written here: {shown}"));
        assert_eq!(named, ours(named.port()), "not ours: {shown}");
        assert!(self.is_open(false, named.port()), "not in force: {shown}");
        self.announced += 1;
    }
}

/// Plays a conversation, in pieces of so many bytes, and says how many announcements and NOOPs left.
fn play(conversation: &Transcript, piece: usize) -> (u64, u64) {
    let mut player = Player::new(conversation);
    player.restores = false; // the other tests do
    let mut watch = Watch {
        ends: conversation.ends.clone(),
        mode: conversation.settings.server_mode,
        to_client: Lines::default(),
        to_server: Lines::default(),
        replies: Replies::default(),
        asked: Vec::new(),
        asked_joint: Vec::new(),
        open: Vec::new(),
        may_be_off: false,
        announced: 0,
        noops: 0,
    };
    let mut sockets: [VecDeque<u8>; 2] = Default::default();
    for step in &conversation.steps {
        let What::Input(Input::Bytes(side, bytes)) = &step.what else { continue };
        watch.may_be_off |= bytes.windows(9).any(|word| word.eq_ignore_ascii_case(b"DISABLE64"));
        sockets[usize::from(*side == Side::Server)].extend(bytes);
        // What the session does not want yet waits. Each turn takes bytes or answers a request, so this ends.
        loop {
            let ready = [Side::Client, Side::Server]
                .into_iter()
                .find(|side| player.session.wants(*side) && !sockets[usize::from(*side == Side::Server)].is_empty());
            let input = if let Some((id, request)) = watch.asked.pop() {
                if id.0 % 5 == 4 {
                    Input::Refused(id.0)
                } else {
                    let port = 61_000 + u16::try_from(id.0).unwrap();
                    watch.open.push((id, !request.announcement.is_active(), port));
                    Input::Granted(id.0, port)
                }
            } else if let Some((id, joint)) = watch.asked_joint.pop() {
                if id.0 % 5 == 4 {
                    Input::Refused(id.0)
                } else if joint.announcement.is_active() {
                    Input::Joined(id.0, 0, 0)
                } else {
                    let client = 61_000 + u16::try_from(id.0).unwrap();
                    watch.open.extend([(id, true, client), (id, false, client + 1_000)]);
                    Input::Joined(id.0, client, client + 1_000)
                }
            } else if let Some(side) = ready {
                let socket = &mut sockets[usize::from(side == Side::Server)];
                let size = piece.min(socket.len());
                Input::Bytes(side, socket.drain(..size).collect())
            } else {
                break;
            };
            player.give(&input, &mut |effect| watch.see(effect));
        }
    }
    (watch.announced, watch.noops)
}

#[test]
fn rfc6384_no_announcement_of_the_wrong_family_passes_to_either_side() {
    let [_, six_to_four, four_to_six] = conversation::ends();
    for ends in [six_to_four, four_to_six] {
        let noops = try_all(&ends, ServerMode::AsClient);
        assert!(noops > 1_000, "{noops} NOOPs");
    }
}

#[test]
fn no_announcement_of_the_wrong_mode_passes_to_either_side() {
    for ends in conversation::ends() {
        for mode in [ServerMode::Passive, ServerMode::Active] {
            try_all(&ends, mode);
        }
    }
}

/// Random conversations between these; the number of NOOPs that the server got.
fn try_all(ends: &Ends, server_mode: ServerMode) -> u64 {
    let (announced, noops) = (Cell::new(0), Cell::new(0));
    let config = Config { cases: 2000, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&conversation::random(), |conversation| {
            let settings = Settings { server_mode, ..conversation.settings };
            let conversation = Transcript { ends: ends.clone(), settings, ..conversation };
            for piece in [1, 7, usize::MAX] {
                let (some, noop) = play(&conversation, piece);
                announced.set(announced.get() + some);
                noops.set(noops.get() + noop);
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    // A test that tries nothing finds nothing.
    assert!(announced.get() > 10, "{announced:?} announcements");
    noops.get()
}
