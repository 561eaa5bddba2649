//! Reading fixed fields from bytes that nobody vouches for.

use super::error::SealError;

/// The rest of some bytes; every read takes from its front.
#[derive(Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], SealError> {
        let (front, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(SealError::Truncated { expected: length, found: self.0.len() })?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], SealError> {
        let (front, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(SealError::Truncated { expected: N, found: self.0.len() })?;
        self.0 = rest;
        Ok(*front)
    }

    pub(super) fn u8(&mut self) -> Result<u8, SealError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, SealError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, SealError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, SealError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A field that must be zero in this version.
    pub(super) fn zero<const N: usize>(&mut self, field: &'static str) -> Result<(), SealError> {
        match self.array::<N>()?.iter().find(|byte| **byte != 0) {
            Some(byte) => Err(SealError::Malformed { field, found: u64::from(*byte) }),
            None => Ok(()),
        }
    }

    /// All that is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Nothing may be left.
    pub(super) fn end(self) -> Result<(), SealError> {
        match self.0.len() {
            0 => Ok(()),
            found => Err(SealError::Truncated { expected: 0, found }),
        }
    }
}
