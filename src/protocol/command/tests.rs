//! Tests of `command`: the table, and what is and is not a command line.

use proptest::prelude::*;

use super::*;

fn ok(line: &[u8]) -> Command<'_> {
    parse(line).unwrap()
}

fn verb(line: &str) -> Verb {
    ok(line.as_bytes()).verb
}

#[test]
fn a_command_is_a_verb_one_separator_and_an_argument() {
    let command = ok(b"PORT 1,2,3,4,5,6\r\n");
    assert_eq!((command.verb, command.name), (Verb::Port, Some("PORT")));
    assert_eq!((command.argument, command.argument_at), (&b"1,2,3,4,5,6"[..], 5));
}

#[test]
fn a_command_without_argument_has_an_empty_one_at_its_end() {
    for (line, at) in [(&b"PASV\r\n"[..], 4), (b"PASV\n", 4), (b"PASV", 4), (b"PASV \r\n", 5)] {
        let command = ok(line);
        assert_eq!((command.verb, command.argument, command.argument_at), (Verb::Pasv, &b""[..], at), "{line:?}");
    }
}

#[test]
fn c52_blanks_after_the_separator_belong_to_the_argument() {
    assert_eq!(ok(b"RETR  a b \r\n").argument, b" a b ");
    assert_eq!(ok(b"RETR\t\ta\r\n").argument, b"\ta");
    assert_eq!(ok("RETR \u{e4}\u{ff}\r\n".as_bytes()).argument, "\u{e4}\u{ff}".as_bytes());
}

#[test]
fn c53_verbs_of_three_letters_are_not_padded() {
    assert_eq!((ok(b"CWD x\r\n").name, ok(b"CWD x\r\n").argument), (Some("CWD"), &b"x"[..]));
    assert_eq!(ok(b"CWD  \r\n").argument, b" ");
}

#[test]
fn c51_blanks_before_the_verb_are_skipped() {
    let command = ok(b" \t USER root\r\n");
    assert_eq!((command.name, command.argument, command.argument_at), (Some("USER"), &b"root"[..], 8));
}

#[test]
fn c34_verbs_compare_whole_and_without_case() {
    assert_eq!(verb("pasv\r\n"), Verb::Pasv);
    assert_eq!(verb("PaSv foo\r\n"), Verb::Pasv);
    assert_eq!(ok(b"pasv\r\n").name, Some("PASV"));
    for other in ["PASVX", "PAS", "XPASV", "PASV1"] {
        assert_eq!((verb(other), ok(other.as_bytes()).name), (Verb::Other, None), "{other}");
    }
}

#[test]
fn transfers_are_the_commands_that_move_data() {
    for name in ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"] {
        assert_eq!(verb(name), Verb::Transfer);
    }
    assert_eq!((verb("MLST"), ok(b"MLST").name), (Verb::Other, Some("MLST")));
}

#[test]
fn each_verb_stands_once_in_the_table_in_upper_case() {
    let mut names: Vec<&str> = TABLE.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())));
    assert!(names.len() > 80, "{}", names.len());
    names.sort_unstable();
    assert!(names.is_sorted_by(|a, b| a < b), "a name stands there twice");
    for &(kind, names) in TABLE {
        for &name in names {
            assert_eq!(look_up(name.to_lowercase().as_bytes()), (kind, Some(name)));
        }
    }
}

#[test]
fn lines_of_blanks_are_empty() {
    for line in [&b"\r\n"[..], b"\n", b"", b" \t \r\n"] {
        assert_eq!(parse(line), Err(Malformed::Empty), "{line:?}");
    }
}

#[test]
fn c40_other_protocols_and_strange_bytes_are_bad_verbs() {
    for line in [&b"SSH-2.0-OpenSSH\r\n"[..], b"P\xc3\x84SV\r\n", b"PA\x1bSV\r\n", b"\xff\xfdPASV\r\n", b"PASV;\r\n"] {
        assert_eq!(parse(line), Err(Malformed::BadVerb), "{line:?}");
    }
    assert_eq!(parse(b"\x16\x03\x01\x02\x00\x01\x00\n"), Err(Malformed::Nul));
    assert_eq!((verb("GET / HTTP/1.1\r\n"), ok(b"GET / HTTP/1.1\r\n").name), (Verb::Other, None));
}

#[test]
fn c41_a_bare_cr_is_refused_wherever_it_stands() {
    for line in
        [&b"PWD\rQUIT\n"[..], b"PWD\r\r\n", b"RETR a\rb\r\n", b"\rPWD\r\n", b"\r\r\n", b"RETR a\r", b"P\xff\r \r\n"]
    {
        assert_eq!(parse(line), Err(Malformed::BareCr), "{line:?}");
    }
}

#[test]
fn c43_cr_nul_passes_in_a_path() {
    assert_eq!(ok(b"RETR a\r\0b\r\n").argument, b"a\r\0b");
    assert_eq!(ok(b"RETR a\r\0\r\n").argument, b"a\r\0");
    assert_eq!(ok(b"RETR a\0b\r\n").argument, b"a\0b");
}

#[test]
fn c43_a_nul_in_a_verb_or_in_an_address_is_refused() {
    let lines = [
        &b"PA\0SV\r\n"[..],
        b"\0\r\n",
        b"PWD\r\0\r\n",
        b"PORT 1,2,3,4,5,6\0\r\n",
        b"eprt |1|\0|\r\n",
        b"PASV \0\r\n",
        b"EPSV \r\0\r\n",
    ];
    for line in lines {
        assert_eq!(parse(line), Err(Malformed::Nul), "{line:?}");
    }
}

proptest! {
    #[test]
    fn no_line_panics_and_the_argument_stands_where_it_says(line in any::<Vec<u8>>()) {
        if let Ok(command) = parse(&line) {
            let end = command.argument_at + command.argument.len();
            prop_assert_eq!(&line[command.argument_at..end], command.argument);
            prop_assert_eq!(end, line::text(&line).len());
        }
    }

    #[test]
    fn any_argument_without_control_bytes_comes_back_whole(argument in "[^\r\n\0]*") {
        let line = format!("RETR {argument}\r\n");
        prop_assert_eq!(ok(line.as_bytes()).argument, argument.as_bytes());
    }
}
