//! The binary as a person or a script meets it: help, exit codes, what each subcommand prints.
//!
//! Needs root (or CAP_SYS_ADMIN and CAP_NET_ADMIN) and `nft` for the tests that load printed rules in a network namespace of
//! their own; without them these fail.

#![allow(clippy::unwrap_used)] // clippy exempts only functions marked #[test], not their helpers

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Configurations that exercise every kind of rule, and one of each ownership.
const CONFIGS: [(&str, &str); 6] = [
    ("forward", "listeners: [ { name: out, listen: [\"0.0.0.0:8021\", \"[::]:8021\"] } ]\n"),
    (
        "reverse",
        "listeners: [ { name: dmz, listen: [\"10.0.0.1:8022\", \"[::]:8022\"], mode: reverse, \
         server: [\"192.0.2.10:21\", \"[2001:db8::10]:21\"], external_address: [203.0.113.1, \"2001:db8:1::1\"] } ]\n\
         metrics: { listen: \"10.0.0.1:9821\" }\n",
    ),
    (
        "both",
        "listeners:\n  - { name: out, listen: [\"127.0.0.1:8021\", \"[::1]:8021\"], source: client }\n  \
         - { name: dmz, listen: \"0.0.0.0:8022\", mode: reverse, server: 192.0.2.10 }\n  \
         - { name: own, listen: [\"203.0.113.1:2121\", \"[::]:2121\"], mode: reverse, capture: direct, server: 192.0.2.10 }\n",
    ),
    (
        "login",
        "listeners: [ { name: proxy, listen: [\"0.0.0.0:21\", \"[2001:db8::1]:2121\"], mode: login } ]\n\
         policy: { servers: [ 192.0.2.0/24, \"[2001:db8:2::/48]:2000-2999\", \"198.51.100.7:*\", ftp.example.net ] }\n",
    ),
    (
        "transparent",
        "listeners: [ { name: t, listen: [\"127.0.0.1:8021\", \"[::]:8021\"], capture: tproxy, source: client } ]\n\
         firewall: { nftables: { mark: 0x80, mask: 0xc0 } }\n",
    ),
    (
        "sets",
        "listeners:\n  - { name: out, listen: [\"0.0.0.0:8021\", \"[::]:8021\"] }\n  \
         - { name: dmz, listen: \"0.0.0.0:8022\", mode: reverse, capture: tproxy, server: 192.0.2.10 }\n\
         firewall: { nftables: { table: my_gateway, ownership: sets } }\n",
    ),
];

fn ftpgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ftpgate")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ftpgate-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Exit code, and what is said on standard output and standard error.
fn says(arguments: &[&str], code: i32, out: &[&str], err: &[&str]) {
    let output = ftpgate(arguments);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    for part in out {
        assert!(stdout.contains(part), "{part:?} in the output of {arguments:?}:\n{stdout}");
    }
    for part in err {
        assert!(stderr.contains(part), "{part:?} in the errors of {arguments:?}:\n{stderr}");
    }
    if out.is_empty() {
        assert_eq!(stdout, "", "{arguments:?}");
    }
    if err.is_empty() {
        assert_eq!(stderr, "", "{arguments:?}");
    }
}

#[test]
fn help_teaches_and_usage_errors_have_their_code() {
    says(&["--version"], 0, &["ftpgate 0.1.0\n"], &[]);
    says(
        &["--help"],
        0,
        &["pinhole", "64  the command line is wrong", "78  the configuration is wrong", "SIGHUP"],
        &[],
    );
    says(&["-h"], 0, &["run", "check", "rules", "show-config", "Exit codes"], &[]);
    says(
        &["run", "--help"],
        0,
        &["--listen 127.0.0.1:2121 --server ftp.example.net", "/etc/ftpgate/ftpgate.yaml"],
        &[],
    );
    says(&["rules", "--help"], 0, &["ownership: sets", "--inside", "pf-openbsd", "pf-freebsd"], &[]);
    says(&[], 64, &[], &["Usage: ftpgate"]);
    says(&["dance"], 64, &[], &["dance"]);
    says(&["run", "--listen", "127.0.0.1:2121"], 64, &[], &["--server"]);
    says(&["run", "-c", "x", "--listen", "127.0.0.1:1", "--server", "127.0.0.1"], 64, &[], &["cannot be used with"]);
    says(&["run", "--listen", "2121", "--server", "127.0.0.1"], 64, &[], &["command line: --listen: \"2121\""]);
    let unknown = ["run", "--listen", "127.0.0.1:2121", "--server", "no-such-host.invalid"];
    says(&unknown, 1, &[], &["cannot look up \"no-such-host.invalid\"", "write an address"]);
    says(&["rules", "--inside", "a\"b"], 64, &[], &["ip link"]);
}

