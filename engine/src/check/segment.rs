//! One segment read from its first byte to its last: both copies of its header, its groups with
//! their records and chunks, its footer.
//!
//! A state machine with a `step` of one group, so that a scrub can pause between any two of them.
//! Nothing here needs a key, and nothing is changed.
//!
//! # What can be wrong
//! A chunk that does not have its hash costs that chunk alone: the group's own hash vouches for its
//! records and for the hashes of its chunks. A group that does not verify costs all that lies in
//! it; the footer, or a search, finds the next one.

use std::path::Path;

use crate::disk::Disk;
use crate::error::ReadError;
use crate::ids::{Lsn, VolumeId};
use crate::limits::GROUP_ALIGNMENT;
use crate::log::format::FormatError;
use crate::log::format::group::{Group, GroupHash, GroupHeader};
use crate::log::format::item::Item;
use crate::log::format::segment::{
    Footer, GROUPS_AT, HEADER_COPY_BYTES, Joined, Role, SegmentHeader,
};
use crate::log::{SegmentFile, SegmentNumber, before, successor};
use crate::width::u64_of;

/// What kind of thing is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FlawKind {
    /// One copy of the header; the other is whole.
    HeaderCopy,
    /// Both copies of the header.
    Header,
    /// The footer, which only says again what the groups say.
    Footer,
    /// The bytes of one chunk.
    Chunk,
    /// A group, or several.
    Group,
    /// The file is not there, or holds another segment.
    Missing,
}

/// Something in the log that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Flaw {
    pub(crate) kind: FlawKind,
    pub(crate) segment: SegmentNumber,
    /// First byte touched.
    pub(crate) from: u64,
    /// Behind the last.
    pub(crate) to: u64,
    /// First position touched.
    pub(crate) first: Lsn,
    /// Last position touched.
    pub(crate) last: Lsn,
    /// What was expected and what was found.
    pub(crate) what: String,
}

/// How far reading a segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScanStep {
    /// So many bytes were read.
    Read(u64),
    /// All of it was.
    Done,
}

/// A segment that is being read.
pub(crate) struct SegmentScan {
    number: SegmentNumber,
    file: SegmentFile,
    footer: Option<Footer>,
    /// Where groups end.
    groups_end: u64,
    at: u64,
    /// Last position and hash of the chain so far.
    end: (Lsn, GroupHash),
    /// What lies before the next group is unknown: it is taken as it is.
    joins_anything: bool,
    begin: (Lsn, GroupHash),
    hashes: Vec<GroupHash>,
    flaws: Vec<Flaw>,
    /// Where groups end in a segment without a footer, and why.
    stop: Option<Flaw>,
    buffer: Vec<u8>,
}

impl SegmentScan {
    /// Begins with header and footer.
    ///
    /// # Errors
    /// The disk, or a newer format. In the inner place: that the file holds nothing of this
    /// segment.
    pub(crate) fn begin(
        disk: &dyn Disk,
        directory: &Path,
        number: SegmentNumber,
        volume: VolumeId,
    ) -> Result<Result<SegmentScan, Flaw>, ReadError> {
        SegmentScan::begin_file(disk, &number.path(directory), number, volume)
    }

    /// The same with a file that has another name.
    ///
    /// # Errors
    /// As for [`SegmentScan::begin`].
    pub(crate) fn begin_file(
        disk: &dyn Disk,
        path: &Path,
        number: SegmentNumber,
        volume: VolumeId,
    ) -> Result<Result<SegmentScan, Flaw>, ReadError> {
        let unknown = SegmentHeader {
            role: if number.generation() > 0 { Role::Reclaimed } else { Role::Primary },
            volume,
            number,
            incarnation: [0; 16],
            created_ms: 0,
            first_lsn: Lsn::ZERO,
            previous: GroupHash::NONE,
            durable_lsn: Lsn::ZERO,
            joined: Joined::default(),
        };
        let mut file = SegmentFile::with_header(disk, path, unknown)?;
        let mut flaws = Vec::new();
        let header = match read_header(&file, number)? {
            Ok((header, None)) => Some(header),
            Ok((header, Some((copy, why)))) => {
                let from = u64::from(copy) * u64_of(HEADER_COPY_BYTES);
                let what = format!("copy {} of the segment's header: {why}", copy + 1);
                let (kind, end) = (FlawKind::HeaderCopy, from + u64_of(HEADER_COPY_BYTES));
                flaws.push(Flaw::new(kind, number, (from, end), header.first_lsn, what));
                Some(header)
            }
            Err(why) => {
                let what = format!("both copies of the segment's header: {why}");
                flaws.push(Flaw::new(FlawKind::Header, number, (0, GROUPS_AT), Lsn::ZERO, what));
                None
            }
        };
        if let Some(header) = header {
            if (header.number, header.volume) != (number, volume) {
                let what =
                    format!("the file holds segment {} of {}", header.number.0, header.volume);
                let bytes = (0, file.byte_count);
                return Ok(Err(Flaw::new(FlawKind::Missing, number, bytes, Lsn::ZERO, what)));
            }
            file.header = header;
        }
        let footer = file.footer()?;
        let groups_end = match &footer {
            Some(footer) => (footer.groups.last())
                .map_or(GROUPS_AT, |last| last.offset + u64::from(last.stored_len)),
            None => file.byte_count,
        };
        let begin = (before(file.header.first_lsn), file.header.previous);
        Ok(Ok(SegmentScan {
            number,
            footer,
            groups_end,
            at: GROUPS_AT,
            end: begin,
            joins_anything: header.is_none(),
            begin,
            hashes: Vec::new(),
            flaws,
            stop: None,
            buffer: Vec::new(),
            file,
        }))
    }

