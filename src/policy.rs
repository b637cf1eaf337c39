//! Policy: to which servers sessions may lead.
//!
//! Lives here: [`Servers`], the list `policy.servers`: how its entries are written, and whether it allows a server. Pure: names are
//! compared, not looked up. Not here: the configuration around it (`config`), looking names up and what a refused client is told
//! (`proxy`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::protocol::destination::{FTP, Host, host_name};

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Servers that may be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers(Vec<Entry>);

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pattern: Pattern,
    /// The first and the last port.
    ports: (u16, u16),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    /// Addresses.
    Net(IpNet),
    /// One name.
    Name(String),
    /// The names below this one: `*.example.net`.
    Below(String),
}

impl Servers {
    /// The list of these.
    pub fn new(entries: Vec<Entry>) -> Self {
        Self(entries)
    }

    /// The entries, in their order.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Whether a host at this port can be in the list at all. If not, its name need not be looked up.
    pub fn may_allow(&self, host: &Host, port: u16) -> bool {
        self.0.iter().filter(|entry| entry.has_port(port)).any(|entry| match (&entry.pattern, host) {
            (Pattern::Net(net), Host::Address(address)) => net.contains(address),
            (Pattern::Net(_), Host::Name(_)) => true,
            (_, Host::Name(name)) => entry.names(name),
            (_, Host::Address(_)) => false,
        })
    }

    /// Whether an entry has the name. A name that none has, and that leads to no allowed address, need not exist.
    pub fn names(&self, host: &Host, port: u16) -> bool {
        let Host::Name(name) = host else { return false };
        self.0.iter().any(|entry| entry.has_port(port) && entry.names(name))
    }

    /// Whether `host`, which is at `address` (itself, or what its name has led to), may be reached at `port`. `own`: the address is this
    /// host's.
    ///
    /// A name leads wherever its owner lets it lead, and a network is written with the hosts of others in mind. So this host itself,
    /// and what is not a host anywhere ([`is_special`], with loopback), must be listed for its own sake: this host by its address
    /// alone, the others by a network within theirs.
    pub fn allows(&self, host: &Host, address: IpAddr, port: u16, own: bool) -> bool {
        self.0.iter().filter(|entry| entry.has_port(port)).any(|entry| match (&entry.pattern, host) {
            (Pattern::Net(net), _) if own && !address.is_loopback() => *net == IpNet::from(address),
            (Pattern::Net(net), _) if is_special(address) => net.contains(&address) && is_special_net(*net),
            (Pattern::Net(net), _) => net.contains(&address),
            (_, Host::Name(name)) => entry.names(name) && !own && !is_special(address),
            (_, Host::Address(_)) => false,
        })
    }
}

