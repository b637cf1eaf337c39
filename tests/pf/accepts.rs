//! What the grammar takes and what it refuses, each refusal with its reason and line.

use proptest::prelude::*;

use crate::grammar::{Dialect, Place, parse};

use Dialect::{FreeBsd, OpenBsd};

const BOTH: &[Dialect] = &[FreeBsd, OpenBsd];
const FREE: &[Dialect] = &[FreeBsd];
const OPEN: &[Dialect] = &[OpenBsd];

/// Lines that stand alone, and who takes them.
const TAKEN: &[(&[Dialect], &str)] = &[
    // ftp-proxy(8) of OpenBSD, as captured.
    (
        OPEN,
        "pass in quick on rdomain 0 inet proto tcp from 192.0.2.10 to 203.0.113.5 port = 60000 flags S/SA keep state (max 1) \
         rtable 0 rdr-to 203.0.113.5 port 50000",
    ),
    (
        OPEN,
        "pass out quick on rdomain 0 inet proto tcp from 192.0.2.10 to 203.0.113.5 port = 50000 flags S/SA keep state (max 1) \
         nat-to 198.51.100.1",
    ),
    (
        OPEN,
        "pass out quick inet proto tcp from 203.0.113.5 to 192.0.2.10 port = 40000 flags S/SA keep state (max 1) nat-to \
         203.0.113.5 port 20",
    ),
    (
        OPEN,
        "match in on rdomain 0 inet proto tcp from 192.0.2.10 to 203.0.113.5 port = 60000 flags S/SA rtable 0 tag FTP rdr-to \
         203.0.113.5 port 50000",
    ),
    // And of FreeBSD.
    (FREE, "rdr inet proto tcp from 192.0.2.10 to 203.0.113.5 port 60000 -> 203.0.113.5 port 50000"),
    (FREE, "nat inet proto tcp from 192.0.2.10 to 203.0.113.5 port 50000 -> 198.51.100.1"),
    (FREE, "nat inet proto tcp from 203.0.113.5 to 192.0.2.10 port = 40000 -> 203.0.113.5 port 20"),
    (BOTH, "pass in quick inet proto tcp from 192.0.2.10 to 203.0.113.5 port = 50000 flags S/SA keep state (max 1)"),
    // A macro and what adheres to it, as in the FreeBSD handbook's `localnet = $int_if:network`.
    (FREE, "inside = \"em1\"\nnat on em0 from $inside:network to any -> (em0)"),
    (OPEN, "inside = \"em1\"\nmatch out on em0 inet from $inside:network to any nat-to (em0:0)"),
    // Capture.
    (OPEN, "pass in quick on em1 proto tcp to port 21 divert-to 127.0.0.1 port 8021"),
    (OPEN, "pass in quick on em1 inet6 proto tcp to port ftp divert-to ::1 port 8021"),
    (OPEN, "pass out quick proto tcp divert-reply"),
    (FREE, "rdr pass on em1 inet proto tcp from any to any port 21 -> 127.0.0.1 port 8021"),
    (FREE, "rdr pass log (all, to pflog1) on em1 proto tcp from 10.0.0.0/8 to any port ftp -> 127.0.0.1 port 8021"),
    (FREE, "no rdr on em1 proto tcp from any to 10.0.0.1 port 21"),
    (FREE, "nat on em0 inet from ! (em0) to any -> (em0)"),
    (FREE, "nat on em0 inet from 10.0.0.0/24 to any -> em0 static-port"),
    (FREE, "nat pass on em0 from 10.0.0.0/24 to any tag T -> { 192.0.2.1, 192.0.2.2 } round-robin sticky-address"),
    (FREE, "nat on em0 proto tcp from 10.0.0.0/24 to any -> 192.0.2.1 port 50001:65535"),
    (FREE, "rdr on em0 proto tcp from any to any port 5000:6000 -> 10.0.0.1 port 5000:*"),
    (FREE, "binat on em0 from 10.1.2.150 to any -> 192.0.2.3"),
    (FREE, "nat-anchor \"ftpgate/*\""),
    (FREE, "rdr-anchor \"ftpgate/*\" on em1 inet proto tcp"),
    (BOTH, "anchor \"ftpgate/*\""),
    (BOTH, "anchor ftpgate in on em1 inet proto tcp from any to any port 1024:65535"),
    (BOTH, "anchor \"ext\" on em0 {\n  block\n  anchor out {\n    pass proto tcp to port { 25, 80 443 }\n  }\n}"),
    (BOTH, "load anchor spam from \"/etc/pf-spam.conf\""),
    // Options.
    (BOTH, "set limit anchors 20000"),
    (BOTH, "set limit { states 20000, frags 2000\n src-nodes 2000 }"),
    (BOTH, "set skip on { lo0 lo1 }"),
    (BOTH, "set skip on lo"),
    (BOTH, "set block-policy return"),
    (BOTH, "set state-policy if-bound"),
    (BOTH, "set timeout { tcp.established 3600, interval 10 }"),
    (BOTH, "set loginterface em0"),
    (BOTH, "set optimization aggressive"),
    (FREE, "set require-order no"),
    (BOTH, "set reassemble yes no-df"),
    // Tables and macros.
    (BOTH, "table <clients> persist counters { 10.0.0.0/24, !10.0.0.7 2001:db8::/32 }\npass in from <clients> to any"),
    (BOTH, "table <empty> persist { }\nblock in from <empty>"),
    (BOTH, "ext = \"em0\"\nnets = \"{ 10.0.0.0/8, 192.168.0.0/16 }\"\npass out on $ext from $nets to any"),
    (BOTH, "a = 10.0.0.1\nb = $a\npass from $b"),
    // Queues.
    (
        OPEN,
        "queue std on em0 bandwidth 100M\nqueue ftp parent std bandwidth 10M burst 30M for 100ms, min 5M, max 20M qlimit 50 \
         default\npass out on em0 proto tcp to port 21 set queue ftp",
    ),
    (OPEN, "queue a on em0 bandwidth 10M\nqueue b parent a bandwidth 1M\npass out set (queue (a, b), prio (5, 6))"),
    (FREE, "altq on em0 hfsc bandwidth 10Mb queue { std, ftp }\nqueue ftp bandwidth 20% hfsc(default)\npass queue ftp"),
    (FREE, "pass out on em0 proto tcp from any to any port 21 queue (ftp, ack)"),
    // Normalisation.
    (FREE, "scrub in on em0 all fragment reassemble"),
    (FREE, "scrub on em0 all random-id no-df max-mss 1440 reassemble tcp"),
    (BOTH, "match in all scrub (no-df random-id max-mss 1440)"),
    (BOTH, "antispoof log quick for { em0, lo0 } inet label \"spoof\""),
    // Rules.
    (BOTH, "block"),
    (BOTH, "block return log (all) on em0 all"),
    (BOTH, "block drop in quick from no-route to any"),
    (BOTH, "block in from urpf-failed"),
    (BOTH, "block return-rst out quick inet proto tcp from 10.0.0.1 port 1024:65535 to 203.0.113.5"),
    (BOTH, "block return-rst (ttl 64) proto tcp"),
    (BOTH, "block return-icmp (port-unr) proto udp"),
    (
        BOTH,
        "pass log quick on { em0 ! em1 } inet6 proto { tcp udp } from any port > 1023 to 2001:db8::/32 port 20 >< 30",
    ),
    (BOTH, "pass quick log on em0"),
    (BOTH, "pass in proto tcp from { 10.0.0.1, ! 10.0.0.2 } to self port != 25"),
    (BOTH, "pass in proto tcp to (egress:0) port { 21, >= 49152 }"),
    (BOTH, "pass out proto tcp from self to any port 21 user _ftpgate"),
    (BOTH, "pass out proto tcp from self to any user { root >= 1000 }"),
    (BOTH, "pass inet proto icmp all icmp-type { echoreq, unreach code needfrag }"),
    (BOTH, "pass inet6 proto icmp6 icmp6-type neighbrsol"),
    (BOTH, "pass in proto tcp flags any no state"),
    (BOTH, "pass in proto tcp flags S/SAFR modulate state"),
    (
        BOTH,
        "pass in proto tcp to port 21 synproxy state (max 100, source-track rule, max-src-conn 5, tcp.established 60)",
    ),
    (BOTH, "pass in proto tcp keep state (max-src-conn-rate 15/5, if-bound)"),
    (BOTH, "pass in all label \"ftpgate 12.7\" tag FTP rtable 3"),
    (BOTH, "pass out quick proto tcp all tagged FTP"),
    (BOTH, "pass out proto tcp ! tagged FTP"),
    (BOTH, "match in proto tcp to port 21 tag FTP"),
    (FREE, "pass in on em0 route-to (em1 10.0.0.254) inet proto tcp from any to any"),
    (FREE, "pass in all label a label b"),
    (OPEN, "pass in on em0 inet proto tcp from any to any route-to 10.0.0.254"),
    (OPEN, "pass in on em0 inet proto tcp to port 21 reply-to 10.0.0.254"),
    (OPEN, "match out on egress inet from ! (egress:network) to any nat-to (egress:0)"),
    (OPEN, "match out on em0 inet proto tcp nat-to 192.0.2.1 static-port"),
    (OPEN, "pass in proto tcp to port 80 rdr-to { 10.0.0.1, 10.0.0.2 } round-robin"),
    (OPEN, "pass on em0 from 10.0.0.5 binat-to 192.0.2.5"),
    (OPEN, "pass in quick proto tcp to 10.0.0.1 port 5000 once"),
    (OPEN, "pass out received-on em1"),
    (BOTH, "pass in on em0 \\\n  proto tcp # a comment\n"),
];

