//! What a session leaves in logs and metrics.
//!
//! Lives here: the one place that turns notes of the session into counts and log lines, each with the session's id. Not here:
//! the names of metrics and the format of the log (`observe`). No line of a peer is ever logged, so no password can be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::origin::Way;
use super::{ListenerSettings, Shared};
use crate::firewall;
use crate::firewall::tracking::Flow;
use crate::observe::limiter::Limiter;
use crate::observe::metrics::{Metrics, Rejection};
use crate::observe::printable::printable;
use crate::observe::xferlog::Entry;
use crate::pinhole::{Announcement, Pinhole, RangeRequest, SessionId};
use crate::session::Ends;
use crate::session::data::{Direction, Outcome, Transfer};
use crate::session::effect::{EndReason, Millis, Note, Refusal, Side};
use crate::sys;

/// Refusals can be provoked at will: so many a second are logged, the rest is only counted.
static REFUSALS: Limiter = Limiter::per_second(10);

/// The record of one session.
pub struct Record {
    id: SessionId,
    pub(super) listener: Arc<ListenerSettings>,
    /// What the session shares with all others: metrics and the transfer log among them.
    pub(super) shared: Arc<Shared>,
    started: Millis,
}

impl Record {
    /// A client was admitted; it counts as a session once its server is connected.
    pub fn start(id: SessionId, listener: Arc<ListenerSettings>, shared: Arc<Shared>) -> Self {
        let started = shared.now();
        Self { id, listener, shared, started }
    }

    fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Whose record it is.
    pub fn session(&self) -> SessionId {
        self.id
    }

    /// Both control connections are there.
    pub fn opened(&self, client: SocketAddr, way: Way, source: SocketAddr) {
        self.metrics().session_started(&self.listener.name);
        tracing::info!(
            session = self.id,
            listener = self.listener.name,
            client = %client,
            via = way.via.map(tracing::field::display),
            original = %way.original,
            source = %source,
            server = %way.server,
            "session opened"
        );
    }

    /// The session could not begin.
    pub fn rejected(&self, client: SocketAddr, reason: Rejection, why: &str) {
        self.metrics().rejected(reason);
        tracing::info!(
            session = self.id,
            listener = self.listener.name,
            client = %client,
            reason = reason.as_str(),
            "session refused: {why}"
        );
    }

    /// Something that a client sent before its session could begin was refused.
    pub fn refused(&self, client: SocketAddr, refusal: Refusal) {
        self.metrics().refused(refusal.as_str());
        if let Some(suppressed) = REFUSALS.admit() {
            tracing::warn!(session = self.id, client = %client, reason = refusal.as_str(), suppressed, "refused");
        }
    }

    /// The client went, or was sent, before its session could begin.
    pub fn left(&self, client: SocketAddr, why: &str) {
        tracing::debug!(session = self.id, listener = self.listener.name, client = %client, "no session: {why}");
    }

    /// The session is over.
    pub fn ended(&self, reason: EndReason) {
        let duration = Duration::from_millis(self.shared.now().0.saturating_sub(self.started.0));
        self.metrics().session_ended(&self.listener.name, reason.as_str(), duration);
        tracing::info!(session = self.id, reason = reason.as_str(), ?duration, "session ended");
    }

    /// A TLS handshake with one side failed, and with it the session.
    pub fn handshake_failed(&self, side: Side, error: &std::io::Error) {
        let with = match side {
            Side::Client => "client",
            Side::Server => "server",
        };
        tracing::info!(session = self.id, with, "the TLS handshake failed: {error}");
    }

    /// Something happened in it.
    pub fn note(&self, note: Note, ends: &Ends) {
        match note {
            Note::Command(name) => {
                self.metrics().command(name);
                tracing::trace!(session = self.id, command = name, "command");
            }
            Note::Refused(refusal, announced) => {
                self.metrics().refused(refusal.as_str());
                if let Some(suppressed) = REFUSALS.admit() {
                    self.log_refusal(refusal, announced, ends, suppressed);
                }
            }
            Note::NoEpsv => {
                self.shared.servers.lacks_epsv(ends.server);
                tracing::info!(session = self.id, server = %ends.server, "the server does not know EPSV; asking for PASV");
            }
            Note::LoggedIn => tracing::debug!(session = self.id, "logged in"),
            Note::Opaque if self.listener.security.range.is_some() => {
                tracing::info!(session = self.id, "control channel became TLS: passed on unread from here");
            }
            Note::Opaque => {
                tracing::info!(
                    session = self.id,
                    "control channel became TLS: its data connections cannot be seen, nor helped, from here \
                     (passive_ports of the listener would open the server's)"
                );
            }
            Note::Readable => tracing::info!(session = self.id, "control channel is clear again, and read"),
            Note::Rewritten(announcement) => {
                tracing::debug!(session = self.id, mode = announcement.as_str(), "address rewritten");
            }
            Note::PinholeUsed(announcement, waited) => {
                self.metrics().pinhole_used(announcement, Duration::from_millis(waited));
                tracing::debug!(session = self.id, mode = announcement.as_str(), waited_ms = waited, "pinhole used");
            }
            Note::PinholeExpired(announcement) => {
                self.metrics().pinhole_expired(announcement);
                tracing::info!(
                    session = self.id,
                    mode = announcement.as_str(),
                    "pinhole was not used in time and is closed"
                );
            }
        }
    }

