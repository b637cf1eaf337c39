//! Tests of `worker`: one thread, one order, and no way to leave a pinhole behind. `gate` holds the thread up, `random` does
//! things in any order.

mod gate;
mod random;
mod ranges;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::firewall::Change;
use crate::firewall::dry_run::{Call, DryRun, Record};
use crate::firewall::path::DataPath;
use crate::pinhole::{Announcement, EntrancePort, Joint, Leg};
use gate::start_gated;

const LIFETIME: Duration = Duration::from_secs(60);

/// Passive in forward mode: the server chose the port.
fn fixed(port: u16) -> Request {
    Request {
        announcement: Announcement::Pasv,
        initiator: [192, 0, 2, 1].into(),
        on_behalf_of: None,
        entrance: [203, 0, 113, 5].into(),
        entrance_port: EntrancePort::Fixed(port),
        target: SocketAddr::from(([203, 0, 113, 5], port)),
        source: [198, 51, 100, 1].into(),
        lifetime: LIFETIME,
        protection: crate::pinhole::Protection::default(),
    }
}

/// Reverse mode: the port is ours to choose.
fn ours(target: u16) -> Request {
    Request { entrance_port: EntrancePort::Any, target: SocketAddr::from(([10, 0, 0, 5], target)), ..fixed(0) }
}

/// The same entrance as `fixed(port)`, leading elsewhere.
fn fixed_to(port: u16, target: u16) -> Request {
    Request { entrance_port: EntrancePort::Fixed(port), ..ours(target) }
}

fn pinhole(request: Request) -> Pinhole {
    let EntrancePort::Fixed(port) = request.entrance_port else { panic!("no port yet") };
    request.at_port(1, port)
}

fn settings(ports: RangeInclusive<u16>) -> Settings {
    Settings { ports, cooldown: Duration::from_secs(10), seed: 1 }
}

fn start() -> (Firewall, Record) {
    let (backend, record) = DryRun::recording();
    (Firewall::start(Box::new(backend), settings(50000..=50099)).unwrap(), record)
}

fn start_direct() -> (Firewall, Record) {
    let (backend, record) = DryRun::recording();
    (Firewall::start(Box::new(backend.direct()), settings(50000..=50099)).unwrap(), record)
}

/// Waits for the answer, without a runtime.
fn wait(mut opening: Opening) -> Result<Lease, Error> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Poll::Ready(answer) = Pin::new(&mut opening).poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
        assert!(Instant::now() < deadline, "no answer");
        thread::sleep(Duration::from_micros(100));
    }
}

/// A client of no other interest, whose pinholes come and go to see when all that was asked for before is done.
fn bystander() -> Request {
    Request { initiator: IpAddr::from([192, 0, 2, 99]), ..fixed(1) }
}

/// Waits until all that was asked for is done. Twice: the lease of an opening that nobody wanted is closed by a message that
/// queues up behind.
fn settle(firewall: &Firewall) {
    for _ in 0..2 {
        wait(firewall.open(1, bystander())).unwrap();
    }
}

/// What is in force once all that was asked for is done.
fn in_force(firewall: &Firewall, record: &Record) -> Vec<Pinhole> {
    settle(firewall);
    let mut in_force = record.in_force();
    in_force.retain(|other| *other != pinhole(bystander()));
    in_force
}

fn eventually(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "still not so");
        thread::sleep(Duration::from_micros(100));
    }
}

fn full() -> Error {
    Error::new(ErrorKind::Full, "the set is full")
}

fn other() -> Error {
    Error::new(ErrorKind::Other, "interrupted")
}

/// How many changes each transaction had.
fn sizes(record: &Record) -> Vec<usize> {
    let size = |call: Call| match call {
        Call::Applied(changes) | Call::Failed(changes) => Some(changes.len()),
        Call::Verify | Call::Clear => None,
    };
    record.calls().into_iter().filter_map(size).collect()
}

#[test]
fn a_pinhole_is_in_force_when_its_lease_is_there_and_closed_when_it_is_dropped() {
    let (firewall, record) = start();
    let lease = wait(firewall.open(1, fixed(40000))).unwrap();
    assert_eq!(*lease.pinhole(), pinhole(fixed(40000)));
    assert_eq!(record.in_force(), [pinhole(fixed(40000))]);
    assert_eq!(firewall.live(), 1);
    assert!(lease.took() < Duration::from_secs(10));
    drop(lease);
    assert_eq!(in_force(&firewall, &record), []);
    eventually(|| firewall.live() == 0);
    assert_eq!(firewall.close_failures(), 0);
}

#[test]
fn the_backend_is_verified_before_anything_else_and_named() {
    let (firewall, record) = start();
    assert_eq!(record.calls(), [Call::Verify]);
    assert_eq!(firewall.backend_name(), "dry-run");
}

