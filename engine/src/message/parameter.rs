//! Content-Type and Content-Disposition: a value and its parameters (RFC 2045 section 5.1, RFC
//! 2183).
//!
//! Continued parameters (RFC 2231 section 3) are put together: `name*0`, `name*1` become `name`;
//! where a piece is percent-encoded the whole becomes `name*`, which clients know how to decode.
//! An unquoted value may hold blanks and anything but ";", because real mail does.

use super::PARAMETERS_MAX;
use super::decode::{charset_decode, transfer_decode};

/// What a Content-Type field says.
pub(super) struct ContentType {
    /// As written.
    pub(super) media_type: Vec<u8>,
    /// As written.
    pub(super) media_subtype: Vec<u8>,
    /// Names and values, in their order.
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// `type "/" subtype *(";" parameter)`; `None` if there is no type and subtype.
pub(super) fn content_type(value: &[u8]) -> Option<ContentType> {
    let (head, rest) = head(value);
    let slash = head.iter().position(|byte| *byte == b'/')?;
    let (media_type, subtype) = head.split_at_checked(slash)?;
    let media_type = media_type.trim_ascii();
    let subtype = first_token(subtype.get(1..)?);
    if media_type.is_empty() || subtype.is_empty() || !media_type.iter().all(|b| is_token(*b)) {
        return None;
    }
    Some(ContentType {
        media_type: media_type.to_vec(),
        media_subtype: subtype.to_vec(),
        parameters: parameters(rest),
    })
}

/// `disposition *(";" parameter)`; `None` if it is empty.
#[expect(clippy::type_complexity, reason = "as on the wire: a value, then names and values")]
pub(super) fn disposition(value: &[u8]) -> Option<(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>)> {
    let (head, rest) = head(value);
    let token = first_token(&head);
    if token.is_empty() { None } else { Some((token.to_vec(), parameters(rest))) }
}

/// What stands before the first ";", without comments, and what follows it.
fn head(value: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut head = Vec::new();
    let mut depth = 0_usize;
    for (at, byte) in value.iter().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b';' if depth == 0 => return (head, value.get(at + 1..).unwrap_or_default()),
            _ if depth == 0 => head.push(*byte),
            _ => {}
        }
    }
    (head, &[])
}

fn first_token(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    let end = text.iter().position(|byte| !is_token(*byte)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

/// token characters (RFC 2045 section 5.1), and 8-bit ones, which are shown as they are.
fn is_token(byte: u8) -> bool {
    byte > b' ' && byte != 0x7F && !br#"()<>@,;:\"/[]?="#.contains(&byte)
}

/// *(";" attribute "=" value)
fn parameters(mut rest: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    while !rest.is_empty() && found.len() < PARAMETERS_MAX {
        rest = skip_blanks(rest);
        let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().trim_ascii();
        if rest.get(end) != Some(&b'=') {
            rest = rest.get(end + 1..).unwrap_or_default();
            continue;
        }
        let (value, after) = value(skip_blanks(rest.get(end + 1..).unwrap_or_default()));
        rest = after;
        if !name.is_empty() {
            found.push((name.to_vec(), value));
        }
    }
    joined(found)
}

/// Blanks and comments.
fn skip_blanks(mut rest: &[u8]) -> &[u8] {
    loop {
        rest = rest.trim_ascii_start();
        if rest.first() != Some(&b'(') {
            return rest;
        }
        let mut depth = 0_usize;
        let end = rest.iter().position(|byte| {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        rest = end.and_then(|at| rest.get(at + 1..)).unwrap_or_default();
    }
}

/// value = token / quoted-string; and what follows the next ";".
fn value(rest: &[u8]) -> (Vec<u8>, &[u8]) {
    if let Some(mut rest) = rest.strip_prefix(b"\"") {
        let mut value = Vec::new();
        while let [byte, after @ ..] = rest {
            rest = after;
            match byte {
                b'"' => break,
                b'\\' => {
                    value.extend(rest.first());
                    rest = rest.get(1..).unwrap_or_default();
                }
                _ => value.push(*byte),
            }
        }
        let next = rest.iter().position(|byte| *byte == b';');
        return (value, next.and_then(|at| rest.get(at + 1..)).unwrap_or_default());
    }
    let end = rest.iter().position(|byte| *byte == b';').unwrap_or(rest.len());
    let value = rest.get(..end).unwrap_or_default();
    // A comment after a token: `charset=us-ascii (plain)`.
    let comment = value.windows(2).position(|pair| matches!(pair, [b' ' | b'\t', b'(']));
    let value = value.get(..comment.unwrap_or(value.len())).unwrap_or_default();
    (value.trim_ascii().to_vec(), rest.get(end + 1..).unwrap_or_default())
}

/// A parameter's name taken apart: `filename*2*` is `filename`, piece 2, encoded.
struct Piece<'a> {
    base: &'a [u8],
    index: Option<u32>,
    encoded: bool,
}

fn piece(name: &[u8]) -> Piece<'_> {
    let (stem, encoded) = match name {
        [stem @ .., b'*'] => (stem, true),
        _ => (name, false),
    };
    let star = stem.iter().rposition(|byte| *byte == b'*');
    if let Some((base, digits)) = star.and_then(|at| stem.split_at_checked(at))
        && let Some(index) = digits.get(1..).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok().filter(|d| d.len() <= 4)?;
            digits.parse().ok()
        })
    {
        return Piece { base, index: Some(index), encoded };
    }
    Piece { base: name, index: None, encoded }
}

