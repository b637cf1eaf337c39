//! What `ftpgate rules` says of a configuration with `backend: relay`: that it needs none.
//!
//! Lives here: a text of comments, which every packet filter reads, with what a firewall that is there anyway must let in. Not
//! here: pinholes; there are none.

use std::fmt::Write;

use crate::config::{Capture, Config};

/// Comments only.
pub(super) fn ruleset(config: &Config) -> String {
    let mut text = String::from(
        "# No rules are needed: with `backend: relay` ftpgate accepts data connections itself and copies them.\n\
         #\n\
         # If this host has a firewall, it must accept, in what is addressed to the host itself:\n",
    );
    // Writing to a string cannot fail.
    for listener in &config.listeners {
        for listen in &listener.listen {
            let _ = writeln!(text, "#   tcp to {listen}: control connections of listener {}", listener.name);
        }
    }
    let _ = writeln!(
        text,
        "#   tcp to ports {}: data connections, from clients (passive) and from servers (active); ftpgate\n\
         #     listens there only while it expects one, and turns everybody else away",
        config.data.ports
    );
    for listener in config.listeners.iter().filter(|listener| listener.capture == Capture::Redirect) {
        let port = listener.listen.first().map_or(0, std::net::SocketAddr::port);
        let _ = writeln!(
            text,
            "#\n# Listener {} has `capture: redirect`, and so needs a rule that brings port 21 to it, with nftables:\n\
             #   chain to_ftpgate {{ type nat hook prerouting priority dstnat; policy accept; tcp dport 21 redirect to :{port}; }}",
            listener.name
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_all_comments_and_names_what_a_firewall_must_let_in() {
        let text = "listeners: [ { name: out, listen: \"0.0.0.0:8021\" }, { name: own, listen: \"203.0.113.1:21\", mode: reverse, \
                    capture: direct, server: 192.0.2.1 } ]\nfirewall: { backend: relay }\ndata: { ports: 50000-50100 }\n";
        let rules = ruleset(&Config::parse(text, "t").unwrap());
        assert!(rules.lines().all(|line| line.starts_with('#')), "{rules}");
        for part in ["No rules are needed", "0.0.0.0:8021", "203.0.113.1:21", "50000-50100", "redirect to :8021"] {
            assert!(rules.contains(part), "{part} in\n{rules}");
        }
        assert_eq!(rules.matches("capture: redirect").count(), 1, "{rules}");
    }
}
