//! Socket: a netlink socket to netfilter, and the exchange of a request for its answers.
//!
//! Lives here: [`Socket`], whatever is said over it. Not here: the bytes (`encode`, `answer`).
//!
//! The kernel does all the work inside `sendto`, so the answers are already queued when it returns: they are read without
//! waiting until nothing is left.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname, recv, sendmsg, socket,
};

use super::answer::{Answer, answers};

/// A system call that failed.
pub(in crate::firewall) type Failed = (&'static str, Errno);

/// A non-blocking socket to netfilter in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(in crate::firewall) struct Socket {
    descriptor: OwnedFd,
}

impl Socket {
    /// Opens one that has no port yet. Needs no privilege; using it does.
    pub(in crate::firewall) fn unbound() -> Result<Self, Failed> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let descriptor = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)
            .map_err(|errno| ("socket", errno))?;
        Ok(Self { descriptor })
    }

    /// Gives it a port of the kernel's choice and joins these multicast groups: bit 0 is group 1.
    pub(in crate::firewall) fn bind(&self, groups: u32) -> Result<(), Failed> {
        bind(self.descriptor.as_raw_fd(), &NetlinkAddr::new(0, groups)).map_err(|errno| ("bind", errno))
    }

    /// The port by which the kernel knows it.
    pub(in crate::firewall) fn port(&self) -> Result<u32, Failed> {
        let name: NetlinkAddr = getsockname(self.descriptor.as_raw_fd()).map_err(|errno| ("getsockname", errno))?;
        Ok(name.pid())
    }

    /// Sends a datagram and hands every answer that is queued to `each`. `buffer` must have room for the longest one.
    pub(in crate::firewall) fn exchange(
        &self,
        datagram: &[u8],
        buffer: &mut [u8],
        mut each: impl FnMut(Answer<'_>),
    ) -> Result<(), Failed> {
        self.send(datagram)?;
        while self.receive(buffer, &mut each)? {}
        Ok(())
    }

    /// The same for a question that has one datagram for an answer.
    pub(in crate::firewall) fn ask(
        &self,
        datagram: &[u8],
        buffer: &mut [u8],
        each: impl FnMut(Answer<'_>),
    ) -> Result<(), Failed> {
        self.send(datagram)?;
        self.receive(buffer, each).map(drop)
    }

    fn send(&self, datagram: &[u8]) -> Result<(), Failed> {
        let descriptor = self.descriptor.as_raw_fd();
        let kernel = NetlinkAddr::new(0, 0);
        loop {
            match sendmsg(descriptor, &[IoSlice::new(datagram)], &[], MsgFlags::empty(), Some(&kernel)) {
                Ok(_) => return Ok(()),
                // Nothing was done: the kernel takes a datagram whole.
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(("sendto", errno)),
            }
        }
    }

    /// Takes in one datagram, if there is one.
    fn receive(&self, buffer: &mut [u8], each: impl FnMut(Answer<'_>)) -> Result<bool, Failed> {
        loop {
            match recv(self.descriptor.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    answers(buffer.get(..length).unwrap_or_default()).for_each(each);
                    return Ok(true);
                }
                Err(Errno::EAGAIN) => return Ok(false),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(("recv", errno)),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
