//! A message on its way out: its blob opened chunk by chunk, its summary from a cache.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn};
use crate::limits::CHUNK_BYTES;
use crate::log::{ChunkPlace, LogReader, SegmentNumber};
use crate::mailbox::Row;
use crate::message::{StoredSummary, SummaryError};
use crate::seal::{BlobOpener, Piece, SealError};
use crate::state::{BlobRow, Places, StateChunkPlace};
use crate::width::{u64_of, usize_of, usize_of_u32};

use super::Inner;
use super::parts::PartReader;

/// What an error calls the chunks of a body.
const BODY: &str = "a chunk of a message";
/// What an error calls a chunk of what several messages share.
const PART: &str = "a part of a message";
/// What an error calls the chunk behind them.
const SUMMARY: &str = "the summary of a message";
/// Header and summary are read together if they lie this near to each other; of a packed blob so
/// much is read for the summary at first.
const SUMMARY_SPAN_BYTES: u64 = 16 << 10;
/// Between two items that are read together there may be this much; their own headers are less.
const GAP_BYTES: u64 = 512;

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
    /// Where its items lie, but for those that entered ahead.
    places: Places,
    opener: BlobOpener,
    sealed: SealedBytes,
    /// What of it is kept in other blobs.
    parts: PartReader,
}

/// What will be read of a blob next to its header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Body,
    Summary,
    /// Item by item, each compared with its hash.
    Everything,
}

/// Sealed bytes of a segment, read and not yet opened; the buffer of one reader.
#[derive(Default)]
struct SealedBytes {
    offset: u64,
    bytes: Vec<u8>,
}

impl SealedBytes {
    /// Reads from one item of a position to the end of another.
    fn read(
        &mut self,
        reader: &LogReader,
        segment: u64,
        (first, last): (&StateChunkPlace, &StateChunkPlace),
    ) -> Result<(), ReadError> {
        self.offset = first.offset;
        let end = last.offset.saturating_add(u64::from(last.length));
        let length = u32::try_from(end.saturating_sub(first.offset)).unwrap_or(u32::MAX);
        let read =
            reader.read_unverified(SegmentNumber(segment), first.offset, length, &mut self.bytes);
        if read.is_err() {
            self.bytes.clear();
        }
        read
    }

    /// The bytes of an item, if they are here.
    fn item(&mut self, place: &StateChunkPlace) -> Option<&mut [u8]> {
        let start = usize_of(place.offset.checked_sub(self.offset)?);
        let end = start.checked_add(usize_of_u32(place.length))?;
        self.bytes.get_mut(start..end)
    }

    /// The bytes of an item that are here, from its first on.
    fn front(&self, place: &StateChunkPlace) -> Option<&[u8]> {
        let start = usize_of(place.offset.checked_sub(self.offset)?);
        let end = start.saturating_add(usize_of_u32(place.length)).min(self.bytes.len());
        self.bytes.get(start..end)
    }

    /// Forgets an item that was opened where it lies, and what follows it.
    fn forget(&mut self, place: &StateChunkPlace) {
        self.bytes.truncate(usize_of(place.offset.saturating_sub(self.offset)));
    }
}

impl Inner {
    /// Opens a blob for an account: reads its header, checks its tag, opens the content key.
    fn open_blob(
        &self,
        account: AccountNumber,
        id: BlobId,
        next: Next,
    ) -> Result<OpenBlob, ReadError> {
        match self.open_blob_once(account, id, next) {
            Err(error) if is_released(&error) => self.open_blob_once(account, id, next),
            opened => opened,
        }
    }

    fn open_blob_once(
        &self,
        account: AccountNumber,
        id: BlobId,
        next: Next,
    ) -> Result<OpenBlob, ReadError> {
        let row = self.committed.blob(id)?;
        let missing = ReadError::Missing { what: "chunk", blob: id };
        let Some(lsn) = row.position_of(id, 0) else { return Err(missing) };
        let places = self.committed.places(lsn)?;
        let Some(place) = places.find(0) else { return Err(missing) };
        let mut sealed = SealedBytes::default();
        if next != Next::Everything {
            let last = read_with_header(&row, &places, next).unwrap_or_else(|| front(place, next));
            sealed.read(&self.reader, places.segment, (&place, &last))?;
        }
        let keys = self.keys.snapshot();
        let lookup = |account, generation| keys.key(account, generation).cloned();
        let open = |header: &[u8]| BlobOpener::open(header, row.shape.tag, account, &lookup);
        let opened = sealed.front(&place).and_then(|header| open(header).ok());
        let opener = match opened {
            Some(opener) => opener,
            // Says whether it is the bytes or the keys that are wrong.
            None => open(&self.read_verified(lsn, &row, places.segment, &place)?)
                .map_err(|error| not_opened("the header of a message", account, &error))?,
        };
        let parts = PartReader::of(account, &row.role);
        Ok(OpenBlob { account, id, row, places, opener, sealed, parts })
    }

