//! Sys: what the kernel can do beyond std and tokio, as safe functions. The only module that may use `unsafe`, and the one that
//! knows on which system it runs.
//!
//! - `linux`, `freebsd`, `openbsd`: the same functions, each in its system's way: original destination, transparent sockets;
//!   `bsd`: what the last two share;
//! - `privilege`: becoming another user in another root, pledge and unveil;
//! - `descriptor`: handing an open file to another process; `pipe`: moving bytes between sockets; `clock`: local time;
//! - `natlook`, `abi`: the BSD kernels' structures and numbers, compiled and tested everywhere.
//!
//! Not here: any decision.

pub mod abi;
mod clock;
mod descriptor;
pub mod natlook;
mod pipe;
pub mod privilege;

#[cfg(any(target_os = "freebsd", target_os = "openbsd"))]
mod bsd;
#[cfg(target_os = "freebsd")]
#[path = "freebsd.rs"]
mod imp;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod imp;
#[cfg(target_os = "openbsd")]
#[path = "openbsd.rs"]
mod imp;

#[cfg(not(any(target_os = "linux", target_os = "freebsd", target_os = "openbsd")))]
compile_error!(
    "ftpgate runs on Linux, FreeBSD and OpenBSD; another system needs a file in src/sys with the functions of linux.rs"
);

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub use clock::local_time;
pub use descriptor::{recv_fd, send_fd};
pub use pipe::Pipe;

/// Connections that wait to be accepted. The kernel caps it: Linux `net.core.somaxconn`, FreeBSD `kern.ipc.soacceptqueue`,
/// OpenBSD `kern.somaxconn`.
const BACKLOG: i32 = 1024;

/// The command that says who listens on a port.
pub const WHO_LISTENS: &str = imp::WHO_LISTENS;

/// Where the limit of open files is raised for a service.
pub const OPEN_FILES: &str = imp::OPEN_FILES;

/// How a peer that vanished without a FIN is noticed: first probe after a minute of silence, the connection given up after
/// two. (The kernel's own default is two hours, and OpenBSD has no other for a single socket.)
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// Gets ready to be asked for [`original_destination`], while the process is still root: on FreeBSD it opens /dev/pf, for
/// reading. Doing so twice is fine.
///
/// # Errors
/// Why it cannot be opened, and what to do.
pub fn prepare_original_destination() -> io::Result<()> {
    imp::prepare_original_destination()
}

/// Where the connection of `socket`, from `client` to `local`, was going before the packet filter brought it here: by netfilter's
/// `redirect` or `dnat` (Linux), by pf's `rdr` (FreeBSD; [`prepare_original_destination`] must have been called), by pf's
/// `divert-to` (OpenBSD: it is `local`).
///
/// # Errors
/// `NotFound` if the packet filter does not know the connection.
pub fn original_destination(socket: &impl AsFd, client: SocketAddr, local: SocketAddr) -> io::Result<SocketAddr> {
    imp::original_destination(socket, client, local)
}

/// Whether the byte that will be read next is the urgent one (`SIOCATMARK`: Linux tcp(7), BSD tcp(4)). The kernel ends a read
/// before that byte, so asking before each read misses none.
#[allow(unsafe_code)]
pub fn at_urgent_mark(socket: &impl AsFd) -> bool {
    nix::ioctl_read_bad!(siocatmark, imp::SIOCATMARK, nix::libc::c_int);
    let mut mark = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes one int, to `mark`.
    unsafe { siocatmark(socket.as_fd().as_raw_fd(), &raw mut mark) }.is_ok() && mark != 0
}

/// A listening socket, non-blocking. `transparent`: it may accept connections to addresses that are not this host's
/// (Linux: `IP_TRANSPARENT`, ip(7), which needs CAP_NET_ADMIN. pf's `divert-to` asks no such thing of the socket).
///
/// # Errors
/// As of `bind` and `listen`.
pub fn listen(address: SocketAddr, transparent: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // 0.0.0.0 and [::] are listened on by a socket each, so that every address stays what it is.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    if transparent {
        imp::accept_foreign(&socket, address.is_ipv6())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What the server-side control connection is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Whatever address the route to the server suggests.
    Any,
    /// An address of this host.
    Address(IpAddr),
    /// Somebody else's address: the client's (Linux `IP_TRANSPARENT`, FreeBSD `IP_BINDANY`, OpenBSD `SO_BINDANY`).
    Foreign(IpAddr),
}

