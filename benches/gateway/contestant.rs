//! Who takes part: the same three hosts each, and another gateway between them.
//!
//! Lives here: the gateways' rules, programs and configurations, and what makes all of them alike. Not here: what is measured
//! (`measures.rs`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::lab::files::{Folder, set_mode};
use super::lab::ftpgate;
use super::lab::host::Host;
use super::lab::project;
use super::lab::topology::{Lab, Topology};
use super::process::{Cpu, Kept, Orders, pin};
use super::session::Mode;

/// The server, and the gateway from inside.
const SERVER: &str = "198.51.100.10";
const GATEWAY: &str = "10.0.0.1";

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It routes, without NAT and without a rule.
    Direct,
    /// nf_conntrack_ftp and masquerading.
    Kernel,
    Ftpgate,
    /// ftpgate with `backend: relay`: it is dialled, and relays control and data, as an ordinary user and without a rule.
    FtpgateRelay,
    /// HAProxy in TCP mode, for the control connection alone: it is dialled, and data connections are routed.
    Haproxy,
    /// HAProxy behind the rules that ftpgate stands behind: for control connections alone.
    HaproxyNat,
    /// HAProxy in TCP mode with splice(2): it is dialled, and relays control and, where EPSV announced them, data.
    HaproxyRelay,
    /// ProFTPD's mod_proxy as a reverse proxy: it is dialled, and relays control and data.
    ModProxy,
    /// ftp-proxy of SuSE's proxy-suite: it is dialled, and relays control and data. It knows neither EPSV nor EPRT.
    ProxySuite,
}

impl Kind {
    pub const ALL: [Self; 9] = [
        Self::Direct,
        Self::Kernel,
        Self::Ftpgate,
        Self::FtpgateRelay,
        Self::Haproxy,
        Self::HaproxyNat,
        Self::HaproxyRelay,
        Self::ModProxy,
        Self::ProxySuite,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Kernel => "kernel",
            Self::Ftpgate => "ftpgate",
            Self::FtpgateRelay => "ftpgate-relay",
            Self::Haproxy => "haproxy",
            Self::HaproxyNat => "haproxy-nat",
            Self::HaproxyRelay => "haproxy-relay",
            Self::ModProxy => "mod_proxy",
            Self::ProxySuite => "proxy-suite",
        }
    }

    /// What has to be unpacked for it below `target/lab/root`.
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Direct | Self::Kernel | Self::Ftpgate | Self::FtpgateRelay => None,
            Self::Haproxy | Self::HaproxyNat | Self::HaproxyRelay => Some(project("target/lab/root/usr/sbin/haproxy")),
            Self::ModProxy => Some(project("target/lab/root/usr/lib/proftpd/mod_proxy.so")),
            Self::ProxySuite => Some(project("target/lab/root/usr/sbin/ftp-proxy")),
        }
    }

    /// Whether it is there.
    pub fn present(self) -> bool {
        self.program().is_none_or(|program| program.exists())
    }

    /// Whether each session is a process of its own, which is slow to start and does not always keep up.
    pub fn forks(self) -> bool {
        matches!(self, Self::ModProxy | Self::ProxySuite)
    }

    /// What data connections have a way through, if they are announced by it.
    pub fn modes(self) -> &'static [Mode] {
        match self {
            Self::HaproxyNat => &[],
            Self::ProxySuite => &[Mode::Pasv, Mode::Port],
            _ => &Mode::ALL,
        }
    }
}

/// One of them, with everything around it. Fields are dropped from first to last.
pub struct Contestant {
    pub kind: Kind,
    /// Whether it failed and is measured no more.
    pub out: bool,
    orders: Orders,
    _server: Kept,
    _daemon: Option<Kept>,
    _folder: Folder,
    lab: Lab,
}

