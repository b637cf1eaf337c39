//! `make demo`: ftpgate at work, to watch.
//!
//! Raises hosts in network namespaces of this machine, with NAT and default-drop rules, and shows: that FTP fails without
//! ftpgate; that it works with it, in every mode, over IPv4 and IPv6, in both directions of NAT; how a pinhole opens and vanishes; what
//! the metrics say; that an ordinary user's ftpgate leads IPv6 clients to an IPv4 server. Ends with 0 when everything went as it should, with 1 otherwise. Lives here: the order of the show. Not
//! here: the lab (`tests/lab`), the layout (`screen.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../lab/mod.rs"]
mod lab;
#[path = "../relay/scene.rs"]
#[allow(dead_code, unreachable_pub)] // the tests of the relay use it in full
mod relay;
mod screen;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::client::{Client, Combination, Job, Mode, Step, combinations};
use lab::control::{Control, data_connection};
use lab::files::{Folder, MIB, noise, sha256};
use lab::ftpgate::Metrics;
use lab::scene::Scene;
use lab::server::{LARGE, STORED, Server, ServerKind};
use lab::topology::{Lab, Topology, accept_ftp};
use lab::{Family, project, wait_for};
use screen::{Row, Screen};

fn main() -> ExitCode {
    let begin = Instant::now();
    let mut screen = Screen::default();
    screen.say(
        "ftpgate demo. Everything happens in network namespaces of this machine, named fg-…, which vanish at the end.",
    );
    without_ftpgate(&mut screen);
    with_ftpgate(&mut screen, Topology::Forward);
    with_ftpgate(&mut screen, Topology::Reverse);
    with_relay(&mut screen);
    let seconds = begin.elapsed().as_secs_f32();
    match screen.failures() {
        0 => {
            screen.say(&format!("\nEverything went as it should, in {seconds:.0} seconds. Nothing is left behind."));
            ExitCode::SUCCESS
        }
        count => {
            screen.say(&format!("\n{count} things did not go as they should; the reasons stand in the tables."));
            ExitCode::FAILURE
        }
    }
}

const FORWARD: &str = "
  client ---- lan0 [ gateway ] wan0 ---- server (vsftpd)
  10.0.0.2         NAT for IPv4          198.51.100.10
  2001:db8:10::2   drops by default      2001:db8:51::10";

const REVERSE: &str = "
  client ---- wan0 [ gateway ] dmz0 ---- server (vsftpd)
  198.51.100.20    198.51.100.2          10.20.0.10
  2001:db8:51::20  2001:db8:51::2        2001:db8:20::10
                   drops by default";

const FAMILIES: &str = "
  client ---- wan0 [ gateway ] dmz0 ---- server (vsftpd)
                   drops by default,     10.20.0.10
  2001:db8:51::20  forwards nothing";

/// The ruleset of forward.nft, but with port 21 let through instead of redirected: what one has without ftpgate.
fn without_ftpgate(screen: &mut Screen) {
    screen.title("1. Without ftpgate: one can log in, but no data comes");
    screen.say(FORWARD);
    let lab = Lab::new(Topology::Forward);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let rules = std::fs::read_to_string(project("nftables-examples/forward.nft")).unwrap();
    let rules = rules.replace("iifname \"lan0\" tcp dport 21 redirect to :8021", "");
    lab.gateway().nft(&rules.replace("dport { 80, 443 }", "dport { 21, 80, 443 }"));
    lab.server.firewall(&accept_ftp("198.51.100.1", "{ 2001:db8:51::1, 2001:db8:10::/64 }"));
    screen.head("direction");
    for (mode, family) in [(Mode::Port, Family::V4), (Mode::Pasv, Family::V4), (Mode::Eprt, Family::V6)] {
        let combination = Combination { client: Client::Curl, mode, family };
        let folder = Folder::new();
        let steps = [Step::Fetch { remote: LARGE, local: "down.bin" }];
        let mut job = Job::new(combination, lab.dialled(family), &server, &folder, &steps);
        job.seconds = 3;
        let begin = Instant::now();
        let outcome = job.run(&lab.client);
        let took = begin.elapsed();
        // It has to fail, and it has to be the data connection that fails.
        let as_it_should = outcome.as_ref().is_err_and(|said| said.contains("230 ") && said.contains(mode.verb()));
        let down = outcome.is_ok();
        let remark = match outcome {
            Err(_) if as_it_should => "logged in, no data: as expected".to_owned(),
            Err(said) => screen.failed(&said),
            Ok(_) => screen.failed("it worked: the lab proves nothing"),
        };
        screen.row(&Row { direction: "no ftpgate", combination, down, up: None, checksum: None, took, remark });
    }
}

