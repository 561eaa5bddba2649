//! From bytes of mail to text: transfer encodings, charsets, encoded words, HTML.
//!
//! All of it is lenient, because what is shown or found matters more than who is to blame: bytes
//! that are no base64 are skipped, a wrong escape stays as it is, an unknown charset is read as
//! UTF-8 and, failing that, as windows-1252. Output is bounded by the input times a small factor.
//!
//! Charset tables and HTML come from mail-parser; corrupt input made it panic in the past, so it is
//! called behind `catch_unwind`, on flat text only, never on nested structure.

use std::borrow::Cow;
use std::panic::catch_unwind;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;

/// Undoes a Content-Transfer-Encoding (RFC 2045 section 6); unknown ones leave the bytes alone.
pub(super) fn transfer_decode<'a>(encoding: &[u8], body: &'a [u8]) -> Cow<'a, [u8]> {
    if encoding.eq_ignore_ascii_case(b"base64") {
        Cow::Owned(base64(body))
    } else if encoding.eq_ignore_ascii_case(b"quoted-printable") {
        Cow::Owned(quoted_printable(body))
    } else {
        Cow::Borrowed(body)
    }
}

/// Base64 with anything else between its letters, in as many pieces as it comes in; what follows
/// padding begins anew.
#[derive(Clone, Debug, Default)]
pub struct Base64Decoder {
    bits: u32,
    count: u32,
}

impl Base64Decoder {
    /// Appends what a piece decodes to.
    pub fn push(&mut self, piece: &[u8], decoded: &mut Vec<u8>) {
        decoded.reserve(piece.len() / 4 * 3 + 3);
        let (mut bits, mut count) = (self.bits, self.count);
        for byte in piece {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' | b'-' => 62,
                b'/' | b'_' => 63,
                b'=' => {
                    (bits, count) = (0, 0);
                    continue;
                }
                _ => continue,
            };
            bits = bits << 6 | u32::from(value);
            count += 6;
            if count >= 8 {
                count -= 8;
                let [.., byte] = (bits >> count).to_be_bytes();
                decoded.push(byte);
                bits &= (1 << count) - 1;
            }
        }
        (self.bits, self.count) = (bits, count);
    }
}

/// Base64 as a whole.
pub(super) fn base64(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    Base64Decoder::default().push(body, &mut decoded);
    decoded
}

/// RFC 2045 section 6.7: blanks at line ends go, soft line breaks join lines.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.iter().position(|byte| *byte == b'=') {
        let (plain, after) = rest.split_at(at);
        decoded.extend_from_slice(plain);
        let after = after.get(1..).unwrap_or_default();
        if let Some(byte) = hex_pair(after) {
            decoded.push(byte);
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        let blanks = after.iter().position(|byte| !matches!(byte, b' ' | b'\t'));
        let line_end = after.get(blanks.unwrap_or(after.len())..).unwrap_or_default();
        rest = match line_end {
            [b'\r', b'\n', next @ ..] | [b'\n', next @ ..] => next,
            [] => &[],
            _ => {
                decoded.push(b'=');
                after
            }
        };
    }
    decoded.extend_from_slice(rest);
    decoded
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let [high, low, ..] = bytes else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Text in a named charset as UTF-8.
pub(super) fn charset_decode(charset: &[u8], bytes: &[u8]) -> String {
    let plain = charset.is_empty()
        || charset.eq_ignore_ascii_case(b"utf-8")
        || charset.eq_ignore_ascii_case(b"us-ascii");
    if !plain && let Some(decoder) = charset_decoder(charset) {
        if is_utf7(charset) {
            return utf7(bytes);
        }
        if let Ok(text) = catch_unwind(|| decoder(bytes)) {
            return text;
        }
    }
    unlabelled(bytes, charset.eq_ignore_ascii_case(b"utf-8"))
}

fn is_utf7(charset: &[u8]) -> bool {
    charset.eq_ignore_ascii_case(b"utf-7") || charset.eq_ignore_ascii_case(b"unicode-1-1-utf-7")
}

/// Text without a charset, or with one that it does not keep to.
fn unlabelled(bytes: &[u8], said_utf8: bool) -> String {
    match str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) if said_utf8 => String::from_utf8_lossy(bytes).into_owned(),
        Err(_) => match charset_decoder(b"windows-1252") {
            Some(decoder) => decoder(bytes),
            None => String::from_utf8_lossy(bytes).into_owned(),
        },
    }
}

/// RFC 2152; our own, because mail-parser drops the byte that ends a shift and an unended one.
fn utf7(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'+' {
            text.push(char::from(*byte));
            continue;
        }
        let in_shift = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        let end = rest.iter().position(|byte| !in_shift(byte)).unwrap_or(rest.len());
        let (shift, after) = rest.split_at(end);
        if shift.is_empty() {
            text.push('+');
        }
        let units = base64(shift);
        let (units, _) = units.as_chunks::<2>();
        let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
        let decoded = char::decode_utf16(units);
        text.extend(decoded.map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        rest = after.strip_prefix(b"-").unwrap_or(after);
    }
    text
}

