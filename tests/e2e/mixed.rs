//! The relay behind the packet filter (`data: relay`): clients and servers see the addresses that they would see without it, also
//! across address families; default-drop rulesets everywhere.
//!
//! Lives here: what differs from pinholes that forward, and from the relay alone. Not here: each rule of RFC 6384
//! (`tests/transcripts`).

use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::client::everything::everything;
use crate::lab::client::{Client, Combination, combinations};
use crate::lab::control::{accept_data, announced_229, data_connection};
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::{Config, Ftpgate, binary};
use crate::lab::kernel::{elements, live_flows};
use crate::lab::matrix::{every_combination, these_combinations};
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, Server, ServerKind};
use crate::lab::topology::{Lab, Topology, accept_ftp};
use crate::lab::{Family, project, wait_for};

/// How long a connection is tried that must not come about.
const REFUSED_AFTER: Duration = Duration::from_millis(700);
const SOON: Duration = Duration::from_secs(5);

/// What a relayed listener needs more than another one.
fn accept_mark(lab: &Lab) {
    let rule = ["nft", "add", "rule", "inet", "gateway", "input", "ct", "mark", "&", "0x10000000", "!=", "0", "accept"];
    lab.gateway().run(&rule).expect_ok();
}

/// A scene whose only gateway relays.
fn relayed(topology: Topology, kind: ServerKind, change: impl Fn(Config) -> Config) -> Scene {
    let scene = Scene::with(topology, kind, |config| {
        change(config).replacing("capture: redirect", "capture: redirect\n    data: relay")
    });
    accept_mark(&scene.lab);
    scene
}

/// Elements that let somebody through or translate, and data connections that live.
fn held(lab: &Lab) -> Vec<String> {
    let table = if lab.topology == Topology::Sets { "gateway" } else { "ftpgate" };
    let elements = elements(lab.gateway(), table).into_iter().filter(|element| !element.starts_with("reset"));
    elements.chain(live_flows(lab.gateway())).collect()
}

