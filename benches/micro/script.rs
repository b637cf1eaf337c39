//! What the benchmarks, the count of instructions and the count of allocations have in common: an FTP session by the book, and
//! the pinholes of a gateway in reverse mode.
//!
//! Lives here: [`Talk`], which plays client, server and firewall for a session, and [`Kernel`], which takes its pinholes. No
//! sockets, no clock, no randomness: the same calls cost the same instructions. Not here: measuring.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, unreachable_pub)]
#![allow(dead_code)] // each of its users takes what it needs

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use ftpgate::firewall::Change;
use ftpgate::firewall::nftables::Offline;
use ftpgate::pinhole::{Announcement, DataEvent, Pinhole, Traffic};
use ftpgate::session::effect::{Effect, Effects, Event, Millis, PinholeId, Side};
use ftpgate::session::{Ends, Session, Settings};

/// The client and its data connection, the address it dials, and the server's side of the gateway.
const CLIENT: &str = "198.51.100.7:40001";
const DIALLER: &str = "198.51.100.7:40002";
const ORIGINAL: &str = "203.0.113.1:21";
const SOURCE: &str = "10.0.0.1:52000";
const SERVER: &str = "10.0.0.5:21";
/// The port that every entrance gets.
const ENTRANCE: u16 = 61_000;

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What one event led to.
enum Led {
    /// Nothing that the session waits for.
    No,
    /// It asked for this pinhole.
    Open(PinholeId),
}

/// A session with everything around it.
pub struct Talk {
    session: Session,
    effects: Effects,
    now: Millis,
    pinhole: PinholeId,
    /// Bytes that left, both ways: what must be the same on every run.
    pub sent: usize,
    /// Records of transfers.
    pub transfers: usize,
}

impl Talk {
    /// A session whose control connections are open. The outbox may have served another one before, as in the daemon.
    pub fn begin(effects: Effects) -> Self {
        let ends = Ends {
            client: address(CLIENT),
            original: address(ORIGINAL),
            source: address(SOURCE),
            server: address(SERVER),
            detour: None,
        };
        let settings = Settings {
            line_length: 4096,
            pipeline: 32,
            pinhole_timeout: 60_000,
            login_timeout: 120_000,
            idle_timeout: 900_000,
            data_idle_timeout: 300_000,
            tracked: true,
            reset_on_close: true,
            server_mode: ftpgate::session::ServerMode::AsClient,
        };
        let now = Millis(1_000);
        Self { session: Session::new(settings, ends, now), effects, now, pinhole: PinholeId(0), sent: 0, transfers: 0 }
    }

    /// The outbox, for the next session.
    pub fn end(self) -> Effects {
        self.effects
    }

    /// What the daemon does at each event: hands it in, carries the effects out, asks what to wait for.
    fn event(&mut self, event: Event<'_>) -> Led {
        self.now.0 += 1;
        self.session.handle(event, self.now, &mut self.effects);
        let mut led = Led::No;
        while let Some(effect) = self.effects.poll() {
            match black_box(effect) {
                Effect::Send { bytes, .. } => self.sent += bytes.len(),
                Effect::Open(id, _) => led = Led::Open(id),
                Effect::Transferred(_) => self.transfers += 1,
                _ => {}
            }
        }
        black_box((self.session.deadline(), self.session.wants(Side::Client), self.session.wants(Side::Server)));
        led
    }

    fn client(&mut self, line: &str) {
        self.event(Event::Bytes(Side::Client, line.as_bytes()));
    }

    fn server(&mut self, line: &str) {
        // The pinhole is in force at once.
        if let Led::Open(id) = self.event(Event::Bytes(Side::Server, line.as_bytes())) {
            self.pinhole = id;
            self.event(Event::Granted(id, ENTRANCE));
        }
    }

    /// Greeting, USER, PASS, TYPE.
    pub fn login(&mut self) {
        self.server("220 FTP server ready.\r\n");
        self.client("USER anonymous\r\n");
        self.server("331 Guest login ok, send your email address as password.\r\n");
        self.client("PASS someone@example.com\r\n");
        self.server("230 Guest login ok, access restrictions apply.\r\n");
        self.client("TYPE I\r\n");
        self.server("200 Type set to I.\r\n");
    }

    /// A command without consequences, and its answer.
    pub fn noop(&mut self) {
        self.client("NOOP\r\n");
        self.server("200 NOOP command successful.\r\n");
    }

