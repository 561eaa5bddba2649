//! Frames: where a message begins and ends on the wire, how large it may be, and its compression.
//!
//! ```text
//! offset  size  field
//!      0     4  length  bytes of the payload as it is sent
//!      4     1  kind    see `message`
//!      5     1  flags   bit 0: the payload is raw_len 4 and a zstd frame; others zero, or refused
//!      6     2  volume  its number; 0xFFFF in frames about no volume
//!      8        payload
//! ```
//!
//! No checksum: TLS has one. Compression is decided by a sample, because sealed mail does not
//! shrink and trying costs more than sending it.
//!
//! # Invariants
//! 1. A frame's bound follows from its kind and from what is configured, and is checked before any
//!    byte of its payload is kept.
//! 2. Memory grows with what was received, in either direction of zstd: never with what a head
//!    announces beyond [`AHEAD_BYTES_MAX`].
//! 3. Decoding gives the same frames however the bytes are cut.

use std::io::Read;

use engine::width::{u32_of, usize_of_u32};

use super::message::{Kind, Malformed, VolumeNumber};
use super::refusal::{Cause, Refusal};

/// Bytes before a payload.
pub const FRAME_HEAD_BYTES: usize = 8;
/// Memory that a head alone may cost.
pub const AHEAD_BYTES_MAX: usize = 64 << 10;
/// Below this nothing is compressed.
const COMPRESS_BYTES_MIN: usize = 256;
/// One of the pieces that make a sample.
const SAMPLE_PIECE_BYTES: usize = 1 << 10;
/// A sample is kept in mind as shrinking if it loses one part in so many.
const SHRINKS_BY: usize = 16;
/// Fast: the link is faster than thorough compression, and most of what it carries is compressed
/// and sealed.
const ZSTD_LEVEL: i32 = 1;
/// Memory that a peer may make us spend on a window, as a power of two.
const ZSTD_WINDOW_LOG_MAX: u32 = 24;
const NO_VOLUME: u16 = u16::MAX;
const FLAG_ZSTD: u8 = 1;

/// How large frames may be where it can be configured; the rest is in [`Kind::bytes_max`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameBounds {
    /// Bytes of one Groups.
    pub groups_bytes_max: usize,
    /// Bytes of one KeyTable.
    pub key_table_bytes_max: usize,
}

impl Default for FrameBounds {
    fn default() -> FrameBounds {
        FrameBounds {
            groups_bytes_max: Kind::Groups.bytes_max(),
            key_table_bytes_max: Kind::KeyTable.bytes_max(),
        }
    }
}

impl FrameBounds {
    /// Bytes of a payload of that kind before its compression.
    pub fn of(&self, kind: Kind) -> usize {
        match kind {
            Kind::Groups => self.groups_bytes_max.min(kind.bytes_max()),
            Kind::KeyTable => self.key_table_bytes_max.min(kind.bytes_max()),
            _ => kind.bytes_max(),
        }
    }
}

/// A frame as it came, its payload as it was before compression.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it says.
    pub kind: Kind,
    /// About which volume.
    pub volume: Option<VolumeNumber>,
    /// What is said.
    pub payload: Vec<u8>,
    /// Bytes that it took on the wire.
    pub wire_bytes: usize,
}

/// A frame ready to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedFrame {
    /// Before the payload.
    pub head: [u8; FRAME_HEAD_BYTES],
    /// As it is sent.
    pub payload: Vec<u8>,
    /// Its bytes before compression.
    pub plain_bytes: usize,
}

impl EncodedFrame {
    /// Bytes on the wire.
    pub fn wire_bytes(&self) -> usize {
        FRAME_HEAD_BYTES + self.payload.len()
    }

    /// Whether its payload is compressed.
    pub fn is_compressed(&self) -> bool {
        self.head.get(5) == Some(&FLAG_ZSTD)
    }

    /// All of it in one piece.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.head[..], &self.payload].concat()
    }
}

