//! The load generator: a process in the client's namespace that does what it is told on standard input, a line for each order,
//! and answers each with a line: `ok` and numbers, or `error` and why.
//!
//! Lives here: the orders, and those for one session, whose every operation is timed. Not here: many sessions at once
//! (`many.rs`), FTP (`session.rs`), who gives the orders (`process.rs`).

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::many::Many;
use super::pattern::File;
use super::session::{Blocking, Mode, Session, Target, block};

/// The small file.
const SMALL: u64 = 1024;
/// What is moved in each direction and way before anything is measured.
const CHECKED: u64 = 1 << 20;
/// Operations before those that are timed.
const WARM: usize = 20;

/// Follows orders until there are no more. `arguments`: the address to dial, and the one that EPSV's port is at.
pub fn run(arguments: &[String]) -> Result<()> {
    let [control, data] = arguments else { bail!("load ADDRESS:PORT ADDRESS") };
    let target = Target { control: control.parse()?, data: data.parse()? };
    let mut load = Load { target, one: None, many: Many::start(target)? };
    for line in std::io::stdin().lock().lines() {
        let mut stdout = std::io::stdout().lock();
        match load.follow(&line?) {
            Ok(numbers) => {
                let numbers: String = numbers.iter().map(|number| format!(" {number}")).collect();
                writeln!(stdout, "ok{numbers}")?;
            }
            Err(error) => writeln!(stdout, "error {error:#}")?,
        }
        stdout.flush()?;
    }
    Ok(())
}

struct Load {
    target: Target,
    /// The session that is measured alone.
    one: Option<Session<Blocking>>,
    many: Many,
}

impl Load {
    fn follow(&mut self, order: &str) -> Result<Vec<u64>> {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |at: usize| -> Result<u64> {
            let word = words.get(at).with_context(|| format!("{order}: a number is missing"))?;
            Ok(word.parse()?)
        };
        match words[0] {
            "check" => self.check(words.get(1..).unwrap_or_default()),
            "noop" => {
                let session = self.one()?;
                timed(number(1)?, || block(session.noop()))
            }
            "login" => {
                let target = self.target;
                timed(number(1)?, || block(async { Session::<Blocking>::login(target).await?.quit().await }))
            }
            "transfer" => {
                let mode = Mode::ALL.into_iter().find(|mode| words.get(2) == Some(&mode.name()));
                let mode = mode.context("which way?")?;
                let session = self.one()?;
                let mut seed = 0;
                timed(number(1)?, || {
                    seed += 1;
                    block(session.fetch(mode, File { length: SMALL, seed }))
                })
            }
            "bulk" => {
                let file = File { length: number(1)? << 20, seed: 1 };
                let session = self.one()?;
                let begun = Instant::now();
                // By EPSV, whose port is looked for where data connections are relayed.
                block(session.fetch(Mode::Epsv, file))?;
                Ok(vec![begun.elapsed().as_nanos() as u64])
            }
            "leave" => self.one.take().map_or(Ok(Vec::new()), |session| block(session.quit()).map(|()| Vec::new())),
            "open" => self.many.open(number(1)? as usize),
            "noops" => self.many.noops(Duration::from_millis(number(1)?)),
            "transfers" => self.many.transfers(Duration::from_millis(number(1)?), SMALL),
            "close" => self.many.close(),
            _ => bail!("no such order: {order}"),
        }
    }

    /// The session, logged in.
    fn one(&mut self) -> Result<&mut Session<Blocking>> {
        if self.one.is_none() {
            self.one = Some(block(Session::login(self.target))?);
        }
        self.one.as_mut().context("it was just made")
    }

    /// These ways, in both directions: a gateway that does not work is not measured.
    fn check(&mut self, modes: &[&str]) -> Result<Vec<u64>> {
        let session = self.one()?;
        for (seed, mode) in (0..).zip(Mode::ALL.into_iter().filter(|mode| modes.contains(&mode.name()))) {
            let file = File { length: CHECKED, seed };
            block(session.fetch(mode, file)).with_context(|| format!("RETR by {}", mode.name()))?;
            block(session.store(mode, file)).with_context(|| format!("STOR by {}", mode.name()))?;
        }
        Ok(Vec::new())
    }
}

/// Does something again and again; gives the median of the nanoseconds it took.
fn timed(count: u64, mut action: impl FnMut() -> Result<()>) -> Result<Vec<u64>> {
    for _ in 0..WARM {
        action()?;
    }
    let mut times = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let begun = Instant::now();
        action()?;
        times.push(begun.elapsed().as_nanos() as u64);
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).context("nothing was timed")?;
    Ok(vec![*median])
}
