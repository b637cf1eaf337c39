//! Book: who may come in where, and who is in.
//!
//! Lives here: [`Book`], plain bookkeeping behind one lock that is held for microseconds, and [`Ended`], which strikes a connection
//! off however it ends. Not here: accepting (`door`), copying (`copy`).
//!
//! An entrance can be announced to several hosts at a time, so a door has a list of those who are expected there.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::super::tracking::{Counters, Flow, Kind, Tally, Tuple};
use super::super::{Error, ErrorKind};
use super::joint::{Awaited, Meetings};
use super::{Shared, event};
use crate::pinhole::{Key, Pinhole};

/// Of those who have knocked, so many are looked at when a pinhole is closed.
const MOST_KNOCKED: usize = 64;

/// Tells doors, and connections, apart.
pub(super) type Number = u64;

/// Sockets that listen and have no door yet, by their addresses.
pub(super) type Listeners = HashMap<SocketAddr, TcpListener>;

/// What one connection has carried.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) from_initiator: AtomicU64,
    pub(super) to_initiator: AtomicU64,
}

impl Counts {
    pub(super) fn counters(&self) -> Counters {
        let tally = |count: &AtomicU64| Tally { bytes: count.load(Ordering::Relaxed), packets: 0 };
        Counters { from_initiator: tally(&self.from_initiator), to_initiator: tally(&self.to_initiator) }
    }
}

/// Whether somebody watched a connection when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Watched,
    /// The next watch with its key is for it.
    Open,
}

/// An entrance that is listened at.
#[derive(Debug)]
struct Door {
    number: Number,
    listener: TcpListener,
    expected: HashMap<IpAddr, Expected>,
    task: Option<AbortHandle>,
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Debug)]
struct Expected {
    pinhole: Pinhole,
    until: Instant,
}

/// A connection that is in.
#[derive(Debug)]
struct Live {
    flow: Flow,
    counts: Arc<Counts>,
    client: IpAddr,
    task: Option<AbortHandle>,
    /// It was asked to end before it had a task.
    reset: bool,
    /// Its target is connected.
    arrived: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Book {
    doors: HashMap<SocketAddr, Door>,
    live: HashMap<Number, Live>,
    by_client: HashMap<IpAddr, usize>,
    unclaimed: HashMap<Key, Flow>,
    /// Connections whose target is not connected yet.
    on_their_way: HashMap<Key, usize>,
    /// Those who are in and wait for another who dials too.
    pub(super) meetings: Meetings,
    next: Number,
}

/// Whom a pinhole serves: the client dials in passive mode, and is dialled in active mode.
pub(super) fn client(pinhole: &Pinhole) -> IpAddr {
    let dialler = pinhole.on_behalf_of.unwrap_or(pinhole.initiator);
    if pinhole.announcement.is_active() { pinhole.target.ip() } else { dialler }
}

impl Book {
    pub(super) fn has_door(&self, entrance: SocketAddr) -> bool {
        self.doors.contains_key(&entrance)
    }

    /// Whether a client may have one more data connection.
    ///
    /// # Errors
    /// It has that many.
    pub(super) fn has_room(&self, client: IpAddr, most: usize) -> Result<(), Error> {
        if self.by_client.get(&client).is_none_or(|live| *live < most) {
            return Ok(());
        }
        let text = format!(
            "{client} has {most} data connections already: they end with `data.idle_timeout` if nothing moves on them"
        );
        Err(Error::new(ErrorKind::Full, text))
    }

    /// Expects the initiator at the entrance, in place of an earlier expectation. The number of the door if it is a new one,
    /// which then needs a task.
    pub(super) fn open(&mut self, pinhole: &Pinhole, listener: Option<TcpListener>) -> Option<Number> {
        let expected = Expected { pinhole: *pinhole, until: Instant::now() + pinhole.lifetime };
        if let Some(door) = self.doors.get_mut(&pinhole.entrance) {
            door.expected.insert(pinhole.initiator, expected);
            return None;
        }
        let number = self.number();
        let door = Door { number, listener: listener?, expected: [(pinhole.initiator, expected)].into(), task: None };
        self.doors.insert(pinhole.entrance, door);
        Some(number)
    }

