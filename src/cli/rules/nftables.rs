//! The nftables ruleset that a configuration needs.
//!
//! Lives here: [`ruleset`], a pure function from configuration to text: how connections reach the listeners, what the input and
//! forward chains must accept. Not here: the sets, maps and chains of pinholes (`firewall::nftables`), which ftpgate makes
//! itself unless `ownership: sets` asks the administrator to; pf (`pf.rs`).

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use super::{first_of_each_family, sentence};
use crate::config::{Capture, Config, Listener, Mode, Ownership, Source};
use crate::firewall::nftables::{self, text};

/// The packet mark by which tproxy rules hand packets to the routing table that delivers them locally.
const ROUTE_MARK: u32 = 1;

/// The routing table that does.
const ROUTE_TABLE: u32 = 100;

/// The table of the printed rules, unless they live in the administrator's own.
const TABLE: &str = "gateway";

/// The ruleset for `nft -f`. Interfaces are names that need no escaping.
pub(super) fn ruleset(config: &Config, inside: &str, outside: &str, file: &Path) -> String {
    let table = match config.firewall.nftables.ownership {
        Ownership::Managed => TABLE,
        Ownership::Sets => &config.firewall.nftables.table,
    };
    let mut rules = Ruleset { config, settings: settings(config), text: String::new() };
    rules.introduction(file, table);
    rules.interfaces(inside, outside);
    let _ = writeln!(
        rules.text,
        "# Loading this file again replaces the table: made if it is not there, removed, made anew, all at once.\n\
         table inet {table} {{ }}\ndelete table inet {table}\n\ntable inet {table} {{"
    );
    rules.redirect();
    rules.tproxy();
    rules.input();
    rules.forward();
    rules.text.push_str("}\n");
    if config.firewall.nftables.ownership == Ownership::Sets {
        rules.text.push_str("\n# What ftpgate fills with pinholes, and the rules that make them work.\n");
        rules.text.push_str(&text::sets(&rules.settings));
    }
    rules.text
}

/// The same settings in the words of the firewall layer.
fn settings(config: &Config) -> nftables::Settings {
    let ranges = config.passive_ranges();
    let config = &config.firewall.nftables;
    nftables::Settings {
        table: config.table.clone(),
        ownership: match config.ownership {
            Ownership::Managed => nftables::Ownership::Managed,
            Ownership::Sets => nftables::Ownership::Sets,
        },
        mark: config.mark,
        mask: config.mask,
        ranges,
    }
}

struct Ruleset<'a> {
    config: &'a Config,
    settings: nftables::Settings,
    text: String,
}

