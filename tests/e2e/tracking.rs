//! Data connections as ftpgate follows them: one record for each transfer, with what it was, how it went, and how much it moved.
//!
//! Lives here: the log's event "transfer", the transfer log, the metrics of both, without and with counting by the kernel, and
//! outcomes. Not here: what becomes of a transfer whose control connection ends (`control_close.rs`).

use std::io::Read;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::client::everything::everything;
use crate::lab::client::{Client, Mode, combinations};
use crate::lab::control::data_connection;
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::ftpgate::Metrics;
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{EMPTY, LARGE, Server, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, project, wait_for};

const SIZE: u64 = MIB as u64;

/// With JSON on the log, and a kernel that counts or does not.
fn scene(topology: Topology, kind: ServerKind, counts: bool, log: &str, data: &str) -> Scene {
    let lab = Lab::new(topology);
    for gateway in &lab.gateways {
        gateway.host.sysctl("net/netfilter/nf_conntrack_acct", if counts { "1" } else { "0" });
    }
    let server = Server::start(kind, &lab.server);
    let ftpgates = start_all(&lab, |config| {
        let config = config.with("log", &format!("{{ level: debug, format: json{log} }}"));
        if data.is_empty() { config } else { config.with("data", data) }
    });
    Scene { ftpgates, server, lab }
}

/// One that counts.
fn counting(topology: Topology, kind: ServerKind) -> Scene {
    scene(topology, kind, true, "", "")
}

/// Not a byte less than the size; retransmissions are counted as well, and a machine with more to do than it can has some, of 64 KiB each.
fn is_size(bytes: &Value, size: u64) -> bool {
    bytes.as_u64().is_some_and(|bytes| about(bytes, size))
}

fn about(bytes: u64, size: u64) -> bool {
    (size..=size + size / 4).contains(&bytes)
}

/// What curl does in `everything`: command, path, direction, size (`None`: not known here).
const WORK: [(&str, &str, &str, Option<u64>); 5] = [
    ("LIST", "", "listing", None),
    ("RETR", LARGE, "download", Some(SIZE)),
    ("RETR", EMPTY, "download", Some(0)),
    ("STOR", "stored.bin", "upload", Some(SIZE)),
    ("STOR", "stored-empty.bin", "upload", Some(0)),
];

fn every_transfer(topology: Topology, kind: ServerKind) {
    let mut scene = counting(topology, kind);
    let mut done = 0;
    for combination in combinations().into_iter().filter(|combination| combination.client == Client::Curl) {
        let (mode, family) = (combination.mode, combination.family);
        everything(combination, scene.client(), scene.lab.dialled(family), &scene.server)
            .unwrap_or_else(|error| panic!("{combination:?}: {error}"));
        let events = scene.ftpgate().wait_for_transfers(WORK.len() * (done + 1)).split_off(WORK.len() * done);
        for (event, (command, path, direction, size)) in events.iter().zip(WORK) {
            let texts = [
                ("command", command),
                ("path", path),
                ("direction", direction),
                ("outcome", "complete"),
                ("mode", mode.label()),
                ("user", scene.server.user()),
                ("client", &scene.lab.client_address(family).to_string()),
                ("server", &server_address(&scene, family)),
            ];
            for (key, value) in texts {
                assert_eq!(event[key], value, "{key} of {combination:?} in {event}");
            }
            assert_eq!(event["reply"], 226, "{combination:?}: {event}");
            let bytes = &event["bytes"];
            let fits = size.map_or_else(|| bytes.as_u64() > Some(100), |size| is_size(bytes, size));
            assert!(fits, "{combination:?}: {size:?} bytes were transferred: {event}");
            assert!(event["duration_ms"].as_u64().is_some_and(|took| took < 5000), "{combination:?}: {event}");
            let dialler: std::net::SocketAddr = event["dialler"].as_str().unwrap().parse().unwrap();
            let active = matches!(mode, Mode::Port | Mode::Eprt);
            let expected =
                if active { server_address(&scene, family) } else { scene.lab.client_address(family).to_string() };
            assert_eq!(dialler.ip().to_string(), expected, "{combination:?}: who dialled");
        }
        done += 1;
    }
    assert_eq!(done, 6, "four modes over IPv4, two over IPv6");
    let log = scene.ftpgate().transfers();
    metrics_agree(&scene, &log);
}

/// The server as the gateway knows it.
fn server_address(scene: &Scene, family: Family) -> String {
    match (scene.lab.topology, family) {
        (Topology::Reverse, Family::V4) => "10.20.0.10".to_owned(),
        (Topology::Reverse, Family::V6) => "2001:db8:20::10".to_owned(),
        _ => scene.lab.dialled(family).to_string(),
    }
}

