//! What the daemon does about netfilter: nftables and conntrack, which only Linux has.
//!
//! Lives here: from the configuration to backend and tracker; below it `accounting` (whether the kernel counts). On other systems
//! the same functions say that there is no such thing, so that nobody above needs to know on which system it runs.

#[cfg(target_os = "linux")]
mod accounting;

#[cfg(target_os = "linux")]
pub(super) use self::accounting::{advice, prepare};
#[cfg(target_os = "linux")]
pub(super) use self::linux::{backend, check, tracker};

#[cfg(not(target_os = "linux"))]
pub(super) use self::elsewhere::{advice, backend, check, prepare, tracker};

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::Arc;

    use crate::config::{self, Config};
    use crate::firewall::conntrack::{Options, Tracker};
    use crate::firewall::nftables::{self, Nftables};
    use crate::firewall::tracking::Follow;
    use crate::firewall::{Backend, Error};

    /// The nftables backend.
    ///
    /// # Errors
    /// As of [`Nftables::new`].
    pub(in crate::daemon) fn backend(config: &Config) -> Result<Box<dyn Backend>, Error> {
        Ok(Box::new(Nftables::new(settings(config))?))
    }

    /// Whether it can be used; leaves it as it is, also while an ftpgate is running.
    ///
    /// # Errors
    /// As of [`Nftables::rehearse`].
    pub(in crate::daemon) fn check(config: &Config) -> Result<(), Error> {
        Nftables::new(settings(config))?.rehearse()
    }

    /// Follows data connections by conntrack's events.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub(in crate::daemon) fn tracker(config: &Config) -> Result<Arc<dyn Follow>, Error> {
        let nft = &config.firewall.nftables;
        // Sessions ask when a connection begins and when it ends, and nothing between.
        let options = Options { every: false, ..Options::new(nft.mark, nft.mask) };
        Ok(Arc::new(Tracker::start_with(options)?))
    }

    fn settings(config: &Config) -> nftables::Settings {
        let ranges = config.passive_ranges();
        let nft = &config.firewall.nftables;
        nftables::Settings {
            table: nft.table.clone(),
            ownership: match nft.ownership {
                config::Ownership::Managed => nftables::Ownership::Managed,
                config::Ownership::Sets => nftables::Ownership::Sets,
            },
            mark: nft.mark,
            mask: nft.mask,
            ranges,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::sync::Arc;

    use crate::config::{Accounting, Config};
    use crate::firewall::tracking::Follow;
    use crate::firewall::{Backend, Error, ErrorKind};

    fn unsupported() -> Error {
        Error::new(
            ErrorKind::Unsupported,
            "nftables is the packet filter of Linux, and this is another system (firewall.backend): use pf, or leave the key out",
        )
    }

    pub(in crate::daemon) fn backend(_config: &Config) -> Result<Box<dyn Backend>, Error> {
        Err(unsupported())
    }

    pub(in crate::daemon) fn check(_config: &Config) -> Result<(), Error> {
        Err(unsupported())
    }

    pub(in crate::daemon) fn tracker(_config: &Config) -> Result<Arc<dyn Follow>, Error> {
        Err(unsupported())
    }

    /// There is no switch: what the kernel counts it always counts.
    pub(in crate::daemon) fn prepare(_wanted: Accounting) {}

    /// As of [`prepare`].
    pub(in crate::daemon) fn advice() -> Option<&'static str> {
        None
    }
}
