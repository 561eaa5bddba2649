//! Finding newlines fast.

use std::io::BufRead;

/// Where the first line feed is.
///
/// `skip_until` of a slice is the standard library's `memchr`, many times faster than a loop over
/// bytes; on a slice it reads nothing and cannot fail.
pub(crate) fn find_newline(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let skipped = rest.skip_until(b'\n').ok()?;
    let last = skipped.checked_sub(1)?;
    (bytes.get(last) == Some(&b'\n')).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_newline_is_found_or_none() {
        let cases: [(&[u8], Option<usize>); 5] = [
            (b"", None),
            (b"\n", Some(0)),
            (b"ab", None),
            (b"ab\n", Some(2)),
            (b"a\nb\n", Some(1)),
        ];
        for (bytes, expected) in cases {
            assert_eq!(find_newline(bytes), expected, "{bytes:?}");
        }
    }
}
