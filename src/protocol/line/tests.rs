//! Tests of `line`: every way of cutting a stream into segments gives the same lines, in bounded memory.

use proptest::prelude::*;

use super::*;

/// What came out of a buffer: a line's text, or the head of one that was too long.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Out {
    Line(Vec<u8>),
    TooLong(Vec<u8>),
}

fn line(text: &str) -> Out {
    Out::Line(text.as_bytes().to_vec())
}

fn too_long(head: &str) -> Out {
    Out::TooLong(head.as_bytes().to_vec())
}

/// Feeds the segments one by one, the way a session does, and checks after each that little is kept.
fn feed<'a>(buffer: &mut LineBuffer, segments: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> Vec<Out> {
    let mut out = Vec::new();
    for segment in segments {
        let joined = buffer.join(segment);
        assert!(buffer.is_empty());
        let mut input = &joined[..];
        let left = loop {
            match buffer.next(input, limit) {
                Next::Line(line, rest) => {
                    assert!(line.ends_with(b"\n"));
                    out.push(Out::Line(text(line).to_vec()));
                    input = rest;
                }
                Next::TooLong(head, rest) => {
                    out.push(Out::TooLong(head.to_vec()));
                    input = rest;
                }
                Next::Partial(rest) => break rest.len(),
            }
        };
        buffer.keep(joined, left);
        assert!(buffer.len() <= limit + 1, "{} bytes kept", buffer.len());
        assert!(buffer.kept.capacity() <= 2 * (limit + 1) + 8, "{} bytes allocated", buffer.kept.capacity());
    }
    out
}

fn lines_of(stream: &[u8], limit: usize) -> Vec<Out> {
    let whole = feed(&mut LineBuffer::new(), [stream], limit);
    let bytewise = feed(&mut LineBuffer::new(), stream.chunks(1), limit);
    assert_eq!(whole, bytewise);
    whole
}

/// The same by the shortest road: cut the finished stream at its LFs.
fn reference(stream: &[u8], limit: usize) -> Vec<Out> {
    let judge = |text: &[u8]| match text.get(..limit) {
        Some(head) if text.len() > limit => Out::TooLong(head.to_vec()),
        _ => Out::Line(text.to_vec()),
    };
    let mut pieces: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    let unfinished = pieces.pop().unwrap_or_default();
    let mut out: Vec<Out> = pieces.into_iter().map(|piece| judge(piece.strip_suffix(b"\r").unwrap_or(piece))).collect();
    if unfinished.len() > limit + 1 {
        out.push(judge(unfinished));
    }
    out
}

#[test]
fn c38_one_byte_segments_give_the_same_lines() {
    assert_eq!(lines_of(b"USER a\r\nPORT 1,2,3,4,5,6\r\n", 64), [line("USER a"), line("PORT 1,2,3,4,5,6")]);
}

#[test]
fn c38_a_line_cut_in_two_comes_out_once_and_whole() {
    let mut buffer = LineBuffer::new();
    assert_eq!(feed(&mut buffer, [&b"PO"[..]], 64), []);
    assert_eq!(buffer.len(), 2);
    assert_eq!(feed(&mut buffer, [&b"RT 1\r\nNO"[..]], 64), [line("PORT 1")]);
    assert_eq!(feed(&mut buffer, [&b"OP\r\n"[..]], 64), [line("NOOP")]);
    assert!(buffer.is_empty());
}

#[test]
fn c41_a_lone_lf_ends_a_line_and_a_lone_cr_does_not() {
    assert_eq!(lines_of(b"PWD\nPWD\rQUIT\r\n", 64), [line("PWD"), line("PWD\rQUIT")]);
}

#[test]
fn c41_only_one_cr_belongs_to_the_line_end() {
    assert_eq!(lines_of(b"PWD\r\r\n\r\n\n", 64), [line("PWD\r"), line(""), line("")]);
}

#[test]
fn c44_the_limit_counts_the_bytes_before_the_line_end_and_is_exact() {
    assert_eq!(lines_of(b"abcd\r\n", 4), [line("abcd")]);
    assert_eq!(lines_of(b"abcd\n", 4), [line("abcd")]);
    assert_eq!(lines_of(b"abcde\r\n", 4), [too_long("abcd")]);
    assert_eq!(lines_of(b"abcde\n", 4), [too_long("abcd")]);
    assert_eq!(lines_of(b"\n\r\na\n", 0), [line(""), line(""), too_long("")]);
}

#[test]
fn c44_a_cr_right_at_the_limit_is_part_of_the_line_end_only_before_lf() {
    assert_eq!(lines_of(b"abcd\r", 4), []);
    assert_eq!(lines_of(b"abcd\r\r\n", 4), [too_long("abcd")]);
    assert_eq!(lines_of(b"abcd\re\n", 4), [too_long("abcd")]);
    assert_eq!(lines_of(b"abc\r\r\n", 4), [line("abc\r")]);
}

#[test]
fn c44_a_long_line_is_reported_once_and_skipped_to_its_lf() {
    let mut stream = vec![b'x'; 10_000];
    stream.extend_from_slice(b"\r\nQUIT\r\n");
    assert_eq!(lines_of(&stream, 8), [too_long("xxxxxxxx"), line("QUIT")]);
}

#[test]
fn c44_a_line_without_end_is_reported_before_its_end_and_nothing_is_kept() {
    let mut buffer = LineBuffer::new();
    assert_eq!(feed(&mut buffer, [&[b'x'; 6][..]], 4), [too_long("xxxx")]);
    assert_eq!(feed(&mut buffer, [&[b'x'; 1000][..]; 100], 4), []);
    assert!(buffer.is_empty());
    assert_eq!(feed(&mut buffer, [&b"\nQUIT\r\n"[..]], 4), [line("QUIT")]);
}

#[test]
fn nothing_is_copied_when_a_read_holds_whole_lines() {
    let mut buffer = LineBuffer::new();
    assert!(matches!(buffer.join(b"PWD\r\n"), Cow::Borrowed(b"PWD\r\n")));
}

#[test]
fn a_few_bytes_do_not_hold_on_to_the_memory_of_a_large_read() {
    let mut buffer = LineBuffer::new();
    let mut read = b"OOP\r\n".repeat(10_000);
    read.push(b'N');
    feed(&mut buffer, [&b"N"[..], &read], 64);
    assert_eq!(buffer.len(), 1);
    assert!(buffer.kept.capacity() < 64);
}

#[test]
fn the_text_of_a_text_is_itself() {
    for line in [&b"a\r\r\n"[..], b"a\r\n", b"a\n", b"a", b"a\r", b""] {
        assert_eq!(text(text(line)), text(line));
    }
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_lines_of_the_whole(
        stream in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a'), any::<u8>()], 0..200),
        cuts in proptest::collection::vec(0..12_usize, 0..100),
        limit in 0..12_usize,
    ) {
        let mut segments = Vec::new();
        let mut rest = &stream[..];
        for cut in cuts {
            let (segment, after) = rest.split_at(cut.min(rest.len()));
            segments.push(segment);
            rest = after;
        }
        segments.push(rest);
        prop_assert_eq!(feed(&mut LineBuffer::new(), segments, limit), reference(&stream, limit));
    }
}
