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

/// Configurations that exercise every kind of line.
const CONFIGS: [&str; 5] = [
    "listeners: [ { listen: [\"0.0.0.0:8021\", \"[::]:8021\"] } ]",
    "listeners: [ { listen: [\"127.0.0.1:8021\", \"[::1]:8021\"], source: client } ]\n\
     firewall: { pf: { anchor: ftp-proxy, tag: in, queue: pass, rtable: 1, log: true } }",
    "listeners: [ { listen: [\"10.0.0.1:8022\", \"[::]:8022\"], mode: reverse, server: [192.0.2.10, \"2001:db8::10\"], \
     external_address: [203.0.113.1, \"2001:db8:1::1\"] } ]\nmetrics: { listen: \"10.0.0.1:9821\" }",
    "listeners:\n  - { listen: \"0.0.0.0:8021\" }\n  - { listen: [\"0.0.0.0:8022\", \"[::]:8022\"], mode: reverse, server: 192.0.2.10 }",
    "listeners: [ { listen: [\"203.0.113.1:2121\", \"[::]:2121\"], mode: reverse, capture: direct, server: \"192.0.2.10:2121\" } ]\nuser: null",
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
    let mut child = Command::new(env!("CARGO_BIN_EXE_ftpgate"))
        .args(["rules", "-c", "/dev/stdin", "--for", &format!("pf-{}", dialect.as_str())])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), config.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
