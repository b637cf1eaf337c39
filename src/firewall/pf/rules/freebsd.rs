//! FreeBSD's dialect: `rdr` and `nat` are rules of their own, stand before all filter rules, and are evaluated before them.
//!
//! Lives here: the translation rules of a pinhole and its filter rules, which see translated addresses. FreeBSD 15 also takes OpenBSD's
//! `rdr-to` and `nat-to`; what is written here works on 14 and 15. Not here: what both dialects share (`rules.rs`).
//!
//! With a tag the translation stays where it is, in `rdr` and `nat`, and the filter rules become `match … tag` (FreeBSD 14
//! has it; there a match rule can tag and queue, and not translate). Translation rules could carry the `tag`, but neither flags nor a
//! label nor a queue, and not where they say `no`. Nor would the real ftp-proxy's `pass … tag` without `quick` do: it passes whatever no
//! later rule of the administrator blocks. A packet keeps its tag from the way in to the way out, and `tagged` sees a tag that an earlier
//! rule of the same evaluation has set.

use std::fmt::Write as _;

use super::{Passage, Way, Writer, peers, source_port};
use crate::pinhole::Pinhole;

/// ALTQ's word, pf.conf(5) "queue".
const QUEUE: Option<&str> = Some("queue");

/// The translation rules of one pinhole, one for each way. What needs no translation says so: the first rule that matches wins, so the
/// administrator's `nat` for private addresses, behind our anchor, would else take a connection that must keep its own. None has
/// `pass`: the filter rules decide. Without it they cannot `log`.
pub(super) fn translation(text: &mut String, passage: &Passage) {
    let pinhole = &passage.pinhole;
    let (entrance, target) = (pinhole.entrance, pinhole.target);
    let dialled = peers(pinhole.initiator, entrance.ip()).port("", entrance.port());
    let reached = peers(pinhole.initiator, target.ip()).port("", target.port());
    // rdr inet proto tcp from INITIATOR to ENTRANCE port q -> TARGET port p
    let _ = if pinhole.needs_dnat() {
        writeln!(text, "rdr {dialled} -> {} port {}", target.ip(), target.port())
    } else {
        writeln!(text, "no rdr {dialled}")
    };
    // nat inet proto tcp from INITIATOR to TARGET port p -> SOURCE port 20
    let _ = if pinhole.needs_snat() {
        writeln!(text, "nat {reached} -> {}{}", pinhole.source, source_port(passage))
    } else {
        writeln!(text, "no nat {reached}")
    };
}

/// The filter rules of one pinhole.
pub(super) fn filter(text: &mut String, writer: &Writer<'_>, pinhole: &Pinhole) {
    // pass in quick inet proto tcp from INITIATOR to TARGET port = p flags S/SA keep state (max 1) label "L"
    writer.filter_rule(text, Way::In, QUEUE, pinhole.initiator, pinhole.target);
    text.push('\n');
    // pass out quick inet proto tcp from SOURCE to TARGET port = p flags S/SA keep state (max 1) label "L"
    writer.filter_rule(text, Way::Out, QUEUE, pinhole.source, pinhole.target);
    text.push('\n');
}
