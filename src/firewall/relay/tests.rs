//! Tests of the relay over loopback, with one peer for each of its addresses. With real programs: `tests/relay`.

use std::io::{ErrorKind as Io, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use socket2::{Domain, Socket, Type};

use super::*;
use crate::firewall::Reset;
use crate::firewall::tracking::{End, FlowEvent};
use crate::firewall::worker::{self, Firewall};
use crate::pinhole::{Announcement, EntrancePort, Request, Traffic};

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(idle_timeout: Duration) -> (Settings, Receiver<Incident>) {
    let (sender, incidents) = channel();
    let report = Arc::new(move |incident| sender.send(incident).unwrap_or_default());
    (
        Settings {
            connect_timeout: PATIENCE,
            idle_timeout,
            most_per_client: 2,
            introduce: nobody_is_introduced(),
            secure: nobody_speaks_tls(),
            report,
        },
        incidents,
    )
}

fn nobody_is_introduced() -> Introduce {
    Arc::new(|_, _| Box::pin(std::future::ready(None)))
}

fn nobody_speaks_tls() -> Secure {
    Arc::new(|_, _, _| Box::pin(std::future::ready(Err(std::io::ErrorKind::Unsupported.into()))))
}

fn start() -> (Relay, Receiver<Incident>) {
    let (settings, incidents) = settings(Duration::from_secs(60));
    (Relay::start(settings).unwrap(), incidents)
}

/// A port that was free a moment ago.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn pinhole(entrance: SocketAddr, target: SocketAddr) -> Pinhole {
    Pinhole {
        session: 1,
        announcement: Announcement::Pasv,
        initiator: "127.0.0.1".parse().unwrap(),
        on_behalf_of: None,
        entrance,
        target,
        source: "127.0.0.9".parse().unwrap(),
        lifetime: Duration::from_secs(60),
        protection: crate::pinhole::Protection::default(),
    }
}

