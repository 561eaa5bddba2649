//! A mailbox's digest: what its messages add up to, whatever pages they lie in.
//!
//! It is kept with every change: a message that comes is added, one that goes is taken off, and one
//! whose flags change is both. Pages, heads and checkpoints have no part in it, so it tells when
//! one of them lost a change or kept one twice: the pages, added up anew, come to something else.
//! Base images are made only of mailboxes that agree (`base/proof.rs`), and `check` compares all.
//!
//! ```text
//! one     row   uid u32, flags u8, modseq u64, received i64, saved i64, size u32, thread u64,
//!               blob u64, then each keyword's index u16; all little-endian; hashed by BLAKE3
//! split   lasting   1, uid | size << 32, received, saved, thread, blob         } words of 64 bits,
//!         changing  2, uid | flags << 32 | keywords << 40, modseq, then each   } mixed (`Mixer`)
//!                   keyword's index + 1
//! both    ids   instance 16, EMAILID 16, content hash 16; hashed by BLAKE3
//!
//! as stored in the mailbox's row (state.rs): rows 16, ids 16
//! ```
//! What is hashed gives 16 bytes (of BLAKE3 the first), which are added as a little-endian number,
//! modulo 2^128: an incremental hash of a multiset (Bellare and Micciancio, "A New Paradigm for
//! Collision-Free Hashing", 1997). With sums of 128 bits that holds against mistakes and not
//! against somebody who chooses the messages; what lies on the disk is sealed.
//!
//! Why there are two kinds: hashing old and new row in one was over half of what STORE cost, and
//! what a STORE changes is a few numbers. A mailbox keeps the kind that it began with, for the
//! other one would be the sum of what its pages hold, which is what the digest has to prove; it
//! takes the newer one when it has no message ([`DigestKind::of_level`]).
//!
//! # Invariants
//! 1. The digest of a mailbox without messages is zero.
//! 2. It depends on the messages alone: not on their order, pages, versions or places.
//! 3. Two rows with the same UID that differ in one number have different hashes, of either kind.

use smallvec::SmallVec;

use crate::error::ReadError;
use crate::format_level;
use crate::ids::{BlobId, Uid};
use crate::mailbox::ids_page::IdsPage;
use crate::mailbox::page::Page;
use crate::mailbox::rows::RowRef;
use crate::mailbox::state::digest_of_row;
use crate::mailbox::{Row, RowIds};
use crate::width::u64_of;

/// Bytes of a stored digest.
pub(super) const DIGEST_BYTES: usize = 32;

/// How rows are hashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum DigestKind {
    /// Each in one, by BLAKE3.
    #[default]
    One,
    /// What lasts and what changes each for itself.
    Split,
}

impl DigestKind {
    /// Of a mailbox that gets its first message at this format level.
    pub(crate) fn of_level(format_level: u32) -> DigestKind {
        match format_level {
            ..format_level::SPLIT_DIGESTS => DigestKind::One,
            _ => DigestKind::Split,
        }
    }

    fn hash(self, row: &Fields<'_>) -> u128 {
        match self {
            DigestKind::One => row.hash(),
            DigestKind::Split => row.lasting().wrapping_add(row.changing().hash()),
        }
    }
}

/// What messages add up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct MailboxDigest {
    kind: DigestKind,
    rows: u128,
    ids: u128,
}

impl MailboxDigest {
    /// Of no messages.
    pub(crate) fn new(kind: DigestKind) -> MailboxDigest {
        MailboxDigest { kind, rows: 0, ids: 0 }
    }

    /// How rows are hashed.
    pub(super) fn kind(&self) -> DigestKind {
        self.kind
    }

    /// Whether that is what no messages add up to.
    pub(super) fn is_zero(&self) -> bool {
        self.rows == 0 && self.ids == 0
    }

    /// A message came.
    pub(super) fn add(&mut self, row: &Row, ids: &RowIds) {
        self.rows = self.rows.wrapping_add(self.kind.hash(&Fields::from(row)));
        self.ids = self.ids.wrapping_add(hash_of_ids(ids));
    }

    /// A message went.
    pub(super) fn remove(&mut self, row: &Row, ids: &RowIds) {
        self.rows = self.rows.wrapping_sub(self.kind.hash(&Fields::from(row)));
        self.ids = self.ids.wrapping_sub(hash_of_ids(ids));
    }

