//! Bytes of a message: `BODY[…]<…>` and the three forms of RFC822.
//!
//! Everything that can fail is done before the first byte of an answer, but for reading on in a
//! body.

use std::sync::Arc;

use engine::MessageReader;
use engine::error::ReadError;
use engine::message::Summary;
use engine::message::section::{self, FieldChoice};
use engine::width::{u64_of, usize_of};

use super::item::{RowAnswer, needs_summary, put_item};
use crate::codec::command::{FetchItem, Section, SectionItem, SectionName, SectionText};
use crate::codec::put;
use crate::stream::{Ended, Wire, blocking};

/// What a section turned out to be.
enum Piece {
    /// The message has no such part.
    Absent,
    /// At hand.
    Bytes(Vec<u8>),
    /// To be read from the message: begin and length.
    Range { begin: u64, length: u64 },
}

/// A message made ready for an answer: one piece for each section asked for, in order.
pub(super) struct Opened {
    summary: Option<Arc<Summary>>,
    reader: Option<MessageReader>,
    pieces: Vec<Piece>,
}

impl Opened {
    /// Finds every section, and reads the beginning of the first that must be read.
    pub(super) fn open(answer: &RowAnswer<'_>) -> Result<Opened, ReadError> {
        let wants_summary = |item: &FetchItem| match item {
            FetchItem::Section(item) => !is_whole_message(&item.section),
            item => needs_summary(item),
        };
        let summary = match answer.plan.items.iter().any(wants_summary) {
            true => Some(answer.account.summary(answer.row)?),
            false => None,
        };
        let mut opened = Opened { summary, reader: None, pieces: Vec::new() };
        for item in &answer.plan.items {
            if let FetchItem::Section(item) = item {
                let piece = opened.piece(answer, &item.section)?;
                opened.pieces.push(part_of(piece, item.partial));
            }
        }
        let first = opened.pieces.iter().find_map(|piece| match piece {
            Piece::Range { begin, length } if *length > 0 => Some(*begin),
            _ => None,
        });
        if let Some(begin) = first {
            opened.reader(answer)?.read_from(begin)?;
        }
        Ok(opened)
    }

    fn reader(&mut self, answer: &RowAnswer<'_>) -> Result<&mut MessageReader, ReadError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => answer.account.message(answer.row)?,
        };
        Ok(self.reader.insert(reader))
    }

    fn piece(&mut self, answer: &RowAnswer<'_>, wanted: &Section) -> Result<Piece, ReadError> {
        if is_whole_message(wanted) {
            return Ok(Piece::Range { begin: 0, length: u64::from(answer.row.size) });
        }
        let Some(summary) = self.summary.clone() else { return Ok(Piece::Absent) };
        let (kind, fields) = match &wanted.text {
            SectionText::Whole => (section::SectionText::Whole, None),
            SectionText::Text => (section::SectionText::Text, None),
            SectionText::Mime => (section::SectionText::Mime, None),
            SectionText::Header => (section::SectionText::Header, None),
            SectionText::HeaderFields(names) => {
                (section::SectionText::Header, Some((names, FieldChoice::Only)))
            }
            SectionText::HeaderFieldsNot(names) => {
                (section::SectionText::Header, Some((names, FieldChoice::Except)))
            }
        };
        if let (Some((names, FieldChoice::Only)), true) = (fields, wanted.path.is_empty())
            && let Some(kept) = summary.common_header_fields(names)
        {
            return Ok(Piece::Bytes(kept));
        }
        let Some(range) = section::section(&summary.structure, &wanted.path, kind) else {
            return Ok(Piece::Absent);
        };
        let begin = u64::from(range.start);
        let length = u64::from(range.end.saturating_sub(range.start));
        let Some((names, choice)) = fields else { return Ok(Piece::Range { begin, length }) };
        let header = read_range(self.reader(answer)?, begin, length)?;
        Ok(Piece::Bytes(section::header_fields(&header, names, choice)))
    }

    /// Sends the answer, chunk after chunk.
    pub(super) async fn send(
        mut self,
        answer: &RowAnswer<'_>,
        wire: &mut Wire,
    ) -> Result<(), Ended> {
        let start = wire.out.len();
        answer.put_head(&mut wire.out);
        let mut pieces = std::mem::take(&mut self.pieces).into_iter();
        for (index, item) in answer.plan.items.iter().enumerate() {
            if index > 0 {
                wire.out.push(b' ');
            }
            let FetchItem::Section(item) = item else {
                let put = blocking(|| put_item(&mut wire.out, answer, item, self.summary.as_ref()));
                if let Err(error) = put {
                    tracing::error!(uid = answer.row.uid.0, %error, "message unreadable");
                    // Bytes of this answer may have been sent already.
                    wire.out.truncate(start.min(wire.out.len()));
                    return Err(Ended::CutShort);
                }
                continue;
            };
            put_name(&mut wire.out, item);
            match pieces.next() {
                Some(Piece::Bytes(bytes)) => {
                    put::literal_head(&mut wire.out, u64_of(bytes.len()));
                    wire.out.extend_from_slice(&bytes);
                }
                Some(Piece::Range { begin, length }) => {
                    put::literal_head(&mut wire.out, length);
                    self.send_range(answer, wire, begin, length).await?;
                }
                Some(Piece::Absent) | None => wire.out.extend_from_slice(b"NIL"),
            }
            wire.relieve().await?;
        }
        answer.put_tail(&mut wire.out);
        wire.relieve().await
    }

    async fn send_range(
        &mut self,
        answer: &RowAnswer<'_>,
        wire: &mut Wire,
        begin: u64,
        length: u64,
    ) -> Result<(), Ended> {
        let end = begin.saturating_add(length);
        let mut position = begin;
        while position < end {
            let out = &mut wire.out;
            let put = blocking(|| {
                let chunk = self.reader(answer)?.read_from(position)?;
                let left = usize_of(end - position);
                let chunk = chunk.get(..left).unwrap_or(chunk);
                out.extend_from_slice(chunk);
                Ok::<u64, ReadError>(u64_of(chunk.len()))
            });
            match put {
                Ok(0) => {
                    tracing::error!(uid = answer.row.uid.0, "message shorter than its size");
                    return Err(Ended::CutShort);
                }
                Ok(count) => position += count,
                Err(error) => {
                    tracing::error!(uid = answer.row.uid.0, %error, "message unreadable");
                    return Err(Ended::CutShort);
                }
            }
            wire.relieve().await?;
        }
        Ok(())
    }
}

