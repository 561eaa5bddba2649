//! Texts that many messages share, each kept once: subjects, names, Message-IDs.
//!
//! ```text
//! arena   "hello" "re-election" "ann"      the texts, end to end
//! ends       5        16          19       where each ends
//! slots   open addressing: half of its hash, and the number of a text + 1; or 0
//! ```
//!
//! A column of a sort is then four bytes per message, however long its texts are. Hashes are keyed
//! at random, because whoever sends mail chooses the texts. A text is looked at only where its hash
//! says that it is the same, and never to make the table larger.

use std::hash::{BuildHasher, Hasher, RandomState};

use engine::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// Texts by number.
#[derive(Default)]
pub(super) struct Texts {
    arena: Vec<u8>,
    ends: Vec<usize>,
    slots: Vec<u64>,
    hasher: RandomState,
}

impl Texts {
    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        u32_of(self.ends.len())
    }

    /// Bytes of memory that they take.
    pub(super) fn bytes(&self) -> usize {
        self.arena.capacity() + self.ends.capacity() * 8 + self.slots.capacity() * 8
    }

    /// A text by its number.
    pub(super) fn text(&self, number: u32) -> &[u8] {
        let number = usize_of_u32(number);
        let end = self.ends.get(number).copied().unwrap_or(0);
        let begin = number.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        self.arena.get(begin.unwrap_or(0)..end).unwrap_or_default()
    }

    /// The number of a text, which is added if it is new.
    pub(super) fn number_of(&mut self, text: &[u8]) -> u32 {
        if self.ends.len() * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        let hash = hasher.finish() >> 32;
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = usize_of(hash) & mask;
        loop {
            match self.slots.get(slot).copied().unwrap_or(0) {
                0 => break,
                kept if kept >> 32 == hash => {
                    let number = number_in(kept);
                    if self.text(number) == text {
                        return number;
                    }
                }
                _ => {}
            }
            slot = (slot + 1) & mask;
        }
        self.arena.extend_from_slice(text);
        self.ends.push(self.arena.len());
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = hash << 32 | u64_of(self.ends.len());
        }
        u32_of(self.ends.len()) - 1
    }

    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(64);
        let mask = count - 1;
        let kept = std::mem::replace(&mut self.slots, vec![0; count]);
        for kept in kept.into_iter().filter(|&kept| kept != 0) {
            let mut slot = usize_of(kept >> 32) & mask;
            while self.slots.get(slot).is_some_and(|&other| other != 0) {
                slot = (slot + 1) & mask;
            }
            if let Some(slot) = self.slots.get_mut(slot) {
                *slot = kept;
            }
        }
    }

    /// The place of each text among all in the order of their bytes.
    pub(super) fn ranks(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.count()).collect();
        order.sort_unstable_by(|&a, &b| self.text(a).cmp(self.text(b)));
        let mut ranks = vec![0; order.len()];
        for (rank, number) in (0..).zip(order) {
            if let Some(place) = ranks.get_mut(usize_of_u32(number)) {
                *place = rank;
            }
        }
        ranks
    }
}

/// The number of the text in a slot that is not empty.
fn number_in(kept: u64) -> u32 {
    u32::try_from(kept & u64::from(u32::MAX)).unwrap_or(0).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn every_text_is_kept_once_and_ranked(
            given in proptest::collection::vec("[a-c]{0,4}", 0..300),
        ) {
            let mut texts = Texts::default();
            let numbers: Vec<u32> =
                given.iter().map(|text| texts.number_of(text.as_bytes())).collect();
            let distinct: std::collections::BTreeSet<&String> = given.iter().collect();
            assert_eq!(texts.count() as usize, distinct.len());
            let ranks = texts.ranks();
            for (text, &number) in given.iter().zip(&numbers) {
                assert_eq!(texts.text(number), text.as_bytes());
                let rank = distinct.iter().position(|known| *known == text).unwrap();
                assert_eq!(ranks[number as usize] as usize, rank);
            }
        }
    }
}
