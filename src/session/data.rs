//! The data connections of a session, from the grant of a pinhole to the record of the transfer that used it.
//!
//! Lives here: [`Data`], which joins what the firewall tells (used, over, bytes) with what the control connection tells (which
//! command, 1yz, final reply), and [`Transfer`], the record that comes of it. Not here: opening and closing pinholes
//! (`announce`), writing the record down (`proxy::record`).
//!
//! Where the firewall cannot follow data connections (dry-run), the record comes from the control connection alone and says so.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::effect::{Effect, Effects, Millis, Note, PinholeId, Side};
use crate::pinhole::{Announcement, DataEvent, Traffic};
use crate::protocol::reply::Code;

/// How long after the final reply the end of the data connection is awaited before the record is written without its bytes.
const LAST_PACKETS: u64 = 5_000;

/// Longest path or user name that is remembered, in bytes; what is longer is cut.
const REMEMBERED: usize = 512;

/// Which way a transfer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// RETR: a file to the client.
    Download,
    /// STOR, STOU, APPE: a file to the server.
    Upload,
    /// LIST, NLST, MLSD: names to the client.
    Listing,
}

impl Direction {
    /// All of them, for tables of metrics.
    pub const ALL: [Self; 3] = [Self::Download, Self::Upload, Self::Listing];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Download => "download",
            Self::Upload => "upload",
            Self::Listing => "listing",
        }
    }

    fn of(command: &str) -> Self {
        match command {
            "RETR" => Self::Download,
            "STOR" | "STOU" | "APPE" => Self::Upload,
            _ => Self::Listing,
        }
    }
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// The server said 2yz.
    Complete,
    /// The server said 4yz or 5yz: 426 for an aborted one.
    Failed,
    /// The control connection closed before the server said anything final.
    ControlClosed,
    /// Nothing moved for `data.idle_timeout`.
    Idle,
}

impl Outcome {
    /// All of them, for tables of metrics.
    pub const ALL: [Self; 4] = [Self::Complete, Self::Failed, Self::ControlClosed, Self::Idle];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::ControlClosed => "control_closed",
            Self::Idle => "idle",
        }
    }
}

/// The record of one transfer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// RETR, STOR and so on.
    pub command: String,
    /// The command's argument as the client sent it; may be empty, relative, and of any bytes.
    pub path: Vec<u8>,
    /// Which way it went.
    pub direction: Direction,
    /// `TYPE I` or `TYPE L` was in force.
    pub binary: bool,
    /// The name that the client logged in with.
    pub user: Vec<u8>,
    /// What announced the data connection.
    pub announcement: Announcement,
    /// Where the data connection came from, if the firewall saw it.
    pub dialler: Option<SocketAddr>,
    /// What the data connection carried, if the firewall counts.
    pub traffic: Option<Traffic>,
    /// From the 1yz reply to the later of the final reply and the end of the data connection, in milliseconds.
    pub duration: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The final reply, if there was one.
    pub reply: Option<u16>,
}

impl Transfer {
    /// Bytes in the direction of the transfer.
    pub fn bytes(&self) -> Option<u64> {
        let traffic = self.traffic?;
        let towards_initiator = self.announcement.is_active() == (self.direction == Direction::Upload);
        Some(if towards_initiator { traffic.to_initiator } else { traffic.from_initiator })
    }
}

/// A transfer command that was passed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Command {
    name: String,
    user: Vec<u8>,
    path: Vec<u8>,
    binary: bool,
}

/// One data connection, from its pinhole on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Connection {
    id: PinholeId,
    announcement: Announcement,
    granted: Millis,
    dialler: Option<SocketAddr>,
    /// The firewall says that it is over, with what it has carried.
    over: Option<(Millis, Option<Traffic>)>,
    /// The command that uses it, and when the server said 1yz.
    transfer: Option<(Command, Millis)>,
    /// How the control connection says that it ended.
    ended: Option<(Outcome, Option<Code>, Millis)>,
    /// What had been carried when it was last looked at.
    measured: (Millis, Option<u64>),
    /// Its pinhole is closed: no command will use it any more.
    closed: bool,
    /// It was asked to end.
    reset: bool,
}

