//! Tests of `header`: what is taken out of a real socket, and what stays in it. The whole way is shown by the end-to-end tests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// The sender's end and ours.
async fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    sender.set_nodelay(true).unwrap();
    (sender, listener.accept().await.unwrap().0)
}

const SENDER: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)), 40000);

fn addresses() -> (SocketAddr, SocketAddr) {
    ("203.0.113.9:49152".parse().unwrap(), "198.51.100.2:21".parse().unwrap())
}

/// A header that is followed by a certificate, so to speak.
fn long() -> Vec<u8> {
    let mut header = proxy_header::write(Version::V2, addresses().0, addresses().1);
    header.extend([b'x'; 3000]);
    header[14..16].copy_from_slice(&3012_u16.to_be_bytes());
    header
}

fn headers() -> Vec<Vec<u8>> {
    let (client, dialled) = addresses();
    let mut all: Vec<_> = [Version::V1, Version::V2].map(|v| proxy_header::write(v, client, dialled)).into();
    all.push(long());
    all
}

#[tokio::test]
async fn what_follows_a_header_stays_in_the_socket() {
    for header in headers() {
        let (mut sender, mut ours) = connected().await;
        sender.write_all(&[&header[..], b"USER anonymous\r\n"].concat()).await.unwrap();
        assert_eq!(read(&ours, SENDER).await, Ok(addresses()));
        sender.write_all(b"PASS x\r\n").await.unwrap();
        drop(sender);
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest.escape_ascii().to_string(), "USER anonymous\\r\\nPASS x\\r\\n");
    }
}

#[tokio::test]
async fn a_header_may_come_byte_by_byte() {
    for header in headers() {
        let (mut sender, mut ours) = connected().await;
        let write = async {
            for byte in [&header[..], b"SYST\r\n"].concat() {
                sender.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(sender);
        };
        let (said, ()) = tokio::join!(read(&ours, SENDER), write);
        assert_eq!(said, Ok(addresses()));
        let mut rest = Vec::new();
        ours.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"SYST\r\n");
    }
}

/// What becomes of a connection that sends this and closes.
async fn fate(bytes: &[u8]) -> Result<(SocketAddr, SocketAddr), Rejection> {
    let (mut sender, ours) = connected().await;
    sender.write_all(bytes).await.unwrap();
    drop(sender);
    read(&ours, SENDER).await
}

#[tokio::test]
async fn each_fault_has_its_reason() {
    let v2 = |command: u8, family: u8| {
        let mut header = proxy_header::write(Version::V2, addresses().0, addresses().1);
        (header[12], header[13]) = (command, family);
        header
    };
    let mut huge = v2(0x21, 0x11);
    huge[14] = 0xFF;
    for (bytes, reason) in [
        (&b""[..], Rejection::ProxyLocal),
        (b"PROXY UNKNOWN\r\n", Rejection::ProxyLocal),
        (&v2(0x20, 0x00), Rejection::ProxyLocal),
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 40000 21\r\n", Rejection::ProxyLocal),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.2 40000 21\r\n", Rejection::ProxyLocal),
        (b"USER anonymous\r\n", Rejection::ProxyMissing),
        (b"PROXY TCP4 203.0.113.9", Rejection::ProxyMalformed),
        (&v2(0x21, 0x11)[..20], Rejection::ProxyMalformed),
        (b"PROXY TCP4 a b c d\r\n", Rejection::ProxyMalformed),
        (&v2(0x22, 0x11), Rejection::ProxyMalformed),
        (&[b"PROXY ", &[b'x'; 200][..]].concat(), Rejection::ProxyOversized),
        (&huge, Rejection::ProxyOversized),
        (&v2(0x21, 0x12), Rejection::ProxyFamily),
        (&v2(0x21, 0x31), Rejection::ProxyFamily),
        (b"PROXY TCP4 203.0.113.9 198.51.100.2 0 21\r\n", Rejection::ProxyAddress),
        (b"PROXY TCP4 127.0.0.1 198.51.100.2 1 21\r\n", Rejection::ProxyAddress),
    ] {
        assert_eq!(fate(bytes).await, Err(reason), "{}", bytes.escape_ascii());
    }
}

/// A load balancer may be behind another, or be used from its own host.
#[tokio::test]
async fn another_connection_of_the_senders_host_is_a_clients() {
    let said = fate(b"PROXY TCP4 192.0.2.7 198.51.100.2 40001 21\r\n").await;
    assert_eq!(said, Ok(("192.0.2.7:40001".parse().unwrap(), addresses().1)));
}

#[tokio::test]
async fn a_health_check_may_reset_instead_of_closing() {
    let (sender, ours) = connected().await;
    socket2::SockRef::from(&sender).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(sender);
    assert_eq!(read(&ours, SENDER).await, Err(Rejection::ProxyLocal));
}

#[test]
fn who_is_in_the_list_is_believed_and_nobody_else() {
    let networks = ["192.0.2.7/32", "10.0.0.0/8", "2001:db8::/64"];
    let settings = ProxyProtocol {
        accept_from: networks.iter().map(|network| network.parse().unwrap()).collect(),
        data: false,
        send: None,
    };
    assert!(settings.is_expected() && !ProxyProtocol::default().is_expected());
    for (sender, trusted) in [
        ("192.0.2.7", true),
        ("192.0.2.8", false),
        ("10.255.0.1", true),
        ("2001:db8::5", true),
        ("2001:db8:0:1::", false),
    ] {
        assert_eq!(settings.trusts(sender.parse().unwrap()), trusted, "{sender}");
    }
}

/// What the future is as large as that a function returns.
fn size_of_what<F: Future>(_: fn(Waiting) -> F) -> usize {
    size_of::<F>()
}

/// As many may wait as there may be sessions, for `timeouts.proxy_header` each.
#[test]
#[cfg(target_pointer_width = "64")]
fn the_wait_for_a_header_is_no_larger_than_it_was() {
    assert!(size_of_what(Waiting::for_header) <= 1056, "{}", size_of_what(Waiting::for_header));
}
