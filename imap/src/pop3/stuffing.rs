//! A message as a multi-line answer: a dot in front of each line that begins with one, a line end
//! at its end, and a dot alone (RFC 1939 section 3). In pieces, however they are cut.
//!
//! A line begins behind every LF, not only behind CRLF: a client that ends lines at LF alone would
//! else take a stored `LF . CRLF` for the end of the message.

/// What is left to send of a message.
#[derive(Clone, Debug)]
pub(crate) struct Stuffing {
    at_line_start: bool,
    /// For TOP: `None` is all of it.
    lines: Option<TopLines>,
}

/// How far TOP is (RFC 1939 section 7: the header, the line that separates, and so many lines).
#[derive(Clone, Debug)]
struct TopLines {
    in_header: bool,
    /// Bytes of the line so far are none or CR.
    line_is_empty: bool,
    body_lines: u32,
}

/// Whether there is more to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wanted {
    More,
    Nothing,
}

impl Stuffing {
    /// Of a whole message.
    pub(crate) fn whole() -> Stuffing {
        Stuffing { at_line_start: true, lines: None }
    }

    /// Of its header and so many lines.
    pub(crate) fn top(body_lines: u32) -> Stuffing {
        let lines = TopLines { in_header: true, line_is_empty: true, body_lines };
        Stuffing { at_line_start: true, lines: Some(lines) }
    }

    /// Whether it is not TOP's.
    pub(crate) fn is_whole(&self) -> bool {
        self.lines.is_none()
    }

    /// Puts the next piece of the message.
    pub(crate) fn put(&mut self, mut piece: &[u8], out: &mut Vec<u8>) -> Wanted {
        while !piece.is_empty() {
            let end = memchr::memchr(b'\n', piece).map_or(piece.len(), |at| at + 1);
            let (line, rest) = piece.split_at(end);
            piece = rest;
            if self.at_line_start && line.first() == Some(&b'.') {
                out.push(b'.');
            }
            out.extend_from_slice(line);
            self.at_line_start = line.last() == Some(&b'\n');
            if let Some(lines) = &mut self.lines
                && lines.is_last(line)
            {
                return Wanted::Nothing;
            }
        }
        Wanted::More
    }

    /// Puts the end.
    pub(crate) fn end(&self, out: &mut Vec<u8>) {
        if !self.at_line_start {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
    }
}

impl TopLines {
    /// Takes a line, or what came of it; whether nothing follows that is wanted.
    fn is_last(&mut self, line: &[u8]) -> bool {
        let ended = line.last() == Some(&b'\n');
        self.line_is_empty &= line.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
        if !ended {
            return false;
        }
        let was_empty = std::mem::replace(&mut self.line_is_empty, true);
        match self.in_header {
            true => self.in_header = !was_empty,
            false => self.body_lines = self.body_lines.saturating_sub(1),
        }
        !self.in_header && self.body_lines == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In pieces of that size, with its end.
    fn stuffed(mut stuffing: Stuffing, message: &str, piece: usize) -> String {
        let mut out = Vec::new();
        for piece in message.as_bytes().chunks(piece) {
            if stuffing.put(piece, &mut out) == Wanted::Nothing {
                break;
            }
        }
        stuffing.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_dot_is_doubled_where_a_line_begins() {
        for piece in 1..20 {
            for (message, expected) in [
                ("a\r\n.b\r\n..c\r\n", "a\r\n..b\r\n...c\r\n.\r\n"),
                (".\r\n", "..\r\n.\r\n"),
                ("a.\r\nb", "a.\r\nb\r\n.\r\n"),
                ("a\n.\r\nb\r\n", "a\n..\r\nb\r\n.\r\n"),
                ("a\r.\r\n", "a\r.\r\n.\r\n"),
                ("", ".\r\n"),
            ] {
                assert_eq!(stuffed(Stuffing::whole(), message, piece), expected, "{piece}");
            }
        }
    }

    #[test]
    fn top_sends_the_header_and_so_many_lines() {
        let message = "A: b\r\n .c\r\n\r\n1\r\n.2\r\n\r\n4\r\n";
        for piece in 1..20 {
            for (lines, expected) in [
                (0, "A: b\r\n .c\r\n\r\n.\r\n"),
                (1, "A: b\r\n .c\r\n\r\n1\r\n.\r\n"),
                (3, "A: b\r\n .c\r\n\r\n1\r\n..2\r\n\r\n.\r\n"),
                (9, "A: b\r\n .c\r\n\r\n1\r\n..2\r\n\r\n4\r\n.\r\n"),
            ] {
                assert_eq!(stuffed(Stuffing::top(lines), message, piece), expected, "{lines}");
            }
            assert_eq!(stuffed(Stuffing::top(1), "A: b", piece), "A: b\r\n.\r\n", "no body");
            assert_eq!(stuffed(Stuffing::top(1), "A: b\n\n1\n2\n", piece), "A: b\n\n1\n.\r\n");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_client_gets_back_what_was_sent(message in "[.\r\na]{0,60}", piece in 1usize..9) {
            let sent = stuffed(Stuffing::whole(), &message, piece);
            // A client that ends lines at LF.
            let mut found = String::new();
            let mut ended = false;
            for line in sent.split_inclusive('\n') {
                proptest::prop_assert!(!ended, "nothing follows the end");
                ended = line == ".\r\n";
                if !ended {
                    found.push_str(line.strip_prefix('.').unwrap_or(line));
                }
            }
            proptest::prop_assert!(ended);
            let whole = match message.is_empty() || message.ends_with('\n') {
                true => message,
                false => message + "\r\n",
            };
            proptest::prop_assert_eq!(found, whole);
        }
    }
}
