//! A whole scene: hosts, a server, and ftpgate on every gateway. What nearly every test begins with.
//!
//! Lives here: putting the parts together, in the order in which they must vanish. Not here: the parts.

use std::net::SocketAddr;

use super::Family;
use super::control::Control;
use super::ftpgate::{Config, Ftpgate, Metrics, pinholes};
use super::host::Host;
use super::server::{Server, ServerKind};
use super::topology::{Gateway, HOSTS, Lab, Topology};

/// Fields are dropped from first to last: daemons before the hosts that they run on.
#[derive(Debug)]
pub struct Scene {
    /// One for each gateway, in the client's order.
    pub ftpgates: Vec<Ftpgate>,
    pub server: Server,
    pub lab: Lab,
}

impl Scene {
    /// With the example configurations as they are.
    pub fn new(topology: Topology, kind: ServerKind) -> Self {
        Self::with(topology, kind, |config| config)
    }

    /// With changed configurations.
    pub fn with(topology: Topology, kind: ServerKind, change: impl Fn(Config) -> Config) -> Self {
        let lab = Lab::new(topology);
        let server = Server::start(kind, &lab.server);
        let ftpgates = start_all(&lab, change);
        Self { ftpgates, server, lab }
    }

    pub fn client(&self) -> &Host {
        &self.lab.client
    }

    /// The gateway nearest to the client.
    pub fn gateway(&self) -> &Host {
        self.lab.gateway()
    }

    /// The ftpgate nearest to the client.
    pub fn ftpgate(&mut self) -> &mut Ftpgate {
        &mut self.ftpgates[0]
    }

    /// What the client dials.
    pub fn ftp(&self, family: Family) -> SocketAddr {
        self.lab.ftp(family)
    }

    /// A logged in session by hand.
    pub fn login(&self, family: Family) -> Control {
        Control::login(self.client(), self.ftp(family), &self.lab.user(self.server.user()))
    }

    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.gateway())
    }

    /// The pinholes in force at the gateway nearest to the client.
    pub fn pinholes(&self, family: Family) -> Vec<String> {
        let table = if self.lab.topology == Topology::Sets { "gateway" } else { "ftpgate" };
        pinholes(self.gateway(), table, family)
    }
}

/// Starts ftpgate on every gateway of a lab.
pub fn start_all(lab: &Lab, change: impl Fn(Config) -> Config) -> Vec<Ftpgate> {
    let start = |gateway: &Gateway| {
        let config = change(Config::new(&gateway.configuration()));
        match lab.topology {
            Topology::Login => Ftpgate::start_knowing(&gateway.host, &config, HOSTS, &[]),
            _ => Ftpgate::start(&gateway.host, &config),
        }
    };
    lab.gateways.iter().map(start).collect()
}
