//! From the shape of the file to its meaning: every rule about values, each with its sentence and its remedy.
//!
//! Lives here: [`config`]. A fault comes with its key, such as `listeners[0].mode`; the caller finds its place in the text.
//! Not here: one listener's rules (`listener.rs`, `proxy_protocol.rs`, `relayed.rs`, `tls.rs`, below), `policy` (`policy.rs`), warnings (`review.rs`).

mod listener;
mod policy;
mod proxy_protocol;
mod relayed;
mod tls;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{
    Raw, RawControl, RawData, RawFirewall, RawLimits, RawLog, RawMetrics, RawNftables, RawPf, RawTimeouts, Scalar,
};
use super::system::System;
use super::values::{Fault, PortRange, parse_duration, parse_ports};
use super::{
    Accounting, Backend, Config, Control, Data, Dialect, Firewall, Level, Limits, Log, LogFormat, Metrics, Nftables,
    OnControlClose, Ownership, Pf, ServerMode, Timeouts, Tracking, Word, defaults,
};

/// A fault and the key it is about.
type Keyed<T> = Result<T, (String, Fault)>;

/// Makes sense of a file, or says what does not.
pub(super) fn config(raw: Raw) -> Keyed<Config> {
    let firewall = firewall(raw.firewall.unwrap_or_default());
    let system = firewall.as_ref().map_or(System::HERE, System::of);
    // In the order of the file: a fault of a listener comes before one of the firewall.
    let backend = firewall.as_ref().map_or(Backend::Nftables, |firewall| firewall.backend);
    let listeners = listener::all(raw.listeners.unwrap_or_default(), system, backend)?;
    let firewall = firewall?;
    let policy = policy::section("policy", raw.policy.unwrap_or_default())?;
    policy::fits(&policy, &listeners, firewall.backend)?;
    let user = raw.user.unwrap_or_else(|| Some(Scalar(defaults::USER.to_owned())));
    let data = data(raw.data.unwrap_or_default(), firewall.backend)?;
    relayed::server_mode(data.server_mode, &listeners)?;
    Ok(Config {
        listeners,
        data,
        firewall,
        limits: limits(raw.limits.unwrap_or_default())?,
        timeouts: timeouts(raw.timeouts.unwrap_or_default())?,
        policy,
        metrics: metrics(raw.metrics.unwrap_or_else(|| Some(RawMetrics::default())))?,
        log: log(raw.log.unwrap_or_default())?,
        control: control(raw.control.unwrap_or_default())?,
        user: user.map(|user| keyed("user", user_name(&user.0))).transpose()?,
    })
}

fn keyed<T>(key: &str, result: Result<T, Fault>) -> Keyed<T> {
    result.map_err(|fault| (key.to_owned(), fault))
}

/// A value that this version knows and cannot do yet.
fn later(what: &str, instead: &str) -> Fault {
    Fault::new(format!("this version ({}) can't do {what} yet", env!("CARGO_PKG_VERSION")), instead)
}

/// One of the words of `T`, or the default. `not_yet`: words of later versions, what they stand for, what to use instead.
fn word<T: Word>(key: &str, value: Option<&Scalar>, default: T, not_yet: &[(&str, &str, &str)]) -> Keyed<T> {
    let Some(Scalar(text)) = value else { return Ok(default) };
    if let Some((_, what, instead)) = not_yet.iter().find(|(word, ..)| word == text) {
        return keyed(key, Err(later(what, instead)));
    }
    keyed(
        key,
        T::from_word(text).ok_or_else(|| {
            let words: Vec<&str> = T::WORDS.iter().copied().chain(not_yet.iter().map(|(word, ..)| *word)).collect();
            Fault::new(
                format!("{text:?} is not one of the words for this key"),
                format!("write one of: {}", words.join(", ")),
            )
        }),
    )
}

/// A whole number within a range, or the default.
fn number(key: &str, value: Option<&Scalar>, default: u32, allowed: RangeInclusive<u32>) -> Keyed<u32> {
    let Some(Scalar(text)) = value else { return Ok(default) };
    let remedy = || format!("write a whole number from {} to {}", allowed.start(), allowed.end());
    keyed(
        key,
        match text.parse::<u32>() {
            Ok(number) if allowed.contains(&number) => Ok(number),
            Ok(number) => Err(Fault::new(format!("{number} is out of range"), remedy())),
            Err(_) => Err(Fault::new(format!("{text:?} is not a number that fits here"), remedy())),
        },
    )
}

