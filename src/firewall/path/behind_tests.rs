//! Tests of `behind`: which pinholes one request becomes, in which order, and that they close together.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Instant;

use super::*;
use crate::firewall::Change;
use crate::firewall::dry_run::{DryRun, Record};
use crate::firewall::worker::{Lease, Settings};
use crate::pinhole::Pinhole;

const LIFETIME: Duration = Duration::from_secs(60);
const CLIENT: &str = "10.0.0.2";
const SERVER: &str = "203.0.113.5";
/// The gateway, towards the client and towards the server.
const NEAR: &str = "10.0.0.1";
const FAR: &str = "198.51.100.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

/// The relay, what is in front of it, and what both were asked.
struct Bench {
    relay: Firewall,
    front: Front,
    record: Record,
}

impl Bench {
    fn new() -> Self {
        let (relay, record) = DryRun::recording();
        let start = |backend: DryRun, ports| {
            let settings = Settings { ports, cooldown: Duration::ZERO, seed: 1 };
            Firewall::start(Box::new(backend), settings).unwrap()
        };
        let filter = start(DryRun::recorded_in(&record), 61000..=61999);
        let route = |to: IpAddr| match to {
            _ if to == ip(CLIENT) => Ok(ip(NEAR)),
            _ if to == ip(SERVER) => Ok(ip(FAR)),
            _ => Err(io::Error::other("no route")),
        };
        let front = Front { filter, own: [ip(NEAR), ip(FAR)].into(), source_for: route };
        Self { relay: start(relay, 50000..=50999), front, record }
    }

