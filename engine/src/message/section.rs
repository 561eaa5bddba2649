//! Sections of a message (RFC 9051 section 6.4.5.1): which bytes `BODY[1.2.HEADER]` means.
//!
//! ```text
//! []  HEADER  TEXT                 of the whole message
//! [n.m]                            the body of a part, as it is encoded
//! [n.m.MIME]                       the part's own header
//! [n.m.HEADER]  [n.m.TEXT]         of the message that the part holds, only for message/rfc822
//! ```
//! A message that is no multipart has one part, number 1, which is its body.

use std::ops::Range;

use super::header::Fields;
use super::{BodyKind, Part};

/// What is asked of the part that a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SectionText {
    /// The part's body; of the empty path, the whole message.
    Whole,
    /// The header of a message, with its empty line.
    Header,
    /// The body of a message.
    Text,
    /// The header of a part, with its empty line.
    Mime,
}

/// The bytes of the message that a section means; `None` if the message has no such section.
///
/// `root` is the structure of the whole message, `path` its part numbers, counted from 1.
pub fn section(root: &Part, path: &[u32], text: SectionText) -> Option<Range<u32>> {
    if path.is_empty() {
        return message_text(root, text);
    }
    let part = part(root, path)?;
    match text {
        SectionText::Whole => Some(part.body_offset..part.end_offset),
        SectionText::Mime => Some(part.header_offset..part.body_offset),
        SectionText::Header | SectionText::Text => match &part.kind {
            BodyKind::Message(_, inner) => message_text(inner, text),
            BodyKind::Leaf | BodyKind::Multipart(_) => None,
        },
    }
}

fn message_text(message: &Part, text: SectionText) -> Option<Range<u32>> {
    match text {
        SectionText::Whole => Some(message.header_offset..message.end_offset),
        SectionText::Header => Some(message.header_offset..message.body_offset),
        SectionText::Text => Some(message.body_offset..message.end_offset),
        SectionText::Mime => None,
    }
}

/// The part that a path of numbers leads to; `None` where it leads nowhere or is empty.
pub fn part<'a>(root: &'a Part, path: &[u32]) -> Option<&'a Part> {
    let mut message = Some(root);
    let mut current = root;
    for number in path {
        let index = usize::try_from(*number).ok()?.checked_sub(1)?;
        let container = match (message, &current.kind) {
            (Some(message), _) => message,
            (None, BodyKind::Message(_, inner)) => inner,
            (None, _) => current,
        };
        current = match &container.kind {
            BodyKind::Multipart(parts) => parts.get(index)?,
            // The body of a message is its part 1; a part that is a leaf has none.
            _ if index == 0 && (message.is_some() || !std::ptr::eq(container, current)) => {
                container
            }
            _ => return None,
        };
        message = None;
    }
    if path.is_empty() { None } else { Some(current) }
}

/// Which fields of a header are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FieldChoice {
    /// HEADER.FIELDS: those named.
    Only,
    /// HEADER.FIELDS.NOT: all but those named.
    Except,
}

/// The chosen fields of a header as they stand in it, and an empty line.
pub fn header_fields<N: AsRef<[u8]>>(header: &[u8], names: &[N], choice: FieldChoice) -> Vec<u8> {
    let mut chosen = Vec::new();
    for field in Fields::new(header) {
        let named = names.iter().any(|name| field.is(name.as_ref()) && !field.name.is_empty());
        if named == (choice == FieldChoice::Only) {
            chosen.extend_from_slice(field.raw);
            if !field.raw.ends_with(b"\n") {
                chosen.extend_from_slice(b"\r\n");
            }
        }
    }
    chosen.extend_from_slice(b"\r\n");
    chosen
}
