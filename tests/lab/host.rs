//! A host: one network namespace, and everything that happens in it.
//!
//! Lives here: creating and removing namespaces, running commands and opening sockets inside. Not here: how hosts are
//! connected (`topology.rs`), what runs on them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::process::{Daemon, Output, as_daemon, bounded};

/// Where commands are looked for: Debian's own, not what a user has put before them.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long a command may take when nothing else is said.
const COMMAND_SECONDS: u32 = 20;

/// One network namespace, `fg-<pid of the test>-<number>-<role>`.
#[derive(Debug)]
pub struct Host {
    name: String,
}

impl Host {
    /// A new one with nothing but `lo`. Ends the test when the privilege is missing: no test is ever skipped.
    pub fn new(role: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();
        assert!(
            nix::unistd::geteuid().is_root(),
            "the lab needs root, for network namespaces: run it as root (`sudo -E make test`)"
        );
        SWEEP.call_once(sweep);
        let name = format!("fg-{}-{}-{role}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let host = Self { name };
        run_outside(&["ip", "netns", "add", &host.name]).expect_ok();
        // An address is usable at once: nobody else is on these links, so duplicate address detection is off.
        host.sysctl("net/ipv6/conf/all/accept_dad", "0");
        host.sysctl("net/ipv6/conf/default/accept_dad", "0");
        host.ip("link set lo up\n");
        host
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs something on a thread inside the namespace. Sockets and processes that it creates stay inside.
    pub fn inside<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.name);
                action()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Sets a value below /proc/sys.
    pub fn sysctl(&self, key: &str, value: &str) {
        let path = format!("/proc/sys/{key}");
        self.inside(|| std::fs::write(&path, value)).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.task(args).run()
    }

    /// A command with more to say about it.
    pub fn task<'a>(&'a self, args: &'a [&'a str]) -> Task<'a> {
        Task { host: self, args, seconds: COMMAND_SECONDS, input: None, folder: None }
    }

    /// Starts a process that keeps running.
    pub fn spawn(&self, args: &[&str]) -> Daemon {
        let child = self.inside(|| as_daemon(Command::new(args[0]).args(&args[1..])).spawn());
        let child = child.unwrap_or_else(|error| panic!("starting {}: {error}", args[0]));
        let short = Path::new(args[0]).file_name().unwrap_or_default().to_string_lossy().into_owned();
        Daemon::new(format!("{short} on {}", self.name), child)
    }

    /// `ip -batch` with these lines; those that begin with `-6` are for IPv6.
    pub fn ip(&self, lines: &str) {
        let (six, four): (Vec<&str>, Vec<&str>) =
            lines.lines().map(str::trim).partition(|line| line.starts_with("-6 "));
        for (args, lines) in [(&["ip", "-batch", "-"][..], four), (&["ip", "-6", "-batch", "-"], six)] {
            if !lines.is_empty() {
                let lines: String = lines.iter().map(|line| format!("{}\n", line.trim_start_matches("-6 "))).collect();
                self.task(args).input(lines).run().expect_ok();
            }
        }
    }

    /// `nft -f` with this text.
    pub fn nft(&self, ruleset: &str) {
        self.task(&["nft", "-f", "-"]).input(ruleset).run().expect_ok();
    }

    /// `nft -f` with this file of the project.
    pub fn nft_file(&self, path: &str) {
        let path = super::project(path);
        self.run(&["nft", "-f", &path.to_string_lossy()]).expect_ok();
    }

    /// The ruleset as `nft list ruleset` prints it.
    pub fn ruleset(&self) -> String {
        self.run(&["nft", "list", "ruleset"]).expect_ok()
    }

    /// The only rules of a host: a default-drop input and forward, and these lines in input.
    pub fn firewall(&self, accepted: &str) {
        self.nft(&format!(
            "flush ruleset\n\
             table inet host {{\n\
             chain input {{ type filter hook input priority filter; policy drop;\n\
             ct state established,related accept\n\
             iifname \"lo\" accept\n\
             meta l4proto {{ icmp, ipv6-icmp }} accept\n\
             {accepted}\n\
             }}\n\
             chain forward {{ type filter hook forward priority filter; policy drop;\n}}\n\
             }}\n"
        ));
    }

    /// A TCP connection to an address; gives up after the limit.
    pub fn connect(&self, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
        self.inside(|| TcpStream::connect_timeout(&to, limit))
    }

    /// The same from one of the host's addresses.
    pub fn connect_from(&self, from: IpAddr, to: SocketAddr, limit: Duration) -> std::io::Result<TcpStream> {
        self.inside(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
            socket.connect_timeout(&SockAddr::from(to), limit)?;
            Ok(TcpStream::from(socket))
        })
    }

    /// A listening socket.
    pub fn listen(&self, at: SocketAddr) -> TcpListener {
        self.inside(|| TcpListener::bind(at)).unwrap_or_else(|error| panic!("listening at {at}: {error}"))
    }

    /// The body of an HTTP answer, fetched from inside.
    pub fn http_get(&self, from: SocketAddr, path: &str) -> Result<String, String> {
        let fetch = || -> std::io::Result<String> {
            let mut stream = self.connect(from, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {from}\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = fetch().map_err(|error| format!("GET http://{from}{path}: {error}"))?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
            _ => Err(format!("GET http://{from}{path} was answered: {answer}")),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// A command that runs to its end.
#[derive(Debug)]
pub struct Task<'a> {
    host: &'a Host,
    args: &'a [&'a str],
    seconds: u32,
    input: Option<Vec<u8>>,
    folder: Option<&'a Path>,
}

impl<'a> Task<'a> {
    pub fn seconds(mut self, seconds: u32) -> Self {
        self.seconds = seconds;
        self
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Where it runs; also its home, so that no settings of a user meddle.
    pub fn folder(mut self, folder: &'a Path) -> Self {
        self.folder = Some(folder);
        self
    }

    pub fn run(self) -> Output {
        let mut command = bounded(self.seconds, self.args);
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C.UTF-8").env("PATH", PATH);
        if let Some(folder) = self.folder {
            command.current_dir(folder).env("HOME", folder);
        }
        let line = self.args.join(" ");
        let child = self.host.inside(|| command.spawn()).unwrap_or_else(|error| panic!("starting `{line}`: {error}"));
        Output::collect(child, line, self.input.unwrap_or_default())
    }
}

#[allow(unsafe_code)]
mod sys {
    // SAFETY: the declaration of setns(2); it takes two integers and touches no memory of ours.
    unsafe extern "C" {
        pub(super) safe fn setns(fd: std::ffi::c_int, kind: std::ffi::c_int) -> std::ffi::c_int;
    }
}

/// Moves the calling thread into a namespace, for ever: only for threads that end soon.
fn enter(name: &str) {
    const CLONE_NEWNET: std::ffi::c_int = 0x4000_0000;
    let path = format!("/run/netns/{name}");
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let result = sys::setns(file.as_raw_fd(), CLONE_NEWNET);
    assert_eq!(result, 0, "entering {path}: {}", std::io::Error::last_os_error());
}

fn run_outside(args: &[&str]) -> Output {
    let line = args.join(" ");
    let mut command = bounded(COMMAND_SECONDS, args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("starting `{line}`: {error}"));
    Output::collect(child, line, Vec::new())
}

/// Ends, by pid, what runs in a namespace, and removes it.
fn remove(name: &str) {
    // A process that forked in between is found in the next round.
    for _ in 0..20 {
        let listed = run_outside(&["ip", "netns", "pids", name]);
        let pids: Vec<i32> = listed.stdout.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
        if pids.is_empty() {
            break;
        }
        for pid in pids {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(run_outside(&["ip", "netns", "del", name]));
}

/// Removes what a killed run left: namespaces whose name carries the pid of a process that is gone.
fn sweep() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let mut parts = name.split('-');
        let (Some("fg"), Some(pid)) = (parts.next(), parts.next()) else { continue };
        if pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            remove(&name);
        }
    }
}
