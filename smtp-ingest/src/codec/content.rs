//! A message on its way in: takes the framing off, whatever way the stream is cut (RFC 5321 section
//! 4.5.2).
//!
//! ```text
//!              '.'             CR               LF
//! line start ──────► dot ────────────► dot CR ──────► end
//!     ▲  │ other      │ other: the dot   │ other: the dot
//!     │  ▼            ▼ is dropped       ▼ is dropped, the CR is content
//!     └─ CRLF ────────────── middle of a line
//! ```
//!
//! # Invariants
//! 1. Only `<CRLF>.<CRLF>` (or `.<CRLF>` at the very beginning) ends the content.
//! 2. A dot is dropped only after `<CRLF>`. After a bare line feed it is content: the sender's
//!    server, if it is strict, did not double it there, so `<LF>.<CRLF>` and its like are no
//!    borders.
//! 3. A bare line feed becomes `<CRLF>` and is counted; a bare carriage return stays as it is.

use super::newline::find_newline;

/// How the sender marks the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Framing {
    /// DATA: a dot alone on a line, other leading dots doubled.
    Dots,
    /// BDAT: by count (RFC 3030); dots mean nothing.
    Counted,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    LineStart,
    Dot,
    DotCr,
    Middle,
    /// Within a line, and the last byte was a carriage return.
    Cr,
}

/// A piece of decoded content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    /// Bytes of the message.
    Bytes(&'a [u8]),
    /// The input was framing.
    Nothing,
    /// The message is complete; what follows is a command.
    End,
}

/// Decodes one message.
#[derive(Debug)]
pub(crate) struct ContentDecoder {
    framing: Framing,
    place: Place,
    bare_newline_count: u64,
}

impl ContentDecoder {
    /// At the beginning of a message.
    pub(crate) fn new(framing: Framing) -> ContentDecoder {
        let place = match framing {
            Framing::Dots => Place::LineStart,
            Framing::Counted => Place::Middle,
        };
        ContentDecoder { framing, place, bare_newline_count: 0 }
    }

    /// Line feeds so far that had no carriage return before them.
    pub(crate) fn bare_newline_count(&self) -> u64 {
        self.bare_newline_count
    }

