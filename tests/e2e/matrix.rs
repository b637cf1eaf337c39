//! The matrix: every client, mode and family, with every server, in every direction of NAT; files compared by checksum.
//!
//! One test for each server and network. Each counts its combinations, and asks ftpgate's metrics whether the pinholes were
//! really opened in the mode under test: clients fall back silently, a gateway that is not in the path would not be missed.

use crate::lab::client::combinations;
use crate::lab::client::everything::{DATA_CONNECTIONS, everything};
use crate::lab::ftpgate::Metrics;
use crate::lab::scene::Scene;
use crate::lab::server::ServerKind;
use crate::lab::topology::Topology;

/// After that many failures the rest is not tried: each takes as long as a client is patient.
const ENOUGH: usize = 4;

fn matrix(topology: Topology, kind: ServerKind) {
    let scene = Scene::new(topology, kind);
    let mut failures = Vec::new();
    let mut tried = 0;
    for combination in combinations() {
        let labels = [("mode", combination.mode.label()), ("family", combination.family.label())];
        let opened = || -> Vec<f64> {
            let gateways = scene.lab.gateways.iter();
            gateways.map(|gateway| Metrics::read(&gateway.host).sum("ftpgate_pinholes_opened_total", &labels)).collect()
        };
        let before = opened();
        let to = scene.lab.dialled(combination.family);
        if let Err(error) = everything(combination, scene.client(), to, &scene.server) {
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
    let (name, count) = (kind.name(), failures.len());
    assert!(failures.is_empty(), "{count} of {tried} failed with {name}, {topology:?}:\n{}", failures.join("\n\n"));
    assert_eq!(tried, 23);
}

macro_rules! tests {
    ($($name:ident: $topology:ident, $kind:ident;)+) => {
        $(#[test] fn $name() { matrix(Topology::$topology, ServerKind::$kind); })+
    };
}

tests! {
    forward_vsftpd: Forward, Vsftpd;
    forward_proftpd: Forward, Proftpd;
    forward_pure_ftpd: Forward, PureFtpd;
    reverse_vsftpd: Reverse, Vsftpd;
    reverse_proftpd: Reverse, Proftpd;
    reverse_pure_ftpd: Reverse, PureFtpd;
    both_vsftpd: Both, Vsftpd;
    both_proftpd: Both, Proftpd;
    both_pure_ftpd: Both, PureFtpd;
}
