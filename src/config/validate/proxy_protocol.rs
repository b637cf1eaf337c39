//! The rules of `listeners[].proxy_protocol`: who is believed, what servers are sent, and where neither makes sense.
//!
//! Lives here: [`section`]. Not here: the header itself (`protocol::proxy_header`), what it leads to (`docs/proxy-protocol.md`).

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::raw::{OneOrMany, RawProxyProtocol, Scalar};
use super::super::values::Fault;
use super::super::{Mode, ProxyProtocol, SendHeader};
use super::{Keyed, keyed, not_mapped, switch, word};

/// One listener's section.
pub(super) fn section(key: &str, raw: RawProxyProtocol, mode: Mode) -> Keyed<ProxyProtocol> {
    let OneOrMany(networks) = raw.accept_from.unwrap_or_default();
    let network = |(n, value): (usize, &Scalar)| keyed(&format!("{key}.accept_from[{n}]"), network(&value.0));
    let accept_from: Vec<IpNet> = networks.iter().enumerate().map(network).collect::<Keyed<_>>()?;
    let send_key = format!("{key}.send");
    let send = word(&send_key, raw.send.as_ref(), SendHeader::Off, &[])?;
    if mode == Mode::Forward && !accept_from.is_empty() {
        let fault = Fault::new(
            "in mode: forward nothing stands between a client and the gateway, and a PROXY header would choose the server",
            "remove accept_from, or write `mode: reverse` with `server`",
        );
        return Err((format!("{key}.accept_from"), fault));
    }
    if mode != Mode::Reverse && send != SendHeader::Off {
        let problem = format!(
            "in mode: {} servers are other people's, and to one that expects no PROXY header it is a wrong command",
            mode.as_str()
        );
        let fault = Fault::new(problem, "remove send, or write `mode: reverse` with `server`");
        return Err((send_key, fault));
    }
    let data_key = format!("{key}.data");
    let data = switch(&data_key, raw.data.as_ref(), false)?;
    if data && accept_from.is_empty() {
        let fault = Fault::new(
            "nobody is known who could bring data connections",
            "name the load balancer in accept_from, or remove data",
        );
        return Err((data_key, fault));
    }
    Ok(ProxyProtocol { accept_from, data, send })
}

/// A network, or one address.
fn network(text: &str) -> Result<IpNet, Fault> {
    let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (_, Ok(address)) => IpNet::from(address),
        _ => {
            return Err(Fault::new(
                format!("{text:?} is neither a network nor an address"),
                "write the address of the load balancer, such as 192.0.2.7, or its network, such as 192.0.2.0/24",
            ));
        }
    };
    not_mapped(network.addr())?;
    if network.addr() != network.network() {
        return Err(Fault::new(
            format!("{network} has bits set behind its prefix"),
            format!("write {} for the network, or {} for the address", network.trunc(), network.addr()),
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::super::{Config, Error, SendHeader};

    fn with(mode: &str, section: &str) -> Result<Config, Error> {
        let text = format!("listeners:\n  - {{ listen: \"0.0.0.0:8022\", mode: {mode}, proxy_protocol: {section} }}\n");
        Config::parse(&text, "t.yaml")
    }

    const REVERSE: &str = "reverse, server: 192.0.2.10";

    #[test]
    fn without_a_word_nobody_is_believed_and_nothing_is_sent() {
        for section in ["{}", "{ accept_from: [] }", "{ send: off }"] {
            let config = with("forward", section).unwrap_or_else(|error| panic!("{error}"));
            let section = &config.listeners[0].proxy_protocol;
            assert_eq!((section.accept_from.len(), section.send), (0, SendHeader::Off));
            assert_eq!(config.timeouts.proxy_header, Duration::from_secs(5));
        }
    }

    #[test]
    fn networks_and_addresses_are_read_and_written_back() {
        let section = "{ accept_from: [192.0.2.7, 10.0.0.0/8, \"2001:db8::5\", \"2001:db8:1::/64\"], send: v1 }";
        let config = with(REVERSE, section).unwrap_or_else(|error| panic!("{error}"));
        let networks: Vec<String> =
            config.listeners[0].proxy_protocol.accept_from.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::5/128", "2001:db8:1::/64"]);
        assert_eq!(config.listeners[0].proxy_protocol.send, SendHeader::V1);
        assert_eq!(config.warnings(), Vec::<String>::new());
        assert_eq!(Config::parse(&config.to_yaml(), "again"), Ok(config));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_to_write_instead() {
        for (mode, section, key, problem, remedy) in [
            ("forward", "{ accept_from: 192.0.2.7 }", "accept_from", "would choose the server", "mode: reverse"),
            ("forward", "{ send: v1 }", "send", "other people's", "mode: reverse"),
            (REVERSE, "{ send: v3 }", "send", "\"v3\"", "off, v1, v2"),
            (REVERSE, "{ accept_from: lb.example.net }", "accept_from[0]", "neither", "192.0.2.7"),
            (REVERSE, "{ accept_from: [192.0.2.7, 10.0.0.1/8] }", "accept_from[1]", "behind its prefix", "10.0.0.0/8"),
            (REVERSE, "{ accept_from: 10.0.0.0/33 }", "accept_from[0]", "neither", ""),
            (REVERSE, "{ accept_from: \"::ffff:192.0.2.7\" }", "accept_from[0]", "written as IPv6", "192.0.2.7"),
            (REVERSE, "{ trust: 192.0.2.7 }", "trust", "unknown key", "accept_from, data, send"),
            (REVERSE, "{ data: true }", "data", "nobody is known", "accept_from"),
            (REVERSE, "{ data: maybe }", "data", "\"maybe\"", "true or false"),
            (REVERSE, "{ accept_from: 192.0.2.7, data: true }", "data", "cannot read", "data: relay"),
        ] {
            let error = with(mode, section).expect_err(section);
            assert_eq!(error.key, format!("listeners[0].proxy_protocol.{key}"), "{error}");
            assert!(error.problem.contains(problem) && error.remedy.contains(remedy), "{error}");
        }
        let config = with(REVERSE, "{ accept_from: 0.0.0.0/0 }").unwrap_or_else(|error| panic!("{error}"));
        assert!(
            config.warnings().iter().any(|warning| warning.contains("everybody's word")),
            "{:?}",
            config.warnings()
        );
    }
}
