//! The lobby: what a gateway says to a client that dials it and has not named a server yet (`mode: login`).
//!
//! Lives here: [`Lobby`], from the gateway's own greeting to `USER user@host`. Pure, as the session is: bytes in, words and a
//! destination out. Not here: the session with that server (`login`), whether it may be reached (`crate::policy`), connecting
//! (`proxy`).
//!
//! A client goes on here where it would go on with a server that is not logged in to: what needs a server gets 530, AUTH gets 534.
//! FEAT too gets 530, since only the server knows what it can do; lftp then asks again. The same input ends it that ends a
//! session, and it is bounded: in time by its caller, in commands and in destinations here.

use crate::protocol::command::{self, Command, Malformed, Verb};
use crate::protocol::destination::{self, Destination};
use crate::protocol::line::{LineBuffer, Next};
use crate::protocol::telnet::TelnetFilter;

use super::effect::Refusal;
use super::replies::Local;
use super::{LONG_LINES, TLS_HANDSHAKE};

/// Most commands before a server is named: more than any client sends, also one whose user tries a few names.
const COMMANDS: u8 = 40;

/// Most servers that are named in vain.
const DESTINATIONS: u8 = 6;

/// A client without a server.
#[derive(Debug)]
pub struct Lobby {
    /// Longest line without its line end, in bytes.
    line_length: usize,
    from_client: LineBuffer,
    telnet: TelnetFilter,
    /// A line that is an FTP command was seen.
    seen_command: bool,
    long_lines: u8,
    commands: u8,
    destinations: u8,
    /// Who wants to go where, while that is tried.
    wanted: Option<(Vec<u8>, Destination)>,
    end: Option<Leaving>,
    said: Vec<u8>,
    refusals: Vec<Refusal>,
}

/// Why nothing comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// QUIT.
    Quit,
    /// Input that no FTP client sends, or too much of it.
    Hostile,
}

/// What a session is given of the lobby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Who logs in.
    pub(super) user: Vec<u8>,
    /// Where.
    pub(super) destination: Destination,
    /// What the client said behind that.
    pub(super) rest: LineBuffer,
    /// Where in its Telnet commands it is.
    pub(super) telnet: TelnetFilter,
}

impl Lobby {
    /// A client that has just come in, and is greeted. `line_length`: the longest line without its line end, in bytes.
    pub fn new(line_length: usize) -> Self {
        Self {
            line_length,
            from_client: LineBuffer::new(),
            telnet: TelnetFilter::default(),
            seen_command: false,
            long_lines: 0,
            commands: 0,
            destinations: 0,
            wanted: None,
            end: None,
            said: Local::Lobby.line().to_vec(),
            refusals: Vec::new(),
        }
    }

    /// What is to be said to the client now.
    pub fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    /// What was refused since the last time, to be counted.
    pub fn refusals(&mut self) -> Vec<Refusal> {
        std::mem::take(&mut self.refusals)
    }

    /// Where the client wants to go. While this is something, no more is read: it is to be tried, and then either
    /// [`Lobby::refused`] or [`Lobby::leave`].
    pub fn wanted(&self) -> Option<&Destination> {
        self.wanted.as_ref().map(|(_, destination)| destination)
    }

    /// Whether it is over, and why.
    pub fn end(&self) -> Option<Leaving> {
        self.end
    }

