//! HAProxy, as `tests/setup.sh` has unpacked it: the load balancer of the lab.
//!
//! Lives here: starting it and waiting until it listens, its log. Not here: what it is told; the tests write its sections.

use std::time::Duration;

use super::files::Folder;
use super::host::Host;
use super::process::Daemon;
use super::server::binary;
use super::{project, wait_for};

/// A running one. It vanishes with the value.
#[derive(Debug)]
pub struct Haproxy {
    pub daemon: Daemon,
    _folder: Folder,
}

impl Haproxy {
    /// Starts it with these sections, and waits until it listens at `port`.
    pub fn start(host: &Host, port: u16, sections: &str) -> Self {
        let folder = Folder::new();
        let config = folder.write(
            "haproxy.cfg",
            format!(
                "global\n    log stdout format raw local0\n\
                 defaults\n    mode tcp\n    log global\n    log-format \"done %ci:%cp %fi:%fp\"\n\
                 \x20   timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n{sections}"
            ),
        );
        let libraries = project("target/lab/root/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH));
        let libraries = format!("LD_LIBRARY_PATH={}", libraries.display());
        let program = binary("sbin/haproxy");
        let daemon = host.spawn(&["/usr/bin/env", &libraries, &program, "-db", "-f", &config.to_string_lossy()]);
        let mut started = Self { daemon, _folder: folder };
        let filter = format!("sport = :{port}");
        wait_for("haproxy to listen", Duration::from_secs(10), || {
            if let Some(status) = started.daemon.exit_status() {
                panic!("haproxy ended at once: {status}");
            }
            (!host.run(&["ss", "-Hltn", &filter]).expect_ok().trim().is_empty()).then_some(())
        });
        started
    }
}
