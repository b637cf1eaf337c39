//! Protocol: what daemon and keeper say to each other.
//!
//! Lives here: [`Request`] and [`Answer`], and [`Channel`], which carries them: a Unix stream, each message a length of four bytes
//! in front of JSON; one answer to each request. Not here: who does what is asked (`serve`), who asks (`remote`).
//!
//! The daemon reads strangers' bytes and the keeper is root, so a request can say nothing but what is listed here: plain
//! pinholes, from which the keeper itself writes the rules.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::firewall::pf::tracker::{Interest, Seen};
use crate::firewall::{Change, Error, pf};

/// Longest message in bytes: all states of interest of ten thousand sessions.
const LONGEST: u32 = 16 << 20;

/// The first message on the first channel. Has no answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    /// What the backend goes by.
    pub(super) pf: pf::Settings,
    /// The daemon's process, after which its anchors are named.
    pub(super) pid: u32,
    /// The file that may be read again.
    pub(super) configuration: Option<PathBuf>,
    /// The file that may be opened again.
    pub(super) transfers: Option<PathBuf>,
    /// `log.level`.
    pub(super) level: String,
    /// `log.format` is json.
    pub(super) json: bool,
}

/// What the daemon asks.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// `Backend::verify`.
    Verify,
    /// `Backend::apply`.
    Apply(Vec<Change>),
    /// `Backend::clear`.
    Clear,
    /// `Source::look`.
    Look(Interest),
    /// The configuration file's text.
    Configuration,
    /// The transfer log, opened for appending.
    Transfers,
}

/// What the keeper answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is not.
    Failed(Error),
    /// To [`Request::Look`].
    Seen(Vec<Seen>),
    /// To [`Request::Configuration`].
    Text(String),
    /// To [`Request::Transfers`]: one byte with a descriptor follows.
    Descriptor,
}

/// One end of a channel.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.0
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut bytes = vec![0; 4];
        serde_json::to_writer(&mut bytes, message)?;
        let length = u32::try_from(bytes.len() - 4).ok().filter(|length| *length <= LONGEST);
        let length = length.ok_or_else(|| io::Error::other("the message is too long"))?;
        if let Some(front) = bytes.first_chunk_mut() {
            *front = length.to_be_bytes();
        }
        self.0.write_all(&bytes)
    }

    /// Waits for a message; `None` at the end of the stream.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut length = [0; 4];
        match self.0.read_exact(&mut length) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
        }
        let mut bytes = Vec::new();
        let read = (&self.0).take(u64::from(length)).read_to_end(&mut bytes)?;
        if read < length as usize {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (one, other) = UnixStream::pair().unwrap();
        (Channel::new(one), Channel::new(other))
    }

    #[test]
    fn messages_arrive_as_they_were_sent_and_then_the_end() {
        let (mut here, mut there) = pair();
        here.send(&Request::Verify).unwrap();
        here.send(&Request::Look(Interest { awaited: Vec::new(), followed: vec![u64::MAX] })).unwrap();
        drop(here);
        assert!(matches!(there.receive().unwrap(), Some(Request::Verify)));
        let Some(Request::Look(interest)) = there.receive().unwrap() else { panic!() };
        assert_eq!(interest.followed, [u64::MAX]);
        assert!(there.receive::<Request>().unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error_and_takes_no_memory() {
        let (here, mut there) = pair();
        (&here.0).write_all(&[0xff; 8]).unwrap();
        assert!(there.receive::<Request>().is_err());
        let (here, mut there) = pair();
        (&here.0).write_all(b"\0\0\0\x05\"Run\"").unwrap();
        assert!(there.receive::<Request>().is_err(), "nothing is run");
        let (here, mut there) = pair();
        (&here.0).write_all(b"\0\0\0\x0f\"Ver").unwrap();
        drop(here);
        assert!(there.receive::<Request>().unwrap().is_none(), "half a message");
    }
}
