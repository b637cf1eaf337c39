//! A second look at a configuration that makes sense: what is unwise or without effect, and what a reload can change.
//!
//! Lives here: [`Config::warnings`], [`reload_changes`]. Not here: what is refused (`validate.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::Value;

use super::raw::Raw;
use super::values::format_duration;
use crate::policy::{Entry, Servers};

use super::{Accounting, Backend, Config, Mode, OnControlClose, Ownership, Pf, Tracking, defaults};

/// RFC 1123 §4.1.3.2: an idle timeout of at least five minutes.
const LEAST_IDLE: Duration = Duration::from_secs(5 * 60);

/// RFC 6384 §12: an announced port is to be kept for at least 30 seconds.
const LEAST_PINHOLE: Duration = Duration::from_secs(30);

impl Config {
    /// What `check` and `run` tell the administrator: keys without effect in this version, and values that are allowed and
    /// unwise. One sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let mut list = Vec::new();
        self.without_effect(&mut list);
        self.elsewhere(&mut list);
        self.untracked(&mut list);
        self.unopened(&mut list);
        self.unwise(&mut list);
        list
    }

    fn without_effect(&self, list: &mut Vec<String>) {
        let mut none = |key: &str, why: &str| list.push(format!("{key} has no effect in this version: {why}"));
        if self.control.socket.as_ref().is_some_and(|path| path != std::path::Path::new(defaults::CONTROL_SOCKET)) {
            none("control.socket", "there is no control socket yet");
        }
        let pf = self.firewall.backend == Backend::Pf;
        if !pf && self.user.as_deref().is_some_and(|user| user != defaults::USER) {
            none("user", "the process stays the user it was started as; choose that user where it is started");
        }
    }

    /// What the administrator has set for another backend.
    fn elsewhere(&self, list: &mut Vec<String>) {
        let Pf { anchor, tag, queue, rtable, log, dialect: _, pfctl: _ } = &self.firewall.pf;
        let set = anchor != defaults::PF_ANCHOR || tag.is_some() || queue.is_some() || rtable.is_some() || *log;
        let backend = self.firewall.backend;
        if set && backend != Backend::Pf {
            list.push(format!("firewall.pf has no effect with firewall.backend: {}", backend.as_str()));
        }
        if matches!(backend, Backend::Pf | Backend::Relay) && self.data.accounting == Accounting::Enable {
            let (name, who) = (backend.as_str(), if backend == Backend::Pf { "pf" } else { "the relay" });
            list.push(format!("data.accounting has no effect with firewall.backend: {name}: {who} always counts"));
        }
        if backend == Backend::Relay && self.firewall.nftables.ownership == Ownership::Sets {
            list.push("firewall.nftables has no effect with firewall.backend: relay".to_owned());
        }
    }

    /// What the administrator has set and `data.tracking: off` makes void.
    fn untracked(&self, list: &mut Vec<String>) {
        let data = &self.data;
        if data.tracking != Tracking::Off {
            return;
        }
        let set = [
            ("data.idle_timeout", data.idle_timeout != defaults::DATA_IDLE_TIMEOUT),
            ("data.on_control_close", data.on_control_close != OnControlClose::Reset),
            ("data.drain_timeout", data.drain_timeout != defaults::DATA_DRAIN_TIMEOUT),
            ("data.accounting", data.accounting != Accounting::Leave),
        ];
        for (key, _) in set.iter().filter(|(_, is_set)| *is_set) {
            list.push(format!("{key} has no effect with data.tracking: off: data connections are not followed"));
        }
    }

    fn unwise(&self, list: &mut Vec<String>) {
        if self.timeouts.idle < LEAST_IDLE {
            list.push(format!(
                "timeouts.idle is {}; clients may rely on five minutes at least (RFC 1123 §4.1.3.2)",
                format_duration(self.timeouts.idle)
            ));
        }
        if self.data.pinhole_timeout < LEAST_PINHOLE {
            list.push(format!(
                "data.pinhole_timeout is {}; a slow client may need 30 s to connect (RFC 6384 §12)",
                format_duration(self.data.pinhole_timeout)
            ));
        }
        if self.firewall.backend == Backend::DryRun {
            list.push(
                "firewall.backend is dry-run: pinholes are logged and never opened, so transfers work only where no firewall or \
                 NAT is in the way"
                    .to_owned(),
            );
        }
        for listener in &self.listeners {
            if listener.proxy_protocol.accept_from.iter().any(|network| network.prefix_len() == 0) {
                list.push(format!(
                    "proxy_protocol.accept_from of listener {} takes everybody's word for who the client is; name the load \
                     balancers alone",
                    listener.name
                ));
            }
        }
        for listener in self.listeners.iter().filter(|listener| listener.mode == Mode::Forward) {
            let names = |servers: &&Servers| servers.entries().iter().any(Entry::is_name);
            if self.servers_for(listener).filter(names).is_some() {
                list.push(format!(
                    "names in policy.servers allow nothing at listener {}: in mode: forward clients dial addresses, and only these \
                     are compared",
                    listener.name
                ));
            }
        }
        for listener in self.listeners.iter().filter(|listener| listener.mode == Mode::Login) {
            let all = |entry: &Entry| entry.net().is_some_and(|net| net.prefix_len() == 0);
            if self.servers_for(listener).is_some_and(|servers| servers.entries().iter().any(all)) {
                list.push(format!(
                    "listener {} lets whoever reaches it go to every server there is: keep it off the outside, or list the \
                     servers that are needed in policy.servers",
                    listener.name
                ));
            }
        }
        // The relay leads clients of one family to a server of the other.
        for listener in self.listeners.iter().filter(|listener| !listener.relayed && listener.mode == Mode::Reverse) {
            for (ipv6, family) in [(false, "IPv4"), (true, "IPv6")] {
                let listens = listener.listen.iter().any(|address| address.is_ipv6() == ipv6);
                if listens && listener.server_for(ipv6).is_none() {
                    list.push(format!(
                        "listener {} takes {family} clients and has no {family} server for them: they will be refused",
                        listener.name
                    ));
                }
            }
        }
    }
}

/// What differs between two configurations, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadChanges {
    /// Can be changed in a running process; holds for new sessions.
    pub live: Vec<String>,
    /// Takes effect at the next start.
    pub needs_restart: Vec<String>,
}

/// Compares a running configuration with one to be loaded.
pub fn reload_changes(old: &Config, new: &Config) -> ReloadChanges {
    let (old, new) = (flat(old), flat(new));
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = ReloadChanges::default();
    for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
        let live = key.starts_with("limits.") || key.starts_with("timeouts.") || key == "log.level";
        let list = if live { &mut changes.live } else { &mut changes.needs_restart };
        list.push(key.clone());
    }
    changes
}

/// Every key with its value. A list that holds only single values counts as one value.
fn flat(config: &Config) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    flatten(String::new(), serde_yaml::to_value(Raw::from(config)).unwrap_or_default(), &mut keys);
    keys
}

fn flatten(path: String, value: Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Mapping(map) => {
            for (key, value) in map {
                let key = key.as_str().unwrap_or_default();
                flatten(if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }, value, keys);
            }
        }
        Value::Sequence(list) if list.iter().any(Value::is_mapping) => {
            for (index, value) in list.into_iter().enumerate() {
                flatten(format!("{path}[{index}]"), value, keys);
            }
        }
        single => {
            keys.insert(path, single);
        }
    }
}
