//! The checkpoint: what is unsaved goes into the tables as one batch with its stamp, and is flushed.
//!
//! The committer freezes the unsaved part between two groups and goes on; everything here happens on the
//! checkpointer's thread. Only a stamp that was read back after the flush counts for replay.
//!
//! # What can go wrong
//! A batch that was written but not flushed is wholly there or not at all after a crash (no WAL, one
//! atomic flush), and replay begins where the flushed stamp says, so either is right.

use super::blob::reference_key;
use super::committed::{Committed, Unsaved};
use super::saved::{CheckpointStamp, POLICY, STAMP, Saved, VOLUME, mailbox_key};
use super::table::{Batch, Table};
use crate::error::ReadError;
use crate::ids::{AccountNumber, Lsn};
use crate::mailbox::{Columns, vanished_value};
use crate::width::u64_of;

/// What one checkpoint did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CheckpointReport {
    /// Values written.
    pub(crate) value_count: u64,
    /// Bytes of keys and values written.
    pub(crate) bytes: u64,
}

struct Writer<'a> {
    saved: &'a Saved,
    batch: Batch,
    lsn: Lsn,
    report: CheckpointReport,
}

/// Writes `unsaved`, which reflects the log up to `stamp`, flushes it and reads the stamp back.
pub(crate) fn write(
    saved: &Saved,
    committed: &Committed,
    unsaved: Unsaved,
    stamp: CheckpointStamp,
) -> Result<CheckpointReport, ReadError> {
    let mut writer = Writer {
        saved,
        batch: Batch::default(),
        lsn: stamp.lsn,
        report: CheckpointReport::default(),
    };
    writer.accounts(&unsaved)?;
    writer.mailboxes(&unsaved)?;
    writer.dropped(&unsaved)?;
    writer.blobs(&unsaved)?;
    if let Some(policy) = &unsaved.policy {
        writer.put(Table::Volume, POLICY, AccountNumber::VOLUME, &policy.encode())?;
    }
    if let Some(volume) = &unsaved.volume {
        writer.put(Table::Volume, VOLUME, AccountNumber::VOLUME, &volume.encode())?;
    }
    writer.put(Table::Volume, STAMP, AccountNumber::VOLUME, &stamp.encode())?;
    let Writer { batch, report, .. } = writer;
    saved.tables.write(batch)?;
    saved.tables.flush()?;
    if saved.stamp()? != Some(stamp) {
        return Err(ReadError::Table("the checkpoint's stamp does not read back".into()));
    }
    for (key, state) in &unsaved.mailboxes {
        state.mark_saved(unsaved.pages.of_mailbox(*key));
    }
    committed.saved();
    Ok(report)
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
        self.batch.put(table, key.to_vec(), value);
    }

    fn accounts(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (number, state) in &unsaved.accounts {
            let key = number.0.to_be_bytes();
            let mut usage_key = key.to_vec();
            usage_key.push(1);
            match state {
                Some(state) => {
                    self.put(Table::Account, &key, *number, &state.encode())?;
                    self.put(Table::Account, &usage_key, *number, &state.usage.encode())?;
                }
                None => {
                    self.batch.delete(Table::Account, key.to_vec());
                    self.batch.delete(Table::Account, usage_key);
                }
            }
        }
        Ok(())
    }

    fn mailboxes(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (key, state) in &unsaved.mailboxes {
            self.put(Table::Mailbox, &mailbox_key(*key), key.0, &state.encode_row())?;
            let dirty = unsaved.pages.of_mailbox(*key);
            for page in &dirty.rows {
                let value = state.encode_page(*page, Columns::Rows)?;
                self.put(Table::Page, &page.to_bytes(), key.0, &value)?;
            }
            for page in &dirty.ids {
                let value = state.encode_page(*page, Columns::Ids)?;
                self.put(Table::Ids, &page.to_bytes(), key.0, &value)?;
            }
            for block in &dirty.blocks {
                let value = state.encode_head_block(*block)?;
                self.put(Table::Head, &block.to_bytes(), key.0, &value)?;
            }
            for page in &dirty.gone_pages {
                self.batch.delete(Table::Page, page.to_bytes().to_vec());
                self.batch.delete(Table::Ids, page.to_bytes().to_vec());
            }
            for block in &dirty.gone_blocks {
                self.batch.delete(Table::Head, block.to_bytes().to_vec());
            }
        }
        for gone in &unsaved.gone {
            let mut key = mailbox_key(gone.mailbox).to_vec();
            key.extend_from_slice(&gone.modseq.bits().to_be_bytes());
            let value = vanished_value(&gone.uids, gone.at);
            self.put(Table::Vanished, &key, gone.mailbox.0, &value)?;
        }
        Ok(())
    }

    /// Removes all of a deleted mailbox: its rows' references first, then every key that begins with its own.
    fn dropped(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (key, state) in &unsaved.dropped {
            state.view().visit_all(&mut |row| {
                let reference = reference_key(row.blob, key.0, key.1, row.uid);
                self.batch.delete(Table::Reference, reference.to_vec());
                true
            })?;
            let prefix = mailbox_key(*key);
            for table in [Table::Mailbox, Table::Head, Table::Page, Table::Ids, Table::Vanished] {
                let mut keys = Vec::new();
                self.saved.tables.scan_prefix(table, &prefix, &mut |key, _| {
                    keys.push(key.to_vec());
                    true
                })?;
                keys.into_iter().for_each(|key| self.batch.delete(table, key));
            }
        }
        Ok(())
    }

    fn blobs(&mut self, unsaved: &Unsaved) -> Result<(), ReadError> {
        for (id, row) in unsaved.blobs.iter() {
            let key = id.0.bits().to_be_bytes();
            self.put(Table::Blob, &key, AccountNumber::VOLUME, &row.encode())?;
        }
        for (lsn, places) in unsaved.places.iter() {
            self.put_plain(Table::Placement, &lsn.bits().to_be_bytes(), places.encode());
        }
        for (&(blob, account, mailbox, uid), &made) in &unsaved.references {
            let key = reference_key(blob, account, mailbox, uid);
            // A mailbox that was dropped takes its references along.
            let dropped = unsaved.dropped.iter().any(|(key, _)| *key == (account, mailbox));
            if made && !dropped {
                self.put_plain(Table::Reference, &key, Vec::new());
            } else {
                self.batch.delete(Table::Reference, key.to_vec());
            }
        }
        Ok(())
    }
}
