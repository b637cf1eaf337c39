//! Ranges of ports: shared by sessions, closed with the last, and never forgotten.

use super::*;
use crate::pinhole::RangeRequest;

fn range(client: u8) -> RangeRequest {
    let [initiator, entrance, target, source] =
        [[192, 0, 2, client], [203, 0, 113, 5], [10, 0, 0, 5], [10, 0, 0, 1]].map(IpAddr::from);
    RangeRequest { initiator, entrance, target, source, ports: (50000, 50100) }
}

/// Waits for the answer, without a runtime.
fn wait_range(mut opening: RangeOpening) -> Result<RangeLease, Error> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Poll::Ready(answer) = Pin::new(&mut opening).poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
        assert!(Instant::now() < deadline, "no answer");
        thread::sleep(Duration::from_micros(100));
    }
}

/// What was asked of the packet filter about ranges, once everything asked for before is done.
fn asked(firewall: &Firewall, record: &Record) -> Vec<Change> {
    settle(firewall);
    record
        .changes()
        .into_iter()
        .filter(|change| matches!(change, Change::OpenRange(_) | Change::CloseRange(_)))
        .collect()
}

#[test]
fn sessions_share_a_range_and_the_last_one_out_closes_it() {
    for direct in [false, true] {
        let (firewall, record) = if direct { start_direct() } else { start() };
        let leases: Vec<RangeLease> = (0..3).map(|_| wait_range(firewall.open_range(range(1))).unwrap()).collect();
        let other = wait_range(firewall.open_range(range(2))).unwrap();
        let opened = vec![Change::OpenRange(range(1)), Change::OpenRange(range(2))];
        assert_eq!(leases[0].range(), &range(1));
        let mut leases = leases.into_iter();
        drop((leases.next(), leases.next()));
        assert_eq!(asked(&firewall, &record), opened, "one still wants it");
        drop(leases);
        drop(other);
        let closed = [Change::CloseRange(range(1)), Change::CloseRange(range(2))];
        assert_eq!(asked(&firewall, &record), [&opened[..], &closed].concat());
        // And from the beginning.
        let again = wait_range(firewall.open_range(range(1))).unwrap();
        assert_eq!(asked(&firewall, &record).last(), Some(&Change::OpenRange(range(1))));
        drop(again);
        assert_eq!(asked(&firewall, &record).last(), Some(&Change::CloseRange(range(1))));
    }
}

#[test]
fn one_that_nobody_waits_for_is_not_left_open() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    let unwanted = firewall.open_range(range(1));
    let wanted = firewall.open_range(range(2));
    drop(unwanted);
    gate.open();
    let lease = wait_range(wanted).unwrap();
    assert_eq!(asked(&firewall, &record), [Change::OpenRange(range(2))]);
    // Answered, and nobody took the answer.
    let answered = firewall.open_range(range(3));
    assert_eq!(asked(&firewall, &record).last(), Some(&Change::OpenRange(range(3))));
    drop(answered);
    assert_eq!(asked(&firewall, &record).last(), Some(&Change::CloseRange(range(3))));
    drop((wait(blocked), lease));
}

#[test]
fn opening_and_closing_that_queue_up_keep_their_order() {
    let (firewall, record, gate) = start_gated(50000..=50999);
    let first = firewall.open_range(range(1));
    gate.wait();
    gate.open_once();
    let first = wait_range(first).unwrap();
    let blocked = firewall.open(1, fixed(1));
    gate.wait();
    drop(first);
    let second = firewall.open_range(range(1));
    gate.open();
    let second = wait_range(second).unwrap();
    let (open, close) = (Change::OpenRange(range(1)), Change::CloseRange(range(1)));
    assert_eq!(asked(&firewall, &record), [open, close, open], "it is open as long as somebody wants it");
    drop(second);
    assert_eq!(asked(&firewall, &record), [open, close, open, close]);
    drop(wait(blocked));
}

#[test]
fn one_that_cannot_be_opened_is_refused_and_can_be_asked_for_again() {
    let (firewall, record) = start();
    record.fail_apply(1, full());
    assert_eq!(wait_range(firewall.open_range(range(1))).unwrap_err(), full());
    let lease = wait_range(firewall.open_range(range(1))).unwrap();
    drop(lease);
    assert_eq!(asked(&firewall, &record), [Change::OpenRange(range(1)), Change::CloseRange(range(1))]);
}

#[test]
fn one_that_could_not_be_closed_is_closed_with_the_next_change_of_a_range() {
    let (firewall, record) = start();
    let (first, other) =
        (wait_range(firewall.open_range(range(1))).unwrap(), wait_range(firewall.open_range(range(2))).unwrap());
    // Nothing of the bystanders is left that could fail instead.
    settle(&firewall);
    eventually(|| firewall.live() == 0);
    record.fail_apply(1, full());
    drop(first);
    eventually(|| firewall.close_failures() == 1);
    assert!(!asked(&firewall, &record).contains(&Change::CloseRange(range(1))));
    drop(other);
    let asked_for = asked(&firewall, &record);
    assert!(asked_for.contains(&Change::CloseRange(range(1))) && asked_for.contains(&Change::CloseRange(range(2))));
    // Whoever wants it in between has it, and nothing is closed behind its back.
    let first = wait_range(firewall.open_range(range(1))).unwrap();
    // Nothing of the bystanders is left that could fail instead.
    settle(&firewall);
    eventually(|| firewall.live() == 0);
    record.fail_apply(1, full());
    drop(first);
    eventually(|| firewall.close_failures() == 2);
    let before = asked(&firewall, &record).len();
    let again = wait_range(firewall.open_range(range(1))).unwrap();
    let other = wait_range(firewall.open_range(range(2))).unwrap();
    assert_eq!(asked(&firewall, &record)[before..], [Change::OpenRange(range(2))], "it was never closed");
    drop((again, other));
    assert_eq!(asked(&firewall, &record).len(), before + 3);
}

#[test]
fn who_cannot_do_it_says_so_in_words() {
    struct Other(DryRun);
    impl Backend for Other {
        fn name(&self) -> &'static str {
            "pf"
        }
        fn verify(&mut self) -> Result<(), Error> {
            Ok(())
        }
        fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
            assert_eq!(changes, [], "nothing to do");
            Ok(())
        }
        fn clear(&mut self) -> Result<(), Error> {
            self.0.clear()
        }
    }
    let firewall = Firewall::start(Box::new(Other(DryRun::new())), settings(1..=1)).unwrap();
    let error = wait_range(firewall.open_range(range(1))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("pf cannot admit") && error.to_string().contains("passive_ports"), "{error}");
}

#[test]
fn stopping_closes_them_and_later_ones_fail() {
    let (firewall, record) = start();
    let lease = wait_range(firewall.open_range(range(1))).unwrap();
    assert_eq!(firewall.stop(), Ok(()));
    assert_eq!(record.calls().last(), Some(&Call::Clear));
    assert!(wait_range(firewall.open_range(range(1))).is_err());
    drop(lease);
}
