//! Content-Transfer-Encodings undone as the bytes come (RFC 2045 section 6), for BINARY.
//!
//! | encoding | what is done |
//! |--|--|
//! | `7bit`, `8bit`, `binary`, none | nothing |
//! | `base64` | letters are decoded, anything else is passed over, padding begins anew |
//! | `quoted-printable` | escapes are decoded, soft line breaks and blanks at line ends go |
//! | any other | not known: FETCH answers `[UNKNOWN-CTE]` |
//!
//! What is not valid never fails, as in the engine's own decoding: a part that a mail program shows
//! can be fetched.
//!
//! # Invariants
//! 1. The result does not depend on where the bytes were cut.

use engine::message::{Base64Decoder, Blanks, QuotedPrintableDecoder};

/// A decoder, somewhere in a part.
#[derive(Clone, Debug)]
pub struct TransferDecoder(State);

#[derive(Clone, Debug)]
enum State {
    AsItIs,
    Base64(Base64Decoder),
    QuotedPrintable(QuotedPrintableDecoder),
}

impl TransferDecoder {
    /// For a part of that encoding; `None` if it is not known.
    pub fn new(encoding: &[u8]) -> Option<TransferDecoder> {
        let encoding = encoding.trim_ascii();
        let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
        Some(TransferDecoder(if encoding.is_empty() || is("7bit") || is("8bit") || is("binary") {
            State::AsItIs
        } else if is("base64") {
            State::Base64(Base64Decoder::default())
        } else if is("quoted-printable") {
            State::QuotedPrintable(QuotedPrintableDecoder::new(Blanks::Dropped))
        } else {
            return None;
        }))
    }

    /// For bytes that are not encoded.
    pub fn as_it_is() -> TransferDecoder {
        TransferDecoder(State::AsItIs)
    }

    /// Whether bytes come out as they go in.
    pub fn is_as_it_is(&self) -> bool {
        matches!(self.0, State::AsItIs)
    }

    /// Appends what `bytes` decode to.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.0 {
            State::AsItIs => out.extend_from_slice(bytes),
            State::Base64(decoder) => decoder.push(bytes, out),
            State::QuotedPrintable(decoder) => decoder.push(bytes, out),
        }
    }

    /// Appends what is due at the end of the part.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let State::QuotedPrintable(decoder) = &mut self.0 {
            decoder.finish(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(encoding: &str, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut decoder = TransferDecoder::new(encoding.as_bytes()).unwrap();
        let mut out = Vec::new();
        bytes.chunks(piece.max(1)).for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn encodings_are_undone() {
        for (encoding, bytes, expected, reason) in [
            ("7bit", &b"a=41 \r\n"[..], &b"a=41 \r\n"[..], "not encoded"),
            (" 8BIT ", b"\xe9", b"\xe9", "any case, blanks around it"),
            ("base64", b"AGFi\r\nYw==", b"\0abc", "NUL and a line end"),
            ("base64", b"Y*W?I=YWI=", b"abab", "what is no letter, and padding in the middle"),
            ("base64", b"YWJ", b"ab", "cut short"),
            ("quoted-printable", b"a=3D=e9=\r\nb", b"a=\xe9b", "escapes and a soft line break"),
            ("quoted-printable", b"a= \t\r\nb", b"ab", "blanks behind a soft line break"),
            ("quoted-printable", b"a=\nb", b"ab", "LF alone"),
            ("quoted-printable", b"a \t\r\nb \n c ", b"a\r\nb\n c", "blanks at line ends go"),
            ("quoted-printable", b"=G1 =4", b"=G1 =4", "no escape stays as it is"),
            ("quoted-printable", b"a=", b"a", "a soft line break at the end"),
            ("quoted-printable", b"a= b=\r", b"a= b", "none in the middle of a line"),
            ("quoted-printable", b"a =3D ==20", b"a = = ", "one after the other"),
        ] {
            for piece in 1..=bytes.len() {
                let found = decoded(encoding, bytes, piece);
                assert_eq!(found, expected, "{reason}, in pieces of {piece}");
            }
        }
        assert!(TransferDecoder::new(b"x-uuencode").is_none());
    }

    proptest::proptest! {
        #[test]
        fn where_bytes_are_cut_does_not_matter(
            bytes in proptest::collection::vec(
                proptest::sample::select(b"=0aF \t\r\nx".as_slice()), 0..60,
            ),
            piece in 1usize..9,
        ) {
            for encoding in ["base64", "quoted-printable", "binary"] {
                let whole = decoded(encoding, &bytes, bytes.len());
                proptest::prop_assert_eq!(decoded(encoding, &bytes, piece), whole);
            }
        }
    }
}
