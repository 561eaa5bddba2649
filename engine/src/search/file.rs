//! A split on disk: one sealed file.
//!
//! ```text
//! offset   size  field
//!      0    140  header     whose, and the file's key, sealed (`seal/index_file.rs`)
//!    140      n  blocks     those of the split's stream (`block.rs`), sealed, one behind the other
//!  140+n      m  table      sealed as the block of number 2^32 − 1:
//!                  stream_len     varint   plain bytes of all blocks
//!                  message_count  varint
//!                  highest_blob   u64      the newest of its messages
//!                  replaces       count, then 16 each: files that it was made of
//!                  lengths        count, then a varint each: sealed bytes of each block
//! 140+n+m      4  table_plain  bytes of the table before it was sealed
//!       +4     4  table_len    m
//!       +8     4  magic        "PBXE"
//! ```
//!
//! A file is written under another name and gets its own when it is whole. Nothing of it is
//! flushed: what a power cut leaves of it does not open, and its messages are indexed again. So
//! there is no list of files beside them: the folder is the list, and what a merge made says itself
//! which files it takes the place of.
//!
//! # What can go wrong
//! A damaged block is found when it is read ([`ReadError::Damage`] with file and place), a damaged
//! header or table when the file is opened; either costs the file and no message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::block::{BlockSink, BlockSource, SPLIT_BLOCK_BYTES};
use super::block_cache::BlockCache;
use crate::disk::DiskFile;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::{Damage, DiskError, ReadError};
use crate::ids::{AccountNumber, KeyGeneration};
use crate::seal::{
    INDEX_BLOCK_OVERHEAD_BYTES, INDEX_HEADER_BYTES, IndexFile, IndexFileId, Key, SealError,
};
use crate::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// Number of the table among the blocks.
const TABLE: u32 = u32::MAX;
const END_BYTES: usize = 12;
const END_MAGIC: [u8; 4] = *b"PBXE";
/// Bytes of a table: a split has far fewer blocks.
const TABLE_BYTES_MAX: u32 = 64 << 20;
/// Bytes that are written at once.
const WRITTEN_BYTES: usize = 256 << 10;

/// What a file says of itself, beside its blocks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileTable {
    pub(crate) stream_len: u64,
    pub(crate) message_count: u32,
    pub(crate) highest_blob: u64,
    /// Files that it was made of.
    pub(crate) replaces: Vec<IndexFileId>,
    /// Sealed bytes of each block.
    lengths: Vec<u32>,
}

impl FileTable {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.varint(self.stream_len);
        out.varint(u64::from(self.message_count));
        out.u64(self.highest_blob);
        out.count(self.replaces.len());
        self.replaces.iter().for_each(|id| out.raw(id));
        out.count(self.lengths.len());
        self.lengths.iter().for_each(|length| out.varint(u64::from(*length)));
        out.bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<FileTable, Broken> {
        let mut from = Decoder::new(bytes);
        let table = FileTable {
            stream_len: from.varint()?,
            message_count: from.u32()?,
            highest_blob: from.u64()?,
            replaces: from.list(|from| from.array())?,
            lengths: from.list(|from| from.u32())?,
        };
        from.end()?;
        let longest = SPLIT_BLOCK_BYTES + INDEX_BLOCK_OVERHEAD_BYTES;
        if table.lengths.iter().any(|length| usize_of_u32(*length) > longest) {
            return Err("a block is too long");
        }
        let count = table.stream_len.div_ceil(u64_of(SPLIT_BLOCK_BYTES));
        if count != u64_of(table.lengths.len()) || count >= u64::from(TABLE) {
            return Err("its blocks are not as many as its bytes need");
        }
        Ok(table)
    }
}

/// Writes a split into a file.
pub(crate) struct SplitFileWriter {
    file: Box<dyn DiskFile>,
    sealed: IndexFile,
    at: u64,
    /// Sealed and not written yet.
    buffer: Vec<u8>,
    table: FileTable,
}

impl SplitFileWriter {
    /// Into a new file, which begins with that header.
    pub(super) fn new(
        file: Box<dyn DiskFile>,
        sealed: IndexFile,
        header: &[u8; INDEX_HEADER_BYTES],
    ) -> SplitFileWriter {
        let (buffer, table) = (header.to_vec(), FileTable::default());
        SplitFileWriter { file, sealed, at: 0, buffer, table }
    }

    /// Which file it is.
    pub(crate) fn id(&self) -> IndexFileId {
        self.sealed.id()
    }

    /// Whose it is.
    pub(crate) fn account(&self) -> AccountNumber {
        self.sealed.account()
    }

