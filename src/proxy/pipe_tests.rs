//! Tests of `pipe` over loopback: TLS that comes in pieces, ends, or never was any. In clear text: the end-to-end tests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as Blocking};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use super::*;
use crate::tls::identity::Identity;
use crate::tls::upstream::Upstream;
use crate::tls::{Sessions, Terminator};

/// A client's end that blocks, and the pipe at the other.
fn ends() -> (Blocking, Pipe) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.set_nodelay(true).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    (client, Pipe::new(TcpStream::from_std(stream).unwrap()))
}

/// The TLS of a listener whose server has the same certificate as itself.
fn tls() -> Arc<crate::tls::SessionTls> {
    let made = rcgen::generate_simple_self_signed(["ftp.example.net".to_owned()]).unwrap();
    let write = |name: &str, text: String| -> PathBuf {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fg-pipe-{}-{number}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (write("cert.pem", made.cert.pem()), write("key.pem", made.signing_key.serialize_pem()));
    let upstream = Upstream::new(Some(&cert), Some("ftp.example.net")).unwrap();
    let terminator = Terminator::new(Identity::load(&cert, &key).unwrap(), Some(upstream));
    for path in [cert, key] {
        std::fs::remove_file(path).unwrap();
    }
    let sessions = Sessions::default();
    sessions.begin(1, &terminator, "127.0.0.1".parse().unwrap());
    sessions.of(1).unwrap()
}

/// A client that sends at most a few bytes at a time.
struct Slow(Blocking);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(7)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

async fn shake_hands(pipe: &mut Pipe) -> io::Result<()> {
    while !pipe.shake_hands()? {
        std::future::poll_fn(|context| pipe.poll_ready(true, pipe.is_waiting(), context)).await?;
    }
    Ok(())
}

/// The next bytes; none at the end.
async fn read(pipe: &mut Pipe) -> Vec<u8> {
    let mut buffer = [0; 100];
    loop {
        std::future::poll_fn(|context| pipe.poll_ready(true, false, context)).await.unwrap();
        match pipe.read(&mut buffer, true) {
            Ok(count) => return buffer[..count].to_vec(),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

async fn read_until(pipe: &mut Pipe, end: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(end) {
        let new = read(pipe).await;
        assert!(!new.is_empty(), "ended after {}", all.escape_ascii());
        all.extend_from_slice(&new);
    }
    all
}

/// What a client does on a thread of its own.
fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

#[tokio::test]
async fn tls_begins_behind_clear_text_and_ends_before_it() {
    let (client, mut pipe) = ends();
    let tls = tls();
    let (config, name) = tls.asked().unwrap();
    pipe.send(b"234 Begin TLS.\r\n");
    pipe.secure(tls.with_client().unwrap());
    let client = on_a_thread(move || {
        let mut client = client;
        let mut line = [0; 16];
        client.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"234 Begin TLS.\r\n");
        let connection = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(connection, Slow(client));
        stream.write_all(b"CCC\r\n").unwrap();
        let mut line = [0; 5];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"200\r\n");
        // The gateway's close_notify; then ours, with clear text right behind it.
        assert_eq!(stream.read(&mut line).unwrap(), 0);
        stream.conn.send_close_notify();
        let mut last = Vec::new();
        stream.conn.write_tls(&mut last).unwrap();
        last.extend_from_slice(b"NOOP\r\n");
        stream.sock.0.write_all(&last).unwrap();
        stream.sock.0.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"201\r\n");
        // A FIN alone is an end as well.
        stream.sock.0.shutdown(std::net::Shutdown::Write).unwrap();
    });
    shake_hands(&mut pipe).await.unwrap();
    assert!(!pipe.is_shaking_hands());
    assert_eq!(read_until(&mut pipe, b"\n").await, b"CCC\r\n");
    pipe.send(b"200\r\n");
    pipe.unsecure();
    assert_eq!(read_until(&mut pipe, b"\n").await, b"NOOP\r\n");
    pipe.send(b"201\r\n");
    assert!(read(&mut pipe).await.is_empty());
    assert!(pipe.more.is_none(), "nothing is left of TLS");
    client.join().unwrap();
}

#[tokio::test]
async fn an_end_with_close_notify_or_without_is_an_end_and_ours_has_one() {
    for orderly in [true, false] {
        let (client, mut pipe) = ends();
        let tls = tls();
        let (config, name) = tls.asked().unwrap();
        pipe.secure(tls.with_client().unwrap());
        let client = on_a_thread(move || {
            let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), client);
            stream.write_all(b"QUIT\r\n").unwrap();
            if orderly {
                stream.conn.send_close_notify();
                stream.flush().unwrap();
            } else {
                stream.sock.shutdown(std::net::Shutdown::Write).unwrap();
            }
            let mut all = Vec::new();
            stream.read_to_end(&mut all).map(|_| all)
        });
        shake_hands(&mut pipe).await.unwrap();
        assert_eq!(read_until(&mut pipe, b"\n").await, b"QUIT\r\n");
        assert!(read(&mut pipe).await.is_empty());
        pipe.send(b"221 Goodbye.\r\n");
        pipe.shutdown();
        // An error if close_notify were missing.
        assert_eq!(client.join().unwrap().unwrap(), b"221 Goodbye.\r\n");
    }
}

#[tokio::test]
async fn garbage_and_an_early_end_are_no_handshake() {
    for said in [&b"USER joe\r\n"[..], b"\x16\x03\x01\x02\x00garbage", b""] {
        let (mut client, mut pipe) = ends();
        pipe.secure(tls().with_client().unwrap());
        client.write_all(said).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(shake_hands(&mut pipe).await.is_err(), "{}", said.escape_ascii());
    }
}

#[tokio::test]
async fn more_than_the_kernel_takes_is_kept_and_arrives() {
    let (client, mut pipe) = ends();
    let tls = tls();
    let (config, name) = tls.asked().unwrap();
    pipe.secure(tls.with_client().unwrap());
    let (go, wait) = std::sync::mpsc::channel();
    let client = on_a_thread(move || {
        let mut stream = StreamOwned::new(ClientConnection::new(config, name).unwrap(), client);
        stream.write_all(b"GO\r\n").unwrap();
        let () = wait.recv().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all.len())
    });
    shake_hands(&mut pipe).await.unwrap();
    read_until(&mut pipe, b"\n").await;
    let mut sent = 0;
    while !pipe.is_full() {
        pipe.send(&[b'x'; 100_000]);
        sent += 100_000;
    }
    go.send(()).unwrap();
    while pipe.is_waiting() {
        std::future::poll_fn(|context| pipe.poll_ready(false, true, context)).await.unwrap();
        pipe.flush();
    }
    assert!(!pipe.is_full() && !pipe.has_failed());
    pipe.shutdown();
    assert_eq!(client.join().unwrap().unwrap(), sent);
}