    /// The sealed bytes of an item, compared with their hash; where they are damaged, those of the
    /// other node.
    fn read_verified(
        &self,
        lsn: Lsn,
        row: &BlobRow,
        segment: u64,
        place: &StateChunkPlace,
    ) -> Result<Vec<u8>, ReadError> {
        let place = ChunkPlace {
            lsn,
            number: u16::try_from(place.number).unwrap_or(u16::MAX),
            tag: row.shape.tag,
            segment: SegmentNumber(segment),
            offset: place.offset,
            length: place.length,
            hash: place.hash,
        };
        match self.reader.read_chunk(&place) {
            Err(ReadError::Damage(damage)) => {
                self.healer.fetch(&place).ok_or(ReadError::Damage(damage))
            }
            read => read,
        }
    }

    /// Position, segment and place of an item.
    fn place_of(
        &self,
        blob: &OpenBlob,
        item: u32,
    ) -> Result<(Lsn, u64, StateChunkPlace), ReadError> {
        let missing = ReadError::Missing { what: "chunk", blob: blob.id };
        let Some(lsn) = blob.row.position_of(blob.id, item) else { return Err(missing) };
        let place_in = |places: &Places| Some((lsn, places.segment, places.find(item)?));
        if blob.row.ahead.is_none() {
            return place_in(&blob.places).ok_or(missing);
        }
        place_in(&self.committed.places(lsn)?).ok_or(missing)
    }

