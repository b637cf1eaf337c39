//! The pf.conf that a configuration needs, for OpenBSD and for FreeBSD.
//!
//! Lives here: [`ruleset`], a pure function from configuration to text. A skeleton that pfctl loads as it is and that drops what it does
//! not name: interfaces, options, the anchors of pinholes, how connections reach the listeners, what ftpgate itself may do. Not here:
//! what stands inside the anchors (`firewall::pf::rules`), nftables (`nftables.rs`).
//!
//! The order is pf's own. FreeBSD wants options, queues, translation, filter rules, and the first translation rule that matches wins, so the
//! anchors stand in front of the administrator's `nat` and `rdr`. On OpenBSD a `match … nat-to` has translated a packet
//! before the rules behind it look at it, so the anchor stands in front of those too.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::{first_of_each_family, sentence};
use crate::config::{Capture, Config, Listener, Mode, Source};
use crate::firewall::pf::rules::Dialect;
use crate::policy::Servers;

/// As many anchors as sessions can have pinholes at a time, with room to spare: `limits.sessions` is 10000 by default.
const ANCHORS: u32 = 20_000;

/// The pf.conf. Interfaces are names that need no escaping.
pub(super) fn ruleset(config: &Config, dialect: Dialect, inside: &str, outside: &str, file: &Path) -> String {
    let mut skeleton = Skeleton { config, dialect, text: String::new() };
    skeleton.introduction(file);
    skeleton.macros(inside, outside);
    skeleton.options();
    skeleton.queues();
    match dialect {
        Dialect::FreeBsd => {
            skeleton.anchors(&["nat-anchor", "rdr-anchor"]);
            skeleton.own_nat();
            skeleton.captures();
            skeleton.closed();
            skeleton.anchors(&["anchor"]);
            skeleton.tagged();
        }
        Dialect::OpenBsd => {
            skeleton.closed();
            skeleton.anchors(&["anchor"]);
            skeleton.tagged();
            skeleton.own_nat();
            skeleton.captures();
        }
    }
    skeleton.input();
    skeleton.own_connections();
    skeleton.own_rules();
    skeleton.text
}

struct Skeleton<'a> {
    config: &'a Config,
    dialect: Dialect,
    text: String,
}

