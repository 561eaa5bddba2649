//! Sealed messages as bytes for the primary.
//!
//! ```text
//! pending   message, flags, received
//! message   shape (tag 16, chunks, plain bytes), size, email 16, chunks, list(part),
//!           list(account u64, content hash 16, conversation u64)
//! part      hash 32, shape, chunks, option(a use), option(unreadable blob u64)
//! chunks    u8: 0 here: list(BLAKE3 32, bytes), from number 0 on; 1 ahead: list(position u64)
//! a use     part u64, blob u64, mailbox 16, uid
//! flags     system u8, list(keyword)
//! ```
//! The summary stays behind, which only saves the primary from reading it again: nothing readable
//! travels.

use crate::commit::change::{PendingMessage, SealedMessage, SealedPart};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::flags::{FlagList, SystemFlags};
use crate::ids::{AccountNumber, BlobId, EmailId, Lsn, MailboxId, PartHash, ThreadId, Uid};
use crate::ids::{BlobTag, UnixSeconds};
use crate::limits::{CHUNK_BYTES, SUMMARY_BYTES_MAX};
use crate::record::{BlobShape, decode_keywords, encode_keywords};
use crate::seal::SealedChunk;
use crate::state::PartUse;

/// Chunks of a blob, header and summary among them.
const BLOB_CHUNKS_MAX: usize = 4098;
/// The first chunk of a packed blob holds header, summary and the begin of the body.
const SEALED_CHUNK_BYTES_MAX: usize = SUMMARY_BYTES_MAX + 4 * CHUNK_BYTES;

const _: () = assert!(SEALED_CHUNK_BYTES_MAX < crate::limits::GROUP_BYTES_MAX * 3 / 4);

type Chunks = (Vec<SealedChunk>, Option<Vec<Lsn>>);

