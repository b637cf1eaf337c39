//! Remote: the daemon's end of the channels.
//!
//! Lives here: [`Remote`], the backend whose calls the keeper carries out; [`Errands`], everything else that is asked of it. Not here:
//! what the keeper does (`serve`).

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use super::protocol::{Answer, Channel, Request};
use crate::firewall::pf::tracker::{Interest, Seen, Source};
use crate::firewall::{Backend, Change, Error, ErrorKind, Habits, pf};
use crate::sys;

/// Asks and waits for the answer.
fn ask(channel: &mut Channel, request: &Request) -> Result<Answer, Error> {
    let asked = channel.send(request).and_then(|()| channel.receive());
    match asked {
        Ok(Some(Answer::Failed(error))) => Err(error),
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(gone("it has ended")),
        Err(error) => Err(gone(&error.to_string())),
    }
}

fn gone(why: &str) -> Error {
    Error::new(
        ErrorKind::Other,
        format!("the keeper, the process of ftpgate that may change pf, does not answer: {why}; restart ftpgate"),
    )
}

fn unexpected() -> Error {
    gone("it answered something else than it was asked")
}

/// The backend.
#[derive(Debug)]
pub(in crate::daemon) struct Remote {
    pub(super) channel: Channel,
}

impl Remote {
    fn tell(&mut self, request: &Request) -> Result<(), Error> {
        match ask(&mut self.channel, request)? {
            Answer::Done => Ok(()),
            _ => Err(unexpected()),
        }
    }
}

impl Backend for Remote {
    fn name(&self) -> &'static str {
        "pf"
    }

    fn habits(&self) -> Habits {
        pf::HABITS
    }

    fn verify(&mut self) -> Result<(), Error> {
        self.tell(&Request::Verify)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        self.tell(&Request::Apply(changes.to_vec()))
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.tell(&Request::Clear)
    }
}

/// What else the keeper does. Clones share a channel.
#[derive(Clone, Debug)]
pub(in crate::daemon) struct Errands {
    channel: Arc<Mutex<Channel>>,
}

impl Errands {
    pub(super) fn new(channel: Channel) -> Self {
        Self { channel: Arc::new(Mutex::new(channel)) }
    }

    fn ask(&self, request: &Request) -> Result<Answer, Error> {
        ask(&mut self.channel.lock().unwrap_or_else(PoisonError::into_inner), request)
    }

    /// The text of the configuration file as it is now.
    pub(in crate::daemon) fn configuration(&self) -> Result<String, Error> {
        match self.ask(&Request::Configuration)? {
            Answer::Text(text) => Ok(text),
            _ => Err(unexpected()),
        }
    }

    /// The transfer log, opened again for appending.
    pub(in crate::daemon) fn transfers(&self) -> io::Result<File> {
        let mut channel = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        match ask(&mut channel, &Request::Transfers).map_err(io::Error::other)? {
            Answer::Descriptor => {}
            _ => return Err(io::Error::other(unexpected())),
        }
        let (_, descriptor) = sys::recv_fd(channel.stream(), &mut [0])?;
        descriptor.map(File::from).ok_or_else(|| io::Error::other(unexpected()))
    }
}

impl Source for Errands {
    fn look(&mut self, interest: &Interest) -> Result<Vec<Seen>, Error> {
        match self.ask(&Request::Look(interest.clone()))? {
            Answer::Seen(seen) => Ok(seen),
            _ => Err(unexpected()),
        }
    }
}
