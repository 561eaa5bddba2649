//! Parts that are kept once: a long run of base64 is a blob of its own, and chunks name it.
//!
//! ```text
//! recipe   parts, at least 1, varint, each: keyed hash of its bytes 32
//!          runs, at least 1, varint
//!          each: text before it, varint; kind u8: bit 0 LF ends its lines, not CRLF; bit 1 it is
//!                of a part; characters a line, varint, a multiple of 4
//!                without bit 1: bytes, varint, here (as in recipe.rs)
//!                with bit 1: which part, varint; from that character of it on, varint, counted as
//!                the message has it, line ends too; characters, varint
//! bytes    of text and runs that are here as they alternate, and text to the end
//! ```
//!
//! A part is found in the message as a whole, so the same attachment is the same part wherever it
//! begins and whatever chunks cut it. A chunk names the characters of a part that lie in it: they
//! may begin anywhere, in a padding or between CR and LF. The bytes of a part are known by a hash
//! with a key of the account; which blob has them is told by the row of the blob that names them,
//! and can be found without it by who has the key and reads every blob.
//!
//! # Invariants
//! 1. What is folded unfolds to the same bytes: [`fold`] tries it, and folds nothing otherwise.
//! 2. Folding shortens, so the plain length bounds what a reader allocates.
//! 3. [`unfold`] takes any bytes, asks for no more of a part than its chunk and two lines hold, and
//!    a part names no part: a reader goes one step and no further.

use std::ops::Range;

use super::error::SealError;
use super::fields::Fields;
use super::recipe::{
    LineEnd, RUNS_MAX, Run, encode, encoded_len, malformed, put_varint, runs_from, runs_of, varint,
};
use crate::ids::PartHash;

/// Bytes of the shortest part: below, what its blob and its rows cost is more than a copy in ten
/// messages gives.
pub const PART_BYTES_MIN: usize = 16 << 10;
/// Bytes of the longest: what a chunk says of it has four bytes for a number.
const PART_BYTES_MAX: usize = 128 << 20;
/// Parts of one message; further ones are in its chunks.
const PARTS_MAX: usize = 256;
/// Longer lines are not for mail (RFC 5322 section 2.1.1), and a reader takes lines as a whole.
const LINE_CHARACTERS_MAX: usize = 1000;
/// Fewer characters of a part are kept in the chunk.
const PIECE_CHARACTERS_MIN: usize = 256;

const LINES_END_IN_LF: u8 = 1;
const IS_OF_PART: u8 = 2;

/// Where a reader gets the bytes of parts.
pub trait PartSource {
    /// Appends those bytes of a part, or as many of them as it has.
    ///
    /// # Errors
    /// [`SealError::NoPart`], or why it cannot be had.
    fn append(
        &mut self,
        part: &PartHash,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError>;
}

/// For blobs that name no parts.
pub struct NoParts;

impl PartSource for NoParts {
    fn append(&mut self, _: &PartHash, _: Range<usize>, _: &mut Vec<u8>) -> Result<(), SealError> {
        Err(SealError::NoPart)
    }
}

/// Bytes that are to be kept once.
pub struct Part {
    /// The hash that names them.
    pub hash: PartHash,
    /// Decoded.
    pub bytes: Vec<u8>,
}

/// The parts of one message, and where in it they are.
#[derive(Default)]
pub struct MessageParts {
    parts: Vec<Part>,
    places: Vec<Place>,
}

/// Where a part stands in the message.
struct Place {
    start: usize,
    end: usize,
    line_characters: usize,
    line_end: LineEnd,
    part: usize,
}

/// A run of a chunk.
enum Piece {
    /// Its bytes are in the chunk.
    Here(Run),
    /// They are in a part: characters `from` to `to` of how the message has it.
    Of { part: usize, range: Range<usize>, at: Range<usize>, shape: (usize, LineEnd) },
}

impl MessageParts {
    /// The parts of a message, named by `hash` of their bytes.
    pub fn find(message: &[u8], hash: &dyn Fn(&[u8]) -> PartHash) -> MessageParts {
        let mut found = MessageParts::default();
        if message.len() < PART_BYTES_MIN {
            return found;
        }
        runs_from(message, &mut |run| {
            let is_part = (PART_BYTES_MIN..=PART_BYTES_MAX).contains(&run.decoded.len())
                && run.line_characters <= LINE_CHARACTERS_MAX;
            if is_part {
                found.take(message, run, hash);
            }
            found.places.len() < PARTS_MAX
        });
        found
    }

