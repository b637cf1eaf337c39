//! A simulation of everything around a session: a client, a server, a firewall and a clock, all driven by one seed.
//!
//! Lives here: what a run is made of ([`Profile`], [`Summary`]) and the parts: `world` steps it, `watch` and `state` check it after
//! each step, `client`, `server` and `firewall` are the models, `text` is how they read FTP. Not here: how many seeds are run.

pub mod client;
pub mod firewall;
pub mod random;
pub mod server;
pub mod state;
pub mod text;
pub mod watch;
pub mod world;

use ftpgate::session::effect::EndReason;

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
    /// Announcements that left with another address or port.
    pub rewritten: u64,
    /// Commands and replies refused.
    pub refused: u64,
    /// Pinholes that expired.
    pub expired: u64,
    /// Whether it became opaque.
    pub opaque: bool,
    /// Moments in which the client was not read.
    pub held_back: u64,
}
