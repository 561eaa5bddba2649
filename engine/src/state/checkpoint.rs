//! The checkpoint: what is unsaved goes into the tables as one batch with its stamp, and is
//! flushed.
//!
//! The committer freezes the unsaved part between two groups and goes on; everything here happens
//! on the checkpointer's thread. Only a stamp that was read back after the flush counts for replay.
//!
//! # What can go wrong
//! A batch that was written but not flushed is wholly there or not at all after a crash (no WAL,
//! one atomic flush), and replay begins where the flushed stamp says, so either is right.

mod parts;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::account::AccountState;
use super::answered::answered_key;
use super::blob::{blob_of_reference, lowest_reference, mailbox_of_reference, reference_key};
use super::changes::MailboxKey;
use super::committed::{Committed, Unsaved};
use super::key_use::{self, key_use_key};
use super::retain::References;
use super::retained::AccountRetention;
use super::saved::{
    CheckpointStamp, POLICY, STAMP, SWITCHED, Saved, VOLUME, annotations_key, encode_switched,
    mailbox_key, scan_references, usage_key,
};
use super::space::SpaceChange;
use super::summaries::thinned;
use super::table::{Table, TableBatch};
use super::vanished::merge_old;
use crate::error::ReadError;
use crate::ids::{AccountNumber, BlobId, Lsn, PartHash, UnixSeconds};
use crate::mailbox::{Columns, VanishedEntry};
use crate::sabotage::{Sabotage, breaks};
use crate::uid_set::UidSet;
use crate::width::u64_of;

/// Bytes of values that one checkpoint seals anew because their accounts' keys changed.
const RESEAL_BYTES: u64 = 16 << 20;

/// What one checkpoint did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointReport {
    /// Values written.
    pub(crate) value_count: u64,
    /// Bytes of keys and values written.
    pub(crate) bytes: u64,
    /// What became of the space of segments.
    pub(crate) space: SpaceChange,
}

struct Writer<'a> {
    saved: &'a Saved,
    batch: TableBatch,
    lsn: Lsn,
    report: CheckpointReport,
    /// References that this checkpoint removes.
    removed: BTreeSet<[u8; 36]>,
    /// References that it makes.
    made: BTreeSet<[u8; 36]>,
    /// Accounts of which everything goes.
    destroyed: BTreeSet<AccountNumber>,
    /// Whether accounts may have rows about retention.
    has_retained: bool,
    /// Blobs that it removes.
    dead: BTreeSet<BlobId>,
    /// Parts among them.
    dead_parts: Vec<(AccountNumber, PartHash, BlobId)>,
}

/// Writes `unsaved`, which reflects the log up to `stamp`, into the tables; to be flushed next.
pub(crate) fn write(
    saved: &Saved,
    unsaved: &Unsaved,
    stamp: CheckpointStamp,
) -> Result<CheckpointReport, ReadError> {
    let mut writer = Writer {
        saved,
        batch: TableBatch::new(),
        lsn: stamp.lsn,
        report: CheckpointReport::default(),
        removed: BTreeSet::new(),
        made: BTreeSet::new(),
        destroyed: unsaved.destroyed.clone(),
        has_retained: has_rows(saved, Table::Retained)?,
        dead: BTreeSet::new(),
        dead_parts: Vec::new(),
    };
    // First: what changes a value anyway comes later in the batch and wins.
    writer.reseal(unsaved)?;
    writer.accounts(unsaved)?;
    writer.mailboxes(unsaved)?;
    writer.dropped(unsaved)?;
    writer.destroyed()?;
    writer.blobs(unsaved)?;
    writer.references(unsaved);
    writer.dead_blobs(unsaved)?;
    writer.parts(unsaved)?;
    writer.retained(unsaved)?;
    writer.summaries(unsaved)?;
    writer.answered(unsaved)?;
    writer.dead_chunks(unsaved)?;
    writer.key_uses(unsaved)?;
    if let Some(policy) = &unsaved.policy {
        writer.put(Table::Volume, POLICY, AccountNumber::VOLUME, &policy.encode())?;
    }
    if let Some(volume) = &unsaved.volume {
        writer.put(Table::Volume, VOLUME, AccountNumber::VOLUME, &volume.encode())?;
    }
    writer.bases(unsaved)?;
    let switched: Vec<u64> = unsaved.switched.iter().copied().collect();
    writer.put(Table::Volume, SWITCHED, AccountNumber::VOLUME, &encode_switched(&switched))?;
    writer.put(Table::Volume, STAMP, AccountNumber::VOLUME, &stamp.encode())?;
    let Writer { batch, report, .. } = writer;
    saved.tables.write(batch)?;
    Ok(report)
}

