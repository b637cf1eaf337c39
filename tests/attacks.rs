//! Attacks that are too long to write down as a transcript: floods, and replies and lines without end.
//!
//! What is kept for them is measured where a hand-over would write it out. Not here: everything that fits in a transcript
//! (`tests/transcripts`), the same against the running daemon (`tests/e2e`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may
#![allow(dead_code)] // each test binary uses its part of the harness

mod harness;

use ftpgate::session::effect::{Effect, EndReason, Side};
use harness::player::Player;
use harness::transcript::{self, Input};

/// The last line is only there because a transcript must have a step; nothing plays it.
const HEADER: &str = "client 10.0.0.7:40001\noriginal 203.0.113.5:21\nsource 198.51.100.1:40001\nserver 203.0.113.5:21\nlogin done\ndrain\n";

fn player() -> Player {
    let mut player = Player::new(&transcript::parse_text("attack", HEADER).unwrap());
    player.restores = false; // the other tests do
    player
}

/// Says it, and whether the session ended, and how many bytes left.
fn say(player: &mut Player, side: Side, bytes: &[u8]) -> (Option<EndReason>, usize) {
    let (mut end, mut sent) = (None, 0);
    player.give(&Input::Bytes(side, bytes.to_vec()), &mut |effect| match effect {
        Effect::End(reason) => end = Some(*reason),
        Effect::Send { bytes, .. } => sent += bytes.len(),
        _ => {}
    });
    (end, sent)
}

/// What a session holds, as its written-out form: more than it takes in memory.
fn size(player: &Player) -> usize {
    serde_json::to_string(&player.session).unwrap().len()
}

#[test]
fn c44_a_command_without_end_is_answered_once_and_not_kept() {
    let mut player = player();
    let idle = size(&player);
    let (end, sent) = say(&mut player, Side::Client, &[b'A'; 5_000]);
    assert_eq!(end, None);
    assert!(sent > 0, "the client was told");
    for _ in 0..1_000 {
        assert_eq!(say(&mut player, Side::Client, &[b'A'; 5_000]), (None, 0));
    }
    assert!(size(&player) <= idle + 100, "{} bytes are kept", size(&player));
}

#[test]
fn c45_a_reply_without_end_ends_the_session() {
    let mut player = player();
    let chunk = b"211-again and again\r\n".repeat(1_000);
    let mut lines = 0;
    let end = loop {
        lines += 1_000;
        if let (Some(end), _) = say(&mut player, Side::Server, &chunk) {
            break end;
        }
        assert!(lines < 200_000, "{lines} lines, and the session goes on");
    };
    assert_eq!(end, EndReason::Hostile);
}

#[test]
fn c45_a_reply_line_without_end_is_cut_and_not_kept() {
    let mut player = player();
    let idle = size(&player);
    say(&mut player, Side::Server, b"200 ");
    let (_, sent) = say(&mut player, Side::Server, &[b'A'; 10_000]);
    assert!(sent <= 4_096 + 2, "{sent} bytes of one line");
    for _ in 0..1_000 {
        assert_eq!(say(&mut player, Side::Server, &[b'A'; 5_000]), (None, 0));
    }
    assert!(size(&player) <= idle + 100, "{} bytes are kept", size(&player));
}

#[test]
fn c50_a_subnegotiation_without_end_is_not_kept() {
    let mut player = player();
    let idle = size(&player);
    say(&mut player, Side::Client, b"\xff\xfa\x18");
    for _ in 0..1_000 {
        assert_eq!(say(&mut player, Side::Client, &[b'A'; 5_000]), (None, 0));
    }
    assert!(size(&player) <= idle + 100, "{} bytes are kept", size(&player));
}

#[test]
fn c54_a_thousand_pipelined_commands_are_not_all_taken() {
    let mut player = player();
    let (end, sent) = say(&mut player, Side::Client, &b"NOOP\r\n".repeat(1_000));
    assert_eq!((end, sent), (None, 32 * 6), "as many as the FIFO has slots");
    assert!(!player.session.wants(Side::Client), "the rest waits in the socket");
    // Every answer lets one more through, and none is lost.
    let mut passed = 32;
    for _ in 0..1_000 {
        let (_, sent) = say(&mut player, Side::Server, b"200 ok\r\n");
        passed += (sent - 8) / 6;
    }
    assert_eq!(passed, 1_000);
    assert!(player.session.wants(Side::Client));
}

#[test]
fn a_session_that_rests_holds_next_to_nothing() {
    let mut player = player();
    let idle = size(&player);
    for _ in 0..100 {
        say(&mut player, Side::Client, b"NOOP\r\nPWD\r\nSYST\r\n");
        say(&mut player, Side::Server, b"200 ok\r\n257 \"/\"\r\n215 UNIX\r\n");
    }
    assert_eq!(size(&player), idle);
    assert!(idle < 1_500, "{idle} bytes");
}
