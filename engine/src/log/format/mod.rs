//! What the log's bytes mean: pure, no file, no clock.
//!
//! [`item`] → [`group`] → [`segment`]: records and chunks are items, a group is what one flush
//! makes
//! durable and what is shipped, a segment is a file of groups on this node.

pub mod group;
pub mod item;
pub mod segment;

/// Why bytes are not what they should be. Data only; the caller knows file and offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormatError {
    /// The bytes end before the object does.
    #[error("{what} ends early")]
    Short {
        /// Which object.
        what: &'static str,
    },
    /// The first bytes are not the object's magic.
    #[error("no {what} here")]
    Magic {
        /// Which object.
        what: &'static str,
    },
    /// Written by a newer version.
    #[error("{what} has format version {found}, known is {known}")]
    Version {
        /// Which object.
        what: &'static str,
        /// Its version.
        found: u16,
        /// The newest known.
        known: u16,
    },
    /// A field holds what it may not.
    #[error("{field} of {what} has a value that it cannot have")]
    Field {
        /// Which object.
        what: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// The bytes do not have the hash that was written with them.
    #[error("{what} does not have its hash")]
    Hash {
        /// Which object.
        what: &'static str,
    },
}

/// Reads fields of known width one after the other; past the end it reports `Short`.
pub(crate) struct Fields<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { what, rest: bytes }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) =
            self.rest.split_at_checked(count).ok_or(FormatError::Short { what: self.what })?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) =
            self.rest.split_first_chunk().ok_or(FormatError::Short { what: self.what })?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// A version, which is at least 1 and at most `known`.
    pub(crate) fn version(&mut self, known: u16) -> Result<u16, FormatError> {
        match self.u16()? {
            0 => Err(FormatError::Field { what: self.what, field: "version" }),
            found if found > known => Err(FormatError::Version { what: self.what, found, known }),
            found => Ok(found),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn lsn(&mut self, field: &'static str) -> Result<crate::ids::Lsn, FormatError> {
        crate::ids::Lsn::from_bits(self.u64()?).ok_or(FormatError::Field { what: self.what, field })
    }
}
