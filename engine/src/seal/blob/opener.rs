//! Opening a blob: its header for one account, then any of its chunks.

use std::sync::Arc;

use super::{APART, BEGIN_MAX, BlobHeader, Piece, chunk_key};
use crate::ids::{AccountNumber, BlobTag, KeyGeneration};
use crate::limits::CHUNK_BYTES;
use crate::seal::aead::{Aead, AwsLc, NONCE, TAG_BYTES};
use crate::seal::compress;
use crate::seal::dictionary::{Dictionary, DictionaryHash};
use crate::seal::error::SealError;
use crate::seal::key::Key;
use crate::seal::parts::{NoParts, PartSource};
use crate::width::{u64_of, usize_of, usize_of_u32};

/// Opens the chunks of one blob.
pub struct BlobOpener {
    header: BlobHeader,
    content_key: Key,
    /// What the summary of a packed blob holds, compressed as it is: its first chunk may go on from
    /// it. `None` also if it is damaged.
    summary: Option<Vec<u8>>,
}

impl BlobOpener {
    /// Opens a header for one account. `tag` is the one of the record or row that led here. Of a
    /// packed blob, the summary must be there too.
    ///
    /// # Errors
    /// [`SealError::NotForAccount`], [`SealError::NoKey`] if the key was destroyed,
    /// [`SealError::WrongKey`], [`SealError::Altered`] (also for another blob's header, and, of
    /// version 3, for another key), or those
    /// of [`BlobHeader::parse`].
    pub fn open(
        header: &[u8],
        tag: BlobTag,
        account: AccountNumber,
        key_lookup: &dyn Fn(AccountNumber, KeyGeneration) -> Option<Key>,
    ) -> Result<BlobOpener, SealError> {
        let item = header;
        let header = BlobHeader::parse(item)?;
        if header.tag != tag {
            return Err(SealError::Altered);
        }
        let content_key = header.content_key(account, key_lookup)?;
        let mut opener = BlobOpener { header, content_key, summary: None };
        if opener.header.version != APART {
            let number = opener.header.chunk_count;
            let piece = opener.header.piece(number);
            let found = item.len();
            let expected = piece.end.unwrap_or(found);
            let sealed = piece.of(item).ok_or(SealError::Truncated { expected, found })?;
            let mut text = sealed.to_vec();
            opener.summary = match opener.open_text(number, &mut text) {
                Ok(length) => {
                    text.truncate(length);
                    Some(text)
                }
                // Whoever asks for the summary or for what needs it is told.
                Err(_) => None,
            };
        }
        Ok(opener)
    }

    /// Where a chunk lies in what the log holds of the blob.
    pub fn piece(&self, number: u32) -> Piece {
        self.header.piece(number)
    }

    /// Decrypts a chunk where it lies; answers how many bytes it holds.
    fn open_text(&self, number: u32, sealed: &mut [u8]) -> Result<usize, SealError> {
        let found = sealed.len();
        let (text, tag) = sealed
            .split_last_chunk_mut::<TAG_BYTES>()
            .ok_or(SealError::Truncated { expected: TAG_BYTES, found })?;
        let aad = self.header.chunk_aad(number).encode();
        let key = chunk_key(&self.content_key, number);
        AwsLc.open_in_place(key.expose(), &NONCE, &aad, text, tag)?;
        Ok(text.len())
    }

    /// Plain bytes of the body.
    pub fn plain_len(&self) -> u64 {
        self.header.plain_len
    }

    /// Chunks of the body.
    pub fn chunk_count(&self) -> u32 {
        self.header.chunk_count
    }

    /// The plain bytes of a chunk.
    ///
    /// # Errors
    /// [`SealError::Altered`] if it is not that chunk of this blob, unaltered; others if it was
    /// sealed wrongly.
    pub fn open_chunk(&self, number: u32, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        self.open_chunk_with(number, sealed, &|_| None)
    }

    /// Like [`open_chunk`](Self::open_chunk), for blobs that may need dictionaries.
    ///
    /// # Errors
    /// Also [`SealError::NoDictionary`].
    pub fn open_chunk_with(
        &self,
        number: u32,
        sealed: &[u8],
        dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
    ) -> Result<Vec<u8>, SealError> {
        let mut plain = Vec::new();
        self.open_chunk_onto(number, &mut sealed.to_vec(), dictionaries, &mut plain)?;
        Ok(plain)
    }

    /// Appends the plain bytes of a chunk to `out`, and leaves nothing of use in `sealed`. The way
    /// without copies, for readers of many chunks; after an error `out` is as it was. The summary
    /// of a packed blob came with its header, and is not opened a second time.
    ///
    /// # Errors
    /// As for [`open_chunk_with`](Self::open_chunk_with).
    pub fn open_chunk_onto(
        &self,
        number: u32,
        sealed: &mut [u8],
        dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.open_next(number, sealed, (dictionaries, &mut NoParts), out)
    }

    /// Like [`open_chunk_onto`](Self::open_chunk_onto), for a message of which parts are kept in
    /// other blobs.
    ///
    /// # Errors
    /// Also those of `parts`.
    pub fn open_chunk_and_parts(
        &self,
        number: u32,
        sealed: &mut [u8],
        parts: &mut dyn PartSource,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.open_next(number, sealed, (&|_| None, parts), out)
    }

    fn open_next(
        &self,
        number: u32,
        sealed: &mut [u8],
        (dictionaries, parts): (
            &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
            &mut dyn PartSource,
        ),
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let plain_len = self.header.chunk_len(number).ok_or(SealError::TooLarge {
            found: u64::from(number),
            maximum: u64::from(self.header.chunk_count) - 1,
        })?;
        // A codec byte is the most that sealing adds to incompressible bytes, and the name of a
        // dictionary more to a summary that begins a stream.
        let text_max =
            plain_len + 1 + if number == self.header.chunk_count { BEGIN_MAX } else { 0 };
        if sealed.len() > text_max + TAG_BYTES {
            let found = sealed.len();
            return Err(SealError::Truncated { expected: text_max + TAG_BYTES, found });
        }
        if let (true, Some(text)) = (number == self.header.chunk_count, &self.summary) {
            return compress::decode_onto(text, plain_len, None, dictionaries, parts, out);
        }
        let length = self.open_text(number, sealed)?;
        let text = sealed.get(..length).unwrap_or_default();
        let summary = self.summary.as_ref().filter(|_| number == 0);
        let begin = summary
            .and_then(|text| compress::begin_of(text, usize_of_u32(self.header.summary_len)));
        compress::decode_onto(text, plain_len, begin, dictionaries, parts, out)
    }

    /// The chunk that holds the byte at `offset` of the body, and where in it.
    pub fn locate(&self, offset: u64) -> Option<(u32, usize)> {
        if offset >= self.header.plain_len {
            return None;
        }
        let chunk = u64_of(CHUNK_BYTES);
        Some((u32::try_from(offset / chunk).ok()?, usize_of(offset % chunk)))
    }

    /// Bytes of the largest possible sealed chunk with this number.
    pub fn sealed_chunk_len_max(&self, number: u32) -> usize {
        let before = usize_of_u32(number).saturating_mul(CHUNK_BYTES);
        let rest = usize_of(self.header.plain_len).saturating_sub(before);
        rest.min(CHUNK_BYTES) + 1 + TAG_BYTES
    }
}
