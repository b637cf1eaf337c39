//! FTPS in a configuration: which ports sessions with TLS may need, and what to tell the administrator about them.
//!
//! Lives here: [`Config::passive_ranges`], [`Config::hints`], and what `warnings` says of `ftps` and `passive_ports`. Not here: what is
//! refused (`validate`), what happens to such sessions (`session`).

use super::{Backend, Config, Ftps, Listener, Mode, PortRange};

impl Config {
    /// The passive ports that the packet filter must be able to open, none twice: those of listeners whose sessions with TLS are
    /// passed unread, and whose data connections go through it.
    pub fn passive_ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for PortRange { low, high } in self.listeners.iter().filter_map(|listener| self.opened(listener)) {
            if !ranges.contains(&(low, high)) {
                ranges.push((low, high));
            }
        }
        ranges
    }

    /// The passive ports of a listener, if they have an effect.
    fn opened(&self, listener: &Listener) -> Option<PortRange> {
        let filtered = matches!(self.firewall.backend, Backend::Nftables | Backend::DryRun) && !listener.relayed;
        listener.passive_ports.filter(|_| listener.ftps == Ftps::Pass && filtered)
    }

    /// Ports without effect.
    pub(super) fn unopened(&self, list: &mut Vec<String>) {
        for listener in self.listeners.iter().filter(|listener| listener.passive_ports.is_some()) {
            if self.opened(listener).is_some() {
                continue;
            }
            let (name, why) = (
                &listener.name,
                match (listener.ftps, self.firewall.backend) {
                    (Ftps::Refuse, _) => "with ftps: refuse no session becomes TLS",
                    (Ftps::Terminate, _) => "with ftps: terminate every session can be read",
                    (Ftps::Pass, Backend::Pf) => {
                        "pf does not open them yet; accept them in pf.conf for sessions with TLS"
                    }
                    (Ftps::Pass, _) => "the relay cannot carry data connections that are announced within TLS",
                },
            );
            list.push(format!("passive_ports of listener {name} has no effect: {why}"));
        }
    }

    /// What else `check` tells: what a server behind this configuration must be set to. Nothing is wrong.
    pub fn hints(&self) -> Vec<String> {
        let passing = self.listeners.iter().filter(|listener| listener.ftps == Ftps::Pass);
        passing.filter_map(|listener| self.hint(listener)).collect()
    }

    fn hint(&self, listener: &Listener) -> Option<String> {
        let name = &listener.name;
        match (listener.mode, self.opened(listener)) {
            (Mode::Reverse, Some(PortRange { low, high })) => {
                let address = match listener.external.as_slice() {
                    [] => "the address that clients dial".to_owned(),
                    list => list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "),
                };
                Some(format!(
                    "listener {name} passes sessions with TLS unread (ftps: pass): the server itself must announce {address} and \
                     use the passive ports {low}-{high}, no others (vsftpd: pasv_address, pasv_min_port, pasv_max_port)"
                ))
            }
            (Mode::Forward | Mode::Login, Some(PortRange { low, high })) => Some(format!(
                "listener {name} passes sessions with TLS unread (ftps: pass): of their data connections those to the server's ports \
                 {low}-{high} are let through, no others"
            )),
            (Mode::Reverse, None) if listener.passive_ports.is_none() && self.firewall.backend == Backend::Nftables => {
                Some(format!(
                    "listener {name} passes sessions with TLS unread (ftps: pass), and nothing lets their data connections through: set \
                     passive_ports to the server's passive ports, or ftps: refuse (docs/ftps.md)"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "test").unwrap()
    }

    fn reverse(more: &str) -> String {
        format!("listeners:\n  - {{ name: dmz, listen: \"0.0.0.0:8022\", mode: reverse, server: 10.0.0.5, {more} }}\n")
    }

    #[test]
    fn ranges_are_those_that_can_be_opened_and_none_twice() {
        let text = "listeners:\n\
            \x20 - { name: a, listen: \"0.0.0.0:8021\", passive_ports: 50000-50100 }\n\
            \x20 - { name: b, listen: \"0.0.0.0:8022\", passive_ports: 50000-50100 }\n\
            \x20 - { name: c, listen: \"0.0.0.0:8023\", passive_ports: 60000-60001 }\n\
            \x20 - { name: d, listen: \"0.0.0.0:8024\", passive_ports: 2000-2001, ftps: refuse }\n\
            \x20 - { name: e, listen: \"0.0.0.0:8025\" }\n\
            firewall: { backend: nftables }\n";
        let all = config(text);
        assert_eq!(all.passive_ranges(), [(50000, 50100), (60000, 60001)]);
        let mut pf = all.clone();
        pf.firewall.backend = Backend::Pf;
        assert!(pf.passive_ranges().is_empty());
        let mut relayed = all;
        relayed.listeners.iter_mut().for_each(|listener| listener.relayed = true);
        assert!(relayed.passive_ranges().is_empty());
        let warnings = relayed.warnings().join("\n");
        for part in ["listener a has no effect: the relay", "listener d has no effect: with ftps: refuse"] {
            assert!(warnings.contains(part), "{warnings}");
        }
        assert!(pf.warnings().join("\n").contains("listener c has no effect: pf does not"));
    }

    #[test]
    fn check_says_what_the_server_must_be_set_to() {
        let firewall = "firewall: { backend: nftables }\n";
        for (more, parts) in [
            ("passive_ports: 50000-50100", ["the address that clients dial", "50000-50100"]),
            ("passive_ports: 50000-50100, external_address: 203.0.113.7", ["203.0.113.7", "pasv_address"]),
            ("ftps: pass", ["set passive_ports", "docs/ftps.md"]),
        ] {
            let hints = config(&format!("{}{firewall}", reverse(more))).hints();
            assert!(hints.len() == 1 && parts.iter().all(|part| hints[0].contains(part)), "{hints:?}");
        }
        assert!(config(&format!("{}{firewall}", reverse("ftps: refuse"))).hints().is_empty());
        let forward = config(&format!("listeners:\n  - {{ listen: \"0.0.0.0:8021\" }}\n{firewall}"));
        assert!(forward.hints().is_empty());
    }
}
