//! A stand-in for pfctl(8) where no BSD kernel is: keeps anchors, judges every rule with the strict grammar, refuses what pf would refuse, prints
//! what pfctl prints.
//!
//! Takes no environment: its state lies in files beside the executable, so every test copies the program to a folder of its own. The
//! files: `dialect` (`freebsd` or `openbsd`), what it keeps (`anchors`, `main`, `states`, `calls.log`) and knobs that tests
//! turn (`store.rs`). Supports the handful of invocations that `arguments.rs` names and nothing else. Not here: what a ruleset
//! does to packets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a broken stand-in should be loud
#![allow(clippy::print_stdout, clippy::print_stderr)]
#![allow(unreachable_pub, dead_code)] // modules that tests share and use in full

mod arguments;
#[path = "../pf/call.rs"]
mod call;
#[path = "../pf/grammar/mod.rs"]
mod grammar;
mod realise;
mod show;
#[path = "../pf/state.rs"]
mod state;
mod store;

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Instant;

use arguments::{Command, Load};
use call::Call;
use grammar::{Dialect, Place, Ruleset, parse};
use store::Store;

/// What an invocation says, and how it ends.
#[derive(Default)]
pub(crate) struct Answer {
    pub stdout: String,
    pub stderr: String,
    pub exit: u8,
    /// What the grammar has against the text, in full; pfctl itself says only `syntax error`.
    pub reason: Option<String>,
}

impl Answer {
    fn fail(stderr: impl Into<String>) -> Self {
        Self { stderr: stderr.into(), exit: 1, ..Self::default() }
    }

    fn print(stdout: String) -> Self {
        Self { stdout, ..Self::default() }
    }
}

fn main() -> ExitCode {
    let begin = Instant::now();
    let argv: Vec<String> = std::env::args().skip(1).collect();
    let store = Store::beside_executable();
    store.hang();
    let mut stdin = String::new();
    let answer = match arguments::parse(store.dialect, &argv) {
        Err(answer) => answer,
        Ok((command, options)) => {
            if matches!(&command, Command::Load(load) if load.file == "-") {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).unwrap();
                stdin = String::from_utf8_lossy(&bytes).into_owned();
            }
            let _lock = store.lock();
            let mut answer = run(&store, &command, &stdin, options.verbosity);
            if options.quiet && matches!(command, Command::KillLabel(_) | Command::KillId(..)) {
                answer.stderr.clear();
            }
            answer
        }
    };
    // Anyone who reads the answer finds the call already written down.
    store.log(&Call {
        argv,
        stdin,
        stdout: answer.stdout.clone(),
        stderr: answer.stderr.clone(),
        exit: answer.exit,
        reason: answer.reason.clone(),
        milliseconds: begin.elapsed().as_millis() as u64,
    });
    std::io::stdout().write_all(answer.stdout.as_bytes()).unwrap();
    std::io::stderr().write_all(answer.stderr.as_bytes()).unwrap();
    ExitCode::from(answer.exit)
}

fn run(store: &Store, command: &Command, stdin: &str, verbosity: usize) -> Answer {
    let dry = matches!(command, Command::Load(load) if load.dry);
    if store.denied() && !dry {
        return Answer::fail("pfctl: /dev/pf: Permission denied\n");
    }
    match command {
        Command::Load(load) => self::load(store, load, stdin),
        Command::Show { what, anchor } => show::show(store, what, anchor, verbosity),
        Command::KillLabel(label) => kill(store, |state| state.label.as_deref() == Some(label)),
        Command::KillId(id, creator) => {
            kill(store, |state| state.id == *id && creator.is_none_or(|creator| state.creator == creator))
        }
    }
}

fn kill(store: &Store, dead: impl Fn(&state::State) -> bool) -> Answer {
    let mut states = store.states();
    let before = states.len();
    states.retain(|state| !dead(state));
    store.write_states(&states);
    Answer { stderr: format!("killed {} states\n", before - states.len()), ..Answer::default() }
}

fn load(store: &Store, load: &Load, stdin: &str) -> Answer {
    let name = load.anchor.as_str();
    let mut anchors = store.anchors();
    // DIOCXBEGIN makes the node of the anchor, which fails before a line of the text is read.
    if !load.dry && !name.is_empty() {
        let valid = grammar::check_anchor_name(store.dialect, name).is_ok();
        let known = show::nodes(store, &anchors);
        let new = show::ancestors(name).into_iter().filter(|node| !known.contains(node)).count();
        // Measured: with a limit of 512 and one parent the 511th load fails.
        if !valid || (new > 0 && known.len() + new >= store.anchor_limit()) {
            return Answer::fail("pfctl: pfctl_rules\n");
        }
    }
    let (shown, text) = match load.file.as_str() {
        "-" => ("stdin", stdin.to_owned()),
        file => match std::fs::read_to_string(file) {
            Ok(text) => (file, text),
            Err(_) => {
                return Answer::fail(format!(
                    "pfctl: {file}: cannot open the main config file!: No such file or directory\n{NOT_LOADED}"
                ));
            }
        },
    };
    let main = store.main();
    let tables: Vec<String> = main.iter().flat_map(|main| main.tables.iter().map(|table| table.name.clone())).collect();
    let place = if name.is_empty() { Place::Main } else { Place::Anchor(&tables) };
    let ruleset = match parse(store.dialect, place, &text) {
        Ok(ruleset) => ruleset,
        Err(error) => {
            let said = if error.message.starts_with("syntax error") { "syntax error" } else { &error.message };
            let end = if load.dry { "" } else { NOT_LOADED };
            let mut answer = Answer::fail(format!("{shown}:{}: {said}\n{end}", error.line));
            answer.reason = Some(error.to_string());
            return answer;
        }
    };
    if load.dry {
        return Answer::default();
    }
    if let Some(answer) = unknown_queue(store, &main, &ruleset) {
        return answer;
    }
    if let Some(request) = store.busy() {
        return Answer::fail(format!("pfctl: {request}: Device busy\n"));
    }
    if name.is_empty() {
        store.write_main(&text);
        if let Some((_, limit)) = ruleset.limits.iter().rfind(|(name, _)| name == "anchors") {
            store.set_anchor_limit(*limit);
        }
    } else {
        match ruleset.is_empty() {
            true => anchors.remove(name),
            false => anchors.insert(name.to_owned(), text),
        };
        store.write_anchors(&anchors);
        if let Some(mark) = store.realise() {
            realise::realise(store.dialect, &anchors, mark.trim());
        }
    }
    Answer::default()
}

/// pfctl of FreeBSD leaves queues to the kernel: one with ALTQ refuses a queue it does not have, one without takes no notice.
fn unknown_queue(store: &Store, main: &Option<Ruleset>, ruleset: &Ruleset) -> Option<Answer> {
    if store.dialect == Dialect::OpenBsd || !store.altq() {
        return None;
    }
    let known = main.iter().chain([ruleset]).flat_map(|ruleset| &ruleset.queues).collect::<Vec<_>>();
    let unknown = ruleset.items.iter().any(|item| match item {
        grammar::ast::Item::Rule(rule) => rule.queue.as_ref().is_some_and(|queue| !known.contains(&queue)),
        _ => false,
    });
    unknown.then(|| Answer::fail("pfctl: DIOCADDRULE: Device busy\n"))
}

const NOT_LOADED: &str = "pfctl: Syntax error in config file: pf rules not loaded\n";
