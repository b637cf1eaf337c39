//! Tests of the metrics: what is there from the start, what counts where, and that Prometheus' own checker has no complaint.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;

fn fresh() -> Metrics {
    Metrics::new(&["outbound", "dmz"], &["RETR", "PASV", "ABOR"])
}

/// The value of a series.
fn value(metrics: &Metrics, series: &str) -> f64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[test]
fn every_series_with_a_closed_label_set_is_there_from_the_start() {
    let metrics = fresh();
    for listener in ["outbound", "dmz"] {
        assert_eq!(value(&metrics, &format!("ftpgate_sessions_total{{listener=\"{listener}\"}}")), 0.0);
        assert_eq!(value(&metrics, &format!("ftpgate_sessions_active{{listener=\"{listener}\"}}")), 0.0);
    }
    for reason in Refusal::ALL {
        assert_eq!(value(&metrics, &format!("ftpgate_refusals_total{{reason=\"{}\"}}", reason.as_str())), 0.0);
    }
    for reason in EndReason::ALL {
        assert_eq!(value(&metrics, &format!("ftpgate_sessions_ended_total{{reason=\"{}\"}}", reason.as_str())), 0.0);
    }
    for kind in ErrorKind::ALL {
        assert_eq!(value(&metrics, &format!("ftpgate_firewall_errors_total{{kind=\"{}\"}}", kind.as_str())), 0.0);
    }
    for reason in Rejection::ALL {
        let series = format!("ftpgate_connections_rejected_total{{reason=\"{}\"}}", reason.as_str());
        assert_eq!(value(&metrics, &series), 0.0);
    }
    for mode in Announcement::ALL.map(Announcement::as_str) {
        assert_eq!(value(&metrics, &format!("ftpgate_pinholes_expired_total{{mode=\"{mode}\"}}")), 0.0);
        for family in ["ipv4", "ipv6"] {
            let series = format!("ftpgate_pinholes_opened_total{{mode=\"{mode}\",family=\"{family}\"}}");
            assert_eq!(value(&metrics, &series), 0.0);
        }
    }
    for command in ["RETR", "PASV", "ABOR", "other"] {
        assert_eq!(value(&metrics, &format!("ftpgate_commands_total{{command=\"{command}\"}}")), 0.0);
    }
    assert_eq!(value(&metrics, "ftpgate_pinhole_open_seconds_count"), 0.0);
    assert_eq!(value(&metrics, "ftpgate_build_info{version=\"0.1.0\"}"), 1.0);
    assert!(value(&metrics, "ftpgate_start_time_seconds") > 1.7e9);
}

#[test]
fn what_happens_is_counted_where_it_belongs() {
    let metrics = fresh();
    metrics.session_started("dmz");
    metrics.session_started("dmz");
    metrics.session_ended("dmz", "client_closed", Duration::from_secs(5));
    assert_eq!(value(&metrics, "ftpgate_sessions_total{listener=\"dmz\"}"), 2.0);
    assert_eq!(value(&metrics, "ftpgate_sessions_active{listener=\"dmz\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_sessions_total{listener=\"outbound\"}"), 0.0);
    assert_eq!(value(&metrics, "ftpgate_sessions_ended_total{reason=\"client_closed\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_session_duration_seconds_bucket{le=\"10\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_session_duration_seconds_bucket{le=\"1\"}"), 0.0);

    metrics.pinhole_opened(Announcement::Epsv, true, Duration::from_micros(7));
    metrics.pinhole_opened(Announcement::Port, false, Duration::from_micros(70));
    metrics.pinhole_closed();
    metrics.pinhole_expired(Announcement::Port);
    assert_eq!(value(&metrics, "ftpgate_pinholes_opened_total{mode=\"epsv\",family=\"ipv6\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_pinholes_opened_total{mode=\"port\",family=\"ipv4\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_pinholes_active"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_pinholes_expired_total{mode=\"port\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_pinhole_open_seconds_bucket{le=\"0.00001\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_pinhole_open_seconds_count"), 2.0);

    metrics.command("RETR");
    metrics.refused("low_port");
    metrics.firewall_error("full");
    metrics.rejected(Rejection::Loop);
    metrics.accept_error();
    assert_eq!(value(&metrics, "ftpgate_commands_total{command=\"RETR\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_refusals_total{reason=\"low_port\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_firewall_errors_total{kind=\"full\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_connections_rejected_total{reason=\"loop\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_accept_errors_total"), 1.0);
}

#[test]
fn no_new_series_can_be_made() {
    let metrics = fresh();
    let before = metrics.render().lines().count();
    metrics.command("XEVIL");
    metrics.refused("something else");
    metrics.session_ended("nowhere", "no such reason", Duration::ZERO);
    assert_eq!(metrics.render().lines().count(), before);
    assert_eq!(value(&metrics, "ftpgate_commands_total{command=\"other\"}"), 1.0);
    assert_eq!(value(&metrics, "ftpgate_sessions_ended_total{reason=\"other\"}"), 1.0);
}

#[test]
fn samples_are_drained_without_a_scrape_or_a_timer() {
    let metrics = fresh();
    for _ in 0..DRAIN_EVERY * 2 + 5 {
        metrics.pinhole_opened(Announcement::Pasv, false, Duration::from_micros(10));
    }
    assert_eq!(metrics.0.undrained.load(Ordering::Relaxed), 5);
    assert_eq!(value(&metrics, "ftpgate_pinhole_open_seconds_count"), f64::from(DRAIN_EVERY * 2 + 5));
}

#[test]
fn clones_and_threads_count_into_the_same_metrics() {
    let metrics = fresh();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let metrics = metrics.clone();
            scope.spawn(move || (0..1000).for_each(|_| metrics.command("PASV")));
        }
    });
    assert_eq!(value(&metrics, "ftpgate_commands_total{command=\"PASV\"}"), 4000.0);
}

