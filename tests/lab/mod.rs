//! The lab: hosts in network namespaces, real FTP servers and clients, and the real daemon between them.
//!
//! Lives here: the map, the network plan, and what every part needs. Shared by the end-to-end tests, the test of the
//! examples and `make demo`, so nothing in it asserts what ftpgate should do. Not here: the tests (`tests/e2e`), the demo
//! (`tests/demo`), the gateways' rulesets (`nftables-examples`, loaded as they are).
//!
//! ```text
//!   private network            Internet                         server's network
//!   10.0.0.0/24                198.51.100.0/24                  10.20.0.0/24
//!   2001:db8:10::/64           2001:db8:51::/64                 2001:db8:20::/64
//!
//! forward, sets, ipv6, tproxy, login:
//!   client --- lan0 [gateway] wan0 --- server
//!   .2,.3      .1             .1       .10
//! reverse:
//!              client --- wan0 [gateway] dmz0 --- server
//!              .20,.21    .2             .1       .10
//! both:
//!   client --- lan0 [gateway] wan0 --- wan0 [gateway] dmz0 --- server
//!   .2,.3      .1             .1       .2             .1       .10
//! combined (both.nft: one gateway, three networks):
//!   client --- lan0 [gateway] wan0 --- outside (an FTP client and an FTP server)
//!   .2,.3      .1   [gateway] .1       .10
//!                   [gateway] dmz0 --- server
//!                             .1       .10
//! ```
//!
//! Hosts on the Internet have no route to 10.0.0.0/8. Every host and gateway drops by default; hosts accept what they must:
//! a client data connections from the address that it dialled, a server FTP from the address it should see.
//! Dropping a value ends its processes (by pid) and removes its namespaces, also when a test panics.

// Each of the crates that share this module uses another part of it.
#![allow(dead_code, unreachable_pub)]
// A lab that cannot be raised ends the test, with a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod client;
pub mod control;
pub mod fake_server;
pub mod files;
pub mod flowing;
pub mod ftpgate;
pub mod haproxy;
pub mod host;
pub mod kernel;
pub mod matrix;
pub mod process;
pub mod scene;
pub mod server;
pub mod topology;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// A place in the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Asks `condition` again and again until it gives a value. Ends the test when it does not within the limit.
pub fn wait_for<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
