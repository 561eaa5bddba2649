//! A mailbox's digest: what its messages add up to, whatever pages they lie in.
//!
//! It is kept with every change: a message that comes is added, one that goes is taken off, and one
//! whose flags change is both. Pages, heads and checkpoints have no part in it, so it tells when
//! one of them lost a change or kept one twice: the pages, added up anew, come to something else.
//! Base images are made only of mailboxes that agree (`base/proof.rs`), and `check` compares all.
//!
//! ```text
//! row   uid u32, flags u8, modseq u64, received i64, saved i64, size u32, thread u64, blob u64,
//!       then each keyword's index u16; all little-endian
//! ids   instance 16, EMAILID 16, content hash 16
//!
//! as stored in the mailbox's row (state.rs): rows 16, ids 16
//! ```
//! Each is hashed by BLAKE3, of which the first 16 bytes are added as a little-endian number,
//! modulo 2^128: an incremental hash of a multiset (Bellare and Micciancio, "A New Paradigm for
//! Collision-Free Hashing", 1997). With sums of 128 bits that holds against mistakes and not
//! against somebody who chooses the messages; what lies on the disk is sealed.
//!
//! # Invariants
//! 1. The digest of a mailbox without messages is zero.
//! 2. It depends on the messages alone: not on their order, pages, versions or places.

use smallvec::SmallVec;

use crate::error::ReadError;
use crate::ids::{BlobId, Uid};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::mailbox::rows::RowRef;
use crate::mailbox::state::digest_of_row;
use crate::mailbox::{Row, RowIds};

/// Bytes of a stored digest.
pub(super) const DIGEST_BYTES: usize = 32;

/// What messages add up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MailboxDigest {
    rows: u128,
    ids: u128,
}

impl MailboxDigest {
    /// A message came.
    pub(super) fn add(&mut self, row: &Row, ids: &RowIds) {
        self.rows = self.rows.wrapping_add(Fields::from(row).hash());
        self.ids = self.ids.wrapping_add(hash_of_ids(ids));
    }

    /// A message went.
    pub(super) fn remove(&mut self, row: &Row, ids: &RowIds) {
        self.rows = self.rows.wrapping_sub(Fields::from(row).hash());
        self.ids = self.ids.wrapping_sub(hash_of_ids(ids));
    }

    /// A message's row changed.
    pub(super) fn change(&mut self, before: RowRef<'_>, after: RowRef<'_>) {
        let without = self.rows.wrapping_sub(Fields::from(before).hash());
        self.rows = without.wrapping_add(Fields::from(after).hash());
    }

    pub(super) fn add_rows(&mut self, page: &Page) {
        let hashes = (0..page.len()).map(|index| Fields::from(RowRef::new(page, index)).hash());
        self.rows = hashes.fold(self.rows, u128::wrapping_add);
    }

    pub(super) fn add_ids(&mut self, page: &IdsPage) {
        self.ids = page.rows().iter().fold(self.ids, |sum, ids| sum.wrapping_add(hash_of_ids(ids)));
    }

    pub(super) fn to_bytes(self) -> [u8; DIGEST_BYTES] {
        let mut bytes = [0; DIGEST_BYTES];
        let parts = self.rows.to_le_bytes().into_iter().chain(self.ids.to_le_bytes());
        bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; DIGEST_BYTES]) -> MailboxDigest {
        let (numbers, _) = bytes.as_chunks::<16>();
        let mut numbers = numbers.iter().map(|bytes| u128::from_le_bytes(*bytes));
        MailboxDigest {
            rows: numbers.next().unwrap_or_default(),
            ids: numbers.next().unwrap_or_default(),
        }
    }
}

/// What of a row is hashed.
struct Fields<'a> {
    uid: u32,
    flags: u8,
    modseq: u64,
    received: i64,
    saved: i64,
    size: u32,
    thread: u64,
    blob: u64,
    keywords: &'a [u16],
}

/// Bytes of all fields but the keywords.
const FIXED_BYTES: usize = 4 + 1 + 5 * 8 + 4;
/// Keywords that fit with the others into one block of BLAKE3; more are unusual.
const KEYWORDS_IN_BLOCK: usize = (blake3::BLOCK_LEN - FIXED_BYTES) / 2;

