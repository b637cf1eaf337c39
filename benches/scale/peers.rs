//! Both ends of idle sessions: a server that lets everybody in, and clients that log in and then say nothing.
//!
//! Lives here: the two processes. `client` says `held` when all its sessions are logged in, and on SIGHUP sends a NOOP in each and
//! says `alive` if all are answered. Not here: who starts them (`idle.rs`).

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Logins under way at a time.
const AT_ONCE: usize = 64;
/// Logins are tried so often, for a queue of the kernel may have been full.
const TRIES: u32 = 5;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Serves until it is killed.
pub fn server(at: SocketAddr) -> ExitCode {
    runtime().block_on(async {
        let listener = TcpListener::bind(at).await.unwrap();
        println!("listening");
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { serve(&stream).await });
        }
    })
}

async fn serve(stream: &TcpStream) -> io::Result<()> {
    say(stream, "220 \r\n").await?;
    loop {
        let reply = match hear(stream).await?.as_str() {
            "" => return Ok(()),
            line if line.starts_with("USER") => "331 \r\n",
            line if line.starts_with("PASS") => "230 \r\n",
            _ => "200 \r\n",
        };
        say(stream, reply).await?;
    }
}

/// Holds so many sessions until it is killed.
pub fn client(to: SocketAddr, sessions: usize) -> ExitCode {
    runtime().block_on(async {
        let mut again = signal(SignalKind::hangup()).unwrap();
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut logins = JoinSet::new();
        for _ in 0..sessions {
            let place = Arc::clone(&places).acquire_owned().await.unwrap();
            logins.spawn(async move {
                let session = login(to).await;
                drop(place);
                session
            });
        }
        let held: Vec<TcpStream> = logins.join_all().await;
        println!("held {}", held.len());
        loop {
            again.recv().await;
            for stream in &held {
                say(stream, "NOOP\r\n").await.unwrap();
                assert!(hear(stream).await.unwrap().starts_with("200"));
            }
            println!("alive {}", held.len());
        }
    })
}

async fn login(to: SocketAddr) -> TcpStream {
    for _ in 0..TRIES {
        let Ok(stream) = TcpStream::connect(to).await else { continue };
        let talk = async {
            expect(&stream, "220").await?;
            say(&stream, "USER a\r\n").await?;
            expect(&stream, "331").await?;
            say(&stream, "PASS b\r\n").await?;
            expect(&stream, "230").await
        };
        if talk.await.is_ok() {
            return stream;
        }
    }
    panic!("no session with {to}");
}

async fn expect(stream: &TcpStream, code: &str) -> io::Result<()> {
    let line = hear(stream).await?;
    if line.starts_with(code) { Ok(()) } else { Err(io::Error::other(line)) }
}

async fn say(stream: &TcpStream, text: &str) -> io::Result<()> {
    loop {
        stream.writable().await?;
        match stream.try_write(text.as_bytes()) {
            Ok(n) if n == text.len() => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return Err(io::Error::other(format!("{other:?}"))),
        }
    }
}

/// What comes next: both sides wait for each line's answer, so one read is one line. Empty at the end.
async fn hear(stream: &TcpStream) -> io::Result<String> {
    let mut buffer = [0; 256];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(n) => return Ok(String::from_utf8_lossy(&buffer[..n]).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
