//! Which invocations the stand-in takes; every other one is answered with the usage and 1.
//!
//! `[-q] -a ANCHOR -f -`, `[-q] [-n] -f FILE`, `[-a ANCHOR] -s Anchors|rules|nat|labels [-v]`, `-s info|memory|states [-v|-vv]`,
//! `-k label -k LABEL`, `-k id -k ID[/CREATOR]`. Options as getopt(3) takes them: `-ss` is `-s s`, and `s` stands for `states`.

use crate::Answer;
use crate::grammar::Dialect;

pub struct Load {
    /// Empty for the main ruleset.
    pub anchor: String,
    /// `-` is standard input.
    pub file: String,
    /// `-n`: only parse.
    pub dry: bool,
}

pub enum Command {
    Load(Load),
    Show {
        what: &'static str,
        /// Empty for the main ruleset.
        anchor: String,
    },
    KillLabel(String),
    KillId(u64, Option<u32>),
}

#[derive(Default)]
pub struct Options {
    pub quiet: bool,
    pub verbosity: usize,
}

/// In the order of pfctl's own table: a prefix stands for the first that it fits.
const SHOWN: [(&str, Option<Dialect>); 7] = [
    ("nat", Some(Dialect::FreeBsd)),
    ("rules", None),
    ("Anchors", None),
    ("states", None),
    ("info", None),
    ("labels", None),
    ("memory", None),
];

fn usage(reason: &str) -> Answer {
    Answer::fail(format!("{reason}usage: pfctl [-nqv] [-a anchor] [-f file] [-k label | id -k value] [-s modifier]\n"))
}

#[derive(Default)]
struct Given {
    anchor: Option<String>,
    file: Option<String>,
    show: Option<String>,
    kill: Vec<String>,
    dry: bool,
}

/// The command in `argv`, which does not hold the name of the program.
pub fn parse(dialect: Dialect, argv: &[String]) -> Result<(Command, Options), Answer> {
    let (mut options, mut given) = (Options::default(), Given::default());
    let mut arguments = argv.iter();
    while let Some(argument) = arguments.next() {
        let Some(letters) = argument.strip_prefix('-').filter(|letters| !letters.is_empty()) else {
            return Err(usage(&format!("pfctl: unknown command line argument: {argument} ...\n")));
        };
        let mut letters = letters.chars();
        while let Some(letter) = letters.next() {
            match letter {
                'q' => options.quiet = true,
                'v' => options.verbosity += 1,
                'n' => given.dry = true,
                'a' | 'f' | 's' | 'k' => {
                    let rest: String = letters.by_ref().collect();
                    let value = if rest.is_empty() { arguments.next().cloned() } else { Some(rest) };
                    let Some(value) = value else {
                        return Err(usage(&format!("pfctl: option requires an argument -- {letter}\n")));
                    };
                    match letter {
                        'a' => given.anchor = Some(value),
                        'f' => given.file = Some(value),
                        's' => given.show = Some(value),
                        _ => given.kill.push(value),
                    }
                }
                _ => return Err(usage(&format!("pfctl: unknown option -- {letter}\n"))),
            }
        }
    }
    Ok((command(dialect, given)?, options))
}

fn command(dialect: Dialect, given: Given) -> Result<Command, Answer> {
    let Given { anchor, file, show, kill, dry } = given;
    if anchor.as_deref() == Some("") {
        return Err(Answer::fail("pfctl: anchor name must not be empty\n"));
    }
    let anchor = anchor.unwrap_or_default();
    match (file, show, kill.as_slice()) {
        (Some(file), None, []) => {
            if anchor.starts_with('_') || anchor.contains("/_") {
                let message = "pfctl: anchor names beginning with '_' cannot be modified from the command line\n";
                return Err(Answer::fail(message));
            }
            if anchor.ends_with('*') {
                return Err(Answer::fail("pfctl: a text is loaded into one anchor, not into all below it\n"));
            }
            Ok(Command::Load(Load { anchor, file, dry }))
        }
        (None, Some(what), []) if !dry => {
            let fits = |(word, only): &&(&str, Option<Dialect>)| {
                word.starts_with(&what) && only.is_none_or(|only| only == dialect)
            };
            match SHOWN.iter().find(fits).filter(|_| !what.is_empty()) {
                Some((what, _)) => Ok(Command::Show { what, anchor: anchor.trim_end_matches("/*").to_owned() }),
                None => Err(usage(&format!("pfctl: Unknown show modifier '{what}'\n"))),
            }
        }
        (None, None, [kind, label]) if kind == "label" && anchor.is_empty() && !dry => {
            Ok(Command::KillLabel(label.clone()))
        }
        (None, None, [kind, id]) if kind == "id" && anchor.is_empty() && !dry => {
            let (id, creator) = match id.split_once('/') {
                Some((id, creator)) => (id, Some(creator)),
                None => (id.as_str(), None),
            };
            let creator = creator.map(|creator| u32::from_str_radix(creator, 16)).transpose();
            match (u64::from_str_radix(id, 16), creator) {
                (Ok(id), Ok(creator)) if id != 0 => Ok(Command::KillId(id, creator)),
                _ => Err(usage("pfctl: wrong id format specified\n")),
            }
        }
        (None, None, [kind]) if kind == "label" => Err(usage("pfctl: no label specified\n")),
        (None, None, [kind]) if kind == "id" => Err(usage("pfctl: no id specified\n")),
        _ => Err(usage("")),
    }
}