    fn open(&self, request: Request) -> Result<Lease, Error> {
        let mut opening = self.front.open(&self.relay, 7, request);
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Poll::Ready(answer) = Pin::new(&mut opening).poll(&mut Context::from_waker(Waker::noop())) {
                return answer;
            }
            assert!(Instant::now() < deadline, "no answer");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// The pinholes that were opened, in order.
    fn opened(&self) -> Vec<Pinhole> {
        let open = |change| if let Change::Open(pinhole) = change { Some(pinhole) } else { None };
        self.record.changes().into_iter().filter_map(open).collect()
    }

    fn closes_everything(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.record.in_force().is_empty() {
            assert!(Instant::now() < deadline, "still in force: {:?}", self.record.in_force());
            thread::sleep(Duration::from_micros(100));
        }
    }
}

/// Forward mode, the server named this port for EPSV.
fn passive(port: u16) -> Request {
    Request {
        announcement: Announcement::Epsv,
        initiator: ip(CLIENT),
        on_behalf_of: None,
        entrance: ip(SERVER),
        entrance_port: EntrancePort::Fixed(port),
        target: at(SERVER, port),
        source: ip(FAR),
        lifetime: LIFETIME,
        protection: Protection::default(),
    }
}

/// Forward mode, the client named this port for PORT.
fn active(port: u16) -> Request {
    Request {
        announcement: Announcement::Port,
        initiator: ip(SERVER),
        on_behalf_of: None,
        entrance: ip(FAR),
        entrance_port: EntrancePort::Any,
        target: at(CLIENT, port),
        source: ip(SERVER),
        lifetime: LIFETIME,
        protection: Protection::default(),
    }
}

#[test]
fn a_peer_that_dials_a_stranger_is_led_to_the_relay_that_listens_already() {
    let bench = Bench::new();
    let lease = bench.open(passive(2000)).unwrap();
    let [behind, front] = bench.opened().try_into().unwrap();
    assert_eq!((behind.initiator, behind.target, behind.source), (ip(CLIENT), at(SERVER, 2000), ip(FAR)));
    assert_eq!(behind.entrance.ip(), ip(NEAR), "towards the client");
    assert_eq!((front.initiator, front.entrance, front.source), (ip(CLIENT), at(SERVER, 2000), ip(CLIENT)));
    assert_eq!(front.target, behind.entrance);
    // The client is told the front; what comes of it the relay tells.
    assert_eq!((*lease.pinhole(), lease.watched()), (front, behind.key()));
    assert!(!behind.changes_family() && !front.needs_snat());
    drop(lease);
    bench.closes_everything();
}

#[test]
fn what_is_ours_is_dialled_as_it_is_and_a_foreign_source_has_a_pinhole_of_its_own() {
    let bench = Bench::new();
    let lease = bench.open(active(3000)).unwrap();
    let opened = bench.opened();
    assert_eq!(opened.len(), 3, "{opened:#?}");
    let front = opened[2];
    let is_away = |pinhole: &&Pinhole| pinhole.entrance == at(CLIENT, 3000);
    let away = *opened.iter().find(is_away).unwrap();
    let behind = *opened.iter().find(|it| !is_away(it)).unwrap();
    assert_eq!((behind.initiator, behind.target, behind.source), (ip(SERVER), at(CLIENT, 3000), ip(NEAR)));
    assert_eq!((away.initiator, away.target, away.source), (ip(NEAR), at(CLIENT, 3000), ip(SERVER)));
    assert!(away.lifetime > behind.lifetime);
    assert_eq!((front.initiator, front.entrance), (ip(SERVER), behind.entrance));
    assert!(!front.needs_dnat() && !front.needs_snat(), "it only tells the input chain");
    assert_eq!((*lease.pinhole(), lease.watched()), (front, behind.key()));
    drop(lease);
    bench.closes_everything();
}

/// IPv6 to IPv4: the port at the server's address in the client's family is ours to choose.
#[test]
fn rfc6384_a_port_of_the_packet_filter_leads_from_one_family_to_the_other() {
    let bench = Bench::new();
    let front = Front { source_for: |_| Ok(ip("2001:db8::1")), ..bench.front.clone() };
    let bench = Bench { front, ..bench };
    let (client, dialled) = (ip("2001:db8::2"), ip("64:ff9b::203.0.113.5"));
    let request = Request { initiator: client, entrance: dialled, entrance_port: EntrancePort::Any, ..passive(2000) };
    let lease = bench.open(request).unwrap();
    let [behind, front] = bench.opened().try_into().unwrap();
    assert!(behind.changes_family() && !front.changes_family());
    assert!((50000..51000).contains(&behind.entrance.port()), "{behind}");
    assert!((61000..62000).contains(&front.entrance.port()), "{front}");
    assert_eq!((front.entrance.ip(), front.target), (dialled, behind.entrance));
    assert_eq!(lease.pinhole().entrance, front.entrance);
}

#[test]
fn if_a_step_fails_what_was_opened_before_is_closed() {
    let full = || Error::new(ErrorKind::Full, "the set is full");
    let bench = Bench::new();
    let key = crate::pinhole::Key { initiator: ip(CLIENT), entrance: at(SERVER, 2000) };
    bench.record.refuse(key, full());
    assert_eq!(bench.open(passive(2000)).unwrap_err(), full());
    assert_eq!(bench.opened().len(), 1, "the relay listened");
    bench.closes_everything();

    let bench = Bench::new();
    let key = crate::pinhole::Key { initiator: ip(NEAR), entrance: at(CLIENT, 3000) };
    bench.record.refuse(key, full());
    assert_eq!(bench.open(active(3000)).unwrap_err(), full());
    bench.closes_everything();
    assert!(bench.opened().iter().all(|pinhole| pinhole.target == at(CLIENT, 3000)), "no front was opened");
}

#[test]
fn without_a_route_to_the_peer_nothing_is_opened() {
    let bench = Bench::new();
    let error = bench.open(Request { initiator: ip("192.0.2.7"), ..passive(2000) }).unwrap_err();
    assert!(error.to_string().contains("no address towards 192.0.2.7"), "{error}");
    assert_eq!(bench.opened(), []);
}
