//! Pinholes as the kernel sees them: for one connection, from one address, for a while, and never longer than ftpgate lives.
//!
//! Not here: what is transferred through them.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lab::control::{Control, data_connection, port_command};
use crate::lab::fake_server::{FakeServer, let_in, next_command};
use crate::lab::files::{MIB, noise};
use crate::lab::ftpgate::{Config, Ftpgate};
use crate::lab::scene::{Scene, start_all};
use crate::lab::server::{LARGE, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};

/// How long a connection is tried that must not come about. The lab's own round trip takes well below a millisecond.
const REFUSED_AFTER: Duration = Duration::from_millis(700);

fn must_not_connect(attempt: std::io::Result<TcpStream>, what: &str) {
    if let Ok(stream) = attempt {
        panic!("{what} has come about: {stream:?}");
    }
}

/// Also proves that [`REFUSED_AFTER`] is long enough: on the same path the first connection comes about at once.
fn second_connection(topology: Topology) {
    let scene = Scene::new(topology, ServerKind::Vsftpd);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
        let mut data = scene.client().connect(entrance, REFUSED_AFTER).expect("the first connection");
        assert_eq!(scene.pinholes(family).len(), 0, "{family:?}: the pinhole is used up");
        must_not_connect(scene.client().connect(entrance, REFUSED_AFTER), "a second connection to a used pinhole");
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        control.expect(226);
        assert!(bytes == noise(1, MIB), "{family:?}: the first connection lives on");
        must_not_connect(scene.client().connect(entrance, REFUSED_AFTER), "a connection after the transfer");
    }
}

#[test]
fn a_second_connection_to_a_used_pinhole_fails_in_forward_mode() {
    second_connection(Topology::Forward);
}

#[test]
fn a_second_connection_to_a_used_pinhole_fails_in_reverse_mode() {
    second_connection(Topology::Reverse);
}

#[test]
fn a_second_connection_to_a_used_pinhole_fails_in_the_administrators_sets() {
    second_connection(Topology::Sets);
}

/// The same the other way round: the server dials an announced port twice.
#[test]
fn a_server_can_use_an_active_pinhole_once() {
    let lab = Lab::new(Topology::Forward);
    let (announced, commands) = std::sync::mpsc::channel();
    let _server = FakeServer::start(&lab.server, move |mut control| {
        let Some(command) = let_in(&mut control) else { return };
        announced.send(command).unwrap();
        control.line("200 noted");
        assert_eq!(next_command(&mut control), None);
    });
    let _ftpgates = start_all(&lab, |config| config);
    let mut control = Control::login(&lab.client, lab.ftp(Family::V4), "anybody");
    let listener = lab.client.listen(SocketAddr::new(lab.client_address(Family::V4), 0));
    control.must(&port_command(listener.local_addr().unwrap()), 200);
    let command = commands.recv_timeout(Duration::from_secs(5)).unwrap();
    let entrance = crate::lab::control::announced_227(&format!("227 {}", command.trim_start_matches("PORT ")));
    assert_eq!(entrance.ip(), lab.seen_by_server(Family::V4), "the gateway's address must be announced: {command}");
    let _data = lab.server.connect(entrance, REFUSED_AFTER).expect("the first connection");
    must_not_connect(lab.server.connect(entrance, REFUSED_AFTER), "a second connection of the server");
    control.must("QUIT", 221);
}

/// The kernel still has the entry of the first transfer when the second comes from the same port 20 to the same port.
#[test]
fn a_client_may_announce_the_port_of_its_last_transfer_again() {
    let scene = Scene::new(Topology::Reverse, ServerKind::Vsftpd);
    for family in Family::ALL {
        let [first, second] = scene.login(family).two_to_one_port(scene.client(), family, &format!("RETR {LARGE}"));
        assert_eq!(first, 20, "{family:?}: vsftpd dials from there");
        assert_ne!(second, 20, "{family:?}");
    }
}

#[test]
fn nobody_else_can_use_a_pinhole() {
    let scene = Scene::new(Topology::Reverse, ServerKind::Vsftpd);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        let stranger = scene.lab.stranger_address(family);
        must_not_connect(scene.client().connect_from(stranger, entrance, REFUSED_AFTER), "a stranger's connection");
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}: the attempt must not use up the pinhole");
        let mut data = data_connection(scene.client(), entrance);
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(bytes == noise(1, MIB), "{family:?}");
    }
}

#[test]
fn an_unused_pinhole_is_gone_after_its_timeout() {
    let scene =
        Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| config.with("data", "{ pinhole_timeout: 2s }"));
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
        wait_for("the pinhole to expire", Duration::from_secs(5), || scene.pinholes(family).is_empty().then_some(()));
        must_not_connect(scene.client().connect(entrance, REFUSED_AFTER), "a connection to an expired pinhole");
        // The session is none the worse for it.
        let listing = control.download(scene.client(), family, "LIST");
        assert!(String::from_utf8_lossy(&listing).contains(LARGE), "{family:?}");
    }
    wait_for("no pinhole to be counted", Duration::from_secs(5), || {
        (scene.metrics().sum("ftpgate_pinholes_active", &[]) == 0.0).then_some(())
    });
}

#[test]
fn a_new_announcement_takes_the_place_of_the_one_before() {
    let scene = Scene::new(Topology::Reverse, ServerKind::Vsftpd);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let first = control.passive(family);
        let second = control.passive(family);
        assert_ne!(first, second);
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
        must_not_connect(scene.client().connect(first, REFUSED_AFTER), "a connection to a superseded pinhole");
        drop(data_connection(scene.client(), second));
    }
}

