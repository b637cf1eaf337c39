//! Lease: what whoever asks for a pinhole gets: [`Opening`] while it is on its way, [`Lease`] when it is in force; and the same for a
//! range of ports: [`RangeOpening`], [`RangeLease`].
//!
//! Not here: who carries out the change (`worker`), which pinholes make one way (`path`).

use std::fmt;
use std::future::Future;
use std::iter;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Door, Message, gone};
use crate::firewall::Error;
use crate::pinhole::{Key, Pinhole, RangeRequest};

/// A pinhole that is on its way. Dropped before it is ready, it closes the pinhole, or never opens it.
pub struct Opening(Under);

enum Under {
    /// One change of one packet filter.
    Change(oneshot::Receiver<Result<Lease, Error>>),
    /// Several steps.
    Steps(Pin<Box<dyn Future<Output = Result<Lease, Error>> + Send>>),
}

impl Opening {
    /// Takes one change, to which this is the answer.
    pub(super) fn of_change(answer: oneshot::Receiver<Result<Lease, Error>>) -> Self {
        Self(Under::Change(answer))
    }

    /// Takes more than one step.
    pub(in crate::firewall) fn in_steps(steps: impl Future<Output = Result<Lease, Error>> + Send + 'static) -> Self {
        Self(Under::Steps(Box::pin(steps)))
    }

    /// Nothing comes of it.
    pub(in crate::firewall) fn refused(error: Error) -> Self {
        Self::in_steps(std::future::ready(Err(error)))
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").finish_non_exhaustive()
    }
}

impl Future for Opening {
    type Output = Result<Lease, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Under::Change(answer) => {
                Pin::new(answer).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
            }
            Under::Steps(steps) => steps.as_mut().poll(context),
        }
    }
}

/// A pinhole in force. Closes it when dropped, whether it was used or not, unless another lease has taken it over.
#[derive(Debug)]
pub struct Lease {
    pinhole: Pinhole,
    owner: u64,
    took: Duration,
    door: Door,
    /// Other pinholes that this one is nothing without. They close with it.
    others: Vec<Lease>,
    /// Whether it only leads to the first of those.
    is_front: bool,
    /// Of a joint: the port that the client dials, and the one that the server dials; zero where it is dialled.
    joint: Option<(u16, u16)>,
}

impl Lease {
    /// Of a pinhole alone.
    pub(super) fn new(pinhole: Pinhole, owner: u64, took: Duration, door: Door) -> Self {
        Self { pinhole, owner, took, door, others: Vec::new(), is_front: false, joint: None }
    }

    /// What is open.
    pub fn pinhole(&self) -> &Pinhole {
        &self.pinhole
    }

    /// The time from the request until the pinhole was in force.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The same, nothing without `other`.
    #[must_use]
    pub(in crate::firewall) fn with(mut self, other: Self) -> Self {
        self.took = self.took.max(other.took);
        self.others.push(other);
        self
    }

    /// The same, as the way to what listens `behind` it, which was asked for before.
    #[must_use]
    pub(in crate::firewall) fn in_front_of(mut self, behind: Self) -> Self {
        self.took += behind.took;
        self.others.insert(0, behind);
        self.is_front = true;
        self
    }

    /// The same, of a joint.
    #[must_use]
    pub(in crate::firewall) fn joining(mut self, client: u16, server: u16) -> Self {
        self.joint = Some((client, server));
        self
    }

    /// Of a joint: the port that the client dials, and the one that the server dials; zero where it is dialled.
    pub fn joint(&self) -> Option<(u16, u16)> {
        self.joint
    }

    /// The pinhole where its connection arrives in the end: its own, or the one that it leads to.
    pub(in crate::firewall) fn innermost(&self) -> &Pinhole {
        match self.others.first().filter(|_| self.is_front) {
            Some(behind) => behind.innermost(),
            None => &self.pinhole,
        }
    }

    /// What connections through it are known by to whoever follows them.
    pub fn watched(&self) -> Key {
        self.innermost().key()
    }

    /// It, and those that close with it.
    pub fn all(&self) -> impl Iterator<Item = &Self> {
        iter::once(self).chain(&self.others)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.door.close(self.pinhole.key(), self.owner);
    }
}

/// A range of ports that is on its way. Dropped before it is ready, it closes the range, or never opens it.
#[derive(Debug)]
pub struct RangeOpening(oneshot::Receiver<Result<RangeLease, Error>>);

impl RangeOpening {
    /// To which this is the answer.
    pub(super) fn new(answer: oneshot::Receiver<Result<RangeLease, Error>>) -> Self {
        Self(answer)
    }

    /// Nothing comes of it.
    pub(in crate::firewall) fn refused(error: Error) -> Self {
        let (answer, opening) = oneshot::channel();
        let _ = answer.send(Err(error));
        Self(opening)
    }
}

impl Future for RangeOpening {
    type Output = Result<RangeLease, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(gone())))
    }
}

/// A range of ports that is open. Other sessions of the same client with the same server have the same one: it is closed when the
/// last of them drops its lease.
#[derive(Debug)]
pub struct RangeLease {
    range: RangeRequest,
    door: Door,
}

impl RangeLease {
    /// Of this range.
    pub(super) fn new(range: RangeRequest, door: Door) -> Self {
        Self { range, door }
    }

    /// What is open.
    pub fn range(&self) -> &RangeRequest {
        &self.range
    }
}

impl Drop for RangeLease {
    fn drop(&mut self) {
        self.door.send(Message::CloseRange(self.range));
    }
}
