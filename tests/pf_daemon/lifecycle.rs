//! Start, stop, reload and death: what becomes of anchors.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::grammar::Dialect;
use crate::lab::ftpgate::Ftpgate;
use crate::lab::topology::{Lab, Topology};
use crate::lab::{Family, wait_for};
use crate::scene::{PfScene, configuration, installed, keeper_of, start};

/// A process that has ended for sure: its number is free again, or somebody else's who never has an anchor here.
fn dead_pid() -> u32 {
    let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

fn gone(pid: u32) -> bool {
    kill(Pid::from_raw(pid as i32), None).is_err()
}

const RULE: &str = "pass in quick inet proto tcp from 192.0.2.1 to 192.0.2.2 port = 50000 flags S/SA keep state\n";

#[test]
fn what_dead_processes_left_is_removed_at_the_start_and_nothing_else() {
    let fake = installed(Dialect::OpenBsd);
    let lab = Lab::new(Topology::Reverse);
    let (stale, init) = (format!("ftpgate/{}.7", dead_pid()), "ftpgate/1.7");
    for anchor in [stale.as_str(), init, "ftpgate/by-hand", "relayd/9.9"] {
        assert_eq!(fake.run(&["-q", "-a", anchor, "-f", "-"], RULE).0, 0);
    }
    let ftpgate = start(&lab, &fake, Dialect::OpenBsd, |config| config);
    assert_eq!(fake.anchors().into_keys().collect::<Vec<_>>(), [init, "ftpgate/by-hand", "relayd/9.9"]);
    assert!(ftpgate.log().contains(&stale), "and it says so:\n{}", ftpgate.log());
}

#[test]
fn a_daemon_that_is_told_to_stop_leaves_nothing() {
    let mut pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let keeper = keeper_of(pf.pid());
    let mut control = pf.scene.login(Family::V4);
    control.passive(Family::V4);
    assert_eq!(pf.fake.anchors().len(), 1);
    pf.ftpgate().signal(Signal::SIGTERM);
    pf.ftpgate().signal(Signal::SIGTERM);
    let status = pf.ftpgate().daemon.wait_for_exit(Duration::from_secs(10));
    assert!(status.success(), "{status:?}");
    assert!(pf.fake.anchors().is_empty());
    wait_for("the keeper's end", Duration::from_secs(5), || gone(keeper).then_some(()));
}

/// Also what somebody else left meanwhile, who cannot come back for it.
#[test]
fn a_daemon_that_stops_removes_what_the_dead_left_too() {
    let mut pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let stale = format!("ftpgate/{}.7", dead_pid());
    // On the gateway, where it also becomes rules of nftables.
    let loaded = pf.scene.gateway().inside(|| pf.fake.run(&["-q", "-a", &stale, "-f", "-"], RULE).0);
    assert_eq!(loaded, 0);
    pf.ftpgate().signal(Signal::SIGTERM);
    assert!(pf.ftpgate().daemon.wait_for_exit(Duration::from_secs(10)).success());
    assert!(pf.fake.anchors().is_empty(), "{:?}", pf.fake.anchors());
}

/// pf has no rules that expire and no owner of anchors: the keeper is what remains when the daemon is killed.
#[test]
fn a_daemon_that_is_killed_leaves_nothing() {
    let mut pf = PfScene::new(Topology::Reverse, Dialect::FreeBsd);
    let keeper = keeper_of(pf.pid());
    let mut control = pf.scene.login(Family::V4);
    control.passive(Family::V4);
    assert_eq!(pf.fake.anchors().len(), 1);
    pf.ftpgate().signal(Signal::SIGKILL);
    wait_for("no anchor", Duration::from_secs(5), || pf.fake.anchors().is_empty().then_some(()));
    wait_for("the keeper's end", Duration::from_secs(5), || gone(keeper).then_some(()));
}

/// Without its keeper the daemon can neither open nor close: it ends with an error, and the next start cleans up.
#[test]
fn a_daemon_whose_keeper_is_killed_ends_and_the_next_one_removes_what_is_left() {
    let mut pf = PfScene::new(Topology::Reverse, Dialect::OpenBsd);
    let keeper = keeper_of(pf.pid());
    let mut control = pf.scene.login(Family::V4);
    control.passive(Family::V4);
    kill(Pid::from_raw(keeper as i32), Signal::SIGKILL).unwrap();
    let status = pf.ftpgate().daemon.wait_for_exit(Duration::from_secs(15));
    assert!(!status.success(), "{status:?}");
    assert!(pf.ftpgate().log().contains("the keeper"), "{}", pf.ftpgate().log());
    assert_eq!(pf.fake.anchors().len(), 1, "nobody was left to remove it");
    let _next = start(&pf.scene.lab, &pf.fake, Dialect::OpenBsd, |config| config);
    assert!(pf.fake.anchors().is_empty());
}

/// The keeper takes a pinhole out when its time is over, even if the daemon is stuck.
#[test]
fn a_pinhole_ends_with_its_time_although_the_daemon_is_stopped() {
    let mut pf =
        PfScene::with(Topology::Reverse, Dialect::OpenBsd, |config| config.with("data", "{ pinhole_timeout: 1s }"));
    let mut control = pf.scene.login(Family::V4);
    control.passive(Family::V4);
    pf.ftpgate().signal(Signal::SIGSTOP);
    assert_eq!(pf.fake.anchors().len(), 1);
    wait_for("no anchor", Duration::from_secs(12), || pf.fake.anchors().is_empty().then_some(()));
    pf.ftpgate().signal(Signal::SIGCONT);
    control.must("NOOP", 200);
}

#[test]
fn a_reload_reads_the_file_and_opens_the_transfer_log_that_are_out_of_the_daemons_reach() {
    let log = std::env::temp_dir().join(format!("fg-xferlog-{}", std::process::id()));
    let fake = installed(Dialect::OpenBsd);
    let lab = Lab::new(Topology::Reverse);
    let logged = format!("{{ level: debug, transfers: {} }}", log.display());
    let config = configuration(&lab, &fake.path(), Dialect::OpenBsd).with("log", &logged);
    fake.realise("0x10000000");
    let server = crate::lab::server::Server::start(crate::lab::server::ServerKind::Vsftpd, &lab.server);
    let ftpgate = Ftpgate::start(lab.gateway(), &config);
    let mut control = crate::lab::control::Control::login(&lab.client, lab.ftp(Family::V4), server.user());
    let rotated = log.with_extension("1");
    std::fs::rename(&log, &rotated).unwrap();
    ftpgate.rewrite(&config.clone().with("limits", "{ sessions: 7 }"));
    ftpgate.signal(Signal::SIGHUP);
    wait_for("the reload", Duration::from_secs(5), || {
        ftpgate.log().contains("changed=\"limits.sessions\"").then_some(())
    });
    control.download(&lab.client, Family::V4, &format!("RETR {}", crate::lab::server::LARGE));
    wait_for("a line in the new log", Duration::from_secs(10), || {
        std::fs::read_to_string(&log).is_ok_and(|text| text.contains("large.bin")).then_some(())
    });
    assert_eq!(std::fs::read_to_string(&rotated).unwrap(), "");
    let _ = (std::fs::remove_file(&log), std::fs::remove_file(&rotated));
}
