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

use super::header::{Field, Fields};
use super::summary::is_common;
use super::{KindRef, PartRef, PartsRef, StoredSummary};
use crate::width::u64_of;

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
/// `structure` is that of the whole message, `path` its part numbers, counted from 1.
pub fn section(structure: PartsRef<'_>, path: &[u32], text: SectionText) -> Option<Range<u32>> {
    if path.is_empty() {
        let mut structure = structure;
        return message_text(&structure.next_part(0)?, text);
    }
    let Found { part, mut inside } = find(structure, path)?;
    match text {
        SectionText::Whole => Some(part.body_offset..part.end_offset),
        SectionText::Mime => Some(part.header_offset..part.body_offset),
        SectionText::Header | SectionText::Text => match part.kind {
            KindRef::Message(_) => message_text(&inside.next_part(part.body_offset)?, text),
            KindRef::Leaf | KindRef::Multipart(_) => None,
        },
    }
}

fn message_text(message: &PartRef<'_>, text: SectionText) -> Option<Range<u32>> {
    match text {
        SectionText::Whole => Some(message.header_offset..message.end_offset),
        SectionText::Header => Some(message.header_offset..message.body_offset),
        SectionText::Text => Some(message.body_offset..message.end_offset),
        SectionText::Mime => None,
    }
}

/// A part, and where the parts in it begin.
struct Found<'a> {
    part: PartRef<'a>,
    inside: PartsRef<'a>,
}

/// The part that a path of numbers leads to; `None` where it leads nowhere or is empty.
pub fn part<'a>(structure: PartsRef<'a>, path: &[u32]) -> Option<PartRef<'a>> {
    find(structure, path).map(|found| found.part)
}

fn find<'a>(structure: PartsRef<'a>, path: &[u32]) -> Option<Found<'a>> {
    let mut inside = structure;
    let mut part = inside.next_part(0)?;
    // A path begins in a message, and goes on in one where it meets one.
    let mut is_body_of_message = true;
    for number in path {
        let index = u64::from(*number).checked_sub(1)?;
        if !is_body_of_message && matches!(part.kind, KindRef::Message(_)) {
            part = inside.next_part(part.body_offset)?;
            is_body_of_message = true;
        }
        match part.kind {
            KindRef::Multipart(count) if index < count => {
                let body_offset = part.body_offset;
                part = inside.next_part(body_offset)?;
                for _ in 0..index {
                    inside.skip_parts_in(&part);
                    part = inside.next_part(body_offset)?;
                }
            }
            KindRef::Multipart(_) => return None,
            // The body of a message is its part 1; a part that is a leaf has none.
            KindRef::Leaf | KindRef::Message(_) if index == 0 && is_body_of_message => {}
            KindRef::Leaf | KindRef::Message(_) => return None,
        }
        is_body_of_message = false;
    }
    if path.is_empty() { None } else { Some(Found { part, inside }) }
}

/// Names of header fields, made ready for many headers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FieldNames {
    names: Vec<Vec<u8>>,
    /// Bit n: some name has n bytes; bit 63: so many or more.
    lengths: u64,
    are_common: bool,
}

impl FieldNames {
    /// These names.
    pub fn new<N: AsRef<[u8]>>(names: &[N]) -> FieldNames {
        let names: Vec<Vec<u8>> = names.iter().map(|name| name.as_ref().to_vec()).collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | length_bit(name));
        FieldNames { lengths, are_common: names.iter().all(|name| is_common(name)), names }
    }

    /// Whether summaries keep all fields of these names.
    pub fn are_common(&self) -> bool {
        self.are_common
    }

    /// Whether a field has one of these names.
    #[inline]
    fn contains(&self, field: &Field<'_>) -> bool {
        self.lengths & length_bit(field.name) != 0
            && !field.name.is_empty()
            && self.names.iter().any(|name| field.is(name))
    }

    /// The chosen fields of a header as they stand in it, and an empty line.
    pub fn chosen_of(&self, header: &[u8], choice: FieldChoice) -> Vec<u8> {
        let mut chosen = Vec::with_capacity(header.len().saturating_add(4));
        self.put_chosen_of(&mut chosen, header, choice);
        chosen
    }

    fn put_chosen_of(&self, chosen: &mut Vec<u8>, header: &[u8], choice: FieldChoice) {
        for field in Fields::new(header) {
            if self.contains(&field) == (choice == FieldChoice::Only) {
                chosen.extend_from_slice(field.raw);
                if !field.raw.ends_with(b"\n") {
                    chosen.extend_from_slice(b"\r\n");
                }
            }
        }
        chosen.extend_from_slice(b"\r\n");
    }

    /// Appends what `BODY[HEADER.FIELDS (names)]` gives, with its empty line. Nothing, and false,
    /// if the message must be opened for it, because a name is not among those kept or not all
    /// fields were kept.
    pub fn put_chosen_of_summary(&self, chosen: &mut Vec<u8>, summary: &StoredSummary) -> bool {
        let kept = self.are_common && summary.common_headers_complete();
        if kept {
            self.put_chosen_of(chosen, summary.common_headers(), FieldChoice::Only);
        }
        kept
    }

    /// The same by itself; `None` if the message must be opened for it.
    pub fn chosen_of_summary(&self, summary: &StoredSummary) -> Option<Vec<u8>> {
        let mut chosen = Vec::new();
        self.put_chosen_of_summary(&mut chosen, summary).then_some(chosen)
    }
}

fn length_bit(name: &[u8]) -> u64 {
    1 << u64_of(name.len()).min(63)
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
    FieldNames::new(names).chosen_of(header, choice)
}
