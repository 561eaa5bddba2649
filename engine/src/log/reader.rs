//! Reading the log: chunks by their place, groups of a segment in order.
//!
//! Reading never repairs and never trusts: a chunk is compared with its hash, a group with its own.
//! One way is left to whoever has better proof: [`LogReader::read_unverified`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use quick_cache::sync::Cache;

use super::format::FormatError;
use super::format::group::{
    GROUP_HEADER_BYTES, GROUP_STORED_BYTES_MAX, Group, GroupHash, GroupHeader, REMNANT_HEADER_BYTES,
};
use super::format::item::{CHUNK_HEADER_BYTES, ChunkHeader};
use super::format::segment::{
    Footer, GROUPS_AT, Role, SegmentHeader, SegmentNumber, TRAILER_BYTES,
};
use super::setup::{ChunkPlace, GroupPlace};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{Damage, DiskError, ReadError};
use crate::ids::Lsn;
use crate::limits::{GROUP_ALIGNMENT, GROUP_BYTES_MAX};
use crate::sabotage::{Sabotage, breaks};
use crate::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// Files that a reader keeps open.
pub const OPEN_SEGMENTS_MAX: usize = 64;

/// Reads chunks; shared by all readers of a volume.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    open: Cache<SegmentNumber, Arc<dyn DiskFile>>,
    /// Held while a closed segment is written into, and while one loses its name.
    names: Mutex<()>,
}

impl LogReader {
    /// A reader of the segments in `directory`.
    pub fn new(disk: Arc<dyn Disk>, directory: PathBuf) -> LogReader {
        let names = Mutex::default();
        LogReader { disk, directory, open: Cache::new(OPEN_SEGMENTS_MAX), names }
    }

    /// Where the segments are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// No closed segment is written into while this is held.
    pub(crate) fn hold_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock()
    }

    /// Writes the right bytes of a chunk over damaged ones, and reads them back; answers `false`,
    /// and nothing was written, if just this chunk does not belong there, or its segment is still
    /// being written.
    ///
    /// # Errors
    /// The disk, or [`ReadError::Damage`] where what was written is not what is read.
    pub(crate) fn write_back(&self, place: &ChunkPlace, bytes: &[u8]) -> Result<bool, ReadError> {
        let _named = self.names.lock();
        let segments = self.disk.list(&self.directory)?;
        let numbers = segments.iter().filter_map(|path| SegmentNumber::of(path));
        let newest = numbers.map(SegmentNumber::place).max();
        let is_closed = newest.is_some_and(|newest| place.segment.place() < newest);
        let path = place.segment.path(&self.directory);
        let before = place.offset.checked_sub(u64_of(CHUNK_HEADER_BYTES));
        let Some(header_at) =
            before.filter(|_| is_closed && self.disk.exists(&path).is_ok_and(|is| is))
        else {
            return Ok(false);
        };
        let file = self.disk.open(&path, OpenMode::ReadWrite)?;
        let mut header = [0; CHUNK_HEADER_BYTES];
        file.read_at(header_at, &mut header)?;
        if !ChunkHeader::is_of(&header, place) || bytes.len() != usize_of_u32(place.length) {
            return Ok(false);
        }
        file.write_and_sync(place.offset, bytes)?;
        file.forget_cached()?;
        self.forget(place.segment);
        self.read_chunk(place).map(|_| true)
    }

    /// The sealed bytes at `place`, compared with their hash.
    ///
    /// # Errors
    /// [`ReadError::Disk`], or [`ReadError::Damage`] naming file and offset.
    pub fn read_chunk(&self, place: &ChunkPlace) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.read_unverified(place.segment, place.offset, place.length, &mut bytes)?;
        if *blake3::hash(&bytes).as_bytes() != place.hash && !breaks(Sabotage::Hash) {
            let what = format!("chunk {} of {} does not have its hash", place.number, place.lsn);
            return Err(self.damage_or_released(place.segment, place.offset, what));
        }
        Ok(bytes)
    }

    /// The bytes of the group at `place`, header and items, verified without the chunks' bytes.
    ///
    /// # Errors
    /// As for [`LogReader::read_chunk`].
    pub fn read_group(&self, place: &GroupPlace) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::new();
        self.read_unverified(place.segment, place.offset, place.stored_len, &mut bytes)?;
        let what = match Group::decode(&bytes) {
            Ok(group) if group.hash == place.hash => return Ok(bytes),
            Ok(_) => "another group lies here".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(self.damage_or_released(place.segment, place.offset, what))
    }

    /// Forgets the open file of a segment that was removed or replaced.
    pub fn forget(&self, segment: SegmentNumber) {
        self.open.remove(&segment);
    }

    /// Fills `bytes` with what lies at a place, compared with nothing: for chunks that are opened
    /// at once, which proves more than their hash (decision 0007). After an error its content is of
    /// no use.
    ///
    /// # Errors
    /// As for [`LogReader::read_chunk`], for a place that is not within its file.
    pub fn read_unverified(
        &self,
        segment: SegmentNumber,
        offset: u64,
        length: u32,
        bytes: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let length = usize_of_u32(length);
        if length > GROUP_STORED_BYTES_MAX {
            let what = format!("a place names {length} bytes, more than a group has");
            return Err(self.damage(segment, offset, what).into());
        }
        let file = self.file(segment)?;
        bytes.resize(length, 0);
        let found = file.read_at(offset, bytes)?;
        if found < length {
            let what = format!("the file ends after {found} of {length} bytes");
            return Err(self.damage_or_released(segment, offset, what));
        }
        Ok(())
    }

    fn file(&self, segment: SegmentNumber) -> Result<Arc<dyn DiskFile>, DiskError> {
        self.open.get_or_insert_with(&segment, || {
            let path = segment.path(&self.directory);
            self.disk.open(&path, OpenMode::Read).map(Arc::from)
        })
    }

    /// Damage, unless the segment was released while it was read: its file may be another segment
    /// by now. That is told as for a file that is not there.
    fn damage_or_released(&self, segment: SegmentNumber, offset: u64, what: String) -> ReadError {
        self.forget(segment);
        match self.disk.open(&segment.path(&self.directory), OpenMode::Read) {
            Ok(_) => self.damage(segment, offset, what).into(),
            Err(error) => error.into(),
        }
    }

    fn damage(&self, segment: SegmentNumber, offset: u64, what: String) -> Damage {
        Damage { file: segment.path(&self.directory), offset, what }
    }
}

