//! Tests of `tracker` with a source that shows what the test wants it to.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::firewall::tracking::{Counters, FlowEvent, Tally, TcpState, Tuple};

/// Tells the test each question, and answers what the test has last put there.
struct Told {
    asked: Sender<Interest>,
    shows: Arc<Mutex<Vec<(Snapshot, u64)>>>,
}

impl Source for Told {
    fn look(&mut self, interest: &Interest) -> Result<Vec<Seen>, Error> {
        let _ = self.asked.send(interest.clone());
        Ok(interest.of(self.shows.lock().unwrap().iter().copied()))
    }
}

struct Scene {
    tracker: Tracker,
    asked: Receiver<Interest>,
    shows: Arc<Mutex<Vec<(Snapshot, u64)>>>,
}

fn scene() -> Scene {
    let (sender, asked) = channel();
    let shows = Arc::new(Mutex::new(Vec::new()));
    let source = Told { asked: sender, shows: Arc::clone(&shows) };
    Scene { tracker: Tracker::start(Box::new(source)).unwrap(), asked, shows }
}

fn connection(id: u64, state: TcpState, bytes: u64) -> Snapshot {
    let source = SocketAddr::from(([192, 0, 2, 10], 40000));
    let destination = SocketAddr::from(([192, 0, 2, 1], 50000));
    let flow = Flow {
        original: Tuple { source, destination },
        reply: Tuple { source: destination, destination: source },
        id,
        zone: 0,
    };
    let counters = Counters { to_initiator: Tally { bytes, packets: 1 }, ..Counters::default() };
    Snapshot { flow, state: Some(state), counters: Some(counters) }
}

fn next(watch: &mut Watch) -> Option<FlowEvent> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), watch.next()).await }).expect("an event")
}

impl Scene {
    fn show(&self, seen: &[(Snapshot, u64)]) {
        *self.shows.lock().unwrap() = seen.to_vec();
    }

    fn watch(&self) -> Watch {
        self.tracker.watch(connection(0, TcpState::Opening, 0).flow.key())
    }
}

#[test]
fn a_connection_is_followed_from_its_first_packet_to_its_end() {
    let scene = scene();
    let mut watch = scene.watch();
    scene.show(&[(connection(7, TcpState::Established, 100), 0)]);
    let Some(FlowEvent::Used(flow)) = next(&mut watch) else { panic!() };
    assert_eq!(next(&mut watch), Some(FlowEvent::Established));
    assert_eq!(scene.tracker.query(&flow).unwrap().unwrap().counters.unwrap().to_initiator.bytes, 100);
    let closed = connection(7, TcpState::Closed, 5000);
    scene.show(&[(closed, 1)]);
    assert_eq!(next(&mut watch), Some(FlowEvent::Closing(closed.counters)));
    scene.show(&[]);
    assert_eq!(next(&mut watch), Some(FlowEvent::Gone(closed.counters)));
    assert_eq!(scene.tracker.query(&flow).unwrap(), None);
}

#[test]
fn one_that_was_over_before_anybody_looked_is_seen_all_the_same() {
    let scene = scene();
    scene.show(&[(connection(7, TcpState::Closed, 300), 0)]);
    let mut watch = scene.watch();
    assert!(matches!(next(&mut watch), Some(FlowEvent::Used(_))));
    assert!(matches!(next(&mut watch), Some(FlowEvent::Closing(Some(_)))));
}

#[test]
fn an_earlier_connection_of_the_same_addresses_is_not_taken_for_the_awaited_one() {
    let scene = scene();
    scene.show(&[(connection(6, TcpState::Closed, 300), 60)]);
    let mut watch = scene.watch();
    scene.asked.recv().unwrap();
    scene.asked.recv().unwrap();
    assert_eq!(watch.try_next(), None);
    // Nor is one that was followed just now.
    scene.show(&[(connection(7, TcpState::Closed, 300), 0)]);
    assert!(matches!(next(&mut watch), Some(FlowEvent::Used(_))));
    drop(watch);
    let mut watch = scene.watch();
    while scene.asked.recv().unwrap().awaited.is_empty() {}
    scene.asked.recv().unwrap();
    assert_eq!(watch.try_next(), None);
}

#[test]
fn when_nobody_watches_nobody_is_asked() {
    let scene = scene();
    drop(scene.watch());
    while scene.asked.recv_timeout(2 * LATER).is_ok() {}
    assert!(scene.asked.recv_timeout(2 * LATER).is_err());
    let _watch = scene.watch();
    scene.asked.recv_timeout(2 * LATER).expect("it looks again");
}

#[test]
fn at_the_end_watches_end() {
    let scene = scene();
    let mut watch = scene.watch();
    scene.tracker.stop();
    assert_eq!(next(&mut watch), None);
}
