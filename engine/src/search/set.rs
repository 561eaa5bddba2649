//! A set of the messages of one split, one bit each.

use std::ops::Range;

use crate::width::{u32_of, usize_of_u32};

/// Messages by their numbers within a split.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MessageSet {
    words: Vec<u64>,
}

impl MessageSet {
    /// Without any of `count` messages.
    pub(crate) fn empty(count: u32) -> MessageSet {
        MessageSet { words: vec![0; usize_of_u32(count.div_ceil(64))] }
    }

    /// With each of `count` messages.
    pub(crate) fn full(count: u32) -> MessageSet {
        let mut words = vec![u64::MAX; usize_of_u32(count.div_ceil(64))];
        if let Some(last) = words.last_mut()
            && !count.is_multiple_of(64)
        {
            *last = (1 << (count % 64)) - 1;
        }
        MessageSet { words }
    }

    /// With the messages of a range, of `count`.
    pub(crate) fn range(range: Range<u32>, count: u32) -> MessageSet {
        let mut set = MessageSet::full(range.end.min(count));
        set.words.resize(usize_of_u32(count.div_ceil(64)), 0);
        let (word, bit) = (usize_of_u32(range.start / 64), range.start % 64);
        set.words.iter_mut().take(word).for_each(|word| *word = 0);
        if let Some(word) = set.words.get_mut(word) {
            *word &= u64::MAX << bit;
        }
        set
    }

    /// Adds one; what lies beyond the split's messages is left out.
    #[inline]
    pub(crate) fn insert(&mut self, message: u32) {
        if let Some(word) = self.words.get_mut(usize_of_u32(message / 64)) {
            *word |= 1 << (message % 64);
        }
    }

    pub(crate) fn contains(&self, message: u32) -> bool {
        let word = self.words.get(usize_of_u32(message / 64));
        word.is_some_and(|word| word >> (message % 64) & 1 == 1)
    }

    /// Whether any message of a range is in it.
    pub(crate) fn meets(&self, range: Range<u32>) -> bool {
        if range.is_empty() {
            return false;
        }
        let (first, last) = (range.start / 64, (range.end - 1) / 64);
        let words = self.words.get(usize_of_u32(first)..).unwrap_or_default();
        let count = usize_of_u32(last - first + 1).min(words.len());
        let words = words.get(..count).unwrap_or_default();
        words.iter().zip(first..).any(|(word, number)| {
            let mut word = *word;
            if number == first {
                word &= u64::MAX << (range.start % 64);
            }
            if number == last {
                word &= u64::MAX >> (63 - (range.end - 1) % 64);
            }
            word != 0
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Keeps what is in the other too.
    pub(crate) fn intersect(&mut self, other: &MessageSet) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Adds what is in the other.
    pub(crate) fn unite(&mut self, other: &MessageSet) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Takes out what is in the other.
    pub(crate) fn subtract(&mut self, other: &MessageSet) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// Sets of at most `count` of its messages each, in their order, or few more.
    pub(crate) fn parts(&self, count: u32) -> Vec<MessageSet> {
        let mut parts = Vec::new();
        let (mut part, mut held) = (vec![0; self.words.len()], 0);
        for (index, word) in self.words.iter().enumerate() {
            if held > 0 && held + word.count_ones() > count {
                parts.push(MessageSet {
                    words: std::mem::replace(&mut part, vec![0; self.words.len()]),
                });
                held = 0;
            }
            if let Some(place) = part.get_mut(index) {
                *place = *word;
            }
            held += word.count_ones();
        }
        if held > 0 {
            parts.push(MessageSet { words: part });
        }
        parts
    }

    /// Its messages, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let base = u32_of(index) * 64;
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < 64).then(|| base + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_of_messages_is_a_set(
            one in proptest::collection::btree_set(0u32..200, 0..40),
            other in proptest::collection::btree_set(0u32..200, 0..40),
            from in 0u32..220, length in 0u32..100,
        ) {
            let of = |messages: &BTreeSet<u32>| {
                let mut set = MessageSet::empty(200);
                messages.iter().for_each(|message| set.insert(*message));
                set
            };
            let (a, b) = (of(&one), of(&other));
            let listed = |set: &MessageSet| set.iter().collect::<BTreeSet<u32>>();
            prop_assert_eq!(listed(&a), one.clone());
            prop_assert_eq!(a.count() as usize, one.len());
            let range = from..from + length;
            prop_assert_eq!(a.meets(range.clone()), one.range(range).next().is_some());
            for change in [MessageSet::intersect, MessageSet::unite, MessageSet::subtract] {
                let mut changed = a.clone();
                change(&mut changed, &b);
                let mut expected = MessageSet::full(200);
                expected.subtract(&expected.clone());
                for message in 0..200 {
                    let (in_a, in_b) = (one.contains(&message), other.contains(&message));
                    let mut alone = MessageSet::empty(1);
                    let mut beside = MessageSet::empty(1);
                    if in_a { alone.insert(0); }
                    if in_b { beside.insert(0); }
                    change(&mut alone, &beside);
                    if alone.contains(0) { expected.insert(message); }
                }
                prop_assert_eq!(changed, expected);
            }
        }
    }
}
