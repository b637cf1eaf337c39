//! The daemon's own life, and the limits that it keeps: start, signals, session limits, timeouts, servers that are not there.
//!
//! Whatever ftpgate ends by itself, the client is told with a 421 and a reason.

use std::io::Read;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::lab::control::{Control, Reply, data_connection};
use crate::lab::fake_server::{FakeServer, let_in};
use crate::lab::files::noise;
use crate::lab::ftpgate::Config;
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{LARGE, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};

/// Larger than all socket buffers on the way: a transfer of it waits for its reader.
const HUGE: usize = 32 << 20;

/// A 421, then the end, and a text that says why.
fn ends_with_421(control: &mut Control, reasons: &[&str]) -> Reply {
    let reply = control.expect(421);
    let text = reply.text.to_lowercase();
    assert!(reasons.iter().any(|reason| text.contains(reason)), "one of {reasons:?} should be in {:?}", reply.text);
    control.expect_end();
    reply
}

#[test]
fn sigterm_lets_a_transfer_finish_and_ends_idle_sessions() {
    let mut scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    let content = noise(3, HUGE);
    scene.server.add("huge.bin", &content);
    let mut idle = scene.login(Family::V4);
    let mut busy = scene.login(Family::V6);
    let entrance = busy.passive(Family::V6);
    let mut data = data_connection(scene.client(), entrance);
    busy.must("RETR huge.bin", 150);
    let mut received = vec![0; 1000];
    data.read_exact(&mut received).unwrap();

    scene.ftpgate().signal(Signal::SIGTERM);
    ends_with_421(&mut idle, &["shut", "going down", "drain", "stop", "closing"]);
    wait_for("new connections to be refused", Duration::from_secs(5), || {
        match scene.client().connect(scene.ftp(Family::V4), Duration::from_secs(1)) {
            Err(_) => Some(()),
            // Accepted just before: greeted by nobody.
            Ok(stream) => Control::new(stream).try_reply().is_none_or(|reply| reply.code == 421).then_some(()),
        }
    });
    assert!(scene.ftpgate().daemon.exit_status().is_none(), "a transfer is under way");

    data.read_to_end(&mut received).unwrap();
    assert!(received == content, "the transfer that was under way");
    busy.expect(226);
    let status = scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(10));
    assert!(status.success(), "{status}");
    assert!(!scene.gateway().ruleset().contains("table inet ftpgate"));
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let mut scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    scene.server.add("huge.bin", &noise(3, HUGE));
    let mut busy = scene.login(Family::V4);
    let entrance = busy.passive(Family::V4);
    let mut data = data_connection(scene.client(), entrance);
    busy.must("RETR huge.bin", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    scene.ftpgate().signal(Signal::SIGTERM);
    // The first one has been heard when nobody new is let in.
    wait_for("the first signal to be heard", Duration::from_secs(5), || {
        scene.client().connect(scene.ftp(Family::V4), Duration::from_secs(1)).is_err().then_some(())
    });
    let begin = Instant::now();
    scene.ftpgate().signal(Signal::SIGTERM);
    scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(5));
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[test]
fn sigint_ends_an_idle_daemon() {
    let mut scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    scene.ftpgate().signal(Signal::SIGINT);
    let status = scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(5));
    assert!(status.success(), "{status}");
}

/// Limits are read again; a session that is there stays.
#[test]
fn sighup_reloads_limits_and_keeps_sessions() {
    let mut scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| {
        config.with("limits", "{ sessions_per_client: 1 }")
    });
    let mut first = scene.login(Family::V4);
    let mut second = Control::connect(scene.client(), scene.ftp(Family::V4));
    ends_with_421(&mut second, &["too many", "limit", "maximum"]);

    let changed = Config::new(&scene.lab.gateways[0].configuration()).with("limits", "{ sessions_per_client: 2 }");
    scene.ftpgate().rewrite(&changed);
    scene.ftpgate().signal(Signal::SIGHUP);
    let mut second = wait_for("the new limit", Duration::from_secs(5), || {
        let mut control = Control::connect(scene.client(), scene.ftp(Family::V4));
        (control.reply().code == 220).then_some(control)
    });
    second.log_in(scene.server.user());
    first.must("NOOP", 200);
    let mut third = Control::connect(scene.client(), scene.ftp(Family::V4));
    ends_with_421(&mut third, &["too many", "limit", "maximum"]);
}

