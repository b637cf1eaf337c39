//! What becomes of live data connections when their control connection ends (`data.on_control_close`; RFC 959 §3.2).
//!
//! Lives here: `reset`, `drain` and `keep` with data that flows, the control connection ended in every way, on either side.
//! `keep` is the negative control of `reset`: there the same break leaves the transfer alone. Not here: silent data connections
//! (`lifetimes.rs`), what is left in the kernel (`nothing_left.rs`).

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::files::{Folder, MIB, noise};
use crate::lab::flowing::{BRISK, Ended, Flowing, Pace, Way};
use crate::lab::ftpgate::Metrics;
use crate::lab::kernel::{break_control_of_client, break_control_of_server, data_sockets, live_flows};
use crate::lab::scene::Scene;
use crate::lab::server::{STORED, ServerKind};
use crate::lab::topology::{Gateway, Topology};
use crate::lab::{Family, wait_for};

/// Within this both programs must know.
const AT_ONCE: Duration = Duration::from_secs(1);
/// At the pace of these tests it flows for some seconds: far longer than [`AT_ONCE`].
const LONG: usize = 24 * MIB;
/// And this for half a second.
const SHORT: usize = 2 * MIB;
/// 2 MB/s at most, so that the short file has most of its way to go when the control connection ends.
const LEISURELY: Pace = Pace { chunk: 8 << 10, pause: Duration::from_millis(4) };

fn scene(topology: Topology, on_control_close: &str) -> Scene {
    let scene = Scene::with(topology, ServerKind::Vsftpd, |config| {
        config
            .with("log", "{ level: debug, format: json }")
            .with("data", &format!("{{ on_control_close: {on_control_close} }}"))
    });
    // Small buffers everywhere, so that data is on its way and not waiting at its destination.
    for host in [scene.client(), &scene.lab.server] {
        host.sysctl("net/ipv4/tcp_rmem", "4096 65536 131072");
        host.sysctl("net/ipv4/tcp_wmem", "4096 65536 131072");
    }
    scene.server.add("long.bin", &noise(3, LONG));
    scene.server.add("short.bin", &noise(4, SHORT));
    scene
}

fn both_ways(size: usize) -> [Way; 2] {
    let name = if size == LONG { "long.bin" } else { "short.bin" };
    [Way::Download(name), Way::Upload(STORED, Arc::new(noise(5, LONG)))]
}

/// How a control connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// The client closes it and goes on with the data connection.
    ClientCloses,
    /// It is reset at the client.
    AtClient,
    /// It is reset at the server, whose process goes on with the data connection.
    AtServer,
    /// The server's process is killed.
    ServerDies,
}

impl Break {
    const ALL: [Self; 4] = [Self::ClientCloses, Self::AtClient, Self::AtServer, Self::ServerDies];

    fn happens(self, scene: &Scene, flowing: &mut Flowing) -> Instant {
        let before = Instant::now();
        match self {
            Self::ClientCloses => drop(flowing.control.take()),
            Self::AtClient => break_control_of_client(scene.client()),
            Self::AtServer => break_control_of_server(&scene.lab.server),
            Self::ServerDies => scene.server.kill_sessions(&scene.lab.server),
        }
        before
    }
}

/// The client's program was told: an error, not the end of the file.
fn is_reset(ended: &Ended) -> bool {
    let kind = ended.result.as_ref().err().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

/// One transfer whose control connection ends: both programs know at once.
fn ends_at_once(scene: &Scene, family: Family, active: bool, way: &Way, how: Break) {
    let what = format!("{:?} {family:?} active {active} {how:?} {}", scene.lab.topology, short(way));
    let log_before = scene.server.transfer_log().len();
    let mut flowing = Flowing::start(scene, family, active, way, BRISK);
    // That of the case before may need a moment to go.
    wait_for(&format!("one data connection before: {what}"), Duration::from_secs(5), || {
        (data_sockets(&scene.lab.server).len() == 1).then_some(())
    });
    let broken = how.happens(scene, &mut flowing);
    // A process that was killed cannot be told; its kernel goes on with what it had written, and is told in the end.
    let gone = (how != Break::ServerDies).then(|| {
        wait_for(&format!("the server to be told: {what}"), Duration::from_secs(5), || {
            data_sockets(&scene.lab.server).is_empty().then(Instant::now)
        })
    });
    let ended = flowing.end(Duration::from_secs(5));
    // A process that is killed closes its data connection itself: the client may see that first.
    assert!(is_reset(&ended) || how == Break::ServerDies, "{what}: the client saw {:?}", ended.result);
    assert!(ended.received.len() < LONG, "{what}: the whole file came");
    for (who, at) in [("the client", ended.at), ("the server", gone.unwrap_or(ended.at))] {
        let took = at.saturating_duration_since(broken);
        assert!(took < AT_ONCE, "{what}: {who} knew after {took:?}");
    }
    // Where its own control connection is broken, vsftpd dies of the reply that it cannot send, before it writes anything down.
    if matches!(how, Break::ClientCloses | Break::AtClient) {
        let line = wait_for(&format!("vsftpd's record: {what}"), Duration::from_secs(5), || {
            scene.server.transfer_log().get(log_before).cloned()
        });
        assert!(line.ends_with(" i"), "{what}: vsftpd takes it for complete: {line}");
    }
    drop(flowing);
    nothing_goes_on(scene);
}

fn short(way: &Way) -> &'static str {
    match way {
        Way::Download(_) => "download",
        Way::Upload(..) => "upload",
    }
}

