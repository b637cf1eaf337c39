//! Clients that dial the gateway and name their server in USER (`mode: login`), until they have one.
//!
//! Lives here: reading and answering such a client, looking names up, what `policy.servers` makes of the answer, and trying the addresses
//! in turn. Not here: what is said to the client (`session::lobby`), one connection (`upstream`), what the list means (`policy`).

use std::future::{pending, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::begin::{Reached, arrived};
use super::header::Told;
use super::herald::Ear;
use super::pipe::Pipe;
use super::record::Record;
use super::upstream::{self, Unreachable};
use super::{GoingDown, ListenerSettings, Live, Route, Shared, origin};
use crate::observe::metrics::Rejection;
use crate::protocol::destination::{Destination, Host};
use crate::session::lobby::{Leaving, Lobby};
use crate::session::replies::Local;

/// Names that are looked up at a time. Each takes a thread, for as long as the name server takes, also when nobody waits any more.
static LOOKUPS: Semaphore = Semaphore::const_new(32);

/// Most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Most bytes read at once: a client that has no server has little to say.
const READ: usize = 1024;

/// Why there is no connection: the word, and a sentence for the client and for the log.
type Refused = (Rejection, String);

/// What happens next to a client that is waited for.
enum Next {
    Bytes,
    Gone,
    GoingDown,
}

/// A client in the lobby.
struct Visit<'a> {
    client: &'a mut Pipe,
    peer: SocketAddr,
    told: Option<Told>,
    /// Where it has arrived.
    local: SocketAddr,
    listener: &'a ListenerSettings,
    live: &'a Live,
    shared: &'a Shared,
    lobby: Lobby,
    ear: Ear,
}

/// Receives a client, until it has a server. The error is what is still to be said to it; everything else has been said, counted and
/// logged.
pub(super) async fn receive(
    client: &mut Pipe,
    peer: SocketAddr,
    told: Option<Told>,
    record: &Record,
    listener: &ListenerSettings,
    live: &Live,
) -> Result<Reached, String> {
    let local = arrived(client.stream()).map_err(|(reason, why)| {
        record.rejected(peer, reason, &why);
        format!("421 {why}.\r\n")
    })?;
    let shared = &*record.shared;
    let (lobby, ear) = (Lobby::new(live.session.line_length), shared.herald.ear());
    let mut visit = Visit { client, peer, told, local, listener, live, shared, lobby, ear };
    let until = Instant::now() + Duration::from_millis(live.session.login_timeout);
    loop {
        visit.talk(record);
        if let Some(leaving) = visit.lobby.end() {
            return Err(visit.leaves(leaving, record));
        }
        if let Some(destination) = visit.lobby.wanted().cloned() {
            match visit.go(&destination).await {
                Ok(Ok(mut reached)) => {
                    reached.named = visit.lobby.leave();
                    return Ok(reached);
                }
                Ok(Err((reason, why))) => {
                    record.rejected(peer, reason, &why);
                    visit.lobby.refused(&why);
                }
                Err(next) => return Err(visit.stops(&next, record)),
            }
            continue;
        }
        match timeout_at(until, visit.next()).await {
            Ok(Next::Bytes) => {}
            Ok(next) => return Err(visit.stops(&next, record)),
            Err(_) => {
                record.rejected(peer, Rejection::LoginTimeout, "no server was named in time (timeouts.login)");
                return Err(words(Local::LoginTimeout));
            }
        }
    }
}

fn words(reply: Local) -> String {
    String::from_utf8_lossy(reply.line()).into_owned()
}

impl Visit<'_> {
    /// Says what is to be said, and counts.
    fn talk(&mut self, record: &Record) {
        let said = self.lobby.said();
        if !said.is_empty() {
            self.client.send(&said);
        }
        for refusal in self.lobby.refusals() {
            record.refused(self.peer, refusal);
        }
    }

    /// It has been said already.
    fn leaves(&self, leaving: Leaving, record: &Record) -> String {
        match leaving {
            Leaving::Quit => record.left(self.peer, "the client said QUIT and had not named a server"),
            Leaving::Hostile => {
                record.rejected(self.peer, Rejection::Hostile, "it does not log in as an FTP client does")
            }
        }
        String::new()
    }

    fn stops(&self, next: &Next, record: &Record) -> String {
        match next {
            Next::GoingDown => {
                record.rejected(self.peer, Rejection::Draining, "the gateway is going down");
                words(Local::Draining)
            }
            Next::Gone | Next::Bytes => {
                record.left(self.peer, "the client closed and had no server yet");
                String::new()
            }
        }
    }

    /// Waits for the client, or for the end of the daemon.
    async fn next(&mut self) -> Next {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if self.ear.hear(context) != GoingDown::No {
            return Poll::Ready(Next::GoingDown);
        }
        loop {
            let (read, write) = (!self.client.is_full(), self.client.is_waiting());
            let ready = match self.client.poll_ready(read, write, context) {
                Poll::Ready(ready) => ready,
                Poll::Pending => return Poll::Pending,
            };
            let Ok((readable, writable)) = ready else { return Poll::Ready(Next::Gone) };
            if writable {
                self.client.flush();
            }
            if self.client.has_failed() {
                return Poll::Ready(Next::Gone);
            }
            if readable {
                let mut buffer = [0; READ];
                match self.client.read(&mut buffer, true) {
                    Ok(0) => return Poll::Ready(Next::Gone),
                    Ok(count) => {
                        self.lobby.bytes(buffer.get(..count).unwrap_or_default());
                        return Poll::Ready(Next::Bytes);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Poll::Ready(Next::Gone),
                }
            }
        }
    }

    /// Goes where the client wants to go, unless something else happens first.
    async fn go(&mut self, destination: &Destination) -> Result<Result<Reached, Refused>, Next> {
        let Self { client, peer, told, local, listener, live, shared, ear, .. } = self;
        let stream = client.stream();
        let going_down = poll_fn(|context| match ear.hear(context) {
            GoingDown::No => Poll::Pending,
            _ => Poll::Ready(()),
        });
        let journey = Journey { stream, peer: *peer, told: *told, local: *local, listener, live, shared, destination };
        tokio::select! {
            reached = journey.reach() => Ok(reached),
            () = going_down => Err(Next::GoingDown),
            () = gone(stream) => Err(Next::Gone),
        }
    }
}