    fn log_refusal(&self, refusal: Refusal, announced: Option<SocketAddr>, ends: &Ends, suppressed: u64) {
        let (session, reason) = (self.id, refusal.as_str());
        match (refusal, announced) {
            (Refusal::ForeignAddress, Some(announced)) => tracing::warn!(
                session,
                reason,
                suppressed,
                "client announced {announced} but its control connection comes from {}; refused",
                ends.client.ip()
            ),
            (_, Some(announced)) => {
                tracing::warn!(session, reason, suppressed, "refused the announcement of {announced}")
            }
            (_, None) => tracing::warn!(session, reason, suppressed, "refused"),
        }
    }

    /// A transfer is over: one structured event, its counts, and a line in the transfer log if it moved a file.
    pub fn transferred(&self, transfer: &Transfer, ends: &Ends) {
        let bytes = transfer.bytes();
        let duration = Duration::from_millis(transfer.duration);
        self.metrics().transferred(transfer.direction, transfer.outcome, bytes, duration);
        tracing::info!(
            session = self.id,
            command = transfer.command,
            path = %printable(&transfer.path),
            user = %printable(&transfer.user),
            direction = transfer.direction.as_str(),
            outcome = transfer.outcome.as_str(),
            reply = transfer.reply,
            bytes,
            duration_ms = transfer.duration,
            bytes_per_second = bytes.and_then(|bytes| (bytes * 1000).checked_div(transfer.duration)),
            mode = transfer.announcement.as_str(),
            dialler = transfer.dialler.map(tracing::field::display),
            client = %ends.client.ip(),
            server = %ends.server.ip(),
            "transfer"
        );
        let log = self.shared.transfers.as_ref().filter(|_| transfer.direction != Direction::Listing);
        let Some(log) = log else { return };
        let entry = Entry {
            time: sys::local_time(SystemTime::now()),
            duration: transfer.duration,
            client: ends.client.ip(),
            bytes: bytes.unwrap_or(0),
            path: &transfer.path,
            binary: transfer.binary,
            upload: transfer.direction == Direction::Upload,
            user: &transfer.user,
            complete: transfer.outcome == Outcome::Complete,
        };
        if let Err(error) = log.write(&entry) {
            tracing::error!(%error, "cannot write to the transfer log (log.transfers); is the disk full?");
        }
    }

    /// A data connection is being ended.
    pub fn reset(&self, flow: &Flow) {
        self.metrics().reset();
        tracing::info!(session = self.id, dialler = %flow.original.source, "data connection reset with its control session");
    }

    /// A pinhole is in force.
    pub fn pinhole_opened(&self, pinhole: &Pinhole, took: Duration) {
        self.metrics().pinhole_opened(pinhole.announcement, pinhole.is_ipv6(), took);
        tracing::debug!(session = self.id, took_us = took.as_micros(), "pinhole opened: {pinhole}");
    }

    /// A pinhole could not be opened.
    pub fn pinhole_failed(&self, announcement: Announcement, error: &firewall::Error) {
        self.metrics().firewall_error(error.kind().as_str());
        if error.kind() == firewall::ErrorKind::Unreachable {
            // Nothing is wrong here.
            tracing::info!(session = self.id, mode = announcement.as_str(), "no data connection: {error}");
        } else {
            tracing::error!(session = self.id, mode = announcement.as_str(), "cannot open a pinhole: {error}");
        }
    }

    /// The server's passive ports are open for a session that became TLS.
    pub fn range_opened(&self, range: &RangeRequest) {
        self.metrics().range_opened();
        tracing::info!(session = self.id, "the passive ports are open until the session ends: {range}");
    }

    /// They could not be opened.
    pub fn range_failed(&self, error: &firewall::Error) {
        self.metrics().firewall_error(error.kind().as_str());
        tracing::error!(
            session = self.id,
            "cannot open the passive ports, so nothing is transferred in this session: {error}"
        );
    }

    /// They are closed again, unless another session of this client with this server has them open.
    pub fn range_closed(&self, range: &RangeRequest) {
        self.metrics().range_closed();
        tracing::debug!(session = self.id, initiator = %range.initiator, entrance = %range.entrance, "passive ports given up");
    }

    /// A pinhole is gone.
    pub fn pinhole_closed(&self, pinhole: &Pinhole) {
        self.metrics().pinhole_closed();
        tracing::debug!(session = self.id, mode = pinhole.announcement.as_str(), entrance = %pinhole.entrance, "pinhole closed");
    }
}
