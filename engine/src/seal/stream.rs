//! Summary and first chunk of a message as one stream of zstd: what the summary says of the header
//! costs nothing in the body.
//!
//! ```text
//! frame    zstd's magic, head and blocks of the summary │ blocks of the chunk
//! stored   (without the magic)       in the summary      │ in the chunk
//! ```
//!
//! The stream is flushed behind the summary, so the summary reads without the body, however damaged
//! that is; the body reads with the summary before it. Why in this order: ENVELOPE must not depend
//! on a body, and whoever reads a body wants a kilobyte more of the same place (`blob.rs`).
//!
//! # Invariants
//! 1. What the begin of a stream gives has the length that the blob's header says, or is refused.
//! 2. Nothing is allocated on the word of a frame: [`WINDOW_LOG_MAX`] bounds what zstd keeps.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective as End;
use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, ErrorCode, InBuffer, OutBuffer, ResetDirective,
    compress_bound,
};

use super::dictionary::{self, Dictionary, DictionaryHash};
use super::error::SealError;
use super::fields::Fields;
use crate::limits::{CHUNK_BYTES, SUMMARY_BYTES_MAX};
use crate::width::u64_of;

/// What every frame begins with; not stored.
const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
/// The name of no dictionary.
const NO_DICTIONARY: [u8; 8] = [0; 8];
/// Largest chunk that is compressed with the dictionary of the binary.
const DICTIONARY_CHUNK_BYTES_MAX: usize = 64 << 10;
/// zstd's level for larger chunks: docs/benchmarks.md has the figures.
const LARGE_LEVEL: i32 = 3;
/// A window that holds the longest summary and a chunk.
const WINDOW_LOG_MAX: u32 = 23;
const _: () = assert!(SUMMARY_BYTES_MAX + 2 * CHUNK_BYTES <= 1 << WINDOW_LOG_MAX);

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// A stream that is written: the summary that it begins with, and then what was made of it.
pub(super) struct Stream<'a> {
    summary: &'a [u8],
    begin: Option<Vec<u8>>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(summary: &'a [u8]) -> Stream<'a> {
        Stream { summary, begin: None }
    }

    /// Appends the blocks of a chunk to `out`; `None`, and nothing, if that does not shorten it.
    /// What counts in the end is the chunk that was given last.
    pub(super) fn add(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Option<()> {
        self.begin = None;
        let small = chunk.len() <= DICTIONARY_CHUNK_BYTES_MAX;
        let dictionary = small.then(dictionary::small_mail);
        let (frame, chunk_at) = compress(self.summary, chunk, dictionary).ok()?;
        let (begin, blocks) = frame.split_at_checked(chunk_at)?;
        if blocks.len() >= chunk.len() {
            return None;
        }
        let name = dictionary.map_or(NO_DICTIONARY, |dictionary| dictionary.hash().0);
        self.begin = Some([&name, begin.get(MAGIC.len()..)?].concat());
        out.extend_from_slice(blocks);
        Some(())
    }

    /// The summary as the begin of the stream: name of the dictionary, frame without its magic.
    /// `None` if no chunk follows it.
    pub(super) fn into_begin(self) -> Option<Vec<u8>> {
        self.begin
    }
}

/// The frame of both, and where the chunk's blocks begin in it.
fn compress(
    summary: &[u8],
    chunk: &[u8],
    dictionary: Option<&'static Dictionary>,
) -> Result<(Vec<u8>, usize), ErrorCode> {
    // Each of the two parts ends a block, for which a bound of the whole has no room.
    const BLOCK_ENDS: usize = 64;
    let length = summary.len() + chunk.len();
    let mut frame = Vec::with_capacity(compress_bound(length) + BLOCK_ENDS);
    COMPRESSOR.with_borrow_mut(|context| {
        context.reset(ResetDirective::SessionAndParameters)?;
        match dictionary {
            Some(dictionary) => context.ref_cdict(&dictionary.compress)?,
            None => context.set_parameter(CParameter::CompressionLevel(LARGE_LEVEL))?,
        };
        context.set_pledged_src_size(Some(u64_of(length)))?;
        add_part(context, summary, End::ZSTD_e_flush, &mut frame)?;
        let chunk_at = frame.len();
        add_part(context, chunk, End::ZSTD_e_end, &mut frame)?;
        Ok((frame, chunk_at))
    })
}

fn add_part(
    context: &mut CCtx<'_>,
    part: &[u8],
    end: End,
    frame: &mut Vec<u8>,
) -> Result<(), ErrorCode> {
    let mut input = InBuffer::around(part);
    let start = frame.len();
    let mut output = OutBuffer::around_pos(frame, start);
    // There is room for all of it, so every call but the last gets further.
    while context.compress_stream2(&mut output, &mut input, end)? > 0 {}
    Ok(())
}

/// The begin of a stream as a summary holds it.
#[derive(Clone, Copy)]
pub(super) struct Begin<'a> {
    /// Name of the dictionary, frame without its magic.
    pub(super) stored: &'a [u8],
    /// Plain bytes of the summary.
    pub(super) summary_len: usize,
}

