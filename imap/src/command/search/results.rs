//! What a search found, and how it is told: `* SEARCH`, `* SORT`, `* ESEARCH` (RFC 4731).
//!
//! Messages found in mailbox order are kept as ranges, so that ALL and COUNT of a million messages
//! take a few bytes where they lie together; sorted ones as a list. Either goes out range by range.

use engine::error::ReadError;
use engine::ids::{Lsn, Uid};
use engine::mailbox::View;
use engine::search::Score;
use engine::uid_set::UidSet;

use super::candidate::Candidate;
use super::like::relevancies;
use crate::codec::command::{CountedFrom, Numbers, PartialRange, ReturnOptions, SearchRequest};
use crate::codec::put;
use crate::session::Ghosts;
use crate::stream::{Ended, Wire};

/// Numbers that are put before the output is looked at.
const NUMBERS_PUT: u32 = 2048;

/// Numbers of messages in the order in which they are told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Listing {
    /// Ascending.
    Set(UidSet),
    /// As sorted.
    Sorted(Vec<u32>),
    /// Where no list is told nor kept: how many ascending ones, and the lowest and highest of them.
    Ends { count: u64, ends: Option<(u32, u32)> },
}

impl Listing {
    fn count(&self) -> u64 {
        match self {
            Listing::Set(set) => set.count(),
            Listing::Sorted(list) => engine::width::u64_of(list.len()),
            Listing::Ends { count, .. } => *count,
        }
    }

    fn first(&self) -> Option<u32> {
        match self {
            Listing::Set(set) => set.first().map(|number| number.0),
            Listing::Sorted(list) => list.first().copied(),
            Listing::Ends { ends, .. } => ends.map(|(first, _)| first),
        }
    }

    fn last(&self) -> Option<u32> {
        match self {
            Listing::Set(set) => set.last().map(|number| number.0),
            Listing::Sorted(list) => list.last().copied(),
            Listing::Ends { ends, .. } => ends.map(|(_, last)| last),
        }
    }

    /// Adds ascending ones above those before.
    fn push_range(&mut self, first: u32, last: u32) {
        match self {
            Listing::Set(set) => set.push_range(first, last),
            Listing::Sorted(list) => list.extend(first..=last),
            Listing::Ends { count, ends } => {
                *count += u64::from(last - first) + 1;
                *ends = Some((ends.map_or(first, |(lowest, _)| lowest), last));
            }
        }
    }

    /// Those at some places.
    fn part(&self, range: PartialRange) -> Listing {
        let (from, to) = range.within(self.count());
        match self {
            Listing::Sorted(list) => {
                let (from, to) = (engine::width::usize_of(from), engine::width::usize_of(to));
                Listing::Sorted(list.get(from..to).unwrap_or_default().to_vec())
            }
            Listing::Set(set) => {
                let (mut skip, mut left) = (from, to.saturating_sub(from));
                let mut part = UidSet::new();
                for &(first, last) in set.ranges() {
                    let length = u64::from(last) - u64::from(first) + 1;
                    let skipped = skip.min(length);
                    let taken = left.min(length - skipped);
                    (skip, left) = (skip - skipped, left - taken);
                    if taken > 0 {
                        let begin = u32::try_from(u64::from(first) + skipped).unwrap_or(u32::MAX);
                        let span = u32::try_from(taken - 1).unwrap_or(u32::MAX);
                        part.push_range(begin, begin.saturating_add(span));
                    }
                }
                Listing::Set(part)
            }
            Listing::Ends { .. } => self.clone(),
        }
    }

    fn to_set(&self) -> UidSet {
        match self {
            Listing::Set(set) => set.clone(),
            Listing::Sorted(list) => list.iter().copied().map(Uid).collect(),
            Listing::Ends { ends, .. } => {
                UidSet::from_ranges(ends.iter().flat_map(|&(a, b)| [(a, a), (b, b)]))
            }
        }
    }

