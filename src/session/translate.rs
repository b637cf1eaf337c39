//! A client and a server of different address families (RFC 6384).
//!
//! Lives here: what the server is asked or told in place of what the client said, the lines that stand for others, ALGS, and
//! the NOOP that stands for a command which the server does not see. Not here: from an announcement to a pinhole (`announce`),
//! which is the same for one family and for two.
//!
//! The RFC is about IPv6 clients of IPv4 servers (§6: EPSV becomes PASV; §7: EPRT becomes PORT). Where it is the other way
//! round, PASV becomes EPSV and PORT becomes EPRT by the same rules. Two things differ from a translator of packets, for which
//! it is written: an EPRT for somebody else never passes (§7 would let it pass unchanged; here it is refused as in every
//! session), and with `ALGS DISABLE64` the data connections of a plain EPSV are still brought across, since nothing else would.

use super::Session;
use super::convert::Epsv;
use super::effect::{Effects, Millis, Refusal, Side};
use super::pending::{Asked, Kind};
use super::replies::Local;
use crate::pinhole::Announcement;
use crate::protocol::command::{Command, Verb};
use crate::protocol::reply::Code;

/// The line that announces in this notation, without the announcement: what stands before it and what behind.
pub(super) fn line(notation: Announcement) -> (&'static [u8], &'static [u8]) {
    match notation {
        Announcement::Port => (b"PORT ", b"\r\n"),
        Announcement::Eprt => (b"EPRT ", b"\r\n"),
        Announcement::Pasv => (b"227 Entering Passive Mode (", b").\r\n"),
        Announcement::Epsv => (b"229 Entering Extended Passive Mode (|||", b"|)\r\n"),
    }
}

impl Session {
    /// What the server is asked or told where the client says this (RFC 6384 §6, §7).
    pub(super) fn for_server(&self, announcement: Announcement) -> Announcement {
        let lacks = announcement == Announcement::Epsv && self.epsv == Epsv::Lacking && self.ends.server.is_ipv4();
        if self.translates() || lacks { self.servers_own(announcement.is_active()) } else { announcement }
    }

    /// How a server of its family is asked, or told, whatever else it knows.
    pub(super) fn servers_own(&self, active: bool) -> Announcement {
        match (self.ends.server.is_ipv6(), active) {
            (false, false) => Announcement::Pasv,
            (false, true) => Announcement::Port,
            (true, false) => Announcement::Epsv,
            (true, true) => Announcement::Eprt,
        }
    }

    /// Asks the server for the passive port that the client asks for.
    pub(super) fn ask(&mut self, line: &[u8], command: &Command<'_>, client: Announcement, effects: &mut Effects) {
        let server = self.for_server(client);
        if self.translates() || server != client {
            return self.ask_anew(Asked { client, server }, effects);
        }
        self.forward(line, command, Kind::Passive(Asked { client, server }), effects);
    }

    /// Asks in a line of our own: without the argument that the client may have given, which would name the client's family.
    pub(super) fn ask_anew(&mut self, asked: Asked, effects: &mut Effects) {
        let (line, name, verb) = match asked.server {
            Announcement::Epsv => (&b"EPSV\r\n"[..], "EPSV", Verb::Epsv),
            _ => (&b"PASV\r\n"[..], "PASV", Verb::Pasv),
        };
        self.forward_parts(&[line], Some(name), verb, Kind::Passive(asked), effects);
    }

    /// `ALGS STATUS64`, `ENABLE64`, `DISABLE64` (RFC 6384 §11). Where nothing is translated of which it speaks, it is a command
    /// like any other.
    pub(super) fn algs(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        if !self.ends.differ() || !self.is_ipv6() {
            return self.forward(line, command, Kind::Other, effects);
        }
        let argument = command.argument.trim_ascii();
        let is = |word: &[u8]| argument.eq_ignore_ascii_case(word);
        if argument.is_empty() {
            return self.refuse(Refusal::Syntax, Local::Syntax, effects);
        } else if is(b"ENABLE64") {
            self.algs_off = false;
        } else if is(b"DISABLE64") {
            self.algs_off = true;
        } else if !is(b"STATUS64") {
            return self.refuse(Refusal::Syntax, Local::AlgsUnknown, effects);
        }
        self.answer(if self.algs_off { Local::AlgsOff } else { Local::AlgsOn }, effects);
    }

    /// Whether a command that the server does not see is to be replaced by a NOOP (RFC 6384 §12). Not before the login, where
    /// servers answer 530 to it; not with a transfer under way, which keeps the session alive by itself and before whose end
    /// some servers would answer; and not if the server cannot answer any more.
    pub(super) fn wakes_server(&self) -> bool {
        self.ends.differ() && self.timers.login.is_none() && !self.pending.has_transfer() && !self.closed.server
    }

    /// The server gets a NOOP, and the client its answer when the NOOP has one: so it comes in its turn.
    pub(super) fn answer_after_noop(&mut self, reply: Local, effects: &mut Effects) {
        effects.send(Side::Server, &[b"NOOP\r\n"]);
        self.pending.push(Kind::Noop(reply));
    }

    /// A reply that the client does not see. To our NOOP anything but 200 means that we and the server do not speak of the same
    /// command (RFC 6384 §12).
    pub(super) fn hidden_answered(&mut self, answered: Option<Kind>, code: Code, now: Millis, effects: &mut Effects) {
        match (answered, code) {
            (Some(Kind::Noop(reply)), Code(200)) => self.own_turn(reply, effects),
            (Some(Kind::Own(own)), _) => self.own_answered(own, code, effects),
            (Some(Kind::Listening(id, port, announcement)), _) => {
                self.passive_by_active(id, port, announcement, now, effects);
            }
            (Some(Kind::Passive(asked)), _) => return self.fall_back(asked, effects),
            (Some(Kind::Greeting), _) => return self.log_in(effects),
            _ => return self.hostile(Refusal::ServerNoop, Local::ServerLost, effects),
        }
        self.answer_local(effects);
    }

    /// Whether commands and replies are translated.
    fn translates(&self) -> bool {
        self.ends.differ() && !self.algs_off
    }
}