#[test]
fn a_backend_that_cannot_be_verified_is_not_started() {
    struct Missing;
    impl Backend for Missing {
        fn name(&self) -> &'static str {
            "missing"
        }
        fn verify(&mut self) -> Result<(), Error> {
            Err(Error::new(ErrorKind::Missing, "no table inet ftpgate"))
        }
        fn apply(&mut self, _: &[Change]) -> Result<(), Error> {
            panic!("not verified")
        }
        fn clear(&mut self) -> Result<(), Error> {
            panic!("not verified")
        }
    }
    let error = Firewall::start(Box::new(Missing), settings(1..=1)).unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Missing, "no table inet ftpgate"));
}

#[test]
fn what_queues_up_goes_into_one_transaction_of_at_most_a_hundred() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let first = firewall.open(1, ours(1));
    gate.wait();
    let others: Vec<Opening> = (0..150).map(|target| firewall.open(1, ours(target))).collect();
    gate.open();
    let leases: Vec<Lease> = iter::once(first).chain(others).map(|opening| wait(opening).unwrap()).collect();
    assert_eq!(sizes(&record), [1, 100, 50]);
    assert_eq!(firewall.live(), 151);
    drop(leases);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn changes_are_carried_out_in_the_order_in_which_they_were_asked_for() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let (a, b) = (firewall.open(1, fixed(2)), firewall.open(1, fixed(3)));
    gate.open();
    let (a, b) = (wait(a).unwrap(), wait(b).unwrap());
    drop(a);
    drop(b);
    let c = wait(firewall.open(1, fixed(4))).unwrap();
    let [p1, p2, p3, p4] = [1, 2, 3, 4].map(|port| pinhole(fixed(port)));
    let expected = [Change::Open(p1), Change::Open(p2), Change::Open(p3)];
    let then = [Change::Close(p2), Change::Close(p3), Change::Open(p4)];
    assert_eq!(record.changes(), [expected, then].concat());
    drop((wait(blocked), c));
}

#[test]
fn c73_one_bad_pinhole_of_a_transaction_fails_alone() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    record.refuse(pinhole(fixed(3)).key(), full());
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let openings = [2, 3, 4].map(|port| firewall.open(1, fixed(port)));
    gate.open();
    let [two, three, four] = openings.map(wait);
    assert_eq!(three.unwrap_err(), full());
    assert_eq!(sizes(&record), [1, 3, 1, 1, 1]);
    assert_eq!(record.in_force(), [1, 2, 4].map(|port| pinhole(fixed(port))));
    assert_eq!(firewall.live(), 3);
    drop((wait(blocked), two, four));
}

#[test]
fn c73_a_failure_of_unknown_reason_is_tried_once_more_and_a_known_one_is_not() {
    let (firewall, record) = start();
    record.fail_apply(1, other());
    let lease = wait(firewall.open(1, fixed(1))).unwrap();
    assert_eq!(sizes(&record), [1, 1]);
    record.refuse(pinhole(fixed(2)).key(), other());
    assert_eq!(wait(firewall.open(1, fixed(2))).unwrap_err(), other());
    assert_eq!(sizes(&record), [1, 1, 1, 1]);
    record.refuse(pinhole(fixed(3)).key(), full());
    assert_eq!(wait(firewall.open(1, fixed(3))).unwrap_err(), full());
    assert_eq!(sizes(&record), [1, 1, 1, 1, 1]);
    assert_eq!(record.in_force(), [*lease.pinhole()]);
}

#[test]
fn a_busy_packet_filter_is_asked_again_for_the_whole_transaction() {
    let busy = || Error::new(ErrorKind::Busy, "rebuilding a set");
    let (firewall, record, gate) = start_gated(50000..=50999);
    record.fail_apply(2, busy());
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let openings = [2, 3, 4].map(|port| firewall.open(1, fixed(port)));
    gate.open();
    let leases = openings.map(|opening| wait(opening).unwrap());
    assert_eq!(sizes(&record), [1, 3, 3]);
    // One that stays busy fails in the end, and says so.
    record.refuse(pinhole(fixed(5)).key(), busy());
    assert_eq!(wait(firewall.open(1, fixed(5))).unwrap_err(), busy());
    assert_eq!(sizes(&record), [1, 3, 3, 1, 1, 1]);
    drop((wait(blocked), leases));
}

