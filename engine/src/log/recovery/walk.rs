//! Reading the chain from where replay begins to where it ends, and judging gaps in it and its end.
//!
//! A gap is bearable where state has applied all that is missing: the chain is then taken up again
//! behind it, state's stamp proving that both sides are of one history. Any other gap ends the
//! walk.

use std::path::Path;

use super::segment::{Segment, before, successor};
use super::{Gaps, LogDamage, RecoverError, RecoveryReport, Replayed, Severity, StateStamp};
use crate::disk::{Disk, OpenMode};
use crate::error::{Damage, DiskError, ReadError};
use crate::ids::Lsn;
use crate::log::format::FormatError;
use crate::log::format::group::{Group, GroupHash, GroupHeader};
use crate::log::format::segment::{Role, SegmentNumber};
use crate::log::reader::{Beyond, FoundGroup, SegmentFile};
use crate::log::setup::LogSetup;
use crate::log::writer::ChainEnd;
use crate::width::u64_of;

/// What the walk found.
pub(super) struct Walked {
    /// From the one that replay begins in to the last.
    pub(super) segments: Vec<Segment>,
    /// Highest position known durable on this disk.
    pub(super) durable_lsn: Lsn,
    /// Acknowledged groups that cannot be read.
    pub(super) damage: Vec<LogDamage>,
    /// Left over from reclaim: to be removed.
    pub(super) superseded: Vec<SegmentNumber>,
    /// The last place that has a file.
    pub(super) last_file: SegmentNumber,
    gaps: Gaps,
}

impl Walked {
    /// Nothing may follow the end of the chain, because groups behind it are missing.
    pub(super) fn is_broken(&self) -> bool {
        self.gaps == Gaps::Refused
            && self.damage.iter().any(|damage| damage.severity == Severity::AboveState)
    }
}

/// The segments of a log.
struct Segments {
    readable: Vec<SegmentFile>,
    /// Those whose header is damaged in both copies.
    unreadable: Vec<(SegmentNumber, Damage)>,
    /// Other generations of the same places, which nothing refers to.
    superseded: Vec<SegmentNumber>,
}

/// The segments that make up the log, in order, and those that are left over: where reclaim was
/// stopped, a rewritten segment lies beside what it was made of. It is the log's if flushed state
/// refers to it, or if what it was made of is not all there any more (which only happens once
/// flushed state referred to it, and state may be lost since); else its making was cut short.
pub(crate) fn numbers(
    disk: &dyn Disk,
    directory: &Path,
    switched: &[SegmentNumber],
) -> Result<(Vec<SegmentNumber>, Vec<SegmentNumber>), DiskError> {
    let files = disk.list(directory)?;
    let mut all: Vec<SegmentNumber> =
        files.iter().filter_map(|path| SegmentNumber::of(path)).collect();
    all.sort_unstable();
    let mut superseded: Vec<SegmentNumber> = Vec::new();
    // The newest first, so that what it was made of is judged after it.
    for number in all.iter().rev().filter(|number| number.generation() > 0) {
        if superseded.contains(number) {
            continue;
        }
        let Some((sources, last_place)) = made_of(disk, directory, *number)? else { continue };
        let is_source = |other: &&SegmentNumber| {
            (**other < *number || other.place() > number.place())
                && !superseded.contains(other)
                && (number.place()..=last_place).contains(&other.place())
        };
        let older: Vec<SegmentNumber> = all.iter().filter(is_source).copied().collect();
        if older.len() < sources || switched.contains(number) {
            superseded.extend(older);
        } else {
            superseded.push(*number);
        }
    }
    all.retain(|number| !superseded.contains(number));
    Ok((all, superseded))
}

/// How many segments a rewritten one was made of, and the last place that they took; `None` if its
/// header is damaged: then nothing is removed for its sake, or its own.
fn made_of(
    disk: &dyn Disk,
    directory: &Path,
    number: SegmentNumber,
) -> Result<Option<(usize, u64)>, DiskError> {
    match SegmentFile::open_cached(disk, &number.path(directory)) {
        Ok(file) => {
            let sources = usize::from(file.header.joined.sources.max(1));
            Ok(Some((sources, file.header.last_place())))
        }
        Err(ReadError::Disk(error)) => Err(error),
        Err(_) => Ok(None),
    }
}

