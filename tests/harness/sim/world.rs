//! One run: sockets, clock and the order in which things happen, all from the seed.
//!
//! Lives here: [`run`], the driver that obeys the session's one rule, and the checks that need the whole picture. Before each
//! event the session is written out, read back, and goes on as the copy. Not here: the models.

use std::collections::VecDeque;

use ftpgate::session::data::Transfer;
use ftpgate::session::effect::{Effect, Effects, EndReason, Event, Millis, Note, PinholeId, Refusal, Side};
use ftpgate::session::{Ends, ServerMode, Session, Settings};

use super::client::Client;
use super::data::{Flows, Happening};
use super::firewall::{Answer, Firewall};
use super::random::Random;
use super::server::Server;
use super::state::State;
use super::watch::Watch;
use super::{Profile, Summary, topologies};

/// The most that is read at once.
const READ: usize = 300;

/// One side's wire towards the session.
#[derive(Default)]
struct Wire {
    bytes: VecDeque<u8>,
    /// Urgent data begins behind this many bytes.
    urgent_behind: Option<usize>,
    closed: bool,
    close_was_read: bool,
}

/// An effect with its own bytes.
enum Did {
    Send(Side, Vec<u8>),
    Shutdown(Side),
    Open(PinholeId, ftpgate::pinhole::Request),
    Join(PinholeId, Box<ftpgate::pinhole::Joint>),
    Close(PinholeId),
    Measure(PinholeId),
    Unwatch(PinholeId),
    Reset(PinholeId),
    Transferred(Box<Transfer>),
    Note(Note),
    End(EndReason),
}

struct World {
    random: Random,
    profile: Profile,
    trace: bool,
    ends: Ends,
    settings: Settings,
    now: u64,
    session: Session,
    effects: Effects,
    state: State,
    client: Client,
    server: Server,
    firewall: Firewall,
    flows: Flows,
    /// A data connection lived before this event.
    was_live: bool,
    watch: Watch,
    wires: [Wire; 2],
    shut: [bool; 2],
    drained: bool,
    last_activity: u64,
    /// Somebody left without a word: not every command will be answered.
    abrupt: bool,
    summary: Summary,
}

/// Runs one seed to its end.
pub fn run(seed: u64, profile: Profile, trace: bool) -> Summary {
    let mut random = Random::new(seed);
    let ends = random.pick(&topologies()).clone();
    let settings = Settings {
        line_length: if profile.is_strict() { *random.pick(&[128, 512, 4096]) } else { *random.pick(&[40, 100, 512]) },
        pipeline: *random.pick(&[1, 2, 3, 8, 32]),
        pinhole_timeout: 60_000,
        login_timeout: 120_000,
        idle_timeout: 900_000,
        data_idle_timeout: 300_000,
        tracked: !random.once_in(4),
        reset_on_close: !random.once_in(3),
        server_mode: *random.pick(&[
            ServerMode::AsClient,
            ServerMode::AsClient,
            ServerMode::Passive,
            ServerMode::Active,
        ]),
    };
    let now = 1_000;
    let session = Session::new(settings, ends.clone(), Millis(now));
    let state = serde_json::from_str(&serde_json::to_string(&session).unwrap()).unwrap();
    let client = Client::new(&ends, settings.server_mode, profile.nasty_client, &mut random);
    let server = Server::new(&ends, profile.hostile_server);
    let mut world = World {
        random,
        profile,
        trace,
        ends: ends.clone(),
        settings,
        now,
        session,
        effects: Effects::new(),
        state,
        client,
        server,
        firewall: Firewall::default(),
        flows: Flows::default(),
        was_live: false,
        watch: Watch::new(ends, settings.server_mode, profile.is_strict()),
        wires: Default::default(),
        shut: [false; 2],
        drained: false,
        last_activity: now,
        abrupt: false,
        summary: Summary::default(),
    };
    world.live();
    world.wind_up();
    world.flows.check_end();
    let started = world.client.preliminary;
    assert!(
        !profile.is_strict() || world.flows.records <= started,
        "more records than transfers that began: {started}"
    );
    (world.summary.records, world.summary.resets) = (world.flows.records, world.flows.resets);
    world.summary
}

