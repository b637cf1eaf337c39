//! `user@host:port`: how a client that dials a gateway names the server it wants, in the argument of USER.
//!
//! Lives here: [`split`], [`Destination`], and what a host name is ([`host_name`]). Not here: whether that server may be reached
//! (`policy`), looking names up (`proxy`). No RFC has this notation; ftp.proxy, frox and proxy-suite read it, FileZilla and lftp
//! write it.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The port of FTP (RFC 959 §8).
pub const FTP: u16 = 21;

/// A server as a client names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Destination {
    /// Which host.
    pub host: Host,
    /// Which port; never 0.
    pub port: u16,
}

/// A host as a client names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Host {
    /// By its address, which is no IPv4-mapped IPv6 one.
    Address(IpAddr),
    /// By its name: see [`host_name`].
    Name(String),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

/// Why an argument names no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There is no `@`.
    NoHost,
    /// Nothing stands before the `@`.
    NoUser,
    /// What stands behind it is neither an address nor a name.
    Host,
    /// The port is no number from 1 to 65535.
    Port,
    /// A control character in the user's name.
    Control,
}

/// Takes `user@host`, `user@host:port`, `user@host port`, `user@[IPv6]:port` apart, at the last `@`: user names have some of their
/// own. The host is read strictly: an IPv4 address has four decimal numbers and nothing else is one, because resolvers take
/// `127.1`, `0x7f.1` and `2130706433` for 127.0.0.1.
///
/// # Errors
/// The first thing that is wrong.
pub fn split(argument: &[u8]) -> Result<(&[u8], Destination), Malformed> {
    let argument = argument.trim_ascii();
    let at = memchr::memrchr(b'@', argument).ok_or(Malformed::NoHost)?;
    let user = argument.get(..at).unwrap_or_default();
    let place = argument.get(at + 1..).unwrap_or_default();
    if user.trim_ascii().is_empty() {
        return Err(Malformed::NoUser);
    }
    if user.iter().any(u8::is_ascii_control) {
        return Err(Malformed::Control);
    }
    let place = str::from_utf8(place).map_err(|_| Malformed::Host)?.trim_ascii();
    Ok((user, destination(place)?))
}

fn destination(text: &str) -> Result<Destination, Malformed> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Destination { host: Host::Address(address.to_canonical()), port: FTP });
    }
    let (host, port) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, rest))) => {
            let address: Ipv6Addr = address.parse().map_err(|_| Malformed::Host)?;
            let rest =
                rest.strip_prefix([':', ' ', '\t']).or(rest.is_empty().then_some(rest)).ok_or(Malformed::Host)?;
            (Host::Address(address.to_canonical()), rest)
        }
        Some(None) => return Err(Malformed::Host),
        None => {
            let (host, port) = match text.split_once([':', ' ', '\t']) {
                Some((_, "")) => return Err(Malformed::Port),
                Some((host, port)) => (host, port),
                None => (text, ""),
            };
            let address = host.parse::<IpAddr>().map(Host::Address);
            (address.ok().or_else(|| host_name(host).map(Host::Name)).ok_or(Malformed::Host)?, port)
        }
    };
    Ok(Destination { host, port: port_number(port.trim_ascii())? })
}

/// Nothing is the port of FTP.
fn port_number(text: &str) -> Result<u16, Malformed> {
    if text.is_empty() {
        return Ok(FTP);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0).ok_or(Malformed::Port)
}

