//! Tests of the PROXY header: by the sentences of the specification, by an independent decoder (the crate `proxy-header`), and by
//! whatever bytes there are.

use proptest::prelude::*;
use proxy_header::{ParseConfig, ProxyHeader};

use super::*;

/// What a reader says of a stream, and how many of its bytes it took for that.
type Said = (Result<Option<Header>, Fault>, usize);

fn read(pieces: &[&[u8]]) -> Said {
    let mut reader = Reader::default();
    for piece in pieces {
        match reader.take(piece) {
            Ok((taken, None)) => assert_eq!(taken, piece.len(), "it stopped for no reason"),
            Ok((_, header)) => return (Ok(header), reader.taken()),
            Err(fault) => return (Err(fault), reader.taken()),
        }
    }
    (Ok(None), reader.taken())
}

fn fault(bytes: &[u8]) -> Fault {
    read(&[bytes]).0.expect_err(&format!("accepted: {}", bytes.escape_ascii()))
}

fn proxied(client: &str, dialled: &str) -> Header {
    Header::Proxied { client: client.parse().unwrap(), dialled: dialled.parse().unwrap() }
}

/// Version 2 with this command, family and content.
fn v2(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [SIGNATURE_V2, &[command, family], &length, content].concat()
}

const FOUR: [u8; 12] = [203, 0, 113, 9, 198, 51, 100, 2, 0xC0, 0x00, 0, 21];

#[test]
fn both_versions_are_read_and_what_follows_is_left_alone() {
    let six = "2001:db8::9 2001:db8:51::2";
    for (bytes, header) in [
        (b"PROXY TCP4 203.0.113.9 198.51.100.2 49152 21\r\n".to_vec(), proxied("203.0.113.9:49152", "198.51.100.2:21")),
        (format!("PROXY TCP6 {six} 49152 21\r\n").into(), proxied("[2001:db8::9]:49152", "[2001:db8:51::2]:21")),
        (b"PROXY UNKNOWN\r\n".to_vec(), Header::Local),
        (b"PROXY UNKNOWN ffff:f...f:ffff whatever \0 1\r\n".to_vec(), Header::Local),
        (v2(0x21, 0x11, &FOUR), proxied("203.0.113.9:49152", "198.51.100.2:21")),
        (v2(0x21, 0x11, &[&FOUR[..], b"\x04\0\x02xx"].concat()), proxied("203.0.113.9:49152", "198.51.100.2:21")),
        (v2(0x20, 0, b""), Header::Local),
        (v2(0x20, 0x77, &[0xAA; 300]), Header::Local),
        (v2(0x21, 0, b"\x04\0\0"), Header::Local),
    ] {
        let stream = [&bytes[..], b"USER anonymous\r\n"].concat();
        assert_eq!(read(&[&stream]), (Ok(Some(header)), bytes.len()), "{}", bytes.escape_ascii());
        for cut in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..cut]]), (Ok(None), cut), "{} of {}", cut, bytes.escape_ascii());
        }
    }
}

#[test]
fn the_longest_of_each_is_read_and_one_byte_more_is_not() {
    // §2.1: the worst case of version 1.
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), LONGEST_V1);
    assert_eq!(read(&[longest.as_bytes()]).0, Ok(Some(Header::Local)));
    let longer = longest.replace("UNKNOWN ", "UNKNOWN  ");
    assert_eq!(read(&[longer.as_bytes()]), (Err(Fault::Oversized), LONGEST_V1));
    let six = format!("PROXY TCP6 {full} {full} 65535 65535\r\n");
    assert_eq!(read(&[six.as_bytes()]).0, Ok(Some(proxied(&format!("[{full}]:65535"), &format!("[{full}]:65535")))));

    let longest = v2(0x21, 0x11, &[&FOUR[..], &[0; LONGEST_V2 - FIXED_V2 - 12]].concat());
    assert_eq!(longest.len(), LONGEST_V2);
    assert_eq!(read(&[&longest]), (Ok(Some(proxied("203.0.113.9:49152", "198.51.100.2:21"))), LONGEST_V2));
    let longer = v2(0x21, 0x11, &[&FOUR[..], &[0; LONGEST_V2 - FIXED_V2 - 11]].concat());
    assert_eq!(read(&[&longer]), (Err(Fault::Oversized), FIXED_V2), "known by its length, before it is there");
}

