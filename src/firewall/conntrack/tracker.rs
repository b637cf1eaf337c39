//! Tracker: the one thread that hears what becomes of data connections.
//!
//! Lives here: [`Tracker`], the handle; the thread and its socket. Not here: what an event means to whom (`tracking`), which
//! messages may wake the thread (`filter`), questions (`requests`).
//!
//! The thread sleeps until a message comes about a connection with our mark, and takes in all that are queued. When more came
//! than the socket could hold (`ENOBUFS`) nobody knows what was lost: it then asks for all connections with our mark and
//! goes on from there.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

use super::event::decode;
use super::filter;
use super::requests::{Requests, explain};
use crate::firewall::netlink::answer::answers;
use crate::firewall::netlink::socket::Socket;
use crate::firewall::tracking::{Counters, Flow, Follow, Kind, Snapshot, TcpState, Watch, Watches};
use crate::firewall::{Error, ErrorKind};
use crate::pinhole::{Key, RangeRequest};

/// `NFNLGRP_CONNTRACK_NEW` (1), `_UPDATE` (2), `_DESTROY` (3) as bits of the address.
const BEGINNINGS: u32 = 1 << 0;
const CHANGES: u32 = 1 << 1;
const ENDINGS: u32 = 1 << 2;

/// A message about one connection is below 600 bytes.
const MESSAGE: usize = 4096;

/// How many milliseconds the thread waits before it looks again: a gateway with a thousand transfers a second wakes it a hundred times and
/// not three thousand. The first message after a pause is taken in at once.
const PACE: u8 = 10;

/// What to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The value that the connection mark has in the bits of `mask`. Not 0.
    pub mark: u32,
    /// The bits of the connection mark that are ours.
    pub mask: u32,
    /// Whether to hear of states: `Established` and `Closing`. Without, a connection's end is heard
    /// of when the kernel forgets it, by default two minutes later; [`Follow::query`] tells at any time.
    pub states: bool,
    /// Whether to hear also what follows from something else: `Established`, and `Gone` of what has
    /// closed. Two messages more for each connection. Without `states` it makes no difference.
    pub every: bool,
    /// Bytes of messages that may wait for the thread; the kernel doubles it and counts about 1 KiB for each.
    pub receive_buffer: usize,
}

impl Options {
    /// Everything about connections with this mark.
    pub fn new(mark: u32, mask: u32) -> Self {
        Self { mark, mask, states: true, every: true, receive_buffer: 4 << 20 }
    }
}

/// The handle of the tracker's thread, which ends with the last of its clones, or with [`Tracker::stop`].
#[derive(Clone, Debug)]
pub struct Tracker {
    options: Options,
    shared: Arc<Shared>,
    requests: Arc<Mutex<Requests>>,
    running: Arc<Mutex<Option<Running>>>,
}

/// A thread that has not been told to end.
#[derive(Debug)]
struct Running {
    /// Closing it ends the thread.
    pipe: PipeWriter,
    thread: JoinHandle<()>,
}

/// What the thread, the handles and the watches share.
#[derive(Debug, Default)]
struct Shared {
    watches: Watches,
    lost: AtomicU64,
    wakes: AtomicU64,
    accounting: AtomicBool,
}

impl Shared {
    /// Learns from what the kernel says whether it counts.
    fn learn(&self, counters: Option<Counters>) {
        self.accounting.store(counters.is_some(), Ordering::Relaxed);
    }
}

impl Tracker {
    /// Follows connections with this mark in the network namespace of this thread.
    ///
    /// # Errors
    /// `Permission`: CAP_NET_ADMIN is needed. `Unsupported`: the kernel lacks nf_conntrack_netlink, or is told to say nothing.
    pub fn start(mark: u32, mask: u32) -> Result<Self, Error> {
        Self::start_with(Options::new(mark, mask))
    }

