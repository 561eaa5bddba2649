//! Some rows of one page, read where they lie: what commands over many messages walk through.
//!
//! [`Rows`] shares the page of a view and says which of its rows are meant; [`RowRef`] is one of
//! them and reads a column when it is asked for one, so that telling the flags of a million
//! messages copies none of their rows. [`Walk`] goes through a set of UIDs page by page.
//!
//! # Invariants
//! 1. A mask has no bit at or above its page's number of rows.
//! 2. Rows come in order of UIDs, each with its rank in the view that they are of.

use std::sync::Arc;

use crate::error::ReadError;
use crate::flags::{Keyword, SystemFlags};
use crate::ids::{BlobId, Lsn, ThreadId, Uid, UnixSeconds};
use crate::limits::PAGE_ROWS_MAX;
use crate::mailbox::content::{Slot, ranges_within};
use crate::mailbox::page::Page;
use crate::mailbox::{KeywordSet, Row, View};
use crate::uid_set::UidSet;
use crate::width::{u32_of, u64_of, usize_of_u32};

const WORD_BITS: usize = 64;
const _: () = assert!(PAGE_ROWS_MAX.is_multiple_of(WORD_BITS));

/// Which rows of a page, by index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Mask {
    words: [u64; PAGE_ROWS_MAX / WORD_BITS],
}

impl Mask {
    /// The rows whose value in a column passes.
    pub(super) fn of<T: Copy>(column: &[T], passes: impl Fn(T) -> bool) -> Mask {
        let mut mask = Mask::default();
        for (word, values) in mask.words.iter_mut().zip(column.chunks(WORD_BITS)) {
            for (place, &value) in values.iter().enumerate() {
                *word |= u64::from(passes(value)) << place;
            }
        }
        mask
    }

    /// The rows of a page that are in a set.
    pub(super) fn of_uids(page: &Page, uids: &UidSet) -> Mask {
        let mut mask = Mask::default();
        let (Some(&first), Some(&last)) = (page.uids().first(), page.uids().last()) else {
            return mask;
        };
        for (begin, end) in ranges_within(uids, Uid(first), Uid(last)) {
            let from = page.uids().partition_point(|&uid| uid < begin);
            let to = page.uids().partition_point(|&uid| uid <= end);
            mask.set(from, to);
        }
        mask
    }

    /// The first `count` rows.
    pub(super) fn first(count: usize) -> Mask {
        let mut mask = Mask::default();
        mask.set(0, count);
        mask
    }

    /// Adds the rows from one index to below another.
    pub(super) fn set(&mut self, from: usize, to: usize) {
        for (index, word) in self.words.iter_mut().enumerate() {
            let begin = index * WORD_BITS;
            let low = from.saturating_sub(begin).min(WORD_BITS);
            let high = to.saturating_sub(begin).min(WORD_BITS);
            *word |= below(high) & !below(low);
        }
    }

    /// Whether a row is in it.
    pub(super) fn has(&self, index: usize) -> bool {
        let word = self.words.get(index / WORD_BITS).copied().unwrap_or(0);
        word >> (index % WORD_BITS) & 1 == 1
    }