impl Ruleset<'_> {
    /// A line inside a chain.
    fn rule(&mut self, text: &str) {
        let _ = writeln!(self.text, "\t\t{text}");
    }

    /// A comment inside a chain.
    fn remark(&mut self, text: &str) {
        self.rule(&format!("# {text}"));
    }

    fn open(&mut self, name: &str, hook: &str, what: &str) {
        let _ = writeln!(self.text, "\t# {what}\n\tchain {name} {{\n\t\ttype {hook};");
    }

    fn close(&mut self) {
        self.text.push_str("\t}\n\n");
    }

    fn captured_by(&self, capture: Capture) -> Vec<Listener> {
        self.config.listeners.iter().filter(|listener| listener.capture == capture).cloned().collect()
    }

    /// Whether packets for addresses of others must be delivered to sockets of this machine.
    fn delivers_foreign(&self) -> bool {
        self.config.listeners.iter().any(|l| l.capture == Capture::Tproxy || l.source == Source::Client)
    }

    fn introduction(&mut self, file: &Path, table: &str) {
        let _ = writeln!(
            self.text,
            "#!/usr/sbin/nft -f\n\
             # The nftables rules that {:?} needs, printed by `ftpgate rules`.\n\
             # A skeleton with everything closed: set the interfaces, merge it with your own rules, try it with `nft -c -f`,\n\
             # and keep a way to reach the machine while you load it.\n#\n\
             # Besides the rules the gateway must forward, which `sysctl` says with\n\
             #   net.ipv4.ip_forward = 1\n\
             #   net.ipv6.conf.all.forwarding = 1",
            file.display().to_string()
        );
        if self.delivers_foreign() {
            let _ = writeln!(
                self.text,
                "# and packets marked {ROUTE_MARK} must be delivered on this machine, whatever their address:\n\
                 #   ip rule add fwmark {ROUTE_MARK} lookup {ROUTE_TABLE}\n\
                 #   ip route add local default dev lo table {ROUTE_TABLE}\n\
                 #   ip -6 rule add fwmark {ROUTE_MARK} lookup {ROUTE_TABLE}\n\
                 #   ip -6 route add local default dev lo table {ROUTE_TABLE}"
            );
        }
        let _ = match self.config.firewall.nftables.ownership {
            Ownership::Managed => writeln!(
                self.text,
                "#\n# Pinholes live in `table inet {}`, which ftpgate makes at start and which goes with it: not part of this file.\n",
                self.config.firewall.nftables.table
            ),
            Ownership::Sets => writeln!(
                self.text,
                "#\n# Pinholes live in sets and maps of `table inet {table}` (ownership: sets). Loading this file again empties\n\
                 # them: transfers that were announced and not begun must be asked for again.\n"
            ),
        };
    }

    fn interfaces(&mut self, inside: &str, outside: &str) {
        let _ = writeln!(
            self.text,
            "# Where clients of `mode: forward` and `mode: login` are, and where the rest of the world is.\n\
             define inside = \"{inside}\"\ndefine outside = \"{outside}\"\n"
        );
    }

    /// Connections to port 21 that go to a listener with `capture: redirect`.
    fn redirect(&mut self) {
        let listeners = self.captured_by(Capture::Redirect);
        if listeners.is_empty() {
            return;
        }
        let what = "Control connections are led to ftpgate.";
        self.open("ftp_redirect", "nat hook prerouting priority dstnat; policy accept", what);
        for listener in listeners {
            self.remark(&sentence(&listener));
            for listen in first_of_each_family(&listener) {
                for dialled in dialled(&listener, listen.is_ipv6()) {
                    // iifname "eth1" fib daddr type != local meta nfproto ipv4 tcp dport 21 redirect to :8021
                    self.rule(&format!("{dialled} tcp dport 21 {}", translation(listen)));
                }
                if listen.ip().is_loopback() {
                    self.remark(
                        "A loopback address is reached from outside only with net.ipv4.conf.all.route_localnet = 1;",
                    );
                    self.remark("listening on 0.0.0.0 and [::] needs no such thing.");
                }
            }
        }
        self.close();
    }

    /// Connections to port 21 that go to a listener with `capture: tproxy`, and answers to addresses that ftpgate borrowed.
    fn tproxy(&mut self) {
        if !self.delivers_foreign() {
            return;
        }
        let what = "Packets for connections that ftpgate holds under addresses of others are delivered here.";
        self.open("ftp_tproxy", "filter hook prerouting priority mangle; policy accept", what);
        self.remark("Packets of connections that are open already.");
        self.rule(&format!("socket wildcard 0 socket transparent 1 meta mark set {ROUTE_MARK} accept"));
        for listener in self.captured_by(Capture::Tproxy) {
            self.remark(&sentence(&listener));
            for listen in first_of_each_family(&listener) {
                let family = if listen.is_ipv6() { "ip6" } else { "ip" };
                let to = if listen.ip().is_unspecified() { format!(":{}", listen.port()) } else { listen.to_string() };
                for dialled in dialled(&listener, listen.is_ipv6()) {
                    // iifname "eth1" … tcp dport 21 tproxy ip to :8021 meta mark set 1 accept
                    self.rule(&format!(
                        "{dialled} tcp dport 21 tproxy {family} to {to} meta mark set {ROUTE_MARK} accept"
                    ));
                    self.remark("Nobody listens: without this line the connection would go around ftpgate.");
                    self.rule(&format!("{dialled} tcp dport 21 drop"));
                }
            }
        }
        self.close();
    }

    fn input(&mut self) {
        self.open("input", "filter hook input priority filter; policy drop", "What may reach the gateway itself.");
        self.remark("Answers, this machine talking to itself, and what IP needs to work.");
        self.rule("ct state established,related accept");
        self.rule("iifname \"lo\" accept");
        self.rule("meta l4proto { icmp, ipv6-icmp } accept");
        self.remark("Your own way in: narrow it to where you come from.");
        self.rule("tcp dport 22 accept");
        for listener in &self.config.listeners.clone() {
            self.remark(&format!("Listener {}.", listener.name));
            match listener.capture {
                Capture::Redirect => {
                    for listen in first_of_each_family(listener) {
                        let family = nfproto(listen.is_ipv6());
                        // Only what a rule redirected: whoever dials the port itself gets no answer.
                        self.rule(&format!("ct status dnat meta nfproto {family} tcp dport {} accept", listen.port()));
                    }
                }
                Capture::Tproxy => self.rule(&format!("meta mark {ROUTE_MARK} tcp dport 21 accept")),
                // nftables has no such thing, and the configuration does not take it.
                Capture::Divert => {}
                Capture::Direct => {
                    // Nobody outside is to go anywhere by way of the gateway.
                    let from = if listener.mode == Mode::Login { "iifname $inside " } else { "" };
                    for listen in listener.listen.iter().filter(|listen| listen.port() != 0) {
                        self.rule(&format!("{from}{} tcp dport {} accept", own_address(*listen), listen.port()));
                    }
                }
            }
        }
        if self.config.listeners.iter().any(|listener| listener.relayed) {
            self.remark("Data connections that ftpgate relays (data: relay) end here; its rules have set this mark.");
            self.rule(&format!("{} accept", text::mark_match(&self.settings)));
        }
        if let Some(metrics) = self.config.metrics.as_ref().filter(|metrics| !metrics.listen.ip().is_loopback()) {
            self.remark("Metrics: say who may read them, then remove the # in front.");
            self.remark(&format!("ip saddr 192.0.2.9 tcp dport {} accept", metrics.listen.port()));
        }
        self.close();
    }

    fn forward(&mut self) {
        self.open("forward", "filter hook forward priority filter; policy drop", "What may pass the gateway.");
        self.remark("Connections that were allowed to begin.");
        self.rule("ct state established,related accept");
        self.remark("Data connections: ftpgate's rules have set this mark on the first packet of each pinhole.");
        self.rule(&format!("{} accept", text::mark_match(&self.settings)));
        self.remark("Your own rules, such as: iifname $inside oifname $outside accept");
        self.text.push_str("\t}\n");
    }
}

