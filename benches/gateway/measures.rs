//! What is measured, and how often: the steps of a round, and the figures that they give.
//!
//! Lives here: [`Step`], [`Results`]. Not here: what is made of the figures (`report.rs`).

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::contestant::{Contestant, Kind};
use super::session::Mode;
use super::setting;

/// Sessions that transfer at the same time.
const STORM: u64 = 64;
/// Milliseconds before a measurement of many sessions.
const WARM: u64 = 100;
/// Measurements of which the best counts.
const TRIES: usize = 3;

/// One thing that is measured of one contestant after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The median round trip of NOOP, one session, one core.
    Noop,
    /// The median time of connecting, logging in and quitting, one core.
    Login,
    /// The median time of fetching 1 KiB with an announcement, one session, one core.
    Transfer(Mode),
    /// NOOP in so many sessions at once.
    Noops(u64),
    /// Fetching 1 KiB in 64 sessions at once, announced in all ways by turns.
    Storm,
    /// Fetching a large file.
    Bulk,
}

impl Step {
    pub fn all() -> Vec<Self> {
        let alone = [Self::Noop, Self::Login].into_iter().chain(Mode::ALL.map(Self::Transfer));
        alone.chain([Self::Noops(64), Self::Noops(1000), Self::Storm, Self::Bulk]).collect()
    }

    /// The word that chooses it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::Login => "login",
            Self::Transfer(_) => "transfer",
            Self::Noops(_) => "noops",
            Self::Storm => "storm",
            Self::Bulk => "bulk",
        }
    }

    /// Whether everybody's processes share one core while it lasts: how long something takes is told best without a scheduler
    /// that sometimes wakes another core and sometimes does not.
    pub fn on_one_core(self) -> bool {
        matches!(self, Self::Noop | Self::Login | Self::Transfer(_))
    }

    /// Whether a contestant takes part.
    pub fn suits(self, kind: Kind) -> bool {
        match self {
            // What they do with a control connection is measured of others.
            _ if kind == Kind::HaproxyRelay => self == Self::Bulk,
            Self::Noop | Self::Login | Self::Noops(_) if kind == Kind::FtpgateRelay => false,
            Self::Noop | Self::Login => true,
            Self::Noops(count) => !kind.forks() || count <= 64,
            Self::Transfer(mode) => kind.modes().contains(&mode),
            // The storm takes all ways by turns, the large file EPSV.
            Self::Storm | Self::Bulk => kind.modes().len() == Mode::ALL.len(),
        }
    }

    /// How often a contestant is measured in a round; the best counts, since whatever else the machine does only makes it worse.
    pub fn tries(self) -> usize {
        // Where many sessions have to be made first, they are used that often (see `many`).
        if self.on_one_core() { TRIES } else { 1 }
    }

    /// Measures a contestant once.
    pub fn measure(self, contestant: &mut Contestant, results: &mut Results) -> Result<()> {
        let kind = contestant.kind;
        let millis = setting("BENCH_MILLIS", 300, 20_000);
        let mut least = |key: &str, value: f64| results.give(kind, key, value, f64::min);
        match self {
            Self::Noop => least("noop", first(&contestant.order("noop 2000")?)?),
            Self::Login => {
                contestant.order("leave")?;
                // What is slow has a median that is soon known.
                let count = if kind.forks() { 5 } else { 100 };
                least("login", first(&contestant.order(&format!("login {count}"))?)?);
            }
            Self::Transfer(mode) => {
                // One of them waits 40 ms for each, for an acknowledgement that the other side delays.
                let count = if kind == Kind::ProxySuite { 5 } else { 150 };
                least(mode.name(), first(&contestant.order(&format!("transfer {count} {}", mode.name()))?)?);
            }
            Self::Noops(count) => {
                for done in many(contestant, count, "noops", millis)? {
                    results.give(kind, &format!("noops-{count}"), done.rate, f64::max);
                    results.give(kind, &format!("noops-{count}-cpu"), done.cpu, f64::min);
                }
            }
            Self::Storm => {
                for done in many(contestant, STORM, "transfers", millis)? {
                    results.give(kind, "storm", done.rate, f64::max);
                    results.give(kind, "storm-cpu", done.cpu, f64::min);
                    results.give(kind, "storm-gateway", done.gateway, f64::min);
                    *results.refused.entry(kind).or_default() += done.refused as u64;
                }
            }
            Self::Bulk => {
                let mib = setting("BENCH_BULK_MIB", 512, 65_536);
                for _ in 0..TRIES {
                    let (numbers, cpu) = contestant.cost(&format!("bulk {mib}"))?;
                    results.give(kind, "bulk", f64::from(mib) / (first(&numbers)? / 1e9), f64::max);
                    results.give(kind, "bulk-cpu", cpu.all.as_secs_f64() / f64::from(mib), f64::min);
                }
                // Its session goes: a round begins with none.
                contestant.order("leave")?;
            }
        }
        Ok(())
    }
}

