//! What ftpgate shows of itself: metrics and logs, after real work.
//!
//! Not here: the subcommands.

use std::time::Duration;

use serde_json::Value;

use crate::lab::control::Control;
use crate::lab::ftpgate::Metrics;
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, ServerKind};
use crate::lab::topology::Topology;
use crate::lab::{Family, project, wait_for};

/// Name, labels, value.
type Sample<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// One login in each family, a passive and an active transfer in each, one refusal.
fn some_work(scene: &Scene) {
    for family in Family::ALL {
        let mut control = scene.login(family);
        control.download(scene.client(), family, &format!("RETR {LARGE}"));
        let listener = control.active(scene.client(), family);
        control.line("LIST");
        let (mut data, _) = crate::lab::control::accept_data(&listener);
        std::io::copy(&mut data, &mut std::io::sink()).unwrap();
        control.expect(150);
        control.expect(226);
        if family == Family::V4 {
            control.must("PORT 10,0,0,3,200,0", 501);
        }
        control.must("QUIT", 221);
        control.expect_end();
    }
    wait_for("the sessions to be over", Duration::from_secs(5), || {
        (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
    });
}

#[test]
fn metrics_count_what_happened_and_promtool_has_no_complaint() {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    some_work(&scene);
    let metrics = scene.metrics();
    let expected: &[Sample<'_>] = &[
        ("ftpgate_sessions_active", &[("listener", "outbound")], 0.0),
        ("ftpgate_sessions_total", &[("listener", "outbound")], 2.0),
        ("ftpgate_commands_total", &[("command", "USER")], 2.0),
        ("ftpgate_commands_total", &[("command", "RETR")], 2.0),
        ("ftpgate_commands_total", &[("command", "LIST")], 2.0),
        ("ftpgate_pinholes_opened_total", &[("mode", "pasv"), ("family", "ipv4")], 1.0),
        ("ftpgate_pinholes_opened_total", &[("mode", "epsv"), ("family", "ipv6")], 1.0),
        ("ftpgate_pinholes_opened_total", &[("mode", "port"), ("family", "ipv4")], 1.0),
        ("ftpgate_pinholes_opened_total", &[("mode", "eprt"), ("family", "ipv6")], 1.0),
        ("ftpgate_pinholes_opened_total", &[], 4.0),
        ("ftpgate_pinholes_active", &[], 0.0),
        ("ftpgate_refusals_total", &[("reason", "foreign_address")], 1.0),
        ("ftpgate_refusals_total", &[], 1.0),
        ("ftpgate_pinhole_open_seconds_count", &[], 4.0),
        ("ftpgate_firewall_errors_total", &[], 0.0),
        ("ftpgate_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ];
    for (name, labels, value) in expected {
        assert!(metrics.has(name, labels), "{name} {labels:?} is missing in:\n{}", metrics.0);
        assert_eq!(metrics.sum(name, labels), *value, "{name} {labels:?} in:\n{}", metrics.0);
    }
    assert_eq!(metrics.sum("ftpgate_sessions_ended_total", &[]), 2.0, "{}", metrics.0);
    check_with_promtool(&scene, &metrics);
}

fn check_with_promtool(scene: &Scene, metrics: &Metrics) {
    let promtool = project("target/lab/root/usr/bin/promtool");
    assert!(promtool.exists(), "{} is missing: run tests/setup.sh first", promtool.display());
    let promtool = promtool.to_string_lossy();
    let output = scene.client().task(&[&promtool, "check", "metrics"]).input(metrics.0.as_bytes()).run();
    assert!(output.ok() && output.text().trim().is_empty(), "promtool says:\n{}\n{}", output.text(), metrics.0);
}

/// The metrics are there before anything has happened, at zero, so that rules and graphs can rely on them.
#[test]
fn metrics_are_there_from_the_start() {
    let scene = Scene::new(Topology::Both, ServerKind::Vsftpd);
    for gateway in &scene.lab.gateways {
        let metrics = Metrics::read(&gateway.host);
        for name in [
            "ftpgate_sessions_active",
            "ftpgate_sessions_total",
            "ftpgate_sessions_ended_total",
            "ftpgate_commands_total",
            "ftpgate_pinholes_opened_total",
            "ftpgate_pinholes_active",
            "ftpgate_refusals_total",
            "ftpgate_pinhole_open_seconds_count",
            "ftpgate_firewall_errors_total",
            "ftpgate_build_info",
        ] {
            assert!(metrics.has(name, &[]), "{name} is missing in:\n{}", metrics.0);
        }
        check_with_promtool(&scene, &metrics);
    }
}

#[test]
fn json_logs_carry_the_session_and_never_a_password() {
    let mut scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| {
        config.with("log", "{ level: trace, format: json }")
    });
    some_work(&scene);
    // A login that fails, and a password where none belongs.
    let mut control = Control::connect(scene.client(), scene.ftp(Family::V4));
    control.expect(220);
    control.ask("USER somebody");
    control.ask(&format!("PASS {PASSWORD}"));
    control.ask(&format!("ACCT {PASSWORD}"));
    control.ask(&format!("pass  {PASSWORD}"));
    control.ask(&format!("XPAS {PASSWORD}"));
    drop(control);
    wait_for("the session to be over", Duration::from_secs(5), || {
        (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
    });
    let lines = scene.ftpgate().daemon.log();
    assert!(!lines.join("\n").contains(PASSWORD), "a password is on the log:\n{}", lines.join("\n"));
    let mut of_sessions = 0;
    for line in &lines {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        let text = line.to_lowercase();
        if ["session opened", "session ended", "pinhole opened", "pinhole closed", "refused"]
            .iter()
            .any(|w| text.contains(w))
        {
            assert!(has_key(&entry, "session"), "no session id: {line}");
            of_sessions += 1;
        }
    }
    assert!(
        of_sessions >= 12,
        "three sessions, four pinholes, one refusal: {of_sessions} lines in\n{}",
        lines.join("\n")
    );
}

/// Whether an object has a key, or an object within it.
fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map.contains_key(key) || map.values().any(|inner| has_key(inner, key)),
        _ => false,
    }
}

#[test]
fn text_logs_carry_the_session_and_never_a_password() {
    let mut scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| {
        config.with("log", "{ level: trace, format: text }")
    });
    some_work(&scene);
    let log = scene.ftpgate().log();
    assert!(!log.contains(PASSWORD), "a password is on the log:\n{log}");
    assert!(log.lines().filter(|line| line.contains("session=")).count() >= 8, "{log}");
}
