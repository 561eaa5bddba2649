//! Handing the recovered log to its reader, one group in memory at a time.

use super::segment::Segment;
use super::{Gaps, RecoverError, RecoveryReport, Replayed, StateStamp};
use crate::error::Damage;
use crate::ids::Lsn;
use crate::log::build::chunks_of;
use crate::log::format::group::Group;
use crate::log::format::segment::{GROUPS_AT, SegmentNumber};
use crate::log::reader::{FoundGroup, SegmentFile};
use crate::log::setup::LogSetup;

/// Hands on groups and places of chunks. Segments below those that were walked lie below state's
/// position, so state knows where their chunks are: opening costs the same however long the log is.
pub(super) struct Replay<'a, V> {
    pub(super) setup: &'a LogSetup,
    pub(super) applied: Option<Lsn>,
    gaps: Gaps,
    pub(super) report: &'a mut RecoveryReport,
    pub(super) visit: V,
}

/// What a pass over the log is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pass {
    Look,
    Apply,
}

impl<'a, V> Replay<'a, V> {
    pub(super) fn new(
        setup: &'a LogSetup,
        (state, gaps): (Option<StateStamp>, Gaps),
        report: &'a mut RecoveryReport,
        visit: V,
    ) -> Replay<'a, V> {
        Replay { setup, applied: state.map(|state| state.lsn), gaps, report, visit }
    }

    /// How often the log is handed on: once, or with a look at all of it before.
    pub(super) fn passes<E>(&mut self) -> Result<&'static [Pass], E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
    {
        let mut looks = false;
        if self.applied.is_none() {
            (self.visit)(Replayed::Look(&mut looks))?;
        }
        Ok(if looks { &[Pass::Look, Pass::Apply] } else { &[Pass::Apply] })
    }

    /// The first `count` groups of a segment that was walked.
    pub(super) fn walked<E>(&mut self, segment: &Segment, count: usize, pass: Pass) -> Result<(), E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
        E: From<RecoverError>,
    {
        let mut buffer = Vec::new();
        for group in segment.groups.iter().take(count) {
            let read = match self.gaps {
                Gaps::Refused => segment.file.group_at(group.offset, &mut buffer),
                Gaps::Bridged => segment.file.group_without_chunks_at(group.offset, &mut buffer),
            };
            let read = read.map_err(RecoverError::from)?;
            let (found, read) = read.map_err(|error| {
                let what = format!("the group changed while it was read: {error}");
                let file = segment.file.path.clone();
                RecoverError::Damage(Damage { file, offset: group.offset, what })
            })?;
            self.group(segment.file.header.number, &found, &read, pass)?;
        }
        Ok(())
    }

    /// All groups of the segment that was just begun.
    pub(super) fn begun<E>(&mut self, number: SegmentNumber, pass: Pass) -> Result<(), E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
        E: From<RecoverError>,
    {
        let path = number.path(&self.setup.directory);
        let file =
            SegmentFile::open(self.setup.disk.as_ref(), &path).map_err(RecoverError::from)?;
        let mut at = GROUPS_AT;
        let mut buffer = Vec::new();
        while let Ok((found, group)) = file.group_at(at, &mut buffer).map_err(RecoverError::from)? {
            self.group(number, &found, &group, pass)?;
            at = found.end();
        }
        Ok(())
    }

    fn group<E>(
        &mut self,
        number: SegmentNumber,
        found: &FoundGroup,
        group: &Group<'_>,
        pass: Pass,
    ) -> Result<(), E>
    where
        V: FnMut(Replayed<'_>) -> Result<(), E>,
    {
        let place = found.place(number);
        if pass == Pass::Look {
            return (self.visit)(Replayed::Before { place, group });
        }
        for chunk in chunks_of(group) {
            (self.visit)(Replayed::Chunk(chunk.at(place)))?;
        }
        if self.applied.is_none_or(|lsn| found.header.stamp.last_lsn > lsn) {
            self.report.groups_replayed += 1;
            (self.visit)(Replayed::Group { place, group })?;
        }
        Ok(())
    }
}
