//! A mailbox page: rows of consecutive UIDs, by column.
//!
//! In memory the columns are vectors, so that a clone is a copy of memory, and a change of flags
//! copies only what it may change; stored they are
//! differences in numbers of variable width ([`varint`]), compressed (zstd level 1).
//!
//! ```text
//! size     field        meaning
//!    1     format       1
//!    n     body_len     number: bytes of the body before compression, at most PAGE_BODY_BYTES_MAX
//!    …     body         one zstd frame, which holds:
//!      n     version      number: which version of the page this is; the page head repeats it
//!      n     count        number: rows, 1 to PAGE_ROWS_MAX
//!      n     uids         the first as a number, then (difference − 1) to the one before
//!    1 × n   flags        bits of SystemFlags
//!      n     set_count    number: distinct keyword sets, 1 to count
//!      n     sets         each: length, first keyword, then (difference − 1)
//!      n     set_indexes  one number a row
//!      n     modseqs      signed difference to the one before (the first: to 0); so the next four
//!      n     received
//!      n     saved
//!      n     threads
//!      n     blobs
//!      n     sizes        one number a row
//! ```
//!
//! Invariants:
//! 1. UIDs ascend strictly.
//! 2. All columns have the same length, at most [`PAGE_ROWS_MAX`].
//! 3. The dictionary holds exactly the keyword sets that rows use.

use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::SystemFlags;
use crate::ids::{BlobId, Lsn, ThreadId, Uid, UnixSeconds};
use crate::limits::{MESSAGE_KEYWORDS_MAX, PAGE_ROWS_MAX};
use crate::mailbox::rows::Mask;
use crate::mailbox::varint::{self, Reader};
use crate::mailbox::{KeywordSet, Row};
use crate::width::u64_of;

pub(super) const FORMAT: u8 = 1;
/// Body bytes of a page whose every row has every number at its widest and as many keywords as may
/// be.
const PAGE_BODY_BYTES_MAX: usize = 64 + PAGE_ROWS_MAX * (80 + 3 * MESSAGE_KEYWORDS_MAX);
const COMPRESSION_LEVEL: i32 = 1;
const KNOWN_FLAGS: u8 = 0b1_1111;
const WHAT: &str = "mailbox page";

/// Rows of consecutive UIDs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Page {
    version: u64,
    lasting: Arc<Lasting>,
    flags: Vec<u8>,
    sets: Vec<KeywordSet>,
    set_indexes: Vec<u16>,
    modseqs: Vec<u64>,
}

/// The columns of what stays as it came: versions of a page that differ in flags share them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Lasting {
    uids: Vec<u32>,
    received: Vec<i64>,
    saved: Vec<i64>,
    threads: Vec<u64>,
    blobs: Vec<u64>,
    sizes: Vec<u32>,
    /// The lowest and the highest of the blobs.
    blob_range: Option<(u64, u64)>,
}

impl Page {
    /// Of rows in ascending order of UIDs.
    pub(crate) fn from_rows(version: u64, rows: impl IntoIterator<Item = Row>) -> Page {
        let mut page = Page { version, ..Page::default() };
        for row in rows {
            page.push(&row);
        }
        page
    }

    /// A copy with room for `extra` more rows.
    pub(crate) fn copy(&self, version: u64, extra: usize) -> Page {
        let lasting = match extra {
            0 => Arc::clone(&self.lasting),
            _ => Arc::new(self.lasting.copy(extra)),
        };
        Page {
            version,
            lasting,
            flags: with_room(&self.flags, extra),
            sets: self.sets.clone(),
            set_indexes: with_room(&self.set_indexes, extra),
            modseqs: with_room(&self.modseqs, extra),
        }
    }

    /// Adds a row, whose UID is above all others.
    pub(crate) fn push(&mut self, row: &Row) {
        assert!(self.uids().last().is_none_or(|&last| last < row.uid.0), "invariant 1");
        let index = self.set_index(&row.keywords);
        self.flags.push(row.flags.0 & KNOWN_FLAGS);
        self.set_indexes.push(index);
        self.modseqs.push(row.modseq.bits());
        Arc::make_mut(&mut self.lasting).push(row);
    }

