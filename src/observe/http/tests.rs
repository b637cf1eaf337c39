//! Tests of the responder over real sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use super::*;

/// A responder that runs until the runtime is dropped.
struct Running {
    _runtime: tokio::runtime::Runtime,
    address: SocketAddr,
    ready: Ready,
}

fn running() -> Running {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let ready = Ready::new();
    runtime.spawn(serve(listener, Metrics::new(&["a"], &["RETR"]), ready.clone()));
    Running { _runtime: runtime, address, ready }
}

fn connect(running: &Running) -> std::net::TcpStream {
    let stream = std::net::TcpStream::connect(running.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(running: &Running, request: &[u8]) -> String {
    let mut stream = connect(running);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn metrics_health_and_readiness() {
    let running = running();
    let answer = ask(&running, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("\r\nConnection: close"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
    assert!(body.contains("\nftpgate_sessions_total{listener=\"a\"} 0\n"), "{body}");
    assert!(ask(&running, b"GET /metrics?x=1 HTTP/1.0\n\n").starts_with("HTTP/1.1 200 "));
    assert!(ask(&running, b"GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
    assert!(ask(&running, b"GET /readyz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 503 "));
    running.ready.set(true);
    assert!(ask(&running, b"GET /readyz HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
    let answer = ask(&running, b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(answer.contains("Content-Length: 3\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
}

#[test]
fn anything_else_is_refused() {
    let running = running();
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /../metrics HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
        (b"DELETE /readyz HTTP/1.1\r\n\r\n", 405),
        (b"PUT /x HTTP/1.1\r\n\r\n", 404),
        (b"GET http://x/metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics SMTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"\0\xff \x1b\r\n\r\n", 400),
    ] {
        let answer = ask(&running, request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert!(ask(&running, b"POST /metrics HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
    let long = [b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 2 * HEAD]].concat();
    assert!(ask(&running, &long).starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_request_may_come_in_pieces_and_may_end_early() {
    let running = running();
    let mut stream = connect(&running);
    for byte in b"GET /healthz HTTP/1.1\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("ok\n"), "{answer}");
    let mut stream = connect(&running);
    stream.write_all(b"GET /hea").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read_to_string(&mut String::new()).unwrap(), 0);
}

#[test]
fn silent_connections_are_closed_and_then_others_are_served() {
    let running = running();
    let silent: Vec<_> = (0..CONNECTIONS).map(|_| connect(&running)).collect();
    let before = std::time::Instant::now();
    // All permits are taken, so this one waits until the silent ones have used up their patience.
    assert!(ask(&running, b"GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
    let waited = before.elapsed();
    assert!(waited > PATIENCE / 2 && waited < 3 * PATIENCE, "{waited:?}");
    for mut stream in silent {
        assert_eq!(stream.read_to_string(&mut String::new()).unwrap_or(0), 0);
    }
}
