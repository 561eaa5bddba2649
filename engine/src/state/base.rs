//! Base images that the log holds: where an account's state is, and which records are still needed.
//!
//! ```text
//! base value   format 1, begun u64, list(image record u64), digest 32,
//!              list(hash 32, position u64, bytes)
//! ```
//!
//! # Invariants
//! 1. A record is needed unless a base image of its account covers it, and that image is in flushed
//!    state: so it was durable in the log long before.
//! 2. Of dumps and images, those that the account's newest image names are needed, and all that
//!    came after that image, because they may belong to the next.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::saved::FORMAT;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::ids::{AccountNumber, Lsn};
use crate::log::RecordHeader;
use crate::record::Body;
use crate::record::base::{BasePart, BaseUnit};
use crate::sabotage::{Sabotage, breaks};
use crate::seal::KeyTableSnapshot;

/// An account's newest base image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BaseImage {
    /// It covers the account's records up to this position.
    pub(crate) begun: Lsn,
    /// The records that it stands in, ascending.
    pub(crate) records: Vec<Lsn>,
    pub(crate) digest: [u8; 32],
    pub(crate) units: Vec<BaseUnit>,
}

impl BaseImage {
    /// What a record at `lsn` makes of an account's image.
    pub(crate) fn with_part(before: Option<&BaseImage>, part: &BasePart, lsn: Lsn) -> BaseImage {
        let mut image = match before {
            Some(before) if !part.first => before.clone(),
            _ => BaseImage {
                begun: part.begun,
                records: Vec::new(),
                digest: part.digest,
                units: Vec::new(),
            },
        };
        // Applied before: replay may repeat it.
        if !image.records.contains(&lsn) {
            image.records.push(lsn);
            image.units.extend_from_slice(&part.units);
        }
        image
    }

    /// The last record of the image.
    pub(crate) fn end(&self) -> Lsn {
        self.records.last().copied().unwrap_or(self.begun)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.lsn(self.begun);
        out.count(self.records.len());
        self.records.iter().for_each(|&lsn| out.lsn(lsn));
        out.raw(&self.digest);
        out.count(self.units.len());
        self.units.iter().for_each(|unit| unit.encode(&mut out));
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<BaseImage, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let image = BaseImage {
            begun: from.lsn()?,
            records: from.list(Decoder::lsn)?,
            digest: from.array()?,
            units: from.list(BaseUnit::decode)?,
        };
        from.end()?;
        Ok(image)
    }
}

/// Tells which records of the log are needed to make state.
pub(crate) struct Coverage {
    images: HashMap<AccountNumber, Covered>,
    keys: Arc<KeyTableSnapshot>,
}

struct Covered {
    begun: Lsn,
    end: Lsn,
    named: HashSet<Lsn>,
}

impl Coverage {
    /// As of `images`, of which those count whose last record is not above `flushed`.
    pub(crate) fn new(
        images: &HashMap<AccountNumber, Arc<BaseImage>>,
        flushed: Lsn,
        keys: Arc<KeyTableSnapshot>,
    ) -> Coverage {
        let images = images.iter().filter(|(_, image)| image.end() <= flushed);
        let covered = |image: &BaseImage| {
            let dumps = image.units.iter().map(|unit| unit.lsn);
            Covered {
                begun: image.begun,
                end: image.end(),
                named: dumps.chain(image.records.iter().copied()).collect(),
            }
        };
        let images = images.map(|(account, image)| (*account, covered(image))).collect();
        Coverage { images, keys }
    }

    /// Up to where all accounts that there were then are covered.
    pub(crate) fn horizon(&self) -> Lsn {
        self.images.get(&AccountNumber::VOLUME).map_or(Lsn::ZERO, |covered| covered.begun)
    }

    /// Whether nothing of an account that stands at or below `last` and where `is_there` says so is
    /// needed any more.
    pub(crate) fn frees(
        &self,
        account: AccountNumber,
        last: Lsn,
        is_there: &dyn Fn(Lsn) -> bool,
    ) -> bool {
        self.images.get(&account).is_some_and(|covered| {
            covered.begun >= last && !covered.named.iter().any(|lsn| is_there(*lsn))
        })
    }

    /// Whether the record may be needed.
    pub(crate) fn is_needed(&self, record: &RecordHeader) -> bool {
        let RecordHeader { account, record_type, lsn, .. } = *record;
        let is_volume = account == AccountNumber::VOLUME;
        if !is_volume && self.keys.current(account).is_none() {
            return false;
        }
        let Some(covered) = self.images.get(&account) else { return true };
        match record_type {
            Body::BASE_DUMP | Body::BASE_IMAGE => lsn > covered.end || covered.named.contains(&lsn),
            _ if breaks(Sabotage::Base) => false,
            _ => lsn > covered.begun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(sequence: u64) -> Lsn {
        Lsn::new(1, sequence).unwrap()
    }

    #[test]
    fn an_image_reads_back_and_takes_each_part_once() {
        let unit = |lsn| BaseUnit { hash: [3; 32], lsn: at(lsn), bytes: 900 };
        let part =
            |first, lsn| BasePart { begun: at(5), first, digest: [4; 32], units: vec![unit(lsn)] };
        let first = BaseImage::with_part(None, &part(true, 7), at(20));
        let both = BaseImage::with_part(Some(&first), &part(false, 8), at(21));
        let again = BaseImage::with_part(Some(&both), &part(false, 8), at(21));
        assert_eq!(both, again);
        assert_eq!((both.end(), both.units.len()), (at(21), 2));
        assert_eq!(BaseImage::decode(&both.encode()), Ok(both.clone()));
        let next = BaseImage::with_part(Some(&both), &part(true, 9), at(30));
        assert_eq!(next.units, [unit(9)]);
    }
}
