//! What a session's driver does about data connections: what becomes of pinholes and ranges that were asked for, and what is told of
//! the connections that come through them.
//!
//! Not here: the lists (`busy`), what follows from it in FTP (`session`).

use super::super::busy::Ranged;
use super::super::drain;
use super::Driver;
use crate::firewall;
use crate::firewall::tracking::{End, Flow, FlowEvent};
use crate::firewall::worker::Lease;
use crate::pinhole::{Announcement, DataEvent};
use crate::session::data::{Direction, Outcome, Transfer};
use crate::session::effect::{Event, PinholeId, Side};

impl Driver {
    pub(super) fn opened(&mut self, id: PinholeId, announcement: Announcement, opened: Result<Lease, firewall::Error>) {
        match opened {
            Ok(lease) => {
                self.record.pinhole_opened(lease.pinhole(), lease.took());
                // Nobody has been told of the entrance yet, so nothing can come through it before it is watched.
                if let Some(watch) = self.path().tracker().map(|t| t.watch(lease.watched())) {
                    self.busy().watches.push((id, watch, None));
                }
                let event = match lease.joint() {
                    Some((client, server)) => Event::Joined(id, client, server),
                    None => Event::Granted(id, lease.pinhole().entrance.port()),
                };
                self.busy().leases.push((id, lease));
                self.step(event);
            }
            Err(error) => {
                self.record.pinhole_failed(announcement, &error);
                self.step(Event::Refused(id));
            }
        }
    }

    pub(super) fn close_pinhole(&mut self, id: PinholeId) {
        let Some(busy) = &mut self.busy else { return };
        busy.server_waits = false;
        busy.openings.retain(|(opening, ..)| *opening != id);
        if let Some(at) = busy.leases.iter().position(|(lease, _)| *lease == id) {
            let (_, lease) = busy.leases.swap_remove(at);
            self.record.pinhole_closed(lease.pinhole());
        }
    }

    pub(super) fn range_opened(&mut self, opened: Result<(), firewall::Error>) {
        match opened {
            Ok(()) => {
                if let Some(Ranged::Open(lease)) = self.busy.as_ref().and_then(|busy| busy.range.as_deref()) {
                    self.record.range_opened(lease.range());
                }
            }
            Err(error) => self.record.range_failed(&error),
        }
    }

    /// Whether data connections live that the session cannot know of. Asked when it would be idle, not before.
    pub(super) fn carries_unseen(&self) -> bool {
        match (self.path().tracker(), self.busy.as_ref().and_then(|busy| busy.range.as_deref())) {
            (Some(tracker), Some(Ranged::Open(lease))) => tracker.carries(lease.range()),
            _ => false,
        }
    }

    pub(super) fn close_range(&mut self) {
        if let Some(range) = self.busy.as_mut().and_then(|busy| busy.close_range()) {
            self.record.range_closed(&range);
        }
    }

    pub(super) fn unwatch(&mut self, id: PinholeId) {
        if let Some(busy) = &mut self.busy {
            busy.watches.retain(|(watched, ..)| *watched != id);
        }
    }

    /// Something happened to a data connection.
    pub(super) fn flow_event(&mut self, id: PinholeId, event: Option<FlowEvent>) {
        self.busy().server_waits = false;
        let event = match event {
            Some(FlowEvent::Used(flow)) => {
                if let Some((.., known)) = self.busy().watches.iter_mut().find(|(watched, ..)| *watched == id) {
                    *known = Some(flow);
                }
                if !self.path().habits().one_shot {
                    self.close_pinhole(id);
                }
                DataEvent::Used { dialler: flow.original.source }
            }
            Some(FlowEvent::Established) => return,
            Some(FlowEvent::Closing(counters) | FlowEvent::Gone(counters)) => {
                let ipv6 = self.session.ends().client.is_ipv6();
                DataEvent::Over(counters.map(|counters| counters.traffic(ipv6)))
            }
            None => return self.unwatch(id),
        };
        self.step(Event::Data(id, event));
    }

    pub(super) fn flow(&self, id: PinholeId) -> Option<Flow> {
        self.busy.as_ref()?.watches.iter().find(|(watched, ..)| *watched == id).and_then(|(.., flow)| *flow)
    }

    /// Looks at what the session asked to be looked at.
    pub(super) fn measure(&mut self) {
        while let Some(id) = self.busy.as_mut().and_then(|busy| busy.to_measure.pop()) {
            let (Some(tracker), Some(flow)) = (self.path().tracker(), self.flow(id)) else { continue };
            let counters = tracker.query(&flow).ok().flatten().and_then(|snapshot| snapshot.counters);
            if let Some(counters) = counters {
                // Keepalives and window probes are packets, but move nothing.
                let ipv6 = self.session.ends().client.is_ipv6();
                self.step(Event::Measured(id, counters.traffic(ipv6).total()));
            }
        }
    }

    /// Ends a data connection so that both its ends notice.
    pub(super) fn reset(&mut self, id: PinholeId, receiver: Option<Side>) {
        let Some(flow) = self.flow(id) else { return };
        // Its pinhole must be gone first, lest the kernel take the next packet of it for a new connection.
        self.close_pinhole(id);
        self.record.reset(&flow);
        let receiver = receiver.map(|side| self.end_of(&flow, side));
        drain::end(self.path(), self.record.session(), &flow, receiver);
    }

    /// A transfer is recorded while its data connection lives on: `drain` will want to know which end to reset first.
    pub(super) fn remember_receiver(&mut self, transfer: &Transfer) {
        let lives = |flow: &&Flow| Some(flow.original.source) == transfer.dialler;
        let watches = self.busy.iter().flat_map(|busy| &busy.watches);
        let flow = watches.filter_map(|(.., flow)| flow.as_ref()).find(lives).copied();
        if let Some(flow) = flow.filter(|_| self.live.drain.is_some() && transfer.outcome == Outcome::ControlClosed) {
            let side = if transfer.direction == Direction::Upload { Side::Server } else { Side::Client };
            let receiver = (flow, self.end_of(&flow, side));
            self.busy().receivers.push(receiver);
        }
    }

    pub(super) fn end_of(&self, flow: &Flow, side: Side) -> End {
        let client_dialled = flow.original.source.ip() == self.session.ends().client.ip();
        if (side == Side::Client) == client_dialled { End::Initiator } else { End::Target }
    }
}
