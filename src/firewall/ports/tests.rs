//! Tests of `ports`: what is given out, when it is given out again, and what is remembered.

use std::collections::HashSet;
use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

const COOLDOWN: Duration = Duration::from_secs(10);
const SECOND: Duration = Duration::from_secs(1);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn key(initiator: u8, port: u16) -> Key {
    Key { initiator: ip(initiator), entrance: SocketAddr::new(ip(254), port) }
}

fn ports(range: RangeInclusive<u16>) -> Ports {
    Ports::new(range, COOLDOWN, 1)
}

fn take(ports: &mut Ports, initiator: u8, now: Instant) -> Option<u16> {
    ports.take(ip(initiator), ip(254), now)
}

#[test]
fn c72_ports_are_spread_over_the_range_and_depend_on_the_seed() {
    let now = Instant::now();
    let mut taken = [HashSet::new(), HashSet::new()];
    for (seed, taken) in taken.iter_mut().enumerate() {
        let mut ports = Ports::new(49152..=65535, COOLDOWN, seed as u64);
        taken.extend((0..1000).filter_map(|_| take(&mut ports, 1, now)));
        assert_eq!(taken.len(), 1000, "none twice");
        for slice in 0..16 {
            let low = 49152 + slice * 1024;
            let count = taken.iter().filter(|&&port| (low..=low + 1023).contains(&port)).count();
            assert!((25..=110).contains(&count), "{count} of 1000 at {low}");
        }
    }
    assert!(taken[0].intersection(&taken[1]).count() < 200);
}

#[test]
fn c74_a_range_is_used_up_to_its_last_port_and_then_there_is_none() {
    let now = Instant::now();
    let mut ports = ports(50000..=50099);
    let taken: HashSet<u16> = (0..100).filter_map(|_| take(&mut ports, 1, now)).collect();
    assert_eq!(taken, (50000..=50099).collect());
    assert_eq!(take(&mut ports, 1, now), None);
    assert!(take(&mut ports, 2, now).is_some(), "another client has the whole range for itself");
    assert!(ports.take(ip(1), ip(253), now).is_some(), "and so has another address of the gateway");
}

#[test]
fn all_ports_there_are_can_be_a_range() {
    let mut ports = ports(0..=u16::MAX);
    assert!(take(&mut ports, 1, Instant::now()).is_some());
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "a mistake in a configuration must not be a panic")]
fn an_empty_range_has_no_port() {
    let mut ports = ports(2..=1);
    assert_eq!(take(&mut ports, 1, Instant::now()), None);
    assert!(ports.pairs.is_empty());
}

#[test]
fn a_released_port_cools_down_before_the_same_pair_gets_it_again() {
    let now = Instant::now();
    let mut ports = ports(50000..=50003);
    let first = take(&mut ports, 1, now).unwrap();
    ports.release(key(1, first), now);
    let others: HashSet<u16> = (0..3).filter_map(|_| take(&mut ports, 1, now + COOLDOWN - SECOND)).collect();
    assert_eq!(others.len(), 3);
    assert!(!others.contains(&first));
    assert_eq!(take(&mut ports, 1, now + COOLDOWN), Some(first));
}

#[test]
fn when_all_others_are_in_force_the_longest_cooled_goes_first() {
    let now = Instant::now();
    let mut ports = ports(50000..=50002);
    for _ in 0..3 {
        take(&mut ports, 1, now);
    }
    for port in [50001, 50002, 50000] {
        ports.release(key(1, port), now);
    }
    assert_eq!(take(&mut ports, 1, now), Some(50001));
    assert_eq!(take(&mut ports, 1, now), Some(50002));
    assert_eq!(take(&mut ports, 1, now), Some(50000));
    assert_eq!(take(&mut ports, 1, now), None);
}

#[test]
fn a_claimed_port_is_not_given_out_and_may_be_claimed_twice() {
    let now = Instant::now();
    let mut ports = ports(50000..=50001);
    ports.claim(key(1, 50000));
    ports.claim(key(1, 50000));
    assert_eq!(take(&mut ports, 1, now), Some(50001));
    assert_eq!(take(&mut ports, 1, now), None);
    ports.release(key(1, 50000), now);
    ports.release(key(1, 50000), now);
    assert_eq!(take(&mut ports, 1, now), Some(50000));
    assert_eq!(take(&mut ports, 1, now), None);
}

#[test]
fn a_port_claimed_while_it_cools_is_in_force_until_it_is_released() {
    let now = Instant::now();
    let mut ports = ports(50000..=50000);
    ports.claim(key(1, 50000));
    ports.release(key(1, 50000), now);
    ports.claim(key(1, 50000));
    assert_eq!(take(&mut ports, 1, now), None);
    assert_eq!(take(&mut ports, 1, now + COOLDOWN), None);
    ports.release(key(1, 50000), now + COOLDOWN);
    assert_eq!(take(&mut ports, 1, now + COOLDOWN), Some(50000));
}

#[test]
fn ports_outside_the_range_are_none_of_its_business() {
    let now = Instant::now();
    let mut ports = ports(50000..=50000);
    ports.claim(key(1, 40000));
    ports.release(key(1, 40000), now);
    ports.release(key(1, 50000), now);
    assert!(ports.pairs.is_empty() && ports.releases.is_empty());
}

#[test]
fn what_has_cooled_down_is_forgotten_whoever_comes_next() {
    let mut now = Instant::now();
    let mut ports = ports(49152..=65535);
    for round in 0..10_000_u32 {
        let initiator = IpAddr::from(round.to_be_bytes());
        let port = ports.take(initiator, ip(254), now).unwrap();
        ports.release(Key { initiator, entrance: SocketAddr::new(ip(254), port) }, now);
        now += SECOND;
    }
    assert!(ports.pairs.len() <= 12 && ports.releases.len() <= 12, "{} pairs", ports.pairs.len());
    assert_eq!(take(&mut ports, 1, now + COOLDOWN).map(|_| ports.pairs.len()), Some(1));
}

proptest! {
    #[test]
    fn no_port_is_in_force_twice_and_none_is_missed(
        steps in proptest::collection::vec((0..4_u8, 0..3_u8, 50000..50006_u16, 0..5_u64), 0..200),
    ) {
        let mut now = Instant::now();
        let mut ports = ports(50000..=50004);
        let mut in_force = HashSet::new();
        for (what, initiator, port, seconds) in steps {
            now += Duration::from_secs(seconds);
            match what {
                0 => {
                    ports.claim(key(initiator, port));
                    in_force.insert((initiator, port));
                }
                1 => {
                    ports.release(key(initiator, port), now);
                    in_force.remove(&(initiator, port));
                }
                _ => match take(&mut ports, initiator, now) {
                    Some(port) => prop_assert!((50000..=50004).contains(&port) && in_force.insert((initiator, port))),
                    None => prop_assert!((50000..=50004).all(|port| in_force.contains(&(initiator, port)))),
                },
            }
        }
    }
}