/// What a client of a listener has dialled, as conditions of a rule.
fn dialled(listener: &Listener, ipv6: bool) -> Vec<String> {
    let (family, ip) = (nfproto(ipv6), if ipv6 { "ip6" } else { "ip" });
    match listener.mode {
        // The gateway's own FTP server, if it has one, stays reachable; through ftpgate it would be a loop.
        Mode::Forward => vec![format!("iifname $inside meta nfproto {family} fib daddr type != local")],
        Mode::Reverse => match listener.external_for(ipv6) {
            Some(address) => vec![format!("iifname $outside {ip} daddr {address}")],
            None => vec![format!("iifname $outside meta nfproto {family} fib daddr type local")],
        },
        // It dials the listener, and the configuration takes nothing else.
        Mode::Login => Vec::new(),
    }
}

fn nfproto(ipv6: bool) -> &'static str {
    if ipv6 { "ipv6" } else { "ipv4" }
}

/// `redirect` goes to the address of the interface where the packet came in, so it suits only listeners on all of them.
fn translation(listen: SocketAddr) -> String {
    if listen.ip().is_unspecified() {
        format!("redirect to :{}", listen.port())
    } else {
        format!("dnat {} to {listen}", if listen.is_ipv6() { "ip6" } else { "ip" })
    }
}

