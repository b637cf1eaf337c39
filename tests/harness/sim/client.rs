//! The simulation's clients: one that knows FTP and keeps account of what it must be answered, and one that does not care.
//!
//! Lives here: [`Client`], what it says, and how it checks replies against its commands. Not here: what may reach the server of
//! what it said (`watch`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use ftpgate::session::{Ends, Ftps, ServerMode};

use super::random::Random;
use super::secrecy::records;
use super::text::{self, Lines, Replies, Role};

/// A line that the client said, as the server may see it.
pub struct Said {
    /// With its line end, without Telnet.
    pub line: Vec<u8>,
    /// Whether ftpgate may answer it itself.
    pub refusable: bool,
    /// Where an address stands in it, if one does.
    pub address: Option<std::ops::Range<usize>>,
}

/// A command that awaits its final reply.
#[derive(Debug)]
struct Expected {
    /// As the server's mark names it.
    command: String,
    /// The codes with which ftpgate may answer in its place.
    own: &'static [u16],
    /// An ABOR that may have been answered together with its transfer.
    optional: bool,
}

/// What the client does next.
pub struct Speech {
    /// Preceded by TCP urgent data.
    pub urgent: bool,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// One client.
pub struct Client {
    address: SocketAddr,
    /// The server is of the other family: `true` if of IPv6.
    across: Option<bool>,
    mode: ServerMode,
    ftps: Ftps,
    ipv6_server: bool,
    nasty: bool,
    window: usize,
    lines: Lines,
    replies: Replies,
    expected: VecDeque<Expected>,
    /// What it said and the server has not seen yet.
    pub said: VecDeque<Said>,
    aborting: bool,
    count: u32,
    /// Replies of 1yz that it heard.
    pub preliminary: u64,
    opaque: bool,
    /// It has begun its TLS past the session.
    hello: bool,
    /// However nasty, it awaits what comes of its AUTH.
    waits: bool,
    quit: bool,
}

const TRANSFERS: [&str; 5] = ["RETR", "STOR", "LIST", "NLST", "MLSD"];

/// Lines that no well-meaning client sends.
const NASTY: &[&[u8]] = &[
    b"PORT 127,0,0,1,0,22\r\n",
    b"PORT 10,0,0,5,195,80\r\n",
    b"PORT 1,2,3,4,5\r\n",
    b"PORT 256,0,0,7,4,1\r\n",
    b"PORT 4294967306,0,0,7,156,164\r\n",
    b"EPRT |1|127.0.0.1|22|\r\n",
    b"EPRT |2|::ffff:10.0.0.1|5000|\r\n",
    b"EPRT |1|10.0.0.7|65558|\r\n",
    b"EPRT |9|x|1|\r\n",
    b"PO\0RT 10,0,0,7,156,164\r\n",
    b"PORT 10,0,0,7,156,164\0\r\n",
    b"PO\xff\xfd\x03RT 10,0,0,9,156,164\r\n",
    b"PO\xffRT 10,0,0,9,156,164\r\n",
    b"\xff\xf1PORT 10,0,0,9,156,164\r\n",
    b"\tport\t10,0,0,9,156,164\n",
    b"NOOP\rPORT 10,0,0,9,156,164\r\n",
    b"NOOP\nPORT 10,0,0,9,156,164\n",
    b"LPRT 6,16,1,2,3\r\n",
    b"LPSV\r\n",
    b"PASV\0\r\n",
    b"PASVX\r\n",
    b"EPSV ALL\r\n",
    b"EPSV 7\r\n",
    b"ALGS DISABLE64\r\n",
    b"ALGS\r\nALGS ENABLE64\r\nALGS STATUS64\r\nALGS X\r\n",
    b"AUTH TLS\r\n",
    b"PBSZ 0\r\nPROT P\r\n",
    b"PROT C\r\nPROT P\r\n",
    b"PROT P\r\nPASV\r\nPROT C\r\nLIST\r\n",
    b"CCC\r\n",
    b"FEAT\r\n",
    b"AUTH GSSAPI\r\nPORT 10,0,0,9,156,164\r\n",
    b"AUTH TLS\r\nPORT 10,0,0,9,156,164\r\n",
    b"REIN\r\n",
    b"ABOR\r\nABOR\r\nABOR\r\n",
    b"\xff\xf4\xff\xf2",
    b"\xff\xfa\x18unfinished",
    b"\xff\xf0",
    b"\xff\xfb\x01\xff\xfd\x06",
    b"227 Entering Passive Mode (10,0,0,5,195,80)\r\n",
    b"\r\n",
    b"  \t\r\n",
    b"\x16\x03\x01",
    b"GET / HTTP/1.1\r\n",
    b"STAT\r\nSTAT\r\nLIST\r\nRETR a\r\nSTAT\r\n",
    b"PASV\r\nPASV\r\nEPSV\r\nLIST\r\n",
    b"QUIT\r\n",
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
];

impl Client {
    /// A client of this session.
    pub fn new(ends: &Ends, mode: ServerMode, ftps: Ftps, nasty: bool, random: &mut Random) -> Self {
        let greeting = Expected { command: "greeting".to_owned(), own: &[], optional: false };
        Self {
            address: ends.client,
            across: ends.differ().then(|| ends.server.is_ipv6()),
            mode,
            ftps,
            ipv6_server: ends.server.is_ipv6(),
            nasty,
            window: 1 + random.below(6),
            lines: Lines::default(),
            replies: Replies::default(),
            expected: VecDeque::from([greeting]),
            said: VecDeque::new(),
            aborting: false,
            count: 0,
            preliminary: 0,
            opaque: false,
            hello: false,
            waits: false,
            quit: false,
        }
    }

