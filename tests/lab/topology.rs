//! How hosts are connected: the networks of the map in `mod.rs`.
//!
//! Lives here: [`Topology`], [`Lab`], addresses, routes, the hosts' own firewalls. Not here: the gateways' rulesets (in
//! `nftables-examples`), servers and daemons.

use std::net::{IpAddr, SocketAddr};

use super::host::Host;
use super::process::Output;
use super::{Family, project};

/// Which network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// No gateway: client and server on one link, to try the lab itself.
    Direct,
    /// The client behind a NAT gateway.
    Forward,
    /// The server behind a NAT gateway.
    Reverse,
    /// Each behind a gateway of its own.
    Both,
    /// Client, server and the Internet around one gateway.
    Combined,
    /// No NAT, transparent.
    Tproxy,
    /// As forward, IPv6 only.
    Ipv6,
    /// As forward, with everything in the administrator's table.
    Sets,
    /// The client has IPv6 alone, the server IPv4 alone, and DNS64 has told the client the server's address below 64:ff9b::/96.
    Nat64,
    /// As forward, but clients dial the gateway and name the server in USER.
    Login,
}

/// A gateway and the name of its files in `nftables-examples`.
#[derive(Debug)]
pub struct Gateway {
    pub host: Host,
    pub example: &'static str,
}

impl Gateway {
    /// Loads its ruleset, as it is in `nftables-examples`.
    pub fn load_rules(&self) {
        self.host.nft_file(&format!("nftables-examples/{}.nft", self.example));
    }