/// An address of the gateway that clients dial, as a condition.
fn own_address(listen: SocketAddr) -> String {
    let ip = if listen.is_ipv6() { "ip6" } else { "ip" };
    if listen.ip().is_unspecified() {
        format!("meta nfproto {}", nfproto(listen.is_ipv6()))
    } else {
        format!("{ip} daddr {}", listen.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> String {
        let config = Config::parse(yaml, "test").unwrap_or_else(|error| panic!("{error}"));
        ruleset(&config, "lan0", "wan0", Path::new("/etc/x.yaml"))
    }

    /// Whether the lines stand in this order in the text, other lines between them or not.
    fn has(text: &str, lines: &[&str]) {
        let mut rest = text.lines();
        for line in lines {
            assert!(rest.any(|found| found.trim() == *line), "{line:?} in its place in\n{text}");
        }
    }

    #[test]
    fn login_mode_redirects_nothing_and_lets_in_who_comes_from_inside() {
        let text = rules(
            "listeners: [ { listen: [\"0.0.0.0:21\", \"[2001:db8::1]:2121\"], mode: login, external_address: 203.0.113.1, policy: { \
             servers: ftp.example.net } } ]",
        );
        has(
            &text,
            &[
                "iifname $inside meta nfproto ipv4 tcp dport 21 accept",
                "iifname $inside ip6 daddr 2001:db8::1 tcp dport 2121 accept",
                "ct mark & 0x10000000 == 0x10000000 accept",
            ],
        );
        assert!(!text.contains("redirect") && !text.contains("hook prerouting"), "{text}");
    }

    #[test]
    fn forward_mode_redirects_and_accepts_only_what_was_redirected() {
        let text = rules("listeners: [ { listen: [\"0.0.0.0:8021\", \"[::]:8021\"] } ]");
        has(
            &text,
            &[
                "define inside = \"lan0\"",
                "table inet gateway {",
                "type nat hook prerouting priority dstnat; policy accept;",
                "iifname $inside meta nfproto ipv4 fib daddr type != local tcp dport 21 redirect to :8021",
                "iifname $inside meta nfproto ipv6 fib daddr type != local tcp dport 21 redirect to :8021",
                "type filter hook input priority filter; policy drop;",
                "ct status dnat meta nfproto ipv4 tcp dport 8021 accept",
                "ct status dnat meta nfproto ipv6 tcp dport 8021 accept",
                "type filter hook forward priority filter; policy drop;",
                "ct mark & 0x10000000 == 0x10000000 accept",
            ],
        );
        assert!(!text.contains("tproxy") && !text.contains("ip rule add"), "{text}");
    }

    #[test]
    fn reverse_mode_matches_the_address_that_clients_dial() {
        let text = rules(
            "listeners: [ { name: d, listen: [\"10.0.0.1:8022\", \"[::]:8022\"], mode: reverse, server: [10.0.0.5, \"fd00::5\"], \
             external_address: 203.0.113.1 } ]\nmetrics: { listen: \"10.0.0.1:9821\" }",
        );
        has(
            &text,
            &[
                "iifname $outside ip daddr 203.0.113.1 tcp dport 21 dnat ip to 10.0.0.1:8022",
                "iifname $outside meta nfproto ipv6 fib daddr type local tcp dport 21 redirect to :8022",
                "# ip saddr 192.0.2.9 tcp dport 9821 accept",
            ],
        );
    }

    #[test]
    fn tproxy_fails_closed_and_says_what_routing_it_needs() {
        let text =
            rules("listeners: [ { listen: [\"127.0.0.1:8021\", \"[::]:8021\"], capture: tproxy, source: client } ]");
        let dialled = "iifname $inside meta nfproto ipv4 fib daddr type != local tcp dport 21";
        has(
            &text,
            &[
                "#   ip rule add fwmark 1 lookup 100",
                "#   ip -6 route add local default dev lo table 100",
                "type filter hook prerouting priority mangle; policy accept;",
                "socket wildcard 0 socket transparent 1 meta mark set 1 accept",
                &format!("{dialled} tproxy ip to 127.0.0.1:8021 meta mark set 1 accept"),
                &format!("{dialled} drop"),
                "meta mark 1 tcp dport 21 accept",
            ],
        );
        assert!(text.contains("tproxy ip6 to :8021 ") && !text.contains("chain ftp_redirect"), "{text}");
    }

    #[test]
    fn borrowed_addresses_need_their_answers_delivered_even_with_redirect() {
        let text = rules("listeners: [ { listen: \"0.0.0.0:8021\", source: client } ]");
        has(
            &text,
            &["#   ip rule add fwmark 1 lookup 100", "socket wildcard 0 socket transparent 1 meta mark set 1 accept"],
        );
        assert!(text.contains("redirect to :8021"), "{text}");
    }

    #[test]
    fn relayed_data_connections_end_at_the_gateway_and_the_input_chain_accepts_their_mark() {
        let accept = "ct mark & 0x10000000 == 0x10000000 accept";
        let listener = "listen: \"[::]:8021\", nat64: \"64:ff9b::/96\", data: relay";
        let text = rules(&format!("listeners: [ {{ {listener} }} ]"));
        has(
            &text,
            &[
                "type filter hook input priority filter; policy drop;",
                accept,
                "type filter hook forward priority filter; policy drop;",
                accept,
            ],
        );
        assert_eq!(rules("listeners: [ { listen: \"[::]:8021\" } ]").matches(accept).count(), 1);
    }

    #[test]
    fn sets_and_rules_share_the_administrators_table() {
        let text = rules(
            "listeners: [ { listen: \"0.0.0.0:2121\", mode: reverse, capture: direct, server: 10.0.0.5 } ]\n\
             firewall: { nftables: { table: gw, ownership: sets, mark: 0x10, mask: 0xf0 } }",
        );
        has(
            &text,
            &[
                "delete table inet gw",
                "meta nfproto ipv4 tcp dport 2121 accept",
                "ct mark & 0x000000f0 == 0x00000010 accept",
            ],
        );
        assert_eq!(text.matches("\ntable inet gw {").count(), 3, "{text}");
        assert!(text.contains("@pinhole4"), "{text}");
    }
}