/// A duration above zero, or the default.
fn duration(key: &str, value: Option<&Scalar>, default: Duration) -> Keyed<Duration> {
    let Some(Scalar(text)) = value else { return Ok(default) };
    let duration = keyed(key, parse_duration(text))?;
    if duration.is_zero() {
        let fault = Fault::new(
            "the time must be above zero",
            "write how long it may take, such as 30s; to allow very long, write that, such as 24h",
        );
        return Err((key.to_owned(), fault));
    }
    Ok(duration)
}

fn ports(key: &str, value: &Scalar) -> Keyed<PortRange> {
    keyed(key, parse_ports(&value.0))
}

/// An IP address in its own family's notation.
fn address(text: &str) -> Result<IpAddr, Fault> {
    let remedy = "write an address such as 192.0.2.10 or 2001:db8::10; host names are not looked up in this version";
    let address: IpAddr = text.parse().map_err(|_| Fault::new(format!("{text:?} is not an IP address"), remedy))?;
    not_mapped(address)?;
    Ok(address)
}

/// An IP address with a port; `[…]` around IPv6.
fn endpoint(text: &str, default_port: Option<u16>) -> Result<SocketAddr, Fault> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let (Some(port), Ok(address)) = (default_port, bare.unwrap_or(text).parse::<IpAddr>()) {
        not_mapped(address)?;
        return Ok(SocketAddr::new(address, port));
    }
    let parsed = text.parse::<SocketAddr>().map_err(|_| {
        // "[::]:8021" without its quotes is read as a list by YAML, so the quotes are part of the advice.
        let example = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("add the port: \"{address}:8021\""),
            Ok(IpAddr::V6(address)) => format!("add the port: \"[{address}]:8021\""),
            Err(_) => "write address and port, such as \"0.0.0.0:8021\" or \"[::]:8021\"; \
                host names are not looked up in this version"
                .to_owned(),
        };
        Fault::new(format!("{text:?} is not an address with a port"), example)
    })?;
    not_mapped(parsed.ip())?;
    Ok(parsed)
}

/// One socket serves one family here, so an IPv4 address in IPv6 clothes would belong to neither.
fn not_mapped(address: IpAddr) -> Result<(), Fault> {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(Fault::new(
            format!("{v6} is an IPv4 address written as IPv6"),
            format!("write {}", Ipv6Addr::to_canonical(&v6)),
        )),
        _ => Ok(()),
    }
}

/// A name that is safe in every place where a firewall could see it (attack C93), whatever that firewall's syntax.
fn name(key: &str, value: Option<&Scalar>, default: &str) -> Keyed<String> {
    let Some(Scalar(text)) = value else { return Ok(default.to_owned()) };
    let mut chars = text.chars();
    let fine = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && text.len() <= 32;
    let fault = || {
        Fault::new(
            format!("{text:?} cannot be the name of something in the firewall"),
            "begin with a letter or _, go on with letters, digits and _, 32 characters at most",
        )
    };
    keyed(key, fine.then(|| text.clone()).ok_or_else(fault))
}

/// The name of an anchor may also have a `-`, so that the lines for `ftp-proxy/*` in a pf.conf can stay.
fn anchor(key: &str, value: Option<&Scalar>) -> Keyed<String> {
    let without = value.map(|Scalar(text)| Scalar(text.replace('-', "_")));
    name(key, without.as_ref(), defaults::PF_ANCHOR)?;
    Ok(value.map_or(defaults::PF_ANCHOR.to_owned(), |Scalar(text)| text.clone()))
}

/// `true` or `false`, or the default.
fn switch(key: &str, value: Option<&Scalar>, default: bool) -> Keyed<bool> {
    let Some(Scalar(text)) = value else { return Ok(default) };
    let fault = || Fault::new(format!("{text:?} is neither true nor false"), "write true or false");
    keyed(key, text.parse().map_err(|_| fault()))
}

fn user_name(text: &str) -> Result<String, Fault> {
    let fine = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
        && text.len() <= 32;
    fine.then(|| text.to_owned()).ok_or_else(|| {
        Fault::new(
            format!("{text:?} cannot be the name of a user"),
            "write the name of a system user, or null to stay as started",
        )
    })
}

