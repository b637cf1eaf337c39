//! What a session holds while there is something about data connections, and gives back when there is not.
//!
//! Lives here: the lists, and what happens next to them. Not here: what follows from it (`driver`).

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::firewall;
use crate::firewall::tracking::{End, Flow, FlowEvent, Watch};
use crate::firewall::worker::{Lease, Opening, RangeLease, RangeOpening};
use crate::pinhole::{Announcement, RangeRequest};
use crate::session::effect::PinholeId;

/// Who hears of the data connection of a pinhole, and that connection once there is one.
pub(super) type Watched = (PinholeId, Watch, Option<Flow>);

/// The passive ports of a session that became TLS.
#[derive(Debug)]
pub(super) enum Ranged {
    /// Asked for.
    Opening(RangeOpening),
    /// Open, until this is dropped.
    Open(RangeLease),
}

/// Pinholes and data connections of one session.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Pinholes that were asked for; two at most, one held line each way.
    pub(super) openings: Vec<(PinholeId, Announcement, Opening)>,
    /// The data connections that come through them.
    pub(super) watches: Vec<Watched>,
    /// Where the files go of those that outlive the session.
    pub(super) receivers: Vec<(Flow, End)>,
    /// Data connections whose traffic the session asked for.
    pub(super) to_measure: Vec<PinholeId>,
    /// A data connection is on its way to the client whose server has been heard of since: what that says waits.
    pub(super) server_waits: bool,
    /// Pinholes in force. Dropping a lease closes its pinhole, so no way out of the driver leaves one open.
    pub(super) leases: Vec<(PinholeId, Lease)>,
    /// The server's passive ports, while the session cannot be read.
    pub(super) range: Option<Box<Ranged>>,
}

impl Busy {
    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        let Self { openings, watches, receivers, to_measure, server_waits: _, leases, range } = self;
        openings.is_empty()
            && watches.is_empty()
            && receivers.is_empty()
            && to_measure.is_empty()
            && leases.is_empty()
            && range.is_none()
    }

    /// The next pinhole that is in force or refused.
    pub(super) fn poll_opened(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<(PinholeId, Announcement, Result<Lease, firewall::Error>)> {
        for (at, (.., opening)) in self.openings.iter_mut().enumerate() {
            if let Poll::Ready(opened) = Future::poll(Pin::new(opening), context) {
                let (id, announcement, _) = self.openings.swap_remove(at);
                return Poll::Ready((id, announcement, opened));
            }
        }
        Poll::Pending
    }

    /// The passive ports are open, or will not be.
    pub(super) fn poll_range(&mut self, context: &mut Context<'_>) -> Poll<Result<(), firewall::Error>> {
        let Some(Ranged::Opening(opening)) = self.range.as_deref_mut() else { return Poll::Pending };
        match ready!(Future::poll(Pin::new(opening), context)) {
            Ok(lease) => {
                self.range = Some(Box::new(Ranged::Open(lease)));
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.range = None;
                Poll::Ready(Err(error))
            }
        }
    }

    /// Gives them up; says what was open.
    pub(super) fn close_range(&mut self) -> Option<RangeRequest> {
        match *self.range.take()? {
            Ranged::Open(lease) => Some(*lease.range()),
            Ranged::Opening(_) => None,
        }
    }

    /// What happens next to one of the data connections; `None` when nothing more will.
    pub(super) fn poll_flows(&mut self, context: &mut Context<'_>) -> Poll<(PinholeId, Option<FlowEvent>)> {
        for (id, watch, _) in &mut self.watches {
            if let Poll::Ready(event) = watch.poll_next(context) {
                return Poll::Ready((*id, event));
            }
        }
        Poll::Pending
    }
}
