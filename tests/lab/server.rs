//! Real FTP servers: vsftpd, ProFTPD and Pure-FTPd, as `tests/setup.sh` has unpacked them.
//!
//! Lives here: their configuration (one user who may do everything, IPv4 and IPv6, port 21), start, and the folder that they
//! serve. Not here: servers that misbehave (`fake_server.rs`).

use std::io::Read;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::files::{Folder, MIB, noise, set_mode};
use super::host::Host;
use super::process::Daemon;
use super::topology::PASSIVE_PORTS;
use super::{project, wait_for};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    Vsftpd,
    Proftpd,
    PureFtpd,
}

impl ServerKind {
    pub const ALL: [Self; 3] = [Self::Vsftpd, Self::Proftpd, Self::PureFtpd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Vsftpd => "vsftpd",
            Self::Proftpd => "proftpd",
            Self::PureFtpd => "pure-ftpd",
        }
    }

    /// Pure-FTPd's anonymous user may not write, so it has a virtual one.
    pub fn user(self) -> &'static str {
        match self {
            Self::Vsftpd | Self::Proftpd => "anonymous",
            Self::PureFtpd => "lab",
        }
    }
}

/// The password that all clients send; whoever logs it is found out.
pub const PASSWORD: &str = "Secret-of-the-lab";
/// The same for Pure-FTPd: `openssl passwd -1 -salt lab`. Its own default hash takes half a second for each login.
const PASSWORD_HASH: &str = "$1$lab$zfYrdhm5Yn51bv5Szp0Yp1";

/// Where clients store. Only `pub` can be written to: vsftpd serves no anonymous user who may write to the top folder.
pub const STORED: &str = "pub/stored.bin";
/// The name of the file of 1 MiB that every server has.
pub const LARGE: &str = "large.bin";
/// The name of the empty one.
pub const EMPTY: &str = "empty.bin";

/// The transfer log of vsftpd, in the same format as ftpgate's.
const TRANSFER_LOG: &str = "xferlog";

/// A running server. It and its folder vanish with the value.
#[derive(Debug)]
pub struct Server {
    pub kind: ServerKind,
    daemon: Daemon,
    folder: Folder,
}

impl Server {
    /// Starts it and waits until it greets on port 21.
    pub fn start(kind: ServerKind, host: &Host) -> Self {
        Self::start_with(kind, host, "")
    }

    /// The same with further lines of configuration, which only vsftpd takes here.
    pub fn start_with(kind: ServerKind, host: &Host, settings: &str) -> Self {
        Self::start_in(Folder::new(), kind, host, settings, &[])
    }

    /// One that speaks TLS if it is asked to. `announced`: the IPv4 address that the 227 of Pure-FTPd names, if it
    /// is not its own; vsftpd's option for it does not work together with `listen_ipv6`.
    pub fn start_with_tls(kind: ServerKind, host: &Host, announced: Option<&str>) -> Self {
        let folder = Folder::new();
        let certificate = folder.file("certificate.pem").to_string_lossy().into_owned();
        let request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=lab"];
        host.run(
            &[&request[..], &["-keyout", &certificate, "-out", &folder.file("only.pem").to_string_lossy()]].concat(),
        )
        .expect_ok();
        // Key and certificate in one file: both servers take that.
        let only = std::fs::read(folder.file("only.pem")).unwrap();
        let both = [std::fs::read(&certificate).unwrap(), only].concat();
        set_mode(&folder.write("certificate.pem", both), 0o600);
        match kind {
            ServerKind::Vsftpd => {
                let settings = format!(
                    "ssl_enable=YES\nallow_anon_ssl=YES\nrequire_ssl_reuse=NO\nssl_ciphers=HIGH\n\
                     rsa_cert_file={certificate}\n"
                );
                Self::start_in(folder, kind, host, &settings, &[])
            }
            ServerKind::PureFtpd => {
                let tls = ["--tls", "1", "--certfile", &certificate];
                let address = announced.map(|address| ["--forcepassiveip", address]);
                let arguments = [&tls[..], address.as_ref().map_or(&[], |address| &address[..])].concat();
                Self::start_in(folder, kind, host, "", &arguments)
            }
            ServerKind::Proftpd => panic!("its mod_tls is not in the lab"),
        }
    }