fn index(side: Side) -> usize {
    usize::from(side == Side::Server)
}

impl World {
    /// Things happen in any order.
    fn live(&mut self) {
        let steps = 50 + self.random.below(700);
        let drain_at = self.random.once_in(12).then(|| self.random.below(steps));
        let leave_at = self.random.once_in(8).then(|| self.random.below(steps));
        for step in 0..steps {
            if drain_at == Some(step) {
                self.drained = true;
                self.event(Event::Drain);
            }
            if leave_at == Some(step) {
                self.abrupt = true;
                let side = *self.random.pick(&[Side::Client, Side::Server]);
                self.close(side);
            }
            if self.session.has_ended() {
                return;
            }
            match self.random.below(14) {
                0..=2 => drop(self.read(Side::Client)),
                3..=5 => drop(self.read(Side::Server)),
                6..=7 => drop(self.client_acts(false)),
                8..=9 => drop(self.server_acts()),
                10 => drop(self.firewall_answers()),
                11..=12 => drop(self.data_acts(false)),
                _ => {
                    let span = match self.random.below(150) {
                        0 => self.random.below(1_000_000),
                        1..=3 => 61_000,
                        _ => self.random.below(200),
                    };
                    self.pass(u64::try_from(span).unwrap());
                }
            }
        }
    }

    /// Everybody comes to an end, and so must the session.
    fn wind_up(&mut self) {
        for turn in 0..3_000 {
            if self.session.has_ended() {
                return;
            }
            if turn == 1_000 && !self.profile.is_strict() {
                self.server.hangs = true;
            }
            let moved = [
                self.read(Side::Client),
                self.read(Side::Server),
                self.firewall_answers(),
                self.client_acts(true),
                self.server_acts(),
                self.data_acts(true),
            ];
            if moved.contains(&true) || self.session.has_ended() || !(self.server.is_idle() || self.wires[1].closed) {
                continue;
            }
            self.check_rest();
            if !self.wires[0].closed {
                self.close(Side::Client);
            } else if let Some(Millis(at)) = self.session.deadline() {
                self.pass(at.saturating_sub(self.now));
            } else {
                panic!("the session has no deadline: {:?}", self.state);
            }
        }
        panic!("the session does not end: {:?}", self.state);
    }

    /// Nothing moves: if all went well, then everything was answered, and the session knows.
    fn check_rest(&self) {
        let opaque = self.session.is_opaque();
        if self.profile.is_strict() && !self.abrupt && !opaque && self.server.is_idle() && !self.wires[0].closed {
            assert!(self.client.is_content(), "the client still awaits {}", self.client.awaits());
            assert!(self.state.is_settled(), "the session still awaits {}", self.state.slots());
        }
    }

    fn close(&mut self, side: Side) {
        self.wires[index(side)].closed = true;
    }

    /// Some bytes of a side, or its end.
    fn read(&mut self, side: Side) -> bool {
        if !self.session.wants(side) {
            if side == Side::Client {
                self.summary.held_back += 1;
            }
            return false;
        }
        let wire = &mut self.wires[index(side)];
        if wire.bytes.is_empty() {
            if wire.closed && !wire.close_was_read {
                wire.close_was_read = true;
                self.last_activity = self.now;
                self.event(Event::Eof(side));
                return true;
            }
            return false;
        }
        if wire.urgent_behind == Some(0) {
            wire.urgent_behind = None;
            self.event(Event::Urgent);
            return true;
        }
        let most = wire.urgent_behind.unwrap_or(wire.bytes.len()).min(READ).min(wire.bytes.len());
        let most = if self.random.once_in(3) { most.min(4) } else { most };
        let size = 1 + self.random.below(most);
        let wire = &mut self.wires[index(side)];
        let bytes: Vec<u8> = wire.bytes.drain(..size).collect();
        wire.urgent_behind = wire.urgent_behind.map(|behind| behind - size);
        self.last_activity = self.now;
        self.event(Event::Bytes(side, &bytes));
        true
    }