/// HTML without its tags, its entities as characters.
pub(super) fn html_text(html: &str) -> String {
    let html = without_comments(html);
    catch_unwind(|| html_to_text(&html)).unwrap_or(html)
}

/// HTML without its comments, and with each `<` that begins no tag as an entity, both as browsers
/// see them (HTML, section 13.2.5.6): mail-parser finds no end of a comment that ends in more than
/// two dashes, and takes what follows `a < b` for a tag, and the rest of the text is lost.
fn without_comments(html: &str) -> String {
    let begins_tag = |after: &str| {
        after.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'))
    };
    let mut plain = String::with_capacity(html.len());
    let mut rest = html;
    while let Some((before, after)) = rest.split_once('<') {
        plain += before;
        rest = after;
        if let Some(comment) = after.strip_prefix("!--") {
            rest = after_comment(comment);
        } else {
            plain += if begins_tag(after) { "<" } else { "&lt;" };
        }
    }
    plain += rest;
    plain
}

/// What follows a comment; nothing if it has no end, as browsers show it.
fn after_comment(comment: &str) -> &str {
    for at_once in [">", "->"] {
        if let Some(after) = comment.strip_prefix(at_once) {
            return after;
        }
    }
    let mut rest = comment;
    while let Some((_, after)) = rest.split_once("--") {
        // Further dashes belong to the end.
        let behind = after.trim_start_matches('-');
        if let Some(after) = behind.strip_prefix('>').or_else(|| behind.strip_prefix("!>")) {
            return after;
        }
        rest = behind;
    }
    ""
}

/// An encoded word taken apart (RFC 2047 section 2).
struct EncodedWord<'a> {
    charset: &'a [u8],
    decoded: Vec<u8>,
    after: &'a [u8],
}

/// A header value with its encoded words decoded, as UTF-8.
///
/// Blanks between two encoded words go (RFC 2047 section 6.2), and the bytes of neighbours in one
/// charset are joined before they are decoded: many programs cut in the middle of a character.
pub fn decode_words(value: &[u8]) -> String {
    decoded_words(value).into_owned()
}

/// The same, lent where nothing has to be decoded.
pub(super) fn decoded_words(value: &[u8]) -> Cow<'_, str> {
    let has_words = memchr::memchr_iter(b'=', value)
        .any(|at| at.checked_add(1).and_then(|next| value.get(next)) == Some(&b'?'));
    match (has_words, str::from_utf8(value)) {
        (true, _) => Cow::Owned(with_words_decoded(value)),
        (false, Ok(text)) => Cow::Borrowed(text),
        (false, Err(_)) => Cow::Owned(unlabelled(value, false)),
    }
}

fn with_words_decoded(value: &[u8]) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    let mut pending: Option<(&[u8], Vec<u8>)> = None;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"=?") {
        let (before, from) = rest.split_at(at);
        let Some(word) = encoded_word(from) else {
            flush(&mut pending, &mut text);
            let (shown, after) = rest.split_at_checked(at + 2).unwrap_or((rest, &[]));
            text += &unlabelled(shown, false);
            rest = after;
            continue;
        };
        if !(pending.is_some() && before.trim_ascii().is_empty()) {
            flush(&mut pending, &mut text);
            text += &unlabelled(before, false);
        }
        match &mut pending {
            Some((charset, bytes))
                if charset.eq_ignore_ascii_case(word.charset) && !has_shifts(charset) =>
            {
                bytes.extend_from_slice(&word.decoded);
            }
            _ => {
                flush(&mut pending, &mut text);
                pending = Some((word.charset, word.decoded));
            }
        }
        rest = word.after;
    }
    flush(&mut pending, &mut text);
    text += &unlabelled(rest, false);
    text
}

/// Whether text in a charset ends in the state in which it began: words of such a one are whole
/// (RFC 2047 section 5), and joined ones have two escapes in a row, which is an error in them.
fn has_shifts(charset: &[u8]) -> bool {
    let begins = |with: &[u8]| {
        charset.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with))
    };
    begins(b"iso-2022-") || begins(b"hz-") || is_utf7(charset)
}

fn flush(pending: &mut Option<(&[u8], Vec<u8>)>, text: &mut String) {
    if let Some((charset, bytes)) = pending.take() {
        *text += &charset_decode(charset, &bytes);
    }
}

