//! Tracking: what becomes of the data connections that came through pinholes, whatever packet filter tells.
//!
//! Lives here: the plain data, [`Flow`], [`Snapshot`], [`FlowEvent`]; [`Follow`], which each system's tracker implements; and
//! [`Watch`], which hears of one connection. Below it: who waits for which connection (`registry`). Not here: where the news
//! comes from (`conntrack`, `pf`, `relay`), what a session makes of it.

mod registry;

use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Error;
use crate::pinhole::{Key, RangeRequest, Traffic};

pub(super) use registry::{Event, Kind, Registry};

/// Follows data connections. Cloned handles are of the same tracker.
pub trait Follow: fmt::Debug + Send + Sync {
    /// From now on tells what becomes of the data connection that comes through the pinhole with this key: the first one
    /// from now on. Call it before the entrance is announced. A watch that still waits under the same key hears of nothing
    /// more.
    fn watch(&self, key: Key) -> Watch;

    /// What is known of a connection; `None` if it is gone. Takes microseconds.
    ///
    /// # Errors
    /// The kernel refused the question.
    fn query(&self, flow: &Flow) -> Result<Option<Snapshot>, Error>;

    /// Makes the kernel forget a connection, if it has not done so already. Where a reset does that (pf), nothing.
    ///
    /// # Errors
    /// The kernel refused.
    fn forget(&self, flow: &Flow) -> Result<(), Error>;

    /// Whether a connection that came through the pinhole with this key is still on its way to the target. What its initiator says
    /// elsewhere of it must not arrive before: [`FlowEvent::Established`] or its end tells when. Packet filters have no such
    /// moments: there the initiator itself waits for the target.
    fn is_on_its_way(&self, _key: &Key) -> bool {
        false
    }

    /// Whether any connection that a range of ports has let in lives. Takes as long as a look at every connection that there is: 22 ms
    /// for 100,000. Who cannot tell says no.
    fn carries(&self, _range: &RangeRequest) -> bool {
        false
    }

    /// How often news was lost because more came than could wait.
    fn lost(&self) -> u64;

    /// Ends the tracker. Watches then end too. Doing so twice is fine.
    fn stop(&self);
}

/// Who waits for which connection; shared by a tracker and its watches.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(Arc<Mutex<Registry>>);

impl Watches {
    pub(super) fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As of [`Follow::watch`].
    pub(super) fn watch(&self, key: Key) -> Watch {
        let (sender, events) = unbounded_channel();
        let id = self.lock().watch(key, sender);
        Watch { key, id, events, watches: self.clone() }
    }

    /// Passes on what was learnt.
    pub(super) fn tell(&self) {
        let news = self.lock().news();
        news.tell();
    }
}

/// Hears of one data connection. Dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    key: Key,
    id: registry::WatchId,
    events: UnboundedReceiver<FlowEvent>,
    watches: Watches,
}

impl Watch {
    /// What happens next; `None` when nothing more will: the connection is gone, another watch has taken the key before
    /// there was a connection, or the tracker has stopped. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<FlowEvent> {
        self.events.recv().await
    }

    /// The same for those who poll.
    pub fn poll_next(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Option<FlowEvent>> {
        self.events.poll_recv(context)
    }

    /// What has happened already; `None` if nothing.
    pub fn try_next(&mut self) -> Option<FlowEvent> {
        self.events.try_recv().ok()
    }

    /// The key that it was registered with.
    pub fn key(&self) -> Key {
        self.key
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watches.lock().unwatch(self.key, self.id);
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tuple {
    /// Where packets of this direction come from.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

/// A TCP connection in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flow {
    /// The connection as the initiator sees it, before any translation.
    pub original: Tuple,
    /// The answers as the target sends them, before they are translated back.
    pub reply: Tuple,
    /// Tells this connection from a later one of the same addresses: `CTA_ID`, or the id of a pf state.
    pub id: u64,
    /// `CTA_ZONE`: 0 unless the administrator's ruleset assigns zones. pf has none.
    pub zone: u16,
}

impl Flow {
    /// The key of the pinhole that it came through: who dialled what.
    pub fn key(&self) -> Key {
        Key { initiator: self.original.source.ip(), entrance: self.original.destination }
    }

    /// Both ends as packets that the gateway forwards carry them: the initiator's own address, untranslated (the source is
    /// translated on the way out), and the target's (the destination is translated on the way in).
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.original.source, self.reply.source)
    }
}

