//! Which segments are worth rewriting, and when base images are worth making.
//!
//! The cost of rewriting a segment is what of it is kept, the benefit what is given back: dead
//! chunks, padding, and records that base images cover. Small neighbours are made one.

use std::collections::{BTreeMap, BTreeSet};

use super::orders::Orders;
use crate::error::ReadError;
use crate::ids::Lsn;
use crate::log::{LogSetup, SOURCES_MAX, SegmentFile, SegmentNumber, SegmentUse};
use crate::state::BaseImage;
use crate::width::u64_of;

/// A segment is rewritten when at least this many hundredths of its file would be given back.
const GAIN_PERCENT_MIN: u64 = 25;
/// So many small neighbours are worth joining, even if nothing is given back.
const JOINED_MIN: usize = 8;
/// A segment of less than this part of a full one is small.
const SMALL_PART: u64 = 8;
/// Bytes of a base image for a message, about.
const IMAGE_BYTES_PER_MESSAGE: u64 = 150;

/// What is to be done next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Choice {
    /// Nothing is worth it.
    Nothing,
    /// These neighbours become one.
    Rewrite(Vec<SegmentNumber>),
    /// Base images would let enough records go.
    Images,
}

/// What the choice depends on besides the segments.
pub(super) struct Situation<'a> {
    /// Living bytes by segment.
    pub(super) live: BTreeMap<u64, u64>,
    /// Only what lies wholly below is looked at.
    pub(super) below: Lsn,
    /// Records up to here are covered by base images.
    pub(super) horizon: Lsn,
    /// Where dumps lie that images name, and how many bytes they are.
    pub(super) named: &'a BTreeMap<Lsn, u64>,
    /// Bytes of disk that a copy may take.
    pub(super) free: u64,
    /// Messages of all accounts.
    pub(super) message_count: u64,
    /// Whether there may be base images, and segments made of several.
    pub(super) allows_images: bool,
    /// Images are not worth making for fewer bytes of records.
    pub(super) image_bytes_min: u64,
    /// Segments to be rewritten for the sake of keys.
    pub(super) orders: &'a Orders,
}

/// The segments of a log, as far as they were looked at.
#[derive(Default)]
pub(super) struct Segments {
    /// The segment that is being written, and where it begins once that was read.
    open: Option<(SegmentNumber, Option<Lsn>)>,
    known: BTreeMap<SegmentNumber, Known>,
    /// Could not be read or rewritten; left alone until the next start.
    pub(super) damaged: BTreeSet<SegmentNumber>,
    /// Written by reclaim, when records up to that position were covered and so many bytes of
    /// chunks alive: until either changes, writing them once more gives nothing back.
    settled: BTreeMap<SegmentNumber, (Lsn, u64)>,
}

/// What a closed segment's header and footer say; it does not change.
#[derive(Clone, Copy)]
struct Known {
    first_lsn: Lsn,
    byte_count: u64,
    is_rewritten: bool,
    /// Once its footer was read; `None`: it has none.
    usage: Option<Option<SegmentUse>>,
}

/// What a segment would keep, and with base images.
#[derive(Clone, Copy)]
struct Worth {
    size: u64,
    kept: u64,
    /// Records that are not covered yet and could be.
    uncovered: u64,
}

impl Worth {
    fn gain_percent(self, kept: u64) -> u64 {
        self.size.saturating_sub(kept).saturating_mul(100) / self.size.max(1)
    }
}

impl Segments {
    /// Remembers what a segment was made with.
    pub(super) fn settle(&mut self, number: SegmentNumber, horizon: Lsn, alive: u64) {
        self.settled.insert(number, (horizon, alive));
    }

    /// Bytes of the closed segments, as far as they were looked at.
    pub(super) fn byte_count(&self) -> u64 {
        self.known.values().map(|known| known.byte_count).sum()
    }

