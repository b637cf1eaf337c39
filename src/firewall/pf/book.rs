//! Book: what is in the anchor of each session, and what a change makes of it.
//!
//! Lives here: [`Book`], the truth, and [`Plan`], which becomes it once pf has taken it; pure. Not here: the text of rules
//! (`rules`), pfctl.
//!
//! pf has no rules that expire, so everything in an anchor has a moment at which it is taken out, whoever still holds it: the
//! session closes its pinhole before that, unless the daemon is stuck.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::rules::{Cut, Passage};
use crate::firewall::{Change, Error, ErrorKind, Reset, no_ranges};
use crate::pinhole::{Key, Pinhole, SessionId};

/// How long after its lifetime a pinhole is taken out here: by then its session has done so.
const GRACE: Duration = Duration::from_secs(5);

/// What is in an anchor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Content {
    passages: Vec<(Passage, Instant)>,
    cuts: Vec<(Cut, Instant)>,
}

impl Content {
    pub(super) fn passages(&self) -> Vec<Passage> {
        self.passages.iter().map(|(passage, _)| *passage).collect()
    }

    pub(super) fn cuts(&self) -> Vec<Cut> {
        self.cuts.iter().map(|(cut, _)| *cut).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.passages.is_empty() && self.cuts.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        self.passages.iter().map(|(_, until)| *until).chain(self.cuts.iter().map(|(_, until)| *until)).min()
    }
}

/// What changes lead to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The anchors that change: those that lose a pinhole first, because another one may be about to get it.
    pub(super) anchors: Vec<(SessionId, Content)>,
    /// Sessions whose states are to be killed once the anchors are loaded.
    pub(super) kills: Vec<SessionId>,
}

/// The truth.
#[derive(Debug, Default)]
pub(super) struct Book {
    sessions: BTreeMap<SessionId, Content>,
    /// Whose pinhole has a key. Two sessions that want the same entrance for the same host: the later one has it.
    holders: HashMap<Key, SessionId>,
    dialled: Dialled,
}

impl Book {
    /// What is in the anchor of a session now.
    pub(super) fn content(&self, session: SessionId) -> Content {
        self.sessions.get(&session).cloned().unwrap_or_default()
    }

    /// Sessions that have an anchor.
    pub(super) fn sessions(&self) -> Vec<SessionId> {
        self.sessions.keys().copied().collect()
    }

    /// When something is to be taken out next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sessions.values().filter_map(Content::deadline).min()
    }

    /// What these changes lead to.
    pub(super) fn plan(&self, changes: &[Change], now: Instant) -> Result<Plan, Error> {
        let mut draft = Draft { book: self, touched: BTreeMap::new(), kills: Vec::new() };
        for change in changes {
            match change {
                Change::Open(pinhole) => {
                    check(pinhole)?;
                    draft.take_out(pinhole.key());
                    let until = now + pinhole.lifetime + GRACE;
                    let mut passage = Passage::from(*pinhole);
                    passage.from_port_20 &= !self.dialled.contains(pinhole);
                    draft.of(pinhole.session).passages.push((passage, until));
                }
                Change::Close(pinhole) => {
                    let held = &mut draft.of(pinhole.session).passages;
                    // One that was taken over by another session, or for another target, stays.
                    held.retain(|(Passage { pinhole: held, .. }, _)| {
                        (held.key(), held.target, held.source) != (pinhole.key(), pinhole.target, pinhole.source)
                    });
                }
                Change::Reset(reset) => {
                    let until = now + reset.lifetime;
                    let content = draft.of(reset.session);
                    for cut in cuts(reset) {
                        content.cuts.retain(|(other, _)| *other != cut);
                        content.cuts.push((cut, until));
                    }
                    draft.kills.push(reset.session);
                }
                Change::OpenRange(_) => return Err(no_ranges("pf")),
                Change::CloseRange(_) => {}
            }
        }
        Ok(draft.plan())
    }

    /// What has had its time.
    pub(super) fn expire(&self, now: Instant) -> Plan {
        let mut draft = Draft { book: self, touched: BTreeMap::new(), kills: Vec::new() };
        for (session, content) in &self.sessions {
            if content.deadline().is_some_and(|deadline| deadline <= now) {
                let content = draft.of(*session);
                content.passages.retain(|(_, until)| *until > now);
                content.cuts.retain(|(_, until)| *until > now);
            }
        }
        draft.plan()
    }

    /// Takes over what pf has taken.
    pub(super) fn commit(&mut self, plan: Plan) {
        for (session, content) in plan.anchors {
            for (Passage { pinhole, .. }, _) in self.sessions.remove(&session).unwrap_or_default().passages {
                if self.holders.get(&pinhole.key()) == Some(&session) {
                    self.holders.remove(&pinhole.key());
                }
            }
            for (Passage { pinhole, from_port_20 }, _) in &content.passages {
                self.holders.insert(pinhole.key(), session);
                if *from_port_20 {
                    self.dialled.insert(pinhole);
                }
            }
            if !content.is_empty() {
                self.sessions.insert(session, content);
            }
        }
    }

    /// Forgets everything but who was dialled: all anchors are gone, their states may not be.
    pub(super) fn clear(&mut self) {
        *self = Self { dialled: mem::take(&mut self.dialled), ..Self::default() };
    }
}

