//! From an announced address to a pinhole, and back to the line that announces it.
//!
//! Lives here: which pinhole a PORT, EPRT, 227 or 229 asks for, the line that waits for it, and the line that leaves when it
//! is in force. Not here: reading the notations (`protocol::address`), opening anything (`firewall`).
//!
//! The refusal comes first in every function: the address of the client is never taken from its command (RFC 2577 §3), the
//! address of the server never from its reply (RFC 6384 §6); what they name is only compared.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, Millis, Note, PinholeId, Refusal, Side};
use super::pending::{Asked, Kind};
use super::replies::Local;
use super::{ServerMode, Session, translate};
use crate::pinhole::{Announcement, EntrancePort, Request};
use crate::protocol::address::{self, AddressError};
use crate::protocol::command::{self, Command, Verb};
use crate::protocol::splice::splice;

/// Ports below are never opened: they belong to services (RFC 2577 §3).
const FIRST_PORT: u16 = 1024;

/// A line that waits for its pinhole, as it will leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub(super) id: PinholeId,
    pub(super) line: Vec<u8>,
    /// Where in the line the announcement stands, or shall stand.
    span: Range<usize>,
    /// What it says now, an address of the announcer's choice; nothing if the line is another one than the peer's.
    says: Option<SocketAddr>,
    /// What the client calls it.
    pub(super) announcement: Announcement,
    /// How the line says it.
    notation: Announcement,
}

impl Session {
    /// `PORT h1,h2,h3,h4,p1,p2` from the client.
    pub(super) fn port(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        match address::port_argument(command.argument) {
            Ok(found) => {
                let (ip, port) = found.value;
                let says = SocketAddr::new(IpAddr::V4(ip), port);
                self.active(line, command.argument_at, found.span, says, Announcement::Port, effects);
            }
            Err(_) => self.refuse(Refusal::Syntax, Local::Syntax, effects),
        }
    }

    /// `EPRT |family|address|port|` from the client.
    pub(super) fn eprt(&mut self, line: &[u8], command: &Command<'_>, effects: &mut Effects) {
        match address::eprt_argument(command.argument) {
            // With the translation off nobody can make a PORT of it, and to the server it is of a strange family.
            Ok(found) if found.value.is_ipv6() == self.is_ipv6() && self.algs_off => {
                self.refuse(Refusal::Family, Local::OnlyIpv4, effects);
            }
            Ok(found) if found.value.is_ipv6() == self.is_ipv6() => {
                self.active(line, command.argument_at, found.span, found.value, Announcement::Eprt, effects);
            }
            Ok(_) | Err(AddressError::UnknownFamily) => self.refuse(Refusal::Family, self.only_family(), effects),
            Err(AddressError::Syntax) => self.refuse(Refusal::Syntax, Local::Syntax, effects),
        }
    }

    fn active(
        &mut self,
        line: &[u8],
        argument_at: usize,
        span: Range<usize>,
        says: SocketAddr,
        announcement: Announcement,
        effects: &mut Effects,
    ) {
        let refusal = if says.ip() != self.ends.client.ip() {
            Some((Refusal::ForeignAddress, Local::ForeignAddress))
        } else if says.port() < FIRST_PORT {
            Some((Refusal::LowPort, Local::LowPort))
        } else {
            None
        };
        if let Some((why, reply)) = refusal {
            self.note_refusal(why, Some(says), effects);
            return self.answer(reply, effects);
        }
        if self.settings.server_mode == ServerMode::Passive {
            return self.ask_for_active(says, announcement, effects);
        }
        // S dials P:q, it arrives at C:p, and C sees O. With a transparent source P is C's own address, and nothing changes.
        let entrance = self.ends.source.ip();
        let own = entrance == self.ends.client.ip();
        let request = Request {
            announcement,
            initiator: self.ends.server.ip(),
            on_behalf_of: None,
            entrance,
            entrance_port: if own { EntrancePort::Fixed(says.port()) } else { EntrancePort::Any },
            target: says,
            source: self.ends.original.ip(),
            lifetime: Duration::from_millis(self.settings.pinhole_timeout),
            protection: self.protection(),
        };
        let span = span.start + argument_at..span.end + argument_at;
        let id = self.open(request, effects);
        let notation = self.for_server(announcement);
        let held = Held { id, line: line.to_vec(), span, says: Some(says), announcement, notation: announcement };
        self.held_command = Some(Box::new(held.in_notation(notation)));
    }