fn firewall(raw: RawFirewall) -> Keyed<Firewall> {
    let native = if Dialect::of_this_system().is_some() { Backend::Pf } else { Backend::Nftables };
    let firewall = Firewall {
        backend: word("firewall.backend", raw.backend.as_ref(), native, &[])?,
        nftables: nftables(raw.nftables.unwrap_or_default())?,
        pf: pf(raw.pf.unwrap_or_default())?,
    };
    if firewall.backend == Backend::Pf && firewall.pf.dialect.is_none() {
        let fault = Fault::new(
            "pf is the packet filter of FreeBSD and OpenBSD, and this is neither",
            "use nftables or relay; or say whose pf is meant with firewall.pf.dialect: freebsd | openbsd, to check a file for that \
             system or to print its rules here",
        );
        return Err(("firewall.backend".to_owned(), fault));
    }
    Ok(firewall)
}

fn nftables(raw: RawNftables) -> Keyed<Nftables> {
    let bits = |key: &str, value: Option<&Scalar>, default: u32| -> Keyed<u32> {
        let Some(Scalar(text)) = value else { return Ok(default) };
        let parsed = match text.strip_prefix("0x") {
            Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
            Some(_) => None,
            None => text.parse().ok(),
        };
        let fault = || {
            Fault::new(
                format!("{text:?} is not a 32-bit number"),
                "write it in hexadecimal, such as 0x10000000, or decimal",
            )
        };
        keyed(key, parsed.ok_or_else(fault))
    };
    let mark_key = "firewall.nftables.mark";
    let mark = bits(mark_key, raw.mark.as_ref(), defaults::MARK)?;
    // Whoever chooses a mark of their own means those bits and no others.
    let default_mask = if raw.mark.is_some() { mark } else { defaults::MASK };
    let mask = bits("firewall.nftables.mask", raw.mask.as_ref(), default_mask)?;
    if mark == 0 {
        let fault = Fault::new(
            "a mark of 0 cannot be told from no mark",
            "choose a bit that nothing else uses, such as 0x10000000",
        );
        return Err((mark_key.to_owned(), fault));
    }
    if mark & !mask != 0 {
        let key = if raw.mark.is_some() { mark_key } else { "firewall.nftables.mask" };
        let fault = Fault::new(
            format!("the mark {mark:#x} has bits outside the mask {mask:#x}"),
            format!("set mask to {:#x}, or choose a mark within it", mark | mask),
        );
        return Err((key.to_owned(), fault));
    }
    Ok(Nftables {
        table: name("firewall.nftables.table", raw.table.as_ref(), defaults::NFT_TABLE)?,
        ownership: word("firewall.nftables.ownership", raw.ownership.as_ref(), Ownership::Managed, &[])?,
        mark,
        mask,
    })
}

fn pf(raw: RawPf) -> Keyed<Pf> {
    let optional = |key: &str, value: Option<Scalar>| value.map(|value| name(key, Some(&value), "")).transpose();
    let dialect = dialect(raw.dialect.as_ref())?;
    if dialect == Some(Dialect::OpenBsd) && raw.queue.is_some() {
        let fault = Fault::new(
            "OpenBSD's pfctl takes no queue in the rules of an anchor",
            "leave it out, set firewall.pf.tag, and assign the queue in your own rule: pass ... tagged TAG set queue QUEUE",
        );
        return Err(("firewall.pf.queue".to_owned(), fault));
    }
    Ok(Pf {
        anchor: anchor("firewall.pf.anchor", raw.anchor.as_ref())?,
        tag: optional("firewall.pf.tag", raw.tag)?,
        queue: optional("firewall.pf.queue", raw.queue)?,
        rtable: raw.rtable.map(|value| rtable(&value)).transpose()?,
        log: switch("firewall.pf.log", raw.log.as_ref(), false)?,
        dialect,
        pfctl: raw.pfctl.map_or(Ok(defaults::PFCTL.into()), |value| absolute("firewall.pf.pfctl", &value))?,
    })
}

/// Both systems keep the number in 16 bits at most.
fn rtable(value: &Scalar) -> Keyed<u16> {
    number("firewall.pf.rtable", Some(value), 0, 0..=u32::from(u16::MAX)).map(|n| u16::try_from(n).unwrap_or_default())
}

fn dialect(value: Option<&Scalar>) -> Keyed<Option<Dialect>> {
    let native = Dialect::of_this_system();
    match value {
        None => Ok(native),
        // A default of its own changes nothing: the word is there.
        Some(_) => word("firewall.pf.dialect", value, native.unwrap_or(Dialect::OpenBsd), &[]).map(Some),
    }
}

