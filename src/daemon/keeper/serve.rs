//! Serve: the keeper's own process.
//!
//! Lives here: [`serve`], what the process `ftpgate keeper` does from its start to its end. Not here: how it is started (`mod.rs`),
//! what it does to pf (`firewall::pf`).
//!
//! It ends with the daemon, however that ends, and takes every anchor of it along: pf has no rules that expire.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::protocol::{Answer, Channel, Hello, Request};
use crate::firewall::pf::{Lookout, Pf};
use crate::firewall::{Backend as _, Error, ErrorKind};
use crate::observe::logging::{self, Format};
use crate::sys;
use crate::sys::privilege::{pledge, unveil, unveil_no_more};

/// What the keeper may do on OpenBSD: run pfctl, look whether processes live, read the configuration, open the transfer log and
/// hand it over.
const PROMISES: &str = "stdio rpath wpath cpath proc exec sendfd";

/// Runs the keeper. Its standard input and output are the two channels to the daemon that started it.
///
/// # Errors
/// It was not started by a daemon.
pub fn serve() -> anyhow::Result<()> {
    let by_hand = "`ftpgate keeper` is started by `ftpgate run` and by nobody else";
    let mut changes = channel(io::stdin().as_fd()).context(by_hand)?;
    let mut errands = channel(io::stdout().as_fd()).context(by_hand)?;
    let hello: Hello = changes.receive()?.context(by_hand)?;
    logging::init(hello.level.parse()?, if hello.json { Format::Json } else { Format::Text })?;
    confine(&hello).context("cannot give up what the keeper does not need")?;

    let lookout = Lookout::new(&hello.pf);
    let mut pf = Pf::new(hello.pf, hello.pid);
    let (configuration, transfers) = (hello.configuration, hello.transfers);
    // Looking takes longer than a client should wait for its pinhole, so it has a channel of its own.
    thread::Builder::new().name("errands".into()).spawn(move || {
        let served = run_errands(&mut errands, &lookout, configuration.as_deref(), transfers.as_deref());
        if let Err(error) = served {
            tracing::error!(%error, "the keeper cannot hear the daemon");
        }
    })?;
    let served = carry_out(&mut changes, &mut pf);
    // The daemon is gone, or nobody knows what it says: either way nothing of it may stay.
    pf.clear()?;
    Ok(served?)
}

/// A socket that the daemon left under a number that every process has.
fn channel(descriptor: impl AsFd) -> io::Result<Channel> {
    let stream = UnixStream::from(descriptor.as_fd().try_clone_to_owned()?);
    // Fails if it is no socket.
    stream.local_addr()?;
    Ok(Channel::new(stream))
}

/// OpenBSD: only these files, and only this.
fn confine(hello: &Hello) -> io::Result<()> {
    // Where the daemon was started is nobody's business, and afterwards there is no folder to change to.
    std::env::set_current_dir("/")?;
    unveil(&hello.pf.pfctl, "x")?;
    unveil(Path::new("/dev/null"), "rw")?;
    for (file, permissions) in [(&hello.configuration, "r"), (&hello.transfers, "rwc")] {
        if let Some(file) = file {
            unveil(file, permissions)?;
        }
    }
    unveil_no_more()?;
    pledge(PROMISES)
}

/// Carries out changes until the daemon is gone, and takes out what has had its time.
fn carry_out(changes: &mut Channel, pf: &mut Pf) -> io::Result<()> {
    loop {
        let timeout = match pf.deadline() {
            None => PollTimeout::NONE,
            Some(at) => {
                // Never too early: a moment rounded down would be waited for again and again.
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::from(u16::try_from(left.as_millis()).unwrap_or(u16::MAX))
            }
        };
        match poll(&mut [PollFd::new(changes.stream().as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(0) => {
                pf.tick(Instant::now());
                continue;
            }
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        }
        let Some(request) = changes.receive()? else { return Ok(()) };
        let done = match request {
            Request::Verify => pf.verify(),
            Request::Apply(list) => pf.apply(&list),
            Request::Clear => pf.clear(),
            Request::Look(_) | Request::Configuration | Request::Transfers => Err(astray()),
        };
        changes.send(&done.map_or_else(Answer::Failed, |()| Answer::Done))?;
    }
}

/// Runs errands until the daemon is gone.
fn run_errands(
    errands: &mut Channel,
    lookout: &Lookout,
    configuration: Option<&Path>,
    transfers: Option<&Path>,
) -> io::Result<()> {
    while let Some(request) = errands.receive()? {
        let answer = match request {
            Request::Look(interest) => lookout.look(&interest).map(Answer::Seen),
            Request::Configuration => named(configuration)
                .and_then(|path| std::fs::read_to_string(path).map(Answer::Text).map_err(|error| failed(path, &error))),
            Request::Transfers => {
                let opened = named(transfers).and_then(|path| {
                    OpenOptions::new().append(true).create(true).open(path).map_err(|error| failed(path, &error))
                });
                match opened {
                    Ok(file) => {
                        errands.send(&Answer::Descriptor)?;
                        sys::send_fd(errands.stream(), &[0], &file)?;
                        continue;
                    }
                    Err(error) => Err(error),
                }
            }
            Request::Verify | Request::Apply(_) | Request::Clear => Err(astray()),
        };
        errands.send(&answer.unwrap_or_else(Answer::Failed))?;
    }
    Ok(())
}

fn astray() -> Error {
    Error::new(ErrorKind::Other, "a request came to the keeper on the wrong channel; this is a fault in ftpgate")
}

fn named(path: Option<&Path>) -> Result<&Path, Error> {
    path.ok_or_else(|| Error::new(ErrorKind::Other, "the daemon was started without such a file"))
}

fn failed(path: &Path, error: &io::Error) -> Error {
    Error::new(ErrorKind::Other, format!("cannot open {}: {error}", path.display()))
}
