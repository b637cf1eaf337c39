//! Session: the FTP session state machine. Pure: no I/O, no clock, no randomness, no logging; bytes and time come in as
//! [`Event`]s, what shall be done goes out as [`Effect`]s.
//!
//! - `effect`: all that goes in and comes out, on one screen; `lobby`: before there is a server; `login`: where USER named it;
//! - `client_side`: what the client's lines lead to; `server_side`: what the server's replies lead to;
//! - `announce`: from an announced address to a pinhole and back to the line;
//! - `convert`: a client and a server in different modes; `translate`: a client and a server of different address families (RFC 6384);
//! - `data`: the data connections that come of it, and the record of each transfer;
//! - `tls`: FTPS that ends here; `opaque`: FTPS that does not, and cannot be read;
//! - `pending`: the reply FIFO; `replies`: what ftpgate says itself; `timers`: deadlines.
//!
//! # The one rule for driving a session
//! Give it one event, carry out every effect in order until [`Effects::poll`] says `None`, then wait: for bytes from a side
//! that it [`wants`](Session::wants), for the answer to an [`Effect::Open`], or for its [`deadline`](Session::deadline).
//!
//! The state is plain data ([`serde`]): written out between two events and read back elsewhere, it goes on as if nothing had
//! happened.

pub mod announce;
pub mod client_side;
pub mod convert;
pub mod data;
pub mod effect;
pub mod lobby;
pub mod login;
pub mod opaque;
pub mod pending;
pub mod replies;
pub mod server_side;
pub mod settings;
pub mod timers;
pub mod tls;
pub mod translate;

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::pinhole::DataEvent;
use crate::protocol::line::LineBuffer;
use crate::protocol::reply::ReplyParser;
use crate::protocol::telnet::TelnetFilter;
use announce::Held;
use effect::{Effect, Effects, EndReason, Event, Millis, Note, PinholeId, Refusal, Side};
use pending::{Kind, Pending};
use replies::Local;
pub use settings::{Detour, Ends, Ftps, Security, ServerMode, Settings};

/// How the control channel is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Channel {
    /// As FTP.
    Clear,
    /// As FTP no more: the server said 234, and the client's first byte must be that of a TLS record.
    Hello,
    /// Record by record, unread: it is TLS between client and server.
    Records,
    /// Not at all: it became another security context.
    Opaque,
}

/// Where the Synch of RFC 959 §4.1.3 was seen in the client's stream, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Urgent {
    No,
    /// TCP urgent data and nothing else, as Python's ftplib does.
    Plain,
    /// IAC IP, IAC DM, as the BSD client does.
    Telnet,
}

/// One yes or no for each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Sides {
    client: bool,
    server: bool,
}

impl Sides {
    fn has(self, side: Side) -> bool {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    fn set(&mut self, side: Side) {
        match side {
            Side::Client => self.client = true,
            Side::Server => self.server = true,
        }
    }

    fn all(self) -> bool {
        self.client && self.server
    }
}

/// One FTP session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    ends: Ends,
    /// The same for all sessions between two reloads, so they share it.
    settings: Arc<Settings>,
    channel: Channel,
    from_client: LineBuffer,
    from_server: LineBuffer,
    telnet: TelnetFilter,
    reply: ReplyParser,
    /// What happens to the lines of the multi-line reply that is being read.
    reply_path: server_side::Path,
    pending: Pending,
    /// A PORT or EPRT that waits for its pinhole. While it does, the client is not read.
    held_command: Option<Box<Held>>,
    /// A 227 or 229 that waits for its pinhole. While it does, the server is not read.
    held_reply: Option<Box<Held>>,
    /// The pinhole of the announcement that the server accepted last.
    pinhole: Option<(PinholeId, crate::pinhole::Announcement)>,
    /// A PORT, EPRT, PASV or EPSV was accepted and no transfer has used it up.
    data_ready: bool,
    data: data::Data,
    next_pinhole: u32,
    /// `EPSV ALL` was accepted.
    epsv_all: bool,
    /// `ALGS DISABLE64` was said.
    algs_off: bool,
    epsv: convert::Epsv,
    /// What there is about TLS: nothing in most sessions.
    tls: Option<Box<tls::State>>,
    login: Option<Box<login::Login>>,
    /// A line that is an FTP command was seen.
    seen_command: bool,
    /// AUTH, or PROT and CCC that are read here, is not answered yet. While it is not, the client is not read.
    auth_pending: bool,
    urgent: Urgent,
    long_lines: u8,
    draining: bool,
    /// For the reason of the end.
    server_closed_first: bool,
    /// Who will send no more.
    closed: Sides,
    /// Whose end was passed on to the other side.
    shut: Sides,
    /// A side is lost: nothing is read any more, and the session ends for this reason.
    lost: Option<EndReason>,
    ended: Option<EndReason>,
    timers: timers::Timers,
}

