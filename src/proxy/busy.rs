//! What a session holds while there is something about data connections, and gives back when there is not.
//!
//! Lives here: the lists, and what happens next to them. Not here: what follows from it (`driver`).

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::firewall;
use crate::firewall::tracking::{End, Flow, FlowEvent, Watch};
use crate::firewall::worker::{Lease, Opening};
use crate::pinhole::Announcement;
use crate::session::effect::PinholeId;

/// Who hears of the data connection of a pinhole, and that connection once there is one.
pub(super) type Watched = (PinholeId, Watch, Option<Flow>);

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
}

impl Busy {
    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        let Self { openings, watches, receivers, to_measure, server_waits: _, leases } = self;
        openings.is_empty() && watches.is_empty() && receivers.is_empty() && to_measure.is_empty() && leases.is_empty()
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
