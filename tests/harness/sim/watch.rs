//! Looks at every line that leaves the session.
//!
//! Whoever talks: no announcement leaves before its pinhole is in force, none names anything else, and no inside address leaves
//! in a passive reply. Where both peers behave: nothing but the digits of an announcement changes, nothing is lost or added. Not
//! here: the inside of the session (`state`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use ftpgate::pinhole::Announcement;
use ftpgate::session::replies::Local;
use ftpgate::session::{Ends, ServerMode};

use super::client::Said;
use super::firewall::Firewall;
use super::text::{self, Lines, Replies, Role};

/// Everything that ftpgate may say to a client itself.
const OWN: &[Local] = &[
    Local::Syntax,
    Local::ForeignAddress,
    Local::LowPort,
    Local::OnlyIpv4,
    Local::OnlyIpv6,
    Local::LongAddress,
    Local::EpsvAll,
    Local::EpsvAllTranslated,
    Local::EpsvAllConverted,
    Local::PortOk,
    Local::PasvIpv6,
    Local::AlgsOn,
    Local::AlgsOff,
    Local::AlgsUnknown,
    Local::ServerLost,
    Local::NoDataPort,
    Local::NoPinhole,
    Local::BadPassive,
    Local::LoginTimeout,
    Local::IdleTimeout,
    Local::Draining,
    Local::LineTooLong,
    Local::NotUnderstood,
    Local::NotFtp,
    Local::Injection,
    Local::ServerBroken,
    Local::AuthRefused,
    Local::Secure,
    Local::AuthAgain,
    Local::NotThisAuth,
    Local::NotSecured,
    Local::PbszZero,
    Local::PbszFirst,
    Local::ProtClear,
    Local::ProtPrivate,
    Local::ProtTooLow,
    Local::ProtUnknownToTls,
    Local::ProtUnknown,
    Local::ClearCommands,
    Local::NotProtected,
    Local::CccRefused,
    Local::ReinRefused,
    Local::NeedsTls,
    Local::NeedsPrivate,
    Local::ServerNoTls,
];

/// The two streams that leave.
pub struct Watch {
    ends: Ends,
    mode: ServerMode,
    strict: bool,
    to_client: Lines,
    to_server: Lines,
    replies: Replies,
    /// The last that the server was told was EPSV.
    asked_epsv: bool,
    /// Lines of the server that the client has not seen yet.
    server_said: VecDeque<Vec<u8>>,
    server_lines: Lines,
}

impl Watch {
    /// `strict`: both peers behave.
    pub fn new(ends: Ends, mode: ServerMode, strict: bool) -> Self {
        Self {
            ends,
            mode,
            strict,
            to_client: Lines::default(),
            to_server: Lines::default(),
            replies: Replies::default(),
            asked_epsv: false,
            server_said: VecDeque::new(),
            server_lines: Lines::default(),
        }
    }

    /// The server put this on its wire.
    pub fn server_says(&mut self, bytes: &[u8]) {
        self.server_said.extend(self.server_lines.feed(bytes));
    }

    /// The session sends this to the client.
    pub fn sent_to_client(&mut self, bytes: &[u8], firewall: &Firewall) {
        for line in self.to_client.feed(bytes) {
            let line = text::without_telnet(&line);
            if OWN.iter().any(|own| own.line() == line) {
                continue;
            }
            match self.replies.role(line) {
                Role::Inside(227..=229) => assert_masked(line),
                Role::Inside(_) => {}
                Role::Stray if text::looks_passive(line) => assert_masked(line),
                Role::Final(227..=229) => self.assert_passive(line, firewall),
                Role::Stray | Role::Final(_) => {}
            }
            if self.strict {
                self.assert_unchanged(line);
            }
        }
    }

    /// Either nobody can dial it, or it names a pinhole in force and the address that the client shall see.
    fn assert_passive(&self, line: &[u8], firewall: &Firewall) {
        if is_masked(line) {
            return;
        }
        let shown = self.ends.announced();
        let in_force = match line.get(..3) {
            // It has no room for what an IPv6 client could dial.
            Some(b"227") if self.ends.client.is_ipv6() => false,
            Some(b"227") => text::six_numbers(line).is_some_and(|named| firewall.has(Announcement::Pasv, named, shown)),
            Some(b"229") => text::extended_port(line).is_some_and(|port| firewall.has_extended(port)),
            _ => false,
        };
        assert!(in_force, "announced to the client, and not in force: {}", String::from_utf8_lossy(line));
    }

