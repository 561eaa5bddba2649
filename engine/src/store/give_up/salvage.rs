//! Blobs that no record brings any more, found by what they say of themselves.
//!
//! The whole log is read once, and the bytes that were given up are searched for headers of blobs.
//! Each header says for whom the blob is; whose key is there and opens it, gets it back. What names
//! parts waits until all that can be read was, and they are found by their hashes (`parts.rs`).
//!
//! # Invariants
//! 1. Only a blob of which every chunk has its hash and its seal is brought back, with its parts;
//!    a part is no message.
//! 2. What a record brought is left alone, also when it went again since.
//!
//! Memory: a group, and about 100 bytes for each chunk that entered ahead of its record.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::parts::{self, Parts, Reader, Stored};
use super::survey::Survey;
use crate::check::{Flaw, LogSource, ReadGroup};
use crate::disk::{Disk, OpenMode};
use crate::error::{OpenError, ReadError};
use crate::ids::{AccountNumber, BlobId, BlobTag, Lsn};
use crate::log::Item;
use crate::log::format::item::{CHUNK_HEADER_BYTES, parse};
use crate::record::NewRow;
use crate::seal::{BlobHeader, KeyTableSnapshot, NoParts, SealError};
use crate::width::{usize_of, usize_of_u32};

/// First bytes of a blob's header.
const BLOB_MAGIC: &[u8] = b"PBXB";
/// Bytes that are searched at a time, at most: a group has fewer.
const SEARCHED_BYTES_MAX: u64 = 256 << 20;

/// A message that comes back.
pub(super) struct Found {
    pub(super) account: AccountNumber,
    pub(super) blob: BlobId,
    /// Its row, if its record could be read.
    pub(super) row: Option<NewRow>,
    pub(super) text: Vec<u8>,
}

/// What is done with it.
type Take<'a> = dyn FnMut(Found) -> Result<(), OpenError> + 'a;

/// A chunk as it lies somewhere, with its hash of now.
struct Chunk {
    number: u16,
    lsn: Lsn,
    tag: BlobTag,
    hash: [u8; 32],
    /// Offset and length in its group.
    at: (usize, usize),
}

/// An item of a blob, and where it lies.
#[derive(Clone)]
pub(super) struct Lying {
    number: u16,
    lsn: Lsn,
    hash: [u8; 32],
    file: PathBuf,
    offset: u64,
    length: u32,
}

/// Looks for blobs.
pub(super) struct Salvage<'a> {
    pub(super) survey: &'a Survey,
    pub(super) keys: &'a KeyTableSnapshot,
    pub(super) log: &'a LogSource,
    /// What came in this epoch or later is not looked for: it is what came back.
    epoch: u16,
    /// Blobs of damaged messages: a part of them may be there, though no record brings it.
    hurt: &'a HashSet<(AccountNumber, BlobId)>,
    seen: HashSet<(AccountNumber, BlobId)>,
    /// Items whose blob is not all in one group.
    apart: HashMap<BlobTag, Vec<Lying>>,
    parts: Parts,
}

impl<'a> Salvage<'a> {
    pub(super) fn new(
        survey: &'a Survey,
        keys: &'a KeyTableSnapshot,
        log: &'a LogSource,
        (epoch, hurt): (u16, &'a HashSet<(AccountNumber, BlobId)>),
    ) -> Salvage<'a> {
        let (seen, apart, parts) = (HashSet::new(), HashMap::new(), Parts::default());
        Salvage { survey, keys, log, epoch, hurt, seen, apart, parts }
    }

    /// Reads the log, then `flaws` in it, then `files` that were kept aside; hands what was found
    /// to `take`. Answers the messages that were found without one of their parts.
    pub(super) fn run(
        mut self,
        switched: &[u64],
        (flaws, files): (&[Flaw], &[PathBuf]),
        take: &mut Take<'_>,
    ) -> Result<Vec<(AccountNumber, BlobId)>, OpenError> {
        let log = self.log;
        let mut result = Ok(());
        log.read(switched, Lsn::ZERO, &mut |read| {
            if result.is_ok() {
                result = self.group(&read, take);
            }
        })?;
        result?;
        let disk = log.disk.as_ref();
        for flaw in flaws {
            let path = flaw.segment.path(log.directory());
            self.search(disk, &path, (flaw.from, flaw.to), take)?;
        }
        for path in files {
            let length = disk.open(path, OpenMode::Read)?.byte_count()?;
            self.search(disk, path, (0, length), take)?;
        }
        for (tag, chunks) in std::mem::take(&mut self.apart) {
            self.gather(disk, tag, chunks, take)?;
        }
        self.those_with_parts(disk, take)
    }

