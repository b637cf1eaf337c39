//! The nftables ruleset that a configuration needs, as `ftpgate rules` prints it.
//!
//! Lives here: [`ruleset`], a pure function from configuration to text: how connections reach the listeners, what the input and
//! forward chains must accept. Not here: the sets, maps and chains of pinholes (`firewall::nftables`), which ftpgate makes
//! itself unless `ownership: sets` asks the administrator to.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::{Capture, Config, Listener, Mode, Ownership, Source};

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
    let mut rules = Ruleset { config, text: String::new() };
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
    rules.text
}

struct Ruleset<'a> {
    config: &'a Config,
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
            "# Where clients of `mode: forward` are, and where the rest of the world is.\n\
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
                Capture::Direct => {
                    for listen in listener.listen.iter().filter(|listen| listen.port() != 0) {
                        self.rule(&format!("{} tcp dport {} accept", own_address(*listen), listen.port()));
                    }
                }
            }
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
        let nftables = &self.config.firewall.nftables;
        let (mark, mask) = (nftables.mark, nftables.mask);
        self.remark("Data connections: ftpgate's rules have set this mark on the first packet of each pinhole.");
        self.rule(&format!("ct mark & {mask:#010x} == {mark:#010x} accept"));
        self.remark("Your own rules, such as: iifname $inside oifname $outside accept");
        self.text.push_str("\t}\n");
    }
}

/// What the rules of a listener are for.
fn sentence(listener: &Listener) -> String {
    match listener.mode {
        Mode::Forward => format!("Listener {}: clients behind the gateway to any server.", listener.name),
        Mode::Reverse => format!("Listener {}: clients outside to the servers behind the gateway.", listener.name),
    }
}

/// The addresses that rules lead to: a second one of the same family would never be reached.
fn first_of_each_family(listener: &Listener) -> impl Iterator<Item = SocketAddr> {
    [false, true].into_iter().filter_map(|ipv6| listener.listen.iter().find(|listen| listen.is_ipv6() == ipv6).copied())
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
