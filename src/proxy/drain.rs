//! Data connections that may outlive their session for a while (`data.on_control_close: drain`).
//!
//! Lives here: waiting for their end, and `end`, which ends one, now or when its time is up. Not here: which of them end with
//! their session; the session itself asks for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::busy::Watched;
use crate::firewall::Reset;
use crate::firewall::path::DataPath;
use crate::firewall::tracking::{End, Flow, FlowEvent};
use crate::pinhole::SessionId;

/// Looks after what is left of a session, for so long. `receivers`: the ends that files go to, as far as that is known.
pub(super) fn after(
    (shared, path): (Arc<Shared>, DataPath),
    session: SessionId,
    watches: Vec<Watched>,
    receivers: Vec<(Flow, End)>,
    limit: Duration,
) {
    let live: Vec<_> = watches.into_iter().filter_map(|(_, watch, flow)| flow.map(|flow| (watch, flow))).collect();
    if live.is_empty() {
        return;
    }
    tokio::spawn(async move {
        let until = Instant::now() + limit;
        for (mut watch, flow) in live {
            let over = async {
                while let Some(event) = watch.next().await {
                    if matches!(event, FlowEvent::Closing(_) | FlowEvent::Gone(_)) {
                        return;
                    }
                }
            };
            if timeout_at(until, over).await.is_err() {
                tracing::info!(dialler = %flow.original.source, "data connection reset: data.drain_timeout is over");
                shared.metrics.reset();
                let receiver = receivers.iter().find(|(known, _)| *known == flow).map(|(_, end)| *end);
                end(&path, session, &flow, receiver);
            }
        }
    });
}

/// How long the kernel waits for a packet of a connection that is to end. One that is quiet for longer is forgotten then: its
/// ends are not told, and what they still send is dropped by default.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends a live data connection so that both its ends notice. `receiver`: the end that the file goes to; if nobody knows, the
/// one that has been sent more; and if that is not known either, both ways are tried.
pub(super) fn end(path: &DataPath, session: SessionId, flow: &Flow, receiver: Option<End>) {
    let counted = || path.tracker()?.query(flow).ok()??.counters?.receiver();
    let reset = |receiver| path.reset(Reset { session, flow: *flow, receiver, lifetime: PATIENCE });
    match receiver.or_else(counted) {
        Some(receiver) => reset(receiver),
        None => [End::Initiator, End::Target].into_iter().for_each(reset),
    }
    let (tracker, flow) = (path.tracker().cloned(), *flow);
    tokio::spawn(async move {
        tokio::time::sleep(PATIENCE).await;
        // Mostly it has been gone for long.
        let _ = tracker.map(|tracker| tracker.forget(&flow));
    });
}
