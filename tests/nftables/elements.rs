//! Elements in the kernel: that they come and go as they should, also many and also on kernels before Linux 6.3.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ftpgate::firewall::nftables::{MAX_CHANGES, Nftables, Ownership, Settings, text};
use ftpgate::firewall::{Backend as _, Change, ErrorKind};
use ftpgate::pinhole::Pinhole;

use crate::lab::{Lab, Namespace, accept, close, families, open, pinhole};

/// A backend that destroys elements, and one that does without; with the names of their tables.
fn both(namespace: &Namespace) -> [(&'static str, Nftables); 2] {
    ["ftpgate", "old"].map(|table| {
        let mut backend = namespace.new_backend(&Settings { table: table.to_owned(), ..Settings::default() });
        if table == "old" {
            backend = backend.assuming_destroy_is_unknown();
        }
        backend.verify().unwrap();
        (table, backend)
    })
}

fn example() -> Pinhole {
    let [plan, _] = families();
    pinhole(plan.client, SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000), plan.far)
}

#[test]
fn closing_takes_back_all_elements() {
    let namespace = Namespace::new();
    let pinholes: Vec<_> = families()
        .into_iter()
        .flat_map(|plan| {
            let (near, server) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
            [
                pinhole(plan.client, near, server, plan.far),
                pinhole(plan.client, server, server, plan.client),
                pinhole(plan.stranger, server, server, plan.far),
            ]
        })
        .collect();
    for (table, mut backend) in both(&namespace) {
        open(&mut backend, &pinholes);
        assert_eq!(namespace.counts(table), [3, 1, 2, 3, 1, 2]);
        close(&mut backend, &pinholes);
        close(&mut backend, &pinholes);
        assert_eq!(namespace.counts(table), [0; 6]);
    }
}

#[test]
fn closing_what_has_expired_is_fine() {
    let namespace = Namespace::new();
    let short = Pinhole { lifetime: Duration::from_millis(200), ..example() };
    for (_, mut backend) in both(&namespace) {
        open(&mut backend, &[short]);
        std::thread::sleep(Duration::from_millis(400));
        close(&mut backend, &[short]);
        // And again, when the kernel has collected it.
        open(&mut backend, &[short]);
        std::thread::sleep(Duration::from_millis(2500));
        close(&mut backend, &[short]);
    }
}

#[test]
fn closing_what_was_used_is_fine() {
    for old in [false, true] {
        let lab = Lab::new();
        let mut backend = lab.gateway.new_backend(&Settings::default());
        if old {
            backend = backend.assuming_destroy_is_unknown();
        }
        backend.verify().unwrap();
        let listener = lab.server.listen(example().target);
        open(&mut backend, &[example()]);
        let mut dialled = lab.client.connect(example().initiator, example().entrance).unwrap();
        accept(&listener, &mut dialled);
        assert_eq!(lab.gateway.counts("ftpgate"), [0, 1, 1, 0, 0, 0], "the connection took the permission away");
        close(&mut backend, &[example()]);
        assert_eq!(lab.gateway.counts("ftpgate"), [0; 6]);
    }
}

#[test]
fn opening_again_renews_the_lifetime() {
    let namespace = Namespace::new();
    for (table, mut backend) in both(&namespace) {
        let short = Pinhole { lifetime: Duration::from_secs(1), ..example() };
        open(&mut backend, &[short]);
        open(&mut backend, &[example()]);
        std::thread::sleep(Duration::from_millis(1300));
        assert_eq!(namespace.counts(table), [1, 1, 1, 0, 0, 0]);
        close(&mut backend, &[example()]);
    }
}

#[test]
fn a_pinhole_takes_the_place_of_one_with_another_target() {
    let namespace = Namespace::new();
    for (table, mut backend) in both(&namespace) {
        open(&mut backend, &[example()]);
        let target = SocketAddr::new(example().target.ip(), 5001);
        let other = Pinhole { target, ..example() };
        open(&mut backend, &[other]);
        let listed = namespace.nft(&format!("list map inet {table} dnat4"));
        assert!(listed.contains(": 198.51.100.20 . 5001"), "{listed}");
        close(&mut backend, &[example(), other]);
        assert_eq!(namespace.counts(table), [0; 6]);
    }
}

#[test]
fn pinholes_to_one_target_share_its_source() {
    let namespace = Namespace::new();
    let second = Pinhole { entrance: SocketAddr::new(example().entrance.ip(), 61001), ..example() };
    let mut backend = namespace.backend(&Settings::default());
    open(&mut backend, &[example(), second]);
    assert_eq!(namespace.counts("ftpgate"), [2, 2, 1, 0, 0, 0]);
    close(&mut backend, &[example()]);
    assert_eq!(namespace.counts("ftpgate"), [1, 1, 1, 0, 0, 0]);
    close(&mut backend, &[second]);
    assert_eq!(namespace.counts("ftpgate"), [0; 6]);
}

#[test]
fn twenty_thousand_pinholes_are_open_at_once() {
    let namespace = Namespace::new();
    let mut backend = namespace.backend(&Settings::default());
    let pinholes: Vec<_> = (0..20_000_u32)
        .map(|number| {
            let [plan, _] = families();
            let initiator = IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
            let port = 40_000 + (number % 20_000) as u16;
            pinhole(initiator, SocketAddr::new(plan.near, port), SocketAddr::new(plan.server, port), plan.far)
        })
        .collect();
    for some in pinholes.chunks(MAX_CHANGES) {
        open(&mut backend, some);
    }
    assert_eq!(namespace.counts("ftpgate"), [20_000, 20_000, 20_000, 0, 0, 0]);
    // Again at once: what was replaced still counts until the kernel has collected it.
    for some in pinholes.chunks(100) {
        open(&mut backend, some);
    }
    for some in pinholes.chunks(MAX_CHANGES) {
        close(&mut backend, some);
    }
    assert_eq!(namespace.counts("ftpgate"), [0; 6]);
}

#[test]
fn a_refused_transaction_changes_nothing() {
    let namespace = Namespace::new();
    let settings = Settings { ownership: Ownership::Sets, table: "filter".to_owned(), ..Settings::default() };
    // The last map that the transaction changes has room for two.
    namespace.load(&text::sets(&settings).replacen("ipv6_addr\n\t\tsize 131072", "ipv6_addr\n\t\tsize 2", 1));
    let mut backend = namespace.backend(&settings);
    let [_, plan] = families();
    let all = [5000, 5001, 5002].map(|port| {
        pinhole(plan.client, SocketAddr::new(plan.near, port), SocketAddr::new(plan.server, port), plan.far)
    });
    open(&mut backend, &all[..2]);
    let changes = [Change::Open(example()), Change::Open(all[2])];
    let error = backend.apply(&changes).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert_eq!(
        error.to_string(),
        "cannot open or close a pinhole in nftables table inet filter: the kernel refused an element of snat6 \
         (ENFILE); the set is full; close pinholes sooner with a shorter `data.pinhole_timeout`, or give the set a \
         larger `size`"
    );
    assert_eq!(namespace.counts("filter"), [0, 0, 0, 2, 2, 2]);

    // It still knows what is open: one for one fits.
    backend.apply(&[Change::Close(all[0]), changes[0], changes[1]]).unwrap();
    assert_eq!(namespace.counts("filter"), [1, 1, 1, 2, 2, 2]);
}
