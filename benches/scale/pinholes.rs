//! Pinholes: opening one beside 20,000 others, how many a second, and how often the kernel refuses.
//!
//! Lives here: the worker and the nftables backend of the library, used without sessions, in a namespace. Every pinhole here takes
//! three elements: the permission and both translations. Not here: what the figures mean (`docs/scaling.md`).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use ftpgate::firewall::nftables::{Nftables, Settings};
use ftpgate::firewall::worker::{self, Firewall, Lease, Opening};
use ftpgate::firewall::{Backend, Change, Error};
use ftpgate::pinhole::{Announcement, EntrancePort, Request};

use super::lab::Family;
use super::lab::ftpgate::pinholes;
use super::lab::host::Host;
use super::setting;

/// Opens that are measured one by one.
const SAMPLES: u32 = 5000;
/// Opens that are asked for at once of an empty table.
const BURST: u32 = 2000;
/// What the issue asks for.
const TARGET_OPEN: Duration = Duration::from_micros(100);
const TARGET_RATE: f64 = 10_000.0;

/// The backend, and what the kernel says to it.
struct Counted {
    inner: Nftables,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    transactions: AtomicU64,
    refused: AtomicU64,
    /// Nanoseconds inside refused ones.
    lost: AtomicU64,
}

impl Backend for Counted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn verify(&mut self) -> Result<(), Error> {
        self.inner.verify()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let begun = Instant::now();
        let outcome = self.inner.apply(changes);
        self.counts.transactions.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            self.counts.lost.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        outcome
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.inner.clear()
    }
}

fn start() -> (Firewall, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let inner = Nftables::new(Settings::default()).unwrap();
    let backend = Counted { inner, counts: Arc::clone(&counts) };
    let settings = worker::Settings { ports: 49152..=65535, cooldown: Duration::from_secs(10), seed: 7 };
    (Firewall::start(Box::new(backend), settings).unwrap(), counts)
}

