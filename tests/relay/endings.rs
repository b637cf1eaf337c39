//! How transfers end: whole, with exact counts; or broken off, and then both programs know.

use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::lab::control::data_connection;
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::flowing::{BRISK, Ended, Flowing, Pace, Way};
use crate::lab::kernel::{break_control_of_client, break_control_of_server, data_sockets, processes};
use crate::lab::scene::Scene;
use crate::lab::server::STORED;
use crate::lab::{Family, wait_for};
use crate::scene::reverse;

const LONG: usize = 24 * MIB;
const SHORT: usize = 2 * MIB;
/// 2 MB/s at most.
const LEISURELY: Pace = Pace { chunk: 8 << 10, pause: Duration::from_millis(4) };

fn scene(data: &str) -> Scene {
    let scene = reverse(|config| config.with("data", data));
    for host in [scene.client(), &scene.lab.server, scene.gateway()] {
        host.sysctl("net/ipv4/tcp_rmem", "4096 65536 131072");
        host.sysctl("net/ipv4/tcp_wmem", "4096 65536 131072");
    }
    scene.server.add("long.bin", &noise(3, LONG));
    scene.server.add("short.bin", &noise(4, SHORT));
    scene
}

fn both_ways(size: usize) -> [Way; 2] {
    let name = if size == LONG { "long.bin" } else { "short.bin" };
    [Way::Download(name), Way::Upload(STORED, Arc::new(noise(5, size)))]
}

fn is_reset(ended: &Ended) -> bool {
    let kind = ended.result.as_ref().err().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::ConnectionReset | ErrorKind::BrokenPipe))
}

/// No data connection is left at either end of the gateway, and no session.
fn nothing_goes_on(scene: &Scene) {
    wait_for("all to end", Duration::from_secs(10), || {
        let sessions = scene.metrics().sum("ftpgate_sessions_active", &[]);
        let sockets = [scene.client(), &scene.lab.server, scene.gateway()].map(data_sockets).concat();
        (sessions == 0.0 && sockets.is_empty()).then_some(())
    });
}

/// 300 MB through back-pressure: the client reads more slowly than the server sends, at times not at all.
#[test]
fn a_big_file_arrives_whole_and_is_counted_to_the_byte() {
    let mut scene = scene("{}");
    let content = noise(9, 300 * MIB + 7);
    scene.server.add("big.bin", &content);
    let mut control = scene.login(Family::V4);
    let entrance = control.passive(Family::V4);
    let mut data = data_connection(scene.client(), entrance);
    control.must("RETR big.bin", 150);
    let mut received = Vec::with_capacity(content.len());
    let mut chunk = vec![0; 1 << 20];
    let mut most = 0;
    loop {
        let count = data.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        received.extend_from_slice(&chunk[..count]);
        if received.len() % 16 < 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
        most = most.max(scene.ftpgate().memory_kib());
    }
    drop(data);
    control.expect(226);
    assert!(received == content, "{} of {}", received.len(), content.len());
    assert!(most < 64 << 10, "{most} KiB resident: it holds what it should leave with the sender");
    let transfer = scene.ftpgate().wait_for_transfers(1).remove(0);
    assert_eq!(transfer["bytes"], content.len() as u64, "{transfer}");
    control.upload(scene.client(), Family::V4, &format!("STOR {STORED}"), &content);
    scene.server.wait_for_content(STORED, &content);
    let transfer = scene.ftpgate().wait_for_transfers(2).remove(1);
    assert_eq!(transfer["bytes"], content.len() as u64, "{transfer}");
    let moved = scene.metrics().sum("ftpgate_transfer_bytes_total", &[]);
    assert_eq!(moved, 2.0 * content.len() as f64);
}

#[test]
fn reset_ends_both_ends_at_once() {
    let mut scene = scene("{ on_control_close: reset }");
    let mut count = 0;
    for family in Family::ALL {
        for way in both_ways(LONG) {
            for (active, at_client) in [(false, true), (false, false), (true, true)] {
                let what = format!("{family:?} {active} {at_client}");
                let mut flowing = Flowing::start(&scene, family, active, &way, BRISK);
                let broken = Instant::now();
                if at_client {
                    break_control_of_client(scene.client())
                } else {
                    break_control_of_server(&scene.lab.server)
                }
                let ended = flowing.end(Duration::from_secs(5));
                assert!(is_reset(&ended), "{what}: {:?}", ended.result);
                assert!(ended.received.len() < LONG, "{what}: the whole file came");
                assert!(ended.at.saturating_duration_since(broken) < Duration::from_secs(1), "{what}");
                drop(flowing);
                nothing_goes_on(&scene);
                count += 1;
            }
        }
    }
    let transfers = scene.ftpgate().wait_for_transfers(count);
    assert!(transfers.iter().all(|transfer| transfer["outcome"] == "control_closed"), "{transfers:#?}");
    assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), count as f64);
}

