//! The threads that sessions run on.
//!
//! Lives here: [`Crew`], one thread for each core with a runtime of its own, between which sessions are dealt out in turn. Not here:
//! what a session does there (`driver`), who accepts (`listener`).
//!
//! A session stays on its thread. A runtime whose threads share their work would spread it more evenly, but it wakes one thread for
//! what another has read: seven futexes and five writes to wake somebody for a client that logs in and out (docs/benchmarks.md). What a
//! session does is too little, and too much alike, to be worth that.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// Dropped, it ends the threads and whatever still runs on them.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Handle>,
    next: AtomicUsize,
    _alive: watch::Sender<()>,
}

impl Crew {
    /// The thread that `here` belongs to, and one more for each further core that this process may use.
    ///
    /// # Errors
    /// A thread or its runtime could not be had.
    pub fn muster(here: &Handle) -> io::Result<Self> {
        let (alive, ended) = watch::channel(());
        let mut members = vec![here.clone()];
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for number in 1..cores {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            members.push(runtime.handle().clone());
            let mut ended = ended.clone();
            thread::Builder::new().name(format!("sessions-{number}")).spawn(move || {
                // An error says that the sender is gone.
                let _ = runtime.block_on(ended.changed());
                runtime.shutdown_background();
            })?;
        }
        Ok(Self { members, next: AtomicUsize::new(0), _alive: alive })
    }

    /// Starts on the next thread in turn what `task` makes of this connection, which must not block.
    ///
    /// # Errors
    /// The connection cannot be watched: there are no more descriptors to be had, or no memory.
    pub fn start<F>(&self, stream: TcpStream, task: impl FnOnce(TcpStream) -> F) -> io::Result<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        match turn.checked_rem(self.members.len()).and_then(|at| self.members.get(at)) {
            // The first is the one that accepts.
            Some(member) if member.id() != Handle::current().id() => {
                let stream = stream.into_std()?;
                let stream = {
                    let _there = member.enter();
                    TcpStream::from_std(stream)?
                };
                member.spawn(task(stream));
            }
            _ => drop(tokio::spawn(task(stream))),
        }
        Ok(())
    }
}