/// A segment's file, open for reading.
pub(crate) struct SegmentFile {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) byte_count: u64,
    file: Box<dyn DiskFile>,
}

/// What the bytes of a closed segment are, besides its chunks and padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SegmentUse {
    /// Header, footer and the headers of chunks.
    pub(crate) fixed: u64,
    /// Records and headers of groups.
    pub(crate) records: u64,
    /// Of its last group.
    pub(crate) last_lsn: Lsn,
}

/// A group found while walking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoundGroup {
    pub(crate) offset: u64,
    pub(crate) stored_len: u32,
    pub(crate) header: GroupHeader,
    pub(crate) hash: GroupHash,
    alignment: u64,
}

impl FoundGroup {
    /// Where the next group may begin.
    pub(crate) fn end(&self) -> u64 {
        (self.offset + u64::from(self.stored_len)).next_multiple_of(self.alignment)
    }

    pub(crate) fn place(&self, segment: SegmentNumber) -> GroupPlace {
        GroupPlace { segment, offset: self.offset, stored_len: self.stored_len, hash: self.hash }
    }
}

impl SegmentFile {
    /// Opens a segment and reads its header.
    ///
    /// # Errors
    /// [`ReadError::Damage`] when no copy of the header is whole or it names another segment.
    pub(crate) fn open(disk: &dyn Disk, path: &Path) -> Result<SegmentFile, ReadError> {
        let file = disk.open(path, OpenMode::Read)?;
        // Pages may be in the cache that a failed flush never brought to the device.
        file.forget_cached()?;
        SegmentFile::of(file, path)
    }

    /// The same of a segment that is known to be good: cached pages will do.
    ///
    /// # Errors
    /// As for [`SegmentFile::open`].
    pub(crate) fn open_cached(disk: &dyn Disk, path: &Path) -> Result<SegmentFile, ReadError> {
        SegmentFile::of(disk.open(path, OpenMode::Read)?, path)
    }