    fn set_index(&mut self, set: &KeywordSet) -> u16 {
        let place = self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        });
        u16::try_from(place).expect("no more sets than rows (invariants 2 and 3)")
    }

    /// Which version of the page this is.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.lasting.uids.len()
    }

    /// The UIDs, ascending.
    pub(crate) fn uids(&self) -> &[u32] {
        &self.lasting.uids
    }

    /// The index of a UID, or the one that it would have.
    pub(crate) fn find(&self, uid: Uid) -> Result<usize, usize> {
        self.lasting.uids.binary_search(&uid.0)
    }

    /// UID and MODSEQ of each row.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (Uid, Lsn)> + '_ {
        self.lasting
            .uids
            .iter()
            .zip(&self.modseqs)
            .map(|(&uid, &modseq)| (Uid(uid), position(modseq)))
    }

    /// The flags of each row.
    pub(crate) fn flags(&self) -> impl Iterator<Item = SystemFlags> + '_ {
        self.flags.iter().map(|&bits| SystemFlags(bits))
    }

    /// The size of each message.
    pub(crate) fn sizes(&self) -> &[u32] {
        &self.lasting.sizes
    }

    /// The flags of each row, as bits.
    pub(super) fn flag_bits(&self) -> &[u8] {
        &self.flags
    }

    /// The keyword sets that rows use.
    pub(super) fn keyword_sets(&self) -> &[KeywordSet] {
        &self.sets
    }

    /// Which of them is that of each row.
    pub(super) fn keyword_set_indexes(&self) -> &[u16] {
        &self.set_indexes
    }

    /// The keywords of one row.
    pub(super) fn keywords_at(&self, index: usize) -> Option<&KeywordSet> {
        self.sets.get(usize::from(*self.set_indexes.get(index)?))
    }

    /// The MODSEQ of each row, as bits.
    pub(super) fn modseq_bits(&self) -> &[u64] {
        &self.modseqs
    }

    /// The MODSEQ of one row.
    pub(super) fn modseq_at(&self, index: usize) -> Lsn {
        self.modseqs.get(index).copied().map_or(Lsn::ZERO, position)
    }

    /// INTERNALDATE of each row.
    pub(super) fn received(&self) -> &[i64] {
        &self.lasting.received
    }

    /// SAVEDATE of each row.
    pub(super) fn saved(&self) -> &[i64] {
        &self.lasting.saved
    }

    /// The conversation of each row.
    pub(super) fn threads(&self) -> &[u64] {
        &self.lasting.threads
    }

    /// The bytes of each row.
    pub(super) fn blobs(&self) -> &[u64] {
        &self.lasting.blobs
    }

    /// The lowest and the highest of them, by their positions.
    pub(super) fn blob_range(&self) -> Option<(u64, u64)> {
        self.lasting.blob_range
    }

    /// The bytes of one row.
    pub(super) fn blob_at(&self, index: usize) -> BlobId {
        BlobId(self.lasting.blobs.get(index).copied().map_or(Lsn::ZERO, position))
    }

    /// Changes flags, keywords and MODSEQ of one row. Where keywords change, the dictionary may be
    /// left with sets that no row uses: [`Page::tidied`] follows.
    pub(super) fn set_row(
        &mut self,
        index: usize,
        flags: SystemFlags,
        keywords: Option<&KeywordSet>,
        modseq: Lsn,
    ) {
        let set = keywords.map(|keywords| self.set_index(keywords));
        if let Some(place) = self.flags.get_mut(index) {
            *place = flags.0 & KNOWN_FLAGS;
        }
        if let Some(place) = self.modseqs.get_mut(index) {
            *place = modseq.bits();
        }
        if let (Some(set), Some(place)) = (set, self.set_indexes.get_mut(index)) {
            *place = set;
        }
    }

    /// Changes flags and MODSEQ of some rows.
    pub(super) fn set_flags(
        &mut self,
        rows: Mask,
        after: impl Fn(SystemFlags) -> SystemFlags,
        modseq: Lsn,
    ) {
        for index in rows.indexes() {
            if let (Some(flags), Some(place)) =
                (self.flags.get_mut(index), self.modseqs.get_mut(index))
            {
                *flags = after(SystemFlags(*flags)).0 & KNOWN_FLAGS;
                *place = modseq.bits();
            }
        }
    }

    /// The same rows with a dictionary of the sets that they use (invariant 3).
    pub(super) fn tidied(self) -> Page {
        Page::from_rows(self.version, self.rows())
    }

    /// One row.
    pub(crate) fn row(&self, index: usize) -> Option<Row> {
        let set = usize::from(*self.set_indexes.get(index)?);
        Some(Row {
            uid: Uid(*self.lasting.uids.get(index)?),
            flags: SystemFlags(*self.flags.get(index)?),
            keywords: self.sets.get(set)?.clone(),
            modseq: position(*self.modseqs.get(index)?),
            received: UnixSeconds(*self.lasting.received.get(index)?),
            saved: UnixSeconds(*self.lasting.saved.get(index)?),
            size: *self.lasting.sizes.get(index)?,
            thread: ThreadId(*self.lasting.threads.get(index)?),
            blob: BlobId(position(*self.lasting.blobs.get(index)?)),
        })
    }

    /// UID, blob and size of each row.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Uid, BlobId, u32)> + '_ {
        self.rows().map(|row| (row.uid, row.blob, row.size))
    }

    /// All rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = Row> + '_ {
        (0..self.len()).filter_map(|index| self.row(index))
    }

    /// Bytes in memory, for the cache's budget; columns that another version shares count for both.
    pub(crate) fn memory_bytes(&self) -> usize {
        const ROW_BYTES: usize = 4 + 1 + 2 + 5 * 8 + 4;
        let spilled: usize =
            self.sets.iter().filter(|set| set.spilled()).map(|set| set.capacity() * 2).sum();
        std::mem::size_of::<Page>()
            + self.lasting.uids.capacity() * ROW_BYTES
            + self.sets.capacity() * std::mem::size_of::<KeywordSet>()
            + spilled
    }

    /// As it is stored.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.len() * 24);
        varint::put(&mut body, self.version);
        varint::put(&mut body, u64_of(self.len()));
        put_ascending(&mut body, self.lasting.uids.iter().copied());
        body.extend_from_slice(&self.flags);
        varint::put(&mut body, u64_of(self.sets.len()));
        for set in &self.sets {
            varint::put(&mut body, u64_of(set.len()));
            put_ascending(&mut body, set.iter().map(|&keyword| u32::from(keyword)));
        }
        for &index in &self.set_indexes {
            varint::put(&mut body, u64::from(index));
        }
        put_differences(&mut body, self.modseqs.iter().map(|bits| bits.cast_signed()));
        put_differences(&mut body, self.lasting.received.iter().copied());
        put_differences(&mut body, self.lasting.saved.iter().copied());
        put_differences(&mut body, self.lasting.threads.iter().map(|bits| bits.cast_signed()));
        put_differences(&mut body, self.lasting.blobs.iter().map(|bits| bits.cast_signed()));
        for &size in &self.lasting.sizes {
            varint::put(&mut body, u64::from(size));
        }
        Page::compressed(&body)
    }

    /// Format and length before the compressed body.
    pub(super) fn compressed(body: &[u8]) -> Vec<u8> {
        let mut out = vec![FORMAT];
        varint::put(&mut out, u64_of(body.len()));
        let frame = zstd::bulk::compress(body, COMPRESSION_LEVEL)
            .expect("zstd compresses into a buffer of its own bound's size");
        out.extend_from_slice(&frame);
        out
    }

    /// From what is stored.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Page, ReadError> {
        let mut outer = Reader::new(bytes, WHAT);
        outer.format(FORMAT)?;
        let body_len = outer.length(PAGE_BODY_BYTES_MAX)?;
        let body = zstd::bulk::decompress(outer.rest(), body_len)
            .map_err(|_| ReadError::Undecodable { what: WHAT, why: "it does not decompress" })?;
        let mut reader = Reader::new(&body, WHAT);
        if body.len() != body_len {
            return Err(reader.wrong("its length is not the one that it says"));
        }
        let page = decode_columns(&mut reader)?;
        reader.end()?;
        Ok(page)
    }
}

