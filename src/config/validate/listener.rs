//! The rules of `listeners`: each alone, and all together.
//!
//! Lives here: [`all`]. Not here: the notation of addresses and words (`validate.rs`).

use std::net::{IpAddr, SocketAddr};

use super::super::raw::{OneOrMany, RawListener};
use super::super::system::{System, capture_fits};
use super::super::values::Fault;
use super::super::{Backend, Capture, Ftps, Listener, Mode, Source, defaults};
use super::{Keyed, address, endpoint, keyed, later, policy, ports, proxy_protocol, relayed, tls, word};

/// All listeners; at least one, and no two in each other's way.
pub(super) fn all(raw: Vec<RawListener>, system: System, backend: Backend) -> Keyed<Vec<Listener>> {
    if raw.is_empty() {
        let fault = Fault::new(
            "there is no listener, so no client could ever arrive",
            "add one, such as:\n       listeners:\n         - { name: outbound, listen: [\"0.0.0.0:8021\", \"[::]:8021\"] }",
        );
        return Err(("listeners".to_owned(), fault));
    }
    let mut listeners: Vec<Listener> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let listener = one(index, raw, system, backend)?;
        relayed::check(index, &listener, backend)?;
        apart(index, &listener, &listeners)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// No two listeners share a name or an address.
fn apart(index: usize, new: &Listener, earlier: &[Listener]) -> Keyed<()> {
    for other in earlier {
        if other.name == new.name {
            let fault = Fault::new(
                format!("two listeners are called {:?}", new.name),
                "give each its own name: logs and metrics tell them apart by it",
            );
            return Err((format!("listeners[{index}].name"), fault));
        }
    }
    for (n, listen) in new.listen.iter().enumerate() {
        let before = new.listen.iter().take(n).map(|address| (new, address));
        let others = earlier.iter().flat_map(|other| other.listen.iter().map(move |address| (other, address)));
        if let Some((owner, taken)) = before.chain(others).find(|(_, taken)| collide(*listen, **taken)) {
            let fault = Fault::new(
                format!("{listen} cannot be had beside {taken} of listener {:?}", owner.name),
                "use another port, or an address that the other does not cover",
            );
            return Err((format!("listeners[{index}].listen[{n}]"), fault));
        }
    }
    Ok(())
}

/// Whether two sockets cannot be bound at the same time. IPv6 sockets here never take IPv4 connections.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv6() == b.is_ipv6()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn one(index: usize, raw: RawListener, system: System, backend: Backend) -> Keyed<Listener> {
    let key = |name: &str| format!("listeners[{index}].{name}");
    let name = match raw.name {
        Some(name) => keyed(&key("name"), label(&name.0))?,
        None => format!("listener{}", index + 1),
    };
    let mode = word(&key("mode"), raw.mode.as_ref(), Mode::Forward, &[])?;
    // Who names the server in the login dials the gateway: an address that stands for another one says nothing then.
    let usual = if mode == Mode::Login { Capture::Direct } else { system.usual_capture() };
    let capture = word(&key("capture"), raw.capture.as_ref(), usual, &[])?;
    keyed(&key("capture"), capture_fits(capture, system))?;
    if mode == Mode::Login && capture != Capture::Direct {
        let problem = format!(
            "in mode: login clients dial the gateway itself, and capture: {} is for those that do not",
            capture.as_str()
        );
        let fault = Fault::new(
            problem,
            "remove `capture`; to serve clients that dial servers, add a listener with `mode: forward`",
        );
        return Err((key("capture"), fault));
    }
    let ftps = ftps(&key("ftps"), raw.ftps.as_ref())?;
    let listen = listen(&key("listen"), raw.listen.unwrap_or_default(), capture)?;
    let source = source(&key("source"), raw.source.as_ref(), capture)?;
    if mode == Mode::Forward && capture == Capture::Direct {
        let fault = Fault::new(
            "clients that dial the gateway itself (capture: direct) name no server for mode: forward",
            format!(
                "use `mode: login`, `mode: reverse` with `server`, or capture: {} with its rule (`ftpgate rules`)",
                system.usual_capture().as_str()
            ),
        );
        return Err((key("capture"), fault));
    }
    let servers = servers(&key("server"), raw.server.unwrap_or_default(), mode)?;
    let external = external(&key("external_address"), raw.external_address.unwrap_or_default(), mode)?;
    let passive_ports = raw.passive_ports.map(|value| ports(&key("passive_ports"), &value)).transpose()?;
    let proxy_protocol = proxy_protocol::section(&key("proxy_protocol"), raw.proxy_protocol.unwrap_or_default(), mode)?;
    let policy = policy::of_listener(&key("policy"), raw.policy.unwrap_or_default(), mode)?;
    let relayed = relayed::data(&key("data"), raw.data.as_ref(), backend)?;
    let nat64 = relayed::nat64(&key("nat64"), raw.nat64.as_ref())?;
    let tls = tls::section(&key(""), raw.tls, ftps, mode, relayed)?;
    Ok(Listener {
        name,
        listen,
        mode,
        capture,
        source,
        ftps,
        tls,
        servers,
        external,
        passive_ports,
        proxy_protocol,
        relayed,
        nat64,
        policy,
    })
}

/// A name that needs no quoting in logs and metrics.
fn label(text: &str) -> Result<String, Fault> {
    let fine = (1..=32).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    fine.then(|| text.to_owned()).ok_or_else(|| {
        Fault::new(
            format!("{text:?} cannot be the name of a listener"),
            "use letters, digits, _ . and -, 1 to 32 characters",
        )
    })
}

