//! Observe: logs and metrics, what the administrator sees of a running gateway.
//!
//! Lives here: [`Ready`], and below: `logging` (the sink of `tracing`), `limiter` and `printable` (what strangers may write
//! into a log, and how often), `metrics` (every metric), `http` (who asks for them). Not here: what happened; `proxy` and
//! `daemon` tell.

pub mod http;
pub mod limiter;
pub mod logging;
pub mod metrics;
pub mod printable;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the gateway takes clients: all listeners accept and the firewall backend is verified. Clones share the answer.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the answer.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// The answer.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
