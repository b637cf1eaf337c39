//! The PROXY protocol header, versions 1 and 2: what a load balancer puts before the first byte of its client.
//!
//! Lives here: [`Reader`], which takes a header out of a stream byte by byte and never more than the header; [`addresses`], which
//! says whether what it names can be; [`write()`], which makes one. Source: HAProxy's `doc/proxy-protocol.txt`, sections by number
//! below. Not here: whom to believe, how long to wait (`proxy::header`).
//!
//! Our own, because the crates for it want a whole header in one buffer, do not tell one fault from another, and take what the
//! specification forbids. One of them is the oracle of the tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// §2.1: the longest line of version 1 in bytes, its CRLF included.
pub const LONGEST_V1: usize = 107;

/// The longest header of version 2 that is read, in bytes. The format allows 65,551; senders stay below 536 (§2.2), or add a
/// client's certificate names. What follows the addresses is skipped without being kept.
pub const LONGEST_V2: usize = 4096;

/// §2.1: how version 1 begins.
const SIGNATURE_V1: &[u8] = b"PROXY ";

/// §2.2: how version 2 begins: what no protocol of lines survives.
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// §2.2: signature, command, family and length.
const FIXED_V2: usize = 16;

/// Which of the two formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// On behalf of a client that the sender accepted.
    Proxied {
        /// Who dialled the sender.
        client: SocketAddr,
        /// The address of the sender that it dialled.
        dialled: SocketAddr,
    },
    /// On the sender's own behalf, such as a health check: `LOCAL`, `UNKNOWN`, or no address family.
    Local,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes are those of something else.
    Missing,
    /// It begins as one and goes on as none.
    Malformed,
    /// Longer than [`LONGEST_V1`] or [`LONGEST_V2`].
    Oversized,
    /// Not TCP over IPv4 or IPv6: datagrams, Unix sockets, a mixture.
    Family,
    /// An address that no client or server of a TCP connection has.
    Address,
}

/// Takes one header out of a stream, however that was cut. Knows at each byte whether the next still belongs to it.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The bytes so far, except what is skipped.
    kept: [u8; LONGEST_V1],
    /// How many there were, skipped ones too.
    count: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { kept: [0; LONGEST_V1], count: 0 }
    }
}

impl Reader {
    /// How many bytes were taken.
    pub fn taken(&self) -> usize {
        self.count
    }

    /// Takes what belongs to the header from the front of `bytes`: how many they are, and the header once it is complete. All of
    /// them and `None`: there is more to come. A reader that has given a header has done its work.
    ///
    /// # Errors
    /// It is none. The bytes are then nobody's: the connection is to be closed.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Header>), Fault> {
        for (at, byte) in bytes.iter().enumerate() {
            if let Some(header) = self.push(*byte)? {
                return Ok((at + 1, Some(header)));
            }
        }
        Ok((bytes.len(), None))
    }

    fn push(&mut self, byte: u8) -> Result<Option<Header>, Fault> {
        let before = self.kept.get(self.count.wrapping_sub(1)).copied();
        if let Some(place) = self.kept.get_mut(self.count) {
            *place = byte;
        }
        self.count += 1;
        let so_far = self.kept.get(..self.count).unwrap_or(&self.kept);
        if so_far.starts_with(SIGNATURE_V1) {
            return match (before, byte) {
                (Some(b'\r'), b'\n') => line(so_far).map(Some),
                // A line has one end, and its characters are those of numbers and addresses: no other CR, no other LF.
                (Some(b'\r'), _) | (_, b'\n') => Err(Fault::Malformed),
                _ if self.count == LONGEST_V1 => Err(Fault::Oversized),
                _ => Ok(None),
            };
        }
        if so_far.starts_with(SIGNATURE_V2) {
            return binary(so_far, self.count);
        }
        let hopeful = SIGNATURE_V1.starts_with(so_far) || SIGNATURE_V2.starts_with(so_far);
        if hopeful { Ok(None) } else { Err(Fault::Missing) }
    }
}

/// §2.1: a complete line.
fn line(line: &[u8]) -> Result<Header, Fault> {
    let rest = line.get(SIGNATURE_V1.len()..line.len() - 2).unwrap_or_default();
    // What follows UNKNOWN is to be ignored, whatever it is.
    if rest == b"UNKNOWN" || rest.starts_with(b"UNKNOWN ") {
        return Ok(Header::Local);
    }
    let text = std::str::from_utf8(rest).map_err(|_| Fault::Malformed)?;
    let mut fields = text.split(' ');
    let mut next = || fields.next().ok_or(Fault::Malformed);
    let (family, client, dialled, client_port, dialled_port) = (next()?, next()?, next()?, next()?, next()?);
    if fields.next().is_some() {
        return Err(Fault::Malformed);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    // "Leading zeroes are not permitted", and neither is the sign that `parse` would take.
    let port = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse().ok().filter(|_| plain)
    };
    let end = |ip: &str, number: &str| Some(SocketAddr::new(address(ip)?, port(number)?));
    let client = end(client, client_port).ok_or(Fault::Malformed)?;
    let dialled = end(dialled, dialled_port).ok_or(Fault::Malformed)?;
    Ok(Header::Proxied { client, dialled })
}

