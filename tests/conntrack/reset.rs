//! What both ends of a data connection see when it is reset: through firewalls that drop by default on all three hosts,
//! whichever way the data flows, in both families, translated or not.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ftpgate::firewall::tracking::{End, Flow, FlowEvent, Follow, TcpState};
use ftpgate::firewall::{Backend as _, Change, Reset};

use crate::lab::{Dialled, Lab, eventually, families, next};

/// What happens on the connection before and while it is reset.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Traffic {
    /// As fast as it goes.
    Fast,
    /// A few packets, twenty times a second.
    Slow,
    /// Less than a packet, twenty times a second.
    Tiny,
    /// As fast as the receiver reads, which is not fast.
    Throttled,
    /// The receiver does not read, and the sender is blocked.
    Blocked,
    /// Something was sent once, and again half a second after the reset.
    Idle,
}

/// The most that either end may need. The second probe of a blocked sender comes later the longer it was blocked before.
fn limit(traffic: Traffic) -> Duration {
    Duration::from_millis(if traffic == Traffic::Blocked { 5000 } else { 1000 })
}

/// Sends until there is an error, and says when that was.
fn send(mut stream: TcpStream, traffic: Traffic, asked: &AtomicBool) -> (ErrorKind, Instant) {
    let (piece, pause) = match traffic {
        Traffic::Fast | Traffic::Throttled | Traffic::Blocked => (65536, 0),
        Traffic::Slow => (4000, 50),
        Traffic::Tiny => (10, 50),
        Traffic::Idle => (1000, 0),
    };
    let piece = vec![7; piece];
    loop {
        if let Err(error) = stream.write_all(&piece) {
            return (error.kind(), Instant::now());
        }
        std::thread::sleep(Duration::from_millis(pause));
        if traffic == Traffic::Idle {
            while !asked.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(500));
            stream.write_all(&piece).unwrap();
            // Whoever has nothing to send waits for an answer.
            return (stream.read(&mut [0]).unwrap_err().kind(), Instant::now());
        }
    }
}

/// Receives until there is an error, and says when that was.
fn receive(mut stream: TcpStream, traffic: Traffic) -> (ErrorKind, Instant) {
    let mut buffer = vec![0; 65536];
    if traffic == Traffic::Blocked {
        loop {
            // It looks at the connection and does not read.
            if let Some(error) = stream.take_error().unwrap() {
                return (error.kind(), Instant::now());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("an orderly end is no reset"),
            Ok(_) if traffic == Traffic::Throttled => std::thread::sleep(Duration::from_millis(2)),
            Ok(_) => {}
            Err(error) => return (error.kind(), Instant::now()),
        }
    }
}

/// Resets a connection and says how long sender and receiver took to see it.
fn reset(dialled: &Dialled, download: bool, traffic: Traffic, act: impl FnOnce(End)) -> [Duration; 2] {
    let (client, server) = (dialled.client.try_clone().unwrap(), dialled.server.try_clone().unwrap());
    let (sender, receiver, end) =
        if download { (server, client, End::Initiator) } else { (client, server, End::Target) };
    for stream in [&sender, &receiver] {
        stream.set_read_timeout(Some(2 * limit(traffic))).unwrap();
        stream.set_write_timeout(Some(2 * limit(traffic))).unwrap();
    }
    let asked = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send(sender, traffic, &asked));
        let receiver = scope.spawn(|| receive(receiver, traffic));
        std::thread::sleep(Duration::from_millis(400));
        let mut begun = Instant::now();
        act(end);
        asked.store(true, Ordering::Relaxed);
        if traffic == Traffic::Idle {
            begun += Duration::from_millis(500);
        }
        [sender, receiver].map(|end| {
            let (kind, seen) = end.join().unwrap();
            assert_eq!(kind, ErrorKind::ConnectionReset, "{traffic:?}, download: {download}");
            seen.saturating_duration_since(begun)
        })
    })
}

#[test]
fn both_ends_see_it_while_data_flows() {
    both_ends_see_it(Traffic::Fast);
}

#[test]
fn both_ends_see_it_while_little_flows() {
    both_ends_see_it(Traffic::Slow);
}

#[test]
fn both_ends_see_it_while_less_than_packets_flow() {
    both_ends_see_it(Traffic::Tiny);
}

#[test]
fn both_ends_see_it_while_the_receiver_is_slow() {
    both_ends_see_it(Traffic::Throttled);
}

#[test]
fn both_ends_see_it_at_the_probes_of_a_blocked_sender() {
    both_ends_see_it(Traffic::Blocked);
}

