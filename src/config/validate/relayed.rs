//! The rules of listeners whose data connections are relayed: by choice behind a packet filter (`data: relay`), or because there is none
//! (`firewall.backend: relay`).
//!
//! Lives here: `data`, `nat64`, and what goes with neither. Not here: the other keys of a listener (`listener.rs`).

use super::super::raw::Scalar;
use super::super::values::Fault;
use super::super::{Backend, Capture, Listener, Mode, ServerMode, Source};
use super::{Keyed, keyed};
use crate::protocol::nat64::Prefix;

/// Whether data connections are relayed.
pub(super) fn data(key: &str, value: Option<&Scalar>, backend: Backend) -> Keyed<bool> {
    let fault = match (value.map(|value| value.0.as_str()), backend) {
        (None, _) => return Ok(backend == Backend::Relay),
        (Some("relay"), Backend::Nftables | Backend::Relay | Backend::DryRun) => return Ok(true),
        (Some("relay"), Backend::Pf) => Fault::new(
            "the relay cannot stand behind pf yet: its rules for connections that end at the gateway were never run",
            "leave the key out, or use firewall.backend: relay",
        ),
        (Some(other), _) => Fault::new(
            format!("{other:?} is not one of the words for this key"),
            "write relay, or leave the key out: then firewall.backend alone says who carries data connections",
        ),
    };
    Err((key.to_owned(), fault))
}

/// The prefix below which clients find IPv4 servers.
pub(super) fn nat64(key: &str, value: Option<&Scalar>) -> Keyed<Option<Prefix>> {
    let fault = |text: &str| {
        Fault::new(
            format!("{text:?} is not a prefix for IPv4 addresses (RFC 6052 §2.2)"),
            "write the prefix of your DNS64, such as 64:ff9b::/96: a length of 32, 40, 48, 56, 64 or 96, and nothing behind it",
        )
    };
    value.map(|Scalar(text)| keyed(key, text.parse().map_err(|()| fault(text)))).transpose()
}

/// What goes together with a listener's way of data connections.
pub(super) fn check(index: usize, listener: &Listener, backend: Backend) -> Keyed<()> {
    let outcome = prefix(listener, backend).and_then(|()| headers(listener)).and_then(|()| match backend {
        Backend::Relay => alone(listener),
        _ if listener.relayed => behind(listener),
        _ => Ok(()),
    });
    outcome.map_err(|(key, fault)| (format!("listeners[{index}].{key}"), fault))
}

type Outcome = Result<(), (&'static str, Fault)>;

/// NAT64 needs both: who brings data connections across, and who brings them here.
fn prefix(listener: &Listener, backend: Backend) -> Outcome {
    if listener.nat64.is_none() {
        return Ok(());
    }
    let (problem, remedy) = if listener.mode != Mode::Forward {
        (
            "only mode: forward has clients that choose the server",
            "remove it: in mode: reverse `server` may be of any family",
        )
    } else if backend == Backend::Relay {
        (
            "the relay alone cannot pass for a server: clients would dial its data ports at an address that is not this host's",
            "use firewall.backend: nftables, and `data: relay` here",
        )
    } else if !listener.relayed {
        ("no packet filter can bring data connections from IPv6 to IPv4", "add `data: relay` to the listener")
    } else if !listener.listen.iter().any(std::net::SocketAddr::is_ipv6) {
        ("no IPv6 client can arrive: the listener has no IPv6 address", "add one to `listen`, such as \"[::]:8021\"")
    } else {
        return Ok(());
    };
    Err(("nat64", Fault::new(problem, remedy)))
}

/// Only who has the data connections can read what they begin with.
fn headers(listener: &Listener) -> Outcome {
    if listener.relayed || !listener.proxy_protocol.data {
        return Ok(());
    }
    let fault = Fault::new(
        "a packet filter cannot read the PROXY headers of data connections",
        "add `data: relay` to the listener, or remove this and let data connections come by themselves \
         (docs/proxy-protocol.md)",
    );
    Err(("proxy_protocol.data", fault))
}

/// `data.server_mode`: a packet filter can only lead the one who dials to the one who listens.
pub(super) fn server_mode(chosen: ServerMode, listeners: &[Listener]) -> Keyed<()> {
    let plain = listeners.iter().find(|listener| !listener.relayed);
    let Some(plain) = plain.filter(|_| chosen != ServerMode::AsClient) else { return Ok(()) };
    let fault = Fault::new(
        format!(
            "{} may need client and server in different modes, and for listener {:?} no packet filter can join two that both dial \
             or both listen",
            chosen.as_str(),
            plain.name
        ),
        "add `data: relay` to it, use firewall.backend: relay, or write server_mode: as-client",
    );
    Err(("data.server_mode".to_owned(), fault))
}

/// The relay listens and connects with addresses of this host; what borrows others' is for packet filters.
fn alone(listener: &Listener) -> Outcome {
    if matches!(listener.capture, Capture::Tproxy | Capture::Divert) {
        let problem = format!(
            "capture: {} leaves the server's own address to the client, where the relay cannot listen",
            listener.capture.as_str()
        );
        let remedy = "use capture: direct, or on Linux and FreeBSD redirect; or another firewall.backend";
        return Err(("capture", Fault::new(problem, remedy)));
    }
    own_source(listener, "use source: gateway, or another firewall.backend")
}

/// Behind a packet filter it may listen anywhere, but does not borrow the client's address.
fn behind(listener: &Listener) -> Outcome {
    own_source(listener, "use source: gateway, or leave `data: relay` out")
}

fn own_source(listener: &Listener, remedy: &str) -> Outcome {
    if listener.source == Source::Client {
        let problem = "data connections of the relay come from the gateway, and servers want them from where the control connection comes";
        return Err(("source", Fault::new(problem, remedy)));
    }
    Ok(())
}