/// Puts a payload into a frame, compressed if that pays.
pub fn encode(kind: Kind, volume: Option<VolumeNumber>, payload: Vec<u8>) -> EncodedFrame {
    let plain_bytes = payload.len();
    match compress(&payload) {
        Some(smaller) => framed(kind, volume, FLAG_ZSTD, smaller, plain_bytes),
        None => framed(kind, volume, 0, payload, plain_bytes),
    }
}

/// Puts a payload into a frame as it is: a secret's length says nothing of what it is then.
pub fn encode_plain(kind: Kind, volume: Option<VolumeNumber>, payload: Vec<u8>) -> EncodedFrame {
    let plain_bytes = payload.len();
    framed(kind, volume, 0, payload, plain_bytes)
}

fn framed(
    kind: Kind,
    volume: Option<VolumeNumber>,
    flags: u8,
    payload: Vec<u8>,
    plain_bytes: usize,
) -> EncodedFrame {
    let [l0, l1, l2, l3] = u32_of(payload.len()).to_le_bytes();
    let [v0, v1] = volume.map_or(NO_VOLUME, |VolumeNumber(number)| number).to_le_bytes();
    let head = [l0, l1, l2, l3, kind.number(), flags, v0, v1];
    EncodedFrame { head, payload, plain_bytes }
}

/// The compressed payload, if a sample of it shrinks and it does so as a whole.
fn compress(payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() < COMPRESS_BYTES_MIN {
        return None;
    }
    let pieces = 4 * SAMPLE_PIECE_BYTES;
    if payload.len() > 2 * pieces {
        let sample: Vec<u8> = payload
            .chunks(payload.len().div_ceil(4))
            .flat_map(|part| part.get(..SAMPLE_PIECE_BYTES).unwrap_or(part))
            .copied()
            .collect();
        let shrunk = zstd::bulk::compress(&sample, ZSTD_LEVEL).ok()?;
        if shrunk.len() + sample.len() / SHRINKS_BY > sample.len() {
            return None;
        }
    }
    let shrunk = zstd::bulk::compress(payload, ZSTD_LEVEL).ok()?;
    if shrunk.len() + 4 + payload.len() / SHRINKS_BY > payload.len() {
        return None;
    }
    Some([&u32_of(payload.len()).to_le_bytes()[..], &shrunk].concat())
}

/// The head of the frame that is being received.
#[derive(Clone, Copy, Debug)]
struct Head {
    length: usize,
    kind: Kind,
    compressed: bool,
    volume: Option<VolumeNumber>,
}

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub struct FrameDecoder {
    bounds: FrameBounds,
    /// Bytes of a head that is not complete.
    begun: Vec<u8>,
    head: Option<Head>,
    payload: Vec<u8>,
}

impl FrameDecoder {
    /// At the beginning of a stream.
    pub fn new(bounds: FrameBounds) -> FrameDecoder {
        FrameDecoder { bounds, begun: Vec::new(), head: None, payload: Vec::new() }
    }

    /// Whether the stream could end here: between frames.
    pub fn between_frames(&self) -> bool {
        self.head.is_none() && self.begun.is_empty()
    }

    /// Memory that is held for the frame that is being received.
    pub fn held_bytes(&self) -> usize {
        self.payload.capacity()
    }

