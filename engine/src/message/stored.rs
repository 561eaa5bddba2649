//! A summary as bytes: the last sealed chunk of a blob.
//!
//! ```text
//! field                  form
//! format                 u8       1
//! parser_version         number
//! size                   number
//! envelope               see below
//! structure              part, see below
//! common_headers         bytes
//! flags                  u8       bit 0: common headers are complete; bit 1: sent follows;
//!                                 bit 2: sent date follows; the rest zero, a reader refuses them
//! preview                bytes    UTF-8
//! sent                   number   zigzag, if bit 1
//! sent_date              number ×3: year, month, day, if bit 2
//! base_subject           bytes    UTF-8
//! references             number, then so many bytes, UTF-8
//!
//! number                 LEB128, at most 10 bytes
//! bytes                  number: length; then the bytes
//! optional               number: 0 for none, else 1 + length; then the bytes
//! addresses              number, then so many times: optional name, optional mailbox, optional
//!                        host
//! parameters             number, then so many times: bytes name, bytes value
//! envelope               optional date, subject, in_reply_to, message_id; addresses from; u8 flags
//!                        (bit 0: sender is from, bit 1: reply_to is from); addresses sender and
//!                        reply_to where they are not; addresses to, cc, bcc
//! part                   number: header_offset - parent's body_offset; number: body_offset -
//!                        header_offset; number: end_offset - body_offset (all modulo 2^32);
//!                        bytes type, subtype; parameters; optional id, description; bytes
//!                        encoding; optional md5; u8: 1 if a disposition follows, as bytes and
//!                        parameters;
//!                        number: languages, each as bytes; optional location; number: line_count;
//!                        u8 kind: 0 leaf, 1 multipart (number, then parts), 2 message (envelope,
//!                        part)
//! ```
//!
//! Decoding is total: it takes any bytes, allocates at most some hundred times their length, and
//! nests no deeper than [`PART_DEPTH_MAX`]. Offsets are checked by nobody here: who uses them takes
//! a range of the message with `get`.

use super::{Address, BodyKind, CalendarDate, Envelope, Part, Summary};
use crate::limits::MIME_DEPTH_MAX;
use crate::width::{u64_of, usize_of};

/// The format that this version writes.
const FORMAT: u8 = 1;
/// The parser's levels, and the text part in a multipart that has none.
const PART_DEPTH_MAX: usize = MIME_DEPTH_MAX + 2;

/// Bytes that are no summary.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SummaryError {
    /// Written by a newer version.
    #[error("a summary of format {0}, which this version does not read")]
    Format(u8),
    /// It ends too early.
    #[error("a summary that ends too early")]
    Short,
    /// Something follows it.
    #[error("a summary with bytes behind its end")]
    Long,
    /// A value outside its range.
    #[error("a summary whose {0} is out of range")]
    Value(&'static str),
}

impl Summary {
    /// The summary as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer { bytes: Vec::with_capacity(1024) };
        to.byte(FORMAT);
        to.number(u64::from(self.parser_version));
        to.number(u64::from(self.size));
        to.envelope(&self.envelope);
        to.part(&self.structure, 0);
        to.bytes(&self.common_headers);
        to.byte(
            u8::from(self.common_headers_complete)
                | u8::from(self.sent.is_some()) << 1
                | u8::from(self.sent_date.is_some()) << 2,
        );
        to.bytes(self.preview.as_bytes());
        if let Some(sent) = self.sent {
            to.number((sent << 1 ^ sent >> 63).cast_unsigned());
        }
        if let Some(date) = self.sent_date {
            to.number(u64::from(date.year));
            to.number(u64::from(date.month));
            to.number(u64::from(date.day));
        }
        to.bytes(self.base_subject.as_bytes());
        to.number(u64_of(self.references.len()));
        for reference in &self.references {
            to.bytes(reference.as_bytes());
        }
        to.bytes
    }

    /// The summary that these bytes hold.
    pub fn decode(bytes: &[u8]) -> Result<Summary, SummaryError> {
        let mut from = Reader { rest: bytes };
        match from.byte()? {
            FORMAT => {}
            other => return Err(SummaryError::Format(other)),
        }
        let parser_version = from.small("parser version")?;
        let size = from.small("size")?;
        let envelope = from.envelope()?;
        let structure = from.part(0, 0)?;
        let common_headers = from.bytes()?;
        let flags = from.byte()?;
        if flags > 0b111 {
            return Err(SummaryError::Value("flags"));
        }
        let preview = from.text()?;
        let sent = if flags & 2 == 0 {
            None
        } else {
            let number = from.number()?;
            Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
        };
        let sent_date = if flags & 4 == 0 {
            None
        } else {
            let (year, month) = (from.small("year")?, from.small("month")?);
            Some(CalendarDate { year, month, day: from.small("day")? })
        };
        let base_subject = from.text()?;
        let references = from.list(Reader::text)?;
        if !from.rest.is_empty() {
            return Err(SummaryError::Long);
        }
        Ok(Summary {
            parser_version,
            size,
            envelope,
            structure,
            common_headers,
            common_headers_complete: flags & 1 != 0,
            preview,
            sent,
            sent_date,
            base_subject,
            references,
        })
    }
}