/// The first byte of a TLS client: a record of type handshake (RFC 8446 §5.1). No FTP command begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// The byte that begins a Telnet command (RFC 854).
const TELNET_IAC: u8 = 0xff;

/// Lines beyond the limit that a client may send before it is taken for hostile.
const LONG_LINES: u8 = 3;

impl Session {
    /// A session whose two control connections are open; the server's greeting is awaited.
    pub fn new(settings: impl Into<Arc<Settings>>, ends: Ends, now: Millis) -> Self {
        let settings = settings.into();
        let mut pending = Pending::default();
        pending.push(Kind::Greeting);
        Self {
            timers: timers::Timers::new(&settings, now),
            ends,
            settings,
            channel: Channel::Clear,
            from_client: LineBuffer::new(),
            from_server: LineBuffer::new(),
            telnet: TelnetFilter::default(),
            reply: ReplyParser::default(),
            reply_path: server_side::Path::Forward,
            pending,
            held_command: None,
            held_reply: None,
            pinhole: None,
            data_ready: false,
            data: data::Data::default(),
            next_pinhole: 0,
            epsv_all: false,
            algs_off: false,
            epsv: convert::Epsv::Unknown,
            tls: None,
            login: None,
            seen_command: false,
            auth_pending: false,
            urgent: Urgent::No,
            long_lines: 0,
            draining: false,
            server_closed_first: false,
            closed: Sides::default(),
            shut: Sides::default(),
            lost: None,
            ended: None,
        }
    }

    /// Takes one event. What shall be done is in `effects` afterwards; a peer's misbehaviour is an effect, not an error.
    pub fn handle(&mut self, event: Event<'_>, now: Millis, effects: &mut Effects) {
        if self.has_ended() {
            return;
        }
        match event {
            Event::Bytes(side, bytes) => self.bytes(side, bytes, now, effects),
            Event::Urgent => {
                if self.urgent == Urgent::No {
                    self.urgent = Urgent::Plain;
                }
            }
            Event::Eof(side) => {
                self.closed.set(side);
                self.timers.activity(now);
                // Nobody is left who could use it, or be told of it.
                if side == Side::Server {
                    self.close_pinhole(effects);
                }
            }
            Event::Lost(reason) => {
                self.closed = Sides { client: true, server: true };
                self.lost.get_or_insert(reason);
                self.timers.activity(now);
                self.close_pinhole(effects);
            }
            Event::Granted(id, port) => self.granted(id, port, now, effects),
            Event::Joined(id, client, server) => self.joined(id, client, server, now, effects),
            Event::Refused(id) => self.refused(id, effects),
            Event::Secured(side) => self.secured(side, now, effects),
            Event::Data(id, event) => self.data_event(id, event, now, effects),
            Event::Measured(id, total) => self.data.measured(id, total, now, effects),
            Event::Alive => self.timers.activity(now),
            Event::Tick => self.tick(now, effects),
            Event::Drain => self.draining = true,
        }
        self.pump(now, effects);
        self.shake_hands(effects);
        self.follow_up(effects);
        self.settle(now, effects);
    }

    /// When to send [`Event::Tick`], if nothing happens before. May move with every event.
    pub fn deadline(&self) -> Option<Millis> {
        if self.has_ended() {
            return None;
        }
        if self.begins_with_tls() {
            return Some(Millis(0));
        }
        let control = self.timers.deadline(&self.settings, self.is_transferring(), self.closed);
        control.into_iter().chain(self.data.deadline(self.settings.data_idle_timeout)).min()
    }

    /// Whether bytes from this side can be taken now. While not, leave them in the socket: TCP holds the peer back.
    pub fn wants(&self, side: Side) -> bool {
        !self.closed.has(side) && self.can_read(side)
    }

    /// Whether the control channel became unreadable.
    pub fn is_opaque(&self) -> bool {
        self.channel != Channel::Clear
    }