fn nothing_is_left(lab: &Lab) {
    let mut last = Vec::new();
    let end = std::time::Instant::now() + SOON;
    while std::time::Instant::now() < end {
        last = held(lab);
        if last.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("left after {SOON:?}:\n{}", last.join("\n"));
}

fn nothing_went_wrong(scene: &Scene) {
    let metrics = scene.metrics();
    assert_eq!(metrics.sum("ftpgate_firewall_errors_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_data_connections_refused_total", &[]), 0.0);
    nothing_is_left(&scene.lab);
}

#[test]
fn clients_behind_the_gateway_and_vsftpd() {
    let scene = relayed(Topology::Forward, ServerKind::Vsftpd, |config| config);
    every_combination(&scene);
    nothing_went_wrong(&scene);
}

#[test]
fn clients_behind_the_gateway_and_proftpd_with_a_prefix_that_does_not_concern_them() {
    let nat64 = "mode: forward\n    nat64: \"64:ff9b::/96\"";
    let scene = relayed(Topology::Forward, ServerKind::Proftpd, |config| config.replacing("mode: forward", nat64));
    every_combination(&scene);
    nothing_went_wrong(&scene);
}

#[test]
fn a_server_behind_the_gateway() {
    let scene = relayed(Topology::Reverse, ServerKind::Vsftpd, |config| config);
    every_combination(&scene);
    nothing_went_wrong(&scene);
}

/// Client and server in different modes (`data.server_mode`): both see the addresses that they would see without the gateway.
fn converts(topology: Topology, to: &str, never: [&str; 2]) {
    let mode = format!("{{ server_mode: {to} }}");
    let scene = relayed(topology, ServerKind::Vsftpd, |config| config.with("data", &mode));
    every_combination(&scene);
    nothing_went_wrong(&scene);
    for command in never {
        assert_eq!(scene.metrics().sum("ftpgate_commands_total", &[("command", command)]), 0.0, "{command}");
    }
}

#[test]
fn clients_behind_the_gateway_and_servers_that_are_passive() {
    converts(Topology::Forward, "passive", ["PORT", "EPRT"]);
}

#[test]
fn clients_behind_the_gateway_and_servers_that_are_active() {
    converts(Topology::Forward, "active", ["PASV", "EPSV"]);
}

#[test]
fn a_server_behind_the_gateway_that_is_active() {
    converts(Topology::Reverse, "active", ["PASV", "EPSV"]);
}

/// One listener of the gateway relays, the other does not.
#[test]
fn two_listeners_each_in_its_way() {
    let lab = Lab::new(Topology::Combined);
    accept_mark(&lab);
    let inside = Server::start(ServerKind::Vsftpd, &lab.server);
    let outside = lab.outside.as_ref().unwrap();
    let on_the_internet = Server::start(ServerKind::Proftpd, outside);
    let config = Config::new(&lab.gateways[0].configuration()).replacing(
        "server: [ \"10.20.0.10:21\", \"[2001:db8:20::10]:21\" ]",
        "server: \"10.20.0.10:21\"\n    data: relay",
    );
    let _ftpgate = Ftpgate::start(lab.gateway(), &config);
    let mut done = 0;
    for combination in combinations().into_iter().filter(|it| [Client::Curl, Client::Lftp].contains(&it.client)) {
        everything(combination, &lab.client, lab.dialled(combination.family), &on_the_internet)
            .unwrap_or_else(|error| panic!("from inside, {combination:?}: {error}"));
        let gateway = match combination.family {
            Family::V4 => "198.51.100.1",
            Family::V6 => "2001:db8:51::1",
        };
        everything(combination, outside, gateway.parse().unwrap(), &inside)
            .unwrap_or_else(|error| panic!("from outside, {combination:?}: {error}"));
        done += 1;
    }
    assert_eq!(done, 11);
    nothing_is_left(&lab);
}

#[test]
fn the_administrators_sets() {
    let mut scene = relayed(Topology::Sets, ServerKind::Vsftpd, |config| config);
    assert_eq!(these_combinations(&scene, |combination| combination.client == Client::Curl), 6);
    nothing_went_wrong(&scene);
    // What is open when it is stopped it takes along.
    let mut passive = scene.login(Family::V6);
    passive.passive(Family::V6);
    let mut active = scene.login(Family::V4);
    let _unused = active.active(scene.client(), Family::V4);
    assert!(
        held(&scene.lab).len() >= 5,
        "two pinholes with a translation each, and one without: {:?}",
        held(&scene.lab)
    );
    for signal in [Signal::SIGTERM, Signal::SIGTERM] {
        scene.ftpgate().signal(signal);
        std::thread::sleep(Duration::from_millis(50));
    }
    nothing_is_left(&scene.lab);
}

/// What `ftpgate rules` prints for nat64.yaml instead of nat64.nft.
#[test]
fn the_printed_rules_work() {
    let lab = Lab::new(Topology::Nat64);
    let config = project("nftables-examples/nat64.yaml");
    let arguments = ["rules", "-c", &config.to_string_lossy(), "--inside", "lan0", "--outside", "wan0"];
    let text = lab.gateway().run(&[&[binary().as_str()], &arguments[..]].concat()).expect_ok();
    lab.gateway().run(&["nft", "flush", "ruleset"]).expect_ok();
    lab.gateway().nft(&text);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let ftpgates = crate::lab::scene::start_all(&lab, |config| config);
    let scene = Scene { ftpgates, server, lab };
    let wanted = |it: &Combination| it.client == Client::Curl && it.family == Family::V6;
    assert_eq!(these_combinations(&scene, wanted), 2);
    nothing_went_wrong(&scene);
}

/// nat64.nft as it is: nobody has an address of the other's family.
fn nat64(kind: ServerKind) {
    let scene = Scene::new(Topology::Nat64, kind);
    assert_eq!(these_combinations(&scene, |combination| combination.family == Family::V6), 8);
    nothing_went_wrong(&scene);
}

#[test]
fn rfc6384_nat64_nft_every_combination_with_vsftpd() {
    nat64(ServerKind::Vsftpd);
}

#[test]
fn rfc6384_nat64_nft_every_combination_with_proftpd() {
    nat64(ServerKind::Proftpd);
}

#[test]
fn rfc6384_a_server_of_the_other_family_behind_the_gateway() {
    let both = "server: [ \"10.20.0.10:21\", \"[2001:db8:20::10]:21\" ]";
    for (server, family, expected) in [("10.20.0.10:21", Family::V6, 8), ("[2001:db8:20::10]:21", Family::V4, 15)] {
        let only = format!("server: \"{server}\"");
        let scene = relayed(Topology::Reverse, ServerKind::Vsftpd, |config| config.replacing(both, &only));
        assert_eq!(these_combinations(&scene, |combination| combination.family == family), expected);
        nothing_went_wrong(&scene);
    }
}

#[test]
fn a_listener_that_is_dialled_directly_needs_no_open_ports() {
    let lab = Lab::new(Topology::Reverse);
    let accept = ["nft", "add", "rule", "inet", "gateway", "input", "tcp", "dport", "2121", "accept"];
    lab.gateway().run(&accept).expect_ok();
    accept_mark(&lab);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let config = Config::new(&lab.gateways[0].configuration())
        .replacing("capture: redirect", "capture: direct\n    data: relay")
        .replacing("\"0.0.0.0:8022\", \"[::]:8022\"", "\"0.0.0.0:2121\", \"[::]:2121\"");
    let _ftpgate = Ftpgate::start(lab.gateway(), &config);
    for family in Family::ALL {
        let listener = SocketAddr::new(lab.dialled(family), 2121);
        let mut control = crate::lab::control::Control::login(&lab.client, listener, server.user());
        assert!(control.download(&lab.client, family, &format!("RETR {LARGE}")) == noise(1, MIB), "{family:?}");
        let announced = control.active(&lab.client, family);
        control.line(&format!("RETR {LARGE}"));
        let (mut data, peer) = accept_data(&announced);
        assert_eq!(peer.ip(), lab.dialled(family));
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == noise(1, MIB), "{family:?}");
    }
    nothing_is_left(&lab);
}

