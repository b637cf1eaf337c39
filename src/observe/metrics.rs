//! Metrics: every one defined once, with its name, its help and its labels.
//!
//! Lives here: [`Metrics`], one function per thing that can happen. Handles are looked up once (11 ns to count instead of 100),
//! every series with a closed label set exists from the start (so `rate()` sees its first step), and no label can be chosen by
//! a client: labels come from the configuration or are words of this program. Not here: who calls (`proxy`, `daemon`), who asks
//! (`http.rs`). `docs/metrics.md` is held against this file by a test.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Gauge, Histogram, Key, Label, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::firewall::ErrorKind;
use crate::firewall::relay::Incident;
use crate::pinhole::Announcement;
use crate::session::data::{Direction, Outcome};
use crate::session::effect::{EndReason, Refusal};

mod rejection;

pub use rejection::Rejection;

/// The label value for what is in no table.
pub const OTHER: &str = "other";

const OPEN_SECONDS: &str = "ftpgate_pinhole_open_seconds";
const WAIT_SECONDS: &str = "ftpgate_pinhole_wait_seconds";
const TRANSFER_SECONDS: &str = "ftpgate_transfer_duration_seconds";
const SESSION_SECONDS: &str = "ftpgate_session_duration_seconds";

/// From a netlink call that found the kernel idle to one that waited for somebody's ruleset.
const OPEN_BUCKETS: [f64; 14] = [5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1];

/// From a script's single transfer to a session that lives for days.
const SESSION_BUCKETS: [f64; 10] = [0.1, 1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0];

/// From a client on the same Ethernet to one that lost its first SYN twice.
const WAIT_BUCKETS: [f64; 9] = [1e-3, 5e-3, 1e-2, 5e-2, 1e-1, 5e-1, 1.0, 5.0, 30.0];

/// From a listing on the same Ethernet to a disk image over a slow line.
const TRANSFER_BUCKETS: [f64; 9] = [1e-3, 1e-2, 1e-1, 1.0, 10.0, 60.0, 600.0, 3600.0, 14400.0];

/// Samples of histograms are kept one by one until somebody drains them. A scrape does; without scrapes every so many samples
/// do, so that memory stays bounded without a timer that would wake an idle daemon.
const DRAIN_EVERY: u32 = 10_000;

/// Counts what happens. Clones count into the same metrics.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    prometheus: PrometheusHandle,
    undrained: AtomicU32,
    sessions_active: Series<Gauge>,
    sessions: Series<Counter>,
    sessions_ended: Series<Counter>,
    session_seconds: Histogram,
    rejected: Series<Counter>,
    accept_errors: Counter,
    commands: Series<Counter>,
    refusals: Series<Counter>,
    pinholes_opened: [Series<Counter>; 2],
    pinholes_active: Gauge,
    ranges_open: Gauge,
    pinholes_expired: Series<Counter>,
    open_seconds: Histogram,
    firewall_errors: Series<Counter>,
    pinholes_used: Series<Counter>,
    wait_seconds: Histogram,
    transfers: [Series<Counter>; 3],
    transfer_bytes: Series<Counter>,
    transfer_seconds: Histogram,
    resets: Counter,
    data_refused: Series<Counter>,
    overruns: Counter,
}

