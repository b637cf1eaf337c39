//! Whether the kernel counts what connections carry (`net.netfilter.nf_conntrack_acct`).
//!
//! Lives here: looking, switching it on when asked, and telling the administrator what its absence means. Not here: the counts.

use std::io;
use std::path::Path;

use crate::config::Accounting;

/// Of the network namespace this process runs in.
const SWITCH: &str = "/proc/sys/net/netfilter/nf_conntrack_acct";

/// Switches it on if the configuration says so; says what it means if it is off.
pub(in crate::daemon) fn prepare(wanted: Accounting) {
    if wanted == Accounting::Enable
        && let Err(error) = std::fs::write(SWITCH, "1\n")
    {
        tracing::warn!(%error, "cannot switch on net.netfilter.nf_conntrack_acct (data.accounting: enable)");
    }
    if let Some(advice) = advice() {
        tracing::warn!("{advice}");
    }
}

/// What to tell the administrator; `None` if all is well.
pub(in crate::daemon) fn advice() -> Option<&'static str> {
    match is_on(Path::new(SWITCH)) {
        Ok(true) => None,
        Ok(false) => Some(
            "net.netfilter.nf_conntrack_acct is off: transfers are recorded without their bytes, and data.idle_timeout has no \
             effect; `sysctl -w net.netfilter.nf_conntrack_acct=1`, or data.accounting: enable",
        ),
        // Conntrack comes with the first rule that needs it.
        Err(_) => {
            Some("conntrack is not there (no /proc/sys/net/netfilter/nf_conntrack_acct); is nf_conntrack loaded?")
        }
    }
}

fn is_on(switch: &Path) -> io::Result<bool> {
    Ok(std::fs::read_to_string(switch)?.trim() == "1")
}
