//! Rewriting closed segments without the bytes of their dead chunks, and without the records that
//! base images cover.
//!
//! Groups of which a record is needed keep headers, records and chunk headers, so the chain still
//! verifies; a run of groups of which none is needed becomes a *remnant*: its living chunks, and
//! the hash that the chain goes on from. Every group is verified on the way. The result is the next
//! generation of the first segment's place in the log: it gets its name only when all of it is
//! flushed, and what it was made of stays until nothing refers to it.
//!
//! # Invariants
//! 1. Every group of the result has the hash of the group that it was made from, and a remnant that
//!    of the last group which it stands for. A header of a blob that was re-wrapped stands beside a
//!    hash of its own (`format/item.rs`).
//! 2. A group that cannot be read ends the rewriting; the old segments stay as they are. So does
//!    one that does not continue the chain: recovery closes a segment with damage in it by a footer
//!    that lists the groups around the damage, and what lies there is for `check --repair`, or for
//!    the other node, to mend.

use std::path::PathBuf;

use super::build::chunks_of;
use super::format::group::{Group, GroupHash, GroupHeader, GroupStamp, REMNANT_HEADER_BYTES};
use super::format::item::{
    CHUNK_HEADER_BYTES, ChunkHeader, Item, RecordHeader, hash_item, leave_bytes_out, mark_rewrapped,
};
use super::format::segment::{
    Footer, GROUPS_AT, GroupEntry, Joined, Role, SegmentHeader, SegmentNumber, aligned,
};
use super::key_names::KeyNames;
use super::reader::SegmentFile;
use super::recovery::before;
use super::setup::{ChunkPlace, GroupPlace, LogSetup};
use super::writer::close;
use crate::disk::{DiskFile, durable};
use crate::error::{Damage, ReadError};
use crate::ids::Lsn;
use crate::width::{u32_of, u64_of};

/// A remnant is ended before its chunks exceed this; a single group's may.
const REMNANT_BYTES: usize = 1 << 20;
const BROKEN_CHAIN: &str = "groups that come before are not there, or cannot be read";
/// Segments that one is made of.
pub(crate) const SOURCES_MAX: usize = 64;

/// What decides what of a segment goes.
pub(crate) trait Keep {
    /// Whether a chunk is alive.
    fn is_alive(&mut self, place: &ChunkPlace) -> Result<bool, ReadError>;

    /// Whether a record may be needed to make state.
    fn is_needed(&self, record: &RecordHeader) -> bool;

    /// Other bytes for a living blob's header, as many; `None`: it stays as it is.
    fn rewrapped(&self, header: &[u8]) -> Option<Vec<u8>>;
}

/// Segments that are being rewritten into one.
pub(crate) struct Rewrite {
    setup: LogSetup,
    /// Last first.
    sources: Vec<Source>,
    /// Last position and hash of the chain so far.
    end: (Lsn, GroupHash),
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    position: u64,
    contents: Footer,
    moved: Vec<ChunkPlace>,
    remnant: Option<Remnant>,
    /// Keys that the result names.
    names: KeyNames,
}

/// A segment to be copied.
struct Source {
    file: SegmentFile,
    /// Its groups that were not copied yet, last first.
    left: Vec<GroupEntry>,
    /// The hash of its last.
    last: GroupHash,
}

/// A run of groups of which no record is needed.
struct Remnant {
    stamp: GroupStamp,
    hash: GroupHash,
    items: Vec<u8>,
    /// Bytes of the items without hashes of re-wrapped headers.
    body_len: usize,
    item_count: u32,
}

/// What a step of rewriting did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RewriteStep {
    /// So many bytes were read or written.
    Copied(u64),
    /// Nothing is left to copy.
    AllCopied,
}

impl Rewrite {
    /// Begins to rewrite neighbouring closed segments; `None` if one was not closed, they do not
    /// join, or the first has no next generation or has one already, which must never be written
    /// over: it may hold what is alive.
    ///
    /// # Errors
    /// [`ReadError`], if a segment cannot be read or the new file not be made.
    pub(crate) fn begin(
        setup: &LogSetup,
        numbers: &[SegmentNumber],
    ) -> Result<Option<Rewrite>, ReadError> {
        let mut sources = Vec::with_capacity(numbers.len());
        let mut contents = Footer::new((setup.footer)());
        for number in numbers {
            let file = SegmentFile::open(setup.disk.as_ref(), &number.path(&setup.directory))?;
            let Some(Footer { durable_lsn, last, mut groups, .. }) = file.footer()? else {
                return Ok(None);
            };
            if !sources.is_empty() && file.header.previous != contents.last {
                return Ok(None);
            }
            (contents.durable_lsn, contents.last) = (durable_lsn, last);
            groups.reverse();
            sources.push(Source { file, left: groups, last });
        }
        let (Some(Source { file: first, .. }), Some(Source { file: last, .. })) =
            (sources.first(), sources.last())
        else {
            return Ok(None);
        };
        let end = (before(first.header.first_lsn), first.header.previous);
        let Some(next) = first.header.number.rewritten() else { return Ok(None) };
        if setup.disk.exists(&next.path(&setup.directory))? {
            return Ok(None);
        }
        let further = last.header.last_place().saturating_sub(next.place());
        let Ok(further) = u32::try_from(further) else { return Ok(None) };
        let Ok(count) = u8::try_from(sources.len()) else { return Ok(None) };
        let header = SegmentHeader {
            role: Role::Reclaimed,
            number: next,
            incarnation: (setup.incarnation)(),
            created_ms: setup.clock.unix_ms(),
            joined: Joined { sources: if count == 1 { 0 } else { count }, further },
            ..first.header
        };
        let path = next.path(&setup.directory);
        let unfinished = durable::unfinished(&path);
        if setup.disk.exists(&unfinished)? {
            setup.disk.remove(&unfinished)?;
        }
        let file = setup.disk.create(&unfinished)?;
        file.write_at(0, &header.encode_twice())?;
        sources.reverse();
        Ok(Some(Rewrite {
            setup: setup.clone(),
            sources,
            end,
            file,
            path,
            header,
            position: GROUPS_AT,
            contents,
            moved: Vec::new(),
            remnant: None,
            names: KeyNames::default(),
        }))
    }

