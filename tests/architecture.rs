//! The rules of the house: which layer may import what, where `unsafe` and clocks are, that every file opens with its header and
//! stays short enough to be read.
//!
//! `LAYERS` is the table; a new module gets a row, a new dependency an entry in the rows that may use it. Not here: how source
//! text is read (`harness/source.rs`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)] // test helpers may

#[path = "harness/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::Source;

/// One top-level module.
struct Layer {
    name: &'static str,
    /// The modules of this crate that it may import, besides itself.
    modules: &'static [&'static str],
    /// The crates that it may use.
    crates: &'static [&'static str],
}

const fn layer(name: &'static str, modules: &'static [&'static str], crates: &'static [&'static str]) -> Layer {
    Layer { name, modules, crates }
}

/// From the bottom up.
const LAYERS: &[Layer] = &[
    layer("protocol", &[], &["memchr", "serde"]),
    layer("pinhole", &[], &["serde"]),
    // For what a host name is.
    layer("policy", &["protocol"], &["ipnet"]),
    layer("sys", &[], &["nix", "libc", "socket2"]),
    layer("session", &["protocol", "pinhole"], &["serde"]),
    // For whose TLS it is.
    layer("tls", &["pinhole"], &["rustls", "rustls_pki_types", "thiserror", "tracing"]),
    layer("firewall", &["pinhole", "sys"], &["nix", "socket2", "tracing", "serde"]),
    // For the label tables of its metrics: the closed sets of words that it counts by.
    layer(
        "observe",
        &["pinhole", "session", "firewall"],
        &["tracing", "tracing_subscriber", "metrics", "metrics_exporter_prometheus", "serde_json"],
    ),
    layer("config", &["pinhole", "policy", "protocol"], &["serde", "serde_yaml", "serde_json", "ipnet", "thiserror"]),
    layer(
        "proxy",
        // `protocol` for the PROXY header, which is before any session.
        &["session", "pinhole", "policy", "protocol", "firewall", "observe", "sys", "tls"],
        &["tokio", "tracing", "socket2", "thiserror", "ipnet", "tokio_rustls"],
    ),
    layer(
        "daemon",
        &["config", "proxy", "observe", "firewall", "session", "pinhole", "policy", "protocol", "sys", "tls"],
        &["tokio", "tracing", "anyhow", "sd_notify", "nix", "getrandom"],
    ),
    layer(
        "cli",
        &["daemon", "config", "proxy", "observe", "firewall", "session", "pinhole", "policy", "protocol", "sys"],
        &["clap", "anyhow", "thiserror", "serde", "serde_json", "tokio", "tracing"],
    ),
    layer("main", &["cli"], &[]),
    layer(
        "lib",
        &[
            "cli", "config", "daemon", "firewall", "observe", "pinhole", "policy", "protocol", "proxy", "session",
            "sys", "tls",
        ],
        &[],
    ),
];

/// Single files that may use a crate which the rest of their module may not.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("src/firewall/worker.rs", "tokio"), // the channel between sessions and the firewall's thread
    ("src/firewall/tracking/mod.rs", "tokio"), // the channel from a tracker to sessions
    ("src/firewall/tracking/registry.rs", "tokio"), // its sending end
    ("src/firewall/worker/lease.rs", "tokio"), // the answer to who asked for a pinhole
    ("src/firewall/relay/mod.rs", "tokio"), // the relay's own runtime: a task for each connection that it copies
    ("src/firewall/relay/book.rs", "tokio"), // its sockets and the handles of its tasks
    ("src/firewall/relay/door.rs", "tokio"), // accepting
    ("src/firewall/relay/copy.rs", "tokio"), // copying
    ("src/firewall/relay/secured.rs", "tokio"), // copying through TLS
    ("src/firewall/relay/joint.rs", "tokio"), // dialling both ends; its tasks
    ("src/observe/http.rs", "tokio"),    // the responder's sockets
    ("src/daemon/keeper/protocol.rs", "serde"), // what daemon and keeper say to each other
    ("src/daemon/keeper/protocol.rs", "serde_json"),
];

/// The pure modules, and the words that they must not know.
const PURE: &[&str] = &["protocol", "pinhole", "policy", "session"];
const IMPURE: &[&str] = &[
    "Instant",
    "SystemTime",
    "tokio",
    "tracing",
    "rand",
    "getrandom",
    "metrics",
    "thread",
    "process",
    "env",
    "fs",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "println",
    "eprintln",
    "HashMap",
    "HashSet",
];

const LONGEST: usize = 500;

/// A rule that broke, where, and what to do.
fn check(path: &str, text: &str) -> Vec<String> {
    let mut broken = Vec::new();
    let mut report = |line: usize, what: String| broken.push(format!("{path}:{line}: {what}"));
    let header = text.lines().take_while(|line| line.starts_with("//")).count();
    let wanted = if path.starts_with("src/") && !source::is_test_file(path) { 2 } else { 1 };
    if header < wanted || !text.starts_with("//!") {
        report(
            1,
            format!(
                "no header: open the file with {wanted} or more lines of //! that say what lives here and what does not"
            ),
        );
    }
    let lines = text.lines().count();
    if lines > LONGEST {
        report(lines, format!("{lines} lines, {LONGEST} are the most: split it by concern"));
    }
    if path.starts_with("src/") {
        check_layer(path, &Source::new(path, text), &mut report);
    }
    broken
}

fn check_layer(path: &str, source: &Source, report: &mut dyn FnMut(usize, String)) {
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == source.module) else {
        return report(1, format!("module `{}` has no row in LAYERS of tests/architecture.rs: add one", source.module));
    };
    for (line, module) in source.modules(LAYERS.iter().map(|layer| layer.name)) {
        if module != layer.name && !layer.modules.contains(&&*module) {
            report(
                line,
                format!("`{}` must not import `{module}`: arrows point downward (docs/architecture.md)", layer.name),
            );
        }
    }
    for (line, name, in_tests) in source.crates(&dependencies()) {
        let excepted = EXCEPTIONS.contains(&(path, &*name));
        if !in_tests && !excepted && !layer.crates.contains(&&*name) {
            report(
                line,
                format!("`{}` must not use the crate `{name}`: do it in another layer, or give it a row", layer.name),
            );
        }
    }
    for (line, word, in_tests) in source.words() {
        if word == "unsafe" && layer.name != "sys" {
            report(line, "`unsafe` lives in src/sys only: write a safe function there".to_owned());
        }
        if PURE.contains(&layer.name) && !in_tests && IMPURE.contains(&&*word) {
            report(
                line,
                format!(
                    "`{}` is pure and must not know `{word}`: take it as a value or hand it out as an effect",
                    layer.name
                ),
            );
        }
    }
}