impl PendingMessage {
    pub(super) fn encode(&self, out: &mut Encoder) {
        self.sealed.encode(out);
        encode_flags(&self.flags, out);
        out.signed(self.received.0);
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<PendingMessage, Broken> {
        Ok(PendingMessage {
            sealed: SealedMessage::decode(from)?,
            flags: decode_flags(from)?,
            received: UnixSeconds(from.signed()?),
        })
    }
}

impl SealedMessage {
    pub(super) fn encode(&self, out: &mut Encoder) {
        self.shape.encode(out);
        out.varint(u64::from(self.size));
        out.raw(&self.email.0);
        encode_chunks(&self.chunks, self.ahead.as_deref(), out);
        out.count(self.parts.len());
        self.parts.iter().for_each(|part| part.encode(out));
        out.count(self.accounts.len());
        for (account, hash, thread) in &self.accounts {
            out.u64(account.0);
            out.raw(hash);
            out.u64(thread.0);
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<SealedMessage, Broken> {
        let shape = BlobShape::decode(from)?;
        let (size, email) = (from.u32()?, EmailId(from.array()?));
        let (chunks, ahead) = decode_chunks(from)?;
        is_whole(shape, &chunks, ahead.as_deref())?;
        Ok(SealedMessage {
            shape,
            chunks,
            ahead,
            parts: from.list(SealedPart::decode)?,
            size,
            email,
            summary: None,
            room: None,
            accounts: from.list(|from| {
                let account = AccountNumber(from.u64()?);
                Ok((account, from.array()?, ThreadId(from.u64()?)))
            })?,
        })
    }
}

impl SealedPart {
    fn encode(&self, out: &mut Encoder) {
        out.raw(&self.hash.0);
        self.shape.encode(out);
        encode_chunks(&self.chunks, self.ahead.as_deref(), out);
        out.option(self.known, |out, known| {
            out.lsn(known.part.0);
            out.lsn(known.blob.0);
            out.raw(&known.mailbox.0);
            out.varint(u64::from(known.uid.0));
        });
        out.option(self.unreadable, |out, blob| out.lsn(blob.0));
    }

    fn decode(from: &mut Decoder<'_>) -> Result<SealedPart, Broken> {
        let (hash, shape) = (PartHash(from.array()?), BlobShape::decode(from)?);
        let (chunks, ahead) = decode_chunks(from)?;
        let known = from.option(|from| {
            Ok(PartUse {
                part: BlobId(from.lsn()?),
                blob: BlobId(from.lsn()?),
                mailbox: MailboxId(from.array()?),
                uid: Uid(from.u32()?),
            })
        })?;
        // Of one that is known, the bytes may have been left out.
        if known.is_none() || ahead.is_some() || !chunks.is_empty() {
            is_whole(shape, &chunks, ahead.as_deref())?;
        }
        let unreadable = from.option(|from| Ok(BlobId(from.lsn()?)))?;
        Ok(SealedPart { hash, shape, chunks, ahead, known, unreadable })
    }
}

/// That a blob has as many chunks as it says.
fn is_whole(shape: BlobShape, chunks: &[SealedChunk], ahead: Option<&[Lsn]>) -> Result<(), Broken> {
    let count = ahead.map_or(chunks.len(), <[Lsn]>::len);
    if count == 0 || crate::width::u32_of(count) != shape.chunk_count {
        return Err("a blob has another number of chunks than it says");
    }
    Ok(())
}

fn encode_chunks(chunks: &[SealedChunk], ahead: Option<&[Lsn]>, out: &mut Encoder) {
    match ahead {
        None => {
            out.u8(0);
            out.count(chunks.len());
            chunks.iter().for_each(|chunk| encode_chunk(chunk, out));
        }
        Some(positions) => {
            out.u8(1);
            out.count(positions.len());
            positions.iter().for_each(|lsn| out.lsn(*lsn));
        }
    }
}

fn decode_chunks(from: &mut Decoder<'_>) -> Result<Chunks, Broken> {
    match from.u8()? {
        0 => {
            let mut number = 0..;
            let chunks = from.list(|from| decode_chunk(from, number.next().unwrap_or(u32::MAX)))?;
            Ok((chunks, None))
        }
        1 => match from.list(Decoder::lsn)? {
            positions if positions.len() > BLOB_CHUNKS_MAX => Err("a blob has too many chunks"),
            positions => Ok((Vec::new(), Some(positions))),
        },
        _ => Err("chunks are in no known place"),
    }
}

pub(super) fn encode_chunk(chunk: &SealedChunk, out: &mut Encoder) {
    out.raw(&chunk.hash);
    out.blob(&chunk.bytes);
}

/// With the hash that it had when it was sealed.
pub(super) fn decode_chunk(from: &mut Decoder<'_>, number: u32) -> Result<SealedChunk, Broken> {
    if crate::width::usize_of(u64::from(number)) >= BLOB_CHUNKS_MAX {
        return Err("a blob has too many chunks");
    }
    let (hash, bytes) = (from.array()?, from.blob()?);
    if bytes.len() > SEALED_CHUNK_BYTES_MAX {
        return Err("a chunk is too long");
    }
    if blake3::hash(bytes) != hash {
        return Err("a chunk is not what was sealed");
    }
    Ok(SealedChunk { number, bytes: bytes.to_vec(), hash })
}

pub(super) fn decode_tag(from: &mut Decoder<'_>) -> Result<BlobTag, Broken> {
    Ok(BlobTag(from.array()?))
}

pub(super) fn encode_flags(flags: &FlagList, out: &mut Encoder) {
    out.u8(flags.system.0);
    encode_keywords(&flags.keywords, out);
}

pub(super) fn decode_flags(from: &mut Decoder<'_>) -> Result<FlagList, Broken> {
    let known =
        SystemFlags::ALL.iter().fold(SystemFlags::default(), |all, (flag, _)| all.union(*flag));
    let system = SystemFlags(from.u8()?);
    if !known.contains(system) {
        return Err("a flag is not known here");
    }
    Ok(FlagList { system, keywords: decode_keywords(from)? })
}
