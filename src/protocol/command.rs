//! FTP commands: one table of verbs, and the parser of a command line.
//!
//! Lives here: [`Verb`], [`Command`], [`parse`]. Not here: whether a command is allowed (`session`), what its argument means
//! (`address`). To teach ftpgate a verb, add a row to the table.

use serde::{Deserialize, Serialize};

/// A verb of the table. Only verbs that the session treats in a way of their own have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// `ABOR`, RFC 959 §4.1.3.
    Abor,
    /// `AUTH`, RFC 2228 §3, RFC 4217 §4.
    Auth,
    /// `EPRT`, RFC 2428 §2.
    Eprt,
    /// `EPSV`, RFC 2428 §3.
    Epsv,
    /// `LPRT`, RFC 1639 §2.
    Lprt,
    /// `LPSV`, RFC 1639 §3.
    Lpsv,
    /// `PASS`, RFC 959 §4.1.1.
    Pass,
    /// `PASV`, RFC 959 §4.1.2.
    Pasv,
    /// `PORT`, RFC 959 §4.1.2.
    Port,
    /// `QUIT`, RFC 959 §4.1.1.
    Quit,
    /// `REIN`, RFC 959 §4.1.1.
    Rein,
    /// `STAT`, RFC 959 §4.1.3: may be sent during a transfer.
    Stat,
    /// Commands that move data over a data connection: RETR, STOR, STOU, APPE, LIST, NLST, MLSD.
    Transfer,
    /// A command that passes untouched, of the table or not.
    Other,
}

/// A command line, taken apart. Borrows from the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// What the session goes by.
    pub verb: Verb,
    /// The verb in upper case if it is in the table (so from a closed set, fit for a metric label), else `None`.
    pub name: Option<&'static str>,
    /// What follows the verb and exactly one space (RFC 2640 §3.1: further spaces belong to the argument), without the line
    /// end; empty if there is none.
    pub argument: &'a [u8],
    /// Where in the line the argument begins.
    pub argument_at: usize,
}

/// Why a line is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// Nothing but blanks before the line end.
    Empty,
    /// The verb holds bytes other than ASCII letters and digits.
    BadVerb,
    /// A CR that neither ends the line nor is followed by NUL (RFC 2640 §3.1 writes a CR in a path name as CR NUL).
    BareCr,
    /// A NUL in the verb, or in the argument of PORT, EPRT, PASV or EPSV.
    Nul,
}

/// Takes a command line apart. Blanks (space, tab) before the verb are skipped; a verb ends at a space or tab; verbs compare
/// without case and whole (`PASVX` is not `PASV`).
///
/// # Errors
/// The line is no command.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Malformed> {
    let _ = line;
    Err(Malformed::Empty)
}
