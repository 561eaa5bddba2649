//! Fields of a message, one after the other: little-endian, every length checked.

use engine::ids::Lsn;
use engine::width::usize_of_u32;

/// Why bytes are no message of ours.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The payload ended inside of a field.
    #[error("it ends inside of the field {field}")]
    Short {
        /// The field.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("the field {field} is {found}, which means nothing here")]
    Value {
        /// The field.
        field: &'static str,
        /// What it holds.
        found: u64,
    },
    /// Bytes follow the last field.
    #[error("{bytes} bytes follow the last field")]
    Longer {
        /// How many.
        bytes: usize,
    },
    /// A Hello that does not begin with our magic bytes.
    #[error("it does not begin as a greeting of Pillarbox does")]
    Magic,
    /// A Hello of versions of which we speak none; the rest of it was not read.
    #[error("it speaks versions {lowest} to {highest}")]
    Version {
        /// The lowest that the peer speaks.
        lowest: u16,
        /// The highest.
        highest: u16,
    },
}

/// Reads a payload from its beginning.
pub(crate) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn new(payload: &'a [u8]) -> Fields<'a> {
        Fields(payload)
    }

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], Malformed> {
        let (found, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short { field })?;
        self.0 = rest;
        Ok(*found)
    }

    pub(crate) fn bytes(
        &mut self,
        length: usize,
        field: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let (found, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short { field })?;
        self.0 = rest;
        Ok(found)
    }

    pub(crate) fn u8(&mut self, field: &'static str) -> Result<u8, Malformed> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self, field: &'static str) -> Result<u16, Malformed> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self, field: &'static str) -> Result<u32, Malformed> {
        self.array(field).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, field: &'static str) -> Result<u64, Malformed> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A position in the log.
    pub(crate) fn lsn(&mut self, field: &'static str) -> Result<Lsn, Malformed> {
        let found = self.u64(field)?;
        Lsn::from_bits(found).ok_or(Malformed::Value { field, found })
    }

    /// A short text: one byte of length, then UTF-8 without control characters.
    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, Malformed> {
        let length = self.u8(field)?;
        let bytes = self.bytes(length.into(), field)?;
        match std::str::from_utf8(bytes) {
            Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(Malformed::Value { field, found: length.into() }),
        }
    }

    /// Bytes behind their length in four bytes, at most `most` of them.
    pub(crate) fn block(
        &mut self,
        most: usize,
        field: &'static str,
    ) -> Result<&'a [u8], Malformed> {
        let length = self.u32(field)?;
        if usize_of_u32(length) > most {
            return Err(Malformed::Value { field, found: length.into() });
        }
        self.bytes(usize_of_u32(length), field)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(Malformed::Longer { bytes }),
        }
    }
}

/// Appends a short text; what does not fit into 255 bytes or is a control character is left out.
pub(crate) fn put_text(text: &str, payload: &mut Vec<u8>) {
    let mut kept = String::new();
    for letter in text.chars().filter(|letter| !letter.is_control()) {
        if kept.len() + letter.len_utf8() > usize::from(u8::MAX) {
            break;
        }
        kept.push(letter);
    }
    payload.push(u8::try_from(kept.len()).unwrap_or(u8::MAX));
    payload.extend_from_slice(kept.as_bytes());
}
