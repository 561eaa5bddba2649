//! State as the tables have it: read by whoever finds nothing newer in memory, written by
//! checkpoints.
//!
//! ```text
//! table      key (big-endian)                     value
//! Volume     "stamp"                              checkpoint stamp: lsn, open lsn, last hash
//!            "policy", "volume"                   domains, aliases; format level, members
//!            "key use ", segment u64              keys that a segment names (state/key_use.rs)
//!            "switched"                           format 1, list(segment): rewritten segments
//!                                                 whose older generation may still be there
//! Account    account u64                          account value          (state/account.rs)
//!            account u64, 1                       usage value
//!            account u64, 2, mailbox 16           annotations value      (state/annotations.rs)
//! Mailbox    account u64, mailbox 16              mailbox row            (mailbox/)
//! Head       account u64, mailbox 16, uid u32     block of page heads
//! Page, Ids  account u64, mailbox 16, uid u32     columns of a page
//! Vanished   account u64, mailbox 16, modseq u64  UIDs that went
//! Blob       blob id u64                          blob value             (state/blob.rs)
//! Placement  position u64                         placement value, not sealed (state/blob.rs)
//! Reference  reference key                        none
//! Base       account u64                          base value             (state/base.rs)
//! Retained   see state/retained.rs
//! Summary    account u64, mailbox 16, uid u32     summaries of a run  (mailbox/summary_page.rs)
//! Answered   account u64, request 16              what it was answered   (state/answered.rs)
//! ```
//! Keys hold numbers and random ids only. Every other value is sealed with the key of its account,
//! or of the volume where the key names none, and bound to its table, key and checkpoint
//! (`values.rs`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::account::{AccountState, Usage};
use super::annotations::Annotations;
use super::base::BaseImage;
use super::blob::{BlobRow, FORMAT_WITH_ROLE, Places, blob_of_reference};
use super::changes::{EpochLink, MailboxKey, VolumeState};
use super::key_use::{self, key_use_key};
use super::policy::Policy;
use super::table::{Table, TableStore};
use super::values::{Values, generation_of};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::format_level;
use crate::ids::{AccountNumber, BlobId, EpochId, KeyGeneration, Lsn, MailboxId, NodeId, Stamp};
use crate::log::KeyNames;
use crate::mailbox::{Columns, MailboxState, PageKey, PageReader, PageSource};

/// Format of every value of the tables that is not a mailbox's.
pub(super) const FORMAT: u8 = 1;
/// Key of the checkpoint's stamp.
pub(crate) const STAMP: &[u8] = b"stamp";
/// Key of domains and aliases.
pub(crate) const POLICY: &[u8] = b"policy";
/// Key of the list of segments that reclaim switched to.
pub(crate) const SWITCHED: &[u8] = b"switched";
/// Key of format level, members and history.
pub(crate) const VOLUME: &[u8] = b"volume";

/// Whether a row of the volume is about this node, and so no part of a base image.
pub(crate) fn is_node_local(key: &[u8]) -> bool {
    [STAMP, SWITCHED].contains(&key) || key_use::is_key_use(key)
}

/// The length of the key of an account's counters; no other row of the table has it.
pub(crate) const USAGE_KEY_BYTES: usize = 9;

/// The key of the counters of an account.
pub(super) fn usage_key(account: AccountNumber) -> Vec<u8> {
    [account.0.to_be_bytes().as_slice(), &[1]].concat()
}

/// The key of a row of annotations.
pub(crate) fn annotations_key((account, mailbox): MailboxKey) -> Vec<u8> {
    [account.0.to_be_bytes().as_slice(), &[2], &mailbox.0].concat()
}

/// Whose annotations are under that key; `None` if it is another kind of row.
pub(crate) fn annotated_by(key: &[u8]) -> Option<MailboxKey> {
    let (account, rest) = key.split_first_chunk()?;
    let mailbox = rest.strip_prefix(&[2])?.try_into().ok()?;
    Some((AccountNumber(u64::from_be_bytes(*account)), MailboxId(mailbox)))
}

/// What a checkpoint reflects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CheckpointStamp {
    /// Every record up to this position is in the tables.
    pub(crate) lsn: Lsn,
    /// First chunk of the oldest message that was entering then, else the next position.
    pub(crate) open_lsn: Lsn,
    /// Hash of the last group that was flushed.
    pub(crate) group_hash: [u8; 32],
    /// The highest stamp of any record.
    pub(crate) stamp: Stamp,
}

/// The tables, opened.
pub(crate) struct Saved {
    pub(crate) tables: Arc<dyn TableStore>,
    pub(crate) values: Arc<Values>,
}

