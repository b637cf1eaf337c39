//! The lab can be trusted: without a gateway every combination works, behind a gateway without ftpgate none does.

use crate::lab::client::everything::everything;
use crate::lab::client::{Client, Combination, Job, Mode, Step, combinations};
use crate::lab::files::Folder;
use crate::lab::server::{LARGE, Server, ServerKind};
use crate::lab::topology::{Lab, Topology, accept_ftp};
use crate::lab::{Family, project};

/// The table in `client/mod.rs`, counted: 15 combinations over IPv4, 8 over IPv6.
#[test]
fn exactly_the_documented_combinations_exist() {
    let all = combinations();
    assert_eq!(all.iter().filter(|combination| combination.family == Family::V4).count(), 15);
    assert_eq!(all.iter().filter(|combination| combination.family == Family::V6).count(), 8);
    let absent = |client: Client, mode, family| !all.contains(&Combination { client, mode, family });
    assert!(absent(Client::Lftp, Mode::Eprt, Family::V4));
    for client in Client::ALL {
        assert!(absent(client, Mode::Port, Family::V6) && absent(client, Mode::Pasv, Family::V6));
    }
}

fn directly(kind: ServerKind) {
    let lab = Lab::new(Topology::Direct);
    let server = Server::start(kind, &lab.server);
    let mut done = 0;
    for combination in combinations() {
        let to = lab.dialled(combination.family);
        everything(combination, &lab.client, to, &server).unwrap_or_else(|error| panic!("{combination:?}: {error}"));
        done += 1;
    }
    assert_eq!(done, 23);
}

#[test]
fn without_a_gateway_every_client_works_with_vsftpd() {
    directly(ServerKind::Vsftpd);
}

#[test]
fn without_a_gateway_every_client_works_with_proftpd() {
    directly(ServerKind::Proftpd);
}

#[test]
fn without_a_gateway_every_client_works_with_pure_ftpd() {
    directly(ServerKind::PureFtpd);
}

/// forward.nft as it would be without ftpgate: port 21 is let through instead of being redirected.
#[test]
fn behind_a_gateway_without_ftpgate_one_can_log_in_but_not_transfer() {
    let lab = Lab::new(Topology::Forward);
    let server = Server::start(ServerKind::Vsftpd, &lab.server);
    let example = std::fs::read_to_string(project("nftables-examples/forward.nft")).unwrap();
    let (redirect, web) = ("iifname \"lan0\" tcp dport 21 redirect to :8021", "dport { 80, 443 } accept");
    assert!(example.contains(redirect) && example.contains(web), "forward.nft has changed: change this test");
    lab.gateway().nft(&example.replace(redirect, "").replace(web, "dport { 21, 80, 443 } accept"));
    // IPv6 is not translated: the server's host lets in the gateway as well as the client's network.
    lab.server.firewall(&accept_ftp("198.51.100.1", "{ 2001:db8:51::1, 2001:db8:10::/64 }"));
    let mut failed = 0;
    for combination in combinations().into_iter().filter(|combination| combination.client == Client::Ftplib) {
        let folder = Folder::new();
        let job = |steps| {
            let mut job = Job::new(combination, lab.dialled(combination.family), &server, &folder, steps);
            job.seconds = 4;
            job.run(&lab.client)
        };
        let said = job(&[]).unwrap_or_else(|error| panic!("logging in, {combination:?}: {error}"));
        assert!(said.contains("'230"), "{combination:?} did not log in:\n{said}");
        let outcome = job(&[Step::Fetch { remote: LARGE, local: "down.bin" }]);
        let error = outcome.expect_err("a data connection has passed a default-drop gateway without ftpgate");
        assert!(error.contains(combination.mode.verb()), "{combination:?} never tried:\n{error}");
        failed += 1;
    }
    assert_eq!(failed, 6);
}
