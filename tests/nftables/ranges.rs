//! Ranges of ports for sessions that became TLS: whom they let pass, where, and for how long.

use std::io::ErrorKind::{ConnectionRefused, TimedOut};
use std::net::{IpAddr, SocketAddr};

use ftpgate::firewall::nftables::{Ownership, Settings, text};
use ftpgate::firewall::{Backend as _, Change};
use ftpgate::pinhole::RangeRequest;

use crate::lab::{DROP_BY_DEFAULT, Lab, accept, families, nobody_arrived, open, pinhole};

const PORTS: (u16, u16) = (50000, 50010);

fn settings() -> Settings {
    Settings { ranges: vec![PORTS, (50020, 50020)], ..Settings::default() }
}

fn range(initiator: IpAddr, entrance: IpAddr, target: IpAddr, source: IpAddr) -> RangeRequest {
    RangeRequest { initiator, entrance, target, source, ports: PORTS }
}

/// The number of elements in each of the sets of the range.
fn counts(lab: &Lab) -> [usize; 6] {
    ["range4", "range_dnat4", "range_snat4", "range6", "range_dnat6", "range_snat6"]
        .map(|stem| lab.gateway.count("ftpgate", &format!("{stem}_{}_{}", PORTS.0, PORTS.1)))
}

#[test]
fn forward_it_lets_this_client_dial_these_ports_of_this_server_as_often_as_it_likes() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&settings());
    for plan in families() {
        let at = |port| SocketAddr::new(plan.server, port);
        let [first, last, below, above] =
            [50000, 50010, 49999, 50011].map(|port| (at(port), lab.server.listen(at(port))));
        let range = range(plan.client, plan.server, plan.server, plan.far);
        assert_eq!(lab.client.connect(plan.client, first.0).unwrap_err().kind(), TimedOut, "before");

        backend.apply(&[Change::OpenRange(range)]).unwrap();
        for (target, listener) in [&first, &last, &first] {
            let mut dialled = lab.client.connect(plan.client, *target).unwrap();
            assert_eq!(accept(listener, &mut dialled), plan.far);
        }
        assert_eq!(lab.client.connect(plan.stranger, first.0).unwrap_err().kind(), TimedOut, "a third host");
        for (target, listener) in [&below, &above] {
            assert_eq!(lab.client.connect(plan.client, *target).unwrap_err().kind(), TimedOut, "another port");
            assert!(nobody_arrived(listener));
        }

        let mut living = lab.client.connect(plan.client, last.0).unwrap();
        backend.apply(&[Change::CloseRange(range)]).unwrap();
        assert_eq!(lab.client.connect(plan.client, first.0).unwrap_err().kind(), TimedOut, "after");
        assert_eq!(accept(&last.1, &mut living), plan.far, "what lives goes on");
        assert!(nobody_arrived(&first.1));
        assert_eq!(counts(&lab), [0; 6]);
    }
}

#[test]
fn reverse_it_leads_to_the_server_at_the_same_port() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&settings());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 50005), SocketAddr::new(plan.server, 50005));
        let listener = lab.server.listen(target);
        let range = range(plan.client, plan.near, plan.server, plan.far);
        backend.apply(&[Change::OpenRange(range)]).unwrap();
        for _ in 0..2 {
            let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
            assert_eq!(accept(&listener, &mut dialled), plan.far);
        }
        assert_eq!(lab.client.connect(plan.stranger, entrance).unwrap_err().kind(), ConnectionRefused, "a third host");
        // The ports of another range are another matter, and so is the server's own address.
        let other = SocketAddr::new(plan.near, 50020);
        assert_eq!(lab.client.connect(plan.client, other).unwrap_err().kind(), ConnectionRefused);
        assert_eq!(lab.client.connect(plan.client, target).unwrap_err().kind(), TimedOut);
        backend.apply(&[Change::CloseRange(range)]).unwrap();
        assert_eq!(lab.client.connect(plan.client, entrance).unwrap_err().kind(), ConnectionRefused, "after");
        assert_eq!(counts(&lab), [0; 6]);
    }
}

#[test]
fn a_pinhole_within_the_range_leads_where_it_says() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&settings());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 50005), SocketAddr::new(plan.server, 6000));
        let listener = lab.server.listen(target);
        backend.apply(&[Change::OpenRange(range(plan.client, plan.near, plan.server, plan.far))]).unwrap();
        open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);
        let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);
    }
}

#[test]
fn it_goes_with_the_table() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&settings());
    let [plan, _] = families();
    backend.apply(&[Change::OpenRange(range(plan.client, plan.near, plan.server, plan.far))]).unwrap();
    assert_eq!(counts(&lab), [1, 1, 1, 0, 0, 0]);
    drop(backend);
    assert!(!lab.gateway.nft("list ruleset").contains("range"), "the owner is gone, and so is the table");
}

#[test]
fn in_the_administrators_table_the_next_start_takes_away_what_a_dead_one_left() {
    let lab = Lab::new();
    lab.gateway.load(DROP_BY_DEFAULT);
    let settings = Settings { ownership: Ownership::Sets, ..settings() };
    let [plan, _] = families();
    // What is missing is named, with the line to write.
    lab.gateway.load(&text::sets(&Settings { ranges: Vec::new(), ..settings.clone() }));
    let error = lab.gateway.new_backend(&settings).verify().unwrap_err().to_string();
    assert!(
        error.contains("set range4_50000_50010 is missing") && error.contains("map range_snat6_50020_50020 {"),
        "{error}"
    );
    lab.gateway.nft("delete table inet ftpgate");
    lab.gateway.load(&text::sets(&settings));
    let mut backend = lab.gateway.backend(&settings);
    backend.apply(&[Change::OpenRange(range(plan.client, plan.near, plan.server, plan.far))]).unwrap();
    drop(backend);
    assert_eq!(counts(&lab), [1, 1, 1, 0, 0, 0], "nothing else takes it away");
    let mut backend = lab.gateway.backend(&settings);
    assert_eq!(counts(&lab), [0; 6]);
    // With the kernel that cannot destroy, and back.
    for assumes in [false, true] {
        let open = Change::OpenRange(range(plan.client, plan.near, plan.server, plan.far));
        backend.apply(&[open]).unwrap();
        assert_eq!(counts(&lab), [1, 1, 1, 0, 0, 0]);
        backend.clear().unwrap();
        assert_eq!(counts(&lab), [0; 6]);
        if !assumes {
            backend = lab.gateway.new_backend(&settings).assuming_destroy_is_unknown();
            backend.verify().unwrap();
            backend.apply(&[open]).unwrap();
            let Change::OpenRange(range) = open else { continue };
            backend.apply(&[Change::CloseRange(range)]).unwrap();
            assert_eq!(counts(&lab), [0; 6]);
        }
    }
}
