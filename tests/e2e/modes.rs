//! The networks that are not in the matrix: transparent, IPv6 only, the administrator's own table, one gateway for both.
//!
//! Each loads its example ruleset and configuration as they are, and runs every combination that exists there.

use crate::lab::client::everything::everything;
use crate::lab::client::{Client, combinations};
use crate::lab::control::Control;
use crate::lab::fake_server::{FakeServer, let_in};
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::binary;
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{LARGE, Server, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, project};

fn all_combinations(scene: &Scene, families: &[Family], expected: usize) {
    let mut done = 0;
    for combination in combinations().into_iter().filter(|combination| families.contains(&combination.family)) {
        let to = scene.lab.dialled(combination.family);
        everything(combination, scene.client(), to, &scene.server)
            .unwrap_or_else(|error| panic!("{:?} {combination:?}: {error}", scene.lab.topology));
        done += 1;
    }
    assert_eq!(done, expected);
}

/// The server's firewall lets in the clients' addresses only, so that this works at all only with the transparent source.
#[test]
fn tproxy_nft_every_combination() {
    all_combinations(&Scene::new(Topology::Tproxy, ServerKind::Vsftpd), &Family::ALL, 23);
}

#[test]
fn sets_nft_every_combination() {
    let scene = Scene::new(Topology::Sets, ServerKind::Proftpd);
    all_combinations(&scene, &Family::ALL, 23);
    assert!(
        !scene.gateway().ruleset().contains("table inet ftpgate"),
        "with `ownership: sets` there is no other table"
    );
}

#[test]
fn ipv6_nft_every_combination() {
    all_combinations(&Scene::new(Topology::Ipv6, ServerKind::PureFtpd), &[Family::V6], 8);
}

/// The server sees the client itself on the control connection, and hears it announce its own address.
#[test]
fn a_transparent_source_shows_the_clients_own_address() {
    let lab = Lab::new(Topology::Tproxy);
    let (seen, sightings) = std::sync::mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        let client = control.peer_address().ip().to_canonical();
        let command = let_in(&mut control);
        control.line("200 noted");
        seen.send((client, command)).unwrap();
    });
    let _ftpgates = start_all(&lab, |config| config);
    for family in Family::ALL {
        let mut control = Control::login(&lab.client, lab.ftp(family), "anybody");
        drop(control.active(&lab.client, family));
        let (client, command) = sightings.recv_timeout(std::time::Duration::from_secs(5)).unwrap();
        assert_eq!(client, lab.client_address(family));
        let command = command.unwrap_or_default().replace(',', ".");
        assert!(command.contains(&lab.client_address(family).to_string()), "{command}");
    }
}

/// tproxy.nft fails closed: while no ftpgate runs, nobody reaches the server around it.
#[test]
fn tproxy_nft_lets_nobody_pass_while_ftpgate_is_down() {
    let lab = Lab::new(Topology::Tproxy);
    let _server = Server::start(ServerKind::Vsftpd, &lab.server);
    for family in Family::ALL {
        let attempt = lab.client.connect(lab.ftp(family), std::time::Duration::from_millis(700));
        assert!(attempt.is_err(), "{family:?}: a control connection has passed");
    }
}

/// both.nft: clients inside to a server on the Internet, and a client on the Internet to the server inside, at once.
#[test]
fn both_nft_serves_clients_and_a_server_behind_one_gateway() {
    let scene = Scene::new(Topology::Combined, ServerKind::Vsftpd);
    let outside = scene.lab.outside.as_ref().unwrap();
    let internet_server = Server::start(ServerKind::Proftpd, outside);
    let mut done = 0;
    for combination in combinations() {
        let to = scene.lab.dialled(combination.family);
        everything(combination, scene.client(), to, &internet_server)
            .unwrap_or_else(|error| panic!("from inside, {combination:?}: {error}"));
        let gateway = match combination.family {
            Family::V4 => "198.51.100.1",
            Family::V6 => "2001:db8:51::1",
        };
        everything(combination, outside, gateway.parse().unwrap(), &scene.server)
            .unwrap_or_else(|error| panic!("from outside, {combination:?}: {error}"));
        done += 1;
    }
    assert_eq!(done, 23);
    let metrics = scene.metrics();
    for listener in ["outbound", "inbound"] {
        assert_eq!(metrics.sum("ftpgate_sessions_total", &[("listener", listener)]), 23.0, "{listener}");
    }
}