impl Saved {
    /// The stamp of the last flushed checkpoint; `None` in a new store.
    pub(crate) fn stamp(&self) -> Result<Option<CheckpointStamp>, ReadError> {
        self.volume_value(STAMP, "checkpoint stamp", CheckpointStamp::decode)
    }

    /// Domains and aliases.
    pub(crate) fn policy(&self) -> Result<Policy, ReadError> {
        Ok(self.volume_value(POLICY, "policy", Policy::decode)?.unwrap_or_default())
    }

    /// Format level and history; refused if the level is above what we read.
    pub(crate) fn volume(&self) -> Result<VolumeState, ReadError> {
        let volume = self.volume_value(VOLUME, "volume row", VolumeState::decode)?;
        let volume = volume.unwrap_or_default();
        match volume.format_level {
            ..=format_level::NEWEST => Ok(volume),
            found => Err(ReadError::NewerFormat {
                what: "the volume".to_owned(),
                found,
                known: format_level::NEWEST,
            }),
        }
    }

    /// Rewritten segments whose older generation may still be there.
    pub(crate) fn switched(&self) -> Result<Vec<u64>, ReadError> {
        Ok(self.volume_value(SWITCHED, "list of segments", decode_switched)?.unwrap_or_default())
    }

    /// Keys that a segment names, if that is known.
    pub(crate) fn key_use(&self, segment: u64) -> Result<Option<KeyNames>, ReadError> {
        self.volume_value(&key_use_key(segment), "list of keys", key_use::decode)
    }

    /// Values of an account in the tables, by the generation of the key that sealed them.
    pub(crate) fn generations(
        &self,
        account: AccountNumber,
    ) -> Result<BTreeMap<KeyGeneration, u64>, ReadError> {
        let mut found = BTreeMap::new();
        for table in Table::OF_ACCOUNTS {
            self.tables.scan_prefix(table, &account.0.to_be_bytes(), &mut |_, value| {
                *found.entry(generation_of(value)?).or_default() += 1;
                Ok(true)
            })?;
        }
        Ok(found)
    }

    fn volume_value<T>(
        &self,
        key: &[u8],
        what: &'static str,
        decode: impl FnOnce(&[u8]) -> Result<T, Broken>,
    ) -> Result<Option<T>, ReadError> {
        let Some(sealed) = self.tables.get(Table::Volume, key)? else { return Ok(None) };
        let value = self.values.open(Table::Volume, key, AccountNumber::VOLUME, &sealed)?;
        refuse_newer(what, &value)?;
        decode(&value).map(Some).map_err(|why| ReadError::Undecodable { what, why })
    }

    /// The newest base image of every account whose key is there.
    pub(crate) fn bases(&self) -> Result<HashMap<AccountNumber, Arc<BaseImage>>, ReadError> {
        let mut images = HashMap::new();
        self.tables.scan_prefix(Table::Base, &[], &mut |key, sealed| {
            let undecodable = |why| ReadError::Undecodable { what: "base image", why };
            let bytes = Decoder::new(key).array().map_err(undecodable)?;
            let account = AccountNumber(u64::from_be_bytes(bytes));
            if account == AccountNumber::VOLUME || self.values.has_account(account) {
                let value = self.values.open(Table::Base, key, account, sealed)?;
                refuse_newer("base image", &value)?;
                let image = BaseImage::decode(&value).map_err(undecodable)?;
                images.insert(account, Arc::new(image));
            }
            Ok(true)
        })?;
        Ok(images)
    }

    /// Every account whose key is there.
    pub(crate) fn accounts(&self) -> Result<HashMap<AccountNumber, AccountState>, ReadError> {
        let mut accounts = HashMap::new();
        let (mut usages, mut annotated) = (Vec::new(), Vec::new());
        self.tables.scan_prefix(Table::Account, &[], &mut |key, sealed| {
            match self.account_value(key, sealed)? {
                AccountValue::State(state) => {
                    accounts.insert(state.number, *state);
                }
                AccountValue::Usage(number, usage) => usages.push((number, usage)),
                AccountValue::Annotations(key, annotations) => annotated.push((key, annotations)),
                AccountValue::Destroyed => {}
            }
            Ok(true)
        })?;
        for (number, usage) in usages {
            if let Some(state) = accounts.get_mut(&number) {
                state.usage = usage;
            }
        }
        for ((number, mailbox), annotations) in annotated {
            if let Some(state) = accounts.get_mut(&number) {
                Arc::make_mut(&mut state.annotations).insert(mailbox, annotations);
            }
        }
        for (number, state) in &mut accounts {
            state.retention = self.account_retention(*number)?;
        }
        Ok(accounts)
    }