impl Fields<'_> {
    fn hash(&self) -> u128 {
        let mut block = [0; blake3::BLOCK_LEN];
        let rest = put(&mut block, self.uid.to_le_bytes());
        let rest = put(rest, [self.flags]);
        let rest = put(rest, self.modseq.to_le_bytes());
        let rest = put(rest, self.received.to_le_bytes());
        let rest = put(rest, self.saved.to_le_bytes());
        let rest = put(rest, self.size.to_le_bytes());
        let rest = put(rest, self.thread.to_le_bytes());
        let mut rest = put(rest, self.blob.to_le_bytes());
        let (inside, beyond) = self.keywords.split_at(self.keywords.len().min(KEYWORDS_IN_BLOCK));
        for keyword in inside {
            rest = put(rest, keyword.to_le_bytes());
        }
        let left = rest.len();
        let (bytes, _) = block.split_at(blake3::BLOCK_LEN - left);
        if beyond.is_empty() {
            return first_half(blake3::hash(bytes));
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(bytes);
        for keyword in beyond {
            hasher.update(&keyword.to_le_bytes());
        }
        first_half(hasher.finalize())
    }
}

/// Puts bytes at the beginning, which has room for them; answers what follows.
fn put<const N: usize>(block: &mut [u8], bytes: [u8; N]) -> &mut [u8] {
    let (place, rest) = block.split_at_mut(N);
    place.copy_from_slice(&bytes);
    rest
}

impl<'a> From<&'a Row> for Fields<'a> {
    fn from(row: &'a Row) -> Fields<'a> {
        Fields {
            uid: row.uid.0,
            flags: row.flags.0,
            modseq: row.modseq.bits(),
            received: row.received.0,
            saved: row.saved.0,
            size: row.size,
            thread: row.thread.0,
            blob: row.blob.0.bits(),
            keywords: &row.keywords,
        }
    }
}

impl<'a> From<RowRef<'a>> for Fields<'a> {
    fn from(row: RowRef<'a>) -> Fields<'a> {
        Fields {
            uid: row.uid().0,
            flags: row.flags().0,
            modseq: row.modseq().bits(),
            received: row.received().0,
            saved: row.saved().0,
            size: row.size(),
            thread: row.thread().0,
            blob: row.blob().0.bits(),
            keywords: row.keywords(),
        }
    }
}

fn hash_of_ids(ids: &RowIds) -> u128 {
    let mut bytes: SmallVec<[u8; 64]> = SmallVec::new();
    bytes.extend_from_slice(&ids.instance.0);
    bytes.extend_from_slice(&ids.email.0);
    bytes.extend_from_slice(&ids.content_hash);
    first_half(blake3::hash(&bytes))
}

fn first_half(hash: blake3::Hash) -> u128 {
    hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
}

/// A mailbox as it is stored, added up and compared with its digest.
#[derive(Default)]
pub(crate) struct DigestProof {
    expected: Option<MailboxDigest>,
    found: MailboxDigest,
}

impl DigestProof {
    /// Takes the mailbox's row.
    ///
    /// # Errors
    /// It does not decode.
    pub(crate) fn mailbox(&mut self, value: &[u8]) -> Result<(), ReadError> {
        self.expected = digest_of_row(value)?;
        Ok(())
    }

    /// Takes a page of rows; answers UID, blob and size of each.
    ///
    /// # Errors
    /// It does not decode.
    pub(crate) fn page(&mut self, value: &[u8]) -> Result<Vec<(Uid, BlobId, u32)>, ReadError> {
        let page = Page::decode(value)?;
        self.found.add_rows(&page);
        Ok(page.named().collect())
    }

    /// Takes a page of ids.
    ///
    /// # Errors
    /// It does not decode.
    pub(crate) fn ids(&mut self, value: &[u8]) -> Result<(), ReadError> {
        self.found.add_ids(&IdsPage::decode(value)?);
        Ok(())
    }

    /// Whether they agree. A mailbox from before there were digests has none, and agrees.
    pub(crate) fn agrees(&self) -> bool {
        self.expected.is_none_or(|expected| expected == self.found)
    }
}

/// A stored page whose first message is \Flagged, too, and nothing else different.
#[cfg(test)]
pub(crate) fn with_flag_in_first_row(value: &[u8]) -> Vec<u8> {
    let page = Page::decode(value).expect("a page");
    let mut rows: Vec<Row> = page.rows().collect();
    if let Some(first) = rows.first_mut() {
        first.flags = first.flags.union(crate::flags::SystemFlags::FLAGGED);
    }
    Page::from_rows(page.version(), rows).encode()
}
