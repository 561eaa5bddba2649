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
//! 2. At most `HELD_BYTES_MAX` bytes are held back between two pieces.

use engine::message::Base64Decoder;

/// Blanks that may turn out to stand at a line's end; more of them are taken for text.
const HELD_BYTES_MAX: usize = 998;

/// A decoder, somewhere in a part.
#[derive(Clone, Debug)]
pub struct TransferDecoder(State);

#[derive(Clone, Debug)]
enum State {
    AsItIs,
    Base64(Base64Decoder),
    /// What may be an escape, a soft line break or blanks at a line's end.
    QuotedPrintable {
        held: Vec<u8>,
    },
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
            State::QuotedPrintable { held: Vec::new() }
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
            State::QuotedPrintable { held } => quoted_printable(bytes, held, out),
        }
    }

    /// Appends what is due at the end of the part.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if let State::QuotedPrintable { held } = &mut self.0 {
            match held.as_slice() {
                // Half an escape; a soft line break or blanks leave nothing.
                [b'=', second, ..] if second.is_ascii_hexdigit() => out.append(held),
                [b'=', ..] => {}
                [.., b'\r'] => out.push(b'\r'),
                _ => {}
            }
            held.clear();
        }
    }
}

fn quoted_printable(bytes: &[u8], held: &mut Vec<u8>, out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if held.is_empty() {
            let special = |byte: &u8| matches!(byte, b'=' | b' ' | b'\t');
            let plain = rest.iter().position(special).unwrap_or(rest.len());
            let (run, left) = rest.split_at(plain);
            out.extend_from_slice(run);
            rest = left;
            if let Some((&byte, after)) = left.split_first() {
                held.push(byte);
                rest = after;
            }
            continue;
        }
        rest = after;
        if !hold(byte, held, out) {
            // It does not belong to what was held: it is looked at by itself.
            match byte {
                b'=' | b' ' | b'\t' => held.push(byte),
                _ => out.push(byte),
            }
        }
    }
}

/// Goes on with what is held; false if `byte` does not belong to it, which is put as it is then.
fn hold(byte: u8, held: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t');
    let is_escape = held.first() == Some(&b'=');
    let goes_on = match held.as_slice() {
        [b'=', high] if high.is_ascii_hexdigit() => {
            if let Some(decoded) = hex_pair(*high, byte) {
                out.push(decoded);
                held.clear();
                return true;
            }
            false
        }
        [.., b'\r'] => byte == b'\n',
        [b'='] if byte.is_ascii_hexdigit() => true,
        _ => is_blank(byte) || matches!(byte, b'\r' | b'\n'),
    };
    if !goes_on || held.len() >= HELD_BYTES_MAX {
        out.append(held);
        return false;
    }
    if byte != b'\n' {
        held.push(byte);
        return true;
    }
    if !is_escape {
        let line_end: &[u8] = if held.last() == Some(&b'\r') { b"\r\n" } else { b"\n" };
        out.extend_from_slice(line_end);
    }
    held.clear();
    true
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
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

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut decoder = TransferDecoder::new(b"quoted-printable").unwrap();
        let mut out = Vec::new();
        decoder.push(&[b' '; 100_000], &mut out);
        assert!(out.len() >= 100_000 - HELD_BYTES_MAX - 1, "{}", out.len());
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
