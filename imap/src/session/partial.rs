//! PARTIAL as a modifier of UID FETCH (RFC 9394 section 3.3): the first or the last so many of the
//! messages that a set names.

use engine::error::ReadError;
use engine::ids::Uid;
use engine::uid_set::UidSet;

use super::Selected;
use crate::codec::command::PartialRange;

impl Selected {
    /// Of the messages of the view that are in a set, those at these places. Reads no rows, only
    /// ranks: a range of UIDs stands for a run of ranks.
    pub(crate) fn partial(&self, uids: &UidSet, range: PartialRange) -> Result<UidSet, ReadError> {
        // First rank of each range, and one past the last.
        let mut runs = Vec::with_capacity(uids.ranges().len());
        for &(first, last) in uids.ranges() {
            let low = self.view.rank(Uid(first))?.unwrap_or_else(|rank| rank);
            let high = match self.view.rank(Uid(last))? {
                Ok(rank) => rank.saturating_add(1),
                Err(rank) => rank,
            };
            runs.push((low, high));
        }
        let length = |(low, high): (u32, u32)| high.saturating_sub(low);
        let count = runs.iter().map(|&run| u64::from(length(run))).sum();
        let (begin, end) = range.within(count);
        let mut chosen = UidSet::new();
        let mut before = 0_u64;
        for (low, high) in runs {
            let after = before.saturating_add(u64::from(length((low, high))));
            // The part of this run that lies between begin and end.
            let (from, to) = (begin.max(before), end.min(after));
            if from < to {
                let rank = |place: u64| {
                    low.saturating_add(u32::try_from(place - before).unwrap_or(u32::MAX))
                };
                let first = self.view.uid_at(rank(from))?;
                let last = self.view.uid_at(rank(to - 1))?;
                if let (Some(first), Some(last)) = (first, last) {
                    chosen.push_range(first.0, last.0);
                }
            }
            before = after;
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::command::CountedFrom;
    use crate::session::selected::tests::{message, selected};
    use engine::message::generator::Generator;

    #[test]
    fn a_part_of_a_set_is_that_of_its_messages() {
        let folder = tempfile::tempdir().unwrap();
        // With holes.
        let holes = UidSet::from_ranges([(3, 5), (9, 9), (29, 30)]);
        let selected = selected(folder.path(), (0..30).map(|_| message()).collect(), &holes);
        let mut dice = Generator::new(9);
        let mut below = |bound: u32| (dice.number() % u64::from(bound)) as u32;
        for _ in 0..2000 {
            let mut range = || (1 + below(33), 1 + below(33));
            let uids = UidSet::from_ranges([range(), range(), range()]);
            let (first, last) = range();
            let from = if below(2) == 0 { CountedFrom::First } else { CountedFrom::Last };
            let range = PartialRange { from, first, last };
            let existing: Vec<Uid> = selected.view.existing(&uids).unwrap().iter().collect();
            let (begin, end) = range.within(existing.len() as u64);
            let expected: UidSet = existing[begin as usize..end as usize].iter().copied().collect();
            let found = selected.partial(&uids, range).unwrap();
            let found = selected.view.existing(&found).unwrap();
            assert_eq!(found, expected, "{range} of {uids}");
        }
    }
}