    /// In both.
    pub(super) fn and(mut self, other: Mask) -> Mask {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word &= other);
        self
    }

    /// In either.
    pub(super) fn or(mut self, other: Mask) -> Mask {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word |= other);
        self
    }

    /// In this one and not in the other.
    pub(super) fn without(mut self, other: Mask) -> Mask {
        self.words.iter_mut().zip(other.words).for_each(|(word, other)| *word &= !other);
        self
    }

    /// No row.
    pub(super) fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// The lowest index at or above `from`.
    fn next(&self, from: usize) -> Option<usize> {
        let first = from / WORD_BITS;
        let words = self.words.iter().enumerate().skip(first);
        words.into_iter().find_map(|(index, &word)| {
            let begin = index * WORD_BITS;
            let left = word & !below(from.saturating_sub(begin).min(WORD_BITS));
            (left != 0).then(|| begin + usize_of_u32(left.trailing_zeros()))
        })
    }

    /// Takes out the lowest index.
    fn pop(&mut self) -> Option<usize> {
        let mut words = self.words.iter_mut().enumerate();
        let (index, word) = words.find(|(_, word)| **word != 0)?;
        let place = usize_of_u32(word.trailing_zeros());
        *word &= word.wrapping_sub(1);
        Some(index * WORD_BITS + place)
    }

    /// The indexes, ascending.
    pub(super) fn indexes(self) -> impl Iterator<Item = usize> {
        let words = self.words.into_iter().enumerate();
        words.flat_map(|(index, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let place = usize_of_u32(left.trailing_zeros());
                left &= left.wrapping_sub(1);
                (place < WORD_BITS).then(|| index * WORD_BITS + place)
            })
        })
    }

    /// Runs of neighbours: first index, and one past the last.
    fn runs(self) -> impl Iterator<Item = (usize, usize)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let begin = self.next(from)?;
            let word = self.words.get(begin / WORD_BITS).copied().unwrap_or(0);
            let ones = usize_of_u32((!(word >> (begin % WORD_BITS))).trailing_zeros());
            let mut end = begin + ones.min(WORD_BITS - begin % WORD_BITS);
            while end.is_multiple_of(WORD_BITS)
                && let Some(&word) = self.words.get(end / WORD_BITS)
                && word & 1 == 1
            {
                end += usize_of_u32((!word).trailing_zeros());
            }
            from = end;
            Some((begin, end))
        })
    }

    /// Leaves out what lies below an index.
    fn cut_below(&mut self, index: usize) {
        for (place, word) in self.words.iter_mut().enumerate() {
            *word &= !below(index.saturating_sub(place * WORD_BITS).min(WORD_BITS));
        }
    }
}

/// The lowest `count` bits.
fn below(count: usize) -> u64 {
    u32::try_from(count)
        .ok()
        .and_then(|count| 1u64.checked_shl(count))
        .map_or(u64::MAX, |bit| bit - 1)
}

/// Some rows of one page of a view, ascending.
#[derive(Clone)]
pub struct Rows {
    page: Arc<Page>,
    mask: Mask,
    /// Of the page's first row.
    page_rank: u32,
}

impl Rows {
    pub(super) fn new(page: Arc<Page>, mask: Mask, page_rank: u32) -> Rows {
        Rows { page, mask, page_rank }
    }

    /// How many.
    pub fn count(&self) -> u32 {
        self.mask.count()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.mask.is_empty()
    }

    /// The highest UID of the page, whether its row is meant or not: what follows lies above.
    pub fn page_end(&self) -> Uid {
        Uid(self.page.uids().last().copied().unwrap_or(0))
    }

    /// The rank of the page's last row.
    pub fn last_rank(&self) -> u32 {
        self.page_rank.saturating_add(u32_of(self.page.len()).saturating_sub(1))
    }

    /// Each row with its rank.
    pub fn iter(&self) -> impl Iterator<Item = (u32, RowRef<'_>)> {
        self.mask.indexes().map(|index| self.at(index))
    }

    /// Takes out the first of them, with its rank.
    pub fn pop(&mut self) -> Option<(u32, RowRef<'_>)> {
        let index = self.mask.pop()?;
        Some(self.at(index))
    }

    fn at(&self, index: usize) -> (u32, RowRef<'_>) {
        let row = RowRef { page: &self.page, index };
        (self.page_rank.saturating_add(u32_of(index)), row)
    }

    /// Leaves only the first `count` of them.
    #[must_use]
    pub fn truncated(mut self, count: u32) -> Rows {
        if let Some(beyond) = self.mask.indexes().nth(usize_of_u32(count)) {
            self.mask = self.mask.and(Mask::first(beyond));
        }
        self
    }

