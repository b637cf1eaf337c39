//! Bytes of a peer, made fit for a log line.
//!
//! Lives here: [`printable`]. A client that writes escape sequences, line ends or bidirectional overrides into a command must
//! not be able to forge a log line or move the cursor of whoever reads it (attack C55, CVE-2004-0448). Not here: deciding what
//! is logged at all; passwords never are.

use std::fmt::{self, Write};

/// The most bytes of one value that are worth reading.
const LONGEST: usize = 256;

/// Shows bytes as text: letters and signs of any language as they are, everything else escaped, cut after 256 bytes.
pub fn printable(bytes: &[u8]) -> Printable<'_> {
    Printable(bytes)
}

/// See [`printable`].
#[derive(Clone, Copy)]
pub struct Printable<'a>(&'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.get(..LONGEST).unwrap_or(self.0);
        for chunk in shown.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // escape_debug would escape these too, for the sake of Rust's literals.
                    '\'' | '"' => f.write_char(c)?,
                    _ => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, "… ({more} more bytes)"),
        }
    }
}

impl fmt::Debug for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_and_the_rest_is_escaped() {
        for (bytes, text) in [
            (&b"RETR it's \"a b\""[..], "RETR it's \"a b\""),
            ("STOR Größe 文".as_bytes(), "STOR Größe 文"),
            (b"a\r\nb\t\0", "a\\r\\nb\\t\\0"),
            (b"\x1b[2J\x07\x7f", "\\u{1b}[2J\\u{7}\\u{7f}"),
            (b"\xff\xfbx\xc3", "\\xff\\xfbx\\xc3"),
            ("\u{202e}gpj\u{9b}".as_bytes(), "\\u{202e}gpj\\u{9b}"),
            (b"a\\r", "a\\\\r"),
            (b"", ""),
        ] {
            assert_eq!(printable(bytes).to_string(), text);
        }
    }

    #[test]
    fn long_values_are_cut() {
        let text = printable(&[b'x'; 300]).to_string();
        assert_eq!(text, format!("{}… (44 more bytes)", "x".repeat(256)));
    }

    #[test]
    fn no_byte_comes_out_as_a_control_character() {
        for byte in 0..=255u8 {
            assert!(!printable(&[byte]).to_string().contains(char::is_control), "{byte}");
        }
    }
}
