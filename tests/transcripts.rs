//! Runs every file in `tests/transcripts` against the session: FTP behaviour that an administrator can read and add to.
//!
//! The format is described in `tests/transcripts/README.md`. Not here: the parser and the player (`harness`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may
#![allow(dead_code)] // each test binary uses its part of the harness

mod harness;

use harness::{player, transcript};

#[test]
fn every_transcript_is_true() {
    let all = transcript::all();
    assert!(all.len() >= 45, "only {} transcripts were found", all.len());
    let problems: Vec<String> = all.iter().filter_map(|each| player::play(each).err()).collect();
    assert!(problems.is_empty(), "{} of {}:\n\n{}\n", problems.len(), all.len(), problems.join("\n\n"));
}

/// Cases of the catalogue of attacks that no transcript can show, and where they are tested instead.
const ELSEWHERE: &[(u32, &str)] = &[
    (32, "the port allocator picks the entrance: src/firewall/ports.rs"),
    (38, "any segmentation: tests/chunking.rs"),
    (42, "injected commands are ordinary commands: every transcript of PORT applies"),
    (55, "what is logged: tests of src/observe"),
    (56, "what is logged: tests of src/observe"),
];

/// Its sections 1 to 4, and what belongs to the session of the later ones.
fn cases() -> Vec<u32> {
    (1..=68).chain([73, 78, 79]).collect()
}

#[test]
fn every_attack_on_the_control_channel_has_a_transcript_that_names_it() {
    let texts = transcript::texts();
    let named = |case: u32| texts.iter().any(|(_, text)| text.contains(&format!("C{case:02}")));
    let missing: Vec<u32> = cases()
        .into_iter()
        .filter(|case| !named(*case) && !ELSEWHERE.iter().any(|(number, _)| number == case))
        .collect();
    assert!(missing.is_empty(), "no transcript names these cases: {missing:?}");
}

#[test]
fn a_transcript_that_is_not_true_is_found_out_with_its_line() {
    let header = "client 198.51.100.7:40001\noriginal 203.0.113.1:21\nsource 198.51.100.7:40001\nserver 203.0.113.1:21\nlogin done\n";
    let problem = |steps: &str| {
        let text = format!("{header}{steps}");
        transcript::parse_text("try.txt", &text).and_then(|transcript| player::play(&transcript)).unwrap_err()
    };
    for (steps, expected) in [
        ("> NOOP\n>> NOOO\n", "try.txt:7: expected\n    >> NOOO\n  got\n    >> NOOP"),
        ("> NOOP\n> NOOP\n", "try.txt:7: before this line the session also did\n    >> NOOP"),
        ("> NOOP\n", "try.txt: after the last line the session also did\n    >> NOOP"),
        ("> NOOP\n>> NOOP\n< 200\n", "try.txt:8: expected\n    < 200\n  but the session did nothing more"),
        ("wants client no\n", "try.txt:6: the session wants the client: true"),
        ("nonsense\n", "try.txt:6: no such line"),
        ("> NOOP \n", "try.txt:6: a blank at the end"),
        ("> \\q\n", "try.txt:6: \\q means nothing"),
        ("", "try.txt: nothing happens in it"),
    ] {
        let got = problem(steps);
        assert!(got.starts_with(expected), "for {steps:?} expected {expected:?}, got {got:?}");
    }
}