    fn write_out(&mut self) -> Result<(), DiskError> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += u64_of(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    /// Writes the table; answers the file's length.
    pub(super) fn finish(
        mut self,
        message_count: u32,
        highest_blob: u64,
        replaces: &[IndexFileId],
    ) -> Result<u64, DiskError> {
        self.table.message_count = message_count;
        self.table.highest_blob = highest_blob;
        self.table.replaces = replaces.to_vec();
        let plain = self.table.encode();
        let before = self.buffer.len();
        self.sealed.seal_block(TABLE, &plain, &mut self.buffer);
        let length = u32_of(self.buffer.len() - before);
        self.buffer.extend_from_slice(&u32_of(plain.len()).to_le_bytes());
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(&END_MAGIC);
        self.write_out()?;
        Ok(self.at)
    }
}

impl BlockSink for SplitFileWriter {
    fn put(&mut self, block: &[u8]) -> Result<(), DiskError> {
        let before = self.buffer.len();
        let number = u32_of(self.table.lengths.len());
        self.sealed.seal_block(number, block, &mut self.buffer);
        self.table.lengths.push(u32_of(self.buffer.len() - before));
        self.table.stream_len += u64_of(block.len());
        if self.buffer.len() >= WRITTEN_BYTES { self.write_out() } else { Ok(()) }
    }
}

/// A split's file, open.
pub(crate) struct SplitFile {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    sealed: IndexFile,
    table: FileTable,
    /// Where blocks end.
    ends: Vec<u64>,
    /// Bytes of all.
    length: u64,
    cache: Arc<BlockCache>,
}

impl SplitFile {
    /// Opens a file.
    ///
    /// # Errors
    /// [`ReadError`] if it cannot be read, is not whole, or does not open.
    pub(super) fn open(
        path: &Path,
        file: Box<dyn DiskFile>,
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
        cache: Arc<BlockCache>,
    ) -> Result<SplitFile, ReadError> {
        let damage = |offset: u64, what: &str| Damage {
            file: path.to_path_buf(),
            offset,
            what: what.to_owned(),
        };
        let length = file.byte_count()?;
        let least = u64_of(INDEX_HEADER_BYTES + END_BYTES);
        let end_at = length.checked_sub(u64_of(END_BYTES)).filter(|_| length >= least);
        let end_at = end_at.ok_or_else(|| damage(0, "an index file ends early"))?;
        let header = read(file.as_ref(), path, 0, INDEX_HEADER_BYTES)?;
        let sealed =
            IndexFile::open(&header, key_lookup).map_err(|error| not_opened(path, &error))?;
        let end = read(file.as_ref(), path, end_at, END_BYTES)?;
        let (plain_len, table_len) = decode_end(&end).map_err(|why| damage(end_at, why))?;
        let table_at = end_at.checked_sub(u64::from(table_len));
        let table_at = table_at.ok_or_else(|| damage(end_at, "its table ends early"))?;
        let table = read(file.as_ref(), path, table_at, usize_of_u32(table_len))?;
        let table = sealed.open_block(TABLE, &table, usize_of_u32(plain_len));
        let table = table.map_err(|error| damage(table_at, &error.to_string()))?;
        let table = FileTable::decode(&table).map_err(|why| damage(table_at, why))?;
        let mut at = u64_of(INDEX_HEADER_BYTES);
        let ends: Vec<u64> = table
            .lengths
            .iter()
            .map(|length| {
                at += u64::from(*length);
                at
            })
            .collect();
        if at != table_at {
            return Err(damage(table_at, "its blocks end elsewhere").into());
        }
        Ok(SplitFile { path: path.to_path_buf(), file, sealed, table, ends, length, cache })
    }

    /// What it says of itself.
    pub(crate) fn table(&self) -> &FileTable {
        &self.table
    }

    /// The key generation of its header.
    pub(crate) fn generation(&self) -> KeyGeneration {
        self.sealed.generation()
    }

    /// Its header under another key of its account.
    pub(super) fn sealed(&self) -> &IndexFile {
        &self.sealed
    }

    /// Bytes of the file.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.length
    }

    /// Bytes of memory that it takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.ends.len() * 12
    }

    fn read_block(&self, number: u32) -> Result<Vec<u8>, ReadError> {
        let index = usize_of_u32(number);
        let before = index.checked_sub(1).and_then(|before| self.ends.get(before)).copied();
        let at = before.unwrap_or(u64_of(INDEX_HEADER_BYTES));
        let damage = |what: String| Damage { file: self.path.clone(), offset: at, what };
        let Some(length) = self.table.lengths.get(index).copied() else {
            return Err(damage(format!("block {number} is asked for, which is beyond")).into());
        };
        let plain_at = u64::from(number) * u64_of(SPLIT_BLOCK_BYTES);
        let plain_len = (self.table.stream_len - plain_at).min(u64_of(SPLIT_BLOCK_BYTES));
        let sealed = read(self.file.as_ref(), &self.path, at, usize_of_u32(length))?;
        let opened = self.sealed.open_block(number, &sealed, usize_of(plain_len));
        Ok(opened.map_err(|error| damage(format!("block {number}: {error}")))?)
    }

    /// Opens every block.
    pub(crate) fn verify(&self) -> Result<(), ReadError> {
        (0..u32_of(self.ends.len())).try_for_each(|number| self.read_block(number).map(drop))
    }
}

impl BlockSource for Arc<SplitFile> {
    fn len(&self) -> u64 {
        self.table.stream_len
    }

    fn block(&self, number: u32) -> Result<Arc<[u8]>, ReadError> {
        let key = (self.sealed.id(), number);
        if let Some(block) = self.cache.find(key) {
            return Ok(block);
        }
        let block: Arc<[u8]> = self.read_block(number)?.into();
        self.cache.keep(key, Arc::clone(&block));
        Ok(block)
    }
}

fn not_opened(path: &Path, error: &SealError) -> ReadError {
    Damage { file: path.to_path_buf(), offset: 0, what: error.to_string() }.into()
}

/// Bytes of the table, plain and sealed.
fn decode_end(bytes: &[u8]) -> Result<(u32, u32), Broken> {
    let mut from = Decoder::new(bytes);
    let plain_len = u32::from_le_bytes(from.array()?);
    let table_len = u32::from_le_bytes(from.array()?);
    if from.array()? != END_MAGIC {
        return Err("it does not end as an index file does");
    }
    if plain_len > TABLE_BYTES_MAX || table_len > TABLE_BYTES_MAX {
        return Err("its table is too long");
    }
    Ok((plain_len, table_len))
}

fn read(file: &dyn DiskFile, path: &Path, at: u64, length: usize) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; length];
    let count = file.read_at(at, &mut bytes)?;
    if count != length {
        let what = format!("{count} bytes where {length} belong");
        return Err(Damage { file: path.to_path_buf(), offset: at, what }.into());
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
