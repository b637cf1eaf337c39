//! FreeBSD: pf's lookup of original destinations, transparent sockets.
//!
//! Lives here: what differs from other systems, by the names that `linux.rs` and `openbsd.rs` use too. Not here: the bytes of
//! the lookup (`natlook.rs`), what both BSDs share (`bsd.rs`).

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use socket2::{Socket, TcpKeepalive};

use super::abi;
use super::natlook::FreeBsd as Natlook;

pub(super) use super::bsd::{OPEN_FILES, SIOCATMARK, accept_foreign, bind_without_port};

pub(super) const WHO_LISTENS: &str = "sockstat -l -P tcp";

const _: () = {
    assert!(libc::IP_BINDANY == abi::FREEBSD_IP_BINDANY);
    assert!(libc::IPV6_BINDANY == abi::FREEBSD_IPV6_BINDANY);
    assert!(libc::AF_INET6 == Natlook::AF_INET6 as libc::c_int);
    assert!(nix::request_code_readwrite!(b'D', 23, size_of::<Natlook>()) == Natlook::REQUEST);
};

/// pf(4).
const DEVICE: &str = "/dev/pf";

/// pf, for reading: enough to look connections up, and not enough to change a rule. Open until the process ends.
static PF: OnceLock<OwnedFd> = OnceLock::new();

#[allow(unsafe_code)] // the macro makes an unsafe function
mod request {
    nix::ioctl_readwrite!(diocnatlook, b'D', 23, super::Natlook);
}

/// Opens /dev/pf, which only root may.
pub(super) fn prepare_original_destination() -> io::Result<()> {
    if PF.get().is_some() {
        return Ok(());
    }
    let device = File::open(DEVICE).map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::NotFound => "pf is not loaded, or this jail has no pf; `service pf onestart` loads it",
            io::ErrorKind::PermissionDenied => "start ftpgate as root: it opens the device and then drops privileges",
            _ => "capture: redirect asks pf where clients wanted to go",
        };
        io::Error::new(error.kind(), format!("cannot open {DEVICE} for reading ({error}): {advice}"))
    })?;
    // Lost only to a second caller at the same moment, whose descriptor is as good.
    let _ = PF.set(device.into());
    Ok(())
}

/// Where a connection was going that a pf `rdr` rule brought here (`DIOCNATLOOK`, pf(4)).
#[allow(unsafe_code)]
pub(super) fn original_destination(
    _socket: &impl AsFd,
    client: SocketAddr,
    local: SocketAddr,
) -> io::Result<SocketAddr> {
    let pf = PF.get().ok_or_else(|| io::Error::other("/dev/pf was not opened at the start"))?;
    let mut lookup = Natlook::question(client, local)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a connection between two address families"))?;
    // SAFETY: the descriptor stays open, and the kernel reads and writes one structure of the size in the request's number.
    unsafe { request::diocnatlook(pf.as_raw_fd(), &raw mut lookup) }?;
    lookup.answer().ok_or_else(|| io::Error::other("the original destination is no IP address"))
}

/// `IP_BINDANY`, ip(4), `IPV6_BINDANY`, ip6(4): bind to addresses that are not this host's. Needs root (PRIV_NETINET_BINDANY).
#[allow(unsafe_code)]
pub(super) fn set_transparent(socket: &Socket, ipv6: bool) -> io::Result<()> {
    // nix has only the option of IPv4.
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_BINDANY) } else { (libc::IPPROTO_IP, libc::IP_BINDANY) };
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open for as long as it is borrowed, and the kernel reads one int, which lives through the call.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    Errno::result(result)?;
    Ok(())
}

/// tcp(4): `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`.
pub(super) fn keepalive(idle: Duration, interval: Duration, probes: u32) -> TcpKeepalive {
    TcpKeepalive::new().with_time(idle).with_interval(interval).with_retries(probes)
}