#[test]
fn both_ends_see_it_when_data_flows_again() {
    both_ends_see_it(Traffic::Idle);
}

/// In both families, translated and not, in both directions.
fn both_ends_see_it(traffic: Traffic) {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    let mut slowest = [Duration::ZERO; 2];
    for (plan, nat) in families().into_iter().flat_map(|plan| [(plan, false), (plan, true)]) {
        for download in [true, false] {
            let mut dialled = lab.dial(&mut backend, &tracker, plan, nat);
            assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Established));
            let flow = dialled.flow;
            let took = reset(&dialled, download, traffic, |end| {
                let counters = tracker.query(&flow).unwrap().unwrap().counters.unwrap();
                assert_eq!(counters.receiver(), Some(end), "{counters:?}");
                let reset = reset_of(flow, end);
                backend.apply(&[Change::Reset(reset)]).unwrap();
            });
            for (slowest, took) in slowest.iter_mut().zip(took) {
                assert!(took < limit(traffic), "{traffic:?} {plan:?} nat {nat} download {download}: {took:?}");
                *slowest = (*slowest).max(took);
            }
            // The kernel knows that it is over, and forgets it within ten seconds.
            assert!(matches!(next(&mut dialled.watch), Some(FlowEvent::Closing(Some(_)))));
            let there = tracker.query(&flow).unwrap().unwrap();
            assert_eq!(there.state, Some(TcpState::Closed));
            tracker.forget(&flow).unwrap();
            assert!(matches!(next(&mut dialled.watch), Some(FlowEvent::Gone(Some(_)))));
        }
    }
    println!(
        "{traffic:?}: the slowest of eight senders saw it after {:?}, of eight receivers after {:?}",
        slowest[0], slowest[1]
    );
    eventually("nothing is left", || tracker.list().unwrap().is_empty());
}

#[test]
fn other_connections_live_on() {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    for plan in families() {
        let one = lab.dial(&mut backend, &tracker, plan, true);
        let mut other = lab.dial(&mut backend, &tracker, plan, true);
        let flow = one.flow;
        reset(&one, true, Traffic::Fast, |end| {
            backend.apply(&[Change::Reset(reset_of(flow, end))]).unwrap();
        });
        other.server.write_all(b"bytes").unwrap();
        other.client.read_exact(&mut [0; 5]).unwrap();
        other.client.write_all(b"bytes").unwrap();
        other.server.read_exact(&mut [0; 5]).unwrap();
    }
}

fn reset_of(flow: Flow, receiver: End) -> Reset {
    Reset { session: 1, flow, receiver, lifetime: Duration::from_secs(30) }
}

/// What the worker makes of it: the lease is gone before the connection is reset.
#[test]
fn the_firewall_thread_does_it_after_closing_the_pinhole() {
    use ftpgate::firewall::worker::{Firewall, Settings};

    let lab = Lab::new();
    let backend = lab.gateway.run(|| ftpgate::firewall::nftables::Nftables::new(Default::default()).unwrap());
    let settings = Settings { ports: 61000..=61010, cooldown: Duration::from_secs(1), seed: 7 };
    let firewall = Firewall::start(Box::new(backend), settings).unwrap();
    let tracker = lab.tracker();
    let plan = families()[0];
    let listener = lab.server.run(|| std::net::TcpListener::bind((plan.server, 5500)).unwrap());
    let target = listener.local_addr().unwrap();
    let request = ftpgate::pinhole::Request {
        announcement: ftpgate::pinhole::Announcement::Pasv,
        initiator: plan.client,
        on_behalf_of: None,
        entrance: plan.near,
        entrance_port: ftpgate::pinhole::EntrancePort::Any,
        target,
        source: plan.far,
        lifetime: Duration::from_secs(60),
        protection: ftpgate::pinhole::Protection::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let lease = runtime.block_on(firewall.open(1, request)).unwrap();
    let mut watch = tracker.watch(lease.pinhole().key());
    let client = lab.client.connect(plan.client, lease.pinhole().entrance).unwrap();
    let (server, _) = listener.accept().unwrap();
    let Some(FlowEvent::Used(flow)) = next(&mut watch) else { panic!() };
    let dialled = Dialled { client, server, watch, flow, pinhole: *lease.pinhole() };
    let took = reset(&dialled, true, Traffic::Fast, |end| {
        drop(lease);
        firewall.reset(reset_of(flow, end));
    });
    assert!(took.iter().all(|took| *took < Duration::from_secs(1)), "{took:?}");
    assert_eq!(firewall.reset_failures(), 0);
    firewall.stop().unwrap();
}
