//! Daemon: start and stop order.
//!
//! Lives here: the process from a validated configuration to its end, as two lists of steps. Below it: `settings` (from the
//! configuration to what each layer takes), `paths` (packet filter, relay and trackers), `netfilter` (what only Linux has), `keeper` (the process that stays root for pf),
//! `files` (what is looked at again), `service` (telling who started us), `signals`. Not here: the command line (`cli`), anything
//! about sessions (`proxy`).

mod files;
mod keeper;
mod netfilter;
mod paths;
mod service;
mod settings;
mod signals;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::sync::{mpsc, watch};

use crate::config::{self, Config};
use crate::firewall::pf::Pf;
use crate::observe::http;
use crate::observe::metrics::Metrics;
use crate::observe::xferlog::Xferlog;
use crate::observe::{Ready, logging};
use crate::protocol::command;
use crate::proxy::crew::Crew;
use crate::proxy::{GoingDown, Parts, Shared, listener};
use crate::sys;
use crate::tls::{self, Terminator};
use files::Files;
use keeper::Keeper;
use paths::Paths;
use signals::Signal;

pub use keeper::serve as keep;

/// Descriptors of a session: its two control connections; with the relay also its data connection's two, and a pipe's.
const SESSION: u64 = 2;
const RELAYED_SESSION: u64 = 6;

/// Descriptors that are not sessions': listeners, log, netlink, epoll, metrics connections.
const SPARE_DESCRIPTORS: u64 = 64;

/// Runs the gateway until it is told to stop. `file` is read again on SIGHUP.
///
/// # Errors
/// Something that must be there at the start is not; nothing was left behind.
pub fn run(config: Config, file: Option<PathBuf>) -> anyhow::Result<()> {
    let logging = logging::init(settings::level(&config), settings::format(&config))?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    check_descriptors(&config);

    // Bind first, so that a second daemon is found out before it touches the firewall of the first.
    let sockets = Sockets {
        listeners: bind(&config)?,
        metrics: config.metrics.as_ref().map(|metrics| bind_metrics(metrics.listen)).transpose()?,
    };
    let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    let metrics = Metrics::new(&names, &command::names());
    let transfers = config.log.transfers.as_deref().map(open_transfer_log).transpose()?;
    // FreeBSD's pf is asked where connections were going through a device that only root may open.
    if config.listeners.iter().any(|listener| listener.capture == config::Capture::Redirect) {
        sys::prepare_original_destination()?;
    }
    let terminators = terminators(&config)?;
    let tls = Arc::new(tls::Sessions::default());
    let (paths, keeper) = Paths::start(&config, file.as_deref(), &metrics, &tls)?;
    let files = Files { path: file, errands: keeper.as_ref().map(Keeper::errands) };

    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let crew = Arc::new(Crew::muster(runtime.handle()).context("cannot start the threads of sessions")?);
    let live = settings::live(&config, paths.is_tracked());
    let tell = watch::Sender::new(GoingDown::No);
    let listening = config.listeners.iter().flat_map(|l| l.listen.iter().map(SocketAddr::port)).collect();
    let shared = Arc::new(Shared::new(Parts { metrics, transfers, live, listening, tls }));
    let house = House { paths, shared, tell, logging, files, terminators };
    let sessions = runtime.block_on(async { accept(&config, sockets.listeners, &house, &crew) })?;
    let endings = Endings { keeper: keeper.map(Keeper::ended).transpose()?, sessions };
    let served = runtime.block_on(serve(config, endings, sockets.metrics, &house));
    // Sessions that were told to end now may still be in the middle of something.
    drop(crew);
    runtime.shutdown_background();
    house.paths.stop()?;
    served
}

/// Whether the files of TLS and the firewall backend can be used. Leaves it as it is, also while an ftpgate is running.
///
/// # Errors
/// What is missing, and how to fix it.
pub fn check(config: &Config) -> anyhow::Result<()> {
    terminators(config)?;
    match config.firewall.backend {
        config::Backend::Nftables => netfilter::check(config)?,
        config::Backend::Pf => Pf::new(settings::pf(config)?, std::process::id()).rehearse()?,
        config::Backend::Relay | config::Backend::DryRun => {}
    }
    Ok(())
}

