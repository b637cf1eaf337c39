//! One control connection, with what is still to be sent on it.
//!
//! Lives here: non-blocking writes that keep what the kernel would not take, urgent bytes, half-close after the last byte, and TLS
//! between the kernel and the session. Not here: what is sent, and when TLS begins (`session`), when to read (`driver`), TLS itself
//! (`tls::channel`). An idle pipe owns no buffer; one without TLS pays nothing for it.

use std::io::{self, Read};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sys;
use crate::tls::channel::{Channel, Heard};

/// Bytes waiting for one side beyond which the other side is not read.
const HIGH_WATER: usize = 64 * 1024;

/// One side of a session.
#[derive(Debug)]
pub struct Pipe {
    stream: TcpStream,
    /// What there is besides the connection: rare in clear text, so it is behind a pointer.
    more: Option<Box<More>>,
    shutdown: bool,
    failed: bool,
}

/// What is not sent yet, and TLS.
#[derive(Debug, Default)]
struct More {
    /// Bytes that the kernel has not taken, of which some have been sent since. Never all of them.
    bytes: Vec<u8>,
    sent: usize,
    tls: Option<Tls>,
}

#[derive(Debug)]
struct Tls {
    channel: Channel,
    /// We are back to clear text; the peer may not be yet.
    left: bool,
}

impl More {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// TLS, if what is said is to be said in it.
    fn secured(&mut self) -> Option<(&mut Channel, &mut Vec<u8>)> {
        let Self { bytes, tls, .. } = self;
        tls.as_mut().filter(|tls| !tls.left).map(|tls| (&mut tls.channel, bytes))
    }
}

impl Pipe {
    /// A connection with nothing to send.
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, more: None, shutdown: false, failed: false }
    }

    /// Whether so much is waiting that no more should be produced.
    pub fn is_full(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.unsent() >= HIGH_WATER)
    }

    /// Whether bytes wait for the kernel to take them.
    pub fn is_waiting(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.unsent() > 0)
    }

    /// Whether sending failed: the peer is gone.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Begins TLS, behind what is still to be sent. Nothing can be read until [`Pipe::shake_hands`] says that it is done.
    pub fn secure(&mut self, channel: Channel) {
        let more = self.more.get_or_insert_default();
        more.tls = Some(Tls { channel, left: false });
        // The client of a TLS connection speaks first.
        if let Some((channel, wire)) = more.secured() {
            channel.flush(wire);
        }
        self.flush();
    }

    /// Ends TLS, and goes on in clear text: what is sent from now on, and what comes behind the peer's own end of TLS.
    pub fn unsecure(&mut self) {
        self.close_tls();
        if let Some(tls) = self.more.as_mut().and_then(|more| more.tls.as_mut()) {
            tls.left = true;
        }
        self.flush();
    }

    fn close_tls(&mut self) {
        if let Some((channel, wire)) = self.more.as_mut().and_then(|more| more.secured()) {
            channel.close(wire);
        }
    }

    /// Whether a handshake is under way.
    pub fn is_shaking_hands(&self) -> bool {
        self.tls().is_some_and(|tls| tls.channel.is_shaking_hands())
    }

    fn tls(&self) -> Option<&Tls> {
        self.more.as_ref().and_then(|more| more.tls.as_ref())
    }

    /// Goes on with the handshake, by what has come; says whether it is done.
    ///
    /// # Errors
    /// It has failed, or the peer is gone. The peer has been told why, as far as TLS has words for it.
    pub fn shake_hands(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            let Some((channel, wire)) = self.more.as_mut().and_then(|more| more.secured()) else { return Ok(true) };
            let shaken = channel.shake_hands(wire);
            self.flush();
            if shaken.map_err(io::Error::other)? {
                return Ok(true);
            }
            match self.read_wire(&mut buffer, false) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.take(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, wire: &[u8]) {
        if let Some(tls) = self.more.as_mut().and_then(|more| more.tls.as_mut()) {
            tls.channel.take(wire);
        }
    }

    /// Takes what has come, as much as fits into `buffer`; without the TLS around it.
    pub fn read(&mut self, buffer: &mut [u8], may_be_urgent: bool) -> io::Result<usize> {
        if self.tls().is_none() {
            return self.read_wire(buffer, may_be_urgent);
        }
        let read = self.read_tls(buffer);
        self.flush();
        read
    }

    fn read_tls(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(more) = &mut self.more else { return self.read_wire(buffer, false) };
            let Some(tls) = &mut more.tls else { return self.read_wire(buffer, false) };
            match Some(&mut tls.channel).filter(|_| tls.left).and_then(|channel| channel.rest(buffer)) {
                Some(0) => {
                    more.tls = None;
                    continue;
                }
                Some(count) => return Ok(count),
                None => {}
            }
            match tls.channel.read(buffer, &mut more.bytes).map_err(io::Error::other)? {
                Heard::Bytes(count) => return Ok(count),
                Heard::Closed if tls.left => continue,
                Heard::Closed => return Ok(0),
                Heard::Nothing => {}
            }
            match self.read_wire(buffer, false)? {
                0 => return Ok(0),
                count => self.take(buffer.get(..count).unwrap_or_default()),
            }
        }
    }

    /// Takes what has come on the connection.
    ///
    /// A read that leaves room has emptied the socket, and the next one would only say so: then the next waits for news from
    /// the kernel. That saves one of four reads a command. It does not hold where the other end may send urgent data, because
    /// the kernel ends a read before the mark, whatever is behind it.
    fn read_wire(&self, buffer: &mut [u8], may_be_urgent: bool) -> io::Result<usize> {
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
        // What TLS has kept is no news to the kernel.
        if read && self.tls().is_some_and(|tls| tls.channel.has_more()) {
            return Poll::Ready(Ok((true, false)));
        }
        let readable = if read { self.stream.poll_read_ready(context)? } else { Poll::Pending };
        let writable = if write { self.stream.poll_write_ready(context)? } else { Poll::Pending };
        match (readable.is_ready(), writable.is_ready()) {
            (false, false) => Poll::Pending,
            ready => Poll::Ready(Ok(ready)),
        }
    }

    /// Sends now what the kernel takes, the rest later.
    pub fn send(&mut self, bytes: &[u8]) {
        if let Some((channel, wire)) = self.more.as_mut().and_then(|more| more.secured()) {
            channel.write(bytes, wire);
            return self.flush();
        }
        let taken = if self.is_waiting() { 0 } else { self.write(bytes) };
        let rest = bytes.get(taken..).unwrap_or_default();
        if !rest.is_empty() {
            self.more.get_or_insert_default().bytes.extend_from_slice(rest);
        }
    }

    /// The same, with the last byte marked urgent. Behind bytes that wait it loses the mark, which RFC 6384 §5 allows; so it does in
    /// TLS, in which there is no such mark.
    pub fn send_urgent(&mut self, bytes: &[u8]) {
        if !self.is_waiting() && !self.failed && self.tls().is_none_or(|tls| tls.left) {
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
        if !self.shutdown {
            self.close_tls();
        }
        self.shutdown = true;
        self.flush();
    }

    /// The kernel may take more now.
    pub fn flush(&mut self) {
        if let Some(mut more) = self.more.take() {
            if more.unsent() > 0 {
                more.sent += self.write(more.bytes.get(more.sent..).unwrap_or_default());
                if more.unsent() == 0 || self.failed {
                    (more.bytes, more.sent) = (Vec::new(), 0);
                }
            }
            self.more = Some(more).filter(|more| more.unsent() > 0 || more.tls.is_some());
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

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
