//! Tests of `book`: what anchors hold after any changes.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::firewall::tracking::{End, Flow, Tuple};
use crate::pinhole::Announcement;

const LIFETIME: Duration = Duration::from_secs(60);

fn pinhole(session: SessionId, port: u16) -> Pinhole {
    Pinhole {
        session,
        announcement: Announcement::Pasv,
        initiator: "192.0.2.10".parse().unwrap(),
        on_behalf_of: None,
        entrance: SocketAddr::from(([203, 0, 113, 1], port)),
        target: SocketAddr::from(([10, 0, 0, 5], 50000)),
        source: "10.0.0.1".parse().unwrap(),
        lifetime: LIFETIME,
        protection: crate::pinhole::Protection::default(),
    }
}

impl Content {
    fn pinholes(&self) -> Vec<Pinhole> {
        self.passages().iter().map(|passage| passage.pinhole).collect()
    }
}

fn reset(session: SessionId) -> Change {
    let tuple = |source: &str, destination: &str| Tuple {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    };
    let flow = Flow {
        original: tuple("192.0.2.10:40000", "203.0.113.1:61000"),
        reply: tuple("10.0.0.5:50000", "10.0.0.1:0"),
        id: 1,
        zone: 0,
    };
    Change::Reset(Reset { session, flow, receiver: End::Initiator, lifetime: Duration::from_secs(30) })
}

fn apply(book: &mut Book, changes: &[Change], now: Instant) -> Vec<SessionId> {
    let plan = book.plan(changes, now).unwrap();
    let touched = plan.anchors.iter().map(|(session, _)| *session).collect();
    book.commit(plan);
    touched
}

#[test]
fn an_anchor_is_there_while_its_session_has_a_pinhole() {
    let (mut book, now) = (Book::default(), Instant::now());
    let (a, b) = (pinhole(1, 61000), pinhole(1, 61001));
    assert_eq!(apply(&mut book, &[Change::Open(a), Change::Open(b)], now), [1]);
    assert_eq!(book.content(1).pinholes(), [a, b]);
    assert_eq!(apply(&mut book, &[Change::Close(a)], now), [1]);
    assert!(apply(&mut book, &[Change::Close(a)], now).is_empty(), "once more is fine, and costs nothing");
    apply(&mut book, &[Change::Close(b)], now);
    assert!(book.content(1).is_empty() && book.sessions().is_empty());
}

#[test]
fn another_session_that_wants_the_entrance_gets_it_after_the_first_has_lost_it() {
    let (mut book, now) = (Book::default(), Instant::now());
    let (first, later) = (pinhole(7, 61000), pinhole(3, 61000));
    apply(&mut book, &[Change::Open(first)], now);
    assert_eq!(apply(&mut book, &[Change::Open(later)], now), [7, 3], "never in both");
    assert_eq!((book.content(7).pinholes(), book.content(3).pinholes()), (vec![], vec![later]));
    apply(&mut book, &[Change::Close(first)], now);
    assert_eq!(book.content(3).pinholes(), [later], "the first one's close is not for it");
}

#[test]
fn what_has_had_its_time_is_taken_out_whoever_holds_it() {
    let (mut book, now) = (Book::default(), Instant::now());
    apply(&mut book, &[Change::Open(pinhole(1, 61000))], now);
    apply(&mut book, &[Change::Open(pinhole(2, 61001)), reset(2)], now + Duration::from_secs(20));
    assert_eq!(book.deadline(), Some(now + Duration::from_secs(50)), "the reset's");
    let plan = book.expire(now + LIFETIME + GRACE);
    assert_eq!(plan.anchors.iter().map(|(session, _)| *session).collect::<Vec<_>>(), [1, 2]);
    book.commit(plan);
    assert_eq!(book.sessions(), [2]);
    assert!(book.content(2).cuts().is_empty());
}

