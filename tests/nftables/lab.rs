//! Lab: network namespaces, and a client, a gateway and a server in them.
//!
//! A thread enters a namespace and leaves it by ending; sockets and backends made in it stay there.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ftpgate::firewall::nftables::{Nftables, Settings};
use ftpgate::firewall::{Backend as _, Change};
use ftpgate::pinhole::{Announcement, Pinhole};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a connection may take, and how long one that is dropped is waited for. Below the second after which TCP tries
/// again.
const PATIENCE: Duration = Duration::from_millis(700);

/// A network namespace that goes away with this value.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            nix::unistd::geteuid().is_root(),
            "these tests make network namespaces and change nftables in them: run them as root, e.g. `sudo -E cargo \
             test --test nftables`"
        );
        let name = format!("fg-nft-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
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
    pub(crate) fn ip(&self, arguments: &str) {
        let all: Vec<_> = ["-n", &self.name].into_iter().chain(arguments.split(' ')).collect();
        shell("ip", &all, "");
    }

    /// Runs `nft` with this command.
    pub(crate) fn nft(&self, command: &str) -> String {
        self.run(|| shell("nft", &command.split(' ').collect::<Vec<_>>(), ""))
    }

    /// Runs `nft -f` on this text.
    pub(crate) fn load(&self, text: &str) {
        self.run(|| shell("nft", &["-f", "-"], text));
    }

    /// How many elements a set or map has that have not expired.
    pub(crate) fn count(&self, table: &str, set: &str) -> usize {
        let sort = if set.contains("nat") { "map" } else { "set" };
        let listed = self.nft(&format!("-j list {sort} inet {table} {set}"));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let declaration = &listed["nftables"][1][sort];
        assert_eq!(declaration["name"], set);
        declaration["elem"].as_array().map_or(0, Vec::len)
    }

    /// The number of elements in each of the sets: pinhole4, dnat4, snat4, pinhole6, dnat6, snat6.
    pub(crate) fn counts(&self, table: &str) -> [usize; 6] {
        ["pinhole4", "dnat4", "snat4", "pinhole6", "dnat6", "snat6"].map(|set| self.count(table, set))
    }

    /// A backend in here that is ready.
    pub(crate) fn backend(&self, settings: &Settings) -> Nftables {
        let mut backend = self.new_backend(settings);
        backend.verify().unwrap();
        backend
    }

    /// A backend in here that has not looked around yet.
    pub(crate) fn new_backend(&self, settings: &Settings) -> Nftables {
        self.run(|| Nftables::new(settings.clone()).unwrap())
    }

    /// A socket in here that listens.
    pub(crate) fn listen(&self, at: SocketAddr) -> TcpListener {
        let listener = self.run(|| TcpListener::bind(at).unwrap());
        listener.set_nonblocking(true).unwrap();
        listener
    }

    /// Tries to connect from an address in here.
    pub(crate) fn connect(&self, from: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
        self.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&to.into(), PATIENCE)?;
            Ok(socket.into())
        })
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
    /// A third host, beside the client.
    pub(crate) stranger: IpAddr,
    /// The gateway, towards the client.
    pub(crate) near: IpAddr,
    /// The gateway, towards the server.
    pub(crate) far: IpAddr,
    pub(crate) server: IpAddr,
}

/// The lab's addresses in both families.
pub(crate) fn families() -> [Plan; 2] {
    [
        ["192.0.2.10", "192.0.2.11", "192.0.2.1", "198.51.100.1", "198.51.100.20"],
        ["2001:db8:1::10", "2001:db8:1::11", "2001:db8:1::1", "2001:db8:2::1", "2001:db8:2::20"],
    ]
    .map(|texts| {
        let [client, stranger, near, far, server] = texts.map(|text| text.parse().unwrap());
        Plan { client, stranger, near, far, server }
    })
}

/// `client — gateway — server`, routed.
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) gateway: Namespace,
    pub(crate) server: Namespace,
}

/// What the forward chain of an administrator looks like who drops by default.
pub(crate) const DROP_BY_DEFAULT: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        ct mark & 0x10000000 != 0 accept
    }
}";

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
                (&lab.client, "eth0", plan.stranger),
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
        lab.gateway.run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1").unwrap();
        });
        lab
    }

    /// The same with [`DROP_BY_DEFAULT`] in the gateway.
    pub(crate) fn dropping() -> Self {
        let lab = Self::new();
        lab.gateway.load(DROP_BY_DEFAULT);
        lab
    }
}

/// Accepts the connection that `dialled` is the other end of, proves that bytes pass both ways, and returns the address
/// that the listener sees.
pub(crate) fn accept(listener: &TcpListener, dialled: &mut TcpStream) -> IpAddr {
    let (mut accepted, peer) = listener.accept().expect("the connection arrived");
    accepted.set_nonblocking(false).unwrap();
    pass(dialled, &mut accepted);
    pass(&mut accepted, dialled);
    peer.ip()
}

/// Sends a few bytes through.
fn pass(from: &mut TcpStream, to: &mut TcpStream) {
    to.set_read_timeout(Some(PATIENCE)).unwrap();
    from.write_all(b"bytes").unwrap();
    let mut read = [0; 5];
    to.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"bytes");
}

/// Whether nobody has connected.
pub(crate) fn nobody_arrived(listener: &TcpListener) -> bool {
    listener.accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// A pinhole that lasts long enough for any test.
pub(crate) fn pinhole(initiator: IpAddr, entrance: SocketAddr, target: SocketAddr, source: IpAddr) -> Pinhole {
    let lifetime = Duration::from_secs(60);
    Pinhole {
        session: 1,
        announcement: Announcement::Pasv,
        initiator,
        on_behalf_of: None,
        entrance,
        target,
        source,
        lifetime,
        protection: ftpgate::pinhole::Protection::default(),
    }
}

/// Opens these in one transaction.
pub(crate) fn open(backend: &mut Nftables, pinholes: &[Pinhole]) {
    let changes: Vec<_> = pinholes.iter().copied().map(Change::Open).collect();
    backend.apply(&changes).unwrap();
}

/// Closes these in one transaction.
pub(crate) fn close(backend: &mut Nftables, pinholes: &[Pinhole]) {
    let changes: Vec<_> = pinholes.iter().copied().map(Change::Close).collect();
    backend.apply(&changes).unwrap();
}
