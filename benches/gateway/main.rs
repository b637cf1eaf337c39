//! `make bench`: what an FTP gateway costs, ftpgate's figures beside those of its peers.
//!
//! Lives here: the order of things, and which part of itself this program is: the harness, the FTP server (`server.rs`) or the
//! load generator (`load.rs`), which it starts in the namespaces of the lab (`tests/lab`). Not here: who takes part
//! (`contestant.rs`), what is measured (`measures.rs`), what becomes of it (`report.rs`, `plot.rs`), what it means
//! (`docs/benchmarks.md`).
//!
//! All contestants are up all the time, each with hosts of its own, and take turns at every measurement, in an order that moves on
//! with each round: so whatever else the machine does meets them all alike. Only ratios within a round are told.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]
// The trait is ours, and its futures stay on their threads.
#![allow(async_fn_in_trait)]

#[path = "../../tests/lab/mod.rs"]
mod lab;

mod contestant;
mod load;
mod many;
mod measures;
mod pattern;
mod plot;
mod process;
mod report;
mod server;
mod session;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use contestant::{Contestant, Kind};
use measures::{Results, Step};

/// No run is longer, unless `BENCH_MINUTES` says so: the rounds that were whole by then count.
const MINUTES: u32 = 9;

/// A number from the environment, or its default; bounded, so that no setting makes this run for ever.
fn setting(name: &str, default: u32, most: u32) -> u32 {
    let value = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    value.clamp(1, most)
}

/// How many cores there are.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.first().map(String::as_str) {
        // `cargo test --benches` and the like only want to know that it starts.
        Some("--test" | "--list") => Ok(()),
        Some("server") => server::run(),
        Some("load") => load::run(&arguments[1..]),
        _ => bench(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let begun = Instant::now();
    let limit = Duration::from_secs(60 * u64::from(setting("BENCH_MINUTES", MINUTES, 120)));
    let rounds = setting("BENCH_ROUNDS", 7, 100) as usize;
    let (kinds, steps, whole) = chosen()?;
    let mut contestants = kinds
        .into_iter()
        .map(|kind| Contestant::new(kind).with_context(|| format!("{} is not ready", kind.name())))
        .collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.kind.name()).collect();
    println!("{rounds} rounds of {}; every byte is compared", names.join(", "));
    let mut results = Results::default();
    let mut load = report::Load::default();
    for round in 0..rounds {
        let begun_round = Instant::now();
        one(round, &steps, &mut contestants, &mut results)?;
        results.rounds = round + 1;
        load.look();
        println!("round {} took {:.0} s; load {}", round + 1, begun_round.elapsed().as_secs_f64(), load.last());
        if begun.elapsed() + begun_round.elapsed() > limit {
            println!("no more rounds: {:.0} minutes are over soon (BENCH_MINUTES)", limit.as_secs_f64() / 60.0);
            break;
        }
    }
    drop(contestants);
    let report = report::Report::new(&results, &load);
    println!("\n{}", report.text());
    if whole { report.write().context("writing the results into docs") } else { Ok(()) }
}

/// Every step, every contestant: each step on all of them before the next.
fn one(round: usize, steps: &[Step], contestants: &mut [Contestant], results: &mut Results) -> Result<()> {
    // Neither core is better known than the other.
    let core = round % cores();
    for step in steps {
        for turn in 0..contestants.len() * step.tries() {
            let at = (round + turn) % contestants.len();
            let contestant = &mut contestants[at];
            if contestant.out || !step.suits(contestant.kind) {
                continue;
            }
            contestant.pin(step.on_one_core().then_some(core))?;
            let measured = step.measure(contestant, results).with_context(|| format!("{step:?}"));
            match measured {
                // It is nobody's target.
                Err(error) if contestant.kind.forks() => {
                    contestant.out = true;
                    let name = contestant.kind.name();
                    results.notes.push(format!("`{name}` was out from round {} on: {error:#}.", round + 1));
                }
                measured => measured?,
            }
        }
    }
    Ok(())
}

/// Contestants and steps that `BENCH_ONLY` names, or all; whether every target can be judged by them, so that the documentation
/// may be replaced.
fn chosen() -> Result<(Vec<Kind>, Vec<Step>, bool)> {
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let words: Vec<&str> = only.split([',', ' ']).filter(|word| !word.is_empty()).collect();
    for word in &words {
        let known = Kind::ALL.iter().any(|kind| kind.name() == *word) || Step::all().iter().any(|s| s.word() == *word);
        ensure!(known, "BENCH_ONLY={only}: {word} is neither a contestant nor a measurement");
    }
    let kinds_named = Kind::ALL.iter().any(|kind| words.contains(&kind.name()));
    let steps_named = Step::all().iter().any(|step| words.contains(&step.word()));
    // Everything is compared with it.
    let wanted = |kind: &Kind| !kinds_named || *kind == Kind::Direct || words.contains(&kind.name());
    let mut kinds: Vec<Kind> = Kind::ALL.into_iter().filter(wanted).collect();
    for kind in &kinds {
        if !kind.present() {
            println!("{} takes no part: benches/gateway/setup.sh has not unpacked it", kind.name());
        }
    }
    kinds.retain(|kind| kind.present());
    let steps = Step::all().into_iter().filter(|step| !steps_named || words.contains(&step.word())).collect();
    // Without the others a run is shorter, and no target needs them.
    let needed = [Kind::Direct, Kind::Kernel, Kind::Ftpgate, Kind::Haproxy];
    let whole = !steps_named && needed.iter().all(|kind| kinds.contains(kind));
    Ok((kinds, steps, whole))
}