    /// Decodes the next piece of `input`; answers how much of it is used up, which may be nothing
    /// where a withheld carriage return comes out first. With input left, call again.
    pub(crate) fn decode<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let Some(&first) = input.first() else { return (0, Piece::Nothing) };
        match (self.place, first) {
            (Place::LineStart, b'.') => {
                self.place = Place::Dot;
                (1, Piece::Nothing)
            }
            (Place::Dot, b'\r') => {
                self.place = Place::DotCr;
                (1, Piece::Nothing)
            }
            (Place::DotCr, b'\n') => {
                self.place = Place::LineStart;
                (1, Piece::End)
            }
            (Place::DotCr, _) => {
                self.place = Place::Cr;
                (0, Piece::Bytes(b"\r"))
            }
            (Place::Dot | Place::LineStart, _) => {
                self.place = Place::Middle;
                self.run(input)
            }
            (Place::Middle | Place::Cr, _) => self.run(input),
        }
    }

    /// The longest piece that is content as it stands.
    fn run<'a>(&mut self, input: &'a [u8]) -> (usize, Piece<'a>) {
        let mut end = 0;
        loop {
            let rest = input.get(end..).unwrap_or_default();
            let Some(at) = find_newline(rest).map(|at| end + at) else {
                let ends_in_cr = match rest.last() {
                    Some(&last) => last == b'\r',
                    None => false,
                };
                self.place = if ends_in_cr { Place::Cr } else { Place::Middle };
                return (input.len(), Piece::Bytes(input));
            };
            if !self.follows_cr(input, at) {
                return self.bare_newline(input, at);
            }
            end = at + 1;
            let border = match input.get(end) {
                None => true,
                Some(&next) => next == b'.',
            };
            if border && self.framing == Framing::Dots {
                self.place = Place::LineStart;
                return (end, Piece::Bytes(input.get(..end).unwrap_or_default()));
            }
            if end == input.len() {
                self.place = Place::Middle;
                return (end, Piece::Bytes(input));
            }
        }
    }

    fn follows_cr(&self, input: &[u8], at: usize) -> bool {
        match at.checked_sub(1) {
            Some(before) => input.get(before) == Some(&b'\r'),
            None => self.place == Place::Cr,
        }
    }

    fn bare_newline<'a>(&mut self, input: &'a [u8], at: usize) -> (usize, Piece<'a>) {
        self.place = Place::Middle;
        if at > 0 {
            return (at, Piece::Bytes(input.get(..at).unwrap_or_default()));
        }
        self.bare_newline_count += 1;
        (1, Piece::Bytes(b"\r\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes pieces of a stream; answers the message, and what follows it if it ended.
    fn decode(pieces: &[&[u8]], framing: Framing) -> (Vec<u8>, Option<Vec<u8>>, u64) {
        let mut decoder = ContentDecoder::new(framing);
        let mut message = Vec::new();
        let mut after: Option<Vec<u8>> = None;
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                if let Some(after) = &mut after {
                    after.extend_from_slice(rest);
                    break;
                }
                let (used, piece) = decoder.decode(rest);
                rest = &rest[used..];
                match piece {
                    Piece::Bytes(bytes) => message.extend_from_slice(bytes),
                    Piece::Nothing => {}
                    Piece::End => after = Some(Vec::new()),
                }
            }
        }
        (message, after, decoder.bare_newline_count())
    }

    /// What a strict sender puts on the wire.
    fn stuff(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut line_start = true;
        for (at, &byte) in message.iter().enumerate() {
            if line_start && byte == b'.' {
                out.push(b'.');
            }
            out.push(byte);
            line_start = byte == b'\n' && at > 0 && message[at - 1] == b'\r';
        }
        if !out.ends_with(b"\r\n") && !out.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b".\r\n");
        out
    }

    #[test]
    fn only_crlf_dot_crlf_is_a_border() {
        type Case<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>, &'a str);
        let cases: [Case<'_>; 13] = [
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", Some(b"QUIT\r\n"), "the border itself"),
            (b".\r\n", b"", Some(b""), "an empty message"),
            (b"a\n.\nMAIL\r\n.\r\n", b"a\r\n.\r\nMAIL\r\n", Some(b""), "LF . LF"),
            (b"a\n.\r\nMAIL\r\n.\r\n", b"a\r\n.\r\nMAIL\r\n", Some(b""), "LF . CRLF"),
            (b"a\r\n.\nMAIL\r\n.\r\n", b"a\r\n\r\nMAIL\r\n", Some(b""), "CRLF . LF"),
            (b"a\r\n.\rMAIL\r\n.\r\n", b"a\r\n\rMAIL\r\n", Some(b""), "CRLF . CR"),
            (b"a\r.\r\nMAIL\r\n.\r\n", b"a\r.\r\nMAIL\r\n", Some(b""), "CR . CRLF"),
            (b"a\r.\rMAIL\r\n.\r\n", b"a\r.\rMAIL\r\n", Some(b""), "CR . CR"),
            (b"a\r\n.\r\r\nMAIL\r\n.\r\n", b"a\r\n\r\r\nMAIL\r\n", Some(b""), "CRLF . CR CRLF"),
            (b"a\r\n\0.\r\nMAIL\r\n.\r\n", b"a\r\n\0.\r\nMAIL\r\n", Some(b""), "CRLF NUL . CRLF"),
            (b"a\r\r\n.\r\n", b"a\r\r\n", Some(b""), "CR CRLF is a CRLF"),
            (b"..\r\n...a\r\n.\r\n", b".\r\n..a\r\n", Some(b""), "doubled dots"),
            (b"a\r\n.", b"a\r\n", None, "not yet"),
        ];
        for (wire, message, after, reason) in cases {
            let (found, rest, _) = decode(&[wire], Framing::Dots);
            assert_eq!(found, message, "{reason}");
            assert_eq!(rest.as_deref(), after, "{reason}");
            let bytes: Vec<&[u8]> = wire.chunks(1).collect();
            let (found, rest, _) = decode(&bytes, Framing::Dots);
            assert_eq!(found, message, "{reason}, byte by byte");
            assert_eq!(rest.as_deref(), after, "{reason}, byte by byte");
        }
    }

    #[test]
    fn bare_newlines_are_counted_once_each() {
        assert_eq!(decode(&[b"a\nb\n\n"], Framing::Dots), (b"a\r\nb\r\n\r\n".to_vec(), None, 3));
        assert_eq!(decode(&[b"a\r", b"\nb"], Framing::Dots), (b"a\r\nb".to_vec(), None, 0));
    }

    #[test]
    fn counted_content_keeps_its_dots() {
        let wire: &[u8] = b".\r\n.\r\n..\r\n";
        assert_eq!(decode(&[wire], Framing::Counted), (wire.to_vec(), None, 0));
        assert_eq!(decode(&[b"\n.\n"], Framing::Counted).0, b"\r\n.\r\n");
    }

    fn awkward_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()];
        proptest::collection::vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn a_message_of_crlf_lines_arrives_identical_however_the_stream_is_cut(
            lines in proptest::collection::vec("[.\\ra-b]{0,5}", 0..12),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let lines = lines.iter().map(|line| [line, "\r\n"].concat().into_bytes());
            let message: Vec<u8> = lines.flatten().collect();
            let mut wire = stuff(&message);
            wire.extend_from_slice(b"RSET\r\n");
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
            at.push(0);
            at.push(wire.len());
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let (found, after, bare) = decode(&pieces, Framing::Dots);
            prop_assert_eq!(found, message);
            prop_assert_eq!(after, Some(b"RSET\r\n".to_vec()));
            prop_assert_eq!(bare, 0);
        }

        #[test]
        fn any_bytes_decode_alike_whole_and_byte_by_byte(bytes in awkward_bytes()) {
            for framing in [Framing::Dots, Framing::Counted] {
                let whole = decode(&[&bytes], framing);
                let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
                prop_assert_eq!(&whole, &decode(&pieces, framing));
                let newlines = whole.0.iter().filter(|&&byte| byte == b'\n').count();
                let pairs = whole.0.windows(2).filter(|pair| pair == b"\r\n").count();
                prop_assert_eq!(newlines, pairs, "stored content has no bare newline");
            }
        }
    }
}
