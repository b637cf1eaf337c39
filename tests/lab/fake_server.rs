//! A server that does what a test tells it, for everything that a real server would never do.
//!
//! Lives here: accepting connections on port 21 and handing each to a closure, on a thread of its own. Not here: what they do.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::control::Control;
use super::host::Host;

/// Accepts until the value is dropped. A script that panics fails the test when the value is dropped.
#[derive(Debug)]
pub struct FakeServer {
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

impl FakeServer {
    /// Listens on port 21 of every address of `host`; `script` plays each connection from the accept on.
    pub fn start(host: &Host, script: impl Fn(Control) + Send + Sync + 'static) -> Self {
        let listener = host.listen(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 21)));
        Self::serve(listener, Arc::new(script))
    }

    fn serve(listener: TcpListener, script: Arc<dyn Fn(Control) + Send + Sync>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        listener.set_nonblocking(true).unwrap();
        let acceptor = std::thread::spawn(move || {
            let mut players = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let script = Arc::clone(&script);
                        players.push(std::thread::spawn(move || script(Control::new(stream))));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(5)),
                }
            }
            players
        });
        Self { stop, acceptor: Some(acceptor) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let players = self.acceptor.take().map_or(Vec::new(), |acceptor| acceptor.join().unwrap_or_default());
        for player in players {
            let result = player.join();
            assert!(result.is_ok() || std::thread::panicking(), "the script of the fake server failed, see above");
        }
    }
}

/// Greets and lets anybody in: 220, 331 to USER, 230 to PASS, 200 to TYPE; gives the first other command to the script.
pub fn let_in(control: &mut Control) -> Option<String> {
    control.line("220 fake server of the lab");
    next_command(control)
}

/// Lets anybody in and answers every command that is not about logging in.
pub fn serve(mut control: Control, mut answer: impl FnMut(&str) -> String) {
    let mut command = let_in(&mut control);
    while let Some(line) = command {
        control.line(&answer(&line));
        command = next_command(&mut control);
    }
}

/// The next command that is not about logging in.
pub fn next_command(control: &mut Control) -> Option<String> {
    loop {
        let line = control.read_line()?;
        match line.split(' ').next().unwrap_or_default() {
            "USER" => control.line("331 password?"),
            "PASS" => control.line("230 in"),
            "TYPE" => control.line("200 type"),
            "QUIT" => {
                control.line("221 bye");
                return None;
            }
            _ => return Some(line),
        }
    }
}
