//! What is learnt of data connections by looking at states, and how they end.

use std::net::SocketAddr;
use std::time::Duration;

use crate::grammar::Dialect;
use crate::lab::control::{Control, data_connection};
use crate::lab::server::LARGE;
use crate::lab::topology::Topology;
use crate::lab::{Family, wait_for};
use crate::scene::PfScene;
use crate::state::State;

fn scene(dialect: Dialect) -> PfScene {
    PfScene::with(Topology::Reverse, dialect, |config| config.with("log", "{ level: debug, format: json }"))
}

/// The two states that pf would have for a connection through a pinhole.
fn states(label: &str, client: SocketAddr, entrance: SocketAddr, tcp: &str) -> Vec<State> {
    let target: SocketAddr = "10.20.0.10:50001".parse().unwrap();
    let seen: SocketAddr = "10.20.0.1:55555".parse().unwrap();
    let state = |id, outbound| State {
        tcp: (tcp.to_owned(), tcp.to_owned()),
        age: 0,
        packets: (10, 20),
        bytes: (10 * 52 + 8, 20 * 52 + 8 + 1_048_576),
        ..State::new(id, label, outbound, client, entrance)
    };
    vec![
        State { before: (client, entrance), after: (client, target), ..state(1, false) },
        State { before: (client, target), after: (seen, target), ..state(2, true) },
    ]
}

#[test]
fn a_transfer_is_recorded_with_what_pf_has_counted() {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let mut pf = scene(dialect);
        let label = format!("ftpgate/{}.1", pf.pid());
        let mut control = pf.scene.login(Family::V4);
        let entrance = control.passive(Family::V4);
        let data = data_connection(pf.scene.client(), entrance);
        let client = data.local_addr().unwrap();
        pf.fake.set_states(&states(&label, client, entrance, "ESTABLISHED"));
        control.must(&format!("RETR {LARGE}"), 150);
        let _ = std::io::copy(&mut &data, &mut std::io::sink()).unwrap();
        control.expect(226);
        pf.fake.set_states(&states(&label, client, entrance, "FIN_WAIT_2"));
        let [transfer] = &pf.ftpgate().wait_for_transfers(1)[..] else { panic!() };
        assert_eq!(transfer["dialler"], client.to_string(), "{transfer}");
        assert_eq!(transfer["bytes"], 1_048_576, "{transfer}");
        assert_eq!(transfer["outcome"], "complete");
    }
}

/// What pf does not show is absent, not zero.
#[test]
fn without_states_a_transfer_has_no_bytes() {
    let mut pf = PfScene::with(Topology::Reverse, Dialect::OpenBsd, |config| {
        config.with("log", "{ level: info, format: json }").with("data", "{ tracking: off }")
    });
    let mut control = pf.scene.login(Family::V4);
    control.download(pf.scene.client(), Family::V4, &format!("RETR {LARGE}"));
    let [transfer] = &pf.ftpgate().wait_for_transfers(1)[..] else { panic!() };
    assert!(transfer.get("bytes").is_none() && transfer.get("dialler").is_none(), "{transfer}");
    let looked = pf.fake.calls().iter().any(|call| call.argv.contains(&"states".to_owned()));
    assert!(!looked, "and nobody has looked");
}

/// RFC 959 §3.2: with the control connection its data connections end. Their rules are long gone, so the states are found by
/// their label, and both ends are told when they send anything more.
#[test]
fn when_the_control_connection_closes_states_are_killed_and_what_follows_is_reset() {
    for dialect in [Dialect::FreeBsd, Dialect::OpenBsd] {
        let pf = scene(dialect);
        let label = format!("ftpgate/{}.1", pf.pid());
        let mut control = pf.scene.login(Family::V4);
        let entrance = control.passive(Family::V4);
        let data = data_connection(pf.scene.client(), entrance);
        let client = data.local_addr().unwrap();
        let other = State::new(9, "somebody/else", false, client, entrance);
        pf.fake.set_states(&[states(&label, client, entrance, "ESTABLISHED"), vec![other.clone()]].concat());
        control.must(&format!("RETR {LARGE}"), 150);
        let used = || pf.scene.ftpgates[0].log().contains("pinhole used").then_some(());
        wait_for("the pinhole to be seen used", Duration::from_secs(5), used);
        // It is no longer needed, and a second connection must not follow the first.
        wait_for("the rules to go", Duration::from_secs(5), || pf.fake.anchors().is_empty().then_some(()));
        drop::<Control>(control);
        wait_for("the states to be killed", Duration::from_secs(5), || {
            (pf.fake.states() == [other.clone()]).then_some(())
        });
        let (label, anchors) = (&label, pf.fake.anchors());
        assert_eq!(
            anchors[label],
            format!(
                "block return-rst in quick inet proto tcp from {} port = {} to {} port = {} label \"{label}\"\n\
                 block return-rst in quick inet proto tcp from 10.20.0.10 port = 50001 to 10.20.0.1 port = 55555 label \"{label}\"\n",
                client.ip(),
                client.port(),
                entrance.ip(),
                entrance.port()
            )
        );
        let calls = pf.fake.calls();
        let kill = calls.iter().position(|call| call.argv == ["-q", "-k", "label", "-k", label]).unwrap();
        let cut = calls.iter().position(|call| call.stdin.starts_with("block return-rst")).unwrap();
        assert!(cut < kill, "whoever sends after the kill must be answered");
    }
}

/// With a tag the states are of the administrator's rules and carry their labels: they are found by their addresses.
#[test]
fn with_a_tag_states_are_killed_one_by_one_and_nobody_elses() {
    let fake = crate::scene::installed(Dialect::OpenBsd);
    let lab = crate::lab::topology::Lab::new(Topology::Reverse);
    let server = crate::lab::fake_server::FakeServer::start(&lab.server, |control| {
        crate::lab::fake_server::serve(control, |command| match command {
            "PASV" => "227 here (10,20,0,10,195,81)".to_owned(),
            _ => "150 here it comes".to_owned(),
        });
    });
    let config = crate::scene::configuration(&lab, &fake.path(), Dialect::OpenBsd);
    let ftpgate = crate::lab::ftpgate::Ftpgate::start(
        lab.gateway(),
        &config.replacing_section("firewall", "pf: { ", "pf: { tag: ftp_data, "),
    );
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let entrance = control.passive(Family::V4);
    let client = SocketAddr::new(lab.client_address(Family::V4), 40000);
    let other = State::new(9, "theirs", false, SocketAddr::new(client.ip(), 40001), entrance);
    fake.set_states(&[states("theirs", client, entrance, "ESTABLISHED"), vec![other.clone()]].concat());
    wait_for("the pinhole to be seen used", Duration::from_secs(5), || {
        ftpgate.log().contains("pinhole used").then_some(())
    });
    control.must("RETR x", 150);
    drop(control);
    wait_for("the states to be killed", Duration::from_secs(5), || (fake.states() == [other.clone()]).then_some(()));
    let killed: Vec<_> =
        fake.calls().into_iter().filter(|call| call.argv.get(1).is_some_and(|word| word == "-k")).collect();
    assert!(killed.iter().all(|call| call.argv[2] == "id") && killed.len() >= 2, "{killed:?}");
    drop(ftpgate);
    drop(server);
}

#[test]
fn a_session_at_rest_asks_pf_nothing() {
    let pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let mut control = pf.scene.login(Family::V4);
    let before = pf.fake.calls().len();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(pf.fake.calls().len(), before);
    control.must("NOOP", 200);
}
