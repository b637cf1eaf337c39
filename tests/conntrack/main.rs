//! The connection tracker and the reset of data connections against the real kernel, in network namespaces that the tests
//! make and remove.
//!
//! Needs root, `ip`, `nft` and `conntrack`; fails where they are missing, because a test that skips proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)] // a failed test panics

mod cost;
mod lab;
mod reset;
mod tracking;