    /// Flags, keywords and MODSEQ of a message's row changed.
    pub(super) fn change(&mut self, before: RowRef<'_>, after: RowRef<'_>) {
        let (old, new) = match self.kind {
            DigestKind::One => (Fields::from(before).hash(), Fields::from(after).hash()),
            DigestKind::Split => (Changing::from(before).hash(), Changing::from(after).hash()),
        };
        self.rows = self.rows.wrapping_sub(old).wrapping_add(new);
    }

    pub(super) fn add_rows(&mut self, page: &Page) {
        let rows = (0..page.len()).map(|index| Fields::from(RowRef::new(page, index)));
        let hashes = rows.map(|row| self.kind.hash(&row));
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

    pub(super) fn from_bytes(kind: DigestKind, bytes: [u8; DIGEST_BYTES]) -> MailboxDigest {
        let (numbers, _) = bytes.as_chunks::<16>();
        let mut numbers = numbers.iter().map(|bytes| u128::from_le_bytes(*bytes));
        MailboxDigest {
            kind,
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

    /// What of a row stays as it came.
    fn lasting(&self) -> u128 {
        Mixer::BEGIN
            .with(1)
            .with(u64::from(self.uid) | u64::from(self.size) << 32)
            .with(self.received.cast_unsigned())
            .with(self.saved.cast_unsigned())
            .with(self.thread)
            .with(self.blob)
            .end()
    }

    fn changing(&self) -> Changing<'_> {
        let Fields { uid, flags, modseq, keywords, .. } = *self;
        Changing { uid, flags, modseq, keywords }
    }
}

/// What of a row a STORE changes, and its UID, which ties it to the rest.
struct Changing<'a> {
    uid: u32,
    flags: u8,
    modseq: u64,
    keywords: &'a [u16],
}

impl<'a> From<RowRef<'a>> for Changing<'a> {
    fn from(row: RowRef<'a>) -> Changing<'a> {
        Changing {
            uid: row.uid().0,
            flags: row.flags().0,
            modseq: row.modseq().bits(),
            keywords: row.keywords(),
        }
    }
}

impl Changing<'_> {
    fn hash(&self) -> u128 {
        let keyword_count = u64_of(self.keywords.len()) << 40;
        let begun = Mixer::BEGIN
            .with(2)
            .with(u64::from(self.uid) | u64::from(self.flags) << 32 | keyword_count)
            .with(self.modseq);
        let keywords = self.keywords.iter().map(|&keyword| u64::from(keyword) + 1);
        keywords.fold(begun, Mixer::with).end()
    }
}

/// A hash of a few numbers. Every step is a permutation of its 128 bits, so that one number that
/// differs always makes a difference; two steps behind the last number spread it over all bits.
#[derive(Clone, Copy)]
struct Mixer(u128);

impl Mixer {
    /// Digits of pi, as is the factor: nobody chose them.
    const BEGIN: Mixer = Mixer(0x243f_6a88_85a3_08d3_1319_8a2e_0370_7344);
    const FACTOR: u128 = 0xa409_3822_299f_31d0_082e_fa98_ec4e_6c89;

    fn with(self, number: u64) -> Mixer {
        let product = (self.0 ^ u128::from(number)).wrapping_mul(Mixer::FACTOR);
        // High bits of a product depend on all below, low ones on few: these get those.
        Mixer(product ^ product >> 64)
    }

    fn end(self) -> u128 {
        self.with(0).with(0).0
    }
}

// An even factor would be no permutation.
const _: () = assert!(Mixer::FACTOR & 1 == 1);

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

/// The hash of one row, whatever kind of digest its mailbox has.
pub(super) fn hash_of_row(row: RowRef<'_>) -> u128 {
    Fields::from(row).hash()
}