impl Segments {
    fn open(setup: &LogSetup, mode: OpenMode) -> Result<Segments, RecoverError> {
        let (disk, directory) = (setup.disk.as_ref(), &setup.directory);
        let (numbers, superseded) = numbers(disk, directory, &setup.switched)?;
        if let (OpenMode::Read, Some(last)) = (mode, numbers.last()) {
            // A reader carries nothing over, so what it finds is made durable where it lies.
            setup.disk.open(&last.path(&setup.directory), OpenMode::Read)?.sync_data()?;
        }
        let mut segments = Segments { readable: Vec::new(), unreadable: Vec::new(), superseded };
        for number in numbers {
            let path = number.path(&setup.directory);
            match SegmentFile::open(setup.disk.as_ref(), &path) {
                Ok(file) if file.header.volume == setup.volume => segments.readable.push(file),
                Ok(file) => {
                    let found = file.header.volume;
                    return Err(RecoverError::OtherVolume { file: file.path, found });
                }
                Err(ReadError::Damage(damage)) => segments.unreadable.push((number, damage)),
                Err(error) => return Err(error.into()),
            }
        }
        match segments.unreadable.first() {
            _ if !segments.readable.is_empty() => Ok(segments),
            Some((_, damage)) => Err(RecoverError::Damage(damage.clone())),
            None => Err(RecoverError::NoSegments(setup.directory.clone())),
        }
    }

    /// The damaged header between two segments, if that is why they do not join.
    fn unreadable_between(&self, from: SegmentNumber, to: Option<SegmentNumber>) -> Option<Damage> {
        let is_between = |number: SegmentNumber| number > from && to.is_none_or(|to| number < to);
        let found = self.unreadable.iter().find(|(number, _)| is_between(*number));
        found.map(|(_, damage)| damage.clone())
    }

    /// Damaged headers among segments that need not be walked.
    fn unreadable_below(&self, start: usize) -> Result<Vec<LogDamage>, RecoverError> {
        let mut found = Vec::new();
        let Some(next) = self.readable.get(start) else { return Ok(found) };
        for (number, damage) in &self.unreadable {
            if *number > next.header.number {
                continue;
            }
            let is_below = |file: &&SegmentFile| file.header.number < *number;
            let first = match self.readable.iter().rev().find(is_below) {
                Some(file) => file
                    .footer()?
                    .and_then(|footer| footer.groups.last().map(|group| successor(group.last_lsn))),
                None => None,
            };
            let above = self.readable.iter().find(|file| file.header.number > *number);
            let last = above.map_or(next.header.first_lsn, |file| file.header.first_lsn);
            found.push(LogDamage {
                damage: damage.clone(),
                first: first.unwrap_or(successor(Lsn::ZERO)),
                last: before(last),
                severity: Severity::BelowState,
            });
        }
        Ok(found)
    }
}

/// Reads headers of all segments, walks those that matter, and judges what cannot be read.
pub(super) fn walk<E: From<RecoverError>>(
    setup: &LogSetup,
    state: Option<StateStamp>,
    (mode, gaps): (OpenMode, Gaps),
    report: &mut RecoveryReport,
    visit: &mut impl FnMut(Replayed<'_>) -> Result<(), E>,
) -> Result<Walked, E> {
    let mut segments = Segments::open(setup, mode)?;
    let mut durable_lsn = state.map_or(Lsn::ZERO, |state| state.lsn);
    for file in &segments.readable {
        durable_lsn = durable_lsn.max(file.header.durable_lsn);
    }
    let start = first_to_walk(&segments.readable, state)?;
    let damage = segments.unreadable_below(start)?;
    let files = segments.readable.split_off(start);
    let superseded = std::mem::take(&mut segments.superseded);
    let last_file = last_file(setup).map_err(RecoverError::from)?;
    let walked = Walked { segments: Vec::new(), durable_lsn, damage, superseded, last_file, gaps };
    let mut walk = Walk { setup, state, gaps, report, walked, visit };
    walk.segments(&segments, files)?;
    walk.judge_tail(&segments)?;
    let walked = walk.walked;
    report.segments = u64_of(walked.segments.len());
    check_state(&walked, state)?;
    Ok(walked)
}

/// The last segment that begins at or below state's position and the oldest open message; earlier,
/// as long as the one before was not closed, because a crash may have left its rest uncut.
fn first_to_walk(files: &[SegmentFile], state: Option<StateStamp>) -> Result<usize, RecoverError> {
    let Some(state) = state else { return Ok(0) };
    let from = state.lsn.min(state.open_lsn);
    let mut start = files.iter().rposition(|file| file.header.first_lsn <= from).unwrap_or(0);
    while let Some(file) = start.checked_sub(1).and_then(|at| files.get(at)) {
        if file.footer()?.is_some() {
            break;
        }
        start -= 1;
    }
    Ok(start)
}

fn last_file(setup: &LogSetup) -> Result<SegmentNumber, DiskError> {
    let files = setup.disk.list(&setup.directory)?;
    let numbers = files.iter().filter_map(|path| SegmentNumber::of(path));
    Ok(numbers.max().unwrap_or(SegmentNumber(0)))
}

struct Walk<'a, V> {
    setup: &'a LogSetup,
    state: Option<StateStamp>,
    gaps: Gaps,
    report: &'a mut RecoveryReport,
    walked: Walked,
    /// Sees what is above state's position, and may refuse it.
    visit: &'a mut V,
}

