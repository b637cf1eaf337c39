//! The whole daemon with `backend: relay`, as an ordinary user without any capability, on hosts whose firewalls drop by default and
//! forward nothing.
//!
//! Lives here: the list of what is tested, one module each. Not here: the lab (`tests/lab`). Needs root, to make the lab, and
//! `tests/setup.sh`; without them every test fails and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)] // modules that other tests share and use in full

#[path = "../lab/mod.rs"]
mod lab;

mod balancer;
mod endings;
mod families;
mod ftps;
mod login;
mod many;
mod matrix;
mod modes;
mod peers;
mod scene;
mod without_a_file;
