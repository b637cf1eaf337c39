//! Telnet commands in the control connection (RFC 959 §2.3, §4.1.3; RFC 854), taken out of the stream before lines are cut.
//!
//! Lives here: [`TelnetFilter`]. Not here: sending the refusals it asks for (`session`).
//!
//! RFC 1123 §4.1.2.12: options are refused, DONT for WILL and WONT for DO, and a gateway does so itself (RFC 6384 §5), so that
//! no option can hide a command from it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What a chunk of bytes held besides FTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telnet {
    /// Refusals to send back to where the chunk came from: IAC DONT x for WILL x, IAC WONT x for DO x.
    pub answers: Vec<u8>,
    /// Interrupt Process or Data Mark was there: the Synch that precedes ABOR (RFC 959 §4.1.3).
    pub synch: bool,
    /// Options offered or asked for.
    pub options: u32,
}

/// State between two chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TelnetFilter {
    state: State,
}

/// Where in a Telnet command the last byte left us. Nothing of a command is stored but this, however long it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Data,
    /// After IAC. It is held back: only the next byte tells whether it is data.
    Iac,
    /// After IAC WILL or IAC DO; the refusal to send when the option is known.
    Refuse(u8),
    /// After IAC WONT or IAC DONT: an option byte follows that needs no answer (RFC 854, "would loop").
    Ignore,
    /// After IAC SB, up to IAC SE.
    Sub,
    /// After IAC in a subnegotiation.
    SubIac,
}

const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const IP: u8 = 244;
const DATA_MARK: u8 = 242;
const SE: u8 = 240;
/// The lowest command, End of File of RFC 1184 §2.4; RFC 854 begins at SE.
const FIRST_COMMAND: u8 = 236;

impl TelnetFilter {
    /// Takes Telnet commands out of `chunk`. Without one the chunk comes back as it is, without a copy. `IAC IAC` is the data
    /// byte 255 and stays as it is (both bytes: what leaves is Telnet again). WILL, WONT, DO, DONT take one option byte; SB runs
    /// to IAC SE; all other commands stand alone. A command cut in two by the segmentation is the same command.
    ///
    /// A 255 before a byte that is no command is a data byte that somebody forgot to double, such as the last letter of the
    /// Russian alphabet in a file name of code page 1251: both stay as they came. Least of all may it swallow a line end.
    pub fn filter<'a>(&mut self, chunk: &'a [u8]) -> (Cow<'a, [u8]>, Telnet) {
        let mut telnet = Telnet::default();
        if self.state == State::Data && memchr::memchr(IAC, chunk).is_none() {
            return (Cow::Borrowed(chunk), telnet);
        }
        let mut data = Vec::with_capacity(chunk.len() + 1);
        for &byte in chunk {
            self.state = match (self.state, byte) {
                (State::Data, IAC) => State::Iac,
                (State::Data, _) => {
                    data.push(byte);
                    State::Data
                }
                (State::Iac, WILL) => State::Refuse(DONT),
                (State::Iac, DO) => State::Refuse(WONT),
                (State::Iac, WONT | DONT) => State::Ignore,
                (State::Iac, SB) => State::Sub,
                (State::Iac, FIRST_COMMAND..=DO) => {
                    telnet.synch |= matches!(byte, IP | DATA_MARK);
                    State::Data
                }
                (State::Iac, _) => {
                    data.extend([IAC, byte]);
                    State::Data
                }
                (State::Refuse(refusal), option) => {
                    telnet.answers.extend([IAC, refusal, option]);
                    telnet.options = telnet.options.saturating_add(1);
                    State::Data
                }
                (State::Sub, IAC) => State::SubIac,
                (State::SubIac, SE) | (State::Ignore, _) => State::Data,
                (State::Sub | State::SubIac, _) => State::Sub,
            };
        }
        (Cow::Owned(data), telnet)
    }
}

#[cfg(test)]
mod tests;
