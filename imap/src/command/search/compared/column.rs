//! One criterion of SORT, of many messages: eight bytes for a date or a size, four for the number
//! of a text.
//!
//! ```text
//! rows      7   8   9   12           texts   "ann" "bob" "carl"     of_rows   1 0 0 2
//!           bob ann ann carl         ranks    0     1     2
//! ```
//! Texts are kept once each and ranked once, so that sorting compares numbers only. They are shared
//! with what is kept for the next time, and copied where a new one comes while they are. Ranks are
//! those of the first of the texts; what came behind them finds its place among these.

use std::cmp::Ordering;
use std::sync::Arc;

use engine::mailbox::Row;
use engine::width::{u32_of, usize_of_u32};

use super::super::texts::{Texts, shared_number_of};
use super::roster::{Merge, Pick, Roster};
use crate::codec::command::{SortKey, SortOrder};

/// One criterion of every message.
#[derive(Clone)]
pub(in crate::command::search) enum Column {
    Numbers(Vec<i64>),
    Texts { of_rows: Vec<u32>, texts: Arc<Texts>, ranks: Arc<[u32]> },
}

/// What is kept of one message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::command::search) enum Known {
    Number(i64),
    /// The number of a text.
    Text(u32),
}

/// What is kept of one criterion.
pub(in crate::command::search) struct KeptColumn {
    roster: Arc<Roster>,
    column: Column,
}

impl Column {
    /// With no row.
    pub(in crate::command::search) fn of_key(key: SortKey) -> Column {
        match key {
            SortKey::Arrival | SortKey::Date | SortKey::Size | SortKey::Relevancy => {
                Column::Numbers(Vec::new())
            }
            _ => {
                Column::Texts { of_rows: Vec::new(), texts: Arc::default(), ranks: Arc::default() }
            }
        }
    }

    /// With no row, but with room for so many and the texts of another.
    fn emptied(&self, count: usize) -> Column {
        match self {
            Column::Numbers(_) => Column::Numbers(Vec::with_capacity(count)),
            Column::Texts { texts, ranks, .. } => Column::Texts {
                of_rows: Vec::with_capacity(count),
                texts: Arc::clone(texts),
                ranks: Arc::clone(ranks),
            },
        }
    }