/// Dials from an address of the loopback network.
fn dial(from: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A listener whose queue is full with this connection. It does not answer, so further ones stay on their way for as long as a test
/// likes.
fn full() -> (TcpListener, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let target = TcpListener::from(socket);
    let first = TcpStream::connect(target.local_addr().unwrap()).unwrap();
    (target, first)
}

fn accept(target: &TcpListener) -> (TcpStream, SocketAddr) {
    target.set_nonblocking(true).unwrap();
    let end = Instant::now() + PATIENCE;
    let (stream, peer) = loop {
        match target.accept() {
            Err(error) if error.kind() == Io::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => break other.unwrap(),
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    (stream, peer)
}

fn next(watch: &mut Watch) -> FlowEvent {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(event) = watch.try_next() {
            return event;
        }
        assert!(Instant::now() < end, "nothing is told");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn read_all(mut stream: TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

fn gone(watch: &mut Watch) -> Traffic {
    match next(watch) {
        FlowEvent::Established => gone(watch),
        FlowEvent::Gone(Some(counters)) => counters.traffic(false),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_announced_peer_reaches_the_target_once_and_all_is_told() {
    let (mut relay, incidents) = start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = pinhole(free(), target.local_addr().unwrap());
    let mut watch = relay.tracker().watch(hole.key());
    relay.apply(&[Change::Open(hole)]).unwrap();
    // A stranger does not use it up.
    let stranger = dial("127.0.0.2", hole.entrance).and_then(read_all);
    assert_eq!(stranger.unwrap_err().kind(), Io::ConnectionReset);
    assert_eq!(incidents.recv_timeout(PATIENCE).unwrap(), Incident::WrongPeer);
    let mut client = dial("127.0.0.1", hole.entrance).unwrap();
    let (mut server, seen) = accept(&target);
    assert_eq!(seen.ip(), hole.source, "the target sees the source");
    let FlowEvent::Used(flow) = next(&mut watch) else { panic!("used first") };
    assert_eq!(flow.original.source, client.local_addr().unwrap());
    assert_eq!((flow.key(), flow.ends().1), (hole.key(), hole.target));
    assert_eq!(next(&mut watch), FlowEvent::Established);
    assert!(!relay.tracker().is_on_its_way(&hole.key()));
    assert_eq!(dial("127.0.0.1", hole.entrance).unwrap_err().kind(), Io::ConnectionRefused, "one shot");
    // One end says that it will send no more, and still gets all that the other sends.
    client.write_all(b"up").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut buffer = [0; 8];
    assert_eq!((server.read(&mut buffer).unwrap(), server.read(&mut buffer[2..]).unwrap()), (2, 0));
    assert!(relay.tracker().query(&flow).unwrap().is_some());
    relay.apply(&[Change::Close(hole)]).unwrap();
    let content = vec![7; 3_000_000];
    let sender = std::thread::spawn({
        let content = content.clone();
        move || server.write_all(&content)
    });
    assert!(read_all(client).unwrap() == content, "closing a pinhole leaves its connection alone");
    sender.join().unwrap().unwrap();
    assert_eq!(gone(&mut watch), Traffic { from_initiator: 2, to_initiator: 3_000_000 });
    assert_eq!(relay.tracker().query(&flow), Ok(None));
    assert!(incidents.try_recv().is_err());
}

#[test]
fn a_transaction_that_fails_changes_nothing() {
    let (mut relay, _) = start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let fine = pinhole(free(), free());
    let faulty = pinhole(taken.local_addr().unwrap(), free());
    let error = relay.apply(&[Change::Open(fine), Change::Open(faulty)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert_eq!(dial("127.0.0.1", fine.entrance).unwrap_err().kind(), Io::ConnectionRefused);
}

#[test]
fn an_entrance_is_free_as_soon_as_its_pinhole_is_closed() {
    let (mut relay, _) = start();
    let hole = pinhole(free(), free());
    for _ in 0..50 {
        relay.apply(&[Change::Open(hole)]).unwrap();
        relay.apply(&[Change::Close(hole)]).unwrap();
        drop(TcpListener::bind(hole.entrance).unwrap());
    }
    relay.apply(&[Change::Open(hole)]).unwrap();
    relay.clear().unwrap();
    relay.clear().unwrap();
    drop(TcpListener::bind(hole.entrance).unwrap());
}

#[test]
fn one_entrance_serves_several_initiators() {
    let (mut relay, _) = start();
    let targets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let entrance = free();
    let holes = ["127.0.0.1", "127.0.0.2"].map(|initiator| initiator.parse().unwrap());
    let holes = [0, 1].map(|n| Pinhole { initiator: holes[n], ..pinhole(entrance, targets[n].local_addr().unwrap()) });
    relay.apply(&[Change::Open(holes[0])]).unwrap();
    relay.apply(&[Change::Open(holes[1])]).unwrap();
    for (name, target) in [("127.0.0.2", &targets[1]), ("127.0.0.1", &targets[0])] {
        let mut client = dial(name, entrance).unwrap();
        client.write_all(name.as_bytes()).unwrap();
        drop(client);
        assert_eq!(read_all(accept(target).0).unwrap(), name.as_bytes());
    }
    assert_eq!(dial("127.0.0.1", entrance).unwrap_err().kind(), Io::ConnectionRefused);
}

#[test]
fn a_reset_reaches_both_ends_and_the_counts_are_told() {
    let (mut relay, _) = start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = pinhole(free(), target.local_addr().unwrap());
    let mut watch = relay.tracker().watch(hole.key());
    relay.apply(&[Change::Open(hole)]).unwrap();
    let mut client = dial("127.0.0.1", hole.entrance).unwrap();
    let (mut server, _) = accept(&target);
    client.write_all(b"12345").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    let FlowEvent::Used(flow) = next(&mut watch) else { panic!("used first") };
    let reset = Reset { session: 1, flow, receiver: End::Target, lifetime: PATIENCE };
    relay.apply(&[Change::Reset(reset), Change::Reset(Reset { receiver: End::Initiator, ..reset })]).unwrap();
    for end in [client, server] {
        assert_eq!(read_all(end).unwrap_err().kind(), Io::ConnectionReset);
    }
    assert_eq!(gone(&mut watch), Traffic { from_initiator: 5, to_initiator: 0 });
    relay.apply(&[Change::Reset(reset)]).unwrap();
}

/// Both may come so close together that the connection still waits to be accepted.
#[test]
fn who_knocked_before_the_pinhole_was_closed_is_let_in() {
    let (mut relay, _) = start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..50 {
        let hole = pinhole(free(), target.local_addr().unwrap());
        let mut watch = relay.tracker().watch(hole.key());
        relay.apply(&[Change::Open(hole)]).unwrap();
        let mut client = dial("127.0.0.1", hole.entrance).unwrap();
        client.write_all(b"last words").unwrap();
        drop(client);
        relay.apply(&[Change::Close(hole)]).unwrap();
        assert_eq!(read_all(accept(&target).0).unwrap(), b"last words");
        assert!(matches!(next(&mut watch), FlowEvent::Used(_)));
        assert_eq!(gone(&mut watch).from_initiator, 10);
    }
}

#[test]
fn a_connection_that_came_before_its_watch_is_told_all_the_same() {
    let (mut relay, _) = start();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let hole = pinhole(free(), target.local_addr().unwrap());
    relay.apply(&[Change::Open(hole)]).unwrap();
    let client = dial("127.0.0.1", hole.entrance).unwrap();
    let (server, _) = accept(&target);
    let mut watch = relay.tracker().watch(hole.key());
    let FlowEvent::Used(flow) = next(&mut watch) else { panic!("used first") };
    assert_eq!(flow.original.source, client.local_addr().unwrap());
    drop((client, server));
    assert_eq!(gone(&mut watch), Traffic::default());
    assert!(relay.shared.book().claim(hole.key()).is_none());
}

#[test]
fn a_target_that_refuses_resets_the_initiator() {
    let (mut relay, incidents) = start();
    let hole = pinhole(free(), free());
    relay.apply(&[Change::Open(hole)]).unwrap();
    let client = dial("127.0.0.1", hole.entrance).and_then(read_all);
    assert_eq!(client.unwrap_err().kind(), Io::ConnectionReset);
    assert_eq!(incidents.recv_timeout(PATIENCE).unwrap(), Incident::Connect);
}

#[test]
fn how_long_connecting_may_take_can_be_changed() {
    let (mut relay, incidents) = start();
    relay.tracker().connect_within(Duration::from_millis(50));
    let (target, _first) = full();
    let hole = pinhole(free(), target.local_addr().unwrap());
    relay.apply(&[Change::Open(hole)]).unwrap();
    let client = dial("127.0.0.1", hole.entrance).and_then(read_all);
    assert_eq!(client.unwrap_err().kind(), Io::ConnectionReset);
    assert_eq!(incidents.recv_timeout(PATIENCE).unwrap(), Incident::ConnectTimeout);
}

/// A server that has connected to the entrance may say so, and that it is done, before the client can be connected. Whoever passes
/// that on can find out that it is too early, and when it is not any more.
#[test]
fn a_connection_is_on_its_way_from_its_handshake_to_its_targets() {
    let (mut relay, _) = start();
    let (target, first) = full();
    let hole = pinhole(free(), target.local_addr().unwrap());
    let mut watch = relay.tracker().watch(hole.key());
    relay.apply(&[Change::Open(hole)]).unwrap();
    assert!(!relay.tracker().is_on_its_way(&hole.key()), "nobody has come");
    let client = dial("127.0.0.1", hole.entrance).unwrap();
    assert!(relay.tracker().is_on_its_way(&hole.key()), "found out at once, whoever accepts it");
    assert!(matches!(next(&mut watch), FlowEvent::Used(_)));
    assert!(relay.tracker().is_on_its_way(&hole.key()) && watch.try_next().is_none());
    drop((first, accept(&target)));
    assert_eq!(next(&mut watch), FlowEvent::Established);
    assert!(!relay.tracker().is_on_its_way(&hole.key()));
    drop((client, accept(&target)));
    gone(&mut watch);
}

/// A peer that never closes its direction does not hold two sockets for ever, and one client not all of them.
#[test]
fn what_is_never_closed_ends_and_is_bounded_for_each_client() {
    let (settings, _incidents) = settings(Duration::from_millis(100));
    let mut relay = Relay::start(settings).unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut ends = Vec::new();
    let mut watches = Vec::new();
    for _ in 0..2 {
        let hole = pinhole(free(), target.local_addr().unwrap());
        watches.push(relay.tracker().watch(hole.key()));
        relay.apply(&[Change::Open(hole)]).unwrap();
        let client = dial("127.0.0.1", hole.entrance).unwrap();
        let (server, _) = accept(&target);
        server.shutdown(Shutdown::Write).unwrap();
        ends.push((client, server));
    }
    let third = pinhole(free(), target.local_addr().unwrap());
    // Their limit is two; if both are over by now, the machine is very slow.
    if let Err(error) = relay.apply(&[Change::Open(third)]) {
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().contains("127.0.0.1 has 2 data connections"), "{error}");
    }
    for watch in &mut watches {
        assert!(matches!(next(watch), FlowEvent::Used(_)));
        gone(watch);
    }
    relay.apply(&[Change::Open(third)]).unwrap();
}

/// Behind the firewall's handle: a fixed port cannot be kept, and one that somebody else has is passed by.
#[tokio::test]
async fn the_firewall_finds_a_port_that_is_free() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    // Two ports: one of them is the listener's above, whatever the other is.
    let range = if port == u16::MAX { port - 1..=port } else { port..=port + 1 };
    let (relay, _) = start();
    let settings = worker::Settings { ports: range.clone(), cooldown: Duration::ZERO, seed: 1 };
    let firewall = Firewall::start(Box::new(relay), settings).unwrap();
    let hole = pinhole(free(), free());
    let request = Request {
        announcement: hole.announcement,
        initiator: hole.initiator,
        on_behalf_of: None,
        entrance: hole.entrance.ip(),
        entrance_port: EntrancePort::Fixed(port),
        target: hole.target,
        source: hole.source,
        lifetime: hole.lifetime,
        protection: hole.protection,
    };
    match firewall.open(1, request).await {
        Ok(lease) => {
            let entrance = lease.pinhole().entrance;
            assert!(entrance.port() != port && range.contains(&entrance.port()), "{entrance}");
            assert!(TcpStream::connect(entrance).is_ok());
        }
        // Somebody has the other one as well: then the sentence says so.
        Err(error) => assert_eq!(error.kind(), ErrorKind::InUse, "{error}"),
    }
    firewall.stop().unwrap();
}

mod joints;