    /// The row that has the UID of another, if it is among them; found at once where both lie at
    /// the same place, as in a page whose flags changed.
    pub fn same_as(&self, other: RowRef<'_>) -> Option<RowRef<'_>> {
        let uid = other.uid();
        let index = match self.page.uids().get(other.index) == Some(&uid.0) {
            true => other.index,
            false => self.page.find(uid).ok()?,
        };
        self.mask.has(index).then_some(RowRef { page: &self.page, index })
    }

    /// Whether the page has UIDs around this one.
    pub fn spans(&self, uid: Uid) -> bool {
        let uids = self.page.uids();
        uids.first().is_some_and(|&first| first <= uid.0) && uid <= self.page_end()
    }

    /// Runs of consecutive UIDs, each with the rank of its first.
    pub fn runs(&self) -> impl Iterator<Item = (u32, (u32, u32))> + '_ {
        self.mask.runs().flat_map(|(begin, end)| {
            let mut uids = self.page.uids().get(begin..end).unwrap_or_default();
            let mut rank = self.page_rank.saturating_add(u32_of(begin));
            std::iter::from_fn(move || {
                let (&first, &last) = (uids.first()?, uids.last()?);
                let is_whole = u64::from(last - first) + 1 == u64_of(uids.len());
                let count = if is_whole { uids.len() } else { consecutive(uids) };
                let (run, rest) = uids.split_at_checked(count)?;
                let at = rank;
                rank = rank.saturating_add(u32_of(count));
                uids = rest;
                Some((at, (first, run.last().copied().unwrap_or(first))))
            })
        })
    }

    /// The lowest and the highest blob of their page.
    pub(super) fn blob_range(&self) -> Option<(BlobId, BlobId)> {
        let (lowest, highest) = self.page.blob_range()?;
        Some((BlobId(Lsn::from_bits(lowest)?), BlobId(Lsn::from_bits(highest)?)))
    }

    /// The highest MODSEQ of them.
    pub fn highest_modseq(&self) -> Option<Lsn> {
        self.iter().map(|(_, row)| row.modseq()).max()
    }
}

/// How many UIDs at the beginning follow each other.
fn consecutive(uids: &[u32]) -> usize {
    let pairs = uids.iter().zip(uids.iter().skip(1));
    1 + pairs.take_while(|&(&a, &b)| a.checked_add(1) == Some(b)).count()
}

/// One row where it lies.
#[derive(Clone, Copy)]
pub struct RowRef<'a> {
    page: &'a Page,
    index: usize,
}

impl<'a> RowRef<'a> {
    pub(super) fn new(page: &'a Page, index: usize) -> RowRef<'a> {
        RowRef { page, index }
    }

    fn of<T: Copy + Default>(self, column: &[T]) -> T {
        column.get(self.index).copied().unwrap_or_default()
    }

    /// Its number in the mailbox.
    pub fn uid(self) -> Uid {
        Uid(self.of(self.page.uids()))
    }

    /// System flags.
    pub fn flags(self) -> SystemFlags {
        SystemFlags(self.of(self.page.flag_bits()))
    }

    /// Keywords, as ascending indexes into its mailbox's list.
    pub fn keywords(self) -> &'a [u16] {
        self.page.keywords_at(self.index).map_or(&[], KeywordSet::as_slice)
    }

    /// Its keywords, of those that its mailbox knows.
    pub fn keywords_in(self, known: &'a [Keyword]) -> impl Iterator<Item = &'a Keyword> {
        self.keywords().iter().filter_map(|&index| known.get(usize::from(index)))
    }

    /// Position of the last change to it.
    pub fn modseq(self) -> Lsn {
        self.page.modseq_at(self.index)
    }

    /// INTERNALDATE.
    pub fn received(self) -> UnixSeconds {
        UnixSeconds(self.of(self.page.received()))
    }

    /// SAVEDATE (RFC 8514).
    pub fn saved(self) -> UnixSeconds {
        UnixSeconds(self.of(self.page.saved()))
    }

    /// RFC822.SIZE.
    pub fn size(self) -> u32 {
        self.of(self.page.sizes())
    }

    /// Its conversation.
    pub fn thread(self) -> ThreadId {
        ThreadId(self.of(self.page.threads()))
    }

    /// Its bytes.
    pub fn blob(self) -> BlobId {
        self.page.blob_at(self.index)
    }

    /// A copy that stands by itself.
    pub fn to_row(self) -> Row {
        Row {
            uid: self.uid(),
            flags: self.flags(),
            keywords: KeywordSet::from_slice(self.keywords()),
            modseq: self.modseq(),
            received: self.received(),
            saved: self.saved(),
            size: self.size(),
            thread: self.thread(),
            blob: self.blob(),
        }
    }
}

/// Goes through the messages of a set, page by page.
#[derive(Clone)]
pub struct Walk<'a> {
    uids: &'a UidSet,
    next: Option<Uid>,
}

