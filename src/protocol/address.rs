//! The four notations for an address and a port, and where in the line their digits stand.
//!
//! Lives here: parsers that give a value and a span, and the writers of the same notations. Not here: whether the address
//! may be used (`session`), putting it in place (`splice`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

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
    let _ = argument;
    Err(AddressError::Syntax)
}

/// The argument of EPRT: `|family|address|port|` with any delimiter from 33 to 126 (RFC 2428 §2). The span is the whole
/// argument without trailing blanks.
///
/// # Errors
/// A family other than 1 and 2; or a syntax error, as is an address that is not of its family, one with a scope or in
/// brackets, and a port outside 1 to 65535.
pub fn eprt_argument(argument: &[u8]) -> Result<Located<SocketAddr>, AddressError> {
    let _ = argument;
    Err(AddressError::Syntax)
}

/// The text of a 227: the first six numbers joined by commas, wherever they stand, with or without parentheses
/// (RFC 1123 §4.1.2.6). `text` is the line after its code. The span is the numbers alone.
///
/// # Errors
/// No such six numbers, one above 255, or port 0.
pub fn pasv_reply(text: &[u8]) -> Result<Located<(Ipv4Addr, u16)>, AddressError> {
    let _ = text;
    Err(AddressError::Syntax)
}

/// The text of a 229: `(|||port|)` with any delimiter from 33 to 126 (RFC 2428 §3). The span is the digits of the port alone.
///
/// # Errors
/// No such text, a field before the port that is not empty, mixed delimiters, or a port outside 1 to 65535.
pub fn epsv_reply(text: &[u8]) -> Result<Located<u16>, AddressError> {
    let _ = text;
    Err(AddressError::Syntax)
}

/// `h1,h2,h3,h4,p1,p2`.
pub fn write_commas(address: Ipv4Addr, port: u16) -> String {
    let [a, b, c, d] = address.octets();
    format!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff)
}

/// `|family|address|port|`, IPv6 in its canonical text (RFC 5952).
pub fn write_eprt(address: IpAddr, port: u16) -> String {
    let family = if address.is_ipv4() { 1 } else { 2 };
    format!("|{family}|{address}|{port}|")
}