impl Begin<'_> {
    fn parse(&self) -> Result<(Option<&'static Arc<Dictionary>>, &[u8]), SealError> {
        let mut fields = Fields::new(self.stored);
        let name: [u8; 8] = fields.array()?;
        if name == NO_DICTIONARY {
            return Ok((None, fields.rest()));
        }
        let dictionary = dictionary::built_in(DictionaryHash(name));
        Ok((Some(dictionary.ok_or(SealError::NoDictionary(name))?), fields.rest()))
    }

    /// Appends the summary to `out`; after an error `out` is as it was.
    pub(super) fn summary_onto(&self, out: &mut Vec<u8>) -> Result<(), SealError> {
        let (dictionary, frame) = self.parse()?;
        let frame = [&MAGIC, frame].concat();
        let start = out.len();
        out.resize(start + self.summary_len, 0);
        let (_, plain) = out.split_at_mut(start);
        let found = DECOMPRESSOR.with_borrow_mut(|context| {
            prepare(context, dictionary)?;
            let mut input = InBuffer::around(&frame);
            let mut output = OutBuffer::around(plain);
            loop {
                let before = (input.pos(), output.pos());
                context.decompress_stream(&mut output, &mut input)?;
                if (input.pos(), output.pos()) == before || output.pos() == self.summary_len {
                    return Ok(output.pos());
                }
            }
        });
        self.judge(found, self.summary_len, start, out)
    }

    /// Appends the chunk whose blocks follow this begin to `out`; after an error `out` is as it
    /// was.
    pub(super) fn chunk_onto(
        &self,
        blocks: &[u8],
        chunk_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let (dictionary, begin) = self.parse()?;
        let frame = [&MAGIC, begin, blocks].concat();
        let (start, length) = (out.len(), self.summary_len + chunk_len);
        out.resize(start + length, 0);
        let (_, plain) = out.split_at_mut(start);
        let found = DECOMPRESSOR.with_borrow_mut(|context| {
            prepare(context, dictionary)?;
            context.decompress(plain, &frame)
        });
        self.judge(found, length, start, out)?;
        out.copy_within(start + self.summary_len.., start);
        out.truncate(start + chunk_len);
        Ok(())
    }

    fn judge(
        &self,
        found: Result<usize, ErrorCode>,
        expected: usize,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let error = match found {
            Ok(found) if found == expected => return Ok(()),
            Ok(found) => SealError::Truncated { expected, found },
            Err(_) => SealError::Malformed { field: "zstd stream", found: u64_of(expected) },
        };
        out.truncate(start);
        Err(error)
    }
}

fn prepare(
    context: &mut DCtx<'static>,
    dictionary: Option<&'static Arc<Dictionary>>,
) -> Result<(), ErrorCode> {
    context.reset(ResetDirective::SessionAndParameters)?;
    context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))?;
    if let Some(dictionary) = dictionary {
        context.ref_ddict(&dictionary.decompress)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Summary;
    use crate::message::generator::Generator;

    fn parts(message_bytes: usize) -> (Vec<u8>, Vec<u8>) {
        let message = Generator::new(3).message(message_bytes);
        (Summary::parse(&message).encode(), message)
    }

    #[test]
    fn a_summary_reads_without_the_body_and_the_body_after_it() {
        for length in [300, 3_000, 60_000, 200_000] {
            let (summary, message) = parts(length);
            let mut blocks = Vec::new();
            let mut stream = Stream::new(&summary);
            stream.add(&message, &mut blocks).unwrap();
            let stored = stream.into_begin().unwrap();
            let begin = Begin { stored: &stored, summary_len: summary.len() };
            let mut plain = b"before".to_vec();
            begin.summary_onto(&mut plain).unwrap();
            assert_eq!(plain, [b"before", summary.as_slice()].concat());
            let mut plain = b"before".to_vec();
            begin.chunk_onto(&blocks, message.len(), &mut plain).unwrap();
            assert_eq!(plain, [b"before", message.as_slice()].concat());
        }
    }

    #[test]
    fn what_the_summary_says_costs_nothing_in_the_body() {
        let (summary, message) = parts(3_000);
        let blocks_after = |summary: &[u8]| {
            let mut blocks = Vec::new();
            Stream::new(summary).add(&message, &mut blocks).unwrap();
            blocks.len()
        };
        assert!(blocks_after(&summary) + 100 < blocks_after(b"-"));
    }

    #[test]
    fn a_chunk_that_does_not_shrink_is_no_stream() {
        let mut noise = vec![0; 5_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (summary, message) = parts(500);
        let mut out = b"before".to_vec();
        let mut stream = Stream::new(&summary);
        stream.add(&message, &mut out).unwrap();
        out.truncate(6);
        assert!(stream.add(&noise, &mut out).is_none());
        assert_eq!(out, b"before");
        assert!(stream.into_begin().is_none(), "the begin of an earlier chunk is not its own");
    }

    #[test]
    fn a_begin_of_another_length_is_refused() {
        let (summary, message) = parts(3_000);
        let mut blocks = Vec::new();
        let mut stream = Stream::new(&summary);
        stream.add(&message, &mut blocks).unwrap();
        let stored = stream.into_begin().unwrap();
        let lengths = [summary.len() - 1, summary.len() + 1, 0];
        for summary_len in lengths {
            let begin = Begin { stored: &stored, summary_len };
            let mut out = b"before".to_vec();
            assert!(begin.chunk_onto(&blocks, message.len(), &mut out).is_err());
            assert_eq!(out, b"before", "after an error nothing is added");
        }
        let begin = Begin { stored: &stored, summary_len: summary.len() + 1 };
        assert!(begin.summary_onto(&mut Vec::new()).is_err());
        let unknown = [&[7; 8], &stored[8..]].concat();
        let begin = Begin { stored: &unknown, summary_len: summary.len() };
        assert_eq!(begin.summary_onto(&mut Vec::new()), Err(SealError::NoDictionary([7; 8])));
    }
}
