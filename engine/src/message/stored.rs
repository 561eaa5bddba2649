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
//! nests no deeper than the parser does. Offsets are checked by nobody here: who uses them takes
//! a range of the message with `get`.

use super::reader::Reader;
use super::{Address, BodyKind, Envelope, Part, Summary};
use crate::width::u64_of;

/// The format that this version writes.
pub(super) const FORMAT: u8 = 1;

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

    /// The summary that these bytes hold, as a tree of its own.
    ///
    /// # Errors
    /// [`SummaryError`], if they hold none.
    pub fn decode(bytes: &[u8]) -> Result<Summary, SummaryError> {
        let mut from = Reader { rest: bytes };
        match from.byte()? {
            FORMAT => {}
            other => return Err(SummaryError::Format(other)),
        }
        let parser_version = from.small("parser version")?;
        let size = from.small("size")?;
        let envelope = from.envelope()?.into();
        let structure = from.tree()?;
        let common_headers = from.bytes()?.to_vec();
        let flags = from.flags()?;
        let preview = from.text()?.to_owned();
        let sent = from.sent(flags)?;
        let sent_date = from.sent_date(flags)?;
        let base_subject = from.text()?.to_owned();
        let references = from.list(Reader::text)?.map(str::to_owned).collect();
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
