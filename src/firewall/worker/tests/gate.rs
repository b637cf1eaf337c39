//! A backend that stops in every `apply` until the test lets it go on, so that a test decides what queues up. Recording is
//! left to `dry_run`.

use std::sync::Mutex;

use super::*;

/// A backend that stops in every `apply` until the test lets it go on.
struct Gated {
    inner: DryRun,
    entered: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

/// The test's side of it.
pub(super) struct Gate {
    entered: Receiver<()>,
    go_on: Sender<()>,
}

impl Gate {
    /// Waits until the thread is inside `apply`, so that what is asked for now queues up behind.
    pub(super) fn wait(&self) {
        self.entered.recv_timeout(Duration::from_secs(10)).unwrap();
    }

    /// Opens it for this `apply` alone.
    pub(super) fn open_once(&self) {
        self.go_on.send(()).unwrap();
    }

    /// Opens it for this `apply` and all others.
    pub(super) fn open(self) {
        for _ in 0..1000 {
            // The thread may end before all are through.
            let _ = self.go_on.send(());
        }
    }
}

impl Backend for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }
    fn habits(&self) -> Habits {
        self.inner.habits()
    }
    fn verify(&mut self) -> Result<(), Error> {
        self.inner.verify()
    }
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let _ = self.entered.send(());
        self.go_on.lock().unwrap().recv_timeout(Duration::from_secs(10)).unwrap();
        self.inner.apply(changes)
    }
    fn clear(&mut self) -> Result<(), Error> {
        self.inner.clear()
    }
}

/// A firewall whose thread stops at the gate.
pub(super) fn start_gated(ports: RangeInclusive<u16>) -> (Firewall, Record, Gate) {
    let (inner, record) = DryRun::recording();
    let (entered_here, entered) = mpsc::channel();
    let (go_on, go_on_there) = mpsc::channel();
    let backend = Gated { inner, entered: entered_here, go_on: Mutex::new(go_on_there) };
    (Firewall::start(Box::new(backend), settings(ports)).unwrap(), record, Gate { entered, go_on })
}
