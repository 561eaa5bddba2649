//! Tables in memory that forget: for simulations, and for a store that has no tables yet and is
//! opened for reading.
//!
//! Every flush leaves a version behind, and the store can be cut back to any of them, as a power
//! cut does to a real one, whose flushes may also have happened earlier than it was asked
//! ([`MemoryTables::flush`] may be called by a simulator at any moment between two batches).
//! Versions share nothing but values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, durable};
use crate::encoding::{Broken, Decoder, Encoder};
use crate::error::ReadError;
use crate::state::table::{
    KeptTables, ScanVisitor, SnapshotBody, Table, TableBatch, TableChange, TableSnapshot,
    TableStore,
};

type Rows = BTreeMap<(Table, Vec<u8>), Arc<[u8]>>;

/// What was put aside, by folder.
type Shelf = Arc<Mutex<BTreeMap<PathBuf, Arc<Rows>>>>;

#[derive(Default)]
struct Versions {
    now: Arc<Rows>,
    flushed: Vec<Arc<Rows>>,
    fails_next: bool,
}

/// An in-memory [`TableStore`]. Clones are the same store.
#[derive(Clone, Default)]
pub(crate) struct MemoryTables {
    versions: Arc<Mutex<Versions>>,
    shelf: Shelf,
}

#[cfg(test)]
impl MemoryTables {
    /// Empty.
    pub(crate) fn new() -> MemoryTables {
        MemoryTables::default()
    }

    /// A store of its own with what was flushed last, as a power cut leaves it.
    pub(crate) fn flushed(&self) -> MemoryTables {
        let now = self.versions.lock().flushed.last().cloned().unwrap_or_default();
        let versions = Versions { now: Arc::clone(&now), flushed: vec![now], fails_next: false };
        // What was put aside is there whatever becomes of the power.
        let shelf = Arc::new(Mutex::new(self.shelf.lock().clone()));
        MemoryTables { versions: Arc::new(Mutex::new(versions)), shelf }
    }

    /// A flush that nobody asked for, as RocksDB does when memory is short.
    pub(crate) fn flush_unasked(&self) {
        let mut versions = self.versions.lock();
        let now = Arc::clone(&versions.now);
        versions.flushed.push(now);
    }

    /// Lets the next flush that is asked for fail.
    pub(crate) fn fail_next_flush(&self) {
        self.versions.lock().fails_next = true;
    }

    /// How many flushes there have been; they are numbered from 1, and 0 is the empty store.
    pub(crate) fn flush_count(&self) -> usize {
        self.versions.lock().flushed.len()
    }

    /// Makes the store what it was after that flush, as if later ones had not been; a number above
    /// [`MemoryTables::flush_count`] only forgets what was not flushed.
    pub(crate) fn forget_to(&self, flush_number: usize) {
        let mut versions = self.versions.lock();
        versions.flushed.truncate(flush_number);
        versions.now = versions.flushed.last().cloned().unwrap_or_default();
    }
}

struct MemorySnapshot(Arc<Rows>);

impl TableSnapshot for MemorySnapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(&(table, key.to_vec())).map(|value| value.to_vec()))
    }

    fn scan(&self, table: Table, visit: &mut ScanVisitor<'_>) -> Result<(), ReadError> {
        for ((of, key), value) in self.0.range((table, Vec::new())..) {
            if *of != table || !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl TableStore for MemoryTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let rows = self.versions.lock().now.clone();
        Ok(rows.get(&(table, key.to_vec())).map(|value| value.to_vec()))
    }

    fn scan_from(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        visit: &mut ScanVisitor<'_>,
    ) -> Result<(), ReadError> {
        let rows = self.versions.lock().now.clone();
        for ((of, key), value) in rows.range((table, from.max(prefix).to_vec())..) {
            if *of != table || !key.starts_with(prefix) || !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Arc<dyn TableStore>, ReadError> {
        let now = Arc::clone(&self.versions.lock().now);
        let versions = Versions { now, ..Versions::default() };
        let versions = Arc::new(Mutex::new(versions));
        Ok(Arc::new(MemoryTables { versions, shelf: Shelf::default() }))
    }

    fn at_one_moment(&self, body: &mut SnapshotBody<'_>) -> Result<(), ReadError> {
        let rows = self.versions.lock().now.clone();
        body(&MemorySnapshot(rows))
    }

    fn write(&self, batch: TableBatch) -> Result<(), ReadError> {
        let mut versions = self.versions.lock();
        let rows = Arc::make_mut(&mut versions.now);
        for change in batch.changes {
            match change {
                TableChange::Put { table, key, value } => rows.insert((table, key), value.into()),
                TableChange::Delete { table, key } => rows.remove(&(table, key)),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), ReadError> {
        let mut versions = self.versions.lock();
        if std::mem::take(&mut versions.fails_next) {
            return Err(ReadError::Table("the flush failed, as a simulation asked for".into()));
        }
        let now = versions.now.clone();
        versions.flushed.push(now);
        Ok(())
    }

    fn keep(&self, folder: &Path) -> Result<(), ReadError> {
        let now = Arc::clone(&self.versions.lock().now);
        self.shelf.lock().insert(folder.to_path_buf(), now);
        Ok(())
    }
}

impl KeptTables for MemoryTables {
    fn restore(&self, from: &Path, _: &Path) -> Result<(), ReadError> {
        let kept = self.shelf.lock().get(from).cloned();
        let kept = kept.ok_or_else(|| ReadError::Table(format!("{} is gone", from.display())))?;
        let mut versions = self.versions.lock();
        versions.now = Arc::clone(&kept);
        versions.flushed.push(kept);
        Ok(())
    }

    fn remove(&self, folder: &Path) -> Result<(), ReadError> {
        self.shelf.lock().remove(folder);
        Ok(())
    }

    fn export(&self, disk: &dyn Disk, folder: &Path) -> Result<(), ReadError> {
        let rows = self.shelf.lock().get(folder).cloned().unwrap_or_default();
        let mut out = Encoder::default();
        out.count(rows.len());
        for ((table, key), value) in rows.iter() {
            out.u8(table.number());
            out.blob(key);
            out.blob(value);
        }
        durable::create_dir_durable(disk, folder)?;
        durable::replace_file(disk, &folder.join(ROWS), &out.bytes)?;
        Ok(())
    }

    fn import(&self, disk: &dyn Disk, folder: &Path) -> Result<(), ReadError> {
        let bytes = durable::read_file(disk, &folder.join(ROWS), usize::MAX)?.unwrap_or_default();
        let rows = read_rows(&bytes).map_err(|why| ReadError::Table(why.to_owned()))?;
        self.shelf.lock().insert(folder.to_path_buf(), Arc::new(rows));
        Ok(())
    }
}

/// What was put aside, as a file.
const ROWS: &str = "rows";

fn read_rows(bytes: &[u8]) -> Result<Rows, Broken> {
    let mut from = Decoder::new(bytes);
    let rows = from.list(|from| {
        let table = Table::of_number(from.u8()?).ok_or("a table is not known")?;
        let key = from.blob()?.to_vec();
        Ok(((table, key), Arc::from(from.blob()?)))
    })?;
    from.end()?;
    Ok(rows.into_iter().collect())
}