/// A stored summary without its preview.
pub(crate) fn without_preview(stored: &[u8]) -> Result<Vec<u8>, SummaryError> {
    let mut summary = Summary::decode(stored)?;
    summary.preview.clear();
    Ok(summary.encode())
}

struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn number(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                self.byte(low & 0x7F);
                return;
            }
            self.byte(low | 0x80);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(u64_of(bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&Vec<u8>>) {
        match bytes {
            None => self.number(0),
            Some(bytes) => {
                self.number(u64_of(bytes.len()) + 1);
                self.bytes.extend_from_slice(bytes);
            }
        }
    }

    fn addresses(&mut self, list: &[Address]) {
        self.number(u64_of(list.len()));
        for address in list {
            self.optional(address.name.as_ref());
            self.optional(address.mailbox.as_ref());
            self.optional(address.host.as_ref());
        }
    }

    fn parameters(&mut self, list: &[(Vec<u8>, Vec<u8>)]) {
        self.number(u64_of(list.len()));
        for (name, value) in list {
            self.bytes(name);
            self.bytes(value);
        }
    }

    fn envelope(&mut self, envelope: &Envelope) {
        self.optional(envelope.date.as_ref());
        self.optional(envelope.subject.as_ref());
        self.optional(envelope.in_reply_to.as_ref());
        self.optional(envelope.message_id.as_ref());
        self.addresses(&envelope.from);
        let same_sender = envelope.sender == envelope.from;
        let same_reply_to = envelope.reply_to == envelope.from;
        self.byte(u8::from(same_sender) | u8::from(same_reply_to) << 1);
        if !same_sender {
            self.addresses(&envelope.sender);
        }
        if !same_reply_to {
            self.addresses(&envelope.reply_to);
        }
        self.addresses(&envelope.to);
        self.addresses(&envelope.cc);
        self.addresses(&envelope.bcc);
    }

    fn part(&mut self, part: &Part, parent_body_offset: u32) {
        self.number(u64::from(part.header_offset.wrapping_sub(parent_body_offset)));
        self.number(u64::from(part.body_offset.wrapping_sub(part.header_offset)));
        self.number(u64::from(part.end_offset.wrapping_sub(part.body_offset)));
        self.bytes(&part.media_type);
        self.bytes(&part.media_subtype);
        self.parameters(&part.parameters);
        self.optional(part.id.as_ref());
        self.optional(part.description.as_ref());
        self.bytes(&part.encoding);
        self.optional(part.md5.as_ref());
        self.byte(u8::from(part.disposition.is_some()));
        if let Some((disposition, parameters)) = &part.disposition {
            self.bytes(disposition);
            self.parameters(parameters);
        }
        self.number(u64_of(part.languages.len()));
        for language in &part.languages {
            self.bytes(language);
        }
        self.optional(part.location.as_ref());
        self.number(u64::from(part.line_count));
        match &part.kind {
            BodyKind::Leaf => self.byte(0),
            BodyKind::Multipart(parts) => {
                self.byte(1);
                self.number(u64_of(parts.len()));
                for inner in parts {
                    self.part(inner, part.body_offset);
                }
            }
            BodyKind::Message(envelope, inner) => {
                self.byte(2);
                self.envelope(envelope);
                self.part(inner, part.body_offset);
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, SummaryError> {
        let (byte, rest) = self.rest.split_first().ok_or(SummaryError::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, SummaryError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(SummaryError::Value("number"))
    }

    fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, SummaryError> {
        T::try_from(self.number()?).map_err(|_| SummaryError::Value(what))
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, SummaryError> {
        let (taken, rest) =
            self.rest.split_at_checked(usize_of(length)).ok_or(SummaryError::Short)?;
        self.rest = rest;
        Ok(taken.to_vec())
    }

    fn bytes(&mut self) -> Result<Vec<u8>, SummaryError> {
        let length = self.number()?;
        self.take(length)
    }

    fn text(&mut self) -> Result<String, SummaryError> {
        String::from_utf8(self.bytes()?).map_err(|_| SummaryError::Value("text"))
    }

    fn optional(&mut self) -> Result<Option<Vec<u8>>, SummaryError> {
        match self.number()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// Nothing is reserved for a count that is only claimed: every item costs at least a byte.
    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, SummaryError>,
    ) -> Result<Vec<T>, SummaryError> {
        let count = self.number()?;
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    fn addresses(&mut self) -> Result<Vec<Address>, SummaryError> {
        self.list(|from| {
            let (name, mailbox) = (from.optional()?, from.optional()?);
            Ok(Address { name, mailbox, host: from.optional()? })
        })
    }

    #[expect(clippy::type_complexity, reason = "as on the wire: a value, then names and values")]
    fn parameters(&mut self) -> Result<Vec<(Vec<u8>, Vec<u8>)>, SummaryError> {
        self.list(|from| Ok((from.bytes()?, from.bytes()?)))
    }

    fn envelope(&mut self) -> Result<Envelope, SummaryError> {
        let date = self.optional()?;
        let subject = self.optional()?;
        let in_reply_to = self.optional()?;
        let message_id = self.optional()?;
        let from = self.addresses()?;
        let flags = self.byte()?;
        if flags > 0b11 {
            return Err(SummaryError::Value("envelope's flags"));
        }
        let sender = if flags & 1 == 0 { self.addresses()? } else { from.clone() };
        let reply_to = if flags & 2 == 0 { self.addresses()? } else { from.clone() };
        let (to, cc, bcc) = (self.addresses()?, self.addresses()?, self.addresses()?);
        Ok(Envelope { date, subject, from, sender, reply_to, to, cc, bcc, in_reply_to, message_id })
    }

    fn part(&mut self, parent_body_offset: u32, depth: usize) -> Result<Part, SummaryError> {
        if depth > PART_DEPTH_MAX {
            return Err(SummaryError::Value("depth"));
        }
        let header_offset = parent_body_offset.wrapping_add(self.small("offset")?);
        let body_offset = header_offset.wrapping_add(self.small("offset")?);
        let end_offset = body_offset.wrapping_add(self.small("offset")?);
        let (media_type, media_subtype) = (self.bytes()?, self.bytes()?);
        let parameters = self.parameters()?;
        let (id, description) = (self.optional()?, self.optional()?);
        let encoding = self.bytes()?;
        let md5 = self.optional()?;
        let disposition = match self.byte()? {
            0 => None,
            1 => Some((self.bytes()?, self.parameters()?)),
            _ => return Err(SummaryError::Value("disposition")),
        };
        let languages = self.list(Reader::bytes)?;
        let location = self.optional()?;
        let line_count = self.small("line count")?;
        let kind = match self.byte()? {
            0 => BodyKind::Leaf,
            1 => BodyKind::Multipart(self.list(|from| from.part(body_offset, depth + 1))?),
            2 => {
                let envelope = Box::new(self.envelope()?);
                BodyKind::Message(envelope, Box::new(self.part(body_offset, depth + 1)?))
            }
            _ => return Err(SummaryError::Value("kind of body")),
        };
        Ok(Part {
            header_offset,
            body_offset,
            end_offset,
            media_type,
            media_subtype,
            parameters,
            id,
            description,
            encoding,
            md5,
            disposition,
            languages,
            location,
            line_count,
            kind,
        })
    }
}