/// A host name as it is compared: in lower case, without the dot at its end. Letters, digits, `-` and `_` in labels of 1 to 63, 253 in
/// all. What a resolver could take for an IPv4 address is none: the last label is no number, neither decimal nor `0x`.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let number = match last.strip_prefix("0x") {
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    };
    (name.len() <= 253 && name.split('.').all(label) && !number).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(argument: &str) -> Result<(String, String), Malformed> {
        split(argument.as_bytes())
            .map(|(user, destination)| (String::from_utf8_lossy(user).into_owned(), destination.to_string()))
    }

    #[test]
    fn every_spelling_names_its_server() {
        for (argument, user, destination) in [
            ("joe@ftp.example.net", "joe", "ftp.example.net:21"),
            ("joe@ftp.example.net:2121", "joe", "ftp.example.net:2121"),
            ("joe@ftp.example.net 2121", "joe", "ftp.example.net:2121"),
            ("joe@ftp.example.net\t2121", "joe", "ftp.example.net:2121"),
            ("joe@ftp.example.net  2121 ", "joe", "ftp.example.net:2121"),
            ("  joe@ftp.example.net  ", "joe", "ftp.example.net:21"),
            ("joe@FTP.Example.NET.", "joe", "ftp.example.net:21"),
            ("joe@ftp.example.net.:65535", "joe", "ftp.example.net:65535"),
            ("joe@localhost", "joe", "localhost:21"),
            ("joe@_x-1.a", "joe", "_x-1.a:21"),
            ("joe@192.0.2.10", "joe", "192.0.2.10:21"),
            ("joe@192.0.2.10:1", "joe", "192.0.2.10:1"),
            ("joe@192.0.2.10 2121", "joe", "192.0.2.10:2121"),
            ("joe@2001:db8::1", "joe", "[2001:db8::1]:21"),
            ("joe@[2001:db8::1]", "joe", "[2001:db8::1]:21"),
            ("joe@[2001:db8::1]:2121", "joe", "[2001:db8::1]:2121"),
            ("joe@[2001:db8::1] 2121", "joe", "[2001:db8::1]:2121"),
            ("joe@::ffff:192.0.2.10", "joe", "192.0.2.10:21"),
            ("joe@[::ffff:192.0.2.10]:21", "joe", "192.0.2.10:21"),
            ("joe@mail.example.org@ftp.example.net", "joe@mail.example.org", "ftp.example.net:21"),
            ("a@b@c", "a@b", "c:21"),
            ("DOMAIN\\joe smith@ftp", "DOMAIN\\joe smith", "ftp:21"),
            ("joe:x@ftp", "joe:x", "ftp:21"),
            ("@@ftp", "@", "ftp:21"),
            ("j\u{f6}@ftp", "j\u{f6}", "ftp:21"),
        ] {
            assert_eq!(read(argument), Ok((user.to_owned(), destination.to_owned())), "{argument:?}");
        }
        let (user, _) = split(b"\xf6\xff\xff@ftp").unwrap();
        assert_eq!(user, b"\xf6\xff\xff", "a user's name is in whatever letters the server wants");
    }

    #[test]
    fn what_names_no_server_is_told_apart() {
        use Malformed::{Control, Host, NoHost, NoUser, Port};
        for (argument, expected) in [
            ("", NoHost),
            ("joe", NoHost),
            ("@ftp.example.net", NoUser),
            (" @ftp", NoUser),
            ("joe@", Host),
            ("joe@ ", Host),
            ("joe@:21", Host),
            ("joe@.", Host),
            ("joe@a..b", Host),
            ("joe@.a", Host),
            ("joe@a b c", Port),
            ("joe@a:b:c", Port),
            ("joe@a/b", Host),
            ("joe@a%00", Host),
            ("joe@a\0b", Host),
            ("joe@a\rb", Host),
            ("joe@a\u{7f}", Host),
            ("joe@f\u{fc}r.example", Host),
            ("joe@fe80::1%eth0", Port),
            ("joe@[fe80::1%eth0]", Host),
            ("joe@[2001:db8::1", Host),
            ("joe@[2001:db8::1]x", Host),
            ("joe@[192.0.2.1]", Host),
            ("joe@[]:21", Host),
            ("joe@ftp:0", Port),
            ("joe@ftp:", Port),
            ("joe@ftp:99999", Port),
            ("joe@ftp:65536", Port),
            ("joe@ftp:+21", Port),
            ("joe@ftp:-1", Port),
            ("joe@ftp:0x15", Port),
            ("joe@ftp:21:21", Port),
            ("joe@ftp:ftp", Port),
            ("j\0e@ftp", Control),
            ("j\r\0e@ftp", Control),
            ("j\x1b[2J@ftp", Control),
        ] {
            assert_eq!(read(argument), Err(expected), "{argument:?}");
        }
        let long = |length: usize| format!("joe@{}", "a.".repeat(length / 2));
        assert!(read(&long(252)).is_ok(), "252 bytes with the dot at the end");
        assert_eq!(read(&long(256)), Err(Host));
        assert_eq!(read(&format!("joe@{}.b", "a".repeat(64))), Err(Host));
    }

    /// inet_aton(3) takes all of these for addresses, most of them for 127.0.0.1; so would getaddrinfo(3), were it asked.
    #[test]
    fn odd_notations_of_addresses_are_no_names() {
        for host in [
            "127.1",
            "127.0.1",
            "2130706433",
            "0x7f000001",
            "0X7F000001",
            "0x7f.1",
            "0x7f.0.0.1",
            "1.0x1",
            "017700000001",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "127.0.0.0x1",
            "0",
            "0x",
            "1.2.3.4.5",
            "256.0.0.1",
            "127.0.0.1.1",
        ] {
            assert_eq!(read(&format!("joe@{host}")), Err(Malformed::Host), "{host}");
            assert_eq!(host_name(host), None, "{host}");
        }
        for host in ["0x7g", "a0x7f", "1and1", "4.example", "x1"] {
            assert!(host_name(host).is_some(), "{host}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_what_is_taken_is_clean(argument in any::<Vec<u8>>()) {
            if let Ok((user, Destination { host, port })) = split(&argument) {
                prop_assert!(!user.is_empty() && port > 0);
                prop_assert!(!user.iter().any(u8::is_ascii_control));
                if let Host::Name(name) = host {
                    prop_assert_eq!(host_name(&name), Some(name));
                }
            }
        }

        #[test]
        fn what_is_written_reads_the_same(name in "[a-z][a-z0-9-]{0,9}(\\.[a-z]{1,5}){0,3}", port in 1u16..) {
            let destination = Destination { host: Host::Name(name), port };
            let text = format!("joe@{destination}");
            prop_assert_eq!(split(text.as_bytes()), Ok((&b"joe"[..], destination)));
        }
    }
}