/// Every count of the metrics is the one that the log gives.
fn metrics_agree(scene: &Scene, log: &[Value]) {
    let metrics = scene.metrics();
    let count = |fits: &dyn Fn(&Value) -> bool| log.iter().filter(|event| fits(event)).count() as f64;
    for direction in ["download", "upload", "listing"] {
        let of_direction = |event: &Value| event["direction"] == direction;
        for outcome in ["complete", "failed", "control_closed", "idle"] {
            let labels = [("direction", direction), ("outcome", outcome)];
            let expected = count(&|event| of_direction(event) && event["outcome"] == outcome);
            assert!(metrics.has("ftpgate_transfers_total", &labels), "{labels:?} is missing in\n{}", metrics.0);
            assert_eq!(metrics.sum("ftpgate_transfers_total", &labels), expected, "{labels:?} in\n{}", metrics.0);
        }
        let bytes: u64 =
            log.iter().filter(|event| of_direction(event)).filter_map(|event| event["bytes"].as_u64()).sum();
        let counted = metrics.sum("ftpgate_transfer_bytes_total", &[("direction", direction)]);
        assert_eq!(counted, bytes as f64, "bytes, {direction}");
    }
    for mode in Mode::ALL {
        let expected = count(&|event| event["mode"] == mode.label());
        let used = metrics.sum("ftpgate_pinholes_used_total", &[("mode", mode.label())]);
        assert_eq!(used, expected, "pinholes used, {}", mode.label());
    }
    let all = count(&|_| true);
    assert_eq!(metrics.sum("ftpgate_transfer_duration_seconds_count", &[]), all);
    assert_eq!(metrics.sum("ftpgate_pinhole_wait_seconds_count", &[]), all);
    let longest = metrics.sum("ftpgate_pinhole_wait_seconds_sum", &[]) / all.max(1.0);
    assert!(longest < 1.0, "on one machine a data connection comes at once: {longest} s on average");
    check_with_promtool(scene, &metrics);
}

fn check_with_promtool(scene: &Scene, metrics: &Metrics) {
    let promtool = project("target/lab/root/usr/bin/promtool");
    let output =
        scene.client().task(&[&promtool.to_string_lossy(), "check", "metrics"]).input(metrics.0.as_bytes()).run();
    assert!(output.ok() && output.text().trim().is_empty(), "promtool says:\n{}", output.text());
}

#[test]
fn every_transfer_is_recorded_once_in_forward_mode() {
    every_transfer(Topology::Forward, ServerKind::Vsftpd);
}

#[test]
fn every_transfer_is_recorded_once_in_reverse_mode() {
    every_transfer(Topology::Reverse, ServerKind::Proftpd);
}

/// A listing's bytes are those that the client was sent.
#[test]
fn the_bytes_of_a_listing_are_counted() {
    let mut scene = counting(Topology::Forward, ServerKind::Vsftpd);
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let mut control = scene.login(family);
        let listing = control.download(scene.client(), family, "LIST pub/..");
        let events = scene.ftpgate().wait_for_transfers(number + 1);
        let event = &events[number];
        assert!(listing.len() > 100 && is_size(&event["bytes"], listing.len() as u64), "{} in {event}", listing.len());
        assert_eq!((&event["path"], &event["direction"]), (&Value::from("pub/.."), &Value::from("listing")));
    }
}

#[test]
fn without_accounting_transfers_are_recorded_without_bytes() {
    let mut scene = scene(Topology::Forward, ServerKind::Vsftpd, false, "", "");
    let warned = scene.ftpgate().log().lines().any(|line| line.contains("WARN") && line.contains("nf_conntrack_acct"));
    assert!(warned, "a warning that names the switch is missing:\n{}", scene.ftpgate().log());
    let mut control = scene.login(Family::V4);
    control.download(scene.client(), Family::V4, &format!("RETR {LARGE}"));
    let events = scene.ftpgate().wait_for_transfers(1);
    assert!(events[0].get("bytes").is_none_or(Value::is_null), "{}", events[0]);
    assert_eq!(events[0]["outcome"], "complete");
    metrics_agree(&scene, &events);
}

#[test]
fn accounting_is_switched_on_when_asked() {
    let mut scene = scene(Topology::Forward, ServerKind::Vsftpd, false, "", "{ accounting: enable }");
    assert!(!scene.ftpgate().log().contains("nf_conntrack_acct is off"), "{}", scene.ftpgate().log());
    let mut control = scene.login(Family::V6);
    control.download(scene.client(), Family::V6, &format!("RETR {LARGE}"));
    let events = scene.ftpgate().wait_for_transfers(1);
    assert!(is_size(&events[0]["bytes"], SIZE), "{}", events[0]);
}

