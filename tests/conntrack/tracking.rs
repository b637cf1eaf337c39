//! What a watch hears, and whom questions and deletions are about.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use ftpgate::firewall::ErrorKind;
use ftpgate::firewall::conntrack::{Options, Tracker};
use ftpgate::firewall::tracking::{Counters, FlowEvent, Follow, TcpState};
use ftpgate::pinhole::Key;

use crate::lab::{Dialled, Lab, MARK, Namespace, eventually, families, next};

/// Moves this much from the server to the client and closes both ends.
fn download(dialled: &mut Dialled, bytes: usize) {
    std::thread::scope(|scope| {
        let (server, client) = (&mut dialled.server, &mut dialled.client);
        scope.spawn(move || {
            server.write_all(&vec![7; bytes]).unwrap();
            server.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), bytes);
        client.shutdown(std::net::Shutdown::Write).unwrap();
    });
}

/// Whether these counters are of a download of this much.
fn assert_download(counters: &Counters, bytes: u64) {
    let (down, up) = (counters.to_initiator, counters.from_initiator);
    assert!(down.bytes > bytes && down.bytes < bytes + bytes / 10 + 5000, "{counters:?}");
    assert!(up.bytes >= up.packets * 40 && up.bytes <= up.packets * 100, "acknowledgements only: {counters:?}");
    assert!(down.packets >= 4 && up.packets >= 4, "{counters:?}");
}

#[test]
fn a_transfer_is_heard_of_from_beginning_to_end_with_its_bytes() {
    const BYTES: u64 = 3_000_000;
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    assert!(tracker.accounting());
    // What the kernel keeps of a closed connection, it keeps for two minutes.
    lab.gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
    for plan in families() {
        for nat in [false, true] {
            let mut dialled = lab.dial(&mut backend, &tracker, plan, nat);
            assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Established));
            assert_eq!(tracker.live(), 1);
            let before = tracker.query(&dialled.flow).unwrap().unwrap();
            assert_eq!((before.flow, before.state), (dialled.flow, Some(TcpState::Established)));
            assert_eq!(dialled.watch.try_next(), None);

            download(&mut dialled, BYTES as usize);
            let Some(FlowEvent::Closing(Some(counters))) = next(&mut dialled.watch) else { panic!() };
            assert_download(&counters, BYTES);
            assert_eq!(tracker.live(), 0);
            let after = tracker.query(&dialled.flow).unwrap().unwrap();
            assert_eq!((after.state, after.counters), (Some(TcpState::Closed), Some(counters)));

            // The kernel looks for what has timed out every now and then; a dump makes it do so.
            std::thread::sleep(Duration::from_millis(1100));
            eventually("the kernel forgets it", || tracker.list().unwrap().is_empty());
            let Some(FlowEvent::Gone(last)) = next(&mut dialled.watch) else { panic!() };
            assert_eq!(last, Some(counters));
            assert_eq!(tracker.query(&dialled.flow).unwrap(), None);
            let address = if nat { plan.far } else { plan.client };
            assert_eq!(dialled.flow.reply.destination.ip(), address, "the source that the target saw");
        }
    }
    assert_eq!(tracker.lost(), 0);
}

#[test]
fn a_reset_is_a_closing() {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    let mut dialled = lab.dial(&mut backend, &tracker, families()[0], true);
    assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Established));
    socket2::SockRef::from(&dialled.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(dialled.client);
    assert!(matches!(next(&mut dialled.watch), Some(FlowEvent::Closing(Some(_)))));
}

#[test]
fn a_refused_connection_is_used_and_gone() {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    let plan = families()[0];
    // Nobody listens there.
    let dialled = lab.dial(&mut backend, &tracker, plan, true);
    let target = SocketAddr::new(plan.server, 5999);
    let pinhole = ftpgate::pinhole::Pinhole { target, ..dialled.pinhole };
    let mut watch = tracker.watch(pinhole.key());
    ftpgate::firewall::Backend::apply(&mut backend, &[ftpgate::firewall::Change::Open(pinhole)]).unwrap();
    assert!(lab.client.connect(plan.client, pinhole.entrance).is_err());
    assert!(matches!(next(&mut watch), Some(FlowEvent::Used(_))));
    assert!(matches!(next(&mut watch), Some(FlowEvent::Gone(Some(_)))));
}

