//! Parts that messages of an account share: which blobs they are, and who names them.
//!
//! ```text
//! part value     key: account u64 big-endian, hash 32. Format 1, part u64, and who named it last:
//!                blob u64, mailbox 16, uid
//! part reference  key among references (blob.rs): part u64, account u64, 8 zero bytes, blob that
//!                names it u64, uid 0, big-endian; no value
//! role of a blob, in format 2 of its row (blob.rs): u8 1: it names parts: account u64,
//!                list(part u64, hash 32); 2: it is a part: account u64, hash 32
//! ```
//!
//! # Invariants
//! 1. A part is alive exactly while a blob that is alive names it: the checkpoint that removes the
//!    last reference of a blob removes those of its parts, and with the last of these the part, and
//!    its row in the table of parts.
//! 2. A record names a part only if a row is there, at its own place in the log, whose blob names
//!    that part. Who named it last is a hint where to look and never believed.
//! 3. Which parts a blob names never changes.

use super::blob::{BlobRow, mailbox_of_reference, reference_key};
use super::changes::{Changes, MailboxKey, ReferenceKey};
use super::saved::{FORMAT, Saved, refuse_newer};
use super::table::Table;
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, PartHash, Uid};
use crate::record::{ArrivalBlob, ArrivalPart, NewRow, PartBlob};

/// What a blob has to do with parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum BlobRole {
    /// A message with all that belongs to it.
    #[default]
    Whole,
    /// A message of that account, of which parts are kept in other blobs.
    Names(AccountNumber, Vec<NamedPart>),
    /// Such a part.
    Part(AccountNumber, PartHash),
}

/// A part that a blob names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NamedPart {
    pub(crate) part: BlobId,
    pub(crate) hash: PartHash,
}

/// A part, and a row whose blob names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PartUse {
    pub(crate) part: BlobId,
    pub(crate) blob: BlobId,
    pub(crate) mailbox: MailboxId,
    pub(crate) uid: Uid,
}

impl BlobRole {
    /// Parts that it names, and whose they are.
    pub(crate) fn named(&self) -> (AccountNumber, &[NamedPart]) {
        match self {
            BlobRole::Names(account, parts) => (*account, parts),
            _ => (AccountNumber::VOLUME, &[]),
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            BlobRole::Whole => {}
            BlobRole::Names(account, parts) => {
                out.u8(1);
                out.u64(account.0);
                out.count(parts.len());
                for named in parts {
                    out.lsn(named.part.0);
                    out.raw(&named.hash.0);
                }
            }
            BlobRole::Part(account, hash) => {
                out.u8(2);
                out.u64(account.0);
                out.raw(&hash.0);
            }
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>) -> Result<BlobRole, Broken> {
        match from.u8()? {
            1 => {
                let account = AccountNumber(from.u64()?);
                let parts = from.list(|from| {
                    Ok(NamedPart { part: BlobId(from.lsn()?), hash: PartHash(from.array()?) })
                })?;
                Ok(BlobRole::Names(account, parts))
            }
            2 => Ok(BlobRole::Part(AccountNumber(from.u64()?), PartHash(from.array()?))),
            _ => Err("a blob has no known role"),
        }
    }
}

impl PartUse {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.lsn(self.part.0);
        out.lsn(self.blob.0);
        out.raw(&self.mailbox.0);
        out.varint(u64::from(self.uid.0));
        out.bytes
    }

    pub(crate) fn decode(value: &[u8]) -> Result<PartUse, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let found = PartUse {
            part: BlobId(from.lsn()?),
            blob: BlobId(from.lsn()?),
            mailbox: MailboxId(from.array()?),
            uid: Uid(from.u32()?),
        };
        from.end()?;
        Ok(found)
    }
}

/// The key of a part's row.
pub(crate) fn part_key(account: AccountNumber, hash: &PartHash) -> [u8; 40] {
    let mut key = [0; 40];
    let parts = account.0.to_be_bytes().into_iter().chain(hash.0);
    key.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    key
}

/// What a blob's reference to a part has in place of mailbox and UID. No row has UID 0.
fn in_place_of_row(blob: BlobId) -> (MailboxId, Uid) {
    let mut mailbox = [0; 16];
    let bytes = mailbox.iter_mut().skip(8);
    bytes.zip(blob.0.bits().to_be_bytes()).for_each(|(place, byte)| *place = byte);
    (MailboxId(mailbox), Uid(0))
}

/// The reference of a blob to a part.
pub(crate) fn part_reference(part: BlobId, account: AccountNumber, blob: BlobId) -> ReferenceKey {
    let (mailbox, uid) = in_place_of_row(blob);
    (part, account, mailbox, uid)
}

/// Its key.
pub(crate) fn part_reference_key(part: BlobId, account: AccountNumber, blob: BlobId) -> [u8; 36] {
    let (mailbox, uid) = in_place_of_row(blob);
    reference_key(part, account, mailbox, uid)
}

/// Whether it is the reference of a blob to a part, and not that of a row to a message.
pub(super) fn is_of_part((.., uid): ReferenceKey) -> bool {
    uid == Uid(0)
}

/// The blob that names a part by this reference; `None` if it is the reference of a row.
pub(crate) fn blob_naming(key: &[u8; 36]) -> Option<BlobId> {
    if key.last_chunk() != Some(&[0u8; 4]) {
        return None;
    }
    let blob = key.get(24..32)?.first_chunk()?;
    Lsn::from_bits(u64::from_be_bytes(*blob)).map(BlobId)
}

