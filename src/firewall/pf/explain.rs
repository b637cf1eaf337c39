//! Explain: what pfctl(8) complains about, in sentences for the administrator.
//!
//! Lives here: from exit status and standard error to an [`Error`] with its kind; pure. Not here: running it (`pfctl`).

use std::io;
use std::path::Path;

use super::pfctl::Output;
use crate::firewall::{Error, ErrorKind};

/// Words of pfctl, the same on both systems: strerror(3) of what the kernel answered, and its own.
const DENIED: [&str; 2] = ["Permission denied", "Operation not permitted"];
const BUSY: &str = "Device busy";
/// `Anchor 'ftpgate' not found.`
const NO_ANCHOR: &str = "not found";
/// FreeBSD's kernel has no better word for a queue that it does not have.
const NO_QUEUE: &str = "DIOCADDRULE: Device busy";
/// Seen on OpenBSD when a ruleset could not be begun because there are as many anchors as may be.
const NO_ROOM: &str = "pfctl: pfctl_rules";

/// pfctl could not be run to its end.
pub(super) fn not_run(program: &Path, arguments: &[&str], error: &io::Error) -> Error {
    let program = program.display();
    let (kind, advice) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::Unsupported,
            "pf is the packet filter of FreeBSD and OpenBSD; there, set firewall.pf.pfctl to where it is",
        ),
        io::ErrorKind::PermissionDenied => (ErrorKind::Permission, "start ftpgate as root"),
        io::ErrorKind::TimedOut => (ErrorKind::Other, "see whether `pfctl -s info` answers"),
        _ => (ErrorKind::Other, "see the cause"),
    };
    Error::new(kind, format!("cannot run {program} {}: {error}; {advice}", arguments.join(" ")))
}

/// pfctl ended with an error.
pub(super) fn refused(arguments: &[&str], input: &str, output: &Output) -> Error {
    let complaint = output.stderr.trim();
    let (kind, advice) = if DENIED.iter().any(|word| complaint.contains(word)) {
        (ErrorKind::Permission, "changing pf needs root, and sysctl kern.securelevel below 2")
    } else if complaint.contains("/dev/pf") {
        (ErrorKind::Unsupported, "pf is not in the kernel: on FreeBSD `kldload pf` and pf_enable=YES in rc.conf")
    } else if complaint.contains(NO_QUEUE) {
        (ErrorKind::Missing, "the queue of firewall.pf.queue is not defined in pf.conf")
    } else if complaint.contains(BUSY) {
        (ErrorKind::Busy, "somebody else keeps loading rules")
    } else if complaint.contains(NO_ROOM) || complaint.contains("Cannot allocate memory") {
        (
            ErrorKind::Full,
            "pf has as many anchors or rules as it may have: write `set limit anchors 20000` at the top of pf.conf and load it",
        )
    } else if complaint.contains("syntax error") || complaint.contains("Syntax error") {
        (
            ErrorKind::Other,
            "is firewall.pf.dialect the system's, and are the queue and the routing table of firewall.pf defined in pf.conf?",
        )
    } else {
        (ErrorKind::Other, "see `pfctl -s info` and the system log")
    };
    let said = if complaint.is_empty() { output.status.to_string() } else { complaint.replace('\n', " | ") };
    let about = culprit(complaint, input).map(|line| format!(" about {line:?}")).unwrap_or_default();
    Error::new(kind, format!("`pfctl {}` failed{about}: {said}; {advice}", arguments.join(" ")))
}

/// The line that a complaint such as `stdin:2: syntax error` is about.
fn culprit<'a>(complaint: &str, input: &'a str) -> Option<&'a str> {
    let number: usize = complaint.split("stdin:").nth(1)?.split(':').next()?.parse().ok()?;
    input.lines().nth(number.checked_sub(1)?)
}

/// Whether it may work at the next try.
pub(super) fn is_busy(error: &Error) -> bool {
    let text = error.to_string();
    text.contains(BUSY) && !text.contains(NO_QUEUE)
}

/// Whether it says that there is no such anchor.
pub(super) fn is_no_anchor(error: &Error) -> bool {
    error.to_string().contains(NO_ANCHOR)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    fn told(stderr: &str) -> Error {
        let output = Output { status: ExitStatus::from_raw(256), stdout: String::new(), stderr: stderr.to_owned() };
        refused(&["-q", "-a", "ftpgate/1.2", "-f", "-"], "pass in\npass out quick nonsense\n", &output)
    }

    #[test]
    fn complaints_become_sentences_with_a_remedy() {
        for (stderr, kind, words) in [
            ("pfctl: /dev/pf: Permission denied\n", ErrorKind::Permission, "root"),
            ("pfctl: DIOCXBEGIN: Operation not permitted\n", ErrorKind::Permission, "securelevel"),
            ("pfctl: /dev/pf: No such file or directory\n", ErrorKind::Unsupported, "kldload pf"),
            ("pfctl: DIOCXCOMMIT: Device busy\n", ErrorKind::Busy, "somebody else"),
            ("pfctl: DIOCADDRULE: Device busy\n", ErrorKind::Missing, "firewall.pf.queue"),
            ("pfctl: pfctl_rules\n", ErrorKind::Full, "set limit anchors 20000"),
            (
                "stdin:2: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n",
                ErrorKind::Other,
                "nonsense",
            ),
            ("", ErrorKind::Other, "exit status: 1"),
        ] {
            let error = told(stderr);
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains(words), "{words:?} in {error}");
            assert!(!error.to_string().contains('\n'), "one line: {error}");
        }
        assert!(is_busy(&told("pfctl: DIOCXBEGIN: Device busy")) && !is_busy(&told("")));
        assert!(!is_busy(&told("pfctl: DIOCADDRULE: Device busy")), "the same at every try");
        assert!(is_no_anchor(&told("Anchor 'ftpgate' not found.")));
    }

    #[test]
    fn a_pfctl_that_cannot_be_run_is_told_too() {
        let error = not_run(Path::new("/sbin/pfctl"), &["-s", "info"], &io::Error::from(io::ErrorKind::NotFound));
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().contains("/sbin/pfctl") && error.to_string().contains("firewall.pf.pfctl"),
            "{error}"
        );
    }
}
