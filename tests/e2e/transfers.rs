//! What happens within and between transfers: resuming, aborting, being killed, one after the other, many at once.
//!
//! All through a NAT gateway with ftpgate. Not here: the plain transfers of the matrix, pinholes as such (`pinholes.rs`).

use std::io::{Read, Write};
use std::time::Duration;

use crate::lab::client::{Client, Combination, Job, Mode, Step};
use crate::lab::control::{Control, accept_data, data_connection};
use crate::lab::files::{Folder, MIB, noise, same};
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, STORED, ServerKind};
use crate::lab::topology::Topology;
use crate::lab::{Family, wait_for};

/// Half of what is transferred is there already.
const HALF: usize = MIB / 2;
/// So large that no set of socket buffers holds it: a transfer of it that nobody reads is under way until it is ended.
const HUGE: usize = 64 * MIB;

/// curl uses APPE, ftplib here too; lftp and tnftp use REST and STOR.
fn resume(kind: ServerKind) {
    let scene = Scene::new(Topology::Forward, kind);
    let content = noise(9, MIB);
    let mut done = 0;
    for client in Client::ALL {
        for (mode, family) in [(Mode::Pasv, Family::V4), (Mode::Eprt, Family::V6)] {
            let combination = Combination { client, mode, family };
            let folder = Folder::new();
            let large = std::fs::read(scene.server.file(LARGE)).unwrap();
            folder.write("down.bin", &large[..HALF]);
            folder.write("up.bin", &content);
            scene.server.add(STORED, &content[..HALF]);
            let steps = [
                Step::ResumeFetch { remote: LARGE, local: "down.bin" },
                Step::ResumeStore { local: "up.bin", remote: STORED, offset: HALF as u64 },
            ];
            let job = Job::new(combination, scene.lab.dialled(family), &scene.server, &folder, &steps);
            let outcome = job.run(scene.client()).and_then(|said| {
                if !["REST", "APPE"].iter().any(|verb| said.contains(verb)) {
                    return Err(format!("nothing was resumed:\n{said}"));
                }
                same(&scene.server.file(LARGE), &folder.file("down.bin"))?;
                same(&scene.server.file(STORED), &folder.file("up.bin"))
            });
            outcome.unwrap_or_else(|error| panic!("{} {combination:?}: {error}", kind.name()));
            done += 1;
        }
    }
    assert_eq!(done, 8);
}

#[test]
fn resuming_works_with_vsftpd() {
    resume(ServerKind::Vsftpd);
}

#[test]
fn resuming_works_with_proftpd() {
    resume(ServerKind::Proftpd);
}

#[test]
fn resuming_works_with_pure_ftpd() {
    resume(ServerKind::PureFtpd);
}

/// A session in which a large file has begun to come and nobody reads on.
fn with_transfer_under_way(scene: &Scene, family: Family) -> (Control, std::net::TcpStream) {
    let mut control = scene.login(family);
    let entrance = control.passive(family);
    let mut data = data_connection(scene.client(), entrance);
    control.must("RETR huge.bin", 150);
    data.read_exact(&mut [0; 1000]).unwrap();
    (control, data)
}