    /// Copies the next group, with what `keep` says of it.
    ///
    /// # Errors
    /// [`ReadError`]; the rewriting is over then.
    pub(crate) fn step(&mut self, keep: &mut dyn Keep) -> Result<RewriteStep, ReadError> {
        let Some(Source { file: source, left, last }) = self.sources.last_mut() else {
            self.end_remnant()?;
            return Ok(RewriteStep::AllCopied);
        };
        let damage_at =
            |offset: u64, what: String| Damage { file: source.path.clone(), offset, what };
        let Some(entry) = left.pop() else {
            if self.end.1 != *last {
                return Err(damage_at(source.byte_count, BROKEN_CHAIN.into()).into());
            }
            self.sources.pop();
            return Ok(RewriteStep::Copied(0));
        };
        let mut buffer = Vec::new();
        let damage = |what: String| damage_at(entry.offset, what);
        let read = source.group_at(entry.offset, &mut buffer)?;
        let (found, group) = read.map_err(|error| damage(error.to_string()))?;
        let stamp = &group.header.stamp;
        if stamp.previous != self.end.1 || !stamp.follows(self.end.0) {
            return Err(damage(BROKEN_CHAIN.into()).into());
        }
        self.end = (stamp.last_lsn, group.hash);
        let old_place = found.place(source.header.number);
        if !is_needed(&group, keep) {
            let bytes = u64_of(group.stored_len());
            self.absorb(&group, old_place, keep)?;
            return Ok(RewriteStep::Copied(bytes));
        }
        let bytes = group_without_dead(&group, old_place, keep)?;
        let new = Group::decode(&bytes).map_err(|error| damage(error.to_string()))?;
        if new.hash != group.hash {
            return Err(damage("it changed while it was copied".into()).into());
        }
        self.end_remnant()?;
        self.write(&bytes)?;
        Ok(RewriteStep::Copied(u64_of(bytes.len())))
    }

    /// Takes a group of which no record is needed into the remnant.
    fn absorb(
        &mut self,
        group: &Group<'_>,
        place: GroupPlace,
        keep: &mut dyn Keep,
    ) -> Result<(), ReadError> {
        let LivingChunks { items, body_len, item_count } = living_chunks(group, place, keep)?;
        let is_full =
            |remnant: &Remnant| item_count > 0 && remnant.items.len() + items.len() > REMNANT_BYTES;
        if self.remnant.as_ref().is_some_and(is_full) {
            self.end_remnant()?;
        }
        let stamp = &group.header.stamp;
        let remnant = self.remnant.get_or_insert_with(|| Remnant {
            stamp: *stamp,
            hash: group.hash,
            items: Vec::new(),
            body_len: 0,
            item_count: 0,
        });
        remnant.hash = group.hash;
        remnant.stamp.last_lsn = stamp.last_lsn;
        remnant.stamp.open_lsn = stamp.open_lsn;
        remnant.stamp.key_version = stamp.key_version;
        remnant.items.extend_from_slice(&items);
        remnant.body_len += body_len;
        remnant.item_count += item_count;
        Ok(())
    }

    fn end_remnant(&mut self) -> Result<(), ReadError> {
        let Some(remnant) = self.remnant.take() else { return Ok(()) };
        let bytes = remnant.encode();
        self.write(&bytes)
    }

    /// Writes a group or remnant behind the others.
    fn write(&mut self, bytes: &[u8]) -> Result<(), ReadError> {
        let damage = |what: String| Damage { file: self.path.clone(), offset: self.position, what };
        let group = Group::decode(bytes).map_err(|error| damage(error.to_string()))?;
        let stored_len = u32_of(bytes.len());
        let place = GroupPlace {
            segment: self.header.number,
            offset: self.position,
            stored_len,
            hash: group.hash,
        };
        self.names.merge(&KeyNames::of_group(&group));
        let chunks = chunks_of(&group);
        self.moved.extend(chunks.iter().map(|chunk| chunk.at(place)));
        chunks.iter().for_each(|chunk| self.contents.add_chunk(chunk.at(place).entry()));
        self.contents.groups.push(GroupEntry {
            offset: self.position,
            first_lsn: group.header.stamp.first_lsn,
            last_lsn: group.header.stamp.last_lsn,
            stored_len,
        });
        self.file.write_at(self.position, bytes)?;
        self.position += u64::from(stored_len);
        Ok(())
    }

