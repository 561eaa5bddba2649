//! Parts in a checkpoint: they go with the last blob that names them.

use super::{Unsaved, Writer};
use crate::error::ReadError;
use crate::ids::BlobId;
use crate::state::part::{BlobRole, part_key, part_reference_key};
use crate::state::table::Table;

impl Writer<'_> {
    /// A blob died: it names no parts any more. Answers those that may die with it.
    pub(super) fn release_parts(&mut self, id: BlobId, role: &BlobRole) -> Vec<BlobId> {
        if let BlobRole::Part(account, hash) = role {
            self.dead_parts.push((*account, *hash, id));
        }
        let (account, named) = role.named();
        for named in named {
            let key = part_reference_key(named.part, account, id);
            self.batch.delete(Table::Reference, &key);
            self.made.remove(&key);
            self.removed.insert(key);
        }
        named.iter().map(|named| named.part).collect()
    }

    /// Writes which parts there are, once it is known which died.
    pub(super) fn parts(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for ((account, hash), used) in unsaved.parts.iter() {
            if !self.dead.contains(&used.part) && !self.destroyed.contains(account) {
                let key = part_key(*account, hash);
                self.put(Table::Part, &key, *account, &used.encode())?;
            }
        }
        for (account, hash, part) in std::mem::take(&mut self.dead_parts) {
            // Equal bytes may be stored anew since; that part's row stays.
            let other = match unsaved.parts.get(&(account, hash)) {
                Some(used) => Some(used.part),
                None if !self.saved.values.has_account(account) => None,
                None => self.saved.part(account, &hash)?.map(|used| used.part),
            };
            let is_other_alive =
                other.is_some_and(|other| other != part && !self.dead.contains(&other));
            if !is_other_alive {
                self.batch.delete(Table::Part, &part_key(account, &hash));
            }
        }
        Ok(())
    }
}
