//! Answer: what the kernel says, coming in.
//!
//! Lives here: walking over the messages of a datagram and the attributes of a message; pure. Not here: receiving them
//! (`netlink`), what they mean for the table (`verify`).
//!
//! Sources: `include/uapi/linux/netlink.h`; netlink(7).

/// `NLMSG_ERROR`: an acknowledgement, or the refusal that it becomes with an error number.
const ERROR: u16 = 2;
/// The bits of an attribute's type that are flags: `NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`.
const TYPE_FLAGS: u16 = 0xc000;

/// One message of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    kind: u16,
    /// The number of the request that it answers.
    pub(super) sequence: u32,
    body: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The error number of an acknowledgement, 0 for success; `None` if it is not one.
    pub(super) fn acknowledgement(&self) -> Option<i32> {
        if self.kind != ERROR {
            return None;
        }
        self.body.first_chunk().map(|code| i32::from_ne_bytes(*code).wrapping_neg())
    }

    /// The attributes of an nf_tables message: type without its flags, payload.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        // Before them comes `nfgenmsg`: family, version, resource.
        attributes(self.body.get(4..).unwrap_or_default())
    }
}

/// The messages of a datagram. One that was cut off (a refusal quotes the whole request) ends with the datagram.
pub(super) fn answers(datagram: &[u8]) -> impl Iterator<Item = Answer<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let (_flags, after) = after.split_first_chunk::<2>()?;
        let (sequence, after) = after.split_first_chunk()?;
        let (_port, after) = after.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?.checked_sub(16)?;
        let body = after.get(..length).unwrap_or(after);
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Answer { kind: u16::from_ne_bytes(*kind), sequence: u32::from_ne_bytes(*sequence), body })
    })
}

/// The attributes in these bytes.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (length, after) = rest.split_first_chunk()?;
        let (kind, after) = after.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length)).checked_sub(4)?;
        let payload = after.get(..length)?;
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes(*kind) & !TYPE_FLAGS, payload))
    })
}

/// A 32-bit number, as the payload of an attribute.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `nlmsghdr` with this length, type 2, number 7, and a refusal with EPERM.
    fn refusal(length: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(2_u16.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend((-1_i32).to_ne_bytes());
        bytes
    }

    #[test]
    fn a_refusal_is_read_even_when_cut_off() {
        for length in [20, 2000] {
            let bytes = refusal(length);
            let all: Vec<_> = answers(&bytes).collect();
            assert_eq!(all.len(), 1);
            assert_eq!((all[0].sequence, all[0].acknowledgement()), (7, Some(1)));
        }
    }

    #[test]
    fn several_messages_in_one_datagram_are_told_apart() {
        let bytes = [refusal(20), refusal(20)].concat();
        assert_eq!(answers(&bytes).count(), 2);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for answer in answers(&bytes) {
                let _ = answer.acknowledgement();
                for (_, payload) in answer.attributes() {
                    let _ = number(payload);
                }
            }
        }
    }
}
