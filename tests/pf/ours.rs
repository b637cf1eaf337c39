//! What this project writes for pf, judged by the grammar and taken by the stand-in for pfctl: the rules of pinholes in every
//! combination, the files of `pf-examples`, what `ftpgate rules` prints.
//!
//! Not here: that these texts are what was meant (their own tests, `tests/examples.rs`, `tests/cli.rs`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fake::Fake;
use crate::grammar::{Dialect, Place, parse};

const BOTH: [Dialect; 2] = [Dialect::FreeBsd, Dialect::OpenBsd];

fn files(folder: &str, dialect: Dialect, extension: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| name(path).starts_with(dialect.as_str()) && path.extension().is_some_and(|e| e == extension));
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_rendered_anchor_is_taken_by_the_grammar() {
    for dialect in BOTH {
        let mut anchors = 0;
        let files = files("src/firewall/pf/rules/golden", dialect, "pf");
        for (path, text) in &files {
            for anchor in text.split("\n\n").filter(|anchor| !anchor.trim().is_empty()) {
                let ruleset = parse(dialect, Place::Anchor(&[]), &format!("{anchor}\n"));
                let ruleset = ruleset.unwrap_or_else(|error| panic!("{}: {error}\n{anchor}", path.display()));
                let rules = anchor.lines().filter(|line| !line.starts_with('#')).count();
                assert_eq!(ruleset.items.len(), rules, "{}\n{anchor}", path.display());
                anchors += 1;
            }
        }
        // Six sets of options; five topologies, four announcements, two families.
        assert_eq!((files.len(), anchors), (6, 6 * 40), "{dialect:?}");
    }
}

/// One anchor of each file, which shows that pfctl's own checks (order, queues, labels) pass too.
#[test]
fn rendered_anchors_can_be_loaded_and_emptied() {
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        let main = match dialect {
            Dialect::FreeBsd => {
                "altq on em0 hfsc bandwidth 1Gb queue { bulk }\nqueue bulk bandwidth 100% hfsc(default)\n"
            }
            Dialect::OpenBsd => "queue bulk on em0 bandwidth 1G default\n",
        };
        fake.load_main(&format!("{main}anchor \"ftpgate/*\"\n"));
        for (path, text) in files("src/firewall/pf/rules/golden", dialect, "pf") {
            for anchor in [text.split("\n\n").next().unwrap(), text.trim_end().rsplit("\n\n").next().unwrap()] {
                for content in [format!("{anchor}\n"), String::new()] {
                    let (exit, _, stderr) = fake.run(&["-q", "-a", "ftpgate/811.3", "-f", "-"], &content);
                    assert_eq!((exit, stderr.as_str()), (0, ""), "{}\n{content}", path.display());
                }
            }
        }
        assert!(fake.anchors().is_empty());
    }
}

#[test]
fn every_example_is_taken_by_the_grammar_and_loaded() {
    for dialect in BOTH {
        let examples = files("pf-examples", dialect, "conf");
        assert_eq!(examples.len(), 4, "{dialect:?}");
        for (path, text) in examples {
            let name = path.display();
            let ruleset = parse(dialect, Place::Main, &text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(ruleset.anchors().contains(&"ftpgate".to_owned()) && !ruleset.block_returns, "{name}");
            let fake = Fake::install(dialect);
            assert_eq!(fake.run(&["-n", "-f", "-"], &text), (0, String::new(), String::new()), "{name}");
            fake.load_main(&text);
        }
    }
}

/// The blocks of a page that are fenced by these words.
fn blocks<'a>(page: &'a str, fence: &str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find("\n```") {
        let (language, body) = rest[start + 4..].split_once('\n').unwrap();
        let end = body.find("\n```").unwrap();
        if language == fence {
            found.push(&body[..=end]);
        }
        rest = &body[end + 4..];
    }
    found
}

#[test]
fn what_the_manual_shows_is_pf_of_at_least_one_system() {
    let context = "inside = \"em1\"\noutside = \"em0\"\ntable <gateway> const { self }\n";
    let queue = "queue line on em0 bandwidth 1M\nqueue ftp parent line bandwidth 1M default\n";
    for (page, text, count) in [
        ("pf.md", include_str!("../../docs/pf.md"), 5),
        ("from-ftp-proxy.md", include_str!("../../docs/from-ftp-proxy.md"), 4),
    ] {
        let rules = blocks(text, "");
        assert_eq!(rules.len(), count, "{page}");
        for rules in rules {
            let free = parse(Dialect::FreeBsd, Place::Main, &format!("{context}{rules}"));
            // Options stand in front of everything on OpenBSD too.
            let (options, rest): (Vec<&str>, Vec<&str>) = rules.lines().partition(|line| line.starts_with("set "));
            let open = format!("{context}{}\n{queue}{}\n", options.join("\n"), rest.join("\n"));
            let open = parse(Dialect::OpenBsd, Place::Main, &open);
            assert!(free.is_ok() || open.is_ok(), "{page}: {free:?}\n{open:?}\n{rules}");
        }
    }
}

