//! Golden bytes of questions and answers, for both layouts and both families; offsets as pf(4) users know them.

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Bytes from their hexadecimal digits; blanks are for the reader.
fn hex<const N: usize>(text: &str) -> [u8; N] {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| u8::try_from(d).unwrap()).collect();
    let bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    bytes.try_into().unwrap_or_else(|bytes: Vec<u8>| panic!("{} bytes, not {N}", bytes.len()))
}

/// Four addresses, as they lie in both layouts: client, local, nothing, and what the kernel fills in.
const V4: [&str; 4] = [
    "c0000207 00000000 00000000 00000000", // 192.0.2.7
    "7f000001 00000000 00000000 00000000", // 127.0.0.1
    "00000000 00000000 00000000 00000000",
    "c6336405 00000000 00000000 00000000", // 198.51.100.5
];
const V6: [&str; 4] = [
    "20010db8 00000000 00000000 00000007", // 2001:db8::7
    "00000000 00000000 00000000 00000001", // ::1
    "00000000 00000000 00000000 00000000",
    "20010db8 00050000 00000000 00000021", // 2001:db8:5::21
];
const NOTHING: &str = "00000000 00000000 00000000 00000000";

// Ports: 49321 is c0a9, 8021 is 1f55, 21 is 0015.
#[test]
fn freebsd_is_asked_and_understood_over_ipv4() {
    let [client, local, none, dialled] = V4;
    let asked = FreeBsd::question(at("192.0.2.7:49321"), at("127.0.0.1:8021")).unwrap();
    let tail = "02 06 02 00"; // AF_INET, TCP, PF_OUT, padding
    assert_eq!(asked.to_bytes(), hex(&format!("{client}{local}{none}{NOTHING} c0a9 1f55 0000 0000 {tail}")));
    // The kernel writes the state's other addresses: the client's as it was, and the one that was dialled.
    let answered = hex(&format!("{client}{local}{client}{dialled} c0a9 1f55 c0a9 0015 {tail}"));
    assert_eq!(FreeBsd::from_bytes(answered).answer(), Some(at("198.51.100.5:21")));
}

#[test]
fn freebsd_is_asked_and_understood_over_ipv6() {
    let [client, local, none, dialled] = V6;
    let asked = FreeBsd::question(at("[2001:db8::7]:49321"), at("[::1]:8021")).unwrap();
    let tail = "1c 06 02 00"; // AF_INET6 is 28
    assert_eq!(asked.to_bytes(), hex(&format!("{client}{local}{none}{NOTHING} c0a9 1f55 0000 0000 {tail}")));
    let answered = hex(&format!("{client}{local}{client}{dialled} c0a9 1f55 c0a9 0015 {tail}"));
    assert_eq!(FreeBsd::from_bytes(answered).answer(), Some(at("[2001:db8:5::21]:21")));
}

#[test]
fn openbsd_has_routing_domains_before_the_ports_and_another_number_for_ipv6() {
    for (addresses, client, local, dialled, family) in [
        (V4, "192.0.2.7:49321", "127.0.0.1:8021", "198.51.100.5:21", "02"),
        (V6, "[2001:db8::7]:49321", "[::1]:8021", "[2001:db8:5::21]:21", "18"), // AF_INET6 is 24
    ] {
        let asked = OpenBsd::question(at(client), at(local)).unwrap();
        let [c, l, none, d] = addresses;
        let tail = format!("{family} 06 02 00");
        assert_eq!(asked.to_bytes(), hex(&format!("{c}{l}{none}{NOTHING} 0000 0000 c0a9 1f55 0000 0000 {tail}")));
        let answered = hex(&format!("{c}{l}{c}{d} 0000 0000 c0a9 1f55 c0a9 0015 {tail}"));
        assert_eq!(OpenBsd::from_bytes(answered).answer(), Some(at(dialled)));
    }
}

#[test]
fn ends_of_two_families_and_an_answer_of_a_third_are_nothing() {
    assert_eq!(FreeBsd::question(at("192.0.2.7:1"), at("[::1]:2")), None);
    assert_eq!(OpenBsd::question(at("[::1]:2"), at("192.0.2.7:1")), None);
    // FreeBSD's AF_INET6 says nothing on OpenBSD, and the other way round.
    assert_eq!(OpenBsd { af: 28, ..OpenBsd::default() }.answer(), None);
    assert_eq!(FreeBsd { af: 24, ..FreeBsd::default() }.answer(), None);
}

#[test]
fn the_number_of_the_ioctl_follows_from_the_size() {
    assert_eq!((FreeBsd::REQUEST, OpenBsd::REQUEST), (0xc04c_4417, 0xc050_4417));
}
