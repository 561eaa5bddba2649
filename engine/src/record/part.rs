//! What a record says of the parts of an arriving message that are blobs of their own.
//!
//! ```text
//! with parts  u8: 0 inline, 1 ahead, with what belongs to it; list(part)
//! part        hash 32, u8: 0 inline: shape; 1 ahead: shape, list(u64); 2 known: u64
//! ```
//! A part that is inline takes a position of the record: they follow those of the messages, in the
//! order of the parts. A known one was brought by an earlier record, or by a message before it in
//! the same one, and a message that is alive at this place of the log names it.

use super::{ArrivalBlob, BlobShape};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{Lsn, PartHash};

/// A part of an arriving message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ArrivalPart {
    /// The hash that chunks of the message name it by.
    pub(crate) hash: PartHash,
    /// Where its bytes are.
    pub(crate) blob: PartBlob,
}

/// Where the bytes of a part are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PartBlob {
    /// In the same group, under a position of the record.
    Inline(BlobShape),
    /// Entered ahead; the first position is the blob's id.
    Ahead(BlobShape, Vec<Lsn>),
    /// In that blob, which another message names already.
    Known(Lsn),
}

impl ArrivalPart {
    pub(super) fn is_inline(&self) -> bool {
        matches!(self.blob, PartBlob::Inline(_))
    }

    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.hash.0);
        match &self.blob {
            PartBlob::Inline(shape) => {
                out.u8(0);
                shape.encode(out);
            }
            PartBlob::Ahead(shape, chunks) => {
                out.u8(1);
                shape.encode(out);
                out.count(chunks.len());
                chunks.iter().for_each(|&lsn| out.lsn(lsn));
            }
            PartBlob::Known(blob) => {
                out.u8(2);
                out.lsn(*blob);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<ArrivalPart, Broken> {
        let hash = PartHash(from.array()?);
        let blob = match from.u8()? {
            0 => PartBlob::Inline(BlobShape::decode(from)?),
            1 => PartBlob::Ahead(BlobShape::decode(from)?, from.list(Decoder::lsn)?),
            2 => PartBlob::Known(from.lsn()?),
            _ => return Err("a part is of no known kind"),
        };
        Ok(ArrivalPart { hash, blob })
    }
}

pub(super) fn encode_with_parts(blob: &ArrivalBlob, parts: &[ArrivalPart], out: &mut Encoder) {
    blob.encode(out);
    out.count(parts.len());
    parts.iter().for_each(|part| part.encode(out));
}

pub(super) fn decode_with_parts(from: &mut Decoder<'_>) -> Result<ArrivalBlob, Broken> {
    let blob = match from.u8()? {
        0 => ArrivalBlob::Inline(BlobShape::decode(from)?),
        1 => ArrivalBlob::Ahead(BlobShape::decode(from)?, from.list(Decoder::lsn)?),
        _ => return Err("a blob of parts is neither inline nor ahead"),
    };
    let parts = from.list(ArrivalPart::decode)?;
    Ok(ArrivalBlob::WithParts(Box::new(blob), parts))
}
