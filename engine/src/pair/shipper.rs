//! Reading on behind any position: from the tail in memory, else from the segments.
//!
//! # Invariants
//! 1. Groups leave in the order of the chain, each naming the one before it, whole and verified.
//! 2. Nothing leaves that is not flushed: files are read up to where the tail begins.
//!
//! # What can go wrong
//! The position is not in the log: the other node has another history, or groups that this one
//! lost. What follows it was rewritten without bytes that are dead: a full copy is needed. Both are
//! told; neither changes anything.

use std::sync::Arc;
use std::time::Duration;

use super::tail::Behind;
use super::{PairState, Position};
use crate::check::LogSource;
use crate::error::{Damage, ReadError};
use crate::ids::KeyTableVersion;
use crate::log::format::segment::{GROUPS_AT, Role};
use crate::log::{BuiltGroup, SegmentFile, SegmentNumber, before, successor};
use crate::state::Committed;
use crate::width::usize_of_u32;

/// What a shipper reads.
pub(crate) struct ShipperSetup {
    pub(crate) pair: Arc<PairState>,
    pub(crate) log: LogSource,
    pub(crate) committed: Arc<Committed>,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shipment {
    /// Whole groups, one behind the other.
    Groups {
        /// Their bytes.
        bytes: Vec<u8>,
        /// Where they end.
        end: Position,
        /// The key table's version that they need.
        keys: KeyTableVersion,
    },
    /// Nothing was written meanwhile.
    Nothing,
    /// What follows is not in the log any more as it was written.
    TooOld,
    /// The position is not part of this log.
    Foreign,
}

/// Reads on behind a position.
pub struct Shipper {
    setup: ShipperSetup,
    at: Position,
    walk: Option<Walk>,
}

/// A place in a segment's file.
struct Walk {
    number: SegmentNumber,
    file: SegmentFile,
    offset: u64,
}

enum Found {
    At(Walk),
    TooOld,
    Foreign,
}

impl Shipper {
    /// Begins behind that position.
    pub(crate) fn new(setup: ShipperSetup, at: Position) -> Shipper {
        Shipper { setup, at, walk: None }
    }

    /// How far it is.
    pub fn position(&self) -> Position {
        self.at
    }

    /// The next groups, `bytes_max` of them or one; waits so long if there are none.
    ///
    /// # Errors
    /// [`ReadError`], if the log cannot be read.
    pub fn next(&mut self, bytes_max: usize, wait: Duration) -> Result<Shipment, ReadError> {
        let pair = Arc::clone(&self.setup.pair);
        let groups = match pair.tail.behind(self.at, bytes_max, wait) {
            Behind::Nothing => return Ok(Shipment::Nothing),
            Behind::Groups(groups) => {
                self.walk = None;
                groups
            }
            Behind::Older => match self.read(bytes_max)? {
                Ok(groups) => groups,
                Err(why) => return Ok(why),
            },
        };
        let mut bytes = Vec::with_capacity(groups.iter().map(|group| group.bytes().len()).sum());
        let mut keys = KeyTableVersion(0);
        for group in &groups {
            bytes.extend_from_slice(group.bytes());
            let stamp = &group.header().stamp;
            self.at = Position { lsn: stamp.last_lsn, hash: group.hash() };
            keys = keys.max(stamp.key_version);
        }
        if bytes.is_empty() {
            return Ok(Shipment::Nothing);
        }
        Ok(Shipment::Groups { bytes, end: self.at, keys })
    }

    /// Groups from the files.
    fn read(
        &mut self,
        bytes_max: usize,
    ) -> Result<Result<Vec<Arc<BuiltGroup>>, Shipment>, ReadError> {
        let mut groups: Vec<Arc<BuiltGroup>> = Vec::new();
        let (mut at, mut bytes) = (self.at, 0);
        // The tail begins, and files end, behind what is flushed.
        let end = self.setup.pair.tail.end();
        while bytes < bytes_max && end != at {
            let walk = match self.walk.take() {
                Some(walk) => walk,
                None => match self.find(at)? {
                    Found::At(walk) => walk,
                    _ if !groups.is_empty() => break,
                    Found::TooOld => return Ok(Err(Shipment::TooOld)),
                    Found::Foreign => return Ok(Err(Shipment::Foreign)),
                },
            };
            match self.group(walk, at)? {
                Step::Group(group) => {
                    at = Position { lsn: group.header().stamp.last_lsn, hash: group.hash() };
                    bytes += group.bytes().len();
                    groups.push(group);
                }
                Step::EndOfFile => {}
                Step::Rewritten if groups.is_empty() => return Ok(Err(Shipment::TooOld)),
                Step::Rewritten => break,
            }
        }
        Ok(Ok(groups))
    }

