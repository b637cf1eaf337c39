//! NAT64: IPv4 addresses written as IPv6 ones (RFC 6052).
//!
//! Lives here: [`Prefix`], and which IPv4 address an address below it stands for. Not here: who is sent there (`proxy::origin`), DNS64
//! (RFC 6147), which tells clients such addresses and is not ftpgate's.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A prefix below which IPv4 addresses are embedded, RFC 6052 §2.2: 32, 40, 48, 56, 64 or 96 bits, none set behind them, and none of
/// bits 64 to 71.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    address: Ipv6Addr,
    length: u8,
}

/// Reserved, and always 0: bits 64 to 71.
const RESERVED: usize = 8;

impl Prefix {
    /// The one that needs no agreement, RFC 6052 §2.1.
    pub const WELL_KNOWN: Self = Self { address: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), length: 96 };

    /// The lengths that there are.
    pub const LENGTHS: [u8; 6] = [32, 40, 48, 56, 64, 96];

    /// The prefix, if it is one.
    pub fn new(address: Ipv6Addr, length: u8) -> Option<Self> {
        let octets = address.octets();
        let behind = octets.get(usize::from(length / 8)..).unwrap_or_default();
        let fits = Self::LENGTHS.contains(&length) && octets.get(RESERVED) == Some(&0);
        (fits && behind.iter().all(|octet| *octet == 0)).then_some(Self { address, length })
    }

    /// The IPv4 address that `address` stands for; `None` if it is not below the prefix, or has reserved bits set. What stands behind
    /// the IPv4 address does not matter (§2.2).
    pub fn embedded(&self, address: Ipv6Addr) -> Option<Ipv4Addr> {
        let (own, octets, length) = (self.address.octets(), address.octets(), usize::from(self.length / 8));
        if own.get(..length) != octets.get(..length) || octets.get(RESERVED) != Some(&0) {
            return None;
        }
        let mut rest =
            octets.iter().enumerate().skip(length).filter(|(at, _)| *at != RESERVED).map(|(_, octet)| *octet);
        Some(Ipv4Addr::new(rest.next()?, rest.next()?, rest.next()?, rest.next()?))
    }

    /// Whether an IPv4 address may be written with this prefix: with the well-known one no address may that is private to somebody
    /// (RFC 6052 §3.1; RFC 1918, RFC 6598, RFC 3927). The addresses of documentation (RFC 5737) may.
    pub fn may_hold(&self, address: Ipv4Addr) -> bool {
        let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
        *self != Self::WELL_KNOWN || !(address.is_private() || address.is_link_local() || is_shared)
    }
}

impl FromStr for Prefix {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = text.split_once('/').ok_or(())?;
        Self::new(address.parse().map_err(|_| ())?, length.parse().map_err(|_| ())?).ok_or(())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of RFC 6052 §2.4.
    const EXAMPLES: [(&str, &str); 7] = [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ];

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn rfc6052_2_4_the_examples() {
        for (below, written) in EXAMPLES {
            let found = prefix(below).embedded(written.parse().unwrap());
            assert_eq!(found, Some(Ipv4Addr::new(192, 0, 2, 33)), "{written} below {below}");
            assert_eq!(prefix(below).to_string(), below);
        }
        assert_eq!(prefix("64:ff9b::/96"), Prefix::WELL_KNOWN);
    }

    #[test]
    fn rfc6052_2_2_what_stands_behind_is_ignored_and_the_reserved_bits_are_not() {
        let below = prefix("2001:db8::/32");
        assert_eq!(below.embedded("2001:db8:c000:221::7".parse().unwrap()), Some(Ipv4Addr::new(192, 0, 2, 33)));
        assert_eq!(below.embedded("2001:db8:c000:221:100::".parse().unwrap()), None);
        for stranger in ["2001:db9:c000:221::", "::", "::ffff:192.0.2.33", "64:ff9b::192.0.2.33"] {
            assert_eq!(below.embedded(stranger.parse().unwrap()), None, "{stranger}");
        }
    }

    #[test]
    fn rfc6052_2_2_only_six_lengths_and_nothing_behind_them() {
        let faulty =
            ["64:ff9b::", "64:ff9b::/95", "64:ff9b::/0", "64:ff9b::1/96", "2001:db8:0:0:100::/96", "x/96", "::/ 96"];
        for text in faulty {
            assert_eq!(text.parse::<Prefix>(), Err(()), "{text}");
        }
    }

    #[test]
    fn rfc6052_3_1_the_well_known_prefix_holds_no_private_address() {
        let own = prefix("2001:db8:64::/96");
        for private in [[10, 0, 0, 5], [172, 16, 0, 1], [192, 168, 1, 1], [100, 64, 0, 1], [169, 254, 1, 1]] {
            assert!(!Prefix::WELL_KNOWN.may_hold(private.into()) && own.may_hold(private.into()), "{private:?}");
        }
        for public in [[192, 0, 2, 33], [198, 51, 100, 10], [100, 128, 0, 1], [172, 32, 0, 1]] {
            assert!(Prefix::WELL_KNOWN.may_hold(public.into()), "{public:?}");
        }
    }
}
