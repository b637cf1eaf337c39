//! Lab: a client, a gateway and a server in network namespaces, all of which drop by default, and data connections through
//! pinholes.
//!
//! A thread enters a namespace and leaves it by ending; sockets made in it stay there.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ftpgate::firewall::conntrack::{Options, Tracker};
use ftpgate::firewall::nftables::{Nftables, Settings};
use ftpgate::firewall::tracking::{Flow, FlowEvent, Follow, Watch};
use ftpgate::firewall::{Backend as _, Change};
use ftpgate::pinhole::{Announcement, Key, Pinhole};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Our mark.
pub(crate) const MARK: u32 = 0x1000_0000;

/// A network namespace that goes away with this value.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces: run them as root, e.g. `sudo -E cargo test --test conntrack`"
        );
        let name = format!("fg-ct-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        shell("ip", &["netns", "add", &name], "");
        let namespace = Self { name };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs this in a thread that is inside.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/run/netns/{}", self.name);
        std::thread::scope(|scope| {
            let inside = scope.spawn(move || {
                let file = std::fs::File::open(path).expect("the namespace is there");
                setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter it");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` with these arguments.
    fn ip(&self, arguments: &str) {
        let all: Vec<_> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        shell("ip", &all, "");
    }

    /// Runs `nft -f` on this text.
    pub(crate) fn load(&self, text: &str) {
        self.run(|| shell("nft", &["-f", "-"], text));
    }

    /// Runs a program with these arguments.
    pub(crate) fn shell(&self, program: &str, arguments: &str) -> String {
        self.run(|| shell(program, &arguments.split(' ').collect::<Vec<_>>(), ""))
    }

    /// Sets something below `/proc/sys/net`.
    pub(crate) fn sysctl(&self, path: &str, value: &str) {
        self.run(|| std::fs::write(format!("/proc/sys/net/{path}"), value).unwrap());
    }

    /// Connects from an address in here. With time for a SYN to be repeated: tests that send as fast as it goes overflow the
    /// queue that all namespaces of a processor share.
    pub(crate) fn connect(&self, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&to.into(), Duration::from_secs(5))?;
            Ok(socket.into())
        })
    }

    /// A tracker in here.
    pub(crate) fn track(&self, options: Options) -> Tracker {
        self.run(|| Tracker::start_with(options).unwrap())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Runs a program to success and returns what it says.
fn shell(program: &str, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program} must be installed for these tests (see tests/setup.sh): {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {} failed: {complaint}\n{input}", arguments.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

/// One of the two address families, and the addresses of the lab in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) client: IpAddr,
    /// The gateway, towards the client.
    pub(crate) near: IpAddr,
    /// The gateway, towards the server.
    pub(crate) far: IpAddr,
    pub(crate) server: IpAddr,
}

/// The lab's addresses in both families.
pub(crate) fn families() -> [Plan; 2] {
    [
        ["192.0.2.10", "192.0.2.1", "198.51.100.1", "198.51.100.20"],
        ["2001:db8:1::10", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::20"],
    ]
    .map(|texts| {
        let [client, near, far, server] = texts.map(|text| text.parse().unwrap());
        Plan { client, near, far, server }
    })
}

/// What the firewall of a careful host looks like.
const HOST: &str = "table inet host {
    chain input {
        type filter hook input priority 0; policy drop;
        iifname lo accept
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
        ct state new tcp dport 5000-5999 accept
    }
}";

/// What that of a careful gateway looks like.
const GATEWAY: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        ct mark & 0x10000000 != 0 accept
    }
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
    }
}";

/// `client — gateway — server`, routed.
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) gateway: Namespace,
    pub(crate) server: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self { client: Namespace::new(), gateway: Namespace::new(), server: Namespace::new() };
        for (host, name) in [(&lab.client, "near"), (&lab.server, "far")] {
            lab.gateway.ip(&format!("link add {name} type veth peer name eth0 netns {}", host.name));
            lab.gateway.ip(&format!("link set {name} up"));
            host.ip("link set eth0 up");
        }
        for (plan, length) in families().into_iter().zip([24, 64]) {
            let addresses = [
                (&lab.client, "eth0", plan.client),
                (&lab.gateway, "near", plan.near),
                (&lab.gateway, "far", plan.far),
                (&lab.server, "eth0", plan.server),
            ];
            for (host, interface, address) in addresses {
                // Duplicate address detection would keep IPv6 addresses unusable for a second.
                let nodad = if address.is_ipv6() { " nodad" } else { "" };
                host.ip(&format!("addr add {address}/{length} dev {interface}{nodad}"));
            }
            lab.client.ip(&format!("route add default via {}", plan.near));
            lab.server.ip(&format!("route add default via {}", plan.far));
        }
        lab.gateway.sysctl("ipv4/ip_forward", "1");
        lab.gateway.sysctl("ipv6/conf/all/forwarding", "1");
        lab.gateway.sysctl("netfilter/nf_conntrack_acct", "1");
        lab.client.load(HOST);
        lab.server.load(HOST);
        lab.gateway.load(GATEWAY);
        lab
    }

    /// A backend in the gateway that is ready.
    pub(crate) fn backend(&self) -> Nftables {
        let mut backend = self.gateway.run(|| Nftables::new(Settings::default()).unwrap());
        backend.verify().unwrap();
        backend
    }

    /// A tracker in the gateway.
    pub(crate) fn tracker(&self) -> Tracker {
        self.gateway.track(Options::new(MARK, MARK))
    }

    /// Opens a pinhole for the client, translated both ways or not at all, and dials it: client's end, server's end, and
    /// what hears of it.
    pub(crate) fn dial(&self, backend: &mut Nftables, tracker: &Tracker, plan: Plan, nat: bool) -> Dialled {
        static PORT: AtomicU32 = AtomicU32::new(0);
        let port = 5000 + u16::try_from(PORT.fetch_add(1, Ordering::Relaxed) % 1000).unwrap();
        let target = SocketAddr::new(plan.server, port);
        let listener = self.server.run(|| TcpListener::bind(target).unwrap());
        let entrance = if nat { SocketAddr::new(plan.near, 61000) } else { target };
        let pinhole = Pinhole {
            session: 1,
            announcement: Announcement::Pasv,
            initiator: plan.client,
            on_behalf_of: None,
            entrance,
            target,
            source: if nat { plan.far } else { plan.client },
            lifetime: Duration::from_secs(60),
            protection: ftpgate::pinhole::Protection::default(),
        };
        let mut watch = tracker.watch(pinhole.key());
        backend.apply(&[Change::Open(pinhole)]).unwrap();
        let client = self.client.connect(plan.client, entrance).unwrap();
        let (server, _) = listener.accept().unwrap();
        backend.apply(&[Change::Close(pinhole)]).unwrap();
        let Some(FlowEvent::Used(flow)) = next(&mut watch) else { panic!("the first event tells of the connection") };
        assert_eq!(flow.key(), Key { initiator: plan.client, entrance });
        assert_eq!(flow.original.source, client.local_addr().unwrap());
        assert_eq!(flow.ends(), (client.local_addr().unwrap(), target));
        Dialled { client, server, watch, flow, pinhole }
    }
}

/// A data connection.
pub(crate) struct Dialled {
    pub(crate) client: TcpStream,
    pub(crate) server: TcpStream,
    pub(crate) watch: Watch,
    pub(crate) flow: Flow,
    pub(crate) pinhole: Pinhole,
}

/// What happens next; `None` if nothing does for a while.
pub(crate) fn next(watch: &mut Watch) -> Option<FlowEvent> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(event) = watch.try_next() {
            return Some(event);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Waits until this holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
