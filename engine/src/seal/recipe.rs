//! A chunk without its base64: compression sees the bytes that were meant, and what is compressed
//! already costs what it is long.
//!
//! ```text
//! recipe   runs, at least 1, varint
//!          each: text before it, varint; bytes, varint; characters a line, varint, a multiple
//!                of 4; line end u8: 0 CRLF, 1 LF
//! bytes    of text and runs as they alternate, and text to the end
//! ```
//!
//! A run is base64 (RFC 4648 section 4) in lines of equal length, of which the last may be shorter
//! or padded; it begins at the begin of a line, and the line end behind its last character is text.
//! Runs are found by how lines look, not by what a header says: so parts of parts, armour of PGP
//! and what the header of another chunk announced are found too, and no recipe leaves its chunk. A
//! reader finds any offset of a message without opening what is before it.
//!
//! # Invariants
//! 1. What is folded unfolds to the same bytes: [`fold`] tries it, and folds nothing otherwise.
//! 2. Folding shortens. So the plain length bounds what a reader allocates.
//! 3. [`unfold`] takes any bytes: a recipe that does not fit is an error.

use super::error::SealError;
use super::fields::Fields;

/// Characters of the shortest run that is worth its place in the recipe.
const RUN_CHARACTERS_MIN: usize = 64;
/// Characters of its shortest line: words, too, are of these letters.
const LINE_CHARACTERS_MIN: usize = 32;
/// Runs of one chunk; the rest is text. Of the shortest, a chunk holds about so many.
pub(super) const RUNS_MAX: usize = 4096;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// No value of a letter.
const NO_LETTER: u8 = 0xFF;
static VALUES: [u8; 256] = values();
static PAIRS: [[u8; 2]; 4096] = pairs();

/// Base64 in the text.
pub(super) struct Run {
    /// Where it begins in the chunk.
    pub(super) start: usize,
    /// Where it ends.
    pub(super) end: usize,
    pub(super) line_characters: usize,
    pub(super) line_end: LineEnd,
    pub(super) decoded: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LineEnd {
    CrLf,
    Lf,
}

impl LineEnd {
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            LineEnd::CrLf => b"\r\n",
            LineEnd::Lf => b"\n",
        }
    }

    /// The line end at the start of `text`.
    fn of(text: &[u8]) -> Option<LineEnd> {
        match text {
            [b'\r', b'\n', ..] => Some(LineEnd::CrLf),
            [b'\n', ..] => Some(LineEnd::Lf),
            _ => None,
        }
    }
}

/// The chunk as a recipe and its bytes; `None` if it has no base64.
pub(super) fn fold(plain: &[u8]) -> Option<Vec<u8>> {
    let runs = runs_of(plain);
    if runs.is_empty() {
        return None;
    }
    let mut folded = Vec::with_capacity(plain.len());
    put_varint(&mut folded, runs.len());
    let mut text_from = 0;
    for run in &runs {
        put_varint(&mut folded, run.start - text_from);
        put_varint(&mut folded, run.decoded.len());
        put_varint(&mut folded, run.line_characters);
        folded.push(u8::from(run.line_end == LineEnd::Lf));
        text_from = run.end;
    }
    text_from = 0;
    for run in &runs {
        folded.extend_from_slice(plain.get(text_from..run.start)?);
        folded.extend_from_slice(&run.decoded);
        text_from = run.end;
    }
    folded.extend_from_slice(plain.get(text_from..)?);
    // Mail that does not come back is lost. Trying it costs a tenth of what compressing costs.
    let mut again = Vec::new();
    let is_same = unfold(&folded, plain.len(), &mut again).is_ok() && again == plain;
    (is_same && folded.len() < plain.len()).then_some(folded)
}