#[test]
fn with_tproxy_the_relay_works_as_well() {
    let lab = Lab::new(Topology::Tproxy);
    lab.server.firewall(&accept_ftp("198.51.100.1", "2001:db8:51::1"));
    accept_mark(&lab);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let config = Config::new(&lab.gateways[0].configuration())
        .replacing("source: client", "source: gateway")
        .replacing("capture: tproxy", "capture: tproxy\n    data: relay");
    let ftpgates = vec![Ftpgate::start(lab.gateway(), &config)];
    let scene = Scene { ftpgates, server, lab };
    assert_eq!(these_combinations(&scene, |combination| combination.client == Client::Ftplib), 6);
    nothing_went_wrong(&scene);
}

/// The relay's own port is for nobody, and the entrance for one.
#[test]
fn strangers_reach_neither_the_entrance_nor_the_relay() {
    let scene = relayed(Topology::Forward, ServerKind::Vsftpd, |config| config);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        assert_eq!(entrance.ip(), scene.lab.dialled(family), "the client is told the server");
        let stranger = scene.lab.stranger_address(family);
        let relay = listening(&scene, family);
        assert_eq!(relay.len(), 1, "{relay:?}");
        let client = scene.lab.client_address(family);
        for (who, to) in [(stranger, entrance), (stranger, relay[0]), (client, relay[0])] {
            let error = scene.client().connect_from(who, to, REFUSED_AFTER).expect_err("a connection that must not be");
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut, "{who} to {to}: {error}");
        }
        assert_eq!(scene.pinholes(family).len(), 1, "the attempts have not used it up");
        let mut data = data_connection(scene.client(), entrance);
        let again = scene.client().connect(entrance, REFUSED_AFTER);
        assert!(again.is_err(), "a second connection: {again:?}");
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        control.expect(226);
        assert!(bytes == noise(1, MIB), "{family:?}");
        control.must("QUIT", 221);
    }
    nothing_went_wrong(&scene);
}