/// Reads the stamp back after the flush; memory may let go of what is in the tables now.
pub(crate) fn confirm(
    saved: &Saved,
    committed: &Committed,
    unsaved: &Unsaved,
    stamp: CheckpointStamp,
) -> Result<(), ReadError> {
    if saved.stamp()? != Some(stamp) {
        return Err(ReadError::Table("the checkpoint's stamp does not read back".into()));
    }
    for state in unsaved.mailboxes.values() {
        state.flushed(&unsaved.pages);
    }
    committed.saved();
    Ok(())
}

fn has_rows(saved: &Saved, table: Table) -> Result<bool, ReadError> {
    let mut has_rows = false;
    saved.tables.scan_prefix(table, &[], &mut |_, _| {
        has_rows = true;
        Ok(false)
    })?;
    Ok(has_rows)
}

impl Writer<'_> {
    fn put(
        &mut self,
        table: Table,
        key: &[u8],
        account: AccountNumber,
        value: &[u8],
    ) -> Result<(), ReadError> {
        // A deleted account's key may be gone already; what was its own goes with it.
        if let Some(sealed) = self.saved.values.seal(table, key, account, self.lsn, value) {
            self.put_plain(table, key, sealed);
        }
        Ok(())
    }

    fn put_plain(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.report.value_count += 1;
        self.report.bytes += u64_of(key.len() + value.len());
        self.batch.put(table, key, value);
    }

    /// Seals values under their accounts' newest keys, as many as a checkpoint may carry along.
    fn reseal(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        let mut left = RESEAL_BYTES;
        for account in unsaved.reseal.wanted() {
            for table in Table::OF_ACCOUNTS {
                let saved = self.saved;
                let mut sealed = Vec::new();
                saved.tables.scan_prefix(table, &account.0.to_be_bytes(), &mut |key, value| {
                    if let Some(value) = saved.values.reseal(table, key, account, value)? {
                        left = left.saturating_sub(u64_of(value.len()));
                        sealed.push((key.to_vec(), value));
                    }
                    Ok(left > 0)
                })?;
                sealed.into_iter().for_each(|(key, value)| self.put_plain(table, &key, value));
                if left == 0 {
                    return Ok(());
                }
            }
            unsaved.reseal.written(account);
        }
        Ok(())
    }

    fn key_uses(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (&segment, known) in &unsaved.key_uses {
            let key = key_use_key(segment);
            let Some(known) = known else {
                self.batch.delete(Table::Volume, &key);
                continue;
            };
            let mut names = known.names.clone();
            if !known.is_whole {
                let Some(before) = self.saved.key_use(segment)? else { continue };
                names.merge(&before);
            }
            self.put(Table::Volume, &key, AccountNumber::VOLUME, &key_use::encode(&names))?;
        }
        Ok(())
    }

    fn accounts(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (number, state) in &unsaved.accounts {
            let key = number.0.to_be_bytes();
            match state {
                Some(state) => {
                    self.put(Table::Account, &key, *number, &state.encode())?;
                    self.put(Table::Account, &usage_key(*number), *number, &state.usage.encode())?;
                    self.account_retention(state)?;
                }
                None => {
                    let batch = &mut self.batch;
                    self.saved.tables.scan_prefix(Table::Account, &key, &mut |key, _| {
                        batch.delete(Table::Account, key);
                        Ok(true)
                    })?;
                    self.delete_retention(&key);
                    self.saved.tables.scan_prefix(Table::Answered, &key, &mut |key, _| {
                        self.batch.delete(Table::Answered, key);
                        Ok(true)
                    })?;
                }
            }
        }
        self.annotations(unsaved)
    }

    /// Rows of annotations that changed.
    fn annotations(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for &(account, mailbox) in &unsaved.annotated {
            let state = unsaved.accounts.get(&account).and_then(Option::as_ref);
            let key = annotations_key((account, mailbox));
            match state.and_then(|state| state.annotations.of(mailbox)) {
                Some(own) => self.put(Table::Account, &key, account, &own.encode())?,
                None => self.batch.delete(Table::Account, &key),
            }
        }
        Ok(())
    }

    fn bases(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (account, image) in &unsaved.bases {
            let key = account.0.to_be_bytes();
            match image {
                Some(image) => self.put(Table::Base, &key, *account, &image.encode())?,
                None => self.batch.delete(Table::Base, &key),
            }
        }
        Ok(())
    }

    fn mailboxes(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        let level = match &unsaved.volume {
            Some(volume) => volume.format_level,
            None => self.saved.volume()?.format_level,
        };
        for (key, state) in &unsaved.mailboxes {
            let row = state.encode_row(level);
            self.put(Table::Mailbox, &mailbox_key(*key), key.0, &row)?;
        }
        let dirty = &unsaved.pages;
        let pages = dirty.rows.keys().map(|page| (Table::Page, Columns::Rows, page));
        let ids = dirty.ids.keys().map(|page| (Table::Ids, Columns::Ids, page));
        for (table, columns, page) in pages.chain(ids) {
            // A mailbox that was deleted since is not among them.
            let Some(state) = unsaved.mailboxes.get(&(page.account, page.mailbox)) else {
                continue;
            };
            if let Some(value) = state.encode_page(*page, columns)? {
                self.put(table, &page.to_bytes(), page.account, &value)?;
            }
        }
        for block in &dirty.blocks {
            let state = unsaved.mailboxes.get(&(block.account, block.mailbox));
            if let Some(value) = state.and_then(|state| state.encode_block(*block)) {
                self.put(Table::Head, &block.to_bytes(), block.account, &value)?;
            }
        }
        for page in &dirty.gone_pages {
            self.batch.delete(Table::Page, &page.to_bytes());
            self.batch.delete(Table::Ids, &page.to_bytes());
        }
        for block in &dirty.gone_blocks {
            self.batch.delete(Table::Head, &block.to_bytes());
        }
        let dropped: HashSet<_> = unsaved.dropped.iter().map(|(key, ..)| *key).collect();
        // A mailbox that was deleted since takes its list along, also what no table has yet.
        let mut touched: BTreeMap<MailboxKey, UnixSeconds> = BTreeMap::new();
        for gone in unsaved.gone.values().filter(|gone| !dropped.contains(&gone.mailbox)) {
            let entry = VanishedEntry { modseq: gone.modseq, uids: gone.uids.clone(), at: gone.at };
            self.vanished(gone.mailbox, &entry)?;
            touched.insert(gone.mailbox, gone.at);
        }
        touched.retain(|key, _| self.saved.values.has_account(key.0));
        for (mailbox, now) in touched {
            match merge_old(self.saved, mailbox, now, &mut self.batch) {
                Ok(None) => {}
                Ok(Some(entry)) => self.vanished(mailbox, &entry)?,
                // Only space is lost by not merging; 'check' says what is wrong and where.
                Err(error) => tracing::warn!(%error, "old expunges of a mailbox stay apart"),
            }
        }
        Ok(())
    }

    fn vanished(&mut self, mailbox: MailboxKey, entry: &VanishedEntry) -> Result<(), ReadError> {
        let key = VanishedEntry::key(mailbox.0, mailbox.1, entry.modseq);
        self.put(Table::Vanished, &key, mailbox.0, &entry.encode())
    }

    /// Removes all of a deleted mailbox: its rows' references first, then every key that begins
    /// with its own.
    fn dropped(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (key, state, references) in &unsaved.dropped {
            let all = UidSet::from_ranges([(1, u32::MAX)]);
            let rows = if *references == References::Stay {
                Vec::new()
            } else if self.saved.values.has_account(key.0) {
                state.rows_of(&all)?
            } else {
                // Which references there were, only the references can tell.
                self.destroyed.insert(key.0);
                Vec::new()
            };
            for (row, _) in rows {
                self.removed.insert(reference_key(row.blob, key.0, key.1, row.uid));
            }
            let prefix = mailbox_key(*key);
            for table in Table::OF_MAILBOXES {
                let batch = &mut self.batch;
                self.saved.tables.scan_prefix(table, &prefix, &mut |key, _| {
                    batch.delete(table, key);
                    Ok(true)
                })?;
            }
        }
        Ok(())
    }

    /// Removes all of the accounts whose keys are destroyed: their references, which are not sorted
    /// by account, and every key that begins with theirs.
    fn destroyed(&mut self) -> Result<(), ReadError> {
        if self.destroyed.is_empty() {
            return Ok(());
        }
        let (destroyed, removed, batch) = (&self.destroyed, &mut self.removed, &mut self.batch);
        scan_references(self.saved, &mut |key| {
            let mailbox = mailbox_of_reference(&key);
            if mailbox.is_some_and(|(account, _)| destroyed.contains(&account)) {
                removed.insert(key);
            }
        })?;
        for account in destroyed {
            for table in Table::OF_ACCOUNTS {
                let prefix = account.0.to_be_bytes();
                self.saved.tables.scan_prefix(table, &prefix, &mut |key, _| {
                    batch.delete(table, key);
                    Ok(true)
                })?;
            }
        }
        Ok(())
    }

    fn blobs(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (id, row) in unsaved.blobs.iter() {
            let key = id.0.bits().to_be_bytes();
            self.put(Table::Blob, &key, AccountNumber::VOLUME, &row.encode())?;
        }
        let before = self.saved.stamp()?.map_or(Lsn::ZERO, |stamp| stamp.lsn);
        for (&lsn, places) in unsaved.places.iter() {
            // Only reclaim gives a new place to what the tables know; and what they do not know any
            // more died meanwhile.
            if lsn <= before {
                let Some(old) = self.saved.places(lsn)? else { continue };
                self.report.space.free(&old);
            }
            self.report.space.place(places);
            self.put_plain(Table::Placement, &lsn.bits().to_be_bytes(), places.encode());
        }
        Ok(())
    }

    fn references(&mut self, unsaved: &Unsaved) {
        for (&(blob, account, mailbox, uid), &made) in &unsaved.references {
            let key = reference_key(blob, account, mailbox, uid);
            // A mailbox that was dropped has taken the references of its rows along; those of its
            // messages that are kept stay.
            let is_gone = self.destroyed.contains(&account) || self.removed.contains(&key);
            if made && !is_gone {
                self.made.insert(key);
            } else {
                self.removed.insert(key);
            }
        }
        for key in std::mem::take(&mut self.removed) {
            self.batch.delete(Table::Reference, &key);
            self.removed.insert(key);
        }
        for key in std::mem::take(&mut self.made) {
            self.put_plain(Table::Reference, &key, Vec::new());
            self.made.insert(key);
        }
    }

    /// Removes the rows of blobs that lost their last reference. No later record names one of them:
    /// a record may name only what is referenced at its own place in the log.
    fn dead_blobs(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        let mut candidates: BTreeSet<BlobId> =
            self.removed.iter().filter_map(|key| blob_of_reference(key)).collect();
        while let Some(id) = candidates.pop_last() {
            if self.dead.contains(&id) || self.is_referenced(id)? {
                continue;
            }
            let row = match unsaved.blobs.get(&id) {
                Some(row) => Some(row.clone()),
                None => self.saved.blob(id)?,
            };
            let Some(row) = row else { continue };
            self.dead.insert(id);
            candidates.extend(self.release_parts(id, &row.role));
            self.batch.delete(Table::Blob, &id.0.bits().to_be_bytes());
            for lsn in row.positions(id) {
                let places = match unsaved.places.get(&lsn) {
                    Some(places) => Some(places.clone()),
                    None => self.saved.places(lsn)?,
                };
                if let Some(places) = places {
                    self.report.space.free(&places);
                    self.batch.delete(Table::Placement, &lsn.bits().to_be_bytes());
                }
            }
        }
        Ok(())
    }

    /// Writes and removes kept messages; those of destroyed accounts went with all else.
    fn retained(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for ((account, key), message) in unsaved.retained.iter() {
            let key = key.to_bytes(*account);
            match message {
                Some(message) if !self.destroyed.contains(account) => {
                    self.put(Table::Retained, &key, *account, &message.encode())?;
                }
                _ => self.batch.delete(Table::Retained, &key),
            }
        }
        if let Some(retention) = unsaved.retention {
            let account = AccountNumber::VOLUME;
            let key = account.0.to_be_bytes();
            self.put(Table::Retained, &key, account, &retention.encode_row())?;
        }
        Ok(())
    }

    /// Removes the pages that have a summary of what went; they are made again when they are read.
    fn summaries(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        let thinned = if breaks(Sabotage::Summary) { BTreeSet::new() } else { thinned(unsaved) };
        for run in thinned {
            self.batch.delete(Table::Summary, &run.to_bytes());
        }
        for (run, page) in &unsaved.summary_pages {
            self.put(Table::Summary, &run.to_bytes(), run.account, &page.value)?;
        }
        Ok(())
    }

    /// Writes and removes answered requests; those of accounts that are gone went with all else.
    fn answered(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for ((account, request), row) in &unsaved.answered {
            let is_gone = matches!(unsaved.accounts.get(account), Some(None))
                || self.destroyed.contains(account);
            let key = answered_key(*account, *request);
            match row {
                Some(row) if !is_gone => {
                    self.put(Table::Answered, &key, *account, &row.encode())?;
                }
                _ => self.batch.delete(Table::Answered, &key),
            }
        }
        Ok(())
    }

    /// An account that has nothing to do with retention has no row for it.
    fn account_retention(&mut self, state: &AccountState) -> Result<(), ReadError> {
        let key = state.number.0.to_be_bytes();
        if state.retention == AccountRetention::default() {
            self.delete_retention(&key);
            return Ok(());
        }
        self.put(Table::Retained, &key, state.number, &state.retention.encode())
    }

    /// Only where the table has rows: volumes below the level have no such table.
    fn delete_retention(&mut self, key: &[u8]) {
        if self.has_retained {
            self.batch.delete(Table::Retained, key);
        }
    }

    /// Removes the places of chunks that no record will ever name.
    fn dead_chunks(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for lsn in &unsaved.dead_chunks {
            let places = match unsaved.places.get(lsn) {
                Some(places) => Some(places.clone()),
                None => self.saved.places(*lsn)?,
            };
            if let Some(places) = places {
                self.report.space.free(&places);
                self.batch.delete(Table::Placement, &lsn.bits().to_be_bytes());
            }
        }
        Ok(())
    }

    /// Whether a reference to the blob is left when this checkpoint is written.
    fn is_referenced(&self, id: BlobId) -> Result<bool, ReadError> {
        if breaks(Sabotage::Reference) {
            return Ok(false);
        }
        let prefix = id.0.bits().to_be_bytes();
        let mut made = self.made.range(lowest_reference(prefix)..);
        if made.next().is_some_and(|key| key.starts_with(&prefix)) {
            return Ok(true);
        }
        let mut is_referenced = false;
        self.saved.tables.scan_prefix(Table::Reference, &prefix, &mut |key, _| {
            let key: Option<&[u8; 36]> = key.first_chunk();
            is_referenced = key.is_none_or(|key| !self.removed.contains(key));
            Ok(!is_referenced)
        })?;
        Ok(is_referenced)
    }
}