#[test]
fn the_output_is_in_order_and_the_same_each_time() {
    let (one, two) = (fresh().render(), fresh().render());
    let without_time = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("ftpgate_start_time_seconds")).map(str::to_owned).collect()
    };
    assert_eq!(without_time(&one), without_time(&two));
    let names: Vec<&str> = one.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(names.is_sorted() && names.len() > 10, "{names:?}");
}

#[test]
fn promtool_has_no_complaint() {
    let promtool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/lab/root/usr/bin/promtool");
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{promtool}: {error}; tests/setup.sh brings it"));
    let metrics = fresh();
    metrics.pinhole_opened(Announcement::Pasv, false, Duration::from_micros(10));
    child.stdin.take().unwrap().write_all(metrics.render().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// The rows of a table of docs/metrics.md, as cells.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let text = include_str!("../../../docs/metrics.md");
    let table = text.split_once(heading).unwrap_or_else(|| panic!("docs/metrics.md has no table {heading}")).1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn the_manual_lists_every_metric_with_type_labels_and_help() {
    let text = fresh().render();
    let mut listed = Vec::new();
    for row in rows("| metric | type | labels | meaning |") {
        // An empty cell of labels is one bar, not " | ".
        let cells: Vec<String> = row.join(" | ").split('|').map(|cell| cell.trim().to_owned()).collect();
        let [name, kind, labels, help] = cells.as_slice() else { panic!("{cells:?}") };
        let name = name.trim_matches('`');
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}: {help}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}: {kind}");
        let series = text.lines().find(|line| line.starts_with(&format!("{name}{{"))).unwrap_or_default();
        let found: Vec<&str> = series.split(['{', ',']).skip(1).filter_map(|label| label.split('=').next()).collect();
        let wanted: Vec<&str> =
            labels.split(", ").map(|label| label.trim_matches('`')).filter(|l| !l.is_empty()).collect();
        assert_eq!(found, wanted, "labels of {name}");
        listed.push(name.to_owned());
    }
    let rendered: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(listed, rendered);
}

#[test]
fn the_manual_lists_every_label_value() {
    let values = |key: &str| -> Vec<String> {
        let row = rows("| label | values |").into_iter().find(|row| row[0] == key);
        let row = row.unwrap_or_else(|| panic!("docs/metrics.md has no row {key}"));
        row[1].split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    assert_eq!(values("`mode`"), Announcement::ALL.map(Announcement::as_str));
    assert_eq!(values("`kind` of `ftpgate_firewall_errors_total`"), ErrorKind::ALL.map(ErrorKind::as_str));
    let refused = Incident::REFUSED.map(Incident::as_str);
    assert_eq!(values("`reason` of `ftpgate_data_connections_refused_total`"), refused);
    assert_eq!(values("`reason` of `ftpgate_connections_rejected_total`"), Rejection::ALL.map(Rejection::as_str));
    let refusals: Vec<&str> = Refusal::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(values("`reason` of `ftpgate_refusals_total`"), refusals);
    let ends: Vec<&str> = EndReason::ALL.iter().map(|reason| reason.as_str()).chain([OTHER]).collect();
    assert_eq!(values("`reason` of `ftpgate_sessions_ended_total`"), ends);
}
