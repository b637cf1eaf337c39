//! Relay: a backend that needs no packet filter. It listens at entrances itself, connects to targets, and copies.
//!
//! Lives here: [`Relay`], which opens and closes, and [`Tracker`], which tells what becomes of data connections: the two traits that
//! the rest of the program speaks. Below it: `book` (who may come in where, and who is in), `door` (accepting), `copy` (one data
//! connection, from its target on), `secured` (one with TLS), `joint` (both ends dial, or are dialled). Not here: moving bytes (`sys::Pipe`).
//!
//! It runs on a runtime of its own, so that no transfer is in the way of a control connection's answer. A connection is a task;
//! nothing wakes up for a connection, or for a listener, on which nothing happens, but for one timer each.
//!
//! A connection that does not come to its end in an orderly way is reset at both ends: its sockets reset when they are closed
//! ([`crate::sys::reset_on_close`]) until all of it has passed. So a file that was cut off never looks complete, not even when the
//! process is killed.

mod book;
mod copy;
mod door;
mod joint;
mod secured;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};

use self::book::{Book, Claim};
pub use self::joint::Calls;
use super::tracking::{Counters, Event, Flow, Follow, Kind, Snapshot, TcpState, Watch, Watches};
use super::{Backend, Change, Error, ErrorKind, Habits, no_ranges};
use crate::pinhole::{Key, Pinhole, SessionId};
use crate::sys;

/// Takes the PROXY header off a connection that this peer has made, and says who the client is; `None`: there is no good header.
pub type Introduce = Arc<
    dyn Fn(TcpStream, SocketAddr) -> Pin<Box<dyn Future<Output = Option<(TcpStream, IpAddr)>> + Send>> + Send + Sync,
>;

/// One end of a data connection, as whoever copies sees it: with TLS, or whatever else is around its content, taken off.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {
    /// The connection below.
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// Which peer of the relay a connection leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The FTP client: the relay is the TLS server.
    Client,
    /// The FTP server: the relay is the TLS client.
    Server,
}

/// Does the TLS handshake of a session's data connection with that peer, however long it takes. A stream that ends without saying
/// so in TLS must end with [`std::io::ErrorKind::UnexpectedEof`].
pub type Secure = Arc<
    dyn Fn(TcpStream, SessionId, Peer) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>
        + Send
        + Sync,
>;

/// What the administrator set.
#[derive(Clone)]
pub struct Settings {
    /// How long connecting to a target may take, until [`Tracker::connect_within`] says otherwise.
    pub connect_timeout: Duration,
    /// How long a connection may be silent once one of its ends has closed its direction. One that nobody watches may be silent
    /// for twice as long.
    pub idle_timeout: Duration,
    /// Most data connections of one client's address at a time.
    pub most_per_client: usize,
    /// Finds out for whom a load balancer speaks.
    pub introduce: Introduce,
    /// Speaks TLS.
    pub secure: Secure,
    /// Is told what is to be counted.
    pub report: Arc<dyn Fn(Incident) + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("connect_timeout", &self.connect_timeout).finish_non_exhaustive()
    }
}

/// Why somebody was not let through, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Incident {
    /// It is not the host that the entrance was announced to. The entrance stays open for that one.
    WrongPeer,
    /// It comes from the load balancer, and does not say for whom.
    NoHeader,
    /// The target refused the connection, or cannot be reached.
    Connect,
    /// The target did not answer within `timeouts.connect`.
    ConnectTimeout,
    /// The TLS handshake with one end failed.
    Tls,
    /// One end closed without saying in TLS that it has sent all; the other end was reset, lest it take the rest for all.
    Truncated,
    /// It could not be accepted for now, such as for want of descriptors; it waits.
    Accept,
}

impl Incident {
    /// Those who were turned away or cut off, for tables of metrics.
    pub const REFUSED: [Self; 6] =
        [Self::WrongPeer, Self::NoHeader, Self::Connect, Self::ConnectTimeout, Self::Tls, Self::Truncated];

