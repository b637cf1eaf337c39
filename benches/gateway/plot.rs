//! The picture: bars beside direct routing, with the spread of the rounds, as SVG.
//!
//! Lives here: geometry and colours. Not here: which figures (`report.rs`).

use std::fmt::Write as _;

use super::contestant::Kind;
use super::measures::{Results, Spread};
use super::report::{SHARES, TIMES, beside_direct};

const WIDTH: f64 = 900.0;
/// Where bars begin, and how long the longest may be.
const LEFT: f64 = 290.0;
const LENGTH: f64 = 500.0;
const BAR: f64 = 13.0;
const GAP: f64 = 9.0;
/// Times beyond this are cut off, with their number beside them.
const MOST_TIMES: f64 = 4.0;
const MOST_SHARE: f64 = 1.2;

/// Colours that are told apart by those who see red and green alike.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "#000000",
        Kind::Kernel => "#999999",
        Kind::Ftpgate => "#0072b2",
        Kind::FtpgateRelay => "#56b4e9",
        Kind::Haproxy => "#e69f00",
        Kind::HaproxyNat => "#f0d9a0",
        Kind::HaproxyRelay => "#d55e00",
        Kind::ModProxy => "#cc79a7",
        Kind::ProxySuite => "#009e73",
    }
}

/// The whole file.
pub fn picture(results: &Results) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    y = legend(&mut body, results, y);
    let times = TIMES.map(|(key, title)| (key, title, false));
    let heading = "Time as a multiple of direct routing's, one core (less is better)";
    y = panel(&mut body, results, y, heading, &times, MOST_TIMES);
    let heading = "Share of direct routing's, all cores (more is better)";
    y = panel(&mut body, results, y, heading, &SHARES, MOST_SHARE);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <!-- made by make bench -->\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Those that have figures.
fn kinds(results: &Results) -> impl Iterator<Item = Kind> {
    let keys = || TIMES.iter().map(|(key, _)| *key).chain(SHARES.iter().map(|(key, ..)| *key));
    let measured = move |kind: &Kind| keys().any(|key| results.figure(*kind, key).is_some());
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Direct).filter(measured)
}

fn legend(body: &mut String, results: &Results, y: f64) -> f64 {
    for (at, kind) in (0_u32..).zip(kinds(results)) {
        let x = 20.0 + 120.0 * f64::from(at);
        let _ =
            writeln!(body, "<rect x=\"{x}\" y=\"{}\" width=\"13\" height=\"13\" fill=\"{}\"/>", y - 11.0, colour(kind));
        let _ = writeln!(body, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 19.0, kind.name());
    }
    y + 16.0
}

fn panel(
    body: &mut String,
    results: &Results,
    top: f64,
    heading: &str,
    figures: &[(&str, &str, bool)],
    most: f64,
) -> f64 {
    let mut y = top + 24.0;
    let _ = writeln!(body, "<text x=\"20\" y=\"{y}\" font-weight=\"bold\">{heading}</text>");
    y += 14.0;
    let begin = y;
    for (key, title, turned) in figures {
        let bars: Vec<(Kind, Spread)> =
            kinds(results).filter_map(|kind| Some((kind, beside_direct(results, kind, key, *turned)?))).collect();
        if bars.is_empty() {
            continue;
        }
        let middle = y + BAR * bars.len() as f64 / 2.0 + 4.0;
        let _ = writeln!(body, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{title}</text>", LEFT - 10.0);
        for (kind, spread) in bars {
            bar(body, y, kind, spread, most);
            y += BAR;
        }
        y += GAP;
    }
    // Direct routing itself.
    let one = LEFT + LENGTH / most;
    let _ = writeln!(
        body,
        "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#000000\" stroke-dasharray=\"4 3\"/>",
        begin - 4.0,
        y - GAP + 4.0
    );
    y
}

fn bar(body: &mut String, y: f64, kind: Kind, spread: Spread, most: f64) {
    let along = |value: f64| value.min(most) / most * LENGTH;
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\" fill=\"{}\"/>",
        along(spread.median),
        BAR - 2.0,
        colour(kind)
    );
    let (from, to, middle) = (LEFT + along(spread.least), LEFT + along(spread.most), y + (BAR - 2.0) / 2.0);
    let _ = writeln!(
        body,
        "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#000000\" stroke-width=\"1.5\"/>"
    );
    let digits = if spread.median >= 10.0 { 0 } else { 2 };
    let _ = writeln!(
        body,
        "<text x=\"{:.1}\" y=\"{}\" font-size=\"11\">{:.digits$}</text>",
        LEFT + along(spread.median.max(spread.most)) + 6.0,
        y + BAR - 3.0,
        spread.median
    );
}
