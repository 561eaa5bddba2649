//! Parts that messages of an account share: found while a message is prepared, and read where its
//! chunks name them.
//!
//! ```text
//! a run of base64 ─► its bytes ─► keyed hash ─► a part of the account has it? ─► read and compared
//!                                                        │ no                      │ same: named
//!                                                        └──► sealed as a blob ◄───┘ sealed too,
//!                                                             for when it is gone by then
//! ```
//!
//! Only a message for one account has parts of its own: a body that several share is one already.
//!
//! # Invariants
//! 1. What a message names instead of bringing was read just before, and is the same byte for byte:
//!    a damaged part takes no new mail along.
//! 2. A reader holds one chunk of one part beside what it reads, and a part names no parts.

use std::ops::Range;

use super::Inner;
use super::read::OpenBlob;
use crate::commit::SealedPart;
use crate::error::{CommitError, ReadError};
use crate::format_level;
use crate::ids::{AccountNumber, BlobId, BlobTag, KeyGeneration, PartHash};
use crate::record::BlobShape;
use crate::seal::{
    BlobSealer, Compression, HashDomain, Key, KeyTableSnapshot, KeyedHash, MessageParts, Part,
    PartSource, SealError, SealedChunk,
};
use crate::state::{BlobRole, NamedPart, PartUse};
use crate::width::{u32_of, u64_of};

/// Messages that are asked whether they still name a part.
const WITNESSES_MAX: usize = 16;

impl Inner {
    /// The parts of a message that may be kept once for its account.
    pub(super) fn find_parts(
        &self,
        message: &[u8],
        keys: &KeyTableSnapshot,
        accounts: &[AccountNumber],
    ) -> MessageParts {
        let level = self.committed.format_level();
        let key = match accounts {
            [account] if level >= format_level::PARTS => keys.naming(*account),
            _ => None,
        };
        let Some(key) = key else { return MessageParts::default() };
        let hash = KeyedHash::of_account(key);
        MessageParts::find(message, &|bytes| PartHash(hash.hash_whole(HashDomain::Part, bytes)))
    }

    /// Seals the parts as blobs of their own, and looks which are there already.
    pub(super) fn seal_parts(
        &self,
        found: MessageParts,
        opener: (AccountNumber, KeyGeneration, &Key),
        compression: &Compression,
    ) -> Result<Vec<SealedPart>, CommitError> {
        let mut sealed = Vec::with_capacity(found.parts().len());
        for Part { hash, bytes } in found.parts() {
            let tag = BlobTag(self.sealer.random_id());
            let length = u64_of(bytes.len());
            let blob = BlobSealer::new(&self.sealer, tag, &[opener], length, compression.clone());
            let limit = self.message_bytes_max;
            let blob = blob.map_err(|_| CommitError::TooLarge { what: "a part", limit })?;
            let (header, header_hash) = blob.header();
            let header = SealedChunk { number: 0, bytes: header.to_vec(), hash: header_hash };
            let mut chunks = vec![header];
            chunks.extend(blob.seal_body(bytes));
            for (chunk, number) in chunks.iter_mut().zip(0..) {
                chunk.number = number;
            }
            let shape = BlobShape { tag, chunk_count: u32_of(chunks.len()), plain_bytes: length };
            // Whatever cannot be read is not shared; check tells of it.
            let (known, unreadable) = self.known_part(opener.0, hash, bytes).unwrap_or_default();
            let (hash, ahead) = (*hash, None);
            sealed.push(SealedPart { hash, shape, chunks, ahead, known, unreadable });
        }
        Ok(sealed)
    }

    /// The blob of the account that has these bytes, with a message that names it; or one that
    /// should have them.
    fn known_part(
        &self,
        account: AccountNumber,
        hash: &PartHash,
        bytes: &[u8],
    ) -> Result<(Option<PartUse>, Option<BlobId>), ReadError> {
        let used = match self.committed.recent_part(account, hash) {
            Some(used) => Some(used),
            None => self.saved.part(account, hash)?,
        };
        let Some(used) = used else { return Ok((None, None)) };
        let used = match self.is_used(account, &used)? {
            true => Some(used),
            false => self.other_use(account, used.part)?,
        };
        let Some(used) = used else { return Ok((None, None)) };
        Ok(match self.has_bytes(account, used.part, bytes) {
            Ok(true) => (Some(used), None),
            Ok(false) | Err(_) => (None, Some(used.part)),
        })
    }