/// The same breaks leave a transfer alone that may finish.
#[test]
fn drain_and_keep_let_transfers_finish() {
    for data in ["{ on_control_close: drain, drain_timeout: 30s }", "{ on_control_close: keep }"] {
        let scene = scene(data);
        for (way, family) in both_ways(SHORT).into_iter().zip(Family::ALL) {
            let mut flowing = Flowing::start(&scene, family, false, &way, LEISURELY);
            break_control_of_client(scene.client());
            wait_for("ftpgate to notice", Duration::from_secs(5), || {
                (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
            });
            assert!(!flowing.is_over(), "{data}: over too early to show anything");
            let ended = flowing.end(Duration::from_secs(60));
            ended.result.as_ref().unwrap_or_else(|error| panic!("{data}: after {} bytes {error}", flowing.moved()));
            match &way {
                Way::Download(_) => assert!(ended.received == noise(4, SHORT), "{data}: {}", ended.received.len()),
                Way::Upload(name, content) => scene.server.wait_for_content(name, content),
            }
            nothing_goes_on(&scene);
            drop(std::fs::remove_file(scene.server.file(STORED)));
        }
        assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), 0.0);
    }
}

#[test]
fn drain_resets_what_takes_longer_than_its_limit() {
    let scene = scene("{ on_control_close: drain, drain_timeout: 1s }");
    for (family, way) in Family::ALL.into_iter().zip(both_ways(LONG)) {
        let mut flowing = Flowing::start(&scene, family, false, &way, BRISK);
        break_control_of_client(scene.client());
        let ended = flowing.end(Duration::from_secs(10));
        assert!(is_reset(&ended), "{family:?}: {:?}", ended.result);
        nothing_goes_on(&scene);
    }
    assert_eq!(scene.metrics().sum("ftpgate_data_connections_reset_total", &[]), 2.0);
}

/// The server stops in mid transfer: after `data.idle_timeout` both ends are reset, and the record says why.
#[test]
fn a_silent_transfer_ends_after_the_idle_timeout() {
    for way in both_ways(LONG) {
        let mut scene = scene("{ idle_timeout: 1s }");
        let mut flowing = Flowing::start(&scene, Family::V4, false, &way, BRISK);
        let signal = |scene: &Scene, signal| {
            for pid in processes(&scene.lab.server) {
                let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
            }
        };
        signal(&scene, Signal::SIGSTOP);
        // Nobody needs to speak for that: the client is told while the server still sleeps.
        let ended = flowing.end(Duration::from_secs(10));
        assert!(is_reset(&ended), "{:?}", ended.result);
        assert_eq!(scene.ftpgate().wait_for_transfers(1)[0]["outcome"], "idle");
        signal(&scene, Signal::SIGCONT);
        wait_for("the server to be told", Duration::from_secs(5), || {
            data_sockets(&scene.lab.server).is_empty().then_some(())
        });
    }
}

/// A client that is killed in mid transfer: the server is told, the record has what was moved, nothing stays.
#[test]
fn a_client_that_vanishes_leaves_nothing() {
    for upload in [false, true] {
        let mut scene = scene("{}");
        let folder = Folder::new();
        let (down, up) = (folder.file("down.bin"), folder.write("up.bin", noise(5, LONG)));
        let (down, up) = (down.to_string_lossy(), up.to_string_lossy());
        let host = scene.lab.dialled(Family::V4);
        let login = format!("{}:x", scene.server.user());
        let (fetched, stored) = (format!("ftp://{host}/long.bin"), format!("ftp://{host}/{STORED}"));
        let mut arguments = vec!["curl", "-sS", "--limit-rate", "1m", "--user", &login];
        match upload {
            true => arguments.extend(["-T", &up, &stored]),
            false => arguments.extend(["-o", &down, &fetched]),
        }
        let mut curl = scene.client().spawn(&arguments);
        let begun = if upload { scene.server.file(STORED) } else { folder.file("down.bin") };
        wait_for("data to flow", Duration::from_secs(5), || {
            std::fs::metadata(&begun).is_ok_and(|data| data.len() > 0).then_some(())
        });
        curl.kill();
        let event = scene.ftpgate().wait_for_transfers(1).remove(0);
        assert!(event["bytes"].as_u64().is_some_and(|bytes| (1..LONG as u64).contains(&bytes)), "{event}");
        if !upload {
            assert_ne!(event["outcome"], Value::from("complete"), "{event}");
        }
        nothing_goes_on(&scene);
    }
}

/// SIGKILL: a file that was cut off does not look complete.
#[test]
fn a_killed_gateway_resets_what_it_carried() {
    for way in both_ways(LONG) {
        let mut scene = scene("{}");
        let mut flowing = Flowing::start(&scene, Family::V4, false, &way, BRISK);
        scene.ftpgate().daemon.kill();
        let ended = flowing.end(Duration::from_secs(10));
        assert!(is_reset(&ended), "{:?}", ended.result);
        wait_for("the server to be told", Duration::from_secs(5), || {
            data_sockets(&scene.lab.server).is_empty().then_some(())
        });
    }
}
