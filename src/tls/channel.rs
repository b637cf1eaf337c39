//! Channel: one TLS connection without a socket. What came is put in, and plaintext comes out; plaintext goes in, and what is to
//! be sent comes out.
//!
//! Lives here: [`Channel`]. Not here: sockets (`proxy::pipe`). rustls is given one record at a time, so what is behind the peer's
//! close_notify is never taken for a part of TLS: with CCC that is clear text. An idle channel keeps no bytes of its own.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;

use super::Error;

/// The header of a record: type, version, length (RFC 8446 §5.1).
const HEADER: usize = 5;

/// The longest record that TLS 1.2 allows (RFC 5246 §6.2.3); TLS 1.3 allows less, and rustls sees to that.
const LONGEST: usize = (1 << 14) + 2048;

/// change_cipher_spec, alert, handshake, application_data, heartbeat: what is none of these is no TLS.
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// What there is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many bytes of plaintext.
    Bytes(usize),
    /// Nothing, until more has come.
    Nothing,
    /// The peer has said that nothing will follow in TLS (close_notify).
    Closed,
}

/// One end of a TLS connection.
#[derive(Debug)]
pub struct Channel {
    connection: Connection,
    /// What has come and was not looked at yet.
    raw: Vec<u8>,
    /// Plaintext may be left that had no room.
    more: bool,
    closed: bool,
}

impl Channel {
    /// That of a TLS server.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        ServerConnection::new(config).map(Self::new).map_err(unusable)
    }

    /// That of a TLS client, to a server of this name.
    ///
    /// # Errors
    /// It cannot be begun.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        ClientConnection::new(config, name).map(Self::new).map_err(unusable)
    }

    fn new(connection: impl Into<Connection>) -> Self {
        Self { connection: connection.into(), raw: Vec::new(), more: false, closed: false }
    }

    /// Whether the handshake is not done yet.
    pub fn is_shaking_hands(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether reading makes sense though nothing new has come.
    pub fn has_more(&self) -> bool {
        self.more || (self.closed && !self.raw.is_empty()) || record(&self.raw) != Ok(None)
    }

    /// This has come.
    pub fn take(&mut self, wire: &[u8]) {
        self.raw.extend_from_slice(wire);
    }

    /// Goes on with the handshake; says whether it is done. What is to be sent then is in `wire`, also if it fails.
    ///
    /// # Errors
    /// It fails.
    pub fn shake_hands(&mut self, wire: &mut Vec<u8>) -> Result<bool, Error> {
        let mut fed = Ok(true);
        while self.is_shaking_hands() && fed == Ok(true) {
            fed = self.feed();
        }
        self.flush(wire);
        fed.map(|_| !self.is_shaking_hands())
    }

    /// Reads plaintext, as much as fits into `buffer`. What is to be sent because of it is in `wire` then, also if it fails.
    ///
    /// # Errors
    /// What has come is no TLS, or was changed on its way.
    pub fn read(&mut self, buffer: &mut [u8], wire: &mut Vec<u8>) -> Result<Heard, Error> {
        loop {
            match self.connection.reader().read(buffer) {
                Ok(0) => {
                    self.closed = true;
                    self.more = false;
                    return Ok(Heard::Closed);
                }
                Ok(count) => {
                    self.more = count == buffer.len();
                    return Ok(Heard::Bytes(count));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.more = false,
                Err(error) => return Err(Error::new(error.to_string())),
            }
            let fed = self.feed();
            self.flush(wire);
            if !fed? {
                return Ok(Heard::Nothing);
            }
        }
    }

    /// To be asked first once TLS was left: what came behind the peer's close_notify; or instead of it, from a peer that just goes on
    /// in clear text. `None`: it has not left TLS. `Some(0)`: all of it is taken, and the channel is of no use any more.
    pub fn rest(&mut self, buffer: &mut [u8]) -> Option<usize> {
        self.closed |= self.raw.first().is_some_and(|first| !TYPES.contains(first));
        if !self.closed {
            return None;
        }
        let count = self.raw.len().min(buffer.len());
        buffer.iter_mut().zip(self.raw.drain(..count)).for_each(|(to, from)| *to = from);
        Some(count)
    }

    /// Sends plaintext: what is to be sent for it is appended to `wire`.
    pub fn write(&mut self, mut plain: &[u8], wire: &mut Vec<u8>) {
        while !plain.is_empty() {
            // What rustls keeps at most is more than nothing, and it is emptied each time.
            let Ok(count @ 1..) = self.connection.writer().write(plain) else { return };
            plain = plain.get(count..).unwrap_or_default();
            self.flush(wire);
        }
    }

    /// Says that nothing will follow in TLS (close_notify).
    pub fn close(&mut self, wire: &mut Vec<u8>) {
        self.connection.send_close_notify();
        self.flush(wire);
    }

    /// Appends what is to be sent anyway.
    pub fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.connection.wants_write() && matches!(self.connection.write_tls(wire), Ok(1..)) {}
    }

    /// Whether the handshake resumed an earlier session, once that is known.
    #[cfg(test)]
    pub(super) fn kind(&self) -> Option<rustls::HandshakeKind> {
        self.connection.handshake_kind()
    }

    /// Gives rustls the next record, if all of it is there.
    fn feed(&mut self) -> Result<bool, Error> {
        let Some(length) = record(&self.raw)? else { return Ok(false) };
        let mut rest = self.raw.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            match self.connection.read_tls(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => return Err(Error::new(error.to_string())),
            }
        }
        self.raw.drain(..length);
        if self.raw.is_empty() {
            self.raw = Vec::new();
        }
        match self.connection.process_new_packets() {
            Ok(state) if state.peer_has_closed() && self.is_shaking_hands() => {
                Err(Error::new("the peer has closed in the middle of the handshake"))
            }
            Ok(_) => Ok(true),
            Err(error) => Err(Error::new(error.to_string())),
        }
    }
}

/// The length of the first record, once all of it is there.
fn record(raw: &[u8]) -> Result<Option<usize>, Error> {
    if raw.first().is_some_and(|first| !TYPES.contains(first)) {
        return Err(Error::new("what has come is no TLS"));
    }
    let &[_, _, _, high, low, ..] = raw else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST {
        return Err(Error::new("what has come is no TLS: a record is too long"));
    }
    Ok(Some(HEADER + length).filter(|length| raw.len() >= *length))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unusable(error: rustls::Error) -> Error {
    Error::new(format!("TLS cannot be begun: {error}"))
}
