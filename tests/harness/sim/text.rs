//! FTP as a peer reads it: the simulation's own view of lines, replies and addresses.
//!
//! Written apart from `src/protocol`, so that a mistake there is not repeated here; it need not be complete, only right for
//! what the models say. Not here: the models.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Whole lines out of a stream.
#[derive(Default)]
pub struct Lines {
    kept: Vec<u8>,
}

impl Lines {
    /// The lines that `bytes` complete, with their line ends.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.kept.extend_from_slice(bytes);
        let Some(last) = self.kept.iter().rposition(|&byte| byte == b'\n') else { return Vec::new() };
        let rest = self.kept.split_off(last + 1);
        let whole = std::mem::replace(&mut self.kept, rest);
        whole.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
    }
}

/// What a line is to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The last line of a reply, or its only one.
    Final(u16),
    /// A line inside a multi-line reply, or the first of one.
    Inside(u16),
    /// No reply.
    Stray,
}

/// Follows multi-line replies.
#[derive(Default)]
pub struct Replies {
    inside: Option<u16>,
}

impl Replies {
    /// What this line is.
    pub fn role(&mut self, line: &[u8]) -> Role {
        let text = String::from_utf8_lossy(line);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let code = text
            .get(..3)
            .filter(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|code| code.parse().unwrap());
        let ends = matches!(text.as_bytes().get(3), None | Some(b' '));
        match (self.inside, code) {
            (Some(inside), Some(code)) if code == inside && ends => {
                self.inside = None;
                Role::Final(code)
            }
            (Some(inside), _) => Role::Inside(inside),
            (None, Some(code)) if ends => Role::Final(code),
            (None, Some(code)) if text.as_bytes()[3] == b'-' => {
                self.inside = Some(code);
                Role::Inside(code)
            }
            (None, _) => Role::Stray,
        }
    }
}

/// Whether a sloppy client could take the line for a passive reply.
pub fn looks_passive(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    [b"227", b"228", b"229"].iter().any(|code| text.starts_with(*code))
}

/// The first six numbers joined by commas, as any client finds them.
pub fn six_numbers(line: &[u8]) -> Option<SocketAddr> {
    let text: String =
        line.iter().map(|&byte| if byte.is_ascii_digit() || byte == b',' { char::from(byte) } else { ' ' }).collect();
    text.split(' ').find_map(|word| {
        let numbers: Vec<u16> = word.split(',').filter_map(|number| number.parse().ok()).collect();
        let [a, b, c, d, high, low] = numbers[..] else { return None };
        let octet = |number: u16| u8::try_from(number).unwrap_or(0);
        Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(octet(a), octet(b), octet(c), octet(d))), high * 256 + low))
    })
}

/// The port of a 229.
pub fn extended_port(line: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(line);
    let inside = text.split_once('(')?.1.split_once(')')?.0;
    inside.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

/// The address of an EPRT.
pub fn extended_address(argument: &str) -> Option<SocketAddr> {
    let fields: Vec<&str> = argument.trim().split('|').collect();
    let [_, _, address, port, _] = fields[..] else { return None };
    Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?))
}

/// `h1,h2,h3,h4,p1,p2`.
pub fn commas(address: SocketAddr) -> String {
    let port = address.port();
    format!("{},{},{}", address.ip().to_string().replace('.', ","), port / 256, port % 256)
}

/// `|family|address|port|`.
pub fn bars(address: SocketAddr) -> String {
    format!("|{}|{}|{}|", if address.is_ipv4() { 1 } else { 2 }, address.ip(), address.port())
}

/// Verb in upper case, and argument.
pub fn verb_and_argument(line: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(line).trim().to_owned();
    match text.split_once([' ', '\t']) {
        Some((verb, argument)) => (verb.to_ascii_uppercase(), argument.to_owned()),
        None => (text.to_ascii_uppercase(), String::new()),
    }
}

/// The mark that the polite server puts into each reply: `[number verb argument]`.
pub fn mark(line: &[u8]) -> Option<(u32, String)> {
    let text = String::from_utf8_lossy(line);
    let inside = text.split_once('[')?.1.split_once(']')?.0;
    let (number, command) = inside.split_once(' ')?;
    Some((number.parse().ok()?, command.to_owned()))
}

/// Without Telnet commands before it.
pub fn without_telnet(mut line: &[u8]) -> &[u8] {
    while let [0xff, 0xfb..=0xfe, _, rest @ ..] | [0xff, 0xf0..=0xf9, rest @ ..] = line {
        line = rest;
    }
    line
}
