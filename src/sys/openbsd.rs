//! OpenBSD: diverted connections, transparent sockets, pledge and unveil.
//!
//! Lives here: what differs from other systems, by the names that `linux.rs` and `freebsd.rs` use too. Not here: what both BSDs
//! share (`bsd.rs`).

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::null;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Socket, TcpKeepalive};

use super::abi;
use super::natlook::OpenBsd as Natlook;

pub(super) use super::bsd::{OPEN_FILES, SIOCATMARK, accept_foreign, bind_without_port};

pub(super) const WHO_LISTENS: &str = "fstat | grep tcp";

const _: () = {
    assert!(libc::SO_BINDANY == abi::OPENBSD_SO_BINDANY);
    assert!(libc::AF_INET6 == Natlook::AF_INET6 as libc::c_int);
    assert!(nix::request_code_readwrite!(b'D', 23, size_of::<Natlook>()) == Natlook::REQUEST);
};

/// Where a connection was going that a pf `divert-to` rule brought here: pf.conf(5) has getsockname(2) tell, so it is the local
/// address. (After `rdr-to`, `DIOCNATLOOK` finds nothing here.)
#[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
pub(super) fn original_destination(
    _socket: &impl AsFd,
    _client: SocketAddr,
    local: SocketAddr,
) -> io::Result<SocketAddr> {
    Ok(local)
}

/// The socket itself tells.
#[allow(clippy::unnecessary_wraps)] // elsewhere it can fail
pub(super) fn prepare_original_destination() -> io::Result<()> {
    Ok(())
}

/// `SO_BINDANY`, getsockopt(2), for both families: bind to addresses that are not this host's. Needs root.
pub(super) fn set_transparent(socket: &Socket, _ipv6: bool) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::BindAny, &true)?)
}

/// Only on or off: how soon and how often is the system's, `net.inet.tcp.keepidle` and `keepintvl`, sysctl(2).
pub(super) fn keepalive(_idle: Duration, _interval: Duration, _probes: u32) -> TcpKeepalive {
    TcpKeepalive::new()
}

/// See [`super::privilege::pledge`].
#[allow(unsafe_code)]
pub(super) fn pledge(promises: &str) -> io::Result<()> {
    let promises = CString::new(promises)?;
    // SAFETY: a string that ends with NUL and lives through the call; NULL leaves the promises after execve(2) as they are.
    Errno::result(unsafe { libc::pledge(promises.as_ptr(), null()) })?;
    Ok(())
}

/// See [`super::privilege::unveil`].
#[allow(unsafe_code)]
pub(super) fn unveil(path: &Path, permissions: &str) -> io::Result<()> {
    let (path, permissions) = (CString::new(path.as_os_str().as_bytes())?, CString::new(permissions)?);
    // SAFETY: strings that end with NUL and live through the call.
    Errno::result(unsafe { libc::unveil(path.as_ptr(), permissions.as_ptr()) })?;
    Ok(())
}

/// See [`super::privilege::unveil_no_more`].
#[allow(unsafe_code)]
pub(super) fn unveil_no_more() -> io::Result<()> {
    // SAFETY: unveil(2): two NULLs end it.
    Errno::result(unsafe { libc::unveil(null(), null()) })?;
    Ok(())
}
