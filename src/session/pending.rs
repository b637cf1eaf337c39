//! The reply FIFO: which command the next reply answers.
//!
//! Lives here: [`Kind`] of a slot, [`Pending`]. Not here: what follows from an answer (`server_side`).
//!
//! FTP answers commands in their order (RFC 959 §5.4), so every command that was passed on has a slot, and so has every
//! command that ftpgate answers itself, lest its answer overtake another. A 1yz reply leaves its slot in place; a late 226, a
//! NOOP or a pipelined LIST can never make a 227 pass for something else.

use serde::{Deserialize, Serialize};

use super::effect::PinholeId;
use super::replies::Local;
use crate::pinhole::Announcement;
use crate::protocol::reply::Code;

/// What the session needs to remember of a command until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// No command: the server speaks first (RFC 959 §5.4, "Connection Establishment").
    Greeting,
    /// PASV or EPSV: what the client said, and what the server was asked.
    Passive(Asked),
    /// PORT or EPRT in place of what the client said, and the port at which the client is expected.
    Listening(PinholeId, u16, Announcement),
    /// PORT or EPRT, whose pinhole is in force already.
    Active(PinholeId, Announcement),
    /// RETR, STOR, LIST and their kin. `started` after a 1yz.
    Transfer {
        /// The server said that it opens the data connection.
        started: bool,
    },
    /// ABOR. Its own 226 may be preceded by the 426 of the transfer (RFC 959 §4.1.3). `optional` when the transfer before it
    /// ended well after all: some servers let that one reply answer both.
    Abor {
        /// It may have been answered already.
        optional: bool,
    },
    /// STAT, which may be answered in the middle of a transfer.
    Stat,
    /// AUTH: no further command is read until the answer.
    Auth,
    /// `EPSV ALL`.
    EpsvAll,
    /// REIN.
    Rein,
    /// FEAT, whose answer is not passed on as it is.
    Feat,
    /// PROT on its way to the server, whose 200 makes it so: `P` rather than `C`.
    Prot(bool),
    /// A command of ours, by which the server is to come to speak TLS; its answer is for nobody else.
    Own(Own),
    /// Any other command.
    Other,
    /// A command that was not passed on, and what ftpgate says to it.
    Local(Local),
    /// The NOOP that was sent in place of such a command, and what ftpgate says to the client when it is answered
    /// (RFC 6384 §12).
    Noop(Local),
}

/// What the server is told where it is to speak TLS, in this order (RFC 4217 §4, §8, §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Own {
    /// `AUTH TLS`.
    Auth,
    /// `PBSZ 0`.
    Pbsz,
    /// `PROT P`.
    Prot,
}

/// A request for a passive port. The two are the same unless the session translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What the client said, and so what its answer must look like: 227, 229, or for PORT and EPRT 200.
    pub client: Announcement,
    /// What the server was asked, and so what its answer looks like.
    pub server: Announcement,
}

/// The commands that await an answer, oldest first. Most clients await one at a time, which has its place here; only those that
/// pipeline need memory besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    first: Option<Kind>,
    /// Empty if there is no first. Short (`limits.pipeline`), so that taking from its front costs nothing; and every byte of an
    /// idle session counts.
    rest: Vec<Kind>,
}

