//! The keywords of a mailbox: by index, as rows name them, and by name.
//!
//! A mailbox may have [`MAILBOX_KEYWORDS_MAX`] of them, and a command may name a thousand, so a
//! name is looked up by its hash. A copy is made with each new keyword while a view has the table:
//! it shares the names and copies the places, which are two bytes each.
//!
//! # Invariants
//! 1. A name has one index, however its letters are written, which it keeps.
//! 2. `places` is empty, or a power of two of at least twice as many places as there are names;
//!    each index stands at its name's place or behind it, before any free one.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use crate::flags::Keyword;
use crate::limits::MAILBOX_KEYWORDS_MAX;
use crate::width::usize_of;

/// A place that holds no index.
const FREE: u16 = u16::MAX;
const _: () = assert!(MAILBOX_KEYWORDS_MAX < 0xFFFF, "every index is told from a free place");

/// Names that are looked through one after another: most mailboxes have no more.
const LISTED_MAX: usize = 16;

/// Unknown to clients, so that none can choose names with one place.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The table.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeywordTable {
    names: Vec<Keyword>,
    name_bytes: usize,
    places: Vec<u16>,
}

impl KeywordTable {
    /// Of names in the order of their indexes.
    pub(crate) fn new(names: Vec<Keyword>) -> KeywordTable {
        let name_bytes = names.iter().map(|name| name.as_str().len()).sum();
        let mut table = KeywordTable { names, name_bytes, places: Vec::new() };
        table.place_all();
        table
    }

    /// All names; their places are their indexes.
    pub(crate) fn names(&self) -> &[Keyword] {
        &self.names
    }

    /// Bytes of all names together.
    pub(crate) fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// The index of a name.
    pub(crate) fn index_of(&self, keyword: &Keyword) -> Option<u16> {
        if self.places.is_empty() {
            return u16::try_from(self.names.iter().position(|name| name == keyword)?).ok();
        }
        self.probe(keyword).map(|(_, index)| index).find_map(|index| {
            let known = self.names.get(usize::from(index))?;
            (known == keyword).then_some(index)
        })
    }

    /// Adds a name that is not there; its index, or `None` if there are too many.
    pub(crate) fn push(&mut self, keyword: Keyword) -> Option<u16> {
        if self.names.len() >= MAILBOX_KEYWORDS_MAX {
            return None;
        }
        let index = u16::try_from(self.names.len()).ok()?;
        self.name_bytes += keyword.as_str().len();
        self.names.push(keyword);
        if self.names.len().saturating_mul(2) > self.places.len() {
            self.place_all();
        } else {
            self.place(index);
        }
        Some(index)
    }

    /// The places where a name may stand, with the indexes there, up to a free one.
    fn probe(&self, keyword: &Keyword) -> impl Iterator<Item = (usize, u16)> {
        let mask = self.places.len().wrapping_sub(1);
        let first = usize_of(hash(keyword)) & mask;
        let places = (0..self.places.len()).map(move |step| first.wrapping_add(step) & mask);
        let indexes = places.map(|place| (place, self.places.get(place).copied().unwrap_or(FREE)));
        indexes.take_while(|(_, index)| *index != FREE)
    }

    fn place_all(&mut self) {
        self.places.clear();
        if self.names.len() <= LISTED_MAX {
            return;
        }
        // Room to grow by half before all are placed anew.
        self.places.resize(self.names.len().saturating_mul(3).next_power_of_two(), FREE);
        for index in 0..self.names.len() {
            if let Ok(index) = u16::try_from(index) {
                self.place(index);
            }
        }
    }

    fn place(&mut self, index: u16) {
        let Some(keyword) = self.names.get(usize::from(index)) else { return };
        let mask = self.places.len().wrapping_sub(1);
        let begin = usize_of(hash(keyword)) & mask;
        let free = match self.probe(keyword).last() {
            Some((last, _)) => last.wrapping_add(1) & mask,
            None => begin,
        };
        if let Some(place) = self.places.get_mut(free) {
            *place = index;
        }
    }
}

fn hash(keyword: &Keyword) -> u64 {
    let mut hasher = SEED.build_hasher();
    for byte in keyword.as_str().bytes() {
        hasher.write_u8(byte.to_ascii_lowercase());
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyword(number: usize) -> Keyword {
        Keyword::new(&format!("Keyword{number}")).unwrap()
    }

    #[test]
    fn every_name_is_found_however_many_there_are_and_however_it_is_written() {
        let mut table = KeywordTable::default();
        for number in 0..MAILBOX_KEYWORDS_MAX {
            if number < 100 || number % 1000 == 0 {
                assert_eq!(table.index_of(&keyword(number)), None, "not yet");
            }
            assert_eq!(table.push(keyword(number)).map(usize::from), Some(number));
        }
        assert_eq!(table.push(keyword(MAILBOX_KEYWORDS_MAX)), None, "one too many");
        let again = KeywordTable::new(table.names().to_vec());
        for number in 0..MAILBOX_KEYWORDS_MAX {
            let written = Keyword::new(&format!("kEYWORD{number}")).unwrap();
            assert_eq!(table.index_of(&written).map(usize::from), Some(number));
            assert_eq!(again.index_of(&written).map(usize::from), Some(number));
        }
        assert_eq!(table.index_of(&Keyword::new("other").unwrap()), None);
    }

    #[test]
    fn a_name_that_was_stored_twice_keeps_its_first_index() {
        for count in [3, 40] {
            let mut names: Vec<Keyword> = (0..count).map(keyword).collect();
            names.push(keyword(1));
            assert_eq!(KeywordTable::new(names).index_of(&keyword(1)), Some(1));
        }
    }
}