    /// Each run of numbers that ascend by one.
    fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (ranges, mut list) = match self {
            Listing::Set(set) => (set.ranges(), [].as_slice()),
            Listing::Sorted(list) => ([].as_slice(), list.as_slice()),
            Listing::Ends { .. } => ([].as_slice(), [].as_slice()),
        };
        let runs = std::iter::from_fn(move || {
            let (&first, mut rest) = list.split_first()?;
            let mut last = first;
            while let Some((&next, behind)) = rest.split_first()
                && last.checked_add(1) == Some(next)
            {
                (last, rest) = (next, behind);
            }
            list = rest;
            Some((first, last))
        });
        ranges.iter().copied().chain(runs)
    }

    /// `sequence-set`; NIL for none (`partial-results`, RFC 9394).
    async fn put(&self, wire: &mut Wire) -> Result<(), Ended> {
        let mut is_first = true;
        for (first, last) in self.runs() {
            if !is_first {
                wire.out.push(b',');
            }
            is_first = false;
            put::number(&mut wire.out, u64::from(first));
            if last > first {
                wire.out.push(b':');
                put::number(&mut wire.out, u64::from(last));
            }
            wire.relieve().await?;
        }
        if is_first {
            wire.out.extend_from_slice(b"NIL");
        }
        Ok(())
    }
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Results {
    numbers: Numbers,
    uids: Listing,
    /// Sequence numbers in the same order; empty where UIDs are told.
    sequence: Listing,
    /// The highest MODSEQ of all.
    modseq: Lsn,
    /// Of each, where it was asked for.
    relevancy: Vec<u8>,
}

/// Gathers what is found, in mailbox order.
pub(super) struct Gathered {
    numbers: Numbers,
    uids: Listing,
    /// Where sequence numbers are told.
    sequence: Listing,
    /// The highest of all, where it is told.
    modseq: Option<Lsn>,
    scores: Option<Vec<Option<Score>>>,
    /// After so many more, no more would be told.
    left: u64,
}

impl Gathered {
    pub(super) fn new(
        request: &SearchRequest,
        options: &ReturnOptions,
        wants_modseq: bool,
    ) -> Gathered {
        let none = |is_listed| match is_listed {
            true => Listing::Set(UidSet::new()),
            false => Listing::Ends { count: 0, ends: None },
        };
        let tells_uids = request.numbers == Numbers::Uid;
        let tells_list = !tells_ends_alone(options);
        let keeps_uids = options.save || options.update;
        Gathered {
            numbers: request.numbers,
            uids: none(keeps_uids || (tells_uids && tells_list)),
            sequence: none(tells_list),
            modseq: wants_modseq.then(Lsn::default),
            scores: options.relevancy.then(Vec::new),
            left: enough(options),
        }
    }

    /// The messages found, as far as they are kept.
    pub(super) fn uids(&self) -> UidSet {
        self.uids.to_set()
    }

    /// Whether MODSEQs count.
    pub(super) fn wants_modseq(&self) -> bool {
        self.modseq.is_some()
    }

    /// How many more may be told.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// One more, above those before.
    pub(super) fn add(&mut self, candidate: &Candidate<'_>, number: u32) {
        let uid = candidate.row.uid.0;
        self.push((number, number), (uid, uid));
        self.add_modseq(Some(candidate.row.modseq));
        if let Some(scores) = &mut self.scores {
            scores.push(candidate.score);
        }
    }

    /// Some with consecutive UIDs, above those before; `rank` is that of the first. Where
    /// RELEVANCY is told, messages are looked at one by one.
    pub(super) fn add_run(&mut self, rank: u32, (first, last): (u32, u32), ghosts: &Ghosts) {
        let length = u32::try_from(self.left).unwrap_or(u32::MAX).min(last - first + 1);
        let Some(span) = length.checked_sub(1) else { return };
        // No ghost lies between consecutive UIDs.
        let number = ghosts.number_at(rank, Uid(first));
        self.push((number, number.saturating_add(span)), (first, first.saturating_add(span)));
    }

    fn push(&mut self, numbers: (u32, u32), uids: (u32, u32)) {
        self.uids.push_range(uids.0, uids.1);
        if self.numbers == Numbers::Sequence {
            self.sequence.push_range(numbers.0, numbers.1);
        }
        self.left = self.left.saturating_sub(u64::from(uids.1 - uids.0) + 1);
    }