    /// Appends the plain bytes of a chunk to `out`. Its seal vouches for the bytes; their hash is
    /// asked only to tell damage from a wrong key (decision 0007).
    fn open_chunk(
        &self,
        blob: &mut OpenBlob,
        number: u32,
        what: &'static str,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        match self.open_chunk_once(blob, number, what, out) {
            Err(error) if is_released(&error) => {
                if let Some(lsn) = blob.row.position_of(blob.id, 0) {
                    blob.places = self.committed.places(lsn)?;
                }
                self.open_chunk_once(blob, number, what, out)
            }
            opened => opened,
        }
    }

    fn open_chunk_once(
        &self,
        blob: &mut OpenBlob,
        number: u32,
        what: &'static str,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let piece = blob.opener.piece(number);
        let (_, segment, place) = self.place_of(blob, piece.item)?;
        let missing = ReadError::Missing { what: "chunk", blob: blob.id };
        let Some(place) = narrowed(place, piece) else { return Err(missing) };
        if blob.sealed.item(&place).is_none() {
            blob.sealed.read(&self.reader, segment, (&place, &place))?;
        }
        let OpenBlob { sealed, opener, parts, .. } = blob;
        if let Some(item) = sealed.item(&place) {
            let opened = opener.open_chunk_and_parts(number, item, &mut parts.source(self), out);
            sealed.forget(&place);
            if opened.is_ok() {
                return Ok(());
            }
            if let Some(error) = parts.failure() {
                return Err(error);
            }
        }
        out.extend_from_slice(&self.open_verified(blob, number, what)?);
        Ok(())
    }

    /// The plain bytes of a chunk, whose sealed ones were compared with their hash. A header that
    /// was opened without that may have been damaged, too, and healed with them.
    fn open_verified(
        &self,
        blob: &mut OpenBlob,
        number: u32,
        what: &'static str,
    ) -> Result<Vec<u8>, ReadError> {
        match self.open_verified_once(blob, number, what) {
            Err(ReadError::Sealed { .. }) => {
                blob.opener = self.open_blob(blob.account, blob.id, Next::Everything)?.opener;
                self.open_verified_once(blob, number, what)
            }
            opened => opened,
        }
    }

    fn open_verified_once(
        &self,
        blob: &mut OpenBlob,
        number: u32,
        what: &'static str,
    ) -> Result<Vec<u8>, ReadError> {
        let piece = blob.opener.piece(number);
        let (lsn, segment, place) = self.place_of(blob, piece.item)?;
        let mut item = self.read_verified(lsn, &blob.row, segment, &place)?;
        let missing = ReadError::Missing { what: "chunk", blob: blob.id };
        let Some(sealed) = piece.of_mut(&mut item) else { return Err(missing) };
        let OpenBlob { opener, parts, account, .. } = blob;
        let mut plain = Vec::new();
        let mut source = parts.source(self);
        match opener.open_chunk_and_parts(number, sealed, &mut source, &mut plain) {
            Ok(()) => Ok(plain),
            Err(error) => {
                Err(parts.failure().unwrap_or_else(|| not_opened(what, *account, &error)))
            }
        }
    }

    /// The summary, from the cache if it is there.
    pub(super) fn summary(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<StoredSummary, ReadError> {
        if let Some(summary) = self.summaries.find(account, id) {
            return Ok(summary);
        }
        self.summaries.opened().summary_count.fetch_add(1, Ordering::Relaxed);
        let plain = self.stored_summary(account, id)?;
        let summary = checked_summary(account, &plain)?;
        self.summaries.keep(account, id, summary.clone());
        Ok(summary)
    }

    /// The summary as its blob holds it.
    pub(super) fn stored_summary(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<Vec<u8>, ReadError> {
        let mut blob = self.open_blob(account, id, Next::Summary)?;
        let mut plain = Vec::new();
        let number = blob.opener.chunk_count();
        self.open_chunk(&mut blob, number, SUMMARY, &mut plain)?;
        Ok(plain)
    }

    /// A message and its summary, read together.
    pub(super) fn message_and_summary(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<(Vec<u8>, StoredSummary), ReadError> {
        let mut blob = self.open_blob(account, id, Next::Body)?;
        let length = usize_of(blob.opener.plain_len());
        let mut message = Vec::with_capacity(length.min(64 * CHUNK_BYTES));
        let summary = blob.opener.chunk_count();
        for number in 0..summary {
            self.open_chunk(&mut blob, number, BODY, &mut message)?;
        }
        let mut plain = Vec::new();
        self.open_chunk(&mut blob, summary, SUMMARY, &mut plain)?;
        Ok((message, checked_summary(account, &plain)?))
    }

    /// Verifies every byte of a blob: hashes, seals, lengths. For `check`.
    pub(super) fn verify_blob(&self, account: AccountNumber, row: &Row) -> Result<u64, ReadError> {
        match self.verify_blob_once(account, row) {
            Err(error) if is_released(&error) => self.verify_blob_once(account, row),
            verified => verified,
        }
    }

    fn verify_blob_once(&self, account: AccountNumber, row: &Row) -> Result<u64, ReadError> {
        let mut blob = self.open_blob(account, row.blob, Next::Everything)?;
        let mut bytes = 0;
        for number in 0..blob.opener.chunk_count() {
            bytes += u64_of(self.open_verified(&mut blob, number, BODY)?.len());
        }
        let summary = blob.opener.chunk_count();
        let summary = self.open_verified(&mut blob, summary, SUMMARY)?;
        checked_summary(account, &summary)?;
        self.verify_parts(&blob)?;
        if bytes != u64::from(row.size) {
            let why = "its length is not that of its row";
            return Err(ReadError::Undecodable { what: "message", why });
        }
        Ok(bytes)
    }
}

impl OpenBlob {
    /// The chunk that holds a byte, and where in it.
    pub(super) fn locate(&self, offset: u64) -> Option<(u32, usize)> {
        self.opener.locate(offset)
    }
}

impl Inner {
    /// Opens a part for an account.
    pub(super) fn open_part(
        &self,
        account: AccountNumber,
        id: BlobId,
    ) -> Result<OpenBlob, ReadError> {
        let mut blob = self.open_blob(account, id, Next::Body)?;
        // A part names none, whatever its row may say.
        blob.parts = PartReader::default();
        Ok(blob)
    }

    /// Appends bytes of a part from `at` on to `out`, at most to the end of the chunk that holds
    /// it; none at its end.
    pub(super) fn read_part(
        &self,
        blob: &mut OpenBlob,
        at: u64,
        out: &mut Vec<u8>,
    ) -> Result<Option<(u32, usize)>, ReadError> {
        let Some((number, within)) = blob.opener.locate(at) else { return Ok(None) };
        self.open_chunk(blob, number, PART, out)?;
        Ok(Some((number, within)))
    }

    /// Verifies every byte of the parts that a blob names.
    fn verify_parts(&self, blob: &OpenBlob) -> Result<(), ReadError> {
        let (account, named) = blob.row.role.named();
        for named in named {
            let mut part = self.open_blob(account, named.part, Next::Everything)?;
            part.parts = PartReader::default();
            for number in 0..part.opener.chunk_count() {
                self.open_verified(&mut part, number, PART)?;
            }
        }
        Ok(())
    }
}

impl MessageReader {
    pub(super) fn open(
        inner: &Arc<Inner>,
        account: AccountNumber,
        row: &Row,
    ) -> Result<MessageReader, ReadError> {
        inner.summaries.opened().message_count.fetch_add(1, Ordering::Relaxed);
        let blob = inner.open_blob(account, row.blob, Next::Body)?;
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
            // One buffer serves all chunks.
            let (_, mut bytes) = self.chunk.take().unwrap_or_default();
            bytes.clear();
            self.inner.open_chunk(&mut self.blob, number, BODY, &mut bytes)?;
            self.chunk = Some((number, bytes));
        }
        let bytes = self.chunk.as_ref().and_then(|(_, bytes)| bytes.get(within..));
        Ok(bytes.unwrap_or_default())
    }

    /// Appends bytes from `offset` to `out`, to the end of the chunk that holds it and at most
    /// `count_max`; answers how many, none at the end. A chunk that is wanted whole is opened
    /// straight into `out`; after an error `out` is as it was.
    ///
    /// # Errors
    /// As for [`MessageReader::read_from`].
    pub fn append_from(
        &mut self,
        offset: u64,
        count_max: u64,
        out: &mut Vec<u8>,
    ) -> Result<u64, ReadError> {
        let Some((number, within)) = self.blob.opener.locate(offset) else { return Ok(0) };
        let chunk_len = (self.byte_count() - offset).min(u64_of(CHUNK_BYTES));
        let is_open = self.chunk.as_ref().is_some_and(|(opened, _)| *opened == number);
        if within == 0 && chunk_len <= count_max && !is_open {
            self.inner.open_chunk(&mut self.blob, number, BODY, out)?;
            return Ok(chunk_len);
        }
        let bytes = self.read_from(offset)?;
        let bytes = bytes.get(..usize_of(count_max)).unwrap_or(bytes);
        out.extend_from_slice(bytes);
        Ok(u64_of(bytes.len()))
    }

    /// The whole message. Only where a whole message is needed.
    ///
    /// # Errors
    /// As for [`MessageReader::read_from`].
    pub fn read_all(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut message = Vec::with_capacity(usize_of(self.byte_count()).min(64 * CHUNK_BYTES));
        while u64_of(message.len()) < self.byte_count() {
            self.append_from(u64_of(message.len()), u64::MAX, &mut message)?;
        }
        Ok(message)
    }
}

/// Whether a segment was released by reclaim after its place was looked up: the new place is known.
fn is_released(error: &ReadError) -> bool {
    matches!(error, ReadError::Disk(error) if error.cause.kind() == std::io::ErrorKind::NotFound)
}

/// What is read first of the item that begins with the header: for a summary, not the body behind
/// it.
fn front(place: StateChunkPlace, next: Next) -> StateChunkPlace {
    let span = u32::try_from(SUMMARY_SPAN_BYTES).unwrap_or(u32::MAX);
    let length = if next == Next::Summary { place.length.min(span) } else { place.length };
    StateChunkPlace { length, ..place }
}

/// The place of a chunk within that of its item; `None` if the item is shorter.
fn narrowed(place: StateChunkPlace, piece: Piece) -> Option<StateChunkPlace> {
    let start = u32::try_from(piece.start).ok()?;
    let end = piece.end.map_or(Ok(place.length), u32::try_from).ok()?;
    let length = end.checked_sub(start).filter(|_| end <= place.length)?;
    Some(StateChunkPlace { offset: place.offset + u64::from(start), length, ..place })
}

/// The last item that is read in one piece with the header; `None` if none is.
fn read_with_header(row: &BlobRow, places: &Places, next: Next) -> Option<StateChunkPlace> {
    // Header, one chunk of the body, summary; of a packed blob there is one item.
    const ITEMS_OF_ONE_CHUNK: u32 = 3;
    if row.shape.chunk_count == 1 {
        return None;
    }
    let last = match next {
        Next::Body if row.shape.chunk_count == ITEMS_OF_ONE_CHUNK => 1,
        Next::Summary => row.shape.chunk_count.checked_sub(1)?,
        Next::Body | Next::Everything => return None,
    };
    let first = places.find(0)?;
    let mut end = first.offset.checked_add(u64::from(first.length))?;
    for number in 1..=last {
        let place = places.find(number)?;
        let gap = place.offset.checked_sub(end)?;
        end = place.offset.checked_add(u64::from(place.length))?;
        let too_far = next == Next::Summary && end - first.offset > SUMMARY_SPAN_BYTES;
        if gap > GAP_BYTES || too_far {
            return None;
        }
    }
    places.find(last)
}

fn checked_summary(account: AccountNumber, plain: &[u8]) -> Result<StoredSummary, ReadError> {
    StoredSummary::of(plain).map_err(|error| not_decoded(account, &error))
}

fn not_decoded(account: AccountNumber, error: &SummaryError) -> ReadError {
    ReadError::Sealed { what: SUMMARY, account, why: error.to_string() }
}

fn not_opened(what: &'static str, account: AccountNumber, error: &SealError) -> ReadError {
    ReadError::Sealed { what, account, why: error.to_string() }
}
