//! What memory a process has, from /proc/PID/smaps_rollup. Not here: what is measured (`idle.rs`).

use std::time::{Duration, Instant};

use super::usage;

/// In KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// All that is resident.
    pub rss: u64,
    /// The same, with what is shared divided among those who share it.
    pub pss: u64,
    /// What is no file's: heap and stacks.
    pub anonymous: u64,
}

impl Memory {
    pub fn of(pid: u32) -> Self {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Self { rss: field("Rss:"), pss: field("Pss:"), anonymous: field("Anonymous:") }
    }

    /// Once the process has nothing left to do.
    pub fn settled(pid: u32) -> Self {
        let begun = Instant::now();
        while usage::moves(pid, Duration::from_millis(300)) && begun.elapsed() < Duration::from_secs(20) {}
        Self::of(pid)
    }
}
