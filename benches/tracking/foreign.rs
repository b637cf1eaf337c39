//! Connections through the gateway that are none of ftpgate's: UDP from one port to another, a new connection with every packet.
//!
//! Lives here: sending them, counting what the kernel made of them, and a socket that hears of them all, for comparison. Not
//! here: what the daemon makes of them (`main.rs`).

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};

use super::lab::host::Host;
use super::lab::topology::Lab;
use super::usage::Usage;

/// As many sockets as it takes never to use one pair of ports twice while the kernel remembers it.
const SOCKETS: u16 = 16;
/// Packets between two looks at the clock.
const BURST: u32 = 64;

/// The rules for it are loaded, and the kernel forgets quickly.
pub struct Foreign {
    rate: u32,
}

/// What happened.
pub struct Seen {
    pub connections: u64,
    /// Beginnings and ends.
    pub events: u64,
    pub took: Duration,
    pub listener: Option<Listener>,
}

/// A socket without a filter.
pub struct Listener {
    pub events: u64,
    pub overruns: u64,
    pub usage: Usage,
}

impl Foreign {
    pub fn prepare(lab: &Lab, rate: u32) -> Self {
        // Only the gateway is to track them.
        lab.client.nft(
            "table inet bench { chain output { type filter hook output priority raw; ip protocol udp notrack; }; }",
        );
        lab.server.nft(
            "table inet bench { chain prerouting { type filter hook prerouting priority raw; ip protocol udp drop; }; }",
        );
        let gateway = lab.gateway();
        gateway.nft("add counter inet gateway foreign; insert rule inet gateway forward iifname \"lan0\" ip protocol udp ct state new counter name foreign accept");
        gateway.sysctl("net/netfilter/nf_conntrack_udp_timeout", "1");
        Self { rate }
    }

    /// Sends for so long. `listening`: with a socket beside it that hears of everything.
    pub fn run(&self, lab: &Lab, time: Duration, listening: bool) -> Seen {
        let gateway = lab.gateway();
        let (counted, kept) = (counter(gateway), remembered(gateway));
        let stop = AtomicBool::new(false);
        let begun = Instant::now();
        let listener = std::thread::scope(|scope| {
            let listener = listening.then(|| scope.spawn(|| gateway.inside(|| listen(&stop))));
            if listening {
                std::thread::sleep(Duration::from_millis(100));
            }
            lab.client.inside(|| send(SocketAddr::new(lab.dialled(super::FAMILY), 0), self.rate, time));
            stop.store(true, Ordering::Relaxed);
            listener.map(|thread| thread.join().expect("the listener failed"))
        });
        let took = begun.elapsed();
        let connections = counter(gateway) - counted;
        let events = 2 * connections - remembered(gateway).saturating_sub(kept).min(connections);
        Seen { connections, events, took, listener }
    }
}

/// Waits until the kernel has forgotten what came before.
pub fn forgotten(gateway: &Host) {
    let begun = Instant::now();
    while remembered(gateway) > 100 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Connections that the kernel remembers on a host.
fn remembered(host: &Host) -> u64 {
    let text = host.inside(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")).unwrap();
    text.trim().parse().unwrap()
}

/// Foreign connections so far.
fn counter(gateway: &Host) -> u64 {
    let text = gateway.run(&["nft", "list", "counter", "inet", "gateway", "foreign"]).expect_ok();
    let packets = text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    packets.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no counter in {text}"))
}

/// Sends packets, no two alike, on this thread's host: `rate` a second, or as many as can be.
fn send(to: SocketAddr, rate: u32, time: Duration) {
    let sockets: Vec<UdpSocket> = (0..SOCKETS).map(|_| UdpSocket::bind("0.0.0.0:0").unwrap()).collect();
    let begun = Instant::now();
    let mut sent = 0_u32;
    while begun.elapsed() < time {
        let due = Duration::from_secs_f64(f64::from(sent) / f64::from(rate));
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        for number in sent..sent + BURST {
            let port = u16::try_from(1024 + number % 64_000).unwrap();
            let socket = &sockets[(number / 64_000) as usize % sockets.len()];
            // A full queue loses one, as a network would.
            let _ = socket.send_to(b"x", SocketAddr::new(to.ip(), port));
        }
        sent += BURST;
    }
}

/// Takes in all events of this thread's host until it is told to stop.
fn listen(stop: &AtomicBool) -> Listener {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let events = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter).unwrap();
    setsockopt(&events, sockopt::RcvBufForce, &(4 << 20)).unwrap();
    // NEW, UPDATE and DESTROY.
    bind(events.as_raw_fd(), &NetlinkAddr::new(0, 0b111)).unwrap();
    let mut seen = Listener { events: 0, overruns: 0, usage: Usage::default() };
    let before = Usage::of_this_thread();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        let mut waiting = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
        poll(&mut waiting, PollTimeout::from(200_u16)).unwrap();
        loop {
            match recv(events.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => seen.events += 1,
                Err(Errno::ENOBUFS) => seen.overruns += 1,
                Err(Errno::EAGAIN) => break,
                Err(errno) => panic!("receiving events: {errno}"),
            }
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    seen.usage = Usage::of_this_thread().since(&before);
    seen
}
