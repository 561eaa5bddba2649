//! Parts that blobs of the log hold, found by hashing them: messages that come back name them.
//!
//! # Invariants
//! 1. A part is what has its hash under the account's first key, wherever it lies: no row is asked.
//! 2. A message comes back with all of its parts, or is named as one that does not.

use std::collections::HashMap;
use std::ops::Range;

use super::salvage::Lying;
use crate::disk::Disk;
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, BlobTag, KeyGeneration, PartHash};
use crate::seal::{
    BlobHeader, BlobOpener, HashDomain, KeyTableSnapshot, KeyedHash, PartSource, SealError,
    append_range,
};
use crate::width::{u64_of, usize_of_u32};

/// A blob whose items are known to be whole, and where they lie.
pub(super) struct Stored {
    pub(super) account: AccountNumber,
    pub(super) id: BlobId,
    pub(super) tag: BlobTag,
    pub(super) items: Vec<Lying>,
}

/// Parts, and messages that wait for some. Memory: about 100 bytes for each of their items.
#[derive(Default)]
pub(super) struct Parts {
    found: HashMap<(AccountNumber, PartHash), Stored>,
    pub(super) waiting: Vec<Stored>,
}

impl Parts {
    /// Takes note of a blob, if it is a part of an account whose key is there.
    pub(super) fn note(
        &mut self,
        keys: &KeyTableSnapshot,
        (id, tag): (BlobId, BlobTag),
        (header, items): (&BlobHeader, &[&[u8]]),
        lying: &dyn Fn() -> Vec<Lying>,
    ) {
        for account in header.entries.iter().map(|entry| entry.account) {
            let Some(first) = keys.naming(account) else { continue };
            let Ok(text) = text(keys, (account, tag), items, &mut crate::seal::NoParts) else {
                continue;
            };
            let hash = KeyedHash::of_account(first).hash_whole(HashDomain::Part, &text);
            let stored = || Stored { account, id, tag, items: lying() };
            self.found.entry((account, PartHash(hash))).or_insert_with(stored);
        }
    }
}

/// The plain bytes of a blob with all its items.
pub(super) fn text(
    keys: &KeyTableSnapshot,
    (account, tag): (AccountNumber, BlobTag),
    items: &[&[u8]],
    parts: &mut dyn PartSource,
) -> Result<Vec<u8>, SealError> {
    let lookup =
        |account: AccountNumber, generation: KeyGeneration| keys.key(account, generation).cloned();
    let cut_off = SealError::Truncated { expected: 1, found: 0 };
    let header = items.first().ok_or(cut_off.clone())?;
    let opener = BlobOpener::open(header, tag, account, &lookup)?;
    let mut text = Vec::new();
    for number in 0..opener.chunk_count() {
        let piece = opener.piece(number);
        let item = items.get(usize_of_u32(piece.item)).ok_or(cut_off.clone())?;
        let mut sealed = piece.of(item).ok_or(cut_off.clone())?.to_vec();
        opener.open_chunk_and_parts(number, &mut sealed, parts, &mut text)?;
    }
    if u64_of(text.len()) == opener.plain_len() { Ok(text) } else { Err(cut_off) }
}

/// Reads the parts that were found; keeps the one that was read last.
pub(super) struct Reader<'a> {
    pub(super) parts: &'a Parts,
    pub(super) keys: &'a KeyTableSnapshot,
    pub(super) disk: &'a dyn Disk,
    pub(super) account: AccountNumber,
    pub(super) last: Option<(PartHash, Vec<u8>)>,
    /// Why the disk did not give a part.
    pub(super) failure: Option<ReadError>,
}

impl Reader<'_> {
    /// A blob that was found, read once more; `None` if it does not open, or a part is not there.
    pub(super) fn read(&mut self, stored: &Stored) -> Result<Option<Vec<u8>>, ReadError> {
        let mut items = Vec::with_capacity(stored.items.len());
        for item in &stored.items {
            let Some(item) = item.read_whole(self.disk)? else { return Ok(None) };
            items.push(item);
        }
        let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
        let text = text(self.keys, (stored.account, stored.tag), &items, self);
        self.failure.take().map_or(Ok(text.ok()), Err)
    }

    fn load(&mut self, part: &PartHash) -> Result<Option<Vec<u8>>, ReadError> {
        let parts = self.parts;
        let stored = parts.found.get(&(self.account, *part));
        stored.map_or(Ok(None), |stored| self.read(stored))
    }
}

impl PartSource for Reader<'_> {
    fn append(
        &mut self,
        part: &PartHash,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        if self.last.as_ref().is_none_or(|(last, _)| last != part) {
            self.last = None;
            match self.load(part) {
                Ok(bytes) => self.last = Some((*part, bytes.ok_or(SealError::NoPart)?)),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(SealError::NoPart);
                }
            }
        }
        let bytes = self.last.as_ref().map(|(_, bytes)| bytes.as_slice()).unwrap_or_default();
        append_range(bytes, range, out);
        Ok(())
    }
}