impl<V> Walk<'_, V> {
    /// Walks `files`, until one does not join the one before it.
    fn segments<E>(&mut self, all: &Segments, files: Vec<SegmentFile>) -> Result<(), E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
        E: From<RecoverError>,
    {
        for file in files {
            if let Some(previous) = self.walked.segments.last_mut() {
                let header =
                    all.unreadable_between(previous.file.header.number, Some(file.header.number));
                if let Some(damage) = join(previous, &file, header, (self.state, self.gaps)) {
                    let severity = damage.severity;
                    self.walked.damage.push(damage);
                    if severity == Severity::AboveState && self.gaps == Gaps::Refused {
                        return Ok(());
                    }
                }
            }
            let footer = file.footer().map_err(RecoverError::from)?;
            let mut segment = self.segment(file)?;
            let footer_lsn = footer.as_ref().map_or(Lsn::ZERO, |footer| footer.durable_lsn);
            self.walked.durable_lsn = self.walked.durable_lsn.max(footer_lsn);
            if segment.file.header.role == Role::Primary {
                let stamps = segment.groups.iter().map(|group| group.header.stamp.durable_lsn);
                self.walked.durable_lsn = stamps.fold(self.walked.durable_lsn, Lsn::max);
            }
            let last = segment.end().hash;
            segment.has_footer = footer.is_some();
            segment.is_closed = footer.is_some_and(|footer| {
                segment.is_damaged
                    || (footer.last == last && footer.groups.len() == segment.groups.len())
            });
            segment.kept = segment.groups.len();
            self.walked.segments.push(segment);
        }
        Ok(())
    }

    /// Reads groups as long as each continues the chain, or takes it up again behind a gap.
    fn segment<E>(&mut self, file: SegmentFile) -> Result<Segment, E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
        E: From<RecoverError>,
    {
        let mut segment = Segment::new(file);
        let mut end = segment.end();
        let mut buffer = Vec::new();
        loop {
            let read = match self.gaps {
                Gaps::Refused => segment.file.group_at(segment.stop, &mut buffer),
                Gaps::Bridged => segment.file.group_without_chunks_at(segment.stop, &mut buffer),
            };
            let found = match read.map_err(RecoverError::from)? {
                Ok((found, group)) => match continues(self.setup, &found.header, end) {
                    Ok(()) => {
                        self.see(&segment, &found, &group)?;
                        Ok(found)
                    }
                    Err(error) => Err(error),
                },
                Err(error) => {
                    refuse_newer(&segment.file, error)?;
                    Err(error)
                }
            };
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    segment.why = error;
                    match self.behind_gap(&segment, end.last_lsn)? {
                        Some((offset, header)) => {
                            self.note_gap(&segment, end.last_lsn, before(header.stamp.first_lsn));
                            segment.is_damaged = true;
                            segment.kept_min = segment.groups.len() + 1;
                            segment.stop = offset;
                            end.last_lsn = before(header.stamp.first_lsn);
                            end.hash = header.stamp.previous;
                            continue;
                        }
                        None => break,
                    }
                }
            };
            end.hash = found.hash;
            end.last_lsn = found.header.stamp.last_lsn;
            self.report.groups += 1;
            self.report.remnants += u64::from(found.header.stands_for.is_some());
            self.report.bytes += u64::from(found.stored_len);
            segment.stop = found.end();
            segment.groups.push(found);
        }
        Ok(segment)
    }

    /// Shows a group that state has not applied to whoever may refuse it.
    fn see<E>(&mut self, segment: &Segment, found: &FoundGroup, group: &Group<'_>) -> Result<(), E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
    {
        let last_lsn = found.header.stamp.last_lsn;
        if self.state.is_some_and(|state| last_lsn <= state.lsn) {
            return Ok(());
        }
        let segment = segment.file.header.number;
        (self.visit)(Replayed::Seen { segment, offset: found.offset, group })
    }

    /// The next group behind a gap, if state has applied all that is missing between.
    fn behind_gap(
        &self,
        segment: &Segment,
        reached: Lsn,
    ) -> Result<Option<(u64, GroupHeader)>, RecoverError> {
        if self.gaps == Gaps::Bridged {
            return self.behind_any(segment, reached);
        }
        let Some(state) = self.state.filter(|state| reached < state.lsn) else { return Ok(None) };
        let beyond = beyond(&segment.file, segment.stop)?;
        let follows = |header: &GroupHeader| {
            header.stamp.volume == self.setup.volume
                && header.stamp.first_lsn > reached
                && header.stamp.first_lsn <= successor(state.lsn)
        };
        Ok(beyond.groups.into_iter().find(|(_, header)| follows(header)))
    }

    /// The next group behind a gap, whatever is missing.
    fn behind_any(
        &self,
        segment: &Segment,
        reached: Lsn,
    ) -> Result<Option<(u64, GroupHeader)>, RecoverError> {
        let is_later = |header: &GroupHeader| {
            header.stamp.volume == self.setup.volume && header.stamp.first_lsn > reached
        };
        let mut buffer = Vec::new();
        if let Some(footer) = segment.file.footer()? {
            for entry in footer.groups.iter().filter(|entry| entry.offset > segment.stop) {
                let read = segment.file.group_without_chunks_at(entry.offset, &mut buffer)?;
                if let Ok((found, _)) = read
                    && is_later(&found.header)
                {
                    return Ok(Some((entry.offset, found.header)));
                }
            }
            return Ok(None);
        }
        let beyond = beyond(&segment.file, segment.stop)?;
        Ok(beyond.groups.into_iter().find(|(_, header)| is_later(header)))
    }

    fn note_gap(&mut self, segment: &Segment, reached: Lsn, last: Lsn) {
        let is_applied = self.state.is_some_and(|state| last <= state.lsn);
        let (what, severity) = if is_applied {
            ("a group that state has applied cannot be read", Severity::BelowState)
        } else {
            ("a group that was acknowledged cannot be read", Severity::AboveState)
        };
        let first = successor(reached);
        let damage = segment.damage(what);
        self.walked.damage.push(LogDamage { damage, first, last, severity });
    }

    /// Decides whether the chain ends at a torn tail or at damage, and which of its last groups are
    /// known durable.
    fn judge_tail(&mut self, all: &Segments) -> Result<(), RecoverError> {
        if self.walked.is_broken() {
            return Ok(());
        }
        let mut tail = self.walked.segments.pop().ok_or(RecoverError::UsedUp)?;
        // A segment behind this one that nothing is known of: it may have held anything.
        let header = all.unreadable_between(tail.file.header.number, None);
        let readable = tail.end().last_lsn;
        if let Some(state) = self.state.filter(|state| readable < state.lsn) {
            if header.is_none() {
                self.note_gap(&tail, readable, state.lsn);
            }
            tail.is_damaged = true;
            tail.is_closed = tail.has_footer;
            tail.skipped_to = Some((state.lsn, state.group_hash));
        }
        let reached = tail.end().last_lsn;
        let beyond = beyond(&tail.file, tail.stop)?;
        let is_later = |header: &&GroupHeader| {
            header.stamp.volume == self.setup.volume && header.stamp.first_lsn > reached
        };
        let later: Vec<&GroupHeader> =
            beyond.groups.iter().map(|(_, header)| header).filter(is_later).collect();
        let mut durable_lsn = self.walked.durable_lsn;
        if tail.file.header.role == Role::Primary {
            durable_lsn = later.iter().fold(durable_lsn, |lsn, h| lsn.max(h.stamp.durable_lsn));
        }
        self.walked.durable_lsn = durable_lsn;
        if durable_lsn > reached || header.is_some() {
            let first = successor(readable);
            let next = later.iter().map(|header| header.stamp.first_lsn).find(|lsn| *lsn > first);
            let why = "a group that was acknowledged cannot be read";
            self.walked.damage.push(LogDamage {
                damage: header.unwrap_or_else(|| tail.damage(why)),
                first,
                last: next.map_or(durable_lsn.max(first), before),
                severity: Severity::AboveState,
            });
            // Given up, it is no torn tail all the same: nothing of it is removed with its file.
            tail.is_damaged |= self.gaps == Gaps::Bridged;
        } else {
            self.report.cut_bytes = if tail.is_closed { 0 } else { beyond.byte_count };
            let is_durable = |group: &FoundGroup| {
                group.header.item_count > 0 && group.header.stamp.last_lsn <= durable_lsn
            };
            // A watermark group takes no position, so no position proves it durable: only a later
            // group does.
            if self.gaps == Gaps::Bridged {
                tail.forget_torn(durable_lsn)?;
                tail.kept = tail.groups.len();
            } else if tail.skipped_to.is_none() {
                let durable = tail.groups.iter().rposition(is_durable).map_or(0, |at| at + 1);
                tail.kept = durable.max(tail.kept_min);
            }
            tail.is_closed &= tail.kept == tail.groups.len();
        }
        self.walked.segments.push(tail);
        Ok(())
    }
}

