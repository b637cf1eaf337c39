//! Tests of `ranges`: no element too many, none too few, whatever order sessions come and go in.

use std::collections::BTreeSet;

use super::*;

fn range(client: u8, entrance: u8, target: u8, source: u8) -> RangeRequest {
    let [initiator, entrance, target, source] =
        [[192, 0, 2, client], [203, 0, 113, entrance], [203, 0, 113, target], [192, 0, 2, source]].map(IpAddr::from);
    RangeRequest { initiator, entrance, target, source, ports: (50000, 50100) }
}

fn planned(ranges: &Ranges, changes: &[Change]) -> (Vec<Element>, Vec<Element>) {
    let plan = ranges.plan(changes).unwrap();
    (plan.removed, plan.added)
}

fn commit(ranges: &mut Ranges, changes: &[Change]) {
    let plan = ranges.plan(changes).unwrap();
    ranges.commit(plan);
}

#[test]
fn it_has_the_elements_that_it_needs_and_no_others() {
    let plain = range(1, 5, 5, 1);
    let translated = range(1, 5, 9, 200);
    let ranges = Ranges::default();
    assert_eq!(planned(&ranges, &[Change::OpenRange(plain)]), (vec![], vec![Element::range_permission(&plain)]));
    let all = [Element::range_permission, Element::range_destination, Element::range_source].map(|of| of(&translated));
    assert_eq!(planned(&ranges, &[Change::OpenRange(translated)]), (vec![], all.to_vec()));
}

#[test]
fn opening_twice_and_closing_what_is_not_there_change_nothing() {
    let one = range(1, 5, 9, 200);
    let mut ranges = Ranges::default();
    assert_eq!(planned(&ranges, &[Change::CloseRange(one)]), (vec![], vec![]));
    commit(&mut ranges, &[Change::OpenRange(one)]);
    assert_eq!(planned(&ranges, &[Change::OpenRange(one)]), (vec![], vec![]));
    // Another one at the same place was never open.
    assert_eq!(planned(&ranges, &[Change::CloseRange(range(1, 5, 8, 200))]), (vec![], vec![]));
    commit(&mut ranges, &[Change::CloseRange(range(1, 5, 8, 200))]);
    assert_eq!(planned(&ranges, &[Change::CloseRange(one)]).0.len(), 3);
}

#[test]
fn the_element_of_source_nat_is_shared_and_goes_with_the_last() {
    let (one, other) = (range(1, 5, 9, 200), range(1, 6, 9, 200));
    let mut ranges = Ranges::default();
    commit(&mut ranges, &[Change::OpenRange(one)]);
    assert_eq!(planned(&ranges, &[Change::OpenRange(other)]).1.len(), 2, "permission and destination");
    commit(&mut ranges, &[Change::OpenRange(other)]);
    assert_eq!(planned(&ranges, &[Change::CloseRange(one)]).0.len(), 2);
    commit(&mut ranges, &[Change::CloseRange(one)]);
    let (removed, _) = planned(&ranges, &[Change::CloseRange(other)]);
    assert_eq!(removed.len(), 3);
    assert!(removed.contains(&Element::range_source(&other)));
}

#[test]
fn what_cannot_be_said_at_the_same_time_is_refused_and_fine_one_after_the_other() {
    let (to_nine, to_eight, seen_otherwise) = (range(1, 5, 9, 200), range(1, 5, 8, 200), range(1, 6, 9, 201));
    let mut ranges = Ranges::default();
    commit(&mut ranges, &[Change::OpenRange(to_nine)]);
    for rival in [to_eight, seen_otherwise] {
        let error = ranges.plan(&[Change::OpenRange(rival)]).unwrap_err();
        assert!(error.to_string().contains("different passive_ports"), "{error}");
        assert!(ranges.plan(&[Change::CloseRange(to_nine), Change::OpenRange(rival)]).is_ok());
    }
    assert!(Ranges::default().plan(&[Change::OpenRange(to_nine), Change::OpenRange(to_eight)]).is_err());
    // Other ports are another matter.
    assert!(ranges.plan(&[Change::OpenRange(RangeRequest { ports: (1, 2), ..to_eight })]).is_ok());
    let (removed, added) = planned(&ranges, &[Change::CloseRange(to_nine), Change::OpenRange(seen_otherwise)]);
    assert_eq!((removed.len(), added.len()), (3, 3));
}

#[test]
fn two_families_do_not_meet() {
    let error = Ranges::default()
        .plan(&[Change::OpenRange(RangeRequest { target: "2001:db8::1".parse().unwrap(), ..range(1, 5, 5, 1) })])
        .unwrap_err();
    assert!(error.to_string().contains("address family"), "{error}");
}

/// Everything in any order: the kernel's elements are always exactly what the open ranges need.
#[test]
fn whatever_happens_the_elements_are_those_of_what_is_open() {
    let all: Vec<RangeRequest> = (1..=2)
        .flat_map(|client| {
            (5..=6)
                .flat_map(move |entrance| [range(client, entrance, 9, 200), range(client, entrance, entrance, client)])
        })
        .collect();
    let mut number = 88_172_645_463_325_252_u64;
    let mut any = |below: usize| {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        usize::try_from(number % 1_000_003).unwrap() % below
    };
    let (mut ranges, mut open, mut kernel) = (Ranges::default(), BTreeSet::new(), Vec::<Element>::new());
    for _ in 0..3000 {
        let changes: Vec<Change> = (0..=any(2))
            .map(|_| {
                let range = all[any(all.len())];
                if any(2) == 0 { Change::OpenRange(range) } else { Change::CloseRange(range) }
            })
            .collect();
        let Ok(plan) = ranges.plan(&changes) else { continue };
        for element in &plan.removed {
            let at = kernel.iter().position(|there| there == element).expect("what goes was there");
            kernel.swap_remove(at);
        }
        for element in &plan.added {
            assert!(!kernel.contains(element), "what comes was not there");
            kernel.push(element.clone());
        }
        for change in changes {
            match change {
                Change::OpenRange(range) => open.insert(range),
                Change::CloseRange(range) => open.remove(&range),
                _ => false,
            };
        }
        ranges.commit(plan);
        let needed: BTreeSet<String> = open
            .iter()
            .flat_map(|range| {
                let source = range.needs_snat().then(|| Element::range_source(range));
                of_entrance(range).chain(source)
            })
            .map(|element| format!("{element:?}"))
            .collect();
        assert_eq!(needed, kernel.iter().map(|element| format!("{element:?}")).collect());
        assert_eq!(needed.len(), kernel.len());
    }
}