    /// The MODSEQ of one that was added, or the highest of several.
    pub(super) fn add_modseq(&mut self, modseq: Option<Lsn>) {
        if let (Some(highest), Some(modseq)) = (&mut self.modseq, modseq) {
            *highest = modseq.max(*highest);
        }
    }

    pub(super) fn results(self) -> Results {
        Results {
            numbers: self.numbers,
            uids: self.uids,
            sequence: self.sequence,
            modseq: self.modseq.unwrap_or_default(),
            relevancy: relevancies(&self.scores.unwrap_or_default()),
        }
    }
}

/// Whether no list is told, nor kept.
fn tells_ends_alone(options: &ReturnOptions) -> bool {
    let ReturnOptions { min, max, count, .. } = *options;
    let ends = ReturnOptions { min, max, count, ..ReturnOptions::default() };
    *options == ends && (min || max || count)
}

/// After how many messages nothing is asked for any more: MIN and the first pages of PARTIAL.
fn enough(options: &ReturnOptions) -> u64 {
    let ReturnOptions { min, save, partial, .. } = *options;
    if *options != (ReturnOptions { min, save, partial, ..ReturnOptions::default() }) {
        return u64::MAX;
    }
    match partial {
        Some(PartialRange { from: CountedFrom::First, first, last }) => u64::from(first.max(last)),
        None if min => 1,
        _ => u64::MAX,
    }
}

/// Messages in sorted order.
pub(super) struct Sorted {
    pub(super) uids: Vec<u32>,
    pub(super) sequence: Vec<u32>,
    pub(super) relevancy: Vec<u8>,
    pub(super) modseq: Lsn,
}

impl Results {
    /// Of SORT.
    pub(super) fn sorted(numbers: Numbers, sorted: Sorted) -> Results {
        Results {
            numbers,
            uids: Listing::Sorted(sorted.uids),
            sequence: Listing::Sorted(sorted.sequence),
            modseq: sorted.modseq,
            relevancy: sorted.relevancy,
        }
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.uids.first().is_none()
    }

    fn told(&self) -> &Listing {
        match self.numbers {
            Numbers::Uid => &self.uids,
            Numbers::Sequence => &self.sequence,
        }
    }

    /// What `$` means after a search with SAVE (RFC 5182 section 2.4, RFC 9394 section 3.2).
    pub(super) fn saved(&self, options: &ReturnOptions) -> UidSet {
        let chooses = options.min || options.max || options.partial.is_some();
        if options.all || options.count || !chooses {
            return self.uids.to_set();
        }
        let part = options.partial.map(|range| self.uids.part(range).to_set());
        let ends =
            [self.uids.first().filter(|_| options.min), self.uids.last().filter(|_| options.max)];
        let ends = ends.into_iter().flatten().map(|uid| (uid, uid));
        let part = part.iter().flat_map(|part| part.ranges().iter().copied());
        UidSet::from_ranges(ends.chain(part))
    }

    /// The MODSEQ item (RFC 7162 section 3.1.10): the highest of the messages told.
    pub(super) fn modseq(
        &self,
        options: &ReturnOptions,
        view: &View,
    ) -> Result<Option<Lsn>, ReadError> {
        let everything = options.all || options.count || options.partial.is_some();
        if self.is_empty() {
            return Ok(None);
        }
        if everything || !(options.min || options.max) {
            return Ok(Some(self.modseq));
        }
        let ends =
            [self.uids.first().filter(|_| options.min), self.uids.last().filter(|_| options.max)];
        let mut highest = None;
        for uid in ends.into_iter().flatten() {
            highest = highest.max(view.row(Uid(uid))?.map(|row| row.modseq));
        }
        Ok(highest)
    }