    /// Messages that name parts, after all parts that can be read are known.
    fn those_with_parts(
        &mut self,
        disk: &dyn Disk,
        take: &mut Take<'_>,
    ) -> Result<Vec<(AccountNumber, BlobId)>, OpenError> {
        let mut without = HashSet::new();
        for stored in std::mem::take(&mut self.parts.waiting) {
            let Stored { account, id, .. } = stored;
            if !self.is_wanted(account, id) {
                continue;
            }
            let (parts, keys) = (&self.parts, self.keys);
            let mut reader = Reader { parts, keys, disk, account, last: None, failure: None };
            match reader.read(&stored)? {
                Some(text) => self.found((account, id), text, take)?,
                None => drop(without.insert((account, id))),
            }
        }
        without.retain(|of| !self.seen.contains(of));
        let mut without: Vec<_> = without.into_iter().collect();
        without.sort_unstable();
        Ok(without)
    }

    fn found(
        &mut self,
        (account, id): (AccountNumber, BlobId),
        text: Vec<u8>,
        take: &mut Take<'_>,
    ) -> Result<(), OpenError> {
        self.seen.insert((account, id));
        let row = self.survey.row(account, id).cloned();
        take(Found { account, blob: id, row, text })
    }

    /// The chunks of a group that was verified.
    fn group(&mut self, read: &ReadGroup<'_>, take: &mut Take<'_>) -> Result<(), OpenError> {
        let mut chunks: Vec<(Chunk, &[u8])> = Vec::new();
        for placed in read.group.items() {
            let Item::Chunk { header, chunk_len, bytes: Some(bytes), rewrapped } = placed.item
            else {
                continue;
            };
            let hash = rewrapped.unwrap_or(header.hash);
            let at = (usize_of_u32(placed.offset), usize_of_u32(chunk_len));
            let chunk = Chunk { number: header.number, lsn: header.lsn, tag: header.tag, hash, at };
            chunks.push((chunk, bytes));
        }
        let path = read.segment.path(self.log.directory());
        self.chunks(&chunks, (&path, read.offset), take)
    }

    /// Chunks in the order in which they lie: those of one blob stand together.
    fn chunks(
        &mut self,
        chunks: &[(Chunk, &[u8])],
        (path, offset): (&Path, u64),
        take: &mut Take<'_>,
    ) -> Result<(), OpenError> {
        for run in chunks.chunk_by(|(one, _), (other, _)| one.tag == other.tag) {
            let Some((first, header)) = run.first() else { continue };
            let whole: Vec<&[u8]> = run.iter().map(|(_, bytes)| *bytes).collect();
            let are_whole = run.iter().all(|(chunk, bytes)| is_whole(&chunk.hash, bytes));
            let count = BlobHeader::parse(header).map(|header| item_count(&header));
            let is_all = first.number == 0 && count.is_ok_and(|count| count == run.len());
            if is_all && are_whole {
                let lying =
                    || run.iter().map(|(chunk, bytes)| chunk.lying(bytes, path, offset)).collect();
                self.blob((BlobId(first.lsn), first.tag), &whole, &lying, take)?;
                continue;
            }
            for (chunk, bytes) in run.iter().filter(|(chunk, bytes)| is_whole(&chunk.hash, bytes)) {
                let lying = chunk.lying(bytes, path, offset);
                self.apart.entry(chunk.tag).or_default().push(lying);
            }
        }
        Ok(())
    }

    /// Searches bytes of which nothing is known for headers of blobs, and reads on from each.
    fn search(
        &mut self,
        disk: &dyn Disk,
        path: &Path,
        (from, to): (u64, u64),
        take: &mut Take<'_>,
    ) -> Result<(), OpenError> {
        if from >= to || !disk.exists(path)? {
            return Ok(());
        }
        let mut bytes = vec![0; usize_of((to - from).min(SEARCHED_BYTES_MAX))];
        let found = disk.open(path, OpenMode::Read)?.read_at(from, &mut bytes)?;
        bytes.truncate(found);
        let mut at = 0;
        while let Some(rest) = bytes.get(at..) {
            let Some(next) = rest.windows(4).position(|window| window == BLOB_MAGIC) else { break };
            let header_at = at + next;
            at = header_at + 4;
            let Some(begin) = header_at.checked_sub(CHUNK_HEADER_BYTES) else { continue };
            let (chunks, end) = chunks_from(&bytes, begin);
            if !chunks.is_empty() {
                self.chunks(&chunks, (path, from), take)?;
                at = at.max(end);
            }
        }
        Ok(())
    }