    /// What is worth doing.
    pub(super) fn choose(
        &mut self,
        setup: &LogSetup,
        situation: &Situation<'_>,
    ) -> Result<Choice, ReadError> {
        let numbers = self.look(setup)?;
        let open_first = self.open_first_lsn(setup);
        let begins_below = |number: &SegmentNumber| {
            self.known.get(number).is_some_and(|known| known.first_lsn <= situation.below)
        };
        // The last that begins below is where recovery begins to walk; often the open one.
        let end = match open_first {
            Some(first) if first <= situation.below => numbers.len(),
            _ => numbers.iter().rposition(begins_below).unwrap_or(0),
        };
        if let Some(ordered) = self.ordered(situation.orders, &numbers, end) {
            return Ok(Choice::Rewrite(vec![ordered]));
        }
        let eligible: Vec<SegmentNumber> = numbers.into_iter().take(end).collect();
        let mut worths = Vec::with_capacity(eligible.len());
        for number in eligible.iter().copied() {
            worths.push(self.worth(setup, situation, number)?);
        }
        let chosen = run_of(&worths, setup.segment_bytes, situation.free, situation.allows_images);
        if !chosen.is_empty() {
            let numbers = chosen.filter_map(|at| eligible.get(at).copied());
            return Ok(Choice::Rewrite(numbers.collect()));
        }
        let would_gain = |worth: &&Worth| {
            worth.gain_percent(worth.kept.saturating_sub(worth.uncovered)) >= GAIN_PERCENT_MIN
        };
        let worths = worths.iter().flatten().filter(would_gain);
        let uncovered: u64 = worths.map(|worth| worth.uncovered).sum();
        let cost = situation.message_count.saturating_mul(IMAGE_BYTES_PER_MESSAGE);
        let is_worth_it = uncovered >= cost.saturating_mul(2).max(situation.image_bytes_min);
        Ok(if situation.allows_images && is_worth_it { Choice::Images } else { Choice::Nothing })
    }

    /// The next segment that was ordered to be rewritten. One that is gone was rewritten since,
    /// which did what was wanted of it.
    fn ordered(
        &self,
        orders: &Orders,
        numbers: &[SegmentNumber],
        end: usize,
    ) -> Option<SegmentNumber> {
        orders.retain_known(numbers);
        self.damaged.iter().for_each(|number| orders.settled(*number));
        orders.next_of(numbers.get(..end).unwrap_or_default())
    }

    /// Where the open segment begins.
    fn open_first_lsn(&mut self, setup: &LogSetup) -> Option<Lsn> {
        let (number, first) = self.open.as_mut()?;
        if first.is_none() {
            let path = number.path(&setup.directory);
            let file = SegmentFile::open_cached(setup.disk.as_ref(), &path);
            *first = file.ok().map(|file| file.header.first_lsn);
        }
        *first
    }

    /// What a segment would keep; `None` if it is left alone.
    fn worth(
        &mut self,
        setup: &LogSetup,
        situation: &Situation<'_>,
        number: SegmentNumber,
    ) -> Result<Option<Worth>, ReadError> {
        let alive = situation.live.get(&number.0).copied().unwrap_or_default();
        let Some(known) = self.known.get_mut(&number) else { return Ok(None) };
        let size = known.byte_count.max(1);
        let at_most = size.saturating_sub(alive).saturating_mul(100) / size;
        let is_small = size <= setup.segment_bytes / SMALL_PART;
        if (at_most < GAIN_PERCENT_MIN && !is_small) || self.damaged.contains(&number) {
            return Ok(None);
        }
        let usage = match known.usage {
            Some(usage) => usage,
            None => {
                let path = number.path(&setup.directory);
                let file = SegmentFile::open_cached(setup.disk.as_ref(), &path)?;
                *known.usage.insert(file.usage()?)
            }
        };
        let Some(usage) = usage else { return Ok(None) };
        // Of one that was written before the start it is not known; it is taken as it is now.
        let now = (situation.horizon, alive);
        let settled = match known.is_rewritten {
            true => *self.settled.entry(number).or_insert(now),
            false => (Lsn::ZERO, u64::MAX),
        };
        let (first, last) = (known.first_lsn, usage.last_lsn.max(known.first_lsn));
        let range = first..=last;
        let named: u64 = situation.named.range(range).map(|(_, bytes)| bytes).sum();
        let records = usage.records.saturating_sub(named);
        let is_covered = last <= situation.horizon;
        let goes = is_covered && settled.0 < situation.horizon;
        let kept = alive + usage.fixed + if goes { named } else { usage.records };
        let is_settled = settled.0 >= situation.horizon && alive >= settled.1;
        let kept = if is_settled { kept.max(size) } else { kept };
        // As if all records were of one size.
        let positions = |from: Lsn| last.bits().saturating_sub(from.bits()) + 1;
        let above = positions(first.max(situation.horizon)).min(positions(first));
        let uncovered =
            if is_covered { 0 } else { records.saturating_mul(above) / positions(first) };
        Ok(Some(Worth { size, kept, uncovered }))
    }

    /// All segments but the last, in order; each is looked at once.
    fn look(&mut self, setup: &LogSetup) -> Result<Vec<SegmentNumber>, ReadError> {
        let LogSetup { disk, directory, .. } = setup;
        let files = disk.list(directory)?;
        let mut numbers: Vec<SegmentNumber> =
            files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
        numbers.sort_unstable();
        // It is still being written.
        self.open = numbers.pop().map(|number| match self.open {
            Some((open, first)) if open == number => (number, first),
            _ => (number, None),
        });
        self.known.retain(|number, _| numbers.contains(number));
        self.settled.retain(|number, _| numbers.contains(number));
        for number in &numbers {
            if self.known.contains_key(number) || self.damaged.contains(number) {
                continue;
            }
            match SegmentFile::open_cached(disk.as_ref(), &number.path(directory)) {
                Ok(file) => {
                    let known = Known {
                        first_lsn: file.header.first_lsn,
                        byte_count: file.byte_count,
                        is_rewritten: number.generation() > 0,
                        usage: None,
                    };
                    self.known.insert(*number, known);
                }
                Err(error) => {
                    tracing::error!("reclaim leaves a segment alone: {error}");
                    self.damaged.insert(*number);
                }
            }
        }
        Ok(numbers)
    }
}

