//! The simulation's servers: one that answers every command in its turn, in many wordings, and one that tries everything.
//!
//! Lives here: [`Server`]. The well-behaved one marks each reply with the command it answers, `[12 RETR k7]`, so that the client
//! can tell. Not here: when it speaks (`world`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use ftpgate::session::{Ends, Ftps};

use super::random::Random;
use super::secrecy::records;
use super::text::{self, Lines};

/// One server.
pub struct Server {
    address: SocketAddr,
    hostile: bool,
    lines: Lines,
    queue: VecDeque<String>,
    count: u32,
    greeted: bool,
    /// A PASV, EPSV, PORT or EPRT stands.
    announced: bool,
    /// The transfer under way, by its mark.
    transfer: Option<String>,
    opaque: bool,
    /// Its TLS is with the client, past the session.
    passes: bool,
    /// It says nothing any more, and does not close either.
    pub hangs: bool,
    /// It said all that it will say.
    pub done: bool,
}

/// Lines that no well-meaning server sends, or not when nobody asked.
const HOSTILE: &[&[u8]] = &[
    b"227 Entering Passive Mode (10,0,0,5,195,80)\r\n",
    b"227 Entering Passive Mode (10,0,0,5,0,25)\r\n",
    b"227 Entering Passive Mode (1,2,3,4,5,6,7)\r\n",
    b"227 Entering Passive Mode (999,0,0,5,195,80)\r\n",
    b"227-Entering (10,0,0,5,195,80)\r\n",
    b"227 Logout.\r\n",
    b"227\tEntering Passive Mode (10,0,0,5,195,80)\r\n",
    b" 227 Entering Passive Mode (10,0,0,5,195,80)\r\n",
    b"227=10,0,0,5,195,80\r\n",
    b"227",
    b"229 Entering Extended Passive Mode (|||50000|)\r\n",
    b"229 Entering Extended Passive Mode (|||22|)\r\n",
    b"229-(|||50000|)\r\n",
    b"228 Entering Long Passive Mode (4,4,10,0,0,5,2,195,80)\r\n",
    b"550 227 Entering Passive Mode (10,0,0,5,195,80)\r\n",
    b"213-begin\r\n227 Entering Passive Mode (10,0,0,5,195,80)\r\n",
    b"213 end\r\n",
    b"229 end\r\n",
    b"227 end (10,0,0,5,195,81)\r\n",
    b"150 go\r\n",
    b"226 done\r\n",
    b"426 aborted\r\n",
    b"425 no\r\n",
    b"200 yes\r\n",
    b"230 in\r\n",
    b"220 again\r\n",
    b"234 tls\r\n",
    b"334 more\r\n",
    b"421 bye\r\n",
    b"502 what\r\n",
    b"nonsense\r\n",
    b"2\r\n",
    b"\r\n",
    b"\n",
    b"999 strange\r\n",
    b"000 strange\r\n",
    b"200 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    b"227 AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA(10,0,0,5,195,80)\r\n",
];

impl Server {
    /// A server of this session.
    pub fn new(ends: &Ends, ftps: Ftps, hostile: bool) -> Self {
        Self {
            address: ends.server,
            hostile,
            lines: Lines::default(),
            queue: VecDeque::new(),
            count: 0,
            greeted: false,
            announced: false,
            transfer: None,
            opaque: false,
            passes: ftps == Ftps::Pass,
            hangs: false,
            done: false,
        }
    }

    /// Hears bytes.
    pub fn hear(&mut self, bytes: &[u8]) {
        if !self.opaque {
            let lines = self.lines.feed(bytes);
            self.queue
                .extend(lines.iter().map(|line| String::from_utf8_lossy(text::without_telnet(line)).trim().to_owned()));
        }
    }

