//! pf: pinholes as rules in anchors of FreeBSD's and OpenBSD's packet filter.
//!
//! Lives here: [`Pf`], the backend: it verifies that pf.conf looks into our anchors, carries out changes, sweeps what the dead
//! left. Below it: `rules` (from pinholes to pf's own language) and `book` (what is in which anchor), both pure; `names`;
//! `pfctl` (the only file that does I/O) and `explain`; `states` and `tracker` (what becomes of data connections). Not here: who
//! may ask (`daemon/keeper`).
//!
//! A session has an anchor of its own, but only while it has a pinhole: anchors are evaluated one after the other for every packet
//! that has no state, and a kernel has room for 512 of them unless pf.conf says more.

mod book;
mod explain;
mod names;
mod pfctl;
pub mod rules;
mod states;
pub mod tracker;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use self::book::{Book, Content, Plan};
use self::names::Names;
use self::pfctl::Pfctl;
use self::rules::{Dialect, Options, Passage};
use self::states::{Connection, connections, parse};
use self::tracker::{Interest, Seen};
use super::{Backend, Change, Error, ErrorKind, Habits};
use crate::pinhole::{Announcement, Pinhole, SessionId};

/// The session whose anchor is loaded for trial. Real ones count from 1.
const REHEARSAL: SessionId = 0;

/// `(max 1)` keeps a second connection out while the first has a state, and no longer. Each session's anchor is a run of pfctl of its own,
/// and one that fails would have the others undone.
pub const HABITS: Habits = Habits { one_shot: false, largest_batch: 1, direct: false, listens: false, ranges: false };

/// What the backend goes by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `firewall.pf.dialect`.
    pub dialect: Dialect,
    /// `firewall.pf.anchor`.
    pub anchor: String,
    /// The other keys of `firewall.pf` that end up in rules.
    pub options: Options,
    /// `firewall.pf.pfctl`: an absolute path.
    pub pfctl: PathBuf,
}

/// The backend.
#[derive(Debug)]
pub struct Pf {
    settings: Settings,
    names: Names,
    pfctl: Pfctl,
    book: Book,
}

impl Pf {
    /// A backend whose anchors are named after the process with this id.
    pub fn new(settings: Settings, pid: u32) -> Self {
        let names = Names::new(&settings.anchor, pid);
        let pfctl = Pfctl::new(&settings.pfctl);
        Self { settings, names, pfctl, book: Book::default() }
    }

    /// Whether pinholes could be opened. Leaves everything as it is.
    ///
    /// # Errors
    /// Says in one sentence what is missing and how to fix it.
    pub fn rehearse(&self) -> Result<(), Error> {
        if !self.pfctl.show("info")?.lines().any(|line| line.starts_with("Status: Enabled")) {
            let text =
                "pf is not enabled; `pfctl -e`, and pf_enable=YES in rc.conf (FreeBSD) or `rcctl enable pf` (OpenBSD)";
            return Err(Error::new(ErrorKind::Missing, text));
        }
        let filters = self.pfctl.show("rules")?;
        self.looks_into("anchor", &filters)?;
        if self.settings.dialect == Dialect::FreeBsd {
            let translations = self.pfctl.show("nat")?;
            self.looks_into("nat-anchor", &translations)?;
            self.looks_into("rdr-anchor", &translations)?;
        }
        let anchor = self.names.of(REHEARSAL);
        self.load(&anchor, &[trial(false).into(), trial(true).into()], &[])?;
        self.load(&anchor, &[], &[])
    }

    /// What is not needed, but wanted: a sentence each.
    pub fn advice(&self) -> Vec<String> {
        let Ok(limits) = self.pfctl.show("memory") else { return Vec::new() };
        // anchors       hard limit      512
        let limit = limits
            .lines()
            .find(|line| line.starts_with("anchors"))
            .and_then(|line| line.split_whitespace().last().and_then(|number| number.parse::<u64>().ok()));
        match limit {
            Some(limit) if limit <= 512 => vec![format!(
                "pf has room for {limit} anchors, and each session that waits for its data connection needs one: write \
                 `set limit anchors 20000` at the top of pf.conf"
            )],
            _ => Vec::new(),
        }
    }

    /// The main ruleset must evaluate our anchors: `anchor "ftpgate/*"`, on FreeBSD also `nat-anchor` and `rdr-anchor`.
    fn looks_into(&self, keyword: &str, listing: &str) -> Result<(), Error> {
        let parent = self.names.parent();
        let wanted = format!("{keyword} \"{parent}/*\"");
        if listing.lines().any(|line| line.trim_start().starts_with(&wanted)) {
            return Ok(());
        }
        let text = format!(
            "the loaded pf.conf has no line `{wanted}`, so pf would not look at pinholes; add it (`ftpgate rules` shows where) \
             and load it with `pfctl -f /etc/pf.conf`"
        );
        Err(Error::new(ErrorKind::Missing, text))
    }