    fn start_in(folder: Folder, kind: ServerKind, host: &Host, settings: &str, arguments: &[&str]) -> Self {
        assert!(settings.is_empty() || kind == ServerKind::Vsftpd);
        let root = folder.file("served");
        std::fs::create_dir(&root).unwrap();
        folder.open_folder("served/pub");
        for (name, content) in [(LARGE, noise(1, MIB)), (EMPTY, Vec::new())] {
            set_mode(&folder.write(&format!("served/{name}"), content), 0o644);
        }
        let daemon = match kind {
            ServerKind::Vsftpd => vsftpd(host, &folder, &root, settings),
            ServerKind::Proftpd => proftpd(host, &folder, &root),
            ServerKind::PureFtpd => pure_ftpd(host, &folder, &root, arguments),
        };
        let mut server = Self { kind, daemon, folder };
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, 21)), SocketAddr::from((Ipv6Addr::LOCALHOST, 21))] {
            wait_for(&format!("{} at {address}", kind.name()), Duration::from_secs(10), || {
                if let Some(status) = server.daemon.exit_status() {
                    panic!("{} ended at once: {status}", kind.name());
                }
                greets(host, address).then_some(())
            });
        }
        server
    }

    /// The folder that it serves.
    pub fn root(&self) -> PathBuf {
        self.folder.file("served")
    }

    /// A file that it serves.
    pub fn file(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub fn user(&self) -> &'static str {
        self.kind.user()
    }

    /// Puts another file into its folder.
    pub fn add(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.write(&format!("served/{name}"), content);
        set_mode(&path, 0o666);
        path
    }

    /// What vsftpd has logged of transfers.
    pub fn transfer_log(&self) -> Vec<String> {
        assert_eq!(self.kind, ServerKind::Vsftpd, "only vsftpd keeps a transfer log here");
        let text = std::fs::read_to_string(self.folder.file(TRANSFER_LOG)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Kills the processes that serve sessions; the one that listens stays.
    pub fn kill_sessions(&self, host: &Host) {
        self.kill_where(host, |pid| pid != self.daemon.pid());
    }

    /// Kills them all.
    pub fn kill(&self, host: &Host) {
        self.kill_where(host, |_| true);
    }

    fn kill_where(&self, host: &Host, chosen: impl Fn(u32) -> bool) {
        let pids: Vec<u32> = super::kernel::processes(host).into_iter().filter(|pid| chosen(*pid)).collect();
        assert!(!pids.is_empty(), "{} has no process to kill", self.kind.name());
        for pid in pids {
            // One that has just ended by itself is fine.
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }

    /// Waits until a stored file has this content: servers answer 226 before or after they close it.
    pub fn wait_for_content(&self, name: &str, content: &[u8]) {
        let path = self.file(name);
        wait_for(&format!("{} bytes in {name}", content.len()), Duration::from_secs(10), || {
            (std::fs::read(&path).unwrap_or_default() == content).then_some(())
        });
    }
}

fn greets(host: &Host, address: SocketAddr) -> bool {
    let Ok(mut stream) = host.connect(address, Duration::from_secs(1)) else { return false };
    drop(stream.set_read_timeout(Some(Duration::from_secs(5))));
    let mut code = [0; 3];
    stream.read_exact(&mut code).is_ok() && &code == b"220"
}

/// A program that `tests/setup.sh` has unpacked.
pub(super) fn binary(name: &str) -> String {
    let path = project("target/lab/root/usr").join(name);
    assert!(path.exists(), "{} is missing: run tests/setup.sh first (`make test` does)", path.display());
    path.to_string_lossy().into_owned()
}

fn vsftpd(host: &Host, folder: &Folder, root: &Path, settings: &str) -> Daemon {
    let (low, high) = PASSIVE_PORTS;
    // `daemon` is a user that every Debian has and whose home is there: vsftpd goes there before it goes to `anon_root`.
    std::fs::create_dir(folder.file("empty")).unwrap();
    let empty = folder.file("empty");
    let config = folder.write(
        "vsftpd.conf",
        format!(
            "listen=NO\nlisten_ipv6=YES\nbackground=NO\nmax_per_ip=0\n\
             anonymous_enable=YES\nlocal_enable=NO\nftp_username=daemon\nnopriv_user=nobody\n\
             anon_root={}\nsecure_chroot_dir={}\n\
             write_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\nanon_other_write_enable=YES\n\
             anon_world_readable_only=NO\nanon_umask=022\n\
             pasv_min_port={low}\npasv_max_port={high}\nconnect_from_port_20=YES\nasync_abor_enable=YES\n\
             seccomp_sandbox=NO\nisolate=NO\nisolate_network=NO\n\
             xferlog_enable=YES\nxferlog_std_format=YES\nxferlog_file={}\nftpd_banner=vsftpd of the lab\n{settings}",
            root.display(),
            empty.display(),
            folder.file(TRANSFER_LOG).display(),
        ),
    );
    host.spawn(&[&binary("sbin/vsftpd"), &config.to_string_lossy()])
}

fn proftpd(host: &Host, folder: &Folder, root: &Path) -> Daemon {
    let (low, high) = PASSIVE_PORTS;
    let config = folder.write(
        "proftpd.conf",
        format!(
            "ServerName \"proftpd of the lab\"\nServerType standalone\nDefaultServer on\nPort 21\nUseIPv6 on\n\
             ModulePath {modules}\nPidFile {base}/proftpd.pid\nScoreboardFile {base}/scoreboard\n\
             SystemLog none\nTransferLog none\nWtmpLog off\nUseReverseDNS off\nAuthPAM off\nDelayEngine off\n\
             <IfModule mod_ctrls.c>\nControlsEngine off\n</IfModule>\n\
             User nobody\nGroup nogroup\nUmask 022\nMaxInstances 200\nPassivePorts {low} {high}\nTimeoutLinger 1\n\
             RequireValidShell off\nAllowForeignAddress off\n\
             <Anonymous {root}>\nUser nobody\nGroup nogroup\nUserAlias anonymous nobody\nRequireValidShell off\n\
             AllowOverwrite on\nAllowStoreRestart on\nAllowRetrieveRestart on\n\
             </Anonymous>\n",
            modules = project("target/lab/root/usr/lib/proftpd").display(),
            base = folder.path().display(),
            root = root.display(),
        ),
    );
    host.spawn(&[&binary("sbin/proftpd"), "--nodaemon", "--config", &config.to_string_lossy()])
}

fn pure_ftpd(host: &Host, folder: &Folder, root: &Path, arguments: &[&str]) -> Daemon {
    let (low, high) = PASSIVE_PORTS;
    let passwords =
        folder.write("users", format!("lab:{PASSWORD_HASH}:65534:65534::{}/./::::::::::::\n", root.display()));
    set_mode(&passwords, 0o600);
    let database = folder.file("users.pdb");
    let (passwords, database) = (passwords.to_string_lossy(), database.to_string_lossy());
    host.run(&[&binary("bin/pure-pw"), "mkdb", &database, "-f", &passwords]).expect_ok();
    let login = format!("puredb:{database}");
    let ports = format!("{low}:{high}");
    let pid = folder.file("pure-ftpd.pid");
    let binary = binary("sbin/pure-ftpd");
    let pid = pid.to_string_lossy();
    let usual = [
        binary.as_str(),
        "--login",
        &login,
        "--noanonymous",
        "--dontresolve",
        "--minuid",
        "1",
        "--passiveportrange",
        &ports,
        "--maxclientsnumber",
        "200",
        "--maxclientsperip",
        "200",
        "--pidfile",
        &pid,
    ];
    host.spawn(&[&usual, arguments].concat())
}
