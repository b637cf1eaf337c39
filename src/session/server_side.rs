//! What the server's replies lead to.
//!
//! Lives here: the way of one reply line, from the slot it answers to the client. Not here: what a 227 or 229 asks of the
//! firewall (`announce`).

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, EndReason, Millis, Note, Refusal, Side};
use super::pending::{Asked, Kind};
use super::replies::Local;
use super::{Channel, Session};
use crate::pinhole::Announcement;
use crate::protocol::command::{self, Verb};
use crate::protocol::reply::{Code, Part};

/// Lines of one multi-line reply beyond which the server is taken for broken. A directory listing over the control connection
/// (STAT) may be long; nothing of it is kept here.
const REPLY_LINES: u32 = 100_000;

/// What happens to the lines of a reply, decided at its first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Path {
    /// They go to the client as they are.
    Forward,
    /// The reply announces a passive port: only its last line counts and leaves (the others could name the address too).
    Announce(Asked),
    /// A 227, 228 or 229 that nobody asked for: its digits are blotted out.
    Mask,
    /// It answers what the client never said, and stays here.
    Hide,
    /// It waits until TLS is spoken (`tls`).
    Hold,
    /// It answers FEAT; behind its first line some lines are left out, and others come in their place (`tls`).
    Features,
}

impl Session {
    /// One line from the server, with its line end.
    pub(super) fn server_line(&mut self, line: &[u8], now: Millis, effects: &mut Effects) {
        match self.reply.feed(line) {
            Part::Single(code) => {
                self.begin_reply(code, effects);
                self.finish_reply(line, code, now, effects);
            }
            Part::First(code) => {
                self.begin_reply(code, effects);
                self.pass_line(line, effects);
                if code.0 == 211 && self.pending.front() == Some(Kind::Feat) {
                    self.reply_path = Path::Features;
                }
            }
            Part::Middle(_) => {
                if self.reply.lines() > REPLY_LINES {
                    return self.hostile(Refusal::ReplyTooLong, Local::ServerBroken, effects);
                }
                self.pass_line(line, effects);
            }
            Part::Last(code) => self.finish_reply(line, code, now, effects),
            Part::Garbage => self.garbage(line, effects),
        }
    }

    /// What the server left without a line end when it closed.
    pub(super) fn last_words(&mut self, effects: &mut Effects) {
        if self.awaits_greeting() && self.lost != Some(EndReason::Drained) {
            return self.say(Local::NoGreeting, effects);
        }
        if self.lost.is_some() {
            return;
        }
        let words = self.from_server.join(&[]).into_owned();
        // Half a 227 could still name an address, and so could a line of one that is masked or held back.
        let names = looks_passive(&words) || self.reply_path != Path::Forward;
        if !names && !matches!(self.pending.front(), Some(Kind::Passive(_) | Kind::Noop(_) | Kind::Own(_))) {
            effects.send(Side::Client, &[&words]);
        }
    }

    fn begin_reply(&mut self, code: Code, effects: &mut Effects) {
        self.pending.settle(code);
        let front = self.pending.front();
        self.reply_path = match (code.0, front) {
            (227, Some(Kind::Passive(asked @ Asked { server: Announcement::Pasv, .. })))
            | (229, Some(Kind::Passive(asked @ Asked { server: Announcement::Epsv, .. }))) => Path::Announce(asked),
            (_, Some(Kind::Own(_))) => Path::Hide,
            (_, Some(kind)) if self.holds(kind, code) => Path::Hold,
            // RFC 959 §5.4: 421 may come at any time, when the server must shut down.
            (421, _) => Path::Forward,
            (_, Some(Kind::Noop(_))) => Path::Hide,
            (100..=299, Some(Kind::Greeting)) if self.awaits_greeting() => Path::Hide,
            // Some servers have it and forbid it.
            (500..=502 | 504 | 550, Some(Kind::Passive(asked))) if self.falls_back(asked) => Path::Hide,
            (227..=229, _) => {
                self.note_refusal(Refusal::UnsolicitedPassive, None, effects);
                Path::Mask
            }
            (200..=299, Some(Kind::Listening(..))) => Path::Hide,
            (_, None) => {
                self.note_refusal(Refusal::UnsolicitedReply, None, effects);
                Path::Forward
            }
            _ => Path::Forward,
        };
    }

    /// A line that completes nothing.
    fn pass_line(&mut self, line: &[u8], effects: &mut Effects) {
        match self.reply_path {
            Path::Forward => effects.send(Side::Client, &[line]),
            Path::Announce(_) | Path::Hide => {}
            Path::Mask => self.send_masked(line, effects),
            Path::Hold => self.hold(line),
            Path::Features => self.feature(line, effects),
        }
    }

    /// The last line of a reply, or the only one.
    fn finish_reply(&mut self, line: &[u8], code: Code, now: Millis, effects: &mut Effects) {
        // 120: the greeting proper is yet to come (RFC 959 §5.4).
        let greets_later = self.awaits_greeting() && self.pending.front() == Some(Kind::Greeting);
        if code.is_preliminary() && (self.reply_path != Path::Hide || greets_later) {
            if self.pending.mark_started() {
                self.data.started(now);
            }
            return self.pass_line(line, effects);
        }
        let path = std::mem::replace(&mut self.reply_path, Path::Forward);
        // ABOR (RFC 959 §4.1.3): the 426 ends the transfer, ABOR's own 226 is yet to come.
        let waits = code.0 == 426 && matches!(self.pending.front(), Some(Kind::Abor { .. }));
        let answered = if waits { None } else { self.pending.pop() };
        match path {
            Path::Announce(asked) => {
                self.passive(line, asked, effects);
                return self.answer_local(effects);
            }
            Path::Mask => self.send_masked(line, effects),
            Path::Forward => effects.send(Side::Client, &[line]),
            Path::Hide => return self.hidden_answered(answered, code, now, effects),
            Path::Hold => {
                self.hold(line);
                return self.held_answered(answered, effects);
            }
            Path::Features => {
                self.own_features(effects);
                effects.send(Side::Client, &[line]);
            }
        }
        if let Some(kind) = answered {
            self.answered(kind, code, now, effects);
        }
        self.answer_local(effects);
    }

