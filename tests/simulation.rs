//! Thousands of random sessions with a virtual clock: two peers, a firewall and time, and what must be true after every step.
//!
//! Each test runs a profile of peers over many seeds. A failure names its seed; `FTPGATE_SIMULATION=SEED cargo test --test
//! simulation -- --nocapture` runs that one alone in every profile and prints what happens; `FTPGATE_SEEDS=100000` runs more of
//! them. Not here: the models and the checks (`harness/sim`).
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, unreachable_pub)] // tests may

#[path = "harness/sim/mod.rs"]
mod sim;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ftpgate::session::effect::EndReason;
use sim::world;
use sim::{Profile, Summary};

const BEHAVED: Profile = Profile { nasty_client: false, hostile_server: false };
const NASTY_CLIENT: Profile = Profile { nasty_client: true, hostile_server: false };
const HOSTILE_SERVER: Profile = Profile { nasty_client: false, hostile_server: true };
const ALL_BAD: Profile = Profile { nasty_client: true, hostile_server: true };

/// What all runs of a profile came to together.
#[derive(Debug, Default)]
struct Total {
    /// One seed only, which says nothing about the whole.
    one: bool,
    sum: Summary,
    opaque: u64,
    ends: BTreeMap<&'static str, u64>,
}

fn run(profile: Profile) -> Total {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let one = number("FTPGATE_SIMULATION");
    let seeds = number("FTPGATE_SEEDS").unwrap_or(2_000);
    let seeds = one.map_or(1..seeds + 1, |seed| seed..seed + 1);
    let mut total = Total { one: one.is_some(), ..Total::default() };
    for seed in seeds {
        let ran = catch_unwind(AssertUnwindSafe(|| world::run(seed, profile, one.is_some())));
        let Ok(summary) = ran else {
            panic!(
                "{profile:?}: seed {seed}; to see it: FTPGATE_SIMULATION={seed} cargo test --test simulation -- --nocapture"
            );
        };
        total.sum.events += summary.events;
        total.sum.opened += summary.opened;
        total.sum.joined += summary.joined;
        total.sum.rewritten += summary.rewritten;
        total.sum.refused += summary.refused;
        total.sum.expired += summary.expired;
        total.sum.held_back += summary.held_back;
        total.sum.records += summary.records;
        total.sum.resets += summary.resets;
        total.sum.readable += summary.readable;
        total.sum.handshakes += summary.handshakes;
        total.sum.protected += summary.protected;
        total.opaque += u64::from(summary.was_opaque);
        *total.ends.entry(summary.end.map_or("none", EndReason::as_str)).or_default() += 1;
    }
    println!("{profile:?}: {total:?}");
    total
}

impl Total {
    /// A simulation that tries nothing finds nothing.
    fn assert_tried(&self, ends: &[EndReason]) {
        if self.one {
            return;
        }
        let sum = &self.sum;
        for (what, count) in [
            ("pinholes", sum.opened),
            ("joints", sum.joined),
            ("rewritten announcements", sum.rewritten),
            ("refusals", sum.refused),
            ("back-pressure", sum.held_back),
            ("opaque sessions", self.opaque),
            ("handshakes", sum.handshakes),
            ("protected data connections", sum.protected),
            ("records of transfers", sum.records),
            ("resets", sum.resets),
            ("expired pinholes", sum.expired),
        ] {
            assert!(count > 20, "hardly any {what}: {self:?}");
        }
        for end in ends {
            assert!(self.ends.contains_key(end.as_str()), "no session ended for {end:?}: {self:?}");
        }
    }
}

#[test]
fn well_behaved_peers_get_what_ftp_promises() {
    use EndReason::{ClientClosed, Drained, HalfClosed, IdleTimeout, LoginTimeout, ServerClosed};
    run(BEHAVED).assert_tried(&[ClientClosed, ServerClosed, HalfClosed, IdleTimeout, LoginTimeout, Drained]);
}

#[test]
fn a_nasty_client_gets_nothing_more_than_others() {
    let total = run(NASTY_CLIENT);
    total.assert_tried(&[EndReason::Hostile, EndReason::ClientClosed, EndReason::Tls]);
    assert!(total.one || total.sum.readable > 0, "no channel could be read again: {total:?}");
}

#[test]
fn a_hostile_server_reaches_nobody_and_leaks_nothing() {
    run(HOSTILE_SERVER).assert_tried(&[EndReason::Hostile, EndReason::ServerClosed]);
}

#[test]
fn two_bad_peers_together_do_no_harm() {
    run(ALL_BAD).assert_tried(&[EndReason::Hostile]);
}
