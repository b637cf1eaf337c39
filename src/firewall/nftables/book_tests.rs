//! Tests of `book`: which elements come and go.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::pinhole::Announcement;

fn pinhole(entrance: &str, target: &str, source: &str) -> Pinhole {
    Pinhole {
        session: 1,
        announcement: Announcement::Pasv,
        initiator: "192.0.2.10".parse().unwrap(),
        on_behalf_of: None,
        entrance: entrance.parse().unwrap(),
        target: target.parse().unwrap(),
        source: source.parse().unwrap(),
        lifetime: Duration::from_secs(60),
        protection: crate::pinhole::Protection::default(),
    }
}

fn reverse(port: u16) -> Pinhole {
    pinhole(&format!("203.0.113.1:{port}"), "10.0.0.5:50000", "10.0.0.1")
}

fn permission(pinhole: &Pinhole) -> Element {
    Element::permission(pinhole.initiator, pinhole.entrance, pinhole.lifetime)
}

fn destination(pinhole: &Pinhole) -> Element {
    Element::destination(pinhole.initiator, pinhole.entrance, pinhole.target, pinhole.lifetime)
}

fn source(pinhole: &Pinhole) -> Element {
    Element::source(pinhole.initiator, pinhole.target, pinhole.source, pinhole.lifetime)
}

/// Plans and carries out: what was removed, what was added.
fn apply(book: &mut Book, changes: &[Change]) -> (Vec<Element>, Vec<Element>) {
    let plan = book.plan(changes).unwrap();
    let elements = (plan.removed.clone(), plan.added.clone());
    book.commit(plan);
    elements
}

#[test]
fn only_what_a_pinhole_needs_is_added() {
    let plain = pinhole("203.0.113.5:50000", "203.0.113.5:50000", "192.0.2.10");
    assert_eq!(apply(&mut Book::default(), &[Change::Open(plain)]), (vec![], vec![permission(&plain)]));
    let full = reverse(61000);
    let all = vec![permission(&full), destination(&full), source(&full)];
    assert_eq!(apply(&mut Book::default(), &[Change::Open(full)]), (vec![], all));
}

#[test]
fn closing_takes_back_what_was_opened() {
    let mut book = Book::default();
    let (_, added) = apply(&mut book, &[Change::Open(reverse(61000))]);
    assert_eq!(apply(&mut book, &[Change::Close(reverse(61000))]), (added, vec![]));
    assert_eq!(apply(&mut book, &[Change::Close(reverse(61000))]), (vec![], vec![]));
}

#[test]
fn a_pinhole_that_is_closed_in_the_transaction_that_opens_it_never_is() {
    let changes = [Change::Open(reverse(61000)), Change::Close(reverse(61000))];
    assert_eq!(apply(&mut Book::default(), &changes), (vec![], vec![]));
}

#[test]
fn opening_again_replaces_so_that_every_kernel_renews_the_timeout() {
    let mut book = Book::default();
    let (_, added) = apply(&mut book, &[Change::Open(reverse(61000))]);
    assert_eq!(apply(&mut book, &[Change::Open(reverse(61000))]), (added.clone(), added));
}

#[test]
fn a_pinhole_that_took_anothers_place_survives_that_ones_close() {
    let mut book = Book::default();
    let first = pinhole("203.0.113.1:61000", "10.0.0.5:50000", "192.0.2.10");
    let second = pinhole("203.0.113.1:61000", "10.0.0.6:50000", "192.0.2.10");
    apply(&mut book, &[Change::Open(first)]);
    let (removed, added) = apply(&mut book, &[Change::Open(second)]);
    assert_eq!(removed, [permission(&first), destination(&first)]);
    assert_eq!(added, [permission(&second), destination(&second)]);
    assert_eq!(apply(&mut book, &[Change::Close(first)]), (vec![], vec![]));
}

#[test]
fn source_nat_stays_until_the_last_that_needs_it_is_closed() {
    let mut book = Book::default();
    apply(&mut book, &[Change::Open(reverse(61000))]);
    let (removed, added) = apply(&mut book, &[Change::Open(reverse(61001))]);
    assert_eq!(removed, [source(&reverse(61000))], "replaced, to renew its timeout");
    assert_eq!(added, [permission(&reverse(61001)), destination(&reverse(61001)), source(&reverse(61001))]);
    let (removed, _) = apply(&mut book, &[Change::Close(reverse(61000))]);
    assert_eq!(removed, [permission(&reverse(61000)), destination(&reverse(61000))]);
    let (removed, _) = apply(&mut book, &[Change::Close(reverse(61001))]);
    assert_eq!(removed, [permission(&reverse(61001)), destination(&reverse(61001)), source(&reverse(61001))]);
}