    /// Bytes of memory that it takes.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        match self {
            Column::Numbers(numbers) => numbers.capacity() * 8,
            Column::Texts { of_rows, texts, ranks } => {
                of_rows.capacity() * 4 + texts.bytes() + ranks.len() * 4
            }
        }
    }

    fn get(&self, row: usize) -> Option<Known> {
        match self {
            Column::Numbers(numbers) => numbers.get(row).copied().map(Known::Number),
            Column::Texts { of_rows, .. } => of_rows.get(row).copied().map(Known::Text),
        }
    }

    /// One more row, of which this is known.
    pub(in crate::command::search) fn push(&mut self, known: Known) {
        match (self, known) {
            (Column::Numbers(numbers), Known::Number(number)) => numbers.push(number),
            (Column::Texts { of_rows, .. }, Known::Text(number)) => of_rows.push(number),
            (_, _) => unreachable!("a column and what is kept of it are of one kind"),
        }
    }

    /// One more row with this text.
    pub(in crate::command::search) fn push_text(&mut self, text: &[u8]) {
        if let Column::Texts { of_rows, texts, .. } = self {
            of_rows.push(shared_number_of(texts, text));
        }
    }

    /// Whether rows have texts.
    pub(in crate::command::search) fn has_texts(&self) -> bool {
        matches!(self, Column::Texts { .. })
    }

    /// Which of two rows comes first.
    pub(in crate::command::search) fn compare(&self, a: u32, b: u32) -> Ordering {
        match self {
            Column::Numbers(numbers) => at(numbers, a).cmp(&at(numbers, b)),
            Column::Texts { of_rows, texts, .. } => {
                let (a, b) = (at(of_rows, a), at(of_rows, b));
                if a == b { Ordering::Equal } else { texts.text(a).cmp(texts.text(b)) }
            }
        }
    }

    /// Gives every text its rank.
    pub(in crate::command::search) fn rank(&mut self) {
        if let Column::Texts { texts, ranks, .. } = self
            && ranks.len() != usize_of_u32(texts.count())
        {
            *ranks = texts.ranks_after(ranks).into();
            if let Some(own) = Arc::get_mut(texts) {
                own.shrink();
            }
        }
    }

    /// Leaves all texts that are not those of its rows.
    pub(in crate::command::search) fn keep_own_texts(&mut self) {
        let Column::Texts { of_rows, texts, ranks } = self else { return };
        let mut own = Texts::default();
        for number in of_rows {
            *number = own.number_of(texts.text(*number));
        }
        *texts = Arc::new(own);
        *ranks = Arc::default();
    }

    /// Rows by their values, equals in the order in which they come; all texts have ranks.
    pub(in crate::command::search) fn sorted(&self, rows: &[u32], order: SortOrder) -> Vec<u32> {
        /// Of so many times as many texts as rows, most are of none of them.
        const TEXTS_PART: usize = 4;
        match (self, order) {
            (Column::Numbers(numbers), SortOrder::Ascending) => {
                by_keys(rows, |row| at(numbers, row))
            }
            // Turns the order round, of all numbers.
            (Column::Numbers(numbers), SortOrder::Descending) => {
                by_keys(rows, |row| !at(numbers, row))
            }
            (Column::Texts { of_rows, ranks, .. }, order) => {
                let last = u32_of(ranks.len()).saturating_sub(1);
                let rank = |row| match (at(ranks, at(of_rows, row)), order) {
                    (rank, SortOrder::Ascending) => rank,
                    (rank, SortOrder::Descending) => last.saturating_sub(rank),
                };
                match ranks.len() > TEXTS_PART * rows.len() {
                    true => by_keys(rows, rank),
                    false => by_ranks(rows, ranks.len(), rank),
                }
            }
        }
    }
}

