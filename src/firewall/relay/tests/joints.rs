//! Tests of data connections that the relay dials at both ends, or that both ends dial, as a session asks for them.

use super::*;
use crate::firewall::path::DataPath;
use crate::firewall::worker::Lease;
use crate::pinhole::{Joint, Leg};

const CLIENT: &str = "127.0.0.5";
const SERVER: &str = "127.0.0.2";

fn path() -> (DataPath, Tracker, Receiver<Incident>) {
    let (relay, incidents) = start();
    let tracker = relay.tracker();
    let settings =
        worker::Settings { ports: 20000..=60999, cooldown: Duration::ZERO, seed: u64::from(std::process::id()) };
    let firewall = Firewall::start(Box::new(relay), settings).unwrap();
    (DataPath::relay(firewall, tracker.clone(), true), tracker, incidents)
}

/// The client is passive and the server active: both dial.
async fn both_dial(path: &DataPath) -> Lease {
    let listen = |initiator: &str| Leg::Listen {
        initiator: initiator.parse().unwrap(),
        on_behalf_of: None,
        entrance: "127.0.0.9".parse().unwrap(),
        port: EntrancePort::Any,
    };
    let joint = Joint {
        announcement: Announcement::Epsv,
        client: listen(CLIENT),
        server: listen(SERVER),
        lifetime: Duration::from_secs(60),
        protection: crate::pinhole::Protection::default(),
    };
    path.join(7, joint).await.unwrap()
}

/// The client is active and the server passive: both are dialled.
fn both_are_dialled(client: SocketAddr, server: SocketAddr) -> Joint {
    let dial = |target, source: &str| Leg::Dial { target, source: source.parse().unwrap() };
    Joint {
        announcement: Announcement::Port,
        client: dial(client, "127.0.0.8"),
        server: dial(server, "127.0.0.9"),
        lifetime: Duration::from_secs(60),
        protection: crate::pinhole::Protection::default(),
    }
}

/// Sends one way and then ends, and sees all of it arrive with its end.
fn flows(mut from: TcpStream, mut to: TcpStream) {
    from.write_all(b"a file").unwrap();
    drop(from);
    let mut all = Vec::new();
    to.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"a file");
}

#[tokio::test]
async fn two_that_dial_meet_whoever_comes_first() {
    let (path, tracker, _incidents) = path();
    for client_first in [true, false] {
        let lease = both_dial(&path).await;
        let entrances: Vec<SocketAddr> = lease.all().map(|lease| lease.pinhole().entrance).collect();
        assert_eq!(lease.joint(), Some((entrances[0].port(), entrances[1].port())));
        let keys: Vec<Key> = lease.all().map(Lease::watched).collect();
        let mut watch = tracker.watch(keys[0]);
        let (client, server);
        if client_first {
            client = dial(CLIENT, entrances[0]).unwrap();
            assert!(
                matches!(next(&mut watch), FlowEvent::Used(flow) if flow.original.source.ip().to_string() == CLIENT)
            );
            server = dial(SERVER, entrances[1]).unwrap();
        } else {
            server = dial(SERVER, entrances[1]).unwrap();
            // What the server says elsewhere waits for the client.
            assert!(tracker.is_on_its_way(&keys[1]));
            client = dial(CLIENT, entrances[0]).unwrap();
            assert!(matches!(next(&mut watch), FlowEvent::Used(_)));
        }
        assert_eq!(next(&mut watch), FlowEvent::Established);
        assert!(!tracker.is_on_its_way(&keys[1]));
        flows(server, client);
        assert_eq!(gone(&mut watch), Traffic { from_initiator: 0, to_initiator: 6 });
    }
}

