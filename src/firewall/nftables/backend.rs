//! The nftables backend: when which transaction goes out, and what its failure means.
//!
//! Lives here: [`Nftables`]. Not here: what a transaction consists of (`install`, `elements`), what is in force (`book`).

use nix::errno::Errno;

use super::book::Book;
use super::elements::{self, Removal};
use super::explain::{Task, explain};
use super::message::Batch;
use super::netlink::{Failure, Socket};
use super::verify::{self, Owner};
use super::{Ownership, Settings, install, ruleset};
use crate::firewall::{Backend, Change, Error, Habits};

/// The backend. Belongs to the network namespace of the thread that made it.
#[derive(Debug)]
pub struct Nftables {
    settings: Settings,
    socket: Socket,
    book: Book,
    removal: Removal,
    assume_destroy_is_unknown: bool,
}

impl Nftables {
    /// Opens the netlink socket. Changes nothing yet, and needs no privilege.
    ///
    /// # Errors
    /// `Other`: a setting makes no sense. `Unsupported`: the kernel has no netfilter.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        settings.check()?;
        let socket = Socket::open().map_err(|failure| explain(failure, Task::Look, &settings))?;
        let removal = Removal::AddThenDelete;
        Ok(Self { settings, socket, book: Book::default(), removal, assume_destroy_is_unknown: false })
    }

    /// Treats the kernel as one before Linux 6.3, which cannot `destroy` elements. For tests on newer ones.
    #[must_use]
    pub fn assuming_destroy_is_unknown(mut self) -> Self {
        self.assume_destroy_is_unknown = true;
        self
    }

    /// Whether [`Backend::verify`] would succeed, or did for the ftpgate that runs already. Unlike `verify` it touches no
    /// element: pinholes of a running ftpgate stay open.
    ///
    /// # Errors
    /// What is missing, and how to fix it.
    pub fn rehearse(mut self) -> Result<(), Error> {
        match self.settings.ownership {
            Ownership::Managed => {
                // Whether it can be made shows best by making it, under another name: the true one may be in use.
                let owner = verify::owner(&mut self.socket, &self.settings)?;
                if owner == Owner::Nobody {
                    return Err(verify::left_over(&self.settings));
                }
                self.settings.table = format!("{}_check_{}", self.settings.table, std::process::id());
                self.verify_managed()?;
                self.probe_removal()?;
                self.clear()
            }
            Ownership::Sets => {
                self.look_at_sets()?;
                self.probe_removal()
            }
        }
    }

    /// Sends a batch and explains a failure.
    fn commit(&mut self, batch: &Batch, task: Task) -> Result<(), Error> {
        self.socket.commit(batch).map_err(|failure| explain(failure, task, &self.settings))
    }

    /// Makes our own table, unless it is there.
    fn verify_managed(&mut self) -> Result<(), Error> {
        match verify::owner(&mut self.socket, &self.settings)? {
            Owner::Us => Ok(()),
            Owner::Other(port) => Err(verify::taken(port, &self.settings)),
            Owner::Nobody => Err(verify::left_over(&self.settings)),
            Owner::Absent => {
                self.book.clear();
                self.commit(&install::create(&self.settings), Task::Create)
            }
        }
    }

    /// Looks at the administrator's table.
    fn look_at_sets(&mut self) -> Result<(), Error> {
        match verify::owner(&mut self.socket, &self.settings)? {
            Owner::Absent => return Err(verify::table_missing(&self.settings)),
            Owner::Other(port) => return Err(verify::taken(port, &self.settings)),
            Owner::Nobody | Owner::Us => {}
        }
        verify::sets(&mut self.socket, &self.settings)
    }

    /// Looks at the administrator's table, and takes away what a dead predecessor left in it.
    fn verify_sets(&mut self) -> Result<(), Error> {
        self.look_at_sets()?;
        self.commit(&install::flush(&self.settings, ruleset::sets(&self.settings.ranges)), Task::Clear)?;
        self.book.clear();
        Ok(())
    }

    /// Finds out how to take elements away.
    fn probe_removal(&mut self) -> Result<(), Error> {
        if self.assume_destroy_is_unknown {
            return Ok(());
        }
        match self.socket.commit(&elements::probe(&self.settings.table)) {
            Ok(()) => self.removal = Removal::Destroy,
            Err(Failure::Refused(_, Errno::EINVAL | Errno::EOPNOTSUPP)) => self.removal = Removal::AddThenDelete,
            Err(failure) => return Err(explain(failure, Task::Change, &self.settings)),
        }
        Ok(())
    }

    /// Closes pinholes whose sets are no longer complete: each set on its own, because a batch with one that is missing
    /// would leave the others as they are. What is missing has no elements.
    fn close_what_is_left(&mut self, batch: &Batch) -> Result<(), Error> {
        let mut outcome = Ok(());
        for of_one_set in batch.0.chunk_by(|one, next| one.subject == next.subject) {
            match self.socket.commit(&Batch(of_one_set.to_vec())) {
                Ok(()) | Err(Failure::Refused(_, Errno::ENOENT)) => {}
                Err(failure) => outcome = outcome.and(Err(explain(failure, Task::Change, &self.settings))),
            }
        }
        outcome
    }
}

impl Backend for Nftables {
    fn name(&self) -> &'static str {
        "nftables"
    }

    fn habits(&self) -> Habits {
        Habits { direct: true, ranges: true, ..Habits::default() }
    }

    fn verify(&mut self) -> Result<(), Error> {
        match self.settings.ownership {
            Ownership::Managed => self.verify_managed()?,
            Ownership::Sets => self.verify_sets()?,
        }
        self.probe_removal()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let plan = self.book.plan(changes)?;
        let batch = elements::replace(&self.settings.table, self.removal, &plan.removed, &plan.added);
        match self.socket.commit(&batch) {
            Ok(()) => {}
            Err(Failure::Refused(_, Errno::ENOENT)) if plan.added.is_empty() => self.close_what_is_left(&batch)?,
            Err(failure) => return Err(explain(failure, Task::Change, &self.settings)),
        }
        self.book.commit(plan);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        let batch = match self.settings.ownership {
            Ownership::Managed => match verify::owner(&mut self.socket, &self.settings)? {
                Owner::Us => install::remove(&self.settings),
                Owner::Absent | Owner::Nobody | Owner::Other(_) => Batch::default(),
            },
            Ownership::Sets => {
                let there = verify::sets_there(&mut self.socket, &self.settings)
                    .map_err(|failure| explain(failure, Task::Look, &self.settings))?;
                install::flush(&self.settings, there)
            }
        };
        self.commit(&batch, Task::Clear)?;
        self.book.clear();
        Ok(())
    }
}
