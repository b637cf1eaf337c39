//! Any segmentation of the bytes means the same (RFC 1123 §4.1.2.10): the session does the same things whether a conversation
//! arrives in whole segments, byte by byte, or cut at random.
//!
//! Two sources of conversations: the recorded ones in `tests/transcripts`, and random ones. Compared are the bytes that leave
//! on each side, where their urgent marks stand, and all other effects in their order. Not here: the player (`harness`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may
#![allow(dead_code)] // each test binary uses its part of the harness

mod harness;

use std::collections::VecDeque;

use ftpgate::session::Ftps;
use ftpgate::session::effect::{Effect, Note, Refusal, Side};
use harness::conversation;
use harness::notation;
use harness::player::Player;
use harness::transcript::{self, Input, Step, Transcript, What};
use proptest::prelude::*;

/// What a conversation led to, however it was cut.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    to_client: Vec<u8>,
    to_server: Vec<u8>,
    /// Offsets in `to_server` behind which the urgent mark stands.
    urgent: Vec<usize>,
    /// All but bytes, in order; Telnet refusals apart, since they answer no command and may come earlier when a command waits.
    facts: Vec<String>,
    telnet: usize,
    /// Records of transfers, which come when all bytes of an event are read, so after what follows in the same segment.
    transfers: Vec<String>,
}

impl Outcome {
    fn see(&mut self, effect: &Effect<'_>) {
        match effect {
            Effect::Send { side: Side::Client, bytes, .. } => self.to_client.extend_from_slice(bytes),
            Effect::Send { side: Side::Server, bytes, urgent } => {
                self.to_server.extend_from_slice(bytes);
                if *urgent {
                    self.urgent.push(self.to_server.len());
                }
            }
            Effect::Note(Note::Refused(Refusal::TelnetOption, _)) => self.telnet += 1,
            Effect::Note(note) => self.facts.push(format!("{note:?}")),
            Effect::Open(id, request) => self.facts.push(format!("{id:?} {request:?}")),
            Effect::Unwatch(_) | Effect::Transferred(_) => {
                self.transfers.push(format!("{effect:?}"));
                self.transfers.sort();
            }
            other => self.facts.push(format!("{other:?}")),
        }
    }
}

/// Says how many of the bytes that wait in the socket come next.
type Cut<'a> = dyn FnMut(usize) -> usize + 'a;

/// A driver with two sockets: it reads what the session wants, in pieces, and leaves the rest where it is.
struct Driver<'a> {
    player: Player,
    outcome: Outcome,
    sockets: [VecDeque<u8>; 2],
    closing: [bool; 2],
    /// Answers every pinhole and every handshake at once, if the conversation does not say when.
    grants: bool,
    cut: &'a mut Cut<'a>,
}

impl<'a> Driver<'a> {
    fn run(transcript: &Transcript, grants: bool, cut: &'a mut Cut<'a>) -> Outcome {
        let mut player = Player::new(transcript);
        player.restores = false; // the other tests do
        let mut driver = Driver {
            player,
            outcome: Outcome::default(),
            sockets: Default::default(),
            closing: [false; 2],
            grants,
            cut,
        };
        for input in inputs(transcript) {
            match input {
                Input::Bytes(side, bytes) => driver.sockets[index(*side)].extend(bytes),
                Input::Eof(side) => driver.closing[index(*side)] = true,
                other => driver.give(other),
            }
            while driver.read() {}
        }
        driver.outcome.to_client = without_telnet(&driver.outcome.to_client);
        // Options in the same segment behind a line that ended the session are refused with it, or never read.
        if driver.player.session.has_ended() {
            driver.outcome.telnet = 0;
        }
        driver.outcome
    }

    /// One piece, or the end, of a socket that the session wants to read; the client's first.
    fn read(&mut self) -> bool {
        for side in [Side::Client, Side::Server] {
            let at = index(side);
            if !self.player.session.wants(side) {
                continue;
            }
            let waiting = self.sockets[at].len();
            if waiting > 0 {
                let size = (self.cut)(waiting).clamp(1, waiting);
                let piece = self.sockets[at].drain(..size).collect();
                self.give(&Input::Bytes(side, piece));
                return true;
            }
            if std::mem::take(&mut self.closing[at]) {
                self.give(&Input::Eof(side));
                return true;
            }
        }
        false
    }

    fn give(&mut self, input: &Input) {
        let mut asked = Vec::new();
        let mut secures = None;
        let outcome = &mut self.outcome;
        self.player.give(input, &mut |effect| {
            outcome.see(effect);
            match effect {
                Effect::Open(id, request) => asked.push((id.0, request.target.port())),
                Effect::Secure(side) => secures = Some(*side),
                _ => {}
            }
        });
        if !self.grants {
            return;
        }
        for (id, port) in asked {
            let answer = if id % 4 == 3 { Input::Refused(id) } else { Input::Granted(id, 50_000 | port) };
            self.give(&answer);
        }
        if let Some(side) = secures {
            self.give(&Input::Secured(side));
        }
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Server)
}

