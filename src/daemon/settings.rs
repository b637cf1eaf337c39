//! From the configuration to what each layer takes.
//!
//! Lives here: conversions, one function a layer. Not here: defaults and checks (`config`).

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tracing::level_filters::LevelFilter;

use crate::config::{self, Config};
use crate::firewall::path::DataPath;
use crate::firewall::pf::rules::{Dialect, Options};
use crate::firewall::relay::Incident;
use crate::firewall::{self, pf, relay, worker};
use crate::observe::logging::Format;
use crate::observe::metrics::Metrics;
use crate::protocol::proxy_header::Version;
use crate::proxy;
use crate::session;
use crate::tls::identity::Identity;
use crate::tls::upstream::Upstream;
use crate::tls::{self, Terminator};

/// How long a port is left alone after its pinhole has closed: late packets of the old connection must not meet a new one.
const COOLDOWN: Duration = Duration::from_secs(10);

/// The pf backend.
///
/// # Errors
/// Nobody said whose pf it is; the configuration does not let that happen.
pub(super) fn pf(config: &Config) -> Result<pf::Settings, firewall::Error> {
    let config::Pf { anchor, tag, queue, rtable, log, dialect, pfctl } = config.firewall.pf.clone();
    let unknown =
        || firewall::Error::new(firewall::ErrorKind::Unsupported, "set firewall.pf.dialect: freebsd | openbsd");
    Ok(pf::Settings {
        dialect: match dialect.ok_or_else(unknown)? {
            config::Dialect::FreeBsd => Dialect::FreeBsd,
            config::Dialect::OpenBsd => Dialect::OpenBsd,
        },
        anchor,
        options: Options { tag, queue, rtable, log },
        pfctl,
    })
}

/// Data connections of a client for each of its sessions, with the relay: one is under way, others may not have been closed yet.
const RELAYED_PER_SESSION: usize = 4;

/// The relay backend.
pub(super) fn relay(config: &Config, metrics: &Metrics, sessions: &Arc<tls::Sessions>) -> relay::Settings {
    let (metrics, within, sessions) = (metrics.clone(), config.timeouts.proxy_header, sessions.clone());
    relay::Settings {
        connect_timeout: config.timeouts.connect,
        idle_timeout: config.data.idle_timeout,
        most_per_client: (config.limits.sessions_per_client as usize).saturating_mul(RELAYED_PER_SESSION),
        introduce: Arc::new(move |stream, sender| Box::pin(proxy::header::introduce(stream, sender, within))),
        secure: Arc::new(move |stream, session, peer| {
            Box::pin(proxy::secure::data(sessions.clone(), stream, session, peer))
        }),
        report: Arc::new(move |incident| match incident {
            Incident::Accept => metrics.accept_error(),
            other => metrics.data_refused(other.as_str()),
        }),
    }
}

/// The thread that owns a backend; each must have settings of its own, lest two choose the same ports.
pub(super) fn worker(ports: RangeInclusive<u16>) -> anyhow::Result<worker::Settings> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| anyhow::anyhow!("cannot get random bytes from the kernel: {error}"))?;
    Ok(worker::Settings { ports, cooldown: COOLDOWN, seed: u64::from_ne_bytes(seed) })
}

/// What a reload can change. `tracked`: the packet filter tells what becomes of data connections.
pub(super) fn live(config: &Config, tracked: bool) -> proxy::Live {
    let session = session::Settings {
        line_length: config.limits.line_length as usize,
        pipeline: config.limits.pipeline as usize,
        pinhole_timeout: millis(config.data.pinhole_timeout),
        login_timeout: millis(config.timeouts.login),
        idle_timeout: millis(config.timeouts.idle),
        data_idle_timeout: millis(config.data.idle_timeout),
        tracked,
        reset_on_close: config.data.on_control_close == config::OnControlClose::Reset,
        server_mode: session::ServerMode::AsClient,
    };
    proxy::Live {
        session: Arc::new(session),
        relayed: Arc::new(session::Settings {
            tracked: config.data.tracking != config::Tracking::Off,
            server_mode: match config.data.server_mode {
                config::ServerMode::AsClient => session::ServerMode::AsClient,
                config::ServerMode::Passive => session::ServerMode::Passive,
                config::ServerMode::Active => session::ServerMode::Active,
            },
            ..session
        }),
        drain: (config.data.on_control_close == config::OnControlClose::Drain).then_some(config.data.drain_timeout),
        connect_timeout: config.timeouts.connect,
        header_timeout: config.timeouts.proxy_header,
        sessions: config.limits.sessions as usize,
        sessions_per_client: config.limits.sessions_per_client as usize,
    }
}