impl Lasting {
    fn copy(&self, extra: usize) -> Lasting {
        Lasting {
            uids: with_room(&self.uids, extra),
            received: with_room(&self.received, extra),
            saved: with_room(&self.saved, extra),
            threads: with_room(&self.threads, extra),
            blobs: with_room(&self.blobs, extra),
            sizes: with_room(&self.sizes, extra),
            blob_range: self.blob_range,
        }
    }

    fn push(&mut self, row: &Row) {
        let blob = row.blob.0.bits();
        let (lowest, highest) = self.blob_range.unwrap_or((blob, blob));
        self.blob_range = Some((lowest.min(blob), highest.max(blob)));
        self.uids.push(row.uid.0);
        self.received.push(row.received.0);
        self.saved.push(row.saved.0);
        self.threads.push(row.thread.0);
        self.blobs.push(blob);
        self.sizes.push(row.size);
    }
}

fn with_room<T: Copy>(column: &[T], extra: usize) -> Vec<T> {
    let mut copy = Vec::with_capacity(column.len() + extra);
    copy.extend_from_slice(column);
    copy
}

fn decode_columns(reader: &mut Reader<'_>) -> Result<Page, ReadError> {
    let version = reader.number()?;
    let count = reader.length(PAGE_ROWS_MAX)?;
    if count == 0 {
        return Err(reader.wrong("it has no rows"));
    }
    let uids = ascending(reader, count, u32::MAX)?;
    let flags = reader.bytes(count)?.to_vec();
    if flags.iter().any(|bits| bits & !KNOWN_FLAGS != 0) {
        return Err(reader.wrong("it has a flag that is not known"));
    }
    let set_count = reader.length(count)?;
    let mut sets = Vec::with_capacity(set_count);
    for _ in 0..set_count {
        let len = reader.length(MESSAGE_KEYWORDS_MAX)?;
        let keywords = ascending(reader, len, u32::from(u16::MAX))?;
        let set: KeywordSet = keywords.iter().filter_map(|&k| u16::try_from(k).ok()).collect();
        sets.push(set);
    }
    let mut set_indexes = Vec::with_capacity(count);
    for _ in 0..count {
        let index = reader.number16()?;
        if usize::from(index) >= set_count {
            return Err(reader.wrong("a row names a keyword set that is not there"));
        }
        set_indexes.push(index);
    }
    let modseqs = positions(reader, count)?;
    let received = differences(reader, count)?;
    let saved = differences(reader, count)?;
    let threads = differences(reader, count)?.into_iter().map(i64::cast_unsigned).collect();
    let blobs = positions(reader, count)?;
    let mut sizes = Vec::with_capacity(count);
    for _ in 0..count {
        sizes.push(reader.number32()?);
    }
    let blob_range = blobs.iter().min().copied().zip(blobs.iter().max().copied());
    let lasting = Lasting { uids, received, saved, threads, blobs, sizes, blob_range };
    let lasting = Arc::new(lasting);
    Ok(Page { version, lasting, flags, sets, set_indexes, modseqs })
}