    /// Whether every command was answered, as far as the client knows.
    pub fn is_content(&self) -> bool {
        self.expected.iter().all(|expected| expected.optional)
    }

    /// For complaints.
    pub fn awaits(&self) -> String {
        format!("{:?}", self.expected)
    }

    /// Says something, if there is something to say. `last`: nothing but QUIT any more.
    pub fn act(&mut self, last: bool, random: &mut Random) -> Option<Speech> {
        if self.opaque {
            let began = std::mem::replace(&mut self.hello, true);
            return (!last).then(|| Speech {
                urgent: false,
                bytes: match began {
                    true => records(self.nasty, b"PORT 1,2,3,4,5,6\r\n", random),
                    false => b"\x16\x03\x01\x00\x06hello\n".to_vec(),
                },
            });
        }
        if self.nasty {
            return (!last && !self.waits).then(|| self.be_nasty(random));
        }
        if self.quit || self.expected.len() >= self.window || (self.aborting && !self.is_content()) {
            return None;
        }
        self.aborting = false;
        if self.count == 0 {
            return Some(self.log_in());
        }
        if last {
            self.quit = true;
            return self.is_content().then(|| self.say("QUIT", "", &[]));
        }
        Some(self.be_polite(random))
    }

    fn log_in(&mut self) -> Speech {
        let mut speech = self.say("USER", "joe", &[]);
        speech.bytes.extend(self.say("PASS", "secret", &[]).bytes);
        speech
    }

    fn be_polite(&mut self, random: &mut Random) -> Speech {
        let name = format!("k{}", self.count);
        match random.below(29) {
            0..=2 => self.passive("PASV"),
            3..=5 => self.passive("EPSV"),
            6..=8 => self.active("PORT", random),
            9..=10 => self.active("EPRT", random),
            11..=15 => {
                let verb = *random.pick(&TRANSFERS);
                self.say(verb, &name, &[425])
            }
            16 => {
                let mut speech = self.passive("PASV");
                speech.bytes.extend(self.say("RETR", &name, &[425]).bytes);
                speech
            }
            17 => self.abort(random),
            18 => self.say("STAT", "", &[]),
            19 => self.say("LPSV", "", &[502]),
            20 => self.foreign(random),
            21 if random.once_in(4) => self.say(
                "EPSV",
                "ALL",
                if self.across == Some(false) || self.mode == ServerMode::Active { &[504] } else { &[] },
            ),
            22 if random.once_in(4) => {
                let mut speech = self.say("REIN", "", if self.ftps == Ftps::Pass { &[] } else { &[502] });
                speech.bytes.extend(self.log_in().bytes);
                speech
            }
            23 => {
                // Nothing may be said before the answer.
                self.aborting = true;
                let own: &[u16] = match self.ftps {
                    Ftps::Pass => &[],
                    Ftps::Refuse => &[534],
                    Ftps::Terminate => &[234, 503],
                    Ftps::Bridge => &[503],
                };
                self.say("AUTH", "TLS", own)
            }
            // Known to this server as to any other, but for the policies.
            26 if self.ftps != Ftps::Pass => self.say("PBSZ", "0", &[200, 503]),
            27 if self.ftps != Ftps::Pass => self.say("PROT", if random.once_in(3) { "C" } else { "P" }, &[200, 503]),
            28 if self.ftps != Ftps::Pass => self.say("CCC", "", &[200, 503, 533, 534]),
            24 => {
                let mut speech = self.say(self.noop(), "", &[]);
                speech.bytes.splice(0..0, *b"\xff\xfd\x03");
                speech
            }
            _ => {
                let verb = *random.pick(&["NOOP", "SIZE", "CWD", "XYZZY", "MDTM"]);
                if verb == "NOOP" { self.say(self.noop(), "", &[]) } else { self.say(verb, &name, &[]) }
            }
        }
    }

