//! Bytes of a message: `BODY[…]<…>`, the three forms of RFC822, and BINARY.
//!
//! A body is opened straight into the output. If that fails while the answer's first byte still
//! waits there, the answer is taken back; later, the length of a literal has been told. NUL, which
//! no literal may hold, is sent as 0x80 (see `DEVIATIONS`); BINARY has a literal that holds it.

use std::collections::VecDeque;

use engine::error::ReadError;
use engine::message::StoredSummary;
use engine::message::section::{self, FieldChoice, FieldNames};
use engine::width::{u64_of, usize_of};
use engine::{MessageReader, Summaries};

use super::binary::{Decoding, EncodedPart, NotFound, Wanted};
use super::item::{RowAnswer, put_item};
use crate::codec::command::{
    BinaryItem, FetchItem, Section, SectionItem, SectionName, SectionText,
};
use crate::codec::header_fields::FieldFilter;
use crate::codec::put;

/// The longest piece that is decoded once, and kept until it is put.
const PIECE_BYTES_KEPT_MAX: u64 = 64 << 10;
/// Bytes that the pieces of one message may keep together: a command may ask for thousands.
const MESSAGE_BYTES_KEPT_MAX: u64 = 1 << 20;
/// The most items that are put at once from a summary, each of which is short.
const KEPT_ITEMS_MAX: usize = 16;
/// The longest header that is held whole where fields are chosen of it.
pub(in crate::command) const HEADER_BYTES_HELD_MAX: u64 = 256 << 10;

/// What a section turned out to be.
enum Piece {
    /// The message has no such part.
    Absent,
    /// At hand.
    Bytes(Vec<u8>),
    /// To be read from the message: begin and length.
    Range { begin: u64, length: u64 },
    /// Decoded bytes.
    Binary(Wanted),
    /// Chosen fields of a long header.
    Fields(Wanted),
    /// How many decoded bytes there are.
    Size(u64),
}

impl Piece {
    fn kept_bytes(&self) -> u64 {
        match self {
            Piece::Bytes(bytes)
            | Piece::Binary(Wanted::Bytes(bytes))
            | Piece::Fields(Wanted::Bytes(bytes)) => u64_of(bytes.len()),
            _ => 0,
        }
    }
}

/// What is left of a literal whose head has been put.
enum Pouring {
    /// Begin and end in the message.
    Range(u64, u64),
    /// Decoded bytes, in a literal that may hold NUL.
    Binary(Decoding),
    /// Chosen fields.
    Fields(Decoding),
}

/// Why a message cannot be answered.
pub(super) enum Unopened {
    /// It could not be read.
    Unreadable(ReadError),
    /// A part that is wanted decoded has an encoding that is not known (RFC 3516 section 4.3).
    UnknownEncoding,
}

impl From<ReadError> for Unopened {
    fn from(error: ReadError) -> Unopened {
        Unopened::Unreadable(error)
    }
}

/// A message made ready for an answer, and how far that answer is.
pub(super) struct Opened {
    summary: Option<StoredSummary>,
    reader: Option<MessageReader>,
    /// One for each section asked for that has not been put yet, in order.
    pieces: VecDeque<Piece>,
    /// Bytes that they keep.
    kept_bytes: u64,
    items_put: usize,
    literal: Option<Pouring>,
    /// Where the answer begins in the output; `None` once some of it may have been sent.
    taken_back_to: Option<usize>,
}

/// An answer that could not be completed.
pub(super) enum Unput {
    /// It was taken back: the output is as it was before.
    TakenBack(ReadError),
    /// Some of it was sent already: only the end of the connection tells the client.
    CutShort,
}

