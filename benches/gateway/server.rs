//! The FTP server of the benchmark: it lets anybody in, sends files that exist only as a pattern, and compares what is stored.
//!
//! Lives here: USER, PASS, TYPE, NOOP, PASV, EPSV, PORT, EPRT, RETR, STOR, QUIT, as quickly as tokio does it: one runtime for
//! each of two threads, a listener each. Not here: the bytes (`pattern.rs`), the other end (`session.rs`).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, send};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::pattern::{File, PIECE};
use super::session::{parse_eprt, parse_port};

/// As many as cores that this was made for; one would be the narrowest place of a direct connection.
const THREADS: usize = 2;

/// Serves on port 21 of every IPv4 address until the process is ended.
pub fn run() -> Result<()> {
    let threads: Vec<_> = (0..THREADS).map(|_| std::thread::spawn(serve)).collect();
    for thread in threads {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    }
    Ok(())
}

fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 21)).into())?;
        socket.listen(1024)?;
        let listener = TcpListener::from_std(socket.into())?;
        loop {
            let (stream, client) = listener.accept().await?;
            tokio::spawn(async move {
                // The load generator sees the connection end, and reports that.
                if let Err(error) = session(stream).await {
                    eprintln!("server: session of {client}: {error:#}");
                }
            });
        }
    })
}

/// Where the next data connection is.
enum Data {
    None,
    Passive(std::net::TcpListener),
    Active(SocketAddr),
}

async fn session(mut control: TcpStream) -> Result<()> {
    control.set_nodelay(true)?;
    let local = control.local_addr()?.ip();
    let mut data = Data::None;
    let mut buffer = [0; 512];
    let mut filled = 0;
    control.write_all(b"220 ready.\r\n").await?;
    loop {
        let end = loop {
            if let Some(end) = memchr::memchr(b'\n', &buffer[..filled]) {
                break end;
            }
            ensure!(filled < buffer.len(), "a line is too long");
            match control.read(&mut buffer[filled..]).await {
                Ok(0) => return Ok(()),
                Ok(count) => filled += count,
                Err(error) => return Err(error.into()),
            }
        };
        let line = std::str::from_utf8(&buffer[..end]).context("a line")?.trim_end();
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb {
            "NOOP" => control.write_all(b"200 done.\r\n").await?,
            "USER" => control.write_all(b"331 password?\r\n").await?,
            "PASS" => control.write_all(b"230 in.\r\n").await?,
            "TYPE" => control.write_all(b"200 type.\r\n").await?,
            "PASV" | "EPSV" => {
                let (listener, port) = listen(local)?;
                data = Data::Passive(listener);
                let reply = if verb == "PASV" {
                    let host = local.to_string().replace('.', ",");
                    format!("227 Entering Passive Mode ({host},{},{}).\r\n", port >> 8, port & 255)
                } else {
                    format!("229 Entering Extended Passive Mode (|||{port}|)\r\n")
                };
                control.write_all(reply.as_bytes()).await?;
            }
            "PORT" | "EPRT" => {
                let to = if verb == "PORT" { parse_port(argument) } else { parse_eprt(argument) };
                data = Data::Active(to.with_context(|| format!("{verb} {argument}"))?);
                control.write_all(b"200 port.\r\n").await?;
            }
            "RETR" | "STOR" => {
                let file = File::from_name(argument).with_context(|| format!("{verb} {argument}"))?;
                let stream = open(std::mem::replace(&mut data, Data::None)).await?;
                control.write_all(b"150 here.\r\n").await?;
                let result = if verb == "RETR" { retrieve(stream, file).await } else { store(stream, file).await };
                match result {
                    Ok(()) => control.write_all(b"226 complete.\r\n").await?,
                    Err(error) => control.write_all(format!("451 {error:#}\r\n").as_bytes()).await?,
                }
            }
            "QUIT" => {
                control.write_all(b"221 bye.\r\n").await?;
                return Ok(());
            }
            // Whoever stands between may ask for more than the load generator does.
            _ => control.write_all(b"502 not here.\r\n").await?,
        }
        buffer.copy_within(end + 1..filled, 0);
        filled -= end + 1;
    }
}

/// A listener that tokio does not know: the client has connected before it sends RETR, and accepting needs no event then.
fn listen(at: IpAddr) -> Result<(std::net::TcpListener, u16)> {
    let listener = std::net::TcpListener::bind(SocketAddr::new(at, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Accepts or makes the data connection. It blocks unless tokio made it.
async fn open(data: Data) -> Result<std::net::TcpStream> {
    match data {
        Data::None => bail!("a transfer without an announcement"),
        Data::Active(to) => {
            Ok(TcpStream::connect(to).await.with_context(|| format!("connecting to {to}"))?.into_std()?)
        }
        Data::Passive(listener) => match listener.accept() {
            Ok((stream, _)) => Ok(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let (stream, _) = TcpListener::from_std(listener)?.accept().await?;
                Ok(stream.into_std()?)
            }
            Err(error) => Err(error.into()),
        },
    }
}

async fn retrieve(stream: std::net::TcpStream, file: File) -> Result<()> {
    // A small file fits into the socket's buffer: one system call, and tokio need not know the connection.
    let first = file.piece(0);
    let mut at = match send(stream.as_raw_fd(), first, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
        Ok(count) => count as u64,
        Err(Errno::EAGAIN) => 0,
        Err(errno) => return Err(errno.into()),
    };
    if at == file.length {
        return Ok(());
    }
    let mut stream = wrap(stream)?;
    while at < file.length {
        at += stream.write(file.piece(at)).await? as u64;
    }
    Ok(())
}

async fn store(stream: std::net::TcpStream, file: File) -> Result<()> {
    let mut stream = wrap(stream)?;
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return file.ends_at(at);
        }
        at = file.compare(at, &buffer[..count])?;
    }
}

fn wrap(stream: std::net::TcpStream) -> Result<TcpStream> {
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}
