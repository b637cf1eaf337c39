//! Every combination of client, mode and family, through the gateways of a scene.
//!
//! Lives here: [`every_combination`]. Not here: which scenes (`tests/e2e/matrix.rs`, `tests/pf_daemon/matrix.rs`), what one
//! combination does (`client/everything.rs`).

use super::client::everything::{DATA_CONNECTIONS, everything_as};
use super::client::{Combination, combinations};
use super::ftpgate::Metrics;
use super::scene::Scene;

/// After that many failures the rest is not tried: each takes as long as a client is patient.
const ENOUGH: usize = 4;

/// Counts its combinations, and asks ftpgate's metrics whether the pinholes were really opened in the mode under test: clients
/// fall back silently, and a gateway that is not in the path would not be missed.
pub fn every_combination(scene: &Scene) {
    assert_eq!(these_combinations(scene, |_| true), 23);
}

/// The same for those that can be. How many there were.
pub fn these_combinations(scene: &Scene, wanted: impl Fn(&Combination) -> bool) -> usize {
    let mut failures = Vec::new();
    let mut tried = 0;
    for combination in combinations().into_iter().filter(wanted) {
        // Not by family: in front of a server of another one, that is the server's in active mode.
        let labels = [("mode", combination.mode.label())];
        let opened = || -> Vec<f64> {
            let gateways = scene.lab.gateways.iter();
            gateways.map(|gateway| Metrics::read(&gateway.host).sum("ftpgate_pinholes_opened_total", &labels)).collect()
        };
        let before = opened();
        let to = scene.lab.dialled(combination.family);
        let user = scene.lab.user(scene.server.user());
        if let Err(error) = everything_as(combination, scene.client(), to, &scene.server, &user) {
            failures.push(format!("{combination:?}: {error}"));
        } else {
            for (index, (after, before)) in opened().iter().zip(before).enumerate() {
                if *after - before != f64::from(DATA_CONNECTIONS) {
                    failures
                        .push(format!("{combination:?}: gateway {index} counted {before} and then {after} pinholes"));
                }
            }
        }
        tried += 1;
        if failures.len() >= ENOUGH {
            break;
        }
    }
    let (name, count, topology) = (scene.server.kind.name(), failures.len(), scene.lab.topology);
    assert!(failures.is_empty(), "{count} of {tried} failed with {name}, {topology:?}:\n{}", failures.join("\n\n"));
    tried
}
