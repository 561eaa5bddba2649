//! References between messages and the parts that are kept in other blobs: each must have its other
//! end. The bytes of parts are read with the messages that name them.

use super::finding::Loss;
use super::mail::Check;
use crate::ids::{BlobId, Uid};
use crate::state::{
    BlobRole, BlobRow, Table, blob_naming, mailbox_of_reference, part_reference_key,
};
use crate::width::u64_of;

/// Blobs that are looked at once more; beyond that, they are not told of.
const DOUBTS_MAX: usize = 1000;

impl Check<'_> {
    /// Takes note of a blob's row: what it names must have its reference, and be a part.
    pub(super) fn note_parts(&mut self, id: BlobId, row: &BlobRow) {
        let (_, named) = row.role.named();
        self.part_names += u64_of(named.len());
        if !self.names_parts(id, row) && self.part_doubts.len() < DOUBTS_MAX {
            self.part_doubts.push(id);
        }
    }

    /// Whether all that a blob names is there, and knows of it.
    fn names_parts(&self, id: BlobId, row: &BlobRow) -> bool {
        let (account, named) = row.role.named();
        named.iter().all(|named| {
            let key = part_reference_key(named.part, account, id);
            let reference = self.saved.tables.get(Table::Reference, &key);
            let part = self.saved.blob(named.part).ok().flatten();
            let is_part = |row: BlobRow| row.role == BlobRole::Part(account, named.hash);
            reference.is_ok_and(|found| found.is_some()) && part.is_some_and(is_part)
        })
    }

    /// Tells of blobs whose parts were not as they should be at first.
    pub(super) fn doubtful_parts(&mut self) {
        for id in std::mem::take(&mut self.part_doubts) {
            let Ok(Some(row)) = self.saved.blob(id) else { continue };
            if self.is_unsettled || self.names_parts(id, &row) {
                continue;
            }
            let (account, _) = row.role.named();
            let rows = self.saved.rows_naming(id, account, 1).unwrap_or_default();
            let (mailbox, uid) = rows.first().copied().unzip();
            let about = self.words_of(account, mailbox).unwrap_or_default();
            let what = "a part that it has in common with others has no reference from it, so \
                        reclaim would take it for dead; 'pillarbox check --rebuild' makes the \
                        state anew";
            self.problem(&about, uid, what, Loss::Nothing);
        }
    }

    /// Whether a reference is that of a blob which is there and names the part; `None` if it is
    /// that of a row.
    pub(super) fn is_of_part(&self, key: &[u8; 36]) -> Option<bool> {
        let naming = blob_naming(key)?;
        let part = crate::state::blob_of_reference(key)?;
        let row = self.saved.blob(naming).ok().flatten();
        let names = row.is_some_and(|row| row.role.named().1.iter().any(|own| own.part == part));
        Some(names)
    }

    /// Whose a reference is, in words.
    pub(super) fn words_of_reference(&self, key: &[u8; 36]) -> (String, Option<Uid>) {
        let Some((account, mailbox)) = mailbox_of_reference(key) else {
            return (String::new(), None);
        };
        if blob_naming(key).is_some() {
            return (self.words_of(account, None).unwrap_or_default(), None);
        }
        let uid = key.last_chunk().map(|uid| Uid(u32::from_be_bytes(*uid)));
        (self.words_of(account, Some(mailbox)).unwrap_or_default(), uid)
    }
}
