//! The stand-in for pfctl, run for real: that it keeps, lists, refuses, fails and kills as pfctl does, also when many call it at once.

use std::time::{Duration, Instant};

use crate::fake::Fake;
use crate::grammar::Dialect;
use crate::state::State;

const BOTH: [Dialect; 2] = [Dialect::FreeBsd, Dialect::OpenBsd];

const PASS: &str = "pass in quick inet proto tcp from 192.0.2.1 to 192.0.2.2 port = 50000 flags S/SA keep state (max 1) label \"f1\"\n";

fn ok(fake: &Fake, arguments: &[&str], stdin: &str) -> String {
    let (exit, stdout, stderr) = fake.run(arguments, stdin);
    assert_eq!((exit, stderr.as_str()), (0, ""), "{arguments:?}");
    stdout
}

fn refused(fake: &Fake, arguments: &[&str], stdin: &str) -> String {
    let (exit, stdout, stderr) = fake.run(arguments, stdin);
    assert_eq!((exit, stdout.as_str()), (1, ""), "{arguments:?}: {stderr}");
    stderr
}

fn load(fake: &Fake, anchor: &str, text: &str) {
    ok(fake, &["-q", "-a", anchor, "-f", "-"], text);
}

#[test]
fn an_anchor_is_replaced_whole_listed_and_removed_by_an_empty_text() {
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        load(&fake, "ftpgate/12.7", PASS);
        load(&fake, "ftpgate/12.10", PASS);
        assert_eq!(ok(&fake, &["-a", "ftpgate", "-s", "Anchors"], ""), "  ftpgate/12.10\n  ftpgate/12.7\n");
        let all = "  ftpgate\n  ftpgate/12.10\n  ftpgate/12.7\n";
        assert_eq!(ok(&fake, &["-v", "-s", "Anchors"], ""), all);
        let top = if dialect == Dialect::FreeBsd { "  ftpgate\n" } else { all };
        assert_eq!(ok(&fake, &["-sA"], ""), top);
        assert_eq!(ok(&fake, &["-a", "ftpgate/12.7", "-s", "rules"], ""), PASS);
        load(&fake, "ftpgate/12.7", &PASS.replace("50000", "50001"));
        assert_eq!(ok(&fake, &["-a", "ftpgate/12.7", "-sr"], ""), PASS.replace("50000", "50001"));
        load(&fake, "ftpgate/12.7", "# nothing\n\n");
        load(&fake, "ftpgate/12.10", "");
        assert_eq!(ok(&fake, &["-s", "Anchors"], ""), "", "the parent goes with its last child");
        let gone = fake.run(&["-a", "ftpgate", "-s", "Anchors"], "");
        assert_eq!(gone, (0, String::new(), "Anchor 'ftpgate' not found.\n".to_owned()));
        let gone = fake.run(&["-a", "ftpgate/12.7", "-s", "rules"], "");
        assert_eq!(gone, (0, String::new(), "pfctl: Anchor does not exist\n".to_owned()));
        assert!(fake.anchors().is_empty());
        assert_eq!(fake.calls()[0].argv, ["-q", "-a", "ftpgate/12.7", "-f", "-"]);
        assert_eq!(fake.calls()[0].stdin, PASS);
    }
}

#[test]
fn a_wrong_text_leaves_the_anchor_as_it_was_and_says_where() {
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        load(&fake, "ftpgate/1.1", PASS);
        let stderr = refused(&fake, &["-q", "-a", "ftpgate/1.1", "-f", "-"], &format!("{PASS}pass inn all\n"));
        assert_eq!(stderr, "stdin:2: syntax error\npfctl: Syntax error in config file: pf rules not loaded\n");
        assert_eq!(fake.calls()[1].reason.as_deref(), Some("2: syntax error at `inn`"));
        assert_eq!(fake.anchors()["ftpgate/1.1"], PASS);
        let stderr = refused(&fake, &["-q", "-n", "-f", "-"], "pass inn all\n");
        assert_eq!(stderr, "stdin:1: syntax error\n");
        let stderr = refused(&fake, &["-q", "-a", "ftpgate/1.1", "-f", "-"], "block return-rst in all\n");
        assert!(stderr.starts_with("stdin:1: return-rst can only be applied to TCP rules\n"), "{stderr}");
    }
}

#[test]
fn a_file_is_loaded_or_only_read() {
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        let file = fake.folder().join("pf.conf");
        let path = file.to_str().unwrap();
        std::fs::write(&file, "set limit anchors 700\nanchor \"ftpgate/*\"\nblock\n").unwrap();
        ok(&fake, &["-n", "-f", path], "");
        assert_eq!(ok(&fake, &["-s", "rules"], ""), "");
        ok(&fake, &["-f", path], "");
        assert_eq!(ok(&fake, &["-s", "rules"], ""), "anchor \"ftpgate/*\"\nblock\n");
        assert_eq!(ok(&fake, &["-s", "Anchors"], ""), "  ftpgate\n", "the main ruleset refers to it");
        std::fs::write(&file, "block\nblock on\n").unwrap();
        let stderr = refused(&fake, &["-f", path], "");
        assert!(stderr.starts_with(&format!("{path}:2: syntax error\n")), "{stderr}");
        assert_eq!(ok(&fake, &["-sr"], ""), "anchor \"ftpgate/*\"\nblock\n");
        let stderr = refused(&fake, &["-f", "/nowhere/pf.conf"], "");
        assert!(stderr.ends_with("pfctl: Syntax error in config file: pf rules not loaded\n"), "{stderr}");
    }
}

