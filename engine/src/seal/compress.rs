//! What a chunk holds before it is sealed: plain or compressed bytes behind a codec byte.
//!
//! ```text
//! codec 0  plain bytes
//! codec 1  a zstd frame
//! codec 2  hash of the dictionary 8, a zstd frame that needs it
//! ```
//!
//! The plain length of every chunk is known from the blob's header, so nothing is allocated on the
//! word of a frame. Contexts are kept per thread: making one costs more than a small mail.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict, compress_bound};

use super::error::SealError;
use super::fields::Fields;

/// Largest dictionary.
pub const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// From this size on a probe decides whether compression is tried at all.
const PROBE_FROM_BYTES: usize = 64 << 10;
/// Bytes of the probe.
const PROBE_BYTES: usize = 4 << 10;
/// Bytes of codec 2 before its frame.
const DICTIONARY_HASH_BYTES: usize = 8;

const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const CODEC_DICTIONARY: u8 = 2;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// The name of a dictionary: the first 8 bytes of its BLAKE3.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DictionaryHash(pub [u8; DICTIONARY_HASH_BYTES]);

/// A dictionary of zstd, prepared for one level. Holds pieces of mail: it is stored sealed.
pub struct Dictionary {
    hash: DictionaryHash,
    compress: CDict<'static>,
    decompress: DDict<'static>,
}

impl Dictionary {
    /// Prepares a dictionary; `None` if it is empty, too large, or zstd refuses it.
    pub fn new(bytes: &[u8], level: i32) -> Option<Dictionary> {
        if bytes.is_empty() || bytes.len() > DICTIONARY_BYTES_MAX {
            return None;
        }
        let hash = *blake3::hash(bytes).as_bytes().first_chunk()?;
        Some(Dictionary {
            hash: DictionaryHash(hash),
            compress: CDict::try_create(bytes, level)?,
            decompress: DDict::try_create(bytes)?,
        })
    }

    /// Its name.
    pub fn hash(&self) -> DictionaryHash {
        self.hash
    }
}

/// How the chunks of a blob are compressed.
#[derive(Clone)]
pub enum Compression {
    /// Not at all.
    Off,
    /// zstd of this level, 1 by default; chunks that would not shrink stay plain.
    Zstd(i32),
    /// zstd with a dictionary.
    Dictionary(Arc<Dictionary>),
}

impl Default for Compression {
    fn default() -> Compression {
        Compression::Zstd(1)
    }
}

/// Appends codec byte and payload of one chunk to `out`.
pub(super) fn encode(plain: &[u8], compression: &Compression, out: &mut Vec<u8>) {
    let start = out.len();
    if !matches!(compression, Compression::Off) && worth_trying(plain) {
        if let Compression::Dictionary(dictionary) = compression {
            out.push(CODEC_DICTIONARY);
            out.extend_from_slice(&dictionary.hash.0);
        } else {
            out.push(CODEC_ZSTD);
        }
        if compress_onto(plain, compression, out) && out.len() - start < plain.len() + 1 {
            return;
        }
        out.truncate(start);
    }
    out.push(CODEC_PLAIN);
    out.extend_from_slice(plain);
}

/// Whether 4 KiB from the middle shrink; the head of a mail always does and tells nothing.
fn worth_trying(plain: &[u8]) -> bool {
    if plain.len() < PROBE_FROM_BYTES {
        return true;
    }
    let middle = plain.len() / 2;
    let Some(probe) = plain.get(middle..middle + PROBE_BYTES) else { return true };
    let mut compressed = Vec::new();
    compress_onto(probe, &Compression::Zstd(1), &mut compressed)
        && compressed.len() < PROBE_BYTES - PROBE_BYTES / 16
}

fn compress_onto(plain: &[u8], compression: &Compression, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + compress_bound(plain.len()), 0);
    let (_, target) = out.split_at_mut(start);
    let written = COMPRESSOR.with_borrow_mut(|context| match compression {
        Compression::Off => Ok(0),
        Compression::Zstd(level) => context.compress(target, plain, *level),
        Compression::Dictionary(dictionary) => {
            context.compress_using_cdict(target, plain, &dictionary.compress)
        }
    });
    match written {
        Ok(written) => {
            out.truncate(start + written);
            true
        }
        Err(_) => false,
    }
}

/// Appends the plain bytes of a chunk to `out`; they must be exactly `plain_len`. After an error
/// `out` is as it was.
pub(super) fn decode_onto(
    chunk: &[u8],
    plain_len: usize,
    dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let mut fields = Fields::new(chunk);
    let codec = fields.u8()?;
    let hash = match codec {
        CODEC_DICTIONARY => Some(DictionaryHash(fields.array()?)),
        _ => None,
    };
    let payload = fields.bytes(chunk.len() - 1 - hash.map_or(0, |hash| hash.0.len()))?;
    if codec == CODEC_PLAIN {
        if payload.len() != plain_len {
            return Err(SealError::Truncated { expected: plain_len, found: payload.len() });
        }
        out.extend_from_slice(payload);
        return Ok(());
    }
    let dictionary = match (codec, hash) {
        (CODEC_ZSTD, _) => None,
        (CODEC_DICTIONARY, Some(hash)) => {
            Some(dictionaries(hash).ok_or(SealError::NoDictionary(hash.0))?)
        }
        _ => return Err(SealError::Malformed { field: "codec", found: u64::from(codec) }),
    };
    let start = out.len();
    out.resize(start + plain_len, 0);
    let (_, plain) = out.split_at_mut(start);
    let written = DECOMPRESSOR.with_borrow_mut(|context| match &dictionary {
        None => context.decompress(plain, payload),
        Some(dictionary) => context.decompress_using_ddict(plain, payload, &dictionary.decompress),
    });
    let error = match written {
        Ok(written) if written == plain_len => return Ok(()),
        Ok(found) => SealError::Truncated { expected: plain_len, found },
        Err(_) => SealError::Malformed { field: "zstd frame", found: u64::from(codec) },
    };
    out.truncate(start);
    Err(error)
}