#[test]
fn a_pinhole_goes_with_its_session() {
    let scene = Scene::new(Topology::Reverse, ServerKind::Vsftpd);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
        drop(control);
        wait_for("the pinhole to go", Duration::from_secs(5), || scene.pinholes(family).is_empty().then_some(()));
        must_not_connect(scene.client().connect(entrance, REFUSED_AFTER), "a connection after the session");
    }
}

#[test]
fn after_kill_9_nothing_of_ftpgate_is_left_and_it_can_start_again() {
    let mut scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    let before = "table inet ftpgate";
    assert!(scene.gateway().ruleset().contains(before), "the managed table is there while ftpgate runs");
    let mut sessions: Vec<Control> = Family::ALL.into_iter().map(|family| scene.login(family)).collect();
    let entrances: Vec<SocketAddr> =
        sessions.iter_mut().zip(Family::ALL).map(|(control, family)| control.passive(family)).collect();
    scene.ftpgate().signal(Signal::SIGKILL);
    scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(5));
    let left = wait_for("the kernel to remove the table", Duration::from_secs(2), || {
        let left = scene.gateway().ruleset();
        (!left.contains("table inet ftpgate")).then_some(left)
    });
    assert!(!left.contains("pinhole4") && !left.contains("pinhole6") && !left.contains(" . "), "{left}");
    for entrance in entrances {
        must_not_connect(scene.client().connect(entrance, REFUSED_AFTER), "a connection after kill -9");
    }
    for mut session in sessions {
        drop(session.try_send(b"NOOP\r\n"));
        session.expect_end();
    }
    scene.ftpgates = start_all(&scene.lab, |config| config);
    for family in Family::ALL {
        let mut control = scene.login(family);
        assert!(control.download(scene.client(), family, &format!("RETR {LARGE}")) == noise(1, MIB));
    }
}

/// In the administrator's sets the elements are what ftpgate owns; the kernel lets them run out.
#[test]
fn after_kill_9_the_administrators_sets_run_empty() {
    let mut scene =
        Scene::with(Topology::Sets, ServerKind::Vsftpd, |config| config.with("data", "{ pinhole_timeout: 2s }"));
    let mut sessions: Vec<Control> = Family::ALL.into_iter().map(|family| scene.login(family)).collect();
    for (control, family) in sessions.iter_mut().zip(Family::ALL) {
        control.passive(family);
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
    }
    scene.ftpgate().signal(Signal::SIGKILL);
    scene.ftpgate().daemon.wait_for_exit(Duration::from_secs(5));
    wait_for("all elements to run out", Duration::from_secs(6), || {
        (!scene.gateway().ruleset().contains("elements")).then_some(())
    });
    let left = scene.gateway().ruleset();
    assert!(!left.contains("table inet ftpgate"), "{left}");
}

/// `nft flush ruleset` and the administrator's file again: the session that was there before goes on, and so do new ones.
fn flush_and_reload(topology: Topology) {
    let scene = Scene::new(topology, ServerKind::Vsftpd);
    let mut sessions: Vec<Control> = Family::ALL.into_iter().map(|family| scene.login(family)).collect();
    let large = noise(1, MIB);
    for round in 0..2 {
        for (control, family) in sessions.iter_mut().zip(Family::ALL) {
            assert!(control.download(scene.client(), family, &format!("RETR {LARGE}")) == large, "{round} {family:?}");
        }
        scene.gateway().run(&["nft", "flush", "ruleset"]).expect_ok();
        scene.lab.gateways[0].load_rules();
    }
    for (control, family) in sessions.iter_mut().zip(Family::ALL) {
        let got = wait_for("transfers to work again", Duration::from_secs(10), || {
            // In the administrator's sets ftpgate has to find its sets again: meanwhile it may refuse with 425.
            retrieve(&scene, control, family)
        });
        assert!(got == large, "{family:?}, in the old session");
        let mut fresh = scene.login(family);
        assert!(fresh.download(scene.client(), family, &format!("RETR {LARGE}")) == large, "{family:?}, in a new one");
    }
}

fn retrieve(scene: &Scene, control: &mut Control, family: Family) -> Option<Vec<u8>> {
    let announce = if family == Family::V4 { "PASV" } else { "EPSV" };
    let reply = control.ask(announce);
    if reply.code == 425 {
        return None;
    }
    let entrance = match family {
        Family::V4 => crate::lab::control::announced_227(&reply.text),
        Family::V6 => SocketAddr::new(control.peer_address().ip(), crate::lab::control::announced_229(&reply.text)),
    };
    let mut data = data_connection(scene.client(), entrance);
    control.must(&format!("RETR {LARGE}"), 150);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    control.expect(226);
    Some(bytes)
}

#[test]
fn transfers_go_on_after_a_flush_and_reload() {
    flush_and_reload(Topology::Forward);
}

#[test]
fn transfers_go_on_after_a_flush_and_reload_of_the_administrators_sets() {
    flush_and_reload(Topology::Sets);
}

/// sets.nft says that loading it again closes no pinhole.
#[test]
fn loading_sets_nft_again_keeps_open_pinholes() {
    let scene = Scene::new(Topology::Sets, ServerKind::Vsftpd);
    for family in Family::ALL {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        scene.lab.gateways[0].load_rules();
        assert_eq!(scene.pinholes(family).len(), 1, "{family:?}");
        drop(data_connection(scene.client(), entrance));
    }
}

/// Without the sets that it was told to use ftpgate does not start, and says which is missing.
#[test]
fn missing_sets_are_named_at_start() {
    let lab = Lab::new(Topology::Sets);
    lab.gateway().run(&["nft", "flush", "ruleset"]).expect_ok();
    let config = Config::new(&lab.gateways[0].configuration());
    let error = Ftpgate::try_start(lab.gateway(), &config).expect_err("it must not become ready");
    assert!(error.contains("gateway"), "the table must be named:\n{error}");
}
