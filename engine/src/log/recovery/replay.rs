//! Handing the recovered log to its reader, one group in memory at a time.

use super::{RecoverError, RecoveryReport, Replayed, StateStamp};
use crate::ids::Lsn;
use crate::log::build::chunks_of;
use crate::log::format::segment::{GROUPS_AT, SegmentNumber};
use crate::log::reader::SegmentFile;
use crate::log::setup::LogSetup;

/// Groups and places of chunks from the segments that were kept. Older segments lie below state's
/// position, so state knows where their chunks are: opening costs the same however long the log is.
pub(super) fn replay<E: From<RecoverError>>(
    setup: &LogSetup,
    state: Option<StateStamp>,
    kept: &[SegmentNumber],
    report: &mut RecoveryReport,
    visit: &mut impl FnMut(Replayed<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let applied = state.map(|state| state.lsn);
    for number in kept {
        let path = number.path(&setup.directory);
        let file = SegmentFile::open(setup.disk.as_ref(), &path).map_err(RecoverError::from)?;
        replay_segment(&file, applied, report, visit)?;
    }
    Ok(())
}

fn replay_segment<E: From<RecoverError>>(
    file: &SegmentFile,
    applied: Option<Lsn>,
    report: &mut RecoveryReport,
    visit: &mut impl FnMut(Replayed<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = GROUPS_AT;
    let mut buffer = Vec::new();
    while let Ok((found, group)) = file.group_at(at, &mut buffer).map_err(RecoverError::from)? {
        let place = found.place(file.header.number);
        for chunk in chunks_of(&group) {
            visit(Replayed::Chunk(chunk.at(place)))?;
        }
        let is_new = applied.is_none_or(|lsn| found.header.stamp.last_lsn > lsn);
        if is_new {
            report.groups_replayed += 1;
            visit(Replayed::Group { place, group: &group })?;
        }
        at = found.end();
    }
    Ok(())
}
