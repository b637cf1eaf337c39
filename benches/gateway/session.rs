//! The client's side of FTP, every byte of it compared: commands, data connections, the four ways to announce them.
//!
//! One text for two ways of waiting: [`Blocking`] sockets where one session is measured alone, since nothing is quicker, and
//! tokio's where there are many. Not here: how often, and what is timed (`load.rs`, `many.rs`).

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::pattern::{File, PIECE};

/// How long a blocking call may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often an announcement that was refused is repeated: the kernel may refuse an element while its hash table grows.
const AGAIN: u32 = 5;

/// What a session needs of a socket.
pub trait Stream: Sized {
    type Listener;
    async fn connect(to: SocketAddr) -> io::Result<Self>;
    /// On any port of an address.
    async fn listen(at: IpAddr) -> io::Result<(Self::Listener, SocketAddr)>;
    async fn accept(listener: Self::Listener) -> io::Result<Self>;
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
    async fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    fn local(&self) -> io::Result<SocketAddr>;
    fn nodelay(&self) -> io::Result<()>;
}

/// Waits in the kernel; its futures are ready at once.
pub struct Blocking(std::net::TcpStream);

/// Runs something that only uses [`Blocking`].
pub fn block<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a blocking socket does not wait for events"),
    }
}

impl Stream for Blocking {
    type Listener = std::net::TcpListener;

    async fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(to)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    async fn listen(at: IpAddr) -> io::Result<(Self::Listener, SocketAddr)> {
        let listener = std::net::TcpListener::bind(SocketAddr::new(at, 0))?;
        // For accept, too.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    }

    async fn accept(listener: Self::Listener) -> io::Result<Self> {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn nodelay(&self) -> io::Result<()> {
        self.0.set_nodelay(true)
    }
}

impl Stream for tokio::net::TcpStream {
    type Listener = tokio::net::TcpListener;

    async fn connect(to: SocketAddr) -> io::Result<Self> {
        Self::connect(to).await
    }

    async fn listen(at: IpAddr) -> io::Result<(Self::Listener, SocketAddr)> {
        let listener = tokio::net::TcpListener::bind(SocketAddr::new(at, 0)).await?;
        let at = listener.local_addr()?;
        Ok((listener, at))
    }

    async fn accept(listener: Self::Listener) -> io::Result<Self> {
        Ok(listener.accept().await?.0)
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(buffer).await
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes).await
    }

    fn local(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    fn nodelay(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }
}

/// Where to go.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub control: SocketAddr,
    /// Where EPSV's port is: elsewhere than the control connection, if only that is relayed.
    pub data: IpAddr,
}

/// How a data connection is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pasv,
    Epsv,
    Port,
    Eprt,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Pasv, Self::Epsv, Self::Port, Self::Eprt];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pasv => "pasv",
            Self::Epsv => "epsv",
            Self::Port => "port",
            Self::Eprt => "eprt",
        }
    }
}

/// An announced data connection: made already, or awaited.
enum Data<S: Stream> {
    Made(S),
    Awaited(S::Listener),
}

/// A control connection.
pub struct Session<S> {
    control: S,
    target: Target,
    local: IpAddr,
    unread: Vec<u8>,
    /// For what data connections bring.
    buffer: Vec<u8>,
    /// Announcements that were refused and repeated.
    pub refused: u64,
}

impl<S: Stream> Session<S> {
    /// Connects and logs in.
    pub async fn login(target: Target) -> Result<Self> {
        let control = S::connect(target.control).await.with_context(|| format!("connecting to {}", target.control))?;
        control.nodelay()?;
        let local = control.local()?.ip();
        let unread = Vec::with_capacity(512);
        let mut session = Self { control, target, local, unread, buffer: Vec::new(), refused: 0 };
        session.expect("220").await?;
        session.ask("USER bench", "331").await?;
        session.ask("PASS bench", "230").await?;
        Ok(session)
    }

    /// Takes leave, until the server has closed.
    pub async fn quit(mut self) -> Result<()> {
        self.ask("QUIT", "221").await?;
        let mut rest = [0; 16];
        let count = self.control.receive(&mut rest).await.context("the end")?;
        ensure!(count == 0 && self.unread.is_empty(), "bytes behind the last reply");
        Ok(())
    }

    pub async fn noop(&mut self) -> Result<()> {
        let reply = self.ask("NOOP", "200").await?;
        ensure!(reply == "200 done.", "NOOP was answered {reply:?}");
        Ok(())
    }