    /// Takes bytes until a frame is complete: how many, and the frame.
    ///
    /// # Errors
    /// Why the frame is refused; the stream cannot be read any further.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, Option<Frame>), Refusal> {
        let mut used = 0;
        let head = match self.head {
            Some(head) => head,
            None => {
                let missing = FRAME_HEAD_BYTES.saturating_sub(self.begun.len());
                let piece = bytes.get(..missing).unwrap_or(bytes);
                self.begun.extend_from_slice(piece);
                used += piece.len();
                let Some(begun) = self.begun.first_chunk::<FRAME_HEAD_BYTES>() else {
                    return Ok((used, None));
                };
                let head = self.read_head(*begun)?;
                self.begun.clear();
                self.head = Some(head);
                head
            }
        };
        let rest = bytes.get(used..).unwrap_or_default();
        let missing = head.length.saturating_sub(self.payload.len());
        let piece = rest.get(..missing).unwrap_or(rest);
        self.grow(piece.len(), head.length);
        self.payload.extend_from_slice(piece);
        used += piece.len();
        if self.payload.len() < head.length {
            return Ok((used, None));
        }
        self.head = None;
        let payload = std::mem::take(&mut self.payload);
        let wire_bytes = FRAME_HEAD_BYTES + payload.len();
        let payload = match head.compressed {
            true => decompress(&payload, self.bounds.of(head.kind))?,
            false => payload,
        };
        Ok((used, Some(Frame { kind: head.kind, volume: head.volume, payload, wire_bytes })))
    }

    /// Makes room: twice what is there, and no more than the frame needs.
    fn grow(&mut self, more: usize, length: usize) {
        let needed = self.payload.len() + more;
        if needed > self.payload.capacity() {
            let target = (2 * needed).max(AHEAD_BYTES_MAX).min(length);
            self.payload.reserve_exact(target.saturating_sub(self.payload.len()));
        }
    }

    fn read_head(&self, head: [u8; FRAME_HEAD_BYTES]) -> Result<Head, Refusal> {
        let [l0, l1, l2, l3, kind, flags, v0, v1] = head;
        let length = usize_of_u32(u32::from_le_bytes([l0, l1, l2, l3]));
        let Some(kind) = Kind::from_number(kind) else {
            let sentence = format!("a frame of kind {kind} came, which this version does not know");
            return Err(Refusal::new(Cause::UnknownKind, sentence));
        };
        let most = self.bounds.of(kind);
        if length > most {
            let sentence = format!(
                "a {} of {length} bytes was announced, and {most} is the most that is taken",
                kind.name()
            );
            return Err(Refusal::new(Cause::Oversize, sentence));
        }
        if flags & !FLAG_ZSTD != 0 {
            let why = Malformed::Value { field: "flags", found: flags.into() };
            return Err(Refusal::malformed("the head of a frame", &why));
        }
        let volume = match u16::from_le_bytes([v0, v1]) {
            NO_VOLUME => None,
            number => Some(VolumeNumber(number)),
        };
        if volume.is_some() != kind.about_volume() {
            let found = u16::from_le_bytes([v0, v1]).into();
            let why = Malformed::Value { field: "volume", found };
            return Err(Refusal::malformed("the head of a frame", &why));
        }
        Ok(Head { length, kind, compressed: flags == FLAG_ZSTD, volume })
    }
}

