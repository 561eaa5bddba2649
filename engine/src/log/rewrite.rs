//! Rewriting a closed segment without the bytes of its dead chunks.
//!
//! Group headers, records and chunk headers stay, so the chain still verifies; every group is
//! verified on the way. The result is the next generation of the same place in the log: it gets its
//! name only when all of it is flushed, and the old generation stays until nothing refers to it.
//!
//! # Invariants
//! 1. Every group of the result has the hash of the group that it was made from; a header of a
//!    blob that was re-wrapped stands beside a hash of its own (`format/item.rs`).
//! 2. A group that cannot be read ends the rewriting; the old segment stays as it is.

use std::path::PathBuf;

use super::build::chunks_of;
use super::format::group::{GROUP_HEADER_BYTES, Group};
use super::format::item::{Item, leave_bytes_out, mark_rewrapped};
use super::format::segment::{
    Footer, GROUPS_AT, GroupEntry, Role, SegmentHeader, SegmentNumber, aligned,
};
use super::key_names::KeyNames;
use super::reader::SegmentFile;
use super::setup::{ChunkPlace, GroupPlace, LogSetup};
use super::writer::close;
use crate::disk::{DiskFile, durable};
use crate::error::{Damage, ReadError};
use crate::width::u32_of;

/// A segment that is being rewritten.
pub(crate) struct Rewrite {
    setup: LogSetup,
    source: SegmentFile,
    /// What is still to be copied, last first.
    left: Vec<GroupEntry>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    position: u64,
    contents: Footer,
    moved: Vec<ChunkPlace>,
    /// Keys that the result names.
    names: KeyNames,
}

/// Gives a living blob's header other bytes, as many; `None`: it stays.
pub(crate) type RewrapHeader<'r> = dyn FnMut(&[u8]) -> Option<Vec<u8>> + 'r;

/// What a step of rewriting did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RewriteStep {
    /// So many bytes were written.
    Copied(u64),
    /// Nothing is left to copy.
    AllCopied,
}

impl Rewrite {
    /// Begins to rewrite a closed segment; `None` if it was not closed, has no next generation, or
    /// has one already, which must never be written over: it may hold what is alive.
    ///
    /// # Errors
    /// [`ReadError`], if the segment cannot be read or the new file not be made.
    pub(crate) fn begin(
        setup: &LogSetup,
        number: SegmentNumber,
    ) -> Result<Option<Rewrite>, ReadError> {
        let source = SegmentFile::open(setup.disk.as_ref(), &number.path(&setup.directory))?;
        let (Some(footer), Some(next)) = (source.footer()?, number.rewritten()) else {
            return Ok(None);
        };
        if setup.disk.exists(&next.path(&setup.directory))? {
            return Ok(None);
        }
        let header = SegmentHeader {
            role: Role::Reclaimed,
            number: next,
            incarnation: (setup.incarnation)(),
            created_ms: setup.clock.unix_ms(),
            ..source.header
        };
        let path = next.path(&setup.directory);
        let unfinished = durable::unfinished(&path);
        if setup.disk.exists(&unfinished)? {
            setup.disk.remove(&unfinished)?;
        }
        let file = setup.disk.create(&unfinished)?;
        file.write_at(0, &header.encode_twice())?;
        let Footer { durable_lsn, last, mut groups, .. } = footer;
        groups.reverse();
        Ok(Some(Rewrite {
            setup: setup.clone(),
            source,
            left: groups,
            file,
            path,
            header,
            position: GROUPS_AT,
            contents: Footer { durable_lsn, last, ..Footer::default() },
            moved: Vec::new(),
            names: KeyNames::default(),
        }))
    }