    /// Where ftpgate has NOOPs of its own the client has none, so that the server's answers can be told apart.
    fn noop(&self) -> &'static str {
        if self.across.is_some() { "XNOP" } else { "NOOP" }
    }

    /// With another word for the server of the other family or mode, and another answer for the client.
    fn passive(&mut self, verb: &str) -> Speech {
        let server = match self.across {
            Some(true) => "EPSV",
            Some(false) => "PASV",
            None => verb,
        };
        let as_it_is = self.across.is_none() && self.mode == ServerMode::AsClient;
        let speech = self.say(verb, "", if as_it_is { &[425, 501] } else { &[425, 501, 227, 229] });
        if self.mode == ServerMode::Active
            && let (Some(said), Some(expected)) = (self.said.back_mut(), self.expected.back_mut())
        {
            let server = if self.ipv6_server { "EPRT" } else { "PORT" };
            said.line = format!("{server} X\r\n").into_bytes();
            said.address = Some(server.len() + 1..server.len() + 2);
            expected.command = server.to_owned();
        } else if let (Some(said), Some(expected)) = (self.said.back_mut(), self.expected.back_mut()) {
            said.line = format!("{server}\r\n").into_bytes();
            expected.command = server.to_owned();
        }
        speech
    }

    fn say(&mut self, verb: &str, argument: &str, own: &'static [u16]) -> Speech {
        self.count += 1;
        let command = format!("{verb} {argument}").trim_end().to_owned();
        let line = format!("{command}\r\n").into_bytes();
        let refusable = !own.is_empty();
        self.said.push_back(Said { line: line.clone(), refusable, address: None });
        self.expected.push_back(Expected { command, own, optional: false });
        Speech { urgent: false, bytes: line }
    }

    fn active(&mut self, verb: &str, random: &mut Random) -> Speech {
        self.count += 1;
        let verb = if self.address.is_ipv6() { "EPRT" } else { verb };
        let here = SocketAddr::new(self.address.ip(), random.port());
        let address = if verb == "PORT" { text::commas(here) } else { text::bars(here) };
        let blanks = random.pick(&["", " ", "\t "]);
        let line = format!("{verb} {address}{blanks}\r\n").into_bytes();
        if self.mode == ServerMode::Passive {
            let server = if self.ipv6_server { "EPSV" } else { "PASV" };
            self.said.push_back(Said { line: format!("{server}\r\n").into_bytes(), refusable: true, address: None });
            let own = &[200, 425, 501];
            self.expected.push_back(Expected { command: server.to_owned(), own, optional: false });
            return Speech { urgent: false, bytes: line };
        }
        let server = match self.across {
            Some(true) => "EPRT",
            Some(false) => "PORT",
            None => verb,
        };
        let seen = if server == verb { line.clone() } else { format!("{server} {address}\r\n").into_bytes() };
        let span = server.len() + 1..server.len() + 1 + address.len();
        self.said.push_back(Said { line: seen, refusable: true, address: Some(span) });
        self.expected.push_back(Expected { command: server.to_owned(), own: &[425, 501], optional: false });
        Speech { urgent: false, bytes: line }
    }

    /// Not for itself: ftpgate answers.
    fn foreign(&mut self, random: &mut Random) -> Speech {
        let port = if random.once_in(2) { 22 } else { 40_000 };
        let there = SocketAddr::new("192.0.2.200".parse().unwrap(), port);
        let line = if random.once_in(2) {
            format!("PORT {}", text::commas(there))
        } else {
            format!("EPRT {}", text::bars(there))
        };
        self.count += 1;
        self.said.push_back(Said { line: format!("{line}\r\n").into_bytes(), refusable: true, address: None });
        self.expected.push_back(Expected { command: "never".to_owned(), own: &[501, 504, 522], optional: false });
        Speech { urgent: false, bytes: format!("{line}\r\n").into_bytes() }
    }

