//! Handing an open file to another process.
//!
//! Lives here: sending and receiving one descriptor over a Unix stream (`SCM_RIGHTS`, unix(7), unix(4)). Not here: what is said
//! with it.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Sends `bytes` with a descriptor, which the receiver gets as one of its own; ours stays open. Waits while the stream is full
/// if it is a blocking one.
///
/// # Errors
/// `InvalidInput` without bytes: a stream carries a descriptor with a byte only. `WriteZero` if not all bytes were taken: keep
/// them few. Else as of sendmsg(2).
pub fn send_fd(stream: &UnixStream, bytes: &[u8], descriptor: &impl AsFd) -> io::Result<()> {
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a descriptor is sent with a byte at least"));
    }
    let descriptors = [descriptor.as_fd().as_raw_fd()];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let sent =
        again(|| sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(bytes)], &rights, MsgFlags::MSG_NOSIGNAL, None))?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// `SCM_MAX_FD`, unix(7): as many as Linux lets one message carry. There is room for all of them, because what does not fit
/// could not be closed.
const MOST: usize = 253;

/// Receives bytes, and the descriptor that came with them, if one did; it is closed on exec. 0 bytes is the end of the stream.
///
/// # Errors
/// `InvalidData` if more than one descriptor came; they are closed. Else as of recvmsg(2).
#[allow(unsafe_code)]
pub fn recv_fd(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut room = nix::cmsg_space!([RawFd; MOST]);
    let (count, mut descriptors) = again(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
        let mut descriptors = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(received) = part {
                // SAFETY: the kernel has just made them for this process, and nobody else knows their numbers.
                descriptors.extend(received.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
        }
        Ok((message.bytes, descriptors))
    })?;
    if descriptors.len() > 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "more than one descriptor came at a time"));
    }
    Ok((count, descriptors.pop()))
}

/// Repeats a call that a signal interrupted.
fn again<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn an_open_file_arrives_with_its_bytes_and_is_closed_on_exec() {
        let (here, there) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_fd(&here, b"log\n", &writer).unwrap();
        drop(writer);
        let mut buffer = [0; 16];
        let (count, received) = recv_fd(&there, &mut buffer).unwrap();
        let received = received.unwrap();
        let flags = nix::fcntl::fcntl(&received, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!((&buffer[..count], flags & nix::libc::FD_CLOEXEC), (&b"log\n"[..], nix::libc::FD_CLOEXEC));
        let mut file = File::from(received);
        file.write_all(b"a line").unwrap();
        drop(file);
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        assert_eq!(written, "a line");
    }

    #[test]
    fn bytes_come_without_a_descriptor_too_and_then_the_end() {
        let (mut here, there) = UnixStream::pair().unwrap();
        here.write_all(b"none").unwrap();
        drop(here);
        let mut buffer = [0; 16];
        assert!(matches!(recv_fd(&there, &mut buffer).unwrap(), (4, None)));
        assert!(matches!(recv_fd(&there, &mut buffer).unwrap(), (0, None)));
    }

    #[test]
    fn two_at_a_time_are_refused_and_closed() {
        let (here, there) = UnixStream::pair().unwrap();
        for count in [2, 5] {
            let (mut reader, writer) = io::pipe().unwrap();
            let descriptors = vec![writer.as_raw_fd(); count];
            let rights = [ControlMessage::ScmRights(&descriptors)];
            sendmsg::<()>(here.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
            drop(writer);
            let refused = recv_fd(&there, &mut [0; 16]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
            // Whoever still held it open would keep this from ending.
            assert_eq!(reader.read(&mut [0; 1]).unwrap(), 0);
        }
        assert_eq!(send_fd(&here, b"", &there).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