/// The hash of one row's ids.
pub(super) fn hash_of_ids(ids: &RowIds) -> u128 {
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
pub(crate) struct DigestProof {
    expected: Option<MailboxDigest>,
    /// Of either kind: pages may come before the row that says which one counts.
    found: [MailboxDigest; 2],
}

impl Default for DigestProof {
    fn default() -> DigestProof {
        let found = [DigestKind::One, DigestKind::Split].map(MailboxDigest::new);
        DigestProof { expected: None, found }
    }
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

    /// What is added up: what counts, as far as it is known.
    fn sums(&mut self) -> impl Iterator<Item = &mut MailboxDigest> {
        let kind = self.expected.map(|expected| expected.kind);
        self.found.iter_mut().filter(move |sum| kind.is_none_or(|kind| kind == sum.kind))
    }

    /// Takes a page of rows; answers UID, blob and size of each.
    ///
    /// # Errors
    /// It does not decode.
    pub(crate) fn page(&mut self, value: &[u8]) -> Result<Vec<(Uid, BlobId, u32)>, ReadError> {
        let page = Page::decode(value)?;
        self.sums().for_each(|sum| sum.add_rows(&page));
        Ok(page.named().collect())
    }

    /// Takes a page of ids.
    ///
    /// # Errors
    /// It does not decode.
    pub(crate) fn ids(&mut self, value: &[u8]) -> Result<(), ReadError> {
        let page = IdsPage::decode(value)?;
        self.sums().for_each(|sum| sum.add_ids(&page));
        Ok(())
    }

    /// Whether they agree. A mailbox from before there were digests has none, and agrees.
    pub(crate) fn agrees(&self) -> bool {
        self.expected.is_none_or(|expected| self.found.contains(&expected))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(uid: u32) -> Fields<'static> {
        let (size, at) = (uid * 7 % 999, i64::from(uid) * 60);
        let (modseq, blob, thread) = (5000 + u64::from(uid), u64::from(uid), u64::from(uid / 8));
        Fields {
            uid,
            flags: 1,
            modseq,
            received: at,
            saved: at + 1,
            size,
            thread,
            blob,
            keywords: &[3, 9],
        }
    }

    /// A row with another bit in one of its numbers, whichever of them.
    fn flipped(row: &mut Fields<'_>, number: usize, bit: u32) {
        match number {
            0 => row.flags ^= 1 << (bit % 5),
            1 => row.modseq ^= 1 << bit,
            2 => row.received ^= 1 << bit,
            3 => row.saved ^= 1 << bit,
            4 => row.size ^= 1 << (bit % 32),
            5 => row.thread ^= 1 << bit,
            6 => row.blob ^= 1 << bit,
            _ => row.uid ^= 1 << (bit % 32),
        }
    }

    #[test]
    fn each_bit_of_a_row_changes_about_half_of_the_bits_of_its_hash() {
        const ROWS: u32 = 400;
        for number in 0..8 {
            for bit in 0..64 {
                let mut changes = [0u32; 128];
                for uid in 1..=ROWS {
                    let mut row = mail(uid);
                    let before = DigestKind::Split.hash(&row);
                    flipped(&mut row, number, bit);
                    let difference = DigestKind::Split.hash(&row).wrapping_sub(before);
                    assert_ne!(difference, 0, "invariant 3");
                    for (place, count) in changes.iter_mut().enumerate() {
                        *count += u32::from(difference >> place & 1 == 1);
                    }
                }
                let even = changes.iter().skip(8).all(|count| (120..280).contains(count));
                assert!(even, "number {number}, bit {bit}: {changes:?}");
            }
        }
    }

    #[test]
    fn mistakes_with_a_pattern_do_not_cancel_out() {
        type Wrong = fn(&mut Vec<Fields<'static>>);
        let mistakes: [(&str, Wrong); 8] = [
            ("MODSEQs of neighbours swapped", |rows| {
                let kept = rows[0].modseq;
                rows[0].modseq = rows[1].modseq;
                rows[1].modseq = kept;
            }),
            ("flags of two rows swapped", |rows| (rows[0].flags, rows[1].flags) = (3, 1)),
            ("all MODSEQs one up", |rows| rows.iter_mut().for_each(|row| row.modseq += 1)),
            ("one up, one down", |rows| {
                rows[4].modseq += 1;
                rows[5].modseq -= 1;
            }),
            ("a row lost and another twice", |rows| rows[7] = mail(9)),
            ("a row twice", |rows| rows.push(mail(9))),
            ("bodies of two rows swapped", |rows| (rows[2].blob, rows[3].blob) = (4, 3)),
            ("a keyword moved to the next row", |rows| {
                (rows[2].keywords, rows[3].keywords) = (&[3], &[3, 9, 10]);
            }),
        ];
        for kind in [DigestKind::One, DigestKind::Split] {
            let sum = |rows: &[Fields<'_>]| {
                rows.iter().fold(0u128, |sum, row| sum.wrapping_add(kind.hash(row)))
            };
            let rows = || -> Vec<Fields<'static>> {
                let mut rows: Vec<_> = (1..=20).map(mail).collect();
                rows[1].flags = 3;
                rows
            };
            let right = sum(&rows());
            let mut reversed = rows();
            reversed.reverse();
            assert_eq!(sum(&reversed), right, "invariant 2");
            for (what, mistake) in mistakes {
                let mut wrong = rows();
                mistake(&mut wrong);
                assert_ne!(sum(&wrong), right, "{what}, {kind:?}");
            }
        }
    }
}