    fn of(file: Box<dyn DiskFile>, path: &Path) -> Result<SegmentFile, ReadError> {
        let mut bytes = vec![0; usize_of(GROUPS_AT)];
        let found = file.read_at(0, &mut bytes)?;
        bytes.truncate(found);
        let damage = |what| Damage { file: path.to_path_buf(), offset: 0, what };
        let header = SegmentHeader::decode_either(&bytes).map_err(|error| {
            newer(path, error).unwrap_or_else(|| damage(error.to_string()).into())
        })?;
        if SegmentNumber::of(path) != Some(header.number) {
            return Err(damage(format!("the header names segment {}", header.number.0)).into());
        }
        let byte_count = file.byte_count()?;
        Ok(SegmentFile { path: path.to_path_buf(), header, byte_count, file })
    }

    /// A segment whose header cannot be read, with what is known of it from elsewhere.
    pub(crate) fn with_header(
        disk: &dyn Disk,
        path: &Path,
        header: SegmentHeader,
    ) -> Result<SegmentFile, DiskError> {
        let file = disk.open(path, OpenMode::Read)?;
        file.forget_cached()?;
        let byte_count = file.byte_count()?;
        Ok(SegmentFile { path: path.to_path_buf(), header, byte_count, file })
    }

    /// Bytes as they lie there, verified by nothing.
    pub(crate) fn raw(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.file.read_at(offset, buffer)
    }

    /// The footer; `None` if the segment was not closed or its footer is damaged.
    ///
    /// # Errors
    /// [`ReadError::Disk`], or [`ReadError::NewerFormat`]: without its footer a segment would count
    /// as not closed, and be closed anew in our format.
    pub(crate) fn footer(&self) -> Result<Option<Footer>, ReadError> {
        let Some(trailer_at) = self.byte_count.checked_sub(u64_of(TRAILER_BYTES)) else {
            return Ok(None);
        };
        let mut trailer = [0; TRAILER_BYTES];
        self.file.read_at(trailer_at, &mut trailer)?;
        let Ok((offset, length)) = Footer::locate(&trailer, self.byte_count) else {
            return Ok(None);
        };
        let mut footer = vec![0; usize_of(length)];
        self.file.read_at(offset, &mut footer)?;
        Footer::decode(&footer, &trailer)
            .map(Some)
            .or_else(|error| newer(&self.path, error).map_or(Ok(None), Err))
    }

    /// What its bytes are; `None` if it was not closed.
    pub(crate) fn usage(&self) -> Result<Option<SegmentUse>, ReadError> {
        let Some(footer) = self.footer()? else { return Ok(None) };
        let chunks = footer.chunks.byte_count();
        let chunk_headers = u64::from(footer.chunks.count()) * u64_of(CHUNK_HEADER_BYTES);
        let groups: u64 = footer.groups.iter().map(|group| u64::from(group.stored_len)).sum();
        Ok(Some(SegmentUse {
            fixed: GROUPS_AT + chunk_headers + u64_of(footer.byte_count()),
            records: groups.saturating_sub(chunks.saturating_add(chunk_headers)),
            last_lsn: footer.groups.last().map_or(Lsn::ZERO, |group| group.last_lsn),
        }))
    }

    /// Reads and verifies the group at `offset` with its chunks; `buffer` then holds it.
    pub(crate) fn group_at<'b>(
        &self,
        offset: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Result<(FoundGroup, Group<'b>), FormatError>, DiskError> {
        let read = self.group_without_chunks_at(offset, buffer)?;
        Ok(read.and_then(|(found, group)| group.verify_chunks().map(|()| (found, group))))
    }