    fn client_acts(&mut self, last: bool) -> bool {
        if self.wires[0].closed {
            return false;
        }
        if self.shut[0] {
            self.close(Side::Client);
            return true;
        }
        let Some(speech) = self.client.act(last, &mut self.random) else { return false };
        let wire = &mut self.wires[0];
        if speech.urgent && wire.urgent_behind.is_none() {
            wire.urgent_behind = Some(wire.bytes.len());
        }
        wire.bytes.extend(speech.bytes);
        true
    }

    fn server_acts(&mut self) -> bool {
        if self.wires[1].closed {
            return false;
        }
        if self.server.done || (self.shut[1] && self.server.is_idle()) {
            self.close(Side::Server);
            return true;
        }
        let Some(bytes) = self.server.act(&mut self.random) else { return false };
        self.watch.server_says(&bytes);
        self.wires[1].bytes.extend(bytes);
        true
    }

    fn firewall_answers(&mut self) -> bool {
        match self.firewall.answer(&mut self.random) {
            Some(Answer::Granted(id, port)) => {
                self.flows.granted(id);
                self.event(Event::Granted(id, port));
            }
            Some(Answer::Joined(id, client, server)) => {
                self.flows.granted(id);
                self.event(Event::Joined(id, client, server));
            }
            Some(Answer::Refused(id)) => self.event(Event::Refused(id)),
            None => return false,
        }
        true
    }

    fn data_acts(&mut self, last: bool) -> bool {
        if !self.settings.tracked {
            return false;
        }
        match self.flows.act(self.ends.client, last, &mut self.random) {
            Some(Happening::Data(id, event)) => {
                self.last_activity = self.now;
                self.event(Event::Data(id, event));
            }
            Some(Happening::Measured(id, total)) => self.event(Event::Measured(id, total)),
            None => return false,
        }
        true
    }