    /// The same with a choice.
    ///
    /// # Errors
    /// As of [`Tracker::start`]; `Other` if the mark is 0, which all connections have.
    pub fn start_with(options: Options) -> Result<Self, Error> {
        if options.mark & options.mask == 0 {
            let text =
                "cannot follow data connections without a mark that tells them from others; set firewall.nftables.mark";
            return Err(Error::new(ErrorKind::Other, text));
        }
        if setting("nf_conntrack_events").as_deref() == Some("0") {
            let text = "the kernel is told to say nothing of connections, so data connections cannot be followed; \
                        `sysctl -w net.netfilter.nf_conntrack_events=2`";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let mut requests = Requests::open()?;
        // Whether the kernel answers at all; also what a predecessor left.
        let there = requests.dump(options.mark, options.mask)?;
        let shared = Arc::new(Shared::default());
        let counts = setting("nf_conntrack_acct").is_some_and(|value| value != "0");
        shared.accounting.store(counts, Ordering::Relaxed);
        shared.watches.lock().reconcile(&there, |_| true);
        let events = subscribe(options)?;
        let (stopped, pipe) = pipe().map_err(|error| cannot_start(&error))?;
        let thread = Thread { events, stopped, requests: Requests::open()?, options, shared: Arc::clone(&shared) };
        let thread = thread::Builder::new()
            .name("conntrack".into())
            .spawn(move || thread.main())
            .map_err(|error| cannot_start(&error))?;
        let running = Arc::new(Mutex::new(Some(Running { pipe, thread })));
        Ok(Self { options, shared, requests: Arc::new(Mutex::new(requests)), running })
    }

    /// All connections with our mark. Walks the kernel's whole table: 22 ms where it has 100,000 entries.
    ///
    /// # Errors
    /// The kernel refused the question.
    pub fn list(&self) -> Result<Vec<Snapshot>, Error> {
        self.requests().dump(self.options.mark, self.options.mask)
    }

    /// Whether the kernel counts packets and bytes (`net.netfilter.nf_conntrack_acct`), as far as is known: by that setting
    /// at the start, then by what it says of connections. Turning it on affects connections that begin later.
    pub fn accounting(&self) -> bool {
        self.shared.accounting.load(Ordering::Relaxed)
    }

    /// How often the thread was woken.
    pub fn wakes(&self) -> u64 {
        self.shared.wakes.load(Ordering::Relaxed)
    }

    /// Data connections that live now, watched or not.
    pub fn live(&self) -> usize {
        self.shared.watches.lock().live()
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Follow for Tracker {
    fn watch(&self, key: Key) -> Watch {
        self.shared.watches.watch(key)
    }

    /// Two system calls of 3 to 14 µs in all, on any thread that has CAP_NET_ADMIN: the kernel looks at who asks, not only at
    /// who opened the socket.
    fn query(&self, flow: &Flow) -> Result<Option<Snapshot>, Error> {
        let snapshot = self.requests().get(flow)?;
        if let Some(snapshot) = &snapshot {
            self.shared.learn(snapshot.counters);
        }
        Ok(snapshot)
    }

    fn carries(&self, range: &RangeRequest) -> bool {
        let (first, last) = range.ports;
        let Ok(all) = self.requests().dump(self.options.mark, self.options.mask) else { return false };
        all.iter().any(|Snapshot { flow, state, .. }| {
            let Key { initiator, entrance } = flow.key();
            (initiator, entrance.ip()) == (range.initiator, range.entrance)
                && (first..=last).contains(&entrance.port())
                && *state != Some(TcpState::Closed)
        })
    }

    /// Not a later connection of the same addresses. Its packets are then new to the packet filter, and pass or not as the
    /// administrator's rules say.
    fn forget(&self, flow: &Flow) -> Result<(), Error> {
        self.requests().delete(flow)
    }

    fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// Waits for the end of the thread.
    fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { pipe, thread }) = running {
            drop(pipe);
            let _ = thread.join();
        }
    }
}

fn cannot_start(error: &std::io::Error) -> Error {
    Error::new(ErrorKind::Other, format!("cannot start the conntrack thread: {error}"))
}

/// A setting below `net.netfilter` of this thread's network namespace.
fn setting(name: &str) -> Option<String> {
    Some(std::fs::read_to_string(format!("/proc/sys/net/netfilter/{name}")).ok()?.trim().to_owned())
}

/// The socket that hears of connections with our mark and of nothing else.
fn subscribe(options: Options) -> Result<Socket, Error> {
    let socket = Socket::unbound().map_err(explain)?;
    let program: Vec<_> = filter::program(options.mark, options.mask, options.every || !options.states)
        .iter()
        .map(|step| socket2::SockFilter::new(step.code, step.if_true, step.if_false, step.operand))
        .collect();
    // Before it joins a group, so that no foreign message ever waits.
    socket2::SockRef::from(&socket).attach_filter(&program).map_err(|error| {
        explain(("a filter on a netlink socket", Errno::from_raw(error.raw_os_error().unwrap_or_default())))
    })?;
    setsockopt(&socket, sockopt::RcvBufForce, &options.receive_buffer)
        .map_err(|errno| explain(("a receive buffer for a netlink socket", errno)))?;
    let changes = if options.states { CHANGES } else { 0 };
    socket.bind(BEGINNINGS | changes | ENDINGS).map_err(explain)?;
    Ok(socket)
}

/// What the thread owns.
struct Thread {
    events: Socket,
    /// Readable at its end.
    stopped: PipeReader,
    requests: Requests,
    options: Options,
    shared: Arc<Shared>,
}

impl Thread {
    fn main(mut self) {
        let mut buffer = [0; MESSAGE];
        loop {
            let mut waiting = [
                PollFd::new(self.events.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the conntrack thread cannot wait; transfers are no longer followed");
                    break;
                }
            }
            if waiting.last().and_then(PollFd::any) == Some(true) {
                break;
            }
            if let Err(error) = self.look(&mut buffer) {
                tracing::error!(%error, "the conntrack thread cannot receive; transfers are no longer followed");
                break;
            }
        }
        self.shared.watches.lock().close();
    }

