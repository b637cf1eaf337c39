//! A pf that cannot, or will not: what the administrator and the clients are told.

use std::process::Command;

use crate::fake::Fake;
use crate::grammar::Dialect;
use crate::lab::Family;
use crate::lab::ftpgate::{Ftpgate, binary};
use crate::lab::topology::{Lab, Topology};
use crate::scene::{PfScene, configuration, installed, main_ruleset};

/// `ftpgate check` with this pf: exit code, and what it says.
fn check(fake: &Fake, dialect: Dialect) -> (i32, String) {
    let file = fake.folder().join("check.yaml");
    let text = format!(
        "listeners: [ {{ listen: \"127.0.0.1:8021\", mode: reverse, capture: direct, server: 192.0.2.1 }} ]\n\
         firewall: {{ backend: pf, pf: {{ dialect: {}, pfctl: {} }} }}\nuser: nobody\n",
        dialect.as_str(),
        fake.path().display()
    );
    std::fs::write(&file, text).unwrap();
    let output = Command::new(binary()).args(["check", "-c"]).arg(&file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

const UNAVAILABLE: i32 = 69;
const NO_PERMISSION: i32 = 77;

#[test]
fn check_says_what_is_missing_and_leaves_pf_as_it_is() {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let fake = Fake::install(dialect);
        fake.load_main("block\n");
        let (code, said) = check(&fake, dialect);
        assert_eq!(code, UNAVAILABLE, "{said}");
        assert!(said.contains("anchor \"ftpgate/*\""), "{said}");

        let fake = installed(dialect);
        let (code, said) = check(&fake, dialect);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("firewall: pf is ready"), "{said}");
        assert!(fake.anchors().is_empty());
        let warned = said.contains("set limit anchors 20000");
        assert_eq!(warned, dialect == Dialect::FreeBsd, "only the ruleset for OpenBSD raises the limit: {said}");

        fake.disable();
        let (code, said) = check(&fake, dialect);
        assert_eq!((code, said.contains("`pfctl -e`")), (UNAVAILABLE, true), "{said}");

        fake.deny();
        let (code, said) = check(&fake, dialect);
        assert_eq!((code, said.contains("needs root")), (NO_PERMISSION, true), "{said}");
    }
}

#[test]
fn freebsd_needs_the_anchors_of_translation_too() {
    let fake = Fake::install(Dialect::FreeBsd);
    let all: Vec<&str> = main_ruleset(Dialect::FreeBsd).lines().collect();
    for missing in ["nat-anchor", "rdr-anchor", "anchor"] {
        let without: String =
            all.iter().filter(|line| line.split(' ').next() != Some(missing)).map(|line| format!("{line}\n")).collect();
        fake.load_main(&without);
        let (code, said) = check(&fake, Dialect::FreeBsd);
        assert_eq!(code, UNAVAILABLE, "without {missing}: {said}");
        assert!(said.contains(&format!("no line `{missing} \"ftpgate/*\"`")), "{said}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let fake = installed(Dialect::OpenBsd);
    let lab = Lab::new(Topology::Reverse);
    let config = configuration(&lab, &fake.folder().join("nothing"), Dialect::OpenBsd);
    let error = Ftpgate::try_start(lab.gateway(), &config).unwrap_err();
    assert!(error.contains("firewall.pf.pfctl"), "{error}");
}

/// Somebody else's transaction is in the way for a moment.
#[test]
fn a_busy_pf_is_tried_again() {
    let pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let mut control = pf.scene.login(Family::V4);
    pf.fake.fail_busy(3);
    control.passive(Family::V4);
    assert_eq!(pf.fake.anchors().len(), 1);
    let busy = pf.fake.calls().iter().filter(|call| call.stderr.contains("Device busy")).count();
    assert_eq!(busy, 3);
}

/// It stays in the way: the client is told, the session lives on, nothing half-open remains.
#[test]
fn a_pf_that_stays_busy_is_425() {
    let mut pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let mut control = pf.scene.login(Family::V4);
    pf.fake.fail_busy(1000);
    assert_eq!(control.ask("EPSV").code, 425);
    assert!(pf.ftpgate().log().contains("somebody else keeps loading"), "{}", pf.ftpgate().log());
    pf.fake.fail_busy(0);
    assert!(pf.fake.anchors().is_empty());
    control.passive(Family::V4);
}

/// pf.conf is loaded again: the anchors stay, and so do the pinholes.
#[test]
fn a_reload_of_the_main_ruleset_leaves_pinholes_alone() {
    let pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let mut control = pf.scene.login(Family::V4);
    let entrance = control.passive(Family::V4);
    pf.fake.load_main(main_ruleset(Dialect::OpenBsd));
    assert_eq!(pf.fake.anchors().len(), 1);
    let _data = crate::lab::control::data_connection(pf.scene.client(), entrance);
}
