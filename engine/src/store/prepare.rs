//! A message on its way in: parsed, compressed and sealed on its caller's thread.
//!
//! ```text
//! item 0            blob header: a sealed content key for each account; then the summary, and the
//!                   first chunk of the message as received
//! items 1 … n       its further chunks
//! other blobs       its parts (parts.rs)
//! ```
//! In a volume below format level 4 the header is alone, all chunks follow, and the summary is
//! last.

use parking_lot::{Condvar, Mutex};

use crate::commit::SealedMessage;
use crate::error::CommitError;
use crate::format_level;
use crate::ids::{AccountNumber, BlobTag, EmailId, KeyGeneration, ThreadId};
use crate::limits::{INLINE_MESSAGE_BYTES_MAX, SUMMARY_PAGED_BYTES_MAX};
use crate::message::{Summary, thread::thread_id};
use crate::record::BlobShape;
use crate::seal::{BlobSealer, Compression, HashDomain, Key, KeyedHash, MessageParts, SealedChunk};
use crate::width::{u32_of, u64_of};

use super::{Inner, Store};

/// How a volume of that format level is written. zstd's level is 1: higher ones gain little on mail
/// and cost several times the CPU.
fn compression(format_level: u32) -> Compression {
    if format_level < format_level::DICTIONARIES {
        Compression::Zstd(1)
    } else if format_level < format_level::RECIPES {
        Compression::BuiltIn
    } else if format_level < format_level::PACKED_BLOBS {
        Compression::Folded
    } else {
        Compression::Streamed
    }
}

/// Mail at rest in memory, parsed, compressed and sealed, ready to be committed.
pub struct PreparedMessage {
    pub(super) sealed: SealedMessage,
}

impl PreparedMessage {
    /// Its EMAILID.
    pub fn email_id(&self) -> EmailId {
        self.sealed.email
    }

    /// Bytes as received.
    pub fn message_bytes(&self) -> u64 {
        u64::from(self.sealed.size)
    }

    /// Bytes that it will add to a group of the log, about.
    pub fn group_bytes(&self) -> u64 {
        u64_of(self.sealed.group_bytes())
    }
}

impl Store {
    /// Parses, compresses and seals a message, as received (CRLF), for the accounts that will have
    /// it. Takes the caller's CPU: call it outside of an async executor's threads, or with
    /// `block_in_place`.
    ///
    /// # Errors
    /// A message above the configured size, a full disk, or an account that does not exist.
    pub fn prepare(
        &self,
        message: &[u8],
        accounts: &[AccountNumber],
    ) -> Result<PreparedMessage, CommitError> {
        let inner = &self.inner;
        let limit = inner.message_bytes_max;
        let too_large = CommitError::TooLarge { what: "the message", limit };
        let Ok(size) = u32::try_from(message.len()) else { return Err(too_large) };
        if u64_of(message.len()) > limit {
            return Err(too_large);
        }
        let room = inner.room.take(u64::from(size))?;
        let large = message.len() > INLINE_MESSAGE_BYTES_MAX;
        let _permit = large.then(|| inner.large_messages.take());
        let summary = Summary::parse(message);
        let encoded_summary = summary.encode();
        let content: [u8; 32] = blake3::hash(message).into();

        let keys = inner.keys.snapshot();
        let mut openers = Vec::with_capacity(accounts.len());
        let mut hashes = Vec::with_capacity(accounts.len());
        for &account in accounts {
            let (generation, key) = keys.current(account).ok_or(CommitError::NoSuchAccount)?;
            openers.push((account, generation, key));
            let first = keys.naming(account).unwrap_or(key);
            let hash = KeyedHash::of_account(first).hash(HashDomain::Content, &content);
            let thread = thread_id(&summary, first.expose()).unwrap_or_else(|| own_thread(&hash));
            hashes.push((account, hash, thread));
        }
        let tag = BlobTag(inner.sealer.random_id());
        let lengths = (u64::from(size), u32_of(encoded_summary.len()));
        let level = inner.committed.format_level();
        let compression = compression(level);
        let part_compression = compression.clone();
        let sealer = inner.begin_blob(level, tag, &openers, lengths, compression)?;
        let found = inner.find_parts(message, &keys, accounts);
        let chunks = if level < format_level::PACKED_BLOBS {
            seal_all(sealer, (message, &found), &encoded_summary)
        } else {
            sealer.seal_packed_naming_parts(message, &found, &encoded_summary)
        };
        let parts = match openers.first() {
            Some(opener) => inner.seal_parts(found, *opener, &part_compression)?,
            None => Vec::new(),
        };
        let shape =
            BlobShape { tag, chunk_count: u32_of(chunks.len()), plain_bytes: u64::from(size) };
        let email = EmailId(inner.sealer.random_id());
        let is_paged = encoded_summary.len() <= SUMMARY_PAGED_BYTES_MAX;
        let summary = is_paged.then(|| encoded_summary.into());
        Ok(PreparedMessage {
            sealed: SealedMessage {
                shape,
                chunks,
                ahead: None,
                parts,
                size,
                email,
                summary,
                room: Some(room),
                accounts: hashes,
            },
        })
    }
}