impl Metrics {
    /// Metrics of a process. `listeners`: their configured names. `commands`: the table of FTP verbs; whatever is not in it
    /// counts as `other`.
    pub fn new(listeners: &[&str], commands: &[&str]) -> Self {
        let define = Define(with_buckets().build_recorder());
        let version = env!("CARGO_PKG_VERSION");
        define
            .gauges("ftpgate_build_info", "Always 1; the label tells the version.", "version", &[version])
            .with(version, |gauge| gauge.set(1.0));
        define.gauge("ftpgate_start_time_seconds", "When the process started, in seconds since 1970.").set(now());
        let modes: Vec<&str> = Announcement::ALL.iter().map(|mode| mode.as_str()).collect();
        let reasons: Vec<&str> = EndReason::ALL.iter().map(|reason| reason.as_str()).chain([OTHER]).collect();
        let refusals: Vec<&str> = Refusal::ALL.iter().map(|reason| reason.as_str()).collect();
        let commands: Vec<&str> = commands.iter().copied().chain([OTHER]).collect();
        Self(Arc::new(Inner {
            sessions_active: define.gauges(
                "ftpgate_sessions_active",
                "Sessions that are open now.",
                "listener",
                listeners,
            ),
            sessions: define.counters("ftpgate_sessions_total", "Sessions begun.", "listener", listeners),
            sessions_ended: define.counters(
                "ftpgate_sessions_ended_total",
                "Sessions ended, by reason.",
                "reason",
                &reasons,
            ),
            session_seconds: define.histogram(SESSION_SECONDS, "How long sessions lasted."),
            rejected: define.counters(
                "ftpgate_connections_rejected_total",
                "Connections turned away before they became sessions, by reason.",
                "reason",
                &Rejection::ALL.map(Rejection::as_str),
            ),
            accept_errors: define
                .counter("ftpgate_accept_errors_total", "Accepts that failed, such as for want of descriptors."),
            commands: define.counters(
                "ftpgate_commands_total",
                "FTP commands passed on to servers.",
                "command",
                &commands,
            ),
            refusals: define.counters(
                "ftpgate_refusals_total",
                "Commands and replies that were refused, by reason.",
                "reason",
                &refusals,
            ),
            pinholes_opened: ["ipv4", "ipv6"].map(|family| {
                define.counters_with(
                    "ftpgate_pinholes_opened_total",
                    "Pinholes opened, by what announced them and address family.",
                    "mode",
                    &modes,
                    Some(("family", family)),
                )
            }),
            pinholes_active: define.gauge("ftpgate_pinholes_active", "Pinholes that sessions hold now."),
            ranges_open: define.gauge(
                "ftpgate_ranges_open",
                "Sessions that became TLS and for which the server's passive ports are open now.",
            ),
            pinholes_expired: define.counters(
                "ftpgate_pinholes_expired_total",
                "Pinholes closed because nobody used them in time, by what announced them.",
                "mode",
                &modes,
            ),
            open_seconds: define.histogram(OPEN_SECONDS, "Time from asking for a pinhole until it is in force."),
            firewall_errors: define.counters(
                "ftpgate_firewall_errors_total",
                "Failures of the firewall backend, by kind.",
                "kind",
                &ErrorKind::ALL.map(ErrorKind::as_str),
            ),
            pinholes_used: define.counters(
                "ftpgate_pinholes_used_total",
                "Pinholes through which a data connection came, by what announced them.",
                "mode",
                &modes,
            ),
            wait_seconds: define.histogram(WAIT_SECONDS, "Time from a pinhole being in force to its first packet."),
            transfers: Direction::ALL.map(|direction| {
                define.counters_with(
                    "ftpgate_transfers_total",
                    "Transfers ended, by outcome and direction.",
                    "outcome",
                    &Outcome::ALL.map(Outcome::as_str),
                    Some(("direction", direction.as_str())),
                )
            }),
            transfer_bytes: define.counters(
                "ftpgate_transfer_bytes_total",
                "Bytes of payload that transfers moved, as the kernel or the relay counts them, by direction.",
                "direction",
                &Direction::ALL.map(Direction::as_str),
            ),
            transfer_seconds: define.histogram(TRANSFER_SECONDS, "How long transfers took."),
            resets: define.counter(
                "ftpgate_data_connections_reset_total",
                "Live data connections that were ended with their control session, or because nothing moved.",
            ),
            data_refused: define.counters(
                "ftpgate_data_connections_refused_total",
                "Data connections that the relay turned away, by reason.",
                "reason",
                &Incident::REFUSED.map(Incident::as_str),
            ),
            overruns: define.counter(
                "ftpgate_conntrack_overruns_total",
                "Times that conntrack events came faster than they were read; what was missed was asked for again.",
            ),
            undrained: AtomicU32::new(0),
            prometheus: define.0.handle(),
        }))
    }

    /// A session began at a listener.
    pub fn session_started(&self, listener: &str) {
        self.0.sessions.count(listener);
        self.0.sessions_active.with(listener, |gauge| gauge.increment(1.0));
    }