/// A non-blocking socket of the family of `to`, bound as `from` says, ready to connect.
///
/// # Errors
/// As of `bind`; with [`From::Foreign`] `PermissionDenied` without CAP_NET_ADMIN, or on BSD without root.
pub fn connecting_socket(to: SocketAddr, from: From) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    let address = match from {
        From::Any => None,
        From::Address(address) => Some(address),
        From::Foreign(address) => {
            imp::set_transparent(&socket, to.is_ipv6())?;
            Some(address)
        }
    };
    if let Some(address) = address {
        imp::bind_without_port(&socket)?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets a control connection up: no Nagle delay (it would wait for the peer's delayed ACK at every command), keepalive, and
/// urgent data left in the stream, where it was sent.
///
/// # Errors
/// As of `setsockopt`.
pub fn tune(socket: &impl AsFd) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_out_of_band_inline(true)?;
    socket.set_tcp_keepalive(&imp::keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES))
}

/// Sets a data connection up: keepalive, as of control connections. Nagle's delay stays: it fills packets, and the end of the
/// stream passes it by.
///
/// # Errors
/// As of `setsockopt`.
pub fn keep_alive(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_keepalive(&imp::keepalive(KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES))
}

/// Whether closing the socket, in whatever way that comes about, resets the connection (`SO_LINGER` of 0, socket(7)) rather than
/// end it in an orderly way.
///
/// # Errors
/// As of `setsockopt`.
pub fn reset_on_close(socket: &impl AsFd, reset: bool) -> io::Result<()> {
    SockRef::from(socket).set_linger(reset.then_some(Duration::ZERO))
}

/// Sends bytes of which the last is urgent (`MSG_OOB`, tcp(7)).
///
/// # Errors
/// As of `send`.
pub fn send_urgent(socket: &impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(socket).send_out_of_band(bytes)
}

/// The addresses of this host's interfaces.
///
/// # Errors
/// As of `getifaddrs`.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            if let Some(v4) = address.as_sockaddr_in() {
                return Some(IpAddr::V4(v4.ip()));
            }
            address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))
        })
        .collect())
}

/// The address of this host that the route to `to` suggests for connections there: what the kernel would choose. Sends nothing:
/// connecting a UDP socket only looks the route up (Linux udp(7), BSD udp(4)).
///
/// # Errors
/// As of `connect`: there is no route.
pub fn source_for(to: IpAddr) -> io::Result<IpAddr> {
    /// Any port does (that of RFC 863, which throws away what it gets), but 0.
    const DISCARD: u16 = 9;
    let any: IpAddr = if to.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((to, DISCARD))?;
    Ok(socket.local_addr()?.ip())
}

/// Raises the soft limit of open descriptors to the hard one and says what it is then.
///
/// # Errors
/// As of `setrlimit`.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    #[allow(clippy::useless_conversion)] // it is signed on FreeBSD
    Ok(u64::try_from(hard).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    #[test]
    fn a_host_speaks_to_itself_from_the_address_that_it_speaks_to() {
        for address in ["127.0.0.1", "::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
            assert_eq!(source_for(address).unwrap(), address);
        }
        // Nobody has a route to where nobody is (RFC 1122 §3.2.1.3).
        assert!(source_for("255.255.255.255".parse().unwrap()).is_err());
    }

    #[test]
    fn the_urgent_byte_is_announced_and_stays_in_the_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        tune(&receiver).unwrap();
        sender.write_all(b"NOOP\r\n").unwrap();
        send_urgent(&sender, b"ABOR\r\n").unwrap();
        let mut seen = Vec::new();
        let mut marked_at = None;
        while seen.len() < 12 {
            if at_urgent_mark(&receiver) {
                marked_at = Some(seen.len());
            }
            let mut buffer = [0; 64];
            let n = receiver.read(&mut buffer).unwrap();
            seen.extend_from_slice(&buffer[..n]);
        }
        assert_eq!(seen, b"NOOP\r\nABOR\r\n");
        assert_eq!(marked_at, Some(11), "the LF of ABOR is the urgent byte");
    }
}
