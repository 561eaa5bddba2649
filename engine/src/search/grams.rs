//! Which leaves of the dictionary have terms with three given bytes in a row.
//!
//! ```text
//! grams section   of each gram, ascending: leaves, as varints: leaf − leaf before
//! directory       gram_count, then of each: gram − gram before, bytes of its leaves; varints
//! ```
//!
//! A gram is three bytes of a term, or its last two and an end, or its last one and two ends; the
//! end is a zero byte, which no term has. So whatever bytes a needle has, a term that contains them
//! is in one of the leaves that all the needle's grams name; and a needle of one or two bytes
//! begins some gram of every term that contains it.

use std::collections::HashMap;

use super::leaf::Place;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::width::{u64_of, usize_of};

/// Three bytes in a row.
type Gram = u32;

/// The grams of a term, with its ends; of a needle, those without.
fn grams(bytes: &[u8], ends: usize) -> impl Iterator<Item = Gram> + '_ {
    let count = (bytes.len() + ends).saturating_sub(2);
    (0..count).map(move |at| {
        let byte = |offset: usize| bytes.get(at + offset).copied().map_or(0, Gram::from);
        byte(0) << 16 | byte(1) << 8 | byte(2)
    })
}

/// Collects the grams of leaves in their order.
#[derive(Default)]
pub(crate) struct GramsWriter {
    leaves: HashMap<Gram, Entry>,
    of_leaf: Vec<Gram>,
}

#[derive(Default)]
struct Entry {
    last: u32,
    bytes: Encoder,
}

impl GramsWriter {
    /// A term of the current leaf.
    pub(crate) fn push(&mut self, term: &[u8]) {
        self.of_leaf.extend(grams(term, 2));
    }

    /// The current leaf is this one, and full.
    pub(crate) fn end_leaf(&mut self, leaf: u32) {
        self.of_leaf.sort_unstable();
        self.of_leaf.dedup();
        for gram in self.of_leaf.drain(..) {
            let entry = self.leaves.entry(gram).or_default();
            entry.bytes.varint(u64::from(leaf - entry.last));
            entry.last = leaf;
        }
    }

    /// Writes the lists to `put`, and answers the table for the directory.
    pub(crate) fn finish<E>(
        self,
        mut put: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Encoder, E> {
        let mut table = Encoder::default();
        let mut all: Vec<(Gram, Entry)> = self.leaves.into_iter().collect();
        all.sort_unstable_by_key(|(gram, _)| *gram);
        table.count(all.len());
        let mut before = 0;
        for (gram, entry) in all {
            table.varint(u64::from(gram - before));
            table.count(entry.bytes.bytes.len());
            put(&entry.bytes.bytes)?;
            before = gram;
        }
        Ok(table)
    }
}

/// The table of grams, opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GramTable {
    grams: Vec<Gram>,
    /// Where the leaves of each end.
    ends: Vec<u64>,
}

impl GramTable {
    pub(crate) fn decode(bytes: &mut Decoder<'_>) -> Result<GramTable, Broken> {
        let mut table = GramTable::default();
        let (mut gram, mut end) = (0u32, 0u64);
        for _ in 0..bytes.count()? {
            gram = gram.checked_add(bytes.u32()?).ok_or("a gram exceeds 32 bits")?;
            end = end.checked_add(bytes.varint()?).ok_or("a length overflows")?;
            table.grams.push(gram);
            table.ends.push(end);
        }
        Ok(table)
    }

    /// Bytes of memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.grams.len() * 12
    }

    /// Where the leaves stand that may have terms which contain these bytes: one of each list of
    /// places; `None` if there are no such terms.
    ///
    /// With `ends` of 2, terms that end with them.
    pub(crate) fn of_needle(&self, needle: &[u8], ends: usize) -> Option<Vec<Vec<Place>>> {
        if let ([_] | [_, _], 0) = (needle, ends) {
            let first = grams(needle, 2).next()?;
            let last = first | if needle.len() == 1 { 0xFFFF } else { 0xFF };
            let from = self.grams.partition_point(|gram| *gram < first);
            let to = self.grams.partition_point(|gram| *gram <= last);
            let places: Vec<_> = (from..to).filter_map(|index| self.place(index)).collect();
            return (!places.is_empty()).then(|| vec![places]);
        }
        let mut wanted: Vec<Gram> = grams(needle, ends).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut places = Vec::with_capacity(wanted.len());
        for gram in wanted {
            places.push(vec![self.place(self.grams.binary_search(&gram).ok()?)?]);
        }
        Some(places)
    }

    fn place(&self, index: usize) -> Option<Place> {
        let end = *self.ends.get(index)?;
        let begin = index.checked_sub(1).and_then(|before| self.ends.get(before));
        Some(begin.copied().unwrap_or(0)..end)
    }
}

/// Leaves as they are stored, appended to what is there.
pub(crate) fn read_leaves(bytes: &[u8], out: &mut Vec<u32>) -> Result<(), Broken> {
    let mut left = Decoder::new(bytes);
    let mut leaf = 0u32;
    while left.left() > 0 {
        leaf = leaf.checked_add(left.u32()?).ok_or("a leaf exceeds 32 bits")?;
        out.push(leaf);
    }
    Ok(())
}

/// How many bytes a list of leaves may have to be worth reading: beyond, looking at leaves costs
/// less.
pub(crate) fn is_worth(list: u64, leaf_count: usize) -> bool {
    usize_of(list) < leaf_count.saturating_mul(3) / 4 || u64_of(leaf_count) < 64
}
