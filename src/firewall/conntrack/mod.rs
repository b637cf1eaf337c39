//! Conntrack: what becomes of the data connections that came through pinholes, as the kernel's connection tracking knows it.
//!
//! Lives here: the plain data, [`Flow`], [`Snapshot`], [`FlowEvent`]. Below it: [`Tracker`] and its thread (`tracker`), who
//! waits for which flow (`registry`), questions and deletions (`requests`), which messages may wake the thread (`filter`),
//! and the bytes of messages going out (`message`) and coming in (`event`). Only `tracker` and `requests` do I/O. Not here:
//! pinholes (`nftables`), what a session makes of a transfer.
//!
//! The nftables rule that lets a data connection through a pinhole marks it, and the mark is all that tells it from the
//! other connections of the gateway. Those never wake the thread: a program in the kernel drops their messages.

mod event;
mod filter;
mod message;
mod registry;
mod requests;
mod tracker;

use std::cmp::Ordering;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::tracker::{Options, Tracker, Watch};
use super::Reset;
use crate::pinhole::{Key, Traffic};

/// One direction of a connection: `CTA_TUPLE_ORIG` or `CTA_TUPLE_REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Where packets of this direction come from.
    pub source: SocketAddr,
    /// Where they go.
    pub destination: SocketAddr,
}

/// A TCP connection in the kernel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The connection as the initiator sees it, before any translation.
    pub original: Tuple,
    /// The answers as the target sends them, before they are translated back.
    pub reply: Tuple,
    /// `CTA_ID`: tells this connection from a later one of the same addresses.
    pub id: u32,
    /// `CTA_ZONE`: 0 unless the administrator's ruleset assigns zones.
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

    /// What to ask of the firewall to end it at both ends, see [`Reset`].
    pub fn reset(&self, receiver: End, lifetime: Duration) -> Reset {
        let (initiator, target) = self.ends();
        match receiver {
            End::Initiator => Reset { receiver: initiator, sender: target, lifetime },
            End::Target => Reset { receiver: target, sender: initiator, lifetime },
        }
    }
}

/// What one direction of a connection carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of whole IP packets, headers included, also of retransmissions. The payload cannot be had from it: TCP headers
    /// vary in length with their options.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
}

/// What a connection carried, if the kernel counts (`net.netfilter.nf_conntrack_acct`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// From the host that dialled: the client in passive mode, the server in active mode.
    pub from_initiator: Tally,
    /// To it.
    pub to_initiator: Tally,
}

impl Counters {
    /// The payload, under the assumption that [`Traffic`] explains: headers with TCP timestamps, and one SYN each way.
    pub fn traffic(&self, ipv6: bool) -> Traffic {
        /// IP header, TCP header, timestamps (RFC 7323) with their padding.
        const HEADERS: [u64; 2] = [20 + 20 + 12, 40 + 20 + 12];
        /// What a SYN has more: maximum segment size, selective acknowledgements, window scale.
        const SYN: u64 = 8;
        let headers = if ipv6 { HEADERS[1] } else { HEADERS[0] };
        let payload =
            |tally: Tally| tally.bytes.saturating_sub(tally.packets.saturating_mul(headers).saturating_add(SYN));
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The host that dialled: the client in passive mode, the server in active mode.
    Initiator,
    /// The host that it reached.
    Target,
}

/// `enum tcp_conntrack`, linux/netfilter/nf_conntrack_tcp.h, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Which.
    pub flow: Flow,
    /// `CTA_MARK`: all bits, also those of others.
    pub mark: u32,
    /// `CTA_STATUS`: `enum ip_conntrack_status`, linux/netfilter/nf_conntrack_common.h.
    pub status: u32,
    /// `CTA_PROTOINFO_TCP_STATE`; `None` if the message does not tell.
    pub state: Option<TcpState>,
    /// `CTA_COUNTERS_ORIG`, `CTA_COUNTERS_REPLY`; `None` if the message does not tell: the kernel does not count, or the
    /// message is of an event other than the end.
    pub counters: Option<Counters>,
}

/// What happens to the data connection that a [`Watch`] is for, in this order. Each comes once at most; the first and the
/// last always come, unless the pinhole stays unused or the tracker stops. Nothing lies between them when the target refuses
/// the connection: the kernel forgets it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// Its first packet has passed the gateway.
    Used(Flow),
    /// Both ends have agreed to it. Only if states are subscribed to, see [`Options::states`], and [`Options::every`].
    Established,
    /// Both ends have closed it, or it was reset: what it carried is final but for a last acknowledgement. Only if states
    /// are subscribed to.
    Closing(Option<Counters>),
    /// The kernel has forgotten it (of one that has closed: only with [`Options::every`]): after a while of silence, or because it was deleted. The counters are `None` if it does
    /// not count, or if its end was missed.
    Gone(Option<Counters>),
}