    fn abort(&mut self, random: &mut Random) -> Speech {
        if self.expected.iter().any(|expected| expected.command == "ABOR") {
            return self.say(self.noop(), "", &[]);
        }
        let mut speech = self.say("ABOR", "", &[]);
        self.aborting = random.once_in(2);
        speech.urgent = random.once_in(2);
        if speech.urgent && random.once_in(2) {
            speech.bytes.splice(0..0, *b"\xff\xf4\xff\xf2");
        }
        speech
    }

    fn be_nasty(&mut self, random: &mut Random) -> Speech {
        let urgent = random.once_in(20);
        let first = std::mem::replace(&mut self.count, 1) == 0;
        let bytes = match random.below(10) {
            _ if first && !random.once_in(6) => b"USER joe\r\nPASS x\r\n".to_vec(),
            0..=4 => random.pick(NASTY).to_vec(),
            5..=7 => self.be_polite(random).bytes,
            8 => (0..random.below(30)).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
            _ => random.pick(&[&b"\r\n"[..], b"\n", b"\r", b"\0", b"\xff", b"PORT ", b"PASV"]).to_vec(),
        };
        self.waits = bytes.ends_with(b"AUTH TLS\r\n");
        Speech { urgent, bytes }
    }

    /// Hears bytes, and checks that each reply is the next one due.
    pub fn hear(&mut self, bytes: &[u8], strict: bool) {
        if self.opaque {
            return;
        }
        for line in self.lines.feed(bytes) {
            let line = text::without_telnet(&line);
            let role = self.replies.role(line);
            self.preliminary += u64::from(matches!(role, Role::Final(100..=199)));
            match role {
                Role::Final(code) if code / 100 != 1 && strict => self.answered(code, line),
                Role::Final(code) if code / 100 != 1 => {
                    let front = self.expected.pop_front();
                    self.waits &= !matches!(code, 234 | 334 | 500..);
                    self.opaque = self.ftps == Ftps::Pass
                        && matches!(code, 234 | 334)
                        // A nasty one has lost count.
                        && (self.nasty || front.is_some_and(|front| front.command.starts_with("AUTH")));
                }
                _ => assert!(!strict || role != Role::Stray, "a stray line: {}", String::from_utf8_lossy(line)),
            }
        }
    }

    fn answered(&mut self, code: u16, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        let mark = text::mark(line).map(|(_, command)| command);
        if code == 421 && mark.is_none() {
            return;
        }
        if self.expected.front().is_some_and(|front| front.optional && mark.as_deref() != Some("ABOR")) {
            // The one reply to the transfer was ABOR's, too. Its own may still come when it is ftpgate that answers now.
            let at = usize::from(mark.is_none());
            if at == 0 {
                self.expected.pop_front();
            }
            return self.take(at, code, mark.as_deref(), &text);
        }
        let is_stat = mark.as_deref() == Some("STAT");
        let in_transfer = self.expected.front().is_some_and(|front| is_transfer(&front.command));
        if is_stat && in_transfer {
            let at = self.expected.iter().position(|expected| expected.command == "STAT").unwrap();
            return self.take(at, code, mark.as_deref(), &text);
        }
        self.take(0, code, mark.as_deref(), &text);
    }

    fn take(&mut self, at: usize, code: u16, mark: Option<&str>, text: &str) {
        let Some(expected) = self.expected.remove(at) else { panic!("an answer to nothing: {text}") };
        match mark {
            // Of a server that does not know EPSV.
            Some("PASV") if expected.command == "EPSV" && self.mode == ServerMode::Passive => {}
            Some(command) => assert_eq!(command, expected.command, "the answer to another command: {text}"),
            None => assert!(expected.own.contains(&code), "ftpgate answered {expected:?} with {text}"),
        }
        if is_transfer(&expected.command)
            && code / 100 == 2
            && let Some(next) = self.expected.iter_mut().find(|next| next.own.is_empty())
            && next.command == "ABOR"
        {
            next.optional = true;
        }
        if matches!(code, 234 | 334) && self.ftps == Ftps::Pass {
            self.opaque = true;
        }
    }
}

fn is_transfer(command: &str) -> bool {
    TRANSFERS.iter().any(|verb| command.starts_with(verb))
}
