//! What a chunk holds before it is sealed: plain or compressed bytes behind a codec byte.
//!
//! ```text
//! codec 0  plain bytes
//! codec 1  a zstd frame
//! codec 2  hash of the dictionary 8, a zstd frame that needs it: one of the binary
//!          (dictionary.rs, from format level 2 on), or one that the caller finds
//! codec 3  length of the folded bytes u32, then what codec 0, 1 or 2 makes of those: the chunk
//!          without its base64 (recipe.rs, from format level 3 on)
//! codec 4  the same, of which parts are kept in other blobs (parts.rs, from format level 4 on)
//! codec 6  blocks of zstd that follow those of the summary (stream.rs, from format level 4 on)
//! codec 7  hash of the dictionary 8 or zeros, the begin of a zstd frame without its magic: a
//!          summary that codec 6 goes on from (from format level 4 on)
//! ```
//!
//! The plain length of every chunk is known from the blob's header and the folded one is below it,
//! so nothing is allocated on the word of a frame. Contexts are kept per thread: making one costs
//! more than a small mail.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::zstd_safe::{CCtx, DCtx, compress_bound};

use super::dictionary::{self, Dictionary, DictionaryHash};
use super::error::SealError;
use super::fields::Fields;
use super::parts::{self, PartSource};
use super::recipe;
use super::stream::{Begin, Stream};
use crate::width::{u32_of, usize_of_u32};

/// From this size on a probe decides whether compression is tried at all.
const PROBE_FROM_BYTES: usize = 64 << 10;
/// Bytes of a probe.
const PROBE_BYTES: usize = 4 << 10;
/// Largest chunk that is compressed with a dictionary of the binary; larger ones gain little.
const DICTIONARY_CHUNK_BYTES_MAX: usize = 32 << 10;

/// zstd's level for the further chunks of a message whose first one is in a stream.
const STREAMED_LEVEL: i32 = 3;

const CODEC_PLAIN: u8 = 0;
const CODEC_ZSTD: u8 = 1;
const CODEC_DICTIONARY: u8 = 2;
const CODEC_FOLDED: u8 = 3;
const CODEC_PARTS: u8 = 4;
const CODEC_AFTER_SUMMARY: u8 = 6;
const CODEC_BEGIN: u8 = 7;

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
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
    /// zstd with the dictionaries of the binary where they pay, else of level 1.
    BuiltIn,
    /// The same for what is left of a message without its base64.
    Folded,
    /// The same, with the first chunk compressed after the summary, and never stored plain where a
    /// part of it shrinks.
    Streamed,
}

/// What a chunk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Content {
    /// A piece of the message.
    Body,
    /// Its summary.
    Summary,
}

/// What one chunk is compressed with.
#[derive(Clone, Copy)]
enum Method<'a> {
    Zstd(i32),
    Dictionary(&'a Dictionary),
}

impl Compression {
    fn of_chunk(&self, content: Content, plain_len: usize) -> Option<Method<'_>> {
        match (self, content) {
            (Compression::Off, _) => None,
            (Compression::Zstd(level), _) => Some(Method::Zstd(*level)),
            (Compression::Dictionary(dictionary), _) => Some(Method::Dictionary(dictionary)),
            (Compression::Streamed, _) if plain_len > DICTIONARY_CHUNK_BYTES_MAX => {
                Some(Method::Zstd(STREAMED_LEVEL))
            }
            (_, _) if plain_len > DICTIONARY_CHUNK_BYTES_MAX => Some(Method::Zstd(1)),
            (_, Content::Body) => Some(Method::Dictionary(dictionary::mail(plain_len))),
            (_, Content::Summary) => Some(Method::Dictionary(dictionary::summary())),
        }
    }
}

impl Default for Compression {
    fn default() -> Compression {
        Compression::Zstd(1)
    }
}

/// Appends codec byte and payload of one chunk to `out`.
pub(super) fn encode(plain: &[u8], content: Content, compression: &Compression, out: &mut Vec<u8>) {
    encode_in(None, plain, content, compression, out);
}

/// The same for the first chunk of a body, which may go on from the summary.
pub(super) fn encode_first(
    stream: &mut Stream<'_>,
    plain: &[u8],
    compression: &Compression,
    out: &mut Vec<u8>,
) {
    encode_in(Some(stream), plain, Content::Body, compression, out);
}

/// The same for the summary, after the first chunk.
pub(super) fn encode_summary(
    stream: Stream<'_>,
    plain: &[u8],
    compression: &Compression,
    out: &mut Vec<u8>,
) {
    match stream.into_begin() {
        Some(begin) => {
            out.push(CODEC_BEGIN);
            out.extend_from_slice(&begin);
        }
        None => encode(plain, Content::Summary, compression, out),
    }
}

fn encode_in(
    mut stream: Option<&mut Stream<'_>>,
    plain: &[u8],
    content: Content,
    compression: &Compression,
    out: &mut Vec<u8>,
) {
    let folds = matches!(compression, Compression::Folded | Compression::Streamed);
    let folds = folds && content == Content::Body;
    if let Some(folded) = if folds { recipe::fold(plain) } else { None } {
        let lengths = (CODEC_FOLDED, plain.len());
        if encode_folded(stream.as_deref_mut(), &folded, lengths, compression, out) {
            return;
        }
    }
    encode_unfolded(stream, plain, content, compression, out);
}

