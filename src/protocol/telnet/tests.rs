//! Tests of `telnet`: no command of it reaches the line parser, and none can hide an FTP command from it.

use proptest::prelude::*;

use super::*;

/// What is left of the chunks, and what the filter says of them together.
fn filtered<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Telnet) {
    let mut filter = TelnetFilter::default();
    let (mut data, mut all) = (Vec::new(), Telnet::default());
    for chunk in chunks {
        let (left, telnet) = filter.filter(chunk);
        data.extend_from_slice(&left);
        all.answers.extend(telnet.answers);
        all.synch |= telnet.synch;
        all.options += telnet.options;
    }
    (data, all)
}

/// The same in one chunk and byte by byte.
fn filter(stream: &[u8]) -> (Vec<u8>, Telnet) {
    let whole = filtered([stream]);
    assert_eq!(whole, filtered(stream.chunks(1)));
    whole
}

#[test]
fn a_chunk_without_telnet_is_not_copied() {
    let (data, telnet) = TelnetFilter::default().filter(b"USER anna\r\n");
    assert_eq!(telnet, Telnet::default());
    assert!(matches!(data, Cow::Borrowed(b"USER anna\r\n")));
}

#[test]
fn c47_options_before_a_verb_are_refused_and_taken_out() {
    let (data, telnet) = filter(b"\xff\xfd\x03\xff\xfb\x01PORT 1,2,3,4,5,6\r\n");
    assert_eq!(data, b"PORT 1,2,3,4,5,6\r\n");
    assert_eq!(telnet.answers, b"\xff\xfc\x03\xff\xfe\x01");
    assert_eq!((telnet.options, telnet.synch), (2, false));
}

#[test]
fn c47_options_inside_a_verb_do_not_hide_it() {
    assert_eq!(filter(b"PO\xff\xfd\x03RT\xff\xf1 1,2\xff\xfa\x18x\xff\xf0,3,4,5,6\r\n").0, b"PORT 1,2,3,4,5,6\r\n");
}

#[test]
fn wont_and_dont_are_taken_out_without_an_answer() {
    let (data, telnet) = filter(b"a\xff\xfc\x03b\xff\xfe\x01c");
    assert_eq!(data, b"abc");
    assert_eq!(telnet, Telnet::default());
}

#[test]
fn an_option_byte_is_no_data_whatever_it_is() {
    let (data, telnet) = filter(b"a\xff\xfb\xffb\xff\xfd\nc\xff\xfe\xffd");
    assert_eq!(data, b"abcd");
    assert_eq!(telnet.answers, b"\xff\xfe\xff\xff\xfc\n");
}

#[test]
fn c48_a_doubled_255_stays_doubled() {
    assert_eq!(filter(b"RETR a\xff\xffb\r\n"), (b"RETR a\xff\xffb\r\n".to_vec(), Telnet::default()));
    assert_eq!(filter(b"\xff\xff\xff\xff\xfd").0, b"\xff\xff\xff\xff\xfd");
}

#[test]
fn a_255_that_nobody_doubled_stays_in_a_path_and_swallows_no_line_end() {
    let stream = b"DELE \xec\xee\xff_x\r\nCWD \xec\xee\xff\r\nCWD \xff\nPWD\r\n";
    assert_eq!(filter(stream), (stream.to_vec(), Telnet::default()));
}

#[test]
fn c49_interrupt_process_and_data_mark_are_the_synch_before_abor() {
    let (data, telnet) = filter(b"\xff\xf4\xff\xf2ABOR\r\n");
    assert_eq!(data, b"ABOR\r\n");
    assert!(telnet.synch && telnet.answers.is_empty());
    assert!(filter(b"\xff\xf2").1.synch);
    assert!(!filter(b"\xff\xf1\xff\xf6").1.synch);
}

#[test]
fn commands_of_one_byte_are_taken_out() {
    for command in (236..SB).filter(|&command| command != IP && command != DATA_MARK) {
        assert_eq!(filter(&[b'a', IAC, command, b'b']), (b"ab".to_vec(), Telnet::default()), "{command}");
    }
}

#[test]
fn c50_a_truncated_iac_is_held_back_and_goes_on_in_the_next_chunk() {
    let mut filter = TelnetFilter::default();
    assert_eq!(filter.filter(b"PO\xff").0, &b"PO"[..]);
    assert_eq!(filter.filter(b"").0, &b""[..]);
    assert_eq!(filter.filter(b"\xf1RT\xff").0, &b"RT"[..]);
    assert_eq!(filter.filter(b"\xff").0, &b"\xff\xff"[..]);
    assert_eq!(filter.filter(b"\xff\xfb").0, &b""[..]);
    assert_eq!(filter.filter(b"\x01!").1.answers, b"\xff\xfe\x01");
}

#[test]
fn c50_a_subnegotiation_ends_only_at_iac_se() {
    assert_eq!(filter(b"a\xff\xfa\x18\x00\xff\xff\xff\xfb\xff\x41\xf0PASV\r\n\xff\xf0b").0, b"ab");
}

#[test]
fn c50_a_subnegotiation_without_end_is_dropped_and_nothing_grows() {
    let mut filter = TelnetFilter::default();
    filter.filter(b"\xff\xfa");
    for _ in 0..1000 {
        let (data, telnet) = filter.filter(&[b'x'; 1024]);
        assert!(data.is_empty() && telnet == Telnet::default());
    }
    assert_eq!(filter, TelnetFilter { state: State::Sub });
    assert_eq!(filter.filter(b"\xff\xf0NOOP\r\n").0, &b"NOOP\r\n"[..]);
}

proptest! {
    #[test]
    fn any_segmentation_filters_the_same(
        stream in proptest::collection::vec(prop_oneof![Just(IAC), 235..=255_u8, any::<u8>()], 0..100),
        size in 1..10_usize,
    ) {
        prop_assert_eq!(filtered([&stream[..]]), filtered(stream.chunks(size)));
    }

    #[test]
    fn what_is_left_holds_no_command(stream in proptest::collection::vec(prop_oneof![Just(IAC), 235..=255_u8, any::<u8>()], 0..100)) {
        let (once, _) = filter(&stream);
        let (twice, telnet) = filter(&once);
        prop_assert_eq!(once, twice);
        prop_assert_eq!(telnet, Telnet::default());
    }
}
