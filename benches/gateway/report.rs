//! What the figures say: the targets, met or not; tables of ratios; and putting both into the documentation.
//!
//! Lives here: the words and the Markdown. Not here: the picture (`plot.rs`), where the figures come from (`measures.rs`).

use std::fmt::Write as _;

use anyhow::{Context, Result};

use super::contestant::Kind;
use super::lab::project;
use super::measures::{Results, Spread};
use super::plot;

/// What is replaced in the documentation lies between these lines.
const BEGIN: &str = "<!-- made by make bench -->";
const END: &str = "<!-- made by make bench: end -->";
const DOCUMENT: &str = "docs/benchmarks.md";
const PICTURE: &str = "docs/benchmarks.svg";

/// Figures that are told as a multiple of direct's: less is better.
pub const TIMES: [(&str, &str); 6] = [
    ("noop", "NOOP round trip"),
    ("login", "connect, login, quit"),
    ("pasv", "1 KiB, PASV"),
    ("epsv", "1 KiB, EPSV"),
    ("port", "1 KiB, PORT"),
    ("eprt", "1 KiB, EPRT"),
];
/// Figures that are told as a share of direct's: more is better. Those of which less is better are turned round.
pub const SHARES: [(&str, &str, bool); 8] = [
    ("noops-64", "NOOP/s, 64 sessions", false),
    ("noops-64-cpu", "NOOP per processor time, 64 sessions", true),
    ("noops-1000", "NOOP/s, 1,000 sessions", false),
    ("noops-1000-cpu", "NOOP per processor time, 1,000 sessions", true),
    ("storm", "transfers/s, 64 sessions", false),
    ("storm-cpu", "transfers per processor time, 64 sessions", true),
    ("bulk", "large file, bytes/s", false),
    ("bulk-cpu", "large file, bytes per processor time", true),
];

/// A figure of a contestant beside direct's, as the tables and the picture tell it.
pub fn beside_direct(results: &Results, kind: Kind, key: &str, turned: bool) -> Option<Spread> {
    if turned { results.ratio(key, Kind::Direct, kind) } else { results.ratio(key, kind, Kind::Direct) }
}

/// How much else the machine did.
#[derive(Debug, Default)]
pub struct Load(Vec<f64>);

impl Load {
    pub fn look(&mut self) {
        let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        self.0.extend(text.split(' ').next().and_then(|word| word.parse::<f64>().ok()));
    }

    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

/// What the issue asks for, and what came out.
struct Target {
    asks: &'static str,
    found: Spread,
    limit: f64,
    at_most: bool,
}

impl Target {
    fn holds(&self, value: f64) -> bool {
        if self.at_most { value <= self.limit } else { value >= self.limit }
    }

    fn verdict(&self) -> &'static str {
        match (self.holds(self.found.median), self.holds(self.found.least) && self.holds(self.found.most)) {
            (true, true) => "met",
            (true, false) => "met by the median, not in every round",
            (false, _) if self.holds(self.found.least) || self.holds(self.found.most) => {
                "**not met** by the median, in some rounds"
            }
            (false, _) => "**not met**",
        }
    }
}

/// Everything that is told.
pub struct Report<'a> {
    results: &'a Results,
    load: &'a Load,
}

impl<'a> Report<'a> {
    pub fn new(results: &'a Results, load: &'a Load) -> Self {
        Self { results, load }
    }

