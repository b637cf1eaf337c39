//! Message: the bytes of nf_tables netlink messages, going out.
//!
//! Lives here: [`Message`] and [`Batch`], pure encoders, and the numbers of message types. Not here: which messages to send
//! (`install`, `elements`, `verify`), sending them (`netlink`), the encoding of attributes and headers
//! (`firewall::netlink`).
//!
//! Sources: `include/uapi/linux/netfilter/nfnetlink.h`, `netfilter/nf_tables.h`; netlink(7).

use std::fmt;

use super::ruleset::Set;
use crate::firewall::netlink::encode::append_request;
pub(super) use crate::firewall::netlink::encode::{Attributes, flag};

/// Message types, `enum nf_tables_msg_types`.
pub(super) mod kind {
    pub(crate) const NEWTABLE: u8 = 0;
    pub(crate) const GETTABLE: u8 = 1;
    pub(crate) const DELTABLE: u8 = 2;
    pub(crate) const NEWCHAIN: u8 = 3;
    pub(crate) const NEWRULE: u8 = 6;
    pub(crate) const NEWSET: u8 = 9;
    pub(crate) const GETSET: u8 = 10;
    pub(crate) const NEWSETELEM: u8 = 12;
    pub(crate) const DELSETELEM: u8 = 14;
    /// Like `DELSETELEM`, but a missing element is no error. Linux 6.3.
    pub(crate) const DESTROYSETELEM: u8 = 30;
}

/// `NFPROTO_INET`: the family of every table, set, chain and rule here.
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`: the upper byte of each message type, and the `res_id` of a batch.
const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;

/// What a message is about, so that a refusal can be put into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The batch as such.
    Batch,
    /// The table.
    Table,
    /// This set or map.
    Set(Set),
    /// The chain of this name.
    Chain(&'static str),
    /// A rule of the chain of this name.
    Rule(&'static str),
    /// Elements of this set or map.
    Elements(Set),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("the batch"),
            Self::Table => f.write_str("the table"),
            Self::Set(set) => write!(f, "set {}", set.name()),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule(chain) => write!(f, "a rule of chain {chain}"),
            Self::Elements(set) => write!(f, "an element of {}", set.name()),
        }
    }
}

/// One request, without its sequence number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) subject: Subject,
    kind: u8,
    flags: u16,
    attributes: Attributes,
}

impl Message {
    /// A request of this `kind`. It is always answered: `REQUEST` and `ACK` join `flags` by themselves.
    pub(super) fn new(subject: Subject, kind: u8, flags: u16, attributes: Attributes) -> Self {
        Self { subject, kind, flags: flags | flag::REQUEST | flag::ACK, attributes }
    }

    /// Its bytes.
    pub(super) fn encode(&self, sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.append(&mut bytes, sequence);
        bytes
    }

    fn append(&self, bytes: &mut Vec<u8>, sequence: u32) {
        let kind = u16::from_be_bytes([SUBSYSTEM, self.kind]);
        append_request(bytes, kind, self.flags, sequence, [INET, 0, 0, 0], &self.attributes);
    }
}

/// Messages that take effect together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Batch(pub(super) Vec<Message>);

impl Batch {
    /// How many sequence numbers it uses up: one for each message, its beginning and its end.
    pub(super) fn sequences(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).saturating_add(2)
    }

    /// Its bytes: the beginning has number `first`, the messages those that follow.
    pub(super) fn encode(&self, first: u32) -> Vec<u8> {
        let brackets = 2 * Attributes::new().message_length();
        let messages: usize = self.0.iter().map(|message| message.attributes.message_length()).sum();
        let mut bytes = Vec::with_capacity(brackets + messages);
        append_bracket(&mut bytes, BATCH_BEGIN, first);
        let mut sequence = first;
        for message in &self.0 {
            sequence = sequence.wrapping_add(1);
            message.append(&mut bytes, sequence);
        }
        append_bracket(&mut bytes, BATCH_END, sequence.wrapping_add(1));
        bytes
    }

    /// What the message with this number is about, where the beginning has number `first`.
    pub(super) fn subject(&self, first: u32, sequence: u32) -> Subject {
        let index = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
        index.checked_sub(1).and_then(|index| self.0.get(index)).map_or(Subject::Batch, |message| message.subject)
    }
}

/// The beginning or the end of a batch.
fn append_bracket(bytes: &mut Vec<u8>, kind: u16, sequence: u32) {
    append_request(bytes, kind, flag::REQUEST, sequence, [0, 0, 0, SUBSYSTEM], &Attributes::new());
}

#[cfg(test)]
mod tests {
    use super::super::ruleset::PINHOLE4;
    use super::*;

    #[test]
    fn a_refusal_names_what_was_refused() {
        let message = |subject| Message::new(subject, kind::NEWSET, 0, Attributes::new());
        let batch = Batch(vec![message(Subject::Table), message(Subject::Set(PINHOLE4))]);
        assert_eq!(batch.subject(u32::MAX, 0), Subject::Table);
        assert_eq!(batch.subject(7, 9), Subject::Set(PINHOLE4));
        assert_eq!(batch.subject(7, 7), Subject::Batch);
        assert_eq!(batch.subject(7, 10), Subject::Batch);
        assert_eq!(batch.sequences(), 4);
    }
}