/// Appends the plain bytes of a folded chunk to `out`; they must be exactly `plain_len`. After an
/// error `out` is as it was.
pub(super) fn unfold(folded: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<(), SealError> {
    let start = out.len();
    let unfolded = unfold_onto(folded, plain_len, out);
    if unfolded.is_err() {
        out.truncate(start);
    }
    unfolded
}

fn unfold_onto(folded: &[u8], plain_len: usize, out: &mut Vec<u8>) -> Result<(), SealError> {
    let mut recipe = Fields::new(folded);
    let run_count = varint(&mut recipe)?;
    if run_count == 0 || run_count > RUNS_MAX {
        return Err(malformed("runs of a recipe", run_count));
    }
    // Read twice, first to find where the bytes begin: a list of its own would be an allocation.
    let mut ahead = recipe.clone();
    for _ in 0..run_count {
        read_run(&mut ahead)?;
    }
    let mut bytes = ahead;
    let end = out.len() + plain_len;
    out.reserve(plain_len);
    let too_long = |found| SealError::Truncated { expected: plain_len, found };
    for _ in 0..run_count {
        let (text_len, byte_count, line_characters, line_end) = read_run(&mut recipe)?;
        let text = bytes.bytes(text_len)?;
        let decoded = bytes.bytes(byte_count)?;
        let length = encoded_len(decoded.len(), line_characters, line_end);
        if end.saturating_sub(out.len()) < text.len() + length {
            return Err(too_long(plain_len + text.len() + length));
        }
        out.extend_from_slice(text);
        encode(decoded, line_characters, line_end, out);
    }
    let text = bytes.rest();
    if end - out.len() != text.len() {
        return Err(too_long(text.len()));
    }
    out.extend_from_slice(text);
    Ok(())
}

fn read_run(recipe: &mut Fields<'_>) -> Result<(usize, usize, usize, LineEnd), SealError> {
    let (text_len, byte_count) = (varint(recipe)?, varint(recipe)?);
    let line_characters = varint(recipe)?;
    if line_characters == 0 || !line_characters.is_multiple_of(4) {
        return Err(malformed("line of a recipe", line_characters));
    }
    let line_end = match recipe.u8()? {
        0 => LineEnd::CrLf,
        1 => LineEnd::Lf,
        other => return Err(malformed("line end of a recipe", usize::from(other))),
    };
    Ok((text_len, byte_count, line_characters, line_end))
}

/// The base64 of a chunk, from its begin to its end.
pub(super) fn runs_of(plain: &[u8]) -> Vec<Run> {
    let mut runs = Vec::new();
    runs_from(plain, &mut |run| {
        runs.push(run);
        runs.len() < RUNS_MAX
    });
    runs
}

/// Visits the base64 of a text in order, until told to stop.
pub(super) fn runs_from(plain: &[u8], visit: &mut dyn FnMut(Run) -> bool) {
    let mut at = 0;
    while let Some(rest) = plain.get(at..).filter(|rest| !rest.is_empty()) {
        let mut from = at;
        if let Some(run) = run_at(plain, at) {
            from = run.end;
            if !visit(run) {
                return;
            }
        }
        let rest = plain.get(from..).unwrap_or(rest);
        let Some(line_end) = memchr::memchr(b'\n', rest) else { return };
        at = from + line_end + 1;
    }
}

/// The run that begins with the line at `start`, if it is long enough.
fn run_at(plain: &[u8], start: usize) -> Option<Run> {
    let rest = plain.get(start..)?;
    // Most text is told by its first word.
    let first = rest.get(..LINE_CHARACTERS_MIN)?;
    if !first.iter().all(|&byte| is_letter(byte)) {
        return None;
    }
    let letters = rest.iter().position(|&byte| !is_letter(byte)).unwrap_or(rest.len());
    let behind = rest.get(letters..)?;
    let (line_end, line_characters) = match LineEnd::of(behind) {
        Some(line_end) => (line_end, letters),
        // One line, padded or cut by the chunk's end.
        None if behind.is_empty() || behind.starts_with(b"=") => {
            (LineEnd::CrLf, letters.next_multiple_of(4))
        }
        None => return None,
    };
    if !line_characters.is_multiple_of(4) {
        return None;
    }
    let mut run = Run { start, end: start, line_characters, line_end, decoded: Vec::new() };
    let mut at = start;
    let mut characters = 0;
    while let Some(line) = plain.get(at..at + line_characters) {
        if !decode(line, &mut run.decoded) {
            break;
        }
        characters += line_characters;
        run.end = at + line_characters;
        at = run.end + line_end.bytes().len();
        if plain.get(run.end..at).is_none_or(|found| found != line_end.bytes()) {
            at = plain.len();
        }
    }
    characters += last_line(plain.get(at..)?, &mut run, at);
    (characters >= RUN_CHARACTERS_MIN).then_some(run)
}

/// Adds what is left of a run in a shorter or padded line; answers its characters.
fn last_line(rest: &[u8], run: &mut Run, at: usize) -> usize {
    let line = rest.get(..run.line_characters.min(rest.len())).unwrap_or_default();
    let letters = line.iter().position(|&byte| !is_letter(byte)).unwrap_or(line.len());
    let padding = line.get(letters..).unwrap_or_default();
    let padding = padding.iter().take_while(|&&byte| byte == b'=').count();
    let whole = letters - letters % 4;
    let padded = if padding > 0 && letters % 4 + padding == 4 { letters + padding } else { whole };
    let behind = rest.get(letters + padding..).unwrap_or_default();
    if !behind.is_empty() && LineEnd::of(behind).is_none() {
        return 0;
    }
    let before = run.decoded.len();
    if !decode(rest.get(..whole).unwrap_or_default(), &mut run.decoded) {
        return 0;
    }
    let last = rest.get(whole..padded).unwrap_or_default();
    let end = if decode_padded(last, &mut run.decoded) { padded } else { whole };
    if run.decoded.len() > before {
        run.end = at + end;
    }
    end
}

fn is_letter(byte: u8) -> bool {
    value(byte) != NO_LETTER
}

fn value(byte: u8) -> u8 {
    VALUES.get(usize::from(byte)).copied().unwrap_or(NO_LETTER)
}

/// Appends the bytes of whole quads without padding; nothing if there is another character.
fn decode(line: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.resize(start + line.len() / 4 * 3, 0);
    let (quads, rest) = line.as_chunks::<4>();
    let (_, target) = out.split_at_mut(start);
    let (targets, _) = target.as_chunks_mut::<3>();
    let mut all = 0;
    for (quad, target) in quads.iter().zip(targets) {
        let [a, b, c, d] = quad.map(value);
        all |= a | b | c | d;
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, first, second, third] = bits.to_be_bytes();
        *target = [first, second, third];
    }
    // Values have six bits; that of no letter has all eight.
    let is_base64 = all < 64 && rest.is_empty();
    if !is_base64 {
        out.truncate(start);
    }
    is_base64
}

