//! Reading the chain from where replay begins to where it ends, and judging the end.

use super::{RecoverError, RecoveryReport, StateStamp};
use crate::disk::{Disk, OpenMode};
use crate::error::{Damage, DiskError};
use crate::ids::Lsn;
use crate::log::build::chunks_of;
use crate::log::format::FormatError;
use crate::log::format::group::{GroupHash, GroupHeader};
use crate::log::format::segment::{Footer, GROUPS_AT, GroupEntry, Role, SegmentNumber};
use crate::log::reader::{FoundGroup, SegmentFile};
use crate::log::setup::LogSetup;
use crate::log::writer::{self, ChainEnd};
use crate::width::u64_of;

/// What the walk found.
pub(super) struct Walked {
    /// From the one that replay begins in to the last.
    pub(super) segments: Vec<Segment>,
    /// Highest position known durable on this disk.
    pub(super) durable_lsn: Lsn,
}

/// A segment that was walked.
pub(super) struct Segment {
    pub(super) file: SegmentFile,
    /// The groups of the chain in it.
    pub(super) groups: Vec<FoundGroup>,
    /// How many of them stay here; the rest is, or will be, in the next segment.
    pub(super) kept: usize,
    /// Its footer describes exactly the groups that stay.
    pub(super) is_closed: bool,
    /// Where the chain ended, and why.
    stop: u64,
    why: FormatError,
}

impl Segment {
    /// The end of the chain behind its first `count` groups.
    pub(super) fn end_of(&self, count: usize) -> ChainEnd {
        let header = &self.file.header;
        let last = count.checked_sub(1).and_then(|at| self.groups.get(at));
        match last {
            Some(group) => ChainEnd {
                last_lsn: group.header.stamp.last_lsn,
                hash: group.hash,
                durable_lsn: header.durable_lsn,
            },
            None => ChainEnd {
                last_lsn: before(header.first_lsn),
                hash: header.previous,
                durable_lsn: header.durable_lsn,
            },
        }
    }

    /// How many groups the chain has up to `hash`; `None` if it is not in here.
    fn count_up_to(&self, hash: GroupHash) -> Option<usize> {
        if let Some(at) = self.groups.iter().rposition(|group| group.hash == hash) {
            return Some(at + 1);
        }
        (self.file.header.previous == hash).then_some(0)
    }

    /// Cuts the file behind the groups that stay and gives it a footer; durable on return.
    pub(super) fn close(&self, disk: &dyn Disk, durable_lsn: Lsn) -> Result<(), DiskError> {
        let kept = self.groups.get(..self.kept).unwrap_or_default();
        let mut contents =
            Footer { durable_lsn, last: self.end_of(self.kept).hash, ..Footer::default() };
        let mut buffer = Vec::new();
        for group in kept {
            contents.groups.push(GroupEntry {
                offset: group.offset,
                first_lsn: group.header.stamp.first_lsn,
                last_lsn: group.header.stamp.last_lsn,
                stored_len: group.stored_len,
            });
            if let Ok((_, read)) = self.file.group_at(group.offset, &mut buffer)? {
                let place = group.place(self.file.header.number);
                contents
                    .chunks
                    .extend(chunks_of(&read).iter().map(|chunk| chunk.at(place).entry()));
            }
        }
        let end = kept.last().map_or(GROUPS_AT, FoundGroup::end);
        let file = disk.open(&self.file.path, OpenMode::ReadWrite)?;
        writer::close(file.as_ref(), end, &contents)
    }

    fn damage(&self, what: &str) -> Damage {
        Damage {
            file: self.file.path.clone(),
            offset: self.stop,
            what: format!("{what} ({})", self.why),
        }
    }
}

/// The position right before `lsn`.
fn before(lsn: Lsn) -> Lsn {
    Lsn::from_bits(lsn.bits().saturating_sub(1)).unwrap_or(Lsn::ZERO)
}

/// Reads headers of all segments, walks those that matter, and refuses damage of what is durable.
pub(super) fn walk(
    setup: &LogSetup,
    state: Option<StateStamp>,
    report: &mut RecoveryReport,
) -> Result<Walked, RecoverError> {
    let mut older = open_all(setup)?;
    let mut durable_lsn = state.map_or(Lsn::ZERO, |state| state.lsn);
    for file in &older {
        durable_lsn = durable_lsn.max(file.header.durable_lsn);
    }
    let start = first_to_walk(&older, state)?;
    let mut segments: Vec<Segment> = Vec::new();
    for file in older.split_off(start) {
        if let Some(previous) = segments.last_mut() {
            join(previous, &file)?;
        }
        let footer = file.footer()?;
        durable_lsn = durable_lsn.max(footer.as_ref().map_or(Lsn::ZERO, |f| f.durable_lsn));
        let mut segment = walk_segment(setup, file, report)?;
        if segment.file.header.role == Role::Primary {
            let stamps = segment.groups.iter().map(|group| group.header.stamp.durable_lsn);
            durable_lsn = stamps.fold(durable_lsn, Lsn::max);
        }
        let last = segment.end_of(segment.groups.len()).hash;
        segment.is_closed =
            footer.is_some_and(|f| f.last == last && f.groups.len() == segment.groups.len());
        segments.push(segment);
    }
    let tail = segments.last_mut().ok_or(RecoverError::UsedUp)?;
    durable_lsn = judge_tail(setup, tail, durable_lsn, report)?;
    let durable = |group: &FoundGroup| {
        group.header.item_count > 0 && group.header.stamp.last_lsn <= durable_lsn
    };
    // A watermark group takes no position, so no position proves it durable: only a later group
    // does.
    tail.kept = tail.groups.iter().rposition(durable).map_or(0, |at| at + 1);
    tail.is_closed &= tail.kept == tail.groups.len();
    report.segments = u64_of(segments.len());
    let walked = Walked { segments, durable_lsn };
    check_state(&walked, state)?;
    Ok(walked)
}