impl Opened {
    /// Finds every section.
    pub(super) fn open(
        answer: &RowAnswer<'_>,
        summaries: &mut Summaries,
    ) -> Result<Opened, Unopened> {
        let summary = answer.summary(summaries)?;
        let mut opened = Opened {
            summary,
            reader: None,
            pieces: VecDeque::new(),
            kept_bytes: 0,
            items_put: 0,
            literal: None,
            taken_back_to: None,
        };
        for (item, prepared) in answer.plan.items.iter().zip(&answer.plan.prepared) {
            let piece = match item {
                FetchItem::Section(item) => {
                    part_of(opened.piece(answer, item, prepared)?, item.partial)
                }
                FetchItem::Binary(item) => opened.binary(answer, item)?,
                FetchItem::BinarySize(path) => opened.binary_size(answer, path)?,
                _ => continue,
            };
            opened.kept_bytes = opened.kept_bytes.saturating_add(piece.kept_bytes());
            opened.pieces.push_back(piece);
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

    /// All of a section; but of what is longer than can be held, what is wanted.
    fn piece(
        &mut self,
        answer: &RowAnswer<'_>,
        item: &SectionItem,
        prepared: &Prepared,
    ) -> Result<Piece, ReadError> {
        let wanted = &item.section;
        if is_whole_message(wanted) {
            return Ok(Piece::Range { begin: 0, length: u64::from(answer.row.size) });
        }
        let Some(summary) = self.summary.clone() else { return Ok(Piece::Absent) };
        let (kind, fields) = part_and_fields(&wanted.text);
        if let Some(ChosenFields { choice: FieldChoice::Only, .. }) = &fields
            && wanted.path.is_empty()
            && self.may_keep() > 0
            && let Some(kept) = prepared.fields.chosen_of_summary(&summary)
        {
            return Ok(Piece::Bytes(kept));
        }
        let Some(range) = section::section(summary.structure(), &wanted.path, kind) else {
            return Ok(Piece::Absent);
        };
        let begin = u64::from(range.start);
        let length = u64::from(range.end.saturating_sub(range.start));
        let Some(fields) = fields else { return Ok(Piece::Range { begin, length }) };
        let kept_max = self.may_keep();
        if length > HEADER_BYTES_HELD_MAX || kept_max == 0 {
            let filter = FieldFilter::new(fields.names, fields.choice);
            let reader = self.reader(answer)?;
            let chosen = EncodedPart::fields((begin, begin.saturating_add(length)), filter);
            return Ok(Piece::Fields(chosen.wanted(reader, item.partial, kept_max)?));
        }
        let header = read_range(self.reader(answer)?, begin, length)?;
        Ok(Piece::Bytes(prepared.fields.chosen_of(&header, fields.choice)))
    }

    /// Bytes that the next piece may keep.
    fn may_keep(&self) -> u64 {
        MESSAGE_BYTES_KEPT_MAX.saturating_sub(self.kept_bytes).min(PIECE_BYTES_KEPT_MAX)
    }

    fn binary(&mut self, answer: &RowAnswer<'_>, item: &BinaryItem) -> Result<Piece, Unopened> {
        let Some(part) = self.encoded_part(&item.path)? else { return Ok(Piece::Absent) };
        let kept_max = self.may_keep();
        let reader = self.reader(answer)?;
        Ok(Piece::Binary(part.wanted(reader, item.partial, kept_max)?))
    }

    fn binary_size(&mut self, answer: &RowAnswer<'_>, path: &[u32]) -> Result<Piece, Unopened> {
        let Some(part) = self.encoded_part(path)? else { return Ok(Piece::Size(0)) };
        Ok(Piece::Size(part.byte_count(|| answer.account.message(answer.row))?))
    }

    /// `None` if the message has no such part.
    fn encoded_part(&self, path: &[u32]) -> Result<Option<EncodedPart>, Unopened> {
        let Some(summary) = &self.summary else { return Ok(None) };
        match EncodedPart::find(summary, path) {
            Ok(part) => Ok(Some(part)),
            Err(NotFound::Absent) => Ok(None),
            Err(NotFound::UnknownEncoding) => Err(Unopened::UnknownEncoding),
        }
    }

    /// Puts as much of the answer as the output has room for, up to `full_at` and one piece; true
    /// when it is complete. The caller sends the output and calls again.
    ///
    /// # Errors
    /// [`Unput`], if something could not be read.
    pub(super) fn put(
        &mut self,
        answer: &RowAnswer<'_>,
        out: &mut Vec<u8>,
        full_at: usize,
    ) -> Result<bool, Unput> {
        if self.items_put == 0 {
            self.taken_back_to = Some(out.len());
        }
        let complete =
            self.put_more(answer, out, full_at).map_err(|error| match self.taken_back_to {
                Some(start) => {
                    out.truncate(start);
                    Unput::TakenBack(error)
                }
                None => {
                    tracing::error!(uid = answer.row.uid.0, %error, "message unreadable");
                    Unput::CutShort
                }
            });
        self.taken_back_to = None;
        complete
    }

    fn put_more(
        &mut self,
        answer: &RowAnswer<'_>,
        out: &mut Vec<u8>,
        full_at: usize,
    ) -> Result<bool, ReadError> {
        while out.len() < full_at {
            match self.literal.take() {
                Some(Pouring::Range(begin, end)) => {
                    self.literal = self.put_chunk(answer, out, (begin, end))?;
                    continue;
                }
                Some(Pouring::Binary(decoding)) => {
                    self.literal = self.put_decoded(answer, out, decoding)?.map(Pouring::Binary);
                    continue;
                }
                Some(Pouring::Fields(decoding)) => {
                    let start = out.len();
                    self.literal = self.put_decoded(answer, out, decoding)?.map(Pouring::Fields);
                    put::mask_nul(out, start);
                    continue;
                }
                None => {}
            }
            let plan = answer.plan;
            let next = plan.items.get(self.items_put).zip(plan.prepared.get(self.items_put));
            let Some((item, prepared)) = next else {
                answer.put_tail(out);
                return Ok(true);
            };
            match self.items_put {
                0 => answer.put_head(out),
                _ => out.push(b' '),
            }
            self.items_put += 1;
            self.put_next(answer, (item, prepared), out)?;
        }
        Ok(false)
    }

    /// Puts an item; the bytes of a range follow by [`Opened::put_chunk`].
    fn put_next(
        &mut self,
        answer: &RowAnswer<'_>,
        (item, prepared): (&FetchItem, &Prepared),
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        match item {
            FetchItem::Section(_) => out.extend_from_slice(&prepared.name),
            FetchItem::Binary(item) => put_binary_name(out, "BINARY", &item.path, item.partial),
            FetchItem::BinarySize(path) => put_binary_name(out, "BINARY.SIZE", path, None),
            item => return put_item(out, answer, item, self.summary.as_ref()),
        }
        match self.pieces.pop_front() {
            Some(Piece::Bytes(bytes) | Piece::Fields(Wanted::Bytes(bytes))) => {
                put::literal_head(out, u64_of(bytes.len()));
                put::literal_bytes(out, &bytes);
            }
            Some(Piece::Range { begin, length }) => {
                put::literal_head(out, length);
                self.literal = Some(Pouring::Range(begin, begin.saturating_add(length)));
            }
            Some(Piece::Binary(Wanted::Bytes(bytes))) => {
                if bytes.contains(&0) {
                    out.push(b'~');
                }
                put::literal_head(out, u64_of(bytes.len()));
                out.extend_from_slice(&bytes);
            }
            Some(Piece::Binary(Wanted::Stream(decoding, length))) => {
                // Whether it holds NUL is not known before it is read.
                out.push(b'~');
                put::literal_head(out, length);
                self.literal = Some(Pouring::Binary(decoding));
            }
            Some(Piece::Fields(Wanted::Stream(decoding, length))) => {
                put::literal_head(out, length);
                self.literal = Some(Pouring::Fields(decoding));
            }
            Some(Piece::Size(byte_count)) => put::number(out, byte_count),
            Some(Piece::Absent) | None => out.extend_from_slice(b"NIL"),
        }
        Ok(())
    }

    /// Puts bytes of the message up to the end of their chunk; answers what is left.
    fn put_chunk(
        &mut self,
        answer: &RowAnswer<'_>,
        out: &mut Vec<u8>,
        (position, end): (u64, u64),
    ) -> Result<Option<Pouring>, ReadError> {
        if position >= end {
            return Ok(None);
        }
        let start = out.len();
        let count = self.reader(answer)?.append_from(position, end - position, out)?;
        if count == 0 {
            let why = "it is shorter than its size";
            return Err(ReadError::Undecodable { what: "message", why });
        }
        put::mask_nul(out, start);
        Ok(Some(Pouring::Range(position.saturating_add(count), end)))
    }

    /// Puts what a chunk decodes to; answers what is left.
    fn put_decoded(
        &mut self,
        answer: &RowAnswer<'_>,
        out: &mut Vec<u8>,
        mut decoding: Decoding,
    ) -> Result<Option<Decoding>, ReadError> {
        if decoding.step(self.reader(answer)?, out)? {
            return Ok(Some(decoding));
        }
        if decoding.left() > 0 {
            let why = "it decodes to less than before";
            return Err(ReadError::Undecodable { what: "message", why });
        }
        Ok(None)
    }
}

/// What is the same of an item for every message.
#[derive(Default)]
pub(super) struct Prepared {
    /// The name of a section, and the space behind it.
    name: Vec<u8>,
    /// The fields that are chosen of its header.
    fields: FieldNames,
}

impl Prepared {
    pub(super) fn new(item: &FetchItem) -> Prepared {
        let FetchItem::Section(item) = item else { return Prepared::default() };
        let mut name = Vec::new();
        put_name(&mut name, item);
        let (_, chosen) = part_and_fields(&item.section.text);
        Prepared { name, fields: chosen.map(|it| FieldNames::new(it.names)).unwrap_or_default() }
    }

    /// Whether the item is answered from summaries, of messages that had all their fields kept.
    fn is_kept(&self, item: &FetchItem) -> bool {
        match item {
            FetchItem::Section(item) => {
                let is_chosen = matches!(item.section.text, SectionText::HeaderFields(_));
                let is_whole = item.section.path.is_empty() && item.partial.is_none();
                is_chosen && is_whole && self.fields.are_common()
            }
            FetchItem::Binary(_) | FetchItem::BinarySize(_) => false,
            _ => true,
        }
    }
}

/// Whether a plan is answered from summaries, without more at once than a little.
pub(super) fn are_kept(items: &[FetchItem], prepared: &[Prepared]) -> bool {
    items.len() <= KEPT_ITEMS_MAX
        && items.iter().zip(prepared).all(|(item, prepared)| prepared.is_kept(item))
}

/// `* n FETCH (…)` of a message whose sections its summary has; nothing, and false, if it has not
/// or if the plan asks for more. After an error some of it may have been put.
pub(super) fn put_kept(
    out: &mut Vec<u8>,
    answer: &RowAnswer<'_>,
    summaries: &mut Summaries,
) -> Result<bool, ReadError> {
    if !answer.plan.are_kept {
        return Ok(false);
    }
    let Some(summary) = answer.summary(summaries)? else { return Ok(false) };
    if !summary.common_headers_complete() {
        return Ok(false);
    }
    answer.put_head(out);
    for (index, (item, prepared)) in answer.plan.items.iter().zip(&answer.plan.prepared).enumerate()
    {
        if index > 0 {
            out.push(b' ');
        }
        if matches!(item, FetchItem::Section(_)) {
            out.extend_from_slice(&prepared.name);
            put::literal_of(out, |out| {
                prepared.fields.put_chosen_of_summary(out, &summary);
            });
        } else {
            put_item(out, answer, item, Some(&summary))?;
        }
    }
    answer.put_tail(out);
    Ok(true)
}

/// `BODY[]` and `RFC822`: all bytes as received, whatever a parser makes of them.
pub(super) fn is_whole_message(section: &Section) -> bool {
    section.path.is_empty() && section.text == SectionText::Whole
}

/// Fields that are chosen of a header.
pub(in crate::command) struct ChosenFields<'a> {
    pub(in crate::command) names: &'a [Vec<u8>],
    pub(in crate::command) choice: FieldChoice,
}

/// What the engine calls a text of a section, and which fields are chosen of it.
pub(in crate::command) fn part_and_fields(
    text: &SectionText,
) -> (section::SectionText, Option<ChosenFields<'_>>) {
    let chosen = |names, choice| Some(ChosenFields { names, choice });
    match text {
        SectionText::Whole => (section::SectionText::Whole, None),
        SectionText::Text => (section::SectionText::Text, None),
        SectionText::Mime => (section::SectionText::Mime, None),
        SectionText::Header => (section::SectionText::Header, None),
        SectionText::HeaderFields(names) => {
            (section::SectionText::Header, chosen(names.as_slice(), FieldChoice::Only))
        }
        SectionText::HeaderFieldsNot(names) => {
            (section::SectionText::Header, chosen(names.as_slice(), FieldChoice::Except))
        }
    }
}

/// The part of a piece that `<offset.length>` means.
fn part_of(piece: Piece, partial: Option<(u32, u32)>) -> Piece {
    let Some((offset, count)) = partial else { return piece };
    let (offset, count) = (u64::from(offset), u64::from(count));
    match piece {
        // They have been cut to what is wanted already.
        Piece::Absent | Piece::Binary(_) | Piece::Fields(_) | Piece::Size(_) => piece,
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

/// Bytes of a message: for headers, which are read whole where fields are chosen of them.
pub(in crate::command) fn read_range(
    reader: &mut MessageReader,
    begin: u64,
    length: u64,
) -> Result<Vec<u8>, ReadError> {
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
        put_offset(out, item.partial);
    }
    out.push(b' ');
}

/// `section-binary` with its item's name, and the space behind it.
fn put_binary_name(out: &mut Vec<u8>, name: &str, path: &[u32], partial: Option<(u32, u32)>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'[');
    put_path(out, path);
    out.push(b']');
    put_offset(out, partial);
    out.push(b' ');
}

fn put_offset(out: &mut Vec<u8>, partial: Option<(u32, u32)>) {
    if let Some((offset, _)) = partial {
        out.push(b'<');
        put::number(out, u64::from(offset));
        out.push(b'>');
    }
}

fn put_path(out: &mut Vec<u8>, path: &[u32]) {
    for (index, number) in path.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        put::number(out, u64::from(*number));
    }
}

/// `section-spec`
fn put_section(out: &mut Vec<u8>, section: &Section) {
    put_path(out, &section.path);
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
