//! A set of UIDs as ascending, disjoint, non-adjacent inclusive ranges: what IMAP calls `uid-set`.

use std::fmt;
use std::ops::RangeInclusive;

use crate::ids::Uid;

/// Ascending, disjoint, non-adjacent ranges of UIDs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct UidSet {
    ranges: Vec<(u32, u32)>,
}

impl UidSet {
    /// The empty set.
    pub fn new() -> UidSet {
        UidSet::default()
    }

    /// Of ranges in any order, overlapping or reversed as IMAP allows.
    pub fn from_ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> UidSet {
        let mut sorted: Vec<(u32, u32)> =
            ranges.into_iter().map(|(a, b)| if a <= b { (a, b) } else { (b, a) }).collect();
        sorted.sort_unstable();
        let mut set = UidSet::new();
        for (first, last) in sorted {
            set.push_range(first, last);
        }
        set
    }

    /// Adds a UID at or above the last one; the usual way to build a set from rows.
    pub fn push(&mut self, uid: Uid) {
        self.push_range(uid.0, uid.0);
    }

    /// Adds a range that begins at or above the beginning of the last one.
    pub fn push_range(&mut self, first: u32, last: u32) {
        if let Some(end) = self.ranges.last_mut() {
            debug_assert!(first >= end.0, "ranges are pushed in ascending order");
            if first <= end.1.saturating_add(1) {
                end.1 = end.1.max(last);
                return;
            }
        }
        self.ranges.push((first, last));
    }

    /// The UIDs of both.
    #[must_use]
    pub fn union(&self, other: &UidSet) -> UidSet {
        UidSet::from_ranges(self.ranges.iter().chain(&other.ranges).copied())
    }

    /// Whether the UID is in the set.
    pub fn contains(&self, uid: Uid) -> bool {
        let after = self.ranges.partition_point(|&(first, _)| first <= uid.0);
        after
            .checked_sub(1)
            .and_then(|i| self.ranges.get(i))
            .is_some_and(|&(_, last)| uid.0 <= last)
    }

    /// No UID at all.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Number of UIDs.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|&(first, last)| u64::from(last) - u64::from(first) + 1).sum()
    }

    /// What two sets have in common.
    pub fn intersection(&self, other: &UidSet) -> UidSet {
        let mut common = UidSet::new();
        let (mut left, mut right) = (self.ranges.iter().peekable(), other.ranges.iter().peekable());
        while let (Some(&&a), Some(&&b)) = (left.peek(), right.peek()) {
            let (first, last) = (a.0.max(b.0), a.1.min(b.1));
            if first <= last {
                common.push_range(first, last);
            }
            if a.1 <= b.1 {
                left.next();
            } else {
                right.next();
            }
        }
        common
    }

    /// What of this set is not in another one.
    pub fn without(&self, other: &UidSet) -> UidSet {
        let mut rest = UidSet::new();
        let mut others = other.ranges.iter().copied().peekable();
        for &(first, last) in &self.ranges {
            let mut next = Some(first);
            while let Some(from) = next.filter(|&from| from <= last) {
                while others.next_if(|&(_, end)| end < from).is_some() {}
                next = match others.peek() {
                    Some(&(begin, end)) if begin <= last => {
                        if begin > from {
                            rest.push_range(from, begin - 1);
                        }
                        end.checked_add(1)
                    }
                    _ => {
                        rest.push_range(from, last);
                        None
                    }
                };
            }
        }
        rest
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.ranges
    }

    /// Each UID, ascending.
    pub fn iter(&self) -> impl Iterator<Item = Uid> + '_ {
        self.ranges.iter().flat_map(|&(first, last)| RangeInclusive::new(first, last).map(Uid))
    }

    /// The lowest UID.
    pub fn first(&self) -> Option<Uid> {
        self.ranges.first().map(|&(first, _)| Uid(first))
    }

    /// The highest UID.
    pub fn last(&self) -> Option<Uid> {
        self.ranges.last().map(|&(_, last)| Uid(last))
    }
}

impl FromIterator<Uid> for UidSet {
    fn from_iter<T: IntoIterator<Item = Uid>>(uids: T) -> UidSet {
        UidSet::from_ranges(uids.into_iter().map(|uid| (uid.0, uid.0)))
    }
}

/// As IMAP writes it: `1:3,7`.
impl fmt::Display for UidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.ranges.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            if first == last {
                write!(f, "{comma}{first}")?;
            } else {
                write!(f, "{comma}{first}:{last}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_sort() {
        let set = UidSet::from_ranges([(7, 5), (1, 2), (3, 3), (6, 9)]);
        assert_eq!(set.to_string(), "1:3,5:9");
        assert_eq!(set.count(), 8);
        assert!(set.contains(Uid(3)) && !set.contains(Uid(4)) && !set.contains(Uid(10)));
        assert_eq!(set.iter().map(|u| u.0).collect::<Vec<_>>(), [1, 2, 3, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trouble() {
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        assert_eq!(all.intersection(&all), all);
        assert_eq!(all.without(&all), UidSet::new());
        assert_eq!(all.without(&UidSet::new()), all);
        let end = UidSet::from_ranges([(u32::MAX, u32::MAX)]);
        assert_eq!(all.without(&end).to_string(), "1:4294967294");
    }

    proptest::proptest! {
        #[test]
        fn sets_meet_and_part_as_sets_do(
            a in proptest::collection::btree_set(1u32..60, 0..40),
            b in proptest::collection::btree_set(1u32..60, 0..40),
        ) {
            let set = |members: &std::collections::BTreeSet<u32>| -> UidSet {
                members.iter().copied().map(Uid).collect()
            };
            let common = a.intersection(&b).copied().collect();
            proptest::prop_assert_eq!(set(&a).intersection(&set(&b)), set(&common));
            let rest = a.difference(&b).copied().collect();
            proptest::prop_assert_eq!(set(&a).without(&set(&b)), set(&rest));
        }
    }
}
