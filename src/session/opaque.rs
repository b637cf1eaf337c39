//! A control channel that client and server secure between themselves (`ftps: pass`): it cannot be read any more.
//!
//! Lives here: from the 234 on, and back to clear text where CCC can be seen. Not here: TLS that ends here (`tls`), what a record
//! looks like (`protocol::tls_record`).
//!
//! After 234 the headers of TLS records are looked at, both ways, and nothing else: a client and a server that only pretend, to
//! hide a PORT, are found out by the first byte that is no record, and that ends the session. After 334 (RFC 2228) nothing is known
//! of what follows, so nothing is looked at.
//!
//! CCC (RFC 4217 §5) itself cannot be seen. What can be is its end: both sides have sent application data and then an alert, and
//! one of them goes on with a byte that begins no record. Then the session is read again, as if it had just begun. In TLS 1.3
//! alerts cannot be told from data, so there, and where only one side has said that it is the end, the first clear byte ends the
//! session.
//!
//! What data connections the session needs cannot be seen either. Where the administrator knows the server's passive ports, they
//! are admitted from the client's first record on, for this client and this server alone (CVE-2015-5361).

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, EndReason, Millis, Note, Refusal, Side};
use super::replies::Local;
use super::{Channel, Session, TLS_HANDSHAKE};
use crate::pinhole::RangeRequest;
use crate::protocol::line::LineBuffer;
use crate::protocol::reply::ReplyParser;
use crate::protocol::telnet::TelnetFilter;
use crate::protocol::tls_record::{Fed, Records};

/// The records of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Framing {
    client: Records,
    server: Records,
}

impl Framing {
    fn of(&mut self, side: Side) -> &mut Records {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Whether both sides may have ended their TLS.
    fn may_be_over(&self) -> bool {
        self.client.may_be_closed() && self.server.may_be_closed()
    }
}

impl Session {
    /// The channel is not ours to read any more. Whatever was announced in clear is void.
    pub(super) fn opaque(&mut self, channel: Channel, effects: &mut Effects) {
        self.channel = channel;
        self.pending.clear();
        self.close_pinhole(effects);
        self.data_ready = false;
        self.timers.login = None;
        effects.push(Effect::Note(Note::Opaque));
        // Bytes that arrived behind AUTH were written before the client saw the 234: no TLS client does that, and a server
        // that took them for part of the secured session would obey an attacker (CVE-2011-1575).
        if !self.from_client.is_empty() {
            return self.hostile(Refusal::StartTlsInjection, Local::Injection, effects);
        }
        match channel {
            Channel::Hello => self.tls.get_or_insert_default().framing = Some(Framing::default()),
            _ => self.open_range(effects),
        }
    }

    /// Passes bytes on unread, as far as they are what they claim to be.
    pub(super) fn opaque_bytes(&mut self, side: Side, bytes: &[u8], now: Millis, effects: &mut Effects) {
        if self.channel == Channel::Hello && side == Side::Client {
            match bytes.first() {
                None => return,
                Some(&TLS_HANDSHAKE) => {
                    self.channel = Channel::Records;
                    self.open_range(effects);
                }
                Some(_) => return self.hostile(Refusal::StartTlsInjection, Local::Injection, effects),
            }
        }
        let Some(framing) = self.tls.as_mut().and_then(|tls| tls.framing.as_mut()) else {
            return effects.send(side.other(), &[bytes]);
        };
        let fed = framing.of(side).feed(bytes);
        let may_be_over = framing.may_be_over();
        let (Fed::Foreign(at) | Fed::Malformed(at)) = fed else {
            return effects.send(side.other(), &[bytes]);
        };
        let (records, rest) = bytes.split_at_checked(at).unwrap_or((bytes, &[]));
        effects.send(side.other(), &[records]);
        if matches!(fed, Fed::Foreign(_)) && may_be_over {
            self.readable(effects);
            return self.bytes(side, rest, now, effects);
        }
        // vsftpd says in clear text that its client has gone: there is nobody left whom that could deceive.
        if self.closed.has(side.other()) {
            return;
        }
        // Nothing is said: a clear line in the middle of TLS would tell nobody anything.
        self.note_refusal(Refusal::NotTls, None, effects);
        self.end(EndReason::Hostile);
    }

    /// The channel is clear again, and read as at the beginning of a session; only that somebody is logged in already.
    fn readable(&mut self, effects: &mut Effects) {
        self.channel = Channel::Clear;
        (self.from_client, self.from_server) = (LineBuffer::new(), LineBuffer::new());
        self.telnet = TelnetFilter::default();
        self.reply = ReplyParser::default();
        self.seen_command = false;
        effects.push(Effect::Note(Note::Readable));
        if let Some(tls) = &mut self.tls {
            tls.framing = None;
            if std::mem::take(&mut tls.range_is_open) {
                effects.push(Effect::CloseRange);
            }
        }
        self.tls.take_if(|tls| tls.is_needless());
    }

    /// Admits the client to the server's passive ports, if these are known. Between two address families no port of the one leads
    /// to the other.
    fn open_range(&mut self, effects: &mut Effects) {
        let (initiator, _) = self.ends.dialler();
        let entrance = self.ends.entrance();
        let Some(tls) = self.tls.as_mut().filter(|_| !self.ends.differ()) else { return };
        let Some(ports) = tls.security.range else { return };
        let (target, source) = (self.ends.server.ip(), self.ends.source.ip());
        effects.push(Effect::OpenRange(Box::new(RangeRequest { initiator, entrance, target, source, ports })));
        tls.range_is_open = true;
    }
}
