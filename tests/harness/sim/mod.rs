//! A simulation of everything around a session: a client, a server, a firewall and a clock, all driven by one seed.
//!
//! Lives here: what a run is made of ([`Profile`], [`Summary`]) and the parts: `world` steps it, `watch` and `state` check it after
//! each step, `client`, `server`, `firewall` and `data` are the models, `text` is how they read FTP,
//! `secrecy` looks at TLS. Not here: how many seeds are run.

pub mod client;
pub mod data;
pub mod did;
pub mod firewall;
pub mod random;
pub mod secrecy;
pub mod server;
pub mod state;
pub mod text;
pub mod watch;
pub mod world;

use ftpgate::session::effect::EndReason;
use ftpgate::session::{Detour, Ends};

/// Who behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The client says whatever it likes.
    pub nasty_client: bool,
    /// The server says whatever it likes.
    pub hostile_server: bool,
}

impl Profile {
    /// Whether both behave, so that every reply can be told apart and must be the right one.
    pub fn is_strict(self) -> bool {
        !self.nasty_client && !self.hostile_server
    }
}

/// What a run came to, so that the whole can be asked whether it tried what it should.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Why it ended.
    pub end: Option<EndReason>,
    /// Events given to the session.
    pub events: u64,
    /// Pinholes asked for.
    pub opened: u64,
    /// Joints asked for.
    pub joined: u64,
    /// Announcements that left with another address or port.
    pub rewritten: u64,
    /// Commands and replies refused.
    pub refused: u64,
    /// Pinholes that expired.
    pub expired: u64,
    /// Whether it is opaque.
    pub opaque: bool,
    /// Whether it became so.
    pub was_opaque: bool,
    /// How often it could be read again.
    pub readable: u64,
    /// Handshakes asked for.
    pub handshakes: u64,
    /// Data connections that were asked for with TLS.
    pub protected: u64,
    /// Moments in which the client was not read.
    pub held_back: u64,
    /// Records of transfers.
    pub records: u64,
    /// Data connections that were reset.
    pub resets: u64,
}

/// Forward, transparent, reverse, reverse behind another NAT; IPv4 and IPv6; a server of the other family, either way.
pub fn topologies() -> [Ends; 8] {
    let ends = |client: &str, original: &str, source: &str, server: &str| Ends {
        client: client.parse().unwrap(),
        original: original.parse().unwrap(),
        source: source.parse().unwrap(),
        server: server.parse().unwrap(),
        detour: None,
    };
    let behind = Ends {
        detour: Detour {
            announced: Some("203.0.113.1".parse().unwrap()),
            entrance: Some("192.168.0.2".parse().unwrap()),
            balancer: None,
        }
        .boxed(),
        ..ends("198.51.100.7:40001", "192.168.0.2:21", "10.0.0.1:50001", "10.0.0.5:21")
    };
    [
        ends("10.0.0.7:40001", "203.0.113.5:21", "198.51.100.1:40001", "203.0.113.5:21"),
        ends("192.0.2.7:40001", "203.0.113.5:21", "192.0.2.7:40001", "203.0.113.5:21"),
        ends("198.51.100.7:40001", "203.0.113.1:21", "10.0.0.1:50001", "10.0.0.5:21"),
        behind,
        ends("[2001:db8:a::7]:40001", "[2001:db8:b::5]:21", "[2001:db8:c::1]:40001", "[2001:db8:b::5]:21"),
        ends("[2001:db8:b::7]:40001", "[2001:db8:c::1]:21", "[fd00::1]:50001", "[fd00::5]:21"),
        ends("[2001:db8:b::7]:40001", "[2001:db8:c::1]:21", "10.0.0.1:50001", "10.0.0.5:21"),
        ends("198.51.100.7:40001", "203.0.113.1:21", "[fd00::1]:50001", "[fd00::5]:21"),
    ]
}