    /// The word that logs and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongPeer => "wrong_peer",
            Self::NoHeader => "no_header",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Truncated => "truncated",
            Self::Accept => "accept",
        }
    }
}

/// What the backend, the tracker and all tasks share.
struct Shared {
    settings: Settings,
    /// The addresses of this host at the start.
    own: Vec<IpAddr>,
    book: Mutex<Book>,
    /// Locked after `book` where both are.
    watches: Watches,
    pipes: copy::Pipes,
    /// Load balancers' connections whose header is awaited.
    introductions: AtomicUsize,
    /// How long connecting to a target may take.
    connect_timeout: Mutex<Duration>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect_timeout(&self) -> Duration {
        *self.connect_timeout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, incident: Incident) {
        (self.settings.report)(incident);
    }

    /// Whether the target's side of a connection can be bound to this address: the control connection has it in passive mode.
    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own.contains(&address)
    }
}

/// The backend. Its connections end with it.
pub struct Relay {
    shared: Arc<Shared>,
    /// `None` only while it is being dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("settings", &self.shared.settings).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts its threads.
    ///
    /// # Errors
    /// They cannot be started.
    pub fn start(settings: Settings) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .thread_name("relay")
            .enable_all()
            .build()
            .map_err(|error| Error::new(ErrorKind::Other, format!("cannot start the relay's threads: {error}")))?;
        let shared = Shared {
            own: sys::own_addresses().unwrap_or_default(),
            book: Mutex::default(),
            watches: Watches::default(),
            pipes: copy::Pipes::default(),
            introductions: AtomicUsize::new(0),
            connect_timeout: Mutex::new(settings.connect_timeout),
            settings,
        };
        Ok(Self { shared: Arc::new(shared), runtime: Some(runtime) })
    }

    /// Tells what becomes of its connections.
    pub fn tracker(&self) -> Tracker {
        Tracker { shared: Arc::clone(&self.shared), runtime: self.runtime.as_ref().map(|it| it.handle().clone()) }
    }

    /// Opens what is to be opened and is not there, or nothing. Then nothing can fail any more.
    fn listeners(&self, book: &Book, changes: &[Change]) -> Result<book::Listeners, Error> {
        let mut new = book::Listeners::new();
        for change in changes {
            let Change::Open(pinhole) = change else { continue };
            book.has_room(book::client(pinhole), self.shared.settings.most_per_client)?;
            if !book.has_door(pinhole.entrance) && !new.contains_key(&pinhole.entrance) {
                new.insert(pinhole.entrance, door::listen(pinhole.entrance)?);
            }
        }
        Ok(new)
    }
}

impl Backend for Relay {
    fn name(&self) -> &'static str {
        "relay"
    }

    fn habits(&self) -> Habits {
        Habits { listens: true, ..Habits::default() }
    }

    /// Needs nothing that could be missing, and nothing is left of a dead predecessor.
    fn verify(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let Some(runtime) = &self.runtime else {
            return Err(Error::new(ErrorKind::Other, "the relay has ended"));
        };
        // Sockets are registered with the runtime that we are in.
        let _inside = runtime.enter();
        if changes.iter().any(|change| matches!(change, Change::OpenRange(_))) {
            return Err(no_ranges("the relay"));
        }
        let mut book = self.shared.book();
        let mut listeners = self.listeners(&book, changes)?;
        let (mut opened, mut guests) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Open(pinhole) => {
                    let listener = listeners.remove(&pinhole.entrance);
                    opened.extend(book.open(pinhole, listener).map(|number| (pinhole.entrance, number)));
                }
                Change::Close(pinhole) => {
                    guests.extend(door::answer(&self.shared, &mut book, &pinhole.key()));
                    book.close(pinhole);
                }
                Change::Reset(reset) => book.reset(&reset.flow),
                Change::OpenRange(_) | Change::CloseRange(_) => {}
            }
        }
        book.shut_doors();
        // A task that cannot be started is dropped at once, which must find the book free.
        drop(book);
        guests.into_iter().for_each(|guest| door::let_in(&self.shared, guest));
        for (entrance, number) in opened {
            let task = runtime.spawn(door::serve(Arc::clone(&self.shared), entrance, number)).abort_handle();
            self.shared.book().attend(entrance, number, task);
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        self.shared.book().end_all();
        Ok(())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.book().end_all();
        if let Some(runtime) = self.runtime.take() {
            // Does not wait, so it can be done anywhere.
            runtime.shutdown_background();
        }
    }
}