/// A file that makes no sense changes nothing, and is complained about.
#[test]
fn sighup_with_a_broken_file_changes_nothing() {
    let mut scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    let mut session = scene.login(Family::V4);
    let broken = Config::new(&scene.lab.gateways[0].configuration()).with("limits", "{ no_such_limit: 1 }");
    scene.ftpgate().rewrite(&broken);
    scene.ftpgate().signal(Signal::SIGHUP);
    let complaint = scene.ftpgate().daemon.wait_for_line(Duration::from_secs(5), |line| line.contains("no_such_limit"));
    assert!(complaint.is_some(), "the log should name the key:\n{}", scene.ftpgate().log());
    session.must("NOOP", 200);
    drop(scene.login(Family::V6));
}

#[test]
fn the_global_limit_is_answered_with_421() {
    let scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| config.with("limits", "{ sessions: 2 }"));
    let first = scene.login(Family::V4);
    let mut second = scene.login(Family::V6);
    let mut third = Control::connect(scene.client(), scene.ftp(Family::V4));
    ends_with_421(&mut third, &["too many", "limit", "maximum"]);
    second.must("NOOP", 200);
    drop(first);
    wait_for("a free place", Duration::from_secs(5), || {
        (Control::connect(scene.client(), scene.ftp(Family::V4)).reply().code == 220).then_some(())
    });
}

#[test]
fn the_limit_per_client_is_answered_with_421_and_spares_others() {
    let scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| {
        config.with("limits", "{ sessions_per_client: 1 }")
    });
    for family in Family::ALL {
        let _first = scene.login(family);
        let mut second = Control::connect(scene.client(), scene.ftp(family));
        ends_with_421(&mut second, &["too many", "limit", "maximum"]);
        let stranger = scene.lab.stranger_address(family);
        let mut other = Control::connect_from(scene.client(), stranger, scene.ftp(family));
        other.expect(220);
    }
}

/// The server's host is there, and nobody listens.
#[test]
fn a_refused_connection_is_answered_with_421() {
    let lab = Lab::new(Topology::Forward);
    let _ftpgates = start_all(&lab, |config| config);
    for family in Family::ALL {
        let mut control = Control::connect(&lab.client, lab.ftp(family));
        ends_with_421(&mut control, &["refused"]);
    }
}

/// The server's host is there, and drops.
#[test]
fn a_connection_that_times_out_is_answered_with_421() {
    let lab = Lab::new(Topology::Forward);
    lab.server.firewall("");
    let _ftpgates = start_all(&lab, |config| config.with("timeouts", "{ connect: 1s }"));
    for family in Family::ALL {
        let begin = Instant::now();
        let mut control = Control::connect(&lab.client, lab.ftp(family));
        ends_with_421(&mut control, &["timed out", "timeout", "time", "did not answer"]);
        assert!(begin.elapsed() > Duration::from_millis(900) && begin.elapsed() < Duration::from_secs(5));
    }
}

/// Nobody has that address.
#[test]
fn an_unreachable_server_is_answered_with_421() {
    let lab = Lab::new(Topology::Forward);
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::connect(&lab.client, "192.0.2.1:21".parse().unwrap());
    ends_with_421(&mut control, &["unreachable", "route"]);
}

#[test]
fn whoever_does_not_log_in_is_sent_away_with_421() {
    let scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| config.with("timeouts", "{ login: 1s }"));
    let mut silent = Control::connect(scene.client(), scene.ftp(Family::V4));
    silent.expect(220);
    let mut talking = Control::connect(scene.client(), scene.ftp(Family::V6));
    talking.expect(220);
    talking.must(&format!("USER {}", scene.server.user()), 331);
    let mut logged_in = scene.login(Family::V4);
    ends_with_421(&mut silent, &["log", "time"]);
    ends_with_421(&mut talking, &["log", "time"]);
    // The limit is for logging in alone.
    logged_in.must("NOOP", 200);
    assert!(scene.metrics().sum("ftpgate_sessions_ended_total", &[("reason", "login_timeout")]) >= 2.0);
}

