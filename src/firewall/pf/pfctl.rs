//! Pfctl: running pfctl(8), the seam between ftpgate and a BSD kernel.
//!
//! Lives here: [`Pfctl`]: load an anchor, kill states, list; each a process with an absolute path, arguments that no shell
//! sees, rules on its standard input, an empty environment and a time limit. Not here: what the rules say (`rules`), what
//! a complaint means (`explain`).
//!
//! A process, because the structures behind `/dev/pf` change with every release (FreeBSD 13 and 15 replaced them), while the language of
//! pf.conf(5) stays, and pfctl comes with the kernel that it speaks to. It costs milliseconds, which a data connection that a
//! client is about to make does not notice; `docs/architecture.md` has the figures.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::explain;
use crate::firewall::Error;

/// How long one run may take. It takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Pauses before a change is tried again that somebody else's transaction was in the way of (`EBUSY`): one who loads a whole
/// pf.conf takes some milliseconds.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200)];

/// The program and how to call it.
#[derive(Clone, Debug)]
pub(super) struct Pfctl {
    program: PathBuf,
}

/// What a run left behind.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Pfctl {
    /// `program`: an absolute path.
    pub(super) fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// Replaces everything in an anchor, in one transaction; with nothing, which removes it.
    pub(super) fn load(&self, anchor: &str, rules: &str) -> Result<(), Error> {
        let from = if rules.is_empty() { "/dev/null" } else { "-" };
        let arguments = ["-q", "-a", anchor, "-f", from];
        for pause in PAUSES {
            match self.run(&arguments, rules) {
                Err(error) if explain::is_busy(&error) => thread::sleep(pause),
                other => return other.map(drop),
            }
        }
        self.run(&arguments, rules).map(drop)
    }

    /// Kills all states of rules with this label. That there are none is fine.
    pub(super) fn kill_label(&self, label: &str) -> Result<(), Error> {
        self.run(&["-q", "-k", "label", "-k", label], "").map(drop)
    }

    /// Kills one state. That it is gone is fine.
    pub(super) fn kill_state(&self, id: u64) -> Result<(), Error> {
        self.run(&["-q", "-k", "id", "-k", &format!("{id:016x}")], "").map(drop)
    }

    /// The anchors directly below an anchor, a line each; none if it is not there.
    pub(super) fn anchors(&self, parent: &str) -> Result<Vec<String>, Error> {
        // Without -v names that begin with _ are left out.
        match self.run(&["-v", "-a", parent, "-s", "Anchors"], "") {
            Ok(listing) => Ok(listing.lines().map(str::to_owned).collect()),
            // Before the first session, and after the last.
            Err(error) if explain::is_no_anchor(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// One of the listings of the main ruleset: `info`, `rules`, `nat`, `memory`.
    pub(super) fn show(&self, what: &str) -> Result<String, Error> {
        self.run(&["-s", what], "")
    }

    /// All states, with counters and ids.
    pub(super) fn states(&self) -> Result<String, Error> {
        self.run(&["-vv", "-s", "states"], "")
    }

    /// Runs it and says what it wrote.
    fn run(&self, arguments: &[&str], input: &str) -> Result<String, Error> {
        let output = execute(&self.program, arguments, input, LIMIT)
            .map_err(|error| explain::not_run(&self.program, arguments, &error))?;
        if output.status.success() {
            tracing::trace!(arguments = arguments.join(" "), said = output.stderr.trim(), "pfctl");
            return Ok(output.stdout);
        }
        Err(explain::refused(arguments, input, &output))
    }
}

/// A child that is not left behind, whatever goes wrong.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, as it mostly has.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program with this input, in a way that neither a full pipe nor a program that hangs can stop.
fn execute(program: &Path, arguments: &[&str], input: &str, limit: Duration) -> io::Result<Output> {
    let until = Instant::now() + limit;
    let mut child = Running(
        Command::new(program)
            .args(arguments)
            .env_clear()
            .stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?,
    );
    let mut stdin = child.0.stdin.take();
    let mut rest = input.as_bytes();
    let (mut stdout, mut stderr) = (child.0.stdout.take(), child.0.stderr.take());
    if let Some(stdin) = &stdin {
        do_not_block(stdin)?;
    }
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    while stdout.is_some() || stderr.is_some() {
        let writable = (stdin.as_ref().map(AsFd::as_fd), PollFlags::POLLOUT);
        if !wait([writable, readable(&stdout), readable(&stderr)], until)? {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {limit:?}")));
        }
        if let Some(pipe) = &mut stdin {
            match pipe.write(rest) {
                Ok(written) => rest = rest.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // It has heard enough; what it has to say about that follows.
                Err(_) => rest = &[],
            }
            if rest.is_empty() {
                stdin = None;
            }
        }
        // What is not ready is asked again in the next round: reading what has nothing yet would block.
        take(&mut stdout, &mut said)?;
        take(&mut stderr, &mut complained)?;
    }
    let status = child.0.wait()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Output { status, stdout: text(said), stderr: text(complained) })
}

fn readable<T: AsFd>(pipe: &Option<T>) -> (Option<BorrowedFd<'_>>, PollFlags) {
    (pipe.as_ref().map(AsFd::as_fd), PollFlags::POLLIN)
}

/// Waits until there is something to do with one of these. Whether that came in time.
fn wait(pipes: [(Option<BorrowedFd<'_>>, PollFlags); 3], until: Instant) -> io::Result<bool> {
    let mut set: Vec<PollFd<'_>> =
        pipes.into_iter().filter_map(|(pipe, events)| Some(PollFd::new(pipe?, events))).collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = u16::try_from(left.as_millis()).unwrap_or(u16::MAX);
    match poll(&mut set, PollTimeout::from(left)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

/// Reads what is there; at the end the pipe is gone.
fn take<T: Read + AsFd>(pipe: &mut Option<T>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    let mut set = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    if poll(&mut set, PollTimeout::ZERO)? == 0 {
        return Ok(());
    }
    let mut buffer = [0; 16 * 1024];
    match open.read(&mut buffer) {
        Ok(0) => *pipe = None,
        Ok(read) => into.extend_from_slice(buffer.get(..read).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn do_not_block(pipe: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(pipe, FcntlArg::F_GETFL)?);
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &str) -> io::Result<Output> {
        execute(Path::new("/bin/sh"), &["-c", script], input, LIMIT)
    }

    #[test]
    fn what_a_program_writes_and_how_it_ends_is_seen() {
        let output = sh("cat; echo complaint >&2; exit 3", "rules\n").unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("rules\n", "complaint\n"));
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn more_than_fits_into_a_pipe_goes_both_ways() {
        let input = "pass\n".repeat(200_000);
        let output = sh("cat", &input).unwrap();
        assert_eq!(output.stdout.len(), input.len());
    }

    #[test]
    fn a_program_that_does_not_read_is_no_obstacle() {
        let output = sh("exec <&-; echo enough", &"x".repeat(1 << 20)).unwrap();
        assert_eq!(output.stdout, "enough\n");
    }

    #[test]
    fn the_environment_is_empty() {
        let output = execute(Path::new("/usr/bin/env"), &[], "", LIMIT).unwrap();
        assert_eq!(output.stdout, "");
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error() {
        let error = execute(Path::new("/nowhere/pfctl"), &[], "", LIMIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let begun = Instant::now();
        let error = execute(Path::new("/bin/sleep"), &["60"], "", Duration::from_millis(100)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }
}
