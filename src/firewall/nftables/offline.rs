//! Offline: the backend's transactions without a kernel.
//!
//! Lives here: [`Offline`], all that `backend` does for a change of pinholes except the system calls: planning, encoding, reading
//! the answers. For benchmarks and for counting what a pinhole costs in user space; the daemon does not use it. Not here: making
//! the table, what a failure means.

use super::book::Book;
use super::elements::{self, Removal};
use super::message::Batch;
use super::netlink::Verdict;
use crate::firewall::netlink::answer::answers;
use crate::firewall::{Change, Error, ErrorKind};

/// A table that nobody has.
#[derive(Debug)]
pub struct Offline {
    table: String,
    book: Book,
    next_sequence: u32,
    answers: Vec<u8>,
}

impl Offline {
    /// A table of this name with no pinhole, on a kernel that can `destroy` elements (Linux 6.3).
    pub fn new(table: &str) -> Self {
        Self { table: table.to_owned(), book: Book::default(), next_sequence: 1, answers: Vec::new() }
    }

    /// One transaction. `kernel` gets its bytes and writes its answers down: netlink messages one after the other. Says how many
    /// bytes the transaction has; 0 if nothing is to be done.
    ///
    /// # Errors
    /// `Other`: the changes make no transaction, or `kernel` did not confirm every message.
    pub fn apply(&mut self, changes: &[Change], kernel: impl FnOnce(&[u8], &mut Vec<u8>)) -> Result<usize, Error> {
        let plan = self.book.plan(changes)?;
        let batch = elements::replace(&self.table, Removal::Destroy, &plan.removed, &plan.added);
        let length = if batch.0.is_empty() { 0 } else { self.exchange(&batch, kernel)? };
        self.book.commit(plan);
        Ok(length)
    }

    fn exchange(&mut self, batch: &Batch, kernel: impl FnOnce(&[u8], &mut Vec<u8>)) -> Result<usize, Error> {
        let first = self.next_sequence;
        self.next_sequence = first.wrapping_add(batch.sequences());
        let datagram = batch.encode(first);
        self.answers.clear();
        kernel(&datagram, &mut self.answers);
        let mut verdict = Verdict::on(batch, first);
        answers(&self.answers).for_each(|answer| verdict.hear(answer));
        let refused = |failure| Error::new(ErrorKind::Other, format!("the stand-in for the kernel: {failure:?}"));
        verdict.outcome().map_err(refused)?;
        Ok(datagram.len())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::pinhole::{Announcement, Pinhole};

    fn pinhole() -> Pinhole {
        let at: SocketAddr = "192.0.2.1:50000".parse().unwrap();
        Pinhole {
            session: 1,
            announcement: Announcement::Pasv,
            initiator: [198, 51, 100, 7].into(),
            on_behalf_of: None,
            entrance: at,
            target: at,
            source: [198, 51, 100, 7].into(),
            lifetime: Duration::from_secs(60),
            protection: crate::pinhole::Protection::default(),
        }
    }

    /// `NLMSG_ERROR` to the message with this number.
    fn answer(sequence: u32, error: i32) -> Vec<u8> {
        let words = [20_u32, 2, sequence, 0, error.wrapping_neg().cast_unsigned()];
        words.into_iter().flat_map(u32::to_ne_bytes).collect()
    }

    #[test]
    fn what_is_confirmed_is_in_the_book_and_nothing_else_is() {
        let mut offline = Offline::new("ftpgate");
        let open = [Change::Open(pinhole())];
        for answers in [Vec::new(), answer(2, 1), answer(9, 0)] {
            offline.next_sequence = 1;
            assert!(offline.apply(&open, |_, to| to.extend(&answers)).is_err());
            assert_eq!(offline.apply(&[Change::Close(pinhole())], |_, _| {}), Ok(0), "it never was");
        }
        offline.next_sequence = 1;
        let length = offline.apply(&open, |datagram, to| {
            assert!(datagram.windows(8).any(|text| text == b"pinhole4"));
            to.extend(answer(2, 0));
        });
        assert!(length.is_ok_and(|length| length > 100));
        assert!(offline.apply(&[Change::Close(pinhole())], |_, _| {}).is_err(), "there is something to be closed");
    }
}
