//! Everything that the tables hold, counted in one walk over each of them.

use std::collections::BTreeMap;

use super::account::Usage;
use super::blob::{BlobRow, Places, blob_of_reference, reference_key};
use super::part::part_reference_key;
use super::retained::{AccountRetention, RetainedKey, RetainedMessage};
use super::saved::{CheckpointStamp, STAMP, Saved, USAGE_KEY_BYTES};
use super::table::{Table, TableSnapshot};
use crate::encoding::Broken;
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId};
use crate::mailbox::rows_of_page;

/// Whoever counts is asked whether to go on after so many rows.
const ROWS_AT_A_TIME: u64 = 4096;

/// Messages and bytes of an account.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) kept_messages: u64,
    pub(crate) kept_bytes: u64,
}

/// What there is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Counted {
    /// What was counted of each account, and what its own rows say.
    pub(crate) accounts: BTreeMap<AccountNumber, (Counts, Counts)>,
    /// Rows of mailboxes and of kept messages.
    pub(crate) rows: u64,
    /// Parts that blobs name, each once for every blob.
    pub(crate) part_names: u64,
    pub(crate) rows_without_reference: u64,
    pub(crate) references: u64,
    /// Blobs that references name.
    pub(crate) blobs: u64,
    pub(crate) blobs_missing: u64,
    pub(crate) blob_rows: u64,
    /// Places of chunks, but for those that may be entering.
    pub(crate) places: u64,
    /// Those that blobs name.
    pub(crate) named_places: u64,
    pub(crate) places_missing: u64,
    pub(crate) named_bytes: u64,
    /// Bytes of all places by segment.
    pub(crate) placed: BTreeMap<u64, u64>,
}

struct Walk<'a> {
    saved: &'a Saved,
    tables: &'a dyn TableSnapshot,
    counted: Counted,
    /// Nothing at or above it is judged: it may be entering.
    open_lsn: Lsn,
    rows_seen: u64,
    goes_on: &'a mut dyn FnMut() -> bool,
    stopped: bool,
}