#[test]
fn what_the_dialects_do_not_share() {
    let (freebsd, openbsd) = (Fake::install(Dialect::FreeBsd), Fake::install(Dialect::OpenBsd));
    let rdr = "rdr inet proto tcp from 192.0.2.1 to 192.0.2.2 port 50000 -> 10.0.0.1 port 5000\n";
    load(&freebsd, "ftpgate/1.1", &format!("{rdr}{PASS}"));
    assert_eq!(ok(&freebsd, &["-a", "ftpgate/1.1", "-s", "nat"], ""), rdr);
    assert_eq!(ok(&freebsd, &["-a", "ftpgate/1.1", "-s", "rules"], ""), PASS);
    refused(&openbsd, &["-a", "ftpgate/1.1", "-f", "-"], rdr);
    assert!(refused(&openbsd, &["-s", "nat"], "").starts_with("pfctl: Unknown show modifier 'nat'\nusage: "));
}

#[test]
fn the_511th_anchor_is_one_too_many_until_the_main_ruleset_raises_the_limit() {
    let fake = Fake::install(Dialect::OpenBsd);
    for number in 1..=510 {
        load(&fake, &format!("ftpgate/1.{number}"), PASS);
    }
    let arguments = ["-q", "-a", "ftpgate/1.511", "-f", "-"];
    assert_eq!(refused(&fake, &arguments, PASS), "pfctl: pfctl_rules\n");
    load(&fake, "ftpgate/1.510", "");
    load(&fake, "ftpgate/1.511", PASS);
    assert!(ok(&fake, &["-s", "memory"], "").contains("anchors       hard limit      512\n"));
    fake.load_main("set limit anchors 20000\nanchor \"ftpgate/*\"\n");
    assert!(ok(&fake, &["-s", "memory"], "").contains("anchors       hard limit    20000\n"));
    load(&fake, "ftpgate/1.510", PASS);
    assert_eq!(fake.anchors().len(), 511, "a new main ruleset keeps the other anchors");
}

#[test]
fn knobs_make_it_fail_as_the_real_one_fails() {
    let fake = Fake::install(Dialect::FreeBsd);
    fake.fail_busy(2);
    let arguments = ["-q", "-a", "ftpgate/1.1", "-f", "-"];
    for _ in 0..2 {
        assert_eq!(refused(&fake, &arguments, PASS), "pfctl: DIOCXCOMMIT: Device busy\n");
    }
    assert!(fake.anchors().is_empty());
    ok(&fake, &arguments, PASS);
    fake.deny();
    assert_eq!(refused(&fake, &arguments, PASS), "pfctl: /dev/pf: Permission denied\n");
    assert_eq!(refused(&fake, &["-s", "info"], ""), "pfctl: /dev/pf: Permission denied\n");
    fake.remove("denied");
    let status = |fake: &Fake| ok(fake, &["-s", "info"], "").lines().next().unwrap().to_owned();
    assert_eq!(status(&fake), "Status: Enabled for 0 days 00:01:10           Debug: Urgent");
    fake.disable();
    assert!(status(&fake).starts_with("Status: Disabled for "));
    let begin = Instant::now();
    fake.hang(Duration::from_millis(300));
    ok(&fake, &["-s", "info"], "");
    assert!(begin.elapsed() >= Duration::from_millis(300));
}

#[test]
fn anything_else_is_answered_with_the_usage() {
    let fake = Fake::install(Dialect::OpenBsd);
    for arguments in [
        &["-F", "all"][..],
        &["-a", "ftpgate/1.1"],
        &["-k", "10.0.0.1"],
        &["-k", "label"],
        &["-k", "id", "-k", "zz"],
        &["-s", "everything"],
        &["ftpgate"],
        &["-a"],
        &["-e"],
        &[],
    ] {
        assert!(refused(&fake, arguments, "").contains("usage: pfctl"), "{arguments:?}");
    }
    for (anchor, expected) in [
        ("", "pfctl: anchor name must not be empty\n"),
        ("_1", "pfctl: anchor names beginning with '_' cannot be modified from the command line\n"),
        ("ftpgate/*", "pfctl: a text is loaded into one anchor, not into all below it\n"),
        (&format!("ftpgate/{}", "1".repeat(64)), "pfctl: pfctl_rules\n"),
        ("ftpgate//1", "pfctl: pfctl_rules\n"),
    ] {
        assert_eq!(refused(&fake, &["-a", anchor, "-f", "-"], PASS), expected);
    }
    load(&fake, &format!("ftpgate/{}", "1".repeat(63)), PASS);
}

