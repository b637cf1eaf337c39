//! TLS records, by their headers alone (RFC 8446 §5.1, RFC 5246 §6.2.1).
//!
//! Lives here: [`Records`], which follows one direction of a TLS connection that others speak, and says where it is none any more.
//! Not here: any cryptography; what follows from it (`session::opaque`).
//!
//! A header is five bytes: type, version, length. The hello that SSL 2.0 clients sent (RFC 5246 appendix E.2) begins otherwise
//! and is no record.

use serde::{Deserialize, Serialize};

/// The type of an alert (RFC 8446 §6), close_notify among them. In TLS 1.3 only unencrypted ones show it.
const ALERT: u8 = 21;

/// The type of application data; in TLS 1.3 of everything that is encrypted.
const APPLICATION_DATA: u8 = 23;

/// From change_cipher_spec to heartbeat (RFC 6520).
const TYPES: std::ops::RangeInclusive<u8> = 20..=24;

/// All versions from SSL 3.0 on.
const MAJOR: u8 = 3;

/// RFC 5246 §6.2.3: a fragment of 2^14 bytes and what encryption may add. TLS 1.3 allows less.
const LONGEST: u16 = (1 << 14) + 2048;

/// Bytes of a header.
const HEADER: u8 = 5;

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fed {
    /// All of them belong to records.
    All,
    /// From this offset on they do not: a record has ended, or none has begun, and this byte begins none.
    Foreign(usize),
    /// Neither do they from this offset on, which is within a header.
    Malformed(usize),
}

/// Where in a record one direction is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Bytes of the header that were seen; all of them while in the body.
    have: u8,
    /// The type of this record; between two, of the last one.
    kind: u8,
    /// Bytes of the body that are yet to come; in the header what is known of that.
    left: u16,
    /// There was application data, so the handshake is over.
    established: bool,
}