/// Appends the bytes of a padded quad whose unused bits are zero, as they come again.
fn decode_padded(quad: &[u8], out: &mut Vec<u8>) -> bool {
    let decoded = match quad {
        [a, b, b'=', b'='] => [*a, *b, b'A', b'A'],
        [a, b, c, b'='] => [*a, *b, *c, b'A'],
        _ => return false,
    };
    let mut bytes = Vec::new();
    let kept = if quad.ends_with(b"==") { 1 } else { 2 };
    let is_plain = decode(&decoded, &mut bytes)
        && bytes.get(kept..).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
    if is_plain {
        out.extend_from_slice(bytes.get(..kept).unwrap_or_default());
    }
    is_plain
}

/// Bytes of a run in the message.
pub(super) fn encoded_len(byte_count: usize, line_characters: usize, line_end: LineEnd) -> usize {
    let characters = byte_count.div_ceil(3).saturating_mul(4);
    let line_ends = characters.div_ceil(line_characters).saturating_sub(1);
    characters.saturating_add(line_ends.saturating_mul(line_end.bytes().len()))
}

/// Appends a run as it stood in the message.
pub(super) fn encode(decoded: &[u8], line_characters: usize, line_end: LineEnd, out: &mut Vec<u8>) {
    let mut lines = decoded.chunks(line_characters / 4 * 3).peekable();
    while let Some(line) = lines.next() {
        let start = out.len();
        let (triples, rest) = line.as_chunks::<3>();
        out.resize(start + triples.len() * 4, 0);
        let (_, target) = out.split_at_mut(start);
        let (targets, _) = target.as_chunks_mut::<4>();
        for (&[a, b, c], target) in triples.iter().zip(targets) {
            let bits = u32::from_be_bytes([0, a, b, c]);
            let ([first, second], [third, fourth]) = (pair(bits >> 12), pair(bits));
            *target = [first, second, third, fourth];
        }
        match rest {
            [a] => {
                let [first, second] = pair(u32::from(*a) << 4);
                out.extend_from_slice(&[first, second, b'=', b'=']);
            }
            [a, b] => {
                let bits = u32::from_be_bytes([0, *a, *b, 0]);
                let ([first, second], [third, _]) = (pair(bits >> 12), pair(bits));
                out.extend_from_slice(&[first, second, third, b'=']);
            }
            _ => {}
        }
        if lines.peek().is_some() {
            out.extend_from_slice(line_end.bytes());
        }
    }
}

/// Two letters for the lowest twelve bits.
fn pair(bits: u32) -> [u8; 2] {
    let index = crate::width::usize_of_u32(bits & 0xFFF);
    PAIRS.get(index).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, clippy::as_conversions, reason = "evaluated when compiled")]
const fn values() -> [u8; 256] {
    let mut values = [NO_LETTER; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
}

#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const fn pairs() -> [[u8; 2]; 4096] {
    let mut pairs = [[0; 2]; 4096];
    let mut bits = 0;
    while bits < pairs.len() {
        pairs[bits] = [ALPHABET[bits >> 6], ALPHABET[bits & 63]];
        bits += 1;
    }
    pairs
}

/// Seven bits a byte, the lowest first, the highest bit of all but the last set.
pub(super) fn put_varint(out: &mut Vec<u8>, value: usize) {
    let mut left = value;
    while left >= 0x80 {
        let [low, ..] = left.to_le_bytes();
        out.push(low | 0x80);
        left >>= 7;
    }
    let [low, ..] = left.to_le_bytes();
    out.push(low);
}

pub(super) fn varint(fields: &mut Fields<'_>) -> Result<usize, SealError> {
    // Four bytes hold what a chunk is long.
    let mut value = 0;
    for shift in [0, 7, 14, 21] {
        let byte = fields.u8()?;
        value |= usize::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(malformed("number of a recipe", value))
}

pub(super) fn malformed(field: &'static str, found: usize) -> SealError {
    SealError::Malformed { field, found: crate::width::u64_of(found) }
}

#[cfg(test)]
pub(super) mod tests;