    /// Copies the next group, with the chunks that `is_alive`; headers of blobs as `rewrap` gives
    /// them.
    ///
    /// # Errors
    /// [`ReadError`]; the rewriting is over then.
    pub(crate) fn step(
        &mut self,
        is_alive: &mut dyn FnMut(&ChunkPlace) -> Result<bool, ReadError>,
        rewrap: &mut RewrapHeader<'_>,
    ) -> Result<RewriteStep, ReadError> {
        let Some(entry) = self.left.pop() else { return Ok(RewriteStep::AllCopied) };
        let mut buffer = Vec::new();
        let damage =
            |what: String| Damage { file: self.source.path.clone(), offset: entry.offset, what };
        let read = self.source.group_at(entry.offset, &mut buffer)?;
        let (found, group) = read.map_err(|error| damage(error.to_string()))?;
        let old_place = found.place(self.source.header.number);
        let mut bytes = group_without_dead(&group, old_place, is_alive, rewrap)?;
        let new = Group::decode(&bytes).map_err(|error| damage(error.to_string()))?;
        if new.hash != group.hash {
            return Err(damage("it changed while it was copied".into()).into());
        }
        self.names.merge(&KeyNames::of_group(&new));
        let stored_len = u32_of(bytes.len());
        let place = GroupPlace {
            segment: self.header.number,
            offset: self.position,
            stored_len,
            hash: new.hash,
        };
        let chunks = chunks_of(&new);
        self.moved.extend(chunks.iter().map(|chunk| chunk.at(place)));
        self.contents.chunks.extend(chunks.iter().map(|chunk| chunk.at(place).entry()));
        self.contents.groups.push(GroupEntry { offset: self.position, stored_len, ..entry });
        self.file.write_at(self.position, &bytes)?;
        self.position += u64::from(stored_len);
        bytes.clear();
        Ok(RewriteStep::Copied(u64::from(stored_len)))
    }

    /// Keys that the groups copied so far name.
    pub(crate) fn names(&self) -> &KeyNames {
        &self.names
    }

    /// Closes and flushes the result and gives it its name; answers its number and where its chunks
    /// lie.
    ///
    /// # Errors
    /// [`ReadError::Disk`]; the result then has no name.
    pub(crate) fn finish(self) -> Result<(SegmentNumber, Vec<ChunkPlace>), ReadError> {
        close(self.file.as_ref(), aligned(self.position), &self.contents)?;
        let disk = self.setup.disk.as_ref();
        disk.rename(&durable::unfinished(&self.path), &self.path)?;
        disk.sync_dir(&self.setup.directory)?;
        Ok((self.header.number, self.moved))
    }

    /// Gives up; the unfinished file goes.
    pub(crate) fn abandon(self) {
        let unfinished = durable::unfinished(&self.path);
        if let Err(error) = self.setup.disk.remove(&unfinished) {
            tracing::warn!(%error, "an unfinished segment stays until reclaim comes to it again");
        }
    }
}

/// A group's bytes with those of dead chunks left out, and headers of living blobs re-wrapped.
fn group_without_dead(
    group: &Group<'_>,
    place: GroupPlace,
    is_alive: &mut dyn FnMut(&ChunkPlace) -> Result<bool, ReadError>,
    rewrap: &mut RewrapHeader<'_>,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::with_capacity(group.stored_len());
    let header: [u8; GROUP_HEADER_BYTES] = group.header.encode();
    out.extend_from_slice(&header);
    let mut chunks = chunks_of(group).into_iter();
    for placed in group.items() {
        match placed.item {
            Item::Record { header, payload } => {
                out.extend_from_slice(&header.encode(u32_of(payload.len())));
                out.extend_from_slice(payload);
            }
            Item::Chunk { header, chunk_len, bytes, rewrapped } => {
                let mut encoded = header.encode(chunk_len);
                let mut alive = false;
                if bytes.is_some()
                    && let Some(chunk) = chunks.next()
                {
                    alive = is_alive(&chunk.at(place))?;
                }
                let Some(bytes) = bytes.filter(|_| alive) else {
                    leave_bytes_out(&mut encoded);
                    out.extend_from_slice(&encoded);
                    continue;
                };
                let is_as_long = |new: &Vec<u8>| new.len() == bytes.len();
                let new = if header.number == 0 { rewrap(bytes) } else { None };
                let new = new.filter(is_as_long);
                let now = new.as_ref().map(|new| *blake3::hash(new).as_bytes()).or(rewrapped);
                if let Some(now) = now {
                    mark_rewrapped(&mut encoded);
                    out.extend_from_slice(&encoded);
                    out.extend_from_slice(&now);
                } else {
                    out.extend_from_slice(&encoded);
                }
                out.extend_from_slice(new.as_deref().unwrap_or(bytes));
            }
        }
    }
    Ok(out)
}