    /// The group at a place; the walk then stands behind it, or in the next file.
    fn group(&mut self, mut walk: Walk, at: Position) -> Result<Step, ReadError> {
        let mut buffer = Vec::new();
        let (found, stored_len) = match walk.file.group_at(walk.offset, &mut buffer)? {
            Ok((found, group)) if found.header.stamp.previous == at.hash => {
                let is_whole = group.stored_len()
                    == found.header.byte_count() + usize_of_u32(found.header.body_len);
                if found.header.stands_for.is_some() || !is_whole {
                    return Ok(Step::Rewritten);
                }
                let stored_len = usize_of_u32(found.stored_len);
                (found, stored_len)
            }
            _ => return self.next_file(&walk, at),
        };
        buffer.truncate(stored_len);
        let Ok(group) = BuiltGroup::from_bytes(buffer) else { return Ok(Step::Rewritten) };
        walk.offset = found.end();
        self.walk = Some(walk);
        Ok(Step::Group(Arc::new(group)))
    }

    /// Goes on where the chain does: in the file behind this one.
    fn next_file(&mut self, walk: &Walk, at: Position) -> Result<Step, ReadError> {
        for number in self.numbers()? {
            if number.place() <= walk.number.place() {
                continue;
            }
            let path = number.path(self.setup.log.directory());
            let file = SegmentFile::open_cached(self.setup.log.disk.as_ref(), &path)?;
            if file.header.previous == at.hash {
                self.walk = Some(Walk { number, file, offset: GROUPS_AT });
                return Ok(Step::EndOfFile);
            }
            break;
        }
        Err(Damage {
            file: walk.file.path.clone(),
            offset: walk.offset,
            what: format!("the group that follows {} is not here", at.lsn),
        }
        .into())
    }

    fn numbers(&self) -> Result<Vec<SegmentNumber>, ReadError> {
        self.setup.log.segments(&self.setup.committed.switched()?)
    }

    /// Where the chain goes on behind a position.
    fn find(&self, at: Position) -> Result<Found, ReadError> {
        let mut oldest = true;
        for number in self.numbers()?.into_iter().rev() {
            let path = number.path(self.setup.log.directory());
            let file = match SegmentFile::open_cached(self.setup.log.disk.as_ref(), &path) {
                Ok(file) => file,
                // Released since the folder was listed: whoever asks again finds what it became.
                Err(_) if !self.setup.log.disk.exists(&path)? => return self.find(at),
                Err(error) => return Err(error),
            };
            let begin = before(file.header.first_lsn);
            if begin > at.lsn {
                continue;
            }
            oldest = false;
            if file.header.previous == at.hash {
                return Ok(Found::At(Walk { number, file, offset: GROUPS_AT }));
            }
            if let Some(offset) = offset_behind(&file, at)? {
                return Ok(Found::At(Walk { number, file, offset }));
            }
            if file.header.role == Role::Reclaimed {
                return Ok(Found::TooOld);
            }
            // Watermarks take no position, so the group may be the last of the file before.
            if begin < at.lsn {
                break;
            }
        }
        Ok(if oldest { Found::TooOld } else { Found::Foreign })
    }
}

enum Step {
    Group(Arc<BuiltGroup>),
    EndOfFile,
    Rewritten,
}

/// Where the group ends in that file that has this hash.
pub(crate) fn offset_behind(file: &SegmentFile, at: Position) -> Result<Option<u64>, ReadError> {
    let mut buffer = Vec::new();
    if let Some(footer) = file.footer()? {
        let ends_there = footer.groups.iter().filter(|entry| entry.last_lsn == at.lsn);
        for entry in ends_there {
            if let Ok((found, _)) = file.group_without_chunks_at(entry.offset, &mut buffer)?
                && found.hash == at.hash
            {
                return Ok(Some(found.end()));
            }
        }
        return Ok(None);
    }
    let (mut offset, mut previous) = (GROUPS_AT, file.header.previous);
    loop {
        let Ok((found, _)) = file.group_without_chunks_at(offset, &mut buffer)? else {
            return Ok(None);
        };
        if found.header.stamp.previous != previous
            || found.header.stamp.first_lsn > successor(at.lsn)
        {
            return Ok(None);
        }
        if found.hash == at.hash {
            return Ok(Some(found.end()));
        }
        (offset, previous) = (found.end(), found.hash);
    }
}
