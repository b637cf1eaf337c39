//! What ftpgate says when it may not change the packet filter.

use caps::{CapSet, Capability};
use ftpgate::firewall::nftables::{Nftables, Ownership, Settings};
use ftpgate::firewall::{Backend as _, Change, ErrorKind};
use std::net::SocketAddr;

use crate::lab::{Namespace, families, pinhole};

const ADVICE: &str = "run ftpgate as root or give it CAP_NET_ADMIN (`setcap cap_net_admin+ep` on the binary, or \
                      `AmbientCapabilities=CAP_NET_ADMIN` in its systemd unit)";

/// For this thread only.
fn give_up_net_admin() {
    caps::drop(None, CapSet::Effective, Capability::CAP_NET_ADMIN).unwrap();
}

#[test]
fn without_the_capability_it_does_not_start() {
    let namespace = Namespace::new();
    for (ownership, there) in [(Ownership::Managed, false), (Ownership::Managed, true), (Ownership::Sets, true)] {
        if there {
            namespace.nft("add table inet ftpgate");
        }
        let error = namespace.run(|| {
            give_up_net_admin();
            let mut backend = Nftables::new(Settings { ownership, ..Settings::default() }).unwrap();
            backend.verify().unwrap_err()
        });
        assert_eq!(error.kind(), ErrorKind::Permission);
        let beginning = "cannot look for nftables table inet ftpgate: the kernel refused the table (EPERM)";
        assert_eq!(error.to_string(), format!("{beginning}; {ADVICE}"));
    }
}

#[test]
fn with_the_capability_lost_no_pinhole_opens() {
    let namespace = Namespace::new();
    let [plan, _] = families();
    let target = SocketAddr::new(plan.server, 5000);
    let mut backend = namespace.backend(&Settings::default());
    let (opened, cleared) = namespace.run(|| {
        give_up_net_admin();
        (backend.apply(&[Change::Open(pinhole(plan.client, target, target, plan.client))]), backend.clear())
    });
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Permission);
    assert_eq!(cleared.unwrap_err().kind(), ErrorKind::Permission);
    assert_eq!(namespace.counts("ftpgate"), [0; 6]);
}
