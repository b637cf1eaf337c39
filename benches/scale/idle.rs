//! Idle sessions by the thousand: what each takes of memory, and whether anything moves while nothing happens.
//!
//! Lives here: raising the processes, the tables. Not here: the sessions' ends (`peers.rs`).

use std::time::Duration;

use nix::sys::signal::Signal;

use super::lab::files::Folder;
use super::lab::ftpgate::{Config, Ftpgate};
use super::lab::host::Host;
use super::lab::process::Daemon;
use super::memory::Memory;
use super::usage::Usage;

/// How long logging in may take, and how long saying NOOP in every session may.
const PATIENCE: Duration = Duration::from_secs(120);
/// Sessions in one process, at most: two descriptors each, of 20,000.
const MOST: u32 = 9900;
/// What the issue asks for, in bytes of resident memory above the base.
const TARGET: f64 = 2048.0;

const SERVER: &str = "127.0.0.1:2121";
const GATEWAY: &str = "127.0.0.1:8021";

/// A gateway with a server behind it and clients before it, in a namespace. Fields are dropped from first to last.
struct Stage {
    clients: Vec<Daemon>,
    gateway: Gateway,
    _server: Daemon,
    host: Host,
}

enum Gateway {
    Ftpgate(Ftpgate),
    HaProxy(Daemon, Folder),
}

impl Gateway {
    fn ftpgate(host: &Host) -> Self {
        let text = format!(
            "listeners: [ {{ name: a, listen: \"{GATEWAY}\", mode: reverse, capture: direct, server: [ \"{SERVER}\" ] }} ]\n"
        );
        let config = Config::new(&text)
            .with("log", "{ level: info, format: text }")
            .with("limits", "{ sessions: 10000, sessions_per_client: 10000 }");
        Self::Ftpgate(Ftpgate::start(host, &config))
    }

    fn haproxy(host: &Host, program: &str) -> Self {
        let folder = Folder::new();
        let text = format!(
            "global\n maxconn {}\n nbthread 2\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n\
             listen a\n bind {GATEWAY}\n server s {SERVER}\n",
            MOST + 20
        );
        let file = folder.write("haproxy.cfg", text);
        let daemon = host.spawn(&[program, "-db", "-f", &file.to_string_lossy()]);
        super::lab::wait_for("HAProxy", Duration::from_secs(10), || {
            host.connect(GATEWAY.parse().unwrap(), Duration::from_secs(1)).ok()
        });
        Self::HaProxy(daemon, folder)
    }

    fn pid(&self) -> u32 {
        match self {
            Self::Ftpgate(ftpgate) => ftpgate.daemon.pid(),
            Self::HaProxy(daemon, _folder) => daemon.pid(),
        }
    }
}

impl Stage {
    fn new(gateway: impl FnOnce(&Host) -> Gateway) -> Self {
        let host = Host::new("scale");
        let mut server = host.spawn(&[&program(), "server", SERVER]);
        server.wait_for_line(Duration::from_secs(10), |line| line == "listening").expect("the server listens");
        let gateway = gateway(&host);
        let mut stage = Self { clients: Vec::new(), gateway, _server: server, host };
        // What is needed once, whatever the number of sessions, is no session's cost.
        stage.hold(100);
        stage.clients.clear();
        stage
    }

    /// Logs in so many times more.
    fn hold(&mut self, sessions: u32) {
        let mut client = self.host.spawn(&[&program(), "client", GATEWAY, &sessions.to_string()]);
        let held = format!("held {sessions}");
        if client.wait_for_line(PATIENCE, |line| line == held).is_none() {
            client.dump();
            panic!("{sessions} sessions were not reached");
        }
        self.clients.push(client);
    }

    fn memory(&self) -> Memory {
        Memory::settled(self.gateway.pid())
    }

    /// Whether every session still answers.
    fn is_alive(&mut self) -> bool {
        self.clients.iter().for_each(|client| client.signal(Signal::SIGHUP));
        self.clients.iter_mut().all(|client| client.wait_for_line(PATIENCE, |line| line.starts_with("alive")).is_some())
    }
}

/// This program, which is also the server and the clients.
fn program() -> String {
    std::env::current_exe().unwrap().to_string_lossy().into_owned()
}

/// Up to `most` sessions in one process, and then `seconds` of silence. Says whether the targets were met.
pub fn one_process(most: u32, seconds: u32) -> bool {
    let good = measure("ftpgate", most, seconds, Gateway::ftpgate) <= TARGET;
    println!("target: at most {TARGET:.0} bytes; {}\n", if good { "met" } else { "MISSED" });
    if let Ok(program) = std::env::var("HAPROXY") {
        measure("HAProxy", most, seconds, |host| Gateway::haproxy(host, &program));
    }
    good
}

/// The table of one gateway. Bytes for each session at its end.
fn measure(name: &str, most: u32, seconds: u32, gateway: impl FnOnce(&Host) -> Gateway) -> f64 {
    let mut stage = Stage::new(gateway);
    let base = stage.memory();
    println!("{name}: base {} KiB resident ({} KiB its share), {} KiB anonymous", base.rss, base.pss, base.anonymous);
    println!(
        "{:>9} {:>10} {:>14} {:>14} {:>22}",
        "sessions", "RSS KiB", "RSS/session", "anon/session", "RSS/session, since last"
    );
    let (mut held, mut last, mut each) = (0, base, 0.0);
    for sessions in [100, 1000, 5000, most] {
        if sessions <= held || sessions > most {
            continue;
        }
        stage.hold(sessions - held);
        let now = stage.memory();
        let bytes = |more: u64, less: u64, by: u32| (more as f64 - less as f64) * 1024.0 / f64::from(by);
        each = bytes(now.rss, base.rss, sessions);
        println!(
            "{sessions:>9} {:>10} {each:>14.0} {:>14.0} {:>22.0}",
            now.rss,
            bytes(now.anonymous, base.anonymous, sessions),
            bytes(now.rss, last.rss, sessions - held)
        );
        (held, last) = (sessions, now);
    }
    let pid = stage.gateway.pid();
    let before = Usage::of(pid);
    std::thread::sleep(Duration::from_secs(seconds.into()));
    let used = Usage::of(pid).since(&before);
    println!(
        "{held} sessions idle for {seconds} s: {} wake-ups (voluntary context switches of all threads), {:.3} ms processor time",
        used.switches,
        used.cpu.as_secs_f64() * 1e3
    );
    println!("then a NOOP in each of them: {}", if stage.is_alive() { "all answered" } else { "NOT ALL ANSWERED" });
    stage.clients.clear();
    let after = stage.memory();
    println!("all closed: {} KiB resident, {} KiB above the base", after.rss, after.rss.saturating_sub(base.rss));
    each
}

/// So many sessions at once, in as many processes as it takes.
pub fn several_processes(all: u32) -> bool {
    let mut left = all;
    let mut stages = Vec::new();
    while left > 0 {
        let sessions = left.min(MOST);
        let mut stage = Stage::new(Gateway::ftpgate);
        let base = stage.memory().rss;
        stage.hold(sessions);
        stages.push((stage, base, sessions));
        left -= sessions;
    }
    let mut good = true;
    for (stage, base, sessions) in &mut stages {
        let rss = stage.memory().rss;
        let alive = stage.is_alive();
        println!(
            "{sessions} sessions: {rss} KiB resident, {} KiB above the base; NOOP answered in all: {alive}",
            rss - *base
        );
        good &= alive;
    }
    println!("{all} sessions at once in {} processes\n", stages.len());
    good
}