    /// What an answer means for the session.
    fn answered(&mut self, kind: Kind, code: Code, now: Millis, effects: &mut Effects) {
        if matches!(code.0, 230 | 232) {
            self.timers.login = None;
            effects.push(Effect::Note(Note::LoggedIn));
        }
        if let Kind::Transfer { started } = kind {
            self.data.answered(started, code, now);
        }
        match kind {
            // It was the answer to the client's USER. What is behind that, such as a password, was for a server that wants it.
            Kind::Greeting if self.greeted().is_some() => self.end(EndReason::ServerClosed),
            Kind::Active(id, announcement) if code.is_positive() => {
                self.close_pinhole(effects);
                self.in_force(id, announcement, now);
            }
            Kind::Active(id, _) | Kind::Listening(id, ..) => self.close(id, effects),
            Kind::Passive(asked) if asked.client.is_active() => self.data.forget_conversion(true),
            // Before a 1yz the data connection was not used: a client may name another file without a new PORT or PASV.
            Kind::Transfer { started } if started || code.is_positive() || matches!(code.0, 425 | 426) => {
                self.data_ready = false;
                self.close_pinhole(effects);
                if code.is_positive() {
                    self.pending.abor_may_be_answered();
                }
            }
            // RFC 959 §4.1.3: the data connection is closed, so nothing will use what was announced for it.
            Kind::Abor { .. } if code.is_positive() => {
                self.data_ready = false;
                self.close_pinhole(effects);
            }
            Kind::Prot(private) => {
                self.auth_pending = false;
                if code.is_positive() {
                    self.protect(private, effects);
                }
            }
            Kind::Auth => {
                self.auth_pending = false;
                if self.bridges() {
                    return self.not_bridged(code, effects);
                }
                // RFC 4217 §4: 234 and TLS begins. RFC 2228 §3: 334 and a security exchange begins. After anything else the
                // channel stays readable (RFC 6384 §5).
                match code.0 {
                    234 => self.opaque(Channel::Hello, effects),
                    334 => self.opaque(Channel::Opaque, effects),
                    _ => {}
                }
            }
            Kind::EpsvAll if code.is_positive() => self.epsv_all = true,
            // RFC 959 §4.1.1: everything as after the greeting, except a transfer that is under way.
            Kind::Rein if code.is_positive() => {
                self.epsv_all = false;
                self.algs_off = false;
                self.data.type_is(b"A");
                self.data_ready = false;
                self.close_pinhole(effects);
                self.timers.activity(now);
                self.timers.await_login(&self.settings);
            }
            _ => {}
        }
    }

    /// Not a reply at all.
    fn garbage(&mut self, line: &[u8], effects: &mut Effects) {
        self.note_refusal(Refusal::ServerProtocol, None, effects);
        if self.awaits_greeting() {
            self.say(Local::NoFtpServer, effects);
            return self.end(EndReason::Hostile);
        }
        // A server that sends commands is no server: somebody wants the gateway on the client's side to obey.
        let verb = command::parse(line).map(|command| command.verb);
        if matches!(verb, Ok(Verb::Port | Verb::Eprt | Verb::Lprt | Verb::Pasv | Verb::Epsv)) {
            return self.end(EndReason::Hostile);
        }
        match self.pending.front() {
            // In the place of a 227 it could be one in disguise; in the place of our own NOOP's answer it is for nobody.
            Some(Kind::Passive(_) | Kind::Noop(_) | Kind::Own(_)) => {}
            // A client that takes Telnet commands out of its stream may find one behind them.
            _ if looks_passive(line) || line.contains(&super::TELNET_IAC) => self.send_masked(line, effects),
            _ => effects.send(Side::Client, &[line]),
        }
    }

    /// The same line with a zero for every digit but those of its code, so that nobody can dial what it names.
    fn send_masked(&mut self, line: &[u8], effects: &mut Effects) {
        effects.send(Side::Client, &[&masked(line)]);
    }
}

/// Whether a client that compares no more than three digits could take the line for a passive reply.
fn looks_passive(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    text.starts_with(b"227") || text.starts_with(b"228") || text.starts_with(b"229")
}

/// What stands for a line that was too long: its beginning, with a line end. Digits of a passive reply that were cut would
/// name another port.
pub(super) fn cut(start: &[u8]) -> Vec<u8> {
    let mut line = if looks_passive(start) { masked(start) } else { start.to_vec() };
    line.extend_from_slice(b"\r\n");
    line
}

/// The line with a zero for every digit, except those of its code.
fn masked(line: &[u8]) -> Vec<u8> {
    let blanks = line.len() - line.trim_ascii_start().len();
    let text_at = if looks_passive(line) { blanks + 3 } else { 0 };
    let blot = |(at, &byte): (usize, &u8)| if at >= text_at && byte.is_ascii_digit() { b'0' } else { byte };
    line.iter().enumerate().map(blot).collect()
}
