//! A load balancer that brings data connections too (`proxy_protocol.data`): real HAProxy, here at the client's second address.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lab::control::{Control, announced_227};
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::ftpgate::Metrics;
use crate::lab::haproxy::Haproxy;
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, STORED};
use crate::lab::{Family, wait_for};
use crate::scene::{doors, reverse};

/// Where HAProxy takes control connections.
const FRONT: u16 = 2121;
const PATIENCE: Duration = Duration::from_secs(5);

fn scene() -> Scene {
    reverse(|config| {
        let section =
            "mode: reverse\n    proxy_protocol: { accept_from: [198.51.100.21, \"2001:db8:51::21\"], data: true }";
        config
            .replacing("mode: reverse", section)
            .with("data", "{ ports: 50000-50019 }")
            .with("timeouts", "{ proxy_header: 500ms }")
    })
}

/// It passes both kinds of connections on, each with a header.
fn haproxy(scene: &Scene) -> Haproxy {
    let mut sections = String::new();
    for (family, name) in [(Family::V4, "four"), (Family::V6, "six")] {
        let (balancer, gateway) = (scene.lab.stranger_address(family), scene.ftp(family));
        let front = SocketAddr::new(balancer, FRONT);
        // Both without a port: a data connection goes to the one that the client has dialled.
        let [own, host] =
            [balancer, gateway.ip()].map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
        sections += &format!(
            "listen control-{name}\n    bind {front}\n    server gateway {gateway} send-proxy-v2 source {own}\n\
             listen data-{name}\n    bind {own}:50000-50019\n    server gateway {host} send-proxy source {own}\n",
        );
    }
    Haproxy::start(&scene.lab.client, FRONT, &sections)
}

fn refused(scene: &Scene, reason: &str) -> f64 {
    Metrics::read(scene.gateway()).sum("ftpgate_data_connections_refused_total", &[("reason", reason)])
}

#[test]
fn clients_dial_the_load_balancer_for_data_as_for_control() {
    let mut scene = scene();
    let _haproxy = haproxy(&scene);
    for family in Family::ALL {
        let front = SocketAddr::new(scene.lab.stranger_address(family), FRONT);
        let client = scene.lab.client_address(family).to_string();
        let folder = Folder::new();
        let (fetched, content) = (folder.file("fetched"), noise(7, 100_000));
        let source = folder.write("source", &content);
        // A client of EPSV or of PASV need not know that there is a load balancer.
        for mode in [&[][..], &["--disable-epsv"], &["--ftp-port", &client]] {
            if family == Family::V6 && mode == ["--disable-epsv"] {
                continue;
            }
            let login = format!("{}:{PASSWORD}", scene.server.user());
            let url = format!("ftp://{front}/");
            let curl = |more: &[&str]| {
                let common = ["curl", "-sS", "--max-time", "15", "--interface", &client, "--user", &login];
                let args: Vec<&str> = common.iter().chain(mode).chain(more).copied().collect();
                scene.client().run(&args).expect_ok()
            };
            assert!(curl(&[&url]).contains(LARGE), "the listing");
            curl(&["-o", &fetched.to_string_lossy(), &format!("{url}{LARGE}")]);
            assert!(std::fs::read(&fetched).unwrap() == noise(1, MIB), "{family:?} {mode:?}");
            curl(&["-T", &source.to_string_lossy(), &format!("{url}{STORED}")]);
            scene.server.wait_for_content(STORED, &content);
        }
    }
    let events = scene.ftpgate().wait_for_transfers(15);
    assert_eq!(events.iter().filter(|event| event["bytes"] == MIB as u64).count(), 5);
    assert!(events.iter().all(|event| event["outcome"] == "complete"));
    let metrics = Metrics::read(scene.gateway());
    assert_eq!(metrics.sum("ftpgate_data_connections_refused_total", &[]), 0.0);
    assert_eq!(doors(scene.gateway()), 0);
}

/// What the gateway was told, and by whom: a connection of the load balancer's address that says this.
fn says(scene: &Scene, port: u16, header: &str) -> std::io::Result<TcpStream> {
    let (balancer, gateway) = (scene.lab.stranger_address(Family::V4), scene.lab.dialled(Family::V4));
    let mut stream = scene.client().connect_from(balancer, SocketAddr::new(gateway, port), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(header.as_bytes())?;
    Ok(stream)
}

/// Whether a connection came to nothing: it may be reset before its first step is done.
fn is_reset(stream: std::io::Result<TcpStream>) -> bool {
    stream.and_then(|mut stream| stream.read(&mut [0])).is_err()
}

#[test]
fn only_the_client_of_the_session_gets_in_and_others_do_not_use_it_up() {
    let scene = scene();
    let _haproxy = haproxy(&scene);
    let (client, gateway) = (scene.lab.client_address(Family::V4), scene.lab.dialled(Family::V4));
    let front = SocketAddr::new(scene.lab.stranger_address(Family::V4), FRONT);
    let mut control = Control::connect_from(scene.client(), client, front);
    control.expect(220);
    control.log_in(scene.server.user());
    let announced = announced_227(&control.must("PASV", 227).text);
    assert_eq!(announced.ip(), front.ip(), "the load balancer's address");
    let port = announced.port();
    // The client itself, past the load balancer.
    assert!(is_reset(scene.client().connect_from(client, SocketAddr::new(gateway, port), PATIENCE)));
    // Somebody else through it, and nonsense, and silence.
    for wrong in ["PROXY TCP4 198.51.100.99 198.51.100.21 4000 50000\r\n", "RETR\r\n", "PROXY TCP4 198.5", ""] {
        assert!(is_reset(says(&scene, port, wrong)), "{wrong:?}");
    }
    wait_for("all to be counted", PATIENCE, || {
        ((refused(&scene, "wrong_peer"), refused(&scene, "no_header")) == (2.0, 3.0)).then_some(())
    });
    let mut data = says(&scene, port, &format!("PROXY TCP4 {client} 198.51.100.21 4000 {port}\r\n")).unwrap();
    control.must(&format!("RETR {LARGE}"), 150);
    let mut bytes = Vec::new();
    data.read_to_end(&mut bytes).unwrap();
    assert!(bytes == noise(1, MIB));
    control.expect(226);
    drop(data);
    let once = scene.client().connect_from(front.ip(), SocketAddr::new(gateway, port), PATIENCE);
    assert!(once.is_err(), "nobody listens any more");
}
