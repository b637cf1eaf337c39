//! A scene with a pf that is the stand-in: hosts, a server, ftpgate with `backend: pf`.
//!
//! Not here: what is done in it.

use std::path::Path;

use crate::fake::Fake;
use crate::grammar::Dialect;
use crate::lab::ftpgate::{Config, Ftpgate};
use crate::lab::scene::Scene;
use crate::lab::server::{Server, ServerKind};
use crate::lab::topology::{Lab, Topology};

/// The mark that the example rulesets accept in their forward chains.
const MARK: &str = "0x10000000";

/// What every pf.conf must have.
pub fn main_ruleset(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::FreeBsd => "nat-anchor \"ftpgate/*\"\nrdr-anchor \"ftpgate/*\"\nblock\nanchor \"ftpgate/*\"\n",
        Dialect::OpenBsd => "set limit anchors 2000\nblock\nanchor \"ftpgate/*\"\n",
    }
}

/// Fields are dropped from first to last.
pub struct PfScene {
    pub scene: Scene,
    pub fake: Fake,
}

impl PfScene {
    /// The network of an example, with pf in the place of nftables where pinholes are concerned.
    pub fn new(topology: Topology, dialect: Dialect) -> Self {
        Self::with(topology, dialect, |config| config)
    }

    pub fn with(topology: Topology, dialect: Dialect, change: impl Fn(Config) -> Config) -> Self {
        let fake = installed(dialect);
        fake.realise(MARK);
        let lab = Lab::new(topology);
        let server = Server::start(ServerKind::Vsftpd, &lab.server);
        let ftpgates = vec![start(&lab, &fake, dialect, change)];
        Self { scene: Scene { ftpgates, server, lab }, fake }
    }

    pub fn ftpgate(&mut self) -> &mut Ftpgate {
        &mut self.scene.ftpgates[0]
    }

    pub fn pid(&self) -> u32 {
        self.scene.ftpgates[0].daemon.pid()
    }
}

/// A stand-in that looks into our anchors.
pub fn installed(dialect: Dialect) -> Fake {
    // The daemon's root directory on the BSDs, where it is part of the system.
    std::fs::create_dir_all("/var/empty").unwrap();
    let fake = Fake::install(dialect);
    fake.load_main(main_ruleset(dialect));
    fake
}

/// The example's configuration with this pf.
pub fn configuration(lab: &Lab, pfctl: &Path, dialect: Dialect) -> Config {
    let config = Config::new(&lab.gateways[0].configuration());
    // OpenBSD has no `redirect`; what it has shows here as the address that the example's rule leads to.
    let config = match dialect {
        Dialect::FreeBsd => config,
        Dialect::OpenBsd => config.replacing("capture: redirect", "capture: divert"),
    };
    let firewall = format!("{{ backend: pf, pf: {{ dialect: {}, pfctl: {} }} }}", dialect.as_str(), pfctl.display());
    config.with("firewall", &firewall)
}

pub fn start(lab: &Lab, fake: &Fake, dialect: Dialect, change: impl Fn(Config) -> Config) -> Ftpgate {
    Ftpgate::start(lab.gateway(), &change(configuration(lab, &fake.path(), dialect)))
}

/// The keeper of a daemon: its only child.
pub fn keeper_of(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let mut children = children.split_whitespace().map(|child| child.parse().unwrap());
    let keeper = children.next().expect("a keeper");
    assert_eq!(children.next(), None);
    keeper
}