#[test]
fn every_other_beginning_is_missing_and_known_at_once() {
    for (bytes, taken) in [
        (&b"USER anonymous\r\n"[..], 1),
        (b"PROXY\tTCP4", 6),
        (b"proxy TCP4", 1),
        (b"PASV\r\n", 2),
        (b"\r\n\r\n\0\r\nQUIT\r", 12),
        (b"\0", 1),
        (b"\x16\x03\x01\x02\0", 1),
        (b"GET / HTTP/1.1", 1),
    ] {
        assert_eq!(read(&[bytes]), (Err(Fault::Missing), taken), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_line_that_is_not_exactly_right_is_malformed() {
    for text in [
        "TCP4 1.2.3.4 5.6.7.8 1 2\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\r ",
        "TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 -2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 \r\n",
        "TCP4 1.2.3.4 5.6.7.08 1 2\r\n",
        "TCP4 1.2.3 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "TCP4 ::1 ::2 1 2\r\n",
        "TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP6 fe80::1%eth0 ::2 1 2\r\n",
        "TCP6 [::1] ::2 1 2\r\n",
        "UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "UNKNOWNS\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\0\r\n",
        "TCP4 1.2.3.٤ 5.6.7.8 1 2\r\n",
        "\r\n",
    ] {
        assert_eq!(fault(format!("PROXY {text}").as_bytes()), Fault::Malformed, "{text:?}");
    }
    assert_eq!(fault(b"PROXY TCP4 \xFF 5.6.7.8 1 2\r\n"), Fault::Malformed);
}

#[test]
fn binary_commands_families_and_lengths_are_held_to_the_letter() {
    for command in (0..=255).filter(|command| !matches!(command, 0x20 | 0x21)) {
        assert_eq!(fault(&v2(command, 0x11, &FOUR)), Fault::Malformed, "{command:#x}");
    }
    for family in (0..=255).filter(|family| !matches!(family, 0 | 0x11 | 0x21)) {
        assert_eq!(fault(&v2(0x21, family, &[0; 216])), Fault::Family, "{family:#x}");
    }
    assert_eq!(fault(&v2(0x21, 0x11, &FOUR[..11])), Fault::Malformed);
    assert_eq!(fault(&v2(0x21, 0x21, &[1; 35])), Fault::Malformed);
    assert_eq!(fault(&v2(0x21, 0x11, b"")), Fault::Malformed);
}

#[test]
fn addresses_that_nobody_has_are_refused() {
    let fate = |client: &str, dialled: &str, sender: &str| {
        addresses(client.parse().unwrap(), dialled.parse().unwrap(), sender.parse().unwrap())
    };
    let (good4, good6, far) = ("203.0.113.9:49152", "[2001:db8::9]:49152", "192.0.2.1");
    for bad in ["203.0.113.9:0", "0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "255.255.255.255:1", "127.0.0.1:1"] {
        assert_eq!(fate(bad, good4, far), Err(Fault::Address), "{bad}");
        assert_eq!(fate(good4, bad, far), Err(Fault::Address), "{bad}");
    }
    for bad in ["[2001:db8::9]:0", "[::]:1", "[ff02::1]:1", "[::1]:1"] {
        assert_eq!(fate(bad, good6, far), Err(Fault::Address), "{bad}");
        assert_eq!(fate(good6, bad, far), Err(Fault::Address), "{bad}");
    }
    for bad in ["[::ffff:127.0.0.1]:1", "[::ffff:0.0.0.0]:1"] {
        assert_eq!(fate(bad, good4, far), Err(Fault::Address), "{bad}");
    }
    assert_eq!(fate(good4, good6, far), Err(Fault::Family));
    // A load balancer on this host may have clients on this host.
    for sender in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        assert!(fate("127.0.0.1:1", "127.0.0.1:21", sender).is_ok(), "{sender}");
    }
    // A socket of both families names IPv4 clients in IPv6 clothes.
    let plain = (good4.parse().unwrap(), "198.51.100.2:21".parse().unwrap());
    assert_eq!(fate("[::ffff:203.0.113.9]:49152", "[::ffff:198.51.100.2]:21", far), Ok(plain));
}

#[test]
fn two_families_are_written_as_one() {
    let (client, dialled) = ("192.0.2.9:1".parse().unwrap(), "[2001:db8::2]:21".parse().unwrap());
    assert_eq!(write(Version::V1, client, dialled), b"PROXY TCP6 ::ffff:192.0.2.9 2001:db8::2 1 21\r\n");
    let expected = Header::Proxied { client: "[::ffff:192.0.2.9]:1".parse().unwrap(), dialled };
    assert_eq!(read(&[&write(Version::V2, client, dialled)]).0, Ok(Some(expected)));
}

/// An independent opinion of the same bytes.
fn oracle(bytes: &[u8]) -> Option<(Option<(SocketAddr, SocketAddr)>, usize)> {
    let (header, taken) = ProxyHeader::parse(bytes, ParseConfig::default()).ok()?;
    Some((header.proxied_address().map(|both| (both.source, both.destination)), taken))
}

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port))
}

