//! Who asks for metrics: a small HTTP/1 responder.
//!
//! Lives here: [`serve`]: `GET` and `HEAD` of `/metrics`, `/healthz`, `/readyz`, and nothing else. Bounded in every direction,
//! because it may face a network: 16 connections at a time, 8 KiB of request, five seconds from accept to close. Not here:
//! binding (done before privileges are dropped), the text of metrics (`metrics.rs`).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Ready;
use super::limiter::Limiter;
use super::metrics::Metrics;

/// Connections answered at a time; further ones wait in the listen queue. Prometheus needs one.
const CONNECTIONS: usize = 16;

/// The longest request head.
const HEAD: usize = 8 * 1024;

/// From accept to close.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause after a failed accept.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

static ACCEPT_FAILED: Limiter = Limiter::per_second(1);

/// Answers until dropped. A failing accept (out of descriptors) is waited out.
///
/// # Errors
/// The listener cannot be used with tokio at all.
pub async fn serve(listener: std::net::TcpListener, metrics: Metrics, ready: Ready) -> io::Result<Infallible> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(CONNECTIONS));
    let mut pause = Duration::from_millis(10);
    loop {
        // Before the accept, so that connections beyond the bound cost no descriptor.
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                pause = Duration::from_millis(10);
                let (metrics, ready) = (metrics.clone(), ready.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    // Whoever is too slow or goes away gets no answer; nobody else is concerned.
                    let _ = timeout(PATIENCE, exchange(stream, &metrics, &ready)).await;
                });
            }
            Err(error) => {
                if let Some(suppressed) = ACCEPT_FAILED.admit() {
                    warn!(%error, suppressed, "cannot accept a connection for metrics; trying again");
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// One request, one response, close.
async fn exchange(mut stream: TcpStream, metrics: &Metrics, ready: &Ready) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let complete = loop {
        let room = HEAD - head.len();
        if room == 0 {
            break false;
        }
        if (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n") {
            break true;
        }
    };
    let response = if complete { respond(&head, metrics, ready) } else { Response::text(431, "request too long\n") };
    stream.write_all(&response.bytes()).await?;
    stream.shutdown().await?;
    // Closing with unread bytes would reset the connection and could take the response away from the client.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

fn respond(head: &[u8], metrics: &Metrics, ready: &Ready) -> Response {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else { return Response::text(400, "bad request\n") };
    if !version.starts_with(b"HTTP/1.") || !target.starts_with(b"/") {
        return Response::text(400, "bad request\n");
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    let known = [b"/metrics".as_slice(), b"/healthz", b"/readyz"].contains(&path);
    if known && !matches!(*method, b"GET" | b"HEAD") {
        return Response::text(405, "only GET and HEAD\n");
    }
    let mut response = match path {
        b"/metrics" => Response {
            status: 200,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: metrics.render(),
            head_only: false,
        },
        b"/healthz" => Response::text(200, "ok\n"),
        b"/readyz" if ready.get() => Response::text(200, "ready\n"),
        b"/readyz" => Response::text(503, "not ready\n"),
        _ => Response::text(404, "not found; there are /metrics, /healthz and /readyz\n"),
    };
    response.head_only = *method == b"HEAD";
    response
}

struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
    head_only: bool,
}

impl Response {
    fn text(status: u16, body: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.to_owned(), head_only: false }
    }

    fn bytes(&self) -> Vec<u8> {
        let reason = match self.status {
            200 => "OK",
            400 => "Bad Request",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            _ => "Service Unavailable",
        };
        let allow = if self.status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut text = format!(
            "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len()
        );
        if !self.head_only {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

#[cfg(test)]
mod tests;
