//! Drives a session with the lines of a transcript, and compares what it does with what the transcript says.
//!
//! Lives here: [`Player`], which obeys the one rule for driving a session, and [`play`]. Not here: reading the files
//! (`transcript`).

use ftpgate::pinhole::DataEvent;
use ftpgate::session::Session;
use ftpgate::session::effect::{Effect, Effects, EndReason, Event, Millis, PinholeId, Side};
use ftpgate::session::lobby::Lobby;

use super::notation;
use super::transcript::{Input, Transcript, What};

/// A session, its clock and its outbox.
pub struct Player {
    /// The session.
    pub session: Session,
    /// Whether the session is written out and read back before each event, and goes on as the copy.
    pub restores: bool,
    /// Whether records of transfers are listed: most transcripts are about other things.
    lists_transfers: bool,
    now: Millis,
    effects: Effects,
}

impl Player {
    /// A session at its start, or after the login if the transcript says so.
    pub fn new(transcript: &Transcript) -> Self {
        let now = Millis(1_000_000);
        let mut session =
            Session::new(transcript.settings, transcript.ends.clone(), now).with_security(transcript.security);
        if let Some(said) = &transcript.lobby {
            let mut lobby = Lobby::new(transcript.settings.line_length);
            lobby.bytes(said);
            session = session.named(lobby.leave().unwrap());
        }
        let mut player = Self {
            session,
            restores: true,
            lists_transfers: transcript.settings.tracked,
            now,
            effects: Effects::new(),
        };
        if transcript.logged_in {
            for (side, line) in [
                (Side::Server, "220 ready"),
                (Side::Client, "USER joe"),
                (Side::Server, "331 password"),
                (Side::Client, "PASS secret"),
                (Side::Server, "230 welcome"),
            ] {
                let input = Input::Bytes(side, format!("{line}\r\n").into_bytes());
                let done = player.give(&input, &mut |_| {});
                let arrow = if side == Side::Server { "<" } else { ">>" };
                assert_eq!(done, [format!("{arrow} {line}")], "the login is not what it used to be");
            }
        }
        player
    }

    /// One event, and what the session does then, in the transcript's notation. `see` sees every effect, also those that the
    /// notation leaves out.
    pub fn give(&mut self, input: &Input, see: &mut dyn FnMut(&Effect<'_>)) -> Vec<String> {
        match input {
            Input::Bytes(side, bytes) => self.event(Event::Bytes(*side, bytes), see),
            Input::Urgent => self.event(Event::Urgent, see),
            Input::Eof(side) => self.event(Event::Eof(*side), see),
            Input::Granted(id, port) => self.event(Event::Granted(PinholeId(*id), *port), see),
            Input::Joined(id, client, server) => self.event(Event::Joined(PinholeId(*id), *client, *server), see),
            Input::Secured(side) => self.event(Event::Secured(*side), see),
            Input::HandshakeFails => self.event(Event::Lost(EndReason::Tls), see),
            Input::Refused(id) => self.event(Event::Refused(PinholeId(*id)), see),
            Input::Used(id, dialler) => {
                self.event(Event::Data(PinholeId(*id), DataEvent::Used { dialler: *dialler }), see)
            }
            Input::Over(id, traffic) => self.event(Event::Data(PinholeId(*id), DataEvent::Over(*traffic)), see),
            Input::Measured(id, total) => self.event(Event::Measured(PinholeId(*id), *total), see),
            Input::Drain => self.event(Event::Drain, see),
            Input::Wait(span) => self.wait(*span, see),
        }
    }

    /// A Tick comes when the deadline is reached, and not before.
    fn wait(&mut self, span: u64, see: &mut dyn FnMut(&Effect<'_>)) -> Vec<String> {
        let until = Millis(self.now.0 + span);
        let mut done = Vec::new();
        for _ in 0..100 {
            match self.session.deadline() {
                Some(at) if at <= until => {
                    self.now = self.now.max(at);
                    done.extend(self.event(Event::Tick, see));
                }
                _ => {
                    self.now = until;
                    return done;
                }
            }
        }
        panic!("the deadline does not move: {:?} at {:?}", self.session.deadline(), self.now);
    }

    fn event(&mut self, event: Event<'_>, see: &mut dyn FnMut(&Effect<'_>)) -> Vec<String> {
        if self.restores {
            let written = serde_json::to_string(&self.session).unwrap();
            let restored: Session = serde_json::from_str(&written).unwrap();
            assert_eq!(restored, self.session, "the session is another one after it was written out and read back");
            self.session = restored;
        }
        self.session.handle(event, self.now, &mut self.effects);
        let mut done = Vec::new();
        while let Some(effect) = self.effects.poll() {
            see(&effect);
            if self.lists_transfers || !matches!(effect, Effect::Transferred(_)) {
                done.extend(notation::lines(&effect));
            }
        }
        done
    }
}

/// Runs a transcript. The error says which line is not so, and what the session did instead.
pub fn play(transcript: &Transcript) -> Result<(), String> {
    let mut player = Player::new(transcript);
    // What the session did and no line has named yet.
    let mut open: Vec<String> = Vec::new();
    for step in &transcript.steps {
        let at = format!("{}:{}", transcript.name, step.line);
        match &step.what {
            What::Expect(expected) => {
                if open.is_empty() {
                    return Err(format!("{at}: expected\n    {expected}\n  but the session did nothing more"));
                }
                let got = open.remove(0);
                if got != *expected {
                    let rest = list(&open);
                    return Err(format!("{at}: expected\n    {expected}\n  got\n    {got}\n  and then{rest}"));
                }
            }
            What::Input(_) | What::Wants(..) if !open.is_empty() => {
                return Err(format!("{at}: before this line the session also did{}", list(&open)));
            }
            What::Wants(side, expected) => {
                if player.session.wants(*side) != *expected {
                    return Err(format!("{at}: the session wants the {}: {}", notation::side_word(*side), !expected));
                }
            }
            What::Input(Input::Bytes(side, _)) if !player.session.wants(*side) => {
                let side = notation::side_word(*side);
                return Err(format!(
                    "{at}: the session does not read the {side} now; these bytes would wait in the socket"
                ));
            }
            What::Input(input) => open = player.give(input, &mut |_| {}),
        }
    }
    if open.is_empty() {
        return Ok(());
    }
    Err(format!("{}: after the last line the session also did{}", transcript.name, list(&open)))
}

fn list(lines: &[String]) -> String {
    if lines.is_empty() {
        return " nothing".to_owned();
    }
    lines.iter().map(|line| format!("\n    {line}")).collect()
}