impl Contestant {
    /// Raises it, and moves files through it in all ways, comparing them.
    pub fn new(kind: Kind) -> Result<Self> {
        let lab = Lab::new(Topology::Forward);
        let folder = Folder::new();
        let gateway = lab.gateway();
        // The hosts at the ends have no firewall: it would cost them, and make a gateway's part of the whole look smaller.
        for host in [&lab.client, &lab.server] {
            host.nft("flush ruleset");
            host.sysctl("net/ipv4/ip_local_port_range", "1024 65535");
            host.sysctl("net/ipv4/tcp_max_tw_buckets", "16");
        }
        for host in [&lab.client, gateway, &lab.server] {
            // What the lab machine has by default may pace its packets with timers.
            host.sysctl("net/ipv4/tcp_congestion_control", "reno");
        }
        // Not those that ftpgate announces.
        gateway.sysctl("net/ipv4/ip_local_port_range", "10000 49151");
        gateway.sysctl("net/netfilter/nf_conntrack_tcp_timeout_time_wait", "1");
        let server = serve(&lab, &folder)?;
        let daemon = raise(kind, &lab, &folder).with_context(|| format!("raising {}", kind.name()))?;
        let (dialled, data) = match kind {
            Kind::Direct | Kind::Kernel | Kind::Ftpgate | Kind::HaproxyNat => (SERVER, SERVER),
            Kind::Haproxy => (GATEWAY, SERVER),
            Kind::ModProxy | Kind::ProxySuite | Kind::FtpgateRelay | Kind::HaproxyRelay => (GATEWAY, GATEWAY),
        };
        let orders = Orders::start(&lab.client, &["load", &format!("{dialled}:21"), data])?;
        let mut contestant = Self { kind, out: false, orders, _server: server, _daemon: daemon, _folder: folder, lab };
        let modes: String = kind.modes().iter().map(|mode| format!(" {}", mode.name())).collect();
        contestant.order(&if modes.is_empty() { "noop 1".to_owned() } else { format!("check{modes}") })?;
        Ok(contestant)
    }

    /// Lets the load generator do something.
    pub fn order(&mut self, order: &str) -> Result<Vec<f64>> {
        self.orders.give(order).with_context(|| self.kind.name())
    }

    /// The same, and what processor time it took.
    pub fn cost(&mut self, order: &str) -> Result<(Vec<f64>, Cpu)> {
        let before = self.cpu()?;
        let numbers = self.order(order)?;
        Ok((numbers, self.cpu()?.since(before)))
    }

    fn cpu(&self) -> Result<Cpu> {
        Cpu::now(&self.lab.client, self.lab.gateway(), &self.lab.server)
    }

    /// Confines all its processes to one core, or lets them free.
    pub fn pin(&self, core: Option<usize>) -> Result<()> {
        pin(&[&self.lab.client, self.lab.gateway(), &self.lab.server], core)
    }
}

/// Starts the FTP server, which is this program itself.
fn serve(lab: &Lab, folder: &Folder) -> Result<Kept> {
    let log = folder.file("server.log");
    let server = Kept::start(&lab.server, &std::env::current_exe()?, &["server"], &log)?;
    listens(&lab.server, "127.0.0.1:21", &log)?;
    Ok(server)
}