/// Undoes the compression of a payload of at most `most` bytes.
fn decompress(payload: &[u8], most: usize) -> Result<Vec<u8>, Refusal> {
    let broken = |why: &str| {
        Refusal::new(Cause::Malformed, format!("a compressed frame cannot be read: {why}"))
    };
    let (length, frame) = payload.split_first_chunk::<4>().ok_or(broken("it is cut short"))?;
    let length = usize_of_u32(u32::from_le_bytes(*length));
    if length > most {
        let sentence = format!(
            "a compressed frame is {length} bytes long when opened, and {most} is the most"
        );
        return Err(Refusal::new(Cause::Oversize, sentence));
    }
    let failed = |why: std::io::Error| broken(&why.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame).map_err(failed)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(failed)?;
    let mut plain = Vec::new();
    // One more than announced, so that a longer one is seen; the vector grows with what comes.
    let bound = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(bound).read_to_end(&mut plain).map_err(failed)?;
    match plain.len() == length {
        true => Ok(plain),
        false => Err(broken("it is not as long as it says")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut FrameDecoder, mut bytes: &[u8]) -> Result<Vec<Frame>, Refusal> {
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (used, frame) = decoder.take(bytes)?;
            frames.extend(frame);
            bytes = &bytes[used..];
        }
        Ok(frames)
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
        bytes
    }

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let volume = Some(VolumeNumber(3));
        let sent = [
            encode(Kind::Ping, None, vec![1; 16]),
            encode(Kind::Groups, volume, noise(100_000)),
            encode(Kind::Groups, volume, vec![7; 100_000]),
            encode(Kind::Groups, volume, Vec::new()),
        ];
        let stream: Vec<u8> = sent.iter().flat_map(EncodedFrame::to_bytes).collect();
        for piece in [1, 7, 8, 9, 4096, stream.len()] {
            let mut decoder = FrameDecoder::new(FrameBounds::default());
            let mut frames = Vec::new();
            for piece in stream.chunks(piece) {
                frames.extend(all(&mut decoder, piece).unwrap());
            }
            let lengths: Vec<usize> = frames.iter().map(|frame| frame.payload.len()).collect();
            assert_eq!(lengths, [16, 100_000, 100_000, 0], "in pieces of {piece}");
            assert_eq!(frames[1].payload, noise(100_000));
            assert_eq!(frames[2].payload, vec![7; 100_000]);
            assert!(decoder.between_frames());
        }
    }

    #[test]
    fn what_does_not_shrink_is_sent_as_it_is() {
        let cases = [
            (noise(1 << 20), false, "sealed mail"),
            (vec![0; 1 << 20], true, "zeros"),
            (vec![0; 100], false, "too short to matter"),
            (b"a policy row ".repeat(100), true, "text"),
        ];
        for (payload, shrinks, why) in cases {
            let frame = encode(Kind::Groups, Some(VolumeNumber(0)), payload.clone());
            assert_eq!(frame.is_compressed(), shrinks, "{why}");
            assert_eq!(frame.plain_bytes, payload.len());
            let mut decoder = FrameDecoder::new(FrameBounds::default());
            let frames = all(&mut decoder, &frame.to_bytes()).unwrap();
            assert!(frames[0].payload == payload, "{why}");
        }
    }

    #[test]
    fn a_head_costs_no_memory() {
        let mut decoder = FrameDecoder::new(FrameBounds::default());
        let mut head = encode(Kind::KeyTable, Some(VolumeNumber(0)), Vec::new()).head.to_vec();
        head[..4].copy_from_slice(&(100_u32 << 20).to_le_bytes());
        head.push(1);
        assert_eq!(decoder.take(&head).unwrap(), (9, None));
        assert!(decoder.held_bytes() <= AHEAD_BYTES_MAX);
    }

    #[test]
    fn what_is_too_large_or_means_nothing_is_refused_by_its_head() {
        let head = |length: u32, kind: u8, flags: u8, volume: u16| {
            [&length.to_le_bytes()[..], &[kind, flags], &volume.to_le_bytes()].concat()
        };
        let cases = [
            (head(16 << 20, 18, 0, 0), None, "groups of the largest size"),
            (head((16 << 20) + 1, 18, 0, 0), Some(Cause::Oversize), "one byte more"),
            (head(65, 4, 0, NO_VOLUME), Some(Cause::Oversize), "a large ping"),
            (head(16, 77, 0, 0), Some(Cause::UnknownKind), "a kind of another version"),
            (head(16, 4, 2, NO_VOLUME), Some(Cause::Malformed), "a flag of another version"),
            (head(16, 4, 0, 0), Some(Cause::Malformed), "a ping about a volume"),
            (head(16, 18, 0, NO_VOLUME), Some(Cause::Malformed), "groups of no volume"),
        ];
        for (bytes, cause, why) in cases {
            let taken = FrameDecoder::new(FrameBounds::default()).take(&bytes);
            assert_eq!(taken.err().map(|refusal| refusal.cause), cause, "{why}");
        }
    }

    #[test]
    fn compressed_frames_that_lie_are_refused() {
        let volume = Some(VolumeNumber(0));
        let small = FrameBounds { groups_bytes_max: 1000, key_table_bytes_max: 1000 };
        let frame = encode(Kind::Groups, volume, vec![0; 5000]);
        let refusal = all(&mut FrameDecoder::new(small), &frame.to_bytes()).unwrap_err();
        assert_eq!(refusal.cause, Cause::Oversize, "opened it is above its bound");
        for (length, why) in [(4999_u32, "longer than it says"), (5001, "shorter")] {
            let mut lying = frame.clone();
            lying.payload[..4].copy_from_slice(&length.to_le_bytes());
            let mut decoder = FrameDecoder::new(FrameBounds::default());
            let refusal = all(&mut decoder, &lying.to_bytes()).unwrap_err();
            assert_eq!(refusal.cause, Cause::Malformed, "{why}");
        }
    }
}
