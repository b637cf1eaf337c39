//! Data connections that may outlive their session for a while (`data.on_control_close: drain`).
//!
//! Lives here: waiting for their end, and ending them when the time is up. Not here: those that end with their session, which
//! the session itself asks for.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::driver::Watched;
use crate::firewall::conntrack::FlowEvent;

/// Looks after what is left of a session, for so long.
pub(super) fn after(shared: Arc<Shared>, watches: Vec<Watched>, limit: Duration) {
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
                let _ = shared.tracker.as_ref().map(|tracker| tracker.forget(&flow));
            }
        }
    });
}
