//! Bytes that are not in the message as they are sent: `BINARY[…]<…>` and `BINARY.SIZE[…]` (RFC
//! 3516, RFC 9051 section 6.4.5), and chosen fields of long headers.
//!
//! A literal's length comes before its bytes, so what is encoded is decoded once to learn it. If
//! what is wanted is short, it is kept; a longer piece is decoded a second time
//! as it is sent. At no time more than a chunk of the message and what it decodes to is in memory.

use engine::MessageReader;
use engine::error::ReadError;
use engine::message::{KindRef, StoredSummary, section};
use engine::width::{u64_of, usize_of};

use crate::codec::header_fields::FieldFilter;
use crate::codec::transfer_encoding::TransferDecoder;

/// Where a part lies in its message, and what is done to its bytes.
pub(super) struct EncodedPart {
    begin: u64,
    end: u64,
    decoder: Decoder,
}

/// What is done to bytes.
#[derive(Clone)]
enum Decoder {
    /// An encoding is undone.
    Transfer(TransferDecoder),
    /// Fields of a header are chosen.
    Fields(FieldFilter),
}

impl Decoder {
    fn is_as_it_is(&self) -> bool {
        matches!(self, Decoder::Transfer(decoder) if decoder.is_as_it_is())
    }

    fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Decoder::Transfer(decoder) => decoder.push(bytes, out),
            Decoder::Fields(filter) => filter.push(bytes, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Decoder::Transfer(decoder) => decoder.finish(out),
            Decoder::Fields(filter) => filter.finish(out),
        }
    }
}

/// Why a part cannot be decoded.
pub(super) enum NotFound {
    /// The message has no such part.
    Absent,
    /// Its encoding is not known.
    UnknownEncoding,
}

/// What is wanted of a part.
pub(super) enum Wanted {
    /// At hand.
    Bytes(Vec<u8>),
    /// To be decoded as it is sent: how many bytes it has.
    Stream(Decoding, u64),
}

/// A part that is being decoded, and what of it is wanted.
pub(super) struct Decoding {
    part: EncodedPart,
    /// Decoded bytes before the first that is wanted.
    skip: u64,
    left: u64,
    scratch: Vec<u8>,
}

impl EncodedPart {
    /// The part that these numbers lead to; none of them: the whole message.
    pub(super) fn find(summary: &StoredSummary, path: &[u32]) -> Result<EncodedPart, NotFound> {
        if path.is_empty() {
            let decoder = Decoder::Transfer(TransferDecoder::as_it_is());
            let end = u64::from(summary.root().end_offset);
            return Ok(EncodedPart { begin: 0, end, decoder });
        }
        let part = section::part(summary.structure(), path).ok_or(NotFound::Absent)?;
        let decoder = match part.kind {
            // Only its parts can be encoded (RFC 2045 section 6.4).
            KindRef::Multipart(_) => TransferDecoder::as_it_is(),
            _ => TransferDecoder::new(part.encoding).ok_or(NotFound::UnknownEncoding)?,
        };
        let (begin, end) = (u64::from(part.body_offset), u64::from(part.end_offset));
        Ok(EncodedPart { begin, end, decoder: Decoder::Transfer(decoder) })
    }

    /// Chosen fields of the header that lies there.
    pub(super) fn fields((begin, end): (u64, u64), filter: FieldFilter) -> EncodedPart {
        EncodedPart { begin, end, decoder: Decoder::Fields(filter) }
    }

    /// BINARY.SIZE
    pub(super) fn byte_count(
        self,
        reader: impl FnOnce() -> Result<MessageReader, ReadError>,
    ) -> Result<u64, ReadError> {
        if self.decoder.is_as_it_is() {
            return Ok(self.end.saturating_sub(self.begin));
        }
        let mut reader = reader()?;
        let mut decoding = self.decode(0, u64::MAX);
        let mut count = 0_u64;
        let mut piece = Vec::new();
        while decoding.step(&mut reader, &mut piece)? {
            count = count.saturating_add(u64_of(piece.len()));
            piece.clear();
        }
        Ok(count.saturating_add(u64_of(piece.len())))
    }

    /// The bytes that `<offset.count>` means; they are kept if they are not more than so many.
    pub(super) fn wanted(
        self,
        reader: &mut MessageReader,
        partial: Option<(u32, u32)>,
        kept_bytes_max: u64,
    ) -> Result<Wanted, ReadError> {
        let (skip, count_max) = match partial {
            Some((offset, count)) => (u64::from(offset), u64::from(count)),
            None => (0, u64::MAX),
        };
        if self.decoder.is_as_it_is() {
            let length = self.end.saturating_sub(self.begin).saturating_sub(skip).min(count_max);
            if length > kept_bytes_max {
                return Ok(Wanted::Stream(self.decode(skip, length), length));
            }
        }
        let EncodedPart { begin, end, decoder } = self;
        let again = EncodedPart { begin, end, decoder: decoder.clone() };
        let mut decoding = EncodedPart { begin, end, decoder }.decode(skip, count_max);
        let (mut kept, mut length) = (Vec::new(), 0_u64);
        loop {
            let goes_on = decoding.step(reader, &mut kept)?;
            if u64_of(kept.len()).saturating_add(length) > kept_bytes_max {
                length = length.saturating_add(u64_of(kept.len()));
                kept.clear();
            }
            if !goes_on {
                break;
            }
        }
        if length == 0 {
            return Ok(Wanted::Bytes(kept));
        }
        length = length.saturating_add(u64_of(kept.len()));
        Ok(Wanted::Stream(again.decode(skip, length), length))
    }

    fn decode(self, skip: u64, left: u64) -> Decoding {
        Decoding { part: self, skip, left, scratch: Vec::new() }
    }
}

impl Decoding {
    /// Appends what the next chunk of the message decodes to; whether there is more.
    pub(super) fn step(
        &mut self,
        reader: &mut MessageReader,
        out: &mut Vec<u8>,
    ) -> Result<bool, ReadError> {
        let Decoding { part, scratch, .. } = self;
        if part.decoder.is_as_it_is() {
            // Nothing before what is wanted need be read.
            part.begin = part.begin.saturating_add(self.skip);
            self.skip = 0;
        }
        scratch.clear();
        if part.begin < part.end {
            let bytes = reader.read_from(part.begin)?;
            let in_part = usize_of(part.end - part.begin);
            let bytes = bytes.get(..in_part).unwrap_or(bytes);
            if bytes.is_empty() {
                let why = "it is shorter than its size";
                return Err(ReadError::Undecodable { what: "message", why });
            }
            part.begin = part.begin.saturating_add(u64_of(bytes.len()));
            part.decoder.push(bytes, scratch);
        }
        if part.begin >= part.end {
            part.decoder.finish(scratch);
        }
        let skipped = self.skip.min(u64_of(scratch.len()));
        self.skip -= skipped;
        let fresh = scratch.get(usize_of(skipped)..).unwrap_or_default();
        let fresh = fresh.get(..usize_of(self.left)).unwrap_or(fresh);
        self.left = self.left.saturating_sub(u64_of(fresh.len()));
        out.extend_from_slice(fresh);
        Ok(self.left > 0 && part.begin < part.end)
    }

    /// Bytes that were promised and have not been put.
    pub(super) fn left(&self) -> u64 {
        self.left
    }
}