    fn take(&mut self, message: &[u8], run: Run, hash: &dyn Fn(&[u8]) -> PartHash) {
        let Run { start, end, line_characters, line_end, decoded } = run;
        let mut again = Vec::with_capacity(end - start);
        encode(&decoded, line_characters, line_end, &mut again);
        if message.get(start..end) != Some(&again) {
            return;
        }
        let hash = hash(&decoded);
        let part = self.parts.iter().position(|part| part.hash == hash);
        let part = part.unwrap_or_else(|| {
            self.parts.push(Part { hash, bytes: decoded });
            self.parts.len() - 1
        });
        self.places.push(Place { start, end, line_characters, line_end, part });
    }

    /// The parts, each once.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The runs of the chunk that begins at `start` of the message.
    fn pieces(&self, plain: &[u8], start: usize) -> Vec<Piece> {
        let end = start + plain.len();
        let mut pieces = Vec::new();
        let mut at = start;
        let here = |from: usize, to: usize| {
            let from = from - start;
            let gap = plain.get(from..to - start).unwrap_or_default();
            runs_of(gap).into_iter().map(move |run| {
                Piece::Here(Run { start: run.start + from, end: run.end + from, ..run })
            })
        };
        for place in &self.places {
            let (from, to) = (place.start.max(start), place.end.min(end));
            if to < from + PIECE_CHARACTERS_MIN {
                continue;
            }
            pieces.extend(here(at, from));
            pieces.push(Piece::Of {
                part: place.part,
                range: from - place.start..to - place.start,
                at: from - start..to - start,
                shape: (place.line_characters, place.line_end),
            });
            at = to;
        }
        if pieces.is_empty() {
            return pieces;
        }
        pieces.extend(here(at, end));
        pieces
    }
}

/// The parts of a message that is at hand, for trying what was folded.
impl PartSource for &MessageParts {
    fn append(
        &mut self,
        part: &PartHash,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let found = self.parts.iter().find(|found| found.hash == *part);
        let bytes = &found.ok_or(SealError::NoPart)?.bytes;
        append_range(bytes, range, out);
        Ok(())
    }
}

/// Appends those bytes of a part that is in memory, or as many of them as it has.
pub fn append_range(part: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
    let range = range.start.min(part.len())..range.end.min(part.len());
    out.extend_from_slice(part.get(range).unwrap_or_default());
}

/// The chunk that begins at `start` of the message as a recipe and its bytes; `None` if it has
/// nothing of a part.
pub(super) fn fold(plain: &[u8], start: usize, parts: &MessageParts) -> Option<Vec<u8>> {
    let pieces = parts.pieces(plain, start);
    let mut named: Vec<usize> = Vec::new();
    for piece in &pieces {
        if let Piece::Of { part, .. } = piece
            && !named.contains(part)
        {
            named.push(*part);
        }
    }
    if named.is_empty() {
        return None;
    }
    let mut folded = Vec::with_capacity(plain.len() / 8);
    put_varint(&mut folded, named.len());
    for part in &named {
        folded.extend_from_slice(&parts.parts.get(*part)?.hash.0);
    }
    put_varint(&mut folded, pieces.len());
    let mut bytes = Vec::new();
    let mut text_from = 0;
    for piece in &pieces {
        let (at, (line_characters, line_end)) = match piece {
            Piece::Here(run) => (run.start..run.end, (run.line_characters, run.line_end)),
            Piece::Of { at, shape, .. } => (at.clone(), *shape),
        };
        put_varint(&mut folded, at.start - text_from);
        let lines = if line_end == LineEnd::Lf { LINES_END_IN_LF } else { 0 };
        let is_of_part = matches!(piece, Piece::Of { .. });
        folded.push(lines | if is_of_part { IS_OF_PART } else { 0 });
        put_varint(&mut folded, line_characters);
        bytes.extend_from_slice(plain.get(text_from..at.start)?);
        match piece {
            Piece::Here(run) => {
                put_varint(&mut folded, run.decoded.len());
                bytes.extend_from_slice(&run.decoded);
            }
            Piece::Of { part, range, .. } => {
                put_varint(&mut folded, named.iter().position(|name| name == part)?);
                put_varint(&mut folded, range.start);
                put_varint(&mut folded, range.len());
            }
        }
        text_from = at.end;
    }
    folded.extend_from_slice(&bytes);
    folded.extend_from_slice(plain.get(text_from..)?);
    // Mail that does not come back is lost.
    let (mut again, mut source) = (Vec::new(), parts);
    let is_same = unfold(&folded, plain.len(), &mut source, &mut again).is_ok() && again == plain;
    (is_same && folded.len() < plain.len()).then_some(folded)
}

/// Appends the plain bytes of a folded chunk to `out`; they must be exactly `plain_len`. After an
/// error `out` is as it was.
pub(super) fn unfold(
    folded: &[u8],
    plain_len: usize,
    parts: &mut dyn PartSource,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let start = out.len();
    let unfolded = unfold_onto(folded, plain_len, parts, out);
    if unfolded.is_err() {
        out.truncate(start);
    }
    unfolded
}

/// One run as a recipe tells it.
struct Told {
    text_len: usize,
    line_characters: usize,
    line_end: LineEnd,
    content: ToldContent,
}

enum ToldContent {
    Here(usize),
    Of { part: usize, from: usize, length: usize },
}

fn unfold_onto(
    folded: &[u8],
    plain_len: usize,
    parts: &mut dyn PartSource,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let mut recipe = Fields::new(folded);
    let part_count = varint(&mut recipe)?;
    if part_count == 0 || part_count > PARTS_MAX {
        return Err(malformed("parts of a recipe", part_count));
    }
    let mut hashes = Vec::with_capacity(part_count);
    for _ in 0..part_count {
        hashes.push(PartHash(recipe.array()?));
    }
    let run_count = varint(&mut recipe)?;
    if run_count == 0 || run_count > RUNS_MAX + PARTS_MAX {
        return Err(malformed("runs of a recipe", run_count));
    }
    // Read twice, first to find where the bytes begin.
    let mut bytes = recipe.clone();
    for _ in 0..run_count {
        read_run(&mut bytes)?;
    }
    let end = out.len() + plain_len;
    out.reserve(plain_len);
    let too_long = |found| SealError::Truncated { expected: plain_len, found };
    for _ in 0..run_count {
        let run = read_run(&mut recipe)?;
        let text = bytes.bytes(run.text_len)?;
        let (decoded, length) = match run.content {
            ToldContent::Here(count) => {
                let decoded = bytes.bytes(count)?;
                (decoded, encoded_len(count, run.line_characters, run.line_end))
            }
            ToldContent::Of { length, .. } => ([].as_slice(), length),
        };
        if end.saturating_sub(out.len()) < text.len().saturating_add(length) {
            return Err(too_long(plain_len.saturating_add(length)));
        }
        out.extend_from_slice(text);
        match run.content {
            ToldContent::Here(_) => encode(decoded, run.line_characters, run.line_end, out),
            ToldContent::Of { part, from, length } => {
                let hash = hashes.get(part).ok_or(malformed("part of a recipe", part))?;
                let shape = (run.line_characters, run.line_end);
                append_piece(parts, hash, shape, from..from + length, out)?;
            }
        }
    }
    let text = bytes.rest();
    if end - out.len() != text.len() {
        return Err(too_long(text.len()));
    }
    out.extend_from_slice(text);
    Ok(())
}

fn read_run(recipe: &mut Fields<'_>) -> Result<Told, SealError> {
    let text_len = varint(recipe)?;
    let kind = recipe.u8()?;
    if kind > LINES_END_IN_LF | IS_OF_PART {
        return Err(malformed("kind of a run", usize::from(kind)));
    }
    let line_characters = varint(recipe)?;
    if line_characters == 0 || !line_characters.is_multiple_of(4) {
        return Err(malformed("line of a recipe", line_characters));
    }
    let line_end = if kind & LINES_END_IN_LF == 0 { LineEnd::CrLf } else { LineEnd::Lf };
    let content = if kind & IS_OF_PART == 0 {
        ToldContent::Here(varint(recipe)?)
    } else if line_characters > LINE_CHARACTERS_MAX {
        return Err(malformed("line of a part", line_characters));
    } else {
        let (part, from) = (varint(recipe)?, varint(recipe)?);
        ToldContent::Of { part, from, length: varint(recipe)? }
    };
    Ok(Told { text_len, line_characters, line_end, content })
}

/// Appends characters of a part as the message has it: encoded from the begin of their first line,
/// of which what is not theirs is cut off.
fn append_piece(
    parts: &mut dyn PartSource,
    hash: &PartHash,
    (line_characters, line_end): (usize, LineEnd),
    range: Range<usize>,
    out: &mut Vec<u8>,
) -> Result<(), SealError> {
    let (stride, line_bytes) = (line_characters + line_end.bytes().len(), line_characters / 4 * 3);
    let (first, last) = (range.start / stride, range.end.div_ceil(stride));
    let mut decoded = Vec::new();
    parts.append(hash, first * line_bytes..last * line_bytes, &mut decoded)?;
    if decoded.len() > (last - first) * line_bytes {
        return Err(malformed("bytes of a part", decoded.len()));
    }
    let mut lines = Vec::with_capacity((last - first) * stride);
    encode(&decoded, line_characters, line_end, &mut lines);
    if decoded.len() == (last - first) * line_bytes {
        lines.extend_from_slice(line_end.bytes());
    }
    let before = first * stride;
    let characters = lines.get(range.start - before..range.end - before);
    let found = lines.len();
    out.extend_from_slice(
        characters.ok_or(SealError::Truncated { expected: range.end - before, found })?,
    );
    Ok(())
}

#[cfg(test)]
mod tests;