    /// The same without comparing the bytes of chunks with their hashes.
    pub(crate) fn group_without_chunks_at<'b>(
        &self,
        offset: u64,
        buffer: &'b mut Vec<u8>,
    ) -> Result<Result<(FoundGroup, Group<'b>), FormatError>, DiskError> {
        buffer.resize(REMNANT_HEADER_BYTES, 0);
        let found = self.file.read_at(offset, buffer)?;
        buffer.truncate(found);
        let header = match GroupHeader::decode(buffer) {
            Ok(header) => header,
            Err(error @ FormatError::Version { .. }) => {
                return self.judge_version(offset, buffer, error).map(Err);
            }
            Err(error) => return Ok(Err(error)),
        };
        if header.stands_for.is_some() && self.header.role != Role::Reclaimed {
            return Ok(Err(FormatError::Field { what: "a group", field: "magic" }));
        }
        let length = match self.header.role {
            Role::Reclaimed => header.stored_len_max(),
            _ => header.byte_count() + usize_of_u32(header.body_len),
        };
        buffer.resize(length, 0);
        let found = self.file.read_at(offset, buffer)?;
        buffer.truncate(found);
        let group = match Group::decode(buffer) {
            Ok(group) => group,
            Err(error) => return Ok(Err(error)),
        };
        let stored_len = u32_of(group.stored_len());
        let alignment = self.header.role.alignment();
        Ok(Ok((FoundGroup { offset, stored_len, header, hash: group.hash, alignment }, group)))
    }

    /// What it means that the header in `buffer` has a version above ours: that a newer binary
    /// wrote it, or that it is damaged.
    fn judge_version(
        &self,
        offset: u64,
        buffer: &mut Vec<u8>,
        newer: FormatError,
    ) -> Result<FormatError, DiskError> {
        if !Group::names_volume(buffer, self.header.volume) {
            return Ok(FormatError::Field { what: "a group", field: "volume" });
        }
        buffer.resize(GROUP_HEADER_BYTES + GROUP_BYTES_MAX, 0);
        let found = self.file.read_at(offset, buffer)?;
        buffer.truncate(found);
        let is_ours = Group::is_ours_but_for_its_version(buffer);
        Ok(if is_ours { FormatError::Hash { what: "a group" } } else { newer })
    }

    /// The error for a group that a newer binary wrote.
    pub(crate) fn newer(&self, error: FormatError) -> Option<ReadError> {
        newer(&self.path, error)
    }

    /// What lies behind `stop`, where a group should be: later groups, and how many bytes not zero.
    ///
    /// Groups below the segment's first position were in the file before it became this segment
    /// (`spare.rs`): they are no part of it, whole as they may be.
    pub(crate) fn beyond(&self, stop: u64) -> Result<Beyond, DiskError> {
        let mut beyond = Beyond::default();
        let (mut holds_older, mut own_end) = (false, stop);
        let mut page = vec![0; GROUP_ALIGNMENT];
        let mut buffer = Vec::new();
        let mut at = stop;
        while at < self.byte_count {
            let found = self.file.read_at(at, &mut page)?;
            let page = page.get(..found).unwrap_or_default();
            if let Some(last) = page.iter().rposition(|byte| *byte != 0) {
                beyond.byte_count = at - stop + u64_of(last) + 1;
            }
            let header = GroupHeader::decode(page);
            if let Ok(header) = &header {
                let is_older = header.stamp.volume == self.header.volume
                    && header.stamp.last_lsn < self.header.first_lsn;
                if is_older {
                    holds_older = true;
                    at += u64_of(GROUP_ALIGNMENT);
                    continue;
                }
                own_end = at + u64_of(header.byte_count()) + u64::from(header.body_len);
            }
            if matches!(header, Ok(_) | Err(FormatError::Version { .. })) {
                match self.group_at(at, &mut buffer)? {
                    Ok((group, _)) => beyond.groups.push((at, group.header)),
                    Err(error @ FormatError::Version { .. }) => beyond.newer = Some(error),
                    Err(_) => {}
                }
            }
            at += u64_of(GROUP_ALIGNMENT);
        }
        if holds_older {
            beyond.byte_count = own_end - stop;
        }
        Ok(beyond)
    }
}

/// What lies behind the end of the chain in a segment.
#[derive(Default)]
pub(crate) struct Beyond {
    /// Up to the last byte that is not zero; where the file was another segment's before, up to the
    /// end of the last group that is not of that one.
    pub(crate) byte_count: u64,
    /// Whole groups, which the chain does not reach, and where they begin.
    pub(crate) groups: Vec<(u64, GroupHeader)>,
    /// A group of a newer version, which may prove anything.
    pub(crate) newer: Option<FormatError>,
}

/// The error for something in `file` that a newer binary wrote; `None` if that is not what is
/// wrong.
fn newer(file: &Path, error: FormatError) -> Option<ReadError> {
    let FormatError::Version { what, found, known } = error else { return None };
    let what = format!("{what} in {}", file.display());
    Some(ReadError::NewerFormat { what, found: u32::from(found), known: u32::from(known) })
}