    /// Fetches a file and compares it.
    pub async fn fetch(&mut self, mode: Mode, file: File) -> Result<()> {
        let data = self.announce(mode).await?;
        self.ask(&format!("RETR {}", file.name()), "150").await?;
        let mut stream = open(data).await?;
        // One more than a small file, so that its end is seen by the second call.
        self.buffer.resize((file.length as usize + 1).min(PIECE), 0);
        let mut at = 0;
        loop {
            let count = stream.receive(&mut self.buffer).await.context("data")?;
            if count == 0 {
                break;
            }
            at = file.compare(at, &self.buffer[..count])?;
        }
        file.ends_at(at)?;
        drop(stream);
        self.expect("226").await?;
        Ok(())
    }

    /// Stores a file; the server compares it.
    pub async fn store(&mut self, mode: Mode, file: File) -> Result<()> {
        let data = self.announce(mode).await?;
        self.ask(&format!("STOR {}", file.name()), "150").await?;
        let mut stream = open(data).await?;
        let mut at = 0;
        while at < file.length {
            let piece = file.piece(at);
            stream.send(piece).await.context("data")?;
            at += piece.len() as u64;
        }
        drop(stream);
        self.expect("226").await?;
        Ok(())
    }

    async fn announce(&mut self, mode: Mode) -> Result<Data<S>> {
        for _ in 0..AGAIN {
            let (command, listener) = match mode {
                Mode::Pasv => ("PASV".to_owned(), None),
                Mode::Epsv => ("EPSV".to_owned(), None),
                Mode::Port | Mode::Eprt => {
                    let (listener, at) = S::listen(self.local).await?;
                    (announcement(mode, at), Some(listener))
                }
            };
            self.send(&command).await?;
            let reply = self.reply().await?;
            if reply.starts_with("425") {
                self.refused += 1;
                continue;
            }
            let to = match (mode, listener) {
                (Mode::Port | Mode::Eprt, Some(listener)) if reply.starts_with("200") => {
                    return Ok(Data::Awaited(listener));
                }
                (Mode::Pasv, _) if reply.starts_with("227") => parse_227(&reply),
                (Mode::Epsv, _) if reply.starts_with("229") => {
                    parse_229(&reply).map(|port| SocketAddr::new(self.target.data, port))
                }
                _ => None,
            };
            let to = to.with_context(|| format!("{command} was answered {reply:?}"))?;
            return Ok(Data::Made(S::connect(to).await.with_context(|| format!("data connection to {to}"))?));
        }
        bail!("an announcement was refused {AGAIN} times")
    }

    async fn ask(&mut self, command: &str, code: &str) -> Result<String> {
        self.send(command).await?;
        self.expect(code).await.with_context(|| format!("the answer to {command}"))
    }

    async fn send(&mut self, command: &str) -> Result<()> {
        let line = [command.as_bytes(), b"\r\n"].concat();
        self.control.send(&line).await.with_context(|| format!("sending {command}"))
    }

    async fn expect(&mut self, code: &str) -> Result<String> {
        let reply = self.reply().await?;
        ensure!(reply.starts_with(code), "{reply:?} instead of {code}");
        Ok(reply)
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.unread) {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let Some(line) = line.strip_suffix(b"\r\n") else { bail!("a line without CRLF") };
                let line = std::str::from_utf8(line)?;
                if line.as_bytes().get(3) == Some(&b' ') {
                    return Ok(line.to_owned());
                }
                continue;
            }
            let mut chunk = [0; 512];
            let count = self.control.receive(&mut chunk).await.context("a reply")?;
            ensure!(count > 0, "the control connection has ended");
            self.unread.extend_from_slice(&chunk[..count]);
        }
    }
}

async fn open<S: Stream>(data: Data<S>) -> Result<S> {
    match data {
        Data::Made(stream) => Ok(stream),
        Data::Awaited(listener) => S::accept(listener).await.context("awaiting the data connection"),
    }
}

fn announcement(mode: Mode, at: SocketAddr) -> String {
    match mode {
        Mode::Eprt => format!("EPRT |1|{}|{}|", at.ip(), at.port()),
        _ => format!("PORT {},{},{}", at.ip().to_string().replace('.', ","), at.port() >> 8, at.port() & 255),
    }
}

/// `227 text (10,0,0,1,4,5).`
fn parse_227(reply: &str) -> Option<SocketAddr> {
    parse_port(reply.split_once('(')?.1.split_once(')')?.0)
}

/// `229 text (|||1029|)`
fn parse_229(reply: &str) -> Option<u16> {
    reply.split_once("(|||")?.1.split_once("|)")?.0.parse().ok()
}

/// `10,0,0,1,4,5`
pub fn parse_port(text: &str) -> Option<SocketAddr> {
    let numbers: Vec<u8> = text.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [a, b, c, d, high, low] = numbers[..] else { return None };
    Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))))
}

/// `|1|10.0.0.1|1029|`
pub fn parse_eprt(text: &str) -> Option<SocketAddr> {
    let mut parts = text.strip_prefix("|1|")?.split('|');
    let (ip, port) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some(SocketAddr::new(ip, port))
}