impl Saved {
    /// The part of that account with that hash.
    pub(crate) fn part(
        &self,
        account: AccountNumber,
        hash: &PartHash,
    ) -> Result<Option<PartUse>, ReadError> {
        let key = part_key(account, hash);
        let Some(sealed) = self.tables.get(Table::Part, &key)? else { return Ok(None) };
        let value = self.values.open(Table::Part, &key, account, &sealed)?;
        refuse_newer("part row", &value)?;
        let undecodable = |why| ReadError::Undecodable { what: "part row", why };
        PartUse::decode(&value).map(Some).map_err(undecodable)
    }
}

impl Saved {
    /// Rows of an account that name a blob.
    pub(crate) fn rows_of_blob(
        &self,
        blob: Lsn,
        account: AccountNumber,
    ) -> Result<Vec<(MailboxId, Uid)>, ReadError> {
        let prefix = [blob.bits().to_be_bytes(), account.0.to_be_bytes()].concat();
        let mut rows = Vec::new();
        self.tables.scan_prefix(Table::Reference, &prefix, &mut |key, _| {
            let uid = key.last_chunk().map(|uid| Uid(u32::from_be_bytes(*uid)));
            if let (Some((_, mailbox)), Some(uid)) = (mailbox_of_reference(key), uid)
                && uid != Uid(0)
            {
                rows.push((mailbox, uid));
            }
            Ok(true)
        })?;
        Ok(rows)
    }

    /// Blobs that name a part, some of them.
    pub(crate) fn naming(&self, part: BlobId, count_max: usize) -> Result<Vec<BlobId>, ReadError> {
        let mut blobs = Vec::new();
        let prefix = part.0.bits().to_be_bytes();
        self.tables.scan_prefix(Table::Reference, &prefix, &mut |key, _| {
            blobs.extend(key.first_chunk().and_then(blob_naming));
            Ok(blobs.len() < count_max)
        })?;
        Ok(blobs)
    }

    /// Rows of an account that name a blob, some of them.
    pub(crate) fn rows_naming(
        &self,
        blob: BlobId,
        account: AccountNumber,
        count_max: usize,
    ) -> Result<Vec<(MailboxId, Uid)>, ReadError> {
        let mut rows = Vec::new();
        let mut prefix = blob.0.bits().to_be_bytes().to_vec();
        prefix.extend(account.0.to_be_bytes());
        self.tables.scan_prefix(Table::Reference, &prefix, &mut |key, _| {
            let mailbox = key.get(16..32).and_then(|id| id.first_chunk());
            let uid = key.last_chunk().map(|uid| Uid(u32::from_be_bytes(*uid)));
            rows.extend(mailbox.zip(uid).map(|(id, uid)| (MailboxId(*id), uid)));
            Ok(rows.len() < count_max)
        })?;
        Ok(rows)
    }
}

impl Changes {
    /// A message arrives of which parts are kept in other blobs; `next` is the position of the
    /// record's next part that is inline. Answers the message's blob.
    pub(super) fn arrive_with_parts(
        &mut self,
        key: MailboxKey,
        (lsn, row, is_new): (Lsn, &NewRow, bool),
        (blob, parts): (&ArrivalBlob, &[ArrivalPart]),
        next: &mut impl Iterator<Item = Lsn>,
    ) -> Lsn {
        let (shape, ahead) = match blob {
            ArrivalBlob::Ahead(shape, chunks) => (*shape, Some(chunks.clone())),
            ArrivalBlob::Inline(shape) => (*shape, None),
            // No record of ours nests them, and none decodes.
            _ => return lsn,
        };
        let id = BlobId(ahead.as_ref().and_then(|chunks| chunks.first().copied()).unwrap_or(lsn));
        let account = key.0;
        let mut named = Vec::with_capacity(parts.len());
        for ArrivalPart { hash, blob } in parts {
            let (part, brought) = match blob {
                PartBlob::Known(part) => (Some(*part), None),
                PartBlob::Inline(shape) => (next.next(), Some((*shape, None))),
                PartBlob::Ahead(shape, chunks) => {
                    (chunks.first().copied(), Some((*shape, Some(chunks.clone()))))
                }
            };
            let Some(part) = part.map(BlobId) else { continue };
            named.push(NamedPart { part, hash: *hash });
            if !is_new {
                continue;
            }
            if let Some((shape, ahead)) = brought {
                let role = BlobRole::Part(account, *hash);
                self.blobs.insert(part, BlobRow { shape, ahead, role });
            }
            self.references.insert(part_reference(part, account, id), true);
            let used = PartUse { part, blob: id, mailbox: key.1, uid: row.uid };
            self.parts.insert((account, *hash), used);
        }
        let role = BlobRole::Names(account, named);
        self.blobs.insert(id, BlobRow { shape, ahead, role });
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_a_part_is_told_from_that_of_a_row() {
        let blob = |sequence| BlobId(Lsn::new(1, sequence).unwrap());
        let account = AccountNumber(7);
        let key = part_reference_key(blob(5), account, blob(9));
        assert_eq!(blob_naming(&key), Some(blob(9)));
        let row = reference_key(blob(5), account, MailboxId([3; 16]), Uid(1));
        assert_eq!(blob_naming(&row), None);
        assert!(is_of_part(part_reference(blob(5), account, blob(9))));
        assert!(!is_of_part((blob(5), account, MailboxId([3; 16]), Uid(1))));
    }
}
