//! Ports: which port an entrance gets.
//!
//! Lives here: [`Ports`], the allocator for entrances whose port is the gateway's to choose. Not here: opening anything
//! (`worker`), the clock, the source of randomness: both come in as values.
//!
//! A port is taken per pair of initiator and entrance address, because that is what a packet filter matches on: two clients
//! may well dial the same port. It is random, so that nobody can lie in wait where the next transfer will be (RFC 2577 §8),
//! and rests after use, so that a straggler of the last connection does not meet the next one.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::pinhole::Key;

/// Random tries before looking at the ports one by one. With half of the range taken, one call in 4 billion needs more.
const TRIES: u32 = 32;

/// Initiator and entrance address.
type Pair = (IpAddr, IpAddr);

/// Gives out ports and remembers which are in force or cooling down. Its memory is in proportion to those.
#[derive(Debug)]
pub struct Ports {
    range: RangeInclusive<u16>,
    cooldown: Duration,
    random: Random,
    pairs: HashMap<Pair, Row>,
    /// Whose port was released when, oldest first: what to look through for ports that are cool.
    releases: VecDeque<(Instant, Pair)>,
}

/// The ports of one pair.
#[derive(Debug, Default)]
struct Row {
    states: HashMap<u16, State>,
    /// In order of release. Stale where the port was claimed since: only [`State::Cooling`] with the same time counts.
    releases: VecDeque<(Instant, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    InForce,
    /// Since then.
    Cooling(Instant),
}

impl Ports {
    /// `range` is `data.ports`. A port rests for `cooldown` before the same pair gets it again. `seed` must be secret and new
    /// in every process: who knows it knows all ports to come.
    pub fn new(range: RangeInclusive<u16>, cooldown: Duration, seed: u64) -> Self {
        let random = Random { seed, counter: 0 };
        Self { range, cooldown, random, pairs: HashMap::new(), releases: VecDeque::new() }
    }

    /// A random port that `initiator` may dial at `entrance` and that is neither in force nor cooling down; if there is none,
    /// the one that has cooled down longest. `None` only when every port of the range is in force. `now` must not run
    /// backwards from call to call.
    pub fn take(&mut self, initiator: IpAddr, entrance: IpAddr, now: Instant) -> Option<u16> {
        self.purge(now);
        let row = self.pairs.entry((initiator, entrance)).or_default();
        let port = if row.states.len() < self.range.len() {
            row.free_port(&self.range, &mut self.random)
        } else {
            row.coolest_port()
        };
        match port {
            Some(port) => drop(row.states.insert(port, State::InForce)),
            None if row.states.is_empty() => drop(self.pairs.remove(&(initiator, entrance))),
            None => {}
        }
        port
    }

    /// Takes a port that somebody else chose, so that no random one collides with it. Taking it twice is fine.
    pub fn claim(&mut self, key: Key) {
        // Outside the range nothing can collide.
        if self.range.contains(&key.entrance.port()) {
            self.pairs.entry(pair(key)).or_default().states.insert(key.entrance.port(), State::InForce);
        }
    }

    /// Gives a port back, however it was taken. Giving back what is not in force is fine.
    pub fn release(&mut self, key: Key, now: Instant) {
        self.purge(now);
        let (pair, port) = (pair(key), key.entrance.port());
        if let Some(row) = self.pairs.get_mut(&pair)
            && let Some(state @ State::InForce) = row.states.get_mut(&port)
        {
            *state = State::Cooling(now);
            row.releases.push_back((now, port));
            self.releases.push_back((now, pair));
        }
    }

    /// Forgets what has cooled down. Each release is looked at once, so this costs nothing on average.
    fn purge(&mut self, now: Instant) {
        let cooldown = self.cooldown;
        let is_cool = |released: Instant| now.saturating_duration_since(released) >= cooldown;
        while let Some(&(released, pair)) = self.releases.front()
            && is_cool(released)
        {
            self.releases.pop_front();
            let Some(row) = self.pairs.get_mut(&pair) else { continue };
            while let Some(&(released, port)) = row.releases.front()
                && is_cool(released)
            {
                row.releases.pop_front();
                if row.states.get(&port) == Some(&State::Cooling(released)) {
                    row.states.remove(&port);
                }
            }
            if row.states.is_empty() {
                self.pairs.remove(&pair);
            }
        }
    }
}

impl Row {
    /// A random one of the ports that have no state; there is one.
    fn free_port(&self, range: &RangeInclusive<u16>, random: &mut Random) -> Option<u16> {
        let is_free = |port: &u16| !self.states.contains_key(port);
        if let Some(port) = (0..TRIES).map(|_| random.port(range)).find(is_free) {
            return Some(port);
        }
        // Nearly all are taken. Passes by no more ports than have a state.
        let start = random.port(range);
        (start..=*range.end()).chain(*range.start()..start).find(is_free)
    }

    /// The port that was released before all others that are cooling down; none if none is.
    fn coolest_port(&mut self) -> Option<u16> {
        while let Some((released, port)) = self.releases.pop_front() {
            if self.states.get(&port) == Some(&State::Cooling(released)) {
                return Some(port);
            }
        }
        None
    }
}

fn pair(key: Key) -> Pair {
    (key.initiator, key.entrance.ip())
}

/// Numbers that nobody who sees some of them can continue: the standard library's keyed hash of a counter, with the secret
/// on both sides of it. (A generator such as xorshift gives its state away with a few outputs.)
#[derive(Debug)]
struct Random {
    seed: u64,
    counter: u64,
}

impl Random {
    /// A port of a range that is not empty, each as likely as the others.
    fn port(&mut self, range: &RangeInclusive<u16>) -> u16 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        hasher.write_u64(self.counter);
        hasher.write_u64(self.seed);
        self.counter = self.counter.wrapping_add(1);
        // The upper half of a product with the size is a number below the size.
        let offset = (u128::from(hasher.finish()) * range.len() as u128) >> 64;
        range.start().saturating_add(u16::try_from(offset).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
