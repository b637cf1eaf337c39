//! Dropping privileges, for real: a child of this test is root, drops to another user in another root, and looks around.
//!
//! Needs root. Lives here: what must be out of reach afterwards, and what must still work. Not here: pledge and unveil, which
//! only OpenBSD has.
#![allow(clippy::unwrap_used)] // test helpers may

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use ftpgate::sys::{self, privilege};
use nix::unistd::{Gid, Uid, User, getgroups, getresgid, getresuid, seteuid, setgid, setuid};

/// Everywhere, and with no rights.
const USER: &str = "nobody";

/// Set in the child: what it is to do.
const TASK: &str = "FTPGATE_TEST_TASK";
/// Set in the child: its root to be.
const ROOT: &str = "FTPGATE_TEST_ROOT";

/// A folder of this test's own, with one file in it, removed in the end.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ftpgate-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("marker"), "inside").unwrap();
        Self(path)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the test of this name again, in a process of its own, which finds `task` in its environment.
fn again(test: &str, task: &str, root: &Path, zone: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(TASK, task)
        .env(ROOT, root)
        .env("TZ", format!(":{}", zone.display()))
        .output()
        .unwrap()
}

fn assert_passed(output: &Output) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// A time zone that no file of the system has: five hours and a half east of Greenwich (tzfile(5), version 1).
fn zone(root: &Root) -> PathBuf {
    let mut bytes = b"TZif".to_vec();
    bytes.extend([0; 16]);
    // No UTC and standard flags, no leap seconds, no changes, one kind of time, a name of four bytes.
    for count in [0_u32, 0, 0, 0, 1, 4] {
        bytes.extend(count.to_be_bytes());
    }
    bytes.extend(19800_i32.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(b"XYZ\0");
    let path = root.0.with_extension("zone");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_root_could_do_is_out_of_reach_afterwards() {
    const NAME: &str = "what_root_could_do_is_out_of_reach_afterwards";
    let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_262_768); // 12:06:08 UTC
    if std::env::var_os(TASK).is_none() {
        assert!(getresuid().unwrap().effective.is_root(), "run as root, as `make test` does");
        let root = Root::new("dropped");
        let zone = zone(&root);
        let output = again(NAME, "drop", &root.0, &zone);
        fs::remove_file(zone).unwrap();
        return assert_passed(&output);
    }
    let user = User::from_name(USER).unwrap().unwrap();
    let root = PathBuf::from(std::env::var_os(ROOT).unwrap());
    let opened = fs::File::open("/etc/passwd").unwrap();
    privilege::drop_to(USER, Some(&root)).unwrap();

    let (uids, gids) = (getresuid().unwrap(), getresgid().unwrap());
    assert_eq!([uids.real, uids.effective, uids.saved], [user.uid; 3]);
    assert_eq!([gids.real, gids.effective, gids.saved], [user.gid; 3]);
    assert_eq!(getgroups().unwrap(), [user.gid]);
    assert!(setuid(Uid::from_raw(0)).is_err() && seteuid(Uid::from_raw(0)).is_err());
    assert!(setgid(Gid::from_raw(0)).is_err());
    // Also for a thread that is made later, and for those that were there: libc tells them all.
    assert!(std::thread::spawn(|| setuid(Uid::from_raw(0)).is_err()).join().unwrap());

    assert_eq!(fs::read_to_string("/marker").unwrap(), "inside");
    assert_eq!(fs::read_to_string("marker").unwrap(), "inside", "the working directory is the new root");
    assert!(!Path::new("/proc").exists() && !Path::new("../../../etc").exists());
    assert!(fs::write("/new", "").is_err(), "the folder is root's");

    // What was open stays open, and the time zone is known although its file is gone.
    assert!(opened.metadata().unwrap().len() > 0);
    assert_eq!(sys::local_time(moment), "Sat Nov 21 17:36:08 2026");
    // pledge and unveil are there on every system, and do nothing on this one.
    privilege::pledge("stdio").unwrap();
    privilege::unveil(Path::new("/"), "r").unwrap();
    privilege::unveil_no_more().unwrap();
}

#[test]
fn without_a_root_only_the_user_changes() {
    const NAME: &str = "without_a_root_only_the_user_changes";
    if std::env::var_os(TASK).is_none() {
        let root = Root::new("kept");
        return assert_passed(&again(NAME, "drop", &root.0, Path::new("UTC")));
    }
    privilege::drop_to(USER, None).unwrap();
    assert!(!getresuid().unwrap().effective.is_root());
    assert!(Path::new("/etc/passwd").exists());
    // Who is not root cannot drop again, and is told at which step.
    let refused = privilege::drop_to(USER, None).unwrap_err();
    assert!(refused.to_string().contains("cannot give up the other groups"), "{refused}");
    let refused = privilege::drop_to(USER, Some(Path::new("/"))).unwrap_err();
    assert!(refused.to_string().contains("cannot change the root to /"), "{refused}");
}

#[test]
fn nobody_of_that_name_and_root_are_refused_and_change_nothing() {
    for (user, words) in
        [("no-such-user-here", "there is no user \"no-such-user-here\""), ("root", "write a user that")]
    {
        let refused = privilege::drop_to(user, Some(Path::new("/nonexistent"))).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused}");
    }
    assert!(getresuid().unwrap().effective.is_root(), "run as root, as `make test` does");
}