    /// The 227 or 229 that answers the client's PASV or EPSV. The slot is off the FIFO already.
    pub(super) fn passive(&mut self, line: &[u8], asked: Asked, effects: &mut Effects) {
        /// The reply code, which is no part of the text.
        const CODE: usize = 3;
        let text = line.get(CODE..).unwrap_or_default();
        let conversion = if asked.client.is_active() { self.data.take_conversion() } else { None };
        // The server took the PASV: what was announced before is void (RFC 1123 §4.1.2.6), whatever becomes of this.
        self.close_pinhole(effects);
        self.data_ready = false;
        let Asked { client: announcement, server: notation } = asked;
        let found = match notation {
            Announcement::Pasv => {
                address::pasv_reply(text).map(|found| (IpAddr::V4(found.value.0), found.value.1, found.span))
            }
            _ => address::epsv_reply(text).map(|found| (self.ends.server.ip(), found.value, found.span)),
        };
        let (ip, port, span) = match found {
            // `227 Logout.`: some servers use the code for something else; nothing in it can be taken for an address.
            Err(_) if !text.iter().any(u8::is_ascii_digit) && announcement == notation => {
                return effects.send(Side::Client, &[line]);
            }
            // An IPv4 address cannot be announced in an IPv6 session.
            Ok(_) if announcement == Announcement::Pasv && self.is_ipv6() => {
                return self.passive_failed(None, effects);
            }
            Ok((ip, port, _)) if port < FIRST_PORT => {
                return self.passive_failed(Some(SocketAddr::new(ip, port)), effects);
            }
            Err(_) => return self.passive_failed(None, effects),
            // Only one could be rewritten, and nobody knows which one a client takes.
            Ok((.., span)) if announces_again(text.get(span.end..).unwrap_or_default()) => {
                return self.passive_failed(None, effects);
            }
            Ok(found) => found,
        };
        if asked.client.is_active() {
            return match conversion {
                Some(conversion) => self.passive_for_active(conversion, port, effects),
                None => self.passive_failed(None, effects),
            };
        }
        self.knows_epsv(notation);
        // C dials O:q, it arrives at S:p, and S sees P. In forward mode O is S and the entrance is the target.
        let entrance = self.ends.entrance();
        let own = entrance == self.ends.server.ip();
        let (initiator, on_behalf_of) = self.ends.dialler();
        let request = Request {
            announcement,
            initiator,
            on_behalf_of,
            entrance,
            entrance_port: if own { EntrancePort::Fixed(port) } else { EntrancePort::Any },
            target: SocketAddr::new(self.ends.server.ip(), port),
            source: self.ends.source.ip(),
            lifetime: Duration::from_millis(self.settings.pinhole_timeout),
            protection: self.protection(),
        };
        let span = span.start + CODE..span.end + CODE;
        let id = self.open(request, effects);
        let says = Some(SocketAddr::new(ip, port));
        let held = Held { id, line: line.to_vec(), span, says, announcement, notation };
        self.held_reply = Some(Box::new(held.in_notation(announcement)));
    }

    fn passive_failed(&mut self, address: Option<SocketAddr>, effects: &mut Effects) {
        self.note_refusal(Refusal::PassiveReply, address, effects);
        self.say(Local::BadPassive, effects);
    }

    fn open(&mut self, request: Request, effects: &mut Effects) -> PinholeId {
        let id = self.number();
        effects.push(Effect::Open(id, request));
        id
    }

    /// Of the next pinhole.
    pub(super) fn number(&mut self) -> PinholeId {
        let id = PinholeId(self.next_pinhole);
        self.next_pinhole = self.next_pinhole.wrapping_add(1);
        id
    }

    /// The pinhole is in force at this port: the line that announces it may leave.
    pub(super) fn granted(&mut self, id: PinholeId, port: u16, now: Millis, effects: &mut Effects) {
        if let Some(held) = self.held_command.take_if(|held| held.id == id) {
            self.data.granted(id, held.announcement, now);
            let new = held.announced(SocketAddr::new(self.ends.source.ip(), port), effects);
            if let Ok(command) = command::parse(&held.line) {
                let kind = Kind::Active(id, held.announcement);
                self.forward_parts(&held.spliced(new.as_deref()), command.name, command.verb, kind, effects);
            }
        } else if let Some(held) = self.held_reply.take_if(|held| held.id == id) {
            let ip = self.ends.announced();
            let new = held.announced(SocketAddr::new(ip, port), effects);
            effects.send(Side::Client, &held.spliced(new.as_deref()));
            self.data.granted(id, held.announcement, now);
            self.in_force(id, held.announcement, now);
            self.answer_local(effects);
        } else {
            // Nobody waits for it any more.
            effects.push(Effect::Close(id));
            effects.push(Effect::Unwatch(id));
        }
    }

