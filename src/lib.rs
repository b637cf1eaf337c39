//! ftpgate: a NAT-aware FTP application-layer gateway.
//!
//! The map of the crate, from the process down to the bytes; arrows of import point downward only
//! (`tests/architecture.rs` enforces it):
//!
//! - [`cli`]: subcommands and human output; [`daemon`]: start and stop order, signals;
//! - [`config`]: YAML in, validated meaning out;
//! - [`proxy`]: tokio: accept, original destination, connect, one task per session;
//! - [`session`]: the FTP session state machine, pure: events in, effects out;
//! - [`firewall`]: the packet filter and what is in force there: nftables, pf, dry-run;
//! - [`observe`]: logs and metrics;
//! - at the bottom [`protocol`] (FTP text), [`policy`] (which servers may be reached), [`pinhole`] (plain data that session and
//!   firewall share), [`sys`] (sockets).
//!
//! `docs/architecture.md` tells how they work together, and what is deliberately absent.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod firewall;
pub mod observe;
pub mod pinhole;
pub mod policy;
pub mod protocol;
pub mod proxy;
pub mod session;
pub mod sys;
pub mod tls;
