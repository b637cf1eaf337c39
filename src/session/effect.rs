//! Everything that goes into and comes out of the session state machine, on one screen.
//!
//! Lives here: [`Event`], [`Effect`], [`Note`], [`EndReason`] and the outbox [`Effects`]. Plain data, no behaviour of the
//! session. Not here: what the session does with them (`mod.rs`, `client_side.rs`, `server_side.rs`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::data::Transfer;
use crate::pinhole::{Announcement, DataEvent, Joint, RangeRequest, Request};

/// One of the two control connections of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Towards the FTP client.
    Client,
    /// Towards the FTP server.
    Server,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A point on a monotonic clock of the caller's choice, in milliseconds. The session never asks what time it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Millis(pub u64);

/// Names a pinhole within its session. Never used twice in one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PinholeId(pub u32);

/// What can happen to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Bytes arrived from a side. Any segmentation means the same.
    Bytes(Side, &'a [u8]),
    /// The byte that comes next from the client is marked urgent (RFC 959 §4.1.3, the Telnet "Synch").
    Urgent,
    /// A side will send no more.
    Eof(Side),
    /// A side is lost, or nobody waits for the session any longer: it is over, for this reason.
    Lost(EndReason),
    /// The pinhole is in force; its entrance got this port.
    Granted(PinholeId, u16),
    /// The joint stands: what is dialled by us is connected, what is dialled by others listens at these ports, the client's and
    /// the server's (0 for a leg that we dialled).
    Joined(PinholeId, u16, u16),
    /// The pinhole could not be opened, or the joint not made.
    Refused(PinholeId),
    /// The TLS handshake with that side ([`Effect::Secure`]) is done: what comes from it from now on, and what goes there, is in TLS. If it fails,
    /// that is [`Event::Lost`] with [`EndReason::Tls`].
    Secured(Side),
    /// What the firewall saw of the data connection of a pinhole. May come long after [`Effect::Close`].
    Data(PinholeId, DataEvent),
    /// What that data connection has carried so far, in bytes: the answer to [`Effect::Measure`], if there is one.
    Measured(PinholeId, u64),
    /// Data connections that cannot be seen live: a session that cannot be read is not idle.
    Alive,
    /// The deadline may have passed.
    Tick,
    /// The daemon is going down: end as soon as nothing is under way.
    Drain,
}

/// What a session wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// Send these bytes to a side. `urgent`: mark the last of them urgent (`MSG_OOB`).
    Send {
        /// Where to.
        side: Side,
        /// What.
        bytes: &'a [u8],
        /// Whether the last byte is urgent.
        urgent: bool,
    },
    /// Once everything before has left, do the TLS handshake with this side, and answer with [`Event::Secured`]. The gateway is
    /// the TLS server of the client and the TLS client of the server. Until it is done the session reads neither side.
    Secure(Side),
    /// Send close_notify to this side, and go on in clear text: what follows, and what it says behind its own close_notify.
    Unsecure(Side),
    /// Admit data connections of a session that cannot be read, until the session ends or [`Effect::CloseRange`]. Not answered.
    OpenRange(Box<RangeRequest>),
    /// They are not wanted any more; those that live are left alone.
    CloseRange,
    /// Nothing more will be sent to this side: half-close it.
    Shutdown(Side),
    /// Open a pinhole and answer with [`Event::Granted`] or [`Event::Refused`].
    Open(PinholeId, Request),
    /// Make a data connection of two legs and answer with [`Event::Joined`] or [`Event::Refused`]. From then on it is a pinhole
    /// like any other; who dialled it is for its traffic who would have by the client's announcement.
    Join(PinholeId, Box<Joint>),
    /// The pinhole is no longer wanted, whether it was used or not.
    Close(PinholeId),
    /// Find out what the data connection of that pinhole has carried; answer with [`Event::Measured`] if that is known.
    Measure(PinholeId),
    /// What becomes of the data connection of that pinhole does not matter any more.
    Unwatch(PinholeId),
    /// End the data connection of that pinhole, so that both its ends notice. The side that receives the file, if known.
    Reset(PinholeId, Option<Side>),
    /// Count and log this.
    Note(Note),
    /// Count and log this transfer.
    Transferred(Box<Transfer>),
    /// The session is over: send what is queued, then close both sides. Nothing follows.
    End(EndReason),
}