/// Appends codec byte and payload of a chunk of a body of which parts are kept elsewhere; nothing,
/// and `false`, if that does not shorten it. With a stream, it is the first chunk.
pub(super) fn encode_parts(
    stream: Option<&mut Stream<'_>>,
    folded: &[u8],
    plain_len: usize,
    compression: &Compression,
    out: &mut Vec<u8>,
) -> bool {
    encode_folded(stream, folded, (CODEC_PARTS, plain_len), compression, out)
}

fn encode_folded(
    stream: Option<&mut Stream<'_>>,
    folded: &[u8],
    (codec, plain_len): (u8, usize),
    compression: &Compression,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    out.push(codec);
    out.extend_from_slice(&u32_of(folded.len()).to_le_bytes());
    encode_unfolded(stream, folded, Content::Body, compression, out);
    let is_shorter = out.len() - start < plain_len + 1;
    if !is_shorter {
        out.truncate(start);
    }
    is_shorter
}

fn encode_unfolded(
    stream: Option<&mut Stream<'_>>,
    plain: &[u8],
    content: Content,
    compression: &Compression,
    out: &mut Vec<u8>,
) {
    let start = out.len();
    if let Some(stream) = stream {
        out.push(CODEC_AFTER_SUMMARY);
        if stream.add(plain, out).is_some() {
            return;
        }
        out.truncate(start);
    }
    // A probe takes an image with text before it for an image alone.
    let probes = !matches!(compression, Compression::Streamed);
    let method = compression.of_chunk(content, plain.len());
    if let Some(method) = method.filter(|_| !probes || worth_trying(plain)) {
        match method {
            Method::Zstd(_) => out.push(CODEC_ZSTD),
            Method::Dictionary(dictionary) => {
                out.push(CODEC_DICTIONARY);
                out.extend_from_slice(&dictionary.hash().0);
            }
        }
        if compress_onto(plain, method, out) && out.len() - start < plain.len() + 1 {
            return;
        }
        out.truncate(start);
    }
    out.push(CODEC_PLAIN);
    out.extend_from_slice(plain);
}

/// Whether 4 KiB from any of three places shrink: the head of a mail always does and tells nothing,
/// and text may follow an image.
fn worth_trying(plain: &[u8]) -> bool {
    if plain.len() < PROBE_FROM_BYTES {
        return true;
    }
    let quarter = plain.len() / 4;
    [2, 3, 1].iter().any(|quarters| {
        let start = quarter * quarters;
        let Some(probe) = plain.get(start..start + PROBE_BYTES) else { return true };
        let mut compressed = Vec::new();
        compress_onto(probe, Method::Zstd(1), &mut compressed)
            && compressed.len() < PROBE_BYTES - PROBE_BYTES / 16
    })
}

fn compress_onto(plain: &[u8], method: Method<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + compress_bound(plain.len()), 0);
    let (_, target) = out.split_at_mut(start);
    let written = COMPRESSOR.with_borrow_mut(|context| match method {
        Method::Zstd(level) => context.compress(target, plain, level),
        Method::Dictionary(dictionary) => {
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

/// The begin of a stream in what a summary holds, for the chunk that follows it.
pub(super) fn begin_of(summary: &[u8], summary_len: usize) -> Option<Begin<'_>> {
    match summary.split_first() {
        Some((&CODEC_BEGIN, stored)) => Some(Begin { stored, summary_len }),
        _ => None,
    }
}

/// Appends the plain bytes of a chunk to `out`; they must be exactly `plain_len`. `begin` is what
/// the chunk may go on from. After an error `out` is as it was.
pub(super) fn decode_onto(
    chunk: &[u8],
    plain_len: usize,
    begin: Option<Begin<'_>>,
    dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
    parts: &mut dyn PartSource,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let Some((&codec @ (CODEC_FOLDED | CODEC_PARTS), rest)) = chunk.split_first() else {
        return decode_unfolded(chunk, plain_len, begin, dictionaries, out);
    };
    let mut fields = Fields::new(rest);
    let folded_len = usize_of_u32(fields.u32()?);
    if folded_len >= plain_len {
        return Err(SealError::Truncated { expected: plain_len, found: folded_len });
    }
    let mut folded = Vec::new();
    decode_unfolded(fields.rest(), folded_len, begin, dictionaries, &mut folded)?;
    match codec {
        CODEC_PARTS => parts::unfold(&folded, plain_len, parts, out),
        _ => recipe::unfold(&folded, plain_len, out),
    }
}

fn decode_unfolded(
    chunk: &[u8],
    plain_len: usize,
    begin: Option<Begin<'_>>,
    dictionaries: &dyn Fn(DictionaryHash) -> Option<Arc<Dictionary>>,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let mut fields = Fields::new(chunk);
    let codec = fields.u8()?;
    match (codec, begin) {
        (CODEC_BEGIN, _) => {
            return Begin { stored: fields.rest(), summary_len: plain_len }.summary_onto(out);
        }
        (CODEC_AFTER_SUMMARY, Some(begin)) => {
            return begin.chunk_onto(fields.rest(), plain_len, out);
        }
        _ => {}
    }
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
            let found = dictionary::built_in(hash).cloned().or_else(|| dictionaries(hash));
            Some(found.ok_or(SealError::NoDictionary(hash.0))?)
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

/// Fills `plain` from one zstd frame, with the context of this thread: to make one takes longer
/// than a small frame. Answers `None` if the frame is none or holds less or more.
pub(crate) fn decompress_frame(frame: &[u8], plain: &mut [u8]) -> Option<()> {
    let length = plain.len();
    let written = DECOMPRESSOR.with_borrow_mut(|context| context.decompress(plain, frame));
    written.ok().filter(|&written| written == length).map(|_| ())
}