    /// Takes in what there is, now and then, until there is nothing; then it is time to sleep.
    fn look(&mut self, buffer: &mut [u8]) -> Result<(), Errno> {
        loop {
            self.shared.wakes.fetch_add(1, Ordering::Relaxed);
            let (any, lost) = self.take_in(buffer)?;
            if lost {
                self.resynchronise();
            }
            let mut waiting = [PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)];
            // To be stopped ends it as well: whoever called finds out why.
            if !any {
                return Ok(());
            }
            match poll(&mut waiting, PACE) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Takes in all messages that wait. Whether there were any, and whether some were lost.
    fn take_in(&mut self, buffer: &mut [u8]) -> Result<(bool, bool), Errno> {
        let (mut any, mut lost) = (false, false);
        loop {
            match recv(self.events.as_fd().as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    any = true;
                    for answer in answers(buffer.get(..length).unwrap_or_default()) {
                        let Some(event) = decode(&answer) else { continue };
                        if event.kind == Kind::Destroy {
                            self.shared.learn(event.snapshot.counters);
                        }
                        let (requests, counts) = (&mut self.requests, &self.shared.accounting);
                        self.shared.watches.lock().apply(&event, |flow| {
                            // The question is a third of what following a transfer costs.
                            if !counts.load(Ordering::Relaxed) {
                                return None;
                            }
                            let snapshot = requests.get(flow).ok().flatten();
                            snapshot.and_then(|snapshot| snapshot.counters)
                        });
                    }
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                    (any, lost) = (true, true);
                }
                Err(errno) => return Err(errno),
            }
        }
        self.shared.watches.tell();
        Ok((any, lost))
    }

    /// Finds out what was lost.
    fn resynchronise(&mut self) {
        let Options { mark, mask, .. } = self.options;
        let lost = self.shared.lost.load(Ordering::Relaxed);
        if lost.is_power_of_two() {
            tracing::warn!(
                lost,
                "the kernel had more to tell of data connections than could wait; asking for all of them"
            );
        }
        match self.requests.dump(mark, mask) {
            Ok(all) => {
                let requests = &mut self.requests;
                let is_there = |flow: &Flow| requests.get(flow).map_or(true, |snapshot| snapshot.is_some());
                self.shared.watches.lock().reconcile(&all, is_there);
                self.shared.watches.tell();
            }
            Err(error) => tracing::warn!(%error, "cannot find out which data connections have ended"),
        }
    }
}
