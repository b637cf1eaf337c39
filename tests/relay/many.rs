//! A thousand transfers at a time.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::control::{Control, announced_227, announced_229, data_connection};
use crate::lab::files::noise;
use crate::lab::server::STORED;
use crate::lab::{Family, wait_for};
use crate::scene::{doors, reverse};

const SESSIONS: usize = 1000;
/// Sessions that log in at a time, each on a thread.
const WORKERS: usize = 8;
/// Sessions that the server may refuse before one has a port.
const ATTEMPTS: usize = 20;

/// All data connections are there before the first byte moves; then all move, half of them each way.
#[test]
fn a_thousand_transfers_at_a_time() {
    let mut scene = reverse(|config| {
        config.with("limits", &format!("{{ sessions: {}, sessions_per_client: {} }}", 2 * SESSIONS, 2 * SESSIONS))
    });
    let content = noise(6, 40_000);
    scene.server.add("small.bin", &content);
    let open = |number: usize| {
        let family = Family::ALL[number % 2];
        for _ in 0..ATTEMPTS {
            let mut control = Control::connect(scene.client(), scene.ftp(family));
            // A thousand processes of the server begin on two processors.
            control.stream().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            control.expect(220);
            control.log_in(scene.server.user());
            let reply = control.ask(if family == Family::V4 { "PASV" } else { "EPSV" });
            let port = match reply.code {
                227 => announced_227(&reply.text).port(),
                229 => announced_229(&reply.text),
                // vsftpd gives up when the ports of its range that it tries are all taken.
                500 => continue,
                _ => panic!("{reply:?}"),
            };
            let data = data_connection(scene.client(), SocketAddr::new(scene.lab.dialled(family), port));
            data.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            return (control, data);
        }
        panic!("the server found no port in {ATTEMPTS} sessions");
    };
    let mut all: Vec<_> = std::thread::scope(|scope| {
        let open = &open;
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn(move || (worker..SESSIONS).step_by(WORKERS).map(|n| (n, open(n))).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    wait_for("a thousand sessions", Duration::from_secs(10), || {
        (scene.metrics().sum("ftpgate_sessions_active", &[]) == SESSIONS as f64).then_some(())
    });
    wait_for("all doors to be shut", Duration::from_secs(10), || (doors(scene.gateway()) == 0).then_some(()));
    for (number, (control, _)) in &mut all {
        match *number % 4 < 2 {
            true => control.line("RETR small.bin"),
            false => control.line(&format!("STOR {STORED}.{number}")),
        }
    }
    for (number, (control, data)) in &mut all {
        control.expect(150);
        if *number % 4 >= 2 {
            data.write_all(&content).unwrap();
            data.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes).unwrap();
        assert!(*number % 4 >= 2 || bytes == content, "{number}: {} bytes", bytes.len());
    }
    // The ends of all connections pass before the servers' last words are awaited: none of these waits for another.
    for (_, (control, data)) in &mut all {
        data.shutdown(std::net::Shutdown::Write).unwrap_or_default();
        control.expect(226);
    }
    let transfers = scene.metrics().sum("ftpgate_transfer_bytes_total", &[]);
    assert!(transfers <= (SESSIONS * content.len()) as f64);
    drop(all);
    wait_for("all sessions to end", Duration::from_secs(30), || {
        (scene.metrics().sum("ftpgate_sessions_active", &[]) == 0.0).then_some(())
    });
    assert_eq!(scene.metrics().sum("ftpgate_transfer_bytes_total", &[]), (SESSIONS * content.len()) as f64);
    assert_eq!(scene.metrics().sum("ftpgate_transfers_total", &[("outcome", "complete")]), SESSIONS as f64);
    assert_eq!(scene.metrics().sum("ftpgate_firewall_errors_total", &[]), 0.0);
    for number in (0..SESSIONS).filter(|number| number % 4 >= 2) {
        scene.server.wait_for_content(&format!("{STORED}.{number}"), &content);
    }
    let memory = scene.ftpgate().memory_kib();
    assert!(memory < 128 << 10, "{memory} KiB");
}
