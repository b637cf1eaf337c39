//! A client and a server in different modes (`data.server_mode`), and a server that lacks EPSV.
//!
//! Lives here: what is done where the server listens though the client does too, and where both dial. Not here: notations
//! (`translate`), pinholes (`announce`).
//!
//! - **Active client, passive server**: its PORT is a PASV for the server. Once that names a port, the client is told 200; with
//!   the next transfer command both are dialled, and the command leaves when both have taken the call. Until the server has
//!   answered the client is not read.
//! - **Passive client, active server**: both legs listen, the server is told PORT, and its 200 is a 227 for the client.
//! - **A server that refuses EPSV** (500, 501, 502, 504, 550) and is to be passive is asked for PASV instead, and not for EPSV again. Until it is known
//!   whether it has EPSV the client is not read behind one, lest the answers come in another order than the commands.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::announce::Held;
use super::data::Conversion;
use super::effect::{Effect, Effects, Millis, Note, PinholeId, Side};
use super::pending::{Asked, Kind};
use super::replies::Local;
use super::{ServerMode, Session, translate};
use crate::pinhole::{Announcement, EntrancePort, Joint, Leg};
use crate::protocol::address;
use crate::protocol::command::{self, Command};

/// Whether the server knows EPSV.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Epsv {
    /// It was not asked yet.
    Unknown,
    /// It does.
    Known,
    /// It does not.
    Lacking,
}

impl Session {
    /// The same session, of a server that is known to lack EPSV ([`Note::NoEpsv`]).
    #[must_use]
    pub fn without_epsv(mut self) -> Self {
        self.epsv = Epsv::Lacking;
        self
    }

    /// Whether the client has to wait for the server before anything more is read.
    pub(super) fn awaits_conversion(&self) -> bool {
        self.settings.server_mode == ServerMode::Passive
            && (self.data.awaits_server() || (self.may_lack_epsv() && self.pending.has_epsv()))
    }

    /// PASV or EPSV from the client.
    pub(super) fn passive_asked(
        &mut self,
        line: &[u8],
        command: &Command<'_>,
        announcement: Announcement,
        effects: &mut Effects,
    ) {
        self.supersede_conversion();
        if self.settings.server_mode != ServerMode::Active {
            return self.ask(line, command, announcement, effects);
        }
        let port = EntrancePort::Any;
        let listen = |(initiator, on_behalf_of), entrance| Leg::Listen { initiator, on_behalf_of, entrance, port };
        let client = listen(self.ends.dialler(), self.ends.entrance());
        let server = listen((self.ends.server.ip(), None), self.ends.source.ip());
        let id = self.join(announcement, client, server, effects);
        let held = Held::of_ours(id, announcement, self.servers_own(true));
        self.held_command = Some(Box::new(held));
    }

    /// PORT or EPRT from the client, whose address is its own: the server is asked where it listens.
    pub(super) fn ask_for_active(&mut self, client: SocketAddr, announcement: Announcement, effects: &mut Effects) {
        self.supersede_conversion();
        self.data.convert(Conversion { announcement, client, server: None });
        self.ask_anew(Asked { client: announcement, server: self.servers_own(false) }, effects);
    }

    /// The client announces anew: a transfer behind that is not for what the PORT before it led to.
    fn supersede_conversion(&mut self) {
        if self.data.take_conversion().is_some() {
            self.data_ready = false;
        }
    }

    /// The server listens at this port, for a client that listens itself.
    pub(super) fn passive_for_active(&mut self, conversion: Conversion, port: u16, effects: &mut Effects) {
        let server = Some(SocketAddr::new(self.ends.server.ip(), port));
        self.data.convert(Conversion { server, ..conversion });
        self.data_ready = true;
        self.say(Local::PortOk, effects);
    }

    /// A transfer command, and something to carry it.
    pub(super) fn transfer(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        if let Some(Conversion { announcement, client, server: Some(server) }) = self.data.take_conversion() {
            let client = Leg::Dial { target: client, source: self.ends.original.ip() };
            let server = Leg::Dial { target: server, source: self.ends.source.ip() };
            let id = self.join(announcement, client, server, effects);
            self.held_command = Some(Box::new(Held::transfer(id, line, announcement)));
            return;
        }
        self.data.ask(command.name.unwrap_or_default(), command.argument);
        self.forward(line, command, Kind::Transfer { started: false }, effects);
    }

    fn join(&mut self, announcement: Announcement, client: Leg, server: Leg, effects: &mut Effects) -> PinholeId {
        let id = self.number();
        let lifetime = Duration::from_millis(self.settings.pinhole_timeout);
        let protection = self.protection();
        effects.push(Effect::Join(id, Box::new(Joint { announcement, client, server, lifetime, protection })));
        id
    }

    /// Both legs stand, or wait to be dialled.
    pub(super) fn joined(&mut self, id: PinholeId, client: u16, server: u16, now: Millis, effects: &mut Effects) {
        let Some(held) = self.held_command.take_if(|held| held.id == id) else {
            // Nobody waits for it any more.
            effects.push(Effect::Close(id));
            effects.push(Effect::Unwatch(id));
            return;
        };
        let Ok(command) = command::parse(&held.line) else { return };
        self.data.granted(id, held.announcement, now);
        if held.is_transfer() {
            self.in_force(id, held.announcement, now);
            return self.transfer(&held.line, &command, effects);
        }
        let new = held.announced(SocketAddr::new(self.ends.source.ip(), server), effects);
        // The gap is not filled yet in what was parsed, but the verb is there.
        let kind = Kind::Listening(id, client, held.announcement);
        self.forward_parts(&held.spliced(new.as_deref()), command.name, command.verb, kind, effects);
    }

    /// The server took the PORT: the client may dial this port.
    pub(super) fn passive_by_active(
        &mut self,
        id: PinholeId,
        port: u16,
        announcement: Announcement,
        now: Millis,
        effects: &mut Effects,
    ) {
        self.close_pinhole(effects);
        self.in_force(id, announcement, now);
        let shown = SocketAddr::new(self.ends.announced(), port);
        let (before, after) = translate::line(announcement);
        let text = match shown {
            SocketAddr::V4(shown) if announcement == Announcement::Pasv => address::write_commas(*shown.ip(), port),
            _ => port.to_string(),
        };
        effects.send(Side::Client, &[before, text.as_bytes(), after]);
    }

    /// Whether the server's refusal of EPSV is not the last word.
    pub(super) fn falls_back(&self, asked: Asked) -> bool {
        self.settings.server_mode == ServerMode::Passive
            && asked == Asked { client: Announcement::Epsv, server: Announcement::Epsv }
            && self.may_lack_epsv()
    }

    /// The server refused EPSV, and is asked for PASV. Nothing was read behind the EPSV, so this is the next command.
    pub(super) fn fall_back(&mut self, asked: Asked, effects: &mut Effects) {
        self.epsv = Epsv::Lacking;
        effects.push(Effect::Note(Note::NoEpsv));
        self.ask_anew(Asked { server: Announcement::Pasv, ..asked }, effects);
    }

    fn may_lack_epsv(&self) -> bool {
        self.epsv == Epsv::Unknown && self.ends.server.is_ipv4() && !self.epsv_all
    }

    /// The server has named a port for EPSV.
    pub(super) fn knows_epsv(&mut self, notation: Announcement) {
        if notation == Announcement::Epsv {
            self.epsv = Epsv::Known;
        }
    }
}