/// Who can follow data connections follows from who opens the pinholes.
fn tracking(value: Option<&Scalar>, backend: Backend) -> Keyed<Tracking> {
    let key = "data.tracking";
    let native = match backend {
        Backend::Pf => Tracking::States,
        Backend::Relay => Tracking::Relay,
        Backend::Nftables | Backend::DryRun => Tracking::Conntrack,
    };
    let chosen = word(key, value, native, &[])?;
    if chosen == Tracking::Off || chosen == native {
        return Ok(chosen);
    }
    let fault = Fault::new(
        format!("{} is not known to firewall.backend: {}", chosen.as_str(), backend.as_str()),
        format!("write {} or off, or leave the key out", native.as_str()),
    );
    Err((key.to_owned(), fault))
}

fn data(raw: RawData, backend: Backend) -> Keyed<Data> {
    Ok(Data {
        ports: raw.ports.map_or(Ok(defaults::DATA_PORTS), |value| ports("data.ports", &value))?,
        pinhole_timeout: duration("data.pinhole_timeout", raw.pinhole_timeout.as_ref(), defaults::PINHOLE_TIMEOUT)?,
        idle_timeout: duration("data.idle_timeout", raw.idle_timeout.as_ref(), defaults::DATA_IDLE_TIMEOUT)?,
        on_control_close: word("data.on_control_close", raw.on_control_close.as_ref(), OnControlClose::Reset, &[])?,
        drain_timeout: duration("data.drain_timeout", raw.drain_timeout.as_ref(), defaults::DATA_DRAIN_TIMEOUT)?,
        tracking: tracking(raw.tracking.as_ref(), backend)?,
        accounting: word("data.accounting", raw.accounting.as_ref(), Accounting::Leave, &[])?,
        server_mode: word("data.server_mode", raw.server_mode.as_ref(), ServerMode::AsClient, &[])?,
    })
}

fn limits(raw: RawLimits) -> Keyed<Limits> {
    Ok(Limits {
        sessions: number("limits.sessions", raw.sessions.as_ref(), defaults::SESSIONS, 1..=1_000_000)?,
        sessions_per_client: number(
            "limits.sessions_per_client",
            raw.sessions_per_client.as_ref(),
            defaults::SESSIONS_PER_CLIENT,
            1..=1_000_000,
        )?,
        line_length: number("limits.line_length", raw.line_length.as_ref(), defaults::LINE_LENGTH, 64..=65536)?,
        pipeline: number("limits.pipeline", raw.pipeline.as_ref(), defaults::PIPELINE, 1..=1024)?,
    })
}

fn timeouts(raw: RawTimeouts) -> Keyed<Timeouts> {
    Ok(Timeouts {
        proxy_header: duration("timeouts.proxy_header", raw.proxy_header.as_ref(), defaults::PROXY_HEADER_TIMEOUT)?,
        connect: duration("timeouts.connect", raw.connect.as_ref(), defaults::CONNECT_TIMEOUT)?,
        login: duration("timeouts.login", raw.login.as_ref(), defaults::LOGIN_TIMEOUT)?,
        idle: duration("timeouts.idle", raw.idle.as_ref(), defaults::IDLE_TIMEOUT)?,
    })
}

fn metrics(raw: Option<RawMetrics>) -> Keyed<Option<Metrics>> {
    let Some(raw) = raw else { return Ok(None) };
    let text = raw.listen.map_or(defaults::METRICS_LISTEN.to_owned(), |value| value.0);
    let listen = keyed("metrics.listen", endpoint(&text, None))?;
    Ok(Some(Metrics { listen }))
}

fn log(raw: RawLog) -> Keyed<Log> {
    Ok(Log {
        transfers: raw.transfers.map(|value| absolute("log.transfers", &value)).transpose()?,
        level: word("log.level", raw.level.as_ref(), Level::Info, &[])?,
        format: word("log.format", raw.format.as_ref(), LogFormat::Text, &[])?,
    })
}

fn control(raw: RawControl) -> Keyed<Control> {
    let socket = raw.socket.unwrap_or_else(|| Some(Scalar(defaults::CONTROL_SOCKET.to_owned())));
    Ok(Control { socket: socket.map(|value| absolute("control.socket", &value)).transpose()? })
}

fn absolute(key: &str, value: &Scalar) -> Keyed<PathBuf> {
    let path = PathBuf::from(&value.0);
    if path.is_absolute() {
        return Ok(path);
    }
    let fault = Fault::new(format!("{path:?} is not an absolute path"), "write a path from the root, or null for none");
    Err((key.to_owned(), fault))
}
