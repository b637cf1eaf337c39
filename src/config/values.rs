//! Values with a notation of their own: durations and port ranges.
//!
//! Lives here: what `5m` and `49152-65535` mean and how they are written back, and [`Fault`], what is wrong with a value.
//! Not here: which values a key allows (`validate.rs`).

use std::fmt;
use std::time::Duration;

/// What is wrong with one value, and what to write instead. Where it stands is added by the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// What happened.
    pub(super) problem: String,
    /// What to do.
    pub(super) remedy: String,
}

impl Fault {
    pub(super) fn new(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { problem: problem.into(), remedy: remedy.into() }
    }
}

/// Longer durations are a slip of the pen, and sums of shorter ones cannot overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The units, longest first: the order in which they may follow each other.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads `500ms`, `60s`, `5m`, `1h`, `1h30m`. Numbers without a unit are refused: nobody remembers which one was meant.
pub(super) fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let remedy = || "write a number and a unit, such as 500ms, 60s, 5m, 1h or 1h30m".to_owned();
    if text.parse::<f64>().is_ok() {
        return Err(Fault::new(
            format!("{text:?} has no unit"),
            format!("write the unit, for example {text}s for seconds or {text}m for minutes"),
        ));
    }
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        // Advancing through the table refuses both an unknown unit and one out of order (`30m1h`, `1m1m`).
        let (Ok(number), Some((_, factor))) = (number.parse::<u64>(), units.find(|(name, _)| *name == unit)) else {
            return Err(Fault::new(format!("{text:?} is not a duration"), remedy()));
        };
        total = number.checked_mul(*factor).and_then(|n| n.checked_add(total)).unwrap_or(u64::MAX);
        rest = tail;
    }
    if text.is_empty() {
        return Err(Fault::new("the duration is empty", remedy()));
    }
    let total = Duration::from_millis(total);
    if total > LONGEST {
        return Err(Fault::new(format!("{text:?} is longer than a year"), "write a shorter duration"));
    }
    Ok(total)
}

/// Writes a duration as a configuration has it, such as `1h30m`; to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in UNITS {
        let count = rest / factor;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A range of ports, both ends included; `low` is not above `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first port.
    pub low: u16,
    /// The last port.
    pub high: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

/// Reads `49152-65535`, or a single port.
pub(super) fn parse_ports(text: &str) -> Result<PortRange, Fault> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (Ok(low), Ok(high)) = (low.trim().parse::<u16>(), high.trim().parse::<u16>()) else {
        return Err(Fault::new(
            format!("{text:?} is not a range of ports"),
            "write two ports up to 65535 with a hyphen, such as 49152-65535",
        ));
    };
    if low > high {
        return Err(Fault::new(
            format!("the range {text} ends below its beginning"),
            format!("write the lower port first: {high}-{low}"),
        ));
    }
    if low < 1024 {
        return Err(Fault::new(
            format!("the range {text} holds ports below 1024"),
            "begin at 1024 or above: lower ports belong to services, and data must never reach one (RFC 2577 §3)",
        ));
    }
    Ok(PortRange { low, high })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, millis, written) in [
            ("500ms", 500, "500ms"),
            ("60s", 60_000, "1m"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("1h30m", 5_400_000, "1h30m"),
            ("90m", 5_400_000, "1h30m"),
            ("1d12h", 129_600_000, "1d12h"),
            ("1s500ms", 1500, "1s500ms"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(format_duration(duration), written);
            assert_eq!(parse_duration(written).unwrap(), duration);
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_the_unit_to_write() {
        let fault = parse_duration("60").unwrap_err();
        assert_eq!(fault.problem, "\"60\" has no unit");
        assert_eq!(fault.remedy, "write the unit, for example 60s for seconds or 60m for minutes");
        assert!(parse_duration("1.5").unwrap_err().problem.contains("no unit"));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", "s", "5 m", "m5", "5x", "-5s", "1.5h", "30m1h", "1m1m", "5mss", "5M", "ten minutes", "1h5", "٣s"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        for text in ["367d", "99999999999999999999d", "18446744073709551615d", "18446744073709551615ms"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn port_ranges_are_read_and_written_back() {
        let range = parse_ports("49152-65535").unwrap();
        assert_eq!((range.low, range.high), (49152, 65535));
        assert_eq!(range.to_string(), "49152-65535");
        assert_eq!(parse_ports("2000").unwrap(), PortRange { low: 2000, high: 2000 });
        assert_eq!(parse_ports("1024 - 2048").unwrap(), PortRange { low: 1024, high: 2048 });
    }

    #[test]
    fn bad_port_ranges_are_refused() {
        assert!(parse_ports("50000-40000").unwrap_err().remedy.contains("40000-50000"));
        assert!(parse_ports("1000-2000").unwrap_err().problem.contains("below 1024"));
        for text in ["", "-", "a-b", "1024-65536", "1024-2048-4096", "-2000"] {
            assert!(parse_ports(text).is_err(), "{text}");
        }
    }
}