/// §2.2: `so_far` are the first of `count` bytes, the signature among them.
fn binary(so_far: &[u8], count: usize) -> Result<Option<Header>, Fault> {
    let at = |index: usize| so_far.get(index).copied();
    let proxied = match at(12) {
        None => return Ok(None),
        Some(0x20) => false,
        Some(0x21) => true,
        // "Receivers must drop connections presenting unexpected values here."
        Some(_) => return Err(Fault::Malformed),
    };
    // The family of LOCAL is to be ignored; UNSPEC is what version 1 calls UNKNOWN.
    let addresses = match at(13) {
        None => return Ok(None),
        Some(0x11) if proxied => 12,
        Some(0x21) if proxied => 36,
        Some(0x00) => 0,
        Some(_) if proxied => return Err(Fault::Family),
        Some(_) => 0,
    };
    let (Some(high), Some(low)) = (at(14), at(15)) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < addresses {
        return Err(Fault::Malformed);
    }
    if FIXED_V2 + length > LONGEST_V2 {
        return Err(Fault::Oversized);
    }
    if count < FIXED_V2 + length {
        return Ok(None);
    }
    let block = so_far.get(FIXED_V2..FIXED_V2 + addresses).unwrap_or_default();
    Ok(Some(match addresses {
        12 => pair::<4>(block, |bytes| IpAddr::from(*bytes)).ok_or(Fault::Malformed)?,
        36 => pair::<16>(block, |bytes| IpAddr::from(*bytes)).ok_or(Fault::Malformed)?,
        _ => Header::Local,
    }))
}

/// §2.2: both addresses, then both ports.
fn pair<const N: usize>(block: &[u8], ip: impl Fn(&[u8; N]) -> IpAddr) -> Option<Header> {
    let (client, rest) = block.split_first_chunk::<N>()?;
    let (dialled, rest) = rest.split_first_chunk::<N>()?;
    let [a, b, c, d] = rest else { return None };
    Some(Header::Proxied {
        client: SocketAddr::new(ip(client), u16::from_be_bytes([*a, *b])),
        dialled: SocketAddr::new(ip(dialled), u16::from_be_bytes([*c, *d])),
    })
}

/// The two addresses of a header, never IPv4-mapped, if a TCP connection can be between them. `sender`: who sent the header; only a
/// program on this host can know of a connection on this host's loopback interface.
///
/// # Errors
/// [`Fault::Family`], [`Fault::Address`].
pub fn addresses(client: SocketAddr, dialled: SocketAddr, sender: IpAddr) -> Result<(SocketAddr, SocketAddr), Fault> {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (client, dialled) = (canonical(client), canonical(dialled));
    if client.is_ipv6() != dialled.is_ipv6() {
        return Err(Fault::Family);
    }
    let can_be = |address: SocketAddr| {
        let ip = address.ip();
        let nobody = match ip {
            // 0.0.0.0/8 is "this network" (RFC 1122 §3.2.1.3).
            IpAddr::V4(ip) => ip.octets()[0] == 0 || ip.is_broadcast(),
            IpAddr::V6(_) => ip.is_unspecified(),
        };
        let local = ip.is_loopback() && !sender.to_canonical().is_loopback();
        address.port() != 0 && !nobody && !local && !ip.is_multicast()
    };
    if can_be(client) && can_be(dialled) { Ok((client, dialled)) } else { Err(Fault::Address) }
}

/// A header on behalf of a client. Addresses of two families are both written as IPv6, IPv4-mapped, as HAProxy does.
pub fn write(version: Version, client: SocketAddr, dialled: SocketAddr) -> Vec<u8> {
    let ports = (client.port(), dialled.port());
    let six = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match (version, client.ip(), dialled.ip()) {
        (Version::V1, IpAddr::V4(from), IpAddr::V4(to)) => {
            format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1).into_bytes()
        }
        (Version::V1, from, to) => {
            format!("PROXY TCP6 {} {} {} {}\r\n", six(from), six(to), ports.0, ports.1).into_bytes()
        }
        (Version::V2, IpAddr::V4(from), IpAddr::V4(to)) => binary_of(0x11, &from.octets(), &to.octets(), ports),
        (Version::V2, from, to) => binary_of(0x21, &six(from).octets(), &six(to).octets(), ports),
    }
}

fn binary_of(family: u8, client: &[u8], dialled: &[u8], ports: (u16, u16)) -> Vec<u8> {
    let length: u16 = if family == 0x11 { 12 } else { 36 };
    let parts: [&[u8]; 7] = [
        SIGNATURE_V2,
        &[0x21, family],
        &length.to_be_bytes(),
        client,
        dialled,
        &ports.0.to_be_bytes(),
        &ports.1.to_be_bytes(),
    ];
    parts.concat()
}

#[cfg(test)]
mod tests;