/// Rows by keys, equals in the order in which they come.
fn by_keys<K: Ord + Copy>(rows: &[u32], key: impl Fn(u32) -> K) -> Vec<u32> {
    let mut keyed: Vec<(K, u32)> = rows.iter().map(|&row| (key(row), row)).collect();
    if rows.is_sorted() {
        // Then equals go by row, which is quicker to be told than where they stood.
        keyed.sort_unstable();
    } else {
        keyed.sort_by_key(|&(key, _)| key);
    }
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// The same by counting, for keys below a bound.
fn by_ranks(rows: &[u32], bound: usize, rank: impl Fn(u32) -> u32) -> Vec<u32> {
    let mut places = vec![0_u32; bound];
    for &row in rows {
        if let Some(count) = places.get_mut(usize_of_u32(rank(row))) {
            *count += 1;
        }
    }
    let mut next = 0;
    for place in &mut places {
        (*place, next) = (next, next + *place);
    }
    let mut sorted = vec![0; rows.len()];
    for &row in rows {
        let Some(place) = places.get_mut(usize_of_u32(rank(row))) else { continue };
        if let Some(slot) = sorted.get_mut(usize_of_u32(*place)) {
            *slot = row;
        }
        *place += 1;
    }
    sorted
}

/// The value of a row.
pub(in crate::command::search) fn at<T: Copy + Default>(column: &[T], row: u32) -> T {
    column.get(usize_of_u32(row)).copied().unwrap_or_default()
}

impl KeptColumn {
    /// Of these messages.
    pub(in crate::command::search) fn new(roster: Arc<Roster>, column: Column) -> KeptColumn {
        KeptColumn { roster, column }
    }

    /// Which messages it is of.
    pub(in crate::command::search) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Bytes of memory that it takes, as if it shared nothing.
    pub(in crate::command::search) fn bytes(&self) -> usize {
        size_of::<KeptColumn>() + self.roster.bytes() + self.column.bytes()
    }
}

/// What is known of one criterion before a search, and how much of that it found.
pub(in crate::command::search) struct Before {
    kept: Option<Arc<KeptColumn>>,
    at: usize,
    found: usize,
}

impl Before {
    pub(in crate::command::search) fn new(kept: Option<Arc<KeptColumn>>) -> Before {
        Before { kept, at: 0, found: 0 }
    }

    /// Whether something is known.
    pub(in crate::command::search) fn has_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// A column that goes on from what is known.
    pub(in crate::command::search) fn column(&self, key: SortKey) -> Column {
        self.kept.as_ref().map_or_else(|| Column::of_key(key), |kept| kept.column.emptied(0))
    }

    /// What is known of a message; they are asked for in the order of their UIDs.
    #[inline]
    pub(in crate::command::search) fn find(&mut self, row: &Row) -> Option<Known> {
        let kept = self.kept.as_ref()?;
        let index = kept.roster.find(&mut self.at, row.uid.0, row.blob)?;
        self.found += 1;
        kept.column.get(index)
    }

    /// What is to be kept after a search in a mailbox of so many messages: its rows have ranks.
    pub(in crate::command::search) fn kept_after(
        &self,
        found: &Arc<Roster>,
        column: &Column,
        message_count: usize,
    ) -> Option<KeptColumn> {
        let before = self.kept.as_ref().map(|kept| kept.roster());
        let new = found.count() - self.found;
        match (Roster::merge(before, found.count(), new, message_count), &self.kept) {
            (Merge::Nothing, _) => None,
            (Merge::Both, Some(kept)) => {
                let (roster, picks) = kept.roster.with(found);
                let mut both = column.emptied(picks.len());
                for pick in picks {
                    let known = match pick {
                        Pick::Before(index) => kept.column.get(index),
                        Pick::Found(index) => column.get(index),
                    };
                    both.push(known?);
                }
                Some(KeptColumn::new(Arc::new(roster), both))
            }
            (Merge::Found | Merge::Both, _) => {
                let roster = match before {
                    None => Arc::clone(found),
                    _ => Arc::new(Roster::clone(found).instead_of(before, self.found)),
                };
                Some(KeptColumn::new(roster, column.clone()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_are_sorted_by_value_and_equals_stay_in_order(
            texts in prop::collection::vec("[a-c]{0,2}", 1..60),
            others in prop::collection::vec("[d-f]{3}", 0..200),
            descends: bool,
            backwards: bool,
        ) {
            let direction =
                if descends { SortOrder::Descending } else { SortOrder::Ascending };
            let turned = |order: Ordering| if descends { order.reverse() } else { order };
            let mut rows: Vec<u32> = (0..u32_of(texts.len())).collect();
            if backwards {
                rows.reverse();
            }
            let mut expected = rows.clone();
            expected.sort_by(|&a, &b| turned(texts[a as usize].cmp(&texts[b as usize])));
            let mut column = Column::of_key(SortKey::Subject);
            let mut lengths = Column::of_key(SortKey::Size);
            for text in &texts {
                column.push_text(text.as_bytes());
                lengths.push(Known::Number(text.len() as i64 - 1));
            }
            // Those of messages that were not found.
            if let Column::Texts { texts, .. } = &mut column {
                for other in &others {
                    shared_number_of(texts, other.as_bytes());
                }
            }
            column.rank();
            prop_assert_eq!(column.sorted(&rows, direction), expected.clone());
            column.keep_own_texts();
            column.rank();
            prop_assert_eq!(column.sorted(&rows, direction), expected);
            let mut expected = rows.clone();
            let length = |row: u32| texts[row as usize].len();
            expected.sort_by(|&a, &b| turned(length(a).cmp(&length(b))));
            prop_assert_eq!(lengths.sorted(&rows, direction), expected);
        }
    }
}
