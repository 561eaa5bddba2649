//! A message on its way out: its blob opened chunk by chunk, its summary from a cache.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId};
use crate::limits::CHUNK_BYTES;
use crate::log::{ChunkPlace, SegmentNumber};
use crate::mailbox::Row;
use crate::message::{Summary, SummaryError};
use crate::seal::{BlobOpener, SealError};
use crate::state::BlobRow;
use crate::width::{u64_of, usize_of};

use super::Inner;

/// A stored message, opened part by part.
pub struct MessageReader {
    inner: Arc<Inner>,
    blob: OpenBlob,
    /// The chunk opened last, and its number.
    chunk: Option<(u32, Vec<u8>)>,
}

/// A blob whose content key is open.
pub(super) struct OpenBlob {
    account: AccountNumber,
    id: BlobId,
    row: BlobRow,
    opener: BlobOpener,
}

impl Inner {
    /// Opens a blob for an account: reads its header, checks its tag, opens the content key.
    pub(super) fn open_blob(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<OpenBlob, ReadError> {
        let row = self.committed.blob(id)?;
        let header = self.read_item(id, &row, 0)?;
        let keys = self.keys.snapshot();
        let lookup = |account, generation| keys.key(account, generation).cloned();
        let opener = BlobOpener::open(&header, row.shape.tag, account, &lookup)
            .map_err(|error| not_opened("the header of a message", account, &error))?;
        Ok(OpenBlob { account, id, row, opener })
    }

    /// The sealed bytes of an item of a blob, verified by their hash.
    fn read_item(&self, id: BlobId, row: &BlobRow, number: u32) -> Result<Vec<u8>, ReadError> {
        let missing = ReadError::Missing { what: "chunk", blob: id };
        let Some(lsn) = row.position_of(id, number) else { return Err(missing) };
        let places = self.committed.places(lsn)?;
        let Some(place) = places.find(number) else { return Err(missing) };
        self.reader.read_chunk(&ChunkPlace {
            lsn,
            number: u16::try_from(number).unwrap_or(u16::MAX),
            tag: row.shape.tag,
            segment: SegmentNumber(places.segment),
            offset: place.offset,
            length: place.length,
            hash: place.hash,
        })
    }

    fn body_chunk(&self, blob: &OpenBlob, number: u32) -> Result<Vec<u8>, ReadError> {
        let sealed = self.read_item(blob.id, &blob.row, number + 1)?;
        blob.opener
            .open_chunk(number, &sealed)
            .map_err(|error| not_opened("a chunk of a message", blob.account, &error))
    }

    /// The summary, with about how many bytes it takes in memory.
    fn summary_of(&self, blob: &OpenBlob) -> Result<(Summary, u64), ReadError> {
        let sealed = self.read_item(blob.id, &blob.row, blob.opener.chunk_count() + 1)?;
        let plain = blob
            .opener
            .open_chunk(blob.opener.chunk_count(), &sealed)
            .map_err(|error| not_opened("the summary of a message", blob.account, &error))?;
        let summary = Summary::decode(&plain).map_err(|error| not_decoded(blob.account, &error))?;
        // Strings and lists cost about as much again as their bytes.
        Ok((summary, u64_of(plain.len()) * 2 + 512))
    }

    /// The summary, from the cache if it is there.
    pub(super) fn summary(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<Arc<Summary>, ReadError> {
        if let Some((summary, _)) = self.summaries.cache.get(&(account, id)) {
            return Ok(summary);
        }
        let (summary, bytes) = self.summary_of(&self.open_blob(account, id)?)?;
        let summary = Arc::new(summary);
        self.summaries.cache.insert((account, id), (Arc::clone(&summary), bytes));
        Ok(summary)
    }

    /// Verifies every byte of a blob: hashes, seals, lengths. For `check`.
    pub(super) fn verify_blob(&self, account: AccountNumber, row: &Row) -> Result<u64, ReadError> {
        let blob = self.open_blob(account, row.blob)?;
        let mut bytes = 0;
        for number in 0..blob.opener.chunk_count() {
            bytes += u64_of(self.body_chunk(&blob, number)?.len());
        }
        self.summary_of(&blob)?;
        if bytes != u64::from(row.size) {
            let why = "its length is not that of its row";
            return Err(ReadError::Undecodable { what: "message", why });
        }
        Ok(bytes)
    }
}

impl MessageReader {
    pub(super) fn open(
        inner: &Arc<Inner>,
        account: AccountNumber,
        row: &Row,
    ) -> Result<MessageReader, ReadError> {
        let blob = inner.open_blob(account, row.blob)?;
        Ok(MessageReader { inner: Arc::clone(inner), blob, chunk: None })
    }

    /// RFC822.SIZE.
    pub fn byte_count(&self) -> u64 {
        self.blob.opener.plain_len()
    }

    /// Bytes from `offset`, at least one and at most to the end of the chunk that holds it; empty
    /// at the end. Call it again to stream a message without holding it whole.
    ///
    /// # Errors
    /// [`ReadError`], if the chunk is damaged or cannot be read.
    pub fn read_from(&mut self, offset: u64) -> Result<&[u8], ReadError> {
        let Some((number, within)) = self.blob.opener.locate(offset) else { return Ok(&[]) };
        if self.chunk.as_ref().is_none_or(|(opened, _)| *opened != number) {
            self.chunk = Some((number, self.inner.body_chunk(&self.blob, number)?));
        }
        let bytes = self.chunk.as_ref().and_then(|(_, bytes)| bytes.get(within..));
        Ok(bytes.unwrap_or_default())
    }

    /// The whole message. Only where a whole message is needed.
    ///
    /// # Errors
    /// As for [`MessageReader::read_from`].
    pub fn read_all(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut message = Vec::with_capacity(usize_of(self.byte_count()).min(64 * CHUNK_BYTES));
        while u64_of(message.len()) < self.byte_count() {
            let piece = self.read_from(u64_of(message.len()))?;
            message.extend_from_slice(piece);
        }
        Ok(message)
    }
}

fn not_decoded(account: AccountNumber, error: &SummaryError) -> ReadError {
    ReadError::Sealed { what: "the summary of a message", account, why: error.to_string() }
}

fn not_opened(what: &'static str, account: AccountNumber, error: &SealError) -> ReadError {
    ReadError::Sealed { what, account, why: error.to_string() }
}

/// Opened summaries, within a budget of bytes.
pub(super) struct SummaryCache {
    cache: Cache<(AccountNumber, BlobId), CachedSummary, SummaryWeight>,
}

/// A summary, and the bytes that it takes.
type CachedSummary = (Arc<Summary>, u64);

#[derive(Clone)]
struct SummaryWeight;

impl Weighter<(AccountNumber, BlobId), CachedSummary> for SummaryWeight {
    fn weight(&self, _key: &(AccountNumber, BlobId), (_, bytes): &CachedSummary) -> u64 {
        *bytes
    }
}

impl SummaryCache {
    pub(super) fn new(budget_bytes: u64) -> SummaryCache {
        const TYPICAL_BYTES: u64 = 2048;
        let items = usize_of(budget_bytes / TYPICAL_BYTES).max(16);
        SummaryCache { cache: Cache::with_weighter(items, budget_bytes, SummaryWeight) }
    }
}