/// The neighbours, by index, that are best rewritten together: around the one that gives most back,
/// or many small ones. On a disk that is nearly full, what fits goes first, and makes room for the
/// rest.
fn run_of(
    worths: &[Option<Worth>],
    segment_bytes: u64,
    free: u64,
    joins: bool,
) -> std::ops::Range<usize> {
    let at = |index: usize| worths.get(index).copied().flatten();
    let is_small = |worth: Worth| worth.size <= segment_bytes / SMALL_PART;
    let pays = |worth: Worth| worth.gain_percent(worth.kept) >= GAIN_PERCENT_MIN;
    let gain = |index: &usize| at(*index).map_or(0, |worth| worth.gain_percent(worth.kept));
    let is_worth_it =
        |index: &usize| at(*index).is_some_and(|worth| pays(worth) && worth.kept <= free);
    let best = (0..worths.len()).filter(is_worth_it).max_by_key(gain);
    let widened = |first: usize| {
        let (mut from, mut to) = (first, first + 1);
        let mut kept = at(first).map_or(0, |worth| worth.kept);
        let mut joins_too = |index: usize, count: usize| {
            let worth = at(index).filter(|worth| pays(*worth) || is_small(*worth));
            let fits = worth.filter(|worth| kept + worth.kept <= segment_bytes.min(free));
            let taken = fits.filter(|_| joins && count < SOURCES_MAX);
            kept += taken.map_or(0, |worth| worth.kept);
            taken.is_some()
        };
        while joins_too(to, to - from) {
            to += 1;
        }
        while from > 0 && joins_too(from - 1, to - from) {
            from -= 1;
        }
        from..to
    };
    if let Some(best) = best {
        return widened(best);
    }
    let mut first = 0;
    while joins && first < worths.len() {
        if at(first).is_some_and(is_small) {
            let run = widened(first);
            if run.len() >= JOINED_MIN {
                return run;
            }
            first = run.end;
        } else {
            first += 1;
        }
    }
    0..0
}

/// Where the dumps lie that images name, and how many bytes they are.
pub(super) fn named_bytes<'a>(images: impl Iterator<Item = &'a BaseImage>) -> BTreeMap<Lsn, u64> {
    let mut named = BTreeMap::new();
    for image in images {
        named.extend(image.units.iter().map(|unit| (unit.lsn, u64::from(unit.bytes))));
        let bytes = u64_of(image.units.len()).saturating_mul(48);
        named.extend(image.records.last().map(|lsn| (*lsn, bytes)));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(size: u64, kept: u64) -> Option<Worth> {
        Some(Worth { size, kept, uncovered: 0 })
    }

    #[test]
    fn neighbours_are_joined_around_the_one_that_gives_most_back() {
        let worths =
            [worth(100, 90), worth(100, 40), worth(100, 10), worth(5, 5), None, worth(100, 20)];
        assert_eq!(run_of(&worths, 100, u64::MAX, true), 1..4);
        assert_eq!(run_of(&worths, 100, u64::MAX, false), 2..3);
        assert_eq!(run_of(&worths[..1], 100, u64::MAX, true), 0..0);
    }

    #[test]
    fn a_copy_that_does_not_fit_waits_and_fewer_are_joined() {
        let worths = [worth(100, 40), worth(100, 10), worth(100, 30)];
        assert_eq!(run_of(&worths, 100, 80, true), 0..3);
        assert_eq!(run_of(&worths, 100, 45, true), 1..3);
        assert_eq!(run_of(&worths, 100, 39, true), 1..2);
        assert_eq!(run_of(&worths, 100, 9, true), 0..0);
        assert_eq!(run_of(&[worth(5, 5); 9], 100, 39, true), 0..0, "seven fit");
    }

    #[test]
    fn small_neighbours_are_joined_when_they_are_many() {
        assert_eq!(run_of(&[worth(5, 5); 7], 100, u64::MAX, true), 0..0);
        assert_eq!(run_of(&[worth(5, 5); 9], 100, u64::MAX, true), 0..9);
        assert_eq!(run_of(&[worth(5, 5); 9], 100, u64::MAX, false), 0..0);
    }
}