    /// Bytes from the client. Any segmentation means the same.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // No line end may ever come: implicit FTPS (RFC 4217 appendix A).
        if !self.seen_command && self.from_client.is_empty() && bytes.first() == Some(&TLS_HANDSHAKE) {
            return self.hostile(Refusal::CrossProtocol, Local::NotFtp);
        }
        let (bytes, telnet) = self.telnet.filter(bytes);
        self.said.extend_from_slice(&telnet.answers);
        self.refusals.extend((0..telnet.options).map(|_| Refusal::TelnetOption));
        self.lines(&bytes);
    }

    /// The destination cannot be had, for this reason: a sentence without its full stop. The client may name another.
    pub fn refused(&mut self, why: &str) {
        self.wanted = None;
        let why: String = why.chars().filter(|c| !c.is_control()).collect();
        self.said.extend_from_slice(format!("530 {why}.\r\n").as_bytes());
        if self.destinations >= DESTINATIONS {
            return self.hostile(Refusal::Attempts, Local::TooMany);
        }
        self.lines(&[]);
    }

    /// The server is there: what its session takes over. `None` if no server was named.
    pub fn leave(self) -> Option<Named> {
        let (user, destination) = self.wanted?;
        Some(Named { user, destination, rest: self.from_client, telnet: self.telnet })
    }

    fn lines(&mut self, bytes: &[u8]) {
        let joined = self.from_client.join(bytes);
        let mut rest: &[u8] = &joined;
        while !rest.is_empty() && self.wanted.is_none() && self.end.is_none() {
            match self.from_client.next(rest, self.line_length) {
                Next::Line(line, after) => {
                    rest = after;
                    self.line(line);
                }
                Next::TooLong(_, after) => {
                    rest = after;
                    self.line_too_long();
                }
                Next::Partial(partial) => {
                    rest = partial;
                    break;
                }
            }
        }
        let rest = rest.len();
        self.from_client.keep(joined, rest);
    }

    fn line(&mut self, line: &[u8]) {
        let parsed = command::parse(line);
        if !self.seen_command && !matches!(parsed, Ok(Command { name: Some(_), .. })) {
            // As in a session: a browser, a scanner, another protocol.
            return self.hostile(Refusal::CrossProtocol, Local::NotFtp);
        }
        self.seen_command = true;
        self.commands += 1;
        if self.commands > COMMANDS {
            return self.hostile(Refusal::Attempts, Local::TooMany);
        }
        match parsed {
            Ok(command) => self.command(&command),
            Err(malformed) => {
                let why = match malformed {
                    Malformed::Empty => Refusal::Syntax,
                    Malformed::BadVerb => Refusal::BadVerb,
                    Malformed::BareCr => Refusal::BareCr,
                    Malformed::Nul => Refusal::Nul,
                };
                self.refuse(why, if why == Refusal::Nul { Local::Syntax } else { Local::NotUnderstood });
            }
        }
    }

    fn line_too_long(&mut self) {
        self.long_lines = self.long_lines.saturating_add(1);
        if !self.seen_command || self.long_lines >= LONG_LINES {
            return self.hostile(Refusal::LineTooLong, Local::NotFtp);
        }
        self.refuse(Refusal::LineTooLong, Local::LineTooLong);
    }

    fn command(&mut self, command: &Command<'_>) {
        match (command.verb, command.name) {
            (Verb::User, _) => self.user(command.argument),
            (Verb::Quit, _) => {
                self.say(Local::Goodbye);
                self.end = Some(Leaving::Quit);
            }
            (Verb::Auth, _) => self.say(Local::AuthNoServer),
            (_, Some("NOOP")) => self.say(Local::Okay),
            (_, Some("HELP")) => self.say(Local::Help),
            _ => self.say(Local::NoServer),
        }
    }

    fn user(&mut self, argument: &[u8]) {
        match destination::split(argument) {
            Ok((user, destination)) => {
                self.destinations += 1;
                self.wanted = Some((user.to_vec(), destination));
            }
            Err(destination::Malformed::NoHost) => self.say(Local::NoServer),
            Err(_) => self.refuse(Refusal::Syntax, Local::BadServer),
        }
    }

    fn say(&mut self, reply: Local) {
        self.said.extend_from_slice(reply.line());
    }

    fn refuse(&mut self, why: Refusal, reply: Local) {
        self.refusals.push(why);
        self.say(reply);
    }

    fn hostile(&mut self, why: Refusal, reply: Local) {
        self.refuse(why, reply);
        self.end = Some(Leaving::Hostile);
    }
}

#[cfg(test)]
#[path = "lobby_tests.rs"]
mod tests;
