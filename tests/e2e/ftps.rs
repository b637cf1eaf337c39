//! FTPS that ends at the server: real clients and servers that speak TLS with each other through default-drop gateways.
//!
//! Lives here: `ftps: pass` with `passive_ports`, `ftps: refuse`. Not here: what the session does with TLS records (its own tests), the
//! rules in the kernel (`tests/nftables/ranges.rs`).

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::lab::control::Control;
use crate::lab::files::{Folder, MIB, noise};
use crate::lab::ftpgate::{Ftpgate, Metrics};
use crate::lab::process::Output;
use crate::lab::scene::start_all;
use crate::lab::server::{LARGE, PASSWORD, STORED, Server, ServerKind};
use crate::lab::topology::{Lab, PASSIVE_PORTS, Topology};
use crate::lab::{Family, wait_for};

/// How long a packet that is dropped is waited for.
const DROPPED: Duration = Duration::from_millis(700);

/// Daemons vanish before the hosts that they run on.
struct Secured {
    _ftpgates: Vec<Ftpgate>,
    server: Server,
    lab: Lab,
}

impl Secured {
    /// A server with TLS, and a gateway whose listener has these settings.
    fn new(topology: Topology, kind: ServerKind, settings: &str) -> Self {
        let lab = Lab::new(topology);
        let announced = (topology == Topology::Reverse).then(|| lab.dialled(Family::V4).to_string());
        let server = Server::start_with_tls(kind, &lab.server, announced.as_deref());
        let settings = format!("capture: redirect\n    {settings}");
        let ftpgates = start_all(&lab, |config| config.replacing("capture: redirect", &settings));
        Self { _ftpgates: ftpgates, server, lab }
    }

    fn passing(topology: Topology, kind: ServerKind) -> Self {
        let (first, last) = PASSIVE_PORTS;
        Self::new(topology, kind, &format!("passive_ports: {first}-{last}"))
    }

    /// How many elements there are in the sets and maps of the range.
    fn elements(&self) -> usize {
        let (first, last) = PASSIVE_PORTS;
        ["range4", "range_dnat4", "range_snat4", "range6", "range_dnat6", "range_snat6"]
            .map(|stem| {
                let sort = if stem.contains("nat") { "map" } else { "set" };
                let name = format!("{stem}_{first}_{last}");
                let text = self.lab.gateway().run(&["nft", "list", sort, "inet", "ftpgate", &name]).expect_ok();
                let (_, elements) = text.split_once("elements = {").unwrap_or_default();
                elements.split(',').filter(|element| element.contains('.') || element.contains(':')).count()
            })
            .iter()
            .sum()
    }

    fn open(&self) -> f64 {
        Metrics::read(self.lab.gateway()).sum("ftpgate_ranges_open", &[])
    }

    fn wait_until_nothing_is_open(&self) {
        wait_for("the passive ports to be closed", Duration::from_secs(10), || {
            (self.elements() == 0 && self.open() == 0.0).then_some(())
        });
    }

    fn url(&self, family: Family, path: &str) -> String {
        format!("ftp://{}/{path}", SocketAddr::new(self.lab.dialled(family), 21))
    }

    fn curl(&self, folder: &Folder, args: &[&str]) -> Output {
        let user = format!("{}:{PASSWORD}", self.server.user());
        let usual = ["curl", "-q", "-sS", "-k", "--user", &user, "--max-time", "15"];
        self.lab.client.task(&[&usual, args].concat()).seconds(20).folder(folder.path()).run()
    }
}