    /// The pinhole could not be opened: the peer that would have dialled never hears of it, and the session lives on.
    pub(super) fn refused(&mut self, id: PinholeId, effects: &mut Effects) {
        if let Some(held) = self.held_command.take_if(|held| held.id == id) {
            // The PORT was taken, and then nothing could be made of it.
            self.data_ready &= !held.is_transfer();
            self.refuse(Refusal::Pinhole, Local::NoPinhole, effects);
        } else if self.held_reply.take_if(|held| held.id == id).is_some() {
            self.note_refusal(Refusal::Pinhole, None, effects);
            self.say(Local::NoPinhole, effects);
            self.answer_local(effects);
        }
    }

    /// The server accepted the announcement (200) or made it (227, 229): transfers use this pinhole from now on.
    pub(super) fn in_force(&mut self, id: PinholeId, announcement: Announcement, now: Millis) {
        self.pinhole = Some((id, announcement));
        self.data_ready = true;
        self.data.use_next(id);
        // Some servers connect before they say 200.
        let waits = !self.data.is_used(id);
        self.timers.pinhole = waits.then(|| Millis(now.0.saturating_add(self.settings.pinhole_timeout)));
    }

    /// The announcement that transfers used so far is over.
    pub(super) fn close_pinhole(&mut self, effects: &mut Effects) {
        self.timers.pinhole = None;
        self.data.forget_conversion(false);
        if let Some((id, _)) = self.pinhole.take() {
            self.close(id, effects);
        }
    }

    /// That pinhole is not wanted any more.
    pub(super) fn close(&mut self, id: PinholeId, effects: &mut Effects) {
        self.data.closed(id);
        effects.push(Effect::Close(id));
    }
}

/// Whether what follows an announcement in its line is another one.
fn announces_again(rest: &[u8]) -> bool {
    address::pasv_reply(rest).is_ok() || address::epsv_reply(rest).is_ok()
}

impl Held {
    /// A line of our own, with a gap for the announcement; what the client calls it is `announcement`.
    pub(super) fn of_ours(id: PinholeId, announcement: Announcement, notation: Announcement) -> Self {
        let (before, after) = translate::line(notation);
        let span = before.len()..before.len();
        Self { id, line: [before, after].concat(), span, says: None, announcement, notation }
    }

    /// A transfer command, which announces nothing.
    pub(super) fn transfer(id: PinholeId, line: &[u8], announcement: Announcement) -> Self {
        Self { id, line: line.to_vec(), span: 0..0, says: None, announcement, notation: announcement }
    }

    /// Whether it is a transfer command.
    pub(super) fn is_transfer(&self) -> bool {
        command::parse(&self.line).is_ok_and(|command| command.verb == Verb::Transfer)
    }

    /// The same in this notation: as it is, or a line of our own with a gap for the announcement.
    fn in_notation(self, notation: Announcement) -> Self {
        if notation == self.notation { self } else { Self::of_ours(self.id, self.announcement, notation) }
    }

    /// The announcement in its own notation with `entrance` in place of what it says; `None` if it says so already.
    pub(super) fn announced(&self, entrance: SocketAddr, effects: &mut Effects) -> Option<String> {
        let changes = self.says.is_none_or(|says| match self.notation {
            // A 229 says no address.
            Announcement::Epsv => entrance.port() != says.port(),
            _ => entrance != says,
        });
        if !changes {
            return None;
        }
        effects.push(Effect::Note(Note::Rewritten(self.announcement)));
        Some(match (self.notation, entrance.ip()) {
            (Announcement::Port | Announcement::Pasv, IpAddr::V4(ip)) => address::write_commas(ip, entrance.port()),
            (Announcement::Epsv, _) => entrance.port().to_string(),
            (_, ip) => address::write_eprt(ip, entrance.port()),
        })
    }

    /// The line, with `new` in place of the announcement if there is one.
    pub(super) fn spliced<'a>(&'a self, new: Option<&'a str>) -> [&'a [u8]; 3] {
        match new {
            Some(new) => splice(&self.line, self.span.clone(), new.as_bytes()),
            None => [&self.line, &[], &[]],
        }
    }
}