/// Puts continued parameters together, in the order of their numbers, at the place of the first.
fn joined(found: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !found.iter().any(|(name, _)| name.contains(&b'*')) {
        return found;
    }
    let mut result = Vec::new();
    for (at, (name, value)) in found.iter().enumerate() {
        let this = piece(name);
        if this.index.is_none() {
            result.push((name.clone(), value.clone()));
            continue;
        }
        let same = |(other, _): &&(Vec<u8>, Vec<u8>)| {
            let other = piece(other);
            other.index.is_some() && other.base.eq_ignore_ascii_case(this.base)
        };
        if found.iter().take(at).any(|parameter| same(&parameter)) {
            continue;
        }
        let mut pieces: Vec<_> =
            found.iter().filter(same).map(|(name, value)| (piece(name), value)).collect();
        pieces.sort_by_key(|(piece, _)| piece.index);
        let encoded = pieces.iter().any(|(piece, _)| piece.encoded);
        let mut whole = Vec::new();
        for (piece, value) in pieces {
            if encoded && !piece.encoded {
                percent_encode(value, &mut whole);
            } else {
                whole.extend_from_slice(value);
            }
        }
        let mut name = this.base.to_vec();
        if encoded {
            name.push(b'*');
        }
        result.push((name, whole));
    }
    result
}

fn percent_encode(value: &[u8], into: &mut Vec<u8>) {
    for byte in value {
        if is_token(*byte) && !matches!(byte, b'%' | b'*' | b'\'' | 0x80..) {
            into.push(*byte);
        } else {
            into.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}

/// The value of the parameter of this name.
pub(super) fn find<'a>(parameters: &'a [(Vec<u8>, Vec<u8>)], name: &[u8]) -> Option<&'a [u8]> {
    let found = parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_slice())
}

/// The value of an extended parameter (RFC 2231 section 4), `charset'language'percent-encoded`.
pub(super) fn decode(value: &[u8]) -> String {
    let mut fields = value.splitn(3, |byte| *byte == b'\'');
    let (charset, encoded) = match (fields.next(), fields.next(), fields.next()) {
        (Some(charset), Some(_), Some(encoded)) => (charset, encoded),
        _ => (&b"utf-8"[..], value),
    };
    // Quoted-printable with another escape character.
    let swapped = encoded.iter().map(|byte| match byte {
        b'%' => b'=',
        b'=' => b'%',
        other => *other,
    });
    let swapped: Vec<u8> = swapped.collect();
    charset_decode(charset, &transfer_decode(b"quoted-printable", &swapped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(value: &str) -> String {
        let Some(found) = content_type(value.as_bytes()) else {
            return "none".to_owned();
        };
        let (media, sub) = (found.media_type, found.media_subtype);
        let mut text = format!("{}/{}", media.escape_ascii(), sub.escape_ascii());
        for (name, value) in found.parameters {
            text += &format!(";{}={}", name.escape_ascii(), value.escape_ascii());
        }
        text
    }

    #[test]
    fn content_types_of_all_kinds_are_read() {
        let table = [
            ("text/plain", "text/plain", "plain"),
            ("Text / HTML ; Charset=\"utf-8\" ;x", "Text/HTML;Charset=utf-8", "blanks"),
            (
                "multipart/mixed; boundary=\"a;b\\\"c\"",
                "multipart/mixed;boundary=a;b\\\"c",
                "quoted",
            ),
            ("a/b (c;d); n=v (w); m=1", "a/b;n=v;m=1", "comments"),
            ("a/b; name=two words.pdf; c=d", "a/b;name=two words.pdf;c=d", "blanks in a token"),
            ("a/b; n*0=x; n*1=y; m=z", "a/b;n=xy;m=z", "continued"),
            ("a/b; n*1*=%41; n*0*=utf-8''x; n*2=\"b c\"", "a/b;n*=utf-8\\'\\'x%41b%20c", "encoded"),
            ("a/b; n*=utf-8''x", "a/b;n*=utf-8\\'\\'x", "one encoded"),
            ("text", "none", "no subtype"),
            ("", "none", "empty"),
            ("/x", "none", "no type"),
            ("a/b; n=\"open", "a/b;n=open", "unclosed quote"),
            ("a/b;;;=x;n=", "a/b;n=", "empty ones"),
        ];
        for (value, expected, reason) in table {
            assert_eq!(shown(value), expected, "{reason}");
        }
        let (token, parameters) = disposition(b"attachment; filename=x").unwrap();
        assert_eq!(
            (token.as_slice(), find(&parameters, b"FileName")),
            (&b"attachment"[..], Some(&b"x"[..]))
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = content_type(&value);
            let _ = disposition(&value);
        }

        #[test]
        fn odd_punctuation_is_read(value in "[a/;=\"*0-2()\\\\ %']{0,80}") {
            if let Some(found) = content_type(format!("a/b;{value}").as_bytes()) {
                prop_assert!(found.parameters.len() <= PARAMETERS_MAX);
            }
        }
    }
}
