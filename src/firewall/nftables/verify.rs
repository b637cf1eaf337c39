//! Verify: is what we need there, and is it ours?
//!
//! Lives here: asking the kernel for a table and for sets, and putting into words what is wrong with them. Not here:
//! creating them (`install`).
//!
//! Source of the numbers: `include/uapi/linux/netfilter/nf_tables.h`.

use super::Settings;
use super::explain::{Task, explain};
use super::message::{Attributes, Message, Subject, kind};
use super::netlink::{Failure, Socket};
use super::ruleset::{CONSTANT, INTERVAL, MAP, Set, TIMEOUT, length, sets as all_sets, type_number};
use super::text::set_line;
use crate::firewall::netlink::answer::{Answer, number};
use crate::firewall::{Error, ErrorKind};

/// To whom the table belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// There is no such table.
    Absent,
    /// It belongs to nobody: anybody may change it.
    Nobody,
    /// It belongs to the socket that asks.
    Us,
    /// It belongs to the netlink socket with this port.
    Other(u32),
}

/// Asks whose the table is: GETTABLE { NFTA_TABLE_NAME }, answered with NFTA_TABLE_OWNER if it has one.
pub(super) fn owner(socket: &mut Socket, settings: &Settings) -> Result<Owner, Error> {
    let question = Message::new(Subject::Table, kind::GETTABLE, 0, Attributes::new().text(1, &settings.table));
    let us = socket.port();
    let answer = socket
        .ask(&question, |table| attribute(&table, 7))
        .map_err(|failure| explain(failure, Task::Look, settings))?;
    Ok(match answer {
        None => Owner::Absent,
        Some(None) => Owner::Nobody,
        Some(Some(port)) if port == us => Owner::Us,
        Some(Some(port)) => Owner::Other(port),
    })
}

/// The error for a table that somebody else owns. The port of a program's first netlink socket is its process id.
pub(super) fn taken(port: u32, settings: &Settings) -> Error {
    let table = &settings.table;
    Error::new(
        ErrorKind::Taken,
        format!(
            "nftables table inet {table} belongs to another running program, perhaps another ftpgate (netlink port \
             {port}, which usually is its process id); stop that, or choose another `firewall.nftables.table`"
        ),
    )
}

/// The error for a table without owner where ours is to be created.
pub(super) fn left_over(settings: &Settings) -> Error {
    let table = &settings.table;
    Error::new(
        ErrorKind::Taken,
        format!(
            "nftables table inet {table} is there already and is not ftpgate's; if nothing needs it, remove it with \
             `nft delete table inet {table}`; if it is yours, choose another `firewall.nftables.table` or \
             `ownership: sets`"
        ),
    )
}

/// The error for the administrator's table that is not there.
pub(super) fn table_missing(settings: &Settings) -> Error {
    let table = &settings.table;
    Error::new(
        ErrorKind::Missing,
        format!(
            "nftables table inet {table} is missing; load what `ftpgate rules` prints, or set \
             `firewall.nftables.table` to the name of yours"
        ),
    )
}

/// Which of our sets and maps are there at all.
pub(super) fn sets_there(socket: &mut Socket, settings: &Settings) -> Result<Vec<Set>, Failure> {
    let mut there = Vec::new();
    for set in all_sets(&settings.ranges) {
        if declaration(socket, &set, settings)?.is_some() {
            there.push(set);
        }
    }
    Ok(there)
}

/// Checks that the administrator's table has all our sets and maps, and that they are what they must be.
///
/// # Errors
/// `Missing`: names each one that is not, with the line to write.
pub(super) fn sets(socket: &mut Socket, settings: &Settings) -> Result<(), Error> {
    let mut complaints = Vec::new();
    for set in all_sets(&settings.ranges) {
        let found = declaration(socket, &set, settings).map_err(|failure| explain(failure, Task::Look, settings))?;
        complaints.extend(complaint(&set, found, settings));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    let all = complaints.join("; ");
    Err(Error::new(ErrorKind::Missing, format!("{all}; `ftpgate rules` prints everything that belongs into the table")))
}

/// A set as the kernel describes it. What it does not tell is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Declaration {
    flags: u32,
    key_type: u32,
    key_length: u32,
    data_type: u32,
    data_length: u32,
}

/// Asks for a set: GETSET { NFTA_SET_TABLE, NFTA_SET_NAME }, answered with NFTA_SET_FLAGS, _KEY_TYPE, _KEY_LEN, _DATA_TYPE,
/// _DATA_LEN among others.
fn declaration(socket: &mut Socket, set: &Set, settings: &Settings) -> Result<Option<Declaration>, Failure> {
    let names = Attributes::new().text(1, &settings.table).text(2, &set.name());
    let question = Message::new(Subject::Set(*set), kind::GETSET, 0, names);
    socket.ask(&question, |answer| {
        let read = |kind| attribute(&answer, kind).unwrap_or_default();
        Declaration { flags: read(3), key_type: read(4), key_length: read(5), data_type: read(6), data_length: read(7) }
    })
}

/// What is wrong with a set, as part of a sentence.
fn complaint(set: &Set, found: Option<Declaration>, settings: &Settings) -> Option<String> {
    let table = &settings.table;
    let sort = if set.is_map() { "map" } else { "set" };
    let (name, line) = (set.name(), set_line(set));
    let Some(found) = found else {
        return Some(format!("{sort} {name} is missing from nftables table inet {table}, add `{line}`"));
    };
    let expected = Declaration {
        flags: set.flags(),
        key_type: type_number(&set.key()),
        key_length: length(&set.key()),
        data_type: type_number(&set.data()),
        data_length: length(&set.data()),
    };
    let what = if (found.flags ^ expected.flags) & MAP != 0 {
        format!("is not a {sort}")
    } else if (found.key_type, found.key_length) != (expected.key_type, expected.key_length) {
        "has another type of key".to_owned()
    } else if (found.data_type, found.data_length) != (expected.data_type, expected.data_length) {
        "has another type of data".to_owned()
    } else if found.flags & TIMEOUT == 0 {
        "lacks `flags timeout`".to_owned()
    } else if found.flags & (CONSTANT | INTERVAL) != 0 {
        "has `flags constant` or `flags interval`, which it must not".to_owned()
    } else {
        return None;
    };
    Some(format!("{name} in nftables table inet {table} {what}, declare it as `{line}`"))
}

/// A number among the attributes of an answer.
fn attribute(answer: &Answer<'_>, wanted: u16) -> Option<u32> {
    answer.attributes().find(|(kind, _)| *kind == wanted).and_then(|(_, payload)| number(payload))
}
