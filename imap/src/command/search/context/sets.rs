//! Union, intersection and difference of sets of UIDs, range by range.

use engine::uid_set::UidSet;

/// In either.
pub(super) fn union(a: &UidSet, b: &UidSet) -> UidSet {
    if a.is_empty() {
        return b.clone();
    }
    UidSet::from_ranges(a.ranges().iter().chain(b.ranges()).copied())
}

/// In both.
pub(super) fn intersection(a: &UidSet, b: &UidSet) -> UidSet {
    let mut found = UidSet::new();
    let (mut left, mut right) = (a.ranges().iter().peekable(), b.ranges().iter().peekable());
    while let (Some(&&(first, last)), Some(&&(other_first, other_last))) =
        (left.peek(), right.peek())
    {
        let (begin, end) = (first.max(other_first), last.min(other_last));
        if begin <= end {
            found.push_range(begin, end);
        }
        if last <= other_last {
            left.next();
        } else {
            right.next();
        }
    }
    found
}

/// In the first and not in the second.
pub(super) fn without(a: &UidSet, b: &UidSet) -> UidSet {
    let mut found = UidSet::new();
    let mut others = b.ranges().iter().copied().peekable();
    for &(first, last) in a.ranges() {
        let mut from = Some(first);
        while let Some(&(other_first, other_last)) = others.peek()
            && let Some(begin) = from
            && other_first <= last
        {
            if begin < other_first {
                found.push_range(begin, other_first - 1);
            }
            from = other_last.checked_add(1).map(|next| next.max(begin));
            if other_last > last {
                break;
            }
            others.next();
        }
        if let Some(begin) = from.filter(|&begin| begin <= last) {
            found.push_range(begin, last);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::Uid;
    use std::collections::BTreeSet;

    proptest::proptest! {
        #[test]
        fn sets_are_what_their_elements_say(
            a in proptest::collection::btree_set(1u32..40, 0..30),
            b in proptest::collection::btree_set(1u32..40, 0..30),
        ) {
            let set = |numbers: &BTreeSet<u32>| -> UidSet {
                numbers.iter().copied().map(Uid).collect()
            };
            let (one, other) = (set(&a), set(&b));
            assert_eq!(union(&one, &other), set(&(&a | &b)));
            assert_eq!(intersection(&one, &other), set(&(&a & &b)));
            assert_eq!(without(&one, &other), set(&(&a - &b)));
        }
    }
}