/// Until the client has closed. If it has sent something before, that cannot be seen.
async fn gone(stream: &TcpStream) {
    if matches!(stream.peek(&mut [0]).await, Ok(1..)) {
        pending::<()>().await;
    }
}

/// From a destination to a connection.
struct Journey<'a> {
    stream: &'a TcpStream,
    peer: SocketAddr,
    told: Option<Told>,
    local: SocketAddr,
    listener: &'a ListenerSettings,
    live: &'a Live,
    shared: &'a Shared,
    destination: &'a Destination,
}

impl Journey<'_> {
    async fn reach(&self) -> Result<Reached, Refused> {
        let Destination { host, port } = self.destination;
        let until = Instant::now() + self.live.connect_timeout;
        if !self.listener.allowed.as_ref().is_some_and(|servers| servers.may_allow(host, *port)) {
            return Err((Rejection::Policy, self.forbidden()));
        }
        let addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.look_up(name, *port, until).await?,
        };
        // Whom a client names may have become an address of this host since the start; its source address would not tell.
        self.shared.look_at_own_addresses();
        let mut servers = self.allowed(&addresses)?;
        // Across families only if there is nothing else: it costs a translation.
        servers.sort_by_key(|server| server.is_ipv6() != self.peer.is_ipv6());
        servers.truncate(ADDRESSES);
        let mut last = (Rejection::Policy, self.forbidden());
        for (tried, server) in servers.iter().enumerate() {
            // An address that does not answer leaves time for the others.
            let left = u32::try_from(servers.len() - tried).unwrap_or(1);
            let limit = until.saturating_duration_since(Instant::now()) / left;
            match self.connect(*server, limit).await {
                Ok(reached) => return Ok(reached),
                Err(refused) => last = refused,
            }
        }
        Err(last)
    }

    /// The servers at these addresses to which a session may lead.
    fn allowed(&self, addresses: &[IpAddr]) -> Result<Vec<SocketAddr>, Refused> {
        let mut servers = Vec::new();
        let mut why = (Rejection::Policy, self.forbidden());
        for &address in addresses {
            let Destination { host, port } = self.destination;
            let own = self.shared.is_own(address);
            if !self.listener.allowed.as_ref().is_some_and(|servers| servers.allows(host, address, *port, own)) {
                continue;
            }
            let server = SocketAddr::new(address, self.destination.port);
            match self.way(server) {
                Ok(_) if servers.contains(&server) => {}
                Ok(_) => servers.push(server),
                Err(lost) => why = (lost.counts_as(), lost.to_string()),
            }
        }
        if servers.is_empty() { Err(why) } else { Ok(servers) }
    }

    fn way(&self, server: SocketAddr) -> Result<origin::Way, origin::Lost> {
        origin::find(self.stream, self.peer, self.local, self.told, Some(server), self.listener, self.shared)
    }

    async fn connect(&self, server: SocketAddr, limit: Duration) -> Result<Reached, Refused> {
        let way = self.way(server).map_err(|lost| (lost.counts_as(), lost.to_string()))?;
        let unreachable = |error: Unreachable| {
            let why = match &self.destination.host {
                Host::Address(_) => error.to_string(),
                Host::Name(name) => format!("{name}: {error}"),
            };
            (error.counts_as(), why)
        };
        let connected = upstream::connect(way, self.peer, self.listener, limit).await;
        let (stream, source) = connected.map_err(unreachable)?;
        Ok(Reached { way, server: stream, source, named: None })
    }

    /// The addresses of a name, none of them an IPv4-mapped one.
    async fn look_up(&self, name: &str, port: u16, until: Instant) -> Result<Vec<IpAddr>, Refused> {
        if !matches!(self.listener.route, Route::Login { names: true }) {
            let why = format!("names cannot be looked up here: write the address of {name}");
            return Err((Rejection::Resolve, why));
        }
        let owned = name.to_owned();
        let look_up = async {
            let place = LOOKUPS.acquire().await;
            // A task of its own keeps the place for as long as the thread is busy, whoever waits for it.
            let task = tokio::spawn(async move {
                let _place = place;
                lookup_host((owned, port)).await.map(|found| found.map(|found| found.ip().to_canonical()).collect())
            });
            task.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        let found: io::Result<Vec<IpAddr>> = timeout_at(until, look_up).await.unwrap_or_else(|_| late());
        let why = match found {
            Ok(found) if !found.is_empty() => return Ok(found),
            Ok(_) => "there is no address".to_owned(),
            Err(error) => error.to_string(),
        };
        // What is asked for because any name might lead to a listed address must not tell which names there are.
        let listed = self.listener.allowed.as_ref().is_some_and(|servers| servers.names(&self.destination.host, port));
        let why = if listed { format!("the name {name} cannot be looked up: {why}") } else { self.forbidden() };
        Err((Rejection::Resolve, why))
    }

    fn forbidden(&self) -> String {
        format!("{} is not a server that this gateway connects to", self.destination)
    }
}
