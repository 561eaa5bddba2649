//! Conversions between integer widths that cannot fail on the machines we run on.
//!
//! `as` is denied in this project because it truncates in silence. What is lossless on a 64-bit
//! machine has a name here; what can fail goes through `TryFrom` where it happens.

const _: () = assert!(usize::BITS == 64, "Pillarbox runs on 64-bit machines");

/// A length in memory as a number for disk and wire.
#[expect(clippy::as_conversions, reason = "lossless: usize has 64 bits, asserted above")]
#[inline]
pub const fn u64_of(length: usize) -> u64 {
    length as u64
}

/// A number from disk or wire as a length in memory.
#[expect(clippy::as_conversions, reason = "lossless: usize has 64 bits, asserted above")]
#[inline]
pub const fn usize_of(number: u64) -> usize {
    number as usize
}

/// A small number as a length in memory.
#[expect(clippy::as_conversions, reason = "lossless: usize has 64 bits, asserted above")]
#[inline]
pub const fn usize_of_u32(number: u32) -> usize {
    number as usize
}

/// A length that its caller has bounded below 2^32; saturates, so that a bug shows as a refused
/// length.
#[expect(clippy::as_conversions, reason = "the branch before it proves that it fits")]
#[inline]
pub const fn u32_of(length: usize) -> u32 {
    if length > 0xFFFF_FFFF { u32::MAX } else { length as u32 }
}
