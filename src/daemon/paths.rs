//! Paths: how data connections get through, for the listeners of a configuration.
//!
//! Lives here: [`Paths`]: starting the packet filter, the relay, and who follows data connections, as far as some listener needs
//! them; which listener has which; stopping them. Not here: what they do (`firewall`).

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use super::keeper::{self, Keeper};
use super::{netfilter, settings};
use crate::config::{self, Config, Listener, PortRange};
use crate::firewall::Backend;
use crate::firewall::Error;
use crate::firewall::dry_run::DryRun;
use crate::firewall::path::DataPath;
use crate::firewall::relay::Relay;
use crate::firewall::worker::Firewall;
use crate::observe::metrics::Metrics;
use crate::tls;

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
        sessions: &Arc<tls::Sessions>,
    ) -> anyhow::Result<(Self, Option<Keeper>)> {
        let number = config.listeners.iter().filter(|listener| is_behind(listener, config)).count();
        let all_behind = number == config.listeners.len();
        let [for_filter, for_relay] = shares(config.data.ports, number > 0 && !all_behind);
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
                let relay = Relay::start(settings::relay(config, metrics, sessions))?;
                relayed = Some(relay.tracker());
                (None, Box::new(relay) as Box<dyn Backend>)
            }
        };
        let firewall = Firewall::start(backend, settings::worker(for_filter)?)?;
        // The kernel follows what is not relayed; if all is, it need not even count. Before the tracker, which looks at it when it
        // starts.
        if config.firewall.backend == config::Backend::Nftables && !all_behind {
            netfilter::prepare(config.data.accounting);
        }
        // Nobody follows data connections where pinholes are not opened, or where that is not wanted.
        let is_followed = config.data.tracking != config::Tracking::Off;
        let tracker = match (config.firewall.backend, &keeper) {
            _ if !is_followed || all_behind => None,
            (_, Some(keeper)) => Some(keeper.tracker()?),
            (config::Backend::Nftables, None) => Some(netfilter::tracker(config)?),
            (_, None) => None,
        };
        let behind = if number > 0 {
            let relay = Relay::start(settings::relay(config, metrics, sessions))?;
            let dialler = relay.tracker();
            let own = Firewall::start(Box::new(relay), settings::worker(for_relay)?)?;
            Some(DataPath::relay(own, dialler, is_followed).behind(firewall.clone()))
        } else {
            None
        };
        let plain = match relayed {
            Some(relay) => DataPath::relay(firewall, relay, is_followed),
            None => DataPath::new(firewall, tracker),
        };
        Ok((Self { plain, behind }, keeper))
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

    /// What a reload changes.
    pub(super) fn reload(&self, config: &Config) {
        for path in [Some(&self.plain), self.behind.as_ref()].into_iter().flatten() {
            path.connect_within(config.timeouts.connect);
        }
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

/// `data.ports` for the packet filter and for the relay. Where a listener is relayed and another is not, each has its half: an address of
/// this host can be an entrance of both, for the same peer, and neither knows the ports of the other.
fn shares(all: PortRange, is_mixed: bool) -> [RangeInclusive<u16>; 2] {
    let PortRange { low, high } = all;
    if !is_mixed || low == high {
        return [low..=high, low..=high];
    }
    let middle = low + (high - low) / 2;
    [low..=middle, middle + 1..=high]
}

/// What this machine lacks that is not needed, but wanted. One sentence each.
pub(super) fn advice(config: &Config) -> Vec<String> {
    let counts = config.data.tracking == config::Tracking::Conntrack
        && config.data.accounting == config::Accounting::Leave
        && !config.listeners.iter().all(|listener| is_behind(listener, config));
    if counts { netfilter::advice().into_iter().map(str::to_owned).collect() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_filter_and_relay_share_the_ports_where_both_choose() {
        let range = |low, high| PortRange { low, high };
        assert_eq!(shares(range(50000, 50999), true), [50000..=50499, 50500..=50999]);
        assert_eq!(shares(range(50000, 50002), true), [50000..=50001, 50002..=50002]);
        assert_eq!(shares(range(1024, 65535), true), [1024..=33279, 33280..=65535]);
        for (alone, is_mixed) in [(range(50000, 50000), true), (range(50000, 50999), false)] {
            assert_eq!(shares(alone, is_mixed), [alone.low..=alone.high, alone.low..=alone.high]);
        }
    }
}
