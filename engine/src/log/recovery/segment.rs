//! A segment as recovery sees it: the groups of the chain that lie in it, and where they end.

use crate::disk::OpenMode;
use crate::error::{Damage, DiskError};
use crate::ids::Lsn;
use crate::log::build::{BuiltGroup, chunks_of};
use crate::log::format::FormatError;
use crate::log::format::group::GroupHash;
use crate::log::format::segment::{Footer, GROUPS_AT, GroupEntry, aligned};
use crate::log::reader::{FoundGroup, SegmentFile};
use crate::log::setup::LogSetup;
use crate::log::writer::{self, ChainEnd};
use crate::width::usize_of_u32;

use super::RecoverError;

/// A segment that was walked.
pub(super) struct Segment {
    pub(super) file: SegmentFile,
    /// The groups of the chain in it.
    pub(super) groups: Vec<FoundGroup>,
    /// How many of them stay here; the rest is, or will be, in the next segment.
    pub(super) kept: usize,
    /// Its footer describes exactly the groups that stay.
    pub(super) is_closed: bool,
    /// It was closed once; a segment with damage in it is never closed again.
    pub(super) has_footer: bool,
    /// Groups in it were skipped: they cannot be read, and state has applied them.
    pub(super) is_damaged: bool,
    /// How many groups there are up to and with the one behind the last gap: they stay here, or
    /// the gap would be cut as part of a torn tail.
    pub(super) kept_min: usize,
    /// Position and hash that the chain goes on from, where the last groups were skipped.
    pub(super) skipped_to: Option<(Lsn, GroupHash)>,
    /// Where the chain ended, and why.
    pub(super) stop: u64,
    pub(super) why: FormatError,
}

impl Segment {
    /// Not walked yet.
    pub(super) fn new(file: SegmentFile) -> Segment {
        Segment {
            file,
            groups: Vec::new(),
            kept: 0,
            is_closed: false,
            has_footer: false,
            is_damaged: false,
            kept_min: 0,
            skipped_to: None,
            stop: GROUPS_AT,
            why: FormatError::Short { what: "a group" },
        }
    }

    /// The end of the chain in this segment.
    pub(super) fn end(&self) -> ChainEnd {
        self.end_of(self.groups.len())
    }

    /// The end of the chain behind its first `count` groups.
    pub(super) fn end_of(&self, count: usize) -> ChainEnd {
        let header = &self.file.header;
        let durable_lsn = header.durable_lsn;
        if let Some((last_lsn, hash)) = self.skipped_to
            && count == self.groups.len()
        {
            return ChainEnd { last_lsn, hash, durable_lsn };
        }
        let last = count.checked_sub(1).and_then(|at| self.groups.get(at));
        match last {
            Some(group) => {
                ChainEnd { last_lsn: group.header.stamp.last_lsn, hash: group.hash, durable_lsn }
            }
            None => {
                ChainEnd { last_lsn: before(header.first_lsn), hash: header.previous, durable_lsn }
            }
        }
    }

    /// How many groups the chain has up to `hash`; `None` if it is not in here.
    pub(super) fn count_up_to(&self, hash: GroupHash) -> Option<usize> {
        if let Some(at) = self.groups.iter().rposition(|group| group.hash == hash) {
            return Some(at + 1);
        }
        (self.file.header.previous == hash).then_some(0)
    }

    /// The groups that stay here.
    pub(super) fn kept_groups(&self) -> &[FoundGroup] {
        self.groups.get(..self.kept).unwrap_or_default()
    }

    /// Cuts the file behind the groups that stay and gives it a footer; durable on return. Damaged
    /// groups at its end are no torn tail: then nothing is cut.
    pub(super) fn close(&self, setup: &LogSetup, durable_lsn: Lsn) -> Result<(), DiskError> {
        let last = self.end_of(self.kept).hash;
        let mut contents = Footer { durable_lsn, last, ..Footer::new((setup.footer)()) };
        let mut buffer = Vec::new();
        for group in self.kept_groups() {
            contents.groups.push(GroupEntry {
                offset: group.offset,
                first_lsn: group.header.stamp.first_lsn,
                last_lsn: group.header.stamp.last_lsn,
                stored_len: group.stored_len,
            });
            if let Ok((_, read)) = self.file.group_without_chunks_at(group.offset, &mut buffer)? {
                let place = group.place(self.file.header.number);
                for chunk in chunks_of(&read) {
                    contents.add_chunk(chunk.at(place).entry());
                }
            }
        }
        // A group that landed elsewhere may end the chain before others that are alive.
        let end = if self.skipped_to.is_some() || self.is_damaged {
            aligned(self.file.byte_count)
        } else {
            self.kept_groups().last().map_or(GROUPS_AT, FoundGroup::end)
        };
        let file = setup.disk.open(&self.file.path, OpenMode::ReadWrite)?;
        writer::close(file.as_ref(), end, &contents)
    }

    /// Forgets the groups from the first on that is not known to be durable and whose chunks are
    /// not whole: they are a torn tail.
    pub(super) fn forget_torn(&mut self, durable_lsn: Lsn) -> Result<(), DiskError> {
        let mut buffer = Vec::new();
        for at in 0..self.groups.len() {
            let Some(group) = self.groups.get(at) else { break };
            let is_durable = group.header.stamp.last_lsn <= durable_lsn;
            if !is_durable && self.file.group_at(group.offset, &mut buffer)?.is_err() {
                self.groups.truncate(at.max(self.kept_min));
                self.is_closed = false;
                break;
            }
        }
        Ok(())
    }

    /// Reads a group that the walk found good.
    pub(super) fn read_again(&self, group: &FoundGroup) -> Result<BuiltGroup, RecoverError> {
        let mut buffer = Vec::new();
        let changed = |what: String| {
            RecoverError::Damage(Damage {
                file: self.file.path.clone(),
                offset: group.offset,
                what,
            })
        };
        match self.file.group_at(group.offset, &mut buffer)? {
            Ok((found, _)) if found.hash == group.hash => {}
            Ok(_) => return Err(changed("the group changed while it was read".into())),
            Err(error) => return Err(changed(error.to_string())),
        }
        buffer.truncate(usize_of_u32(group.stored_len));
        BuiltGroup::from_bytes(buffer).map_err(|error| changed(error.to_string()))
    }

    /// Damage where the chain ended.
    pub(super) fn damage(&self, what: &str) -> Damage {
        Damage {
            file: self.file.path.clone(),
            offset: self.stop,
            what: format!("{what} ({})", self.why),
        }
    }
}

/// The position right before `lsn`.
pub(crate) fn before(lsn: Lsn) -> Lsn {
    Lsn::from_bits(lsn.bits().saturating_sub(1)).unwrap_or(Lsn::ZERO)
}

/// The position right after `lsn`.
pub(crate) fn successor(lsn: Lsn) -> Lsn {
    lsn.next().unwrap_or(lsn)
}