/// What is refused, by whom, and why: the whole message with its line.
const REFUSED: &[(&[Dialect], &str, &str)] = &[
    (BOTH, "pass\npas in", "2: syntax error at `pas`"),
    (BOTH, "pass in in", "1: syntax error at `in`"),
    (BOTH, "pass quick in", "1: syntax error at `in`"),
    (BOTH, "pass in proto tcp on em0", "1: syntax error at `on`"),
    (BOTH, "pass in from 10.0.0.1 port = 21", "1: port only applies to tcp/udp"),
    (BOTH, "pass in proto { tcp icmp } to port 21", "1: port only applies to tcp/udp"),
    (BOTH, "pass to any from any", "1: syntax error at `from`"),
    (BOTH, "anchor ftpgate/*", "1: syntax error at `*`"),
    (BOTH, "anchor \"ftp*\"", "1: anchor name 'ftp*': * stands alone, behind the last /"),
    (BOTH, "anchor \"a//b\"", "1: anchor name 'a//b' has an empty component"),
    (BOTH, "pass in label", "1: syntax error at `end of line`"),
    (BOTH, "pass in label pass", "1: syntax error at `pass`"),
    (BOTH, "pass in tag", "1: syntax error at `end of line`"),
    (BOTH, "pass in proto tcp to port 70000", "1: illegal port value 70000"),
    (BOTH, "pass in proto tcp to port nosuch", "1: unknown port nosuch"),
    (BOTH, "pass in proto tcp to port 30:20", "1: invalid port range: 30:20"),
    (BOTH, "pass in proto nosuch", "1: unknown protocol nosuch"),
    (BOTH, "pass in proto 0", "1: proto 0 cannot be used"),
    (BOTH, "pass in from 10.0.0.256", "1: no IP address found for 10.0.0.256"),
    (BOTH, "pass in from 10.0.0.0/33", "1: the number 33 is outside 0 to 32"),
    (BOTH, "pass in from ftp.example.org", "1: no IP address found for ftp.example.org"),
    (BOTH, "pass in from { 10.0.0.1, }", "1: syntax error at `}`"),
    (BOTH, "pass in from { }", "1: syntax error at `}`"),
    (BOTH, "pass in from { 10.0.0.1", "1: syntax error: `{` has no `}`"),
    (BOTH, "pass in inet from 2001:db8::1", "1: rule expands to no valid combination"),
    (BOTH, "pass in from 10.0.0.1 to 2001:db8::1", "1: rule expands to no valid combination"),
    (BOTH, "pass in inet6 proto icmp", "1: proto icmp doesn't match address family"),
    (BOTH, "pass inet proto tcp icmp-type echoreq", "1: icmp-type/code only applies to icmp"),
    (BOTH, "pass in proto udp flags S/SA", "1: flags only apply to tcp"),
    (BOTH, "pass in proto tcp flags S/A", "1: illegal flags: what is wanted is not among what is looked at"),
    (BOTH, "pass in proto tcp flags S/SX", "1: unknown flag X"),
    (BOTH, "pass in proto tcp flags S/SA flags any", "1: flags cannot be redefined"),
    (BOTH, "pass in user root", "1: user only applies to tcp/udp"),
    (BOTH, "block return-rst in", "1: return-rst can only be applied to TCP rules"),
    (BOTH, "block return-rst in proto { tcp udp }", "1: return-rst can only be applied to TCP rules"),
    (FREE, "block in proto tcp keep state (max 1)", "1: keep state on block rules doesn't make sense"),
    (OPEN, "block in proto tcp keep state (max 1)", "1: keep state is great, but only for pass rules"),
    (OPEN, "match in proto tcp keep state (max 1)", "1: keep state is great, but only for pass rules"),
    (BOTH, "pass in max 1", "1: syntax error at `max`"),
    (BOTH, "pass in no state (max 1)", "1: syntax error at `(`"),
    (BOTH, "pass in keep state (max 1, max 2)", "1: state option 'max' multiple definitions"),
    (BOTH, "pass in keep state (max)", "1: syntax error at `)`"),
    (BOTH, "pass in keep state keep state", "1: modulate or keep cannot be redefined"),
    (BOTH, "pass in keep state (bogus 5)", "1: illegal timeout name bogus"),
    (BOTH, "block in allow-opts", "1: allow-opts can only be specified for pass rules"),
    (BOTH, "pass in from $nobody", "1: macro 'nobody' not defined"),
    (BOTH, "x = { 10.0.0.1 }", "1: syntax error at `{` in the value of a macro"),
    (BOTH, "x =", "1: syntax error: the macro `x` has no value"),
    (BOTH, "pass = \"em0\"", "1: syntax error at `pass`"),
    (BOTH, "pass in label \"x", "1: syntax error: a quoted string has no end on its line"),
    (BOTH, "pass in from <nobody>", "1: table <nobody> is not defined"),
    (BOTH, "set limit nosuch 5", "1: unable to set limit nosuch: bad pool name"),
    (BOTH, "set timeout nosuch 5", "1: unknown timeout nosuch"),
    (BOTH, "set nosuch", "1: syntax error behind `set`"),
    (BOTH, "set block-policy reject", "1: syntax error at `reject`"),
    (BOTH, "include \"/etc/other.conf\"", "1: `include` is not followed here: put everything in one file"),
    (BOTH, "anchor in", "1: anchor without a name needs a block"),
    (BOTH, "anchor x {\npass", "2: syntax error: `{` has no `}`"),
    (BOTH, "pass in ^", "1: syntax error at `^`"),
    // FreeBSD alone.
    (
        FREE,
        "pass in\nrdr proto tcp from any to any port 21 -> 127.0.0.1",
        "2: Rules must be in order: options, normalization, queueing, translation, filtering",
    ),
    (
        FREE,
        "nat on em0 from any to any -> (em0)\nset skip on lo0",
        "2: Rules must be in order: options, normalization, queueing, translation, filtering",
    ),
    (
        FREE,
        "anchor \"ftpgate/*\"\nnat-anchor \"ftpgate/*\"",
        "2: Rules must be in order: options, normalization, queueing, translation, filtering",
    ),
    (FREE, "pass in proto tcp to port 21 rdr-to 127.0.0.1 port 8021", "1: syntax error at `rdr-to`"),
    (FREE, "match out on em0 nat-to (em0)", "1: syntax error at `nat-to`"),
    (FREE, "pass in proto tcp to port 21 once", "1: syntax error at `once`"),
    (FREE, "pass in on rdomain 0", "1: syntax error at `rdomain`"),
    (FREE, "pass in set queue ftp", "1: syntax error at `queue`"),
    (
        FREE,
        "pass in quick proto tcp to port 21 divert-to 127.0.0.1 port 8021",
        "1: divert-to of FreeBSD reaches divert(4) sockets, not a listening program: use rdr",
    ),
    (FREE, "pass out divert-reply", "1: divert-reply has no meaning in FreeBSD pf(4)"),
    (FREE, "pass in from any to any route-to (em1 10.0.0.254)", "1: syntax error at `route-to`"),
    (FREE, "rdr on em0 proto tcp from any to any port 21", "1: 'rdr' rule requires '-> address'"),
    (FREE, "no nat on em0 from any to any -> 192.0.2.1", "1: 'no nat' rule does not need '->'"),
    (FREE, "rdr on em0 from any to any -> 127.0.0.1 port 8021", "1: rpool port only applies to tcp/udp"),
    (FREE, "rdr on em0 from any to any port 21 -> 127.0.0.1", "1: port only applies to tcp/udp"),
    (
        FREE,
        "rdr proto tcp from any to any port > 21 -> 127.0.0.1",
        "1: invalid port operator for rdr destination port, only = and : are valid",
    ),
    (
        FREE,
        "rdr inet proto tcp from any to any port 21 -> ::1 port 8021",
        "1: no translation address with matching address family found.",
    ),
    (
        FREE,
        "nat on em0 proto tcp from any to any -> 192.0.2.1 port 20 static-port",
        "1: the 'static-port' option can't be used when specifying a port range",
    ),
    (FREE, "nat on em0 from any to any -> 192.0.2.1 tag T", "1: syntax error at `tag`"),
    (FREE, "rdr quick proto tcp from any to any port 21 -> 127.0.0.1", "1: syntax error at `quick`"),
    (FREE, "nat on em0 proto tcp label x -> 192.0.2.1", "1: syntax error at `label`"),
    (FREE, "nat-anchor in", "1: syntax error at `in`"),
    (FREE, "set limit tables 5", "1: unable to set limit tables: bad pool name"),
    // OpenBSD alone.
    (OPEN, "rdr on em0 proto tcp from any to any port 21 -> 127.0.0.1 port 8021", "1: syntax error at `rdr`"),
    (OPEN, "nat on em0 from any to any -> (em0)", "1: syntax error at `nat`"),
    (OPEN, "nat-anchor \"ftpgate/*\"", "1: syntax error at `nat-anchor`"),
    (OPEN, "scrub in all", "1: syntax error at `scrub`"),
    (OPEN, "set require-order no", "1: syntax error behind `set`"),
    (OPEN, "pass in label a label b", "1: label cannot be redefined"),
    (OPEN, "pass proto tcp to port 21 rdr-to 10.0.0.1", "1: nat-to and rdr-to require a direction"),
    (OPEN, "pass out proto tcp to port 21 rdr-to 10.0.0.1", "1: rdr-to works on incoming packets: write in"),
    (OPEN, "pass in proto tcp to port 21 nat-to 10.0.0.1", "1: nat-to works on outgoing packets: write out"),
    (OPEN, "pass in proto tcp to port 21 no state rdr-to 10.0.0.1", "1: nat-to and rdr-to require keep state"),
    (OPEN, "block in proto tcp to port 21 rdr-to 10.0.0.1", "1: nat-to and rdr-to require keep state"),
    (OPEN, "pass in to 10.0.0.1 rdr-to 10.0.0.2 port 21", "1: port only applies to tcp/udp"),
    (
        OPEN,
        "pass in inet6 proto tcp to port 21 rdr-to 10.0.0.1",
        "1: no translation address with matching address family found.",
    ),
    (OPEN, "pass in proto tcp rdr-to 10.0.0.1 rdr-to 10.0.0.2", "1: cannot respecify rdr-to"),
    (OPEN, "pass in inet proto tcp to port 21 divert-to ::1 port 8021", "1: address family mismatch for divert"),
    (OPEN, "pass in proto tcp divert-to 127.0.0.1 port 0", "1: invalid divert port: 0"),
    (OPEN, "pass in proto tcp divert-to 127.0.0.1", "1: syntax error at `end of line`"),
    (OPEN, "pass out proto tcp to port 21 divert-to 127.0.0.1 port 8021", "1: address specified for outgoing divert"),
    (OPEN, "match in proto tcp divert-to 127.0.0.1 port 8021", "1: divert is not supported on match rules"),
    (OPEN, "pass out set queue nosuch", "1: queue nosuch is not defined"),
    (OPEN, "queue a bandwidth 5M", "1: root queue without interface"),
    (OPEN, "queue a on em0 bandwidth 20%", "1: syntax error at `20%`"),
    (OPEN, "queue a on em0 min 5M", "1: syntax error at `min`"),
    (OPEN, "queue a parent nosuch bandwidth 5M", "1: parent nosuch not found for a"),
    (OPEN, "pass on em0 inet route-to 10.0.0.254", "1: direction must be explicit with rules that specify routing"),
    (
        OPEN,
        "match in on em0 inet route-to 10.0.0.254",
        "1: route-to, reply-to and dup-to are not supported on match and block rules",
    ),
    (OPEN, "match in proto tcp once", "1: 'once' only applies to pass rules"),
];

