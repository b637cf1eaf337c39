//! Nothing of a session stays behind, however it ends: no pinhole, no translation, no followed connection that lives.
//!
//! Lives here: one test for each kind of end, each with a pinhole that nobody has used and a transfer under way, then a look at
//! the kernel's sets, maps and marked conntrack entries. Entries of connections that are over (TIME_WAIT, CLOSE) stay for the
//! kernel's own timeouts, and are not looked at; nor are elements of `reset4` and `reset6`, which let nobody through: they make
//! the gateway answer with a RST for a minute at most. Not here: how soon programs are told (`control_close.rs`).

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::control::{Control, data_connection};
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::flowing::{BRISK, Flowing, Way};
use crate::lab::ftpgate::{Config, Ftpgate, Metrics};
use crate::lab::host::Host;
use crate::lab::kernel::{break_control_of_client, elements, live_flows};
use crate::lab::process::Daemon;
use crate::lab::scene::Scene;
use crate::lab::server::ServerKind;
use crate::lab::topology::Topology;
use crate::lab::{Family, wait_for};

/// Within this everything is gone, where nothing has to time out first.
const SOON: Duration = Duration::from_secs(5);

fn scene(topology: Topology, more: &[(&'static str, &str)]) -> Scene {
    let scene = Scene::with(topology, ServerKind::Vsftpd, |config| {
        more.iter().fold(config, |config, (section, value)| config.with(section, value))
    });
    for gateway in &scene.lab.gateways {
        gateway.host.sysctl("net/netfilter/nf_conntrack_acct", "1");
    }
    scene.server.add("long.bin", &noise(3, 24 * MIB));
    scene
}

/// Elements and live data connections of all gateways. A killed daemon has no table; with `ownership: sets` it is another's.
fn held(scene: &Scene) -> Vec<String> {
    let table = if scene.lab.topology == Topology::Sets { "gateway" } else { "ftpgate" };
    let of = |host| holes(host, table).into_iter().chain(live_flows(host));
    scene.lab.gateways.iter().flat_map(|gateway| of(&gateway.host)).collect()
}

/// What lets somebody through, or translates.
fn holes(host: &Host, table: &str) -> Vec<String> {
    elements(host, table).into_iter().filter(|element| !element.starts_with("reset")).collect()
}

fn nothing_is_left(scene: &Scene, limit: Duration) {
    let mut last = Vec::new();
    let end = std::time::Instant::now() + limit;
    while std::time::Instant::now() < end {
        last = held(scene);
        if last.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("left after {limit:?}:\n{}", last.join("\n"));
}

/// A session with an open pinhole, and two with a transfer under way; each in the other family, passive and active.
struct Busy {
    announced: Control,
    flowing: Vec<Flowing>,
}

impl Busy {
    fn new(scene: &Scene) -> Self {
        let download = Way::Download("long.bin");
        let flowing = vec![
            Flowing::start(scene, Family::V4, false, &download, BRISK),
            Flowing::start(scene, Family::V6, true, &download, BRISK),
        ];
        let mut announced = scene.login(Family::V4);
        announced.passive(Family::V4);
        // The look sees what is there: an element for the pinhole, and both transfers.
        for gateway in &scene.lab.gateways {
            assert_eq!(live_flows(&gateway.host).len(), 2, "of both transfers");
        }
        assert!(held(scene).len() > 2 * scene.lab.gateways.len(), "and an element of the pinhole: {:?}", held(scene));
        Self { announced, flowing }
    }
}

fn sessions(scene: &Scene) -> f64 {
    scene.lab.gateways.iter().map(|gateway| Metrics::read(&gateway.host).sum("ftpgate_sessions_active", &[])).sum()
}

/// Ends politely, with pinholes that were used, replaced, and never used.
fn after_quit(topology: Topology) {
    let scene = scene(topology, &[]);
    for family in Family::ALL {
        let mut control = scene.login(family);
        control.download(scene.client(), family, "RETR large.bin");
        control.passive(family);
        control.passive(family);
        drop(control.active(scene.client(), family));
        control.passive(family);
        let unused = data_connection(scene.client(), control.passive(family));
        control.passive(family);
        assert!(!held(&scene).is_empty(), "a pinhole is open");
        control.must("QUIT", 221);
        control.expect_end();
        drop(unused);
    }
    nothing_is_left(&scene, SOON);
    assert_eq!(sessions(&scene), 0.0);
}

#[test]
fn nothing_is_left_after_quit_in_forward_mode() {
    after_quit(Topology::Forward);
}

#[test]
fn nothing_is_left_after_quit_in_reverse_mode() {
    after_quit(Topology::Reverse);
}

#[test]
fn nothing_is_left_after_quit_behind_two_gateways() {
    after_quit(Topology::Both);
}

#[test]
fn nothing_is_left_after_quit_in_the_administrators_sets() {
    after_quit(Topology::Sets);
}

/// The control connections close, and data flows on: with `reset` it ends as well.
#[test]
fn nothing_is_left_when_a_client_closes_its_control_connections() {
    let scene = scene(Topology::Forward, &[]);
    let Busy { announced, mut flowing } = Busy::new(&scene);
    drop(announced);
    flowing.iter_mut().for_each(|flowing| drop(flowing.control.take()));
    nothing_is_left(&scene, SOON);
    wait_for("both ends to know", SOON, || flowing.iter().all(Flowing::is_over).then_some(()));
    wait_for("the sessions to end", SOON, || (sessions(&scene) == 0.0).then_some(()));
}

/// With `keep` they are left: what the look finds is really there.
#[test]
fn with_keep_the_same_transfers_are_left() {
    let scene = scene(Topology::Forward, &[("data", "{ on_control_close: keep }")]);
    let Busy { announced, flowing } = Busy::new(&scene);
    drop(announced);
    break_control_of_client(scene.client());
    wait_for("the pinhole to be closed", SOON, || holes(scene.gateway(), "ftpgate").is_empty().then_some(()));
    assert_eq!(live_flows(scene.gateway()).len(), 2);
    assert!(!flowing.iter().any(Flowing::is_over));
}

/// curl, fetching slowly.
fn curl(scene: &Scene, folder: &Folder, name: &str) -> Daemon {
    let (down, login) = (folder.file(name), format!("{}:x", scene.server.user()));
    let url = format!("ftp://{}/long.bin", scene.lab.dialled(Family::V4));
    let args = ["curl", "-sS", "--limit-rate", "1m", "--user", &login, "-o", &down.to_string_lossy(), &url];
    let curl = scene.client().spawn(&args);
    wait_for("data to flow", SOON, || std::fs::metadata(&down).is_ok_and(|data| data.len() > 0).then_some(()));
    curl
}

#[test]
fn nothing_is_left_after_a_client_crash() {
    for topology in [Topology::Forward, Topology::Reverse] {
        let scene = scene(topology, &[]);
        let folder = Folder::new();
        let mut curls = [curl(&scene, &folder, "one.bin"), curl(&scene, &folder, "two.bin")];
        assert_eq!(live_flows(scene.gateway()).len(), 2);
        curls.iter_mut().for_each(Daemon::kill);
        nothing_is_left(&scene, SOON);
        wait_for("the sessions to end", SOON, || (sessions(&scene) == 0.0).then_some(()));
    }
}

#[test]
fn nothing_is_left_after_a_server_crash() {
    for topology in [Topology::Forward, Topology::Reverse] {
        let scene = scene(topology, &[]);
        let busy = Busy::new(&scene);
        scene.server.kill(&scene.lab.server);
        nothing_is_left(&scene, SOON);
        drop(busy);
        wait_for("the sessions to end", SOON, || (sessions(&scene) == 0.0).then_some(()));
    }
}

/// The cable to one host is pulled: nobody closes anything. Silence ends the data connections. The sessions that wait for the
/// end of a transfer are ended by keepalive, after two minutes (`lifetimes.rs` sees that it is armed); the quiet one is idle.
fn cable_pull(on_server: bool) {
    let timeouts = [("data", "{ idle_timeout: 1s, pinhole_timeout: 30s }"), ("timeouts", "{ idle: 2s }")];
    let scene = scene(Topology::Forward, &timeouts);
    let busy = Busy::new(&scene);
    let host = if on_server { &scene.lab.server } else { scene.client() };
    host.ip("link set eth0 down\n");
    // Retransmissions are traffic, and come ever more rarely.
    wait_for("the idle session to end", SOON, || (sessions(&scene) <= 2.0).then_some(()));
    wait_for("pinholes to be gone", Duration::from_secs(20), || {
        holes(scene.gateway(), "ftpgate").is_empty().then_some(())
    });
    // For half a minute the kernel waits for a packet to answer with a RST; no such packet comes.
    nothing_is_left(&scene, Duration::from_secs(45));
    drop(busy);
}

#[test]
fn nothing_is_left_after_the_clients_cable_was_pulled() {
    cable_pull(false);
}

#[test]
fn nothing_is_left_after_the_servers_cable_was_pulled() {
    cable_pull(true);
}

#[test]
fn nothing_is_left_after_an_idle_timeout() {
    let scene = scene(Topology::Forward, &[("timeouts", "{ idle: 1s }")]);
    let mut controls = Family::ALL.map(|family| {
        let mut control = scene.login(family);
        control.passive(family);
        control
    });
    assert!(!held(&scene).is_empty());
    controls.iter_mut().for_each(|control| {
        control.expect(421);
        control.expect_end();
    });
    nothing_is_left(&scene, SOON);
}

/// Nobody comes: the pinhole times out, its session lives on.
#[test]
fn nothing_is_left_of_a_pinhole_that_timed_out() {
    let scene = scene(Topology::Forward, &[("data", "{ pinhole_timeout: 1s }")]);
    let mut control = scene.login(Family::V6);
    drop(control.active(scene.client(), Family::V6));
    assert!(!held(&scene).is_empty());
    nothing_is_left(&scene, SOON);
    control.must("NOOP", 200);
}

/// SIGTERM lets transfers finish; a second one does not.
#[test]
fn nothing_is_left_after_sigterm() {
    for topology in [Topology::Forward, Topology::Sets] {
        let mut scene = scene(topology, &[]);
        let Busy { announced, mut flowing } = Busy::new(&scene);
        scene.ftpgate().signal(Signal::SIGTERM);
        for transfer in &mut flowing {
            let ended = transfer.end(Duration::from_secs(20));
            assert!(ended.received.len() == 24 * MIB, "{topology:?}: cut short: {:?}", ended.result);
        }
        scene.ftpgate().daemon.wait_for_exit(SOON);
        nothing_is_left(&scene, SOON);
        drop(announced);
    }
}

#[test]
fn nothing_is_left_after_a_second_sigterm() {
    for topology in [Topology::Forward, Topology::Sets] {
        let mut scene = scene(topology, &[]);
        let busy = Busy::new(&scene);
        scene.ftpgate().signal(Signal::SIGTERM);
        wait_for("the first signal to be heard", SOON, || {
            scene.client().connect(scene.ftp(Family::V4), Duration::from_secs(1)).is_err().then_some(())
        });
        scene.ftpgate().signal(Signal::SIGTERM);
        scene.ftpgate().daemon.wait_for_exit(SOON);
        nothing_is_left(&scene, SOON);
        drop(busy);
    }
}

/// Killed, the daemon can end nothing any more. The kernel takes its table away with every pinhole, at once; transfers that
/// flow go on, and have an end of their own, or that which the next daemon makes.
#[test]
fn no_pinhole_is_left_after_kill_9() {
    let mut scene = scene(Topology::Forward, &[]);
    let mut busy = Busy::new(&scene);
    scene.ftpgate().daemon.kill();
    wait_for("the table to vanish", Duration::from_secs(1), || {
        elements(scene.gateway(), "ftpgate").is_empty().then_some(())
    });
    for transfer in &mut busy.flowing {
        let ended = transfer.end(Duration::from_secs(20));
        assert!(ended.received.len() == 24 * MIB, "cut short: {:?}", ended.result);
    }
    nothing_is_left(&scene, SOON);
}

/// The next daemon finds pinholes of a killed one in the administrator's sets, and closes them.
#[test]
fn no_pinhole_is_left_by_a_killed_predecessor() {
    let mut scene = scene(Topology::Sets, &[]);
    let mut busy = Busy::new(&scene);
    scene.ftpgate().daemon.kill();
    assert!(!elements(scene.gateway(), "gateway").is_empty(), "the table is the administrator's, the element stays");
    let config = Config::new(&scene.lab.gateways[0].configuration());
    scene.ftpgates[0] = Ftpgate::start(scene.gateway(), &config);
    assert_eq!(holes(scene.gateway(), "gateway"), [""; 0]);
    for transfer in &mut busy.flowing {
        drop(transfer.end(Duration::from_secs(20)));
    }
    nothing_is_left(&scene, SOON);
}

#[test]
fn nothing_is_left_after_descriptors_ran_out() {
    let mut scene = scene(Topology::Forward, &[("limits", "{ sessions: 5000 }")]);
    let pid = scene.ftpgate().daemon.pid().to_string();
    let used = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let limit = |count: u64| {
        let value = format!("--nofile={count}:");
        scene.gateway().run(&["prlimit", "--pid", &pid, &value]).expect_ok();
    };
    // Room for three sessions, and not for both sockets of a fourth.
    limit(used + 7);
    let busy = Busy::new(&scene);
    let crowd: Vec<_> =
        (0..20).filter_map(|_| scene.client().connect(scene.ftp(Family::V4), Duration::from_secs(1)).ok()).collect();
    assert!(!crowd.is_empty());
    drop(busy);
    drop(crowd);
    nothing_is_left(&scene, SOON);
    limit(1024);
    wait_for("the sessions to end", SOON, || (sessions(&scene) == 0.0).then_some(()));
    nothing_is_left(&scene, SOON);
}
