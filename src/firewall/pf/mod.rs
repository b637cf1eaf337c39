//! pf: pinholes as rules in anchors of FreeBSD's and OpenBSD's packet filter.
//!
//! Lives here: what the files below have in common. Below it: [`rules`] (from pinholes to pf's own language; pure). Not here:
//! choosing ports, timing, retrying.

pub mod rules;