/// As RFC 959 §4.1.3 wants it: Telnet IP, Synch with the data mark urgent, then ABOR. And as some clients do: just ABOR, which
/// vsftpd does not see before the transfer is over.
fn abort(kind: ServerKind) {
    let scene = Scene::new(Topology::Forward, kind);
    scene.server.add("huge.bin", &noise(3, HUGE));
    for (family, synch) in [(Family::V4, true), (Family::V6, true), (Family::V4, false)] {
        let what = format!("{} {family:?}, synch {synch}", kind.name());
        let (mut control, mut data) = with_transfer_under_way(&scene, family);
        if synch {
            control.send(b"\xff\xf4");
            control.send_urgent(b"\xff\xf2");
        }
        control.send(b"ABOR\r\n");
        // The server may be stuck in writing: reading what is on its way lets it see the command.
        let rest = std::io::copy(&mut data, &mut std::io::sink()).unwrap_or_default();
        assert!(!synch || (rest as usize) < HUGE - 1000, "{what}: the whole file came in spite of ABOR");
        drop(data);
        // 426 for the transfer and 226 for ABOR; or 226 for the transfer and 225 for ABOR, when it came too late.
        control.line("NOOP");
        let mut codes = Vec::new();
        while codes.last() != Some(&200) {
            codes.push(control.reply().code);
            assert!(codes.len() <= 3, "{what}: {codes:?}");
        }
        assert!(matches!(codes[..], [.., 225 | 226, 200]), "{what}: {codes:?}");
        assert!(!synch || matches!(codes[0], 226 | 426 | 451), "{what}: {codes:?}");
        // Nothing is out of step afterwards.
        let again = control.download(scene.client(), family, &format!("RETR {LARGE}"));
        assert!(again == noise(1, MIB), "{what}: the transfer after ABOR brought something else");
    }
}

#[test]
fn abor_in_mid_transfer_works_with_vsftpd() {
    abort(ServerKind::Vsftpd);
}

#[test]
fn abor_in_mid_transfer_works_with_proftpd() {
    abort(ServerKind::Proftpd);
}

#[test]
fn abor_in_mid_transfer_works_with_pure_ftpd() {
    abort(ServerKind::PureFtpd);
}

/// What a real client sends when its user gives up, and goes on afterwards. (Python's ftplib is not asked: it sends the whole
/// line `ABOR` as urgent data and the servers lose its end, with or without a gateway.)
fn client_aborts(command: &[&str], script: &str) {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    scene.server.add("huge.bin", &noise(3, HUGE));
    let folder = Folder::new();
    let script = script
        .replace("SERVER", &scene.lab.dialled(Family::V4).to_string())
        .replace("USER", scene.server.user())
        .replace("PASSWORD", PASSWORD);
    let output = scene.client().task(command).folder(folder.path()).input(script).run();
    let said = output.text();
    assert!(said.contains("ABOR"), "no ABOR was sent:\n{said}");
    let size = |name: &str| std::fs::metadata(folder.file(name)).map_or(0, |data| data.len()) as usize;
    assert!(size("huge.bin") < HUGE, "the whole file came in spite of ABOR:\n{said}");
    assert_eq!(size(LARGE), MIB, "the transfer after ABOR:\n{said}");
}

#[test]
fn lftp_can_abort_and_go_on() {
    client_aborts(
        &["lftp", "--norc", "-f", "/dev/stdin"],
        "debug 9\nset ftp:ssl-allow no\nset net:limit-rate 1M\nset ftp:use-abor yes\nset net:timeout 5\nset net:max-retries 1\n\
         open -u USER,PASSWORD ftp://SERVER/\nget huge.bin &\nsleep 1\nkill all\nset net:limit-rate 0\nget large.bin\n",
    );
}

#[test]
fn tnftp_can_abort_and_go_on() {
    client_aborts(
        &["timeout", "-s", "INT", "1", "tnftp", "-p", "-d", "-v", "-n", "-T", "get,1000000"],
        "open SERVER\nuser USER PASSWORD\nbinary\nget huge.bin\nrate get 0\nget large.bin\nquit\n",
    );
}

