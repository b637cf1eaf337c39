//! Transfers at an even pace: a scripted FTP server, and sessions that fetch 1 KiB again and again and compare every byte.
//!
//! Lives here: both ends of the transfers. Not here: the gateway between them, what its daemon uses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::FAMILY;
use super::lab::control::{Control, announced_227};
use super::lab::fake_server::{FakeServer, let_in, next_command};
use super::lab::files::noise;
use super::lab::topology::{Lab, PASSIVE_PORTS};

/// The length of every file.
const LENGTH: usize = 1024;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a refused PASV is repeated.
const AGAIN: u32 = 5;
/// How many were refused, of all contestants.
pub static REFUSED: AtomicU32 = AtomicU32::new(0);
/// How long a session may have to wait for its next turn.
const TURN: Duration = Duration::from_secs(300);

/// A server and sessions with it. Fields are dropped from first to last: the server waits for the end of its sessions.
pub struct Transfers {
    sessions: Vec<Control>,
    _server: FakeServer,
}

impl Transfers {
    /// Starts the server and logs in so many times.
    pub fn new(lab: &Lab, sessions: u32) -> Self {
        let (low, _) = PASSIVE_PORTS;
        let listeners = (low..).take(sessions as usize).map(|port| listen(lab, port)).collect();
        let listeners: Mutex<Vec<TcpListener>> = Mutex::new(listeners);
        let server = FakeServer::start(&lab.server, move |control| {
            let listener = listeners.lock().unwrap().pop().expect("one for each session");
            serve(control, &listener);
        });
        let sessions = (0..sessions)
            .map(|_| {
                let control = Control::login(&lab.client, lab.ftp(FAMILY), "bench");
                control.stream().set_read_timeout(Some(PATIENCE)).unwrap();
                control
            })
            .collect();
        Self { sessions, _server: server }
    }

    /// So many transfers, spread over the sessions, `rate` of them in a second or as many as can be. How many were done, and in
    /// what time.
    pub fn run(&mut self, lab: &Lab, rate: u32, count: u32) -> (u32, Duration) {
        let limit = Duration::from_secs_f64(f64::from(count) / f64::from(rate)) * 4 + PATIENCE;
        let sessions = &mut self.sessions;
        let every = sessions.len() as u32;
        let begun = Instant::now();
        let done = lab.client.inside(|| {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..every)
                    .zip(sessions)
                    .map(|(first, control)| {
                        scope.spawn(move || {
                            let mut done = 0;
                            for number in (first..count).step_by(every as usize) {
                                let due = Duration::from_secs_f64(f64::from(number) / f64::from(rate));
                                std::thread::sleep(due.saturating_sub(begun.elapsed()));
                                assert!(begun.elapsed() < limit, "{count} transfers take longer than {limit:?}");
                                fetch(control, u64::from(number));
                                done += 1;
                            }
                            done
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().expect("a session failed")).sum()
            })
        });
        (done, begun.elapsed())
    }
}

fn listen(lab: &Lab, port: u16) -> TcpListener {
    let listener = lab.server.listen(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, port)));
    // For accept, too: a data connection that never comes ends the script.
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE)).unwrap();
    listener
}

/// The server's side of a session.
fn serve(mut control: Control, listener: &TcpListener) {
    control.stream().set_read_timeout(Some(TURN)).unwrap();
    let ip = control.local_address().ip().to_canonical().to_string().replace('.', ",");
    let [high, low] = listener.local_addr().unwrap().port().to_be_bytes();
    let announcement = format!("227 Entering Passive Mode ({ip},{high},{low}).");
    let mut command = let_in(&mut control);
    while let Some(line) = command {
        match line.split_once(' ') {
            None if line == "PASV" => control.line(&announcement),
            Some(("RETR", number)) => {
                let content = noise(number.parse().unwrap(), LENGTH);
                let (mut data, _) = listener.accept().expect("the data connection");
                control.line("150 Here it comes.");
                data.write_all(&content).unwrap();
                drop(data);
                control.line("226 That was it.");
            }
            _ => control.line("502 Not here."),
        }
        command = next_command(&mut control);
    }
}

/// The client's side of a transfer.
fn fetch(control: &mut Control, number: u64) {
    // The kernel refuses an element now and then, with EBUSY, while the hash table of the set grows: a client asks again.
    let mut reply = control.ask("PASV");
    for _ in 0..AGAIN {
        if reply.code != 425 {
            break;
        }
        REFUSED.fetch_add(1, Ordering::Relaxed);
        reply = control.ask("PASV");
    }
    assert_eq!(reply.code, 227, "{}", reply.text);
    let entrance = announced_227(&reply.text);
    let mut data = TcpStream::connect_timeout(&entrance, PATIENCE).expect("the data connection");
    data.set_read_timeout(Some(PATIENCE)).unwrap();
    control.must(&format!("RETR {number}"), 150);
    let mut content = Vec::with_capacity(LENGTH + 1);
    data.read_to_end(&mut content).unwrap();
    assert!(content == noise(number, LENGTH), "transfer {number} brought something else");
    drop(data);
    control.expect(226);
}
