//! Ownership `sets`: the sets, maps and chains are the administrator's.

use std::net::SocketAddr;

use ftpgate::firewall::nftables::{Ownership, Settings, text};
use ftpgate::firewall::{Backend as _, Change, Error, ErrorKind};
use ftpgate::pinhole::Pinhole;

use crate::lab::{DROP_BY_DEFAULT, Lab, Namespace, accept, close, families, open, pinhole};

/// In the table that the administrator has anyway.
fn settings() -> Settings {
    Settings { ownership: Ownership::Sets, table: "filter".to_owned(), ..Settings::default() }
}

fn example() -> Pinhole {
    let [plan, _] = families();
    pinhole(plan.client, SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000), plan.far)
}

/// The error of a backend in a namespace with this ruleset.
fn complaint(ruleset: &str) -> Error {
    let namespace = Namespace::new();
    namespace.load(ruleset);
    let error = namespace.new_backend(&settings()).verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    error
}

#[test]
fn connections_pass_through_the_administrators_table() {
    let lab = Lab::dropping();
    lab.gateway.load(&text::sets(&settings()));
    let mut backend = lab.gateway.backend(&settings());
    for plan in families() {
        let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
        let listener = lab.server.listen(target);
        open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);
        let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
        assert_eq!(accept(&listener, &mut dialled), plan.far);
        assert!(lab.client.connect(plan.client, entrance).is_err());
    }
}

#[test]
fn what_a_dead_predecessor_left_is_taken_away() {
    let namespace = Namespace::new();
    namespace.load(&text::sets(&settings()));
    let mut predecessor = namespace.backend(&settings());
    open(&mut predecessor, &[example()]);
    drop(predecessor);
    assert_eq!(namespace.counts("filter"), [1, 1, 1, 0, 0, 0]);
    let _backend = namespace.backend(&settings());
    assert_eq!(namespace.counts("filter"), [0; 6]);
}

#[test]
fn rehearsing_leaves_the_pinholes_of_a_running_ftpgate_alone() {
    let namespace = Namespace::new();
    namespace.load(&text::sets(&settings()));
    let mut running = namespace.backend(&settings());
    open(&mut running, &[example()]);
    namespace.new_backend(&settings()).rehearse().unwrap();
    assert_eq!(namespace.counts("filter"), [1, 1, 1, 0, 0, 0]);
}

#[test]
fn clearing_empties_the_sets_and_nothing_else() {
    let namespace = Namespace::new();
    namespace.load(DROP_BY_DEFAULT);
    namespace.load(&text::sets(&settings()));
    let empty = namespace.nft("list ruleset");
    let mut backend = namespace.backend(&settings());
    open(&mut backend, &[example()]);
    for _ in 0..2 {
        backend.clear().unwrap();
        assert_eq!(namespace.nft("list ruleset"), empty);
    }
    open(&mut backend, &[example()]);
    namespace.nft("flush ruleset");
    backend.clear().unwrap();
}