impl Connection {
    fn is_live(&self) -> bool {
        self.dialler.is_some() && self.over.is_none()
    }

    /// The side that the file goes to.
    fn receiver(&self) -> Option<Side> {
        self.transfer.as_ref().map(|(command, _)| match Direction::of(&command.name) {
            Direction::Upload => Side::Server,
            Direction::Download | Direction::Listing => Side::Client,
        })
    }

    /// Whether a transfer may begin to use it.
    fn is_free(&self) -> bool {
        self.transfer.is_none() && !self.closed
    }

    /// Whether the server's last word on its transfer is still to come.
    fn is_unanswered(&self) -> bool {
        self.ended.is_none_or(|(_, reply, _)| reply.is_none())
    }
}

/// The data connections of a session that are not dealt with yet. Empty, it owns no memory but for the user's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Behind a pointer, because an idle session has none of it.
    under_way: Option<Box<UnderWay>>,
    /// The connection that the next transfer will use: one more than its number, which takes half the room.
    current: Option<NonZeroU32>,
    user: Box<[u8]>,
    binary: bool,
}

/// Never all empty for long.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct UnderWay {
    connections: Vec<Connection>,
    /// Transfer commands that await their first reply. The first reply takes them off.
    asked: VecDeque<Command>,
    /// Where the next transfer of a client in active mode goes, if the server is in passive mode.
    conversion: Option<Conversion>,
}

/// A PORT or EPRT for which the server is asked for a passive port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Conversion {
    /// What the client said.
    pub announcement: Announcement,
    /// Where it listens.
    pub client: SocketAddr,
    /// Where the server listens, once it has said so.
    pub server: Option<SocketAddr>,
}

impl Data {
    /// USER was passed on.
    pub fn user(&mut self, name: &[u8]) {
        self.user = cut(name).into_boxed_slice();
    }

    /// TYPE was passed on. Whether the server takes it hardly matters for a record.
    pub fn type_is(&mut self, argument: &[u8]) {
        self.binary = matches!(argument.first(), Some(b'I' | b'i' | b'L' | b'l'));
    }

    /// A transfer command was passed on.
    pub fn ask(&mut self, name: &str, path: &[u8]) {
        let (name, user) = (name.to_owned(), self.user.to_vec());
        let binary = self.binary;
        self.under_way().asked.push_back(Command { name, user, path: cut(path), binary });
    }

    /// A client in active mode and a server in passive mode come together; with the next transfer they are connected.
    pub(super) fn convert(&mut self, conversion: Conversion) {
        self.under_way().conversion = Some(conversion);
    }

    /// What there is of that, which is over with it.
    pub(super) fn take_conversion(&mut self) -> Option<Conversion> {
        let conversion = self.under_way.as_mut()?.conversion.take();
        self.tidy();
        conversion
    }

    /// Nothing will come of it. `asked`: nor if the server has not even answered yet.
    pub fn forget_conversion(&mut self, asked: bool) {
        if asked || !self.awaits_server() {
            let _ = self.take_conversion();
        }
    }

    /// Whether the server has not said yet where it listens.
    pub fn awaits_server(&self) -> bool {
        let conversion = self.under_way.as_ref().and_then(|under_way| under_way.conversion);
        conversion.is_some_and(|conversion| conversion.server.is_none())
    }

    /// A pinhole is in force.
    pub fn granted(&mut self, id: PinholeId, announcement: Announcement, now: Millis) {
        self.under_way().connections.push(Connection {
            id,
            announcement,
            granted: now,
            dialler: None,
            over: None,
            transfer: None,
            ended: None,
            measured: (now, None),
            closed: false,
            reset: false,
        });
    }

