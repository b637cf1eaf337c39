//! Netlink: the one socket to nf_tables.
//!
//! Lives here: sending a batch and reading whether the kernel took it, asking a question. Not here: the bytes (`message`),
//! the socket as such (`firewall::netlink`), sentences for the administrator (`explain`).
//!
//! A table with `flags owner` belongs to this socket and goes away with it.

use std::ops::ControlFlow;

use nix::errno::Errno;

use super::message::{Batch, Message, Subject};
use crate::firewall::netlink::answer::Answer;
use crate::firewall::netlink::socket::{self, Failed};

/// An answer to a question is below 1 KiB; of a refusal only the beginning matters.
const RECEIVE_BUFFER: usize = 8192;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// This system call failed.
    Call(&'static str, Errno),
    /// The kernel refused the message about this subject.
    Refused(Subject, Errno),
    /// The kernel did not confirm every message.
    Unconfirmed,
}

impl From<Failed> for Failure {
    fn from((call, errno): Failed) -> Self {
        Self::Call(call, errno)
    }
}

/// What the kernel says to a batch.
#[derive(Debug)]
pub(super) struct Verdict<'a> {
    batch: &'a Batch,
    first: u32,
    confirmed: usize,
    refusal: Option<Failure>,
}

impl<'a> Verdict<'a> {
    /// Nothing yet, to a batch whose beginning has the number `first`.
    pub(super) fn on(batch: &'a Batch, first: u32) -> Self {
        Self { batch, first, confirmed: 0, refusal: None }
    }

    /// Takes one answer, which may be to something else.
    pub(super) fn hear(&mut self, answer: Answer<'_>) {
        if answer.sequence.wrapping_sub(self.first) >= self.batch.sequences() {
            return;
        }
        match answer.acknowledgement() {
            Some(0) => self.confirmed += 1,
            // The first refusal counts: later ones may be its consequences.
            Some(code) => {
                let subject = self.batch.subject(self.first, answer.sequence);
                self.refusal.get_or_insert(Failure::Refused(subject, Errno::from_raw(code)));
            }
            None => {}
        }
    }

    /// Whether the batch took effect.
    pub(super) fn outcome(self) -> Result<(), Failure> {
        match self.refusal {
            Some(refusal) => Err(refusal),
            // In a failed batch the good messages are acknowledged with 0 as well, so only all of them mean success.
            None if self.confirmed < self.batch.0.len() => Err(Failure::Unconfirmed),
            None => Ok(()),
        }
    }
}

/// A socket to nf_tables of the network namespace in which it was opened.
#[derive(Debug)]
pub(super) struct Socket {
    socket: socket::Socket,
    port: u32,
    next_sequence: u32,
}

impl Socket {
    /// Opens one. Needs no privilege; using it does.
    pub(super) fn open() -> Result<Self, Failure> {
        let socket = socket::Socket::unbound()?;
        socket.bind(0)?;
        // The kernel calls the owner of a table by its port.
        let port = socket.port()?;
        Ok(Self { socket, port, next_sequence: 1 })
    }

    /// The number by which the kernel knows this socket.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Sends a batch and says whether it took effect. After a failure nothing has changed.
    pub(super) fn commit(&mut self, batch: &Batch) -> Result<(), Failure> {
        if batch.0.is_empty() {
            return Ok(());
        }
        let first = self.reserve(batch.sequences());
        let mut verdict = Verdict::on(batch, first);
        self.exchange(&batch.encode(first), |answer| verdict.hear(answer))?;
        verdict.outcome()
    }

    /// Asks for one object; `found` reads it. `None` if there is no such thing.
    pub(super) fn ask<T>(
        &mut self,
        question: &Message,
        mut found: impl FnMut(Answer<'_>) -> T,
    ) -> Result<Option<T>, Failure> {
        let sequence = self.reserve(1);
        let (mut object, mut verdict) = (None, Err(Failure::Unconfirmed));
        self.exchange(&question.encode(sequence), |answer| {
            if answer.sequence != sequence {
                return;
            }
            match answer.acknowledgement() {
                None => object = Some(found(answer)),
                Some(0) => verdict = Ok(()),
                Some(code) => verdict = Err(Failure::Refused(question.subject, Errno::from_raw(code))),
            }
        })?;
        match verdict {
            Ok(()) => Ok(object),
            Err(Failure::Refused(_, Errno::ENOENT)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Sends a datagram and hands every answer to `each`.
    fn exchange(&self, datagram: &[u8], mut each: impl FnMut(Answer<'_>)) -> Result<(), Failure> {
        let each = |answer: Answer<'_>| {
            each(answer);
            ControlFlow::Continue(())
        };
        Ok(self.socket.exchange(datagram, &mut [0; RECEIVE_BUFFER], each)?)
    }

    /// Takes this many sequence numbers and returns the first.
    fn reserve(&mut self, count: u32) -> u32 {
        let first = self.next_sequence;
        self.next_sequence = first.wrapping_add(count);
        first
    }
}
