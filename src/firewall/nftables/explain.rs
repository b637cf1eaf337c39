//! Explain: failures of netlink in the administrator's words.
//!
//! Lives here: an error number and what it was about become a kind and a sentence; pure. Not here: failures that are found
//! by looking (`verify`).

use nix::errno::Errno;

use super::Settings;
use super::message::Subject;
use super::netlink::Failure;
use crate::firewall::{Error, ErrorKind};

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Opening the socket or looking whether the table is there.
    Look,
    /// Creating table, sets, chains and rules.
    Create,
    /// Opening and closing pinholes.
    Change,
    /// Taking everything away.
    Clear,
}

/// The error that the administrator reads.
pub(super) fn explain(failure: Failure, task: Task, settings: &Settings) -> Error {
    let (subject, errno) = match failure {
        Failure::Call(call, errno) => (format!("`{call}` on a netlink socket"), errno),
        Failure::Refused(subject, errno) => (subject.to_string(), errno),
        Failure::Unconfirmed => {
            let text = format!("{}: the kernel did not say whether it did; restart ftpgate", doing(task, settings));
            return Error::new(ErrorKind::Other, text);
        }
    };
    let (kind, advice) = advice(failure, errno, task, settings);
    // The number's name, not its text: that of ENFILE speaks of files.
    Error::new(kind, format!("{}: the kernel refused {subject} ({errno:?}); {advice}", doing(task, settings)))
}

/// The beginning of the sentence.
fn doing(task: Task, settings: &Settings) -> String {
    let table = &settings.table;
    match task {
        Task::Look => format!("cannot look for nftables table inet {table}"),
        Task::Create => format!("cannot create nftables table inet {table}"),
        Task::Change => format!("cannot open or close a pinhole in nftables table inet {table}"),
        Task::Clear => format!("cannot take back the pinholes in nftables table inet {table}"),
    }
}

/// The kind, and the end of the sentence.
fn advice(failure: Failure, errno: Errno, task: Task, settings: &Settings) -> (ErrorKind, String) {
    let table = &settings.table;
    match (errno, task) {
        (Errno::EPERM | Errno::EACCES, _) => (
            ErrorKind::Permission,
            "run ftpgate as root or give it CAP_NET_ADMIN (`setcap cap_net_admin+ep` on the binary, or \
             `AmbientCapabilities=CAP_NET_ADMIN` in its systemd unit)"
                .to_owned(),
        ),
        (Errno::EEXIST, Task::Create) => (
            ErrorKind::Taken,
            format!(
                "somebody created it in this very moment; see `nft list table inet {table}`, and choose another \
                 `firewall.nftables.table`"
            ),
        ),
        (Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT, _) | (Errno::EINVAL | Errno::EOPNOTSUPP, Task::Look) => (
            ErrorKind::Unsupported,
            "this kernel has no nf_tables; load or build the module nf_tables, or use `firewall.backend: \
             relay`"
                .to_owned(),
        ),
        (Errno::EINVAL | Errno::EOPNOTSUPP | Errno::ENOENT, Task::Create) => {
            (ErrorKind::Unsupported, format!("{}, or use `firewall.backend: relay`", needed(failure)))
        }
        (Errno::ENOENT, _) => (
            ErrorKind::Missing,
            format!(
                "it was there when ftpgate started, see `nft list table inet {table}`; load your ruleset again \
                 (`ftpgate rules` prints what belongs into it) and restart ftpgate"
            ),
        ),
        (Errno::ENFILE, _) => (
            ErrorKind::Full,
            "the set is full; close pinholes sooner with a shorter `data.pinhole_timeout`, or give the set a larger \
             `size`"
                .to_owned(),
        ),
        (Errno::ENOMEM | Errno::ENOBUFS, _) => {
            (ErrorKind::Full, "the kernel is short of memory; free some and try again".to_owned())
        }
        // `rhashtable_insert_rehash` of the kernel: a bucket is full while the table is being rebuilt already (docs/scaling.md).
        (Errno::EBUSY, Task::Change) => (
            ErrorKind::Busy,
            format!(
                "it was rebuilding a set, several times in a row; compare `nft list table inet {table}` with `ftpgate rules`"
            ),
        ),
        _ => (ErrorKind::Other, format!("compare `nft list table inet {table}` with `ftpgate rules`")),
    }
}

/// What creating this takes.
fn needed(failure: Failure) -> &'static str {
    match failure {
        Failure::Refused(Subject::Table, _) => "a table with an owner needs Linux 5.12",
        Failure::Refused(Subject::Chain(_), _) => {
            "NAT for both families in one table needs Linux 5.2 with nft_chain_nat"
        }
        Failure::Refused(Subject::Rule(_), _) => "its rules need Linux 5.4 with nft_ct, nft_nat and nft_reject_inet",
        Failure::Refused(..) | Failure::Call(..) | Failure::Unconfirmed => {
            "it needs Linux 5.12 with nf_tables and nf_nat"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(subject: Subject, errno: Errno, task: Task) -> (ErrorKind, String) {
        let error = explain(Failure::Refused(subject, errno), task, &Settings::default());
        (error.kind(), error.to_string())
    }

    #[test]
    fn an_old_kernel_is_told_by_what_it_refuses() {
        let create = "cannot create nftables table inet ftpgate: the kernel refused";
        let relay = "or use `firewall.backend: relay`";
        for (subject, errno, rest) in [
            (Subject::Table, Errno::EOPNOTSUPP, "the table (EOPNOTSUPP); a table with an owner needs Linux 5.12"),
            (
                Subject::Chain("pinhole_dnat"),
                Errno::ENOENT,
                "chain pinhole_dnat (ENOENT); NAT for both families in one table needs Linux 5.2 with nft_chain_nat",
            ),
            (
                Subject::Rule("pinhole"),
                Errno::EINVAL,
                "a rule of chain pinhole (EINVAL); its rules need Linux 5.4 with nft_ct, nft_nat and nft_reject_inet",
            ),
        ] {
            let expected = (ErrorKind::Unsupported, format!("{create} {rest}, {relay}"));
            assert_eq!(refused(subject, errno, Task::Create), expected);
        }
    }

    #[test]
    fn a_kernel_without_nf_tables_is_told_at_the_first_look() {
        let advice =
            "this kernel has no nf_tables; load or build the module nf_tables, or use `firewall.backend: relay`";
        let beginning = "cannot look for nftables table inet ftpgate: the kernel refused";
        assert_eq!(
            refused(Subject::Table, Errno::EINVAL, Task::Look),
            (ErrorKind::Unsupported, format!("{beginning} the table (EINVAL); {advice}"))
        );
        let error = explain(Failure::Call("socket", Errno::EPROTONOSUPPORT), Task::Look, &Settings::default());
        assert_eq!(error.to_string(), format!("{beginning} `socket` on a netlink socket (EPROTONOSUPPORT); {advice}"));
    }

    #[test]
    fn kinds_follow_from_the_error_number() {
        for (errno, task, kind) in [
            (Errno::EPERM, Task::Change, ErrorKind::Permission),
            (Errno::EEXIST, Task::Create, ErrorKind::Taken),
            (Errno::ENOENT, Task::Change, ErrorKind::Missing),
            (Errno::ENFILE, Task::Change, ErrorKind::Full),
            (Errno::ENOMEM, Task::Create, ErrorKind::Full),
            (Errno::EBUSY, Task::Change, ErrorKind::Busy),
            (Errno::EEXIST, Task::Change, ErrorKind::Other),
        ] {
            assert_eq!(refused(Subject::Table, errno, task).0, kind, "{errno}");
        }
    }
}