/// Lists, fetches and stores with protected data connections; each client in its own words.
fn everything(scene: &Secured, family: Family) {
    let folder = Folder::new();
    let sent = noise(7, MIB);
    folder.write("sent.bin", &sent);
    let fetched = |what: &str| {
        let received = std::fs::read(folder.file("fetched.bin")).unwrap_or_default();
        assert!(received == noise(1, MIB), "{what}, {family:?}: {} bytes", received.len());
        scene.server.wait_for_content(STORED, &sent);
        std::fs::remove_file(folder.file("fetched.bin")).unwrap();
        std::fs::remove_file(scene.server.file(STORED)).unwrap();
    };

    let modes: &[&[&str]] = if family == Family::V4 { &[&[], &["--disable-epsv"]] } else { &[&[]] };
    for mode in modes {
        let list = scene.curl(&folder, &[&["--ssl-reqd"], *mode, &[&scene.url(family, "")]].concat()).expect_ok();
        assert!(list.contains(LARGE), "{list}");
        let fetch = ["--ssl-reqd", "-o", "fetched.bin", &scene.url(family, LARGE)];
        scene.curl(&folder, &[&fetch, *mode].concat()).expect_ok();
        let store = ["--ssl-reqd", "-T", "sent.bin", &scene.url(family, STORED)];
        scene.curl(&folder, &[&store, *mode].concat()).expect_ok();
        fetched("curl");
    }

    // vsftpd that listens on IPv6 too announces 0.0.0.0 where it is given a pasv_address; its clients must make do with where they are.
    let (trust, fix) = if scene.server.kind == ServerKind::Vsftpd { ("no", "yes") } else { ("yes", "no") };
    let host = SocketAddr::new(scene.lab.dialled(family), 21);
    let script = format!(
        "set cmd:fail-exit yes\nset ftp:ssl-force yes\nset ftp:ssl-protect-data yes\nset ftp:ssl-protect-list yes\n\
         set ssl:verify-certificate no\nset net:max-retries 1\nset net:timeout 8\nset ftp:fix-pasv-address {fix}\n\
         set xfer:log no\nopen -u {},{PASSWORD} ftp://{host}/\nls\nget {LARGE} -o fetched.bin\nput sent.bin -o {STORED}\nclose\n",
        scene.server.user()
    );
    let lftp = scene.lab.client.task(&["lftp", "--norc", "-f", "/dev/stdin"]).seconds(20).folder(folder.path());
    assert!(lftp.input(script).run().expect_ok().contains(LARGE));
    fetched("lftp");

    let program = "import ftplib, sys\n\
        host, user, password, large, stored, trust = sys.argv[1:]\n\
        ftp = ftplib.FTP_TLS(timeout=8)\nftp.trust_server_pasv_ipv4_address = trust == 'yes'\n\
        ftp.connect(host, 21)\nftp.login(user, password)\nftp.prot_p()\n\
        assert large in ftp.nlst()\n\
        ftp.retrbinary('RETR ' + large, open('fetched.bin', 'wb').write)\n\
        ftp.storbinary('STOR ' + stored, open('sent.bin', 'rb'))\nftp.quit()\n";
    let to = scene.lab.dialled(family).to_string();
    let args = ["python3", "-c", program, &to, scene.server.user(), PASSWORD, LARGE, STORED, trust];
    scene.lab.client.task(&args).seconds(20).folder(folder.path()).run().expect_ok();
    fetched("ftplib");
}

fn passes(topology: Topology, kind: ServerKind) {
    let scene = Secured::passing(topology, kind);
    for family in Family::ALL {
        everything(&scene, family);
    }
    scene.wait_until_nothing_is_open();
    let metrics = Metrics::read(scene.lab.gateway());
    assert_eq!(metrics.sum("ftpgate_firewall_errors_total", &[]), 0.0);
    assert_eq!(metrics.sum("ftpgate_pinholes_opened_total", &[]), 0.0, "nothing was read that announced one");
}

#[test]
fn pass_forward_with_vsftpd() {
    passes(Topology::Forward, ServerKind::Vsftpd);
}

#[test]
fn pass_forward_with_pure_ftpd() {
    passes(Topology::Forward, ServerKind::PureFtpd);
}

#[test]
fn pass_reverse_with_vsftpd() {
    passes(Topology::Reverse, ServerKind::Vsftpd);
}

