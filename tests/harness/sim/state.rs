//! The inside of a session as its written-out form shows it, and what must be true of it at any moment.
//!
//! Lives here: [`State`] and its checks. It reads the JSON that a hand-over between processes would carry. Not here: what leaves
//! the session (`watch`).

use ftpgate::session::effect::Side;
use ftpgate::session::{ServerMode, Session, Settings};
use serde::Deserialize;
use serde_json::Value;

use super::firewall::Firewall;

/// The parts of a session that the checks look at.
#[derive(Debug, Deserialize)]
pub struct State {
    channel: String,
    from_client: Buffer,
    from_server: Buffer,
    pending: Pending,
    data: Data,
    held_command: Option<Held>,
    held_reply: Option<Held>,
    pinhole: Option<(u32, Value)>,
    auth_pending: bool,
    tls: Option<Tls>,
    epsv: String,
    epsv_all: bool,
    closed: Sides,
}

#[derive(Debug, Deserialize)]
struct Tls {
    handshake: Value,
    preparing: bool,
}

#[derive(Debug, Deserialize)]
struct Buffer {
    kept: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Pending {
    first: Option<Value>,
    rest: Vec<Value>,
}

impl Pending {
    fn slots(&self) -> impl Iterator<Item = &Value> {
        self.first.iter().chain(&self.rest)
    }
}

#[derive(Debug, Deserialize)]
struct Data {
    under_way: Option<UnderWay>,
}

#[derive(Debug, Deserialize)]
struct UnderWay {
    connections: Vec<Connection>,
    conversion: Option<Value>,
}

impl Data {
    fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.under_way.iter().flat_map(|under_way| &under_way.connections)
    }
}

#[derive(Debug, Deserialize)]
struct Connection {
    id: u32,
    transfer: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Held {
    id: u32,
    line: Vec<u8>,
}

#[derive(Debug, Deserialize)]
struct Sides {
    client: bool,
    server: bool,
}

impl State {
    /// Whether every command was answered; an ABOR that may have been need not be.
    pub fn is_settled(&self) -> bool {
        self.pending.slots().all(|slot| slot["Abor"]["optional"] == true)
    }

    /// Pinholes that a transfer uses.
    pub fn started(&self) -> impl Iterator<Item = u32> + '_ {
        self.data.connections().filter(|connection| connection.transfer.is_some()).map(|connection| connection.id)
    }

    /// For complaints.
    pub fn slots(&self) -> String {
        format!("{:?}", self.pending.slots().collect::<Vec<_>>())
    }

    /// What must be true of a session that has not ended. `read` is the most that was ever read at once.
    pub fn check(&self, session: &Session, settings: &Settings, firewall: &Firewall, read: usize) {
        self.check_pinholes(firewall);
        self.check_sizes(settings, read);
        self.check_readiness(session, settings);
        assert!(session.deadline().is_some(), "a session without a deadline: {self:?}");
    }

    /// Every pinhole that was granted and not closed is known to the session, and nothing else is.
    fn check_pinholes(&self, firewall: &Firewall) {
        let of = |slot: &Value| slot["Active"][0].as_u64().or(slot["Listening"][0].as_u64());
        let active = self.pending.slots().filter_map(of);
        let mut open: Vec<u32> = active.map(|id| u32::try_from(id).unwrap()).collect();
        open.extend(self.pinhole.iter().map(|(id, _)| *id));
        open.sort_unstable();
        let mut waiting: Vec<u32> =
            [&self.held_command, &self.held_reply].into_iter().flatten().map(|held| held.id).collect();
        waiting.sort_unstable();
        assert_eq!((waiting, open), firewall.ids(), "pinholes (waiting, open): the session's and the firewall's");
    }

    /// The server has not said yet where it listens, or whether it knows EPSV.
    fn awaits_conversion(&self, session: &Session, settings: &Settings) -> bool {
        let conversion = self.data.under_way.iter().find_map(|under_way| under_way.conversion.as_ref());
        let asks = self.pending.slots().any(|slot| slot["Passive"]["server"] == "Epsv");
        let unknown = self.epsv == "Unknown" && !self.epsv_all && session.ends().server.is_ipv4();
        settings.server_mode == ServerMode::Passive
            && (conversion.is_some_and(|conversion| conversion["server"].is_null()) || (asks && unknown))
    }

    fn check_sizes(&self, settings: &Settings, read: usize) {
        let most = settings.line_length + 2 + read;
        assert!(self.from_client.kept.len() <= most, "{} bytes kept from the client", self.from_client.kept.len());
        assert!(self.from_server.kept.len() <= most, "{} bytes kept from the server", self.from_server.kept.len());
        for held in [&self.held_command, &self.held_reply].into_iter().flatten() {
            // Or a line of ftpgate's own, with a gap for the announcement.
            let most = (settings.line_length + 2).max(b"229 Entering Extended Passive Mode (||||)\r\n".len());
            assert!(held.line.len() <= most, "{} bytes held", held.line.len());
        }
        let pending = self.pending.slots().count();
        assert!(pending <= settings.pipeline, "{pending} commands pending");
        assert!(self.pending.first.is_some() || pending == 0, "commands wait behind none: {self:?}");
    }

    /// A side that is not read has a reason, and one that is read has no line left over.
    fn check_readiness(&self, session: &Session, settings: &Settings) {
        let full = self.pending.slots().count() >= settings.pipeline;
        let shakes = self.tls.as_ref().is_some_and(|tls| tls.handshake != "None");
        let prepares = self.tls.as_ref().is_some_and(|tls| tls.preparing);
        let held = self.held_command.is_some() || self.auth_pending || shakes || prepares;
        let client = held || full || self.awaits_conversion(session, settings);
        let server = self.held_reply.is_some() || shakes;
        assert_eq!(session.wants(Side::Client), !client && !self.closed.client, "the client is read or not: {self:?}");
        assert_eq!(session.wants(Side::Server), !server && !self.closed.server, "the server is read or not: {self:?}");
        let whole = |buffer: &Buffer| buffer.kept.contains(&b'\n');
        assert!(client || !whole(&self.from_client), "a line from the client is stuck: {self:?}");
        assert!(server || !whole(&self.from_server), "a line from the server is stuck: {self:?}");
        if self.channel != "Clear" {
            assert!(self.from_client.kept.is_empty() && self.from_server.kept.is_empty(), "opaque, and bytes are kept");
        }
    }
}