fn inputs(transcript: &Transcript) -> impl Iterator<Item = &Input> {
    transcript.steps.iter().filter_map(|step| match &step.what {
        What::Input(input) => Some(input),
        What::Expect(_) | What::Wants(..) => None,
    })
}

/// A small generator of our own, so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    /// Mostly short pieces, sometimes long ones.
    fn piece(&mut self, waiting: usize) -> usize {
        let longest = if self.below(4) == 0 { waiting } else { waiting.min(5) };
        1 + self.below(longest)
    }
}

/// Without the answers to Telnet options: they answer no command, and overtake one that waits for its pinhole if they came in
/// the same segment.
fn without_telnet(bytes: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut kept = Vec::new();
    while let Some((first, after)) = rest.split_first() {
        match after {
            [0xfc | 0xfe, _, after @ ..] if *first == 0xff => rest = after,
            _ => {
                kept.push(*first);
                rest = after;
            }
        }
    }
    kept
}

fn assert_same(whole: &Outcome, other: &Outcome, how: &str) {
    let text = |bytes: &[u8]| notation::to_text(bytes).join("\n");
    assert_eq!(text(&whole.to_client), text(&other.to_client), "to the client, {how}");
    assert_eq!(text(&whole.to_server), text(&other.to_server), "to the server, {how}");
    assert_eq!(whole, other, "{how}");
}

#[test]
fn c38_recorded_conversations_mean_the_same_in_pieces() {
    let all = transcript::all();
    assert!(!all.is_empty());
    for transcript in all.into_iter().filter(|each| !each.as_it_is) {
        let name = &transcript.name;
        let whole = Driver::run(&transcript, false, &mut |waiting| waiting);
        assert_same(&whole, &Driver::run(&transcript, false, &mut |_| 1), &format!("{name} byte by byte"));
        for seed in 1..=20 {
            let mut random = Random(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let pieces = Driver::run(&transcript, false, &mut |waiting| random.piece(waiting));
            assert_same(&whole, &pieces, &format!("{name} in pieces, seed {seed}"));
        }
    }
}

#[test]
fn c38_recorded_conversations_mean_the_same_joined() {
    let mut joined_some = false;
    // While PROT waits for the answers before it the client is not read: a server that answers what was not read yet is another one.
    let waits = |each: &Transcript| each.as_it_is || matches!(each.security.ftps, Ftps::Terminate | Ftps::Bridge);
    for transcript in transcript::all().into_iter().filter(|each| !waits(each)) {
        let whole = Driver::run(&transcript, false, &mut |waiting| waiting);
        let mut joined = transcript.clone();
        joined.steps = join(&transcript);
        joined_some |= joined.steps.len() < inputs(&transcript).count();
        assert_same(
            &whole,
            &Driver::run(&joined, false, &mut |waiting| waiting),
            &format!("{} joined", transcript.name),
        );
    }
    assert!(joined_some);
}

/// The same inputs, with what a side says in a row in one segment.
fn join(transcript: &Transcript) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for input in inputs(transcript) {
        if let Input::Bytes(side, bytes) = input
            && let Some(Step { what: What::Input(Input::Bytes(last, joined)), .. }) = steps.last_mut()
            && side == last
        {
            joined.extend_from_slice(bytes);
            continue;
        }
        steps.push(Step { line: 0, what: What::Input(input.clone()) });
    }
    steps
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn c38_random_conversations_mean_the_same_in_pieces(conversation in conversation::random(), seed in 1..u64::MAX) {
        let mut random = Random(seed);
        let whole = Driver::run(&conversation, true, &mut |waiting| waiting);
        assert_same(&whole, &Driver::run(&conversation, true, &mut |waiting| random.piece(waiting)), "in pieces");
        assert_same(&whole, &Driver::run(&conversation, true, &mut |_| 1), "byte by byte");
    }

    #[test]
    fn c38_random_conversations_about_tls_mean_the_same_in_pieces(
        conversation in conversation::random_about_tls(), seed in 1..u64::MAX,
    ) {
        let mut random = Random(seed);
        let whole = Driver::run(&conversation, true, &mut |waiting| waiting);
        assert_same(&whole, &Driver::run(&conversation, true, &mut |waiting| random.piece(waiting)), "in pieces");
        assert_same(&whole, &Driver::run(&conversation, true, &mut |_| 1), "byte by byte");
    }

    #[test]
    fn c38_random_records_mean_the_same_in_pieces(conversation in conversation::records(), seed in 1..u64::MAX) {
        let mut random = Random(seed);
        let whole = Driver::run(&conversation, true, &mut |waiting| waiting);
        assert_same(&whole, &Driver::run(&conversation, true, &mut |waiting| random.piece(waiting)), "in pieces");
        assert_same(&whole, &Driver::run(&conversation, true, &mut |_| 1), "byte by byte");
    }
}