/// 550: nothing was transferred. The next one is recorded, so this one would have been.
#[test]
fn a_refused_transfer_leaves_no_record() {
    let mut scene = counting(Topology::Forward, ServerKind::Vsftpd);
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        let data = data_connection(scene.client(), entrance);
        control.must("RETR there/is/no/such.bin", 550);
        drop(data);
        control.download(scene.client(), family, &format!("RETR {LARGE}"));
        let events = scene.ftpgate().wait_for_transfers(number + 1);
        assert_eq!(events[number]["path"], LARGE);
    }
}

/// RFC 959 §4.1.3: Telnet IP, Synch, ABOR, and the server says 426.
#[test]
fn an_aborted_transfer_is_recorded_as_failed() {
    let mut scene = counting(Topology::Forward, ServerKind::Vsftpd);
    scene.server.add("huge.bin", &noise(3, 64 * MIB));
    let mut control = scene.login(Family::V4);
    let entrance = control.passive(Family::V4);
    let mut data = data_connection(scene.client(), entrance);
    control.must("RETR huge.bin", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    control.send(b"\xff\xf4");
    control.send_urgent(b"\xff\xf2");
    control.send(b"ABOR\r\n");
    std::io::copy(&mut data, &mut std::io::sink()).unwrap_or_default();
    drop(data);
    control.expect(426);
    control.expect(226);
    let events = scene.ftpgate().wait_for_transfers(1);
    let event = &events[0];
    assert_eq!((&event["outcome"], &event["reply"]), (&Value::from("failed"), &Value::from(426)), "{event}");
    assert!(event["bytes"].as_u64().is_some_and(|bytes| (1000..64 * SIZE).contains(&bytes)), "{event}");
    metrics_agree(&scene, &events);
}

#[test]
fn a_killed_client_leaves_a_record() {
    let mut scene = counting(Topology::Forward, ServerKind::Vsftpd);
    scene.server.add("huge.bin", &noise(3, 64 * MIB));
    let (folder, login) = (Folder::new(), format!("{}:x", scene.server.user()));
    let down = folder.file("down.bin");
    let url = format!("ftp://{}/huge.bin", scene.lab.dialled(Family::V4));
    let arguments = ["curl", "-sS", "--limit-rate", "1m", "--user", &login, "-o", &down.to_string_lossy(), &url];
    let mut curl = scene.client().spawn(&arguments);
    wait_for("data to flow", Duration::from_secs(5), || {
        std::fs::metadata(&down).is_ok_and(|data| data.len() > 0).then_some(())
    });
    curl.kill();
    let events = scene.ftpgate().wait_for_transfers(1);
    let event = &events[0];
    // The kernel closes both of its connections; a quick server says 426 before ftpgate has seen the end of the other, or after.
    let seen = (event["outcome"].as_str().unwrap(), event["reply"].as_u64());
    assert!(
        [("control_closed", None), ("control_closed", Some(426)), ("failed", Some(426))].contains(&seen),
        "{event}"
    );
    assert!(event["bytes"].as_u64().is_some_and(|bytes| (1..64 * SIZE).contains(&bytes)), "{event}");
    metrics_agree(&scene, &events);
}

/// A line of xferlog(5), field by field.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    seconds: u64,
    host: std::net::IpAddr,
    size: u64,
    name: String,
    kind: char,
    direction: char,
    access: char,
    user: String,
    status: char,
}

/// Strictly as the manual page has it; the name must be one word.
fn parse(line: &str) -> Line {
    let wrong = |what: &str| -> ! { panic!("{what} in {line:?}") };
    // `DDD MMM dd hh:mm:ss YYYY`, always 24 characters.
    let (time, rest) = line.split_at_checked(24).unwrap_or_else(|| wrong("too short"));
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
    if !days.contains(&&time[..3]) || ![" 00 00:00:00 0000", "  0 00:00:00 0000"].contains(&&shape[7..]) {
        wrong("the time");
    }
    let fields: Vec<&str> = rest.strip_prefix(' ').unwrap_or_else(|| wrong("the time")).split(' ').collect();
    let [seconds, host, size, name, kind, action, direction, access, user, service, method, id, status] = fields[..]
    else {
        wrong("not 13 fields after the time")
    };
    if (action, service, method, id) != ("_", "ftp", "0", "*") {
        wrong("special action, service, authentication");
    }
    let letter = |text: &str, of: &str| match text.chars().next() {
        Some(first) if text.len() == 1 && of.contains(first) => first,
        _ => wrong(of),
    };
    Line {
        seconds: seconds.parse().unwrap_or_else(|_| wrong("seconds")),
        host: host.parse().unwrap_or_else(|_| wrong("host")),
        size: size.parse().unwrap_or_else(|_| wrong("size")),
        name: name.to_owned(),
        kind: letter(kind, "ab"),
        direction: letter(direction, "io"),
        access: letter(access, "agr"),
        user: user.to_owned(),
        status: letter(status, "ci"),
    }
}

