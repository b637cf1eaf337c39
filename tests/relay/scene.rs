//! A scene in which ftpgate relays: nobody's process, and a gateway that forwards nothing.
//!
//! Not here: what is done in it.

use crate::lab::Family;
use crate::lab::ftpgate::{Config, Ftpgate, UNPRIVILEGED};
use crate::lab::host::Host;
use crate::lab::scene::Scene;
use crate::lab::server::{Server, ServerKind};
use crate::lab::topology::{HOSTS, Lab, Topology};

/// Clients dial the gateway, which stands in front of a server.
pub const REVERSE: &str = "listeners:
  - name: inbound
    listen: [ \"0.0.0.0:21\", \"[::]:21\" ]
    mode: reverse
    capture: direct
    server: [ \"10.20.0.10:21\", \"[2001:db8:20::10]:21\" ]
firewall: { backend: relay }
";

/// Clients dial servers, and a rule brings them to the gateway.
const FORWARD: &str = "listeners:
  - name: outbound
    listen: [ \"0.0.0.0:8021\", \"[::]:8021\" ]
firewall: { backend: relay }
";

/// Clients dial the gateway and name the server.
const LOGIN: &str = "listeners:
  - name: proxy
    listen: [ \"0.0.0.0:21\", \"[::]:21\" ]
    mode: login
    policy: { servers: [ 198.51.100.0/24, \"2001:db8:51::/64\", ftp.example.net, \"*.example.org:*\" ] }
firewall: { backend: relay }
";

/// What a packet filter must let in: nothing is forwarded.
const IN: &str = "tcp dport { 21, 49152-65535 } accept";

/// The relay in front of a server.
pub fn reverse(change: impl Fn(Config) -> Config) -> Scene {
    reverse_with(ServerKind::Vsftpd, change)
}

pub fn reverse_with(kind: ServerKind, change: impl Fn(Config) -> Config) -> Scene {
    let lab = Lab::new(Topology::Reverse);
    lab.gateway().firewall(IN);
    // As container runtimes set it: any user may listen on port 21.
    lab.gateway().sysctl("net/ipv4/ip_unprivileged_port_start", "21");
    finish(lab, kind, REVERSE, change)
}

/// The relay in front of a server of which it only has an address of this family.
pub fn only(family: Family, kind: ServerKind) -> Scene {
    only_with(family, kind, |config| config)
}

pub fn only_with(family: Family, kind: ServerKind, change: impl Fn(Config) -> Config) -> Scene {
    let both = "server: [ \"10.20.0.10:21\", \"[2001:db8:20::10]:21\" ]";
    let one = match family {
        Family::V4 => "server: \"10.20.0.10:21\"",
        Family::V6 => "server: \"[2001:db8:20::10]:21\"",
    };
    reverse_with(kind, |config| change(config.replacing(both, one)))
}

/// The relay in front of clients. Data connections come from the gateway's own address, and the client's firewall lets them in.
pub fn forward(change: impl Fn(Config) -> Config) -> Scene {
    let lab = Lab::new(Topology::Forward);
    lab.gateway().firewall("tcp dport 49152-65535 accept\niifname \"lan0\" tcp dport 8021 ct status dnat accept");
    lab.gateway().nft(
        "table inet capture_ftp {\n chain to_ftpgate { type nat hook prerouting priority dstnat; policy accept;\n\
         iifname \"lan0\" tcp dport 21 redirect to :8021\n }\n}\n",
    );
    lab.client.firewall(
        "ip saddr 10.0.0.1 tcp dport 1024-65535 accept\nip6 saddr 2001:db8:10::1 tcp dport 1024-65535 accept",
    );
    finish(lab, ServerKind::Vsftpd, FORWARD, change)
}

/// The relay between clients and the servers that they name.
pub fn login(kind: ServerKind, change: impl Fn(Config) -> Config) -> Scene {
    let lab = Lab::new(Topology::Login);
    lab.gateway().firewall(IN);
    lab.gateway().sysctl("net/ipv4/ip_unprivileged_port_start", "21");
    let server = Server::start(kind, &lab.server);
    let config = change(Config::new(LOGIN).with("log", "{ level: debug, format: json }"));
    let ftpgates = vec![Ftpgate::start_knowing(lab.gateway(), &config, HOSTS, UNPRIVILEGED)];
    Scene { ftpgates, server, lab }
}

fn finish(lab: Lab, kind: ServerKind, text: &str, change: impl Fn(Config) -> Config) -> Scene {
    let server = Server::start(kind, &lab.server);
    let config = change(Config::new(text).with("log", "{ level: debug, format: json }"));
    let ftpgates = vec![Ftpgate::start_unprivileged(lab.gateway(), &config)];
    Scene { ftpgates, server, lab }
}

/// Listening sockets of the gateway that are doors for data connections.
pub fn doors(host: &Host) -> usize {
    let text = host.run(&["ss", "-Hltn", "sport >= :49152"]).expect_ok();
    text.lines().filter(|line| !line.trim().is_empty()).count()
}