    fn transfer(&mut self) {
        let id = self.pinhole;
        self.event(Event::Data(id, DataEvent::Used { dialler: address(DIALLER) }));
        self.client("RETR pub/releases/archive-2026.tar.gz\r\n");
        self.server("150 Opening BINARY mode data connection for archive-2026.tar.gz (1024 bytes).\r\n");
        let traffic = Traffic { from_initiator: 0, to_initiator: 1024 };
        self.event(Event::Data(id, DataEvent::Over(Some(traffic))));
        self.server("226 Transfer complete.\r\n");
    }

    /// PASV, 227, RETR, 150, the data connection, 226.
    pub fn pasv(&mut self) {
        self.client("PASV\r\n");
        self.server("227 Entering Passive Mode (10,0,0,5,195,80).\r\n");
        self.transfer();
    }

    /// EPSV, 229, RETR, 150, the data connection, 226.
    pub fn epsv(&mut self) {
        self.client("EPSV\r\n");
        self.server("229 Entering Extended Passive Mode (|||50000|)\r\n");
        self.transfer();
    }

    /// QUIT, and both sides close.
    pub fn quit(&mut self) {
        self.client("QUIT\r\n");
        self.server("221 Goodbye.\r\n");
        self.event(Event::Eof(Side::Server));
        self.event(Event::Eof(Side::Client));
    }

    /// Whether the session has ended, as it must after [`Talk::quit`].
    pub fn has_ended(&self) -> bool {
        self.session.has_ended()
    }
}

/// Login, ten transfers, QUIT. Says how many bytes left.
pub fn whole_session(effects: Effects) -> (usize, Effects) {
    let mut talk = Talk::begin(effects);
    talk.login();
    for _ in 0..10 {
        talk.epsv();
    }
    talk.quit();
    assert!(talk.has_ended() && talk.transfers == 10, "{} transfers", talk.transfers);
    (talk.sent, talk.end())
}

/// Pinholes, and a stand-in for the kernel that confirms every transaction.
pub struct Kernel {
    offline: Offline,
    /// Two transactions of a hundred steps, of which each closes the fifty pinholes that the other opens.
    batches: [Vec<Change>; 2],
}

impl Kernel {
    /// With fifty pinholes open.
    pub fn new() -> Self {
        let (low, high) = (100..150, 200..250);
        let batch = |gone: Range<u16>, new: Range<u16>| gone.map(close).chain(new.map(open)).collect();
        let batches = [batch(low.clone(), high.clone()), batch(high, low)];
        let mut kernel = Self { offline: Offline::new("ftpgate"), batches };
        kernel.batch();
        kernel
    }

    fn apply(&mut self, changes: &[Change]) -> usize {
        self.offline.apply(changes, confirm).unwrap()
    }

    /// One pinhole is opened, and then closed: two transactions. Says how many bytes they have.
    pub fn open_and_close(&mut self) -> usize {
        self.apply(&[open(1)]) + self.apply(&[close(1)])
    }

    /// Closes fifty pinholes and opens fifty others in one transaction.
    pub fn batch(&mut self) -> usize {
        self.batches.swap(0, 1);
        self.offline.apply(&self.batches[0], confirm).unwrap()
    }
}

/// A pinhole of reverse mode, which needs all three kinds of elements.
fn pinhole(number: u16) -> Pinhole {
    let gateway: IpAddr = [203, 0, 113, 1].into();
    Pinhole {
        session: 1,
        announcement: Announcement::Pasv,
        initiator: [198, 51, 100, 7].into(),
        on_behalf_of: None,
        entrance: SocketAddr::new(gateway, ENTRANCE + number),
        target: SocketAddr::new([10, 0, 0, 5].into(), 50_000 + number),
        source: [10, 0, 0, 1].into(),
        lifetime: Duration::from_secs(60),
        protection: ftpgate::pinhole::Protection::default(),
    }
}

fn open(number: u16) -> Change {
    Change::Open(pinhole(number))
}

fn close(number: u16) -> Change {
    Change::Close(pinhole(number))
}

/// Acknowledges each message of a batch that asks for it, as the kernel does: `NLMSG_ERROR` with error 0 and the header of the
/// request.
fn confirm(datagram: &[u8], answers: &mut Vec<u8>) {
    const ACK: u16 = 4;
    let mut rest = datagram;
    while let Some(header) = rest.first_chunk::<16>() {
        let [a, b, c, d, _, _, flags @ ..] = *header;
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        if u16::from_ne_bytes([flags[0], flags[1]]) & ACK != 0 {
            answers.extend(36_u32.to_ne_bytes());
            answers.extend(2_u16.to_ne_bytes());
            answers.extend(0_u16.to_ne_bytes());
            answers.extend(&header[8..]);
            answers.extend(0_i32.to_ne_bytes());
            answers.extend(header);
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}