    /// Whether a transfer is under way: the server said 1yz to a transfer command and nothing final yet, or a data connection
    /// is alive.
    pub fn is_transferring(&self) -> bool {
        (self.pending.is_transferring() && !self.data.is_over()) || self.data.is_live()
    }

    /// Whether the session is over.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The addresses.
    pub fn ends(&self) -> &Ends {
        &self.ends
    }

    fn can_read(&self, side: Side) -> bool {
        match side {
            _ if self.has_ended() || self.is_shaking_hands() => false,
            Side::Client => {
                let held = self.held_command.is_some() || self.auth_pending || self.awaits_conversion();
                let waits = held || self.awaits_greeting() || self.prepares();
                !waits && self.pending.len() < self.settings.pipeline
            }
            Side::Server => self.held_reply.is_none(),
        }
    }

    fn buffer(&mut self, side: Side) -> &mut LineBuffer {
        match side {
            Side::Client => &mut self.from_client,
            Side::Server => &mut self.from_server,
        }
    }

    fn bytes(&mut self, side: Side, bytes: &[u8], now: Millis, effects: &mut Effects) {
        self.timers.activity(now);
        if self.is_opaque() {
            return self.opaque_bytes(side, bytes, now, effects);
        }
        if side == Side::Server {
            self.lines(side, bytes, now, effects);
            return;
        }
        // No line end may ever come: implicit FTPS (RFC 4217 appendix A).
        if !self.seen_command && self.from_client.is_empty() && bytes.first() == Some(&TLS_HANDSHAKE) {
            self.hostile(Refusal::CrossProtocol, Local::NotFtp, effects);
            return;
        }
        if !bytes.contains(&TELNET_IAC) {
            return self.client_bytes(bytes, now, effects);
        }
        // Line by line, so that neither an answer to an option nor a Synch overtakes the commands before it.
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !self.has_ended() {
                self.client_bytes(line, now, effects);
            }
        }
    }

    fn client_bytes(&mut self, bytes: &[u8], now: Millis, effects: &mut Effects) {
        let (bytes, telnet) = self.telnet.filter(bytes);
        self.tell(&telnet.answers, effects);
        for _ in 0..telnet.options {
            effects.push(Effect::Note(Note::Refused(Refusal::TelnetOption, None)));
        }
        if telnet.synch {
            self.urgent = Urgent::Telnet;
        }
        self.lines(Side::Client, &bytes, now, effects);
    }

    /// Reads lines while this side may be read, and keeps the rest.
    fn lines(&mut self, side: Side, bytes: &[u8], now: Millis, effects: &mut Effects) {
        use crate::protocol::line::Next;
        let limit = self.settings.line_length;
        let joined = self.buffer(side).join(bytes);
        let mut rest: &[u8] = &joined;
        while !rest.is_empty() && !self.is_opaque() && self.can_read(side) {
            match (self.buffer(side).next(rest, limit), side) {
                (Next::Line(line, after), Side::Client) => {
                    rest = after;
                    self.client_line(line, effects);
                }
                (Next::Line(line, after), Side::Server) => {
                    rest = after;
                    self.server_line(line, now, effects);
                }
                (Next::TooLong(_, after), Side::Client) => {
                    rest = after;
                    self.client_line_too_long(effects);
                }
                (Next::TooLong(start, after), Side::Server) => {
                    rest = after;
                    effects.push(Effect::Note(Note::Refused(Refusal::LineTooLong, None)));
                    self.server_line(&server_side::cut(start), now, effects);
                }
                (Next::Partial(partial), _) => {
                    rest = partial;
                    break;
                }
            }
        }
        if self.has_ended() {
            return;
        }
        if self.is_opaque() {
            // Only the server's own bytes may follow its 234; see `opaque` for the client's.
            return self.opaque_bytes(side, rest, now, effects);
        }
        let rest = rest.len();
        self.buffer(side).keep(joined, rest);
    }

    /// What was kept while a side could not be read is read when it can be again.
    fn pump(&mut self, now: Millis, effects: &mut Effects) {
        // What is kept only ever gets shorter here, so this ends.
        loop {
            let before = (self.from_client.len(), self.from_server.len());
            for side in [Side::Client, Side::Server] {
                if !self.buffer(side).is_empty() && self.can_read(side) && !self.is_opaque() {
                    self.lines(side, &[], now, effects);
                }
            }
            if before == (self.from_client.len(), self.from_server.len()) {
                return;
            }
        }
    }

    /// What becomes due once all that could be read was read.
    fn follow_up(&mut self, effects: &mut Effects) {
        for side in [Side::Server, Side::Client] {
            // What waits for an answer that cannot come any more waits no longer.
            let in_vain = !self.has_ended() && ((side == Side::Client && self.shut.server) || self.lost.is_some());
            if !self.closed.has(side) || self.shut.has(side) || !(self.can_read(side) || in_vain) {
                continue;
            }
            if side == Side::Server {
                self.last_words(effects);
            }
            self.shut.set(side);
            effects.push(Effect::Shutdown(side.other()));
        }
        // What a transfer has carried is told a moment after its end; then all is said.
        let settled = self.data.is_settled(self.settings.tracked);
        if self.shut.all() && settled {
            let first = if self.server_closed_first { EndReason::ServerClosed } else { EndReason::ClientClosed };
            self.end(self.lost.unwrap_or(first));
        } else if self.shut.has(Side::Server) && !self.shut.has(Side::Client) {
            self.server_closed_first = true;
        }
        let quiet = self.pending.is_quiet() && self.held_command.is_none() && self.held_reply.is_none();
        if self.draining && quiet && settled && !self.has_ended() && !self.is_opaque() {
            self.say(Local::Draining, effects);
            self.end(EndReason::Drained);
        }
    }

    fn tick(&mut self, now: Millis, effects: &mut Effects) {
        self.data.tick(self.settings.data_idle_timeout, now, effects);
        match self.timers.expired(&self.settings, self.is_transferring(), self.closed, now) {
            None => {}
            Some(timers::Timer::Pinhole) => {
                self.timers.pinhole = None;
                if let Some((id, announcement)) = self.pinhole.take() {
                    self.close(id, effects);
                    effects.push(Effect::Note(Note::PinholeExpired(announcement)));
                }
            }
            Some(timers::Timer::Login) => {
                self.say(Local::LoginTimeout, effects);
                self.end(EndReason::LoginTimeout);
            }
            Some(timers::Timer::Idle) => {
                if !self.is_opaque() {
                    self.say(Local::IdleTimeout, effects);
                }
                self.end(EndReason::IdleTimeout);
            }
            Some(timers::Timer::HalfClosed) => self.end(EndReason::HalfClosed),
        }
    }

    fn say(&self, reply: Local, effects: &mut Effects) {
        self.tell(reply.line(), effects);
    }

    /// Words of our own to the client, who does not hear any more once the server's end was passed on.
    fn tell(&self, bytes: &[u8], effects: &mut Effects) {
        // Nor while it shakes hands: what it would get is neither clear text nor TLS.
        if !self.shut.server && !self.is_silenced() {
            effects.send(Side::Client, &[bytes]);
        }
    }

    fn note_refusal(&mut self, why: Refusal, address: Option<SocketAddr>, effects: &mut Effects) {
        effects.push(Effect::Note(Note::Refused(why, address)));
    }

    fn hostile(&mut self, why: Refusal, reply: Local, effects: &mut Effects) {
        self.note_refusal(why, None, effects);
        self.say(reply, effects);
        self.end(EndReason::Hostile);
    }

    fn end(&mut self, reason: EndReason) {
        self.ended.get_or_insert(reason);
    }

    /// Last of all: records of transfers that are over, and the end of the session if it has come.
    fn settle(&mut self, now: Millis, effects: &mut Effects) {
        let Settings { tracked, reset_on_close: reset, .. } = *self.settings;
        let closing = self.closed.client || self.closed.server;
        // Data connections that are not ended with it may yet be answered, until the session is over.
        if self.has_ended() || (closing && tracked && reset) {
            self.data.control_closed(reset, now, effects);
        }
        self.data.report(tracked, self.has_ended(), now, effects);
        if let Some(reason) = self.ended {
            effects.push(Effect::End(reason));
        }
    }

    fn data_event(&mut self, id: PinholeId, event: DataEvent, now: Millis, effects: &mut Effects) {
        let used = self.data.event(id, event, now, effects);
        if used && self.pinhole.is_some_and(|(waiting, _)| waiting == id) {
            self.timers.pinhole = None;
        }
        // A transfer in which nothing is said is no idle session, and one that has just ended was not.
        self.timers.activity(now);
    }
}