    /// Every account that has rows here and no key.
    pub(crate) fn unreadable_accounts(&self) -> Result<HashSet<AccountNumber>, ReadError> {
        let mut unreadable = HashSet::new();
        self.tables.scan_prefix(Table::Account, &[], &mut |key, _| {
            let number = key.first_chunk().map(|bytes| AccountNumber(u64::from_be_bytes(*bytes)));
            unreadable.extend(number.filter(|number| !self.values.has_account(*number)));
            Ok(true)
        })?;
        Ok(unreadable)
    }

    fn account_value(&self, key: &[u8], sealed: &[u8]) -> Result<AccountValue, ReadError> {
        let undecodable = |why| ReadError::Undecodable { what: "account row", why };
        let mut from = Decoder::new(key);
        let number = AccountNumber(u64::from_be_bytes(from.array().map_err(undecodable)?));
        if !self.values.has_account(number) {
            return Ok(AccountValue::Destroyed);
        }
        let value = self.values.open(Table::Account, key, number, sealed)?;
        refuse_newer("account row", &value)?;
        if key.len() == USAGE_KEY_BYTES {
            return Ok(AccountValue::Usage(number, Usage::decode(&value).map_err(undecodable)?));
        }
        if let Some(key) = annotated_by(key) {
            let annotations = Annotations::decode(&value).map_err(undecodable)?;
            return Ok(AccountValue::Annotations(key, annotations));
        }
        from.end().map_err(undecodable)?;
        let state = AccountState::decode(number, &value).map_err(undecodable)?;
        Ok(AccountValue::State(Box::new(state)))
    }

    /// The mailbox, with its heads but without its pages.
    pub(crate) fn mailbox(
        &self,
        key: MailboxKey,
        pages: &PageReader,
    ) -> Result<Option<MailboxState>, ReadError> {
        let row_key = mailbox_key(key);
        let Some(sealed) = self.tables.get(Table::Mailbox, &row_key)? else { return Ok(None) };
        let row = self.values.open(Table::Mailbox, &row_key, key.0, &sealed)?;
        let mut blocks = Vec::new();
        self.tables.scan_prefix(Table::Head, &row_key, &mut |block_key, sealed| {
            blocks.push(self.values.open(Table::Head, block_key, key.0, sealed)?);
            Ok(true)
        })?;
        let blocks = blocks.iter().map(Vec::as_slice);
        MailboxState::open(key.0, key.1, &row, blocks, pages.clone()).map(Some)
    }

    /// What a blob is made of.
    pub(crate) fn blob(&self, id: BlobId) -> Result<Option<BlobRow>, ReadError> {
        let key = id.0.bits().to_be_bytes();
        let Some(sealed) = self.tables.get(Table::Blob, &key)? else { return Ok(None) };
        let value = self.values.open(Table::Blob, &key, AccountNumber::VOLUME, &sealed)?;
        refuse_newer_than("blob row", &value, FORMAT_WITH_ROLE)?;
        let undecodable = |why| ReadError::Undecodable { what: "blob row", why };
        BlobRow::decode(&value).map(Some).map_err(undecodable)
    }

    /// Every blob.
    pub(crate) fn scan_blobs(
        &self,
        visit: &mut dyn FnMut(BlobId, BlobRow),
    ) -> Result<(), ReadError> {
        self.tables.scan_prefix(Table::Blob, &[], &mut |key, sealed| {
            let undecodable = |why| ReadError::Undecodable { what: "blob row", why };
            let id = blob_of_reference(key).ok_or(undecodable("its key is not a position"))?;
            let value = self.values.open(Table::Blob, key, AccountNumber::VOLUME, sealed)?;
            refuse_newer_than("blob row", &value, FORMAT_WITH_ROLE)?;
            visit(id, BlobRow::decode(&value).map_err(undecodable)?);
            Ok(true)
        })
    }

    /// Where the chunks of a position lie.
    pub(crate) fn places(&self, lsn: Lsn) -> Result<Option<Places>, ReadError> {
        let value = self.tables.get(Table::Placement, &lsn.bits().to_be_bytes())?;
        let undecodable = |why| ReadError::Undecodable { what: "placement", why };
        let Some(value) = value else { return Ok(None) };
        refuse_newer("placement", &value)?;
        Places::decode(&value).map(Some).map_err(undecodable)
    }
}

/// Every value begins with its format, and nearly all that we know are of the first.
pub(super) fn refuse_newer(what: &str, value: &[u8]) -> Result<(), ReadError> {
    refuse_newer_than(what, value, FORMAT)
}

fn refuse_newer_than(what: &str, value: &[u8], known: u8) -> Result<(), ReadError> {
    match value.first() {
        Some(&found) if found > known => Err(ReadError::NewerFormat {
            what: format!("a stored {what}"),
            found: u32::from(found),
            known: u32::from(known),
        }),
        _ => Ok(()),
    }
}