impl Pending {
    /// Number of slots.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    /// Whether every command is answered.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = &Kind> {
        self.first.iter().chain(&self.rest)
    }

    /// Whether nothing is awaited for certain: at most the answer to an ABOR that may have had it.
    pub fn is_quiet(&self) -> bool {
        self.iter().all(|kind| matches!(kind, Kind::Abor { optional: true }))
    }

    /// A command was sent, or will be answered here.
    pub fn push(&mut self, kind: Kind) {
        match self.first {
            None => self.first = Some(kind),
            Some(_) => self.rest.push(kind),
        }
    }

    /// The slot that the next reply belongs to.
    pub fn front(&self) -> Option<Kind> {
        self.first
    }

    /// Takes the answered slot off. A FIFO of at most one gives its memory back.
    pub fn pop(&mut self) -> Option<Kind> {
        let next = self.take(0);
        if self.rest.is_empty() {
            self.rest = Vec::new();
        }
        std::mem::replace(&mut self.first, next)
    }

    /// Takes off the slot at this place.
    fn remove(&mut self, at: usize) -> Option<Kind> {
        match at.checked_sub(1) {
            None => self.pop(),
            Some(behind) => self.take(behind),
        }
    }

    /// Takes this one out of the rest.
    fn take(&mut self, at: usize) -> Option<Kind> {
        (at < self.rest.len()).then(|| self.rest.remove(at))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a transfer is under way: the server said 1yz and nothing final yet.
    pub fn is_transferring(&self) -> bool {
        self.iter().any(|kind| matches!(kind, Kind::Transfer { started: true }))
    }

    /// Whether the server was asked for EPSV.
    pub fn has_epsv(&self) -> bool {
        self.iter().any(|kind| matches!(kind, Kind::Passive(Asked { server: Announcement::Epsv, .. })))
    }

    /// Whether a transfer command awaits an answer, preliminary or final.
    pub fn has_transfer(&self) -> bool {
        self.iter().any(|kind| matches!(kind, Kind::Transfer { .. }))
    }

    /// Whether an address has been announced that no reply has confirmed yet.
    pub fn has_announcement(&self) -> bool {
        self.iter().any(|kind| matches!(kind, Kind::Passive(_) | Kind::Active(..) | Kind::Listening(..)))
    }

    /// The front slot was answered with 1yz. Says whether a transfer has started with that.
    pub fn mark_started(&mut self) -> bool {
        match &mut self.first {
            Some(Kind::Transfer { started }) => !std::mem::replace(started, true),
            _ => false,
        }
    }

    /// Brings the slot to the front that a reply with this code answers, where FTP servers do not keep the order:
    ///
    /// - a STAT in the middle of a transfer is answered at once (RFC 959 §4.1.3), before the transfer's own 226;
    /// - ABOR has two replies at most, of which one may be missing: whatever cannot answer it belongs to the next command. Once
    ///   it may have been answered, that includes refusals: a server that knows ABOR does not refuse it.
    pub fn settle(&mut self, code: Code) {
        if let Some(transfer @ Kind::Transfer { started: true }) = self.first {
            // What is answered here waits behind the transfer; the server has not seen it.
            let seen = |(_, kind): &(usize, &Kind)| !matches!(kind, Kind::Local(_));
            let next = self.rest.iter().enumerate().find(seen);
            if let (211..=213, Some((at, Kind::Stat))) = (code.0, next)
                && let Some(stat) = self.take(at)
            {
                self.first = Some(stat);
                self.rest.insert(0, transfer);
            }
            return;
        }
        while let Some(Kind::Abor { optional }) = self.first
            && self.len() > 1
            && !answers_abor(code, optional)
        {
            self.pop();
        }
    }

    /// Takes off what ftpgate shall say now, if its turn has come. An ABOR that may have had its answer keeps nobody waiting: a
    /// client that believes so would wait for ever.
    pub fn pop_local(&mut self) -> Option<Local> {
        let in_turn = |(_, kind): &(usize, Kind)| !matches!(kind, Kind::Abor { optional: true });
        let (at, kind) = self.iter().copied().enumerate().find(in_turn)?;
        let Kind::Local(reply) = kind else { return None };
        self.remove(at);
        Some(reply)
    }

    /// The transfer before an ABOR ended well: the same reply may have been ABOR's.
    pub fn abor_may_be_answered(&mut self) {
        // What is answered here stands between the two only in our eyes.
        let next = self.first.iter_mut().chain(&mut self.rest).find(|kind| !matches!(kind, Kind::Local(_)));
        if let Some(Kind::Abor { optional }) = next {
            *optional = true;
        }
    }
}

/// 225 and 226 (RFC 959 §5.4), the 426 before them, and every refusal of one that still must be answered.
fn answers_abor(code: Code, optional: bool) -> bool {
    matches!(code.0, 225 | 226) || (code.is_negative() && !optional)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_answered_before_the_transfer_it_asks_about() {
        let mut pending = Pending::default();
        pending.push(Kind::Transfer { started: true });
        pending.push(Kind::Stat);
        pending.settle(Code(213));
        assert_eq!(pending.pop(), Some(Kind::Stat));
        pending.settle(Code(226));
        assert_eq!(pending.pop(), Some(Kind::Transfer { started: true }));
    }

    #[test]
    fn an_abor_that_was_never_answered_does_not_shift_the_replies_behind_it() {
        let mut pending = Pending::default();
        pending.push(Kind::Abor { optional: false });
        let asked = Asked { client: Announcement::Pasv, server: Announcement::Pasv };
        pending.push(Kind::Passive(asked));
        pending.settle(Code(227));
        assert_eq!(pending.front(), Some(Kind::Passive(asked)));
    }

    #[test]
    fn a_fifo_of_at_most_one_owns_no_memory() {
        let mut pending = Pending::default();
        pending.push(Kind::Other);
        assert_eq!(pending.rest.capacity(), 0);
        pending.push(Kind::Stat);
        assert_eq!(pending.pop(), Some(Kind::Other));
        assert_eq!((pending.len(), pending.rest.capacity()), (1, 0));
        assert_eq!(pending.pop(), Some(Kind::Stat));
        assert!(pending.is_empty());
    }

    #[test]
    fn an_own_answer_is_taken_from_behind_an_abor_that_keeps_nobody_waiting() {
        let mut pending = Pending::default();
        pending.push(Kind::Abor { optional: true });
        pending.push(Kind::Local(Local::Syntax));
        assert_eq!(pending.pop_local(), Some(Local::Syntax));
        assert_eq!(pending.front(), Some(Kind::Abor { optional: true }));
        assert_eq!(pending.pop_local(), None);
    }
}
