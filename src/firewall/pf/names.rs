//! Names: what the anchors of a process are called.
//!
//! Lives here: [`Names`], from sessions to anchors and back; pure. Not here: what is in an anchor (`rules`), which of them are
//! there (`pfctl`).
//!
//! Each session with an open pinhole has an anchor, `ftpgate/<pid>.<session>`. Its name is the label of its rules as well, so
//! that states can be killed by it when the rules are long gone.

use super::rules::session_label;
use crate::pinhole::SessionId;

/// The anchors of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// `firewall.pf.anchor`.
    parent: String,
    pid: u32,
}

impl Names {
    /// Of the process with this id, below this anchor.
    pub(super) fn new(parent: &str, pid: u32) -> Self {
        Self { parent: parent.to_owned(), pid }
    }

    /// The anchor below which all of them are.
    pub(super) fn parent(&self) -> &str {
        &self.parent
    }

    /// The anchor of a session.
    pub(super) fn of(&self, session: SessionId) -> String {
        session_label(&self.parent, self.pid, session)
    }

    /// Whose an anchor is, by a line of `pfctl -a ftpgate -s Anchors`; `None` if it is not one of these.
    pub(super) fn owner(&self, line: &str) -> Option<Owner> {
        let name = line.trim().strip_prefix(&self.parent)?.strip_prefix('/')?;
        let (pid, session) = name.split_once('.')?;
        let canonical = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (true, true) = (canonical(pid), canonical(session)) else { return None };
        let (pid, session) = (pid.parse().ok()?, session.parse().ok()?);
        Some(Owner { anchor: line.trim().to_owned(), pid, session })
    }

    /// Whether this process made it, or one of the same id before it.
    pub(super) fn is_own(&self, owner: &Owner) -> bool {
        owner.pid == self.pid
    }
}

/// Whose an anchor is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Its full name.
    pub(super) anchor: String,
    /// The process.
    pub(super) pid: u32,
    /// Its session.
    pub(super) session: SessionId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_tells_whose_it_is() {
        let names = Names::new("ftpgate", 712);
        assert_eq!(names.of(5), "ftpgate/712.5");
        let owner = names.owner("  ftpgate/712.5").unwrap();
        assert_eq!((owner.anchor.as_str(), owner.pid, owner.session), ("ftpgate/712.5", 712, 5));
        assert!(names.is_own(&owner));
        assert!(!names.is_own(&names.owner("ftpgate/71.5").unwrap()));
    }

    #[test]
    fn what_others_made_is_nobodys() {
        let names = Names::new("ftpgate", 712);
        for line in [
            "",
            "ftpgate",
            "ftpgate/",
            "ftpgate/712",
            "ftpgate/a.b",
            "ftpgate/712.5/x",
            "ftpgate/+712.5",
            "ftpgate2/712.5",
            "relayd/712.5",
            "ftpgate/712.99999999999999999999",
        ] {
            assert_eq!(names.owner(line), None, "{line}");
        }
    }

    #[test]
    fn the_longest_name_is_a_label() {
        let names = Names::new(&"a".repeat(32), 99_999);
        let name = names.of(u64::from(u32::MAX));
        assert!(name.len() < 64, "PF_RULE_LABEL_SIZE, net/pfvar.h: {}", name.len());
    }
}