fn ftps(key: &str, raw: Option<&super::Scalar>) -> Keyed<Ftps> {
    let instead = "use `ftps: pass` (sessions with TLS are passed unread), refuse or terminate; bridge comes with a later version";
    let not_yet = [("bridge", "ftps: bridge", instead)];
    word(key, raw, Ftps::Pass, &not_yet)
}

fn listen(key: &str, raw: OneOrMany, capture: Capture) -> Keyed<Vec<SocketAddr>> {
    if raw.0.is_empty() {
        let fault = Fault::new("the listener has no address", "add `listen: [\"0.0.0.0:8021\", \"[::]:8021\"]`");
        return Err((key.to_owned(), fault));
    }
    let read = |(n, value): (usize, &super::Scalar)| {
        let key = format!("{key}[{n}]");
        let address = keyed(&key, endpoint(&value.0, None))?;
        if address.port() == 0 && capture != Capture::Direct {
            let fault = Fault::new(
                "port 0 is a different port at every start, and the firewall's rule must name one",
                "write a port, such as 8021",
            );
            return Err((key, fault));
        }
        Ok(address)
    };
    raw.0.iter().enumerate().map(read).collect()
}

fn source(key: &str, raw: Option<&OneOrMany>, capture: Capture) -> Keyed<Source> {
    let Some(OneOrMany(values)) = raw else { return Ok(Source::Gateway) };
    let words: Vec<&str> = values.iter().map(|value| value.0.as_str()).collect();
    match words.as_slice() {
        ["gateway"] | [] => Ok(Source::Gateway),
        ["client"] if capture == Capture::Direct => {
            let fault = Fault::new(
                "the client's own address as source needs the server's answers to be routed back through a capture rule",
                "use capture: tproxy or redirect (on OpenBSD divert), or `source: gateway`",
            );
            Err((key.to_owned(), fault))
        }
        ["client"] => Ok(Source::Client),
        _ => {
            let explain = |fault: Fault| {
                Fault::new(fault.problem, "write gateway, client, or an address of this machine (one for each family)")
            };
            families(key, values, |text| address(text).map_err(explain)).map(Source::Address)
        }
    }
}

/// Addresses, at most one of each family.
fn families(key: &str, values: &[super::Scalar], read: impl Fn(&str) -> Result<IpAddr, Fault>) -> Keyed<Vec<IpAddr>> {
    let mut list: Vec<IpAddr> = Vec::with_capacity(values.len());
    for (n, value) in values.iter().enumerate() {
        let key = format!("{key}[{n}]");
        let new = keyed(&key, read(&value.0))?;
        if new.is_unspecified() || new.is_multicast() {
            let fault = Fault::new(format!("{new} is no address of a host"), "write the address itself");
            return Err((key, fault));
        }
        if let Some(old) = list.iter().find(|old| old.is_ipv6() == new.is_ipv6()) {
            let fault = Fault::new(
                format!("{new} is a second address of the family of {old}"),
                "keep one IPv4 and one IPv6 address; for more, use one listener each",
            );
            return Err((key, fault));
        }
        list.push(new);
    }
    Ok(list)
}

fn servers(key: &str, raw: OneOrMany, mode: Mode) -> Keyed<Vec<SocketAddr>> {
    match (mode, raw.0.is_empty()) {
        (Mode::Forward | Mode::Login, true) => return Ok(Vec::new()),
        (Mode::Login, false) => {
            let fault = Fault::new(
                "in mode: login the client names the server",
                "remove `server`, and list the servers that may be named in `policy: { servers: [ … ] }`; or write `mode: reverse`",
            );
            return Err((key.to_owned(), fault));
        }
        (Mode::Forward, false) => {
            let fault = Fault::new(
                "in mode: forward the client chooses the server",
                "remove `server`, or write `mode: reverse`",
            );
            return Err((key.to_owned(), fault));
        }
        (Mode::Reverse, true) => {
            let fault = Fault::new(
                "mode: reverse needs to know the server behind the gateway",
                "add `server: \"192.0.2.10:21\"` with its address",
            );
            return Err((key.to_owned(), fault));
        }
        (Mode::Reverse, false) => {}
    }
    let read = |(n, value): (usize, &super::Scalar)| {
        let key = format!("{key}[{n}]");
        let server = keyed(&key, endpoint(&value.0, Some(defaults::SERVER_PORT)))?;
        if server.ip().is_unspecified() || server.ip().is_multicast() || server.port() == 0 {
            let fault =
                Fault::new(format!("nobody can connect to {server}"), "write the server's own address and port");
            return Err((key, fault));
        }
        Ok(server)
    };
    raw.0.iter().enumerate().map(read).collect()
}

fn external(key: &str, raw: OneOrMany, mode: Mode) -> Keyed<Vec<IpAddr>> {
    if mode == Mode::Forward && !raw.0.is_empty() {
        let fault = Fault::new(
            "in mode: forward no address of the gateway is announced to clients",
            "remove `external_address`; to choose what servers see, use `source`",
        );
        return Err((key.to_owned(), fault));
    }
    families(key, &raw.0, |text| {
        for kind in ["interface:", "file:", "dns:"] {
            if text.starts_with(kind) {
                return Err(later(
                    &format!("an external address from {kind}"),
                    "write the address itself, or leave the key out: then the address that the client dialled is announced",
                ));
            }
        }
        address(text)
    })
}
