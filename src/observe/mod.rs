//! Observe: logs and metrics.
