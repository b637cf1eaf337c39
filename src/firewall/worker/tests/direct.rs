//! Sessions that carry out their own changes: when they do, and when it is the thread's after all.

use std::sync::Mutex;

use super::*;

/// Which thread each transaction was carried out on, with a gate that one of them may wait at.
struct Witness {
    inner: DryRun,
    seen: Arc<Mutex<Vec<thread::ThreadId>>>,
    /// Entered, and may go on.
    gate: Option<(Sender<()>, Receiver<()>)>,
}

impl Backend for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }
    fn habits(&self) -> Habits {
        Habits { direct: true, ..Habits::default() }
    }
    fn verify(&mut self) -> Result<(), Error> {
        self.inner.verify()
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.seen.lock().unwrap().push(thread::current().id());
        if let Some((entered, go_on)) = self.gate.take() {
            entered.send(()).unwrap();
            go_on.recv_timeout(Duration::from_secs(10)).unwrap();
        }
        self.inner.apply(changes)
    }
    fn clear(&mut self) -> Result<(), Error> {
        self.inner.clear()
    }
}

struct Stage {
    firewall: Firewall,
    record: Record,
    seen: Arc<Mutex<Vec<thread::ThreadId>>>,
}

impl Stage {
    fn new(gate: Option<(Sender<()>, Receiver<()>)>) -> Self {
        let (inner, record) = DryRun::recording();
        let seen = Arc::default();
        let backend = Witness { inner, seen: Arc::clone(&seen), gate };
        Self { firewall: Firewall::start(Box::new(backend), settings(50000..=50099)).unwrap(), record, seen }
    }

    /// Whether each transaction so far was carried out on this thread.
    fn on_this_thread(&self) -> Vec<bool> {
        self.seen.lock().unwrap().iter().map(|id| *id == thread::current().id()).collect()
    }
}

/// An answer that is there already.
fn at_once(mut opening: Opening) -> Result<Lease, Error> {
    match Pin::new(&mut opening).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it was handed over"),
    }
}

#[test]
fn an_opening_is_carried_out_on_the_spot() {
    let stage = Stage::new(None);
    let lease = at_once(stage.firewall.open(1, fixed(1))).unwrap();
    assert_eq!(stage.record.in_force(), [*lease.pinhole()]);
    assert_eq!(stage.on_this_thread(), [true]);
}

#[test]
fn a_closing_goes_along_with_the_next_opening() {
    let stage = Stage::new(None);
    let old = at_once(stage.firewall.open(1, fixed(1))).unwrap();
    // Nothing but the thread could carry it out before the next opening, and that waits for this lock.
    let held = stage.firewall.door.desk.changes().unwrap();
    drop(old);
    drop(held);
    let new = at_once(stage.firewall.open(1, fixed(2)));
    let changes = stage.record.changes();
    assert_eq!(changes, [Change::Open(pinhole(fixed(1))), Change::Close(pinhole(fixed(1))), Change::Open(pinhole(fixed(2)))]);
    drop(new);
}

#[test]
fn a_closing_without_company_is_the_threads() {
    let stage = Stage::new(None);
    drop(at_once(stage.firewall.open(1, fixed(1))).unwrap());
    eventually(|| stage.record.in_force().is_empty() && stage.firewall.live() == 0);
    assert_eq!(stage.on_this_thread(), [true, false]);
    // Again: the thread has not forgotten to be told.
    drop(at_once(stage.firewall.open(1, fixed(2))).unwrap());
    eventually(|| stage.record.in_force().is_empty());
}

#[test]
fn who_finds_somebody_at_it_hands_over() {
    let (entered, is_inside) = mpsc::channel();
    let (let_go, go_on) = mpsc::channel();
    let stage = Arc::new(Stage::new(Some((entered, go_on))));
    let first = thread::spawn({
        let stage = Arc::clone(&stage);
        move || at_once(stage.firewall.open(1, fixed(1))).unwrap()
    });
    is_inside.recv_timeout(Duration::from_secs(10)).unwrap();
    let others: Vec<Opening> = (2..5).map(|port| stage.firewall.open(1, fixed(port))).collect();
    assert_eq!(stage.on_this_thread(), [false], "nobody here waits for the other thread");
    let_go.send(()).unwrap();
    let leases: Vec<Lease> = others.into_iter().map(|opening| wait(opening).unwrap()).collect();
    assert_eq!(leases.len(), 3);
    drop(first.join().unwrap());
    assert_eq!(stage.on_this_thread().iter().filter(|here| **here).count(), 0);
}

/// What fails takes milliseconds, in which other sessions of the same thread would wait.
#[test]
fn after_a_failure_openings_are_the_threads_until_one_succeeds() {
    let stage = Stage::new(None);
    stage.record.refuse(pinhole(fixed(1)).key(), full());
    assert_eq!(at_once(stage.firewall.open(1, fixed(1))).unwrap_err(), full());
    assert_eq!(wait(stage.firewall.open(1, fixed(1))).unwrap_err(), full());
    let two = wait(stage.firewall.open(1, fixed(2))).unwrap();
    let three = at_once(stage.firewall.open(1, fixed(3))).unwrap();
    assert_eq!(stage.on_this_thread(), [true, false, false, true]);
    drop((two, three));
}

#[test]
fn a_reset_comes_after_the_closing_that_was_asked_for_before() {
    use crate::firewall::tracking::{End, Flow, Tuple};
    let stage = Stage::new(None);
    let lease = at_once(stage.firewall.open(1, fixed(1))).unwrap();
    let closed = *lease.pinhole();
    drop(lease);
    let tuple = |source: &str, destination: &str| Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    let original = tuple("192.0.2.1:40000", "203.0.113.5:1");
    let reply = tuple("203.0.113.5:1", "198.51.100.1:40000");
    let flow = Flow { original, reply, id: 1, zone: 0 };
    let reset = Reset { session: 1, flow, receiver: End::Initiator, lifetime: LIFETIME };
    stage.firewall.reset(reset);
    eventually(|| stage.record.changes().contains(&Change::Reset(reset)));
    let changes = stage.record.changes();
    let at = |wanted: &Change| changes.iter().position(|change| change == wanted).unwrap();
    assert!(at(&Change::Close(closed)) < at(&Change::Reset(reset)), "{changes:?}");
}