fn with_ftpgate(screen: &mut Screen, topology: Topology) {
    let (title, picture, direction) = match topology {
        Topology::Reverse => {
            ("3. With ftpgate on the server's gateway (reverse.nft, reverse.yaml)", REVERSE, "reverse")
        }
        _ => ("2. With ftpgate on the clients' gateway (forward.nft, forward.yaml)", FORWARD, "forward"),
    };
    screen.title(title);
    screen.say(picture);
    let scene = Scene::new(topology, ServerKind::Vsftpd);
    let clients = [Client::Curl, Client::Lftp];
    let chosen: Vec<Combination> = combinations().into_iter().filter(|c| clients.contains(&c.client)).collect();
    assert_eq!(chosen.len(), 11, "curl knows six ways, lftp five");
    screen.head("direction");
    for combination in &chosen {
        run(screen, &scene, direction, *combination);
    }
    pinhole(screen, &scene);
    metrics(screen, &scene, chosen.len());
}

/// Without a privilege: IPv6 clients of a server that has an IPv4 address alone.
fn with_relay(screen: &mut Screen) {
    screen.title(
        "4. With ftpgate as an ordinary user, no pinholes (backend: relay): IPv6 clients, an IPv4 server (RFC 6384)",
    );
    screen.say(FAMILIES);
    let scene = relay::only(Family::V4, ServerKind::Vsftpd);
    let clients = [Client::Curl, Client::Lftp];
    let is_six = |c: &Combination| c.family == Family::V6 && clients.contains(&c.client);
    let chosen: Vec<Combination> = combinations().into_iter().filter(is_six).collect();
    assert_eq!(chosen.len(), 4, "both know EPSV and EPRT");
    screen.head("direction");
    for combination in chosen {
        run(screen, &scene, "6 to 4", combination);
    }
}

/// Fetches and stores 1 MiB, and compares checksums.
fn run(screen: &mut Screen, scene: &Scene, direction: &'static str, combination: Combination) {
    let folder = Folder::new();
    folder.write("up.bin", noise(7, MIB));
    drop(std::fs::remove_file(scene.server.file(STORED)));
    let to = scene.lab.dialled(combination.family);
    let steps = [Step::Fetch { remote: LARGE, local: "down.bin" }, Step::Store { local: "up.bin", remote: STORED }];
    let begin = Instant::now();
    let outcome = Job::new(combination, to, &scene.server, &folder, &steps).run(scene.client());
    let took = begin.elapsed();
    let same = |remote: &str, local: &str| -> Option<String> {
        let (there, here) = (sha256(&scene.server.file(remote)).ok()?, sha256(&folder.file(local)).ok()?);
        (there == here).then_some(here)
    };
    let (down, up) = (same(LARGE, "down.bin"), same(STORED, "up.bin"));
    let remark = match outcome {
        Err(said) => screen.failed(&said),
        Ok(_) if down.is_none() || up.is_none() => screen.failed("the checksums differ"),
        Ok(_) => String::new(),
    };
    let (arrived, checksum) = (up.is_some(), up);
    screen.row(&Row { direction, combination, down: down.is_some(), up: Some(arrived), checksum, took, remark });
}

/// A pinhole's life, as `nft` shows it.
fn pinhole(screen: &mut Screen, scene: &Scene) {
    screen.say("\nA pinhole, watched with `nft list set inet ftpgate pinhole4` on the gateway:");
    let family = Family::V4;
    let mut control: Control = scene.login(family);
    let entrance = control.passive(family);
    let open = scene.pinholes(family);
    screen.step(&format!("PASV answered with {entrance}"), open.len() == 1, &open.join(", "));
    let data = data_connection(scene.client(), entrance);
    let used = scene.pinholes(family);
    screen.step(
        "the client has dialled it",
        used.is_empty(),
        "gone: the kernel's rule deleted it with the first packet",
    );
    let second = scene.client().connect(entrance, Duration::from_millis(500));
    screen.step("a second connection to it", second.is_err(), "dropped");
    drop(data);
}

fn metrics(screen: &mut Screen, scene: &Scene, runs: usize) {
    screen.say("\nThe metrics of that gateway (http://127.0.0.1:9821/metrics, from inside):");
    let page: Metrics = wait_for("the sessions to end", Duration::from_secs(5), || {
        let page = scene.metrics();
        (page.sum("ftpgate_sessions_active", &[]) == 0.0).then_some(page)
    });
    for line in page.0.lines().filter(|line| worth_showing(line)) {
        screen.say(&format!("  {line}"));
    }
    // Two transfers in each run, and the one pinhole above.
    let (opened, expected) = (page.sum("ftpgate_pinholes_opened_total", &[]), (runs * 2 + 1) as f64);
    screen.step("pinholes counted", opened == expected, &format!("{opened} of {expected}"));
    let active = page.sum("ftpgate_pinholes_active", &[]);
    screen.step("pinholes left open", active == 0.0, &format!("{active}"));
}

fn worth_showing(line: &str) -> bool {
    ["ftpgate_pinholes_opened_total{", "ftpgate_pinholes_active", "ftpgate_sessions_total{"]
        .iter()
        .any(|name| line.starts_with(name) && !line.ends_with(" 0"))
}
