//! `ftps: terminate`: clients speak TLS with the gateway, in front of servers that do not, or do. Every client, mode and family; what is
//! refused; files that are cut.
//!
//! Not here: the rules of the session (`src/session/tls_tests.rs`), PEM (`src/tls/tests.rs`).

use std::time::Duration;

use crate::lab::Family;
use crate::lab::control::Control;
use crate::lab::files::{Folder, MIB, noise, set_mode};
use crate::lab::ftpgate::{Config, Ftpgate};
use crate::lab::project;
use crate::lab::scene::Scene;
use crate::lab::server::{LARGE, PASSWORD, STORED, Server, ServerKind};
use crate::lab::topology::{Lab, Topology};
use crate::scene::REVERSE;

/// A certificate for all addresses of a lab, and its key.
struct Certificate {
    folder: Folder,
}

impl Certificate {
    fn new(names: &[String]) -> Self {
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let folder = Folder::new();
        for (name, text) in [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())] {
            set_mode(&folder.write(name, text), 0o644);
        }
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.file(name).to_string_lossy().into_owned()
    }
}

/// A scene, and what the gateway shows to clients.
struct Secured {
    scene: Scene,
    shown: Certificate,
    /// What the server shows to the gateway, if it speaks TLS.
    of_server: Certificate,
    files: Folder,
}

/// `more`: further keys of `tls`. `server`: vsftpd's settings, of which `CERT` and `KEY` are its files.
fn start(kind: ServerKind, more: &str, server: &str) -> Secured {
    let lab = Lab::new(Topology::Reverse);
    lab.gateway().firewall("tcp dport { 21, 49152-65535 } accept");
    lab.gateway().sysctl("net/ipv4/ip_unprivileged_port_start", "21");
    let names: Vec<String> = Family::ALL.iter().map(|family| lab.ftp(*family).ip().to_string()).collect();
    let shown = Certificate::new(&names);
    let of_server = Certificate::new(&["ftp.inside.example".to_owned()]);
    let put = |text: &str| text.replace("CERT", &of_server.path("cert.pem")).replace("KEY", &of_server.path("key.pem"));
    let server = Server::start_with(kind, &lab.server, &put(server));
    let section = format!(
        "    ftps: terminate\n    tls: {{ certificate: {}, key: {}, {} }}\nfirewall:",
        shown.path("cert.pem"),
        shown.path("key.pem"),
        put(more)
    );
    let config = Config::new(REVERSE).replacing("firewall:", &section).with("log", "{ level: debug, format: json }");
    let ftpgates = vec![Ftpgate::start_unprivileged(lab.gateway(), &config)];
    Secured { scene: Scene { ftpgates, server, lab }, shown, of_server, files: Folder::new() }
}

/// Of curl. Debian's (7.88) never begins TLS on an active data connection, with any server (mended in 8.0); lftp and ftplib do.
const MODES: [&[&str]; 2] = [&[], &["--disable-epsv"]];