#[test]
fn what_is_correct_is_taken_by_the_dialects_that_know_it_and_by_no_other() {
    let mut wrong = Vec::new();
    for (takers, text) in TAKEN {
        for dialect in BOTH {
            match parse(*dialect, Place::Main, text) {
                Err(error) if takers.contains(dialect) => wrong.push(format!("{dialect:?} refuses {text:?}: {error}")),
                Ok(_) if !takers.contains(dialect) => wrong.push(format!("{dialect:?} takes {text:?}")),
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_refused_with_its_line_and_its_reason() {
    let mut wrong = Vec::new();
    for (dialects, text, reason) in REFUSED {
        for dialect in *dialects {
            let found = parse(*dialect, Place::Main, text).map(drop).map_err(|error| error.to_string());
            if found != Err((*reason).to_owned()) {
                wrong.push(format!("{dialect:?}: {text:?}: {found:?} instead of {reason:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_as_long_as_pf_can_hold_and_no_longer() {
    let name = |length: usize| "n".repeat(length);
    for (make, longest, reason) in [
        (
            &(|n: &str| format!("pass in label \"{n}\"")) as &dyn Fn(&str) -> String,
            63,
            "rule label too long (max 63 chars)".to_owned(),
        ),
        (&|n| format!("pass in tag {n}"), 63, "tag too long, max 63 chars".to_owned()),
        (&|n| format!("pass in tagged {n}"), 63, "tag too long, max 63 chars".to_owned()),
        (
            &|n| format!("anchor \"a/{n}\""),
            63,
            format!("anchor name 'a/{}' has a component that is too long (max 63 chars)", name(64)),
        ),
        (&|n| format!("pass on {n}"), 15, "interface name too long".to_owned()),
        (&|n| format!("table <{n}> {{ 10.0.0.1 }}"), 31, format!("table name '{}' too long, max 31 chars", name(32))),
    ] {
        for dialect in BOTH {
            assert!(parse(*dialect, Place::Main, &make(&name(longest))).is_ok(), "{}", make(&name(longest)));
            let error = parse(*dialect, Place::Main, &make(&name(longest + 1))).unwrap_err();
            assert_eq!(error.message, reason);
        }
    }
}

#[test]
fn an_anchor_sets_no_options_loads_no_anchors_and_sees_the_tables_of_the_main_ruleset() {
    for dialect in BOTH {
        let anchor = |text: &str| parse(*dialect, Place::Anchor(&["known".to_owned()]), text).map(drop);
        assert!(anchor("pass in from <known>").is_ok());
        assert!(anchor("table <own> { 10.0.0.1 }\npass in from <own>").is_ok());
        assert!(anchor("pass in from <other>").is_err());
        assert!(anchor("set limit anchors 5").is_err());
        assert!(anchor("load anchor x from \"/etc/x\"").is_err());
    }
}

#[test]
fn a_text_without_rules_and_tables_is_empty() {
    for (text, empty) in [
        ("", true),
        ("\n# nothing\n\n", true),
        ("x = \"1\"\n", true),
        ("pass", false),
        ("table <t> { 10.0.0.1 }", false),
    ] {
        assert_eq!(parse(OpenBsd, Place::Main, text).unwrap().is_empty(), empty, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever stands there, the grammar comes to an end with an answer whose line exists.
    #[test]
    fn no_text_is_too_strange(
        words in prop::collection::vec(prop::sample::select(vec![
            "pass", "block", "match", "in", "out", "quick", "log", "on", "em0", "inet", "inet6", "proto", "tcp", "from", "to", "any",
            "all", "port", "21", "1:2", "10.0.0.1", "2001:db8::1", "<t>", "(", ")", "{", "}", ",", "!", "=", "->", "<", ">", "/",
            "flags", "S/SA", "keep", "no", "state", "(max 1)", "label", "\"x\"", "tag", "tagged", "rdr-to", "nat-to", "divert-to", "rdr",
            "nat", "anchor", "\"a/*\"", "nat-anchor", "table", "set", "skip", "limit", "queue", "bandwidth", "x", "$x", "#", "\"", "\\",
            "\n", "\n", "\\\n", "*", "\u{e4}",
        ]), 0..25),
    ) {
        let text = words.join(" ");
        for dialect in BOTH {
            for place in [Place::Main, Place::Anchor(&[])] {
                if let Err(error) = parse(*dialect, place, &text) {
                    prop_assert!((1..=text.lines().count() + 1).contains(&error.line), "{text:?}: {error}");
                    prop_assert!(!error.message.is_empty());
                }
            }
        }
    }
}
