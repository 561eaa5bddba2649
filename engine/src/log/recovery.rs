//! Opening the log after a stop of any kind: what was acknowledged, what is a torn tail, what is
//! damage.
//!
//! 1. **Walk** the segments from the one that replay begins in, verifying hashes and chain. What a
//!    newer version wrote is refused here, before anything is changed.
//! 2. Find the **known durable** position: the highest of state's stamp, of what segment headers
//!    and footers note about this disk, and of `durable_lsn` of groups that this node wrote as
//!    primary, also of groups behind a bad one.
//! 3. **Judge** what cannot be read. Above known durable it is a torn tail. At or below it, it is
//!    damage of acknowledged mail, and reported: where state has applied it, the log goes on behind
//!    it (only the blobs in it are lost); above state, nothing may follow, and the log is read up
//!    to there and takes no more.
//! 4. **Carry** groups above known durable into a new segment, which is flushed before it has a
//!    name; its header then truthfully calls them durable.
//! 5. **Close** the old tail: cut behind its last durable group, footer, flush; remove it if empty.
//! 6. **Replay** to the caller, group by group.
//!
//! Opened for reading, or with damage above state, 4 and 5 are left out: nothing on disk changes.
//! Who gives damage up ([`Gaps::Bridged`]) gets all that can be read behind it too, and a segment
//! to go on in; what was lost is then for the caller to say.
//!
//! # Invariants
//! 1. Nothing is shown to the caller that a power cut could take back.
//! 2. A crash at any call, and opening again, finds the same groups. Between 4 and 5 the old tail
//!    still holds what was carried: a segment whose `previous` lies inside the one before it
//!    supersedes its rest.
//! 3. Bytes at or below known durable are never cut.

mod replay;
mod segment;
mod walk;

use std::path::PathBuf;

pub(crate) use self::segment::{before, successor};
pub(crate) use self::walk::numbers;

use self::replay::Replay;
use self::walk::Walked;
use super::format::group::GroupHash;
use super::format::segment::SegmentNumber;
use super::setup::{ChunkPlace, GroupPlace, LogSetup};
use super::writer::{ChainEnd, LogWriter};
use crate::disk::OpenMode;
use crate::error::{Damage, DiskError, ReadError};
use crate::ids::{Lsn, VolumeId};
use crate::log::format::group::Group;

/// What flushed state says about the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StateStamp {
    /// Last position applied.
    pub lsn: Lsn,
    /// `open_lsn` of the group that took it.
    pub open_lsn: Lsn,
    /// Hash of that group.
    pub group_hash: GroupHash,
}

/// What recovery hands to its caller, in the order of the log.
#[derive(Debug)]
pub enum Replayed<'a> {
    /// A verified group above state's position, while nothing on the disk has been changed yet and
    /// nothing is known to be durable: not to be applied, but to be refused if it is newer than the
    /// caller. All of them come before everything else.
    Seen {
        /// Its segment.
        segment: SegmentNumber,
        /// Where it begins in the segment's file.
        offset: u64,
        /// It.
        group: &'a Group<'a>,
    },
    /// Where there is no state: asks whether every group is to be seen once more before the first
    /// is applied.
    Look(&'a mut bool),
    /// A group, if that was asked for.
    Before {
        /// Where it lies.
        place: GroupPlace,
        /// It.
        group: &'a Group<'a>,
    },
    /// Where a chunk lies. Comes before the group that it lies in; only for segments that were
    /// walked, because state knows those below it.
    Chunk(ChunkPlace),
    /// A group above state's position: its records are to be applied.
    Group {
        /// Where it lies.
        place: GroupPlace,
        /// It.
        group: &'a Group<'a>,
    },
}

/// What recovery did; for the start-up line and for tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Segments walked.
    pub segments: u64,
    /// Groups read and verified.
    pub groups: u64,
    /// Of them, remnants of runs of groups whose records base images cover.
    pub remnants: u64,
    /// Groups handed to the caller for applying.
    pub groups_replayed: u64,
    /// Bytes of the groups read.
    pub bytes: u64,
    /// Groups that were readable but not known durable, and were written and flushed once more.
    pub groups_carried: u64,
    /// Bytes of the torn tail that were cut.
    pub cut_bytes: u64,
}

/// The log after recovery.
pub struct Recovered {
    /// Open for appending, in a new segment; `None` when opened for reading only, and where damage
    /// above state's position lets nothing follow.
    pub writer: Option<LogWriter>,
    /// Where the chain ends that was replayed.
    pub end: ChainEnd,
    /// Acknowledged groups that cannot be read.
    pub damage: Vec<LogDamage>,
    /// What happened.
    pub report: RecoveryReport,
}

/// Acknowledged groups that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("acknowledged groups are damaged: {damage}; positions {first} to {last}")]
pub struct LogDamage {
    /// Where the chain breaks.
    pub damage: Damage,
    /// First position touched.
    pub first: Lsn,
    /// Last position touched, as far as can be told.
    pub last: Lsn,
    /// What it means for the store.
    pub severity: Severity,
}

/// What becomes of acknowledged groups that cannot be read and that state has not applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Gaps {
    /// The log is read up to there, and nothing follows.
    Refused,
    /// They are given up: the log is read on behind them, group by group without regard to the
    /// bytes of chunks, and goes on. Nothing of them may be lost that the caller has not kept.
    Bridged,
}

/// What damage of the log means for the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// State has applied its records: only messages whose bytes lie in it are lost.
    BelowState,
    /// Its records are needed: the store is read-only, as of the position before it.
    AboveState,
}