/// `BODY[]` and `RFC822`: all bytes as received, whatever a parser makes of them.
fn is_whole_message(section: &Section) -> bool {
    section.path.is_empty() && section.text == SectionText::Whole
}

/// The part of a piece that `<offset.length>` means.
fn part_of(piece: Piece, partial: Option<(u32, u32)>) -> Piece {
    let Some((offset, count)) = partial else { return piece };
    let (offset, count) = (u64::from(offset), u64::from(count));
    match piece {
        Piece::Absent => Piece::Absent,
        Piece::Bytes(mut bytes) => {
            let mut rest = bytes.split_off(usize_of(offset).min(bytes.len()));
            rest.truncate(usize_of(count));
            Piece::Bytes(rest)
        }
        Piece::Range { begin, length } => {
            let offset = offset.min(length);
            Piece::Range { begin: begin + offset, length: count.min(length - offset) }
        }
    }
}

fn read_range(reader: &mut MessageReader, begin: u64, length: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    while u64_of(bytes.len()) < length {
        let chunk = reader.read_from(begin.saturating_add(u64_of(bytes.len())))?;
        if chunk.is_empty() {
            break;
        }
        let left = usize_of(length - u64_of(bytes.len()));
        bytes.extend_from_slice(chunk.get(..left).unwrap_or(chunk));
    }
    Ok(bytes)
}

/// The item's name as the client wrote it, in capitals, and the space behind it.
fn put_name(out: &mut Vec<u8>, item: &SectionItem) {
    let name = match item.name {
        SectionName::Rfc822 => "RFC822",
        SectionName::Rfc822Header => "RFC822.HEADER",
        SectionName::Rfc822Text => "RFC822.TEXT",
        SectionName::Body => "BODY[",
    };
    out.extend_from_slice(name.as_bytes());
    if item.name == SectionName::Body {
        put_section(out, &item.section);
        out.push(b']');
        if let Some((offset, _)) = item.partial {
            out.push(b'<');
            put::number(out, u64::from(offset));
            out.push(b'>');
        }
    }
    out.push(b' ');
}

/// `section-spec`
fn put_section(out: &mut Vec<u8>, section: &Section) {
    for (index, number) in section.path.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        put::number(out, u64::from(*number));
    }
    let (word, names) = match &section.text {
        SectionText::Whole => return,
        SectionText::Header => ("HEADER", None),
        SectionText::Text => ("TEXT", None),
        SectionText::Mime => ("MIME", None),
        SectionText::HeaderFields(names) => ("HEADER.FIELDS", Some(names)),
        SectionText::HeaderFieldsNot(names) => ("HEADER.FIELDS.NOT", Some(names)),
    };
    if !section.path.is_empty() {
        out.push(b'.');
    }
    out.extend_from_slice(word.as_bytes());
    for (index, name) in names.into_iter().flatten().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        put::astring(out, name);
    }
    if names.is_some() {
        out.push(b')');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_named_as_it_was_asked_for() {
        let names = vec![b"From".to_vec(), b"a b".to_vec()];
        let item = SectionItem {
            section: Section { path: vec![1, 2], text: SectionText::HeaderFields(names) },
            partial: Some((5, 9)),
            peek: true,
            name: SectionName::Body,
        };
        let mut out = Vec::new();
        put_name(&mut out, &item);
        assert_eq!(String::from_utf8(out).unwrap(), "BODY[1.2.HEADER.FIELDS (From \"a b\")]<5> ");
    }

    #[test]
    fn a_part_of_a_piece_lies_within_it() {
        for (partial, expected) in [((0, 5), (10, 5)), ((18, 5), (28, 2)), ((99, 5), (30, 0))] {
            let piece = part_of(Piece::Range { begin: 10, length: 20 }, Some(partial));
            assert!(matches!(piece, Piece::Range { begin, length } if (begin, length) == expected));
            let Piece::Bytes(bytes) = part_of(Piece::Bytes(vec![0; 20]), Some(partial)) else {
                panic!("bytes stay bytes");
            };
            assert_eq!(bytes.len() as u64, expected.1);
        }
    }
}