impl Secured {
    fn host(&self, family: Family) -> String {
        let ip = self.scene.ftp(family).ip();
        if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() }
    }

    /// Lists, fetches and stores with curl, and compares.
    fn curl(&self, scheme: &str, family: Family, mode: &[&str]) {
        let base = format!("{scheme}://{}:21/", self.host(family));
        let user = format!("{}:{PASSWORD}", self.scene.server.user());
        let ca = self.shown.path("cert.pem");
        let common = ["curl", "-v", "-sS", "--ssl-reqd", "--cacert", &ca, "--user", &user, "--max-time", "15"];
        let run = |more: &[&str]| {
            let args: Vec<&str> = common.iter().chain(mode).chain(more).copied().collect();
            self.scene.client().task(&args).seconds(20).run().expect_ok()
        };
        assert!(run(&[&base]).contains(LARGE));
        let (fetched, large) = (self.files.file("fetched").to_string_lossy().into_owned(), format!("{base}{LARGE}"));
        run(&["-o", &fetched, &large]);
        assert!(std::fs::read(&fetched).unwrap() == noise(1, MIB), "{scheme} {family:?} {mode:?}");
        let content = noise(7, 300_000);
        let (local, remote) = (self.files.write("local", &content), format!("{base}{STORED}"));
        run(&["-T", &local.to_string_lossy(), &remote]);
        self.scene.server.wait_for_content(STORED, &content);
        std::fs::remove_file(self.scene.server.file(STORED)).unwrap();
    }

    fn every_mode(&self, scheme: &str) {
        for family in Family::ALL {
            for mode in MODES {
                // PASV cannot name an IPv6 address.
                if family == Family::V4 || !mode.iter().any(|arg| arg.starts_with("--disable")) {
                    self.curl(scheme, family, mode);
                }
            }
        }
    }

    /// Runs Python's ftplib with TLS: `what` is one of the words of the program.
    fn python(&self, what: &str, family: Family) -> String {
        let program = project("tests/lab/client/ftplib_tls.py").to_string_lossy().into_owned();
        let host = self.scene.ftp(family).ip().to_string();
        let (ca, folder) = (self.shown.path("cert.pem"), self.files.path().to_string_lossy().into_owned());
        let args = ["python3", &program, &host, self.scene.server.user(), PASSWORD, &ca, &folder, what];
        self.scene.client().task(&args).seconds(30).run().expect_ok()
    }

    fn refused(&self, reason: &str) -> f64 {
        self.scene.metrics().sum("ftpgate_data_connections_refused_total", &[("reason", reason)])
    }

    fn nothing_leaked(&mut self) {
        let log = self.scene.ftpgate().log();
        assert!(!log.contains(PASSWORD) && !log.contains("PRIVATE KEY"), "a secret is on the log");
    }
}

fn every_client(kind: ServerKind) {
    let mut secured = start(kind, "require: true", "");
    secured.every_mode("ftp");
    for family in Family::ALL {
        secured.python("transfers", family);
        assert!(std::fs::read(secured.files.file("fetched-by-ftplib")).unwrap() == noise(1, MIB));
        secured.scene.server.wait_for_content(STORED, &noise(1, MIB));
        std::fs::remove_file(secured.scene.server.file(STORED)).unwrap();
        secured.lftp(family);
    }
    assert_eq!((secured.refused("tls"), secured.refused("truncated")), (0.0, 0.0));
    assert_eq!(secured.scene.metrics().sum("ftpgate_refusals_total", &[]), 0.0);
    secured.nothing_leaked();
}

impl Secured {
    fn lftp(&self, family: Family) {
        let fetched = self.files.file("fetched-by-lftp");
        for passive in ["on", "off"] {
            let script = format!(
                "set net:max-retries 1; set net:timeout 10; set ftp:ssl-force on; set ftp:ssl-protect-data on; \
                 set ssl:ca-file {ca}; set ftp:passive-mode {passive}; set ftp:ssl-protect-list on; set xfer:clobber on; \
                 open -u {user},{PASSWORD} ftp://{host}:21; get {LARGE} -o {local}; put {local} -o {STORED}; rm {STORED}; bye",
                ca = self.shown.path("cert.pem"),
                user = self.scene.server.user(),
                host = self.host(family),
                local = fetched.display(),
            );
            let script = format!("set cmd:fail-exit yes; {script}");
            self.scene.client().task(&["lftp", "-c", &script]).seconds(40).run().expect_ok();
            assert!(std::fs::read(&fetched).unwrap() == noise(1, MIB), "{family:?} {passive}");
        }
    }
}

#[test]
fn vsftpd_every_client() {
    every_client(ServerKind::Vsftpd);
}

#[test]
fn proftpd_every_client() {
    every_client(ServerKind::Proftpd);
}

#[test]
fn pure_ftpd_every_client() {
    every_client(ServerKind::PureFtpd);
}

