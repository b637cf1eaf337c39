//! Tests of `address`: what is an address, what is none, and that writing and reading are inverse.

use proptest::prelude::*;

use super::*;

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// The value, and the text of the span.
fn port(argument: &str) -> Result<((Ipv4Addr, u16), &str), AddressError> {
    port_argument(argument.as_bytes()).map(|found| (found.value, &argument[found.span]))
}

fn pasv(text: &str) -> Result<((Ipv4Addr, u16), &str), AddressError> {
    pasv_reply(text.as_bytes()).map(|found| (found.value, &text[found.span]))
}

fn eprt(argument: &str) -> Result<(String, &str), AddressError> {
    eprt_argument(argument.as_bytes()).map(|found| (found.value.to_string(), &argument[found.span]))
}

fn epsv(text: &str) -> Result<(u16, &str), AddressError> {
    epsv_reply(text.as_bytes()).map(|found| (found.value, &text[found.span]))
}

fn all_are_syntax_errors<T: PartialEq + std::fmt::Debug>(
    parse: impl Fn(&'static str) -> Result<T, AddressError>,
    texts: &[&'static str],
) {
    for &text in texts {
        assert_eq!(parse(text), Err(AddressError::Syntax), "{text:?}");
    }
}

#[test]
fn port_is_six_numbers() {
    assert_eq!(port("10,0,0,5,195,80"), Ok(((v4("10.0.0.5"), 50000), "10,0,0,5,195,80")));
    assert_eq!(port("255,255,255,255,255,255"), Ok(((v4("255.255.255.255"), 65535), "255,255,255,255,255,255")));
}

#[test]
fn c03_a_port_below_1024_is_syntactically_fine() {
    assert_eq!(port("10,0,0,5,0,22").map(|found| found.0.1), Ok(22));
}

#[test]
fn c04_port_0_is_refused() {
    all_are_syntax_errors(port, &["10,0,0,5,0,0"]);
}

#[test]
fn c05_octets_above_255_are_refused() {
    let texts = ["256,0,0,5,195,80", "10,0,0,5,1216,80", "10,0,0,5,195,256", "10,0,0,65535,195,80"];
    all_are_syntax_errors(port, &texts);
    all_are_syntax_errors(port, &["1216,256,2,127,127,127"]);
}

#[test]
fn c06_only_digits_are_numbers() {
    let texts = [
        "-1,0,0,5,195,80",
        "+1,0,0,5,195,80",
        "0x10,0,0,5,195,80",
        "1, 2,3,4,5,6",
        " 1,2,3,4,5,6",
        "1 ,2,3,4,5,6",
        "1,2,3,4,5,\u{663}",
    ];
    all_are_syntax_errors(port, &texts);
}

#[test]
fn c06_leading_zeros_are_decimal_up_to_three_digits() {
    assert_eq!(port("010,000,0,05,195,080").map(|found| found.0), Ok((v4("10.0.0.5"), 50000)));
    all_are_syntax_errors(port, &["0010,0,0,5,195,80"]);
}

#[test]
fn c07_numbers_do_not_wrap() {
    let texts = ["4294967297,0,0,5,195,80", "10,0,0,5,195,18446744073709551617", "10,0,0,5,99999999999999999999999,1"];
    all_are_syntax_errors(port, &texts);
}

#[test]
fn c08_six_numbers_are_neither_five_nor_seven_and_none_is_empty() {
    let texts =
        ["", "1", "1,2,3,4,5", "1,2,3,4,5,6,7", "1,2,3,4,5,6,", ",1,2,3,4,5,6", "1,,3,4,5,6", "x,1,2,3,4,5,6", ",,,,,"];
    all_are_syntax_errors(port, &texts);
}

#[test]
fn c09_trailing_blanks_are_tolerated_and_outside_the_span() {
    assert_eq!(port("1,2,3,4,5,6 \t ").map(|found| found.1), Ok("1,2,3,4,5,6"));
    assert_eq!(eprt("|1|10.0.0.1|5000| ").map(|found| found.1), Ok("|1|10.0.0.1|5000|"));
    all_are_syntax_errors(port, &["1,2,3,4,5,6abc", "1,2,3,4,5,6 7", "1,2,3,4,5,6\r", "1,2,3,4,5,6\0", " "]);
    all_are_syntax_errors(eprt, &["|1|10.0.0.1|5000|x", "|1|10.0.0.1|5000| x", "|1|10.0.0.1|5000|\r", "", "  "]);
}

#[test]
fn eprt_names_both_families() {
    assert_eq!(eprt("|1|10.0.0.1|5000|"), Ok(("10.0.0.1:5000".into(), "|1|10.0.0.1|5000|")));
    assert_eq!(eprt("|2|2001:db8::1|65535|").map(|found| found.0), Ok("[2001:db8::1]:65535".into()));
}

#[test]
fn c11_unknown_families_are_told_apart_from_bad_syntax() {
    for text in ["|3|x|5000|", "|0|10.0.0.1|5000|", "||10.0.0.1|5000|", "|99999|10.0.0.1|5000|", "|01|10.0.0.1|5000|"] {
        assert_eq!(eprt(text), Err(AddressError::UnknownFamily), "{text:?}");
    }
    let texts = ["|x|10.0.0.1|5000|", "|-1|10.0.0.1|5000|", "| 1|10.0.0.1|5000|", "|3|x|5000", "|3|"];
    all_are_syntax_errors(eprt, &texts);
}

#[test]
fn c12_any_one_unambiguous_delimiter_will_do() {
    for delimiter in ['!', '~', '$', ',', '-', 'x', '%', '('] {
        let text = format!("{delimiter}1{delimiter}10.0.0.1{delimiter}5000{delimiter}");
        assert_eq!(eprt_argument(text.as_bytes()).map(|found| found.value), Ok("10.0.0.1:5000".parse().unwrap()));
    }
}

#[test]
fn c12_an_ambiguous_or_mixed_delimiter_is_refused() {
    let texts = [
        ":2:::1:5000:",
        ":1:10.0.0.1:5000:",
        ".1.10.0.0.1.5000.",
        ".2.::1.5000.",
        "a2a::1a5000a",
        "F2F::1F5000F",
        "31310.0.0.1350003",
        "|1|10.0.0.1|5000!",
        "|1!10.0.0.1|5000|",
        " 1 10.0.0.1 5000 ",
        "\u{7f}1\u{7f}10.0.0.1\u{7f}5000\u{7f}",
    ];
    all_are_syntax_errors(eprt, &texts);
}

#[test]
fn c13_the_port_is_checked_before_it_is_narrowed() {
    let texts = [
        "|1|10.0.0.1|0|",
        "|1|10.0.0.1|65536|",
        "|1|10.0.0.1|65558|",
        "|1|10.0.0.1|99999|",
        "|1|10.0.0.1|4294967318|",
        "|1|10.0.0.1|-1|",
        "|1|10.0.0.1|+22|",
        "|1|10.0.0.1| 22|",
        "|1|10.0.0.1|0x16|",
        "|1|10.0.0.1||",
    ];
    all_are_syntax_errors(eprt, &texts);
}

#[test]
fn c14_a_mapped_address_stays_an_ipv6_address() {
    let found = eprt_argument(b"|2|::ffff:10.0.0.1|5000|").unwrap().value;
    assert!(found.is_ipv6());
    assert_eq!(found.ip(), IpAddr::V6(Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped()));
}

#[test]
fn c14_scopes_brackets_and_the_wrong_family_are_refused() {
    let texts = [
        "|2|fe80::1%eth0|5000|",
        "|2|fe80::1%2|5000|",
        "|2|[::1]|5000|",
        "|1|::1|5000|",
        "|1|::ffff:10.0.0.1|5000|",
        "|2|10.0.0.1|5000|",
        "|1|10.0.0|5000|",
        "|1|10.0.0.256|5000|",
        "|1|010.0.0.1|5000|",
        "|1|10.0.0.1.|5000|",
        "|1||5000|",
        "|2|::1\0|5000|",
        "|2|\u{b2}::1|5000|",
    ];
    all_are_syntax_errors(eprt, &texts);
    for address in ["::1", "ff02::1", "::"] {
        assert!(eprt_argument(format!("|2|{address}|5000|").as_bytes()).is_ok(), "whether it may be used is not ours");
    }
}

#[test]
fn c22_the_numbers_of_a_227_are_found_wherever_they_stand() {
    for text in [
        "Entering Passive Mode (10,0,0,5,195,80)",
        " Entering Passive Mode (10,0,0,5,195,80).",
        "Entering Passive Mode 10,0,0,5,195,80.",
        "=10,0,0,5,195,80",
        "(=10,0,0,5,195,80)",
        "10,0,0,5,195,80",
        "Server 2 of 1,000: use 10,0,0,5,195,80, please",
        "Passive,10,0,0,5,195,80,",
        "[10,0,0,5,195,80] (1,2,3,4,5,6)",
    ] {
        assert_eq!(pasv(text), Ok(((v4("10.0.0.5"), 50000), "10,0,0,5,195,80")), "{text:?}");
    }
}

#[test]
fn c21_a_227_below_1024_parses_and_one_with_port_0_does_not() {
    assert_eq!(pasv("(10,0,0,5,0,22)").map(|found| found.0.1), Ok(22));
    all_are_syntax_errors(pasv, &["(10,0,0,5,0,0)"]);
}

#[test]
fn c23_a_227_without_six_numbers_has_no_address() {
    let texts =
        ["", "Logout.", "227 Logout.", "1,2,3,4,5", "(1,2,3,4,5,)", "(1,2,3,,4,5,6)", "1, 2, 3, 4, 5, 6", ",,,,,,"];
    all_are_syntax_errors(pasv, &texts);
}

#[test]
fn c05_c08_a_227_with_other_than_six_octets_is_refused() {
    let texts = [
        "(10,0,0,5,195,80,1)",
        "(1,10,0,0,5,195,80)",
        "(10,0,0,5,195,80,1) (10,0,0,5,195,80)",
        "(256,0,0,5,195,80)",
        "(10,0,0,5,1216,80)",
        "(0010,0,0,5,195,80)",
        "(4294967297,0,0,5,195,80)",
        "(256,0,0,5,195,80) (10,0,0,5,195,80)",
    ];
    all_are_syntax_errors(pasv, &texts);
}

#[test]
fn c06_a_227_with_signs_or_hex_is_refused() {
    let texts =
        ["(-10,0,0,5,195,80)", "(+10,0,0,5,195,80)", "(0x10,0,0,5,195,80)", "(10,0,0,5,195,80h)", "10,0,0,-5,195,80"];
    all_are_syntax_errors(pasv, &texts);
}

#[test]
fn a_229_names_a_port() {
    assert_eq!(epsv("Entering Extended Passive Mode (|||6446|)"), Ok((6446, "6446")));
    assert_eq!(epsv(" Entering (extended) Passive Mode (|||65535|)."), Ok((65535, "65535")));
    assert_eq!(epsv("(||||) (|2|::1|1|) (|||1|)"), Err(AddressError::Syntax), "an empty port ends the search");
    assert_eq!(epsv("(x) ((|||1|)"), Ok((1, "1")));
}

#[test]
fn c29_any_one_delimiter_will_do() {
    for delimiter in ['!', '~', '-', '(', ')', 'a'] {
        let text = format!("ok ({0}{0}{0}50000{0})", delimiter);
        assert_eq!(epsv_reply(text.as_bytes()).map(|found| found.value), Ok(50000), "{text}");
    }
}

#[test]
fn c29_malformed_229s_are_refused() {
    let texts = [
        "",
        "(",
        "(||",
        "(|||",
        "(|||50000",
        "(|||50000|",
        "(||1|50000|)",
        "(|1||50000|)",
        "(|2|::1|50000|)",
        "(|||50000)",
        "(|||p|)",
        "(||| 50000|)",
        "(|||50000 |)",
        "(|||+50000|)",
        "(|!|50000|)",
        "(|||50000!)",
        "(|||0|)",
        "(|||65536|)",
        "(|||99999|)",
        "(|||4294967318|)",
        "(||||)",
        "|||50000|",
        "(11150001)",
        "(   50000 )",
    ];
    all_are_syntax_errors(epsv, &texts);
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(a in any::<u32>(), b in any::<u128>(), port in 1..=u16::MAX) {
        let (a, b) = (Ipv4Addr::from(a), Ipv6Addr::from(b));
        let commas = write_commas(a, port);
        prop_assert_eq!(port_argument(commas.as_bytes()).map(|found| found.value), Ok((a, port)));
        prop_assert_eq!(pasv_reply(commas.as_bytes()).map(|found| found.value), Ok((a, port)));
        for address in [IpAddr::V4(a), IpAddr::V6(b)] {
            let text = write_eprt(address, port);
            let expected = Located { value: SocketAddr::new(address, port), span: 0..text.len() };
            prop_assert_eq!(eprt_argument(text.as_bytes()), Ok(expected));
        }
    }

    #[test]
    fn a_span_is_the_notation_and_nothing_else(a in any::<u32>(), port in 1..=u16::MAX, before in "[^0-9]*[ (=]", after in "[). ][^0-9]*") {
        let commas = write_commas(Ipv4Addr::from(a), port);
        let text = format!("{before}{commas}{after}");
        let span = pasv_reply(text.as_bytes()).unwrap().span;
        prop_assert_eq!(&text[span], commas);
        let text = format!("{before}(|||{port}|){after}");
        let span = epsv_reply(text.as_bytes()).unwrap().span;
        prop_assert_eq!(&text[span], port.to_string());
    }

    #[test]
    fn no_bytes_panic(text in any::<Vec<u8>>(), likely in "[0-9,|(): .a-f%-]*") {
        for text in [&text[..], likely.as_bytes()] {
            let _ = port_argument(text);
            let _ = eprt_argument(text);
            for span in [pasv_reply(text).map(|found| found.span), epsv_reply(text).map(|found| found.span)].into_iter().flatten() {
                prop_assert!(span.start < span.end && span.end <= text.len());
            }
        }
    }
}