#[test]
fn without_accounting_there_are_no_counters() {
    let lab = Lab::new();
    lab.gateway.sysctl("netfilter/nf_conntrack_acct", "0");
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    assert!(!tracker.accounting());
    let mut dialled = lab.dial(&mut backend, &tracker, families()[0], true);
    assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Established));
    download(&mut dialled, 1000);
    assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Closing(None)));
    tracker.forget(&dialled.flow).unwrap();
    assert_eq!(next(&mut dialled.watch), Some(FlowEvent::Gone(None)));
}

#[test]
fn what_follows_from_something_else_need_not_be_told() {
    let lab = Lab::new();
    lab.gateway.sysctl("netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
    let mut backend = lab.backend();
    let tracker = lab.gateway.track(Options { every: false, ..Options::new(MARK, MARK) });
    let [plan, _] = families();
    let mut closed = lab.dial(&mut backend, &tracker, plan, true);
    drop((closed.client, closed.server));
    assert!(matches!(next(&mut closed.watch), Some(FlowEvent::Closing(Some(_)))), "not that it was established");
    eventually("it is forgotten", || tracker.query(&closed.flow).unwrap().is_none());
    assert_eq!(closed.watch.try_next(), None, "not that it is gone");
    // One that has not closed.
    let mut deleted = lab.dial(&mut backend, &tracker, plan, true);
    tracker.forget(&deleted.flow).unwrap();
    assert!(matches!(next(&mut deleted.watch), Some(FlowEvent::Gone(Some(_)))));
    assert_eq!(tracker.live(), 0);
}

#[test]
fn without_states_there_are_beginning_and_end() {
    let lab = Lab::new();
    let mut backend = lab.backend();
    let tracker = lab.gateway.track(Options { states: false, ..Options::new(MARK, MARK) });
    let mut dialled = lab.dial(&mut backend, &tracker, families()[0], true);
    download(&mut dialled, 1000);
    eventually("it closes", || {
        tracker.query(&dialled.flow).unwrap().is_some_and(|snapshot| snapshot.state == Some(TcpState::Closed))
    });
    tracker.forget(&dialled.flow).unwrap();
    assert!(matches!(next(&mut dialled.watch), Some(FlowEvent::Gone(Some(_)))));
}

#[test]
fn to_forget_is_about_one_connection() {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    for plan in families() {
        let one = lab.dial(&mut backend, &tracker, plan, true);
        let mut other = lab.dial(&mut backend, &tracker, plan, true);
        let count =
            || lab.gateway.run(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap());
        let before: u32 = count().trim().parse().unwrap();

        // A connection of the same addresses with another id is another one.
        let later = ftpgate::firewall::tracking::Flow { id: one.flow.id ^ 1, ..one.flow };
        assert_eq!(tracker.query(&later).unwrap(), None);
        tracker.forget(&later).unwrap();
        assert!(tracker.query(&one.flow).unwrap().is_some());

        tracker.forget(&one.flow).unwrap();
        tracker.forget(&one.flow).unwrap();
        assert_eq!(tracker.query(&one.flow).unwrap(), None);
        assert!(tracker.query(&other.flow).unwrap().is_some());
        assert_eq!(count().trim().parse::<u32>().unwrap(), before - 1);
        download(&mut other, 1000);
    }
}

#[test]
fn a_watch_that_is_dropped_hears_nothing_and_the_key_is_free() {
    let lab = Lab::new();
    let (mut backend, tracker) = (lab.backend(), lab.tracker());
    let plan = families()[0];
    let first = lab.dial(&mut backend, &tracker, plan, true);
    assert_eq!(tracker.live(), 1);
    drop(first.watch);
    // Same key, while the first connection lives.
    let mut second = lab.dial(&mut backend, &tracker, plan, true);
    assert_eq!(tracker.live(), 2);
    drop((first.client, first.server));
    assert_eq!(next(&mut second.watch), Some(FlowEvent::Established));
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(second.watch.try_next(), None);
}

#[test]
fn what_a_predecessor_left_is_known() {
    let lab = Lab::new();
    let mut backend = lab.backend();
    let dialled = lab.dial(&mut backend, &lab.tracker(), families()[1], true);
    let tracker = lab.tracker();
    assert_eq!(tracker.live(), 1);
    assert_eq!(tracker.list().unwrap().iter().map(|one| one.flow).collect::<Vec<_>>(), [dialled.flow]);
}

#[test]
fn stopping_ends_watches_and_the_thread() {
    let namespace = Namespace::new();
    let tracker = namespace.track(Options::new(MARK, MARK));
    let key = Key { initiator: [192, 0, 2, 1].into(), entrance: "192.0.2.2:21".parse().unwrap() };
    let mut watch = tracker.watch(key);
    let begun = std::time::Instant::now();
    tracker.stop();
    tracker.stop();
    assert!(begun.elapsed() < Duration::from_secs(1));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(watch.next()), None);
}