#[test]
fn clients_may_begin_with_tls() {
    let secured = start(ServerKind::Vsftpd, "implicit: true, require: true", "");
    secured.every_mode("ftps");
}

#[test]
fn data_connections_resume_the_session_of_the_control_connection() {
    let secured = start(ServerKind::Vsftpd, "", "");
    for version in ["resume-1.2", "resume-1.3"] {
        assert!(secured.python(version, Family::V4).contains("data connection resumed: True"), "{version}");
    }
}

#[test]
fn nothing_passes_in_clear_where_tls_is_required() {
    let secured = start(ServerKind::Vsftpd, "require: true", "");
    let mut control = Control::connect(secured.scene.client(), secured.scene.ftp(Family::V4));
    control.expect(220);
    let text = control.must("FEAT", 211).text;
    assert!(text.contains("AUTH TLS") && text.contains("PROT"), "{text}");
    let code = control.ask("USER anonymous").code;
    assert!((500..600).contains(&code), "{code}");
    // Garbage in the place of a ClientHello ends that session, and no other.
    let mut other = Control::connect(secured.scene.client(), secured.scene.ftp(Family::V4));
    other.expect(220);
    control.must("AUTH TLS", 234);
    control.send(b"USER anonymous\r\n");
    while control.read_line().is_some() {}
    other.must("FEAT", 211);
    secured.curl("ftp", Family::V4, &[]);
}

#[test]
fn a_file_that_was_cut_is_no_whole_one() {
    let secured = start(ServerKind::Vsftpd, "", "");
    let said = secured.python("cut", Family::V4);
    assert!(said.contains("answered: 4"), "{said}");
    assert_eq!(secured.refused("truncated"), 1.0);
    secured.curl("ftp", Family::V4, &[]);
}

/// A vsftpd that insists on TLS, and on data connections that resume its session.
const TLS_VSFTPD: &str = "ssl_enable=YES\nallow_anon_ssl=YES\nforce_anon_logins_ssl=YES\nforce_anon_data_ssl=YES\n\
                          require_ssl_reuse=YES\nssl_ciphers=HIGH\nrsa_cert_file=CERT\nrsa_private_key_file=KEY\n";

#[test]
fn a_server_that_insists_on_tls_and_on_its_session_gets_both() {
    let verified = "server: explicit, server_ca: CERT, server_name: ftp.inside.example";
    for more in [verified, "server: explicit, server_verify: false"] {
        let mut secured = start(ServerKind::Vsftpd, more, TLS_VSFTPD);
        secured.every_mode("ftp");
        for family in Family::ALL {
            secured.python("transfers", family);
        }
        assert_eq!((secured.refused("tls"), secured.refused("truncated")), (0.0, 0.0));
        secured.nothing_leaked();
    }
}

#[test]
fn a_server_that_is_not_who_it_should_be_gets_no_client() {
    for more in [
        // Another name; and an authority that never heard of it.
        "server: explicit, server_ca: CERT, server_name: ftp.other.example",
        "server: explicit, server_ca: SHOWN, server_name: ftp.inside.example",
    ] {
        let other = Certificate::new(&["ftp.inside.example".to_owned()]);
        let mut secured = start(ServerKind::Vsftpd, &more.replace("SHOWN", &other.path("cert.pem")), TLS_VSFTPD);
        let mut control = Control::connect(secured.scene.client(), secured.scene.ftp(Family::V4));
        control.expect(421);
        let line = secured.scene.ftpgate().daemon.wait_for_line(Duration::from_secs(5), |line| {
            line.contains("the TLS handshake failed") && line.contains("certificate")
        });
        assert!(line.is_some());
    }
    // One that speaks no TLS at all.
    let secured = start(ServerKind::Vsftpd, "server: explicit, server_verify: false", "");
    Control::connect(secured.scene.client(), secured.scene.ftp(Family::V4)).expect(421);
    assert!(secured.of_server.path("cert.pem").ends_with("cert.pem"));
}
