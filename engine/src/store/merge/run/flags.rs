//! Flags: for each flag of a message the later stamp wins.

use super::{Mailbox, MergeError, Run, TRIES};
use crate::commit::Change;
use crate::error::CommitError;
use crate::flags::{FlagChange, FlagList, SystemFlags};
use crate::ids::{Lsn, Stamp};
use crate::record::FlagsChanged;
use crate::store::FlagsStored;
use crate::store::merge::since::Flag;
use crate::uid_set::UidSet;

/// Flags that are set, or taken away, at the same messages.
struct Same {
    uids: UidSet,
    change: FlagChange,
    flags: FlagList,
}

impl Run<'_> {
    /// Does what a record of flags did, where the others did not do something later.
    pub(super) fn flags(
        &mut self,
        key: Mailbox,
        changed: &FlagsChanged,
        stamp: Stamp,
    ) -> Result<(), MergeError> {
        self.read_on()?;
        for _ in 0..TRIES {
            let places = self.places_now(key, &changed.uids);
            for (key, uids) in &places {
                self.flags_at(*key, uids, changed, stamp)?;
            }
            // Somebody may have moved one of them meanwhile.
            self.read_on()?;
            if self.places_now(key, &changed.uids) == places {
                break;
            }
        }
        Ok(())
    }

    fn flags_at(
        &mut self,
        key: Mailbox,
        uids: &UidSet,
        changed: &FlagsChanged,
        stamp: Stamp,
    ) -> Result<(), MergeError> {
        let Some(view) = self.view(key)? else { return Ok(()) };
        let mut left = view.existing(uids).map_err(MergeError::Read)?;
        for _ in 0..TRIES {
            if left.is_empty() {
                return Ok(());
            }
            let mut modified = UidSet::new();
            for Same { uids, change, flags } in self.same(key, &left, changed, stamp) {
                // What is newer than what was judged is judged anew.
                let judged = Some(self.since.position());
                if let Ok(stored) = self.store_flags(key, uids, (change, flags), judged)? {
                    self.tally.flags_set += stored.changed.count();
                    modified = modified.union(&stored.modified);
                    // Those that were changed just now are newer than what was judged, too.
                    self.read_on()?;
                }
            }
            left = modified;
            self.read_on()?;
        }
        Ok(())
    }

    /// Asks for flags, only where no message has changed since.
    pub(super) fn store_flags(
        &self,
        (account, mailbox): Mailbox,
        uids: UidSet,
        (change, flags): (FlagChange, FlagList),
        unchanged_since: Option<Lsn>,
    ) -> Result<Result<FlagsStored, CommitError>, MergeError> {
        self.asked(self.another_id(), None, |promise| Change::Flags {
            account,
            mailbox,
            uids,
            change,
            flags,
            unchanged_since,
            promise,
        })
    }

    /// The flags of a record, by the messages at which each of them still counts.
    fn same(
        &mut self,
        key: Mailbox,
        uids: &UidSet,
        changed: &FlagsChanged,
        stamp: Stamp,
    ) -> Vec<Same> {
        let mut all: Vec<(Flag, FlagChange)> = Vec::new();
        for (bits, change) in
            [(changed.add.0, FlagChange::Add), (changed.remove.0, FlagChange::Remove)]
        {
            let set = (0..8).map(|bit| 1 << bit).filter(|bit| bits & bit != 0);
            all.extend(set.map(|bit| (Flag::System(bit), change)));
        }
        for (keywords, change) in [
            (&changed.add_keywords, FlagChange::Add),
            (&changed.remove_keywords, FlagChange::Remove),
        ] {
            all.extend(keywords.iter().map(|keyword| (Flag::Keyword(keyword.clone()), change)));
        }
        let mut same: Vec<Same> = Vec::new();
        for (flag, change) in all {
            let later = self.since.flagged_later(key, &flag, stamp);
            self.tally.flags_dropped += uids.intersection(&later).count();
            let uids = uids.without(&later);
            if uids.is_empty() {
                continue;
            }
            let place = same.iter().position(|same| same.change == change && same.uids == uids);
            let place = place.unwrap_or_else(|| {
                same.push(Same { uids, change, flags: FlagList::default() });
                same.len() - 1
            });
            if let Some(Same { flags, .. }) = same.get_mut(place) {
                match flag {
                    Flag::System(bit) => flags.system = flags.system.union(SystemFlags(bit)),
                    Flag::Keyword(keyword) => flags.keywords.push(keyword),
                }
            }
        }
        same
    }
}
