//! One control connection, with what is still to be sent on it.
//!
//! Lives here: non-blocking writes that keep what the kernel would not take, urgent bytes, half-close after the last byte. Not
//! here: what is sent (`session`), when to read (`driver`). An idle pipe owns no buffer.

use std::io::{self, Read};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sys;

/// Bytes waiting for one side beyond which the other side is not read.
const HIGH_WATER: usize = 64 * 1024;

/// One side of a session.
#[derive(Debug)]
pub struct Pipe {
    stream: TcpStream,
    waiting: Vec<u8>,
    sent: usize,
    shutdown: bool,
    failed: bool,
}

impl Pipe {
    /// A connection with nothing to send.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, waiting: Vec::new(), sent: 0, shutdown: false, failed: false }
    }

    /// Whether so much is waiting that no more should be produced.
    pub fn is_full(&self) -> bool {
        self.waiting.len() - self.sent >= HIGH_WATER
    }

    /// Whether bytes wait for the kernel to take them.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
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

    /// Sends now what the kernel takes, the rest later.
    pub fn send(&mut self, bytes: &[u8]) {
        let taken = if self.waiting.is_empty() { self.write(bytes) } else { 0 };
        self.waiting.extend_from_slice(bytes.get(taken..).unwrap_or_default());
    }

    /// The same, with the last byte marked urgent. Behind bytes that wait it loses the mark, which RFC 6384 §5 allows.
    pub fn send_urgent(&mut self, bytes: &[u8]) {
        if self.waiting.is_empty() && !self.failed {
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
        let waiting = std::mem::take(&mut self.waiting);
        let taken = self.write(waiting.get(self.sent..).unwrap_or_default());
        self.sent += taken;
        if self.sent < waiting.len() && !self.failed {
            self.waiting = waiting;
        } else {
            self.sent = 0;
        }
        self.finish();
    }

    fn finish(&mut self) {
        if self.shutdown && self.waiting.is_empty() {
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
