//! Paths: how data connections get through, for the listeners of a configuration.
//!
//! Lives here: [`Paths`]: starting the packet filter, the relay, and who follows data connections, as far as some listener needs
//! them; which listener has which; stopping them. Not here: what they do (`firewall`).

use std::path::Path;
use std::sync::Arc;

use super::keeper::{self, Keeper};
use super::{netfilter, settings};
use crate::config::{self, Config, Listener};
use crate::firewall::Backend;
use crate::firewall::Error;
use crate::firewall::dry_run::DryRun;
use crate::firewall::path::DataPath;
use crate::firewall::relay::Relay;
use crate::firewall::tracking::Follow;
use crate::firewall::worker::Firewall;
use crate::observe::metrics::Metrics;

/// The ways of data connections that there are.
pub(super) struct Paths {
    /// Through the backend of the configuration alone.
    plain: DataPath,
    /// Through the relay behind it, if a listener asks for that.
    behind: Option<DataPath>,
}

/// Whether a listener's data connections go through the relay behind the packet filter.
fn is_behind(listener: &Listener, config: &Config) -> bool {
    listener.relayed && config.firewall.backend != config::Backend::Relay
}

impl Paths {
    /// Starts all of it. The keeper is that of pf, after whose start the process has no privileges any more.
    ///
    /// # Errors
    /// Something that must be there is not.
    pub(super) fn start(
        config: &Config,
        file: Option<&Path>,
        metrics: &Metrics,
    ) -> anyhow::Result<(Self, Option<Keeper>)> {
        let worker = settings::worker(config)?;
        let mut relayed = None;
        let (keeper, backend) = match config.firewall.backend {
            config::Backend::Nftables => (None, netfilter::backend(config)?),
            config::Backend::DryRun => (None, Box::new(DryRun::new()) as Box<dyn Backend>),
            config::Backend::Pf => {
                let (keeper, backend) = Keeper::start(config, file)?;
                // Before there are threads, and when everything is open that needs a privilege.
                keeper::drop_privileges(config)?;
                (Some(keeper), backend)
            }
            config::Backend::Relay => {
                let (backend, tracker) = relay(config, metrics)?;
                relayed = tracker;
                (None, backend)
            }
        };
        let firewall = Firewall::start(backend, worker.clone())?;
        // The kernel follows what is not relayed; if all is, it need not even count.
        let all_behind = config.listeners.iter().all(|listener| is_behind(listener, config));
        // Before the tracker, which looks at it when it starts.
        if config.firewall.backend == config::Backend::Nftables && !all_behind {
            netfilter::prepare(config.data.accounting);
        }
        // Nobody follows data connections where pinholes are not opened, or where that is not wanted.
        let tracker = match (config.firewall.backend, &keeper) {
            _ if config.data.tracking == config::Tracking::Off || all_behind => None,
            (_, Some(keeper)) => Some(keeper.tracker()?),
            (config::Backend::Relay, None) => relayed,
            (config::Backend::Nftables, None) => Some(netfilter::tracker(config)?),
            (_, None) => None,
        };
        let behind = if config.listeners.iter().any(|listener| is_behind(listener, config)) {
            let (backend, tracker) = relay(config, metrics)?;
            Some(DataPath::behind(Firewall::start(backend, worker)?, tracker, firewall.clone()))
        } else {
            None
        };
        Ok((Self { plain: DataPath::new(firewall, tracker), behind }, keeper))
    }

    /// That of a listener.
    pub(super) fn of(&self, listener: &Listener) -> DataPath {
        match &self.behind {
            Some(behind) if listener.relayed => behind.clone(),
            _ => self.plain.clone(),
        }
    }

    /// Whether the packet filter tells what becomes of data connections.
    pub(super) fn is_tracked(&self) -> bool {
        self.plain.tracker().is_some()
    }

    /// The word of the backend.
    pub(super) fn name(&self) -> &'static str {
        self.plain.name()
    }

    /// Whether there is a relay behind it.
    pub(super) fn has_relay_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Closes everything and ends: the relay first, whose connections end with it.
    ///
    /// # Errors
    /// The first one, after all were told to.
    pub(super) fn stop(&self) -> Result<(), Error> {
        let behind = self.behind.as_ref().map_or(Ok(()), DataPath::stop);
        behind.and(self.plain.stop())
    }
}

type Follower = Option<Arc<dyn Follow>>;

fn relay(config: &Config, metrics: &Metrics) -> Result<(Box<dyn Backend>, Follower), Error> {
    let relay = Relay::start(settings::relay(config, metrics))?;
    let is_followed = config.data.tracking != config::Tracking::Off;
    let tracker = is_followed.then(|| Arc::new(relay.tracker()) as Arc<dyn Follow>);
    Ok((Box::new(relay), tracker))
}

/// What this machine lacks that is not needed, but wanted. One sentence each.
pub(super) fn advice(config: &Config) -> Vec<String> {
    let counts = config.data.tracking == config::Tracking::Conntrack
        && config.data.accounting == config::Accounting::Leave
        && !config.listeners.iter().all(|listener| is_behind(listener, config));
    if counts { netfilter::advice().into_iter().map(str::to_owned).collect() } else { Vec::new() }
}
