//! Moving bytes from one socket to another.
//!
//! Lives here: [`Pipe`], which takes a bounded number of bytes from one socket and gives them to another: on Linux through a pipe of
//! the kernel's, splice(2), so that they never come to this process; elsewhere through memory. Not here: when (`firewall::relay`).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};

/// Most bytes in memory, where they pass through memory.
const BUFFER: usize = 64 << 10;

/// Holds what was taken from one socket until the other takes it. Empty, it belongs to nobody and can serve another pair.
#[derive(Debug)]
pub struct Pipe(Kind);

#[derive(Debug)]
enum Kind {
    #[cfg(target_os = "linux")]
    Spliced(spliced::Pipe),
    Buffered(Buffered),
}

impl Pipe {
    /// An empty one. On Linux without free descriptors it is one through memory: slower, and it works.
    pub fn new() -> Self {
        #[cfg(target_os = "linux")]
        if let Ok(pipe) = spliced::Pipe::new() {
            return Self(Kind::Spliced(pipe));
        }
        Self(Kind::Buffered(Buffered::default()))
    }

    /// Bytes that it holds.
    pub fn held(&self) -> usize {
        match &self.0 {
            #[cfg(target_os = "linux")]
            Kind::Spliced(pipe) => pipe.held,
            Kind::Buffered(buffered) => buffered.held(),
        }
    }

    /// Whether keeping it saves the making of another.
    pub fn is_worth_keeping(&self) -> bool {
        cfg!(not(target_os = "linux")) || !matches!(self.0, Kind::Buffered(_))
    }

    /// Takes what the socket has, up to a bound; 0 is its end. Only into an empty one: then `WouldBlock` says something about the
    /// socket, and not about the pipe.
    ///
    /// # Errors
    /// As of splice(2) and recv(2).
    pub fn fill(&mut self, from: &impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.held(), 0, "what it holds first");
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            Kind::Spliced(pipe) => pipe.fill(from),
            Kind::Buffered(buffered) => buffered.fill(from),
        }
    }

    /// Gives the socket as much of what it holds as that takes.
    ///
    /// # Errors
    /// As of splice(2) and send(2).
    pub fn drain(&mut self, to: &impl AsFd) -> io::Result<usize> {
        match &mut self.0 {
            #[cfg(target_os = "linux")]
            Kind::Spliced(pipe) => pipe.drain(to),
            Kind::Buffered(buffered) => buffered.drain(to),
        }
    }
}

impl Default for Pipe {
    fn default() -> Self {
        Self::new()
    }
}

/// Through memory.
#[derive(Debug)]
struct Buffered {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Default for Buffered {
    fn default() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0 }
    }
}

impl Buffered {
    fn held(&self) -> usize {
        self.end - self.start
    }

    fn fill(&mut self, from: &impl AsFd) -> io::Result<usize> {
        let count = again(|| recv(from.as_fd().as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT))?;
        (self.start, self.end) = (0, count);
        Ok(count)
    }

    fn drain(&mut self, to: &impl AsFd) -> io::Result<usize> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let count = again(|| send(to.as_fd().as_raw_fd(), bytes, flags))?;
        self.start += count;
        Ok(count)
    }
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

#[cfg(target_os = "linux")]
mod spliced {
    use std::io;
    use std::os::fd::{AsFd, OwnedFd};

    use nix::fcntl::{OFlag, SpliceFFlags, splice};
    use nix::unistd::pipe2;

    use super::again;

    /// Most bytes taken at once, and so what one direction of a connection holds at most.
    const MOST: usize = 256 << 10;

    /// pipe(7): 16 pages or fragments of packets, unless its user has very many of them.
    #[derive(Debug)]
    pub(super) struct Pipe {
        read: OwnedFd,
        write: OwnedFd,
        pub(super) held: usize,
    }

    /// Pages are handed over; waiting is for others.
    const FLAGS: SpliceFFlags = SpliceFFlags::SPLICE_F_MOVE.union(SpliceFFlags::SPLICE_F_NONBLOCK);