#[test]
fn without_the_capability_it_says_what_is_needed() {
    let namespace = Namespace::new();
    let error = namespace.run(|| {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).unwrap();
        Tracker::start(MARK, MARK).unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.to_string().starts_with("cannot follow data connections: "), "{error}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    assert_eq!(Tracker::start(0, 0).unwrap_err().kind(), ErrorKind::Other);
}

#[test]
fn a_kernel_that_is_told_to_say_nothing_is_reported() {
    let namespace = Namespace::new();
    namespace.sysctl("netfilter/nf_conntrack_events", "0");
    let error = namespace.run(|| Tracker::start(MARK, MARK).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("net.netfilter.nf_conntrack_events=2"), "{error}");
}

#[test]
fn messages_that_are_lost_are_made_up_for() {
    const CONNECTIONS: u16 = 300;
    let namespace = Namespace::new();
    namespace.sysctl("netfilter/nf_conntrack_acct", "1");
    namespace.load(
        "table inet marks {
            chain output {
                type filter hook output priority mangle; policy accept;
                ct state new tcp dport 5000 ct mark set 0x10000000
            }
        }",
    );
    // Room for a message or two.
    let tracker = namespace.track(Options { receive_buffer: 1, ..Options::new(MARK, MARK) });
    let target: SocketAddr = "127.0.0.1:5000".parse().unwrap();
    let listener = namespace.run(|| TcpListener::bind(target).unwrap());
    let mut watches = Vec::new();
    let held: Vec<_> = (1..=CONNECTIONS)
        .map(|number| {
            let from = std::net::Ipv4Addr::from(0x7f01_0000 + u32::from(number)).into();
            let watch = tracker.watch(Key { initiator: from, entrance: target });
            // As fast as the kernel can, so that the thread falls behind.
            let client = namespace.connect(from, target).unwrap();
            watches.push(watch);
            (client, listener.accept().unwrap().0)
        })
        .collect();
    for watch in &mut watches {
        assert!(matches!(next(watch), Some(FlowEvent::Used(_))), "{:?}", watch.key());
    }
    // All at once: one walk of the kernel deletes them and tells of each.
    namespace.shell("conntrack", "-D -m 0x10000000/0x10000000");
    for watch in &mut watches {
        let mut last = next(watch);
        while matches!(last, Some(FlowEvent::Established)) {
            last = next(watch);
        }
        assert!(matches!(last, Some(FlowEvent::Gone(_))), "{:?}: {last:?}", watch.key());
    }
    println!("{CONNECTIONS} connections: messages were lost {} times", tracker.lost());
    assert!(tracker.lost() > 0, "the test is to overflow the buffer");
    assert_eq!(tracker.live(), 0);
    drop(held);
}
