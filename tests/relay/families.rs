//! Clients of one address family, a server of the other (RFC 6384): real clients list, fetch and store.
//!
//! Not here: each rule of the RFC by itself (`tests/transcripts`).

use std::io::Read as _;

use crate::lab::Family;
use crate::lab::client::Mode;
use crate::lab::control::data_connection;
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::Metrics;
use crate::lab::matrix::these_combinations;
use crate::lab::server::{LARGE, ServerKind};
use crate::scene::only;

/// Clients of IPv6 know EPSV and EPRT, those of IPv4 all four.
fn clients_of_the_other_family(server: Family, kind: ServerKind) -> usize {
    let scene = only(server, kind);
    let tried = these_combinations(&scene, |combination| combination.family != server);
    let metrics = Metrics::read(scene.gateway());
    assert_eq!(metrics.sum("ftpgate_firewall_errors_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_data_connections_refused_total", &[]), 0.0);
    tried
}

#[test]
fn rfc6384_ipv6_clients_and_an_ipv4_vsftpd() {
    assert_eq!(clients_of_the_other_family(Family::V4, ServerKind::Vsftpd), 8);
}

#[test]
fn rfc6384_ipv6_clients_and_an_ipv4_proftpd() {
    assert_eq!(clients_of_the_other_family(Family::V4, ServerKind::Proftpd), 8);
}

#[test]
fn rfc6384_ipv6_clients_and_an_ipv4_pure_ftpd() {
    assert_eq!(clients_of_the_other_family(Family::V4, ServerKind::PureFtpd), 8);
}

#[test]
fn ipv4_clients_and_an_ipv6_vsftpd() {
    assert_eq!(clients_of_the_other_family(Family::V6, ServerKind::Vsftpd), 15);
}

/// What the server sees and says is of its own family, what the client sees of the client's.
#[test]
fn rfc6384_epsv_becomes_pasv_and_the_answer_names_no_address() {
    let mut scene = only(Family::V4, ServerKind::Vsftpd);
    let mut control = scene.login(Family::V6);
    control.must("PASV", 425);
    control.must("EPSV 1", 522);
    let entrance = control.passive(Family::V6);
    let mut data = data_connection(scene.client(), entrance);
    control.must(&format!("RETR {LARGE}"), 150);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    drop(data);
    control.expect(226);
    assert!(bytes == noise(1, MIB));
    let events = scene.ftpgate().wait_for_transfers(1);
    assert_eq!((events[0]["bytes"].as_u64(), events[0]["mode"].as_str()), (Some(MIB as u64), Some(Mode::Epsv.label())));
}