#[test]
fn the_page_about_ftp_proxy_names_every_flag_and_its_configurations_are_right() {
    let page = include_str!("../../docs/from-ftp-proxy.md");
    for flag in [
        "6",
        "A",
        "a ADDRESS",
        "b ADDRESS",
        "D LEVEL",
        "d",
        "m SESSIONS",
        "P PORT",
        "p PORT",
        "q QUEUE",
        "R ADDRESS",
        "r",
        "T TAG",
        "t SECONDS",
        "v",
    ] {
        assert!(page.contains(&format!("\n| `-{flag}` |")), "-{flag} is missing");
    }
    let configs: Vec<&str> = blocks(page, "yaml");
    assert_eq!(configs.len(), 3);
    for config in configs {
        let listener =
            if config.contains("listeners:") { "" } else { "listeners: [ { listen: \"127.0.0.1:8021\" } ]\n" };
        // The system need not be said on itself; here it must.
        let config = config.replace("pf: { anchor", "pf: { dialect: openbsd, anchor");
        let (success, said) = ftpgate(&["check", "--no-verify", "-c", "/dev/stdin"], &format!("{listener}{config}"));
        assert!(success, "{said}\n{config}");
    }
}

/// Configurations that exercise every kind of line.
const CONFIGS: [&str; 6] = [
    "listeners: [ { listen: [\"0.0.0.0:8021\", \"[::]:8021\"] } ]",
    "listeners: [ { listen: [\"127.0.0.1:8021\", \"[::1]:8021\"], source: client } ]\n\
     firewall: { pf: { anchor: ftp-proxy, tag: in, queue: pass, rtable: 1, log: true } }",
    "listeners: [ { listen: [\"10.0.0.1:8022\", \"[::]:8022\"], mode: reverse, server: [192.0.2.10, \"2001:db8::10\"], \
     external_address: [203.0.113.1, \"2001:db8:1::1\"] } ]\nmetrics: { listen: \"10.0.0.1:9821\" }",
    "listeners:\n  - { listen: \"0.0.0.0:8021\" }\n  - { listen: [\"0.0.0.0:8022\", \"[::]:8022\"], mode: reverse, server: 192.0.2.10 }",
    "listeners: [ { listen: [\"203.0.113.1:2121\", \"[::]:2121\"], mode: reverse, capture: direct, server: \"192.0.2.10:2121\" } ]\nuser: null",
    "listeners: [ { listen: [\"0.0.0.0:21\", \"[2001:db8::1]:2121\"], mode: login } ]\n\
     policy: { servers: [ 192.0.2.0/24, \"[2001:db8:2::/48]:2000-2999\", \"198.51.100.7:*\" ] }",
];

#[test]
fn every_printed_skeleton_is_taken_by_the_grammar_and_loaded() {
    for dialect in BOTH {
        for config in CONFIGS {
            let text = printed(dialect, config);
            parse(dialect, Place::Main, &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            Fake::install(dialect).load_main(&text);
        }
    }
}

/// What is printed as a comment for the administrator to use must be right too, once it is used.
#[test]
fn hints_in_printed_skeletons_are_rules_as_well() {
    for dialect in BOTH {
        for config in CONFIGS {
            let text = printed(dialect, config);
            let words = ["# match ", "# nat ", "# pass ", "# queue ", "# altq "];
            let hint = |line: &str| words.iter().any(|word| line.starts_with(word)) && !line.ends_with(':');
            let used: String =
                text.lines().map(|line| if hint(line) { &line[2..] } else { line }).collect::<Vec<_>>().join("\n")
                    + "\n";
            assert!(used.matches("\npass ").count() > text.matches("\npass ").count(), "{text}");
            parse(dialect, Place::Main, &used).unwrap_or_else(|error| panic!("{error}\n{used}"));
        }
    }
}

fn printed(dialect: Dialect, config: &str) -> String {
    let (success, said) = ftpgate(&["rules", "-c", "/dev/stdin", "--for", &format!("pf-{}", dialect.as_str())], config);
    assert!(success, "{said}");
    said
}

/// Whether it succeeds with this on its standard input, and all that it says.
fn ftpgate(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpgate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    (output.status.success(), said)
}
