//! Numbers of variable width, as every value of the mailbox's state is written.
//!
//! Unsigned: seven bits a byte, lowest first, the top bit says that more follow (LEB128), at most
//! ten bytes. Signed: zigzag first, so that small differences are short whichever way they go.
//! Reading is total: what does not fit is [`ReadError::Undecodable`], never a panic or an
//! allocation.

use crate::error::ReadError;
use crate::ids::Lsn;

/// Appends an unsigned number.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

/// Appends a signed number.
pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, crate::width::u64_of(bytes.len()));
    out.extend_from_slice(bytes);
}

/// Takes values from the front of stored bytes.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Of `bytes`; `what` names them in errors.
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Reader<'a> {
        Reader { rest: bytes, what }
    }

    /// The error that says which rule is broken.
    pub(crate) fn wrong(&self, why: &'static str) -> ReadError {
        ReadError::Undecodable { what: self.what, why }
    }

    /// One byte.
    pub(crate) fn byte(&mut self) -> Result<u8, ReadError> {
        match self.rest.split_first() {
            Some((&byte, rest)) => {
                self.rest = rest;
                Ok(byte)
            }
            None => Err(self.wrong("it ends too early")),
        }
    }

    /// The format, which stands first and is 1 to `known`.
    pub(crate) fn format(&mut self, known: u8) -> Result<(), ReadError> {
        match self.byte()? {
            0 => Err(self.wrong("its format is not known")),
            found if found > known => Err(ReadError::NewerFormat {
                what: format!("a stored {}", self.what),
                found: u32::from(found),
                known: u32::from(known),
            }),
            _ => Ok(()),
        }
    }

    /// `count` bytes.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ReadError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.wrong("it ends too early")),
        }
    }

    /// An unsigned number.
    pub(crate) fn number(&mut self) -> Result<u64, ReadError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.wrong("a number has more than 64 bits"))
    }

    /// An unsigned number of 32 bits.
    pub(crate) fn number32(&mut self) -> Result<u32, ReadError> {
        u32::try_from(self.number()?).map_err(|_| self.wrong("a number has more than 32 bits"))
    }

    /// An unsigned number of 16 bits.
    pub(crate) fn number16(&mut self) -> Result<u16, ReadError> {
        u16::try_from(self.number()?).map_err(|_| self.wrong("a number has more than 16 bits"))
    }

    /// A signed number.
    pub(crate) fn signed(&mut self) -> Result<i64, ReadError> {
        let zigzag = self.number()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// A length that is at most `bound`.
    pub(crate) fn length(&mut self, bound: usize) -> Result<usize, ReadError> {
        let length = crate::width::usize_of(self.number()?);
        if length > bound {
            return Err(self.wrong("a count exceeds its bound"));
        }
        Ok(length)
    }

    /// A position.
    pub(crate) fn position(&mut self) -> Result<Lsn, ReadError> {
        let bits = self.number()?;
        Lsn::from_bits(bits).ok_or_else(|| self.wrong("a position has 64 bits"))
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Refuses bytes that are left over.
    pub(crate) fn end(self) -> Result<(), ReadError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.wrong("bytes are left over")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_are_read_as_written(unsigned: u64, signed: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, unsigned);
            put_signed(&mut bytes, signed);
            let mut reader = Reader::new(&bytes, "test");
            prop_assert_eq!(reader.number().unwrap(), unsigned);
            prop_assert_eq!(reader.signed().unwrap(), signed);
            reader.end().unwrap();
        }

        #[test]
        fn any_bytes_are_a_number_or_an_error(bytes: Vec<u8>) {
            let _ = Reader::new(&bytes, "test").number();
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert!(Reader::new(&[0xff; 12], "test").number().is_err());
        assert!(
            Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "test")
                .number()
                .is_err()
        );
    }
}