/// Whom connections from port 20 of which address went to, of late.
///
/// A client may name the port of its last transfer again; some never name another. pf keeps the state of that transfer for a while
/// after its end (`tcp.closed`, 90 s), and a translation that must have port 20 then finds it taken: the server's connection would be
/// dropped, over and over. So the second connection to the same port gets a source port that pf is free to choose.
#[derive(Debug, Default)]
struct Dialled {
    recent: HashSet<(IpAddr, SocketAddr)>,
    before: HashSet<(IpAddr, SocketAddr)>,
}

/// So many are remembered at least, and twice as many at most (half a megabyte). Nothing is forgotten by the clock: when the
/// transfer ends, after which the 90 s begin, is not known here.
const REMEMBERED: usize = 4096;

impl Dialled {
    fn contains(&self, pinhole: &Pinhole) -> bool {
        let way = (pinhole.source, pinhole.target);
        self.recent.contains(&way) || self.before.contains(&way)
    }

    fn insert(&mut self, pinhole: &Pinhole) {
        if self.recent.len() >= REMEMBERED {
            self.before = mem::take(&mut self.recent);
        }
        self.recent.insert((pinhole.source, pinhole.target));
    }
}

/// A plan in the making.
struct Draft<'a> {
    book: &'a Book,
    touched: BTreeMap<SessionId, Content>,
    kills: Vec<SessionId>,
}

impl Draft<'_> {
    fn of(&mut self, session: SessionId) -> &mut Content {
        self.touched.entry(session).or_insert_with(|| self.book.content(session))
    }

    /// Whoever has this pinhole loses it.
    fn take_out(&mut self, key: Key) {
        if let Some(holder) = self.book.holders.get(&key) {
            self.of(*holder);
        }
        for content in self.touched.values_mut() {
            content.passages.retain(|(held, _)| held.pinhole.key() != key);
        }
    }

    fn plan(self) -> Plan {
        let mut anchors: Vec<_> =
            self.touched.into_iter().filter(|(session, content)| *content != self.book.content(*session)).collect();
        let gains = |(session, content): &(SessionId, Content)| {
            content.passages.len() >= self.book.content(*session).passages.len()
        };
        anchors.sort_by_key(gains);
        Plan { anchors, kills: self.kills }
    }
}

/// What the packets of a connection look like that is to end, each way, as they come in.
fn cuts(reset: &Reset) -> [Cut; 2] {
    let (original, reply) = (reset.flow.original, reset.flow.reply);
    // Where the target sends its packets is known only once pf has shown the state on that side.
    let to_port = Some(reply.destination.port()).filter(|port| *port != 0);
    [
        Cut { from: original.source, to: original.destination.ip(), to_port: Some(original.destination.port()) },
        Cut { from: reply.source, to: reply.destination.ip(), to_port },
    ]
}

/// What no session asks for, and the program that changes pf must not do for anybody: it is the last that looks.
fn check(pinhole: &Pinhole) -> Result<(), Error> {
    let Pinhole { initiator, entrance, target, source, .. } = pinhole;
    let hosts = [*initiator, entrance.ip(), target.ip(), *source];
    let problem = if hosts.iter().any(|host| host.is_ipv6() != pinhole.is_ipv6()) {
        "it leads from one address family to the other; give the listener a server of the client's family"
    } else if hosts.iter().any(|host| host.is_unspecified() || host.is_multicast()) {
        "one of its addresses is of no host"
    } else if target.port() < 1024 || entrance.port() < 1024 {
        "it leads to a port below 1024"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Other, format!("this pinhole is never opened ({pinhole}): {problem}")))
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