/// What the relay listens at, at addresses of the gateway towards the client.
fn listening(scene: &Scene, family: Family) -> Vec<SocketAddr> {
    let near: IpAddr = match family {
        Family::V4 => "10.0.0.1",
        Family::V6 => "2001:db8:10::1",
    }
    .parse()
    .unwrap();
    let sockets = scene.gateway().run(&["ss", "-Hltn"]).expect_ok();
    let local = |line: &str| line.split_whitespace().nth(3).and_then(|address| address.parse::<SocketAddr>().ok());
    sockets.lines().filter_map(local).filter(|address| address.ip() == near).collect()
}

/// In active mode the client sees the server, which it could not if the relay connected as itself.
#[test]
fn the_client_sees_the_server_and_the_server_the_gateway() {
    let scene = relayed(Topology::Forward, ServerKind::Vsftpd, |config| config);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let announced = control.active(scene.client(), family);
        control.line(&format!("RETR {LARGE}"));
        let (mut data, peer) = accept_data(&announced);
        assert_eq!(peer.ip(), scene.lab.dialled(family));
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == noise(1, MIB), "{family:?}");
        control.expect(150);
        drop(data);
        control.expect(226);
        control.must("QUIT", 221);
    }
    nothing_went_wrong(&scene);
}

/// An address below the prefix that stands for the gateway itself, or for nobody.
#[test]
fn nat64_leads_to_no_address_of_the_gateway() {
    let scene = Scene::new(Topology::Nat64, ServerKind::Vsftpd);
    for (below, why) in [
        ("64:ff9b::198.51.100.1", "does not connect to itself"),
        ("64:ff9b::127.0.0.1", "does not connect to itself"),
        ("64:ff9b::0.0.0.0", "does not connect to itself"),
        ("64:ff9b::10.0.0.1", "must not hold"),
    ] {
        let to = SocketAddr::new(below.parse().unwrap(), 21);
        let mut greeting = String::new();
        let mut stream = scene.client().connect(to, SOON).unwrap_or_else(|error| panic!("{to}: {error}"));
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream.read_to_string(&mut greeting).unwrap();
        assert!(greeting.starts_with("421 ") && greeting.contains(why), "{to}: {greeting}");
    }
}

/// A transfer in each family's mode is under way, and a pinhole open, when the daemon is killed.
#[test]
fn a_killed_daemon_leaves_nothing_and_nothing_looks_complete() {
    let mut scene = Scene::new(Topology::Nat64, ServerKind::Vsftpd);
    scene.server.add("long.bin", &noise(3, 24 * MIB));
    let mut open = scene.login(Family::V6);
    let unused = announced_229(&open.must("EPSV", 229).text);
    let mut control = scene.login(Family::V6);
    let mut data = data_connection(scene.client(), control.passive(Family::V6));
    control.must("RETR long.bin", 150);
    data.read_exact(&mut vec![0; MIB]).unwrap();
    assert!(!held(&scene.lab).is_empty());
    scene.ftpgate().signal(Signal::SIGKILL);
    let cut_off = data.read_to_end(&mut Vec::new());
    assert_eq!(cut_off.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
    wait_for("the table to go", SOON, || elements(scene.gateway(), "ftpgate").is_empty().then_some(()));
    let to = SocketAddr::new(scene.lab.dialled(Family::V6), unused);
    assert!(scene.client().connect(to, REFUSED_AFTER).is_err(), "the pinhole went with the daemon");
}

/// A session that ends takes all three of its pinholes along, another one its transfer.
#[test]
fn nothing_is_left_when_a_client_goes() {
    let scene = relayed(Topology::Forward, ServerKind::Vsftpd, |config| config);
    scene.server.add("long.bin", &noise(3, 24 * MIB));
    for family in Family::ALL {
        let mut control = scene.login(family);
        let mut data = data_connection(scene.client(), control.passive(family));
        control.must("RETR long.bin", 150);
        data.read_exact(&mut vec![0; MIB]).unwrap();
        let mut other = scene.login(family);
        let _unused = other.active(scene.client(), family);
        assert!(held(&scene.lab).len() > 2, "{:?}", held(&scene.lab));
        drop((control, other));
        let cut_off = data.read_to_end(&mut Vec::new());
        assert_eq!(cut_off.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
        nothing_is_left(&scene.lab);
    }
}
