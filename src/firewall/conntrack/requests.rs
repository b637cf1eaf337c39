//! Requests: asking ctnetlink, and deleting.
//!
//! Lives here: [`Requests`], a socket of its own for them; sentences for the administrator about what the kernel refuses.
//! Not here: the bytes (`message`, `event`), events (`tracker`).
//!
//! Kernel 6.18 was measured to find a connection by its tuple in some 3 µs whatever the size of the table (a question by a
//! thread that has just woken takes four times that, with its answer), and to walk a table of 100,000 in 22 ms.

use std::ops::ControlFlow;

use nix::errno::Errno;

use super::event::decode;
use super::message;
use crate::firewall::netlink::answer::Answer;
use crate::firewall::netlink::socket::{Failed, Socket};
use crate::firewall::tracking::{Flow, Snapshot};
use crate::firewall::{Error, ErrorKind};

/// The kernel puts as much of a dump into a datagram as fits into the buffer that it was last offered, up to this much.
const RECEIVE_BUFFER: usize = 32768;

/// Where the answers to a request end.
enum End {
    /// With this one.
    Here,
    /// With an acknowledgement or the end of a dump.
    Follows,
}

/// A socket for questions.
#[derive(Debug)]
pub(super) struct Requests {
    socket: Socket,
    buffer: Vec<u8>,
    next_sequence: u32,
}

impl Requests {
    /// Opens one in the network namespace of this thread.
    pub(super) fn open() -> Result<Self, Error> {
        let socket = Socket::unbound().map_err(explain)?;
        socket.bind(0).map_err(explain)?;
        Ok(Self { socket, buffer: vec![0; RECEIVE_BUFFER], next_sequence: 1 })
    }

    /// The state of a connection now; `None` if it is gone.
    pub(super) fn get(&mut self, flow: &Flow) -> Result<Option<Snapshot>, Error> {
        let mut found = None;
        let there = self.ask(
            |sequence| message::get(flow, sequence),
            |answer| {
                found = decode(&answer);
                End::Here
            },
        )?;
        Ok(found.map(|event| event.snapshot).filter(|snapshot| there && snapshot.flow.id == flow.id))
    }

    /// Deletes a connection. That it is gone is fine.
    pub(super) fn delete(&mut self, flow: &Flow) -> Result<(), Error> {
        self.ask(|sequence| message::delete(flow, sequence), |_| End::Follows).map(drop)
    }

    /// All TCP connections with this mark.
    pub(super) fn dump(&mut self, mark: u32, mask: u32) -> Result<Vec<Snapshot>, Error> {
        let mut all = Vec::new();
        self.ask(
            |sequence| message::dump(mark, mask, sequence),
            |answer| {
                all.extend(decode(&answer).map(|event| event.snapshot));
                End::Follows
            },
        )?;
        Ok(all)
    }

    /// Sends a request and hands what is not an acknowledgement to `each`. Whether there is such a connection.
    fn ask(
        &mut self,
        request: impl FnOnce(u32) -> Vec<u8>,
        mut each: impl FnMut(Answer<'_>) -> End,
    ) -> Result<bool, Error> {
        let sequence = self.next_sequence;
        self.next_sequence = sequence.wrapping_add(1);
        let mut verdict = None;
        self.socket
            .exchange(&request(sequence), &mut self.buffer, |answer| {
                if answer.sequence != sequence {
                    return ControlFlow::Continue(());
                }
                verdict = match answer.acknowledgement() {
                    Some(code) => Some(code),
                    None if answer.is_done() => Some(0),
                    None => match each(answer) {
                        End::Here => Some(0),
                        End::Follows => return ControlFlow::Continue(()),
                    },
                };
                ControlFlow::Break(())
            })
            .map_err(explain)?;
        match verdict.map(Errno::from_raw) {
            Some(Errno::ENOENT) => Ok(false),
            Some(errno) if errno as i32 != 0 => Err(explain(("ctnetlink", errno))),
            Some(_) => Ok(true),
            None => Err(Error::new(
                ErrorKind::Other,
                "connection tracking did not answer a question on its netlink socket; restart ftpgate",
            )),
        }
    }
}

/// The error that the administrator reads.
pub(super) fn explain((call, errno): Failed) -> Error {
    let (kind, advice) = match errno {
        Errno::EPERM | Errno::EACCES => (
            ErrorKind::Permission,
            "run ftpgate as root or give it CAP_NET_ADMIN (`setcap cap_net_admin+ep` on the binary, or \
             `AmbientCapabilities=CAP_NET_ADMIN` in its systemd unit)",
        ),
        Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::EINVAL | Errno::EOPNOTSUPP => (
            ErrorKind::Unsupported,
            "this kernel cannot tell of tracked connections; load or build the module nf_conntrack_netlink",
        ),
        Errno::ENOMEM | Errno::ENOBUFS => (ErrorKind::Full, "the kernel is short of memory; free some and try again"),
        _ => (ErrorKind::Other, "see `conntrack -L`"),
    };
    let why = errno.desc().to_lowercase();
    Error::new(kind, format!("cannot follow data connections: the kernel refused {call} ({why}); {advice}"))
}
