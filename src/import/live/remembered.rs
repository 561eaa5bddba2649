//! What an import remembers of a mailbox, and of the account itself: metadata in the store.
//!
//! An entry that is private to the account (`/private/vendor/pillarbox/import`), so that it is
//! sealed, exported and deleted with the mailbox; JSON, so that a person can read it.

use std::collections::BTreeSet;

use engine::uid_set::UidSet;
use serde::{Deserialize, Serialize};

use crate::admin::{ranges_of, set_of};

/// Bytes of a list of UIDs that is kept; above, none is told apart.
const UIDS_BYTES_MAX: usize = 4096;

/// Of a mailbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Whose mail it is at the source.
    pub(super) user: String,
    /// The name there, as it is called here.
    pub(super) name: String,
    /// What stays there when the name changes.
    #[serde(default)]
    pub(super) identity: Option<String>,
    /// UIDVALIDITY on both sides.
    pub(super) uid_validity: u32,
    /// Every UID below was brought, or left out.
    pub(super) next: u64,
    /// HIGHESTMODSEQ of the source, as of which flags and expunges were brought.
    #[serde(default)]
    pub(super) source_modseq: Option<u64>,
    /// HIGHESTMODSEQ here: what is above it was not changed by the import.
    pub(super) modseq: u64,
    /// UIDs that were changed here before.
    #[serde(default)]
    pub(super) changed_here: String,
    /// UIDs that could not be brought.
    #[serde(default)]
    pub(super) left_out: String,
}

impl Remembered {
    /// From what is kept; `None` if that is nothing of ours.
    pub(super) fn read(text: &str) -> Option<Remembered> {
        serde_json::from_str(text).ok()
    }

    /// As it is kept.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Messages that were changed here; `None`: any may have been.
    pub(super) fn changed_here(&self) -> Option<UidSet> {
        set_of(&self.changed_here)
    }

    /// Whether any was.
    pub(super) fn has_changes_here(&self) -> bool {
        !self.changed_here.is_empty()
    }

    /// Keeps those; if there are too many to name, each is taken to be among them.
    pub(super) fn keep_changed_here(&mut self, uids: &UidSet) {
        let text = ranges_of(uids);
        self.changed_here = if text.len() > UIDS_BYTES_MAX { "any".to_owned() } else { text };
    }

    /// UIDs that could not be brought.
    pub(super) fn left_out(&self) -> UidSet {
        set_of(&self.left_out).unwrap_or_default()
    }

    /// Adds one.
    pub(super) fn leave_out(&mut self, uid: u32) {
        let all = self.left_out();
        let ranges = all.ranges().iter().copied().chain([(uid, uid)]);
        let text = ranges_of(&UidSet::from_ranges(ranges));
        if text.len() <= UIDS_BYTES_MAX {
            self.left_out = text;
        }
    }
}

/// Of the account itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RememberedAccount {
    /// Subscriptions at the source, by the names that they have here.
    pub(super) subscribed: BTreeSet<String>,
}

impl RememberedAccount {
    /// From what is kept.
    pub(super) fn read(text: &str) -> Option<RememberedAccount> {
        serde_json::from_str(text).ok()
    }

    /// As it is kept.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_reads_back() {
        let mut remembered =
            Remembered { user: "u".into(), uid_validity: 7, next: 9, ..Remembered::default() };
        remembered.leave_out(5);
        remembered.leave_out(3);
        remembered.keep_changed_here(&UidSet::from_ranges([(1, 2)]));
        let back = Remembered::read(&remembered.text()).unwrap();
        assert_eq!(back, remembered);
        assert_eq!(back.left_out(), UidSet::from_ranges([(3, 3), (5, 5)]));
        assert_eq!(back.changed_here(), Some(UidSet::from_ranges([(1, 2)])));
        assert!(Remembered::read("{}").is_none() && Remembered::read("").is_none());
    }

    #[test]
    fn more_changes_than_can_be_named_may_be_any() {
        let mut remembered = Remembered::default();
        remembered.keep_changed_here(&UidSet::from_ranges((1..3000).map(|uid| (2 * uid, 2 * uid))));
        assert_eq!(remembered.changed_here(), None);
    }
}
