//! `ftpgate run --listen … --server …`, as somebody tries it first: an ordinary user, one machine, a name for the server.

use std::time::Duration;

use crate::lab::control::Control;
use crate::lab::ftpgate::{UNPRIVILEGED, binary};
use crate::lab::host::Host;
use crate::lab::process::Daemon;
use crate::lab::server::{LARGE, Server, ServerKind};
use crate::lab::{Family, wait_for};

/// Client, gateway and server on one host: every address is the same, and every port must be another.
fn start(host: &Host, listen: &str, server: &str) -> Daemon {
    let binary = binary();
    let mut daemon = host.spawn(&[UNPRIVILEGED, &[&binary, "run", "--listen", listen, "--server", server]].concat());
    let ready =
        daemon.wait_for_line(Duration::from_secs(15), |line| line.split_whitespace().any(|word| word == "ready"));
    assert!(ready.is_some(), "{}", daemon.log().join("\n"));
    daemon
}

#[test]
fn it_works_without_file_firewall_and_root() {
    let host = Host::new("laptop");
    let server = Server::start(ServerKind::Vsftpd, &host);
    let mut daemon = start(&host, "127.0.0.1:2121,[::1]:2121", "localhost,::1");
    let said = daemon.log().join("\n");
    assert!(said.contains("localhost is ") && said.contains("127.0.0.1:21"), "{said}");
    for family in Family::ALL {
        let to = if family == Family::V4 { "127.0.0.1:2121" } else { "[::1]:2121" };
        let mut control = Control::login(&host, to.parse().unwrap(), server.user());
        let bytes = control.download(&host, family, &format!("RETR {LARGE}"));
        assert!(bytes == std::fs::read(server.file(LARGE)).unwrap(), "{family:?}: {} bytes", bytes.len());
        control.two_to_one_port(&host, family, "LIST");
    }
    let args = |mode: &'static str| {
        ["curl", "-sS", "--max-time", "10", mode, "--user", "anonymous:x", "ftp://127.0.0.1:2121/"]
    };
    for mode in ["--disable-epsv", "--ftp-pasv"] {
        assert!(host.run(&args(mode)).expect_ok().contains(LARGE), "{mode}");
    }
    daemon.kill();
}

#[test]
fn a_server_that_is_not_there_is_said_to_the_client() {
    let host = Host::new("laptop");
    let mut daemon = start(&host, "127.0.0.1:2121", "127.0.0.1:2122");
    let mut control = Control::connect(&host, "127.0.0.1:2121".parse().unwrap());
    let reply = control.reply();
    assert!(reply.code == 421 && reply.text.contains("127.0.0.1:2122"), "{reply:?}");
    control.expect_end();
    wait_for("the log", Duration::from_secs(5), || daemon.log().join("\n").contains("session refused").then_some(()));
    daemon.kill();
}
