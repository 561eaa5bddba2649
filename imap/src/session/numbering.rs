//! Sequence numbers: what a client counts, against what a mailbox holds.
//!
//! A client must not be told of an expunge while FETCH, STORE or SEARCH by sequence number are
//! under way (RFC 3501 section 7.4.1), so a message that is gone keeps its number until it is told:
//! it is a *ghost*. The mailbox as the client counts it is the current view plus the ghosts.
//!
//! ```text
//! view     2     5     9 10        UIDs
//! ghosts      3     7
//! numbers  1  2  3  4  5  6
//! ```
//!
//! # Invariants
//! 1. Ghosts are ascending by UID, and so are their numbers.
//! 2. A number names one message, from the time that it is told until an expunge is told.

use engine::ids::Uid;

/// A message that is gone but not told so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ghost {
    pub(crate) uid: Uid,
    pub(crate) number: u32,
}

/// All ghosts of a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Ghosts {
    ghosts: Vec<Ghost>,
}

/// What a sequence number names.
#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// A message of the view, by its rank.
    Rank(u32),
    /// A ghost.
    Ghost,
}

impl Ghosts {
    /// Of UIDs, ascending; `rank` tells the rank in the view that each would have.
    pub(crate) fn new<E>(
        uids: impl IntoIterator<Item = Uid>,
        mut rank: impl FnMut(Uid) -> Result<u32, E>,
    ) -> Result<Ghosts, E> {
        let mut ghosts = Vec::new();
        let mut below = 0_u32;
        for uid in uids {
            ghosts.push(Ghost { uid, number: rank(uid)?.saturating_add(below).saturating_add(1) });
            below = below.saturating_add(1);
        }
        Ok(Ghosts { ghosts })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u32 {
        engine::width::u32_of(self.ghosts.len())
    }

    /// Ghosts with a lower UID.
    pub(crate) fn below(&self, uid: Uid) -> u32 {
        engine::width::u32_of(self.ghosts.partition_point(|ghost| ghost.uid < uid))
    }

    /// The highest one's UID.
    pub(crate) fn last_uid(&self) -> Option<Uid> {
        self.ghosts.last().map(|ghost| ghost.uid)
    }

    /// The sequence number of a message of the view that has this rank and UID.
    pub(crate) fn number_at(&self, rank: u32, uid: Uid) -> u32 {
        rank.saturating_add(self.below(uid)).saturating_add(1)
    }

    /// All, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Ghost> + '_ {
        self.ghosts.iter().copied()
    }

    /// What `number` (from 1) names.
    #[cfg(test)]
    pub(crate) fn named(&self, number: u32) -> Named {
        let below = self.ghosts.partition_point(|ghost| ghost.number < number);
        match self.ghosts.get(below) {
            Some(ghost) if ghost.number == number => Named::Ghost,
            _ => Named::Rank(number.saturating_sub(1).saturating_sub(engine::width::u32_of(below))),
        }
    }

    /// The ranks that the numbers `first..=last` name, as ranges with their ends, and whether
    /// ghosts lie among them.
    pub(crate) fn ranks(&self, first: u32, last: u32) -> (Option<(u32, u32)>, bool) {
        let from = self.ghosts.partition_point(|ghost| ghost.number < first);
        let to = self.ghosts.partition_point(|ghost| ghost.number <= last);
        let low = first.saturating_sub(1).saturating_sub(engine::width::u32_of(from));
        // One past the last rank.
        let high = last.saturating_sub(engine::width::u32_of(to));
        let ranks = (low < high).then(|| (low, high.saturating_sub(1)));
        (ranks, to > from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn ghosts_of(view: &BTreeSet<u32>, gone: &BTreeSet<u32>) -> Ghosts {
        let rank = |uid: Uid| Ok::<u32, ()>(view.range(..uid.0).count() as u32);
        Ghosts::new(gone.iter().copied().map(Uid), rank).unwrap()
    }

    #[test]
    fn the_drawing_holds() {
        let ghosts = ghosts_of(&BTreeSet::from([2, 5, 9, 10]), &BTreeSet::from([3, 7]));
        let named: Vec<_> = (1..=6).map(|number| ghosts.named(number)).collect();
        use Named::*;
        assert_eq!(named, [Rank(0), Ghost, Rank(1), Ghost, Rank(2), Rank(3)]);
        assert_eq!(ghosts.ranks(1, 6), (Some((0, 3)), true));
        assert_eq!(ghosts.ranks(2, 2), (None, true));
        assert_eq!(ghosts.ranks(5, 6), (Some((2, 3)), false));
    }

    proptest::proptest! {
        #[test]
        fn numbers_are_ranks_in_view_and_ghosts_together(
            view in proptest::collection::btree_set(1u32..60, 0..30),
            gone in proptest::collection::btree_set(1u32..60, 0..30),
        ) {
            let view: BTreeSet<u32> = view.difference(&gone).copied().collect();
            let ghosts = ghosts_of(&view, &gone);
            let all: Vec<u32> = view.union(&gone).copied().collect();
            let held: Vec<u32> = view.iter().copied().collect();
            for (index, uid) in all.iter().enumerate() {
                let number = index as u32 + 1;
                match ghosts.named(number) {
                    Named::Ghost => assert!(gone.contains(uid)),
                    Named::Rank(rank) => {
                        assert_eq!(held[rank as usize], *uid);
                        assert_eq!(rank + ghosts.below(Uid(*uid)) + 1, number);
                    }
                }
                for last in number..=all.len() as u32 {
                    let span = &all[index..last as usize];
                    let (ranks, some) = ghosts.ranks(number, last);
                    let alive: Vec<u32> =
                        span.iter().copied().filter(|uid| view.contains(uid)).collect();
                    let found = ranks.map_or(Vec::new(), |(a, b)| {
                        held[a as usize..=b as usize].to_vec()
                    });
                    assert_eq!(found, alive);
                    assert_eq!(some, alive.len() < span.len());
                }
            }
        }
    }
}
