//! What the demo prints: titles, the table, single steps; and the count of what went wrong.
//!
//! Not here: what is tried.

use std::time::Duration;

use crate::lab::Family;
use crate::lab::client::Combination;

/// Where the show appears.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    failures: usize,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) direction: &'static str,
    pub(crate) combination: Combination,
    pub(crate) down: bool,
    pub(crate) up: Option<bool>,
    pub(crate) checksum: Option<String>,
    pub(crate) took: Duration,
    pub(crate) remark: String,
}

impl Screen {
    pub(crate) fn failures(&self) -> usize {
        self.failures
    }

    /// Counts something that went wrong, and gives the last thing that was said about it.
    pub(crate) fn failed(&mut self, said: &str) -> String {
        self.failures += 1;
        eprintln!("--- what went wrong in the next line:\n{said}\n---");
        said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("failed").to_owned()
    }

    pub(crate) fn say(&self, text: &str) {
        println!("{text}");
    }

    pub(crate) fn title(&self, text: &str) {
        println!("\n== {text}");
    }

    /// The head of a table.
    pub(crate) fn head(&self, first: &str) {
        println!("\n  {first:<10}  client  family  mode   down  up  sha256    seconds");
    }

    pub(crate) fn row(&self, row: &Row) {
        let family = match row.combination.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        println!(
            "  {:<10}  {:<6}  {family:<6}  {:<5}  {:^4}  {:^2}  {:<8}  {:>7.2}  {}",
            row.direction,
            row.combination.client.name(),
            row.combination.mode.verb(),
            mark(row.down),
            row.up.map_or("-", mark),
            row.checksum.as_deref().map_or("-", |sum| &sum[..8]),
            row.took.as_secs_f32(),
            row.remark,
        );
    }

    /// A thing that is as it should be, or not.
    pub(crate) fn step(&mut self, what: &str, good: bool, detail: &str) {
        if !good {
            self.failures += 1;
        }
        println!("  {} {what}: {detail}", mark(good));
    }
}

fn mark(good: bool) -> &'static str {
    if good { "✓" } else { "✗" }
}
