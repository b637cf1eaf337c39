//! Firewall: the packet filter, as the rest of the program sees it.
//!
//! Lives here: the [`Backend`] trait that each packet filter implements, its error, and what the caller can do about it. Below it: `path`
//! (as sessions see it), `worker` (who changes it, and when), `ports` (which port an entrance gets), `nftables`, `relay`, `dry_run`; `tracking` (what
//! becomes of data connections) and `conntrack` (where Linux tells), `netlink` (what that and `nftables` share). Not here: FTP, and
//! any decision whether a pinhole should be opened.

#[cfg(target_os = "linux")]
pub mod conntrack;
pub mod dry_run;
#[cfg(target_os = "linux")]
mod netlink;
pub mod nftables;
pub mod path;
pub mod pf;
pub mod ports;
pub mod relay;
// pf is asked what there is; conntrack's events are what the rest of it is for.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports))]
pub mod tracking;
pub mod worker;

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::tracking::{End, Flow};
use crate::pinhole::{Pinhole, RangeRequest, SessionId};

/// One step of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Put a pinhole in force. One with the same key and the same addresses that is still there is renewed.
    Open(Pinhole),
    /// Take it back. Closing one that was used up, has expired or never was is fine.
    Close(Pinhole),
    /// End a live data connection. That there is none such is fine.
    Reset(Reset),
    /// Admit any number of connections to a range of ports, until it is closed. Opening one that is open is fine. Only where
    /// [`Habits::ranges`].
    OpenRange(RangeRequest),
    /// Admit no more of them. Those that live go on. Closing one that never was is fine.
    CloseRange(RangeRequest),
}

/// A live data connection that is to end at both ends, as soon as packets of it are forwarded. Its pinhole must be gone.
///
/// While data flows, both ends see `ECONNRESET` within a few hundred milliseconds: the receiver at its next acknowledgement,
/// the sender at its next packet, at the latest when it repeats one that was not acknowledged. When nothing flows, the next
/// data does it. Connection tracking must keep the connection until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The session that it belongs to.
    pub session: SessionId,
    /// The connection.
    pub flow: Flow,
    /// The end that receives the file. If nobody knows which does, ask for both: then the sender is reset at once, and the
    /// receiver only if an acknowledgement of it is still under way.
    pub receiver: End,
    /// How long to wait for the packets of an idle connection.
    pub lifetime: Duration,
}

impl Reset {
    /// The address of the receiver and that of the sender, as packets that are forwarded carry them: the initiator's
    /// untranslated, and the target's.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        let (initiator, target) = self.flow.ends();
        match self.receiver {
            End::Initiator => (initiator, target),
            End::Target => (target, initiator),
        }
    }
}

impl fmt::Display for Reset {
    /// One sentence for the log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (receiver, sender) = self.ends();
        write!(f, "the connection that carries data from {sender} to {receiver}")
    }
}

/// What a packet filter can do by itself, and what it does best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// A pinhole is used up by its first packet without anybody's doing. Otherwise it is closed as soon as it is seen used.
    pub one_shot: bool,
    /// Steps that one transaction should have at most: what comes later must not wait for long.
    pub largest_batch: usize,
    /// A change takes microseconds, so that whoever wants one carries it out on its own thread.
    pub direct: bool,
    /// It listens at entrances itself (the relay): they must be addresses of this host, and their ports are always its own to
    /// choose, also where the target's address is the entrance's.
    pub listens: bool,
    /// It can admit connections to a range of ports ([`Change::OpenRange`]).
    pub ranges: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self { one_shot: true, largest_batch: 100, direct: false, listens: false, ranges: false }
    }
}

/// What a packet filter must be able to do. Calls block, mostly for microseconds, and one at a time.
pub trait Backend: Send {
    /// The word for logs and metrics.
    fn name(&self) -> &'static str;

    /// What it can do by itself, and what it does best.
    fn habits(&self) -> Habits {
        Habits::default()
    }

    /// Makes sure that pinholes can be opened, and takes away what a dead predecessor left. Called once, before the first
    /// client is accepted.
    ///
    /// # Errors
    /// Says in one sentence what is missing and how to fix it.
    fn verify(&mut self) -> Result<(), Error>;

    /// Carries out all of these in one transaction: all or nothing.
    ///
    /// # Errors
    /// Nothing was changed.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Error>;

    /// Takes back everything that is ours and nothing else. Doing so twice is fine.
    ///
    /// # Errors
    /// The first one, after every step was tried.
    fn clear(&mut self) -> Result<(), Error>;
}

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The process may not change the packet filter. Needs the administrator.
    Permission,
    /// A table, set, map or anchor that must be there is not. Needs the administrator.
    Missing,
    /// A table of ours is there and belongs to somebody else. Needs the administrator.
    Taken,
    /// The kernel cannot do it. Needs another kernel or another backend.
    Unsupported,
    /// The set, the port range or the kernel's memory is full. May pass.
    Full,
    /// The packet filter is in the middle of something. Passes within milliseconds.
    Busy,
    /// Somebody else has the port of the entrance. Another one may be free.
    InUse,
    /// A peer that was to be dialled cannot be reached.
    Unreachable,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// All of them, for tables of metrics.
    pub const ALL: [Self; 9] = [
        Self::Permission,
        Self::Missing,
        Self::Taken,
        Self::Unsupported,
        Self::Full,
        Self::Busy,
        Self::InUse,
        Self::Unreachable,
        Self::Other,
    ];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::Missing => "missing",
            Self::Taken => "taken",
            Self::Unsupported => "unsupported",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::InUse => "in_use",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }
}

/// A failure of the packet filter: a kind for the program, a sentence for the administrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    kind: ErrorKind,
    text: String,
}

impl Error {
    /// `text` says what happened, where, and what to do.
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// The error of a backend that cannot do it.
pub(in crate::firewall) fn no_ranges(backend: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{backend} cannot admit data connections to the passive ports of a session that became TLS (passive_ports); use \
             firewall.backend: nftables, or accept them in your own rules"
        ),
    )
}
