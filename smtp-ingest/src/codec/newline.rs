//! Finding newlines fast.

/// Where the first line feed is.
pub(crate) fn find_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
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
