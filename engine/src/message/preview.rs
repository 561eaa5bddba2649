//! The first words of a message (RFC 8970), and which of its parts hold text.

use super::decode::{charset_decode, html_text, transfer_decode};
use super::structure::range;
use super::{BodyKind, PREVIEW_CHARACTERS_MAX, Part, parameter};

/// Encoded bytes of plain text that are looked at.
const PLAIN_BYTES_MAX: usize = 8 << 10;
/// Encoded bytes of HTML that are looked at: much of it is style sheets.
const HTML_BYTES_MAX: usize = 64 << 10;

/// The preview: at most [`PREVIEW_CHARACTERS_MAX`] characters, blanks folded; empty without text.
///
/// Plain text is preferred where it stands beside HTML; quoted lines are skipped unless nothing
/// else is there.
pub(super) fn preview(message: &[u8], root: &Part) -> String {
    let mut plain = None;
    let mut html = None;
    find_text(root, &mut plain, &mut html);
    let (Some(part), bytes_max) = (match (plain, html) {
        (Some(part), _) => (Some(part), PLAIN_BYTES_MAX),
        (None, part) => (part, HTML_BYTES_MAX),
    }) else {
        return String::new();
    };
    let body = range(message, part.body_offset, part.end_offset);
    let body = body.get(..bytes_max).unwrap_or(body);
    let text = part_text(part, body);
    let own = text.lines().filter(|line| !line.starts_with('>'));
    let folded = fold_blanks(own);
    if folded.is_empty() { fold_blanks(text.lines()) } else { folded }
}

/// A text part whose encoded bytes, or the first of them, are given, as characters.
pub(super) fn decoded_text(part: &Part, body: &[u8]) -> String {
    let decoded = transfer_decode(&part.encoding, body);
    let charset = parameter::find(&part.parameters, b"charset").unwrap_or_default();
    charset_decode(charset, &decoded)
}

/// The same without the tags of HTML.
fn part_text(part: &Part, body: &[u8]) -> String {
    let text = decoded_text(part, body);
    if part.media_subtype.eq_ignore_ascii_case(b"html") { html_text(&text) } else { text }
}

pub(super) fn is_text(part: &Part) -> bool {
    part.media_type.eq_ignore_ascii_case(b"text") && part.kind == BodyKind::Leaf
}

/// The first plain and the first HTML part that are no attachments; depth is bounded by the parser.
fn find_text<'a>(part: &'a Part, plain: &mut Option<&'a Part>, html: &mut Option<&'a Part>) {
    match &part.kind {
        BodyKind::Multipart(parts) => {
            for part in parts {
                if plain.is_some() {
                    return;
                }
                find_text(part, plain, html);
            }
        }
        BodyKind::Leaf if is_text(part) => {
            let attached = part.disposition.as_ref();
            if attached.is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(b"attachment")) {
                return;
            }
            if part.media_subtype.eq_ignore_ascii_case(b"plain") {
                plain.get_or_insert(part);
            } else if part.media_subtype.eq_ignore_ascii_case(b"html") {
                html.get_or_insert(part);
            }
        }
        BodyKind::Leaf | BodyKind::Message(..) => {}
    }
}

fn fold_blanks<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut folded = String::new();
    let mut count = 0_usize;
    for word in lines.flat_map(str::split_whitespace) {
        let shown = word.chars().filter(|c| !c.is_control());
        if count > 0 {
            folded.push(' ');
            count += 1;
        }
        for character in shown {
            if count >= PREVIEW_CHARACTERS_MAX {
                folded.truncate(folded.trim_end().len());
                return folded;
            }
            folded.push(character);
            count += 1;
        }
    }
    folded.truncate(folded.trim_end().len());
    folded
}
