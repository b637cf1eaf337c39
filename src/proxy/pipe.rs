//! One control connection, with what is still to be sent on it.
//!
//! Lives here: non-blocking writes that keep what the kernel would not take, urgent bytes, half-close after the last byte. Not
//! here: what is sent (`session`), when to read (`driver`). An idle pipe owns no buffer.

use std::io::{self, Read};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sys;

/// Bytes waiting for one side beyond which the other side is not read.
const HIGH_WATER: usize = 64 * 1024;

/// One side of a session.
#[derive(Debug)]
pub struct Pipe {
    stream: TcpStream,
    /// What is not sent yet. Rare, so it is behind a pointer.
    waiting: Option<Box<Waiting>>,
    shutdown: bool,
    failed: bool,
}

/// Bytes that the kernel would not take, of which some have been sent since. Never all of them.
#[derive(Debug)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
}

impl Pipe {
    /// A connection with nothing to send.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: None, shutdown: false, failed: false }
    }

    /// Whether so much is waiting that no more should be produced.
    pub fn is_full(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.bytes.len() - waiting.sent >= HIGH_WATER)
    }

    /// Whether bytes wait for the kernel to take them.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether sending failed: the peer is gone.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Takes what has come, as much as fits into `buffer`.
    ///
    /// A read that leaves room has emptied the socket, and the next one would only say so: then the next waits for news from
    /// the kernel. That saves one of four reads a command. It does not hold where the other end may send urgent data, because
    /// the kernel ends a read before the mark, whatever is behind it.
    pub fn read(&self, buffer: &mut [u8], may_be_urgent: bool) -> io::Result<usize> {
        let mut taken = 0;
        // `try_io` forgets only what it knew before the read: news that come in the middle of it are not lost.
        let read = self.stream.try_io(Interest::READABLE, || {
            taken = (&*socket2::SockRef::from(&self.stream)).read(buffer)?;
            let more_may_be_there = taken == 0 || taken == buffer.len() || may_be_urgent;
            if more_may_be_there { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
        });
        match read {
            Err(error) if taken == 0 => Err(error),
            _ => Ok(taken),
        }
    }

    /// Whether it can be read and written, of what is asked for; if nothing is, never. Always ask from the same task.
    ///
    /// # Errors
    /// The runtime is going away.
    pub fn poll_ready(&self, read: bool, write: bool, context: &mut Context<'_>) -> Poll<io::Result<(bool, bool)>> {
        let readable = if read { self.stream.poll_read_ready(context)? } else { Poll::Pending };
        let writable = if write { self.stream.poll_write_ready(context)? } else { Poll::Pending };
        match (readable.is_ready(), writable.is_ready()) {
            (false, false) => Poll::Pending,
            ready => Poll::Ready(Ok(ready)),
        }
    }

    /// Sends now what the kernel takes, the rest later.
    pub fn send(&mut self, bytes: &[u8]) {
        let taken = if self.is_waiting() { 0 } else { self.write(bytes) };
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            let nothing = || Box::new(Waiting { bytes: Vec::new(), sent: 0 });
            self.waiting.get_or_insert_with(nothing).bytes.extend_from_slice(rest);
        }
    }

    /// The same, with the last byte marked urgent. Behind bytes that wait it loses the mark, which RFC 6384 §5 allows.
    pub fn send_urgent(&mut self, bytes: &[u8]) {
        if !self.is_waiting() && !self.failed {
            let stream = &self.stream;
            let sent = stream.try_io(Interest::WRITABLE, || sys::send_urgent(stream, bytes));
            if matches!(sent, Ok(n) if n == bytes.len()) {
                return;
            }
        }
        self.send(bytes);
    }

    /// Half-closes once everything is sent.
    pub fn shutdown(&mut self) {
        self.shutdown = true;
        self.finish();
    }

    /// The kernel may take more now.
    pub fn flush(&mut self) {
        if let Some(mut waiting) = self.waiting.take() {
            waiting.sent += self.write(waiting.bytes.get(waiting.sent..).unwrap_or_default());
            self.waiting = Some(waiting).filter(|waiting| waiting.sent < waiting.bytes.len() && !self.failed);
        }
        self.finish();
    }

    fn finish(&mut self) {
        if self.shutdown && !self.is_waiting() {
            // A peer that is gone already makes this fail, and nobody misses it.
            let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
        }
    }

    /// Says how many bytes are dealt with; all of them if the peer is gone.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty() && !self.failed) {
            match self.stream.try_write(rest) {
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.failed = true,
            }
        }
        bytes.len()
    }
}
