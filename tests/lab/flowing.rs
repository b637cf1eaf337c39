//! A transfer that takes its time: data flows, at a pace, until the file is through or something ends it.
//!
//! Lives here: [`Flowing`], a data connection spoken by hand on a thread of its own, next to a control connection that the test
//! goes on using. Not here: what may end it (`kernel.rs`, `control.rs`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::Family;
use super::control::{Control, accept_data, data_connection};
use super::scene::Scene;
use super::wait_for;

/// How a transfer ended, on the client's side.
#[derive(Debug)]
pub struct Ended {
    /// Of the last read or write; `Ok` when the end of the file was reached.
    pub result: std::io::Result<()>,
    /// What a download brought.
    pub received: Vec<u8>,
    /// When.
    pub at: Instant,
}

/// Which transfer.
#[derive(Clone, Debug)]
pub enum Way {
    /// The file of this name.
    Download(&'static str),
    /// These bytes, to this name.
    Upload(&'static str, Arc<Vec<u8>>),
}

/// Bytes at a time, and the pause between: 16 KiB every 2 ms are 8 MB/s at most.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub chunk: usize,
    pub pause: Duration,
}

/// About 6 MB/s.
pub const BRISK: Pace = Pace { chunk: 16 << 10, pause: Duration::from_millis(2) };

/// A transfer under way.
#[derive(Debug)]
pub struct Flowing {
    /// `None` once a test has taken it.
    pub control: Option<Control>,
    moved: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Ended>>,
}

impl Flowing {
    /// Logs in, announces, starts, and waits until data flows.
    pub fn start(scene: &Scene, family: Family, active: bool, way: &Way, pace: Pace) -> Self {
        let mut control = scene.login(family);
        let listener = active.then(|| control.active(scene.client(), family));
        let passive = match active {
            true => None,
            false => {
                let entrance = control.passive(family);
                Some(data_connection(scene.client(), entrance))
            }
        };
        match way {
            Way::Download(name) => control.line(&format!("RETR {name}")),
            Way::Upload(name, _) => control.line(&format!("STOR {name}")),
        }
        let stream = passive.unwrap_or_else(|| accept_data(listener.as_ref().unwrap()).0);
        control.expect(150);
        let mut flowing = Self::on(stream, way, pace);
        flowing.control = Some(control);
        wait_for("data to flow", Duration::from_secs(5), || (flowing.moved() > 4 * pace.chunk).then_some(()));
        flowing
    }

    /// The same with a data connection that is there already; no control connection belongs to it.
    pub fn on(stream: TcpStream, way: &Way, pace: Pace) -> Self {
        // What waits in a buffer would be read to its end before the end of the connection is.
        SockRef::from(&stream).set_recv_buffer_size(32 << 10).unwrap();
        SockRef::from(&stream).set_send_buffer_size(32 << 10).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let moved = Arc::new(AtomicUsize::new(0));
        let (counter, way) = (Arc::clone(&moved), way.clone());
        let thread = std::thread::spawn(move || {
            let mut received = Vec::new();
            let result = match way {
                Way::Download(_) => download(stream, &mut received, pace, &counter),
                Way::Upload(_, content) => upload(stream, &content, pace, &counter),
            };
            Ended { result, received, at: Instant::now() }
        });
        Self { control: None, moved, thread: Some(thread) }
    }

    /// Bytes until now.
    pub fn moved(&self) -> usize {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    pub fn end(&mut self, limit: Duration) -> Ended {
        wait_for("the end of a transfer", limit, || self.is_over().then_some(()));
        self.thread.take().expect("asked once").join().unwrap()
    }
}

fn download(mut stream: TcpStream, received: &mut Vec<u8>, pace: Pace, moved: &AtomicUsize) -> std::io::Result<()> {
    let mut chunk = vec![0; pace.chunk];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        received.extend_from_slice(&chunk[..count]);
        moved.store(received.len(), Ordering::Relaxed);
        std::thread::sleep(pace.pause);
    }
}

fn upload(mut stream: TcpStream, content: &[u8], pace: Pace, moved: &AtomicUsize) -> std::io::Result<()> {
    for chunk in content.chunks(pace.chunk) {
        stream.write_all(chunk)?;
        moved.fetch_add(chunk.len(), Ordering::Relaxed);
        std::thread::sleep(pace.pause);
    }
    Ok(())
}
