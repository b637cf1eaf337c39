//! The four notations for an address and a port, and where in the line their digits stand.
//!
//! Lives here: parsers that give a value and a span, and the writers of the same notations. Not here: whether the address
//! may be used (`session`), putting it in place (`splice`).

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

/// Bytes of the longest notation: EPRT with eight groups of four digits and a port of five.
const LONGEST: usize = 49;

/// A value, and the bytes of the line that stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// What it says.
    pub value: T,
    /// Where it stands in the slice that was parsed.
    pub span: Range<usize>,
}

/// Why there is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressError {
    /// Not the notation, or a number out of its range, or port 0.
    Syntax,
    /// A family other than 1 (IPv4) and 2 (IPv6) (RFC 2428 §2).
    UnknownFamily,
}

/// The argument of PORT: `h1,h2,h3,h4,p1,p2` (RFC 959 §4.1.2). Trailing blanks are tolerated; the span leaves them out.
///
/// # Errors
/// Anything but six decimal numbers of one to three digits, each at most 255, or port 0.
pub fn port_argument(argument: &[u8]) -> Result<Located<(Ipv4Addr, u16)>, AddressError> {
    let notation = without_trailing_blanks(argument);
    Ok(Located { value: six_numbers(notation)?, span: 0..notation.len() })
}

/// The argument of EPRT: `|family|address|port|` with any delimiter from 33 to 126 (RFC 2428 §2). The span is the whole
/// argument without trailing blanks. An address keeps its family: `::ffff:10.0.0.1` is given as the IPv6 address that it is.
///
/// # Errors
/// A family other than 1 and 2; or a syntax error, as is an address that is not of its family, one with a scope or in
/// brackets, a port outside 1 to 65535, and a delimiter that can stand in an address.
pub fn eprt_argument(argument: &[u8]) -> Result<Located<SocketAddr>, AddressError> {
    let notation = without_trailing_blanks(argument);
    let delimiter = *notation.first().ok_or(AddressError::Syntax)?;
    if !is_delimiter(delimiter) || delimiter.is_ascii_hexdigit() || matches!(delimiter, b'.' | b':') {
        return Err(AddressError::Syntax);
    }
    let mut fields = notation.split(|&byte| byte == delimiter);
    let fields = [fields.next(), fields.next(), fields.next(), fields.next(), fields.next(), fields.next()];
    let [Some(b""), Some(family), Some(address), Some(port), Some(b""), None] = fields else {
        return Err(AddressError::Syntax);
    };
    let address = match family {
        b"1" => parse::<Ipv4Addr>(address)?.into(),
        b"2" => parse::<Ipv6Addr>(address)?.into(),
        // Nothing can be said of the address of a family that we do not know.
        _ if family.iter().all(u8::is_ascii_digit) => return Err(AddressError::UnknownFamily),
        _ => return Err(AddressError::Syntax),
    };
    Ok(Located { value: SocketAddr::new(address, port_number(port)?), span: 0..notation.len() })
}

/// The text of a 227: the first six numbers joined by commas, wherever they stand, with or without parentheses
/// (RFC 1123 §4.1.2.6). `text` is the line after its code. The span is the numbers alone.
///
/// # Errors
/// No such six numbers, more than six, numbers that a letter or a sign touches (`-10`, `0x10`), one above 255 or longer than
/// three digits, or port 0.
pub fn pasv_reply(text: &[u8]) -> Result<Located<(Ipv4Addr, u16)>, AddressError> {
    let mut from = 0;
    while let Some(run) = next_run(text, from) {
        from = run.end;
        let notation = text.get(run.clone()).unwrap_or_default();
        if memchr::memchr_iter(b',', notation).count() < 5 {
            continue;
        }
        let before = run.start.checked_sub(1).and_then(|at| text.get(at));
        let touches = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-');
        if before.is_some_and(touches) || text.get(run.end).is_some_and(touches) {
            return Err(AddressError::Syntax);
        }
        return Ok(Located { value: six_numbers(notation)?, span: run });
    }
    Err(AddressError::Syntax)
}

