//! What following costs: foreign connections do not wake the thread, and ours cost little.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use ftpgate::firewall::conntrack::{Options, Tracker};
use ftpgate::firewall::tracking::{FlowEvent, Follow};
use ftpgate::pinhole::Key;
use socket2::{Domain, Socket, Type};

use crate::lab::{MARK, Namespace, eventually};

/// A namespace in which connections to port 5000 carry our mark, and those to port 5001 others.
fn marking() -> Namespace {
    let namespace = Namespace::new();
    namespace.load(
        "table inet marks {
            chain output {
                type filter hook output priority mangle; policy accept;
                ct state new tcp dport 5000 ct mark set ct mark | 0x10000000
                ct state new tcp dport 5001 ct mark set 0xefffffff
            }
        }",
    );
    namespace.sysctl("netfilter/nf_conntrack_acct", "1");
    namespace.sysctl("ipv4/ip_local_port_range", "10000 65000");
    namespace
}

/// Makes and closes this many connections to a port from inside.
fn connect(namespace: &Namespace, port: u16, count: usize, pause: Duration) {
    namespace.run(|| {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let listener = TcpListener::bind(target).unwrap();
        for _ in 0..count {
            let begun = Instant::now();
            let client = std::net::TcpStream::connect(target).unwrap();
            let (server, _) = listener.accept().unwrap();
            drop(client);
            drop(server);
            std::thread::sleep(pause.saturating_sub(begun.elapsed()));
        }
    });
}

/// Nanoseconds of processor time and the number of voluntary context switches of a thread of this process.
fn usage(thread: &str) -> (u64, u64) {
    let base = format!("/proc/self/task/{thread}");
    let schedstat = std::fs::read_to_string(format!("{base}/schedstat")).unwrap();
    let status = std::fs::read_to_string(format!("{base}/status")).unwrap();
    let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    (schedstat.split(' ').next().unwrap().parse().unwrap(), switches.trim().parse().unwrap())
}

/// Starts a tracker, and finds its thread: the one that was not there before.
fn tracked(namespace: &Namespace, options: Options) -> (Tracker, String) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock();
    let threads = || {
        let mut all = Vec::new();
        for entry in std::fs::read_dir("/proc/self/task").unwrap() {
            let id = entry.unwrap().file_name().into_string().unwrap();
            let name = std::fs::read_to_string(format!("/proc/self/task/{id}/comm")).unwrap_or_default();
            if name.trim() == "conntrack" {
                all.push(id);
            }
        }
        all
    };
    let before = threads();
    let tracker = namespace.track(options);
    let mut new = Vec::new();
    let begun = Instant::now();
    while new.is_empty() && begun.elapsed() < Duration::from_secs(2) {
        new = threads().into_iter().filter(|id| !before.contains(id)).collect();
    }
    // A test beside this one may have started one in the same moment: that one is in another namespace.
    let own = new.into_iter().find(|id| same_namespace(namespace, id)).expect("the thread is there");
    (tracker, own)
}

fn same_namespace(namespace: &Namespace, thread: &str) -> bool {
    let inside = namespace.run(|| std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    std::fs::read_link(format!("/proc/self/task/{thread}/ns/net")).is_ok_and(|link| link == inside)
}

#[test]
fn foreign_connections_do_not_wake_the_thread() {
    const CONNECTIONS: usize = 5000;
    let namespace = marking();
    let (tracker, thread) = tracked(&namespace, Options::new(MARK, MARK));
    let key = Key { initiator: [127, 0, 0, 1].into(), entrance: "127.0.0.1:5001".parse().unwrap() };
    let mut watch = tracker.watch(key);
    std::thread::sleep(Duration::from_millis(50));
    let before = usage(&thread);
    let begun = Instant::now();
    // With another mark, and with none. Each makes at least five messages: its beginning, and changes of its state.
    connect(&namespace, 5001, CONNECTIONS, Duration::ZERO);
    connect(&namespace, 5002, CONNECTIONS, Duration::ZERO);
    assert_eq!((usage(&thread), tracker.wakes()), (before, 0), "processor time, context switches and wakes");
    let rate = (2 * 5 * CONNECTIONS) as f64 / begun.elapsed().as_secs_f64();
    println!("slept through {rate:.0} foreign messages a second");
    assert_eq!(watch.try_next(), None);
    // The proof that it would have woken.
    connect(&namespace, 5000, 1, Duration::ZERO);
    eventually("it wakes", || tracker.wakes() > 0);
}

#[test]
fn a_thousand_transfers_a_second_cost_little() {
    const TRANSFERS: usize = 3000;
    for (states, counts) in [(true, true), (true, false), (false, true)] {
        let namespace = marking();
        namespace.sysctl("netfilter/nf_conntrack_acct", if counts { "1" } else { "0" });
        let (tracker, thread) = tracked(&namespace, Options { states, ..Options::new(MARK, MARK) });
        let target: SocketAddr = "127.0.0.1:5000".parse().unwrap();
        let (before, begun) = (usage(&thread), Instant::now());
        let (mut heard, mut watches) = (0, Vec::new());
        namespace.run(|| {
            let listener = TcpListener::bind(target).unwrap();
            for number in 0..TRANSFERS {
                let due = Duration::from_millis(number as u64);
                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                let initiator = std::net::Ipv4Addr::from(0x7f01_0000 + number as u32).into();
                watches.push(tracker.watch(Key { initiator, entrance: target }));
                let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                client.bind(&SocketAddr::new(initiator, 0).into()).unwrap();
                client.connect(&target.into()).unwrap();
                drop(listener.accept().unwrap());
                drop(client);
            }
        });
        let took = begun.elapsed();
        std::thread::sleep(Duration::from_millis(100));
        for watch in &mut watches {
            while let Some(event) = watch.try_next() {
                heard += usize::from(!matches!(event, FlowEvent::Gone(_)));
            }
        }
        let after = usage(&thread);
        let (cpu, rate) = (Duration::from_nanos(after.0 - before.0), TRANSFERS as f64 / took.as_secs_f64());
        println!(
            "states {states}, bytes {counts}: {rate:.0} transfers/s, {heard} events, {} wakes, thread {:.1} µs per transfer, {:.2} % of a core",
            tracker.wakes(),
            cpu.as_secs_f64() * 1e6 / TRANSFERS as f64,
            100.0 * cpu.as_secs_f64() / took.as_secs_f64(),
        );
        assert_eq!(heard, TRANSFERS * if states { 3 } else { 1 });
        assert_eq!(tracker.lost(), 0);
        assert!(cpu < took / 10, "{cpu:?} in {took:?}");
    }
}