    /// The configuration that belongs to it.
    pub fn configuration(&self) -> String {
        let path = project(&format!("nftables-examples/{}.yaml", self.example));
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The hosts of one network.
#[derive(Debug)]
pub struct Lab {
    pub topology: Topology,
    pub client: Host,
    /// In the client's order; empty in [`Topology::Direct`].
    pub gateways: Vec<Gateway>,
    pub server: Host,
    /// The host on the Internet in [`Topology::Combined`].
    pub outside: Option<Host>,
}

/// The passive ports that servers are configured for and that their hosts' firewalls accept.
pub const PASSIVE_PORTS: (u16, u16) = (50000, 50999);

/// The server's name in [`Topology::Login`]; [`HOSTS`] has its addresses.
pub const SERVER_NAME: &str = "ftp.example.net";

/// What ftpgate finds in /etc/hosts there: the server; a host that is not there, alone and before the server; the server for IPv4 only;
/// the gateway itself; what no name may lead to; names that are listed nowhere.
pub const HOSTS: &str = "198.51.100.10 ftp.example.net\n2001:db8:51::10 ftp.example.net\n\
    198.51.100.77 away.example.org\n198.51.100.77 both.example.org\n198.51.100.10 both.example.org\n\
    198.51.100.10 four.example.org\n\
    10.0.0.1 gateway.example.org\n198.51.100.1 gateway2.example.org\n127.0.0.1 loop.example.org\n\
    ::1 loop6.example.org\n0.0.0.0 nothing.example.org\n169.254.169.254 cloud.example.org\n\
    198.51.100.10 other.example.com\n203.0.113.9 outside.example.com\n";

impl Lab {
    /// Raises the hosts, with the rulesets loaded everywhere.
    pub fn new(topology: Topology) -> Self {
        let lab = match topology {
            Topology::Direct => Self::direct(),
            Topology::Forward => Self::client_side(topology, "forward"),
            Topology::Sets => Self::client_side(topology, "sets"),
            Topology::Ipv6 => Self::client_side(topology, "ipv6"),
            Topology::Login => Self::client_side(topology, "login"),
            Topology::Tproxy => Self::tproxy(),
            Topology::Nat64 => Self::nat64(),
            Topology::Reverse => Self::reverse(),
            Topology::Both => Self::both(),
            Topology::Combined => Self::combined(),
        };
        lab.protect_hosts();
        for gateway in &lab.gateways {
            gateway.load_rules();
        }
        lab
    }

    /// The gateway nearest to the client.
    pub fn gateway(&self) -> &Host {
        &self.gateways[0].host
    }

    /// The address that the client dials.
    pub fn dialled(&self, family: Family) -> IpAddr {
        let text = match (self.topology, family) {
            (Topology::Reverse | Topology::Both, Family::V4) => "198.51.100.2",
            (Topology::Reverse | Topology::Both, Family::V6) => "2001:db8:51::2",
            (Topology::Nat64, Family::V6) => "64:ff9b::198.51.100.10",
            (Topology::Login, Family::V4) => "10.0.0.1",
            (Topology::Login, Family::V6) => "2001:db8:10::1",
            (_, Family::V4) => "198.51.100.10",
            (_, Family::V6) => "2001:db8:51::10",
        };
        text.parse().unwrap()
    }

    /// The same with the FTP port.
    pub fn ftp(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.dialled(family), 21)
    }

    /// What the client logs in with, as this user of the server.
    pub fn user(&self, user: &str) -> String {
        match self.topology {
            Topology::Login => format!("{user}@{SERVER_NAME}"),
            _ => user.to_owned(),
        }
    }

    /// The client's address.
    pub fn client_address(&self, family: Family) -> IpAddr {
        let text = match (self.topology, family) {
            (Topology::Reverse | Topology::Direct, Family::V4) => "198.51.100.20",
            (Topology::Reverse | Topology::Direct, Family::V6) => "2001:db8:51::20",
            (_, Family::V4) => "10.0.0.2",
            (_, Family::V6) => "2001:db8:10::2",
        };
        text.parse().unwrap()
    }

    /// A second address of the client's host, that ftpgate has to take for somebody else.
    pub fn stranger_address(&self, family: Family) -> IpAddr {
        let text = match (self.topology, family) {
            (Topology::Reverse | Topology::Direct, Family::V4) => "198.51.100.21",
            (Topology::Reverse | Topology::Direct, Family::V6) => "2001:db8:51::21",
            (_, Family::V4) => "10.0.0.3",
            (_, Family::V6) => "2001:db8:10::3",
        };
        text.parse().unwrap()
    }

    /// The address that the server must see, on control and on data connections.
    pub fn seen_by_server(&self, family: Family) -> IpAddr {
        let text = match (self.topology, family) {
            (Topology::Direct | Topology::Tproxy, _) => return self.client_address(family),
            (Topology::Reverse | Topology::Both | Topology::Combined, Family::V4) => "10.20.0.1",
            (Topology::Reverse | Topology::Both | Topology::Combined, Family::V6) => "2001:db8:20::1",
            (_, Family::V4) => "198.51.100.1",
            (_, Family::V6) => "2001:db8:51::1",
        };
        text.parse().unwrap()
    }

    fn direct() -> Self {
        let (client, server) = (Host::new("client"), Host::new("server"));
        link(&client, "eth0", &server, "eth0");
        internet_client(&client);
        internet_server(&server);
        Self { topology: Topology::Direct, client, gateways: Vec::new(), server, outside: None }
    }

    fn client_side(topology: Topology, example: &'static str) -> Self {
        let (client, gateway, server) = (Host::new("client"), router("gateway"), Host::new("server"));
        link(&client, "eth0", &gateway, "lan0");
        link(&gateway, "wan0", &server, "eth0");
        private_client(&client);
        address(&gateway, "lan0", &["10.0.0.1/24", "2001:db8:10::1/64"]);
        address(&gateway, "wan0", &["198.51.100.1/24", "2001:db8:51::1/64"]);
        internet_server(&server);
        server.ip("-6 route add default via 2001:db8:51::1\n");
        Self { topology, client, gateways: vec![Gateway { host: gateway, example }], server, outside: None }
    }

    fn tproxy() -> Self {
        let lab = Self::client_side(Topology::Tproxy, "tproxy");
        lab.server.ip("route add default via 198.51.100.1\n");
        // The commands that the comment in tproxy.nft gives.
        lab.gateway().ip("rule add fwmark 1 lookup 100\n\
             route add local default dev lo table 100\n\
             -6 rule add fwmark 1 lookup 100\n\
             -6 route add local default dev lo table 100\n");
        lab
    }

    fn nat64() -> Self {
        let (client, gateway, server) = (Host::new("client"), router("gateway"), Host::new("server"));
        link(&client, "eth0", &gateway, "lan0");
        link(&gateway, "wan0", &server, "eth0");
        address(&client, "eth0", &["2001:db8:10::2/64"]);
        client.ip("-6 address add 2001:db8:10::3/64 dev eth0 nodad preferred_lft 0\n");
        client.ip("-6 route add default via 2001:db8:10::1\n");
        address(&gateway, "lan0", &["2001:db8:10::1/64"]);
        address(&gateway, "wan0", &["198.51.100.1/24"]);
        address(&server, "eth0", &["198.51.100.10/24"]);
        let gateways = vec![Gateway { host: gateway, example: "nat64" }];
        Self { topology: Topology::Nat64, client, gateways, server, outside: None }
    }

    fn reverse() -> Self {
        let (client, gateway, server) = (Host::new("client"), router("gateway"), Host::new("server"));
        link(&client, "eth0", &gateway, "wan0");
        internet_client(&client);
        client.ip("-6 route add 2001:db8:20::/64 via 2001:db8:51::2\n");
        let gateway = server_side(gateway, &server);
        Self { topology: Topology::Reverse, client, gateways: vec![gateway], server, outside: None }
    }

    fn both() -> Self {
        let (client, near, far, server) = (Host::new("client"), router("near"), router("far"), Host::new("server"));
        link(&client, "eth0", &near, "lan0");
        link(&near, "wan0", &far, "wan0");
        private_client(&client);
        address(&near, "lan0", &["10.0.0.1/24", "2001:db8:10::1/64"]);
        address(&near, "wan0", &["198.51.100.1/24", "2001:db8:51::1/64"]);
        near.ip("-6 route add 2001:db8:20::/64 via 2001:db8:51::2\n");
        let far = server_side(far, &server);
        far.host.ip("-6 route add 2001:db8:10::/64 via 2001:db8:51::1\n");
        let gateways = vec![Gateway { host: near, example: "forward" }, far];
        Self { topology: Topology::Both, client, gateways, server, outside: None }
    }

    fn combined() -> Self {
        let (client, gateway, server, outside) =
            (Host::new("client"), router("gateway"), Host::new("server"), Host::new("outside"));
        link(&client, "eth0", &gateway, "lan0");
        link(&outside, "eth0", &gateway, "wan0");
        link(&server, "eth0", &gateway, "dmz0");
        private_client(&client);
        internet_server(&outside);
        outside.ip("-6 route add default via 2001:db8:51::1\n");
        private_server(&server);
        address(&gateway, "lan0", &["10.0.0.1/24", "2001:db8:10::1/64"]);
        address(&gateway, "wan0", &["198.51.100.1/24", "2001:db8:51::1/64"]);
        address(&gateway, "dmz0", &["10.20.0.1/24", "2001:db8:20::1/64"]);
        let gateways = vec![Gateway { host: gateway, example: "both" }];
        Self { topology: Topology::Combined, client, gateways, server, outside: Some(outside) }
    }

    /// Gives the hosts their firewalls: default drop, and what each must accept.
    fn protect_hosts(&self) {
        self.client.firewall(&accept_active_data(self.dialled(Family::V4), self.dialled(Family::V6)));
        if self.topology == Topology::Tproxy {
            // Without NAT the server sees whoever it is in the client's network.
            self.server.firewall(&accept_ftp("10.0.0.0/24", "2001:db8:10::/64"));
        } else {
            let (seen4, seen6) = (self.seen_by_server(Family::V4), self.seen_by_server(Family::V6));
            self.server.firewall(&accept_ftp(&seen4.to_string(), &seen6.to_string()));
        }
        if let Some(outside) = &self.outside {
            // It is a server for the clients inside, and a client of the server inside: both by way of the gateway's address.
            let (gateway4, gateway6) = ("198.51.100.1", "2001:db8:51::1");
            let as_client = accept_active_data(gateway4.parse().unwrap(), gateway6.parse().unwrap());
            outside.firewall(&format!("{}\n{as_client}", accept_ftp(gateway4, gateway6)));
        }
    }
}

/// A client's rule: active data comes from the address that it dialled, to a high port.
fn accept_active_data(from4: IpAddr, from6: IpAddr) -> String {
    format!(
        "ip saddr {from4} tcp dport 1024-65535 accept\n\
         ip6 saddr {from6} tcp dport 1024-65535 accept"
    )
}

/// A server's rule: control and passive data connections from those alone that it should see.
pub fn accept_ftp(from4: &str, from6: &str) -> String {
    let (low, high) = PASSIVE_PORTS;
    format!(
        "ip saddr {from4} tcp dport {{ 21, {low}-{high} }} accept\n\
         ip6 saddr {from6} tcp dport {{ 21, {low}-{high} }} accept"
    )
}

/// A host that routes.
fn router(role: &str) -> Host {
    let host = Host::new(role);
    host.sysctl("net/ipv4/ip_forward", "1");
    host.sysctl("net/ipv6/conf/all/forwarding", "1");
    host
}

/// A cable between two hosts.
fn link(one: &Host, one_end: &str, other: &Host, other_end: &str) {
    let output: Output =
        one.run(&["ip", "link", "add", one_end, "type", "veth", "peer", "name", other_end, "netns", other.name()]);
    output.expect_ok();
    one.ip(&format!("link set {one_end} up\n"));
    other.ip(&format!("link set {other_end} up\n"));
}

fn address(host: &Host, interface: &str, addresses: &[&str]) {
    let lines: String = addresses
        .iter()
        .map(|address| match address.contains(':') {
            true => format!("address add {address} dev {interface} nodad\n"),
            false => format!("address add {address} dev {interface}\n"),
        })
        .collect();
    host.ip(&lines);
}

fn private_client(host: &Host) {
    address(host, "eth0", &["10.0.0.2/24", "10.0.0.3/24", "2001:db8:10::2/64"]);
    // Never chosen by itself, but it can be bound to.
    host.ip("address add 2001:db8:10::3/64 dev eth0 nodad preferred_lft 0\n");
    host.ip("route add default via 10.0.0.1\n-6 route add default via 2001:db8:10::1\n");
}

fn internet_client(host: &Host) {
    address(host, "eth0", &["198.51.100.20/24", "198.51.100.21/24", "2001:db8:51::20/64"]);
    host.ip("address add 2001:db8:51::21/64 dev eth0 nodad preferred_lft 0\n");
}

fn internet_server(host: &Host) {
    // The second IPv4 address is for a host that is there and never answers: nothing is accepted for it.
    address(host, "eth0", &["198.51.100.10/24", "2001:db8:51::10/64"]);
}

fn private_server(host: &Host) {
    address(host, "eth0", &["10.20.0.10/24", "2001:db8:20::10/64"]);
    host.ip("route add default via 10.20.0.1\n-6 route add default via 2001:db8:20::1\n");
}

/// The gateway of reverse.nft with the server behind it; `wan0` is linked already.
fn server_side(gateway: Host, server: &Host) -> Gateway {
    link(&gateway, "dmz0", server, "eth0");
    address(&gateway, "wan0", &["198.51.100.2/24", "2001:db8:51::2/64"]);
    address(&gateway, "dmz0", &["10.20.0.1/24", "2001:db8:20::1/64"]);
    private_server(server);
    Gateway { host: gateway, example: "reverse" }
}