/// Connects a segment with the one before it, whose rest it may supersede; answers what is missing
/// between them. `header`: a segment between them whose header is damaged.
fn join(
    previous: &mut Segment,
    next: &SegmentFile,
    header: Option<Damage>,
    (state, gaps): (Option<StateStamp>, Gaps),
) -> Option<LogDamage> {
    let next = &next.header;
    if let Some(count) = previous.count_up_to(next.previous) {
        if count < previous.groups.len() {
            previous.is_closed = false;
        }
        previous.groups.truncate(count);
        previous.kept = count;
        return None;
    }
    let reached = previous.end().last_lsn;
    let is_applied = state.is_some_and(|state| next.first_lsn <= successor(state.lsn));
    if is_applied || gaps == Gaps::Bridged {
        previous.groups.retain(|group| group.header.stamp.last_lsn < next.first_lsn);
        previous.kept = previous.groups.len();
        previous.is_damaged = true;
        previous.is_closed = previous.has_footer;
        previous.skipped_to = Some((before(next.first_lsn), next.previous));
    }
    let what = "groups are missing before the next segment";
    Some(LogDamage {
        damage: header.unwrap_or_else(|| previous.damage(what)),
        first: successor(reached),
        last: before(next.first_lsn),
        severity: if is_applied { Severity::BelowState } else { Severity::AboveState },
    })
}