#[tokio::test]
async fn only_the_two_that_are_expected_meet() {
    let (path, _tracker, incidents) = path();
    let lease = both_dial(&path).await;
    let entrances: Vec<SocketAddr> = lease.all().map(|lease| lease.pinhole().entrance).collect();
    for (who, entrance) in [(SERVER, entrances[0]), (CLIENT, entrances[1]), ("127.0.0.3", entrances[0])] {
        let refused = dial(who, entrance).and_then(read_all);
        assert_eq!(refused.unwrap_err().kind(), Io::ConnectionReset);
        assert_eq!(incidents.recv_timeout(PATIENCE).unwrap(), Incident::WrongPeer);
    }
    let (server, client) = (dial(SERVER, entrances[1]).unwrap(), dial(CLIENT, entrances[0]).unwrap());
    flows(client, server);
}

#[tokio::test]
async fn who_waits_in_vain_is_reset_when_the_pinhole_is_closed() {
    let (path, _tracker, _incidents) = path();
    for waiting in [0, 1] {
        let lease = both_dial(&path).await;
        let entrances: Vec<SocketAddr> = lease.all().map(|lease| lease.pinhole().entrance).collect();
        let alone = dial([CLIENT, SERVER][waiting], entrances[waiting]).unwrap();
        drop(lease);
        assert_eq!(read_all(alone).unwrap_err().kind(), Io::ConnectionReset);
        for entrance in entrances {
            // In the microseconds between the reset and the end of the listener the kernel may still answer.
            assert!(dial(CLIENT, entrance).and_then(read_all).is_err());
        }
    }
}

#[tokio::test]
async fn two_that_listen_are_dialled_from_the_addresses_that_they_expect() {
    let (path, tracker, _incidents) = path();
    let (client, server) = (TcpListener::bind("127.0.0.5:0").unwrap(), TcpListener::bind("127.0.0.2:0").unwrap());
    let joint = both_are_dialled(client.local_addr().unwrap(), server.local_addr().unwrap());
    let lease = path.join(7, joint).await.unwrap();
    assert_eq!(lease.joint(), Some((0, 0)));
    let mut watch = tracker.watch(lease.pinhole().key());
    // As if the server had dialled, which is what the client believes.
    let FlowEvent::Used(flow) = next(&mut watch) else { panic!("used at once") };
    assert_eq!(flow.original.source, server.local_addr().unwrap());
    assert_eq!(lease.pinhole().target, client.local_addr().unwrap());
    let ((client, seen), (server, by)) = (accept(&client), accept(&server));
    assert_eq!((seen.ip().to_string(), by.ip().to_string()), ("127.0.0.8".to_owned(), "127.0.0.9".to_owned()));
    // It lives on when nobody waits for a connection any more.
    drop(lease);
    flows(server, client);
    assert_eq!(gone(&mut watch), Traffic { from_initiator: 6, to_initiator: 0 });
}

#[tokio::test]
async fn one_that_cannot_be_reached_leaves_the_other_reset() {
    let (path, _tracker, incidents) = path();
    let server = TcpListener::bind("127.0.0.2:0").unwrap();
    let error = path.join(7, both_are_dialled(free(), server.local_addr().unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().starts_with("cannot reach 127.0.0.1:"), "{error}");
    assert_eq!(incidents.recv_timeout(PATIENCE).unwrap(), Incident::Connect);
    server.set_nonblocking(true).unwrap();
    // It may have been connected before the other one failed.
    if let Ok((stream, _)) = server.accept() {
        assert_eq!(read_all(stream).unwrap_err().kind(), Io::ConnectionReset);
    }
}

/// The session has ended while both were being dialled.
#[tokio::test]
async fn a_joint_that_nobody_takes_is_reset() {
    let (path, tracker, _incidents) = path();
    let (client, waiting) = full();
    let server = TcpListener::bind("127.0.0.2:0").unwrap();
    let joint = both_are_dialled(client.local_addr().unwrap(), server.local_addr().unwrap());
    let mut opening = Box::pin(path.join(7, joint));
    // Once, so that it is on its way.
    let first = std::future::poll_fn(|context| std::task::Poll::Ready(opening.as_mut().poll(context).is_ready())).await;
    assert!(!first);
    drop((opening, accept(&client), waiting));
    let ((client, _), (server, _)) = (accept(&client), accept(&server));
    for stream in [client, server] {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read_all(stream).unwrap_err().kind(), Io::ConnectionReset);
    }
    drop(tracker);
}