/// `source:` an address: the server sees that one.
#[test]
fn a_source_address_can_be_chosen() {
    let lab = Lab::new(Topology::Forward);
    lab.gateway().ip("address add 198.51.100.99/24 dev wan0\n");
    lab.server.firewall(&crate::lab::topology::accept_ftp("198.51.100.99", "2001:db8:51::1"));
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let _ftpgates =
        start_all(&lab, |config| config.replacing("capture: redirect", "capture: redirect\n    source: 198.51.100.99"));
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), server.user());
    assert!(control.download(&lab.client, Family::V4, &format!("RETR {LARGE}")) == noise(1, MIB));
}

/// `capture: direct`: nothing is redirected, clients dial the listener itself.
#[test]
fn a_listener_can_be_dialled_directly() {
    let lab = Lab::new(Topology::Reverse);
    lab.gateway()
        .run(&["nft", "add", "rule", "inet", "gateway", "input", "tcp", "dport", "2121", "accept"])
        .expect_ok();
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let _ftpgates = start_all(&lab, |config| {
        config
            .replacing("capture: redirect", "capture: direct")
            .replacing("\"0.0.0.0:8022\", \"[::]:8022\"", "\"0.0.0.0:2121\", \"[::]:2121\"")
    });
    for family in Family::ALL {
        let listener = std::net::SocketAddr::new(lab.dialled(family), 2121);
        let mut control = Control::login(&lab.client, listener, server.user());
        assert!(control.download(&lab.client, family, &format!("RETR {LARGE}")) == noise(1, MIB), "{family:?}");
        let announced = control.active(&lab.client, family);
        control.line("LIST");
        let (data, peer) = crate::lab::control::accept_data(&announced);
        assert_eq!(peer.ip(), lab.dialled(family));
        drop(data);
    }
}

/// What `ftpgate rules` prints for a configuration is a ruleset that works, once the interfaces are named in it.
fn printed_rules(topology: Topology, inside: &str, outside: &str) {
    let lab = Lab::new(topology);
    let gateway = &lab.gateways[0];
    let config = project(&format!("nftables-examples/{}.yaml", gateway.example));
    let text = gateway.host.run(&[&binary(), "rules", "-c", &config.to_string_lossy()]).expect_ok();
    let named =
        text.replace("= \"eth1\"", &format!("= \"{inside}\"")).replace("= \"eth0\"", &format!("= \"{outside}\""));
    assert!(named != text && named.contains(outside), "the interfaces are named otherwise:\n{text}");
    gateway.host.run(&["nft", "flush", "ruleset"]).expect_ok();
    gateway.host.nft(&named);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let _ftpgates = start_all(&lab, |config| config);
    let mut done = 0;
    for combination in combinations().into_iter().filter(|combination| combination.client == Client::Ftplib) {
        everything(combination, &lab.client, lab.dialled(combination.family), &server)
            .unwrap_or_else(|error| panic!("{topology:?} {combination:?}: {error}\nwith:\n{named}"));
        done += 1;
    }
    assert_eq!(done, 6);
}

#[test]
fn the_printed_rules_work_in_forward_mode() {
    printed_rules(Topology::Forward, "lan0", "wan0");
}

#[test]
fn the_printed_rules_work_in_reverse_mode() {
    printed_rules(Topology::Reverse, "dmz0", "wan0");
}

#[test]
fn the_printed_rules_work_with_tproxy() {
    printed_rules(Topology::Tproxy, "lan0", "wan0");
}

#[test]
fn the_printed_rules_work_with_the_administrators_sets() {
    printed_rules(Topology::Sets, "lan0", "wan0");
}
