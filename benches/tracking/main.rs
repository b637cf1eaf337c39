//! `make bench-tracking`: what following data connections costs the daemon.
//!
//! Two questions. How much more processor time does the daemon take for a transfer when it follows data connections
//! (`data.tracking: conntrack`) than when it does not (`off`)? And does it sleep while the gateway's other connections come and
//! go? Lives here: the order, the tables. Not here: the lab (`tests/lab`), the transfers (`transfers.rs`), the other connections
//! (`foreign.rs`), reading the daemon's processor time (`usage.rs`), what the figures mean (`docs/benchmarks.md`).
//!
//! All contestants are up all the time, each in a lab of its own, and take turns, in an order that moves on with each round: so
//! whatever else the machine does meets them all alike. Settings are numbers in the environment, see [`setting`].

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[path = "../../tests/lab/mod.rs"]
mod lab;

mod foreign;
mod transfers;
mod usage;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lab::Family;
use lab::ftpgate::{Config, Ftpgate};
use lab::topology::{Lab, Topology};
use nix::sys::signal::Signal;
use transfers::Transfers;
use usage::Usage;

/// What the issue asks for: tracking adds this much to the daemon's processor time, at most.
const TARGET: f64 = 1.10;

/// How the contestants differ: what follows data connections, and how much is logged.
const CONTESTANTS: [(&str, &str); 4] = [("off", "info"), ("conntrack", "info"), ("off", "warn"), ("conntrack", "warn")];

/// A number from the environment, or its default; bounded, so that no setting makes this run for ever.
fn setting(name: &str, default: u32, most: u32) -> u32 {
    let value = std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    value.clamp(1, most)
}

/// One daemon with everything around it. Fields are dropped from first to last.
struct Contestant {
    tracking: &'static str,
    level: &'static str,
    transfers: Transfers,
    ftpgate: Ftpgate,
    lab: Lab,
    /// One for each round.
    measured: Vec<Measured>,
}

struct Measured {
    done: u32,
    took: Duration,
    usage: Usage,
}

impl Measured {
    fn rate(&self) -> f64 {
        f64::from(self.done) / self.took.as_secs_f64()
    }

    /// Milliseconds of processor time for 1,000 transfers, which is the same as microseconds for one.
    fn cost(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1e6 / f64::from(self.done)
    }
}

impl Contestant {
    fn new(tracking: &'static str, level: &'static str, sessions: u32) -> Self {
        let lab = Lab::new(Topology::Forward);
        let gateway = lab.gateway();
        gateway.sysctl("net/netfilter/nf_conntrack_acct", "1");
        // Connections that are over are forgotten within the round: that too makes events.
        gateway.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
        lab.client.sysctl("net/ipv4/ip_local_port_range", "10000 65000");
        lab.server.sysctl("net/ipv4/tcp_max_tw_buckets", "16");
        let config = |level: &str| {
            Config::new(&lab.gateways[0].configuration())
                .with("data", &format!("{{ tracking: {tracking} }}"))
                .with("log", &format!("{{ level: {level}, format: text }}"))
        };
        // That it is ready is said at level info.
        let ftpgate = Ftpgate::start(gateway, &config("info"));
        ftpgate.rewrite(&config(level));
        ftpgate.signal(Signal::SIGHUP);
        let transfers = Transfers::new(&lab, sessions);
        Self { tracking, level, transfers, ftpgate, lab, measured: Vec::new() }
    }

    fn round(&mut self, rate: u32, seconds: u32) -> Measured {
        let pid = self.ftpgate.daemon.pid();
        let before = Usage::of(pid);
        let (done, took) = self.transfers.run(&self.lab, rate, rate * seconds);
        // What is told of the last connections belongs to this round.
        std::thread::sleep(Duration::from_millis(100));
        Measured { done, took, usage: Usage::of(pid).since(&before) }
    }
}

