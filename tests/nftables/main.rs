//! The nftables backend against the real kernel, in network namespaces that the tests make and remove.
//!
//! Needs root, `ip` and `nft`; fails where they are missing, because a test that skips proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test panics

mod elements;
mod lab;
mod managed;
mod privilege;
mod ranges;
mod rendering;
mod sets;
mod traffic;