impl Records {
    /// Takes in the next bytes, up to the first that can be no part of a record. Any segmentation means the same.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.have == HEADER {
                let waiting = u16::try_from(bytes.len() - at).unwrap_or(u16::MAX);
                let step = waiting.min(self.left);
                self.left -= step;
                at += usize::from(step);
            } else if self.have == 0 && !TYPES.contains(&byte) {
                return Fed::Foreign(at);
            } else if !self.header(byte) {
                return Fed::Malformed(at);
            } else {
                at += 1;
            }
            if self.have == HEADER && self.left == 0 {
                self.have = 0;
            }
        }
        Fed::All
    }

    /// The next byte of a header. Says whether it can be one; if not, nothing has changed.
    fn header(&mut self, byte: u8) -> bool {
        match self.have {
            0 => self.kind = byte,
            1 if byte != MAJOR => return false,
            1 | 2 => {}
            3 => self.left = u16::from(byte) << 8,
            _ => {
                let length = self.left | u16::from(byte);
                // RFC 8446 §5.1: only application data may be empty. An alert is two bytes.
                let shortest = match self.kind {
                    APPLICATION_DATA => 0,
                    ALERT => 2,
                    _ => 1,
                };
                if !(shortest..=LONGEST).contains(&length) {
                    return false;
                }
                self.left = length;
                self.established |= self.kind == APPLICATION_DATA;
            }
        }
        self.have += 1;
        true
    }

    /// Whether this direction may have been closed (close_notify): the last that came is an alert, and whole, and there was
    /// application data before it. Never in TLS 1.3, whose alerts look like application data.
    pub fn may_be_closed(&self) -> bool {
        self.have == 0 && self.kind == ALERT && self.established
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let length_bytes = u16::try_from(length).unwrap().to_be_bytes();
        [&[kind, 3, 3][..], &length_bytes, &vec![0x16; length]].concat()
    }

    /// What became of the bytes, in pieces of this size: the offset counts from the beginning.
    fn in_pieces(bytes: &[u8], size: usize) -> (Fed, Records) {
        let mut records = Records::default();
        for (number, piece) in bytes.chunks(size).enumerate() {
            let before = number * size;
            match records.feed(piece) {
                Fed::All => {}
                Fed::Foreign(at) => return (Fed::Foreign(before + at), records),
                Fed::Malformed(at) => return (Fed::Malformed(before + at), records),
            }
        }
        (Fed::All, records)
    }

    #[test]
    fn records_of_all_types_and_lengths_are_followed() {
        let lengths = [2, 3, 255, 256, 16_384, 18_432];
        let all: Vec<u8> = (20..=24).flat_map(|kind| lengths.map(|length| record(kind, length)).concat()).collect();
        for size in [1, 2, 3, 4, 5, 6, 7, 1_000, 100_000, all.len()] {
            let (fed, records) = in_pieces(&all, size);
            assert_eq!((fed, records.have), (Fed::All, 0), "in pieces of {size}");
        }
    }

    #[test]
    fn what_is_no_header_is_found_at_its_byte() {
        let cases: &[(&[u8], Fed)] = &[
            (b"PORT 1,2,3,4,5,6\r\n", Fed::Foreign(0)),
            (b"\x00", Fed::Foreign(0)),
            (b"\x13", Fed::Foreign(0)),
            (b"\x19", Fed::Foreign(0)),
            // The hello of SSL 2.0: 46 bytes, client hello, version 3.1.
            (b"\x80\x2e\x01\x03\x01", Fed::Foreign(0)),
            (b"\x16\x02\x00\x00\x10", Fed::Malformed(1)),
            (b"\x16P", Fed::Malformed(1)),
            // One byte too long, far too long.
            (b"\x17\x03\x03\x48\x01", Fed::Malformed(4)),
            (b"\x17\x03\x03\xff\xff", Fed::Malformed(4)),
            // Empty, and may not be.
            (b"\x16\x03\x03\x00\x00", Fed::Malformed(4)),
            (b"\x15\x03\x03\x00\x01", Fed::Malformed(4)),
            (b"\x17\x03\x03\x00\x00", Fed::All),
            (b"\x17\x03\x03\x00\x00\x17\x03\x03\x00\x01aP", Fed::Foreign(11)),
            (b"\x17\x03\x03\x48\x00", Fed::All),
        ];
        for (bytes, expected) in cases {
            for size in 1..=bytes.len() {
                assert_eq!(in_pieces(bytes, size).0, *expected, "{bytes:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn only_a_whole_alert_behind_application_data_may_be_the_end() {
        let (handshake, data, alert) = (record(22, 40), record(23, 30), record(21, 26));
        let is_closed = |parts: &[&[u8]]| {
            let mut records = Records::default();
            assert_eq!(records.feed(&parts.concat()), Fed::All);
            records.may_be_closed()
        };
        assert!(is_closed(&[&handshake, &data, &alert]));
        assert!(is_closed(&[&handshake, &data, &alert, &alert]));
        assert!(!is_closed(&[]));
        // A warning during the handshake.
        assert!(!is_closed(&[&handshake, &alert]));
        assert!(!is_closed(&[&handshake, &alert, &data]));
        assert!(!is_closed(&[&handshake, &data, &alert, &handshake]));
        assert!(!is_closed(&[&handshake, &data, &alert[..alert.len() - 1]]));
        assert!(!is_closed(&[&handshake, &data, &alert, &alert[..1]]));
    }

    #[test]
    fn what_follows_the_end_is_foreign_and_changes_nothing() {
        let mut records = Records::default();
        let bytes = [record(23, 1), record(21, 2), b"PWD\r\n".to_vec()].concat();
        assert_eq!(records.feed(&bytes), Fed::Foreign(bytes.len() - 5));
        assert!(records.may_be_closed());
        assert_eq!(records.feed(b"P"), Fed::Foreign(0));
    }

    proptest! {
        #[test]
        fn any_segmentation_means_the_same(
            parts in prop::collection::vec(prop_oneof![
                4 => (20..=24u8, 2..300usize).prop_map(|(kind, length)| record(kind, length)),
                1 => prop::collection::vec(any::<u8>(), 0..8),
            ], 0..6),
            size in 1..40usize,
        ) {
            let bytes = parts.concat();
            prop_assert_eq!(in_pieces(&bytes, size), in_pieces(&bytes, bytes.len().max(1)));
        }
    }
}
