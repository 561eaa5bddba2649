//! Where a message's bytes are: what a blob is made of, and where its chunks lie on this node.
//!
//! ```text
//! blob value       key: blob id. Format 1, tag 16, chunks, plain bytes,
//!                  option(list(chunk position u64)); format 2, from level 4 on: then its role
//!                  (part.rs)
//! placement value  key: position: the blob's id, or that of a chunk which entered ahead.
//!                  Format 1, segment, offset of the first,
//!                  list(number, offset − previous end, length, hash 32)
//! reference key    blob id u64, account u64, mailbox 16, uid u32, big-endian; no value. That of
//!                  a part: see part.rs
//! ```
//!
//! # Invariants
//! 1. A blob is alive exactly while a reference to it exists; a reference exists exactly while a
//!    row, or a blob whose part it is, names it.
//! 2. Placement is this node's own: never in a record, never in a digest, rebuilt from segments.

use super::part::BlobRole;
use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid};
use crate::record::BlobShape;

/// A blob's shape and the positions of its chunks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BlobRow {
    pub(crate) shape: BlobShape,
    /// Positions of chunks that entered ahead; `None`: all lie under the blob's id.
    pub(crate) ahead: Option<Vec<Lsn>>,
    pub(crate) role: BlobRole,
}

/// Format of the row of a blob that is or has parts.
pub(super) const FORMAT_WITH_ROLE: u8 = 2;

/// Chunks under one position, as they lie in a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Places {
    pub(crate) segment: u64,
    pub(crate) chunks: Vec<ChunkPlace>,
}

/// One sealed chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ChunkPlace {
    pub(crate) number: u32,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    /// BLAKE3 of the sealed bytes.
    pub(crate) hash: [u8; 32],
}

impl BlobRow {
    /// Under which position chunk `number` of blob `id` lies.
    pub(crate) fn position_of(&self, id: BlobId, number: u32) -> Option<Lsn> {
        if number >= self.shape.chunk_count {
            return None;
        }
        match &self.ahead {
            None => Some(id.0),
            Some(chunks) => chunks.get(crate::width::usize_of_u32(number)).copied(),
        }
    }

    /// Positions under which its chunks lie.
    pub(crate) fn positions(&self, id: BlobId) -> Vec<Lsn> {
        self.ahead.clone().unwrap_or_else(|| vec![id.0])
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(if self.role == BlobRole::Whole { FORMAT } else { FORMAT_WITH_ROLE });
        self.shape.encode(&mut out);
        out.option(self.ahead.as_ref(), |out, chunks| {
            out.count(chunks.len());
            chunks.iter().for_each(|&lsn| out.lsn(lsn));
        });
        self.role.encode(&mut out);
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<BlobRow, Broken> {
        let mut from = Decoder::new(value);
        let format = from.u8()?;
        if format != FORMAT && format != FORMAT_WITH_ROLE {
            return Err("its format is not known to this version");
        }
        let shape = BlobShape::decode(&mut from)?;
        let ahead = from.option(|from| from.list(Decoder::lsn))?;
        let role = match format {
            FORMAT_WITH_ROLE => BlobRole::decode(&mut from)?,
            _ => BlobRole::Whole,
        };
        from.end()?;
        Ok(BlobRow { shape, ahead, role })
    }
}

impl Places {
    /// Sealed bytes of all its chunks.
    pub(crate) fn byte_count(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum()
    }

    pub(crate) fn find(&self, number: u32) -> Option<ChunkPlace> {
        self.chunks.iter().find(|chunk| chunk.number == number).copied()
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.varint(self.segment);
        out.count(self.chunks.len());
        let mut previous_end = 0u64;
        for chunk in &self.chunks {
            out.varint(u64::from(chunk.number));
            out.signed(chunk.offset.wrapping_sub(previous_end).cast_signed());
            out.varint(u64::from(chunk.length));
            out.raw(&chunk.hash);
            previous_end = chunk.offset.wrapping_add(u64::from(chunk.length));
        }
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<Places, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let segment = from.varint()?;
        let mut previous_end = 0u64;
        let chunks = from.list(|from| {
            let number = from.u32()?;
            let offset = previous_end.wrapping_add(from.signed()?.cast_unsigned());
            let length = from.u32()?;
            previous_end = offset.wrapping_add(u64::from(length));
            Ok(ChunkPlace { number, offset, length, hash: from.array()? })
        })?;
        from.end()?;
        Ok(Places { segment, chunks })
    }
}

/// The key of a reference.
pub(crate) fn reference_key(
    blob: BlobId,
    account: AccountNumber,
    mailbox: MailboxId,
    uid: Uid,
) -> [u8; 36] {
    let mut key = [0; 36];
    let parts = blob.0.bits().to_be_bytes().into_iter();
    let parts = parts.chain(account.0.to_be_bytes()).chain(mailbox.0).chain(uid.0.to_be_bytes());
    key.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    key
}

/// The blob that a reference's key names; `None` if it is no such key.
pub(crate) fn blob_of_reference(key: &[u8]) -> Option<BlobId> {
    Lsn::from_bits(u64::from_be_bytes(*key.first_chunk()?)).map(BlobId)
}

/// Not above any reference key that begins with `prefix`.
pub(crate) fn lowest_reference(prefix: [u8; 8]) -> [u8; 36] {
    let mut key = [0; 36];
    key.iter_mut().zip(prefix).for_each(|(place, byte)| *place = byte);
    key
}

/// The mailbox whose row a reference's key stands for; `None` if it is no such key.
pub(crate) fn mailbox_of_reference(key: &[u8]) -> Option<(AccountNumber, MailboxId)> {
    let account = key.get(8..16)?.first_chunk()?;
    let mailbox = key.get(16..32)?.first_chunk()?;
    Some((AccountNumber(u64::from_be_bytes(*account)), MailboxId(*mailbox)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BlobTag;

    #[test]
    fn blobs_and_places_read_back() {
        let shape = BlobShape { tag: BlobTag([4; 16]), chunk_count: 3, plain_bytes: 12 };
        for ahead in [None, Some(vec![Lsn::new(1, 5).unwrap(), Lsn::new(1, 9).unwrap()])] {
            let row = BlobRow { shape, ahead, role: BlobRole::Whole };
            assert_eq!(BlobRow::decode(&row.encode()), Ok(row));
        }
        let chunk = |number, offset| ChunkPlace { number, offset, length: 10, hash: [9; 32] };
        let places =
            Places { segment: 3, chunks: vec![chunk(0, 100), chunk(1, 110), chunk(2, 50)] };
        assert_eq!(Places::decode(&places.encode()), Ok(places));
        let (account, mailbox) = (AccountNumber(7), MailboxId([5; 16]));
        let key = reference_key(BlobId(Lsn::new(1, 5).unwrap()), account, mailbox, Uid(3));
        assert_eq!(mailbox_of_reference(&key), Some((account, mailbox)));
    }
}
