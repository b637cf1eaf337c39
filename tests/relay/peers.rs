//! Who gets in: the announced peer and nobody else, once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::control::{accept_data, data_connection, port_command};
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, STORED};
use crate::lab::{Family, wait_for};
use crate::scene::{doors, reverse};

fn refused(scene: &Scene, reason: &str) -> f64 {
    scene.metrics().sum("ftpgate_data_connections_refused_total", &[("reason", reason)])
}

/// What somebody sees who is let into a socket, but no further.
fn is_turned_away(connected: std::io::Result<TcpStream>) {
    // The reset may be there before the caller looks.
    let seen = connected.and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.read(&mut [0; 16])
    });
    assert_eq!(seen.map_err(|error| error.kind()), Err(std::io::ErrorKind::ConnectionReset));
}

/// A stranger is reset and counted, however often it knocks; the right peer still gets in, and then the door is shut.
#[test]
fn a_stranger_is_refused_and_the_right_peer_still_gets_in() {
    let scene = reverse(|config| config);
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        assert_eq!(doors(scene.gateway()), 1);
        for _ in 0..5 {
            let stranger = scene.lab.stranger_address(family);
            is_turned_away(scene.client().connect_from(stranger, entrance, Duration::from_secs(5)));
        }
        assert_eq!(refused(&scene, "wrong_peer"), 5.0 * (number + 1) as f64);
        let mut data = data_connection(scene.client(), entrance);
        // One shot: whoever comes next finds nothing.
        wait_for("the door to be shut", Duration::from_secs(5), || (doors(scene.gateway()) == 0).then_some(()));
        assert!(scene.client().connect(entrance, Duration::from_secs(2)).is_err());
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        control.expect(226);
        assert!(bytes == std::fs::read(scene.server.file(LARGE)).unwrap());
    }
}

/// In active mode it is the server who may come, and nobody from the client's side.
#[test]
fn in_active_mode_only_the_server_gets_in() {
    let scene = reverse(|config| config);
    let mut control = scene.login(Family::V4);
    let listener = control.active(scene.client(), Family::V4);
    assert_eq!(doors(scene.gateway()), 1);
    let text = scene.gateway().run(&["ss", "-Hltn", "sport >= :49152"]).expect_ok();
    let entrance: SocketAddr = text.split_whitespace().nth(3).unwrap().parse().unwrap();
    assert_eq!(
        entrance.ip(),
        scene.lab.seen_by_server(Family::V4),
        "it listens where the server dials, and nowhere else"
    );
    is_turned_away(scene.gateway().connect(entrance, Duration::from_secs(5)));
    control.line(&format!("RETR {LARGE}"));
    let (mut data, peer) = accept_data(&listener);
    assert_eq!(peer.ip(), scene.lab.dialled(Family::V4), "the client sees whom it dialled");
    control.expect(150);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    drop(data);
    control.expect(226);
    assert!(bytes == std::fs::read(scene.server.file(LARGE)).unwrap());
    assert_eq!(refused(&scene, "wrong_peer"), 1.0);
}

/// A door that nobody uses is shut with its time, and with its session.
#[test]
fn doors_do_not_outlast_their_pinholes() {
    let scene = reverse(|config| config.with("data", "{ pinhole_timeout: 1s }"));
    let mut control = scene.login(Family::V4);
    control.passive(Family::V4);
    assert_eq!(doors(scene.gateway()), 1);
    wait_for("its time to be over", Duration::from_secs(5), || (doors(scene.gateway()) == 0).then_some(()));
    assert_eq!(scene.metrics().sum("ftpgate_pinholes_expired_total", &[]), 1.0);
    // A new announcement takes the place of the old one, and the end of the session ends the last.
    for _ in 0..3 {
        control.passive(Family::V4);
        wait_for("one door", Duration::from_secs(5), || (doors(scene.gateway()) == 1).then_some(()));
    }
    drop(control);
    wait_for("the session's end", Duration::from_secs(5), || (doors(scene.gateway()) == 0).then_some(()));
}

/// The client announces a port at which it does not listen: the server's connection is reset, the client hears of it from the
/// server, and the session goes on.
#[test]
fn a_target_that_refuses_resets_the_initiator() {
    let scene = reverse(|config| config);
    for (number, family) in Family::ALL.into_iter().enumerate() {
        let mut control = scene.login(family);
        let address = SocketAddr::new(control.local_address().ip(), 40_000);
        let command = match family {
            Family::V4 => port_command(address),
            Family::V6 => format!("EPRT |2|{}|{}|", address.ip(), address.port()),
        };
        control.must(&command, 200);
        control.line(&format!("RETR {LARGE}"));
        // vsftpd has connected to ftpgate, and says so, before it finds itself reset.
        let first = control.reply();
        let last = if first.code == 150 { control.reply() } else { first };
        assert!(matches!(last.code, 425 | 426), "{last:?}");
        assert_eq!(refused(&scene, "connect"), (number + 1) as f64);
        let bytes = control.download(scene.client(), family, &format!("RETR {LARGE}"));
        assert_eq!(bytes.len(), 1 << 20);
    }
}

/// Either side may close its direction and go on with the other.
#[test]
fn half_closed_connections_go_on() {
    let mut scene = reverse(|config| config);
    for family in Family::ALL {
        // A client that says at once that it will send nothing.
        let mut control = scene.login(family);
        let entrance = control.passive(family);
        let mut data = data_connection(scene.client(), entrance);
        data.shutdown(std::net::Shutdown::Write).unwrap();
        control.must(&format!("RETR {LARGE}"), 150);
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        drop(data);
        control.expect(226);
        assert!(bytes == std::fs::read(scene.server.file(LARGE)).unwrap());
        // And one that ends an upload by half and waits for the server to close.
        let entrance = control.passive(family);
        let mut data = data_connection(scene.client(), entrance);
        control.must(&format!("STOR {STORED}"), 150);
        data.write_all(&bytes).unwrap();
        data.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(data.read(&mut [0; 16]).unwrap(), 0, "the server's end arrives");
        control.expect(226);
        scene.server.wait_for_content(STORED, &bytes);
        std::fs::remove_file(scene.server.file(STORED)).unwrap();
    }
    for transfer in scene.ftpgate().wait_for_transfers(4) {
        assert_eq!(
            (&transfer["bytes"], &transfer["outcome"]),
            (&(1u64 << 20).into(), &"complete".into()),
            "{transfer}"
        );
    }
}
