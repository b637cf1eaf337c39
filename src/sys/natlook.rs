//! pf's question "where was this connection going?" (`DIOCNATLOOK`, pf(4)), byte for byte, for both kernels.
//!
//! Lives here: `struct pfioc_natlook` of each system, how a question is put and an answer read, the ioctl's number. Pure, and
//! compiled on every system, so that it is tested on every system; `tests/bsd/abi.c` holds the numbers against the headers.
//! Not here: asking (`freebsd.rs`). OpenBSD is not asked: since its states have a hash, the lookup there finds nothing.

use std::mem::{offset_of, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `PF_OUT`, net/pfvar.h (FreeBSD: net/pf.h): the state as its packets leave. Of a connection that `rdr` brought to us,
/// FreeBSD finds nothing under `PF_IN`.
pub const PF_OUT: u8 = 2;

/// `AF_INET`, sys/socket.h, on both.
pub const AF_INET: u8 = 2;

/// `IPPROTO_TCP`, netinet/in.h.
const TCP: u8 = 6;

/// `_IOWR(group, number, type of this size)`, sys/ioccom.h: the argument goes in and comes out. The same on both.
const fn iowr(group: u8, number: u8, size: usize) -> u64 {
    const IN_AND_OUT: u64 = 0xc000_0000;
    const LONGEST: usize = 0x1fff;
    assert!(size <= LONGEST);
    IN_AND_OUT | (size as u64) << 16 | (group as u64) << 8 | number as u64
}

/// `struct pf_addr`, net/pfvar.h: room for an IPv6 address; an IPv4 address takes the first four bytes.
#[repr(C, align(4))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address([u8; 16]);

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                Self([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            }
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

impl Address {
    fn v4(self) -> IpAddr {
        let [a, b, c, d, ..] = self.0;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    }

    fn v6(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from(self.0))
    }
}

/// A field of 16 bits. Ports are in network order.
type Two = [u8; 2];

macro_rules! natlook {
    (
        $(#[$meta:meta])*
        $name:ident: size $size:literal, request $request:literal, AF_INET6 $inet6:literal;
        $($field:ident: $type:ty = $offset:literal,)+
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name { $($field: $type,)+ }

        // What was measured on the kernels; a compiler that lays the structure out in another way does not compile it.
        const _: () = {
            assert!(size_of::<$name>() == $size);
            assert!(0 $(+ size_of::<$type>())+ == $size, "there is padding");
            $(assert!(offset_of!($name, $field) == $offset);)+
            assert!($name::REQUEST == $request);
        };

        impl $name {
            /// The number of the ioctl: `_IOWR('D', 23, struct pfioc_natlook)`, net/pfvar.h.
            pub const REQUEST: u64 = iowr(b'D', 23, size_of::<Self>());

            /// `AF_INET6`, sys/socket.h.
            pub const AF_INET6: u8 = $inet6;

            /// Every field with its offset in bytes, in order.
            pub const FIELDS: &[(&str, usize)] = &[$((stringify!($field), offset_of!(Self, $field)),)+];

            /// Asks where the connection from `client` was going that arrived at `local`, an address of ours. `None` if
            /// the two are not of one family: no connection has such ends.
            pub fn question(client: SocketAddr, local: SocketAddr) -> Option<Self> {
                (client.is_ipv4() == local.is_ipv4()).then(|| Self {
                    saddr: client.ip().into(),
                    daddr: local.ip().into(),
                    sport: client.port().to_be_bytes(),
                    dport: local.port().to_be_bytes(),
                    af: if client.is_ipv4() { AF_INET } else { Self::AF_INET6 },
                    proto: TCP,
                    direction: PF_OUT,
                    ..Self::default()
                })
            }

            /// What the kernel wrote into a question: the address and port that the client dialled. `None` if it names no
            /// address family that it was asked about.
            pub fn answer(&self) -> Option<SocketAddr> {
                let address = match self.af {
                    AF_INET => self.rdaddr.v4(),
                    Self::AF_INET6 => self.rdaddr.v6(),
                    _ => return None,
                };
                Some(SocketAddr::new(address, u16::from_be_bytes(self.rdport)))
            }

            /// The bytes that the kernel reads.
            #[allow(unsafe_code)]
            pub fn to_bytes(self) -> [u8; $size] {
                // SAFETY: of this size, without padding (asserted above), and every field is bytes.
                unsafe { std::mem::transmute(self) }
            }

            /// The structure that the kernel's bytes are.
            #[allow(unsafe_code)]
            pub fn from_bytes(bytes: [u8; $size]) -> Self {
                // SAFETY: of this size, and every field is bytes, of which all values are valid.
                unsafe { std::mem::transmute(bytes) }
            }
        }
    };
}

natlook! {
    /// `struct pfioc_natlook` of FreeBSD, net/pfvar.h; the same from 12 to 15.
    FreeBsd: size 76, request 0xc04c_4417, AF_INET6 28;
    saddr: Address = 0,
    daddr: Address = 16,
    rsaddr: Address = 32,
    rdaddr: Address = 48,
    sport: Two = 64,
    dport: Two = 66,
    rsport: Two = 68,
    rdport: Two = 70,
    af: u8 = 72,
    proto: u8 = 73,
    direction: u8 = 74,
    padding: u8 = 75,
}

natlook! {
    /// `struct pfioc_natlook` of OpenBSD, net/pfvar.h.
    OpenBsd: size 80, request 0xc050_4417, AF_INET6 24;
    saddr: Address = 0,
    daddr: Address = 16,
    rsaddr: Address = 32,
    rdaddr: Address = 48,
    rdomain: Two = 64,
    rrdomain: Two = 66,
    sport: Two = 68,
    dport: Two = 70,
    rsport: Two = 72,
    rdport: Two = 74,
    af: u8 = 76,
    proto: u8 = 77,
    direction: u8 = 78,
    padding: u8 = 79,
}

#[cfg(test)]
#[path = "natlook_tests.rs"]
mod tests;