    /// As Markdown.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.circumstances());
        self.targets(&mut text);
        let times = TIMES.map(|(key, title)| (key, title, false));
        let heading =
            "Time as a multiple of `direct`'s, medians of operations, everything on one core: less is better.";
        self.table(&mut text, heading, &times);
        let heading = "Share of `direct`'s, all cores free: more is better.";
        self.table(&mut text, heading, &SHARES);
        self.daemons(&mut text);
        for note in &self.results.notes {
            let _ = writeln!(text, "{note}\n");
        }
        text
    }

    /// Replaces what the last run has left in the documentation.
    pub fn write(&self) -> Result<()> {
        std::fs::write(project(PICTURE), plot::picture(self.results))?;
        let path = project(DOCUMENT);
        let document = std::fs::read_to_string(&path)?;
        let (before, rest) = document.split_once(BEGIN).with_context(|| format!("{DOCUMENT} lacks {BEGIN}"))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} lacks {END}"))?;
        let picture = "![Time and capacity beside direct routing](benchmarks.svg)";
        std::fs::write(&path, format!("{before}{BEGIN}\n\n{}\n{picture}\n\n{END}{after}", self.text()))?;
        println!("written: {DOCUMENT}, {PICTURE}");
        Ok(())
    }

    fn circumstances(&self) -> String {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let processor = read("/proc/cpuinfo");
        let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = read("/proc/sys/kernel/osrelease");
        let day = std::process::Command::new("date").args(["-u", "+%F"]).output();
        let day = day.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        let load = |choose: fn(f64, f64) -> f64| self.load.0.iter().copied().reduce(choose).unwrap_or_default();
        format!(
            "Measured {day}: {} rounds on {} cores of {}, kernel {}, load {:.1} to {:.1} (the benchmark's own and everybody else's). \
             In each round the best of three tries; \
             medians of the rounds' ratios, with the least and the greatest.",
            self.results.rounds,
            super::cores(),
            processor.map_or("an unknown processor", |(_, name)| name),
            kernel.trim().split('-').next().unwrap_or_default(),
            load(f64::min),
            load(f64::max),
        )
    }

    fn targets(&self, text: &mut String) {
        let mut rows = Vec::new();
        let mut add = |asks, found: Option<Spread>, limit, at_most| {
            rows.extend(found.map(|found| Target { asks, found, limit, at_most }));
        };
        let results = self.results;
        let (direct, kernel, ours, haproxy) = (Kind::Direct, Kind::Kernel, Kind::Ftpgate, Kind::Haproxy);
        add("1 KiB by PASV, time beside `kernel`", results.ratio("pasv", ours, kernel), 1.25, true);
        add("1 KiB by EPSV, time beside `kernel`", results.ratio("epsv", ours, kernel), 1.25, true);
        add("1 KiB by PORT, time beside `kernel`", results.ratio("port", ours, kernel), 1.25, true);
        add("1 KiB by EPRT, time beside `kernel`", results.ratio("eprt", ours, kernel), 1.25, true);
        // Capacity is what a given processor time is enough for.
        add("storm capacity beside `kernel`", results.ratio("storm-cpu", kernel, ours), 0.8, false);
        let added = |[ours, theirs, direct]: [f64; 3]| (ours - direct) / (theirs - direct);
        let noop = |key| results.combined([(ours, key), (haproxy, key), (direct, key)], added);
        add("command round trip added, 1 session, beside `haproxy`", noop("noop"), 1.0, true);
        // Each session has one command under way: the round trip is the sessions divided by the rate.
        let turned = |rates: [f64; 3]| added(rates.map(f64::recip));
        let noops = |key| results.combined([(ours, key), (haproxy, key), (direct, key)], turned);
        add("command round trip added, 64 sessions, beside `haproxy`", noops("noops-64"), 1.0, true);
        add("command round trip added, 1,000 sessions, beside `haproxy`", noops("noops-1000"), 1.0, true);
        add("connect, login, quit, time beside `haproxy`", results.ratio("login", ours, haproxy), 1.0, true);
        add("large file, bytes/s beside `kernel`", results.ratio("bulk", ours, kernel), 0.98, false);
        let relays = results.ratio("bulk", Kind::FtpgateRelay, Kind::HaproxyRelay);
        add("large file through the relay, bytes/s beside `haproxy-relay`", relays, 1.0, false);
        if rows.is_empty() {
            return;
        }
        text.push_str("| target | asked | measured | |\n|---|---|---|---|\n");
        for row in rows {
            let sign = if row.at_most { "≤" } else { "≥" };
            let _ =
                writeln!(text, "| {} | {sign} {:.2} | {} | {} |", row.asks, row.limit, shown(row.found), row.verdict());
        }
        text.push('\n');
    }

    fn table(&self, text: &mut String, heading: &str, figures: &[(&str, &str, bool)]) {
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| *kind != Kind::Direct)
            .filter(|kind| figures.iter().any(|(key, ..)| self.results.figure(*kind, key).is_some()))
            .collect();
        if kinds.is_empty() {
            return;
        }
        let names: String = kinds.iter().map(|kind| format!(" `{}` |", kind.name())).collect();
        let _ = writeln!(text, "{heading}\n\n| |{names}\n|---|{}", "---|".repeat(kinds.len()));
        for (key, title, turned) in figures {
            let cells: Vec<Option<Spread>> =
                kinds.iter().map(|kind| beside_direct(self.results, *kind, key, *turned)).collect();
            if cells.iter().any(Option::is_some) {
                let cells: String =
                    cells.into_iter().map(|cell| format!(" {} |", cell.map_or("-".to_owned(), shown))).collect();
                let _ = writeln!(text, "| {title} |{cells}");
            }
        }
        text.push('\n');
    }

    /// The only figure that is no ratio: the issue wants it stated.
    fn daemons(&self, text: &mut String) {
        let mut told = false;
        for kind in Kind::ALL {
            let Some(cost) = self.results.figure(kind, "storm-gateway").filter(|cost| cost.most > 0.0) else {
                continue;
            };
            if !told {
                text.push_str(
                    "Processor time of the gateway's processes for 1,000 transfers in the storm, in seconds:\n\n",
                );
                told = true;
            }
            let cost = Spread { least: cost.least * 1e3, median: cost.median * 1e3, most: cost.most * 1e3 };
            let refused = self.results.refused.get(&kind).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "- `{}`: {:.3} ({:.3} to {:.3}); announcements refused with 425 and repeated: {refused}",
                kind.name(),
                cost.median,
                cost.least,
                cost.most,
            );
        }
        if told {
            text.push('\n');
        }
    }
}

fn shown(spread: Spread) -> String {
    // Two digits behind the point, but no more than three that count.
    let digits = if spread.median >= 10.0 { 0 } else { 2 };
    format!("{:.digits$} ({:.digits$} to {:.digits$})", spread.median, spread.least, spread.most)
}
