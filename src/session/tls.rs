//! FTPS (RFC 4217) that ends here, or that must not be: `ftps: refuse | terminate | bridge`.
//!
//! Lives here: who is to speak TLS when, and the commands about it (AUTH, PBSZ, PROT, CCC, FEAT). Not here: the handshake, which the
//! caller does for [`Effect::Secure`]; TLS that client and server speak with each other (`opaque`).
//!
//! - **Terminate**: AUTH is answered here. The server sees nothing of it; or it is made to speak TLS before its greeting is
//!   passed on, by our own AUTH, PBSZ and PROT, and a server that refuses one of them gets no client.
//! - **Bridge**: AUTH goes to the server. Its 234 waits until we speak TLS with it; then the client gets it, and then the client's
//!   handshake follows. What the server refuses stays clear on both sides. PROT holds for both once the server says 200.
//!
//! **Nothing is carried over.** What was sent behind the line that a handshake follows is clear text, which somebody in the
//! middle could have added; it ends the session before the handshake begins. While AUTH, PROT or CCC await their turn in the FIFO
//! the client is not read, so each takes effect between two commands and never in the middle of one.
//!
//! **A change of PROT voids what was announced**: its pinhole was asked for with the other protection.
//!
//! **REIN within TLS gets 502.** RFC 4217 §13 has it end TLS on the control connection, which of today's servers hardly one does
//! (the others refuse it or stay in TLS), and a peer that is of another mind than we would send in clear what it believes to be
//! secured. To connect again does the same without the risk.

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, EndReason, Millis, Refusal, Side};
use super::opaque::Framing;
use super::pending::{Kind, Own};
use super::replies::Local;
use super::{Ftps, Security, Session, Sides};
use crate::pinhole::Protection;
use crate::protocol::command::{Command, Verb};
use crate::protocol::line;
use crate::protocol::reply::Code;
use crate::protocol::telnet::TelnetFilter;

/// Most bytes of a reply that waits for TLS; lines of it that do not fit are left out, but never its last.
const HELD: usize = 4096;

/// Which handshake is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Handshake {
    None,
    /// As soon as the event is dealt with that led to it.
    Next(Side),
    UnderWay(Side),
}

/// What a session knows of TLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) security: Security,
    handshake: Handshake,
    secured: Sides,
    /// The client went back to clear commands (CCC).
    left: bool,
    /// The server is yet to be made to speak TLS. Until it does, the client is not read.
    preparing: bool,
    /// PBSZ was said.
    sized: bool,
    /// `PROT P` is in force.
    private: bool,
    /// `PROT P` will be, with the handshake: AUTH SSL and AUTH TLS-P.
    to_be_private: bool,
    /// The reply that waits for TLS.
    held: Vec<u8>,
    /// Where in their TLS client and server are, if they speak it with each other.
    pub(super) framing: Option<Framing>,
    /// The server's passive ports are open.
    pub(super) range_is_open: bool,
}

impl State {
    fn new(security: Security) -> Self {
        let terminates = security.ftps == Ftps::Terminate;
        let implicit = terminates && security.implicit;
        Self {
            security,
            handshake: if implicit { Handshake::Next(Side::Client) } else { Handshake::None },
            secured: Sides::default(),
            left: false,
            preparing: terminates && security.server_tls,
            sized: implicit,
            private: implicit,
            to_be_private: implicit,
            held: Vec::new(),
            framing: None,
            range_is_open: false,
        }
    }

    /// Whether a session does without.
    pub(super) fn is_needless(&self) -> bool {
        self.security == Security::default() && self.framing.is_none()
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new(Security::default())
    }
}

impl Session {
    /// The same session, of a listener with these rules about FTPS. For a new session only.
    #[must_use]
    pub fn with_security(mut self, security: Security) -> Self {
        let state = State::new(security);
        self.tls = (!state.is_needless()).then(|| Box::new(state));
        self
    }

    /// Which legs of a data connection that is announced now are TLS.
    pub(super) fn protection(&self) -> Protection {
        let Some(tls) = &self.tls else { return Protection::default() };
        match tls.security.ftps {
            Ftps::Pass | Ftps::Refuse => Protection::default(),
            Ftps::Terminate => Protection { client: tls.private, server: tls.security.server_tls },
            Ftps::Bridge => Protection { client: tls.private, server: tls.private },
        }
    }

