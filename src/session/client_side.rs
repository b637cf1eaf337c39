//! What the client's lines lead to.
//!
//! Lives here: the way of one command line, from the checks that any line must pass to the slot that awaits its answer. Not
//! here: PORT and EPRT addresses (`announce`), replies (`server_side`).

use super::effect::{Effect, Effects, Note, Refusal, Side};
use super::pending::Kind;
use super::replies::Local;
use super::{LONG_LINES, ServerMode, Session, Urgent};
use crate::pinhole::Announcement;
use crate::protocol::command::{self, Command, Malformed, Verb};

/// Telnet "Interrupt Process" and the first byte of "Data Mark", as the BSD client sends them: the IAC of the mark is the
/// urgent byte, the mark itself follows in the ordinary stream.
const SYNCH_URGENT: &[u8] = b"\xff\xf4\xff";
const SYNCH_MARK: &[u8] = b"\xf2";

impl Session {
    /// One line from the client, with its line end.
    pub(super) fn client_line(&mut self, line: &[u8], effects: &mut Effects) {
        let parsed = command::parse(line);
        if !self.seen_command {
            // A browser tricked into speaking to port 21, a scanner, another protocol: whatever does not begin with an FTP
            // command gets no pinhole later on either (NAT slipstreaming, ALPACA).
            if !matches!(parsed, Ok(Command { name: Some(_), .. })) {
                return self.hostile(Refusal::CrossProtocol, Local::NotFtp, effects);
            }
            self.seen_command = true;
        }
        match parsed {
            Ok(command) => self.command(line, command, effects),
            Err(malformed) => {
                let why = match malformed {
                    Malformed::Empty => Refusal::Syntax,
                    Malformed::BadVerb => Refusal::BadVerb,
                    Malformed::BareCr => Refusal::BareCr,
                    Malformed::Nul => Refusal::Nul,
                };
                let reply = if why == Refusal::Nul { Local::Syntax } else { Local::NotUnderstood };
                self.refuse(why, reply, effects);
            }
        }
    }

    /// A line beyond the limit; its rest will be skipped.
    pub(super) fn client_line_too_long(&mut self, effects: &mut Effects) {
        self.long_lines = self.long_lines.saturating_add(1);
        if !self.seen_command || self.long_lines >= LONG_LINES {
            return self.hostile(Refusal::LineTooLong, Local::NotFtp, effects);
        }
        self.refuse(Refusal::LineTooLong, Local::LineTooLong, effects);
    }

    fn command(&mut self, line: &[u8], command: Command<'_>, effects: &mut Effects) {
        let after_epsv_all = self.epsv_all && matches!(command.verb, Verb::Port | Verb::Eprt | Verb::Pasv | Verb::Lprt);
        match command.verb {
            _ if self.tls.is_some() && self.is_about_tls(line, &command, effects) => {}
            _ if after_epsv_all => self.refuse(Refusal::EpsvAll, Local::EpsvAll, effects),
            Verb::Port => self.port(line, &command, effects),
            Verb::Eprt => self.eprt(line, &command, effects),
            Verb::Pasv => self.pasv(line, &command, effects),
            Verb::Epsv => self.epsv(line, &command, effects),
            Verb::Lprt | Verb::Lpsv => self.refuse(Refusal::LongAddress, Local::LongAddress, effects),
            Verb::Transfer => {
                // A 227 that waits for its pinhole is off the FIFO and not in force yet, but it was asked for.
                if self.data_ready || self.pending.has_announcement() || self.held_reply.is_some() {
                    self.transfer(line, &command, effects);
                } else {
                    self.refuse(Refusal::NoDataPort, Local::NoDataPort, effects);
                }
            }
            Verb::Auth => {
                self.auth_pending = true;
                self.forward(line, &command, Kind::Auth, effects);
            }
            Verb::Algs => self.algs(line, &command, effects),
            Verb::Abor => self.forward(line, &command, Kind::Abor { optional: false }, effects),
            Verb::Stat => self.forward(line, &command, Kind::Stat, effects),
            Verb::Rein => self.forward(line, &command, Kind::Rein, effects),
            Verb::User => self.user(line, &command, effects),
            Verb::Type => {
                self.data.type_is(command.argument);
                self.forward(line, &command, Kind::Other, effects);
            }
            Verb::Pass | Verb::Quit | Verb::Other => self.forward(line, &command, Kind::Other, effects),
        }
    }