impl Inner {
    /// Begins the blob of a message, with the header that a volume of that format level has.
    fn begin_blob(
        &self,
        level: u32,
        tag: BlobTag,
        openers: &[(AccountNumber, KeyGeneration, &Key)],
        lengths: (u64, u32),
        compression: Compression,
    ) -> Result<BlobSealer, CommitError> {
        let begin = match level {
            level if level < format_level::MASKED_KEYS => BlobSealer::with_summary,
            _ => BlobSealer::to_pack,
        };
        begin(&self.sealer, tag, openers, lengths, compression).map_err(|_| CommitError::TooLarge {
            what: "the number of recipients",
            limit: u64_of(crate::limits::BLOB_ACCOUNTS_MAX),
        })
    }
}

/// A number of callers that may do something at a time; others wait for their turn.
pub(super) struct Permits {
    left: Mutex<usize>,
    returned: Condvar,
}

/// One turn; dropping it ends it.
struct Permit<'a>(&'a Permits);

impl Permits {
    pub(super) fn new(count: usize) -> Permits {
        Permits { left: Mutex::new(count), returned: Condvar::new() }
    }

    fn take(&self) -> Permit<'_> {
        let mut left = self.left.lock();
        while *left == 0 {
            self.returned.wait(&mut left);
        }
        *left -= 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.left.lock() += 1;
        self.0.returned.notify_one();
    }
}

/// The conversation of a message that belongs to none: its own.
fn own_thread(content_hash: &[u8; 16]) -> ThreadId {
    ThreadId(content_hash.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)))
}

/// Header, body and summary, numbered as the log numbers them.
fn seal_all(
    mut sealer: BlobSealer,
    (message, parts): (&[u8], &MessageParts),
    summary: &[u8],
) -> Vec<SealedChunk> {
    let (header, hash) = sealer.header();
    let mut chunks = vec![SealedChunk { number: 0, bytes: header.to_vec(), hash }];
    let mut left = message;
    while !sealer.next_is_summary() {
        let length = sealer.next_chunk_len().unwrap_or_default();
        let (chunk, rest) = left.split_at(length.min(left.len()));
        chunks.push(sealer.seal_chunk_naming_parts(chunk, parts));
        left = rest;
    }
    chunks.push(sealer.seal_chunk(summary));
    for (chunk, number) in chunks.iter_mut().zip(0..) {
        chunk.number = number;
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_written_as_its_level_allows() {
        assert!(matches!(compression(1), Compression::Zstd(1)));
        assert!(matches!(compression(format_level::DICTIONARIES), Compression::BuiltIn));
        assert!(matches!(compression(format_level::RECIPES), Compression::Folded));
        assert!(matches!(compression(format_level::PACKED_BLOBS), Compression::Streamed));
        assert!(matches!(compression(format_level::NEWEST), Compression::Streamed));
    }
}