/// Tells what becomes of the relay's connections.
#[derive(Clone)]
pub struct Tracker {
    shared: Arc<Shared>,
    runtime: Option<Handle>,
}

impl fmt::Debug for Tracker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracker").finish_non_exhaustive()
    }
}

impl Follow for Tracker {
    fn watch(&self, key: Key) -> Watch {
        let mut book = self.shared.book();
        let watch = self.shared.watches.watch(key);
        // Somebody came in before the entrance was announced.
        if let Some(flow) = book.claim(key) {
            self.shared.watches.lock().apply(&event(Kind::New, flow, None), |_| None);
        }
        drop(book);
        self.shared.watches.tell();
        watch
    }

    fn query(&self, flow: &Flow) -> Result<Option<Snapshot>, Error> {
        let counters = self.shared.book().counters(flow);
        Ok(counters.map(|counters| event(Kind::Update, *flow, Some(counters)).snapshot))
    }

    /// It is forgotten when it ends.
    fn forget(&self, _: &Flow) -> Result<(), Error> {
        Ok(())
    }

    /// Who has knocked is let in first: the question comes from somebody who was told of a connection by its initiator.
    fn is_on_its_way(&self, key: &Key) -> bool {
        let _inside = self.runtime.as_ref().map(Handle::enter);
        let mut book = self.shared.book();
        let guests = door::answer(&self.shared, &mut book, key);
        book.shut_doors();
        drop(book);
        guests.into_iter().for_each(|guest| door::let_in(&self.shared, guest));
        self.shared.book().is_on_its_way(key)
    }

    /// Nothing is lost on the way.
    fn lost(&self) -> u64 {
        0
    }

    fn stop(&self) {
        self.shared.watches.lock().close();
    }
}

impl Tracker {
    /// From now on connecting to a target may take so long.
    pub fn connect_within(&self, limit: Duration) {
        *self.shared.connect_timeout.lock().unwrap_or_else(PoisonError::into_inner) = limit;
    }

    /// Makes a data connection by dialling both its ends. It is there when this is ready, and a pinhole like any other from then on.
    ///
    /// # Errors
    /// One of them cannot be reached, or the client has too many data connections already.
    pub async fn dial(&self, session: SessionId, calls: Calls) -> Result<Pinhole, Error> {
        let ended = || Error::new(ErrorKind::Other, "the relay has ended");
        let runtime = self.runtime.clone().ok_or_else(ended)?;
        joint::dial(Arc::clone(&self.shared), runtime, session, calls).await
    }
}

impl Shared {
    /// Its target is connected as well.
    fn arrive(&self, flow: &Flow) {
        self.book().arrive(flow);
        self.watches.lock().apply(&event(Kind::Update, *flow, None), |_| None);
        self.watches.tell();
    }

    /// The right peer is in: its connection has a name from now on, and whoever waits for it is told.
    fn begin(self: &Arc<Self>, book: &mut Book, pinhole: &Pinhole, peer: std::net::SocketAddr) -> book::Ended {
        let awaited = self.watches.lock().awaits(&pinhole.key());
        let claim = if awaited { Claim::Watched } else { Claim::Open };
        let (flow, counts) = book.begin(pinhole, peer, claim);
        if awaited {
            self.watches.lock().apply(&event(Kind::New, flow, None), |_| None);
        }
        book::Ended { shared: Arc::clone(self), flow, counts }
    }
}

fn event(kind: Kind, flow: Flow, counters: Option<Counters>) -> Event {
    Event { kind, snapshot: Snapshot { flow, state: Some(TcpState::Established), counters } }
}

#[cfg(test)]
mod tests;