/// A column's bits are checked when they are decoded, and come from a position otherwise.
fn position(bits: u64) -> Lsn {
    Lsn::from_bits(bits).unwrap_or(Lsn::MAX)
}

fn put_ascending(out: &mut Vec<u8>, numbers: impl Iterator<Item = u32>) {
    let mut least = 0u64;
    for number in numbers {
        varint::put(out, u64::from(number).saturating_sub(least));
        least = u64::from(number) + 1;
    }
}

fn put_differences(out: &mut Vec<u8>, numbers: impl Iterator<Item = i64>) {
    let mut before = 0i64;
    for number in numbers {
        varint::put_signed(out, number.wrapping_sub(before));
        before = number;
    }
}

fn ascending(reader: &mut Reader<'_>, count: usize, most: u32) -> Result<Vec<u32>, ReadError> {
    let mut numbers = Vec::with_capacity(count);
    let mut least = 0u32;
    for i in 0..count {
        let number = least.checked_add(reader.number32()?).filter(|&number| number <= most);
        let number = number.ok_or_else(|| reader.wrong("an ascending number is too high"))?;
        numbers.push(number);
        if i + 1 < count {
            let next = number.checked_add(1);
            least = next.ok_or_else(|| reader.wrong("an ascending number is too high"))?;
        }
    }
    Ok(numbers)
}

fn differences(reader: &mut Reader<'_>, count: usize) -> Result<Vec<i64>, ReadError> {
    let mut numbers = Vec::with_capacity(count);
    let mut before = 0i64;
    for _ in 0..count {
        before = before.wrapping_add(reader.signed()?);
        numbers.push(before);
    }
    Ok(numbers)
}

fn positions(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u64>, ReadError> {
    let bits: Vec<u64> = differences(reader, count)?.into_iter().map(i64::cast_unsigned).collect();
    if bits.iter().any(|&bits| Lsn::from_bits(bits).is_none()) {
        return Err(reader.wrong("a position has 64 bits"));
    }
    Ok(bits)
}

/// `set` with `add` and without `remove`, which ascends, in the order of keyword sets. At most
/// [`MESSAGE_KEYWORDS_MAX`] are kept; the committer refuses more before it gets here.
pub(crate) fn keywords_after(set: &KeywordSet, add: &[u16], remove: &[u16]) -> KeywordSet {
    let mut after: KeywordSet =
        set.iter().filter(|keyword| remove.binary_search(keyword).is_err()).copied().collect();
    for &keyword in add {
        if let Err(place) = after.binary_search(&keyword)
            && after.len() < MESSAGE_KEYWORDS_MAX
        {
            after.insert(place, keyword);
        }
    }
    after
}

const _: () = assert!(PAGE_ROWS_MAX <= 65_536, "a set's index has 16 bits");
const _: () = {
    // A uid, a set's index and a size: 5 bytes each; five 64-bit columns: 10 each; flags; a set's
    // length.
    let row_bytes_max = 3 * 5 + 5 * 10 + 1 + 5;
    assert!(row_bytes_max < 80);
};

/// UID, blob and size of each row of a stored page.
pub(crate) fn rows_of_page(bytes: &[u8]) -> Result<Vec<(Uid, BlobId, u32)>, ReadError> {
    Page::decode(bytes).map(|page| page.named().collect())
}

/// Row counts on disk and in memory agree on 32 bits.
pub(crate) fn row_count(page: &Page) -> u32 {
    crate::width::u32_of(page.len())
}