/// A client that is killed in mid transfer leaves nothing behind, and nobody else notices.
#[test]
fn a_killed_client_leaves_no_session_and_no_pinhole() {
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    scene.server.add("huge.bin", &noise(3, HUGE));
    let mut witness = scene.login(Family::V4);
    let url = format!("ftp://{}/huge.bin", scene.lab.dialled(Family::V4));
    let login = format!("{}:{PASSWORD}", scene.server.user());
    let folder = Folder::new();
    for passive in [true, false] {
        let file = folder.file(&format!("down-{passive}.bin"));
        let path = file.to_string_lossy();
        let mut curl = vec!["curl", "-s", "--user", &login, "--limit-rate", "200k", "-o", &path, &url];
        let lftp_script =
            format!("set ftp:ssl-allow no; set net:limit-rate 200000; set ftp:passive-mode no; get {url} -o {path}");
        if !passive {
            curl = vec!["lftp", "--norc", "-c", &lftp_script];
        }
        let mut client = scene.client().spawn(&curl);
        wait_for("the transfer to begin", Duration::from_secs(10), || {
            std::fs::metadata(&file).is_ok_and(|data| data.len() > 0).then_some(())
        });
        assert_eq!(scene.metrics().sum("ftpgate_sessions_active", &[]), 2.0);
        client.kill();
        wait_for("its session to end", Duration::from_secs(10), || {
            (scene.metrics().sum("ftpgate_sessions_active", &[]) == 1.0).then_some(())
        });
        wait_for("its pinholes to be gone", Duration::from_secs(5), || {
            let metrics = scene.metrics();
            (metrics.sum("ftpgate_pinholes_active", &[]) == 0.0 && scene.pinholes(Family::V4).is_empty()).then_some(())
        });
    }
    assert!(witness.download(scene.client(), Family::V4, &format!("RETR {LARGE}")) == noise(1, MIB));
}

/// Active, passive, down, up, listing, in one session.
#[test]
fn one_session_can_do_many_transfers_in_all_modes() {
    for kind in ServerKind::ALL {
        let scene = Scene::new(Topology::Forward, kind);
        let (large, client) = (noise(1, MIB), scene.client());
        for family in Family::ALL {
            let mut control = scene.login(family);
            assert!(control.download(client, family, &format!("RETR {LARGE}")) == large);
            let listener = control.active(client, family);
            control.line(&format!("RETR {LARGE}"));
            let (mut data, peer) = accept_data(&listener);
            assert_eq!(peer.ip(), scene.lab.dialled(family), "the server must be seen at the address that was dialled");
            control.expect(150);
            let mut bytes = Vec::new();
            data.read_to_end(&mut bytes).unwrap();
            drop(data);
            control.expect(226);
            assert!(bytes == large, "{} {family:?}: active RETR", kind.name());
            control.upload(client, family, &format!("STOR {STORED}"), &large[..12345]);
            scene.server.wait_for_content(STORED, &large[..12345]);
            let listener = control.active(client, family);
            control.line(&format!("STOR {STORED}"));
            let (mut data, _) = accept_data(&listener);
            control.expect(150);
            data.write_all(&large[..54321]).unwrap();
            drop(data);
            control.expect(226);
            scene.server.wait_for_content(STORED, &large[..54321]);
            let listing = control.download(client, family, "LIST");
            assert!(String::from_utf8_lossy(&listing).contains(LARGE));
            control.must("QUIT", 221);
            control.expect_end();
        }
    }
}

#[test]
fn twenty_sessions_in_parallel() {
    const SESSIONS: usize = 20;
    let scene = Scene::new(Topology::Forward, ServerKind::Vsftpd);
    let large = noise(1, MIB);
    std::thread::scope(|scope| {
        for number in 0..SESSIONS {
            let (scene, large) = (&scene, &large);
            scope.spawn(move || {
                let family = Family::ALL[number % 2];
                let mut control = scene.login(family);
                for round in 0..2 {
                    let got = control.download(scene.client(), family, &format!("RETR {LARGE}"));
                    assert!(got == *large, "session {number}, round {round}");
                    let (name, content) = (format!("pub/session-{number}.bin"), noise(100 + number as u64, 300_000));
                    drop(std::fs::remove_file(scene.server.file(&name)));
                    control.upload(scene.client(), family, &format!("STOR {name}"), &content);
                    scene.server.wait_for_content(&name, &content);
                }
                control.must("QUIT", 221);
            });
        }
    });
    let metrics = scene.metrics();
    assert_eq!(metrics.sum("ftpgate_sessions_total", &[("listener", "outbound")]), SESSIONS as f64);
    assert_eq!(metrics.sum("ftpgate_pinholes_opened_total", &[]), (SESSIONS * 4) as f64);
    wait_for("all sessions to end", Duration::from_secs(5), || {
        (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
    });
}