enum AccountValue {
    State(Box<AccountState>),
    Usage(AccountNumber, Usage),
    Annotations(MailboxKey, Annotations),
    Destroyed,
}

impl PageSource for Saved {
    fn load(&self, key: PageKey, columns: Columns) -> Result<Vec<u8>, ReadError> {
        let table = match columns {
            Columns::Rows => Table::Page,
            Columns::Ids => Table::Ids,
        };
        let bytes = key.to_bytes();
        let Some(sealed) = self.tables.get(table, &bytes)? else {
            return Err(ReadError::Undecodable { what: "mailbox page", why: "it is missing" });
        };
        self.values.open(table, &bytes, key.account, &sealed)
    }
}

/// The key of a mailbox's row, and the prefix of all that belongs to it.
pub(crate) fn mailbox_key(key: MailboxKey) -> [u8; 24] {
    let mut bytes = [0; 24];
    let parts = key.0.0.to_be_bytes().into_iter().chain(key.1.0);
    bytes.iter_mut().zip(parts).for_each(|(place, byte)| *place = byte);
    bytes
}

impl CheckpointStamp {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.lsn(self.lsn);
        out.lsn(self.open_lsn);
        out.raw(&self.group_hash);
        out.u64(self.stamp.0);
        out.bytes
    }

    pub(super) fn decode(value: &[u8]) -> Result<CheckpointStamp, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let stamp = CheckpointStamp {
            lsn: from.lsn()?,
            open_lsn: from.lsn()?,
            group_hash: from.array()?,
            stamp: Stamp(from.u64()?),
        };
        from.end()?;
        Ok(stamp)
    }
}

pub(crate) fn encode_switched(segments: &[u64]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u8(1);
    out.count(segments.len());
    segments.iter().for_each(|segment| out.u64(*segment));
    out.bytes
}

fn decode_switched(value: &[u8]) -> Result<Vec<u64>, Broken> {
    let mut from = Decoder::new(value);
    if from.u8()? != 1 {
        return Err("its format is not known to this version");
    }
    let segments = from.list(Decoder::u64)?;
    from.end()?;
    Ok(segments)
}

impl VolumeState {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Encoder::default();
        out.u8(FORMAT);
        out.varint(u64::from(self.format_level));
        out.count(self.members.len());
        for (node, parity) in &self.members {
            out.raw(&node.0);
            out.u8(*parity);
        }
        out.count(self.history.len());
        for link in &self.history {
            out.u16(link.number);
            out.raw(&link.id.0);
            out.option(link.parent, |out, (parent, fork)| {
                out.raw(&parent.0);
                out.lsn(fork);
            });
            out.raw(&link.node.0);
            out.lsn(link.first);
        }
        out.bytes
    }

    pub(super) fn decode(value: &[u8]) -> Result<VolumeState, Broken> {
        let mut from = Decoder::new(value);
        if from.u8()? != FORMAT {
            return Err("its format is not known to this version");
        }
        let format_level = from.u32()?;
        let members = from.list(|from| Ok((NodeId(from.array()?), from.u8()?)))?;
        let history = from.list(|from| {
            Ok(EpochLink {
                number: from.u16()?,
                id: EpochId(from.array()?),
                parent: from.option(|from| Ok((EpochId(from.array()?), from.lsn()?)))?,
                node: NodeId(from.array()?),
                first: from.lsn()?,
            })
        })?;
        from.end()?;
        Ok(VolumeState { format_level, members, history })
    }
}

/// Changes a byte of a value of the volume as a newer binary might have written it.
#[cfg(test)]
pub(crate) fn put_volume_value(saved: &Saved, key: &[u8], (at, byte): (usize, u8)) {
    let volume = AccountNumber::VOLUME;
    let sealed = saved.tables.get(Table::Volume, key).unwrap().expect("it was written before");
    let mut value = saved.values.open(Table::Volume, key, volume, &sealed).unwrap();
    value[at] = byte;
    let sealed = saved.values.seal(Table::Volume, key, volume, Lsn::ZERO, &value).unwrap();
    let mut batch = super::table::TableBatch::new();
    batch.put(Table::Volume, key, sealed);
    saved.tables.write(batch).unwrap();
    saved.tables.flush().unwrap();
}

/// Every reference key of the tables, in order.
pub(crate) fn scan_references(
    saved: &Saved,
    visit: &mut dyn FnMut([u8; 36]),
) -> Result<(), ReadError> {
    saved.tables.scan_prefix(Table::Reference, &[], &mut |key, _| {
        let why = "its length is not that of a reference";
        let undecodable = ReadError::Undecodable { what: "reference", why };
        visit(key.try_into().map_err(|_| undecodable)?);
        Ok(true)
    })
}