/// Waits until sessions and data connections of before are over on every gateway.
fn nothing_goes_on(scene: &Scene) {
    for gateway in &scene.lab.gateways {
        wait_for("sessions and data connections to end", Duration::from_secs(10), || {
            let sessions = Metrics::read(&gateway.host).sum("ftpgate_sessions_active", &[]);
            (sessions == 0.0 && live_flows(&gateway.host).is_empty()).then_some(())
        });
    }
}

fn resets(topology: Topology) {
    let mut scene = scene(topology, "reset");
    let mut done = 0;
    for family in Family::ALL {
        for way in both_ways(LONG) {
            for how in Break::ALL {
                ends_at_once(&scene, family, false, &way, how);
                done += 1;
            }
            ends_at_once(&scene, family, true, &way, Break::AtClient);
            done += 1;
        }
    }
    assert_eq!(done, 20);
    let transfers = scene.ftpgate().wait_for_transfers(20);
    let outcomes: Vec<&Value> = transfers.iter().map(|transfer| &transfer["outcome"]).collect();
    assert!(outcomes.iter().all(|outcome| *outcome == "control_closed"), "{outcomes:?}");
    let reset = |gateway: &Gateway| Metrics::read(&gateway.host).sum("ftpgate_data_connections_reset_total", &[]);
    let reset: f64 = scene.lab.gateways.iter().map(reset).sum();
    // Where the server's process died its data connection may have been over before; of two gateways one may be the first.
    assert!(reset >= 16.0, "{reset} were reset");
}

#[test]
fn reset_ends_transfers_at_once_in_forward_mode() {
    resets(Topology::Forward);
}

#[test]
fn reset_ends_transfers_at_once_in_reverse_mode() {
    resets(Topology::Reverse);
}

#[test]
fn reset_ends_transfers_at_once_behind_two_gateways() {
    resets(Topology::Both);
}

#[test]
fn reset_ends_transfers_at_once_in_the_administrators_sets() {
    let scene = scene(Topology::Sets, "reset");
    for way in both_ways(LONG) {
        for how in [Break::AtClient, Break::AtServer] {
            ends_at_once(&scene, Family::V4, false, &way, how);
        }
        ends_at_once(&scene, Family::V6, true, &way, Break::AtClient);
    }
}

#[test]
fn reset_ends_transfers_at_once_with_a_transparent_source() {
    let scene = scene(Topology::Tproxy, "reset");
    for way in both_ways(LONG) {
        for how in [Break::AtClient, Break::AtServer] {
            ends_at_once(&scene, Family::V6, false, &way, how);
        }
        ends_at_once(&scene, Family::V4, true, &way, Break::AtClient);
    }
}

/// The same break that `reset` answers at once: here the transfer runs to its end, and the file is whole.
fn goes_on(scene: &Scene, family: Family, active: bool, way: &Way, how: Break) {
    let what = format!("{:?} {family:?} active {active} {how:?} {}", scene.lab.topology, short(way));
    let mut flowing = Flowing::start(scene, family, active, way, LEISURELY);
    how.happens(scene, &mut flowing);
    wait_for("ftpgate to notice", Duration::from_secs(5), || {
        (how == Break::ClientCloses || scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
    });
    assert!(!flowing.is_over(), "{what}: over too early to show anything");
    // Ten times what it takes on a quiet machine: lost packets are sent again after seconds.
    let ended = flowing.end(Duration::from_secs(60));
    ended.result.as_ref().unwrap_or_else(|error| panic!("{what}: after {} bytes {error}", flowing.moved()));
    match way {
        Way::Download(_) => assert!(ended.received == noise(4, SHORT), "{what}: {} bytes", ended.received.len()),
        Way::Upload(name, content) => scene.server.wait_for_content(name, content),
    }
    drop(flowing);
    nothing_goes_on(scene);
    drop(std::fs::remove_file(scene.server.file(STORED)));
}

#[test]
fn keep_leaves_transfers_alone() {
    for topology in [Topology::Forward, Topology::Reverse] {
        let scene = scene(topology, "keep");
        for (family, active, how) in [
            (Family::V4, false, Break::AtClient),
            (Family::V6, false, Break::AtServer),
            (Family::V6, true, Break::AtClient),
            (Family::V4, false, Break::ClientCloses),
        ] {
            for way in both_ways(SHORT) {
                goes_on(&scene, family, active, &way, how);
            }
        }
        assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), 0.0);
    }
}