/// What many sessions did.
struct Done {
    /// Operations a second.
    rate: f64,
    /// Seconds of processor time for one, of all three parties.
    cpu: f64,
    /// The same of the gateway's processes alone.
    gateway: f64,
    /// Announcements that were refused and repeated.
    refused: f64,
}

/// Opens many sessions and measures them some times.
fn many(contestant: &mut Contestant, sessions: u64, what: &str, millis: u32) -> Result<Vec<Done>> {
    contestant.order(&format!("open {sessions}"))?;
    contestant.order(&format!("{what} {WARM}"))?;
    let mut all = Vec::new();
    for _ in 0..TRIES {
        let (numbers, cpu) = contestant.cost(&format!("{what} {millis}"))?;
        let [operations, nanos, ref rest @ ..] = numbers[..] else { anyhow::bail!("{what}: {numbers:?}") };
        all.push(Done {
            rate: operations / (nanos / 1e9),
            cpu: cpu.all.as_secs_f64() / operations,
            gateway: cpu.gateway.as_secs_f64() / operations,
            refused: rest.first().copied().unwrap_or_default(),
        });
    }
    contestant.order("close")?;
    Ok(all)
}

fn first(numbers: &[f64]) -> Result<f64> {
    numbers.first().copied().context("an answer without a number")
}

/// The figures of all contestants, one for each round.
#[derive(Default)]
pub struct Results {
    values: BTreeMap<(Kind, String), Vec<f64>>,
    /// Announcements that were refused with 425 and repeated.
    pub refused: BTreeMap<Kind, u64>,
    /// What a reader of the figures has to know besides.
    pub notes: Vec<String>,
    /// Rounds that are over.
    pub rounds: usize,
}

/// Of the figures of some rounds.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = *values.get(values.len() / 2)?;
        Some(Self { least: *values.first()?, median: middle, most: *values.last()? })
    }
}

impl Results {
    /// Adds a figure of the present round, or what is the better one of this and the one that is there.
    fn give(&mut self, kind: Kind, key: &str, value: f64, better: fn(f64, f64) -> f64) {
        let values = self.values.entry((kind, key.to_owned())).or_default();
        match values.get_mut(self.rounds) {
            Some(present) => *present = better(*present, value),
            None => values.push(value),
        }
    }

    /// A figure of one contestant.
    pub fn figure(&self, kind: Kind, key: &str) -> Option<Spread> {
        self.combined([(kind, key)], |[value]| value)
    }

    /// The ratio of a figure to another contestant's, round by round.
    pub fn ratio(&self, key: &str, kind: Kind, to: Kind) -> Option<Spread> {
        self.combined([(kind, key), (to, key)], |[value, other]| value / other)
    }

    /// Something made of several figures, round by round. `None` unless all were measured in all rounds.
    pub fn combined<const N: usize>(
        &self,
        figures: [(Kind, &str); N],
        combine: impl Fn([f64; N]) -> f64,
    ) -> Option<Spread> {
        let mut columns: [&[f64]; N] = [&[]; N];
        for (column, (kind, key)) in columns.iter_mut().zip(figures) {
            *column = self.values.get(&(kind, key.to_owned()))?;
        }
        let rounds = columns.iter().map(|column| column.len()).min()?;
        Spread::of((0..rounds).map(|round| combine(columns.map(|column| column[round]))).collect())
    }
}
