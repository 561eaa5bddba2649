//! Base images: an account's state as the log itself holds it, so that the records before can go.
//!
//! ```text
//! base begin   list(account u64)          right behind it lies v: images hold state as of here
//! base dump    list(table u8, key, value) rows of state, opened: a unit
//! base image   begun u64, first u8, digest 32, list(hash 32, position u64, bytes)
//! ```
//! An image names all units that make up the account at v, new ones and those of earlier images
//! which are still the same. Its records form a run, if they are several.
//!
//! # Invariants
//! 1. A unit's hash is BLAKE3 of its rows as the record has them; the digest is BLAKE3 of the
//!    hashes of all units in order.
//! 2. Rows carry no place on a disk.

use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::Lsn;

/// A row of state, opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct DumpedRow {
    /// Number of its table.
    pub(crate) table: u8,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// A unit of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BaseUnit {
    /// Of its rows.
    pub(crate) hash: [u8; 32],
    /// Position of the record that has them.
    pub(crate) lsn: Lsn,
    /// How many bytes they are.
    pub(crate) bytes: u32,
}

/// A part of an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BasePart {
    /// The image covers records up to this position.
    pub(crate) begun: Lsn,
    /// Whether this is the image's first part.
    pub(crate) first: bool,
    /// Over all parts.
    pub(crate) digest: [u8; 32],
    pub(crate) units: Vec<BaseUnit>,
}

impl DumpedRow {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.u8(self.table);
        out.blob(&self.key);
        out.blob(&self.value);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<DumpedRow, Broken> {
        Ok(DumpedRow {
            table: from.u8()?,
            key: from.blob()?.to_vec(),
            value: from.blob()?.to_vec(),
        })
    }
}

/// The hash of a unit of these rows.
pub(crate) fn unit_hash(rows: &[DumpedRow]) -> [u8; 32] {
    let mut out = Encoder::default();
    rows.iter().for_each(|row| row.encode(&mut out));
    *blake3::hash(&out.bytes).as_bytes()
}

/// The digest of an image of these units.
pub(crate) fn digest<'a>(units: impl IntoIterator<Item = &'a BaseUnit>) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    units.into_iter().for_each(|unit| {
        hasher.update(&unit.hash);
    });
    *hasher.finalize().as_bytes()
}

impl BaseUnit {
    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.raw(&self.hash);
        out.lsn(self.lsn);
        out.varint(u64::from(self.bytes));
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<BaseUnit, Broken> {
        Ok(BaseUnit { hash: from.array()?, lsn: from.lsn()?, bytes: from.u32()? })
    }
}

impl BasePart {
    pub(super) fn encode(&self, out: &mut Encoder) {
        out.lsn(self.begun);
        out.u8(u8::from(self.first));
        out.raw(&self.digest);
        out.count(self.units.len());
        self.units.iter().for_each(|unit| unit.encode(out));
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<BasePart, Broken> {
        Ok(BasePart {
            begun: from.lsn()?,
            first: from.u8()? == 1,
            digest: from.array()?,
            units: from.list(BaseUnit::decode)?,
        })
    }
}