/// A PASV through a gateway that translates both ways, of another client each time.
fn request(number: u32) -> Request {
    let [_, a, b, c] = number.to_be_bytes();
    Request {
        announcement: Announcement::Pasv,
        initiator: IpAddr::V4(Ipv4Addr::new(10, a, b, c)),
        on_behalf_of: None,
        entrance: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)),
        entrance_port: EntrancePort::Any,
        target: SocketAddr::from((Ipv4Addr::new(198, 51, 100, 10), 50_000)),
        source: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 2)),
        lifetime: Duration::from_secs(600),
        protection: ftpgate::pinhole::Protection::default(),
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait(opening: Opening) -> Result<Lease, Error> {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut opening = pin!(opening);
    loop {
        match opening.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(opened) => return opened,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Until so many are in force.
fn reach(firewall: &Firewall, live: usize) {
    let begun = Instant::now();
    while firewall.live() != live {
        assert!(begun.elapsed() < Duration::from_secs(10), "{} pinholes, {live} expected", firewall.live());
        std::thread::yield_now();
    }
}

/// Says whether the targets were met.
pub fn all(many: u32, rounds: u32) -> bool {
    let host = Host::new("pinholes");
    bursts(&host, rounds);
    reused(&host);
    let (firewall, counts) = host.inside(start);
    let begun = Instant::now();
    let openings: Vec<Opening> = (0..many).map(|number| firewall.open(1, request(number))).collect();
    let held: Vec<Lease> = openings.into_iter().filter_map(|opening| wait(opening).ok()).collect();
    let took = begun.elapsed();
    println!(
        "{many} pinholes asked for at once: {} open after {:.0} ms, {:.0} a second; {}",
        held.len(),
        took.as_secs_f64() * 1e3,
        held.len() as f64 / took.as_secs_f64(),
        refusals(&counts)
    );
    println!("    in the kernel's set: {}", pinholes(&host, "ftpgate", Family::V4).len());
    let good = one_more(&firewall, many, held.len()) & sustained(&firewall, &counts, many);
    drop(held);
    reach(&firewall, 0);
    firewall.stop().unwrap();
    good
}

fn refusals(counts: &Counts) -> String {
    format!(
        "{} transactions, {} refused by the kernel, which took {:.0} ms",
        counts.transactions.load(Ordering::Relaxed),
        counts.refused.load(Ordering::Relaxed),
        counts.lost.load(Ordering::Relaxed) as f64 / 1e6
    )
}

/// Many opens at once of a new table, and again when all of them are closed and the kernel's tables have shrunk.
fn bursts(host: &Host, rounds: u32) {
    let (mut failed, mut slowest) = (0, Duration::ZERO);
    let total = Counts::default();
    for _ in 0..rounds {
        let (firewall, counts) = host.inside(start);
        for _ in 0..2 {
            let begun = Instant::now();
            let openings: Vec<Opening> = (0..BURST).map(|number| firewall.open(1, request(number))).collect();
            let held: Vec<_> = openings.into_iter().map(wait).collect();
            slowest = slowest.max(begun.elapsed());
            failed += held.iter().filter(|opened| opened.is_err()).count();
            drop(held);
            reach(&firewall, 0);
            std::thread::sleep(Duration::from_millis(100));
        }
        firewall.stop().unwrap();
        for (sum, one) in [
            (&total.transactions, &counts.transactions),
            (&total.refused, &counts.refused),
            (&total.lost, &counts.lost),
        ] {
            sum.fetch_add(one.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    println!(
        "{} bursts of {BURST} opens: {failed} failed; {}; the slowest burst took {:.0} ms",
        rounds * 2,
        refusals(&total),
        slowest.as_secs_f64() * 1e3
    );
}

/// One entrance again and again, each time used by a connection, as with a server that has few passive ports. What a rule has
/// taken out of a set stays in the kernel's hash table until it is collected, once a second; until then all that had one key are in
/// one bucket, and a bucket has room for 16.
fn reused(host: &Host) {
    let (firewall, counts) = host.inside(start);
    let time = Duration::from_secs(setting("BENCH_SECONDS", 3, 30).into());
    for every in [Duration::from_millis(20), Duration::from_millis(5), Duration::ZERO] {
        let before = [&counts.transactions, &counts.refused].map(|count| count.load(Ordering::Relaxed));
        let (mut done, mut failed, mut slowest) = (0_u32, 0_u32, Duration::ZERO);
        let begun = Instant::now();
        host.inside(|| {
            let entrance = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
            while begun.elapsed() < time {
                let asked = Instant::now();
                let request = Request {
                    initiator: entrance.ip(),
                    on_behalf_of: None,
                    entrance: entrance.ip(),
                    entrance_port: EntrancePort::Fixed(entrance.port()),
                    target: entrance,
                    source: entrance.ip(),
                    ..request(0)
                };
                match wait(firewall.open(1, request)) {
                    // Nobody listens there, but the packet passes the rule.
                    Ok(_lease) => drop(TcpStream::connect(entrance)),
                    Err(_) => failed += 1,
                }
                slowest = slowest.max(asked.elapsed());
                done += 1;
                std::thread::sleep(every.saturating_sub(asked.elapsed()));
            }
        });
        println!(
            "one entrance used {:.0} times a second: {failed} of {done} opens failed; {} of {} transactions were refused; the slowest \
             open took {:.0} ms",
            f64::from(done) / begun.elapsed().as_secs_f64(),
            counts.refused.load(Ordering::Relaxed) - before[1],
            counts.transactions.load(Ordering::Relaxed) - before[0],
            slowest.as_secs_f64() * 1e3
        );
        std::thread::sleep(Duration::from_millis(1500));
    }
    firewall.stop().unwrap();
}

/// From asking to holding the lease, on a thread of its own, with nothing else going on.
fn one_more(firewall: &Firewall, many: u32, live: usize) -> bool {
    let (mut kernel, mut whole) = (Vec::new(), Vec::new());
    for number in 0..SAMPLES {
        let begun = Instant::now();
        let lease = wait(firewall.open(1, request(many + number))).unwrap();
        whole.push(begun.elapsed());
        kernel.push(lease.took());
        drop(lease);
        reach(firewall, live);
    }
    whole.sort();
    kernel.sort();
    let at = |all: &[Duration], share: f64| all[(all.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "one more beside {live}: p50 {:.1} us, p99 {:.1} us until the caller goes on; p50 {:.1} us, p99 {:.1} us until it is in force",
        at(&whole, 0.5),
        at(&whole, 0.99),
        at(&kernel, 0.5),
        at(&kernel, 0.99)
    );
    at(&whole, 0.5) <= TARGET_OPEN.as_secs_f64() * 1e6
}

/// Opens and closes without a pause, with so many under way at a time.
fn sustained(firewall: &Firewall, counts: &Counts, many: u32) -> bool {
    let time = Duration::from_secs(setting("BENCH_SECONDS", 3, 30).into());
    let mut best: f64 = 0.0;
    for window in [1, 16, 64, 256] {
        let (mut under_way, mut done, mut failed, mut number) = (VecDeque::new(), 0_u32, 0_u32, many);
        let before = counts.transactions.load(Ordering::Relaxed);
        let begun = Instant::now();
        while begun.elapsed() < time {
            while under_way.len() < window {
                number = many + (number + 1 - many) % 1_000_000;
                under_way.push_back(firewall.open(1, request(number)));
            }
            match under_way.pop_front().map(wait) {
                Some(Ok(lease)) => drop(lease),
                _ => failed += 1,
            }
            done += 1;
        }
        let took = begun.elapsed();
        let transactions = counts.transactions.load(Ordering::Relaxed) - before;
        under_way.into_iter().for_each(|opening| drop(wait(opening)));
        let rate = f64::from(done) / took.as_secs_f64();
        best = best.max(rate);
        println!(
            "{window:>4} under way: {rate:.0} opened and closed a second, {:.1} changes in a transaction, {failed} failed",
            2.0 * f64::from(done) / transactions as f64
        );
    }
    println!("{}", refusals(counts));
    best >= TARGET_RATE
}