    /// The task of a door, which ends with it.
    pub(super) fn attend(&mut self, entrance: SocketAddr, number: Number, task: AbortHandle) {
        match self.door(entrance, number) {
            Some(door) => door.task = Some(task),
            None => task.abort(),
        }
    }

    /// Expects nobody any more by that pinhole. [`Book::shut_doors`] shuts the door if it was the last.
    pub(super) fn close(&mut self, pinhole: &Pinhole) {
        if let Some(door) = self.doors.get_mut(&pinhole.entrance) {
            door.expected.remove(&pinhole.initiator);
        }
        self.meetings.cancel(&pinhole.key());
    }

    /// Who dials too and is to be met by whoever comes in by this pinhole, if its target is an entrance of ours.
    pub(super) fn meet(&mut self, pinhole: &Pinhole) -> Option<Awaited> {
        let key = Key { initiator: pinhole.source, entrance: pinhole.target };
        let door = self.doors.get(&key.entrance);
        let expected = door.is_some_and(|door| door.expected.contains_key(&key.initiator));
        self.meetings.join(key, expected)
    }

    /// Those who have knocked at a pinhole's door and have not been looked at yet, with the number of the door. A server that has
    /// little to say connects, sends, closes and says 226 in one go: then the pinhole is closed by that 226 while its
    /// connection still waits here.
    pub(super) fn knocked(&self, key: &Key) -> (Number, Vec<(TcpStream, SocketAddr)>) {
        let door = self.doors.get(&key.entrance).filter(|door| door.expected.contains_key(&key.initiator));
        let Some(door) = door else { return (0, Vec::new()) };
        // Not by the runtime's own accept, which would forget whom to wake.
        let accept = || {
            let (socket, peer) = SockRef::from(&door.listener).accept().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((TcpStream::from_std(socket.into()).ok()?, peer.as_socket()?))
        };
        (door.number, std::iter::from_fn(accept).take(MOST_KNOCKED).collect())
    }

    /// Shuts doors at which nobody is expected; at once, so that their addresses can be had again.
    pub(super) fn shut_doors(&mut self) {
        self.doors.retain(|_, door| !door.expected.is_empty());
    }

    fn door(&mut self, entrance: SocketAddr, number: Number) -> Option<&mut Door> {
        self.doors.get_mut(&entrance).filter(|door| door.number == number)
    }