    /// It is the next one of the server's, with at most an announcement changed.
    fn assert_unchanged(&mut self, line: &[u8]) {
        loop {
            let shown = String::from_utf8_lossy(line);
            let Some(said) = self.server_said.pop_front() else { panic!("the server never said: {shown}") };
            let mark = text::mark(&said).map(|(_, command)| command);
            let is_about = |commands: &[&str]| mark.as_deref().is_some_and(|command| commands.contains(&command));
            // The answer to ftpgate's own NOOP is for nobody else; the client of this simulation has none.
            if self.ends.differ() && is_about(&["NOOP"]) {
                continue;
            }
            if self.ends.differ() || self.mode != ServerMode::AsClient {
                // The address is looked at elsewhere; what stands around it is ftpgate's.
                let answers =
                    text::looks_passive(&said) || (self.mode == ServerMode::Active && is_about(&["PORT", "EPRT"]));
                if answers && text::mark(line).is_none() && text::looks_passive(line) {
                    return;
                }
            }
            // It was asked for PASV then.
            if self.mode == ServerMode::Passive && said != line && said.starts_with(b"500") && is_about(&["EPSV"]) {
                continue;
            }
            if said == line || (text::looks_passive(&said) && differs_in_digits_only(&said, line)) {
                return;
            }
            let said = String::from_utf8_lossy(&said);
            assert!(
                text::looks_passive(said.as_bytes()),
                "instead of the server's\n  {said}the client gets\n  {shown}"
            );
        }
    }

    /// The session sends this to the server.
    pub fn sent_to_server(&mut self, bytes: &[u8], said: &mut VecDeque<Said>, firewall: &Firewall) {
        for line in self.to_server.feed(bytes) {
            let line = text::without_telnet(&line);
            let shown = String::from_utf8_lossy(line);
            let (verb, argument) = text::verb_and_argument(line);
            let named = match &*verb {
                "PORT" | "PASV" if self.ends.server.is_ipv6() && self.ends.differ() => {
                    panic!("the server is of the IPv6 family: {shown}")
                }
                "EPRT" if self.ends.server.is_ipv4() && self.ends.differ() => {
                    panic!("the server is of the IPv4 family: {shown}")
                }
                "NOOP" if self.ends.differ() => continue,
                "PORT" => text::six_numbers(line).map(|named| (Announcement::Port, named)),
                "EPRT" => text::extended_address(&argument).map(|named| (Announcement::Eprt, named)),
                "LPRT" | "LPSV" => panic!("never passes: {shown}"),
                // In place of an EPSV that the server does not know, behind which nothing was read.
                "PASV" if self.mode == ServerMode::Passive && self.asked_epsv => {
                    self.asked_epsv = false;
                    continue;
                }
                _ => {
                    self.asked_epsv = line == b"EPSV\r\n";
                    if self.strict {
                        expect_said(said, line, None);
                    }
                    continue;
                }
            };
            let Some((announcement, named)) = named else { panic!("not an address that was written here: {shown}") };
            let source = self.ends.source.ip();
            assert!(firewall.has(announcement, named, source), "announced to the server, and not in force: {shown}");
            if self.strict {
                expect_said(said, line, Some(named));
            }
        }
    }
}

/// The line is the client's next one that may pass, with at most its address changed into `named`.
fn expect_said(said: &mut VecDeque<Said>, line: &[u8], named: Option<SocketAddr>) {
    let shown = String::from_utf8_lossy(line);
    loop {
        let Some(next) = said.pop_front() else { panic!("the client never said: {shown}") };
        let same = match (&next.address, named) {
            (Some(span), Some(named)) => {
                let address = if line.starts_with(b"PORT") { text::commas(named) } else { text::bars(named) };
                [&next.line[..span.start], address.as_bytes(), &next.line[span.end..]].concat() == line
            }
            // The server is known not to know it.
            _ if next.line == b"EPSV\r\n" && line == b"PASV\r\n" => true,
            _ => next.line == line,
        };
        if same {
            return;
        }
        let text = String::from_utf8_lossy(&next.line).into_owned();
        assert!(next.refusable, "instead of the client's\n  {text}the server gets\n  {shown}");
    }
}

/// All digits but those of the code are zeros.
fn is_masked(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let text = if text::looks_passive(text) { &text[3..] } else { text };
    text.iter().all(|byte| !matches!(byte, b'1'..=b'9'))
}

fn assert_masked(line: &[u8]) {
    assert!(is_masked(line), "it could be dialled: {}", String::from_utf8_lossy(line));
}

/// Apart from what both begin and end with, there are only digits and commas.
fn differs_in_digits_only(one: &[u8], other: &[u8]) -> bool {
    let start = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[start..], &other[start..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    let middle = |bytes: &[u8]| bytes[..bytes.len() - end].iter().all(|byte| byte.is_ascii_digit() || *byte == b',');
    middle(one) && middle(other)
}
