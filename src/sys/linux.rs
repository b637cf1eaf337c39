//! Linux: netfilter's original destination, transparent sockets, the urgent mark.
//!
//! Lives here: what differs from other systems. Not here: what all share (`mod.rs`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, Socket};

/// Where a redirected connection was going (`SO_ORIGINAL_DST`, linux/netfilter_ipv4.h; `IP6T_SO_ORIGINAL_DST`,
/// linux/netfilter_ipv6/ip6_tables.h). Of a connection that was not redirected it is the local address.
///
/// # Errors
/// `NotFound` if conntrack does not know the connection.
pub fn original_destination(socket: &impl AsFd, ipv6: bool) -> io::Result<SocketAddr> {
    let socket = SockRef::from(socket);
    let address = if ipv6 { socket.original_dst_v6() } else { socket.original_dst_v4() }?;
    address.as_socket().ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// `IP_TRANSPARENT`, ip(7): bind to, and accept for, addresses that are not this host's.
pub(super) fn set_transparent(socket: &Socket, ipv6: bool) -> io::Result<()> {
    if ipv6 { socket.set_ip_transparent_v6(true) } else { socket.set_ip_transparent_v4(true) }
}

/// `IP_BIND_ADDRESS_NO_PORT`, ip(7): the port is chosen when the socket connects, so that one address can make more
/// connections than it has ports.
pub(super) fn bind_without_port(socket: &Socket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::IpBindAddressNoPort, &true)?)
}

/// Whether the byte that will be read next is the urgent one (`SIOCATMARK`, tcp(7)). The kernel ends a read before that byte,
/// so asking before each read misses none.
#[allow(unsafe_code)]
pub fn at_urgent_mark(socket: &impl AsFd) -> bool {
    /// asm-generic/sockios.h
    const SIOCATMARK: u64 = 0x8905;
    nix::ioctl_read_bad!(siocatmark, SIOCATMARK, nix::libc::c_int);
    let mut mark = 0;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel writes one int, to `mark`.
    unsafe { siocatmark(socket.as_fd().as_raw_fd(), &raw mut mark) }.is_ok() && mark != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_urgent_byte_is_announced_and_stays_in_the_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sender = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut receiver, _) = listener.accept().unwrap();
        super::super::tune(&receiver).unwrap();
        sender.write_all(b"NOOP\r\n").unwrap();
        super::super::send_urgent(&sender, b"ABOR\r\n").unwrap();
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