#[test]
fn a_vanished_table_is_reported_on_opening_and_no_obstacle_to_closing() {
    let namespace = Namespace::new();
    namespace.load(&text::sets(&settings()));
    let mut backend = namespace.backend(&settings());
    open(&mut backend, &[example()]);
    namespace.nft("flush ruleset");
    let other = Pinhole { entrance: SocketAddr::new(example().entrance.ip(), 61001), ..example() };
    let error = backend.apply(&[Change::Open(other)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(
        error.to_string(),
        "cannot open or close a pinhole in nftables table inet filter: the kernel refused an element of snat4 \
         (ENOENT); it was there when ftpgate started, see `nft list table inet filter`; load your ruleset again \
         (`ftpgate rules` prints what belongs into it) and restart ftpgate"
    );
    close(&mut backend, &[example()]);

    // The administrator loads the ruleset again.
    namespace.load(&text::sets(&settings()));
    open(&mut backend, &[other]);
    assert_eq!(namespace.counts("filter"), [1, 1, 1, 0, 0, 0]);
}

#[test]
fn a_vanished_set_is_no_obstacle_to_closing_what_is_in_the_others() {
    for old in [false, true] {
        let namespace = Namespace::new();
        namespace.load(&text::sets(&settings()));
        let mut backend = namespace.new_backend(&settings());
        if old {
            backend = backend.assuming_destroy_is_unknown();
        }
        backend.verify().unwrap();
        open(&mut backend, &[example()]);
        namespace.load("flush chain inet filter pinhole_dnat\ndelete map inet filter dnat4");
        close(&mut backend, &[example()]);
        assert_eq!((namespace.count("filter", "pinhole4"), namespace.count("filter", "snat4")), (0, 0));
    }
}

#[test]
fn a_missing_table_is_named() {
    assert_eq!(
        complaint("").to_string(),
        "nftables table inet filter is missing; load what `ftpgate rules` prints, or set `firewall.nftables.table` to \
         the name of yours"
    );
}

#[test]
fn a_missing_set_is_named_with_the_line_to_add() {
    let whole = text::sets(&settings());
    let rules = whole.find("chain").unwrap();
    let without_rules = format!("{}}}", &whole[..rules]);
    let ruleset = format!("{without_rules}\ndelete map inet filter dnat6");
    assert_eq!(
        complaint(&ruleset).to_string(),
        "map dnat6 is missing from nftables table inet filter, add `map dnat6 { type ipv6_addr . ipv6_addr . \
         inet_service : ipv6_addr . inet_service; size 131072; flags timeout; }`; `ftpgate rules` prints everything \
         that belongs into the table"
    );
    assert_eq!(complaint(DROP_BY_DEFAULT).to_string().matches(" is missing from ").count(), 8);
}

#[test]
fn a_set_that_is_not_what_it_must_be_is_named_with_the_line_to_write() {
    let wrong = "table inet filter {
        set pinhole4 { type ipv4_addr . ipv4_addr . inet_proto; flags dynamic,timeout; size 100; }
        map dnat4 { type ipv4_addr . ipv4_addr . inet_service : ipv4_addr; flags timeout; }
        set snat4 { type ipv4_addr . ipv4_addr . inet_service; flags timeout; }
        set pinhole6 { type ipv6_addr . ipv6_addr . inet_service; flags dynamic; size 100; }
        map dnat6 { type ipv6_addr . ipv6_addr . inet_service : ipv6_addr . inet_service; flags timeout,interval; }
        map snat6 { type ipv6_addr . ipv6_addr . inet_service : ipv6_addr; flags timeout; size 7; }
        set reset4 { type ipv4_addr . ipv4_addr . inet_service; flags timeout; }
        set reset6 { type ipv6_addr . inet_service . ipv6_addr . inet_service; flags dynamic,timeout; }
    }";
    let text = complaint(wrong).to_string();
    let complaints: Vec<_> = text.split("`; ").map(|one| one.split(", declare").next().unwrap()).collect();
    assert_eq!(
        complaints,
        [
            "pinhole4 in nftables table inet filter has another type of key",
            "dnat4 in nftables table inet filter has another type of data",
            "snat4 in nftables table inet filter is not a map",
            "reset4 in nftables table inet filter has another type of key",
            "pinhole6 in nftables table inet filter lacks `flags timeout`",
            "dnat6 in nftables table inet filter has `flags constant` or `flags interval`, which it must not",
            "`ftpgate rules` prints everything that belongs into the table",
        ]
    );
    let line = "declare it as `set pinhole6 { type ipv6_addr . ipv6_addr . inet_service; size 131072; flags \
                dynamic,timeout; }`";
    assert!(text.contains(line), "{text}");
}

#[test]
fn sets_that_are_declared_with_typeof_are_the_same() {
    let namespace = Namespace::new();
    namespace.load(
        &text::sets(&settings())
            .replace("type ipv4_addr . ipv4_addr . inet_service\n", "typeof ip saddr . ip daddr . tcp dport\n"),
    );
    assert!(namespace.nft("list ruleset").contains("typeof"));
    namespace.backend(&settings());
}

#[test]
fn a_table_that_another_program_owns_is_no_place_for_sets() {
    let namespace = Namespace::new();
    let _owner = namespace.backend(&Settings { ownership: Ownership::Managed, ..settings() });
    let error = namespace.new_backend(&settings()).verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Taken);
}