#[test]
fn configuration_errors_say_where_and_what_to_do() {
    let file = File::new("bad.yaml", "listeners: [ { listen: \"0.0.0.0:8021\" } ]\nlimits:\n  sesions: 5\n");
    let place = format!("ftpgate: {}:3:3: limits.sesions: unknown key", file.path());
    for command in ["run", "check", "rules", "show-config"] {
        says(
            &[command, "-c", file.path()],
            78,
            &[],
            &[&place, "\n 3 |   sesions: 5\n   |   ^\n", "did you mean `sessions`?"],
        );
    }
    says(&["check", "-c", "/nonexistent.yaml"], 78, &[], &["/nonexistent.yaml: cannot be read", "-c FILE"]);
}

#[test]
fn check_without_the_firewall_needs_no_permission() {
    let file = File::new("warn.yaml", &format!("{}timeouts: {{ idle: 1m }}\n", CONFIGS[0].1));
    says(
        &["check", "--no-verify", "-c", file.path()],
        0,
        &["the configuration is valid"],
        &["warning: timeouts.idle is 1m"],
    );
    let file = File::new("fine.yaml", CONFIGS[0].1);
    says(&["check", "--no-verify", "-c", file.path()], 0, &["the configuration is valid"], &[]);
}

#[test]
fn the_effective_configuration_is_a_configuration() {
    for (name, config) in CONFIGS {
        let file = File::new(&format!("show-{name}.yaml"), config);
        let yaml = ftpgate(&["show-config", "-c", file.path()]);
        assert!(yaml.status.success(), "{name}");
        let again = File::new(&format!("again-{name}.yaml"), text(&yaml.stdout));
        let second = ftpgate(&["show-config", "-c", again.path()]);
        assert_eq!(text(&second.stdout), text(&yaml.stdout), "{name}");
        let json = ftpgate(&["show-config", "--json", "-c", file.path()]);
        let object: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!(object["limits"]["pipeline"], 32, "{name}");
    }
}

#[test]
fn printed_rules_load_as_they_are_and_again() {
    for (name, config) in CONFIGS {
        let file = File::new(&format!("rules-{name}.yaml"), config);
        let printed = ftpgate(&["rules", "-c", file.path(), "--inside", "lan0"]);
        assert!(printed.status.success(), "{name}");
        let asked = ftpgate(&["rules", "-c", file.path(), "--inside", "lan0", "--for", "nftables"]);
        assert_eq!(text(&asked.stdout), text(&printed.stdout), "{name}");
        let rules = text(&printed.stdout);
        let loaded = File::new(&format!("rules-{name}.nft"), rules);
        // In a network namespace of its own, which goes with the shell.
        let output = Command::new("unshare")
            .args(["--net", "sh", "-ec", "nft -c -f \"$1\"; nft -f \"$1\"; nft -f \"$1\"; nft list tables", "sh"])
            .arg(loaded.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{name}: needs root and nft.\n{}\n{rules}", text(&output.stderr));
        let table = if name == "sets" { "table inet my_gateway\n" } else { "table inet gateway\n" };
        assert_eq!((text(&output.stdout), text(&output.stderr)), (table, ""), "{name}");
        let bare = rules.lines().filter(|line| line.starts_with("\t\t") && !line.trim_start().starts_with('#')).count();
        let remarks = rules.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(remarks * 2 > bare, "{name}: {remarks} comments for {bare} lines\n{rules}");
    }
}

#[test]
fn printed_rules_for_pf_close_everything_and_open_what_the_configuration_needs() {
    for (name, config) in CONFIGS {
        let file = File::new(&format!("rules-pf-{name}.yaml"), config);
        for (filter, capture) in [("pf-openbsd", " divert-to "), ("pf-freebsd", "rdr pass on ")] {
            let printed = ftpgate(&["rules", "-c", file.path(), "--for", filter, "--inside", "lan0"]);
            assert!(printed.status.success() && printed.stderr.is_empty(), "{name} {filter}");
            let rules = text(&printed.stdout);
            assert!(rules.contains("inside = \"lan0\"\noutside = \"em0\"\n"), "{name} {filter}\n{rules}");
            assert!(
                rules.contains("\nblock all\n") && rules.contains("\nanchor \"ftpgate/*\"\n"),
                "{name} {filter}\n{rules}"
            );
            let families = config.matches(":8021\"").count() + config.matches(":8022\"").count();
            assert_eq!(
                rules.lines().filter(|line| line.contains(capture)).count(),
                families,
                "{name} {filter}\n{rules}"
            );
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let file = File::new("pipe.yaml", CONFIGS[2].1);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpgate"))
        .args(["rules", "-c", file.path()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