    /// Reads the next group, and shows it to `visit` with the offset at which it begins.
    ///
    /// # Errors
    /// The disk, or a newer format.
    pub(crate) fn step(
        &mut self,
        visit: &mut dyn FnMut(u64, &Group<'_>),
    ) -> Result<ScanStep, ReadError> {
        if self.at >= self.groups_end || self.stop.is_some() {
            return Ok(ScanStep::Done);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let at = self.at;
        match self.file.group_without_chunks_at(at, &mut buffer)? {
            Ok((found, group)) => match self.refuse(&found.header) {
                None => {
                    self.chunks(at, &group);
                    visit(at, &group);
                    if self.hashes.is_empty() && self.joins_anything {
                        let stamp = &found.header.stamp;
                        self.begin = (before(stamp.first_lsn), stamp.previous);
                    }
                    self.joins_anything = false;
                    self.end = (found.header.stamp.last_lsn, found.hash);
                    self.hashes.push(found.hash);
                    self.at = found.end();
                }
                Some(why) => self.skip(why.to_owned())?,
            },
            Err(error) => {
                if let Some(newer) = self.file.newer(error) {
                    return Err(newer);
                }
                self.skip(error.to_string())?;
            }
        }
        buffer.clear();
        self.buffer = buffer;
        Ok(ScanStep::Read(self.at.saturating_sub(at)))
    }

    /// Why a group does not continue the chain, if so.
    fn refuse(&self, header: &GroupHeader) -> Option<&'static str> {
        let stamp = &header.stamp;
        if stamp.volume != self.file.header.volume {
            return Some("a group of another volume lies here");
        }
        if self.joins_anything {
            return (stamp.last_lsn < self.end.0).then_some("an older group lies here");
        }
        let joins = stamp.previous == self.end.1 && stamp.follows(self.end.0);
        (!joins).then_some("the group that lies here does not continue the one before")
    }

    /// Compares each chunk with its hash.
    fn chunks(&mut self, at: u64, group: &Group<'_>) {
        for placed in group.items() {
            let Item::Chunk { header, chunk_len, bytes: Some(bytes), rewrapped } = placed.item
            else {
                continue;
            };
            if *blake3::hash(bytes).as_bytes() == rewrapped.unwrap_or(header.hash) {
                continue;
            }
            let from = at + u64::from(placed.offset);
            let what = format!("chunk {} of {} does not have its hash", header.number, header.lsn);
            let bytes = (from, from + u64::from(chunk_len));
            self.flaws.push(Flaw::new(FlawKind::Chunk, self.number, bytes, header.lsn, what));
        }
    }

    /// Goes on behind a group that cannot be read.
    fn skip(&mut self, why: String) -> Result<(), ReadError> {
        let from = self.at;
        let first = successor(self.end.0);
        let next = match &self.footer {
            Some(footer) => footer
                .groups
                .iter()
                .find(|entry| entry.offset > from)
                .map(|entry| (entry.offset, entry.first_lsn)),
            None => self
                .file
                .beyond(from + u64_of(GROUP_ALIGNMENT))?
                .groups
                .iter()
                .find(|(_, header)| header.stamp.first_lsn >= first)
                .map(|(offset, header)| (*offset, header.stamp.first_lsn)),
        };
        let flaw = |to: u64, last: Lsn| Flaw {
            kind: FlawKind::Group,
            segment: self.number,
            from,
            to,
            first,
            last: last.max(first),
            what: why,
        };
        match (next, &self.footer) {
            (Some((offset, lsn)), _) => {
                self.flaws.push(flaw(offset, before(lsn)));
                self.at = offset;
                self.joins_anything = true;
            }
            (None, Some(footer)) => {
                let last = footer.groups.last().map_or(first, |group| group.last_lsn);
                let hash = footer.last;
                self.flaws.push(flaw(self.groups_end, last));
                self.end = (last, hash);
                self.at = self.groups_end;
            }
            (None, None) => self.stop = Some(flaw(self.file.byte_count, first)),
        }
        Ok(())
    }

    /// What was found, when all is read.
    pub(crate) fn finish(mut self) -> Scanned {
        let was_closed = self.begins_with(self.at, *b"PBXindex")
            || self.begins_with(self.file.byte_count.saturating_sub(64), *b"PBXclose");
        if let Some(footer) = &self.footer
            // Closed after damage, it lists what could be read then.
            && self.flaws.is_empty()
            && (footer.groups.len(), footer.last) != (self.hashes.len(), self.end.1)
        {
            let what = "the footer does not list the groups that are there".to_owned();
            let bytes = (self.groups_end, self.file.byte_count);
            self.flaws.push(Flaw::new(FlawKind::Footer, self.number, bytes, self.end.0, what));
        }
        Scanned {
            number: self.number,
            is_closed: self.footer.is_some(),
            was_closed,
            byte_count: self.file.byte_count,
            begin: self.begin,
            end: self.end,
            hashes: self.hashes,
            flaws: self.flaws,
            stop: self.stop,
        }
    }

    /// Whether these bytes lie there.
    fn begins_with(&self, offset: u64, magic: [u8; 8]) -> bool {
        let mut bytes = [0; 8];
        self.file.raw(offset, &mut bytes).is_ok() && bytes == magic
    }

    /// Bytes of the file.
    pub(crate) fn byte_count(&self) -> u64 {
        self.file.byte_count
    }
}

/// A segment that was read.
pub(crate) struct Scanned {
    pub(crate) number: SegmentNumber,
    pub(crate) is_closed: bool,
    /// There is something of a footer, whole or not.
    pub(crate) was_closed: bool,
    pub(crate) byte_count: u64,
    /// Position and hash before its first group.
    pub(crate) begin: (Lsn, GroupHash),
    /// Position and hash of its last group.
    pub(crate) end: (Lsn, GroupHash),
    /// Of all its groups.
    pub(crate) hashes: Vec<GroupHash>,
    pub(crate) flaws: Vec<Flaw>,
    /// Where groups end in a segment without a footer: a torn tail, or damage.
    pub(crate) stop: Option<Flaw>,
}

impl Flaw {
    /// Whether bytes are lost with it that are nowhere else in the file.
    pub(crate) fn costs_bytes(&self) -> bool {
        !matches!(self.kind, FlawKind::HeaderCopy | FlawKind::Footer)
    }

