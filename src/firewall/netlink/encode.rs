//! Encode: netlink attributes and the header before them, going out.
//!
//! Lives here: [`Attributes`], [`request`] and the flags of a request; pure. Not here: which messages to send.
//!
//! Byte order: `nlmsghdr` and attribute headers are in host order, everything inside them in network order. Sources:
//! `include/uapi/linux/netlink.h`, `netfilter/nfnetlink.h`; netlink(7).

/// Flags of `nlmsghdr`.
pub(in crate::firewall) mod flag {
    pub(crate) const REQUEST: u16 = 0x001;
    pub(crate) const ACK: u16 = 0x004;
    /// `NLM_F_ROOT | NLM_F_MATCH`: all of them.
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const EXCL: u16 = 0x200;
    pub(crate) const CREATE: u16 = 0x400;
    /// Adds a rule at the end of its chain rather than at its beginning.
    pub(crate) const APPEND: u16 = 0x800;
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// Length of `nlmsghdr` and `nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// A run of netlink attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::firewall) struct Attributes(Vec<u8>);

impl Attributes {
    pub(in crate::firewall) fn new() -> Self {
        Self::default()
    }

    /// None, and room for so many bytes of them.
    pub(in crate::firewall) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// The length of a message that has these.
    pub(in crate::firewall) fn message_length(&self) -> usize {
        HEADERS + self.0.len()
    }

    /// Adds an attribute with this payload, and the padding to the next multiple of four.
    pub(in crate::firewall) fn put(self, kind: u16, payload: &[u8]) -> Self {
        self.within(kind, |attributes| attributes.0.extend_from_slice(payload))
    }

    /// Adds a text, with the NUL that the kernel wants.
    pub(in crate::firewall) fn text(self, kind: u16, text: &str) -> Self {
        self.within(kind, |attributes| {
            attributes.0.extend_from_slice(text.as_bytes());
            attributes.0.push(0);
        })
    }

    /// Adds an attribute whose payload `fill` writes behind its header; the length is put there afterwards.
    fn within(mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> Self {
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 2]);
        self.0.extend_from_slice(&kind.to_ne_bytes());
        fill(&mut self);
        // A payload of 64 KiB and more has no true length; the kernel refuses this one. `nftables::MAX_CHANGES`
        // keeps the lists below that.
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        if let Some(place) = self.0.get_mut(start..).and_then(|attribute| attribute.first_chunk_mut()) {
            *place = length.to_ne_bytes();
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a 32-bit number.
    pub(in crate::firewall) fn number(self, kind: u16, number: u32) -> Self {
        self.put(kind, &number.to_be_bytes())
    }

    /// Adds a 64-bit number.
    pub(in crate::firewall) fn long(self, kind: u16, number: u64) -> Self {
        self.put(kind, &number.to_be_bytes())
    }

    /// Adds attributes as the payload of one.
    pub(in crate::firewall) fn nest(self, kind: u16, inner: &Self) -> Self {
        self.put(kind | NESTED, &inner.0)
    }

    /// The same with attributes that `fill` adds where they belong, so that nothing is copied.
    pub(in crate::firewall) fn nest_with(self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        self.within(kind | NESTED, |attributes| *attributes = fill(std::mem::take(attributes)))
    }
}

/// A whole message: `nlmsghdr`, `nfgenmsg` (family, version, resource), attributes. The port is 0: the kernel.
pub(in crate::firewall) fn request(
    kind: u16,
    flags: u16,
    sequence: u32,
    nfgenmsg: [u8; 4],
    attributes: &Attributes,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(attributes.message_length());
    append_request(&mut bytes, kind, flags, sequence, nfgenmsg, attributes);
    bytes
}

/// The same behind what is there.
pub(in crate::firewall) fn append_request(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    nfgenmsg: [u8; 4],
    attributes: &Attributes,
) {
    let length = attributes.message_length();
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&nfgenmsg);
    bytes.extend_from_slice(&attributes.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_written_in_place_are_those_that_were_copied() {
        let inner = |attributes: Attributes| attributes.text(1, "pin4").number(2, 7);
        let copied = Attributes::new().number(9, 1).nest(3, &Attributes::new().nest(4, &inner(Attributes::new())));
        assert_eq!(Attributes::new().number(9, 1).nest_with(3, |list| list.nest_with(4, inner)), copied);
    }

    #[test]
    fn attributes_are_padded_but_their_length_is_true() {
        let bytes = Attributes::new().text(1, "pin4").number(2, 0x0102_0304).0;
        assert_eq!(bytes, [9, 0, 1, 0, b'p', b'i', b'n', b'4', 0, 0, 0, 0, 8, 0, 2, 0, 1, 2, 3, 4]);
    }
}