#[test]
fn a_lease_whose_key_is_asked_for_again_is_taken_over_and_its_drop_does_nothing() {
    let (firewall, record) = start();
    let old = wait(firewall.open(1, fixed_to(7, 100))).unwrap();
    let new = wait(firewall.open(1, fixed_to(7, 200))).unwrap();
    let [to_100, to_200] = [100, 200].map(|target| pinhole(fixed_to(7, target)));
    assert_eq!(record.changes(), [Change::Open(to_100), Change::Close(to_100), Change::Open(to_200)]);
    assert_eq!(firewall.live(), 1);
    drop(old);
    assert_eq!(in_force(&firewall, &record), [to_200]);
    drop(new);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn asking_again_for_the_same_translation_renews_it() {
    let (firewall, record) = start();
    let old = wait(firewall.open(1, fixed(7))).unwrap();
    let longer = Request { lifetime: 2 * LIFETIME, ..fixed(7) };
    let new = wait(firewall.open(1, longer)).unwrap();
    assert_eq!(record.changes(), [Change::Open(pinhole(fixed(7))), Change::Open(pinhole(longer))]);
    drop(old);
    assert_eq!(in_force(&firewall, &record), [pinhole(longer)]);
    drop(new);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn a_take_over_that_fails_leaves_the_old_lease_its_pinhole() {
    let (backend, record) = DryRun::recording();
    let firewall = Firewall::start(Box::new(backend), settings(50007..=50007)).unwrap();
    let old = wait(firewall.open(1, fixed_to(50007, 100))).unwrap();
    record.fail_apply(1, full());
    assert_eq!(wait(firewall.open(1, fixed_to(50007, 200))).unwrap_err(), full());
    assert_eq!(in_force(&firewall, &record), [*old.pinhole()]);
    assert!(wait(firewall.open(1, ours(300))).is_err(), "and its port");
    drop(old);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn a_lease_dropped_right_after_it_was_taken_over_does_not_close_what_took_its_place() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let old = firewall.open(1, fixed_to(7, 100));
    gate.wait();
    gate.open_once();
    let old = wait(old).unwrap();
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let new = firewall.open(1, fixed_to(7, 200));
    drop(old);
    gate.open();
    assert_eq!(in_force(&firewall, &record), [pinhole(fixed(1)), pinhole(fixed_to(7, 200))]);
    drop((wait(blocked), wait(new)));
}

#[test]
fn take_overs_and_closes_of_one_key_that_queue_up_keep_their_order() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let openings = [100, 200, 300].map(|target| firewall.open(1, fixed_to(7, target)));
    gate.open();
    let [a, b, c] = openings.map(|opening| wait(opening).unwrap());
    drop((a, b));
    assert_eq!(in_force(&firewall, &record), [pinhole(fixed(1)), pinhole(fixed_to(7, 300))]);
    eventually(|| firewall.live() == 2);
    drop((c, wait(blocked)));
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn an_opening_dropped_before_its_turn_opens_nothing() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    drop(firewall.open(1, fixed(2)));
    gate.open();
    assert_eq!(in_force(&firewall, &record), [pinhole(fixed(1))]);
    assert!(!record.changes().contains(&Change::Open(pinhole(fixed(2)))));
    drop(wait(blocked));
}

#[test]
fn an_opening_dropped_while_it_is_carried_out_is_closed_again() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let opening = firewall.open(1, fixed(2));
    gate.wait();
    drop(opening);
    gate.open();
    assert_eq!(in_force(&firewall, &record), []);
    assert!(record.changes().contains(&Change::Open(pinhole(fixed(2)))));
}