    /// `* SEARCH n …` or `* SORT n …`
    pub(super) async fn put_plain(
        &self,
        wire: &mut Wire,
        name: &str,
        modseq: Option<Lsn>,
    ) -> Result<(), Ended> {
        wire.out.extend_from_slice(b"* ");
        wire.out.extend_from_slice(name.as_bytes());
        for (mut first, last) in self.told().runs() {
            loop {
                let end = last.min(first.saturating_add(NUMBERS_PUT));
                put::spaced_numbers(&mut wire.out, (first, end));
                wire.relieve().await?;
                if end == last {
                    break;
                }
                first = end + 1;
            }
        }
        if let Some(modseq) = modseq {
            wire.out.extend_from_slice(format!(" (MODSEQ {})", modseq.bits()).as_bytes());
        }
        wire.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// `* ESEARCH (correlator) UID MIN n …`: what has no value, because nothing was found, is left
    /// out.
    pub(super) async fn put_extended(
        &self,
        wire: &mut Wire,
        correlator: &[u8],
        options: &ReturnOptions,
        modseq: Option<Lsn>,
    ) -> Result<(), Ended> {
        put_head(&mut wire.out, correlator, self.numbers);
        let told = self.told();
        let mut put_end = |name: &str, number: Option<u32>| {
            if let Some(number) = number {
                wire.out.extend_from_slice(format!(" {name} {number}").as_bytes());
            }
        };
        put_end("MIN", told.first().filter(|_| options.min));
        put_end("MAX", told.last().filter(|_| options.max));
        if options.count {
            wire.out.extend_from_slice(format!(" COUNT {}", told.count()).as_bytes());
        }
        if options.all && !self.is_empty() {
            wire.out.extend_from_slice(b" ALL ");
            told.put(wire).await?;
        }
        if let Some(range) = options.partial {
            wire.out.extend_from_slice(format!(" PARTIAL ({range} ").as_bytes());
            told.part(range).put(wire).await?;
            wire.out.push(b')');
        }
        if options.relevancy {
            self.put_relevancy(wire, options).await?;
        }
        if let Some(modseq) = modseq {
            wire.out.extend_from_slice(format!(" MODSEQ {}", modseq.bits()).as_bytes());
        }
        wire.out.extend_from_slice(b"\r\n");
        wire.relieve().await
    }

    /// `RELEVANCY (n …)` (RFC 6203): of the messages in ALL, or in PARTIAL.
    async fn put_relevancy(&self, wire: &mut Wire, options: &ReturnOptions) -> Result<(), Ended> {
        let count = engine::width::u64_of(self.relevancy.len());
        let (from, to) = options.partial.map_or((0, count), |range| range.within(count));
        let part = engine::width::usize_of(from)..engine::width::usize_of(to);
        wire.out.extend_from_slice(b" RELEVANCY (");
        for (index, relevancy) in self.relevancy.get(part).unwrap_or_default().iter().enumerate() {
            if index > 0 {
                wire.out.push(b' ');
            }
            put::number(&mut wire.out, u64::from(*relevancy));
            wire.relieve().await?;
        }
        wire.out.push(b')');
        Ok(())
    }
}

/// `* ESEARCH (correlator)` and UID where UIDs follow.
pub(super) fn put_head(out: &mut Vec<u8>, correlator: &[u8], numbers: Numbers) {
    out.extend_from_slice(b"* ESEARCH (");
    out.extend_from_slice(correlator);
    out.push(b')');
    if numbers == Numbers::Uid {
        out.extend_from_slice(b" UID");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_a_sorted_list_ascend() {
        let list = Listing::Sorted(vec![5, 6, 7, 3, 2, 1, 9, 4_294_967_295, 1]);
        let runs: Vec<_> = list.runs().collect();
        let top = u32::MAX;
        assert_eq!(runs, [(5, 7), (3, 3), (2, 2), (1, 1), (9, 9), (top, top), (1, 1)]);
    }

    proptest::proptest! {
        #[test]
        fn a_part_of_a_set_is_that_of_its_list(
            numbers in proptest::collection::btree_set(1u32..60, 0..40),
            first in 1u32..50, last in 1u32..50, from_last: bool,
        ) {
            let from = if from_last { CountedFrom::Last } else { CountedFrom::First };
            let range = PartialRange { from, first, last };
            let list = Listing::Sorted(numbers.iter().copied().collect());
            let set = Listing::Set(numbers.iter().copied().map(Uid).collect());
            proptest::prop_assert_eq!(list.part(range).to_set(), set.part(range).to_set());
            proptest::prop_assert_eq!(set.part(range).count(), list.part(range).count());
        }
    }
}
