//! Tests of `registry`: who hears of what, also when messages are lost.

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::{Tally, Tuple};
use super::*;

const COUNTERS: Counters =
    Counters { from_initiator: Tally { bytes: 100, packets: 2 }, to_initiator: Tally { bytes: 5000, packets: 4 } };

fn flow(id: u64) -> Flow {
    let source = std::net::SocketAddr::from(([192, 0, 2, 10], 40000));
    let destination = std::net::SocketAddr::from(([192, 0, 2, 1], 50000));
    Flow {
        original: Tuple { source, destination },
        reply: Tuple { source: destination, destination: source },
        id,
        zone: 0,
    }
}

fn snapshot(id: u64, state: TcpState) -> Snapshot {
    Snapshot { flow: flow(id), state: Some(state), counters: Some(COUNTERS) }
}

fn apply(registry: &mut Registry, kind: Kind, id: u64, state: TcpState) {
    let snapshot = Snapshot { counters: (kind == Kind::Destroy).then_some(COUNTERS), ..snapshot(id, state) };
    registry.apply(&Event { kind, snapshot }, |asked| (asked.id == id).then_some(COUNTERS));
    registry.news().tell();
}

fn watch(registry: &mut Registry) -> (WatchId, UnboundedReceiver<FlowEvent>) {
    let (sender, receiver) = unbounded_channel();
    (registry.watch(flow(0).key(), sender), receiver)
}

fn heard(receiver: &mut UnboundedReceiver<FlowEvent>) -> Vec<FlowEvent> {
    std::iter::from_fn(|| receiver.try_recv().ok()).collect()
}

use TcpState::{Closed, Established, Finishing, Opening};

#[test]
fn a_watch_hears_of_its_connection_from_beginning_to_end() {
    let mut registry = Registry::default();
    let (_, mut events) = watch(&mut registry);
    apply(&mut registry, Kind::New, 1, Opening);
    assert_eq!(registry.live(), 1);
    for state in [Established, Established, Finishing, Closed, Closed] {
        apply(&mut registry, Kind::Update, 1, state);
    }
    assert_eq!(registry.live(), 0);
    apply(&mut registry, Kind::Destroy, 1, Closed);
    assert_eq!(
        heard(&mut events),
        [
            FlowEvent::Used(flow(1)),
            FlowEvent::Established,
            FlowEvent::Closing(Some(COUNTERS)),
            FlowEvent::Gone(Some(COUNTERS))
        ]
    );
    assert!(events.is_closed() && registry.flows.is_empty() && registry.found.is_empty());
}

#[test]
fn a_watch_is_for_one_connection() {
    let mut registry = Registry::default();
    let (_, mut first) = watch(&mut registry);
    apply(&mut registry, Kind::New, 1, Opening);
    let (_, mut second) = watch(&mut registry);
    apply(&mut registry, Kind::Update, 1, Established);
    apply(&mut registry, Kind::New, 2, Opening);
    apply(&mut registry, Kind::New, 3, Opening);
    assert_eq!(heard(&mut first), [FlowEvent::Used(flow(1)), FlowEvent::Established]);
    assert_eq!(heard(&mut second), [FlowEvent::Used(flow(2))]);
    assert_eq!(registry.live(), 3);
}

#[test]
fn a_later_watch_takes_the_key() {
    let mut registry = Registry::default();
    let (earlier, mut first) = watch(&mut registry);
    let (_, mut second) = watch(&mut registry);
    registry.unwatch(flow(0).key(), earlier);
    apply(&mut registry, Kind::New, 1, Opening);
    assert_eq!(heard(&mut first), []);
    assert!(first.is_closed());
    assert_eq!(heard(&mut second), [FlowEvent::Used(flow(1))]);
}

#[test]
fn what_nobody_watches_leaves_nothing_behind() {
    let mut registry = Registry::default();
    let (dropped, events) = watch(&mut registry);
    drop(events);
    apply(&mut registry, Kind::New, 1, Opening);
    registry.unwatch(flow(0).key(), dropped);
    apply(&mut registry, Kind::New, 2, Opening);
    assert_eq!(registry.live(), 2);
    apply(&mut registry, Kind::Update, 1, Closed);
    apply(&mut registry, Kind::Destroy, 2, Established);
    assert_eq!(registry.live(), 0);
    assert!(registry.flows.is_empty() && registry.found.is_empty() && registry.waiting.is_empty());

    // Dropped between the closing and the end.
    let (closing, _events) = watch(&mut registry);
    apply(&mut registry, Kind::New, 3, Opening);
    apply(&mut registry, Kind::Update, 3, Closed);
    assert_eq!(registry.flows.len(), 1);
    registry.unwatch(flow(0).key(), closing);
    assert!(registry.flows.is_empty() && registry.found.is_empty());
}

#[test]
fn an_end_that_was_lost_is_found_out() {
    let mut registry = Registry::default();
    let (_, mut events) = watch(&mut registry);
    apply(&mut registry, Kind::New, 1, Opening);
    registry.reconcile(&[], |_| true);
    registry.news().tell();
    assert_eq!(heard(&mut events), [FlowEvent::Used(flow(1))], "the dump has missed it");
    registry.reconcile(&[], |_| false);
    registry.news().tell();
    assert_eq!(heard(&mut events), [FlowEvent::Gone(None)]);
    assert_eq!(registry.live(), 0);
}

#[test]
fn a_beginning_and_a_closing_that_were_lost_are_found_out() {
    let mut registry = Registry::default();
    let (_, mut events) = watch(&mut registry);
    registry.reconcile(&[snapshot(1, Established)], |_| false);
    registry.news().tell();
    // The message about it comes late.
    apply(&mut registry, Kind::New, 1, Opening);
    registry.reconcile(&[snapshot(1, Closed)], |_| false);
    registry.news().tell();
    registry.reconcile(&[snapshot(1, Closed)], |_| false);
    registry.news().tell();
    assert_eq!(
        heard(&mut events),
        [FlowEvent::Used(flow(1)), FlowEvent::Established, FlowEvent::Closing(Some(COUNTERS))]
    );
}

#[test]
fn an_earlier_connection_that_is_about_to_end_is_not_taken_for_the_awaited_one() {
    let mut registry = Registry::default();
    let (_, mut events) = watch(&mut registry);
    registry.reconcile(&[snapshot(1, Finishing), snapshot(2, Closed)], |_| false);
    registry.news().tell();
    apply(&mut registry, Kind::Update, 1, Closed);
    apply(&mut registry, Kind::Destroy, 1, Closed);
    assert_eq!(heard(&mut events), []);
    assert_eq!(registry.live(), 0);
}

#[test]
fn at_the_end_every_watch_ends() {
    let mut registry = Registry::default();
    let (_, mut used) = watch(&mut registry);
    apply(&mut registry, Kind::New, 1, Opening);
    let (_, unused) = watch(&mut registry);
    registry.close();
    assert_eq!(heard(&mut used), [FlowEvent::Used(flow(1))]);
    assert!(used.is_closed() && unused.is_closed());
}
