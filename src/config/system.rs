//! For which system a configuration is, and which ways of capture that system has.
//!
//! Lives here: [`System`], `capture_fits`. A file can be checked, and its rules printed, on another system than the one it is
//! for; so this is about what the file says, and not about where it is read. Not here: who asks (`validate`).

use super::values::Fault;
use super::{Backend, Capture, Dialect, Firewall};

/// The system whose packet filter a configuration is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum System {
    /// With nftables.
    Linux,
    /// With pf, in which `rdr` and `DIOCNATLOOK` work.
    FreeBsd,
    /// With pf, in which `divert-to` works.
    OpenBsd,
}

impl System {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Linux, Self::FreeBsd, Self::OpenBsd];

    /// The one this program was built for.
    pub const HERE: Self = if cfg!(target_os = "freebsd") {
        Self::FreeBsd
    } else if cfg!(target_os = "openbsd") {
        Self::OpenBsd
    } else {
        Self::Linux
    };

    /// The one whose packet filter is configured; a backend that belongs to no system belongs here.
    pub fn of(firewall: &Firewall) -> Self {
        match (firewall.backend, firewall.pf.dialect) {
            (Backend::Nftables, _) => Self::Linux,
            (Backend::Pf, Some(Dialect::FreeBsd)) => Self::FreeBsd,
            (Backend::Pf, Some(Dialect::OpenBsd)) => Self::OpenBsd,
            (Backend::Pf, None) | (Backend::Relay | Backend::DryRun, _) => Self::HERE,
        }
    }

    /// How a connection usually gets to a listener there.
    pub fn usual_capture(self) -> Capture {
        match self {
            Self::Linux | Self::FreeBsd => Capture::Redirect,
            Self::OpenBsd => Capture::Divert,
        }
    }
}

/// Whether a system can tell where a connection was going that got to us this way.
///
/// # Errors
/// Why not, and what to write instead.
pub(super) fn capture_fits(capture: Capture, system: System) -> Result<(), Fault> {
    let (problem, remedy) = match (system, capture) {
        (_, Capture::Direct)
        | (System::Linux, Capture::Redirect | Capture::Tproxy)
        | (System::FreeBsd, Capture::Redirect)
        | (System::OpenBsd, Capture::Divert) => return Ok(()),
        (System::Linux, Capture::Divert) => {
            ("divert is OpenBSD's divert-to, and nftables has nothing like it", "use redirect or tproxy on Linux")
        }
        (System::FreeBsd, Capture::Divert) => (
            "on FreeBSD divert-to leads to divert(4) sockets, so no connection would ever arrive",
            "use redirect, with a `rdr` rule",
        ),
        (System::FreeBsd, Capture::Tproxy) => {
            ("tproxy belongs to nftables, and FreeBSD's pf has nothing like it", "use redirect, with a `rdr` rule")
        }
        (System::OpenBsd, Capture::Redirect) => (
            "OpenBSD's pf does not tell where a connection was going that rdr-to led here",
            "use divert, with a `divert-to` rule",
        ),
        (System::OpenBsd, Capture::Tproxy) => {
            ("tproxy belongs to nftables; OpenBSD's pf has divert-to", "use divert, with a `divert-to` rule")
        }
    };
    Err(Fault::new(problem, remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_capture_is_taken_or_refused_as_the_system_can() {
        use Capture::{Direct, Divert, Redirect, Tproxy};
        let fitting = |system| match system {
            System::Linux => [Redirect, Tproxy, Direct].as_slice(),
            System::FreeBsd => &[Redirect, Direct],
            System::OpenBsd => &[Divert, Direct],
        };
        let mut refused = Vec::new();
        for system in System::ALL {
            assert!(fitting(system).contains(&system.usual_capture()), "{system:?}");
            for &capture in Capture::ALL {
                match capture_fits(capture, system) {
                    Ok(()) => assert!(fitting(system).contains(&capture), "{system:?} {capture:?}"),
                    Err(fault) => {
                        assert!(!fitting(system).contains(&capture), "{system:?} {capture:?}");
                        // The way out is one that is taken.
                        let instead = system.usual_capture().as_str();
                        assert!(fault.remedy.starts_with(&format!("use {instead}")), "{fault:?}");
                        refused.push(fault.problem);
                    }
                }
            }
        }
        assert_eq!(refused.len(), 5);
        refused.dedup();
        assert_eq!(refused.len(), 5, "each has its own reason: {refused:#?}");
    }
}