    /// Time passes, and each deadline on the way is kept.
    fn pass(&mut self, span: u64) {
        let until = self.now + span;
        for _ in 0..200 {
            match self.session.deadline() {
                Some(Millis(at)) if at <= until => {
                    self.now = self.now.max(at);
                    self.event(Event::Tick);
                    assert!(self.session.deadline() != Some(Millis(at)), "the deadline passed and nothing came of it");
                }
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the deadline does not move");
    }

    fn event(&mut self, event: Event<'_>) {
        if self.session.has_ended() {
            return;
        }
        if self.trace {
            println!("{:>9} {event:?}", self.now);
        }
        self.was_live = self.flows.is_live();
        let was_opaque = self.session.is_opaque();
        self.summary.events += 1;
        self.session.handle(event, Millis(self.now), &mut self.effects);
        let done = self.collect();
        if let Event::Bytes(side, bytes) = event
            && was_opaque
            && !self.session.has_ended()
        {
            let sent: Vec<u8> = done
                .iter()
                .filter_map(|did| match did {
                    Did::Send(to, bytes) if *to == side.other() => Some(bytes.clone()),
                    _ => None,
                })
                .flatten()
                .collect();
            assert_eq!(sent, bytes, "opaque bytes are passed on as they are");
        }
        for did in done {
            self.carry_out(did);
        }
        self.restore();
        if !self.session.has_ended() {
            self.state.check(&self.session, &self.settings, &self.firewall, READ);
        }
    }

    fn collect(&mut self) -> Vec<Did> {
        let mut done = Vec::new();
        while let Some(effect) = self.effects.poll() {
            if self.trace {
                println!("              {effect:?}");
            }
            assert!(!matches!(done.last(), Some(Did::End(_))), "something follows the end: {effect:?}");
            done.push(match effect {
                Effect::Send { side, bytes, .. } => {
                    assert!(!bytes.is_empty(), "an empty send");
                    Did::Send(side, bytes.to_vec())
                }
                Effect::Shutdown(side) => Did::Shutdown(side),
                Effect::Open(id, request) => Did::Open(id, request),
                Effect::Join(id, joint) => Did::Join(id, joint),
                Effect::Close(id) => Did::Close(id),
                Effect::Measure(id) => Did::Measure(id),
                Effect::Unwatch(id) => Did::Unwatch(id),
                Effect::Reset(id, _) => Did::Reset(id),
                Effect::Transferred(transfer) => Did::Transferred(transfer),
                Effect::Secure(_) | Effect::Unsecure(_) | Effect::OpenRange(_) | Effect::CloseRange => {
                    panic!("nobody asked for {effect:?}")
                }
                Effect::Note(note) => Did::Note(note),
                Effect::End(reason) => Did::End(reason),
            });
        }
        done
    }

    fn carry_out(&mut self, did: Did) {
        match did {
            Did::Send(side, bytes) => {
                assert!(
                    !self.shut[index(side)],
                    "sent to the {side:?} after its end: {}",
                    String::from_utf8_lossy(&bytes)
                );
                self.deliver(side, &bytes);
            }
            Did::Shutdown(side) => {
                assert!(!std::mem::replace(&mut self.shut[index(side)], true), "{side:?} shut twice");
            }
            Did::Open(id, request) => {
                self.summary.opened += 1;
                self.firewall.ask(id, request, &self.ends, &self.settings);
            }
            Did::Join(id, joint) => {
                self.summary.joined += 1;
                self.firewall.ask_joint(id, *joint, &self.ends, &self.settings);
            }
            Did::Close(id) => {
                self.firewall.close(id);
                self.flows.closed(id);
            }
            Did::Measure(id) => self.flows.measure(id),
            Did::Unwatch(id) => self.flows.unwatch(id),
            Did::Reset(id) => self.flows.reset(id),
            Did::Transferred(transfer) => self.flows.transferred(&transfer),
            Did::Note(note) => self.note(note),
            Did::End(reason) => self.end(reason),
        }
    }

    fn deliver(&mut self, side: Side, bytes: &[u8]) {
        match side {
            Side::Client => {
                if !self.summary.opaque {
                    self.watch.sent_to_client(bytes, &self.firewall);
                }
                self.client.hear(bytes, self.profile.is_strict());
            }
            Side::Server => {
                if !self.summary.opaque {
                    self.watch.sent_to_server(bytes, &mut self.client.said, &self.firewall);
                }
                self.server.hear(bytes);
            }
        }
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Opaque => self.summary.opaque = true,
            Note::Rewritten(_) => self.summary.rewritten += 1,
            Note::PinholeExpired(_) => self.summary.expired += 1,
            Note::Refused(why, _) => {
                self.summary.refused += 1;
                let nobodys_fault = !matches!(
                    why,
                    Refusal::UnsolicitedPassive
                        | Refusal::UnsolicitedReply
                        | Refusal::ServerProtocol
                        | Refusal::ServerNoop
                        | Refusal::StartTlsInjection
                );
                assert!(nobodys_fault || !self.profile.is_strict(), "{why:?}, and both peers behave");
            }
            Note::Readable => self.summary.opaque = false,
            Note::Command(_) | Note::LoggedIn | Note::NoEpsv | Note::PinholeUsed(..) => {}
        }
    }

    /// It ends for a reason that is there.
    fn end(&mut self, reason: EndReason) {
        self.summary.end = Some(reason);
        self.firewall.drop_all();
        let closed = [self.wires[0].close_was_read, self.wires[1].close_was_read];
        let right = match reason {
            EndReason::ClientClosed | EndReason::ServerClosed => closed == [true; 2],
            EndReason::HalfClosed => closed.contains(&true),
            EndReason::Drained => self.drained && self.firewall.is_quiet(),
            EndReason::IdleTimeout => self.now >= self.last_activity + self.settings.idle_timeout && !self.was_live,
            EndReason::LoginTimeout => self.now >= 1_000 + self.settings.login_timeout,
            EndReason::Tls => false,
            EndReason::Hostile => !self.profile.is_strict(),
        };
        assert!(right, "the session ended for {reason:?}");
    }

    /// Hands the session over, as from one process to another.
    fn restore(&mut self) {
        let written = serde_json::to_string(&self.session).unwrap();
        let restored: Session = serde_json::from_str(&written).unwrap();
        assert_eq!(restored, self.session, "the session is another one after it was written out and read back");
        self.session = restored;
        self.state = serde_json::from_str(&written).unwrap();
        self.flows.started(self.state.started());
    }
}