#[test]
fn pass_reverse_with_pure_ftpd() {
    passes(Topology::Reverse, ServerKind::PureFtpd);
}

/// Without the setting the control channel passes and the data does not: what the setting is for.
#[test]
fn without_passive_ports_no_data_connection_passes() {
    let scene = Secured::new(Topology::Forward, ServerKind::Vsftpd, "ftps: pass");
    let folder = Folder::new();
    let output = scene.curl(&folder, &["--ssl-reqd", "--connect-timeout", "3", &scene.url(Family::V4, "")]);
    assert!(!output.ok() && !output.stdout.contains(LARGE), "{}", output.text());
    assert!(!scene.lab.gateway().ruleset().contains("range"), "nobody pays for what is not there");
}

/// The beginning of a ClientHello; the server waits for the rest of it.
const CLIENT_HELLO: [u8; 9] = [22, 3, 1, 0, 200, 1, 0, 0, 196];

/// A session whose control channel became TLS, as far as anybody can see.
fn opaque(scene: &Secured, from: IpAddr) -> Control {
    let family = if from.is_ipv6() { Family::V6 } else { Family::V4 };
    let mut control = Control::connect_from(&scene.lab.client, from, scene.lab.ftp(family));
    assert_eq!(control.reply().code, 220);
    assert_eq!(control.ask("AUTH TLS").code, 234);
    control.send(&CLIENT_HELLO);
    control
}