    /// What a copy of the damaged bytes is called that was kept aside.
    pub(crate) fn quarantine_name(&self, log: &Path) -> String {
        let path = self.segment.path(log);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        format!("{name}.{}-{}", self.from, self.to)
    }

    /// Whether a file of that name holds the bytes from where the damage begins. A gap between two
    /// segments may be the end of the first, which was cut when it was given up, or the begin of
    /// the `next` that is there: places between them need not have been taken.
    pub(crate) fn is_kept_in(&self, path: &Path, next: Option<u64>) -> bool {
        let Some((number, from, to)) = kept_in(path) else { return false };
        if self.kind == FlawKind::Missing && self.to == 0 {
            let place = self.segment.place();
            return (place.saturating_sub(1)..=next.unwrap_or(place)).contains(&number.place());
        }
        number == self.segment && (from..to.max(from + 1)).contains(&self.from)
    }

    /// At one position.
    pub(crate) fn new(
        kind: FlawKind,
        segment: SegmentNumber,
        (from, to): (u64, u64),
        lsn: Lsn,
        what: String,
    ) -> Flaw {
        Flaw { kind, segment, from, to, first: lsn, last: lsn, what }
    }
}

/// What a file of the quarantine holds: segment, first byte, end.
fn kept_in(path: &Path) -> Option<(SegmentNumber, u64, u64)> {
    let (segment, range) = path.file_name()?.to_str()?.rsplit_once('.')?;
    let (from, to) = range.split_once('-')?;
    Some((SegmentNumber::of(Path::new(segment))?, from.parse().ok()?, to.parse().ok()?))
}

/// A header, with the number of the copy that is damaged and what is wrong with it; or what is
/// wrong with the first of two that are.
type HeaderFound = Result<(SegmentHeader, Option<(u8, FormatError)>), FormatError>;

/// Both copies of the header.
fn read_header(file: &SegmentFile, number: SegmentNumber) -> Result<HeaderFound, ReadError> {
    let mut bytes = vec![0; HEADER_COPY_BYTES * 2];
    let found = file.raw(0, &mut bytes)?;
    bytes.truncate(found);
    let second = bytes.get(HEADER_COPY_BYTES..).unwrap_or_default();
    let copies = (SegmentHeader::decode(&bytes), SegmentHeader::decode(second));
    for error in [copies.0.as_ref().err(), copies.1.as_ref().err()].into_iter().flatten() {
        if let Some(newer) = file.newer(*error) {
            return Err(newer);
        }
    }
    Ok(match copies {
        (Ok(first), Ok(second)) if first == second => Ok((first, None)),
        (Ok(first), Ok(second)) if second.number == number && first.number != number => {
            Ok((second, Some((0, FormatError::Field { what: "a header", field: "number" }))))
        }
        (Ok(first), Ok(_)) => {
            Ok((first, Some((1, FormatError::Field { what: "a header", field: "copy" }))))
        }
        (Ok(first), Err(why)) => Ok((first, Some((1, why)))),
        (Err(why), Ok(second)) => Ok((second, Some((0, why)))),
        (Err(why), Err(_)) => Err(why),
    })
}
