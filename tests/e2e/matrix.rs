//! The matrix: every client, mode and family, with every server, in every direction of NAT; files compared by checksum.
//!
//! One test for each server and network. Not here: what is done in each (`tests/lab/matrix.rs`).

use crate::lab::matrix::every_combination;
use crate::lab::scene::Scene;
use crate::lab::server::ServerKind;
use crate::lab::topology::Topology;

macro_rules! tests {
    ($($name:ident: $topology:ident, $kind:ident;)+) => {
        $(#[test] fn $name() { every_combination(&Scene::new(Topology::$topology, ServerKind::$kind)); })+
    };
}

tests! {
    forward_vsftpd: Forward, Vsftpd;
    forward_proftpd: Forward, Proftpd;
    forward_pure_ftpd: Forward, PureFtpd;
    reverse_vsftpd: Reverse, Vsftpd;
    reverse_proftpd: Reverse, Proftpd;
    reverse_pure_ftpd: Reverse, PureFtpd;
    both_vsftpd: Both, Vsftpd;
    both_proftpd: Both, Proftpd;
    both_pure_ftpd: Both, PureFtpd;
}