fn only_this_client(topology: Topology) {
    let scene = Secured::passing(topology, ServerKind::Vsftpd);
    // Beyond the range the server's own firewall would let in as well.
    let beyond = ["nft", "add", "rule", "inet", "host", "input", "tcp", "dport", "51000", "accept"];
    scene.lab.server.run(&beyond).expect_ok();
    for family in Family::ALL {
        let client = scene.lab.client_address(family);
        let stranger = match client {
            IpAddr::V4(address) => IpAddr::from(u32::from(address).wrapping_add(1).to_be_bytes()),
            IpAddr::V6(address) => IpAddr::from((u128::from(address) + 1).to_be_bytes()),
        };
        let unspecified: IpAddr = if family == Family::V4 { [0; 4].into() } else { [0_u16; 8].into() };
        let [data, beyond] = [50005, 51000].map(|port| {
            let listener = scene.lab.server.listen(SocketAddr::new(unspecified, port));
            listener.set_nonblocking(true).unwrap();
            (SocketAddr::new(scene.lab.dialled(family), port), listener)
        });
        let refused = |from: IpAddr, to: SocketAddr, what: &str| {
            let outcome = scene.lab.client.connect_from(from, to, DROPPED);
            assert!(outcome.is_err(), "{family:?}, {what}: {from} has reached {to}");
        };
        refused(client, data.0, "before");

        let first = opaque(&scene, client);
        let second = opaque(&scene, client);
        wait_for("the passive ports to be open", Duration::from_secs(10), || (scene.open() == 2.0).then_some(()));
        for _ in 0..2 {
            let mut dialled = scene.lab.client.connect_from(client, data.0, DROPPED).unwrap();
            let (mut accepted, peer) = data.1.accept().unwrap();
            assert_eq!(peer.ip(), scene.lab.seen_by_server(family));
            dialled.write_all(b"data").unwrap();
            accepted.set_nonblocking(false).unwrap();
            let mut bytes = [0; 4];
            accepted.read_exact(&mut bytes).unwrap();
            assert_eq!(&bytes, b"data");
        }
        refused(stranger, data.0, "a stranger");
        refused(client, beyond.0, "another port");
        assert_eq!(beyond.1.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

        // The other session still wants them.
        drop(first);
        wait_for("one session to end", Duration::from_secs(10), || (scene.open() == 1.0).then_some(()));
        drop(scene.lab.client.connect_from(client, data.0, DROPPED).unwrap());
        drop(second);
        scene.wait_until_nothing_is_open();
        while data.1.accept().is_ok() {}
        refused(client, data.0, "after");
        assert_eq!(data.1.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn only_this_client_only_this_server_only_these_ports_forward() {
    only_this_client(Topology::Forward);
}

#[test]
fn only_this_client_only_this_server_only_these_ports_reverse() {
    only_this_client(Topology::Reverse);
}

/// Nothing is said on the control connection while a long transfer is under way: the session waits for the end of that.
#[test]
fn a_session_whose_data_connection_lives_is_not_idle() {
    let lab = Lab::new(Topology::Forward);
    let server = Server::start_with_tls(ServerKind::Vsftpd, &lab.server, None);
    let (first, last) = PASSIVE_PORTS;
    let settings = format!("capture: redirect\n    passive_ports: {first}-{last}");
    let ftpgates =
        start_all(&lab, |config| config.replacing("capture: redirect", &settings).with("timeouts", "{ idle: 2s }"));
    let scene = Secured { _ftpgates: ftpgates, server, lab };
    let data = scene.lab.server.listen("0.0.0.0:50005".parse().unwrap());
    let control = opaque(&scene, scene.lab.client_address(Family::V4));
    wait_for("the passive ports to be open", Duration::from_secs(10), || (scene.open() == 1.0).then_some(()));
    let to = SocketAddr::new(scene.lab.dialled(Family::V4), 50005);
    let dialled = scene.lab.client.connect(to, DROPPED).unwrap();
    let (accepted, _) = data.accept().unwrap();
    // Three times the idle timeout.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(scene.open(), 1.0, "the session is there, and so are its ports");
    drop(dialled);
    drop(accepted);
    // Now it is idle, though the client keeps its control connection.
    scene.wait_until_nothing_is_open();
    let ended = [("reason", "idle_timeout")];
    assert_eq!(Metrics::read(scene.lab.gateway()).sum("ftpgate_sessions_ended_total", &ended), 1.0);
    drop(control);
}

/// A 234 alone opens nothing: who goes on in clear text is no TLS client.
#[test]
fn who_only_says_auth_gets_nothing() {
    let scene = Secured::passing(Topology::Forward, ServerKind::Vsftpd);
    let mut control = Control::connect(&scene.lab.client, scene.lab.ftp(Family::V4));
    assert_eq!(control.reply().code, 220);
    assert_eq!(control.ask("AUTH TLS").code, 234);
    assert_eq!((scene.elements(), scene.open()), (0, 0.0));
    control.line("USER anonymous");
    while control.read_line().is_some() {}
    assert_eq!((scene.elements(), scene.open()), (0, 0.0));
}

#[test]
fn refuse_keeps_sessions_in_clear_text() {
    for topology in [Topology::Forward, Topology::Reverse] {
        let scene = Secured::new(topology, ServerKind::Vsftpd, "ftps: refuse");
        let folder = Folder::new();
        for family in Family::ALL {
            let mut direct = Control::connect(&scene.lab.server, "127.0.0.1:21".parse().unwrap());
            assert_eq!(direct.reply().code, 220);
            assert!(direct.ask("FEAT").text.contains("AUTH TLS"), "the server would");
            let mut control = Control::connect(&scene.lab.client, scene.lab.ftp(family));
            assert_eq!(control.reply().code, 220);
            let features = control.ask("FEAT").text;
            assert!(!features.contains("AUTH") && features.contains("EPSV"), "{features}");
            assert_eq!(control.ask("AUTH TLS").code, 534);
            control.log_in(scene.server.user());
            assert!(control.download(&scene.lab.client, family, &format!("RETR {LARGE}")) == noise(1, MIB));

            // CURLE_USE_SSL_FAILED.
            assert_eq!(scene.curl(&folder, &["--ssl-reqd", &scene.url(family, "")]).code, 64);
            let list = scene.curl(&folder, &["--ssl", &scene.url(family, "")]).expect_ok();
            assert!(list.contains(LARGE), "{list}");
        }
    }
}