    /// Whether the row is there.
    fn is_used(&self, account: AccountNumber, used: &PartUse) -> Result<bool, ReadError> {
        let cell = self.committed.cell((account, used.mailbox))?;
        let Some(view) = cell.and_then(|cell| cell.view()) else { return Ok(false) };
        Ok(view.row(used.uid)?.is_some_and(|row| row.blob == used.blob))
    }

    /// Another row whose blob names the part: the one that did so last was moved, or is gone.
    fn other_use(
        &self,
        account: AccountNumber,
        part: BlobId,
    ) -> Result<Option<PartUse>, ReadError> {
        let mut candidates = Vec::new();
        for blob in self.saved.naming(part, WITNESSES_MAX)? {
            for (mailbox, uid) in self.saved.rows_naming(blob, account, WITNESSES_MAX)? {
                candidates.push(PartUse { part, blob, mailbox, uid });
            }
        }
        for used in candidates.iter().take(WITNESSES_MAX) {
            if self.is_used(account, used)? {
                return Ok(Some(*used));
            }
        }
        Ok(None)
    }

    fn has_bytes(
        &self,
        account: AccountNumber,
        part: BlobId,
        bytes: &[u8],
    ) -> Result<bool, ReadError> {
        let mut blob = self.open_part(account, part)?;
        let (mut chunk, mut at) = (Vec::new(), 0);
        loop {
            chunk.clear();
            let Some(_) = self.read_part(&mut blob, u64_of(at), &mut chunk)? else {
                return Ok(at == bytes.len());
            };
            if bytes.get(at..at + chunk.len()) != Some(&chunk) {
                return Ok(false);
            }
            at += chunk.len();
        }
    }
}

/// Reads the parts that a blob names.
#[derive(Default)]
pub(super) struct PartReader {
    account: AccountNumber,
    named: Vec<NamedPart>,
    /// The part that was read last.
    open: Option<(BlobId, Box<OpenBlob>)>,
    /// Its chunk that was read last.
    chunk: Option<u32>,
    bytes: Vec<u8>,
    failure: Option<ReadError>,
}

/// The parts of one blob, while one of its chunks is opened.
pub(super) struct PartsOf<'a> {
    inner: &'a Inner,
    reader: &'a mut PartReader,
}

impl PartReader {
    pub(super) fn of(account: AccountNumber, role: &BlobRole) -> PartReader {
        let (_, named) = role.named();
        PartReader { account, named: named.to_vec(), ..PartReader::default() }
    }

    pub(super) fn source<'a>(&'a mut self, inner: &'a Inner) -> PartsOf<'a> {
        PartsOf { inner, reader: self }
    }

    /// Why a part could not be had, once.
    pub(super) fn failure(&mut self) -> Option<ReadError> {
        self.failure.take()
    }

    fn append(
        &mut self,
        inner: &Inner,
        hash: &PartHash,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let why = "it names a part that its row does not";
        let unknown = ReadError::Undecodable { what: "message", why };
        let named = self.named.iter().find(|named| named.hash == *hash).ok_or(unknown)?;
        let id = named.part;
        if self.open.as_ref().is_none_or(|(open, _)| *open != id) {
            self.chunk = None;
            self.open = Some((id, Box::new(inner.open_part(self.account, id)?)));
        }
        let Some((_, blob)) = &mut self.open else { return Ok(()) };
        let mut at = range.start;
        while at < range.end {
            let Some((number, within)) = blob.locate(u64_of(at)) else { return Ok(()) };
            if self.chunk != Some(number) {
                self.chunk = None;
                self.bytes.clear();
                inner.read_part(blob, u64_of(at), &mut self.bytes)?;
                self.chunk = Some(number);
            }
            let rest = self.bytes.get(within..).unwrap_or_default();
            let rest = rest.get(..range.end - at).unwrap_or(rest);
            if rest.is_empty() {
                return Ok(());
            }
            out.extend_from_slice(rest);
            at += rest.len();
        }
        Ok(())
    }
}

impl PartSource for PartsOf<'_> {
    fn append(
        &mut self,
        part: &PartHash,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let read = self.reader.append(self.inner, part, range, out);
        read.map_err(|error| {
            self.reader.chunk = None;
            self.reader.failure = Some(error);
            SealError::NoPart
        })
    }
}