/// The text of a 229: `(|||port|)` with any delimiter from 33 to 126 (RFC 2428 §3) but a digit. `text` is the line after its
/// code; the first parenthesis counts whose content is of this form. The span is the digits of the port alone.
///
/// # Errors
/// No such text, a field before the port that is not empty, mixed delimiters, or a port outside 1 to 65535.
pub fn epsv_reply(text: &[u8]) -> Result<Located<u16>, AddressError> {
    for open in memchr::memchr_iter(b'(', text) {
        let start = open + 4;
        let Some(&[first, second, third]) = text.get(open + 1..start) else { break };
        if !is_delimiter(first) || first.is_ascii_digit() || second != first || third != first {
            continue;
        }
        let digits = text.iter().skip(start).take_while(|byte| byte.is_ascii_digit()).count();
        let end = start + digits;
        if text.get(end..end + 2) != Some(&[first, b')']) {
            continue;
        }
        let value = port_number(text.get(start..end).unwrap_or_default())?;
        return Ok(Located { value, span: start..end });
    }
    Err(AddressError::Syntax)
}

/// `h1,h2,h3,h4,p1,p2`.
pub fn write_commas(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    let [high, low] = port.to_be_bytes();
    written(format_args!("{a},{b},{c},{d},{high},{low}"))
}

/// `|family|address|port|`, IPv6 in its canonical text (RFC 5952).
pub fn write_eprt(address: IpAddr, port: u16) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    written(format_args!("|{family}|{address}|{port}|"))
}

/// In one piece of memory: `format!` begins with less than these need.
fn written(text: fmt::Arguments<'_>) -> String {
    let mut written = String::with_capacity(LONGEST);
    // Writing to a String does not fail.
    let _ = written.write_fmt(text);
    written
}

/// `h1,h2,h3,h4,p1,p2` and nothing around it.
fn six_numbers(notation: &[u8]) -> Result<(Ipv4Addr, u16), AddressError> {
    let mut numbers = [0; 6];
    let mut fields = notation.split(|&byte| byte == b',');
    for number in &mut numbers {
        let value = fields.next().and_then(|field| decimal(field, 3)).ok_or(AddressError::Syntax)?;
        *number = u8::try_from(value).map_err(|_| AddressError::Syntax)?;
    }
    let [a, b, c, d, high, low] = numbers;
    match (u16::from_be_bytes([high, low]), fields.next()) {
        (0, _) | (_, Some(_)) => Err(AddressError::Syntax),
        (port, None) => Ok((Ipv4Addr::new(a, b, c, d), port)),
    }
}

/// Where at or after `from` the next numbers joined by single commas stand, as many as there are.
fn next_run(text: &[u8], from: usize) -> Option<Range<usize>> {
    let digit_at = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let start = (from..text.len()).find(|&at| digit_at(at))?;
    let in_run = |at: usize| digit_at(at) || (text.get(at) == Some(&b',') && digit_at(at - 1) && digit_at(at + 1));
    let end = (start..text.len()).find(|&at| !in_run(at)).unwrap_or(text.len());
    Some(start..end)
}

/// A port from 1 to 65535 in one to five digits.
fn port_number(digits: &[u8]) -> Result<u16, AddressError> {
    let value = decimal(digits, 5).ok_or(AddressError::Syntax)?;
    u16::try_from(value).ok().filter(|&port| port != 0).ok_or(AddressError::Syntax)
}

/// A number of one to `at_most` decimal digits and nothing else: no sign, no blank, no `0x`; leading zeros mean nothing.
/// With at most five digits it cannot overflow.
fn decimal(digits: &[u8], at_most: usize) -> Option<u32> {
    if digits.is_empty() || digits.len() > at_most.min(5) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0')))
}

/// An address as the standard library reads it, which is strictly: no scope, no brackets, no leading zeros.
fn parse<T: FromStr>(text: &[u8]) -> Result<T, AddressError> {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(AddressError::Syntax)
}

fn is_delimiter(byte: u8) -> bool {
    (33..=126).contains(&byte)
}

fn without_trailing_blanks(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests;
