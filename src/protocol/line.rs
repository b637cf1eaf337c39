//! Lines out of a byte stream.
//!
//! Lives here: [`LineBuffer`], which keeps an unfinished line between two reads and nothing else. Not here: what a line
//! means (`command`, `reply`), Telnet (`telnet`).
//!
//! RFC 1123 §4.1.2.10: a read boundary is no line boundary; one read may hold half a line or several. A line ends with
//! LF; the CR before it is part of the line end (RFC 959 §5.3.1), and a lone LF is tolerated.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What stands at the front of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole line with its line end, and what follows it.
    Line(&'a [u8], &'a [u8]),
    /// A line longer than the limit. Its first `limit` bytes (no line end), and what follows those; the rest of the line is
    /// skipped, by this call and later ones, and never seen.
    TooLong(&'a [u8], &'a [u8]),
    /// No whole line: keep this with [`LineBuffer::keep`] until more comes.
    Partial(&'a [u8]),
}

/// The unfinished line of one direction. Empty, it owns no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineBuffer {
    kept: Vec<u8>,
    /// Inside a line that was too long: everything up to the next LF is dropped.
    skipping: bool,
}

impl LineBuffer {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of bytes kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// What was kept followed by `data`; without a copy when nothing was kept.
    pub fn join<'a>(&mut self, data: &'a [u8]) -> Cow<'a, [u8]> {
        if self.kept.is_empty() {
            return Cow::Borrowed(data);
        }
        let mut joined = std::mem::take(&mut self.kept);
        joined.extend_from_slice(data);
        Cow::Owned(joined)
    }

    /// Takes the next line off `input`. `limit` counts the bytes of a line without its line end.
    pub fn next<'a>(&mut self, input: &'a [u8], limit: usize) -> Next<'a> {
        let mut input = input;
        if self.skipping {
            match memchr::memchr(b'\n', input) {
                Some(end) => {
                    self.skipping = false;
                    input = input.get(end + 1..).unwrap_or_default();
                }
                None => return Next::Partial(&[]),
            }
        }
        let (line, rest) = match memchr::memchr(b'\n', input) {
            Some(end) => input.split_at(end + 1),
            // The longest line that may still be within the limit is `limit` bytes, CR, and a LF that is yet to come.
            None if input.len() <= limit.saturating_add(1) => return Next::Partial(input),
            None => {
                self.skipping = true;
                return Next::TooLong(input.get(..limit).unwrap_or(input), &[]);
            }
        };
        if text(line).len() <= limit {
            return Next::Line(line, rest);
        }
        Next::TooLong(line.get(..limit).unwrap_or(line), rest)
    }

    /// Keeps what [`LineBuffer::next`] left over. `joined` is where `rest` points into, `rest_len` counts its last bytes that
    /// are left. The allocation of `joined` is used again only if all of it is left: a few bytes must not hold on to the
    /// memory of a large read for as long as the session is idle.
    pub fn keep(&mut self, joined: Cow<'_, [u8]>, rest_len: usize) {
        let start = joined.len().saturating_sub(rest_len);
        self.kept = match joined {
            _ if rest_len == 0 => Vec::new(),
            Cow::Owned(joined) if start == 0 => joined,
            joined => joined.get(start..).unwrap_or_default().to_vec(),
        };
    }
}

/// A line without its line end: CRLF or a lone LF. A CR that no LF follows belongs to the line, so doing this twice is the
/// same as once and never turns `\r\r\n` into a clean line end.
pub fn text(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

#[cfg(test)]
mod tests;