    /// Whether it has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.done || self.hangs || (self.greeted && self.transfer.is_none() && self.queue.is_empty())
    }

    /// Says something, if there is something to say.
    pub fn act(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        if self.done || self.hangs {
            return None;
        }
        if self.opaque {
            return random.once_in(4).then(|| records(self.hostile, b"227 (10,0,0,5,195,80)\r\n", random));
        }
        if self.hostile && random.once_in(3) {
            return Some(self.be_hostile(random));
        }
        if !self.greeted {
            self.greeted = true;
            let greeting = random.pick(&[
                "220 [0 greeting]",
                "220-hi\r\n 220 there\r\n220 [0 greeting]",
                "120 soon\r\n220 [0 greeting]",
            ]);
            return Some(format!("{greeting}\r\n").into_bytes());
        }
        if self.transfer.is_some() {
            return self.go_on(random);
        }
        let line = self.queue.pop_front()?;
        Some(format!("{}\r\n", self.answer(&line, random)).into_bytes())
    }

    fn be_hostile(&mut self, random: &mut Random) -> Vec<u8> {
        if random.once_in(150) {
            self.done = true;
        }
        self.hangs = random.once_in(150);
        match random.below(12) {
            0 => (0..random.below(40)).map(|_| u8::try_from(random.below(256)).unwrap()).collect(),
            1 if random.once_in(10) => b"PORT 10,0,0,7,0,22\r\n".to_vec(),
            _ => random.pick(HOSTILE).to_vec(),
        }
    }

    /// In the middle of a transfer only ABOR and STAT are heard.
    fn go_on(&mut self, random: &mut Random) -> Option<Vec<u8>> {
        let next = self.queue.front().map(|line| text::verb_and_argument(line.as_bytes()).0);
        match next.as_deref() {
            Some("STAT") if random.once_in(2) => {
                self.queue.pop_front();
                let mark = self.mark("STAT");
                let code = random.pick(&[211, 213]);
                let text = random.pick(&["half of it", "is\r\n227 Entering Passive Mode (10,0,0,5,195,80)\r\nso"]);
                Some(format!("{code}-Status {text}\r\n{code} {mark} end\r\n").into_bytes())
            }
            Some("ABOR") => {
                self.queue.pop_front();
                let transfer = self.transfer.take()?;
                self.announced = false;
                let mark = self.mark("ABOR");
                let texts = [
                    format!("426 {transfer} aborted\r\n226 {mark} done\r\n"),
                    format!("226 {transfer} complete\r\n225 {mark} nothing to do\r\n"),
                    format!("226 {transfer} closed, and for ABOR, too\r\n"),
                    format!("426 {transfer} aborted\r\n502 {mark} but I do not know ABOR\r\n"),
                ];
                Some(random.pick(&texts).clone().into_bytes())
            }
            _ if random.once_in(3) => {
                let transfer = self.transfer.take()?;
                self.announced = false;
                let texts = [
                    format!("226 {transfer} done"),
                    format!("226-{transfer} almost\r\n226 {transfer} done"),
                    format!("426 {transfer} broken"),
                    format!("451 {transfer} disk"),
                ];
                Some(format!("{}\r\n", random.pick(&texts)).into_bytes())
            }
            _ => None,
        }
    }

    fn mark(&mut self, command: &str) -> String {
        self.count += 1;
        format!("[{} {command}]", self.count)
    }

    fn answer(&mut self, line: &str, random: &mut Random) -> String {
        let (verb, argument) = text::verb_and_argument(line.as_bytes());
        let mark = self.mark(if matches!(&*verb, "PORT" | "EPRT") { &verb } else { line });
        match &*verb {
            "USER" => format!("331 {mark} password"),
            "PASS" => format!("230-{mark} welcome\r\n 227 (10,0,0,5,195,80)\r\n230 {mark} in"),
            "PASV" if random.once_in(10) => format!("425 {mark} not now"),
            "PASV" => self.passive(&mark, random),
            "EPSV" if argument == "ALL" => format!("200 {mark} as you like"),
            "EPSV" if random.once_in(10) => format!("500 {mark} what"),
            "EPSV" => self.extended_passive(&mark, random),
            "PORT" | "EPRT" if random.once_in(10) => format!("500 {mark} no"),
            "PORT" | "EPRT" => {
                self.announced = true;
                format!("200 {mark} ok")
            }
            "RETR" | "STOR" | "LIST" | "NLST" | "MLSD" => self.begin(&mark, random),
            "ABOR" => {
                self.announced = false;
                format!("226 {mark} nothing to abort")
            }
            "STAT" => format!(
                "211-{mark}\r\n211-227 (10,0,0,5,195,80)\r\n227 Entering Passive Mode (10,0,0,5,195,80)\r\n211 {mark} end"
            ),
            "REIN" => {
                self.announced = false;
                format!("220 {mark} again")
            }
            "AUTH" if !self.passes && random.once_in(3) => format!("534 {mark} no"),
            "AUTH" if !self.passes => format!("234 {mark} go"),
            "AUTH" if self.hostile || random.once_in(2) => {
                self.opaque = true;
                format!("{} {mark} go", if random.once_in(3) { 334 } else { 234 })
            }
            "AUTH" => format!("{} {mark} no", random.pick(&[502, 534, 431])),
            "QUIT" => {
                self.done = true;
                format!("221 {mark} bye")
            }
            "NOOP" => format!("200 {mark} ok"),
            _ => {
                let reply = random.pick(&[
                    "250 M ok",
                    "550 M 227 Entering Passive Mode (10,0,0,5,195,80)",
                    "213 M 5",
                    "250-M\r\n 250 no\r\n250 M",
                ]);
                reply.replace('M', &mark)
            }
        }
    }

    fn passive(&mut self, mark: &str, random: &mut Random) -> String {
        self.announced = true;
        let own = if self.address.is_ipv4() { self.address.ip() } else { "192.0.2.5".parse().unwrap() };
        let port = if random.once_in(12) { 25 } else { random.port() };
        let ip = if random.once_in(6) { "192.168.99.99".parse().unwrap() } else { own };
        let numbers = text::commas(SocketAddr::new(ip, port));
        match random.below(5) {
            0 => format!("227 {mark} ={numbers}"),
            1 => format!("227-{mark} (10,0,0,5,1,1)\r\n227 {mark} ({numbers})."),
            2 => format!("227 Betrete Passivmodus ({numbers}) {mark} 3,4"),
            _ => format!("227 Entering Passive Mode ({numbers}). {mark}"),
        }
    }

    fn extended_passive(&mut self, mark: &str, random: &mut Random) -> String {
        self.announced = true;
        let port = if random.once_in(12) { 25 } else { random.port() };
        match random.below(4) {
            0 => format!("229 ok (!!!{port}!) {mark}"),
            _ => format!("229 Entering Extended Passive Mode (|||{port}|) {mark}"),
        }
    }

    fn begin(&mut self, mark: &str, random: &mut Random) -> String {
        if !self.announced {
            return format!("425 {mark} use PORT or PASV first");
        }
        match random.below(8) {
            0 => format!("550 {mark} no such file"),
            1 => {
                self.announced = false;
                format!("150 {mark} empty\r\n226 {mark} done")
            }
            2 => {
                self.announced = false;
                format!("226 {mark} nothing there")
            }
            3 => {
                self.announced = false;
                format!("150 {mark} connecting\r\n425 {mark} cannot connect")
            }
            _ => {
                self.transfer = Some(mark.to_owned());
                format!("{} {mark} here it comes", random.pick(&[125, 150]))
            }
        }
    }
}