    fn pasv(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        // Within one family and mode it is the server's to refuse.
        if self.is_ipv6() && (self.ends.differ() || self.settings.server_mode == ServerMode::Active) {
            return self.refuse(Refusal::Family, Local::PasvIpv6, effects);
        }
        self.passive_asked(line, command, Announcement::Pasv, effects);
    }

    /// `EPSV`, `EPSV 1`, `EPSV 2`, `EPSV ALL` (RFC 2428 §3). A family other than the client's is answered here, since the
    /// data connection could not be made: the client talks to us in its own.
    fn epsv(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        // A 229 names no address, so the client dials the one that it dialled before; nothing of ours is there, unless a load
        // balancer brings that too.
        if !self.ends.is_balanced() && self.ends.entrance() != self.ends.original.ip() {
            return self.refuse(Refusal::Pinhole, Local::NoExtendedPassive, effects);
        }
        let argument = command.argument.trim_ascii();
        let own = if self.is_ipv6() { b"2" } else { b"1" };
        if argument.eq_ignore_ascii_case(b"ALL") {
            if self.settings.server_mode == ServerMode::Active {
                return self.refuse(Refusal::EpsvAll, Local::EpsvAllConverted, effects);
            }
            if self.ends.differ() && self.for_server(Announcement::Epsv) == Announcement::Pasv {
                return self.refuse(Refusal::EpsvAll, Local::EpsvAllTranslated, effects);
            }
            return self.forward(line, command, Kind::EpsvAll, effects);
        }
        if argument.is_empty() || argument == own {
            self.passive_asked(line, command, Announcement::Epsv, effects);
        } else if argument.iter().all(u8::is_ascii_digit) {
            self.refuse(Refusal::Family, self.only_family(), effects);
        } else {
            self.refuse(Refusal::Syntax, Local::Syntax, effects);
        }
    }

    /// Passes a command on, byte for byte, and remembers that it awaits an answer.
    pub(super) fn forward(&mut self, line: &[u8], command: &Command<'_>, kind: Kind, effects: &mut Effects) {
        self.forward_parts(&[line], command.name, command.verb, kind, effects);
    }

    /// The same for a line in pieces.
    pub(super) fn forward_parts(
        &mut self,
        line: &[&[u8]],
        name: Option<&'static str>,
        verb: Verb,
        kind: Kind,
        effects: &mut Effects,
    ) {
        effects.push(Effect::Note(Note::Command(name.unwrap_or("other"))));
        // Only these are sent during a transfer, with the Synch before them (RFC 959 §4.1.3). A server that reads its control
        // connection only when signalled, as vsftpd does, would not see them without it. Commands that were read before them
        // and had to wait leave it to them.
        let urgent = match verb {
            Verb::Abor | Verb::Stat | Verb::Quit => std::mem::replace(&mut self.urgent, Urgent::No),
            _ => Urgent::No,
        };
        match urgent {
            // A TLS record has no urgent byte, and a server of TLS reads its control connection without being signalled.
            _ if self.is_secured(Side::Server) => effects.send(Side::Server, line),
            Urgent::Telnet => {
                effects.send_urgent(Side::Server, SYNCH_URGENT);
                effects.send(Side::Server, &[SYNCH_MARK]);
                effects.send(Side::Server, line);
            }
            Urgent::Plain => effects.send_urgent(Side::Server, &line.concat()),
            Urgent::No => effects.send(Side::Server, line),
        }
        self.pending.push(kind);
    }

    /// Answers a command here, in its turn; the server never sees it.
    pub(super) fn refuse(&mut self, why: Refusal, reply: Local, effects: &mut Effects) {
        self.note_refusal(why, None, effects);
        self.answer(reply, effects);
    }

    /// Says something to the client once everything before it is answered.
    pub(super) fn answer(&mut self, reply: Local, effects: &mut Effects) {
        if self.wakes_server() {
            return self.answer_after_noop(reply, effects);
        }
        self.pending.push(Kind::Local(reply));
        self.answer_local(effects);
    }

    /// Our own answers whose turn has come. While a 227 waits for its pinhole, none has: it is older than they are.
    pub(super) fn answer_local(&mut self, effects: &mut Effects) {
        while self.held_reply.is_none()
            && let Some(reply) = self.pending.pop_local()
        {
            self.own_turn(reply, effects);
        }
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.ends.client.is_ipv6()
    }

    pub(super) fn only_family(&self) -> Local {
        if self.is_ipv6() { Local::OnlyIpv6 } else { Local::OnlyIpv4 }
    }
}
