//! Header fields as they stand in a message, and how their values are unfolded.
//!
//! A header ends at the first empty line and nowhere else (RFC 5322 section 2.1): a line without a
//! colon is a field without a name, so that header and body meet where IMAP clients expect them to.
//! Lines end in LF; a CR before it belongs to the line end.

/// One header field with its folded lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    /// Its name as written; empty where the line has no colon.
    pub name: &'a [u8],
    /// What follows the colon, still folded, without the last line end.
    pub value: &'a [u8],
    /// The whole field with all line ends.
    pub raw: &'a [u8],
}

impl Field<'_> {
    /// Whether it has this name (RFC 5322 section 1.2.2: in any case).
    pub fn is(&self, name: &[u8]) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The fields of a header, up to its empty line.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of a header that begins where `header` begins.
    pub fn new(header: &'a [u8]) -> Fields<'a> {
        Fields { rest: header }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let mut length = line_length(self.rest);
        let first = self.rest.get(..length)?;
        if length == 0 || is_blank(first) {
            self.rest = &[];
            return None;
        }
        while let Some(b' ' | b'\t') = self.rest.get(length) {
            let next = line_length(self.rest.get(length..)?);
            length = length.checked_add(next)?;
        }
        let (raw, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        let value = without_line_end(raw);
        // Names are short: a look at each byte is quicker than to begin a search.
        let colon = first.iter().position(|byte| *byte == b':');
        Some(match colon.and_then(|at| Some((value.get(..at)?, value.get(at + 1..)?))) {
            Some((name, value)) => Field { name: name.trim_ascii(), value, raw },
            None => Field { name: &[], value, raw },
        })
    }
}

/// Bytes of the first line, with its line end; 0 only where nothing is left.
pub(super) fn line_length(rest: &[u8]) -> usize {
    memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)
}

/// Whether a line has nothing but its end.
pub(super) fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

/// The line without its LF or CRLF.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    match line {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
        _ => line,
    }
}

/// A value on one line with its blanks as they are, as a boundary may need them (RFC 5322 section
/// 2.2.3): no CR, LF or NUL, no blanks around it, at most `bytes_max` bytes.
pub(super) fn unfold(value: &[u8], bytes_max: usize) -> Vec<u8> {
    let bytes = value.trim_ascii().iter().copied();
    bytes.filter(|byte| !matches!(byte, b'\r' | b'\n' | 0)).take(bytes_max).collect()
}

/// The same for what people read: a fold with the blanks behind it becomes one blank, so that a tab
/// that only folds is not shown.
pub(super) fn unfold_text(value: &[u8], bytes_max: usize) -> Vec<u8> {
    let value = value.trim_ascii();
    let mut one_line = Vec::with_capacity(value.len().min(bytes_max));
    let mut after_fold = false;
    for byte in value {
        if one_line.len() >= bytes_max {
            break;
        }
        match byte {
            b'\n' => {
                one_line.push(b' ');
                after_fold = true;
            }
            b'\r' | 0 => {}
            b' ' | b'\t' if after_fold => {}
            _ => {
                one_line.push(*byte);
                after_fold = false;
            }
        }
    }
    one_line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_folded_or_odd() {
        let header = b"A: 1\r\n  2\r\nodd line\nB :x\n\nbody: no\r\n";
        let found: Vec<_> = Fields::new(header).map(|f| (f.name, f.value)).collect();
        assert_eq!(
            found,
            [(&b"A"[..], &b" 1\r\n  2"[..]), (&b""[..], &b"odd line"[..]), (&b"B"[..], &b"x"[..])]
        );
    }

    #[test]
    fn a_field_without_line_end_is_a_field() {
        let found: Vec<_> = Fields::new(b"A: 1").map(|f| (f.name, f.value, f.raw)).collect();
        assert_eq!(found, [(&b"A"[..], &b" 1"[..], &b"A: 1"[..])]);
    }

    #[test]
    fn unfolding_leaves_one_bounded_line() {
        assert_eq!(unfold(b" a\tb\r\n\t c\0 ", 100), b"a\tb\t c");
        assert_eq!(unfold_text(b" a\tb\r\n\t c\0 ", 100), b"a\tb c");
        assert_eq!(unfold(&vec![b'x'; 10 << 20], 1000).len(), 1000);
        assert_eq!(unfold_text(&vec![b'x'; 10 << 20], 1000).len(), 1000);
    }
}
