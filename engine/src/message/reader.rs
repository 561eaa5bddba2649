//! The stored form of a summary, read field by field where it lies; drawn in [`super::stored`].
//!
//! Nothing is allocated and nothing copied. Every step checks what it takes, so any bytes can be
//! read; [`Reader::whole`] is the walk over all of them that says whether they are a summary.

use super::borrowed::{AddressRef, AddressesRef, EnvelopeRef, KindRef, ListRef};
use super::borrowed::{ParameterRef, PartRef};
use super::stored::{FORMAT, SummaryError};
use super::{BodyKind, CalendarDate, Part};
use crate::limits::MIME_DEPTH_MAX;
use crate::width::{u32_of, usize_of};

/// The parser's levels, and the text part in a multipart that has none.
const PART_DEPTH_MAX: usize = MIME_DEPTH_MAX + 2;

/// Bytes of a summary that have not been read yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

/// Where the fields of a summary begin in the bytes that it lies in, and what was found on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Places {
    /// Its first byte.
    pub(super) format: u32,
    pub(super) envelope: u32,
    pub(super) structure: u32,
    pub(super) common_headers: u32,
    /// Flags, then the preview.
    pub(super) flags: u32,
    /// When it was sent, as far as the flags say.
    pub(super) sent: u32,
    /// The flags.
    pub(super) flags_found: u8,
    /// When it was sent.
    pub(super) sent_found: Option<i64>,
    pub(super) base_subject: u32,
    pub(super) references: u32,
    /// Behind its last byte.
    pub(super) end: u32,
}

impl Places {
    /// The same behind so many bytes, which are a copy of what lies from the base subject on.
    pub(super) fn behind(self, count: u32) -> Places {
        let moved = |place: u32| place.saturating_add(count);
        Places {
            format: moved(self.format),
            envelope: moved(self.envelope),
            structure: moved(self.structure),
            common_headers: moved(self.common_headers),
            flags: moved(self.flags),
            sent: moved(self.sent),
            base_subject: 0,
            references: self.references.saturating_sub(self.base_subject),
            end: moved(self.end),
            ..self
        }
    }
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub(super) fn byte(&mut self) -> Result<u8, SummaryError> {
        let (byte, rest) = self.rest.split_first().ok_or(SummaryError::Short)?;
        self.rest = rest;
        Ok(*byte)
    }

    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<u64, SummaryError> {
        match self.rest.split_first() {
            Some((byte, rest)) if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    #[cold]
    fn long_number(&mut self) -> Result<u64, SummaryError> {
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

    #[inline(always)]
    pub(super) fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, SummaryError> {
        T::try_from(self.number()?).map_err(|_| SummaryError::Value(what))
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'a [u8], SummaryError> {
        let (taken, rest) =
            self.rest.split_at_checked(usize_of(length)).ok_or(SummaryError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    #[inline(always)]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], SummaryError> {
        let length = self.number()?;
        self.take(length)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, SummaryError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| SummaryError::Value("text"))
    }

    #[inline(always)]
    pub(super) fn optional(&mut self) -> Result<Option<&'a [u8]>, SummaryError> {
        match self.number()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// A list, walked over.
    #[inline(always)]
    pub(super) fn list<T>(
        &mut self,
        item: impl Fn(&mut Self) -> Result<T, SummaryError>,
    ) -> Result<ListRef<'a, T>, SummaryError> {
        let count = self.number()?;
        let list = ListRef::new(count, *self);
        for _ in 0..count {
            item(self)?;
        }
        Ok(list)
    }

    #[inline(always)]
    pub(super) fn address(&mut self) -> Result<AddressRef<'a>, SummaryError> {
        let (name, mailbox) = (self.optional()?, self.optional()?);
        Ok(AddressRef { name, mailbox, host: self.optional()? })
    }

    #[inline(always)]
    pub(super) fn parameter(&mut self) -> Result<ParameterRef<'a>, SummaryError> {
        Ok(ParameterRef { name: self.bytes()?, value: self.bytes()? })
    }

