//! Whatever sessions and the packet filter do in whatever order, the truth of the worker and that of the packet filter agree.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::firewall::worker::changes::same_translation;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_what_is_in_force_is_what_leases_hold(
        direct in any::<bool>(),
        steps in proptest::collection::vec((0..6_u8, 1..4_u16, 1..3_u16, any::<prop::sample::Index>()), 1..40),
    ) {
        let (firewall, record) = if direct { start_direct() } else { start() };
        let (mut openings, mut leases) = (Vec::new(), Vec::new());
        for (what, port, target, index) in steps {
            match what {
                0 => openings.push(firewall.open(1, ours(target))),
                1 | 2 => openings.push(firewall.open(1, fixed_to(50000 + port, target))),
                3 if !openings.is_empty() => drop(openings.swap_remove(index.index(openings.len()))),
                4 if !leases.is_empty() => drop(leases.swap_remove(index.index(leases.len()))),
                5 => record.fail_apply(usize::from(target), full()),
                _ => leases.extend(openings.drain(..).filter_map(|opening| wait(opening).ok())),
            }
        }
        leases.extend(openings.into_iter().filter_map(|opening| wait(opening).ok()));
        leases.clear();
        record.fail_apply(usize::MAX, full());
        // Once every lease is gone, nothing is in force but what could not be closed.
        let left = in_force(&firewall, &record).len();
        prop_assert!(left as u64 <= firewall.close_failures(), "{left} left");
        check_as_a_kernel_would(&record)?;
    }
}

/// No key is opened with a translation other than the one it has, unless a close of it failed.
fn check_as_a_kernel_would(record: &Record) -> Result<(), TestCaseError> {
    let mut in_force: HashMap<Key, Pinhole> = HashMap::new();
    for call in record.calls() {
        match call {
            Call::Applied(changes) => {
                for change in changes {
                    match change {
                        Change::Open(pinhole) => {
                            let there = in_force.insert(pinhole.key(), pinhole);
                            prop_assert!(there.is_none_or(|there| same_translation(&there, &pinhole)));
                        }
                        Change::Close(pinhole) => drop(in_force.remove(&pinhole.key())),
                        Change::Reset(_) | Change::OpenRange(_) | Change::CloseRange(_) => {}
                    }
                }
            }
            Call::Failed(changes) => changes.iter().for_each(|change| {
                if let Change::Close(pinhole) = change {
                    in_force.remove(&pinhole.key());
                }
            }),
            Call::Verify | Call::Clear => {}
        }
    }
    Ok(())
}