/// A log that was not opened. Nothing was cut.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// No segment's header can be read, or bytes changed while they were read.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The folder holds no segment.
    #[error("{} holds no log segment", .0.display())]
    NoSegments(PathBuf),
    /// A segment of another volume.
    #[error("{} belongs to volume {found}", .file.display())]
    OtherVolume {
        /// The segment.
        file: PathBuf,
        /// Its volume.
        found: VolumeId,
    },
    /// Something in the log was written by a newer version.
    #[error("{what} has format {found}, known is {known}")]
    NewerFormat {
        /// What, and where.
        what: String,
        /// Its format.
        found: u32,
        /// The newest that we know.
        known: u32,
    },
    /// State was stamped by a group that is not in this log.
    #[error("state was written for another history: its group at {lsn} is not in the log")]
    OtherHistory {
        /// State's position.
        lsn: Lsn,
    },
    /// The log ran out of positions or segment numbers.
    #[error("the log's numbers are used up")]
    UsedUp,
}

impl From<ReadError> for RecoverError {
    fn from(error: ReadError) -> RecoverError {
        match error {
            ReadError::Disk(error) => RecoverError::Disk(error),
            ReadError::Damage(damage) => RecoverError::Damage(damage),
            ReadError::NewerFormat { what, found, known } => {
                RecoverError::NewerFormat { what, found, known }
            }
            other => RecoverError::Damage(Damage {
                file: PathBuf::new(),
                offset: 0,
                what: other.to_string(),
            }),
        }
    }
}

/// Opens the log in `setup.directory`; `state` is the stamp of flushed state, if there is any.
///
/// `visit` sees the groups above state's position, so that it can refuse them; then it gets the
/// places of the chunks in the segments walked, and those groups in order.
///
/// # Errors
/// [`RecoverError`], or what `visit` refused with.
pub fn recover<E: From<RecoverError>>(
    setup: LogSetup,
    state: Option<StateStamp>,
    mode: OpenMode,
    visit: impl FnMut(Replayed<'_>) -> Result<(), E>,
) -> Result<Recovered, E> {
    recover_over(setup, state, (mode, Gaps::Refused), visit)
}

/// The same, with a say in what becomes of gaps.
///
/// # Errors
/// As for [`recover`].
pub fn recover_over<E: From<RecoverError>>(
    setup: LogSetup,
    state: Option<StateStamp>,
    (mode, gaps): (OpenMode, Gaps),
    mut visit: impl FnMut(Replayed<'_>) -> Result<(), E>,
) -> Result<Recovered, E> {
    let mut report = RecoveryReport::default();
    let walked = walk::walk(&setup, state, (mode, gaps), &mut report, &mut visit)?;
    let end = ChainEnd {
        durable_lsn: walked.durable_lsn,
        ..walked.segments.last().ok_or(RecoverError::UsedUp)?.end()
    };
    if mode == OpenMode::Read || walked.is_broken() {
        report.cut_bytes = 0;
        let mut replay = Replay::new(&setup, (state, gaps), &mut report, visit);
        for &pass in replay.passes()? {
            for segment in &walked.segments {
                replay.walked(segment, segment.groups.len(), pass)?;
            }
        }
        return Ok(Recovered { writer: None, end, damage: walked.damage, report });
    }
    let writer = carry(&setup, &walked, end, &mut report)?;
    close_old(&setup, &walked, &writer)?;
    let mut replay = Replay::new(&setup, (state, gaps), &mut report, visit);
    for &pass in replay.passes()? {
        for segment in &walked.segments {
            replay.walked(segment, segment.kept, pass)?;
        }
        replay.begun(writer.segment(), pass)?;
    }
    Ok(Recovered { end: writer.end(), writer: Some(writer), damage: walked.damage, report })
}

/// Begins the new segment with the groups that are not known durable.
fn carry(
    setup: &LogSetup,
    walked: &Walked,
    end: ChainEnd,
    report: &mut RecoveryReport,
) -> Result<LogWriter, RecoverError> {
    let tail = walked.segments.last().ok_or(RecoverError::UsedUp)?;
    // Behind every file there is, of which some may have been passed over.
    let last = tail.file.header.number.max(walked.last_file);
    let number = last.next_place().ok_or(RecoverError::UsedUp)?;
    let before = ChainEnd { durable_lsn: walked.durable_lsn, ..tail.end_of(tail.kept) };
    let carried = tail.groups.get(tail.kept..).unwrap_or_default();
    report.groups_carried = crate::width::u64_of(carried.len());
    let mut groups = carried.iter().map(|group| tail.read_again(group));
    LogWriter::begin(setup.clone(), number, before, end, &mut groups)
}

/// Closes or removes what the new segment made superfluous.
fn close_old(setup: &LogSetup, walked: &Walked, writer: &LogWriter) -> Result<(), RecoverError> {
    let is_superfluous = |segment: &&segment::Segment| segment.kept == 0 && !segment.is_damaged;
    for segment in walked.segments.iter().filter(|segment| !is_superfluous(segment)) {
        if !segment.is_closed {
            segment.close(setup, writer.end().durable_lsn)?;
        }
    }
    let mut removed = false;
    for segment in walked.segments.iter().filter(is_superfluous) {
        setup.disk.remove(&segment.file.path)?;
        removed = true;
    }
    for number in &walked.superseded {
        setup.disk.remove(&number.path(&setup.directory))?;
        removed = true;
    }
    if removed {
        setup.disk.sync_dir(&setup.directory)?;
    }
    Ok(())
}