/// encoded-word = "=?" charset ["*" language] "?" encoding "?" encoded-text "?="
fn encoded_word(from: &[u8]) -> Option<EncodedWord<'_>> {
    let rest = from.strip_prefix(b"=?")?;
    // Charsets have short names; the bound keeps "=?=?=?…" linear.
    let mark = rest.iter().take(64).position(|byte| *byte == b'?')?;
    let (charset, rest) = rest.split_at_checked(mark)?;
    let charset = charset.split(|byte| *byte == b'*').next().unwrap_or(charset);
    let [b'?', encoding, b'?', rest @ ..] = rest else { return None };
    let end = rest.windows(2).take(2048).position(|pair| pair == b"?=")?;
    let (encoded, after) = rest.split_at_checked(end)?;
    let decoded = match encoding {
        b'b' | b'B' => base64(encoded),
        b'q' | b'Q' => {
            let spaced: Vec<u8> =
                encoded.iter().map(|byte| if *byte == b'_' { b' ' } else { *byte }).collect();
            quoted_printable(&spaced)
        }
        _ => return None,
    };
    if charset.is_empty() {
        return None;
    }
    Some(EncodedWord { charset, decoded, after: after.get(2..).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoded_words_become_text() {
        let table = [
            ("plain", "plain", "plain"),
            ("=?iso-8859-1?Q?Olle_J=E4rnefors?=", "Olle Järnefors", "Q"),
            ("=?utf-8?B?w6Q=?= b", "ä b", "B"),
            ("=?utf-8?Q?=C3?= =?UTF-8?Q?=A4?=", "ä", "a character cut in two"),
            ("=?utf-8?Q?a?=\t =?iso-8859-1?Q?=E4?=", "aä", "blanks between words"),
            ("a =?utf-8*en?q?b?= c", "a b c", "language"),
            ("=?utf-8?X?b?=", "=?utf-8?X?b?=", "unknown encoding"),
            ("=?utf-8?Q?open", "=?utf-8?Q?open", "open"),
            ("=?iso-2022-jp?B?GyRCJVElJBsoQg==?=", "パイ", "Japanese"),
            (
                "=?iso-2022-jp?B?GyRCJUYbKEI=?= =?iso-2022-jp?B?GyRCJUYbKEI=?=",
                "テテ",
                "words with escapes are whole",
            ),
            ("=?", "=?", "only a begin"),
            ("ä", "ä", "raw UTF-8"),
        ];
        for (value, expected, reason) in table {
            assert_eq!(decode_words(value.as_bytes()), expected, "{reason}");
        }
        assert_eq!(decode_words(b"J\xE4rn"), "Järn", "raw 8-bit bytes");
    }

    #[test]
    fn transfer_encodings_are_undone() {
        let table: &[(&str, &str, &str)] = &[
            ("base64", "aGVs\r\nbG8=\r\n", "hello"),
            ("BASE64", "aGVsbG8", "hello"),
            ("quoted-printable", "a=20b=\r\nc=3D=zz = \r\nd", "a bc==zz d"),
            ("7bit", "a=20", "a=20"),
        ];
        for (encoding, body, expected) in table {
            let found = transfer_decode(encoding.as_bytes(), body.as_bytes());
            assert_eq!(String::from_utf8_lossy(&found), *expected, "{encoding} {body}");
        }
        assert_eq!(charset_decode(b"utf-7", b"1 +- 1 +AOQ b+AOQ-c"), "1 + 1 ä bäc");
    }

    #[test]
    fn html_is_read_as_a_browser_shows_it() {
        let table = [
            ("<p>a &amp; b</p>", "a & b", "tags and entities"),
            ("x<!-- no -->y", "xy", "a comment"),
            ("x<!----- no ----->y", "xy", "a comment with more dashes"),
            ("x<!-- a -- b --!>y", "xy", "the other end"),
            ("x<!-->y<!--->z", "xyz", "comments that are none"),
            ("x<!-- the rest", "x", "a comment without an end"),
            ("<!-- a --><!-- b -->", "", "nothing else"),
            ("a < b and c > d", "a < b and c > d", "no tag begins with a blank"),
            ("<>a</ b>", "<>a", "no tag is empty"),
            ("<style>a < b { }</style>c", "c", "styles are not shown"),
            ("<script>if (a<!--b) { }</script>", "", "scripts are not shown"),
        ];
        for (html, expected, reason) in table {
            assert_eq!(html_text(html).trim(), expected, "{reason}: {html}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_charset_become_text(
            bytes in proptest::collection::vec(any::<u8>(), 0..100),
            charset in prop::sample::select(vec![
                "utf-8", "utf-7", "utf-16", "iso-2022-jp", "gb18030", "big5", "euc-kr", "koi8-r",
                "shift_jis", "windows-1252", "unknown", "", "iso-8859-1", "ibm850", "macintosh",
            ]),
        ) {
            charset_decode(charset.as_bytes(), &bytes);
            html_text(&String::from_utf8_lossy(&bytes));
            decode_words(&bytes);
        }

        #[test]
        fn odd_html_becomes_text(html in "[<>/a-z!&#;\" -]{0,80}") {
            html_text(&html);
        }
    }
}
