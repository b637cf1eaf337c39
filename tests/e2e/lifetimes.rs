//! How long sessions and data connections live when nobody ends them: slow transfers, silent ones, and a network that is gone.
//!
//! Not here: what the end of a control connection does to transfers (`control_close.rs`), timeouts of sessions without one
//! (`lifecycle.rs`).

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::files::{MIB, noise};
use crate::lab::flowing::{BRISK, Flowing, Pace, Way};
use crate::lab::kernel::{data_sockets, live_flows, processes};
use crate::lab::scene::Scene;
use crate::lab::server::{STORED, Server, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};

fn scene(topology: Topology, counts: bool, sections: &[(&'static str, &str)]) -> Scene {
    let lab = Lab::new(topology);
    lab.gateway().sysctl("net/netfilter/nf_conntrack_acct", if counts { "1" } else { "0" });
    for host in [&lab.client, &lab.server] {
        host.sysctl("net/ipv4/tcp_rmem", "4096 65536 131072");
        host.sysctl("net/ipv4/tcp_wmem", "4096 65536 131072");
    }
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    server.add("long.bin", &noise(3, 24 * MIB));
    server.add("slow.bin", &noise(4, MIB));
    let ftpgates = crate::lab::scene::start_all(&lab, |config| {
        let config = config.with("log", "{ level: debug, format: json }");
        sections.iter().fold(config, |config, (section, value)| config.with(section, value))
    });
    Scene { ftpgates, server, lab }
}

/// RFC 1123 §4.1.3.2: three seconds of a transfer during which the control connection is silent, with a limit of one second.
/// The same silence afterwards ends the session.
#[test]
fn a_slow_transfer_keeps_its_session_alive() {
    let scene = scene(Topology::Forward, true, &[("timeouts", "{ idle: 1s }")]);
    let slow = Pace { chunk: 8 << 10, pause: Duration::from_millis(24) };
    for (family, active) in [(Family::V4, false), (Family::V6, true)] {
        let begin = Instant::now();
        let mut flowing = Flowing::start(&scene, family, active, &Way::Download("slow.bin"), slow);
        let ended = flowing.end(Duration::from_secs(20));
        assert!(begin.elapsed() > Duration::from_secs(2), "too fast to show anything: {:?}", begin.elapsed());
        assert!(ended.received == noise(4, MIB), "{family:?}: {:?} after {}", ended.result, ended.received.len());
        let mut control = flowing.control.take().unwrap();
        control.expect(226);
        let quiet = Instant::now();
        control.expect(421);
        control.expect_end();
        assert!(quiet.elapsed() > Duration::from_millis(900), "{:?}", quiet.elapsed());
    }
}

/// Stops the server's processes, or lets them go on: meanwhile their sockets stay, and nothing is said.
fn signal_server(scene: &Scene, signal: Signal) {
    for pid in processes(&scene.lab.server) {
        // One that has just ended by itself is fine.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}

/// An upload to a server that has stopped, or a download from one.
fn silent_server(family: Family, way: &Way, counts: bool) -> (Scene, Flowing) {
    let scene = scene(Topology::Forward, counts, &[("data", "{ idle_timeout: 1s }")]);
    let flowing = Flowing::start(&scene, family, false, way, BRISK);
    signal_server(&scene, Signal::SIGSTOP);
    (scene, flowing)
}

fn both_are_told(scene: &mut Scene, flowing: &mut Flowing, what: &str) {
    let events = scene.ftpgate().wait_for_transfers(1);
    assert_eq!(events[0]["outcome"], "idle", "{what}: {}", events[0]);
    assert_eq!(events[0]["reply"], Value::Null, "{what}: {}", events[0]);
    // A reset needs a packet of the connection, whose numbers it must carry: they are told as soon as one of them speaks.
    signal_server(scene, Signal::SIGCONT);
    let ended = flowing.end(Duration::from_secs(5));
    let kind = ended.result.as_ref().err().map(std::io::Error::kind);
    assert!(
        matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)),
        "{what}: the client saw {:?}",
        ended.result
    );
    wait_for(&format!("the server to be told: {what}"), Duration::from_secs(5), || {
        data_sockets(&scene.lab.server).is_empty().then_some(())
    });
    wait_for(&format!("conntrack to see its end: {what}"), Duration::from_secs(2), || {
        live_flows(scene.gateway()).is_empty().then_some(())
    });
}

#[test]
fn a_silent_download_ends_after_the_idle_timeout() {
    for family in Family::ALL {
        let (mut scene, mut flowing) = silent_server(family, &Way::Download("long.bin"), true);
        both_are_told(&mut scene, &mut flowing, &format!("download {family:?}"));
    }
}

#[test]
fn a_silent_upload_ends_after_the_idle_timeout() {
    for family in Family::ALL {
        let way = Way::Upload(STORED, std::sync::Arc::new(noise(5, 24 * MIB)));
        let (mut scene, mut flowing) = silent_server(family, &way, true);
        both_are_told(&mut scene, &mut flowing, &format!("upload {family:?}"));
    }
}

/// A data connection over which something passes now and then is not idle, however long it takes.
#[test]
fn a_trickle_is_not_idle() {
    let mut scene = scene(Topology::Forward, true, &[("data", "{ idle_timeout: 1s }")]);
    let trickle = Pace { chunk: 2 << 10, pause: Duration::from_millis(8) };
    let begin = Instant::now();
    let way = Way::Upload(STORED, std::sync::Arc::new(noise(4, MIB)));
    let mut flowing = Flowing::start(&scene, Family::V4, false, &way, trickle);
    let ended = flowing.end(Duration::from_secs(20));
    assert!(begin.elapsed() > Duration::from_secs(3), "too fast to show anything: {:?}", begin.elapsed());
    ended.result.unwrap();
    scene.server.wait_for_content(STORED, &noise(4, MIB));
    assert_eq!(scene.ftpgate().wait_for_transfers(1)[0]["outcome"], "complete");
}

/// Where the kernel does not count nobody can tell silence from work, and nothing is ended: what the tests above see is the
/// idle timeout, and nothing else.
#[test]
fn without_accounting_silence_ends_nothing() {
    let (mut scene, mut flowing) = silent_server(Family::V4, &Way::Download("long.bin"), false);
    let until = Instant::now() + Duration::from_secs(4);
    wait_for("four seconds of silence", Duration::from_secs(10), || {
        assert!(scene.ftpgate().transfers().is_empty() && !flowing.is_over(), "ended: {}", scene.ftpgate().log());
        (Instant::now() > until).then_some(())
    });
    assert_eq!(live_flows(scene.gateway()).len(), 1);
    signal_server(&scene, Signal::SIGCONT);
    let ended = flowing.end(Duration::from_secs(20));
    assert!(ended.received == noise(3, 24 * MIB), "{:?} after {}", ended.result, ended.received.len());
}

/// A network that is gone is noticed by keepalive. Its times are too long for a test; that it is armed can be seen.
#[test]
fn keepalive_is_armed_on_both_control_connections() {
    for (topology, listener) in [(Topology::Forward, ":8021"), (Topology::Reverse, ":8022")] {
        let scene = scene(topology, true, &[]);
        for family in Family::ALL {
            let control = scene.login(family);
            let timers = |filter: &str| {
                let text = scene.gateway().run(&["ss", "-Htno", "state", "established", filter]).expect_ok();
                text.lines().filter(|line| line.contains("timer:(keepalive,")).count()
            };
            for (leg, filter) in [("client's", format!("sport = {listener}")), ("server's", "dport = :21".to_owned())] {
                let armed = format!("the {leg} keepalive, {topology:?} {family:?}");
                wait_for(&armed, Duration::from_secs(2), || (timers(&filter) == 1).then_some(()));
            }
            drop(control);
            wait_for("the session to end", Duration::from_secs(5), || {
                (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
            });
        }
    }
}