/// A group that a newer binary wrote is neither damage nor a torn tail.
fn refuse_newer(file: &SegmentFile, error: FormatError) -> Result<(), RecoverError> {
    file.newer(error).map_or(Ok(()), |newer| Err(newer.into()))
}

/// What lies behind the end of the chain. A newer group there may prove anything, so it is refused.
fn beyond(file: &SegmentFile, stop: u64) -> Result<Beyond, RecoverError> {
    let beyond = file.beyond(stop)?;
    match beyond.newer {
        Some(error) => refuse_newer(file, error).map(|()| beyond),
        None => Ok(beyond),
    }
}

fn continues(setup: &LogSetup, header: &GroupHeader, end: ChainEnd) -> Result<(), FormatError> {
    let refuse = |field| Err(FormatError::Field { what: "a group", field });
    if header.stamp.volume != setup.volume {
        return refuse("volume");
    }
    if header.stamp.previous != end.hash {
        return refuse("previous");
    }
    if !header.stamp.follows(end.last_lsn) {
        return refuse("first_lsn");
    }
    Ok(())
}

/// State and log must be of one history.
fn check_state(walked: &Walked, state: Option<StateStamp>) -> Result<(), RecoverError> {
    let (Some(state), Some(first)) = (state, walked.segments.first()) else { return Ok(()) };
    let begins_with = first.file.header.previous;
    if begins_with == state.group_hash {
        return Ok(());
    }
    let other = Err(RecoverError::OtherHistory { lsn: state.lsn });
    if first.file.header.first_lsn > state.lsn {
        // The group that stamped state is not in the log; that is good only right at its begin.
        let is_right_behind = successor(state.lsn) == first.file.header.first_lsn;
        let is_fresh = state.group_hash == GroupHash::NONE && begins_with == GroupHash::NONE;
        return if is_right_behind || is_fresh { Ok(()) } else { other };
    }
    // The stamping group itself may be the damaged one: then the next one names it.
    let names_it = |segment: &Segment| {
        segment.skipped_to.is_some_and(|(_, hash)| hash == state.group_hash)
            || segment.groups.iter().any(|group| {
                group.hash == state.group_hash || group.header.stamp.previous == state.group_hash
            })
    };
    if walked.segments.iter().any(names_it) { Ok(()) } else { other }
}