#[test]
fn shared_source_nat_outlasts_the_longest_of_its_pinholes() {
    let mut book = Book::default();
    let long = Pinhole { lifetime: Duration::from_secs(600), ..reverse(61000) };
    apply(&mut book, &[Change::Open(long)]);
    let (_, added) = apply(&mut book, &[Change::Open(reverse(61001))]);
    assert_eq!(added.last(), Some(&source(&long)));
}

#[test]
fn two_sources_for_one_arrival_are_refused_and_change_nothing() {
    let mut book = Book::default();
    apply(&mut book, &[Change::Open(reverse(61000))]);
    let other = Pinhole { source: "10.0.0.2".parse().unwrap(), ..reverse(61001) };
    let error = book.plan(&[Change::Open(other)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert_eq!(
        error.to_string(),
        "pinholes that are open at the same time want connections from 192.0.2.10 to 10.0.0.5:50000 to come from 10.0.0.1 \
         and from 10.0.0.2, and nftables can only do one of them; give the listeners that lead there the same `source`"
    );
    // In the place of the first it may come.
    let (removed, added) = apply(&mut book, &[Change::Close(reverse(61000)), Change::Open(other)]);
    assert!(removed.contains(&source(&reverse(61000))) && added.contains(&source(&other)));
}

#[test]
fn a_pinhole_between_address_families_is_refused() {
    let mixed = pinhole("203.0.113.1:61000", "[2001:db8::1]:50000", "10.0.0.1");
    let error = Book::default().plan(&[Change::Open(mixed)]).unwrap_err();
    assert!(error.to_string().contains("from one address family to the other"), "{error}");
}

#[test]
fn too_many_changes_are_refused() {
    let changes = vec![Change::Open(reverse(61000)); MAX_CHANGES + 1];
    let error = Book::default().plan(&changes).unwrap_err();
    assert_eq!(error.to_string(), "257 changes do not fit into one nftables transaction; send at most 256 at a time");
}

/// Few ports, so that keys and arrivals collide often. One source, so that nothing is refused.
fn change() -> impl Strategy<Value = Change> {
    (0_u16..4, 0_u16..3, any::<bool>()).prop_map(|(entrance, target, opens)| {
        let pinhole = pinhole(&format!("10.0.0.5:{entrance}"), &format!("10.0.0.5:{target}"), "10.0.0.1");
        if opens { Change::Open(pinhole) } else { Change::Close(pinhole) }
    })
}

proptest! {
    /// A kernel that keeps exactly what it is told to has, after every transaction, what the open pinholes need.
    #[test]
    fn the_kernel_has_what_the_open_pinholes_need(all in vec(vec(change(), 1..5), 1..20)) {
        let mut book = Book::default();
        let mut kernel: Vec<Element> = Vec::new();
        let mut open: BTreeMap<Key, Pinhole> = BTreeMap::new();
        for changes in all {
            let (removed, added) = apply(&mut book, &changes);
            for element in removed {
                let there = kernel.iter().position(|other| *other == element);
                prop_assert!(there.is_some(), "removed what is not there: {element:?}");
                kernel.swap_remove(there.unwrap());
            }
            for element in added {
                prop_assert!(!kernel.contains(&element), "added twice: {element:?}");
                kernel.push(element);
            }
            for change in changes {
                match change {
                    Change::Open(pinhole) => drop(open.insert(pinhole.key(), pinhole)),
                    Change::Close(pinhole) => {
                        if open.get(&pinhole.key()) == Some(&pinhole) {
                            open.remove(&pinhole.key());
                        }
                    }
                    Change::Reset(_) | Change::OpenRange(_) | Change::CloseRange(_) => {}
                }
            }
            let need = |pinhole: &Pinhole| {
                let mut need = vec![permission(pinhole), source(pinhole)];
                need.extend(pinhole.needs_dnat().then(|| destination(pinhole)));
                need
            };
            let needed: BTreeSet<_> = open.values().flat_map(need).map(|element| format!("{element:?}")).collect();
            let there: BTreeSet<_> = kernel.iter().map(|element| format!("{element:?}")).collect();
            prop_assert_eq!(needed, there);
        }
    }
}
