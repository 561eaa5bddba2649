//! Few tables of bytes to bytes, ordered by key: where checkpoints go.
//!
//! What a table store promises:
//! 1. A batch is seen wholly or not at all, over all tables, at once after [`TableStore::write`].
//! 2. After [`TableStore::flush`] returns, every batch written before it survives the end of the
//!    process
//!    and of the power.
//! 3. After either, the store is found as it was at some moment between two batches, at or after
//!    the last
//!    flush that returned: never with half a batch, never with a batch and without one before it.
//!
//! Values are sealed by the caller; keys hold numbers and keyed hashes only.

mod memory;
mod rocks;

pub(crate) use self::memory::MemoryTables;
pub(crate) use self::rocks::{RocksKept, RocksTables};

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::ReadError;

/// The tables. Each is a column family of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Table {
    /// One row: the LSN that state reflects, and the like.
    Volume,
    /// Rows of accounts.
    Account,
    /// Rows of mailboxes.
    Mailbox,
    /// Head blocks of mailboxes.
    Head,
    /// Rows of messages, by page.
    Page,
    /// 16-byte ids of messages, by page.
    Ids,
    /// Expunged UIDs by mailbox and MODSEQ.
    Vanished,
    /// What blobs are made of.
    Blob,
    /// Where chunks lie: this node's own affair.
    Placement,
    /// Who names which blob; keys alone.
    Reference,
    /// Base images of accounts.
    Base,
    /// Messages that are kept after they were expunged.
    Retained,
    /// Parts that messages share, by the hash of their bytes.
    Part,
    /// Summaries of messages, by run: this node's own cache.
    Summary,
    /// What requests of other nodes were answered.
    Answered,
}

impl Table {
    /// The format level from which on a volume has it.
    pub(crate) const fn level(self) -> u32 {
        match self {
            Table::Base => crate::format_level::BASE_IMAGES,
            Table::Retained => crate::format_level::RETENTION,
            Table::Part => crate::format_level::PARTS,
            Table::Summary => crate::format_level::SUMMARY_PAGES,
            Table::Answered => crate::format_level::PROPOSALS,
            _ => 1,
        }
    }

    /// Every table.
    pub(crate) const ALL: [Table; 15] = [
        Table::Volume,
        Table::Account,
        Table::Mailbox,
        Table::Head,
        Table::Page,
        Table::Ids,
        Table::Vanished,
        Table::Blob,
        Table::Placement,
        Table::Reference,
        Table::Base,
        Table::Retained,
        Table::Part,
        Table::Summary,
        Table::Answered,
    ];

    /// Tables whose keys begin with an account (u64, big-endian) and whose values are sealed under
    /// its key: what is sealed anew when that changes. A new table of this kind belongs here.
    pub(crate) const OF_ACCOUNTS: [Table; 11] = [
        Table::Account,
        Table::Mailbox,
        Table::Head,
        Table::Page,
        Table::Ids,
        Table::Vanished,
        Table::Retained,
        Table::Base,
        Table::Part,
        Table::Summary,
        Table::Answered,
    ];

    /// Tables whose keys go on with a mailbox: what goes with it.
    pub(crate) const OF_MAILBOXES: [Table; 6] =
        [Table::Mailbox, Table::Head, Table::Page, Table::Ids, Table::Vanished, Table::Summary];

    /// Its name on disk.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Table::Volume => "volume",
            Table::Account => "account",
            Table::Mailbox => "mailbox",
            Table::Head => "head",
            Table::Page => "page",
            Table::Ids => "ids",
            Table::Vanished => "vanished",
            Table::Blob => "blob",
            Table::Placement => "placement",
            Table::Reference => "reference",
            Table::Base => "base",
            Table::Retained => "retained",
            Table::Part => "part",
            Table::Summary => "summary",
            Table::Answered => "answered",
        }
    }
}

impl Table {
    /// The table of that number.
    pub(crate) fn of_number(number: u8) -> Option<Table> {
        Table::ALL.into_iter().find(|table| table.number() == number)
    }

