//! FTP commands: one table of verbs, and the parser of a command line.
//!
//! Lives here: [`Verb`], [`Command`], [`parse`]. Not here: whether a command is allowed (`session`), what its argument means
//! (`address`). To teach ftpgate a verb, add a row to the table.

use serde::{Deserialize, Serialize};

use super::line;

/// A verb of the table. Only verbs that the session treats in a way of their own have a variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// `ABOR`, RFC 959 §4.1.3.
    Abor,
    /// `ALGS`, RFC 6384 §11.
    Algs,
    /// `AUTH`, RFC 2228 §3, RFC 4217 §4.
    Auth,
    /// `EPRT`, RFC 2428 §2.
    Eprt,
    /// `EPSV`, RFC 2428 §3.
    Epsv,
    /// `LPRT`, RFC 1639 §2, and its like.
    Lprt,
    /// `LPSV`, RFC 1639 §3, and its like.
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
    /// `TYPE`, RFC 959 §4.1.2.
    Type,
    /// `USER`, RFC 959 §4.1.1.
    User,
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

/// The table of verbs, by the way in which the session treats them and by the document that defines them.
const TABLE: &[(Verb, &[&str])] = &[
    (Verb::Abor, &["ABOR"]),
    (Verb::Algs, &["ALGS"]),
    (Verb::Auth, &["AUTH"]),
    (Verb::Eprt, &["EPRT"]),
    (Verb::Epsv, &["EPSV"]),
    // With what GridFTP (GFD.20) has of the same kind: several addresses at a time.
    (Verb::Lprt, &["LPRT", "SPOR"]),
    (Verb::Lpsv, &["LPSV", "SPAS"]),
    (Verb::Pass, &["PASS"]),
    (Verb::Pasv, &["PASV"]),
    (Verb::Port, &["PORT"]),
    (Verb::Quit, &["QUIT"]),
    (Verb::Rein, &["REIN"]),
    (Verb::Stat, &["STAT"]),
    (Verb::Type, &["TYPE"]),
    (Verb::User, &["USER"]),
    (Verb::Transfer, &["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"]),
    // RFC 959, what is left of it.
    (
        Verb::Other,
        &[
            "ACCT", "ALLO", "CDUP", "CWD", "DELE", "HELP", "MKD", "MODE", "NOOP", "PWD", "REST", "RMD", "RNFR", "RNTO",
            "SITE", "SMNT", "STRU", "SYST",
        ],
    ),
    // RFC 775.
    (Verb::Other, &["XCUP", "XCWD", "XMKD", "XPWD", "XRMD"]),
    // RFC 2228, and its use with TLS in RFC 4217.
    (Verb::Other, &["ADAT", "CCC", "CONF", "ENC", "MIC", "PBSZ", "PROT"]),
    // RFC 2389, 2640, 3659 and 7151.
    (Verb::Other, &["FEAT", "OPTS", "LANG", "MDTM", "MLST", "SIZE", "HOST"]),
    // Drafts, and what servers and clients in common use agree on without one.
    (
        Verb::Other,
        &[
            "AVBL", "CLNT", "COMB", "CPSV", "CSID", "DSIZ", "HASH", "MD5", "MFCT", "MFF", "MFMT", "MMD5", "RANG",
            "RMDA", "SPSV", "SSCN", "THMB", "XCRC", "XMD5", "XSHA", "XSHA1", "XSHA256", "XSHA512",
        ],
    ),
    // GFD.20, the Grid's extensions.
    (Verb::Other, &["CKSM", "DCAU", "ERET", "ESTO", "SBUF", "SCKS"]),
];

/// Takes a command line apart, with or without its line end. Blanks (space, tab) before the verb are skipped; a verb ends at
/// a space or tab; verbs compare without case and whole (`PASVX` is not `PASV`).
///
/// # Errors
/// The line is no command. Of several reasons the first in this order: nothing there; a NUL in the verb; a bare CR anywhere
/// (so that `PWD CR QUIT` is that and not a strange verb); a verb with strange bytes; a NUL in an argument that is an address.
pub fn parse(line: &[u8]) -> Result<Command<'_>, Malformed> {
    let text = line::text(line);
    let start = text.iter().position(|byte| !is_blank(byte)).ok_or(Malformed::Empty)?;
    let end = text.iter().skip(start).position(is_blank).map_or(text.len(), |length| start + length);
    let verb = text.get(start..end).unwrap_or_default();
    if verb.contains(&0) {
        return Err(Malformed::Nul);
    }
    if has_bare_cr(text) {
        return Err(Malformed::BareCr);
    }
    if !verb.iter().all(u8::is_ascii_alphanumeric) {
        return Err(Malformed::BadVerb);
    }
    let (verb, name) = look_up(verb);
    let argument_at = text.len().min(end + 1);
    let argument = text.get(argument_at..).unwrap_or_default();
    if matches!(verb, Verb::Port | Verb::Eprt | Verb::Pasv | Verb::Epsv) && argument.contains(&0) {
        return Err(Malformed::Nul);
    }
    Ok(Command { verb, name, argument, argument_at })
}

/// Every verb of the table, in upper case, for tables of metrics.
pub fn names() -> Vec<&'static str> {
    TABLE.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn has_bare_cr(text: &[u8]) -> bool {
    memchr::memchr_iter(b'\r', text).any(|at| text.get(at + 1) != Some(&0))
}

/// The row of a verb. A scan of some ninety names, most of them dismissed by their first letter.
fn look_up(verb: &[u8]) -> (Verb, Option<&'static str>) {
    let first = verb.first().map(u8::to_ascii_uppercase);
    let is_verb = |name: &str| name.as_bytes().first().copied() == first && name.as_bytes().eq_ignore_ascii_case(verb);
    for &(kind, names) in TABLE {
        if let Some(&name) = names.iter().find(|name| is_verb(name)) {
            return (kind, Some(name));
        }
    }
    (Verb::Other, None)
}

#[cfg(test)]
mod tests;
