//! The files of `nftables-examples` and `pf-examples` are true: each is accepted by its packet filter and by ftpgate, and every
//! line says why it is there.
//!
//! Lives here: checks that need no traffic. Not here: the end-to-end tests (`tests/e2e`), which load every one of the nftables
//! rulesets and send files through it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "lab/mod.rs"]
mod lab;

use std::path::PathBuf;
use std::process::Command;

use lab::ftpgate::binary;
use lab::host::Host;
use lab::project;

/// All files of a kind, by name. There are eight examples.
fn examples(extension: &str) -> Vec<PathBuf> {
    files("nftables-examples", extension, 8)
}

/// The same for pf: four examples for each of two systems.
fn pf_examples(extension: &str) -> Vec<PathBuf> {
    files("pf-examples", extension, 8)
}

fn files(folder: &str, extension: &str, count: usize) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(project(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    assert_eq!(files.len(), count, "{files:?}");
    files
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn every_ruleset_is_accepted_by_nft_and_can_be_loaded_again() {
    let host = Host::new("examples");
    for file in examples("nft") {
        let path = file.to_string_lossy();
        host.run(&["nft", "-c", "-f", &path]).expect_ok();
        for _ in 0..2 {
            host.run(&["nft", "-f", &path]).expect_ok();
        }
        let loaded = host.ruleset();
        let twice = loaded.matches("chain forward").count();
        let expected = std::fs::read_to_string(&file).unwrap().matches("chain forward").count();
        assert_eq!(twice, expected, "{} loaded twice gives:\n{loaded}", name(&file));
        host.run(&["nft", "flush", "ruleset"]).expect_ok();
    }
}

#[test]
fn every_ruleset_drops_by_default_in_input_and_forward() {
    for file in examples("nft") {
        let text = std::fs::read_to_string(&file).unwrap();
        for hook in ["input", "forward"] {
            let at_hook = |line: &&str| line.contains(&format!("hook {hook} "));
            // What comes before the administrator's own chains is ftpgate's, and lets go on what it does not know.
            let chains: Vec<&str> =
                text.lines().filter(at_hook).filter(|line| !line.contains("priority -10;")).collect();
            assert!(!chains.is_empty(), "{} has no chain at {hook}", name(&file));
            assert!(chains.iter().all(|line| line.contains("policy drop;")), "{}: {chains:?}", name(&file));
        }
        assert!(text.contains("ct mark & 0x10000000 != 0 accept"), "{} never accepts a pinhole", name(&file));
    }
}

/// A line is explained by a comment directly above it or behind it. Closing braces explain themselves.
#[test]
fn every_line_of_every_ruleset_is_explained() {
    for file in examples("nft").into_iter().chain(pf_examples("conf")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut above = "";
        let mut explained = 0;
        for (number, line) in text.lines().map(str::trim).enumerate() {
            let code = !line.is_empty() && !line.starts_with('#') && line != "}";
            if code {
                let comment = above.starts_with("# ") || line.contains(" # ");
                assert!(comment, "{} line {}: no comment explains {line:?}", name(&file), number + 1);
                explained += 1;
            }
            above = line;
        }
        assert!(explained > 10, "{} has only {explained} lines", name(&file));
    }
}

#[test]
fn every_ruleset_has_its_configuration_and_ftpgate_accepts_it() {
    let stems =
        |extension| -> Vec<PathBuf> { examples(extension).iter().map(|file| file.with_extension("")).collect() };
    assert_eq!(stems("nft"), stems("yaml"));
    for file in examples("yaml") {
        let host = Host::new("check");
        host.run(&["nft", "-f", &file.with_extension("nft").to_string_lossy()]).expect_ok();
        host.run(&[&binary(), "check", "-c", &file.to_string_lossy()]).expect_ok();
    }
}

/// sets.nft has the very sets, maps and rules that `ftpgate rules` prints for sets.yaml, as the kernel understands both.
#[test]
fn sets_nft_keeps_step_with_what_ftpgate_rules_prints() {
    let own_part = |ruleset: &str| -> Vec<String> {
        let words = ["pinhole", "dnat4", "dnat6", "snat4", "snat6", "reset4", "reset6"];
        let (mut lines, mut inside) = (Vec::new(), false);
        for line in ruleset.lines().map(str::trim) {
            let begins = line.ends_with('{') && ["set ", "map ", "chain "].iter().any(|kind| line.starts_with(kind));
            if begins {
                inside = words.iter().any(|word| line.contains(word));
            }
            if inside && line != "}" && !line.is_empty() {
                lines.push(line.to_owned());
            }
        }
        lines.sort();
        lines
    };
    let (ours, printed) = (Host::new("ours"), Host::new("printed"));
    ours.nft_file("nftables-examples/sets.nft");
    let config = project("nftables-examples/sets.yaml");
    let text = ours.run(&[&binary(), "rules", "-c", &config.to_string_lossy()]).expect_ok();
    printed.nft(&text);
    let (ours, printed) = (own_part(&ours.ruleset()), own_part(&printed.ruleset()));
    assert_eq!(ours, printed);
    // Eight sets of four lines, five chains of four.
    assert_eq!(ours.len(), 8 * 4 + 5 * 4, "{ours:#?}");
}

#[test]
fn the_readmes_name_every_file() {
    for (folder, files) in [
        ("nftables-examples", [examples("nft"), examples("yaml")]),
        ("pf-examples", [pf_examples("conf"), pf_examples("yaml")]),
    ] {
        let readme = std::fs::read_to_string(project(folder).join("README.md")).unwrap();
        for file in files.iter().flatten() {
            assert!(readme.contains(&format!("`{}`", name(file))), "README.md does not mention {}", name(file));
        }
    }
}

#[test]
fn every_pf_conf_has_its_configuration_and_ftpgate_accepts_it() {
    let stems =
        |extension| -> Vec<PathBuf> { pf_examples(extension).iter().map(|file| file.with_extension("")).collect() };
    assert_eq!(stems("conf"), stems("yaml"));
    for file in pf_examples("yaml") {
        let output = Command::new(binary()).args(["check", "--no-verify", "-c"]).arg(&file).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{}: {output:?}", name(&file));
    }
}

/// What `ftpgate rules` calls necessary for a configuration is in its example, and in the same order: lines may be more, and more
/// exact. Captures, anchors and limits must be the same to the letter.
#[test]
fn every_pf_conf_has_what_ftpgate_rules_prints() {
    for file in pf_examples("yaml") {
        let output = Command::new(binary()).args(["rules", "-c"]).arg(&file).output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        let text = std::fs::read_to_string(file.with_extension("conf")).unwrap();
        let text = text.replace("-> $inside6", "-> 2001:db8:10::1").replace("-> $outside6", "-> 2001:db8:51::1");
        let exact = |line: &&str| {
            ["anchor ", "nat-anchor ", "rdr-anchor ", "set ", "# set ", "block all", "table "]
                .iter()
                .any(|word| line.starts_with(word))
                || (line.contains(" port 21 ") && line.contains(" on $"))
        };
        let mut rest = text.lines();
        let mut found = 0;
        for line in printed.lines().filter(exact) {
            // The examples know the addresses of their pictures.
            let line = line.replace("inet6 proto tcp from any to ($outside)", "inet6 proto tcp from any to $outside6");
            let unused_table = line.starts_with("table ") && !text.contains("<gateway>");
            if !unused_table {
                assert!(rest.any(|other| other == line), "{}: no {line:?} in its place", name(&file));
                found += 1;
            }
        }
        assert!(found >= 7, "{}: {found} lines compared", name(&file));
    }
}