/// What one direction of a connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Bytes of whole IP packets, headers included, also of retransmissions. The payload cannot be had from it: TCP headers
    /// vary in length with their options. Without packets: bytes of payload, exactly.
    pub bytes: u64,
    /// Packets. 0 where it is not packets that are counted, but what is copied (`relay`).
    pub packets: u64,
}

/// What a connection carried, if that is counted (by the relay and pf always, Linux with `net.netfilter.nf_conntrack_acct`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// From the host that dialled: the client in passive mode, the server in active mode.
    pub from_initiator: Tally,
    /// To it.
    pub to_initiator: Tally,
}

impl Counters {
    /// The payload: as it was counted, or under the assumption that [`Traffic`] explains: headers with TCP timestamps, and one
    /// SYN each way.
    pub fn traffic(&self, ipv6: bool) -> Traffic {
        /// IP header, TCP header, timestamps (RFC 7323) with their padding.
        const HEADERS: [u64; 2] = [20 + 20 + 12, 40 + 20 + 12];
        /// What a SYN has more: maximum segment size, selective acknowledgements, window scale.
        const SYN: u64 = 8;
        let headers = if ipv6 { HEADERS[1] } else { HEADERS[0] };
        let payload = |tally: Tally| match tally.packets {
            0 => tally.bytes,
            packets => tally.bytes.saturating_sub(packets.saturating_mul(headers).saturating_add(SYN)),
        };
        Traffic { from_initiator: payload(self.from_initiator), to_initiator: payload(self.to_initiator) }
    }

    /// Which end receives the file, judging by the bytes; `None` before there is any difference.
    pub fn receiver(&self) -> Option<End> {
        match self.from_initiator.bytes.cmp(&self.to_initiator.bytes) {
            Ordering::Less => Some(End::Initiator),
            Ordering::Greater => Some(End::Target),
            Ordering::Equal => None,
        }
    }
}

/// An end of a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The host that dialled: the client in passive mode, the server in active mode.
    Initiator,
    /// The host that it reached.
    Target,
}

/// `enum tcp_conntrack`, linux/netfilter/nf_conntrack_tcp.h, and `TCPS_…`, netinet/tcp_fsm.h, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TcpState {
    /// `NONE`, `SYN_SENT`, `SYN_RECV`, `SYN_SENT2`: not yet established.
    Opening,
    /// `ESTABLISHED`.
    Established,
    /// `FIN_WAIT`, `CLOSE_WAIT`, `LAST_ACK`: one end has closed, or both and not all is acknowledged.
    Finishing,
    /// `TIME_WAIT`: both ends have closed. `CLOSE`: it was reset.
    Closed,
}

/// A connection at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which.
    pub flow: Flow,
    /// How far it has come; `None` if the kernel did not say.
    pub state: Option<TcpState>,
    /// What it has carried; `None` if the kernel did not say: conntrack only counts when it is told to, and says so at the end
    /// of a connection or when it is asked.
    pub counters: Option<Counters>,
}

/// What happens to the data connection that a [`Watch`] is for, in this order. Each comes once at most; the first and the
/// last always come, unless the pinhole stays unused or the tracker stops. Nothing lies between them when the target refuses
/// the connection: the kernel forgets it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// Its first packet has passed the gateway.
    Used(Flow),
    /// Both ends have agreed to it. The relay always tells; conntrack only if that is asked for, see `conntrack::Options`.
    Established,
    /// Both ends have closed it, or it was reset: what it carried is final but for a last acknowledgement. Only if states
    /// are subscribed to.
    Closing(Option<Counters>),
    /// The kernel has forgotten it (of one that has closed: only where `conntrack::Options::every` says so): after a while of silence, or because it was deleted. The counters are `None` if it does
    /// not count, or if its end was missed.
    Gone(Option<Counters>),
}