    /// That session ended; `reason` is a word of [`EndReason`], anything else counts as `other`.
    pub fn session_ended(&self, listener: &str, reason: &'static str, lasted: Duration) {
        self.0.sessions_active.with(listener, |gauge| gauge.decrement(1.0));
        self.0.sessions_ended.count(reason);
        self.record(&self.0.session_seconds, lasted);
    }

    /// A connection was turned away before it became a session.
    pub fn rejected(&self, reason: Rejection) {
        self.0.rejected.count(reason.as_str());
    }

    /// An accept failed.
    pub fn accept_error(&self) {
        self.0.accept_errors.increment(1);
    }

    /// A command was passed on; `command` is a word of the table given at the start, anything else counts as `other`.
    pub fn command(&self, command: &'static str) {
        self.0.commands.count(command);
    }

    /// A command or a reply was refused; `reason` is a word of [`Refusal`].
    pub fn refused(&self, reason: &'static str) {
        self.0.refusals.count(reason);
    }

    /// A pinhole is in force. Every one ends with [`Metrics::pinhole_closed`].
    pub fn pinhole_opened(&self, announcement: Announcement, ipv6: bool, took: Duration) {
        let [ipv4_series, ipv6_series] = &self.0.pinholes_opened;
        (if ipv6 { ipv6_series } else { ipv4_series }).count(announcement.as_str());
        self.0.pinholes_active.increment(1.0);
        self.record(&self.0.open_seconds, took);
    }

    /// A pinhole is no longer held, for whatever reason.
    pub fn pinhole_closed(&self) {
        self.0.pinholes_active.decrement(1.0);
    }

    /// A session that became TLS has the server's passive ports open.
    pub fn range_opened(&self) {
        self.0.ranges_open.increment(1.0);
    }

    /// It has not any longer.
    pub fn range_closed(&self) {
        self.0.ranges_open.decrement(1.0);
    }

    /// It was not used in time. Counted beside [`Metrics::pinhole_closed`], not instead of it.
    pub fn pinhole_expired(&self, announcement: Announcement) {
        self.0.pinholes_expired.count(announcement.as_str());
    }

    /// A data connection came through a pinhole, so long after it was in force.
    pub fn pinhole_used(&self, announcement: Announcement, waited: Duration) {
        self.0.pinholes_used.count(announcement.as_str());
        self.record(&self.0.wait_seconds, waited);
    }

    /// A transfer ended. `bytes`: `None` if they were not counted.
    pub fn transferred(&self, direction: Direction, outcome: Outcome, bytes: Option<u64>, took: Duration) {
        let series = Direction::ALL.iter().zip(&self.0.transfers).find(|(of, _)| **of == direction);
        if let Some((_, series)) = series {
            series.count(outcome.as_str());
        }
        self.0.transfer_bytes.with(direction.as_str(), |counter| counter.increment(bytes.unwrap_or(0)));
        self.record(&self.0.transfer_seconds, took);
    }

    /// A live data connection is being ended.
    pub fn reset(&self) {
        self.0.resets.increment(1);
    }

    /// The relay turned a data connection away; `reason` is a word of [`Incident`].
    pub fn data_refused(&self, reason: &'static str) {
        self.0.data_refused.count(reason);
    }

    /// So many times in all, conntrack events came too fast.
    pub fn overruns(&self, times: u64) {
        self.0.overruns.absolute(times);
    }

    /// The firewall backend failed; `kind` is a word of [`ErrorKind`].
    pub fn firewall_error(&self, kind: &'static str) {
        self.0.firewall_errors.count(kind);
    }

    /// All of them in Prometheus' text format, in the order of their names.
    pub fn render(&self) -> String {
        self.0.undrained.store(0, Ordering::Relaxed);
        in_order(&self.0.prometheus.render())
    }

