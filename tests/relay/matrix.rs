//! Every client, mode and family through the relay; files are compared by checksum.
//!
//! In front of clients a relay serves active mode, and passive mode only for those who dial the address in a 227: a 229 names none,
//! and curl and tnftp dial the server's whatever a 227 says.

use crate::lab::Family;
use crate::lab::client::{Client, Mode};
use crate::lab::ftpgate::Metrics;
use crate::lab::matrix::{every_combination, these_combinations};
use crate::lab::scene::Scene;
use crate::lab::server::ServerKind;
use crate::scene::{forward, reverse_with};

/// It ran without any privilege.
fn was_nobody(scene: &Scene) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", scene.ftpgates[0].daemon.pid())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
    for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
        assert_eq!(field(set), "0000000000000000", "{set}");
    }
}

fn in_front_of_a_server(kind: ServerKind) {
    let scene = reverse_with(kind, |config| config);
    every_combination(&scene);
    was_nobody(&scene);
    let metrics = Metrics::read(scene.gateway());
    assert_eq!(metrics.sum("ftpgate_firewall_errors_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_data_connections_refused_total", &[]), 0.0);
}

#[test]
fn reverse_vsftpd() {
    in_front_of_a_server(ServerKind::Vsftpd);
}

#[test]
fn reverse_proftpd() {
    in_front_of_a_server(ServerKind::Proftpd);
}

#[test]
fn reverse_pure_ftpd() {
    in_front_of_a_server(ServerKind::PureFtpd);
}

#[test]
fn forward_vsftpd() {
    let scene = forward(|config| config);
    let dials_what_is_announced = |client| matches!(client, Client::Lftp | Client::Ftplib);
    let tried = these_combinations(&scene, |combination| match combination.mode {
        Mode::Port | Mode::Eprt => true,
        Mode::Pasv => dials_what_is_announced(combination.client),
        Mode::Epsv => false,
    });
    assert_eq!(tried, 13);
    was_nobody(&scene);
    // EPSV gets a clear answer, and the session goes on.
    let mut control = scene.login(Family::V4);
    control.must("EPSV", 502);
    let entrance = control.passive(Family::V4);
    assert_eq!(entrance.ip().to_string(), "10.0.0.1", "the gateway's own address is announced");
}