fn main() -> ExitCode {
    // `cargo test --benches` and the like only want to know that it starts.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let (rounds, seconds) = (setting("BENCH_ROUNDS", 5, 50), setting("BENCH_SECONDS", 3, 30));
    let (rate, sessions) = (setting("BENCH_RATE", 1000, 10_000), setting("BENCH_SESSIONS", 16, 64));
    println!(
        "{rounds} rounds of {seconds} s, {rate} transfers/s of 1 KiB by PASV and RETR in {sessions} sessions; load {}",
        load()
    );
    let mut contestants: Vec<Contestant> =
        CONTESTANTS.iter().map(|(tracking, level)| Contestant::new(tracking, level, sessions)).collect();
    for contestant in &mut contestants {
        contestant.round(rate, 1);
    }
    for round in 0..rounds as usize {
        for turn in 0..contestants.len() {
            let at = (round + turn) % CONTESTANTS.len();
            let measured = contestants[at].round(rate, seconds);
            contestants[at].measured.push(measured);
        }
    }
    contestants.iter().for_each(print);
    let mut good = true;
    for pair in contestants.chunks(2) {
        let ratios: Vec<f64> =
            pair[0].measured.iter().zip(&pair[1].measured).map(|(off, on)| on.cost() / off.cost()).collect();
        let (least, median, most) = spread(ratios);
        println!(
            "log.level {}: tracking costs {median:.3} times what none costs, {least:.3} to {most:.3} by round",
            pair[0].level
        );
        good &= median <= TARGET;
    }
    println!("announcements refused (EBUSY) and repeated: {}", transfers::REFUSED.load(Ordering::Relaxed));
    println!("target: at most {TARGET:.2}; {}\n", if good { "met" } else { "MISSED" });
    let mut last = contestants.swap_remove(1);
    drop(contestants);
    let slept = sleeps(&mut last, seconds);
    if good && slept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Least, median, greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn print(contestant: &Contestant) {
    let of = |value: &dyn Fn(&Measured) -> f64| spread(contestant.measured.iter().map(value).collect());
    let (least, cost, most) = of(&Measured::cost);
    println!(
        "tracking {:<9} log {}: {cost:6.1} ms per 1,000 transfers ({least:.1} to {most:.1}), {:.0} transfers/s, {:.1} context \
         switches per transfer",
        contestant.tracking,
        contestant.level,
        of(&Measured::rate).1,
        of(&|m| m.usage.switches as f64 / f64::from(m.done)).1,
    );
    let mut threads: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for measured in &contestant.measured {
        for (thread, used) in &measured.usage.threads {
            threads.entry(thread).or_default().push(used.as_secs_f64() * 1e6 / f64::from(measured.done));
        }
    }
    for (thread, costs) in threads {
        println!("    {thread:<18} {:6.1}", spread(costs).1);
    }
}

/// Sends foreign connections through the gateway while the daemon has nothing to do.
fn sleeps(contestant: &mut Contestant, seconds: u32) -> bool {
    // Until the daemon has nothing left to do for the transfers.
    let deadline = Instant::now() + Duration::from_secs(20);
    while usage::moves(contestant.ftpgate.daemon.pid(), Duration::from_secs(2)) && Instant::now() < deadline {}
    let foreign = foreign::Foreign::prepare(&contestant.lab, setting("BENCH_FOREIGN", 70_000, 1_000_000));
    let mut slept = true;
    for listening in [false, true] {
        foreign::forgotten(contestant.lab.gateway());
        let pid = contestant.ftpgate.daemon.pid();
        let before = Usage::of(pid);
        let seen = foreign.run(&contestant.lab, Duration::from_secs(seconds.into()), listening);
        let used = Usage::of(pid).since(&before);
        println!(
            "{} foreign connections in {:.1} s: {:.0} events/s; the daemon: {} context switches, {:.1} ms processor time",
            seen.connections,
            seen.took.as_secs_f64(),
            seen.events as f64 / seen.took.as_secs_f64(),
            used.switches,
            used.cpu.as_secs_f64() * 1e3,
        );
        if let Some(listener) = seen.listener {
            println!(
                "    a socket without the filter, beside it: {} events taken in, {} times overrun, {:.0} ms processor time ({:.0} % of a \
                 core), {} context switches",
                listener.events,
                listener.overruns,
                listener.usage.cpu.as_secs_f64() * 1e3,
                100.0 * listener.usage.cpu.as_secs_f64() / seen.took.as_secs_f64(),
                listener.usage.switches,
            );
        }
        // A timer of the runtime may fire; a thousand connections a second must not be noticed.
        slept &= used.switches < 20 && used.cpu < Duration::from_millis(5);
    }
    // What slept must not be dead.
    let (done, _) = contestant.transfers.run(&contestant.lab, 10, 10);
    println!("the daemon {}; transfers afterwards: {done} of 10", if slept { "slept" } else { "DID NOT SLEEP" });
    slept
}

/// The family of all addresses here.
const FAMILY: Family = Family::V4;
