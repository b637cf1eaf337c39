//! What FreeBSD and OpenBSD have in common.
//!
//! Lives here: what the two share and Linux does not. Not here: pf's lookup and transparent sockets, which differ
//! (`freebsd.rs`, `openbsd.rs`).

use std::io;

use nix::sys::ioctl::ioctl_num_type;
use socket2::Socket;

/// As on every BSD.
pub(super) const SIOCATMARK: ioctl_num_type = super::abi::SIOCATMARK as ioctl_num_type;

// nix makes the number from `_IOR('s', 7, int)`.
const _: () = assert!(nix::request_code_read!(b's', 7, size_of::<nix::libc::c_int>()) == SIOCATMARK);

/// login.conf(5): the class `daemon`, or one for ftpgate.
pub(super) const OPEN_FILES: &str = "openfiles in login.conf";

/// `divert-to` asks nothing of the socket.
#[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
pub(super) fn accept_foreign(_socket: &Socket, _ipv6: bool) -> io::Result<()> {
    Ok(())
}

/// The port is chosen when the socket is bound: nothing puts that off. One address can so make no more connections than
/// `net.inet.ip.portrange` (FreeBSD) or `net.inet.ip.porthilast` (OpenBSD) has ports.
#[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
pub(super) fn bind_without_port(_socket: &Socket) -> io::Result<()> {
    Ok(())
}
