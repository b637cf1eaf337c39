//! What a session makes of its anchor, step by step.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use crate::fake::Fake;
use crate::grammar::Dialect;
use crate::lab::control::{Control, port_command};
use crate::lab::fake_server::{FakeServer, let_in, next_command, serve};
use crate::lab::files::{MIB, noise};
use crate::lab::server::LARGE;
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};
use crate::scene::{PfScene, configuration, installed, start};

/// The changes that were asked of pf: arguments and rules, with the process's id left out.
fn changes(fake: &Fake, pid: u32) -> Vec<(String, String)> {
    let own = format!("ftpgate/{pid}.");
    let of_session =
        |call: &crate::call::Call| call.argv.iter().any(|word| word.starts_with(&own) && !word.ends_with(".0"));
    let plain = |text: &str| text.replace(&pid.to_string(), "PID");
    fake.calls()
        .iter()
        .filter(|call| of_session(call))
        .map(|call| (plain(&call.argv.join(" ")), plain(&call.stdin)))
        .collect()
}

fn no_anchor_is_left(fake: &Fake) {
    wait_for("all anchors to be gone", Duration::from_secs(5), || fake.anchors().is_empty().then_some(()));
}

/// The golden transcript of a passive transfer in front of a server.
fn passive_reverse(dialect: Dialect, rules: impl Fn(u16, u16) -> String) {
    let mut pf = PfScene::new(Topology::Reverse, dialect);
    let pid = pf.pid();
    let mut control = pf.scene.login(Family::V4);
    let entrance = control.passive(Family::V4);
    // The client has just heard of it: it must be in force.
    let anchors = pf.fake.anchors();
    assert_eq!(anchors.keys().collect::<Vec<_>>(), [&format!("ftpgate/{pid}.1")]);
    let mut data = crate::lab::control::data_connection(pf.scene.client(), entrance);
    control.must(&format!("RETR {LARGE}"), 150);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    control.expect(226);
    assert!(bytes == noise(1, MIB));
    no_anchor_is_left(&pf.fake);
    let log = pf.ftpgate().log();
    let target = log.lines().find_map(|line| line.split("goes to 10.20.0.10:").nth(1)?.split(',').next()).unwrap();
    let expected = rules(entrance.port(), target.parse().unwrap());
    let golden = [
        ("-q -a ftpgate/PID.1 -f -".to_owned(), expected),
        ("-q -a ftpgate/PID.1 -f /dev/null".to_owned(), String::new()),
    ];
    // A call is written down when it ends, which is after the anchor has changed.
    wait_for("both calls", Duration::from_secs(5), || (changes(&pf.fake, pid).len() >= golden.len()).then_some(()));
    assert_eq!(changes(&pf.fake, pid), golden);
}

#[test]
fn openbsd_gets_these_rules_before_the_227_leaves_and_loses_them_with_the_transfer() {
    passive_reverse(Dialect::OpenBsd, |entrance, target| {
        format!(
            "pass in quick inet proto tcp from 198.51.100.20 to 198.51.100.2 port = {entrance} flags S/SA keep state (max 1) \
             label \"ftpgate/PID.1\" rdr-to 10.20.0.10 port {target}\n\
             pass out quick inet proto tcp from 198.51.100.20 to 10.20.0.10 port = {target} flags S/SA keep state (max 1) \
             label \"ftpgate/PID.1\" nat-to 10.20.0.1\n"
        )
    });
}

#[test]
fn freebsd_gets_these_rules_before_the_227_leaves_and_loses_them_with_the_transfer() {
    passive_reverse(Dialect::FreeBsd, |entrance, target| {
        format!(
            "rdr inet proto tcp from 198.51.100.20 to 198.51.100.2 port {entrance} -> 10.20.0.10 port {target}\n\
             nat inet proto tcp from 198.51.100.20 to 10.20.0.10 port {target} -> 10.20.0.1\n\
             pass in quick inet proto tcp from 198.51.100.20 to 10.20.0.10 port = {target} flags S/SA keep state (max 1) \
             label \"ftpgate/PID.1\"\n\
             pass out quick inet proto tcp from 10.20.0.1 to 10.20.0.10 port = {target} flags S/SA keep state (max 1) \
             label \"ftpgate/PID.1\"\n"
        )
    });
}

/// A rule that must have port 20 finds it taken while the state of the last transfer is there.
fn one_port_for_two_transfers(dialect: Dialect) {
    let pf = PfScene::new(Topology::Reverse, dialect);
    for family in Family::ALL {
        let mut control = pf.scene.login(family);
        let [first, second] = control.two_to_one_port(pf.scene.client(), family, &format!("RETR {LARGE}"));
        assert_eq!(first, 20, "{family:?}: what clients expect");
        assert_ne!(second, 20, "{family:?}");
    }
}

#[test]
fn a_client_may_announce_the_port_of_its_last_transfer_again_on_freebsd() {
    one_port_for_two_transfers(Dialect::FreeBsd);
}

