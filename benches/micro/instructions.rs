//! A fixed program whose instructions `.ci/instructions` counts under callgrind: `instructions WORK TIMES`.
//!
//! Twice with different `TIMES`, and the difference is the work alone, without the start of the program. Lives here: which works
//! there are, and how often one may be done. Not here: what they consist of (`script.rs`), what they may cost
//! (`instructions.txt`).

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "script.rs"]
mod script;

use std::process::ExitCode;

use ftpgate::session::effect::Effects;
use script::{Kernel, Talk, whole_session};

/// Does a work once more and says how many bytes came of it.
type Work = Box<dyn FnMut() -> usize>;

fn talk() -> Talk {
    let mut talk = Talk::begin(Effects::new());
    talk.login();
    talk
}

fn work(name: &str) -> Option<Work> {
    let (mut talk, mut kernel) = (talk(), Kernel::new());
    let mut effects = Some(Effects::new());
    Some(match name {
        "noop" => Box::new(move || {
            talk.noop();
            talk.sent
        }),
        "pasv" => Box::new(move || {
            talk.pasv();
            talk.sent
        }),
        "session" => Box::new(move || {
            let (sent, outbox) = whole_session(effects.take().unwrap_or_default());
            effects = Some(outbox);
            sent
        }),
        "pinhole" => Box::new(move || kernel.open_and_close()),
        "batch" => Box::new(move || kernel.batch()),
        _ => return None,
    })
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, times) = match &arguments[..] {
        [name, times] => (name.as_str(), times.parse::<u32>().unwrap_or(0)),
        _ => ("", 0),
    };
    let Some(mut work) = work(name).filter(|_| (1..=1_000_000).contains(&times)) else {
        eprintln!("usage: instructions noop|pasv|session|pinhole|batch TIMES, with TIMES from 1 to 1000000");
        return ExitCode::FAILURE;
    };
    let bytes = (0..times).map(|_| work()).last();
    println!("{name} {times}: {} bytes", bytes.unwrap_or(0));
    ExitCode::SUCCESS
}