    /// The next transfer uses this pinhole.
    pub fn use_next(&mut self, id: PinholeId) {
        self.current = Some(NonZeroU32::MIN.saturating_add(id.0));
    }

    /// A pinhole was closed. If nothing came through it, nothing is left to tell; [`Data::report`] finds that out.
    pub fn closed(&mut self, id: PinholeId) {
        for connection in self.connections_mut().iter_mut().filter(|c| c.id == id) {
            connection.closed = true;
        }
    }

    /// The server said 1yz to the oldest transfer command.
    pub fn started(&mut self, now: Millis) {
        let current = self.current.map(|number| PinholeId(number.get() - 1));
        let Some(under_way) = &mut self.under_way else { return };
        let Some(command) = under_way.asked.pop_front() else { return };
        if let Some(connection) = under_way.connections.iter_mut().find(|c| Some(c.id) == current && c.is_free()) {
            connection.transfer = Some((command, now));
            connection.measured.0 = now;
        }
    }

    /// The server said something final to the oldest transfer command, `started` if it had said 1yz before.
    pub fn answered(&mut self, started: bool, code: Code, now: Millis) {
        if let Some(under_way) = self.under_way.as_mut().filter(|_| !started) {
            under_way.asked.pop_front();
        }
        let outcome = if code.is_positive() { Outcome::Complete } else { Outcome::Failed };
        let Some(c) = self.connections_mut().iter_mut().find(|c| c.transfer.is_some() && c.is_unanswered()) else {
            return;
        };
        c.ended = match c.ended {
            // What ended it was said before, and the server's words are only the echo.
            Some((why, _, at)) if c.reset => Some((why, Some(code), at)),
            _ => Some((outcome, Some(code), now)),
        };
    }

    /// The firewall tells. Says whether that pinhole is used up now.
    pub fn event(&mut self, id: PinholeId, event: DataEvent, now: Millis, effects: &mut Effects) -> bool {
        let Some(connection) = self.connections_mut().iter_mut().find(|c| c.id == id) else { return false };
        match event {
            DataEvent::Used { dialler } => {
                connection.dialler = Some(dialler);
                connection.measured.0 = now;
                let waited = now.0.saturating_sub(connection.granted.0);
                effects.push(Effect::Note(Note::PinholeUsed(connection.announcement, waited)));
                true
            }
            DataEvent::Over(traffic) => {
                connection.over.get_or_insert((now, traffic));
                false
            }
        }
    }

    /// Whether a connection has come through that pinhole.
    pub fn is_used(&self, id: PinholeId) -> bool {
        self.connections().iter().any(|c| c.id == id && c.dialler.is_some())
    }

    /// Whether the firewall says that the data connection is over whose transfer the server has not ended yet.
    pub fn is_over(&self) -> bool {
        self.connections().iter().any(|c| c.transfer.is_some() && c.over.is_some() && c.is_unanswered())
    }

    /// Whether bytes may be moving.
    pub fn is_live(&self) -> bool {
        self.connections().iter().any(Connection::is_live)
    }

    /// When to look again: at a data connection that may be idle, or for the end of one whose transfer has ended.
    pub fn deadline(&self, idle_timeout: u64) -> Option<Millis> {
        let due = |c: &Connection| match c.ended {
            Some((.., at)) => Some(Millis(at.0.saturating_add(LAST_PACKETS))),
            None if c.is_live() => Some(Millis(c.measured.0.0.saturating_add(idle_timeout))),
            None => None,
        };
        self.connections().iter().filter_map(due).min()
    }

    /// The deadline has passed.
    pub fn tick(&mut self, idle_timeout: u64, now: Millis, effects: &mut Effects) {
        for connection in self.connections_mut().iter_mut().filter(|c| c.over.is_none()) {
            match connection.ended {
                Some((.., at)) if at.0.saturating_add(LAST_PACKETS) <= now.0 => connection.over = Some((at, None)),
                None if connection.is_live() && connection.measured.0.0.saturating_add(idle_timeout) <= now.0 => {
                    connection.measured.0 = now;
                    effects.push(Effect::Measure(connection.id));
                }
                _ => {}
            }
        }
    }