impl Entry {
    /// Reads `192.0.2.10`, `192.0.2.0/24`, `2001:db8::/32`, `ftp.example.net`, `*.example.net`, each with `:2121`, `:2000-2999` or `:*`
    /// behind it; IPv6 then stands in brackets. Without a port it is 21.
    ///
    /// # Errors
    /// What is wrong with it, and what to write.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if let Some(net) = net(text)? {
            return Ok(Self { pattern: Pattern::Net(net), ports: (FTP, FTP) });
        }
        let (place, ports) = match text.strip_prefix('[') {
            Some(rest) => {
                let (inner, ports) = rest.split_once(']').ok_or_else(|| unreadable(text))?;
                let ports =
                    ports.strip_prefix(':').or(ports.is_empty().then_some("21")).ok_or_else(|| unreadable(text))?;
                let net = net(inner)?.filter(|net| net.addr().is_ipv6()).ok_or_else(|| unreadable(text))?;
                return Ok(Self { pattern: Pattern::Net(net), ports: range(text, ports)? });
            }
            None => text.split_once(':').unwrap_or((text, "21")),
        };
        let pattern = match (net(place)?, place.strip_prefix("*.")) {
            (Some(net), _) => Pattern::Net(net),
            (None, Some(below)) => Pattern::Below(host_name(below).ok_or_else(|| unreadable(text))?),
            (None, None) => Pattern::Name(host_name(place).ok_or_else(|| unreadable(text))?),
        };
        Ok(Self { pattern, ports: range(text, ports)? })
    }

    /// Whether it is about names.
    pub fn is_name(&self) -> bool {
        self.net().is_none()
    }

    /// The addresses that it is about, if it is not about names.
    pub fn net(&self) -> Option<IpNet> {
        match &self.pattern {
            Pattern::Net(net) => Some(*net),
            Pattern::Name(_) | Pattern::Below(_) => None,
        }
    }

    /// The first and the last port.
    pub fn ports(&self) -> (u16, u16) {
        self.ports
    }

    fn has_port(&self, port: u16) -> bool {
        (self.ports.0..=self.ports.1).contains(&port)
    }

    fn names(&self, name: &str) -> bool {
        match &self.pattern {
            Pattern::Net(_) => false,
            Pattern::Name(own) => own == name,
            Pattern::Below(above) => name
                .strip_suffix(above.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = match &self.pattern {
            Pattern::Net(net) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
            Pattern::Net(net) => net.to_string(),
            Pattern::Name(name) => name.clone(),
            Pattern::Below(name) => format!("*.{name}"),
        };
        match (self.ports, place.contains(':')) {
            ((FTP, FTP), _) => return f.write_str(&place),
            (_, true) => write!(f, "[{place}]:")?,
            (_, false) => write!(f, "{place}:")?,
        }
        match self.ports {
            (1, u16::MAX) => f.write_str("*"),
            (low, high) if low == high => write!(f, "{low}"),
            (low, high) => write!(f, "{low}-{high}"),
        }
    }
}

/// A network or an address, if it has that form.
fn net(text: &str) -> Result<Option<IpNet>, Fault> {
    let net = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(net), _) => net,
        (_, Ok(address)) => IpNet::from(address),
        _ => return Ok(None),
    };
    if net.addr() != net.addr().to_canonical() {
        let problem = format!("{} is an IPv4 address written as IPv6", net.addr());
        return Err(Fault { problem, remedy: format!("write {}", net.addr().to_canonical()) });
    }
    if net.addr() != net.network() {
        let remedy = format!("write {} for the network, or {} for the address", net.trunc(), net.addr());
        return Err(Fault { problem: format!("{net} has bits set behind its prefix"), remedy });
    }
    Ok(Some(net))
}

fn range(text: &str, ports: &str) -> Result<(u16, u16), Fault> {
    let number = |digits: &str| {
        let fine = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|port| fine && *port != 0)
    };
    let (low, high) = match ports {
        "*" => return Ok((1, u16::MAX)),
        _ => ports.split_once('-').unwrap_or((ports, ports)),
    };
    match (number(low), number(high)) {
        (Some(low), Some(high)) if low <= high => Ok((low, high)),
        _ => Err(Fault {
            problem: format!("{ports:?} in {text:?} is neither a port nor a range of ports"),
            remedy: "write a port such as :2121, a range such as :2000-2999, or :* for every port".to_owned(),
        }),
    }
}

fn unreadable(text: &str) -> Fault {
    Fault {
        problem: format!("{text:?} is neither an address, nor a network, nor a host name"),
        remedy: "write 192.0.2.10, 192.0.2.0/24, 2001:db8::/32, ftp.example.net or *.example.net, with a port behind it if that is \
                 not 21, such as ftp.example.net:2121 or [2001:db8::10]:2121; every server there is: 0.0.0.0/0 and ::/0"
            .to_owned(),
    }
}

/// Whether an address is no single host anywhere, or a host only for those who are on it: 0.0.0.0/8, loopback, link-local (where
/// clouds serve their instances' secrets), multicast, reserved and broadcast (RFC 6890); and the IPv6 addresses behind which such a
/// one is: ::/96, 64:ff9b::/96 (RFC 6052), 2002::/16 (RFC 3056).
pub fn is_special(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_special4(v4),
        IpAddr::V6(v6) => {
            let embedded = match v6.segments() {
                [0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
                    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                    is_special4(Ipv4Addr::new(a, b, c, d))
                }
                _ => false,
            };
            embedded || v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

fn is_special4(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    address.is_loopback() || address.is_link_local() || first == 0 || first >= 224
}

/// Whether a network lies within special ones. Shorter prefixes than these reach from one special range to another.
fn is_special_net(net: IpNet) -> bool {
    let least = match net.network() {
        IpAddr::V4(_) => 4,
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => 96 + 4,
            [0x2002, ..] => 16 + 4,
            _ => 8,
        },
    };
    net.prefix_len() >= least && is_special(net.network()) && is_special(net.broadcast())
}

#[cfg(test)]
mod tests;