    /// An envelope, walked over.
    pub(super) fn envelope(&mut self) -> Result<EnvelopeRef<'a>, SummaryError> {
        let envelope = self.envelope_head()?;
        self.addresses()?;
        Ok(envelope)
    }

    /// An envelope, whose addresses follow.
    pub(super) fn envelope_head(&mut self) -> Result<EnvelopeRef<'a>, SummaryError> {
        let date = self.optional()?;
        let subject = self.optional()?;
        let in_reply_to = self.optional()?;
        let message_id = self.optional()?;
        Ok(EnvelopeRef { date, subject, in_reply_to, message_id, lists: *self })
    }

    /// All addresses of an envelope, walked over.
    pub(super) fn addresses(&mut self) -> Result<AddressesRef<'a>, SummaryError> {
        let from = self.list(Reader::address)?;
        let flags = self.byte()?;
        if flags > 0b11 {
            return Err(SummaryError::Value("envelope's flags"));
        }
        let sender = if flags & 1 == 0 { self.list(Reader::address)? } else { from.clone() };
        let reply_to = if flags & 2 == 0 { self.list(Reader::address)? } else { from.clone() };
        let (to, cc) = (self.list(Reader::address)?, self.list(Reader::address)?);
        Ok(AddressesRef { from, sender, reply_to, to, cc, bcc: self.list(Reader::address)? })
    }

    /// A part without the parts in it, which follow.
    pub(super) fn part(&mut self, parent_body_offset: u32) -> Result<PartRef<'a>, SummaryError> {
        let header_offset = parent_body_offset.wrapping_add(self.small("offset")?);
        let body_offset = header_offset.wrapping_add(self.small("offset")?);
        let end_offset = body_offset.wrapping_add(self.small("offset")?);
        let (media_type, media_subtype) = (self.bytes()?, self.bytes()?);
        let parameters = self.list(Reader::parameter)?;
        let (id, description) = (self.optional()?, self.optional()?);
        let encoding = self.bytes()?;
        let md5 = self.optional()?;
        let disposition = match self.byte()? {
            0 => None,
            1 => Some((self.bytes()?, self.list(Reader::parameter)?)),
            _ => return Err(SummaryError::Value("disposition")),
        };
        let languages = self.list(Reader::bytes)?;
        let location = self.optional()?;
        let line_count = self.small("line count")?;
        let kind = match self.byte()? {
            0 => KindRef::Leaf,
            1 => KindRef::Multipart(self.number()?),
            2 => KindRef::Message(self.envelope()?),
            _ => return Err(SummaryError::Value("kind of body")),
        };
        Ok(PartRef {
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

    /// The parts in a part, walked over.
    pub(super) fn parts_in(&mut self, part: &PartRef<'a>) -> Result<(), SummaryError> {
        self.levels_in(part, PART_DEPTH_MAX)
    }

    fn levels_in(&mut self, part: &PartRef<'a>, levels: usize) -> Result<(), SummaryError> {
        for _ in 0..part.kind.part_count() {
            let levels = levels.checked_sub(1).ok_or(SummaryError::Value("depth"))?;
            let inner = self.part(part.body_offset)?;
            self.levels_in(&inner, levels)?;
        }
        Ok(())
    }

    /// A part as a tree.
    pub(super) fn tree(&mut self) -> Result<Part, SummaryError> {
        self.levels_of_tree(0, PART_DEPTH_MAX)
    }

    fn levels_of_tree(&mut self, body_offset: u32, levels: usize) -> Result<Part, SummaryError> {
        let part = self.part(body_offset)?;
        let mut inside = || {
            let levels = levels.checked_sub(1).ok_or(SummaryError::Value("depth"))?;
            self.levels_of_tree(part.body_offset, levels)
        };
        let kind = match part.kind {
            KindRef::Leaf => BodyKind::Leaf,
            // Nothing is reserved for a count that is only claimed: every part costs some bytes.
            KindRef::Multipart(count) => {
                let mut parts = Vec::new();
                for _ in 0..count {
                    parts.push(inside()?);
                }
                BodyKind::Multipart(parts)
            }
            KindRef::Message(envelope) => {
                BodyKind::Message(Box::new(envelope.into()), Box::new(inside()?))
            }
        };
        Ok(part.to_part(kind))
    }

    /// The flags behind the common headers.
    pub(super) fn flags(&mut self) -> Result<u8, SummaryError> {
        match self.byte()? {
            flags @ 0..=0b111 => Ok(flags),
            _ => Err(SummaryError::Value("flags")),
        }
    }

    pub(super) fn sent(&mut self, flags: u8) -> Result<Option<i64>, SummaryError> {
        if flags & 2 == 0 {
            return Ok(None);
        }
        let number = self.number()?;
        Ok(Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed()))
    }

    pub(super) fn sent_date(&mut self, flags: u8) -> Result<Option<CalendarDate>, SummaryError> {
        if flags & 4 == 0 {
            return Ok(None);
        }
        let (year, month) = (self.small("year")?, self.small("month")?);
        Ok(Some(CalendarDate { year, month, day: self.small("day")? }))
    }

    /// Walks over a whole summary, to its end, which is there.
    ///
    /// # Errors
    /// [`SummaryError`], if these bytes are none.
    pub(super) fn whole(mut self, end: u32) -> Result<Places, SummaryError> {
        let place = |from: &Reader<'_>| end.saturating_sub(u32_of(from.rest.len()));
        let mut places = Places { format: place(&self), end, ..Places::default() };
        match self.byte()? {
            FORMAT => {}
            other => return Err(SummaryError::Format(other)),
        }
        let _parser_version: u16 = self.small("parser version")?;
        let _size: u32 = self.small("size")?;
        places.envelope = place(&self);
        self.envelope()?;
        places.structure = place(&self);
        let root = self.part(0)?;
        self.parts_in(&root)?;
        places.common_headers = place(&self);
        self.bytes()?;
        places.flags = place(&self);
        let flags = self.flags()?;
        self.text()?;
        places.sent = place(&self);
        (places.flags_found, places.sent_found) = (flags, self.sent(flags)?);
        self.sent_date(flags)?;
        places.base_subject = place(&self);
        self.text()?;
        places.references = place(&self);
        self.list(Reader::text)?;
        if self.rest.is_empty() { Ok(places) } else { Err(SummaryError::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_64_bits_and_no_more() {
        let read = |last: u8| {
            let bytes = [&[0xFF; 9][..], &[last]].concat();
            Reader { rest: &bytes }.number()
        };
        assert_eq!(read(1), Ok(u64::MAX));
        for last in [2, 3, 0x7F, 0x81] {
            assert_eq!(read(last), Err(SummaryError::Value("number")), "{last}");
        }
        assert_eq!(Reader { rest: &[0x80] }.number(), Err(SummaryError::Short));
    }

    #[test]
    fn an_envelope_has_flags_that_mean_something() {
        // Four texts that are not there, nobody in From; then flags, and five empty lists.
        let read = |flags: u8| {
            let bytes = [&[0; 5][..], &[flags], &[0; 5]].concat();
            let mut reader = Reader { rest: &bytes };
            reader.envelope().map(|_| reader.rest.len())
        };
        assert_eq!(read(0b00).unwrap(), 0, "Sender and Reply-To are lists of their own");
        assert_eq!(read(0b11).unwrap(), 2, "or From is both");
        for flags in [0b100, 0b111, 0x80] {
            assert!(matches!(read(flags), Err(SummaryError::Value(_))), "{flags}");
        }
    }
}