/// What a walk does with a key and its value.
type Visit<'v, 'w> = dyn FnMut(&mut Walk<'w>, &[u8], &[u8]) -> Result<(), ReadError> + 'v;

/// Counts all; `None` if it was told to stop.
pub(crate) fn count_all(
    saved: &Saved,
    tables: &dyn TableSnapshot,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Counted>, ReadError> {
    let open_lsn = match tables.get(Table::Volume, STAMP)? {
        None => return Ok(Some(Counted::default())),
        Some(sealed) => {
            let value = saved.values.open(Table::Volume, STAMP, AccountNumber::VOLUME, &sealed)?;
            decoded("checkpoint stamp", CheckpointStamp::decode(&value))?.open_lsn
        }
    };
    let counted = Counted::default();
    let mut walk = Walk { saved, tables, counted, open_lsn, rows_seen: 0, goes_on, stopped: false };
    walk.accounts()?;
    walk.pages()?;
    walk.kept()?;
    walk.references()?;
    walk.blobs()?;
    walk.places()?;
    Ok((!walk.stopped).then_some(walk.counted))
}

/// What does not decode, with what it is.
pub(crate) fn decoded<T>(what: &'static str, result: Result<T, Broken>) -> Result<T, ReadError> {
    result.map_err(|why| ReadError::Undecodable { what, why })
}

fn account_of(key: &[u8]) -> AccountNumber {
    let bytes = key.first_chunk().copied().unwrap_or_default();
    AccountNumber(u64::from_be_bytes(bytes))
}

impl<'w> Walk<'w> {
    /// Whether the walk goes on.
    fn seen(&mut self) -> bool {
        self.rows_seen += 1;
        if self.rows_seen.is_multiple_of(ROWS_AT_A_TIME) && !(self.goes_on)() {
            self.stopped = true;
        }
        !self.stopped
    }

    fn scan(&mut self, table: Table, visit: &mut Visit<'_, 'w>) -> Result<(), ReadError> {
        if self.stopped {
            return Ok(());
        }
        let tables = self.tables;
        tables.scan(table, &mut |key, value| {
            visit(self, key, value)?;
            Ok(self.seen())
        })
    }

    fn counts(&mut self, account: AccountNumber) -> &mut (Counts, Counts) {
        self.counted.accounts.entry(account).or_default()
    }

    fn accounts(&mut self) -> Result<(), ReadError> {
        self.scan(Table::Account, &mut |walk, key, sealed| {
            let account = account_of(key);
            if key.len() != USAGE_KEY_BYTES || !walk.saved.values.has_account(account) {
                return Ok(());
            }
            let value = walk.saved.values.open(Table::Account, key, account, sealed)?;
            let usage = decoded("usage row", Usage::decode(&value))?;
            let (_, told) = walk.counts(account);
            told.messages = usage.message_count;
            told.bytes = usage.message_bytes;
            Ok(())
        })
    }

    fn pages(&mut self) -> Result<(), ReadError> {
        self.scan(Table::Page, &mut |walk, key, sealed| {
            let account = account_of(key);
            let mailbox = key.get(8..24).and_then(|bytes| bytes.try_into().ok());
            let mailbox = MailboxId(mailbox.unwrap_or_default());
            let value = walk.saved.values.open(Table::Page, key, account, sealed)?;
            for (uid, blob, size) in rows_of_page(&value)? {
                walk.row(&reference_key(blob, account, mailbox, uid))?;
                let (counted, _) = walk.counts(account);
                counted.messages += 1;
                counted.bytes += u64::from(size);
            }
            Ok(())
        })
    }

    fn kept(&mut self) -> Result<(), ReadError> {
        self.scan(Table::Retained, &mut |walk, key, sealed| {
            let account = account_of(key);
            if account == AccountNumber::VOLUME {
                return Ok(());
            }
            let value = walk.saved.values.open(Table::Retained, key, account, sealed)?;
            let Some((_, retained)) = RetainedKey::from_bytes(key) else {
                let retention = decoded("retention", AccountRetention::decode(&value))?;
                let (_, told) = walk.counts(account);
                told.kept_messages = retention.message_count;
                told.kept_bytes = retention.message_bytes;
                return Ok(());
            };
            let message = decoded("kept message", RetainedMessage::decode(&value))?;
            let (mailbox, uid) = (retained.mailbox, retained.uid);
            walk.row(&reference_key(message.blob, account, mailbox, uid))?;
            let (counted, _) = walk.counts(account);
            counted.kept_messages += 1;
            counted.kept_bytes += u64::from(message.row.size);
            Ok(())
        })
    }

    fn row(&mut self, reference: &[u8]) -> Result<(), ReadError> {
        self.counted.rows += 1;
        if self.tables.get(Table::Reference, reference)?.is_none() {
            self.counted.rows_without_reference += 1;
        }
        Ok(())
    }

    fn references(&mut self) -> Result<(), ReadError> {
        let mut last = None;
        self.scan(Table::Reference, &mut |walk, key, _| {
            walk.counted.references += 1;
            let blob = blob_of_reference(key);
            if blob == last {
                return Ok(());
            }
            last = blob;
            blob.map_or(Ok(()), |blob| walk.blob(blob))
        })
    }

    fn blob(&mut self, id: BlobId) -> Result<(), ReadError> {
        self.counted.blobs += 1;
        let key = id.0.bits().to_be_bytes();
        let Some(sealed) = self.tables.get(Table::Blob, &key)? else {
            self.counted.blobs_missing += 1;
            return Ok(());
        };
        let value = self.saved.values.open(Table::Blob, &key, AccountNumber::VOLUME, &sealed)?;
        let row = decoded("blob row", BlobRow::decode(&value))?;
        let (account, named) = row.role.named();
        for named in named {
            self.counted.part_names += 1;
            let reference = part_reference_key(named.part, account, id);
            if self.tables.get(Table::Reference, &reference)?.is_none() {
                self.counted.rows_without_reference += 1;
            }
        }
        for lsn in row.positions(id) {
            match self.tables.get(Table::Placement, &lsn.bits().to_be_bytes())? {
                None => self.counted.places_missing += 1,
                Some(value) => {
                    let places = decoded("placement", Places::decode(&value))?;
                    self.counted.named_bytes += places.byte_count();
                    self.counted.named_places += u64::from(lsn < self.open_lsn);
                }
            }
        }
        Ok(())
    }

    fn blobs(&mut self) -> Result<(), ReadError> {
        self.scan(Table::Blob, &mut |walk, _, _| {
            walk.counted.blob_rows += 1;
            Ok(())
        })
    }

    fn places(&mut self) -> Result<(), ReadError> {
        self.scan(Table::Placement, &mut |walk, key, value| {
            let places = decoded("placement", Places::decode(value))?;
            *walk.counted.placed.entry(places.segment).or_default() += places.byte_count();
            let lsn = blob_of_reference(key).map(|blob| blob.0);
            walk.counted.places += u64::from(lsn.is_some_and(|lsn| lsn < walk.open_lsn));
            Ok(())
        })
    }
}
