//! The whole daemon with `backend: pf` on Linux: the stand-in for pfctl keeps its anchors and refuses what pf would refuse; where
//! files are moved, it also brings them to life with nftables.
//!
//! Lives here: the list of what is tested, one module each. Not here: the stand-in and its grammar (`tests/pf`,
//! `tests/fake_pfctl`), the lab (`tests/lab`). Needs root and `tests/setup.sh`; without them every test fails and says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(unreachable_pub, dead_code)] // modules that other tests share and use in full

#[path = "../pf/call.rs"]
mod call;
#[path = "../pf/fake.rs"]
mod fake;
#[path = "../pf/grammar/mod.rs"]
mod grammar;
#[path = "../lab/mod.rs"]
mod lab;
#[path = "../pf/model/mod.rs"]
mod model;
#[path = "../pf/state.rs"]
mod state;

mod faults;
mod lifecycle;
mod matrix;
mod privileges;
mod scene;
mod sessions;
mod tracking;
