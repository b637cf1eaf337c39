//! The table that ftpgate owns: that it comes, stays and goes as it should.

use std::net::SocketAddr;

use ftpgate::firewall::nftables::Settings;
use ftpgate::firewall::{Backend as _, ErrorKind};

use crate::lab::{DROP_BY_DEFAULT, Lab, Namespace, accept, families, open, pinhole};

#[test]
fn it_goes_away_with_its_socket() {
    let namespace = Namespace::new();
    let backend = namespace.backend(&Settings::default());
    assert!(namespace.nft("list tables").contains("inet ftpgate"));
    drop(backend);
    assert_eq!(namespace.nft("list tables"), "");
}

#[test]
fn it_survives_a_flush_of_the_whole_ruleset() {
    let lab = Lab::dropping();
    let mut backend = lab.gateway.backend(&Settings::default());
    let [plan, _] = families();
    let (entrance, target) = (SocketAddr::new(plan.near, 61000), SocketAddr::new(plan.server, 5000));
    let listener = lab.server.listen(target);
    open(&mut backend, &[pinhole(plan.client, entrance, target, plan.far)]);
    lab.gateway.load(&format!("flush ruleset\n{DROP_BY_DEFAULT}"));
    let mut dialled = lab.client.connect(plan.client, entrance).unwrap();
    assert_eq!(accept(&listener, &mut dialled), plan.far);
}

#[test]
fn verifying_again_leaves_it_as_it_is() {
    let namespace = Namespace::new();
    let mut backend = namespace.backend(&Settings::default());
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    open(&mut backend, &[pinhole(plan.client, target, target, plan.far)]);
    let before = namespace.nft("-a list table inet ftpgate");
    backend.verify().unwrap();
    // Apart from what is left of the lifetimes.
    let handles =
        |text: &str| text.lines().filter(|line| line.contains("# handle")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(handles(&before), handles(&namespace.nft("-a list table inet ftpgate")));
    assert_eq!(namespace.counts("ftpgate"), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn clearing_takes_it_away_and_nothing_else() {
    let namespace = Namespace::new();
    namespace.load(DROP_BY_DEFAULT);
    let mut backend = namespace.backend(&Settings::default());
    for _ in 0..2 {
        backend.clear().unwrap();
        assert_eq!(namespace.nft("list tables"), "table inet filter\n");
    }
    backend.verify().unwrap();
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    open(&mut backend, &[pinhole(plan.client, target, target, plan.client)]);
    assert_eq!(namespace.counts("ftpgate"), [1, 0, 0, 0, 0, 0]);
}

#[test]
fn a_pinhole_cannot_be_opened_in_a_table_that_is_not_there() {
    let namespace = Namespace::new();
    let mut backend = namespace.new_backend(&Settings::default());
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    let change = ftpgate::firewall::Change::Open(pinhole(plan.client, target, target, plan.client));
    assert_eq!(backend.apply(&[change]).unwrap_err().kind(), ErrorKind::Missing);
}

#[test]
fn a_second_ftpgate_is_told_that_the_table_is_taken() {
    let namespace = Namespace::new();
    let first = namespace.backend(&Settings::default());
    let mut second = namespace.new_backend(&Settings::default());
    let error = second.verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Taken);
    let text = error.to_string();
    let (beginning, end) = (
        "nftables table inet ftpgate belongs to another running program, perhaps another ftpgate (netlink port ",
        ", which usually is its process id); stop that, or choose another `firewall.nftables.table`",
    );
    let port = text.strip_prefix(beginning).and_then(|rest| rest.strip_suffix(end)).expect(&text);
    assert!(port.parse::<u32>().unwrap() > 0);
    second.clear().unwrap();
    assert!(namespace.nft("list tables").contains("inet ftpgate"), "not the second one's to clear");
    drop(first);
    second.verify().unwrap();
}

#[test]
fn a_plain_table_of_its_name_is_left_alone() {
    let namespace = Namespace::new();
    namespace.nft("add table inet ftpgate");
    let mut backend = namespace.new_backend(&Settings::default());
    let error = backend.verify().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Taken);
    assert_eq!(
        error.to_string(),
        "nftables table inet ftpgate is there already and is not ftpgate's; if nothing needs it, remove it with `nft delete \
         table inet ftpgate`; if it is yours, choose another `firewall.nftables.table` or `ownership: sets`"
    );
    backend.clear().unwrap();
    assert_eq!(namespace.nft("list tables"), "table inet ftpgate\n");
    namespace.nft("delete table inet ftpgate");
    backend.verify().unwrap();
}

#[test]
fn rehearsing_beside_a_running_ftpgate_changes_nothing() {
    let namespace = Namespace::new();
    let mut running = namespace.backend(&Settings::default());
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    open(&mut running, &[pinhole(plan.client, target, target, plan.far)]);
    namespace.new_backend(&Settings::default()).rehearse().unwrap();
    assert_eq!(namespace.nft("list tables"), "table inet ftpgate\n");
    assert_eq!(namespace.counts("ftpgate"), [1, 0, 1, 0, 0, 0]);
}

#[test]
fn rehearsing_finds_a_plain_table_in_the_way() {
    let namespace = Namespace::new();
    namespace.load("table inet ftpgate { }");
    let error = namespace.new_backend(&Settings::default()).rehearse().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Taken);
    assert_eq!(namespace.nft("list tables"), "table inet ftpgate\n");
}