/// Waits until something accepts connections on a host; an error tells what it has logged instead.
fn listens(host: &Host, at: &str, log: &Path) -> Result<()> {
    let to = at.parse().with_context(|| at.to_owned())?;
    for _ in 0..200 {
        if host.connect(to, Duration::from_secs(1)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("no listener at {at}; its log:\n{}", std::fs::read_to_string(log).unwrap_or_default())
}

/// Makes the gateway what it is.
fn raise(kind: Kind, lab: &Lab, folder: &Folder) -> Result<Option<Kept>> {
    let gateway = lab.gateway();
    let log = folder.file("daemon.log");
    // ftpgate makes its control socket as an unprivileged user.
    set_mode(folder.path(), 0o777);
    match kind {
        Kind::Direct | Kind::Haproxy | Kind::HaproxyRelay | Kind::FtpgateRelay | Kind::ModProxy | Kind::ProxySuite => {
            // Without a rule the kernel does not track anything.
            gateway.nft("flush ruleset");
            lab.server.ip("route add 10.0.0.0/24 via 198.51.100.1\n");
        }
        Kind::Kernel => gateway.nft(KERNEL),
        // The lab has loaded nftables-examples/forward.nft.
        Kind::Ftpgate | Kind::HaproxyNat => (),
    }
    Ok(match kind {
        Kind::Direct | Kind::Kernel => None,
        Kind::Ftpgate => {
            let level = std::env::var("BENCH_LEVEL").unwrap_or_else(|_| "info".to_owned());
            let text = format!(
                "{}limits: {{ sessions: 9000, sessions_per_client: 9000 }}\nuser: nobody\n\
                 control: {{ socket: {} }}\nlog: {{ level: {level}, format: text }}\n",
                lab.gateways[0].configuration(),
                folder.file("control.sock").display(),
            );
            let config = folder.write("ftpgate.yaml", text);
            let program = ftpgate::binary();
            let daemon = Kept::start(gateway, Path::new(&program), &["run", "-c", &config.to_string_lossy()], &log)?;
            listens(gateway, "127.0.0.1:9821", &log)?;
            Some(daemon)
        }
        Kind::FtpgateRelay => {
            let text = format!(
                "listeners: [ {{ name: relay, listen: \"{GATEWAY}:21\", mode: reverse, capture: direct, server: {SERVER} }} ]\n\
                 firewall: {{ backend: relay }}\nlimits: {{ sessions: 9000, sessions_per_client: 9000 }}\nuser: null\n"
            );
            let config = folder.write("ftpgate.yaml", text);
            set_mode(&config, 0o644);
            // Any user may listen on port 21.
            gateway.sysctl("net/ipv4/ip_unprivileged_port_start", "21");
            let (by, program, config) = (ftpgate::UNPRIVILEGED, ftpgate::binary(), config.to_string_lossy());
            let arguments = [&by[1..], &[&program, "run", "-c", &config]].concat();
            let daemon = Kept::start(gateway, Path::new("/usr/bin/setpriv"), &arguments, &log)?;
            listens(gateway, "127.0.0.1:9821", &log)?;
            Some(daemon)
        }
        Kind::HaproxyRelay => {
            // Every passive port is a listener of its own.
            let (low, high) = (30_000, 30_999);
            lab.server.sysctl("net/ipv4/ip_local_port_range", &format!("{low} {high}"));
            let config = folder.write(
                "haproxy.cfg",
                format!(
                    "global\n  maxconn 1000\ndefaults\n  mode tcp\n  option splice-auto\n  timeout connect 10s\n  \
                     timeout client 1h\n  timeout server 1h\nlisten ftp\n  bind {GATEWAY}:21\n  server it {SERVER}:21\n\
                     listen data\n  bind {GATEWAY}:{low}-{high}\n  server it {SERVER}\n"
                ),
            );
            Some(haproxy(kind, gateway, &config, &format!("{GATEWAY}:21"), &log)?)
        }
        Kind::Haproxy | Kind::HaproxyNat => {
            let at = if kind == Kind::Haproxy { format!("{GATEWAY}:21") } else { "0.0.0.0:8021".to_owned() };
            let config = folder.write(
                "haproxy.cfg",
                format!(
                    "global\n  maxconn 9000\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 1h\n  \
                     timeout server 1h\nlisten ftp\n  bind {at}\n  server it {SERVER}:21\n"
                ),
            );
            Some(haproxy(kind, gateway, &config, &at.replace("0.0.0.0", "127.0.0.1"), &log)?)
        }
        Kind::ModProxy => {
            // It writes into no folder that everybody may write to.
            set_mode(folder.path(), 0o755);
            let config = folder.write("proftpd.conf", mod_proxy(folder.path()));
            let program = project("target/lab/root/usr/sbin/proftpd");
            ensure!(program.exists(), "{} is missing: run tests/setup.sh", program.display());
            let libraries = libraries();
            let daemon = Kept::start(
                gateway,
                Path::new("/usr/bin/env"),
                &[
                    &format!("LD_LIBRARY_PATH={}", libraries.display()),
                    // mod_proxy takes for granted that another module has brought it.
                    "LD_PRELOAD=libssl.so.3",
                    &program.to_string_lossy(),
                    "--nodaemon",
                    "--config",
                    &config.to_string_lossy(),
                ],
                &log,
            )?;
            listens(gateway, &format!("{GATEWAY}:21"), &log)?;
            Some(daemon)
        }
        Kind::ProxySuite => {
            let config = folder.write(
                "ftp-proxy.conf",
                format!(
                    "[-Global-]\nServerType standalone\nListen {GATEWAY}\nPort 21\nDestinationAddress {SERVER}\n\
                     DestinationTransferMode client\nForkLimit 1000000\nMaxClients 512\nLogLevel FLT\n"
                ),
            );
            let program = kind.program().context("no program")?;
            let (program, config) = (program.to_string_lossy(), config.to_string_lossy());
            let libraries = format!("LD_LIBRARY_PATH={}", libraries().display());
            let arguments = [&libraries, &*program, "-d", "-n", "-f", &config];
            let daemon = Kept::start(gateway, Path::new("/usr/bin/env"), &arguments, &log)?;
            listens(gateway, &format!("{GATEWAY}:21"), &log)?;
            Some(daemon)
        }
    })
}

/// Starts HAProxy and waits until it listens.
fn haproxy(kind: Kind, gateway: &Host, config: &Path, at: &str, log: &Path) -> Result<Kept> {
    let program = kind.program().context("no program")?;
    let (program, libraries) = (program.to_string_lossy(), format!("LD_LIBRARY_PATH={}", libraries().display()));
    let arguments = [&libraries, &*program, "-db", "-f", &config.to_string_lossy()];
    let daemon = Kept::start(gateway, Path::new("/usr/bin/env"), &arguments, log)?;
    listens(gateway, at, log)?;
    Ok(daemon)
}

/// Where the libraries of unpacked programs are, if they are not installed.
fn libraries() -> PathBuf {
    project(&format!("target/lab/root/usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

/// As nftables-examples/forward.nft, with the kernel's helper instead of ftpgate.
const KERNEL: &str = r#"flush ruleset
table inet gateway {
	ct helper ftp {
		type "ftp" protocol tcp;
		l3proto ip;
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iifname "lo" accept
		meta l4proto { icmp, ipv6-icmp } accept
	}
	chain assign {
		type filter hook prerouting priority filter; policy accept;
		iifname "lan0" tcp dport 21 ct helper set "ftp"
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		iifname "lan0" oifname "wan0" tcp dport { 21, 80, 443 } accept
	}
	chain hide_private {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "wan0" ip saddr 10.0.0.0/24 masquerade
	}
}
"#;

/// Everything that is not mod_proxy's business is off.
fn mod_proxy(folder: &Path) -> String {
    format!(
        "ServerName bench\nServerType standalone\nDefaultServer on\nPort 21\nUseIPv6 off\n\
         ModulePath {modules}\nLoadModule mod_proxy.c\nPidFile {folder}/proftpd.pid\nScoreboardFile {folder}/scoreboard\n\
         SystemLog none\nTransferLog none\nWtmpLog off\nUseReverseDNS off\nAuthPAM off\nDelayEngine off\n\
         <IfModule mod_ctrls.c>\nControlsEngine off\n</IfModule>\n\
         User root\nGroup root\nMaxInstances 2000\nRequireValidShell off\nTimeoutLinger 1\n\
         ProxyEngine on\nProxyTables {folder}/tables\nProxyRole reverse\nProxyReverseServers ftp://{SERVER}:21\n",
        modules = project("target/lab/root/usr/lib/proftpd").display(),
        folder = folder.display(),
    )
}