    /// Keys that what was written so far names.
    pub(crate) fn names(&self) -> &KeyNames {
        &self.names
    }

    /// The number of the result.
    pub(crate) fn number(&self) -> SegmentNumber {
        self.header.number
    }

    /// Closes and flushes the result and gives it its name; answers its number and where its chunks
    /// lie.
    ///
    /// # Errors
    /// [`ReadError::Disk`]; the result then has no name.
    pub(crate) fn finish(self) -> Result<(SegmentNumber, Vec<ChunkPlace>), ReadError> {
        if let Err(error) = close(self.file.as_ref(), aligned(self.position), &self.contents) {
            // On a full disk nobody else would find the room to come back to it.
            self.abandon();
            return Err(error.into());
        }
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

impl Remnant {
    fn encode(&self) -> Vec<u8> {
        let mut header = GroupHeader {
            stamp: self.stamp,
            body_len: u32_of(self.body_len),
            item_count: self.item_count,
            content: [0; 32],
            stands_for: Some(self.hash),
        };
        let mut hasher = header.content_hasher();
        let mut rest = self.items.as_slice();
        while let Ok(item) = super::format::item::parse(rest) {
            hash_item(&mut hasher, item.hashed);
            rest = rest.get(item.stored_len..).unwrap_or_default();
        }
        header.content = *hasher.finalize().as_bytes();
        let mut bytes = Vec::with_capacity(REMNANT_HEADER_BYTES + self.items.len());
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(&self.hash.0);
        bytes.extend_from_slice(&self.items);
        bytes
    }
}

/// Whether a record of the group may be needed.
fn is_needed(group: &Group<'_>, keep: &dyn Keep) -> bool {
    group.items().any(|placed| match placed.item {
        Item::Record { header, .. } => keep.is_needed(&header),
        Item::Chunk { .. } => false,
    })
}

/// The living chunks of a group as items.
#[derive(Default)]
struct LivingChunks {
    items: Vec<u8>,
    /// Their bytes without hashes of re-wrapped headers.
    body_len: usize,
    item_count: u32,
}

fn living_chunks(
    group: &Group<'_>,
    place: GroupPlace,
    keep: &mut dyn Keep,
) -> Result<LivingChunks, ReadError> {
    let mut living = LivingChunks::default();
    let mut chunks = chunks_of(group).into_iter();
    for placed in group.items() {
        let Item::Chunk { header, chunk_len, bytes: Some(bytes), rewrapped } = placed.item else {
            continue;
        };
        if let Some(chunk) = chunks.next()
            && keep.is_alive(&chunk.at(place))?
        {
            let encoded = header.encode(chunk_len);
            living.body_len += encoded.len() + bytes.len();
            living.item_count += 1;
            push_chunk(&mut living.items, (&header, encoded), (bytes, rewrapped), keep);
        }
    }
    Ok(living)
}

/// A group's bytes with those of dead chunks left out, and headers of living blobs re-wrapped.
fn group_without_dead(
    group: &Group<'_>,
    place: GroupPlace,
    keep: &mut dyn Keep,
) -> Result<Vec<u8>, ReadError> {
    let mut out = Vec::with_capacity(group.stored_len());
    out.extend_from_slice(&group.header.encode());
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
                    alive = keep.is_alive(&chunk.at(place))?;
                }
                if let Some(bytes) = bytes.filter(|_| alive) {
                    push_chunk(&mut out, (&header, encoded), (bytes, rewrapped), keep);
                } else {
                    leave_bytes_out(&mut encoded);
                    out.extend_from_slice(&encoded);
                }
            }
        }
    }
    Ok(out)
}

/// Appends a living chunk; a blob's header re-wrapped if `keep` says so, and marked as such if it
/// was before.
fn push_chunk(
    out: &mut Vec<u8>,
    (header, mut encoded): (&ChunkHeader, [u8; CHUNK_HEADER_BYTES]),
    (bytes, rewrapped): (&[u8], Option<[u8; 32]>),
    keep: &dyn Keep,
) {
    let new = if header.number == 0 { keep.rewrapped(bytes) } else { None };
    let new = new.filter(|new| new.len() == bytes.len());
    let now = new.as_ref().map(|new| *blake3::hash(new).as_bytes()).or(rewrapped);
    if now.is_some() {
        mark_rewrapped(&mut encoded);
    }
    out.extend_from_slice(&encoded);
    out.extend_from_slice(now.as_ref().map_or(&[][..], |now| now.as_slice()));
    out.extend_from_slice(new.as_deref().unwrap_or(bytes));
}