    /// Removes anchors of processes that are no more, and of one that had our id before us.
    fn sweep(&self) -> Result<(), Error> {
        for line in self.pfctl.anchors(self.names.parent())? {
            let Some(owner) = self.names.owner(&line) else { continue };
            if self.names.is_own(&owner) || is_dead(owner.pid) {
                tracing::info!(anchor = owner.anchor, "removing an anchor that a dead process left");
                self.pfctl.load(&owner.anchor, "")?;
            }
        }
        Ok(())
    }

    fn load(&self, anchor: &str, passages: &[Passage], cuts: &[rules::Cut]) -> Result<(), Error> {
        // The label is the anchor's name.
        let text = rules::anchor(self.settings.dialect, &self.settings.options, anchor, passages, cuts);
        self.pfctl.load(anchor, &text)
    }

    fn load_content(&self, session: SessionId, content: &Content) -> Result<(), Error> {
        self.load(&self.names.of(session), &content.passages(), &content.cuts())
    }

    /// Makes a plan true, or leaves things as they were.
    fn carry_out(&mut self, plan: Plan) -> Result<(), Error> {
        for (at, (session, content)) in plan.anchors.iter().enumerate() {
            let Err(error) = self.load_content(*session, content) else { continue };
            for (session, _) in plan.anchors.iter().take(at) {
                if let Err(error) = self.load_content(*session, &self.book.content(*session)) {
                    tracing::error!(session, "cannot put back what was in the anchor: {error}");
                }
            }
            return Err(error);
        }
        let kills = plan.kills.clone();
        self.book.commit(plan);
        kills.into_iter().try_for_each(|session| self.kill(session))
    }

    /// Kills the states of a session: with its rules gone they would go on.
    fn kill(&self, session: SessionId) -> Result<(), Error> {
        if self.settings.options.tag.is_none() {
            return self.pfctl.kill_label(&self.names.of(session));
        }
        // With a tag the states are of the administrator's rules, and their labels not ours: only the addresses tell.
        let content = self.book.content(session);
        let is_cut = |from: SocketAddr, to: SocketAddr| {
            let cuts = content.cuts();
            cuts.iter().any(|cut| (cut.from, cut.to, cut.to_port) == (from, to.ip(), Some(to.port())))
        };
        for Connection { snapshot, outbound, .. } in connections(&parse(&self.pfctl.states()?)) {
            if is_cut(snapshot.flow.original.source, snapshot.flow.original.destination) {
                [Some(snapshot.flow.id), outbound]
                    .into_iter()
                    .flatten()
                    .try_for_each(|id| self.pfctl.kill_state(id))?;
            }
        }
        Ok(())
    }

    /// When [`Pf::tick`] has something to do, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.book.deadline()
    }

    /// Takes out what has had its time. What cannot be taken out is tried again a second later.
    pub fn tick(&mut self, now: Instant) {
        let plan = self.book.expire(now);
        if let Err(error) = self.carry_out(plan) {
            tracing::error!("cannot remove rules that have had their time: {error}");
            std::thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Looks at pf's states. Needs nothing of the backend, so that neither waits for the other.
#[derive(Debug)]
pub struct Lookout {
    pfctl: Pfctl,
}

impl Lookout {
    /// One that asks the same pfctl.
    pub fn new(settings: &Settings) -> Self {
        Self { pfctl: Pfctl::new(&settings.pfctl) }
    }

    /// What pf knows of these connections.
    ///
    /// # Errors
    /// pfctl failed.
    pub fn look(&self, interest: &Interest) -> Result<Vec<Seen>, Error> {
        let seen = connections(&parse(&self.pfctl.states()?));
        Ok(interest.of(seen.iter().map(|connection| (connection.snapshot, connection.age))))
    }
}

impl Backend for Pf {
    fn name(&self) -> &'static str {
        "pf"
    }

    fn habits(&self) -> Habits {
        HABITS
    }

    fn verify(&mut self) -> Result<(), Error> {
        self.rehearse()?;
        self.sweep()
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        let plan = self.book.plan(changes, Instant::now())?;
        self.carry_out(plan)
    }

    fn clear(&mut self) -> Result<(), Error> {
        let mut first = Ok(());
        for session in self.book.sessions() {
            let cleared = self.pfctl.load(&self.names.of(session), "");
            first = first.and(cleared);
        }
        self.book.clear();
        first.and(self.sweep())
    }
}

/// Whether there is no such process (kill(2) with signal 0).
fn is_dead(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH))
}

/// A pinhole with all that rules can say, between addresses for documentation (RFC 5737, RFC 3849): pf takes it, and nobody
/// will ever use it.
fn trial(ipv6: bool) -> Pinhole {
    let host = |number: u8| -> std::net::IpAddr {
        if ipv6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into() } else { [192, 0, 2, number].into() }
    };
    Pinhole {
        session: REHEARSAL,
        announcement: Announcement::Eprt,
        initiator: host(1),
        on_behalf_of: None,
        entrance: SocketAddr::new(host(2), 50000),
        target: SocketAddr::new(host(3), 50001),
        source: host(4),
        lifetime: Duration::ZERO,
        protection: crate::pinhole::Protection::default(),
    }
}
