//! End to end: the real daemon, real servers, real clients, real kernel, default-drop firewalls on every host.
//!
//! Lives here: the list of what is tested, one module each. Not here: the lab (`tests/lab`). Needs root and `tests/setup.sh`;
//! without them every test fails and says so, none is skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../lab/mod.rs"]
mod lab;

mod control_close;
mod flow;
mod ftps;
mod hostile;
mod lifecycle;
mod lifetimes;
mod login;
mod matrix;
mod mixed;
mod modes;
mod nothing_left;
mod observe;
mod pinholes;
mod proxy_headers;
mod proxy_protocol;
mod the_lab_itself;
mod tracking;
mod transfers;