fn states() -> Vec<State> {
    let address = |text: &str| text.parse().unwrap();
    let mut inbound = State::new(1, "f1", false, address("10.0.0.2:40000"), address("203.0.113.1:61000"));
    inbound.after.1 = address("203.0.113.5:50000");
    let mut outbound = State::new(2, "f1", true, address("10.0.0.2:40000"), address("203.0.113.5:50000"));
    outbound.after.0 = address("198.51.100.1:50001");
    outbound.tcp = ("SYN_SENT".to_owned(), "CLOSED".to_owned());
    let mut v6 = State::new(0xabc, "f2", false, address("[2001:db8::1]:40000"), address("[2001:db8:1::5]:50000"));
    v6.tcp = ("FIN_WAIT_2".to_owned(), "CLOSE_WAIT".to_owned());
    v6.windows.1.scale = None;
    (v6.anchor, v6.rule) = (None, None);
    vec![inbound, outbound, v6]
}

#[test]
fn states_look_as_pf_print_state_prints_them() {
    let short = "\
all tcp 203.0.113.5:50000 (203.0.113.1:61000) <- 10.0.0.2:40000       ESTABLISHED:ESTABLISHED
all tcp 198.51.100.1:50001 (10.0.0.2:40000) -> 203.0.113.5:50000       SYN_SENT:CLOSED
all tcp 2001:db8:1::5[50000] <- 2001:db8::1[40000]       CLOSE_WAIT:FIN_WAIT_2
";
    let long = "\
all tcp 2001:db8:1::5[50000] <- 2001:db8::1[40000]       CLOSE_WAIT:FIN_WAIT_2
   [1 + 65535]  [1 + 65535]
   age 00:01:10, expires in 23:59:58, 5:4 pkts, 300:400 bytes
   id: 0000000000000abc creatorid: deadbeef
";
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        fake.set_states(&states());
        assert_eq!(ok(&fake, &["-s", "states"], ""), short);
        assert_eq!(ok(&fake, &["-ss"], ""), short);
        let verbose = ok(&fake, &["-ss", "-vv"], "");
        let own = if dialect == Dialect::FreeBsd { "   origif: em0\n" } else { "" };
        assert!(verbose.ends_with(&format!("{long}{own}")), "{verbose}");
        let first = "   [1 + 65535] wscale 6  [1 + 65535] wscale 6\n   age 00:01:10, expires in 23:59:58, 5:4 pkts, 300:400 \
             bytes, anchor 3, rule 1\n   id: 0000000000000001 creatorid: deadbeef\n";
        assert!(verbose.contains(first), "{verbose}");
        assert!(!ok(&fake, &["-vss"], "").contains("id: "));
    }
}

#[test]
fn states_are_killed_by_label_and_by_id_and_an_unknown_label_is_no_error() {
    for dialect in BOTH {
        let fake = Fake::install(dialect);
        fake.set_states(&states());
        let killed = |arguments: &[&str]| {
            let (exit, stdout, stderr) = fake.run(arguments, "");
            assert_eq!((exit, stdout.as_str()), (0, ""));
            stderr
        };
        assert_eq!(killed(&["-k", "label", "-k", "nobody"]), "killed 0 states\n");
        assert_eq!(killed(&["-k", "label", "-k", "f1"]), "killed 2 states\n");
        assert_eq!(fake.states().len(), 1);
        assert_eq!(killed(&["-k", "id", "-k", "0000000000000abc/1"]), "killed 0 states\n");
        assert_eq!(killed(&["-q", "-k", "id", "-k", "0000000000000abc/deadbeef"]), "");
        assert!(fake.states().is_empty());
    }
}

#[test]
fn labels_are_counted_from_the_states_of_their_rules() {
    let fake = Fake::install(Dialect::FreeBsd);
    load(&fake, "ftpgate/1.1", &format!("{}{PASS}", PASS.replace("50000", "50001")));
    fake.set_states(&states());
    let text = ok(&fake, &["-a", "ftpgate/1.1", "-s", "labels"], "");
    assert_eq!(text, "f1 0 0 0 0 0 0 0 0\nf1 2 18 1400 9 700 9 700 2\n");
}

#[test]
fn many_at_once_lose_nothing() {
    let fake = Fake::install(Dialect::OpenBsd);
    fake.load_main("set limit anchors 20000\nanchor \"ftpgate/*\"\n");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let fake = &fake;
            scope.spawn(move || {
                for number in 0..40 {
                    let anchor = format!("ftpgate/{thread}.{number}");
                    load(fake, &anchor, PASS);
                    if number % 2 == 0 {
                        load(fake, &anchor, "");
                    }
                }
            });
        }
    });
    assert_eq!(fake.anchors().len(), 8 * 20);
    assert_eq!(fake.calls().len(), 1 + 8 * 60);
}
