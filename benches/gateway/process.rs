//! The processes of one contestant, from outside: starting them, pinning them, reading their processor time, giving orders.
//!
//! Lives here: [`Kept`], [`Orders`], [`pin`], [`Cpu`]. Not here: which processes there are (`contestant.rs`).

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

use super::lab::host::Host;
use super::lab::kernel::processes;

/// A process that ends with the value.
pub struct Kept(pub Child);

impl Kept {
    /// Starts it on a host. What it writes goes into a file, lest the harness spend the measured cores' time on reading.
    pub fn start(host: &Host, program: &Path, arguments: &[&str], log: &Path) -> Result<Self> {
        let file = File::create(log)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = host.inside(|| command.spawn());
        Ok(Self(child.with_context(|| format!("starting {}", program.display()))?))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The load generator and its pipes.
pub struct Orders {
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    _child: Kept,
}

impl Orders {
    /// Starts it on a host: this program itself.
    pub fn start(host: &Host, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Kept(host.inside(|| command.spawn())?);
        let stdin = child.0.stdin.take().context("no pipe")?;
        let stdout = BufReader::new(child.0.stdout.take().context("no pipe")?);
        Ok(Self { stdin, stdout, _child: child })
    }

    /// Gives an order and waits for the numbers. Every order is bounded in time by who follows it.
    pub fn give(&mut self, order: &str) -> Result<Vec<f64>> {
        writeln!(self.stdin, "{order}")?;
        let mut answer = String::new();
        self.stdout.read_line(&mut answer)?;
        let mut words = answer.trim_end().split(' ');
        match words.next() {
            Some("ok") => words.map(|word| word.parse().with_context(|| format!("{order}: {answer}"))).collect(),
            Some("error") => bail!("{order}: {}", answer.trim_end().trim_start_matches("error ")),
            _ => bail!("{order}: the load generator is gone"),
        }
    }
}

/// Lets all processes of these hosts run on one core only, or on all of them again.
pub fn pin(hosts: &[&Host], core: Option<usize>) -> Result<()> {
    let mut cores = CpuSet::new();
    match core {
        Some(core) => cores.set(core)?,
        None => (0..super::cores()).try_for_each(|core| cores.set(core))?,
    }
    for pid in hosts.iter().flat_map(|host| processes(host)) {
        let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for thread in threads.flatten() {
            let thread: i32 = thread.file_name().to_string_lossy().parse()?;
            // One that has just ended needs no core.
            let _ = sched_setaffinity(Pid::from_raw(thread), &cores);
        }
    }
    Ok(())
}

/// Processor time used so far, to the nanosecond, with that of threads that have ended. What the kernel does for a packet
/// counts for the process that sent it: this kernel has no accounts of their own for interrupts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Of the gateway's processes.
    pub gateway: Duration,
    /// Of client, gateway, server, and the kernel's threads that took packets over from them.
    pub all: Duration,
}

impl Cpu {
    pub fn now(client: &Host, gateway: &Host, server: &Host) -> Result<Self> {
        let of = |host: &Host| processes(host).into_iter().map(of_process).sum::<Result<Duration>>();
        let gateway = of(gateway)?;
        Ok(Self { gateway, all: gateway + of(client)? + of(server)? + of_packets()? })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self { gateway: self.gateway.saturating_sub(earlier.gateway), all: self.all.saturating_sub(earlier.all) }
    }
}

fn of_process(pid: u32) -> Result<Duration> {
    // One that has just ended has no clock.
    match clock_getcpuclockid(Pid::from_raw(pid.cast_signed())) {
        Ok(clock) => Ok(clock_gettime(clock).map(Duration::from).unwrap_or_default()),
        Err(_) => Ok(Duration::ZERO),
    }
}

/// Of the kernel's threads ksoftirqd, which work for everybody: a small part, and as much of it somebody else's as there is
/// other load.
fn of_packets() -> Result<Duration> {
    static THREADS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        let all = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
        let name = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        all.filter(|path| name(path).starts_with("ksoftirqd/")).collect()
    });
    ensure!(!THREADS.is_empty(), "no ksoftirqd to be seen: the costs would be incomplete");
    let mut total = Duration::ZERO;
    for thread in THREADS.iter() {
        let used = std::fs::read_to_string(thread.join("schedstat"))?;
        total += Duration::from_nanos(used.split(' ').next().context("schedstat")?.parse()?);
    }
    Ok(total)
}