#[test]
fn a_client_may_announce_the_port_of_its_last_transfer_again_on_openbsd() {
    one_port_for_two_transfers(Dialect::OpenBsd);
}

/// Some servers dial before they answer: a PORT must not reach one before its rules are in force.
#[test]
fn the_server_hears_of_a_port_when_its_rules_are_in_force() {
    let fake = std::sync::Arc::new(installed(Dialect::FreeBsd));
    let lab = Lab::new(Topology::Forward);
    let seen = std::sync::Arc::clone(&fake);
    let _server = FakeServer::start(&lab.server, move |mut control| {
        let Some(command) = let_in(&mut control) else { return };
        assert!(command.starts_with("PORT 198,51,100,1,"), "{command}");
        assert_eq!(seen.anchors().len(), 1);
        control.line("200 noted");
        assert_eq!(next_command(&mut control), None);
    });
    let _ftpgate = start(&lab, &fake, Dialect::FreeBsd, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let listener = lab.client.listen(SocketAddr::new(lab.client_address(Family::V4), 0));
    control.must(&port_command(listener.local_addr().unwrap()), 200);
    control.must("QUIT", 221);
    no_anchor_is_left(&fake);
}

/// Three hundred sessions wait for their data connections at once; each has an anchor, and nobody else's changes when one goes.
#[test]
fn hundreds_of_sessions_have_an_anchor_each() {
    const SESSIONS: usize = 300;
    let fake = installed(Dialect::OpenBsd);
    let lab = Lab::new(Topology::Reverse);
    let ports = AtomicU16::new(20_000);
    let _server = FakeServer::start(&lab.server, move |control| {
        serve(control, |_| format!("229 here (|||{}|)", ports.fetch_add(1, Ordering::Relaxed)));
    });
    let limits = "{ sessions_per_client: 1000 }";
    let _ftpgate = start(&lab, &fake, Dialect::OpenBsd, |config| config.with("limits", limits));
    let mut sessions: Vec<Control> =
        (0..SESSIONS).map(|_| Control::login(&lab.client, lab.ftp(Family::V4), "anybody")).collect();
    for control in &mut sessions {
        control.must("EPSV", 229);
    }
    assert_eq!(fake.anchors().len(), SESSIONS);
    let half = sessions.split_off(SESSIONS / 2);
    drop(sessions);
    wait_for("half of the anchors", Duration::from_secs(20), || (fake.anchors().len() == SESSIONS / 2).then_some(()));
    drop(half);
    no_anchor_is_left_after(&fake, Duration::from_secs(20));
    let refused = fake.calls().iter().filter(|call| call.exit != 0).count();
    assert_eq!(refused, 0);
}

fn no_anchor_is_left_after(fake: &Fake, limit: Duration) {
    wait_for("all anchors to be gone", limit, || fake.anchors().is_empty().then_some(()));
}

/// Whoever wants one more than pf has room for is told so, and the administrator what to do.
#[test]
fn a_pf_without_room_for_more_anchors_is_425_and_a_sentence() {
    let fake = installed(Dialect::OpenBsd);
    let lab = Lab::new(Topology::Reverse);
    let _server = FakeServer::start(&lab.server, |control| serve(control, |_| "229 here (|||50000|)".to_owned()));
    let ftpgate = start(&lab, &fake, Dialect::OpenBsd, |config| config);
    fake.limit_anchors(4);
    let mut sessions: Vec<Control> =
        (0..4).map(|_| Control::login(&lab.client, lab.ftp(Family::V4), "anybody")).collect();
    let codes: Vec<u16> = sessions.iter_mut().map(|control| control.ask("EPSV").code).collect();
    assert_eq!(codes, [229, 229, 425, 425], "the parent anchor is one of those that count");
    assert!(ftpgate.log().contains("write `set limit anchors 20000`"), "{}", ftpgate.log());
    sessions.remove(0);
    wait_for("room", Duration::from_secs(5), || (fake.anchors().len() == 1).then_some(()));
    assert_eq!(sessions[2].ask("EPSV").code, 229, "the session lives on and gets its pinhole now");
}

/// The configuration is what the fake's dialect needs; a mix-up is found out at the start.
#[test]
fn the_wrong_dialect_is_found_out_at_the_start() {
    let fake = Fake::install(Dialect::FreeBsd);
    fake.load_main("nat-anchor \"ftpgate/*\"\nrdr-anchor \"ftpgate/*\"\nblock\nanchor \"ftpgate/*\"\n");
    let lab = Lab::new(Topology::Reverse);
    let config = configuration(&lab, &fake.path(), Dialect::OpenBsd);
    let error = crate::lab::ftpgate::Ftpgate::try_start(lab.gateway(), &config).unwrap_err();
    assert!(error.contains("firewall.pf.dialect"), "{error}");
}
