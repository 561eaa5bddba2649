//! Which messages of a mailbox something is known of, in the order of their UIDs.
//!
//! # Invariants
//! 1. UIDs ascend strictly.
//! 2. A message is found by its UID and its blob together, and by no other.

use engine::ids::BlobId;

/// Of fewer messages nothing is kept: that takes as much time as their summaries.
const KEPT_MESSAGES_MIN: usize = 4;
/// What is kept is of at most so many times as many messages as there are, and these.
const GONE_PART: usize = 2;
const GONE_BESIDE: usize = 1024;
/// So much of what is kept has to be found by a search for what was new to be kept with it: so that
/// copying it costs no more than searching did.
const FOUND_PART: usize = 4;

/// Messages in the order of their UIDs.
#[derive(Clone, Default)]
pub(in crate::command::search) struct Roster {
    uids: Vec<u32>,
    blobs: Vec<BlobId>,
    /// Messages that were left out since texts have been gathered, among which theirs still are.
    dropped: usize,
}

/// What is kept after a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::command::search) enum Merge {
    /// What was kept before.
    Nothing,
    /// What was found.
    Found,
    /// Both.
    Both,
}

/// Where a message of both comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::command::search) enum Pick {
    Before(usize),
    Found(usize),
}

impl Roster {
    /// Of these messages.
    pub(in crate::command::search) fn new(uids: Vec<u32>, blobs: Vec<BlobId>) -> Roster {
        Roster { uids, blobs, dropped: 0 }
    }

    /// One more message, behind all.
    pub(in crate::command::search) fn push(&mut self, uid: u32, blob: BlobId) {
        self.uids.push(uid);
        self.blobs.push(blob);
    }

    /// How many there are.
    pub(in crate::command::search) fn count(&self) -> usize {
        self.uids.len()
    }