    /// Whether this side speaks TLS with us.
    pub(super) fn is_secured(&self, side: Side) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.secured.has(side))
    }

    /// Whether a handshake is due or under way, so that nothing can be read.
    pub(super) fn is_shaking_hands(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake != Handshake::None)
    }

    /// Whether the client can be told nothing at this moment.
    pub(super) fn is_silenced(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshake == Handshake::UnderWay(Side::Client))
    }

    /// Whether the session waits for its first event to begin the handshake that comes before everything else.
    pub(super) fn begins_with_tls(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| matches!(tls.handshake, Handshake::Next(_)))
    }

    /// Whether the server is not there yet for the client's commands.
    pub(super) fn prepares(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.preparing)
    }

    /// Whether AUTH goes to the server and ends here all the same.
    pub(super) fn bridges(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.security.ftps == Ftps::Bridge)
    }

    // --- Handshakes.

    /// What was announced in clear is void, and this side's handshake comes next.
    fn secure(&mut self, side: Side, effects: &mut Effects) {
        self.void(effects);
        if let Some(tls) = &mut self.tls {
            tls.handshake = Handshake::Next(side);
        }
    }

    /// Begins the handshake that is due, once all is read that could be read before.
    pub(super) fn shake_hands(&mut self, effects: &mut Effects) {
        let Some(Handshake::Next(side)) = self.tls.as_ref().map(|tls| tls.handshake) else { return };
        if self.has_ended() || self.lost.is_some() {
            return;
        }
        // Behind the line that leads to it the peer has nothing to say before it. In a bridge that goes for the client
        // already while the server's handshake comes first.
        let spoke_on = !self.buffer(side).is_empty() || !self.from_client.is_empty();
        if spoke_on || (side == Side::Client && self.telnet != TelnetFilter::default()) {
            return self.hostile(Refusal::StartTlsInjection, Local::Injection, effects);
        }
        if let Some(tls) = &mut self.tls {
            tls.handshake = Handshake::UnderWay(side);
            effects.push(Effect::Secure(side));
        }
    }

    /// A handshake is done.
    pub(super) fn secured(&mut self, side: Side, now: Millis, effects: &mut Effects) {
        let Some(tls) = self.tls.as_mut().filter(|tls| tls.handshake == Handshake::UnderWay(side)) else { return };
        tls.handshake = Handshake::None;
        tls.secured.set(side);
        self.timers.activity(now);
        match side {
            Side::Client => {
                tls.private = tls.to_be_private;
                self.auth_pending = false;
            }
            Side::Server if tls.preparing => self.tell_server(Own::Pbsz, effects),
            Side::Server => {
                self.release(effects);
                self.secure(Side::Client, effects);
            }
        }
    }

    // --- The server's TLS.

    /// Whether this reply to this command waits for TLS.
    pub(super) fn holds(&self, kind: Kind, code: Code) -> bool {
        match kind {
            Kind::Greeting => self.prepares() && code.is_positive(),
            Kind::Auth => self.bridges() && code.0 == 234,
            _ => false,
        }
    }

    /// A line of such a reply.
    pub(super) fn hold(&mut self, line: &[u8]) {
        let Some(tls) = &mut self.tls else { return };
        // Of the last line there is always room for all.
        let fits = tls.held.len() + line.len() <= HELD && (self.reply.lines() == 1 || !tls.held.is_empty());
        if fits || self.reply.lines() == 0 {
            tls.held.extend_from_slice(line);
        }
    }

    /// The last line of it was there.
    pub(super) fn held_answered(&mut self, answered: Option<Kind>, effects: &mut Effects) {
        match answered {
            Some(Kind::Greeting) => self.tell_server(Own::Auth, effects),
            _ => self.secure(Side::Server, effects),
        }
    }

    /// What was held back goes to the client.
    fn release(&mut self, effects: &mut Effects) {
        let held = self.tls.as_mut().map(|tls| std::mem::take(&mut tls.held)).unwrap_or_default();
        self.tell(&held, effects);
    }

    fn tell_server(&mut self, own: Own, effects: &mut Effects) {
        let line: &[u8] = match own {
            Own::Auth => b"AUTH TLS\r\n",
            Own::Pbsz => b"PBSZ 0\r\n",
            Own::Prot => b"PROT P\r\n",
        };
        effects.send(Side::Server, &[line]);
        self.pending.push(Kind::Own(own));
    }

    /// The server's answer to that.
    pub(super) fn own_answered(&mut self, own: Own, code: Code, effects: &mut Effects) {
        match own {
            Own::Auth if code.0 == 234 => self.secure(Side::Server, effects),
            Own::Pbsz if code.is_positive() => self.tell_server(Own::Prot, effects),
            Own::Prot if code.is_positive() => {
                if let Some(tls) = &mut self.tls {
                    tls.preparing = false;
                }
                self.release(effects);
            }
            _ => {
                self.note_refusal(Refusal::ServerTls, None, effects);
                self.say(Local::ServerNoTls, effects);
                self.end(EndReason::Tls);
            }
        }
    }

    /// The server has answered AUTH, and not with 234.
    pub(super) fn not_bridged(&mut self, code: Code, effects: &mut Effects) {
        // To AUTH TLS it has no other way to agree.
        if !code.is_negative() {
            self.hostile(Refusal::ServerProtocol, Local::ServerLost, effects);
        }
    }

    // --- The client's commands.

    /// Whether the command is about TLS, or must not be without it, and so is dealt with here.
    pub(super) fn is_about_tls(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) -> bool {
        let Some(tls) = &self.tls else { return false };
        let ftps = tls.security.ftps;
        let ends_here = matches!(ftps, Ftps::Terminate | Ftps::Bridge);
        let secret = matches!(command.verb, Verb::User | Verb::Pass) || command.name == Some("ACCT");
        if tls.security.require && ftps != Ftps::Refuse {
            if secret && !tls.secured.client {
                self.refuse(Refusal::Unprotected, Local::NeedsTls, effects);
                return true;
            }
            if ends_here && command.verb == Verb::Transfer && !tls.private {
                self.refuse(Refusal::Unprotected, Local::NeedsPrivate, effects);
                return true;
            }
        }
        let used = tls.left || tls.secured.client || tls.secured.server;
        match command.name.unwrap_or_default() {
            _ if ftps == Ftps::Pass => return false,
            "FEAT" => self.forward(line, command, Kind::Feat, effects),
            "AUTH" if ends_here => self.auth(line, command, effects),
            "PBSZ" if ends_here => self.pbsz(line, command, effects),
            "PROT" if ends_here => self.prot(line, command, effects),
            "CCC" if ends_here => self.ccc(effects),
            "AUTH" => self.refuse(Refusal::Security, Local::AuthRefused, effects),
            "CCC" => self.refuse(Refusal::Security, Local::NotProtected, effects),
            // RFC 2228 §3: nothing of that belongs to TLS (RFC 4217 §6).
            "PBSZ" | "PROT" | "ADAT" | "MIC" | "CONF" | "ENC" => {
                self.refuse(Refusal::Security, Local::NotSecured, effects);
            }
            "REIN" if used => self.refuse(Refusal::Security, Local::ReinRefused, effects),
            _ => return false,
        }
        true
    }

    /// `AUTH TLS` and its older names (RFC 4217 §17): SSL and TLS-P have private data without being asked.
    fn auth(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        let mechanism = command.argument.trim_ascii();
        let is = |names: [&[u8]; 2]| names.iter().any(|name| mechanism.eq_ignore_ascii_case(name));
        let (clear, private) = (is([b"TLS", b"TLS-C"]), is([b"SSL", b"TLS-P"]));
        let bridges = self.bridges();
        let Some(tls) = &mut self.tls else { return };
        if tls.secured.client || tls.left {
            return self.refuse(Refusal::Security, Local::AuthAgain, effects);
        } else if mechanism.is_empty() {
            return self.refuse(Refusal::Syntax, Local::Syntax, effects);
        } else if !clear && !private {
            return self.refuse(Refusal::Security, Local::NotThisAuth, effects);
        }
        tls.to_be_private = private;
        self.auth_pending = true;
        if bridges {
            self.forward(line, command, Kind::Auth, effects);
        } else {
            self.answer(Local::Secure, effects);
        }
    }

    /// `PBSZ 0` (RFC 4217 §8).
    fn pbsz(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        let argument = command.argument.trim_ascii();
        let bridges = self.bridges();
        let Some(tls) = &mut self.tls else { return };
        if tls.left || (!tls.secured.client && !bridges) {
            self.refuse(Refusal::Security, Local::NotSecured, effects);
        } else if bridges {
            self.forward(line, command, Kind::Other, effects);
        } else if argument.is_empty() || !argument.iter().all(u8::is_ascii_digit) {
            self.refuse(Refusal::Syntax, Local::Syntax, effects);
        } else {
            tls.sized = true;
            self.answer(Local::PbszZero, effects);
        }
    }

    /// `PROT C` and `PROT P` (RFC 4217 §9).
    fn prot(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        let bridges = self.bridges();
        let Some(tls) = &self.tls else { return };
        // Without TLS the server has its own words for it.
        if bridges && !tls.secured.client {
            return self.forward(line, command, Kind::Other, effects);
        }
        let (secured, sized) = (tls.secured.client, tls.sized || bridges);
        let private = match command.argument.trim_ascii() {
            _ if !secured => return self.refuse(Refusal::Security, Local::NotSecured, effects),
            _ if !sized => return self.refuse(Refusal::Security, Local::PbszFirst, effects),
            b"C" | b"c" if tls.security.require => {
                return self.refuse(Refusal::Security, Local::ProtTooLow, effects);
            }
            b"C" | b"c" => false,
            b"P" | b"p" => true,
            b"S" | b"s" | b"E" | b"e" => {
                return self.refuse(Refusal::Security, Local::ProtUnknownToTls, effects);
            }
            b"" => return self.refuse(Refusal::Syntax, Local::Syntax, effects),
            _ => return self.refuse(Refusal::Security, Local::ProtUnknown, effects),
        };
        self.auth_pending = true;
        if bridges {
            self.forward(line, command, Kind::Prot(private), effects);
        } else {
            self.answer(if private { Local::ProtPrivate } else { Local::ProtClear }, effects);
        }
    }

    /// `CCC` (RFC 4217 §5, §15.3): only after a login, lest anybody have handshakes done for nothing.
    fn ccc(&mut self, effects: &mut Effects) {
        let Some(tls) = &self.tls else { return };
        let Security { ftps, allow_ccc, .. } = tls.security;
        if !tls.secured.client {
            self.refuse(Refusal::Security, Local::NotProtected, effects);
        } else if ftps == Ftps::Bridge || !allow_ccc || self.timers.login.is_some() {
            self.refuse(Refusal::Security, Local::CccRefused, effects);
        } else {
            self.auth_pending = true;
            self.answer(Local::ClearCommands, effects);
        }
    }

    /// The turn of an answer of ours has come: it is given, and what it promises is so from now on.
    pub(super) fn own_turn(&mut self, reply: Local, effects: &mut Effects) {
        self.say(reply, effects);
        match reply {
            // There is nobody any more to shake hands with.
            Local::Secure if self.shut.server => {}
            Local::Secure => return self.secure(Side::Client, effects),
            Local::ProtClear => self.protect(false, effects),
            Local::ProtPrivate => self.protect(true, effects),
            Local::ClearCommands => {
                if let Some(tls) = &mut self.tls {
                    tls.secured.client = false;
                    tls.left = true;
                }
                effects.push(Effect::Unsecure(Side::Client));
            }
            _ => return,
        }
        self.auth_pending = false;
    }

    /// PROT is in force from now on.
    pub(super) fn protect(&mut self, private: bool, effects: &mut Effects) {
        let Some(tls) = &mut self.tls else { return };
        if std::mem::replace(&mut tls.private, private) != private {
            self.void(effects);
        }
    }

    /// What was announced is not to be used any more.
    fn void(&mut self, effects: &mut Effects) {
        self.close_pinhole(effects);
        self.data.forget_conversion(true);
        self.data_ready = false;
    }

    // --- FEAT (RFC 2389).

    /// A line of the server's features, without what it says about TLS where it is for us to say.
    pub(super) fn feature(&mut self, line: &[u8], effects: &mut Effects) {
        let hides: &[&[u8]] = match self.tls.as_ref().map(|tls| tls.security.ftps) {
            None | Some(Ftps::Pass) => &[],
            Some(Ftps::Bridge) => &[b"CCC"],
            Some(Ftps::Refuse | Ftps::Terminate) => &[b"AUTH", b"PBSZ", b"PROT", b"CCC"],
        };
        let name = feature_name(line);
        if !hides.iter().any(|hidden| name.eq_ignore_ascii_case(hidden)) {
            effects.send(Side::Client, &[line]);
        }
    }

    /// What we say about TLS in place of the server.
    pub(super) fn own_features(&mut self, effects: &mut Effects) {
        let Some(security) = self.tls.as_ref().map(|tls| tls.security) else { return };
        if security.ftps != Ftps::Terminate {
            return;
        }
        let auth: &[u8] = if security.implicit { b"" } else { b" AUTH TLS\r\n" };
        let ccc: &[u8] = if security.allow_ccc { b" CCC\r\n" } else { b"" };
        self.tell(&[auth, b" PBSZ\r\n PROT\r\n", ccc].concat(), effects);
    }
}

/// The word that a feature's line begins with. Some servers repeat the code before it, as in any multi-line reply.
fn feature_name(line: &[u8]) -> &[u8] {
    let text = line::text(line);
    let text = text.strip_prefix(b"211-").unwrap_or(text).trim_ascii_start();
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}
