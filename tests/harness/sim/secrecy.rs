//! Who speaks TLS with whom, as it can be seen from outside, and what must be true of that whoever talks.
//!
//! Lives here: [`records`], and [`Secrecy`]: no byte leaves in the middle of a handshake; no name, no password and no command about TLS goes where it
//! must not; each data connection has the protection that PROT said; nothing but the passive ports is opened for a session that
//! cannot be read. Not here: when handshakes are done (`world`).

use ftpgate::pinhole::{Protection, RangeRequest};
use ftpgate::session::effect::{EndReason, Event, Side};
use ftpgate::session::replies::Local;
use ftpgate::session::{Ends, Ftps, Security};

use super::firewall::Firewall;
use super::random::Random;
use super::text::{self, Lines};

/// What was seen of it.
pub struct Secrecy {
    security: Security,
    secured: [bool; 2],
    /// The handshake under way.
    handshake: Option<Side>,
    /// What PROT said last.
    private: bool,
    range_is_open: bool,
    to_client: Lines,
    to_server: Lines,
    /// Handshakes that were begun.
    pub handshakes: u64,
    /// Data connections with protection that were asked for.
    pub protected: u64,
}

/// Rules about FTPS, any of them; where both peers behave, such that these can tell what is whose.
pub fn rules(strict: bool, random: &mut Random) -> Security {
    let ftps = *random.pick(&[Ftps::Pass, Ftps::Pass, Ftps::Refuse, Ftps::Terminate, Ftps::Terminate, Ftps::Bridge]);
    Security {
        ftps,
        server_tls: !strict && ftps == Ftps::Terminate && random.once_in(3),
        implicit: ftps == Ftps::Terminate && random.once_in(4),
        require: !strict && random.once_in(4),
        allow_ccc: random.once_in(2),
        range: (ftps == Ftps::Pass && random.once_in(2)).then_some((50_000, 50_100)),
    }
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Server)
}

impl Secrecy {
    /// Of a new session.
    pub fn new(security: Security) -> Self {
        Self {
            security,
            secured: [false; 2],
            handshake: None,
            private: false,
            range_is_open: false,
            to_client: Lines::default(),
            to_server: Lines::default(),
            handshakes: 0,
            protected: 0,
        }
    }

    /// A handshake is asked for.
    pub fn secure(&mut self, side: Side) {
        assert!(matches!(self.security.ftps, Ftps::Terminate | Ftps::Bridge), "TLS, and nobody asked for it");
        assert!(!self.secured[index(side)], "{side:?} is secured twice");
        assert_eq!(self.handshake.replace(side), None, "two handshakes at a time");
        let bridges = self.security.ftps == Ftps::Bridge;
        assert!(!bridges || side == Side::Server || self.secured[1], "a bridge secures the server first");
        self.handshakes += 1;
    }

    /// The handshake under way comes to its end, if there is one.
    pub fn ends(&mut self, fails: bool) -> Option<Event<'static>> {
        let side = self.handshake?;
        if fails {
            return Some(Event::Lost(EndReason::Tls));
        }
        self.handshake = None;
        self.secured[index(side)] = true;
        self.private |= side == Side::Client && self.security.implicit;
        Some(Event::Secured(side))
    }

    /// A side is to go back to clear text.
    pub fn unsecure(&mut self, side: Side) {
        assert!(self.security.allow_ccc && side == Side::Client && self.security.ftps == Ftps::Terminate);
        assert!(std::mem::replace(&mut self.secured[0], false), "it was clear before");
    }

    /// Bytes leave, in TLS or in clear; `read`: the session is one that can be read.
    pub fn sent(&mut self, side: Side, bytes: &[u8], urgent: bool, read: bool) {
        assert_ne!(self.handshake, Some(side), "in the middle of a handshake: {}", String::from_utf8_lossy(bytes));
        assert!(!urgent || !self.secured[index(side)], "urgent data in TLS");
        if side == Side::Client {
            for line in self.to_client.feed(bytes) {
                if line.ends_with(Local::ProtPrivate.line()) || line.ends_with(Local::ProtClear.line()) {
                    self.private = line.ends_with(Local::ProtPrivate.line());
                }
            }
        } else if read {
            for line in self.to_server.feed(bytes) {
                self.told_server(text::without_telnet(&line));
            }
        }
    }

    fn told_server(&self, line: &[u8]) {
        let Security { ftps, server_tls, require, .. } = self.security;
        let shown = String::from_utf8_lossy(line);
        let (verb, _) = text::verb_and_argument(line);
        let about_tls = matches!(&*verb, "AUTH" | "PBSZ" | "PROT" | "CCC");
        if ftps == Ftps::Refuse || (ftps == Ftps::Terminate && !server_tls) {
            assert!(!about_tls, "not for the server: {shown}");
        }
        if ftps == Ftps::Terminate && server_tls && !self.secured[1] {
            assert_eq!(line, b"AUTH TLS\r\n", "in clear to a server of TLS");
        }
        if require && ftps != Ftps::Refuse && !self.secured[0] {
            assert!(!matches!(&*verb, "USER" | "PASS" | "ACCT"), "a secret that came in clear: {shown}");
        }
    }

    /// A data connection is asked for.
    pub fn asked(&mut self, protection: Protection) {
        let expected = match self.security.ftps {
            Ftps::Pass | Ftps::Refuse => Protection::default(),
            Ftps::Terminate => Protection { client: self.private, server: self.security.server_tls },
            // What the server has said to PROT is not looked at here, only that both legs are the same.
            Ftps::Bridge => Protection { client: protection.client, server: protection.client },
        };
        assert_eq!(protection, expected, "the protection of a data connection");
        assert!(!protection.server || self.secured[1], "TLS for data, and none with the server");
        let bridged = self.security.ftps == Ftps::Bridge && protection.client;
        assert!(!bridged || self.secured[0], "TLS for data, and none with the client");
        self.protected += u64::from(protection.is_some());
    }

    /// Passive ports are asked for.
    pub fn open_range(&mut self, range: &RangeRequest, ends: &Ends) {
        assert!(!std::mem::replace(&mut self.range_is_open, true), "opened twice");
        let expected = RangeRequest {
            initiator: ends.client.ip(),
            entrance: ends.entrance(),
            target: ends.server.ip(),
            source: ends.source.ip(),
            ports: self.security.range.unwrap(),
        };
        assert_eq!((*range, ends.differ()), (expected, false));
    }

    /// They are not wanted any more.
    pub fn close_range(&mut self) {
        assert!(std::mem::replace(&mut self.range_is_open, false), "closed, and not open");
    }

    /// After each event: `opaque`: the session cannot be read.
    pub fn check(&self, opaque: bool, firewall: &Firewall) {
        // A change of PROT leaves nothing open that was asked for before.
        let stale = |it: Protection| self.security.ftps == Ftps::Terminate && it.client != self.private;
        assert!(!firewall.protections().any(stale), "open with another protection than PROT says");
        assert!(opaque || !self.range_is_open, "the passive ports of a session that can be read");
    }
}

/// TLS records that hold this, often with an alert behind them; or, if `nasty`, this where one should be.
pub fn records(nasty: bool, body: &[u8], random: &mut Random) -> Vec<u8> {
    let record = |kind: u8| [&[kind, 3, 3, 0, u8::try_from(body.len()).unwrap()][..], body].concat();
    match random.below(12) {
        0 if nasty => body.to_vec(),
        1..=8 => [record(23), record(21)].concat(),
        9 => record(22),
        _ => record(23),
    }
}
