//! Which group of a log ends at a position.

use crate::check::LogSource;
use crate::error::ReadError;
use crate::ids::Lsn;
use crate::log::SegmentFile;
use crate::log::format::segment::GROUPS_AT;
use crate::pair::Position;

/// The first group that ends there: watermarks behind it end there too, and the other node may lack
/// them.
///
/// # Errors
/// [`ReadError`].
pub(crate) fn group_ending_at(
    log: &LogSource,
    switched: &[u64],
    lsn: Lsn,
) -> Result<Option<Position>, ReadError> {
    for number in log.segments(switched)?.into_iter().rev() {
        let file = SegmentFile::open_cached(log.disk.as_ref(), &number.path(&log.directory))?;
        if file.header.first_lsn > lsn {
            continue;
        }
        let mut buffer = Vec::new();
        let mut offset = GROUPS_AT;
        if let Some(footer) = file.footer()? {
            let Some(entry) = footer.groups.iter().find(|entry| entry.last_lsn == lsn) else {
                return Ok(None);
            };
            offset = entry.offset;
        }
        loop {
            let read = file.group_without_chunks_at(offset, &mut buffer)?;
            let Ok((found, _)) = read else { return Ok(None) };
            let stamp = &found.header.stamp;
            if stamp.last_lsn == lsn {
                return Ok(Some(Position { lsn, hash: found.hash }));
            }
            if stamp.last_lsn > lsn {
                return Ok(None);
            }
            offset = found.end();
        }
    }
    Ok(None)
}
