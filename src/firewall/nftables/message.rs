//! Message: the bytes of nf_tables netlink messages, going out.
//!
//! Lives here: [`Attributes`], [`Message`] and [`Batch`], pure encoders, and the numbers of message types. Not here: which
//! messages to send (`install`, `elements`, `verify`), sending them (`netlink`), reading answers (`answer`).
//!
//! Byte order: `nlmsghdr` and attribute headers are in host order, everything inside them in network order. Sources:
//! `include/uapi/linux/netlink.h`, `netfilter/nfnetlink.h`, `netfilter/nf_tables.h`; netlink(7).

use std::fmt;

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

/// Flags of `nlmsghdr`.
pub(super) mod flag {
    pub(crate) const REQUEST: u16 = 0x001;
    pub(crate) const ACK: u16 = 0x004;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    /// Adds a rule at the end of its chain rather than at its beginning.
    pub(crate) const APPEND: u16 = 0x800;
}

/// `NFPROTO_INET`: the family of every table, set, chain and rule here.
const INET: u8 = 1;
/// `NFNL_SUBSYS_NFTABLES`: the upper byte of each message type, and the `res_id` of a batch.
const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u16 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u16 = 0x11;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Length of `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// A run of netlink attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds an attribute with this payload, and the padding to the next multiple of four.
    pub(super) fn put(mut self, kind: u16, payload: &[u8]) -> Self {
        // A payload of 64 KiB and more has no true length; the kernel refuses this one. `elements::MAX_CHANGES` keeps
        // the lists below that.
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a text, with the NUL that the kernel wants.
    pub(super) fn text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.put(kind, &payload)
    }

    /// Adds a 32-bit number.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.put(kind, &number.to_be_bytes())
    }

    /// Adds a 64-bit number.
    pub(super) fn long(self, kind: u16, number: u64) -> Self {
        self.put(kind, &number.to_be_bytes())
    }

    /// Adds attributes as the payload of one.
    pub(super) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }
}

/// What a message is about, so that a refusal can be put into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// The batch as such.
    Batch,
    /// The table.
    Table,
    /// The set or map of this name.
    Set(&'static str),
    /// The chain of this name.
    Chain(&'static str),
    /// A rule of the chain of this name.
    Rule(&'static str),
    /// Elements of the set or map of this name.
    Elements(&'static str),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("the batch"),
            Self::Table => f.write_str("the table"),
            Self::Set(name) => write!(f, "set {name}"),
            Self::Chain(name) => write!(f, "chain {name}"),
            Self::Rule(chain) => write!(f, "a rule of chain {chain}"),
            Self::Elements(set) => write!(f, "an element of {set}"),
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
        let kind = u16::from_be_bytes([SUBSYSTEM, self.kind]);
        let mut bytes = header(kind, self.flags, sequence, self.attributes.0.len());
        bytes.extend_from_slice(&[INET, 0, 0, 0]);
        bytes.extend_from_slice(&self.attributes.0);
        bytes
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
        let mut bytes = bracket(BATCH_BEGIN, first);
        let mut sequence = first;
        for message in &self.0 {
            sequence = sequence.wrapping_add(1);
            bytes.extend(message.encode(sequence));
        }
        bytes.extend(bracket(BATCH_END, sequence.wrapping_add(1)));
        bytes
    }

    /// What the message with this number is about, where the beginning has number `first`.
    pub(super) fn subject(&self, first: u32, sequence: u32) -> Subject {
        let index = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
        index.checked_sub(1).and_then(|index| self.0.get(index)).map_or(Subject::Batch, |message| message.subject)
    }
}

/// `nlmsghdr`; `length` is that of the attributes. The port is 0: the kernel.
fn header(kind: u16, flags: u16, sequence: u32, length: usize) -> Vec<u8> {
    let total = u32::try_from(HEADERS + length).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADERS + length);
    bytes.extend_from_slice(&total.to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes
}

/// The beginning or the end of a batch.
fn bracket(kind: u16, sequence: u32) -> Vec<u8> {
    let mut bytes = header(kind, flag::REQUEST, sequence, 0);
    bytes.extend_from_slice(&[0, 0, 0, SUBSYSTEM]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_but_their_length_is_true() {
        let bytes = Attributes::new().text(1, "pin4").number(2, 0x0102_0304).0;
        assert_eq!(bytes, [9, 0, 1, 0, b'p', b'i', b'n', b'4', 0, 0, 0, 0, 8, 0, 2, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_refusal_names_what_was_refused() {
        let message = |subject| Message::new(subject, kind::NEWSET, 0, Attributes::new());
        let batch = Batch(vec![message(Subject::Table), message(Subject::Set("pinhole4"))]);
        assert_eq!(batch.subject(u32::MAX, 0), Subject::Table);
        assert_eq!(batch.subject(7, 9), Subject::Set("pinhole4"));
        assert_eq!(batch.subject(7, 7), Subject::Batch);
        assert_eq!(batch.subject(7, 10), Subject::Batch);
        assert_eq!(batch.sequences(), 4);
    }
}
