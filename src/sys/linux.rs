//! Linux: netfilter's original destination, transparent sockets.
//!
//! Lives here: what differs from other systems, by the names that `freebsd.rs` and `openbsd.rs` use too. Not here: what all
//! share (`mod.rs`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::ioctl::ioctl_num_type;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, Socket, TcpKeepalive};

/// asm-generic/sockios.h
pub(super) const SIOCATMARK: ioctl_num_type = 0x8905;

pub(super) const WHO_LISTENS: &str = "ss -ltnp";
pub(super) const OPEN_FILES: &str = "LimitNOFILE=";

/// Where a redirected connection was going (`SO_ORIGINAL_DST`, linux/netfilter_ipv4.h; `IP6T_SO_ORIGINAL_DST`,
/// linux/netfilter_ipv6/ip6_tables.h). Of a connection that was not redirected it is the local address.
pub(super) fn original_destination(
    socket: &impl AsFd,
    client: SocketAddr,
    _local: SocketAddr,
) -> io::Result<SocketAddr> {
    let socket = SockRef::from(socket);
    let address = if client.is_ipv6() { socket.original_dst_v6() } else { socket.original_dst_v4() };
    let address = address.map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
        // Without conntrack nothing can have been redirected.
        Some(Errno::ENOPROTOOPT) => io::ErrorKind::NotFound.into(),
        _ => error,
    })?;
    address.as_socket().ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// Netfilter is asked through the socket itself.
#[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
pub(super) fn prepare_original_destination() -> io::Result<()> {
    Ok(())
}

/// As of [`set_transparent`]: the same option serves listeners.
pub(super) fn accept_foreign(socket: &Socket, ipv6: bool) -> io::Result<()> {
    set_transparent(socket, ipv6)
}

/// `IP_TRANSPARENT`, ip(7): bind to, and accept for, addresses that are not this host's. Needs CAP_NET_ADMIN.
pub(super) fn set_transparent(socket: &Socket, ipv6: bool) -> io::Result<()> {
    if ipv6 { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) }
}

/// `IP_BIND_ADDRESS_NO_PORT`, ip(7): the port is chosen when the socket connects, so that one address can make more
/// connections than it has ports.
pub(super) fn bind_without_port(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?)
}

/// tcp(7): `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`.
pub(super) fn keepalive(idle: Duration, interval: Duration, probes: u32) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes)
}
