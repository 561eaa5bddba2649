//! The text of a message as people read it: for the passages that a search shows.
//!
//! Unlike [`SearchText`](super::text::SearchText) it is not folded, has each text once (plain,
//! where HTML says the same beside it), and nothing that mail programs do not show: no targets of
//! links.

use super::decode::html_text;
use super::flowed::{SoftBlank, unflowed};
use super::preview::{decoded_text, is_text};
use super::structure::range;
use super::{BodyKind, Part, parameter};

/// Encoded bytes of a message's texts that are looked at.
const SHOWN_BYTES_MAX: usize = 1 << 20;

/// The text of a message with this structure.
pub fn shown_text(message: &[u8], structure: &Part) -> String {
    let mut text = String::new();
    let mut bytes_left = SHOWN_BYTES_MAX;
    put(message, structure, &mut bytes_left, &mut text);
    text
}

/// Depth is bounded by the parser, see [`crate::limits::MIME_DEPTH_MAX`].
fn put(message: &[u8], part: &Part, bytes_left: &mut usize, out: &mut String) {
    match &part.kind {
        BodyKind::Multipart(parts) => {
            let is_alternative = part.media_subtype.eq_ignore_ascii_case(b"alternative");
            let has_plain = is_alternative && parts.iter().any(is_plain);
            for inner in parts.iter().filter(|inner| !has_plain || !is_html(inner)) {
                put(message, inner, bytes_left, out);
            }
        }
        BodyKind::Message(_, inner) => put(message, inner, bytes_left, out),
        BodyKind::Leaf if is_text(part) => {
            let body = range(message, part.body_offset, part.end_offset);
            let body = body.get(..*bytes_left).unwrap_or(body);
            *bytes_left -= body.len();
            let text = decoded_text(part, body);
            if is_html(part) {
                out.push_str(&html_text(&text));
            } else if is_flowed(part) {
                out.push_str(&unflowed(&text, SoftBlank::Kept));
            } else {
                out.push_str(&text);
            }
            out.push('\n');
        }
        BodyKind::Leaf => {}
    }
}

fn is_plain(part: &Part) -> bool {
    is_text(part) && part.media_subtype.eq_ignore_ascii_case(b"plain")
}

fn is_html(part: &Part) -> bool {
    is_text(part) && part.media_subtype.eq_ignore_ascii_case(b"html")
}

fn is_flowed(part: &Part) -> bool {
    let format = parameter::find(&part.parameters, b"format");
    format.is_some_and(|format| format.eq_ignore_ascii_case(b"flowed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Summary;

    #[test]
    fn a_text_is_shown_once_and_as_it_was_written() {
        let message = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\
            Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\r\nGr\xC3\xBC\xC3\x9Fe\r\n--b\r\n\
            Content-Type: text/html\r\n\r\n<p>the same</p>\r\n--b--\r\n--a\r\n\
            Content-Type: text/html\r\n\r\n<a href=\"http://example.org\">Here</a>\r\n--a--\r\n";
        let shown = shown_text(message, &Summary::parse(message).structure);
        let words: Vec<&str> = shown.split_whitespace().collect();
        assert_eq!(words, ["Grüße", "Here"]);
    }
}
