//! FTP replies: codes, and where a multi-line reply begins and ends (RFC 959 §4.2).
//!
//! Lives here: [`ReplyParser`]. Not here: which command a reply answers (`session::pending`).

use serde::{Deserialize, Serialize};

use super::line;

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
    /// `nnn text`, or `nnn` alone, with the code of the first line: the reply ends here.
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
    /// Says what the next line is, given with or without its line end (RFC 959 §4.2: only the first line's own code,
    /// followed by a space, ends a multi-line reply; lines between may begin with other codes).
    pub fn feed(&mut self, line: &[u8]) -> Part {
        let parts = take_apart(line::text(line));
        let Some(code) = self.inside else {
            return match parts {
                Some((code, None | Some(b' '))) => Part::Single(code),
                Some((code, Some(b'-'))) => {
                    (self.inside, self.lines) = (Some(code), 1);
                    Part::First(code)
                }
                _ => Part::Garbage,
            };
        };
        if matches!(parts, Some((last, None | Some(b' '))) if last == code) {
            *self = Self::default();
            return Part::Last(code);
        }
        self.lines = self.lines.saturating_add(1);
        Part::Middle(code)
    }

    /// Lines of the current multi-line reply so far; 0 outside one.
    pub fn lines(&self) -> u32 {
        self.lines
    }
}

/// The three digits that a line begins with, and the byte that follows them.
fn take_apart(text: &[u8]) -> Option<(Code, Option<u8>)> {
    let (digits, after) = text.split_first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Some((Code(code), after.first().copied()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(lines: &[&str]) -> Vec<Part> {
        let mut parser = ReplyParser::default();
        lines.iter().map(|line| parser.feed(format!("{line}\r\n").as_bytes())).collect()
    }

    #[test]
    fn a_code_and_a_text_are_a_reply() {
        let parser = &mut ReplyParser::default();
        for line in [&b"226 Done.\r\n"[..], b"226 Done.\n", b"226 Done.", b"226 \r\n", b"226 "] {
            assert_eq!(parser.feed(line), Part::Single(Code(226)), "{line:?}");
            assert_eq!(parser.lines(), 0);
        }
    }

    #[test]
    fn c46_a_code_alone_is_a_reply() {
        assert_eq!(parts(&["227"]), [Part::Single(Code(227))]);
    }

    #[test]
    fn c46_what_does_not_begin_with_a_code_is_garbage() {
        for line in ["", "2", "22", "2 26", "22x text", "hello", "226text", "2267", "226\ttext", " 226 text", "+26 x"] {
            assert_eq!(parts(&[line]), [Part::Garbage], "{line:?}");
        }
    }

    #[test]
    fn c16_a_command_from_the_server_is_garbage() {
        assert_eq!(parts(&["PORT 10,0,0,5,195,80"]), [Part::Garbage]);
    }

    #[test]
    fn a_multi_line_reply_runs_to_its_own_code_and_a_space() {
        assert_eq!(
            parts(&["211-Features:", " PASV", "", "211 End", "200 ok"]),
            [
                Part::First(Code(211)),
                Part::Middle(Code(211)),
                Part::Middle(Code(211)),
                Part::Last(Code(211)),
                Part::Single(Code(200))
            ]
        );
    }

    #[test]
    fn a_multi_line_reply_ends_at_its_code_alone() {
        assert_eq!(parts(&["211-Features:", "211"]), [Part::First(Code(211)), Part::Last(Code(211))]);
    }

    #[test]
    fn c26_other_codes_inside_a_multi_line_reply_are_its_text() {
        for line in ["227 Entering Passive Mode (1,2,3,4,5,6)", "213-more", "213more", "2134", "213\tx", " 213 x", "12"]
        {
            assert_eq!(parts(&["213-Status", line]), [Part::First(Code(213)), Part::Middle(Code(213))], "{line:?}");
        }
    }

    #[test]
    fn c45_the_lines_of_a_multi_line_reply_are_counted_without_wrapping() {
        let mut parser = ReplyParser::default();
        parser.feed(b"213-Status\r\n");
        assert_eq!(parser.lines(), 1);
        parser.feed(b" text\r\n");
        assert_eq!(parser.lines(), 2);
        parser.lines = u32::MAX;
        assert_eq!(parser.feed(b" text\r\n"), Part::Middle(Code(213)));
        assert_eq!(parser.lines(), u32::MAX);
        assert_eq!(parser.feed(b"213 End\r\n"), Part::Last(Code(213)));
        assert_eq!(parser.lines(), 0);
    }

    #[test]
    fn codes_know_their_class() {
        assert!(Code(150).is_preliminary() && !Code(200).is_preliminary());
        assert!(Code(226).is_positive() && !Code(331).is_positive());
        assert!(Code(425).is_negative() && Code(550).is_negative() && !Code(600).is_negative());
    }

    proptest! {
        #[test]
        fn no_line_panics_and_lines_are_counted_only_inside(lines in any::<Vec<Vec<u8>>>()) {
            let mut parser = ReplyParser::default();
            for line in lines {
                let part = parser.feed(&line);
                prop_assert_eq!(matches!(part, Part::First(_) | Part::Middle(_)), parser.lines() > 0);
            }
        }
    }
}
