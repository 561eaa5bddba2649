//! Numbers and byte strings as our own formats write them: little-endian, lengths as LEB128.
//!
//! Reading is total: every call checks what is left, and a length is checked against the bytes that
//! remain before anything is allocated, so bytes from disk can neither panic nor allocate without
//! bound.

use crate::ids::Lsn;
use crate::uid_set::UidSet;
use crate::width::{u64_of, usize_of};

/// Why bytes do not decode: a rule that they break, in words.
pub(crate) type Broken = &'static str;

/// Appends to a buffer.
#[derive(Default)]
pub(crate) struct Encoder {
    /// What was written so far.
    pub(crate) bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn u8(&mut self, number: u8) {
        self.bytes.push(number);
    }

    pub(crate) fn u16(&mut self, number: u16) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, number: u64) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
    }

    /// LEB128, at most ten bytes.
    pub(crate) fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.bytes.push(number.to_le_bytes()[0]);
    }

    /// Zigzag, then LEB128.
    pub(crate) fn signed(&mut self, number: i64) {
        self.varint(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(crate) fn lsn(&mut self, lsn: Lsn) {
        self.u64(lsn.bits());
    }

    /// Bytes of a length that both sides know.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Length, then bytes.
    pub(crate) fn blob(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.blob(text.as_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.varint(u64_of(count));
    }

    pub(crate) fn option<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Encoder, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// All of it, and its hash behind it: a small file that tells when it is damaged.
    pub(crate) fn checked(mut self) -> Vec<u8> {
        let check = *blake3::hash(&self.bytes).as_bytes();
        self.raw(&check);
        self.bytes
    }

    /// Ranges as differences: `first − previous last`, `last − first`.
    pub(crate) fn uids(&mut self, uids: &UidSet) {
        self.count(uids.ranges().len());
        let mut previous = 0;
        for &(first, last) in uids.ranges() {
            self.varint(u64::from(first - previous));
            self.varint(u64::from(last - first));
            previous = last;
        }
    }
}

/// Takes from the front of a slice.
pub(crate) struct Decoder<'a> {
    left: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { left: bytes }
    }

    /// What [`Encoder::checked`] wrote, if its hash is right.
    pub(crate) fn checked(bytes: &'a [u8]) -> Option<Decoder<'a>> {
        let (body, check) = bytes.split_last_chunk::<32>()?;
        (*blake3::hash(body).as_bytes() == *check).then(|| Decoder::new(body))
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.left.len()
    }

    /// The bytes that are left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.left
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (taken, left) = self.left.split_at_checked(count).ok_or("it ends early")?;
        self.left = left;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let (taken, left) = self.left.split_first_chunk::<N>().ok_or("it ends early")?;
        self.left = left;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Broken> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Broken> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Broken> {
        match self.left {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.left = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err("a number exceeds 64 bits");
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number exceeds 64 bits")
    }

    /// Goes past so many numbers, whatever they are.
    pub(crate) fn skip_varints(&mut self, count: u32) -> Result<(), Broken> {
        let mut remaining = count;
        // Every number ends with a byte without the top bit: eight bytes at a time, as long as
        // no more numbers end in them than are wanted.
        while let Some((eight, rest)) = self.left.split_first_chunk::<8>() {
            let ends = (!u64::from_le_bytes(*eight) & 0x8080_8080_8080_8080).count_ones();
            if ends >= remaining {
                break;
            }
            remaining -= ends;
            self.left = rest;
        }
        while remaining > 0 {
            remaining -= u32::from(self.u8()? < 0x80);
        }
        Ok(())
    }

    pub(crate) fn signed(&mut self) -> Result<i64, Broken> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Broken> {
        u32::try_from(self.varint()?).map_err(|_| "a number exceeds 32 bits")
    }

    pub(crate) fn lsn(&mut self) -> Result<Lsn, Broken> {
        Lsn::from_bits(self.u64()?).ok_or("a position has its top bit set")
    }

    /// A count of things that take at least one byte each.
    pub(crate) fn count(&mut self) -> Result<usize, Broken> {
        let count = usize_of(self.varint()?);
        if count > self.left.len() {
            return Err("a count exceeds what is left");
        }
        Ok(count)
    }

    pub(crate) fn blob(&mut self) -> Result<&'a [u8], Broken> {
        let count = self.count()?;
        self.take(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Broken> {
        std::str::from_utf8(self.blob()?).map_err(|_| "a text is not UTF-8")
    }

    pub(crate) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Decoder<'a>) -> Result<T, Broken>,
    ) -> Result<Option<T>, Broken> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(read(self)?)),
            _ => Err("a mark is neither 0 nor 1"),
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Decoder<'a>) -> Result<T, Broken>,
    ) -> Result<Vec<T>, Broken> {
        let count = self.count()?;
        let mut list = Vec::with_capacity(count.min(4096));
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub(crate) fn uids(&mut self) -> Result<UidSet, Broken> {
        let mut set = UidSet::new();
        let mut previous = 0u32;
        for i in 0..self.count()? {
            let first = previous.checked_add(self.u32()?).ok_or("a UID exceeds 32 bits")?;
            let last = first.checked_add(self.u32()?).ok_or("a UID exceeds 32 bits")?;
            if first == 0 || (i > 0 && first == previous) {
                return Err("ranges of UIDs overlap");
            }
            set.push_range(first, last);
            previous = last;
        }
        Ok(set)
    }

    /// That nothing is left over.
    pub(crate) fn end(&self) -> Result<(), Broken> {
        if self.left.is_empty() { Ok(()) } else { Err("bytes are left over") }
    }
}
