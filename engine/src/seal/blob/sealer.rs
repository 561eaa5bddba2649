//! Sealing a blob: its header, then its chunks, or all of it as a packed blob.

use super::{APART, BlobHeader, PACKED, PROOF_BYTES, VERSION, chunk_count, chunk_key, wrap};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::{BLOB_ACCOUNTS_MAX, CHUNK_BYTES, MESSAGE_BYTES_MAX, SUMMARY_BYTES_MAX};
use crate::seal::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use crate::seal::compress::{self, Compression, Content};
use crate::seal::derive::{Purpose, Sealer};
use crate::seal::error::SealError;
use crate::seal::key::Key;
use crate::seal::parts::{self, MessageParts};
use crate::seal::stream::Stream;
use crate::width::{u32_of, u64_of, usize_of, usize_of_u32};

/// A chunk as it is stored.
#[derive(Debug)]
pub struct SealedChunk {
    /// Which chunk, from 0.
    pub number: u32,
    /// Ciphertext and tag.
    pub bytes: Vec<u8>,
    /// BLAKE3 of `bytes`.
    pub hash: [u8; 32],
}

/// Seals one blob, chunk after chunk.
pub struct BlobSealer {
    header: BlobHeader,
    header_bytes: Vec<u8>,
    content_key: Key,
    compression: Compression,
    next_number: u32,
}

impl BlobSealer {
    /// Begins a blob of `plain_len` bytes for the given accounts, each once.
    ///
    /// # Errors
    /// [`SealError::TooLarge`] for no or more than BLOB_ACCOUNTS_MAX accounts, and for bodies above
    /// MESSAGE_BYTES_MAX.
    pub fn new(
        sealer: &Sealer,
        tag: BlobTag,
        accounts: &[(AccountNumber, KeyGeneration, &Key)],
        plain_len: u64,
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        BlobSealer::with_summary(sealer, tag, accounts, (plain_len, 0), compression)
    }

    /// Begins a blob of a body and a summary of so many bytes; the summary is sealed behind the
    /// last chunk.
    ///
    /// # Errors
    /// As [`BlobSealer::new`], and for summaries above [`SUMMARY_BYTES_MAX`].
    pub fn with_summary(
        sealer: &Sealer,
        tag: BlobTag,
        accounts: &[(AccountNumber, KeyGeneration, &Key)],
        lengths: (u64, u32),
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        BlobSealer::begin(APART, sealer, (tag, accounts), lengths, compression)
    }

    /// The same of what is to be packed, with a header of version 3: for volumes of format level 5
    /// and above.
    ///
    /// # Errors
    /// As [`BlobSealer::with_summary`].
    pub fn to_pack(
        sealer: &Sealer,
        tag: BlobTag,
        accounts: &[(AccountNumber, KeyGeneration, &Key)],
        lengths: (u64, u32),
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        BlobSealer::begin(VERSION, sealer, (tag, accounts), lengths, compression)
    }

    fn begin(
        version: u16,
        sealer: &Sealer,
        (tag, accounts): (BlobTag, &[(AccountNumber, KeyGeneration, &Key)]),
        (plain_len, summary_len): (u64, u32),
        compression: Compression,
    ) -> Result<BlobSealer, SealError> {
        let summary_max = u64_of(SUMMARY_BYTES_MAX);
        if u64::from(summary_len) > summary_max {
            return Err(SealError::TooLarge {
                found: u64::from(summary_len),
                maximum: summary_max,
            });
        }
        let (count, count_max) = (u64_of(accounts.len()), u64_of(BLOB_ACCOUNTS_MAX));
        if count == 0 || count > count_max {
            return Err(SealError::TooLarge { found: count, maximum: count_max });
        }
        let maximum = u64_of(MESSAGE_BYTES_MAX);
        if plain_len > maximum {
            return Err(SealError::TooLarge { found: plain_len, maximum });
        }
        let content_key = sealer.fresh_key(Purpose::CONTENT_KEY);
        let entries = accounts
            .iter()
            .map(|opener| wrap(sealer, version, tag, *opener, &content_key))
            .collect();
        let chunk_count = u32_of(usize_of(chunk_count(plain_len)));
        let proof = [0; PROOF_BYTES];
        let header = BlobHeader {
            version,
            tag,
            chunk_count,
            summary_len,
            sealed_summary_len: 0,
            plain_len,
            entries,
            proof,
        };
        // That of a packed blob is not known before its summary is sealed.
        let header_bytes = match version {
            APART => header.encode(&content_key),
            _ => Vec::new(),
        };
        Ok(BlobSealer { header, header_bytes, content_key, compression, next_number: 0 })
    }

    /// Chunks that the blob will have.
    pub fn chunk_count(&self) -> u32 {
        self.header.chunk_count
    }

    /// The header of a blob that is not to be packed, and its BLAKE3.
    pub fn header(&self) -> (&[u8], [u8; 32]) {
        (&self.header_bytes, blake3::hash(&self.header_bytes).into())
    }

    /// Plain bytes that the next chunk takes; `None` when all are sealed.
    pub fn next_chunk_len(&self) -> Option<usize> {
        self.header.chunk_len(self.next_number)
    }

    /// Whether the next chunk is the summary.
    pub fn next_is_summary(&self) -> bool {
        self.next_number == self.header.chunk_count
    }