impl<'a> Walk<'a> {
    /// From its beginning.
    pub fn new(uids: &'a UidSet) -> Walk<'a> {
        Walk { uids, next: uids.first() }
    }

    /// The next page's rows that are in the set; never none of a page.
    pub fn next(&mut self, view: &View) -> Result<Option<Rows>, ReadError> {
        while let Some(from) = self.next {
            let Some((page_rank, slot)) = slot_within(view, self.uids, from) else {
                self.next = None;
                break;
            };
            let page = view.page(slot)?;
            self.next = slot.head.last_uid.0.checked_add(1).map(Uid);
            let mut mask = Mask::of_uids(&page, self.uids);
            mask.cut_below(page.uids().partition_point(|&uid| uid < from.0));
            if !mask.is_empty() {
                return Ok(Some(Rows::new(page, mask, page_rank)));
            }
        }
        Ok(None)
    }
}

impl View {
    /// The whole page that has a UID or would have it.
    ///
    /// # Errors
    /// The page cannot be read.
    pub fn page_of(&self, uid: Uid) -> Result<Option<Rows>, ReadError> {
        let (before, slot) = self.state.content.slot_of(uid);
        let Some(slot) = slot.filter(|slot| slot.head.first_uid <= uid) else { return Ok(None) };
        let page = self.page(slot)?;
        let all = Mask::first(page.len());
        Ok(Some(Rows::new(page, all, before)))
    }
}

/// The first slot from `from` on that may have some of the set, with the rank of its first row.
fn slot_within<'v>(view: &'v View, uids: &UidSet, from: Uid) -> Option<(u32, &'v Slot)> {
    let mut from = from;
    loop {
        let ranges = uids.ranges();
        let &(begin, end) = ranges.get(ranges.partition_point(|&(_, end)| end < from.0))?;
        let (before, slot) = view.state.content.slot_of(Uid(begin.max(from.0)));
        let slot = slot?;
        if slot.head.first_uid.0 <= end {
            return Some((before, slot));
        }
        from = slot.head.first_uid;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn mask(indexes: &BTreeSet<usize>) -> Mask {
        let column: Vec<bool> = (0..PAGE_ROWS_MAX).map(|index| indexes.contains(&index)).collect();
        Mask::of(&column, |is_in| is_in)
    }

    proptest::proptest! {
        #[test]
        fn masks_are_sets_of_indexes(
            mut a in proptest::collection::btree_set(0..PAGE_ROWS_MAX, 0..300),
            b in proptest::collection::btree_set(0..PAGE_ROWS_MAX, 0..300),
            (from, to) in (0..=PAGE_ROWS_MAX, 0..=PAGE_ROWS_MAX),
        ) {
            let found = |mask: Mask| mask.indexes().collect::<BTreeSet<usize>>();
            assert_eq!(found(mask(&a)), a);
            assert_eq!(found(mask(&a).and(mask(&b))), &a & &b);
            assert_eq!(found(mask(&a).or(mask(&b))), &a | &b);
            assert_eq!(found(mask(&a).without(mask(&b))), &a - &b);
            assert_eq!(mask(&a).next(from), a.range(from..).next().copied());
            assert_eq!(mask(&a).has(to), a.contains(&to));
            let mut popped = mask(&a);
            assert_eq!(popped.pop(), a.first().copied());
            assert_eq!(found(popped), a.iter().copied().skip(1).collect::<BTreeSet<_>>());
            let mut cut = mask(&a);
            cut.cut_below(from);
            assert_eq!(found(cut), a.range(from..).copied().collect::<BTreeSet<_>>());
            let runs: Vec<(usize, usize)> = mask(&a).runs().collect();
            assert!(runs.iter().zip(runs.iter().skip(1)).all(|(one, two)| one.1 < two.0));
            assert!(runs.iter().flat_map(|&(begin, end)| begin..end).eq(a.iter().copied()));
            let mut set = mask(&a);
            set.set(from, to);
            a.extend(from..to.max(from));
            assert_eq!(found(set), a);
        }
    }
}
