//! OpenBSD's dialect: `rdr-to` and `nat-to` stand at the end of the rule that lets the packet pass.
//!
//! Lives here: the two rules of a pinhole. Each is written with the addresses that its packet has before that rule's own translation:
//! the rule for the way out sees what the rule for the way in has made of it. `quick` ends the evaluation, so no `match … nat-to` of the
//! administrator comes behind; with a tag there is no `quick`, and where the source must stay what it is (`source: client`), the
//! administrator's rule has to say `! tagged NAME` (docs/pf.md). Not here: what both dialects share (`rules.rs`).

use std::fmt::Write as _;

use super::{Passage, Way, Writer, source_port};

/// `set queue NAME` cannot stand in an anchor: pfctl knows only the queues that the text it reads defines ("queue NAME is not
/// defined"), and in an anchor's text none may be defined ("must not have queue definitions in an anchor"; parse.y and pfctl.c).
/// ftp-proxy(8) can, because it goes past pfctl. Here the administrator's rule does it: `pass … tagged TAG set queue NAME`.
const QUEUE: Option<&str> = None;

/// The rules of one pinhole.
pub(super) fn rules(text: &mut String, writer: &Writer<'_>, passage: &Passage) {
    let pinhole = &passage.pinhole;
    // pass in quick inet proto tcp from INITIATOR to ENTRANCE port = q flags S/SA keep state (max 1) label "L" rdr-to TARGET port p
    writer.filter_rule(text, Way::In, QUEUE, pinhole.initiator, pinhole.entrance);
    if pinhole.needs_dnat() {
        let _ = write!(text, " rdr-to {} port {}", pinhole.target.ip(), pinhole.target.port());
    }
    text.push('\n');
    // pass out quick inet proto tcp from INITIATOR to TARGET port = p flags S/SA keep state (max 1) label "L" nat-to SOURCE port 20
    writer.filter_rule(text, Way::Out, QUEUE, pinhole.initiator, pinhole.target);
    if pinhole.needs_snat() {
        let _ = write!(text, " nat-to {}{}", pinhole.source, source_port(passage));
    }
    text.push('\n');
}
