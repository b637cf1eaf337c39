//! What is wrong with a configuration, said so that it can be put right: file, line, column, key, problem, excerpt, remedy.
//!
//! Lives here: [`Error`], its text, and the translation of the YAML reader's messages. Not here: which values are wrong
//! (`validate.rs`), where in the text a key stands (`locate.rs`).

use std::fmt;
use std::path::Path;

use super::values::Fault;

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, or "command line".
    pub file: String,
    /// Where in the text, if the fault has a place there.
    pub place: Option<Box<Place>>,
    /// The key, such as `listeners[0].mode`; empty if it is about the whole file.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Where in the text a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// That line of the text.
    pub excerpt: String,
}

impl Error {
    /// The file cannot be read.
    pub(super) fn unreadable(path: &Path, cause: &std::io::Error) -> Self {
        let remedy = match cause.kind() {
            std::io::ErrorKind::NotFound => {
                "create it (deploy/ftpgate.yaml is an example with every key), or name another file with -c FILE"
            }
            std::io::ErrorKind::PermissionDenied => "run as a user who may read it, or change its owner or mode",
            _ => "name a readable text file in UTF-8 with -c FILE",
        };
        Self::new(&path.display().to_string(), String::new(), Fault::new(format!("cannot be read: {cause}"), remedy))
    }

    /// A fault without a place in a text.
    pub(super) fn new(file: &str, key: String, fault: Fault) -> Self {
        Self { file: file.to_owned(), place: None, key, problem: fault.problem, remedy: fault.remedy }
    }

    /// The same with its place.
    pub(super) fn at(mut self, text: &str, line: usize, column: usize) -> Self {
        let excerpt = line.checked_sub(1).and_then(|n| text.lines().nth(n)).unwrap_or_default().to_owned();
        self.place = Some(Box::new(Place { line, column, excerpt }));
        self
    }

    /// What the YAML reader found wrong with the form of the text.
    pub(super) fn from_yaml(file: &str, text: &str, error: &serde_yaml::Error) -> Self {
        let message = error.to_string();
        let Some(location) = error.location() else {
            return Self::without_place(file, &message);
        };
        let (line, column) = control_character(text).unwrap_or((location.line(), location.column()));
        // "a.b: unknown field `x`, expected … at line 3 column 5"; a fault at the very start comes without its place.
        let body = message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message);
        let (path, body) = match body.split_once(": ") {
            Some((path, rest)) if !path.contains(' ') => (path, rest),
            _ => ("", body),
        };
        let (key, mut fault) = translate(path, body);
        if control_character(text).is_some() {
            fault = Fault::new(
                "a control character, which YAML does not allow",
                "remove it; in quotes it can be written as \"\\x07\"",
            );
        }
        Self::new(file, key, fault).at(text, line, column)
    }

    fn without_place(file: &str, message: &str) -> Self {
        let fault = if message.contains("EOF") {
            Fault::new("the file is empty", "start from deploy/ftpgate.yaml; at least `listeners` is needed")
        } else if message.contains("more than one document") {
            Fault::new("the file holds more than one YAML document", "remove the lines `---` after the first")
        } else {
            Fault::new(message, "see docs/configuration.md")
        };
        Self::new(file, String::new(), fault)
    }
}

/// The first character that YAML refuses anywhere; the reader tells only how many bytes it had read by then.
fn control_character(text: &str) -> Option<(usize, usize)> {
    let refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    text.lines().enumerate().find_map(|(n, line)| Some((n + 1, line.chars().position(refused)? + 1)))
}

/// From the YAML reader's words to ours.
fn translate(path: &str, body: &str) -> (String, Fault) {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(rest) = body.strip_prefix("unknown field ") {
        let mut names = rest.split('`').skip(1).step_by(2);
        let name = names.next().unwrap_or_default();
        return (join(name), unknown_key(name, &names.collect::<Vec<_>>()));
    }
    if let Some(rest) = body.strip_prefix("duplicate field ") {
        return (join(rest.trim_matches('`')), Fault::new("the key is given twice", "keep one of the two"));
    }
    if let Some((found, expected)) = body.strip_prefix("invalid type: ").and_then(|rest| rest.split_once(", expected "))
    {
        // serde calls a section by the name of our type; to a reader it is a set of keys.
        let expected = if expected.starts_with("struct ") { "a section of `key: value` pairs" } else { expected };
        let found = match found {
            "unit value" => "nothing",
            "map" => "a section",
            "sequence" => "a list",
            other => other,
        };
        return (
            path.to_owned(),
            Fault::new(
                format!("{found} where {expected} is needed"),
                "see docs/configuration.md for the form of this key",
            ),
        );
    }
    let problem = if path.is_empty() { format!("not valid YAML: {body}") } else { body.to_owned() };
    (
        path.to_owned(),
        Fault::new(
            problem,
            "check indentation (spaces only, no tabs), quotes, colons and brackets at and above this line",
        ),
    )
}

fn unknown_key(name: &str, known: &[&str]) -> Fault {
    let mut remedy = format!("known keys here: {}", known.join(", "));
    let nearest = known.iter().map(|word| (distance(name, word), word)).min();
    if let Some((edits, word)) = nearest
        && edits <= 1 + name.len() / 4
    {
        remedy = format!("did you mean `{word}`? {remedy}");
    }
    Fault::new("unknown key", remedy)
}

/// How many letters to insert, remove or replace to get from one word to the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.chars()) {
            let best = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = *cell;
            *cell = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)?;
        if let Some(place) = &self.place {
            let number = place.line.to_string();
            let margin = " ".repeat(number.len());
            // A tab would put the caret in the wrong place, and a control character does not belong on a terminal.
            let excerpt: String = place.excerpt.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            let indent = " ".repeat(place.column.saturating_sub(1));
            write!(f, "\n {number} | {excerpt}\n {margin} | {indent}^")?;
        }
        write!(f, "\n  fix: {}", self.remedy)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_place_line_caret_and_remedy() {
        let error = Error::new("f.yaml", "limits.idle".into(), Fault::new("unknown key", "remove it")).at(
            "limits:\n\tidle: 5\n",
            2,
            2,
        );
        assert_eq!(error.to_string(), "f.yaml:2:2: limits.idle: unknown key\n 2 |  idle: 5\n   |  ^\n  fix: remove it");
    }

    #[test]
    fn distances_count_edits() {
        for (a, b, edits) in [("", "", 0), ("idle", "idle", 0), ("idl", "idle", 1), ("", "abc", 3), ("mode", "node", 1)]
        {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