    impl Pipe {
        pub(super) fn new() -> io::Result<Self> {
            let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
            Ok(Self { read, write, held: 0 })
        }

        pub(super) fn fill(&mut self, from: &impl AsFd) -> io::Result<usize> {
            let count = again(|| splice(from, None, &self.write, None, MOST, FLAGS))?;
            self.held += count;
            Ok(count)
        }

        pub(super) fn drain(&mut self, to: &impl AsFd) -> io::Result<usize> {
            let count = again(|| splice(&self.read, None, to, None, self.held, FLAGS))?;
            self.held = self.held.saturating_sub(count);
            Ok(count)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Both kinds keep the same promises.
    fn every_kind(test: impl Fn(Pipe)) {
        test(Pipe::new());
        test(Pipe(Kind::Buffered(Buffered::default())));
    }

    fn socket_pair() -> (UnixStream, UnixStream) {
        let (one, other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        other.set_nonblocking(true).unwrap();
        (one, other)
    }

    #[test]
    fn bytes_pass_in_order_and_the_end_is_seen() {
        every_kind(|mut pipe| {
            let ((mut sender, from), (to, mut receiver)) = (socket_pair(), socket_pair());
            assert_eq!(pipe.fill(&from).unwrap_err().kind(), ErrorKind::WouldBlock);
            sender.write_all(b"some bytes").unwrap();
            assert_eq!((pipe.fill(&from).unwrap(), pipe.held()), (10, 10));
            assert_eq!((pipe.drain(&to).unwrap(), pipe.held()), (10, 0));
            let mut buffer = [0; 32];
            let count = receiver.read(&mut buffer).unwrap();
            assert_eq!(&buffer[..count], b"some bytes");
            drop(sender);
            assert_eq!(pipe.fill(&from).unwrap(), 0);
        });
    }

    #[test]
    fn what_a_full_socket_does_not_take_stays_in_order() {
        every_kind(|mut pipe| {
            let ((mut sender, from), (to, mut receiver)) = (socket_pair(), socket_pair());
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            let mut next = 0u8;
            let mut blocked = 0;
            while blocked < 3 {
                let bytes: Vec<u8> =
                    std::iter::repeat_with(|| (next, next = next.wrapping_add(1)).0).take(3000).collect();
                match sender.write(&bytes) {
                    Ok(count) => {
                        next = bytes[0].wrapping_add(u8::try_from(count % 256).unwrap());
                        sent.extend_from_slice(&bytes[..count]);
                    }
                    Err(_) => next = bytes[0],
                }
                if pipe.held() == 0 && pipe.fill(&from).is_err() {
                    continue;
                }
                if let Err(error) = pipe.drain(&to) {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    assert!(pipe.held() > 0);
                    blocked += 1;
                    let mut buffer = [0; 4096];
                    let count = receiver.read(&mut buffer).unwrap();
                    received.extend_from_slice(&buffer[..count]);
                }
            }
            drop(sender);
            let mut over = false;
            while !over || pipe.held() > 0 {
                over = pipe.held() == 0 && pipe.fill(&from).unwrap() == 0;
                let _ = pipe.drain(&to);
                let mut buffer = [0; 4096];
                if let Ok(count) = receiver.read(&mut buffer) {
                    received.extend_from_slice(&buffer[..count]);
                }
            }
            drop(to);
            receiver.read_to_end(&mut received).unwrap();
            assert!(sent == received, "{} of {}", received.len(), sent.len());
        });
    }

    #[test]
    fn a_peer_that_is_gone_is_an_error_and_no_signal() {
        every_kind(|mut pipe| {
            let ((mut sender, from), (to, receiver)) = (socket_pair(), socket_pair());
            sender.write_all(b"lost").unwrap();
            pipe.fill(&from).unwrap();
            drop(receiver);
            assert_eq!(pipe.drain(&to).unwrap_err().kind(), ErrorKind::BrokenPipe);
        });
    }
}
