//! From meaning back to the shape of the file, every key filled in.
//!
//! Lives here: the conversions that `to_yaml` and `to_json` serialise, and the shape that arguments stand for. Not here: the
//! shape itself (`raw.rs`).

use std::fmt::Display;

use super::raw::{
    OneOrMany, Raw, RawControl, RawData, RawFirewall, RawLimits, RawListener, RawLog, RawMetrics, RawNftables, RawPf,
    RawPolicy, RawProxyProtocol, RawTimeouts, RawTls, Scalar,
};
use super::values::format_duration;
use super::{Backend, Config, Firewall, Listener, Policy, Source, Tls, defaults};

fn scalar(value: impl Display) -> Option<Scalar> {
    Some(Scalar(value.to_string()))
}

fn list<T: Display>(values: &[T]) -> Option<OneOrMany> {
    Some(OneOrMany(values.iter().map(|value| Scalar(value.to_string())).collect()))
}

impl From<&Config> for Raw {
    fn from(config: &Config) -> Self {
        let Config { listeners, firewall, data, limits, timeouts, policy, metrics, log, control, user } = config;
        Self {
            listeners: Some(listeners.iter().map(RawListener::from).collect()),
            firewall: Some(RawFirewall::from(firewall)),
            data: Some(RawData {
                ports: scalar(data.ports),
                pinhole_timeout: scalar(format_duration(data.pinhole_timeout)),
                idle_timeout: scalar(format_duration(data.idle_timeout)),
                on_control_close: scalar(data.on_control_close.as_str()),
                drain_timeout: scalar(format_duration(data.drain_timeout)),
                tracking: scalar(data.tracking.as_str()),
                accounting: scalar(data.accounting.as_str()),
                server_mode: scalar(data.server_mode.as_str()),
            }),
            limits: Some(RawLimits {
                sessions: scalar(limits.sessions),
                sessions_per_client: scalar(limits.sessions_per_client),
                line_length: scalar(limits.line_length),
                pipeline: scalar(limits.pipeline),
            }),
            timeouts: Some(RawTimeouts {
                proxy_header: scalar(format_duration(timeouts.proxy_header)),
                connect: scalar(format_duration(timeouts.connect)),
                login: scalar(format_duration(timeouts.login)),
                idle: scalar(format_duration(timeouts.idle)),
            }),
            policy: Some(RawPolicy::from(policy)),
            metrics: Some(metrics.as_ref().map(|metrics| RawMetrics { listen: scalar(metrics.listen) })),
            log: Some(RawLog {
                level: scalar(log.level.as_str()),
                format: scalar(log.format.as_str()),
                transfers: log.transfers.as_ref().and_then(|path| scalar(path.display())),
            }),
            control: Some(RawControl { socket: Some(control.socket.as_ref().and_then(|path| scalar(path.display()))) }),
            user: Some(user.as_ref().and_then(scalar)),
        }
    }
}

impl From<&Listener> for RawListener {
    fn from(listener: &Listener) -> Self {
        Self {
            name: scalar(&listener.name),
            listen: list(&listener.listen),
            mode: scalar(listener.mode.as_str()),
            capture: scalar(listener.capture.as_str()),
            source: match &listener.source {
                Source::Gateway => list(&["gateway"]),
                Source::Client => list(&["client"]),
                Source::Address(addresses) => list(addresses),
            },
            ftps: scalar(listener.ftps.as_str()),
            tls: listener.tls.as_ref().map(RawTls::from),
            server: list(&listener.servers),
            external_address: list(&listener.external),
            passive_ports: listener.passive_ports.and_then(scalar),
            proxy_protocol: Some(RawProxyProtocol {
                accept_from: list(&listener.proxy_protocol.accept_from),
                data: scalar(listener.proxy_protocol.data),
                send: scalar(listener.proxy_protocol.send.as_str()),
            }),
            data: listener.relayed.then(|| Scalar("relay".to_owned())),
            nat64: listener.nat64.and_then(scalar),
            policy: Some(RawPolicy::from(&listener.policy)),
        }
    }
}

impl From<&Tls> for RawTls {
    fn from(tls: &Tls) -> Self {
        Self {
            certificate: scalar(tls.certificate.display()),
            key: scalar(tls.key.display()),
            implicit: scalar(tls.implicit),
            require: scalar(tls.require),
            ccc: scalar(tls.ccc),
            server: scalar(tls.server.as_str()),
            server_ca: tls.server_ca.as_ref().and_then(|path| scalar(path.display())),
            server_name: tls.server_name.as_ref().and_then(scalar),
            server_verify: scalar(tls.server_verify),
        }
    }
}

impl From<&Policy> for RawPolicy {
    fn from(policy: &Policy) -> Self {
        Self { servers: policy.servers.as_ref().and_then(|servers| list(servers.entries())) }
    }
}

impl From<&Firewall> for RawFirewall {
    fn from(firewall: &Firewall) -> Self {
        let Firewall { backend, nftables, pf } = firewall;
        Self {
            backend: scalar(backend.as_str()),
            nftables: Some(RawNftables {
                table: scalar(&nftables.table),
                ownership: scalar(nftables.ownership.as_str()),
                mark: scalar(format_args!("{:#010x}", nftables.mark)),
                mask: scalar(format_args!("{:#010x}", nftables.mask)),
            }),
            pf: Some(RawPf {
                anchor: scalar(&pf.anchor),
                tag: pf.tag.as_ref().and_then(scalar),
                queue: pf.queue.as_ref().and_then(scalar),
                rtable: pf.rtable.and_then(scalar),
                log: scalar(pf.log),
                dialect: pf.dialect.and_then(|dialect| scalar(dialect.as_str())),
                pfctl: scalar(pf.pfctl.display()),
            }),
        }
    }
}

impl Raw {
    /// What `--listen`, `--server`, `--backend` and `--metrics` stand for.
    pub(super) fn from_arguments(
        listen: &[String],
        servers: &[String],
        backend: Option<&str>,
        metrics: Option<&str>,
    ) -> Self {
        let backend = backend.unwrap_or(Backend::Relay.as_str());
        let listener = RawListener {
            name: scalar("direct"),
            listen: list(listen),
            mode: scalar("reverse"),
            capture: scalar("direct"),
            server: list(servers),
            ..RawListener::default()
        };
        Self {
            listeners: Some(vec![listener]),
            firewall: Some(RawFirewall { backend: scalar(backend), ..RawFirewall::default() }),
            metrics: Some(metrics.map(|listen| RawMetrics { listen: scalar(listen) })),
            limits: (backend == Backend::Relay.as_str())
                .then(|| RawLimits { sessions: scalar(defaults::RELAYED_SESSIONS), ..RawLimits::default() }),
            // Nothing that needs a folder or a privilege; who chooses pf has both, and gives the latter up.
            control: Some(RawControl { socket: Some(None) }),
            user: (backend != Backend::Pf.as_str()).then_some(None),
            ..Self::default()
        }
    }
}
