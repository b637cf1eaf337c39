//! Who the processes are: the one that reads strangers' bytes is nobody, in an empty directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::grammar::Dialect;
use crate::lab::Family;
use crate::lab::ftpgate::binary;
use crate::lab::topology::Topology;
use crate::scene::{PfScene, keeper_of};

fn status(pid: u32) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    text.lines()
        .filter_map(|line| line.split_once(":\t"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn root(pid: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{pid}/root")).unwrap()
}

#[test]
fn the_daemon_has_nothing_and_the_keeper_talks_to_nobody_else() {
    let pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let (daemon, keeper) = (pf.pid(), keeper_of(pf.pid()));
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let all = |id: u32| [id; 4].map(|id| id.to_string()).join("\t");
    let of = status(daemon);
    assert_eq!((&of["Uid"], &of["Gid"]), (&all(nobody.uid.as_raw()), &all(nobody.gid.as_raw())));
    assert_eq!(of["CapEff"], "0000000000000000");
    assert_eq!(of["CapPrm"], "0000000000000000");
    assert_eq!(root(daemon), PathBuf::from("/var/empty"));
    assert_eq!(status(keeper)["Uid"], all(0));
    // It serves all the same.
    let mut control = pf.scene.login(Family::V4);
    control.passive(Family::V4);
    // The keeper has two sockets to the daemon, and standard error.
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{keeper}/fd"))
        .unwrap()
        .map(|entry| std::fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
        .collect();
    let network = open.iter().filter(|name| name.starts_with("socket:")).count();
    assert!(network <= 4, "standard input and output, and a copy of each: {open:?}");
}

#[test]
fn nobody_can_run_the_keeper_by_hand() {
    let output =
        std::process::Command::new(binary()).arg("keeper").stdin(std::process::Stdio::null()).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("started by `ftpgate run`"), "{said}");
}

#[test]
fn a_user_that_is_not_there_is_named() {
    let fake = crate::scene::installed(Dialect::OpenBsd);
    let lab = crate::lab::topology::Lab::new(Topology::Reverse);
    let config = crate::scene::configuration(&lab, &fake.path(), Dialect::OpenBsd).with("user", "_fg_nobody_there");
    let error = crate::lab::ftpgate::Ftpgate::try_start(lab.gateway(), &config).unwrap_err();
    assert!(error.contains("_fg_nobody_there"), "{error}");
}