#[test]
fn a_reset_cuts_both_ways_and_kills() {
    let (book, now) = (Book::default(), Instant::now());
    let plan = book.plan(&[reset(4), reset(4)], now).unwrap();
    assert_eq!(plan.kills, [4, 4]);
    let cuts = plan.anchors[0].1.cuts();
    assert_eq!(cuts.len(), 2, "asked for twice, cut once: {cuts:?}");
    assert_eq!((cuts[0].from.port(), cuts[0].to_port), (40000, Some(61000)));
    assert_eq!((cuts[1].from.port(), cuts[1].to_port), (50000, None), "nobody has seen that port");
}

#[test]
fn what_no_session_asks_for_is_refused() {
    let good = pinhole(1, 61000);
    for bad in [
        Pinhole { source: "2001:db8::1".parse().unwrap(), ..good },
        Pinhole { initiator: "0.0.0.0".parse().unwrap(), ..good },
        Pinhole { target: "224.0.0.1:50000".parse().unwrap(), ..good },
        Pinhole { target: "10.0.0.5:22".parse().unwrap(), ..good },
        Pinhole { entrance: "203.0.113.1:80".parse().unwrap(), ..good },
    ] {
        let error = Book::default().plan(&[Change::Open(good), Change::Open(bad)], Instant::now()).unwrap_err();
        assert!(error.to_string().contains("never opened"), "{error}");
    }
}

#[test]
fn port_20_is_for_the_first_connection_to_a_port() {
    let (mut book, now) = (Book::default(), Instant::now());
    let mut active = pinhole(1, 61000);
    active.announcement = Announcement::Port;
    let mut open = |book: &mut Book, session, target: u16| {
        active.session = session;
        active.target.set_port(target);
        apply(book, &[Change::Open(active)], now);
        let from_port_20 = book.content(session).passages()[0].from_port_20;
        apply(book, &[Change::Close(active)], now);
        from_port_20
    };
    assert!(open(&mut book, 1, 5001) && open(&mut book, 1, 5002));
    assert!(!open(&mut book, 1, 5001) && !open(&mut book, 2, 5002), "whoever asks, the state is the same");
    book.clear();
    assert!(!open(&mut book, 3, 5001), "states outlive anchors");
    for target in 10_000..10_000 + 2 * REMEMBERED as u16 {
        assert!(open(&mut book, 1, target));
    }
    assert!(open(&mut book, 1, 5001), "what is remembered has a limit");
    assert!(book.dialled.recent.len() + book.dialled.before.len() <= 2 * REMEMBERED);
}

#[test]
fn a_change_that_pf_refused_dialled_nobody() {
    let (mut book, now) = (Book::default(), Instant::now());
    let active = Pinhole { announcement: Announcement::Eprt, ..pinhole(1, 61000) };
    drop(book.plan(&[Change::Open(active)], now).unwrap());
    apply(&mut book, &[Change::Open(active)], now);
    assert!(book.content(1).passages()[0].from_port_20);
}

proptest! {
    /// The book against the simplest model: a map from keys to pinholes.
    #[test]
    fn after_any_changes_the_anchors_hold_what_is_open(
        steps in proptest::collection::vec((any::<bool>(), 1..4_u64, 61000..61004_u16), 1..40),
    ) {
        let (mut book, now) = (Book::default(), Instant::now());
        let mut model: HashMap<Key, Pinhole> = HashMap::new();
        for (open, session, port) in steps {
            let one = pinhole(session, port);
            if open {
                apply(&mut book, &[Change::Open(one)], now);
                model.insert(one.key(), one);
            } else {
                apply(&mut book, &[Change::Close(one)], now);
                if model.get(&one.key()) == Some(&one) {
                    model.remove(&one.key());
                }
            }
            let mut held: Vec<Pinhole> = book.sessions().into_iter().flat_map(|s| book.content(s).pinholes()).collect();
            let mut expected: Vec<Pinhole> = model.values().copied().collect();
            held.sort_by_key(Pinhole::key);
            expected.sort_by_key(Pinhole::key);
            prop_assert_eq!(held, expected);
        }
    }
}
