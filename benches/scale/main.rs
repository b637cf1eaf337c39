//! `make bench-scale`: what an idle session costs by the thousand, and what a pinhole costs beside 20,000 others.
//!
//! Lives here: the order, and which questions are asked. Not here: both ends of the sessions (`peers.rs`), idle sessions
//! (`idle.rs`), pinholes (`pinholes.rs`), reading /proc (`memory.rs`, `../tracking/usage.rs`), what the figures mean
//! (`docs/scaling.md`).
//!
//! Everything happens in network namespaces `fg-…`. Server, clients and gateway are processes of their own, because each of them
//! needs a descriptor or two for every session. Settings are numbers in the environment, see [`setting`]; `HAPROXY=FILE` measures
//! HAProxy beside ftpgate, `BENCH_PARTS` chooses among `idle`, `many` and `pinholes`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[path = "../../tests/lab/mod.rs"]
mod lab;
#[path = "../tracking/usage.rs"]
#[allow(dead_code)] // the other benchmark uses all of it
mod usage;

mod idle;
mod memory;
mod peers;
mod pinholes;

use std::process::ExitCode;

/// A number from the environment, or its default; bounded, so that no setting makes this run for ever.
fn setting(name: &str, default: u32, most: u32) -> u32 {
    let value = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    value.clamp(1, most)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["server", at] => return peers::server(at.parse().unwrap()),
        ["client", to, sessions] => return peers::client(to.parse().unwrap(), sessions.parse().unwrap()),
        _ => {}
    }
    // `cargo test --benches` and the like only want to know that it starts.
    if words.iter().any(|word| matches!(*word, "--test" | "--list")) {
        return ExitCode::SUCCESS;
    }
    let parts = std::env::var("BENCH_PARTS").unwrap_or_else(|_| "idle,many,pinholes".to_owned());
    let asked = |part: &str| parts.split(',').any(|word| word == part);
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    let mut good = true;
    if asked("idle") {
        good &= idle::one_process(setting("BENCH_SESSIONS", 9900, 9900), setting("BENCH_IDLE", 60, 600));
    }
    if asked("many") {
        good &= idle::several_processes(setting("BENCH_ALL_SESSIONS", 20_000, 100_000));
    }
    if asked("pinholes") {
        good &= pinholes::all(setting("BENCH_PINHOLES", 20_000, 60_000), setting("BENCH_ROUNDS", 5, 50));
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