/// The names of all dependencies, as paths write them.
fn dependencies() -> Vec<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut inside = false;
    let mut names = vec!["libc".to_owned(), "rand".to_owned()];
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if inside && let Some((name, _)) = line.split_once(" = ") {
            names.push(name.trim().replace('-', "_"));
        }
    }
    assert!(names.len() > 10, "Cargo.toml was not understood: {names:?}");
    names
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file below `folder`, by its path from the root, with its text.
fn files(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    rust_files(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "no Rust file below {folder}");
    let name = |path: &Path| path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_file_keeps_the_rules_of_the_house() {
    let all: Vec<(String, String)> = ["src", "tests"].into_iter().flat_map(files).collect();
    let broken: Vec<String> = all.iter().flat_map(|(path, text)| check(path, text)).collect();
    assert!(broken.is_empty(), "{} broken rules:\n{}\n", broken.len(), broken.join("\n"));
}

#[test]
fn every_row_of_the_table_is_a_module_and_its_arrows_point_downward() {
    for (at, layer) in LAYERS.iter().enumerate() {
        let (file, folder) = (format!("src/{}.rs", layer.name), format!("src/{}/mod.rs", layer.name));
        assert!(
            root().join(file).exists() || root().join(folder).exists(),
            "no module `{}`: remove its row",
            layer.name
        );
        for module in layer.modules {
            let below = LAYERS.iter().position(|other| other.name == *module);
            assert!(
                below.is_some_and(|below| below < at),
                "`{}` stands above `{module}`, or it is no module",
                layer.name
            );
        }
    }
}

#[test]
fn a_planted_violation_is_found_with_its_line() {
    let header = "//! One.\n//! Two.\n";
    for (path, code, expected) in [
        (
            "src/session/mod.rs",
            "use crate::firewall::Backend;\n",
            "src/session/mod.rs:3: `session` must not import `firewall`",
        ),
        (
            "src/session/mod.rs",
            "use crate::{\n    pinhole,\n    firewall::Backend,\n};\n",
            "src/session/mod.rs:5: `session` must not",
        ),
        ("src/session/a.rs", "use super::super::proxy;\n", "src/session/a.rs:3: `session` must not import `proxy`"),
        (
            "src/protocol/line.rs",
            "fn f() { crate::session::x() }\n",
            "src/protocol/line.rs:3: `protocol` must not import `session`",
        ),
        ("src/cli/mod.rs", "\nuse ftpgate::main;\nuse nix::libc;\n", "src/cli/mod.rs:4: `cli` must not import `main`"),
        (
            "src/protocol/line.rs",
            "fn f() { tracing::info!(\"x\") }\n",
            "src/protocol/line.rs:3: `protocol` must not use the crate",
        ),
        (
            "src/pinhole.rs",
            "use std::time::Instant;\n",
            "src/pinhole.rs:3: `pinhole` is pure and must not know `Instant`",
        ),
        (
            "src/firewall/mod.rs",
            "use tokio::sync;\n",
            "src/firewall/mod.rs:3: `firewall` must not use the crate `tokio`",
        ),
        ("src/proxy/mod.rs", "fn f() { unsafe { g() } }\n", "src/proxy/mod.rs:3: `unsafe` lives in src/sys only"),
        ("src/new/mod.rs", "", "src/new/mod.rs:1: module `new` has no row"),
    ] {
        let broken = check(path, &format!("{header}{code}"));
        assert!(
            broken.iter().any(|found| found.starts_with(expected)),
            "for {code:?} expected {expected:?}, got {broken:?}"
        );
    }
    assert!(check("src/pinhole.rs", "use std::fmt;\n")[0].starts_with("src/pinhole.rs:1: no header"));
    assert!(
        check("tests/x.rs", &format!("{header}{}", "\n".repeat(LONGEST)))[0].contains("502 lines, 500 are the most")
    );
}

#[test]
fn what_is_no_violation_is_not_taken_for_one() {
    for (path, code) in [
        ("src/firewall/worker.rs", "use tokio::sync::mpsc;\n"),
        (
            "src/session/mod.rs",
            "// crate::firewall, tokio::x, unsafe\nconst X: &str = \"crate::firewall tokio::x unsafe\";\n",
        ),
        ("src/session/mod.rs", "/* Instant /* tracing */ fs */ const C: char = '\"'; const S: &str = r#\"\"fs\"\"#;\n"),
        ("src/proxy/mod.rs", "use crate::observe::metrics;\nfn f() { metrics::count() }\n"),
        (
            "src/session/mod.rs",
            "#[cfg(test)]\nmod tests {\n    use proptest::prelude::*;\n    use std::collections::HashMap;\n}\n",
        ),
        ("src/pinhole.rs", "fn f<'a>(x: &'a str) -> &'a str { x }\n"),
    ] {
        let broken = check(path, &format!("//! One.\n//! Two.\n{code}"));
        assert!(broken.is_empty(), "for {code:?} got {broken:?}");
    }
}
