//! Daemon: start and stop order.