#[test]
fn drain_lets_transfers_finish() {
    let scene = scene(Topology::Forward, "drain, drain_timeout: 30s");
    for way in both_ways(SHORT) {
        goes_on(&scene, Family::V4, false, &way, Break::AtClient);
        goes_on(&scene, Family::V6, true, &way, Break::AtServer);
    }
    assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), 0.0);
}

#[test]
fn drain_resets_what_takes_longer_than_its_limit() {
    let scene = scene(Topology::Forward, "drain, drain_timeout: 1s");
    for (family, way) in Family::ALL.into_iter().zip(both_ways(LONG)) {
        let mut flowing = Flowing::start(&scene, family, false, &way, BRISK);
        let broken = Break::AtClient.happens(&scene, &mut flowing);
        let ended = flowing.end(Duration::from_secs(5));
        let took = ended.at - broken;
        assert!(is_reset(&ended), "{family:?}: {:?}", ended.result);
        assert!(took > Duration::from_millis(950) && took < Duration::from_secs(2), "{family:?}: after {took:?}");
        wait_for("the server to be told", AT_ONCE, || data_sockets(&scene.lab.server).is_empty().then_some(()));
        nothing_goes_on(&scene);
    }
    assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), 2.0);
}

/// The classic experiment, with curl: what it says, and when, once its control connection is broken.
///
/// The file is long: what fits into the buffers of two sockets is over, for the kernel, as soon as it is sent.
fn curl(scene: &mut Scene, upload: bool, rate: &str) -> (i32, Duration, Folder) {
    let folder = Folder::new();
    let remote = format!("ftp://{}/", scene.lab.dialled(Family::V4));
    let (down, up) = (folder.file("down.bin"), folder.write("up.bin", noise(5, LONG)));
    let login = format!("{}:{}", scene.server.user(), crate::lab::server::PASSWORD);
    let (down, up) = (down.to_string_lossy(), up.to_string_lossy());
    let (stored, fetched) = (format!("{remote}{STORED}"), format!("{remote}long.bin"));
    let mut args = vec!["curl", "-sS", "--limit-rate", rate, "--max-time", "20", "--user", &login];
    match upload {
        true => args.extend(["-T", &up, &stored]),
        false => args.extend(["-o", &down, &fetched]),
    }
    let mut curl = scene.client().spawn(&args);
    let begun = if upload { scene.server.file(STORED) } else { folder.file("down.bin") };
    wait_for("data to flow", Duration::from_secs(5), || {
        std::fs::metadata(&begun).is_ok_and(|data| data.len() > 0).then_some(())
    });
    let broken = Instant::now();
    // At the server, lest curl notice by itself: what it is told, it is told by ftpgate.
    break_control_of_server(&scene.lab.server);
    let status = curl.wait_for_exit(Duration::from_secs(15));
    (status.code().unwrap_or(-1), broken.elapsed(), folder)
}

/// An upload, because a download that curl itself slows down is in its socket's buffer for seconds before it is read, and
/// what comes behind it, a reset as well, is seen that much later. (Downloads: above, with a reader that keeps up.)
#[test]
fn curl_reports_a_reset_at_once() {
    let mut scene = scene(Topology::Forward, "reset");
    let (code, took, _folder) = curl(&mut scene, true, "400k");
    assert!(code > 0 && took < AT_ONCE, "curl ended with {code} after {took:?}");
    let arrived = std::fs::metadata(scene.server.file(STORED)).map_or(0, |data| data.len());
    assert!(arrived < LONG as u64, "the whole file came");
    wait_for("the server to be told", AT_ONCE, || data_sockets(&scene.lab.server).is_empty().then_some(()));
    nothing_goes_on(&scene);
}

#[test]
fn curl_is_left_alone_with_keep() {
    let mut scene = scene(Topology::Forward, "keep");
    let (_, took, folder) = curl(&mut scene, false, "8m");
    assert!(took > AT_ONCE, "over too early to show anything: {took:?}");
    assert!(std::fs::read(folder.file("down.bin")).unwrap() == noise(3, LONG), "the download");
    nothing_goes_on(&scene);
    let (_, took, _folder) = curl(&mut scene, true, "8m");
    assert!(took > AT_ONCE, "over too early to show anything: {took:?}");
    scene.server.wait_for_content(STORED, &noise(5, LONG));
}