/// A fact worth counting or logging. Carries nothing a peer could choose, except through the closed sets named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Note {
    /// A command was passed on to the server; the word is from the command table, or `other`.
    Command(&'static str),
    /// A command or a reply was refused, and the address that it announced, if it announced one.
    Refused(Refusal, Option<SocketAddr>),
    /// The server accepted a login.
    LoggedIn,
    /// The control channel became unreadable (234 or 334 to AUTH).
    Opaque,
    /// The control channel is readable again (CCC).
    Readable,
    /// The address or the port of an announcement was changed.
    Rewritten(Announcement),
    /// A data connection has come through a pinhole; so many milliseconds after the pinhole was there.
    PinholeUsed(Announcement, u64),
    /// A pinhole was not used in time.
    PinholeExpired(Announcement),
    /// The server does not know EPSV: worth remembering for its address, see [`Session::without_epsv`](super::Session::without_epsv).
    NoEpsv,
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, for tables of metrics.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that logs and metrics use.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

words! {
    /// Why something was refused. The session lives on unless [`EndReason::Hostile`] follows.
    Refusal {
        /// A command whose argument cannot be parsed.
        Syntax = "syntax",
        /// PORT or EPRT names another host than the client (RFC 2577 §3).
        ForeignAddress = "foreign_address",
        /// PORT or EPRT names a port below 1024 (RFC 2577 §3).
        LowPort = "low_port",
        /// EPRT or EPSV names another address family than the client's (RFC 2428 §2), or PASV cannot name it (RFC 6384 §7).
        Family = "family",
        /// LPRT or LPSV (RFC 1639), which nothing uses (RFC 6384 §1).
        LongAddress = "long_address",
        /// PORT, EPRT or PASV after `EPSV ALL` (RFC 2428 §3), or `EPSV ALL` where it is translated (RFC 6384 §6).
        EpsvAll = "epsv_all",
        /// A transfer command with no data port announced (RFC 959 §3.2 would use the default port).
        NoDataPort = "no_data_port",
        /// A line longer than `limits.line_length`.
        LineTooLong = "line_too_long",
        /// A carriage return that neither ends a line nor is quoted by a NUL (RFC 2640 §3.1).
        BareCr = "bare_cr",
        /// A NUL where there can be none.
        Nul = "nul",
        /// A verb with bytes that are not letters or digits.
        BadVerb = "bad_verb",
        /// The first line is no FTP command: another protocol is talking.
        CrossProtocol = "cross_protocol",
        /// Bytes were pipelined behind AUTH, or TLS did not follow its 234.
        StartTlsInjection = "starttls_injection",
        /// A 227, 228 or 229 that answers no PASV or EPSV.
        UnsolicitedPassive = "unsolicited_passive",
        /// A 227 or 229 with no usable address, or a port below 1024.
        PassiveReply = "passive_reply",
        /// A reply that answers no command.
        UnsolicitedReply = "unsolicited_reply",
        /// A line from the server that is no reply.
        ServerProtocol = "server_protocol",
        /// The server's answer to the NOOP that stands for a command it was not to see is not 200 (RFC 6384 §12).
        ServerNoop = "server_noop",
        /// A multi-line reply without end.
        ReplyTooLong = "reply_too_long",
        /// A Telnet option was offered or asked for (RFC 1123 §4.1.2.12).
        TelnetOption = "telnet_option",
        /// USER names another server than the session's, where USER names servers.
        OtherServer = "other_server",
        /// Too many commands, or too many servers named in vain, where USER names servers.
        Attempts = "attempts",
        /// The firewall could not open the pinhole.
        Pinhole = "pinhole",
        /// Bytes that are no TLS record, where client and server speak TLS with each other.
        NotTls = "not_tls",
        /// AUTH, PBSZ, PROT, CCC or another command about TLS that the policy forbids, or that comes in the wrong order.
        Security = "security",
        /// A name, a password or a transfer in clear text, where TLS is required.
        Unprotected = "unprotected",
        /// The server refuses the TLS that it is to speak.
        ServerTls = "server_tls",
    }
}

words! {
    /// Why a session ended.
    EndReason {
        /// The client closed.
        ClientClosed = "client_closed",
        /// The server closed.
        ServerClosed = "server_closed",
        /// Nobody logged in within `timeouts.login`.
        LoginTimeout = "login_timeout",
        /// Nothing happened for `timeouts.idle`.
        IdleTimeout = "idle_timeout",
        /// One side had closed and the other did not follow.
        HalfClosed = "half_closed",
        /// Input that no FTP peer sends.
        Hostile = "hostile",
        /// The daemon is going down.
        Drained = "drained",
        /// A TLS handshake failed, or the server refuses the TLS that it is to speak.
        Tls = "tls",
    }
}

/// The outbox of a session: filled by `handle`, emptied by the caller before the next event. It belongs to the caller, so
/// that one serves any number of sessions and an idle session holds no buffer.
#[derive(Debug, Default)]
pub struct Effects {
    queue: VecDeque<Queued>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
enum Queued {
    Send { side: Side, range: Range<usize>, urgent: bool },
    Other(Effect<'static>),
}

impl Effects {
    /// An empty outbox.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next effect to carry out, or `None` when all are.
    pub fn poll(&mut self) -> Option<Effect<'_>> {
        match self.queue.pop_front() {
            Some(Queued::Send { side, range, urgent }) => {
                Some(Effect::Send { side, bytes: self.bytes.get(range).unwrap_or_default(), urgent })
            }
            Some(Queued::Other(effect)) => Some(effect),
            None => {
                self.bytes.clear();
                None
            }
        }
    }

    /// Whether nothing is left to carry out.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Queues anything but bytes.
    pub(super) fn push(&mut self, effect: Effect<'static>) {
        self.queue.push_back(Queued::Other(effect));
    }

    /// Queues bytes for a side; joined with what was queued for that side just before.
    pub(super) fn send(&mut self, side: Side, parts: &[&[u8]]) {
        let start = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        let end = self.bytes.len();
        match self.queue.back_mut() {
            Some(Queued::Send { side: last, range, urgent: false }) if *last == side => range.end = end,
            _ if start == end => {}
            _ => self.queue.push_back(Queued::Send { side, range: start..end, urgent: false }),
        }
    }

    /// Queues bytes whose last one is urgent.
    pub(super) fn send_urgent(&mut self, side: Side, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.queue.push_back(Queued::Send { side, range: start..self.bytes.len(), urgent: true });
    }
}
