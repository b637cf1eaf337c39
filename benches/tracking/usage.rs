//! What a process has used: processor time and context switches, thread by thread, from /proc.
//!
//! `schedstat` counts nanoseconds, where `stat` counts ticks of 10 ms. Threads that have ended are not counted; the daemon's
//! live as long as it does. Not here: what is measured (`main.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

/// Since the process began, or between two looks.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    /// Voluntary ones: how often a thread went to sleep.
    pub switches: u64,
    /// Processor time by the names of threads; those of one name together.
    pub threads: BTreeMap<String, Duration>,
}

impl Usage {
    /// Of all threads of a process.
    pub fn of(pid: u32) -> Self {
        let mut all = Self::default();
        for thread in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
            all.add(&thread.path().to_string_lossy());
        }
        all
    }

    /// Of the calling thread.
    pub fn of_this_thread() -> Self {
        let mut one = Self::default();
        one.add("/proc/thread-self");
        one
    }

    fn add(&mut self, folder: &str) {
        let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).ok();
        // A thread may end between the listing and the look.
        let (Some(schedstat), Some(status), Some(name)) = (read("schedstat"), read("status"), read("comm")) else {
            return;
        };
        let cpu = Duration::from_nanos(schedstat.split(' ').next().unwrap().parse().unwrap());
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        self.cpu += cpu;
        self.switches += switches.trim().parse::<u64>().unwrap();
        *self.threads.entry(name.trim().to_owned()).or_default() += cpu;
    }

    /// What came after an earlier look.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |name: &str| earlier.threads.get(name).copied().unwrap_or_default();
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            switches: self.switches.saturating_sub(earlier.switches),
            threads: self.threads.iter().map(|(name, cpu)| (name.clone(), cpu.saturating_sub(before(name)))).collect(),
        }
    }
}

/// Whether a process wakes within so long.
pub fn moves(pid: u32, within: Duration) -> bool {
    let before = Usage::of(pid);
    std::thread::sleep(within);
    Usage::of(pid).since(&before).switches > 0
}