fn open_all(setup: &LogSetup) -> Result<Vec<SegmentFile>, RecoverError> {
    let mut numbers: Vec<SegmentNumber> =
        setup.disk.list(&setup.directory)?.iter().filter_map(|p| SegmentNumber::of(p)).collect();
    numbers.sort_unstable();
    let mut files = Vec::with_capacity(numbers.len());
    for number in numbers {
        let file = SegmentFile::open(setup.disk.as_ref(), &number.path(&setup.directory))?;
        if file.header.volume != setup.volume {
            return Err(RecoverError::OtherVolume { file: file.path, found: file.header.volume });
        }
        files.push(file);
    }
    if files.is_empty() {
        return Err(RecoverError::NoSegments(setup.directory.clone()));
    }
    Ok(files)
}

/// The last segment that begins at or below state's position and the oldest open message; earlier,
/// as
/// long as the one before was not closed, because a crash may have left its rest uncut.
fn first_to_walk(files: &[SegmentFile], state: Option<StateStamp>) -> Result<usize, DiskError> {
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

/// Connects a segment with the one before it, whose rest it may supersede.
fn join(previous: &mut Segment, next: &SegmentFile) -> Result<(), RecoverError> {
    let Some(count) = previous.count_up_to(next.header.previous) else {
        return Err(RecoverError::Corruption {
            damage: previous.damage("groups are missing before the next segment"),
            first: successor(previous.end_of(previous.groups.len()).last_lsn),
            last: before(next.header.first_lsn),
        });
    };
    if count < previous.groups.len() {
        previous.is_closed = false;
    }
    previous.groups.truncate(count);
    previous.kept = count;
    Ok(())
}

fn successor(lsn: Lsn) -> Lsn {
    lsn.next().unwrap_or(lsn)
}

/// Reads groups as long as each continues the chain.
fn walk_segment(
    setup: &LogSetup,
    file: SegmentFile,
    report: &mut RecoveryReport,
) -> Result<Segment, RecoverError> {
    let why = FormatError::Short { what: "a group" };
    let mut segment =
        Segment { file, groups: Vec::new(), kept: 0, is_closed: false, stop: GROUPS_AT, why };
    let mut end = segment.end_of(0);
    let mut buffer = Vec::new();
    loop {
        let found = match segment.file.group_at(segment.stop, &mut buffer)? {
            Ok((found, _)) => found,
            Err(error) => {
                segment.why = error;
                break;
            }
        };
        if let Err(error) = continues(setup, &found.header, end) {
            segment.why = error;
            break;
        }
        end.hash = found.hash;
        end.last_lsn = found.header.stamp.last_lsn;
        report.groups += 1;
        report.bytes += u64::from(found.stored_len);
        segment.stop = found.end();
        segment.groups.push(found);
    }
    Ok(segment)
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

/// Decides whether the chain ends at a torn tail or at damage; answers the known durable position.
fn judge_tail(
    setup: &LogSetup,
    tail: &Segment,
    durable_lsn: Lsn,
    report: &mut RecoveryReport,
) -> Result<Lsn, RecoverError> {
    let reached = tail.end_of(tail.groups.len()).last_lsn;
    let beyond = tail.file.beyond(tail.stop)?;
    let is_later = |header: &&GroupHeader| {
        header.stamp.volume == setup.volume && header.stamp.first_lsn > reached
    };
    let later: Vec<&GroupHeader> = beyond.groups.iter().filter(is_later).collect();
    let mut durable_lsn = durable_lsn;
    if tail.file.header.role == Role::Primary {
        durable_lsn = later.iter().fold(durable_lsn, |lsn, h| lsn.max(h.stamp.durable_lsn));
    }
    if durable_lsn <= reached {
        report.cut_bytes = if tail.is_closed { 0 } else { beyond.byte_count };
        return Ok(durable_lsn);
    }
    let first = successor(reached);
    let next = later.iter().map(|header| header.stamp.first_lsn).find(|lsn| *lsn > first);
    Err(RecoverError::Corruption {
        damage: tail.damage("a group that was acknowledged cannot be read"),
        first,
        last: next.map_or(durable_lsn, before),
    })
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
    let mut groups = walked.segments.iter().flat_map(|segment| &segment.groups);
    if groups.any(|group| group.hash == state.group_hash) { Ok(()) } else { other }
}