    /// A blob whose chunks lie apart.
    fn gather(
        &mut self,
        disk: &dyn Disk,
        tag: BlobTag,
        mut chunks: Vec<Lying>,
        take: &mut Take<'_>,
    ) -> Result<(), OpenError> {
        chunks.sort_by_key(|chunk| chunk.number);
        chunks.dedup_by_key(|chunk| chunk.number);
        let Some(first) = chunks.first().filter(|chunk| chunk.number == 0) else { return Ok(()) };
        let id = BlobId(first.lsn);
        let header = first.read(disk)?;
        let Ok(parsed) = BlobHeader::parse(&header) else { return Ok(()) };
        let is_wanted = |entry: &crate::seal::BlobEntry| self.is_wanted(entry.account, id);
        let is_wanted = is_part(&parsed) || parsed.entries.iter().any(is_wanted);
        if item_count(&parsed) != chunks.len() || !is_wanted {
            return Ok(());
        }
        let mut whole = Vec::with_capacity(chunks.len());
        for chunk in &chunks {
            let Some(bytes) = chunk.read_whole(disk)? else { return Ok(()) };
            whole.push(bytes);
        }
        let whole: Vec<&[u8]> = whole.iter().map(Vec::as_slice).collect();
        self.blob((id, tag), &whole, &|| chunks.clone(), take)
    }

    fn is_wanted(&self, account: AccountNumber, blob: BlobId) -> bool {
        self.keys.current(account).is_some()
            && blob.0.epoch() < self.epoch
            && (self.survey.is_lost(account, blob) || self.hurt.contains(&(account, blob)))
            && !self.seen.contains(&(account, blob))
    }

    /// A blob with all of its items.
    fn blob(
        &mut self,
        (id, tag): (BlobId, BlobTag),
        items: &[&[u8]],
        lying: &dyn Fn() -> Vec<Lying>,
        take: &mut Take<'_>,
    ) -> Result<(), OpenError> {
        let Some(header) = items.first() else { return Ok(()) };
        let Ok(parsed) = BlobHeader::parse(header) else { return Ok(()) };
        if is_part(&parsed) {
            self.parts.note(self.keys, (id, tag), (&parsed, items), lying);
            return Ok(());
        }
        for account in parsed.entries.iter().map(|entry| entry.account) {
            if !self.is_wanted(account, id) {
                continue;
            }
            match parts::text(self.keys, (account, tag), items, &mut NoParts) {
                Ok(text) => self.found((account, id), text, take)?,
                Err(SealError::NoPart) => {
                    let items = lying();
                    self.parts.waiting.push(Stored { account, id, tag, items });
                }
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Chunk {
    fn lying(&self, bytes: &[u8], path: &Path, offset: u64) -> Lying {
        let (at, _) = self.at;
        Lying {
            number: self.number,
            lsn: self.lsn,
            hash: self.hash,
            file: path.to_path_buf(),
            offset: offset + crate::width::u64_of(at),
            length: crate::width::u32_of(bytes.len()),
        }
    }
}

impl Lying {
    /// Its bytes, if they are those of its hash.
    pub(super) fn read_whole(&self, disk: &dyn Disk) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(Some(self.read(disk)?).filter(|bytes| is_whole(&self.hash, bytes)))
    }

    fn read(&self, disk: &dyn Disk) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; usize_of_u32(self.length)];
        let found = disk.open(&self.file, OpenMode::Read)?.read_at(self.offset, &mut bytes)?;
        bytes.truncate(found);
        Ok(bytes)
    }
}

fn is_whole(hash: &[u8; 32], bytes: &[u8]) -> bool {
    blake3::hash(bytes).as_bytes() == hash
}

/// A message has a summary; a part of one has none.
fn is_part(header: &BlobHeader) -> bool {
    header.summary_len == 0
}

/// Items of a blob: header, body, summary, or header and what is packed with it, and the rest.
fn item_count(header: &BlobHeader) -> usize {
    let chunks = header.chunk_count + u32::from(header.summary_len > 0);
    let items = (0..chunks).map(|number| header.piece(number).item);
    items.max().map_or(1, |last| 1 + usize_of_u32(last))
}

/// The chunks that lie one after the other from `begin` on, and where they end.
fn chunks_from(bytes: &[u8], begin: usize) -> (Vec<(Chunk, &[u8])>, usize) {
    let mut chunks = Vec::new();
    let mut at = begin;
    while let Some(Ok(parsed)) = bytes.get(at..).map(parse) {
        let Item::Chunk { header, chunk_len, bytes: Some(sealed), rewrapped } = parsed.item else {
            break;
        };
        let hash = rewrapped.unwrap_or(header.hash);
        if !is_whole(&hash, sealed) && chunks.is_empty() {
            break;
        }
        let sealed_at = at + parsed.item.header_len();
        let place = (sealed_at, usize_of_u32(chunk_len));
        let (number, lsn, tag) = (header.number, header.lsn, header.tag);
        chunks.push((Chunk { number, lsn, tag, hash, at: place }, sealed));
        at += parsed.stored_len;
    }
    (chunks, at)
}