/// The TLS of each listener that ends any.
fn terminators(config: &Config) -> anyhow::Result<Vec<Option<Arc<Terminator>>>> {
    let all: anyhow::Result<Vec<_>> = config.listeners.iter().map(settings::terminator).collect();
    let all = all?;
    for warning in all.iter().flatten().filter_map(|terminator| terminator.identity().warning()) {
        tracing::warn!("{warning}");
    }
    Ok(all)
}

/// What this machine lacks that is not needed, but wanted. One sentence each.
pub fn advice(config: &Config) -> Vec<String> {
    match config.firewall.backend {
        config::Backend::Nftables => paths::advice(config),
        config::Backend::Pf => {
            settings::pf(config).map(|settings| Pf::new(settings, std::process::id()).advice()).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// What is listened on.
struct Sockets {
    /// With the index of the listener that each belongs to.
    listeners: Vec<(TcpListener, usize)>,
    metrics: Option<TcpListener>,
}

/// Accepts on all listeners. What is returned ends with the last listener and the last session.
fn accept(
    config: &Config,
    sockets: Vec<(TcpListener, usize)>,
    house: &House,
    crew: &Arc<Crew>,
) -> anyhow::Result<mpsc::Receiver<std::convert::Infallible>> {
    let (alive, all_ended) = mpsc::channel(1);
    let each = config.listeners.iter().zip(&house.terminators);
    let per_listener: Vec<_> =
        each.map(|(l, tls)| Arc::new(settings::listener(config, l, house.paths.of(l), tls.clone()))).collect();
    for (socket, at) in sockets {
        let socket = tokio::net::TcpListener::from_std(socket)?;
        let Some(settings) = per_listener.get(at).cloned() else { continue };
        let (shared, crew) = (house.shared.clone(), crew.clone());
        tokio::spawn(listener::serve(socket, settings, shared, crew, house.tell.subscribe(), alive.clone()));
    }
    Ok(all_ended)
}

/// What is there for as long as the daemon runs.
struct House {
    paths: Paths,
    shared: Arc<Shared>,
    /// How sessions learn that the daemon stops.
    tell: watch::Sender<GoingDown>,
    logging: logging::Handle,
    files: Files,
    /// The TLS of each listener.
    terminators: Vec<Option<Arc<Terminator>>>,
}

/// What ends by itself.
struct Endings {
    keeper: Option<watch::Receiver<bool>>,
    sessions: mpsc::Receiver<std::convert::Infallible>,
}

async fn serve(
    config: Config,
    mut endings: Endings,
    metrics: Option<TcpListener>,
    house: &House,
) -> anyhow::Result<()> {
    let House { paths, shared, tell, .. } = house;
    let ready = Ready::new();
    if let Some(socket) = metrics {
        tokio::spawn(http::serve(socket, shared.metrics.clone(), ready.clone()));
    }
    let mut signals = signals::Signals::new().context("cannot listen for signals")?;

    ready.set(true);
    tracing::info!(
        backend = paths.name(),
        relay = paths.has_relay_behind().then_some("behind it"),
        version = env!("CARGO_PKG_VERSION"),
        "ready"
    );
    service::ready();

    let mut running = config;
    let mut lost = false;
    loop {
        let signal = tokio::select! {
            signal = signals.next() => signal,
            _ = endings.sessions.recv() => break,
            () = ended(&mut endings.keeper) => {
                endings.keeper = None;
                tracing::error!("the keeper, the process that changes pf, has ended: no pinhole can be opened; stopping");
                lost = true;
                tell.send_replace(GoingDown::Now);
                continue;
            }
        };
        match signal {
            Signal::Reload => reload(&mut running, house),
            Signal::Stop if *tell.borrow() == GoingDown::No => {
                ready.set(false);
                service::stopping();
                tracing::info!(
                    sessions = shared.limits.sessions(),
                    "stopping: sessions end when their transfers are done; a second signal ends them now"
                );
                tell.send_replace(GoingDown::Drain);
            }
            Signal::Stop => {
                tracing::info!(sessions = shared.limits.sessions(), "stopping now");
                tell.send_replace(GoingDown::Now);
            }
        }
    }
    tracing::info!("stopped");
    anyhow::ensure!(!lost, "the keeper ended before the daemon did; start ftpgate again, which removes what it left");
    Ok(())
}

/// Waits for the end of the keeper; for ever if there is none.
async fn ended(keeper: &mut Option<watch::Receiver<bool>>) {
    match keeper {
        Some(ended) => drop(ended.wait_for(|ended| *ended).await),
        None => std::future::pending().await,
    }
}

/// Reads the configuration again. A faulty one changes nothing.
fn reload(running: &mut Config, House { paths, shared, logging, files, terminators, .. }: &House) {
    let Some(file) = &files.path else {
        tracing::warn!("SIGHUP: there is no configuration file to read again; the arguments stay in force");
        return;
    };
    let new = match files.load(file) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!("SIGHUP: the configuration stays as it was: {error}");
            return;
        }
    };
    terminators.iter().flatten().for_each(|terminator| terminator.identity().reload());
    let changes = crate::config::reload_changes(running, &new);
    for key in &changes.needs_restart {
        tracing::warn!(key, "changed, but takes effect only after a restart");
    }
    shared.reload(settings::live(&new, paths.is_tracked()));
    paths.reload(&new);
    if let Some(Err(error)) = shared.transfers.as_ref().map(|log| files.reopen(log)) {
        tracing::error!(%error, "cannot open the transfer log (log.transfers) again; the old file stays in use");
    }
    logging.set_level(settings::level(&new));
    tracing::info!(changed = changes.live.join(", "), "configuration reloaded; it holds for new sessions");
    // What needs a restart is still as it was, and is told again at the next reload.
    running.limits = new.limits;
    running.timeouts = new.timeouts;
    running.log.level = new.log.level;
}

/// Every listening socket, with the index of its listener.
fn bind(config: &Config) -> anyhow::Result<Vec<(TcpListener, usize)>> {
    let mut sockets = Vec::new();
    for (at, listener) in config.listeners.iter().enumerate() {
        for &address in &listener.listen {
            let transparent = matches!(listener.capture, config::Capture::Tproxy | config::Capture::Divert);
            let socket =
                sys::listen(address, transparent).map_err(|error| cannot_listen(&listener.name, address, error))?;
            sockets.push((socket, at));
        }
    }
    Ok(sockets)
}

fn cannot_listen(name: &str, address: SocketAddr, error: std::io::Error) -> anyhow::Error {
    use std::io::ErrorKind;
    let in_use =
        format!("another program listens there (`{}` names it); stop it or choose another port", sys::WHO_LISTENS);
    let advice = match error.kind() {
        ErrorKind::AddrInUse => in_use.as_str(),
        ErrorKind::AddrNotAvailable => "no interface of this host has that address",
        ErrorKind::PermissionDenied if cfg!(not(target_os = "linux")) => "ports below 1024 need root",
        ErrorKind::PermissionDenied => {
            "ports below 1024 and `capture: tproxy` need root, or CAP_NET_BIND_SERVICE and CAP_NET_ADMIN"
        }
        _ => "see the cause",
    };
    anyhow::Error::new(error).context(format!("listener {name} cannot listen on {address}: {advice}"))
}

fn open_transfer_log(path: &Path) -> anyhow::Result<Xferlog> {
    Xferlog::open(path).with_context(|| {
        format!(
            "cannot open the transfer log {} (log.transfers): its directory must be there and writable",
            path.display()
        )
    })
}

fn bind_metrics(address: SocketAddr) -> anyhow::Result<TcpListener> {
    sys::listen(address, false).with_context(|| {
        format!("cannot serve metrics on {address} (metrics.listen): choose another address, or null to serve none")
    })
}

fn check_descriptors(config: &Config) {
    let each = if config.listeners.iter().any(|listener| listener.relayed) { RELAYED_SESSION } else { SESSION };
    let wanted = u64::from(config.limits.sessions) * each + SPARE_DESCRIPTORS;
    match sys::raise_descriptor_limit() {
        Ok(limit) if limit < wanted => tracing::warn!(
            "limits.sessions is {}, which takes {wanted} open files, but the limit is {limit}; raise it ({}) or \
             lower limits.sessions",
            config.limits.sessions,
            sys::OPEN_FILES
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot raise the limit of open files"),
    }
}