    /// What has been carried by now. If that is what it was at the last look, the connection is idle and ends.
    pub fn measured(&mut self, id: PinholeId, total: u64, now: Millis, effects: &mut Effects) {
        let Some(connection) = self.connections_mut().iter_mut().find(|c| c.id == id && c.is_live()) else { return };
        if connection.measured.1 == Some(total) && connection.ended.is_none() && !connection.reset {
            connection.ended = Some((Outcome::Idle, None, now));
            connection.reset = true;
            effects.push(Effect::Reset(id, connection.receiver()));
        }
        connection.measured = (now, Some(total));
    }

    /// The control connection is closing, or still is: what has not been answered never will be (RFC 959 §3.2), and what comes
    /// through a pinhole only now ends as well. A transfer that the server has called complete may still have its last packets
    /// under way, and is left alone.
    pub fn control_closed(&mut self, reset: bool, now: Millis, effects: &mut Effects) {
        for connection in self.connections_mut().iter_mut().filter(|c| c.is_unanswered()) {
            if connection.transfer.is_some() {
                connection.ended.get_or_insert((Outcome::ControlClosed, None, now));
            }
            if reset && connection.is_live() && !connection.reset {
                connection.reset = true;
                effects.push(Effect::Reset(connection.id, connection.receiver()));
            }
        }
    }

    /// Whether no transfer has ended whose last packets are still under way, so that nobody knows yet what it has carried.
    /// Not for long: `LAST_PACKETS` at most.
    pub fn is_settled(&self, tracked: bool) -> bool {
        !tracked || !self.connections().iter().any(|c| c.transfer.is_some() && c.ended.is_some() && c.over.is_none())
    }

    /// Records of the transfers of which nothing more is to come. `tracked`: the firewall tells when they are over. `all`: the
    /// session ends, and nothing more will come of any.
    pub fn report(&mut self, tracked: bool, all: bool, now: Millis, effects: &mut Effects) {
        let Some(under_way) = &mut self.under_way else { return };
        under_way.connections.retain_mut(|connection| {
            let told = connection.ended.is_some() && (connection.over.is_some() || !tracked);
            let unclaimed = connection.closed && connection.transfer.is_none() && !connection.is_live();
            if !told && !unclaimed && !all {
                return true;
            }
            effects.push(Effect::Unwatch(connection.id));
            if let Some((command, started)) = connection.transfer.take() {
                let (outcome, reply, said) = connection.ended.unwrap_or((Outcome::ControlClosed, None, now));
                let (over, traffic) = connection.over.unwrap_or((said, None));
                effects.push(Effect::Transferred(Box::new(Transfer {
                    direction: Direction::of(&command.name),
                    command: command.name,
                    path: command.path,
                    binary: command.binary,
                    user: command.user,
                    announcement: connection.announcement,
                    dialler: connection.dialler,
                    traffic,
                    duration: said.max(over).0.saturating_sub(started.0),
                    outcome,
                    reply: reply.map(|code| code.0),
                })));
            }
            false
        });
        self.tidy();
    }

    fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }

    fn connections(&self) -> &[Connection] {
        self.under_way.as_ref().map_or(&[], |under_way| &under_way.connections)
    }

    fn connections_mut(&mut self) -> &mut [Connection] {
        self.under_way.as_mut().map_or(&mut [], |under_way| &mut under_way.connections)
    }

    fn tidy(&mut self) {
        let over = |it: &mut Box<UnderWay>| it.connections.is_empty() && it.asked.is_empty() && it.conversion.is_none();
        self.under_way.take_if(over);
    }
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    bytes.get(..REMEMBERED).unwrap_or(bytes).to_vec()
}
