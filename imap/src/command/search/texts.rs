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
use std::sync::Arc;

use engine::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// Texts by number.
#[derive(Clone, Default)]
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

    /// Gives back room for texts that may come.
    pub(super) fn shrink(&mut self) {
        self.arena.shrink_to_fit();
        self.ends.shrink_to_fit();
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
        let hash = self.hash(text);
        let slot = match self.look(text, hash) {
            Ok(number) => return number,
            Err(slot) => slot,
        };
        self.arena.extend_from_slice(text);
        self.ends.push(self.arena.len());
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = hash << 32 | u64_of(self.ends.len());
        }
        u32_of(self.ends.len()) - 1
    }

    /// The number of a text, if it is there.
    pub(super) fn find(&self, text: &[u8]) -> Option<u32> {
        self.look(text, self.hash(text)).ok()
    }

    fn hash(&self, text: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        hasher.finish() >> 32
    }

    /// The number of a text of that hash, else the empty slot where it would be.
    fn look(&self, text: &[u8], hash: u64) -> Result<u32, usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut slot = usize_of(hash) & mask;
        loop {
            match self.slots.get(slot).copied().unwrap_or(0) {
                0 => return Err(slot),
                kept if kept >> 32 == hash => {
                    let number = number_in(kept);
                    if self.text(number) == text {
                        return Ok(number);
                    }
                }
                _ => {}
            }
            slot = (slot + 1) & mask;
        }
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

    /// The same, where the ranks that the first of them had among each other are known.
    pub(super) fn ranks_after(&self, known: &[u32]) -> Vec<u32> {
        /// With more that are new, to sort all is as quick.
        const NEW_PART: usize = 8;
        let (count, known_count) = (self.ends.len(), known.len());
        if count - known_count > known_count / NEW_PART {
            return self.ranks();
        }
        let mut order = vec![0; known_count];
        for (number, &rank) in (0..).zip(known) {
            if let Some(place) = order.get_mut(usize_of_u32(rank)) {
                *place = number;
            }
        }
        let mut new: Vec<u32> = (u32_of(known_count)..self.count()).collect();
        new.sort_unstable_by(|&a, &b| self.text(a).cmp(self.text(b)));
        let mut ranks = vec![0; count];
        let mut next = 0;
        let mut put = |number: u32| {
            if let Some(place) = ranks.get_mut(usize_of_u32(number)) {
                *place = next;
            }
            next += 1;
        };
        let mut rest = order.as_slice();
        for number in new {
            let text = self.text(number);
            let (before, behind) =
                rest.split_at(rest.partition_point(|&other| self.text(other) < text));
            before.iter().copied().for_each(&mut put);
            put(number);
            rest = behind;
        }
        rest.iter().copied().for_each(&mut put);
        ranks
    }
}

/// The number of a text in texts that may be shared: they are copied where it is new.
pub(super) fn shared_number_of(texts: &mut Arc<Texts>, text: &[u8]) -> u32 {
    match Arc::get_mut(texts) {
        Some(own) => own.number_of(text),
        None => match texts.find(text) {
            Some(number) => number,
            None => Arc::make_mut(texts).number_of(text),
        },
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

        #[test]
        fn ranks_go_on_from_those_that_are_known(
            first in proptest::collection::vec("[a-c]{0,6}", 0..300),
            then in proptest::collection::vec("[a-c]{0,6}", 0..30),
        ) {
            let mut texts = Arc::new(Texts::default());
            for text in &first {
                shared_number_of(&mut texts, text.as_bytes());
            }
            let (before, known) = (Arc::clone(&texts), texts.ranks());
            for text in &then {
                let number = shared_number_of(&mut texts, text.as_bytes());
                assert_eq!(texts.find(text.as_bytes()), Some(number));
            }
            assert_eq!(texts.ranks_after(&known), texts.ranks());
            assert_eq!(before.ranks(), known, "what is shared stays as it was");
        }
    }
}