#[test]
fn an_opening_dropped_with_its_answer_inside_is_closed_again() {
    let (firewall, record) = start();
    let opening = firewall.open(1, fixed(2));
    eventually(|| firewall.live() == 1);
    settle(&firewall);
    drop(opening);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn c72_an_entrance_of_ours_gets_a_port_of_the_range_that_nobody_else_has() {
    let (firewall, record) = start();
    let first = wait(firewall.open(1, Request { entrance_port: EntrancePort::Fixed(50042), ..ours(1) })).unwrap();
    let leases: Vec<Lease> = (0..99).map(|target| wait(firewall.open(1, ours(target))).unwrap()).collect();
    let mut ports: Vec<u16> = leases.iter().map(|lease| lease.pinhole().entrance.port()).collect();
    ports.push(first.pinhole().entrance.port());
    ports.sort_unstable();
    assert_eq!(ports, (50000..=50099).collect::<Vec<_>>());
    assert_eq!(record.in_force().len(), 100);
}

#[test]
fn a_joint_is_refused_with_a_sentence_and_nothing_is_changed() {
    let (firewall, record) = start();
    let dial = |target: &str, source: [u8; 4]| Leg::Dial { target: target.parse().unwrap(), source: source.into() };
    let (client, server) = (dial("192.0.2.1:40000", [203, 0, 113, 5]), dial("203.0.113.5:50000", [198, 51, 100, 1]));
    let Request { lifetime, protection, .. } = fixed(1);
    let joint = Joint { announcement: Announcement::Port, client, server, lifetime, protection };
    let error = wait(DataPath::new(firewall.clone(), None).join(1, joint)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("cannot join"), "{error}");
    settle(&firewall);
    assert_eq!(in_force(&firewall, &record), []);
}

#[test]
fn c74_a_range_that_is_used_up_is_an_error_that_names_the_setting() {
    let (backend, _record) = DryRun::recording();
    let firewall = Firewall::start(Box::new(backend), settings(50000..=50000)).unwrap();
    let lease = wait(firewall.open(1, ours(1))).unwrap();
    let error = wait(firewall.open(1, ours(2))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("data.ports (50000-50000)"), "{error}");
    drop(lease);
    assert_eq!(
        wait(firewall.open(1, ours(3))).unwrap().pinhole().entrance.port(),
        50000,
        "cooling, but there is no other"
    );
}

#[test]
fn c74_a_close_frees_its_port_for_an_open_in_the_same_batch() {
    let (firewall, _record, gate) = start_gated(50000..=50000);
    let lease = firewall.open(1, ours(1));
    gate.wait();
    gate.open_once();
    let lease = wait(lease).unwrap();
    let other = firewall.open(1, fixed(1));
    gate.wait();
    drop(lease);
    let next = firewall.open(1, ours(2));
    gate.open();
    assert_eq!(wait(next).unwrap().pinhole().target.port(), 2);
    drop(wait(other));
}

#[test]
fn the_port_of_a_pinhole_that_could_not_be_opened_is_free_again() {
    let (backend, record) = DryRun::recording();
    let firewall = Firewall::start(Box::new(backend), settings(50000..=50000)).unwrap();
    record.fail_apply(1, full());
    assert_eq!(wait(firewall.open(1, ours(1))).unwrap_err(), full());
    assert!(wait(firewall.open(1, ours(2))).is_ok());
}

#[test]
fn a_released_port_is_not_given_out_again_at_once() {
    let (firewall, _record) = start();
    let mut seen = std::collections::HashSet::new();
    for target in 0..100 {
        assert!(seen.insert(wait(firewall.open(1, ours(target))).unwrap().pinhole().entrance.port()));
    }
}

#[test]
fn a_close_that_fails_is_counted_and_everything_goes_on() {
    let (firewall, record) = start();
    let lease = wait(firewall.open(1, ours(1))).unwrap();
    record.refuse(lease.pinhole().key(), other());
    drop(lease);
    eventually(|| firewall.close_failures() == 1);
    assert!(wait(firewall.open(1, ours(2))).is_ok());
}

#[test]
fn stopping_closes_everything_and_later_opens_fail_with_a_sentence() {
    let (firewall, record) = start();
    let lease = wait(firewall.open(1, fixed(1))).unwrap();
    let clone = firewall.clone();
    assert_eq!(firewall.stop(), Ok(()));
    assert_eq!(record.calls().last(), Some(&Call::Clear));
    assert_eq!((record.in_force(), firewall.live()), (vec![], 0));
    let error = wait(clone.open(1, fixed(2))).unwrap_err();
    assert!(error.to_string().contains("firewall thread has ended"), "{error}");
    drop(lease);
    assert_eq!(clone.stop(), Ok(()), "twice is fine");
    assert_eq!(record.calls().iter().filter(|call| **call == Call::Clear).count(), 1);
}

#[test]
fn what_was_asked_for_before_a_stop_is_answered() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let first = firewall.open(1, fixed(1));
    gate.wait();
    let second = firewall.open(1, fixed(2));
    let stopping = thread::spawn({
        let firewall = firewall.clone();
        move || firewall.stop()
    });
    gate.open();
    assert_eq!(stopping.join().unwrap(), Ok(()));
    assert!(wait(first).is_ok() && wait(second).is_ok());
    assert_eq!(record.in_force(), []);
}

#[test]
fn without_handles_and_leases_the_thread_cleans_up_and_ends() {
    let (firewall, record) = start();
    let lease = wait(firewall.open(1, fixed(1))).unwrap();
    drop(firewall);
    drop(lease);
    eventually(|| record.calls().last() == Some(&Call::Clear));
}

#[test]
fn a_backend_that_panics_makes_opens_fail_and_nothing_hang() {
    struct Broken;
    impl Backend for Broken {
        fn name(&self) -> &'static str {
            "broken"
        }
        fn verify(&mut self) -> Result<(), Error> {
            Ok(())
        }
        fn apply(&mut self, _: &[Change]) -> Result<(), Error> {
            panic!("a bug")
        }
        fn clear(&mut self) -> Result<(), Error> {
            Ok(())
        }
    }
    let firewall = Firewall::start(Box::new(Broken), settings(1..=1)).unwrap();
    for _ in 0..2 {
        let error = wait(firewall.open(1, fixed(1))).unwrap_err();
        assert!(error.to_string().contains("firewall thread has ended"), "{error}");
    }
    assert!(firewall.stop().is_err());
}
