//! `mode: login` with pinholes in the kernel: login.nft and login.yaml as they are, and the clients' own settings for such a gateway.
//!
//! Not here: what is refused, and the dialogue by hand (`tests/relay/login.rs`): that is the same with any backend.

use crate::lab::Family;
use crate::lab::client::{Client, combinations, everything::everything_as};
use crate::lab::control::Control;
use crate::lab::files::{Folder, MIB, noise, same, set_mode};
use crate::lab::ftpgate::binary;
use crate::lab::matrix::every_combination;
use crate::lab::project;
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, STORED, ServerKind};
use crate::lab::topology::Topology;

#[test]
fn login_nft_every_combination_vsftpd() {
    let scene = Scene::new(Topology::Login, ServerKind::Vsftpd);
    every_combination(&scene);
    assert_eq!(scene.metrics().sum("ftpgate_connections_rejected_total", &[]), 0.0);
}

#[test]
fn login_nft_every_combination_proftpd() {
    every_combination(&Scene::new(Topology::Login, ServerKind::Proftpd));
}

/// lftp's `ftp:proxy`, with everything else as lftp has it: it asks for FEAT and AUTH before it logs in.
#[test]
fn lftp_with_its_setting_for_a_proxy() {
    let scene = Scene::new(Topology::Login, ServerKind::Vsftpd);
    for (proxy, passive) in
        [("10.0.0.1", true), ("10.0.0.1", false), ("[2001:db8:10::1]", true), ("[2001:db8:10::1]", false)]
    {
        let folder = Folder::new();
        folder.write("up.bin", noise(7, MIB));
        drop(std::fs::remove_file(scene.server.file(STORED)));
        let script = format!(
            "debug 9\nset cmd:fail-exit yes\nset net:max-retries 1\nset net:timeout 10\nset xfer:clobber yes\n\
             set ftp:proxy ftp://{proxy}:21\nset ftp:passive-mode {passive}\n\
             open -u anonymous,{PASSWORD} ftp://ftp.example.net/\nls\nget {LARGE} -o down.bin\nput up.bin -o {STORED}\nclose\n"
        );
        let args = ["lftp", "--norc", "-f", "/dev/stdin"];
        let output = scene.client().task(&args).seconds(30).folder(folder.path()).input(script).run();
        let said = output.text();
        assert!(output.ok() && said.contains("---> USER anonymous@ftp.example.net"), "{proxy}: {said}");
        same(&scene.server.file(LARGE), &folder.file("down.bin")).unwrap();
        same(&scene.server.file(STORED), &folder.file("up.bin")).unwrap();
    }
}

/// tnftp's gate mode: `FTPSERVER`, and `gate`.
#[test]
fn tnftp_with_its_gate() {
    let scene = Scene::new(Topology::Login, ServerKind::Proftpd);
    let folder = Folder::new();
    // It logs in through the gate only by itself.
    let netrc = folder.write(".netrc", format!("machine ftp.example.net login anonymous password {PASSWORD}\n"));
    set_mode(&netrc, 0o600);
    let script = format!("gate\nopen ftp.example.net\nbinary\nget {LARGE} down.bin\nquit\n");
    let args = ["env", "FTPSERVER=10.0.0.1", "FTPSERVERPORT=21", "tnftp", "-p", "-d", "-v", "-q", "10"];
    let output = scene.client().task(&args).seconds(20).folder(folder.path()).input(script).run();
    let said = output.text();
    assert!(said.contains("USER anonymous@ftp.example.net"), "{said}");
    same(&scene.server.file(LARGE), &folder.file("down.bin")).unwrap_or_else(|error| panic!("{error}\n{said}"));
}

/// curl as an administrator types it, with the destination in the user name; and a forbidden one.
#[test]
fn curl_with_the_server_in_its_user_name() {
    let scene = Scene::new(Topology::Login, ServerKind::Vsftpd);
    let curl = |args: &[&str]| scene.client().run(&[&["curl", "-sS", "--max-time", "10"], args].concat());
    for args in [
        &["--user", "anonymous@ftp.example.net:x", "ftp://10.0.0.1/"][..],
        &["ftp://anonymous%40ftp.example.net:x@10.0.0.1/"],
        &["--user", "anonymous@198.51.100.10:x", "--ftp-port", "-", "ftp://10.0.0.1/"],
        &["ftp://anonymous%40%5B2001%3Adb8%3A51%3A%3A10%5D:x@[2001:db8:10::1]/"],
        &["--ssl", "--user", "anonymous@ftp.example.net:x", "ftp://10.0.0.1/"],
    ] {
        let output = curl(args);
        assert!(output.ok() && output.stdout.contains(LARGE), "{args:?}: {}", output.text());
    }
    let output = curl(&["-v", "--user", "anonymous@203.0.113.9:x", "ftp://10.0.0.1/"]);
    assert_eq!(output.code, 67, "access denied: {}", output.text());
    assert!(
        output.text().contains("530 203.0.113.9:21 is not a server that this gateway connects to."),
        "{}",
        output.text()
    );
}

/// With a packet filter no data connection can change its family, so the login is refused with words.
#[test]
fn a_server_of_the_other_family_alone_is_refused() {
    let scene = Scene::new(Topology::Login, ServerKind::Vsftpd);
    let mut control = Control::connect(scene.client(), scene.ftp(Family::V6));
    control.expect(220);
    assert!(control.must("USER anonymous@four.example.org", 530).text.contains("of another address family"));
    control.must("USER anonymous@ftp.example.net", 331);
    let rejected = scene.metrics().sum("ftpgate_connections_rejected_total", &[("reason", "no_server")]);
    assert_eq!(rejected, 1.0);
}

/// What `ftpgate rules` prints for login.yaml works, once the interfaces are named in it.
#[test]
fn the_printed_rules_work_in_login_mode() {
    let scene = Scene::new(Topology::Login, ServerKind::Vsftpd);
    let config = project("nftables-examples/login.yaml");
    let text = scene.gateway().run(&[&binary(), "rules", "-c", &config.to_string_lossy()]).expect_ok();
    let named = text.replace("= \"eth1\"", "= \"lan0\"").replace("= \"eth0\"", "= \"wan0\"");
    scene.gateway().run(&["nft", "delete", "table", "inet", "gateway"]).expect_ok();
    scene.gateway().nft(&named);
    let mut done = 0;
    for combination in combinations().into_iter().filter(|combination| combination.client == Client::Ftplib) {
        let user = scene.lab.user(scene.server.user());
        everything_as(combination, scene.client(), scene.lab.dialled(combination.family), &scene.server, &user)
            .unwrap_or_else(|error| panic!("{combination:?}: {error}\nwith:\n{named}"));
        done += 1;
    }
    assert_eq!(done, 6);
}

/// `policy.servers` in forward mode: clients who dial others are told so.
#[test]
fn a_list_of_servers_limits_forward_mode_too() {
    let scene = Scene::with(Topology::Forward, ServerKind::Vsftpd, |config| {
        config.with("policy", "{ servers: [ 198.51.100.10, \"[2001:db8:51::/64]:2121\" ] }")
    });
    let mut control = scene.login(Family::V4);
    assert!(control.download(scene.client(), Family::V4, &format!("RETR {LARGE}")) == noise(1, MIB));
    let mut control = Control::connect(scene.client(), scene.ftp(Family::V6));
    assert!(control.expect(421).text.contains("[2001:db8:51::10]:21 is not a server that this gateway connects to"));
    control.expect_end();
    let rejected = scene.metrics().sum("ftpgate_connections_rejected_total", &[("reason", "policy")]);
    assert_eq!(rejected, 1.0);
}
