//! The files of `deploy` that go onto a BSD: scripts that their shells and shellcheck accept, configurations that ftpgate accepts, and
//! names that agree with each other.
//!
//! Needs `shellcheck` (tests/setup.sh). Not here: `deploy/ftpgate.yaml`, which `tests/config.rs` holds against the defaults. That the
//! scripts do what they should can only be seen on the systems themselves.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy exempts only functions marked #[test], not their helpers

use std::path::{Path, PathBuf};
use std::process::Command;

const SYSTEMS: [&str; 2] = ["freebsd", "openbsd"];

fn path(system: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(system).join(name)
}

fn read(system: &str, name: &str) -> String {
    let path = path(system, name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a program that must say nothing and succeed.
fn silent(program: &str, arguments: &[&str], file: &Path) {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; run tests/setup.sh"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{program} {}:\n{said}", file.display());
}

#[test]
fn the_scripts_are_clean() {
    for system in SYSTEMS {
        let script = path(system, "ftpgate");
        silent("sh", &["-n"], &script);
        silent("shellcheck", &["--severity=style"], &script);
    }
}

#[test]
fn shellcheck_finds_what_is_planted() {
    let planted = std::env::temp_dir().join(format!("ftpgate-deploy-{}", std::process::id()));
    std::fs::write(&planted, read("freebsd", "ftpgate").replace("kill -TERM \"${pid}\"", "kill -TERM ${pid}")).unwrap();
    let output = Command::new("shellcheck").arg(&planted).output().unwrap();
    std::fs::remove_file(&planted).unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("SC2086"), "{output:?}");
}

#[test]
fn the_configurations_are_accepted() {
    for system in SYSTEMS {
        let file = path(system, "ftpgate.yaml");
        let output = Command::new(env!("CARGO_BIN_EXE_ftpgate"))
            .args(["check", "--no-verify", "-c"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{system}: {output:?}");
    }
}

/// Each name stands in the script, in the configuration's head or in the install steps; all must mean the same file and user.
#[test]
fn script_configuration_and_install_steps_agree() {
    for (system, config) in
        [("freebsd", "/usr/local/etc/ftpgate/ftpgate.yaml"), ("openbsd", "/etc/ftpgate/ftpgate.yaml")]
    {
        let (script, yaml, readme) = (read(system, "ftpgate"), read(system, "ftpgate.yaml"), read(system, "README.md"));
        for (name, text) in [("ftpgate", &script), ("ftpgate.yaml", &yaml), ("README.md", &readme)] {
            assert!(text.contains(config), "{system}/{name} does not say {config}");
        }
        assert!(
            script.contains("\"/usr/local/sbin/ftpgate\"") && readme.contains(" /usr/local/sbin/ftpgate\n"),
            "{system}"
        );
        assert!(yaml.contains("\nuser: _ftpgate\n") && readme.contains("useradd"), "{system}");
        assert!(
            script.contains("http://127.0.0.1:9821/readyz") && readme.contains("http://127.0.0.1:9821/readyz"),
            "{system}"
        );
        assert!(script.contains("check --no-verify"), "{system}: a reload must check the file first");
    }
}
