//! Sys: what the kernel can do to a socket beyond std and tokio, as safe functions. The only module that may use `unsafe`.
//!
//! - `linux`: netfilter's original destination, transparent sockets, the urgent mark.
//!
//! Not here: any decision. Later systems get a file of their own with the same functions.

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod imp;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

pub use imp::{at_urgent_mark, original_destination};

/// Connections that wait to be accepted. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// How a peer that vanished without a FIN is noticed: first probe after a minute of silence, the connection given up after
/// two. (The kernel's own default is two hours.)
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 6;

/// A listening socket, non-blocking. `transparent`: it may accept connections to addresses that are not this host's
/// (`IP_TRANSPARENT`, ip(7); needs CAP_NET_ADMIN).
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
        imp::set_transparent(&socket, address.is_ipv6())?;
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
    /// Somebody else's address: the client's (`IP_TRANSPARENT`).
    Foreign(IpAddr),
}

/// A non-blocking socket of the family of `to`, bound as `from` says, ready to connect.
///
/// # Errors
/// As of `bind`; with [`From::Foreign`] `PermissionDenied` without CAP_NET_ADMIN.
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
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES),
    )
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

/// Raises the soft limit of open descriptors to the hard one and says what it is then.
///
/// # Errors
/// As of `setrlimit`.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