impl Skeleton<'_> {
    /// A rule, or anything else that pfctl reads.
    fn rule(&mut self, text: &str) {
        let _ = writeln!(self.text, "{text}");
    }

    fn remark(&mut self, text: &str) {
        self.rule(&format!("# {text}"));
    }

    /// Begins a paragraph.
    fn section(&mut self, what: &str) {
        self.text.push('\n');
        self.remark(what);
    }

    fn is(&self, dialect: Dialect) -> bool {
        self.dialect == dialect
    }

    /// Whether a client's own address is borrowed for connections to servers.
    fn transparent(&self, mode: Mode) -> bool {
        self.config.listeners.iter().any(|listener| listener.mode == mode && listener.source == Source::Client)
    }

    fn introduction(&mut self, file: &Path) {
        let word = self.dialect.as_str();
        let forwarding = match self.dialect {
            Dialect::OpenBsd => {
                "sysctl.conf(5) says with\n#   net.inet.ip.forwarding=1\n#   net.inet6.ip6.forwarding=1"
            }
            Dialect::FreeBsd => "rc.conf(5) says with\n#   gateway_enable=\"YES\"\n#   ipv6_gateway_enable=\"YES\"",
        };
        let anchor = &self.config.firewall.pf.anchor;
        let _ = writeln!(
            self.text,
            "# The pf.conf that {:?} needs, printed by `ftpgate rules --for pf-{word}`.\n\
             # A skeleton with everything closed: set the interfaces, merge it with your own rules, try it with `pfctl -n -f FILE`,\n\
             # and keep a way to reach the machine while you load it.\n#\n\
             # Besides the rules the gateway must forward, which {forwarding}\n#\n\
             # Pinholes live in anchors below \"{anchor}\", which ftpgate fills: not part of this file. Loading this file again\n\
             # leaves them alone.",
            file.display().to_string()
        );
    }

    fn macros(&mut self, inside: &str, outside: &str) {
        self.section("Where clients of `mode: forward` and `mode: login` are, and where the rest of the world is.");
        self.rule(&format!("inside = \"{inside}\""));
        self.rule(&format!("outside = \"{outside}\""));
        if self.needs_address6("inside") {
            self.remark(
                "An IPv6 address of the inside interface: FreeBSD drops packets for ::1 that came in elsewhere.",
            );
            self.rule("inside6 = \"2001:db8:1::1\"");
        }
        if self.needs_address6("outside") {
            self.remark(
                "An IPv6 address of the outside interface: FreeBSD drops packets for ::1 that came in elsewhere.",
            );
            self.rule("outside6 = \"2001:db8:51::1\"");
        }
        self.remark(
            "All addresses of the gateway. A table, because `! self` would mean: not the first, or not the second, …",
        );
        self.rule("table <gateway> const { self }");
    }

    /// Whether a redirection on this interface must name an IPv6 address that only the administrator knows.
    fn needs_address6(&self, interface: &str) -> bool {
        let captured = self.config.listeners.iter().filter(|listener| listener.capture != Capture::Direct);
        captured.filter(|listener| side(listener) == interface).any(|listener| {
            let mut addresses = first_of_each_family(listener);
            addresses.any(|listen| self.needs_macro(listen))
        })
    }

    /// Whether the address of a listener cannot be the target of a rule: `[::]` is none, and FreeBSD's ::1 takes no packet that came in
    /// elsewhere (ip6_input(), behind pf). 127.0.0.1 does: ip_input() looks before pf.
    fn needs_macro(&self, listen: SocketAddr) -> bool {
        self.is(Dialect::FreeBsd) && listen.is_ipv6() && (listen.ip().is_unspecified() || listen.ip().is_loopback())
    }

    fn options(&mut self) {
        match self.dialect {
            Dialect::OpenBsd => {
                self.section("Each session with pinholes has an anchor; without this line 511 can be.");
                self.rule(&format!("set limit anchors {ANCHORS}"));
            }
            Dialect::FreeBsd => {
                self.section("Each session with pinholes has an anchor. FreeBSD 15 allows 512 without this line: remove the # there.");
                self.remark("FreeBSD 14 has no such limit, and refuses the line.");
                self.remark(&format!("set limit anchors {ANCHORS}"));
            }
        }
        self.remark("What is not let pass is dropped without an answer.");
        self.rule("set block-policy drop");
        self.remark("The gateway talking to itself, such as what reads ftpgate's metrics.");
        self.rule(if self.is(Dialect::OpenBsd) { "set skip on lo" } else { "set skip on lo0" });
    }

    fn queues(&mut self) {
        let Some(queue) = self.config.firewall.pf.queue.clone() else { return };
        match self.dialect {
            Dialect::OpenBsd => {
                self.section(&format!("`queue: {queue}` is nothing for OpenBSD, whose pfctl takes no queue in an anchor. Leave it out, set a tag,"));
                self.remark(&format!(
                    "and let your own rule behind the anchor assign it: pass ... tagged TAG set queue {queue}"
                ));
            }
            Dialect::FreeBsd => {
                self.section(&format!(
                    "Data connections go into the queue {queue}, which needs a kernel with ALTQ, altq(4). For example:"
                ));
                self.remark(&format!("altq on $outside hfsc bandwidth 100Mb queue {{ other, \"{queue}\" }}"));
                self.remark("queue other bandwidth 80% hfsc(default)");
                self.remark(&format!("queue \"{queue}\" bandwidth 20% hfsc"));
            }
        }
    }

    fn anchors(&mut self, kinds: &[&str]) {
        let what = match (self.dialect, kinds.len()) {
            (Dialect::OpenBsd, _) => {
                "Data connections: the pinholes. In front of every `match … nat-to`, which would change what they look for."
            }
            (Dialect::FreeBsd, 2) => {
                "Data connections: the translation of pinholes. In front of every `nat` and `rdr`: the first that matches wins."
            }
            (Dialect::FreeBsd, _) => "Data connections: the pinholes.",
        };
        self.section(what);
        for kind in kinds {
            self.rule(&format!("{kind} \"{}/*\"", self.config.firewall.pf.anchor));
        }
    }

    fn tagged(&mut self) {
        if let Some(table) = self.config.firewall.pf.rtable {
            self.remark(&format!("`rtable: {table}`: that routing table must exist before ftpgate starts, or pfctl refuses every pinhole."));
        }
        let Some(tag) = self.config.firewall.pf.tag.clone() else { return };
        self.section(&format!(
            "`tag: {tag}` leaves it to you which data connections pass; without a line like this none does."
        ));
        self.remark("It may say more, such as `on`, `route-to` or `keep state (max-src-states 20)`.");
        self.rule(&format!("pass quick proto tcp all flags S/SA keep state tagged \"{tag}\""));
    }

    fn own_nat(&mut self) {
        self.section("Your own translation, such as private addresses that leave as the gateway's:");
        // Tagged by a match rule, which does not end the evaluation: data connections would be translated a second time.
        let tag = self.config.firewall.pf.tag.as_ref().map(|tag| format!(" ! tagged \"{tag}\"")).unwrap_or_default();
        match self.dialect {
            Dialect::OpenBsd => {
                self.remark(&format!(
                    "match out on $outside inet from $inside:network to any{tag} nat-to ($outside:0)"
                ));
            }
            Dialect::FreeBsd => self.remark("nat on $outside inet from $inside:network to any -> ($outside:0)"),
        }
    }

    /// How control connections reach the listeners.
    fn captures(&mut self) {
        for listener in &self.config.listeners {
            if listener.capture == Capture::Direct {
                continue;
            }
            self.section(&sentence(listener));
            match (self.dialect, listener.capture) {
                (Dialect::OpenBsd, Capture::Redirect | Capture::Tproxy) => self.remark(
                    "On OpenBSD this takes `capture: divert`: nobody could tell where a connection was going that rdr-to has changed.",
                ),
                (Dialect::FreeBsd, Capture::Divert | Capture::Tproxy) => {
                    self.remark("On FreeBSD this takes `capture: redirect`: divert-to leads to divert(4) sockets there.");
                }
                _ => {}
            }
            for listen in first_of_each_family(listener) {
                if self.needs_macro(listen) && listen.ip().is_loopback() {
                    self.remark(&format!(
                        "The listener must be on that address, or on [::]:{}, instead of ::1.",
                        listen.port()
                    ));
                }
                let rule = self.capture(listener, listen);
                self.rule(&rule);
            }
        }
    }

    fn capture(&self, listener: &Listener, listen: SocketAddr) -> String {
        let (family, side) = (family(listen.is_ipv6()), side(listener));
        let dialled = match (listener.mode, listener.external_for(listen.is_ipv6())) {
            // The gateway's own FTP server, if it has one, stays reachable; through ftpgate it would be a loop.
            (Mode::Forward, _) => "! <gateway>".to_owned(),
            (Mode::Reverse | Mode::Login, Some(address)) => address.to_string(),
            (Mode::Reverse | Mode::Login, None) => format!("(${side})"),
        };
        let to = match listen.ip() {
            _ if self.needs_macro(listen) => format!("${side}6"),
            IpAddr::V4(ip) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            IpAddr::V6(ip) if ip.is_unspecified() => "::1".to_owned(),
            ip => ip.to_string(),
        };
        let port = listen.port();
        match self.dialect {
            // pass in quick on $inside inet proto tcp from any to ! <gateway> port 21 divert-to 127.0.0.1 port 8021
            Dialect::OpenBsd => {
                format!(
                    "pass in quick on ${side} {family} proto tcp from any to {dialled} port 21 divert-to {to} port {port}"
                )
            }
            // rdr pass on $inside inet proto tcp from any to ! <gateway> port 21 -> 127.0.0.1 port 8021
            Dialect::FreeBsd => {
                format!("rdr pass on ${side} {family} proto tcp from any to {dialled} port 21 -> {to} port {port}")
            }
        }
    }

    fn closed(&mut self) {
        self.section("Whatever nothing below lets pass is dropped.");
        self.rule("block all");
    }

    fn input(&mut self) {
        self.section("What may reach the gateway itself. Your own way in: narrow it to where you come from.");
        self.rule("pass in proto tcp from any to <gateway> port 22");
        self.remark("Ping, and what IPv6 needs to find its neighbours. Errors about connections pass with those.");
        self.rule("pass in inet proto icmp from any to <gateway> icmp-type echoreq");
        self.rule("pass in inet6 proto icmp6 from any to <gateway> icmp6-type echoreq");
        self.rule("pass inet6 proto icmp6 all icmp6-type { neighbrsol, neighbradv, routersol, routeradv }");
        for listener in self.config.listeners.iter().filter(|listener| listener.capture == Capture::Direct) {
            self.remark(&sentence(listener));
            for listen in listener.listen.iter().filter(|listen| listen.port() != 0) {
                let family = family(listen.is_ipv6());
                let to = if listen.ip().is_unspecified() { "<gateway>".to_owned() } else { listen.ip().to_string() };
                // Nobody outside is to go anywhere by way of the gateway.
                let on = if listener.mode == Mode::Login { "on $inside " } else { "" };
                self.rule(&format!("pass in {on}{family} proto tcp from any to {to} port {}", listen.port()));
            }
        }
        if let Some(metrics) = self.config.metrics.as_ref().filter(|metrics| !metrics.listen.ip().is_loopback()) {
            self.remark("Metrics: say who may read them, then remove the # in front.");
            self.remark(&format!("pass in proto tcp from 192.0.2.9 to <gateway> port {}", metrics.listen.port()));
        }
    }

    /// What ftpgate itself may do: dial servers.
    fn own_connections(&mut self) {
        // Borrowing addresses takes root, for each connection anew: the daemon stays what it was started as.
        let borrows = self.transparent(Mode::Forward) || self.transparent(Mode::Reverse);
        let user = if borrows { Some("root") } else { self.config.user.as_deref() };
        let user = user.map(|user| format!(" user {user}")).unwrap_or_default();
        self.section("ftpgate dials servers, and nobody else on the gateway does.");
        if self.config.listeners.iter().any(|listener| listener.mode == Mode::Forward) {
            self.rule(&format!("pass out proto tcp from self to any port 21{user}"));
        }
        let mut servers: Vec<SocketAddr> = self.config.listeners.iter().flat_map(|l| l.servers.clone()).collect();
        servers.sort();
        servers.dedup();
        for server in &servers {
            let (family, ip, port) = (family(server.is_ipv6()), server.ip(), server.port());
            self.rule(&format!("pass out {family} proto tcp from self to {ip} port {port}{user}"));
        }
        for listener in self.config.listeners.iter().filter(|listener| listener.mode == Mode::Login) {
            for entry in self.config.servers_for(listener).into_iter().flat_map(Servers::entries) {
                // Names are none of pf's business, and with pf the configuration takes none.
                let Some(net) = entry.net() else { continue };
                let family = family(net.addr().is_ipv6());
                let ports = match entry.ports() {
                    (1, u16::MAX) => String::new(),
                    (low, high) if low == high => format!(" port {low}"),
                    (low, high) => format!(" port {low}:{high}"),
                };
                self.rule(&format!("pass out {family} proto tcp from self to {net}{ports}{user}"));
            }
        }
        if !borrows {
            return;
        }
        self.remark(
            "`source: client`: under the client's address, whose answers must come back to ftpgate, and as root.",
        );
        match self.dialect {
            Dialect::OpenBsd => {
                if self.transparent(Mode::Forward) {
                    self.rule(&format!("pass out proto tcp from ! <gateway> to any port 21{user} divert-reply"));
                }
                for listener in
                    self.config.listeners.iter().filter(|l| l.mode == Mode::Reverse && l.source == Source::Client)
                {
                    for server in &listener.servers {
                        let (family, ip, port) = (family(server.is_ipv6()), server.ip(), server.port());
                        self.rule(&format!(
                            "pass out {family} proto tcp from ! <gateway> to {ip} port {port}{user} divert-reply"
                        ));
                    }
                }
            }
            Dialect::FreeBsd => {
                self.remark("FreeBSD's pf cannot do that (it has no divert-reply): set `source: gateway`, or steer the answers with another");
                self.remark("packet filter, such as ipfw's fwd.");
            }
        }
    }

    fn own_rules(&mut self) {
        self.section("Your own rules, such as:");
        self.remark("pass in on $inside from $inside:network");
        self.remark("pass out on $outside");
    }
}

/// Where the clients of a listener come from, by the name of its macro.
fn side(listener: &Listener) -> &'static str {
    match listener.mode {
        Mode::Forward | Mode::Login => "inside",
        Mode::Reverse => "outside",
    }
}

fn family(ipv6: bool) -> &'static str {
    if ipv6 { "inet6" } else { "inet" }
}

#[cfg(test)]
mod tests;