    /// Bytes of memory that it takes.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        self.uids.capacity() * 4 + self.blobs.capacity() * size_of::<BlobId>()
    }

    /// Looks for a message behind the one that was found before, as `at` says.
    #[inline]
    pub(in crate::command::search) fn find(
        &self,
        at: &mut usize,
        uid: u32,
        blob: BlobId,
    ) -> Option<usize> {
        let rest = self.uids.get(*at..)?;
        if rest.first().is_some_and(|&first| first < uid) {
            *at += rest.partition_point(|&before| before < uid);
        }
        if self.uids.get(*at) != Some(&uid) {
            return None;
        }
        let found = *at;
        *at += 1;
        (self.blobs.get(found) == Some(&blob)).then_some(found)
    }

    /// Whether it is of use in a mailbox of so many messages.
    pub(super) fn is_of_use(&self, message_count: usize) -> bool {
        let few_gone = self.dropped <= self.count() + GONE_BESIDE;
        few_gone && self.count() <= GONE_PART * message_count + GONE_BESIDE
    }

    /// What is to be kept when `found` was found, of a mailbox of so many messages, and so many of
    /// that were new.
    pub(in crate::command::search) fn merge(
        before: Option<&Roster>,
        found: usize,
        new: usize,
        message_count: usize,
    ) -> Merge {
        let before = before.map_or(0, Roster::count);
        if found == message_count && (new > 0 || found != before) {
            return if found < KEPT_MESSAGES_MIN { Merge::Nothing } else { Merge::Found };
        }
        if new == 0 || found < KEPT_MESSAGES_MIN || found < before / FOUND_PART {
            return Merge::Nothing;
        }
        if before == 0 { Merge::Found } else { Merge::Both }
    }

    /// These messages instead of those before, of which so many are among them.
    #[must_use]
    pub(in crate::command::search) fn instead_of(
        mut self,
        before: Option<&Roster>,
        common: usize,
    ) -> Roster {
        let known = before.map_or(0, |before| before.dropped + before.count());
        self.dropped = known.saturating_sub(common);
        self
    }

    /// The messages of both, and where they come from.
    pub(in crate::command::search) fn with(&self, found: &Roster) -> (Roster, Vec<Pick>) {
        let mut both = Roster { dropped: self.dropped, ..Roster::default() };
        let mut picks = Vec::with_capacity(self.count() + found.count());
        let mut before = (0..).zip(self.uids.iter().zip(&self.blobs)).peekable();
        for (index, (&uid, &blob)) in (0..).zip(found.uids.iter().zip(&found.blobs)) {
            while let Some((index, (&uid, &blob))) = before.next_if(|(_, (of, _))| **of < uid) {
                both.push(uid, blob);
                picks.push(Pick::Before(index));
            }
            before.next_if(|(_, (of, _))| **of == uid);
            both.push(uid, blob);
            picks.push(Pick::Found(index));
        }
        for (index, (&uid, &blob)) in before {
            both.push(uid, blob);
            picks.push(Pick::Before(index));
        }
        (both, picks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use engine::ids::Lsn;
    use proptest::prelude::*;

    use super::*;

    fn roster(messages: &BTreeMap<u32, u64>) -> Roster {
        let blob = |number: &u64| BlobId(Lsn::new(1, *number).unwrap());
        Roster::new(messages.keys().copied().collect(), messages.values().map(blob).collect())
    }

    proptest! {
        #[test]
        fn a_roster_of_both_has_the_messages_of_both(
            before in prop::collection::btree_map(1u32..40, 1u64..4, 0..20),
            found in prop::collection::btree_map(1u32..40, 1u64..4, 0..20),
        ) {
            let (one, other) = (roster(&before), roster(&found));
            let (both, picks) = one.with(&other);
            let mut expected = before.clone();
            expected.extend(&found);
            let expected = roster(&expected);
            prop_assert_eq!(&both.uids, &expected.uids);
            prop_assert_eq!(&both.blobs, &expected.blobs);
            for (place, pick) in picks.iter().enumerate() {
                let (of, index) = match *pick {
                    Pick::Before(index) => (&one, index),
                    Pick::Found(index) => (&other, index),
                };
                prop_assert_eq!(of.uids[index], both.uids[place]);
                prop_assert_eq!(of.blobs[index], both.blobs[place]);
            }
        }
    }

    #[test]
    fn a_message_is_found_by_its_uid_and_its_blob_together() {
        let roster = roster(&[(3, 1), (4, 2), (9, 3), (20, 4)].into());
        let blob = |number| BlobId(Lsn::new(1, number).unwrap());
        let mut at = 0;
        for (uid, number, expected, reason) in [
            (1, 1, None, "before all"),
            (3, 1, Some(0), "the first"),
            (4, 3, None, "the UID with another's blob"),
            (8, 3, None, "in a gap"),
            (9, 3, Some(2), "behind the gap"),
            (20, 4, Some(3), "the last"),
            (21, 4, None, "behind all"),
            (22, 5, None, "behind all again"),
        ] {
            assert_eq!(roster.find(&mut at, uid, blob(number)), expected, "{reason}");
        }
    }

    #[test]
    fn what_is_kept_follows_what_was_found() {
        let before = Roster::new((0..1000).collect(), Vec::new());
        for (before, found, new, count, expected, reason) in [
            (None, 1000, 1000, 1000, Merge::Found, "all is new"),
            (None, 500, 500, 1000, Merge::Found, "a part is better than nothing"),
            (None, 3, 3, 3, Merge::Nothing, "too few to be worth it"),
            (Some(&before), 3, 0, 3, Merge::Nothing, "too few are left to be worth it"),
            (Some(&before), 1000, 0, 1000, Merge::Nothing, "nothing new"),
            (Some(&before), 1001, 1, 1001, Merge::Found, "one came"),
            (Some(&before), 999, 0, 999, Merge::Found, "one went"),
            (Some(&before), 800, 1, 1001, Merge::Both, "one came, and not all were asked for"),
            (Some(&before), 800, 0, 1000, Merge::Nothing, "a part of what is known"),
            (Some(&before), 249, 1, 9000, Merge::Nothing, "copying would cost more than it"),
        ] {
            assert_eq!(Roster::merge(before, found, new, count), expected, "{reason}");
        }
    }

    #[test]
    fn what_is_mostly_of_messages_that_are_gone_is_not_used() {
        let all = Roster::new((0..10_000).collect(), Vec::new());
        assert!(all.is_of_use(10_000) && all.is_of_use(4500) && !all.is_of_use(4000));
        let of = |count: u32| Roster::new((0..count).collect(), Vec::new());
        let fewer = of(6000).instead_of(Some(&all), 6000);
        assert!(fewer.is_of_use(6000));
        let fewer = of(4000).instead_of(Some(&fewer), 4000);
        assert!(!fewer.is_of_use(4000), "6,000 are gone of which texts are kept");
        let others = of(10_000).instead_of(Some(&all), 8);
        assert!(others.is_of_use(10_000));
        let others = of(8000).instead_of(Some(&others), 0);
        assert!(!others.is_of_use(8000), "as many came as went, twice");
    }
}
