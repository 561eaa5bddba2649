//! What THREAD went by, kept with the trees that came of it.
//!
//! Trees are those of the messages that are kept, all together: who finds just these again has them
//! as they are. With a message more or less they are built anew, of what is kept.

use std::sync::Arc;

use super::super::compared::{Merge, Pick, Roster};
use super::{Entries, Forest, ThreadTable, Trees};

/// What is kept of the threads of a mailbox.
pub(in crate::command::search) struct KeptThreads {
    roster: Roster,
    entries: Entries,
    /// Of all of them; `None` where nobody asked for all.
    trees: Option<Arc<Trees>>,
}

impl KeptThreads {
    /// Which messages it is of.
    pub(in crate::command::search) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Bytes of memory that it takes.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        let trees = self.trees.as_ref().map_or(0, |trees| trees.bytes());
        size_of::<KeptThreads>() + self.roster.bytes() + self.entries.bytes() + trees
    }

    pub(super) fn entries(&self) -> &Entries {
        &self.entries
    }
}

impl ThreadTable {
    /// The trees of these messages, if they are known.
    pub(super) fn known_trees(&self) -> Option<Arc<Trees>> {
        let before = self.before.as_ref()?;
        before.trees.clone().filter(|_| self.is_all_of(before))
    }

    /// Whether the messages are those that are kept.
    fn is_all_of(&self, before: &KeptThreads) -> bool {
        self.known == before.roster.count() && self.known == self.numbers.len()
    }

    /// What is to be kept after a search of a mailbox of so many messages, which made these trees.
    pub(in crate::command::search) fn kept_after(
        self,
        forest: &Forest,
        message_count: usize,
    ) -> Option<KeptThreads> {
        if !self.keeps {
            return None;
        }
        let is_all = self.before.as_ref().is_some_and(|before| self.is_all_of(before));
        let ThreadTable { before, uids, blobs, mut entries, known, .. } = self;
        let found = Roster::new(uids, blobs);
        let before_roster = before.as_ref().map(|before| &before.roster);
        let new = found.count() - known;
        let merge = Roster::merge(before_roster, found.count(), new, message_count);
        match (merge, &before) {
            // The first time that nothing was left out.
            (Merge::Nothing, Some(before)) if before.trees.is_none() && is_all => {
                let (roster, entries) = (before.roster.clone(), before.entries.clone());
                Some(KeptThreads { roster, entries, trees: Some(Arc::clone(&forest.trees)) })
            }
            (Merge::Nothing, _) => None,
            (Merge::Both, Some(before)) => {
                let (roster, picks) = before.roster.with(&found);
                let found = std::mem::take(&mut entries);
                entries = found.emptied();
                for pick in picks {
                    match pick {
                        Pick::Before(index) => entries.push_known(&before.entries, index),
                        Pick::Found(index) => entries.push_known(&found, index),
                    }
                }
                entries.shrink();
                Some(KeptThreads { roster, entries, trees: None })
            }
            (Merge::Found | Merge::Both, _) => {
                let roster = found.instead_of(before_roster, known);
                entries.shrink();
                Some(KeptThreads { roster, entries, trees: Some(Arc::clone(&forest.trees)) })
            }
        }
    }
}