/// Headers that are right, that are nearly right, and noise.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let noise = || proptest::collection::vec(any::<u8>(), 0..80);
    let written = (any::<bool>(), address(), address())
        .prop_map(|(first, client, dialled)| write(if first { Version::V1 } else { Version::V2 }, client, dialled));
    let words = proptest::sample::select(vec![
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "UDP4",
        "1.2.3.4",
        "::1",
        "::ffff:1.2.3.4",
        "0",
        "21",
        "65535",
        "65536",
        "007",
        "+1",
        "",
        "x",
    ]);
    let line = proptest::collection::vec(words, 0..8).prop_map(|words| format!("PROXY {}\r\n", words.join(" ")).into());
    let command = proptest::sample::select(vec![0x20, 0x21, 0x21, 0x21, 0x10, 0x22]);
    let family = proptest::sample::select(vec![0, 0x11, 0x11, 0x12, 0x21, 0x21, 0x22, 0x31, 0x01, 0xFF]);
    let binary = (command, family, proptest::collection::vec(any::<u8>(), 0..250))
        .prop_map(|(command, family, content)| v2(command, family, &content));
    let header = prop_oneof![written, line, binary, noise()];
    let damage = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>()));
    (header, damage, noise()).prop_map(|(mut header, damage, rest): (Vec<u8>, _, _)| {
        if let Some((at, byte)) = damage.filter(|_| !header.is_empty()) {
            let at = at.index(header.len());
            header[at] = byte;
        }
        header.extend(rest);
        header
    })
}

proptest! {
    #[test]
    fn any_split_gives_the_same_answer(stream in stream(), cuts in proptest::collection::vec(0..40_usize, 0..40)) {
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        prop_assert_eq!(read(&pieces), read(&[&stream]));
    }

    /// Whatever is taken for a header is one by the other decoder too, with the same addresses and the same end.
    #[test]
    fn what_is_accepted_is_a_header(stream in stream()) {
        let (said, taken) = read(&[&stream]);
        prop_assert!(taken <= stream.len());
        match said {
            Ok(Some(Header::Proxied { client, dialled })) => {
                prop_assert_eq!(oracle(&stream), Some((Some((client, dialled)), taken)));
            }
            Ok(Some(Header::Local)) => {
                let local = oracle(&stream);
                // It refuses LOCAL with a family that it does not know, or that does not fit; the family "is to be ignored".
                let strict = stream.get(12) == Some(&0x20) && local.is_none();
                prop_assert!(strict || local == Some((None, taken)), "{:?} {}", local, stream.escape_ascii());
            }
            Ok(None) | Err(_) => {}
        }
    }

    /// And the other way round, but for what it is too generous with.
    #[test]
    fn what_is_a_header_is_accepted(stream in stream()) {
        let Some((Some((client, dialled)), taken)) = oracle(&stream) else { return Ok(()) };
        let text = stream[..taken].strip_prefix(SIGNATURE_V1);
        let generous = match text {
            // Ports such as +1 and 007, another byte than the space behind PROXY, longer lines.
            Some(line) => taken > LONGEST_V1 || [&b" 0"[..], b"+"].iter().any(|odd| line.windows(odd.len()).any(|w| w == *odd)),
            None if stream[0] == b'P' => true,
            // Datagrams.
            None => stream[13] & 0x0F == 2,
        };
        if !generous {
            prop_assert_eq!(read(&[&stream]), (Ok(Some(Header::Proxied { client, dialled })), taken));
        }
    }

    #[test]
    fn what_is_written_is_read_back(first in any::<bool>(), client in address(), dialled in address()) {
        let version = if first { Version::V1 } else { Version::V2 };
        let bytes = write(version, client, dialled);
        prop_assert!(bytes.len() <= LONGEST_V1);
        let Ok(Some(Header::Proxied { client: a, dialled: b })) = read(&[&bytes]).0 else {
            return Err(TestCaseError::fail(bytes.escape_ascii().to_string()));
        };
        prop_assert_eq!((a.ip().to_canonical(), a.port()), (client.ip().to_canonical(), client.port()));
        prop_assert_eq!((b.ip().to_canonical(), b.port()), (dialled.ip().to_canonical(), dialled.port()));
        prop_assert_eq!(oracle(&bytes), Some((Some((a, b)), bytes.len())));
    }
}