    fn record(&self, histogram: &Histogram, sample: Duration) {
        histogram.record(sample);
        if self.0.undrained.fetch_add(1, Ordering::Relaxed) + 1 == DRAIN_EVERY {
            self.0.undrained.store(0, Ordering::Relaxed);
            self.0.prometheus.run_upkeep();
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// The exporter, told which metrics are histograms. Only an empty list of buckets would be refused.
fn with_buckets() -> PrometheusBuilder {
    let name = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(name(OPEN_SECONDS), &OPEN_BUCKETS)
        .and_then(|builder| builder.set_buckets_for_metric(name(SESSION_SECONDS), &SESSION_BUCKETS))
        .and_then(|builder| builder.set_buckets_for_metric(name(WAIT_SECONDS), &WAIT_BUCKETS))
        .and_then(|builder| builder.set_buckets_for_metric(name(TRANSFER_SECONDS), &TRANSFER_BUCKETS))
        .unwrap_or_default()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64().round()
}

/// Sorts the exporter's output, which comes in the order of a hash table: for people, and for comparing two of them. The lines
/// of a histogram stay as they are.
fn in_order(text: &str) -> String {
    let mut metrics: Vec<Vec<&str>> = text.split("\n\n").map(|block| block.lines().collect()).collect();
    metrics.retain(|lines| !lines.is_empty());
    metrics.sort();
    let mut sorted = String::with_capacity(text.len());
    for mut lines in metrics {
        if !lines.iter().any(|line| line.starts_with("# TYPE") && line.ends_with(" histogram")) {
            // "# HELP" and "# TYPE" sort before every name.
            lines.sort_unstable();
        }
        for line in lines {
            sorted.push_str(line);
            sorted.push('\n');
        }
    }
    sorted
}

/// One metric with one label: a handle for each of its values, in order, and one for everything else.
struct Series<T> {
    known: Vec<(Box<str>, T)>,
    other: Option<T>,
}

impl<T> Series<T> {
    fn with(&self, value: &str, act: impl FnOnce(&T)) {
        let found = self.known.binary_search_by(|(word, _)| (**word).cmp(value)).ok().and_then(|at| self.known.get(at));
        if let Some(handle) = found.map(|(_, handle)| handle).or(self.other.as_ref()) {
            act(handle);
        }
    }
}

impl Series<Counter> {
    fn count(&self, value: &str) {
        self.with(value, |counter| counter.increment(1));
    }
}

/// Describes and registers.
struct Define(PrometheusRecorder);

/// Where a metric comes from; the exporter does not use it.
const ORIGIN: Metadata<'static> = Metadata::new("ftpgate", metrics::Level::INFO, None);

impl Define {
    fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        self.0.describe_counter(name.into(), None, help.into());
        self.0.register_counter(&Key::from_static_name(name), &ORIGIN)
    }

    fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        self.0.describe_gauge(name.into(), None, help.into());
        self.0.register_gauge(&Key::from_static_name(name), &ORIGIN)
    }

    fn histogram(&self, name: &'static str, help: &'static str) -> Histogram {
        self.0.describe_histogram(name.into(), None, help.into());
        self.0.register_histogram(&Key::from_static_name(name), &ORIGIN)
    }

    fn counters(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[&str],
    ) -> Series<Counter> {
        self.counters_with(name, help, label, values, None)
    }

    fn counters_with(
        &self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &[&str],
        fixed: Option<(&'static str, &'static str)>,
    ) -> Series<Counter> {
        self.0.describe_counter(name.into(), None, help.into());
        series(name, label, values, fixed, |key| self.0.register_counter(key, &ORIGIN))
    }

    fn gauges(&self, name: &'static str, help: &'static str, label: &'static str, values: &[&str]) -> Series<Gauge> {
        self.0.describe_gauge(name.into(), None, help.into());
        series(name, label, values, None, |key| self.0.register_gauge(key, &ORIGIN))
    }
}

fn series<T>(
    name: &'static str,
    label: &'static str,
    values: &[&str],
    fixed: Option<(&'static str, &'static str)>,
    register: impl Fn(&Key) -> T,
) -> Series<T> {
    let handle = |value: &str| {
        let labels = [Label::new(label, value.to_owned())].into_iter().chain(fixed.map(|(k, v)| Label::new(k, v)));
        register(&Key::from_parts(name, labels.collect::<Vec<_>>()))
    };
    let mut known: Vec<(Box<str>, T)> = values.iter().map(|value| (Box::from(*value), handle(value))).collect();
    known.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Series { known, other: values.contains(&OTHER).then(|| handle(OTHER)) }
}

#[cfg(test)]
mod tests;