    /// Seals the next chunk, which must be as long as [`next_chunk_len`](Self::next_chunk_len)
    /// says.
    ///
    /// # Panics
    /// If there is no next chunk or its length differs: a caller that lost count would store a body
    /// that nobody can open.
    pub fn seal_chunk(&mut self, plain: &[u8]) -> SealedChunk {
        self.seal_next(plain, None)
    }

    /// The same for a message of which parts are stored as blobs of their own.
    ///
    /// # Panics
    /// As [`seal_chunk`](Self::seal_chunk).
    pub fn seal_chunk_naming_parts(&mut self, plain: &[u8], parts: &MessageParts) -> SealedChunk {
        self.seal_next(plain, Some(parts).filter(|_| !self.next_is_summary()))
    }

    fn seal_next(&mut self, plain: &[u8], parts: Option<&MessageParts>) -> SealedChunk {
        assert_eq!(self.next_chunk_len(), Some(plain.len()), "chunks come in order and whole");
        let number = self.next_number;
        let content = if self.next_is_summary() { Content::Summary } else { Content::Body };
        self.next_number += 1;
        let mut bytes = Vec::with_capacity(plain.len() + 1 + TAG_BYTES);
        let start = usize_of_u32(number).saturating_mul(CHUNK_BYTES);
        let names_parts =
            parts.and_then(|parts| parts::fold(plain, start, parts)).is_some_and(|folded| {
                compress::encode_parts(None, &folded, plain.len(), &self.compression, &mut bytes)
            });
        if !names_parts {
            compress::encode(plain, content, &self.compression, &mut bytes);
        }
        self.seal_text(number, &mut bytes);
        bytes.shrink_to_fit();
        let hash = blake3::hash(&bytes).into();
        SealedChunk { number, bytes, hash }
    }

    /// Seals what a chunk holds where it lies, and appends its tag.
    fn seal_text(&self, number: u32, bytes: &mut Vec<u8>) {
        let aad = self.header.chunk_aad(number).encode();
        let key = chunk_key(&self.content_key, number);
        let tag = AwsLc.seal_in_place(key.expose(), &NONCE, &aad, bytes);
        bytes.extend_from_slice(&tag);
    }

    /// Seals a whole message that is in memory as a packed blob: the items of the log, of which
    /// the first is header, summary and first chunk. Each item tells its BLAKE3.
    ///
    /// # Panics
    /// If a length is not the announced one, or a chunk was sealed before.
    pub fn seal_packed(self, body: &[u8], summary: &[u8]) -> Vec<SealedChunk> {
        self.seal_packed_naming_parts(body, &MessageParts::default(), summary)
    }

    /// The same for a message of which parts are stored as blobs of their own.
    ///
    /// # Panics
    /// As [`seal_packed`](Self::seal_packed).
    pub fn seal_packed_naming_parts(
        mut self,
        body: &[u8],
        parts: &MessageParts,
        summary: &[u8],
    ) -> Vec<SealedChunk> {
        assert_eq!(u64_of(body.len()), self.header.plain_len, "the body has the announced length");
        let announced = usize_of_u32(self.header.summary_len);
        assert_eq!(summary.len(), announced, "the summary has the announced length");
        assert_eq!(self.next_number, 0, "a blob is packed as a whole");
        self.header.version = self.header.version.max(PACKED);
        let mut chunks = body.chunks(CHUNK_BYTES);
        let first = chunks.next().unwrap_or_default();
        let mut stream = Stream::new(summary);
        let mut first_text = Vec::with_capacity(first.len() + 1 + TAG_BYTES);
        let names_parts = parts::fold(first, 0, parts).is_some_and(|folded| {
            let (stream, compression) = (Some(&mut stream), &self.compression);
            compress::encode_parts(stream, &folded, first.len(), compression, &mut first_text)
        });
        if !names_parts {
            compress::encode_first(&mut stream, first, &self.compression, &mut first_text);
        }
        let mut summary_text = Vec::with_capacity(summary.len() + 1 + TAG_BYTES);
        compress::encode_summary(stream, summary, &self.compression, &mut summary_text);
        self.seal_text(0, &mut first_text);
        self.seal_text(self.header.chunk_count, &mut summary_text);
        self.next_number = 1;
        self.header.sealed_summary_len = u32_of(summary_text.len());
        let mut bytes = self.header.encode(&self.content_key);
        bytes.reserve_exact(summary_text.len() + first_text.len());
        bytes.append(&mut summary_text);
        bytes.append(&mut first_text);
        let hash = blake3::hash(&bytes).into();
        let mut items = vec![SealedChunk { number: 0, bytes, hash }];
        items.extend(chunks.map(|chunk| self.seal_chunk_naming_parts(chunk, parts)));
        items
    }

    /// Seals a whole body that is in memory.
    ///
    /// # Panics
    /// If its length is not the announced one, or a chunk was sealed before.
    pub fn seal_body(mut self, body: &[u8]) -> Vec<SealedChunk> {
        assert_eq!(u64_of(body.len()), self.header.plain_len, "the body has the announced length");
        if body.is_empty() {
            return vec![self.seal_chunk(body)];
        }
        body.chunks(CHUNK_BYTES).map(|chunk| self.seal_chunk(chunk)).collect()
    }
}
