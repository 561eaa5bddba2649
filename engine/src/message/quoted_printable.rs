//! Quoted-printable undone as the bytes come (RFC 2045 section 6.7).
//!
//! What is no escape and no soft line break stays as it is.
//!
//! # Invariants
//! 1. The result does not depend on where the bytes were cut.
//! 2. At most `HELD_BYTES_MAX` bytes are held back between two pieces.

/// Blanks that may turn out to stand at a line's end; more of them are taken for text.
const HELD_BYTES_MAX: usize = 998;

/// What becomes of blanks at the end of a line, which something on the way may have added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Blanks {
    /// They stay: for text that is read, or searched, or is an encoded word.
    Kept,
    /// They go, as the RFC demands: for the bytes of a part.
    Dropped,
}

/// A decoder, somewhere in a part.
#[derive(Clone, Debug)]
pub struct QuotedPrintableDecoder {
    blanks: Blanks,
    /// What may be an escape, a soft line break or blanks at a line's end.
    held: Vec<u8>,
}

impl QuotedPrintableDecoder {
    /// At the beginning.
    pub fn new(blanks: Blanks) -> QuotedPrintableDecoder {
        QuotedPrintableDecoder { blanks, held: Vec::new() }
    }

    /// Appends what `bytes` decode to.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let drops = self.blanks == Blanks::Dropped;
        let is_special = |byte: u8| byte == b'=' || (drops && is_blank(byte));
        let held = &mut self.held;
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if held.is_empty() {
                let plain = rest.iter().position(|&byte| is_special(byte)).unwrap_or(rest.len());
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
                match is_special(byte) {
                    true => held.push(byte),
                    false => out.push(byte),
                }
            }
        }
    }

    /// Appends what is due at the end of the part.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let held = &mut self.held;
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

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Goes on with what is held; false if `byte` does not belong to it, which is put as it is then.
fn hold(byte: u8, held: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
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

    fn decoded(blanks: Blanks, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut decoder = QuotedPrintableDecoder::new(blanks);
        let mut out = Vec::new();
        bytes.chunks(piece.max(1)).for_each(|piece| decoder.push(piece, &mut out));
        decoder.finish(&mut out);
        out
    }

    #[test]
    fn blanks_at_line_ends_stay_or_go() {
        for (bytes, kept, dropped) in [
            (&b"a \t\r\nb \n c "[..], &b"a \t\r\nb \n c "[..], &b"a\r\nb\n c"[..]),
            (b"a= \t\r\nb=\nc", b"abc", b"abc"),
            (b"a =3D ==20x", b"a = = x", b"a = = x"),
            (b"=G1 =4", b"=G1 =4", b"=G1 =4"),
            (b"a=", b"a", b"a"),
        ] {
            for piece in 1..=bytes.len() {
                assert_eq!(decoded(Blanks::Kept, bytes, piece), kept, "{bytes:?}, {piece}");
                assert_eq!(decoded(Blanks::Dropped, bytes, piece), dropped, "{bytes:?}, {piece}");
            }
        }
    }

    #[test]
    fn what_is_held_back_is_bounded() {
        let mut decoder = QuotedPrintableDecoder::new(Blanks::Dropped);
        let mut out = Vec::new();
        decoder.push(&[b' '; 100_000], &mut out);
        assert!(out.len() >= 100_000 - HELD_BYTES_MAX - 1, "{}", out.len());
    }
}