    /// The next who knocks; `None` when the door is shut.
    pub(super) fn poll_accept(
        &mut self,
        entrance: SocketAddr,
        number: Number,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<(TcpStream, SocketAddr)>>> {
        match self.door(entrance, number) {
            Some(door) => door.listener.poll_accept(context).map(Some),
            None => Poll::Ready(None),
        }
    }

    /// Takes the pinhole by which `peer` may come in, if it may; shuts the door behind the last.
    pub(super) fn admit(&mut self, entrance: SocketAddr, number: Number, peer: IpAddr) -> Option<Pinhole> {
        let door = self.door(entrance, number)?;
        let expected = door.expected.remove(&peer);
        if door.expected.is_empty() {
            if let Some(door) = self.doors.get_mut(&entrance) {
                // It is the task that asks.
                door.task = None;
            }
            self.doors.remove(&entrance);
        }
        expected.filter(|expected| Instant::now() < expected.until).map(|expected| expected.pinhole)
    }

    /// For whom this peer must speak, if it is a load balancer that is expected.
    pub(super) fn speaks_for(&mut self, entrance: SocketAddr, number: Number, peer: IpAddr) -> Option<IpAddr> {
        let expected = self.door(entrance, number)?.expected.get(&peer)?;
        expected.pinhole.on_behalf_of.filter(|_| Instant::now() < expected.until)
    }

    /// Takes the pinhole of a load balancer that has spoken for the right client; shuts the door behind the last.
    pub(super) fn admit_introduced(&mut self, entrance: SocketAddr, peer: IpAddr) -> Option<Pinhole> {
        let expected = self.doors.get_mut(&entrance)?.expected.remove(&peer);
        self.shut_doors();
        expected.map(|expected| expected.pinhole)
    }

    /// Forgets who has not come in time, and says when the next one's time is over; `None` when the door is shut.
    pub(super) fn expire(&mut self, entrance: SocketAddr, number: Number) -> Option<Instant> {
        let now = Instant::now();
        let door = self.door(entrance, number)?;
        door.expected.retain(|_, expected| now < expected.until);
        match door.expected.values().map(|expected| expected.until).min() {
            Some(next) => Some(next),
            None => {
                door.task = None;
                self.doors.remove(&entrance);
                None
            }
        }
    }

    /// A connection came in.
    pub(super) fn begin(&mut self, pinhole: &Pinhole, peer: SocketAddr, claim: Claim) -> (Flow, Arc<Counts>) {
        let id = self.number();
        let flow = Flow {
            original: Tuple { source: peer, destination: pinhole.entrance },
            // Which port it will have on the target's side nobody knows yet, nor needs to.
            reply: Tuple { source: pinhole.target, destination: SocketAddr::new(pinhole.source, 0) },
            id,
            zone: 0,
        };
        let (counts, client) = (Arc::new(Counts::default()), client(pinhole));
        let live = Live { flow, counts: Arc::clone(&counts), client, task: None, reset: false, arrived: false };
        self.live.insert(id, live);
        *self.by_client.entry(client).or_default() += 1;
        *self.on_their_way.entry(pinhole.key()).or_default() += 1;
        if claim == Claim::Open {
            self.unclaimed.insert(pinhole.key(), flow);
        }
        (flow, counts)
    }

    /// The target is connected.
    pub(super) fn arrive(&mut self, flow: &Flow) {
        let Some(live) = self.live.get_mut(&flow.id) else { return };
        if !std::mem::replace(&mut live.arrived, true) {
            less(&mut self.on_their_way, &flow.key());
        }
    }

    pub(super) fn is_on_its_way(&self, key: &Key) -> bool {
        self.on_their_way.contains_key(key) || self.meetings.is_here(key)
    }

    /// The task of a connection.
    pub(super) fn run(&mut self, flow: &Flow, task: AbortHandle) {
        // If it is not there, it is over already.
        if let Some(live) = self.live.get_mut(&flow.id) {
            if live.reset {
                task.abort();
            }
            live.task = Some(task);
        }
    }

    /// The connection with this key that came in before it was watched.
    pub(super) fn claim(&mut self, key: Key) -> Option<Flow> {
        self.unclaimed.remove(&key)
    }

    pub(super) fn counters(&self, flow: &Flow) -> Option<Counters> {
        self.live.get(&flow.id).map(|live| live.counts.counters())
    }

    /// Resets a connection at both ends: that is what its sockets do when its task is gone.
    pub(super) fn reset(&mut self, flow: &Flow) {
        if let Some(live) = self.live.get_mut(&flow.id) {
            live.reset = true;
            if let Some(task) = &live.task {
                task.abort();
            }
        }
    }

    fn end(&mut self, flow: &Flow) {
        self.arrive(flow);
        let Some(live) = self.live.remove(&flow.id) else { return };
        if self.unclaimed.get(&live.flow.key()).is_some_and(|unclaimed| unclaimed.id == live.flow.id) {
            self.unclaimed.remove(&live.flow.key());
        }
        less(&mut self.by_client, &live.client);
    }

    /// Shuts all doors and resets all connections.
    pub(super) fn end_all(&mut self) {
        self.doors.clear();
        self.meetings.cancel_all();
        let flows: Vec<Flow> = self.live.values().map(|live| live.flow).collect();
        flows.iter().for_each(|flow| self.reset(flow));
    }

    fn number(&mut self) -> Number {
        self.next += 1;
        self.next
    }
}

/// Counts one less; what is not counted any more is forgotten.
fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = counts.get_mut(of) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(of);
        }
    }
}

/// Dropped when a connection is over, by whatever way.
pub(super) struct Ended {
    pub(super) shared: Arc<Shared>,
    pub(super) flow: Flow,
    pub(super) counts: Arc<Counts>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        self.shared.book().end(&self.flow);
        let counters = Some(self.counts.counters());
        self.shared.watches.lock().apply(&event(Kind::Destroy, self.flow, counters), |_| counters);
        self.shared.watches.tell();
    }
}
