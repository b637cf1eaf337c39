//! The proof of the pf backend where no BSD kernel is: a strict grammar of pf.conf, a model that decides packets, and a stand-in for pfctl.
//!
//! Written independently of the code that it judges.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a failed test panics
#![allow(unreachable_pub, dead_code)] // modules that the stand-in shares and uses in full

mod accepts;
mod call;
mod fake;
mod grammar;
mod model;
mod ours;
mod packets;
mod pinholes;
mod program;
mod shipped;
mod state;
