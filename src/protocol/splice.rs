//! Replaces one span of a line and leaves every other byte as it came.
//!
//! Lives here: [`splice`]. Not here: finding the span (`address`).

use std::ops::Range;

/// The three pieces of `line` with `new` in place of `span`: write them one after the other. No allocation, and a span that
/// is not inside the line replaces nothing.
pub fn splice<'a>(line: &'a [u8], span: Range<usize>, new: &'a [u8]) -> [&'a [u8]; 3] {
    if span.start > span.end {
        return [line, &[], &[]];
    }
    match (line.get(..span.start), line.get(span.end..)) {
        (Some(before), Some(after)) => [before, new, after],
        _ => [line, &[], &[]],
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_the_span_changes() {
        let line = b"227 Entering Passive Mode (10,0,0,5,195,80).\r\n";
        assert_eq!(
            splice(line, 27..42, b"192,0,2,1,238,72").concat(),
            b"227 Entering Passive Mode (192,0,2,1,238,72).\r\n"
        );
    }

    #[test]
    fn an_empty_span_inserts() {
        assert_eq!(splice(b"ab", 1..1, b"-").concat(), b"a-b");
        assert_eq!(splice(b"ab", 2..2, b"-").concat(), b"ab-");
    }

    #[test]
    #[expect(clippy::reversed_empty_ranges, reason = "that such a range is harmless is the point")]
    fn a_span_outside_the_line_replaces_nothing() {
        for span in [1..3, 3..4, 2..1, 0..usize::MAX, usize::MAX..usize::MAX] {
            assert_eq!(splice(b"ab", span, b"-").concat(), b"ab");
        }
    }

    proptest! {
        #[test]
        fn everything_outside_the_span_is_untouched(
            before in any::<Vec<u8>>(), old in any::<Vec<u8>>(), after in any::<Vec<u8>>(), new in any::<Vec<u8>>(),
        ) {
            let line = [&before[..], &old, &after].concat();
            let span = before.len()..before.len() + old.len();
            prop_assert_eq!(splice(&line, span, &new).concat(), [&before[..], &new, &after].concat());
        }

        #[test]
        fn no_span_panics(line in any::<Vec<u8>>(), start in 0..600_usize, end in 0..600_usize) {
            splice(&line, start..end, b"new");
        }
    }
}