/// One listener.
pub(super) fn listener(
    config: &Config,
    listener: &config::Listener,
    path: DataPath,
    terminator: Option<Arc<Terminator>>,
) -> proxy::ListenerSettings {
    proxy::ListenerSettings {
        name: listener.name.clone(),
        capture: match listener.capture {
            config::Capture::Redirect => proxy::Capture::Redirect,
            config::Capture::Tproxy => proxy::Capture::Tproxy,
            config::Capture::Divert => proxy::Capture::Divert,
            config::Capture::Direct => proxy::Capture::Direct,
        },
        route: match listener.mode {
            config::Mode::Forward => proxy::Route::Original,
            config::Mode::Reverse => proxy::Route::Servers(listener.servers.clone()),
            // With pf the daemon is in an empty root directory, where no resolver finds its files.
            config::Mode::Login => proxy::Route::Login { names: config.firewall.backend != config::Backend::Pf },
        },
        allowed: config.servers_for(listener).cloned(),
        source: match &listener.source {
            config::Source::Gateway => proxy::Source::Gateway,
            config::Source::Client => proxy::Source::Client,
            config::Source::Address(addresses) => proxy::Source::Addresses(addresses.clone()),
        },
        path,
        announced: listener.external.clone(),
        proxy_protocol: proxy::header::ProxyProtocol {
            accept_from: listener.proxy_protocol.accept_from.clone(),
            data: listener.proxy_protocol.data,
            send: match listener.proxy_protocol.send {
                config::SendHeader::Off => None,
                config::SendHeader::V1 => Some(Version::V1),
                config::SendHeader::V2 => Some(Version::V2),
            },
        },
        nat64: listener.nat64,
        security: security(listener),
        terminator,
    }
}

/// What a listener does about FTPS.
fn security(listener: &config::Listener) -> session::Security {
    let Some(tls) = &listener.tls else {
        return session::Security {
            ftps: match listener.ftps {
                config::Ftps::Refuse => session::Ftps::Refuse,
                config::Ftps::Pass | config::Ftps::Terminate => session::Ftps::Pass,
            },
            range: listener.passive_ports.map(|ports| (ports.low, ports.high)),
            ..session::Security::default()
        };
    };
    session::Security {
        ftps: session::Ftps::Terminate,
        server_tls: tls.server == config::ServerTls::Explicit,
        implicit: tls.implicit,
        require: tls.require,
        allow_ccc: tls.ccc,
        range: None,
    }
}

/// The TLS of a listener, if any ends there.
///
/// # Errors
/// One of its files cannot be used.
pub(super) fn terminator(listener: &config::Listener) -> anyhow::Result<Option<Arc<Terminator>>> {
    let Some(tls) = &listener.tls else { return Ok(None) };
    let load = || {
        let upstream = match tls.server {
            config::ServerTls::Plain => None,
            config::ServerTls::Explicit => Some(Upstream::new(tls.server_ca.as_deref(), tls.server_name.as_deref())?),
        };
        Ok(Terminator::new(Identity::load(&tls.certificate, &tls.key)?, upstream))
    };
    let loaded: Result<_, tls::Error> = load();
    let loaded = loaded.with_context(|| format!("listener {} cannot speak TLS (listeners[].tls)", listener.name))?;
    Ok(Some(Arc::new(loaded)))
}

/// How much is logged.
pub(super) fn level(config: &Config) -> LevelFilter {
    match config.log.level {
        config::Level::Error => LevelFilter::ERROR,
        config::Level::Warn => LevelFilter::WARN,
        config::Level::Info => LevelFilter::INFO,
        config::Level::Debug => LevelFilter::DEBUG,
        config::Level::Trace => LevelFilter::TRACE,
    }
}

/// How it is logged.
pub(super) fn format(config: &Config) -> Format {
    match config.log.format {
        config::LogFormat::Text => Format::Text,
        config::LogFormat::Json => Format::Json,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