    /// Its number in associated data; never given to another table.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Table::Volume => 1,
            Table::Account => 2,
            Table::Mailbox => 3,
            Table::Head => 4,
            Table::Page => 5,
            Table::Ids => 6,
            Table::Vanished => 7,
            Table::Blob => 8,
            Table::Placement => 9,
            Table::Reference => 10,
            Table::Base => 13,
            Table::Retained => 11,
            Table::Part => 15,
            Table::Summary => 16,
            Table::Answered => 17,
        }
    }
}

/// One change of a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TableChange {
    /// Sets a key.
    Put {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
        /// Its value from now on.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Where.
        table: Table,
        /// The key.
        key: Vec<u8>,
    },
}

/// Changes that are seen together; later ones win over earlier ones.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TableBatch {
    changes: Vec<TableChange>,
}

impl TableBatch {
    /// Empty.
    pub(crate) fn new() -> TableBatch {
        TableBatch::default()
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.changes.push(TableChange::Put { table, key: key.to_vec(), value });
    }

    /// Removes a key, if it is there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) {
        self.changes.push(TableChange::Delete { table, key: key.to_vec() });
    }

    /// In the order in which they were made.
    pub(crate) fn changes(&self) -> &[TableChange] {
        &self.changes
    }
}

/// What a scan calls with key and value; it returns whether to go on.
pub(crate) type ScanVisitor<'v> = dyn FnMut(&[u8], &[u8]) -> Result<bool, ReadError> + 'v;

/// The tables as they were at one moment.
pub(crate) trait TableSnapshot {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Every key of a table, in ascending order. An error of `visit` ends the scan and is handed
    /// on.
    fn scan(&self, table: Table, visit: &mut ScanVisitor<'_>) -> Result<(), ReadError>;
}

/// What reads tables as of one moment.
pub(crate) type SnapshotBody<'b> = dyn FnMut(&dyn TableSnapshot) -> Result<(), ReadError> + 'b;

/// A set of tables; see the head of this file for its promises. All errors are
/// [`ReadError::Table`].
pub(crate) trait TableStore: Send + Sync {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Every key that begins with `prefix`, in ascending order, as of one moment. An error of
    /// `visit` ends the scan and is handed on.
    fn scan_prefix(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut ScanVisitor<'_>,
    ) -> Result<(), ReadError> {
        self.scan_from(table, prefix, prefix, visit)
    }

    /// The same for those of them that are not below `from`.
    fn scan_from(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        visit: &mut ScanVisitor<'_>,
    ) -> Result<(), ReadError>;

    /// What the tables hold now, for as long as it is kept: a store of its own, for reading.
    fn snapshot(&self) -> Result<Arc<dyn TableStore>, ReadError>;

    /// Calls `body` with everything as it is at one moment, whatever is written meanwhile.
    fn at_one_moment(&self, body: &mut SnapshotBody<'_>) -> Result<(), ReadError>;

    /// Makes changes, seen together at once, durable with the next flush.
    fn write(&self, batch: TableBatch) -> Result<(), ReadError>;

    /// Makes everything written so far durable, over all tables at once.
    fn flush(&self) -> Result<(), ReadError>;

    /// Puts aside, durably, what the tables hold now: hard links in that folder, which takes the
    /// place of one that is there. [`KeptTables`] brings it back.
    fn keep(&self, folder: &Path) -> Result<(), ReadError>;
}

/// Tables that were put aside, by folder; nobody has them open.
pub(crate) trait KeptTables: Send + Sync {
    /// Makes the tables in `to` what was put aside in `from`, which stays.
    fn restore(&self, from: &Path, to: &Path) -> Result<(), ReadError>;

    /// Removes what was put aside, if it is there.
    fn remove(&self, folder: &Path) -> Result<(), ReadError>;

    /// Sees to it that what was put aside in a folder is files there, to be copied elsewhere.
    fn export(&self, _: &dyn Disk, _: &Path) -> Result<(), ReadError> {
        Ok(())
    }

    /// Takes such files, which are in a folder, for something that was put aside there.
    fn import(&self, _: &dyn Disk, _: &Path) -> Result<(), ReadError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
