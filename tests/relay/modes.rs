//! `data.server_mode`: every client and mode, while the server knows only one.
//!
//! Lives here: files by checksum, what the server was asked, and a server without EPSV. The single cases are transcripts and unit tests.

use std::io::Read as _;
use std::time::Duration;

use crate::lab::Family;
use crate::lab::control::data_connection;
use crate::lab::ftpgate::Metrics;
use crate::lab::matrix::{every_combination, these_combinations};
use crate::lab::scene::Scene;
use crate::lab::server::{PASSWORD, Server, ServerKind};
use crate::scene::{doors, only_with, reverse_with};

fn mode(kind: ServerKind, mode: &str) -> Scene {
    reverse_with(kind, |config| config.with("data", &format!("{{ server_mode: {mode} }}")))
}

/// What the server was told of each command.
fn told(scene: &Scene, command: &str) -> f64 {
    Metrics::read(scene.gateway()).sum("ftpgate_commands_total", &[("command", command)])
}

fn converts(kind: ServerKind, to: &str, asked: [&str; 2], never: [&str; 2]) {
    let scene = mode(kind, to);
    every_combination(&scene);
    assert!(asked.iter().all(|command| told(&scene, command) > 0.0), "{asked:?}");
    assert!(never.iter().all(|command| told(&scene, command) == 0.0), "{never:?}");
    let metrics = Metrics::read(scene.gateway());
    assert!(metrics.sum("ftpgate_pinholes_opened_total", &[]) > 0.0);
    for nothing in
        ["ftpgate_firewall_errors_total", "ftpgate_data_connections_refused_total", "ftpgate_pinholes_active"]
    {
        assert_eq!(metrics.sum(nothing, &[]), 0.0, "{nothing}");
    }
    assert_eq!(doors(scene.gateway()), 0);
}

fn passive(kind: ServerKind) {
    converts(kind, "passive", ["PASV", "EPSV"], ["PORT", "EPRT"]);
}

fn active(kind: ServerKind) {
    converts(kind, "active", ["PORT", "EPRT"], ["PASV", "EPSV"]);
}

#[test]
fn vsftpd_is_passive() {
    passive(ServerKind::Vsftpd);
}

#[test]
fn proftpd_is_passive() {
    passive(ServerKind::Proftpd);
}

#[test]
fn pure_ftpd_is_passive() {
    passive(ServerKind::PureFtpd);
}

#[test]
fn vsftpd_is_active() {
    active(ServerKind::Vsftpd);
}

#[test]
fn proftpd_is_active() {
    active(ServerKind::Proftpd);
}

#[test]
fn pure_ftpd_is_active() {
    active(ServerKind::PureFtpd);
}

/// Both at a time: the client of one family and mode, the server of the other.
fn across(to: &str, asked: &str) {
    let scene =
        only_with(Family::V4, ServerKind::Vsftpd, |config| config.with("data", &format!("{{ server_mode: {to} }}")));
    assert_eq!(these_combinations(&scene, |combination| combination.family == Family::V6), 8);
    for command in ["PASV", "EPSV", "PORT", "EPRT"] {
        assert_eq!(told(&scene, command) > 0.0, command == asked, "{command}");
    }
}

#[test]
fn ipv6_clients_and_a_passive_ipv4_server() {
    across("passive", "PASV");
}

#[test]
fn ipv6_clients_and_an_active_ipv4_server() {
    across("active", "PORT");
}

/// A server that says that all is done before its client has come for the file: what it says waits.
#[test]
fn an_active_server_that_is_faster_than_its_client_is_held_back() {
    let mut scene = mode(ServerKind::Vsftpd, "active");
    scene.server.add("small", b"short");
    let mut control = scene.login(Family::V4);
    let entrance = control.passive(Family::V4);
    control.line("RETR small");
    // Long enough for the server to have connected, sent, closed and said 226.
    let patience = control.stream().read_timeout().unwrap();
    control.stream().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    assert!(control.stream().peek(&mut [0]).is_err());
    control.stream().set_read_timeout(patience).unwrap();
    let mut data = data_connection(scene.client(), entrance);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, b"short");
    drop(data);
    control.expect(150);
    control.expect(226);
    let events = scene.ftpgate().wait_for_transfers(1);
    assert_eq!((events[0]["bytes"].as_u64(), events[0]["outcome"].as_str()), (Some(5), Some("complete")));
}

/// It is asked once, and from then on for what it has.
#[test]
fn a_server_that_forbids_epsv_is_asked_for_pasv_and_remembered() {
    let mut scene = mode(ServerKind::Vsftpd, "passive");
    scene.server.kill(&scene.lab.server);
    scene.server = Server::start_with(ServerKind::Vsftpd, &scene.lab.server, "cmds_denied=EPSV\n");
    let file = scene.server.add("known.txt", b"what it has");
    for _ in 0..3 {
        let url = format!("ftp://{}/{}", scene.ftp(Family::V4), file.file_name().unwrap().to_str().unwrap());
        let user = format!("{}:{PASSWORD}", scene.server.user());
        let got = scene.client().run(&["curl", "-sS", "--disable-eprt", "-u", &user, &url]).expect_ok();
        assert_eq!(got, "what it has");
    }
    assert_eq!(told(&scene, "EPSV"), 1.0);
    assert_eq!(told(&scene, "PASV"), 3.0);
}
