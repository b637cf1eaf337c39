//! Every client, mode and family through the rules that each dialect gets.
//!
//! The addresses and ports in the rules decide here whether files arrive; what pf itself makes of the rules is for
//! `tests/pf/pinholes.rs`. OpenBSD's way of capturing in front of clients (divert-to) has no counterpart on Linux that would prove
//! anything, so its dialect is tried in front of a server.

use crate::grammar::Dialect;
use crate::lab::matrix::every_combination;
use crate::lab::topology::Topology;
use crate::scene::PfScene;

fn matrix(topology: Topology, dialect: Dialect) {
    let pf = PfScene::new(topology, dialect);
    every_combination(&pf.scene);
    let refused: Vec<_> = pf.fake.calls().into_iter().filter(|call| call.exit != 0).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn freebsd_in_front_of_clients() {
    matrix(Topology::Forward, Dialect::FreeBsd);
}

#[test]
fn freebsd_in_front_of_a_server() {
    matrix(Topology::Reverse, Dialect::FreeBsd);
}

#[test]
fn openbsd_in_front_of_a_server() {
    matrix(Topology::Reverse, Dialect::OpenBsd);
}