#[test]
fn an_idle_session_is_ended_with_421_and_a_busy_one_is_not() {
    let scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| config.with("timeouts", "{ idle: 2s }"));
    scene.server.add("huge.bin", &noise(3, HUGE));
    let mut busy = scene.login(Family::V6);
    let entrance = busy.passive(Family::V6);
    let mut data = data_connection(scene.client(), entrance);
    busy.must("RETR huge.bin", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    let mut idle = scene.login(Family::V4);
    let begin = Instant::now();
    ends_with_421(&mut idle, &["idle", "time"]);
    assert!(begin.elapsed() > Duration::from_millis(1900), "{:?}", begin.elapsed());
    assert_eq!(scene.metrics().sum("ftpgate_sessions_ended_total", &[("reason", "idle_timeout")]), 1.0);
    // RFC 1123 §4.1.3.2: a transfer under way is not idleness, however long it takes.
    std::io::copy(&mut data, &mut std::io::sink()).unwrap();
    busy.expect(226);
}

/// A client that dials the gateway itself, and somebody on the gateway who dials the listener: no loop, a reason.
#[test]
fn it_refuses_to_connect_to_itself() {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    for own in ["10.0.0.1:21", "198.51.100.1:21", "[2001:db8:10::1]:21", "[2001:db8:51::1]:21"] {
        let mut control = Control::connect(scene.client(), own.parse().unwrap());
        ends_with_421(&mut control, &["itself", "gateway", "own"]);
    }
    for listener in ["127.0.0.1:8021", "[::1]:8021"] {
        let mut control = Control::connect(scene.gateway(), listener.parse().unwrap());
        ends_with_421(&mut control, &["itself", "gateway", "own", "redirect"]);
    }
    assert!(scene.metrics().sum("ftpgate_sessions_total", &[]) <= 6.0, "each attempt may count once: no loop");
    drop(scene.login(Family::V4));
}

/// From outside nobody reaches the listener but by way of the redirect.
#[test]
fn the_listener_cannot_be_dialled_directly() {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    for listener in ["10.0.0.1:8021", "[2001:db8:10::1]:8021"] {
        let attempt = scene.client().connect(listener.parse().unwrap(), Duration::from_millis(700));
        assert!(attempt.is_err(), "{listener} answered");
    }
    drop(scene.login(Family::V4));
}

/// Descriptors run out: accepting pauses, nothing ends, and it goes on when there are some again.
#[test]
fn a_lack_of_descriptors_does_not_end_the_daemon() {
    let mut scene =
        Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| config.with("limits", "{ sessions: 5000 }"));
    let pid = scene.ftpgate().daemon.pid().to_string();
    let used = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let limit = |count: u64| {
        let value = format!("--nofile={count}:");
        scene.gateway().run(&["prlimit", "--pid", &pid, &value]).expect_ok();
    };
    let mut witness = scene.login(Family::V4);
    limit(used + 2);
    let crowd: Vec<_> =
        (0..20).filter_map(|_| scene.client().connect(scene.ftp(Family::V4), Duration::from_secs(1)).ok()).collect();
    assert!(!crowd.is_empty());
    witness.must("NOOP", 200);
    drop(crowd);
    limit(1024);
    let mut fresh = wait_for("a new session", Duration::from_secs(10), || {
        let mut control = Control::connect(scene.client(), scene.ftp(Family::V4));
        control.try_reply().is_some_and(|reply| reply.code == 220).then_some(control)
    });
    fresh.log_in(scene.server.user());
    witness.must("NOOP", 200);
    assert!(fresh.download(scene.client(), Family::V4, &format!("RETR {LARGE}")) == noise(1, 1 << 20));
}

/// A server that closes without a word, and one that says 421 itself: the client sees just that.
#[test]
fn the_servers_end_is_passed_on() {
    let lab = Lab::new(Topology::Forward);
    let _server = FakeServer::start(&lab.server, |mut control| {
        if let Some(command) = let_in(&mut control) {
            control.line(&format!("421 no more {command}"));
        }
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    assert_eq!(control.ask("NOOP").text, "421 no more NOOP");
    control.expect_end();
}
