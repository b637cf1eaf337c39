//! Processes of the lab: commands that end, and daemons with a collected log.
//!
//! Lives here: [`Output`], [`Daemon`] and how a command is bounded in time. Not here: which namespace they run in
//! (`host.rs`).

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What a command that has ended left behind.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    /// The exit code; 124 when the time was up, -1 when a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// Both streams, for messages and for searching.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The standard output of a command that must succeed.
    pub fn expect_ok(self) -> String {
        assert!(self.ok(), "`{}` ended with {}:\n{}", self.command, self.code, self.text());
        self.stdout
    }

    pub(super) fn collect(mut child: Child, command: String, input: Vec<u8>) -> Self {
        let writer = child.stdin.take().map(|mut pipe| std::thread::spawn(move || drop(pipe.write_all(&input))));
        let output = child.wait_with_output().unwrap_or_else(|error| panic!("waiting for `{command}`: {error}"));
        if let Some(writer) = writer {
            drop(writer.join());
        }
        Self {
            command,
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The command line with a limit: SIGTERM when the time is up, SIGKILL two seconds later.
pub(super) fn bounded(seconds: u32, args: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "2", &seconds.to_string()]).args(args);
    command
}

/// A process that keeps running; both its output streams are collected by line. It is killed with the value.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: Arc<Log>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Daemon {
    pub(super) fn new(name: String, mut child: Child) -> Self {
        let log = Arc::new(Log::default());
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        let readers = streams
            .into_iter()
            .flatten()
            .map(|stream| {
                let log = Arc::clone(&log);
                std::thread::spawn(move || {
                    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                        log.lines.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
                        log.grown.notify_all();
                    }
                })
            })
            .collect();
        Self { name, child, log, readers }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for a line that fits. `None` when there is none within the limit, or when the process has ended without one.
    pub fn wait_for_line(&mut self, limit: Duration, fits: impl Fn(&str) -> bool) -> Option<String> {
        let end = Instant::now() + limit;
        let mut seen = 0;
        loop {
            // Looked at first: what an ended process wrote has been read only after its readers are done.
            let ended = self.exit_status().is_some() && self.readers.iter().all(|reader| reader.is_finished());
            let mut lines = self.log.lines.lock().unwrap();
            if lines.len() == seen && !ended {
                (lines, _) = self.log.grown.wait_timeout(lines, Duration::from_millis(50)).unwrap();
            }
            if let Some(line) = lines.iter().skip(seen).find(|line| fits(line)) {
                return Some(line.clone());
            }
            if lines.len() == seen && (ended || Instant::now() > end) {
                return None;
            }
            seen = lines.len();
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal)
            .unwrap_or_else(|error| panic!("sending {signal} to {}: {error}", self.name));
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end. Ends the test when it does not come.
    pub fn wait_for_exit(&mut self, limit: Duration) -> ExitStatus {
        let name = format!("the end of {}", self.name);
        super::wait_for(&name, limit, || self.exit_status())
    }

    /// Ends it at once and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exit_status().is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }

    /// Writes the log to the test's output.
    pub fn dump(&self) {
        eprintln!("--- log of {}", self.name);
        for line in self.log() {
            eprintln!("{line}");
        }
        eprintln!("--- end of the log of {}", self.name);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            self.dump();
        }
    }
}

/// Both streams into the log, nothing to read.
pub(super) fn as_daemon(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
}