/// vsftpd writes the same format: the two logs say the same, but for the address that each of them sees, and what vsftpd
/// writes for an anonymous user (the password). ProFTPD's analyser reads ftpgate's.
#[test]
fn the_transfer_log_is_xferlog() {
    let folder = Folder::new();
    let path = folder.file("xferlog");
    let mut scene = scene(Topology::Forward, ServerKind::Vsftpd, true, &format!(", transfers: {}", path.display()), "");
    scene.server.add("a name  with blanks.bin", &noise(8, 5000));
    for family in Family::ALL {
        let mut control = scene.login(family);
        let host = scene.client();
        control.download(host, family, "LIST");
        control.download(host, family, &format!("RETR /{LARGE}"));
        control.download(host, family, "RETR /a name  with blanks.bin");
        control.upload(host, family, "STOR /pub/stored.bin", &noise(2, 70_000));
        control.upload(host, family, "APPE /pub/stored.bin", &noise(2, 30_000));
        control.must("TYPE A", 200);
        control.download(host, family, &format!("RETR /{EMPTY}"));
    }
    scene.ftpgate().wait_for_transfers(12);
    wait_for("ten lines", Duration::from_secs(5), || {
        let whole = std::fs::read_to_string(&path).is_ok_and(|text| text.lines().count() == 10 && text.ends_with('\n'));
        whole.then_some(())
    });
    let ours: Vec<Line> = std::fs::read_to_string(&path).unwrap().lines().map(parse).collect();
    let theirs: Vec<Line> = scene.server.transfer_log().iter().map(|line| parse(line)).collect();
    assert_eq!((ours.len(), theirs.len()), (10, 10), "listings are in neither: {ours:#?} {theirs:#?}");
    // Each is written once its last packets have passed, which may be after the next one's.
    let (mut ours, mut theirs): (Vec<_>, Vec<_>) =
        (ours.into_iter().collect(), theirs.into_iter().enumerate().collect());
    ours.sort_by_key(|line| (line.host.is_ipv6(), line.name.clone(), line.direction, line.size));
    theirs.sort_by_key(|(number, line)| (*number >= 5, line.name.clone(), line.direction, line.size));
    for (number, (our, (_, their))) in ours.iter().zip(&theirs).enumerate() {
        let family = if number < 5 { Family::V4 } else { Family::V6 };
        assert_eq!(our.host, scene.lab.client_address(family));
        assert_eq!(our.user, "anonymous");
        assert!(about(our.size, their.size), "{our:?} {their:?}");
        assert!(our.seconds.abs_diff(their.seconds) <= 1, "{our:?} {their:?}");
        let rest = |line: &Line| (line.name.clone(), line.kind, line.direction, line.access, line.status);
        assert_eq!(rest(our), rest(their), "{our:?} {their:?}");
    }
    let bytes: u64 = ours.iter().map(|line| line.size).sum();
    let analyser = project("target/lab/root/usr/sbin/ftpstats").to_string_lossy().into_owned();
    let report = scene.client().run(&["perl", &analyser, "-a", "-r", "-f", &path.to_string_lossy()]).expect_ok();
    let figure = |title: &str| {
        let line = report.lines().find(|line| line.starts_with(title)).unwrap_or_else(|| panic!("{title}:\n{report}"));
        line.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(figure("Files Transmitted During"), 10, "{report}");
    assert_eq!(figure("Bytes Transmitted During"), bytes, "{report}");
}

/// As logrotate does it: rename, SIGHUP; no line is lost, and none is in both.
#[test]
fn the_transfer_log_can_be_rotated() {
    let folder = Folder::new();
    let (path, rotated) = (folder.file("xferlog"), folder.file("xferlog.1"));
    let mut scene =
        scene(Topology::Forward, ServerKind::Vsftpd, false, &format!(", transfers: {}", path.display()), "");
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).map_or(0, |text| text.lines().count());
    let mut control = scene.login(Family::V4);
    let mut fetch = |scene: &mut Scene, count| {
        control.download(scene.client(), Family::V4, &format!("RETR {LARGE}"));
        scene.ftpgate().wait_for_transfers(count);
    };
    fetch(&mut scene, 1);
    std::fs::rename(&path, &rotated).unwrap();
    // Until the signal it goes on in the old file.
    fetch(&mut scene, 2);
    wait_for("the second line", Duration::from_secs(5), || (lines(&rotated) == 2).then_some(()));
    scene.ftpgate().signal(Signal::SIGHUP);
    wait_for("the new file", Duration::from_secs(5), || path.exists().then_some(()));
    fetch(&mut scene, 3);
    wait_for("the third line", Duration::from_secs(5), || (lines(&path) == 1).then_some(()));
    assert_eq!(lines(&rotated), 2);
}
