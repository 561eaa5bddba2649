//! Tables in RocksDB; no other file names it.
//!
//! How the promises of [`TableStore`] are kept:
//!
//! - No write-ahead log: the commit log is the truth, and a batch that is lost is replayed from it.
//! - `atomic_flush`: memtables of all column families reach the disk together, named by one edit of
//!   the manifest, whether we ask or RocksDB runs out of memory budget. Every batch goes through
//!   one writer queue, so what is on disk is always the state between two batches.
//! - Values are sealed, hence random: no compression, and no block cache, because whoever reads
//!   them keeps them opened. But for blobs and their places, of which a block holds a hundred that
//!   are asked for one after the other when a mailbox is read: they share a small one. Index and
//!   filter blocks stay in memory with their open files, which are bounded.
//! - No prefix extractor: prefixes of three lengths are asked for, and a scan with bounds reads
//!   nothing outside of them anyway. Bloom filters are for point reads.
//! - Its own LOG is bounded and holds warnings and settings: no keys, no values.
//!
//! - A table that came with a later format level is made when it is first written to, for a binary
//!   of before refuses a directory that has a table more: a volume below the level stays as it is.
//!
//! What can go wrong: RocksDB answers every write with an error after a failed flush; then the
//! checkpoint fails and the volume takes no more writes. A block whose checksum is wrong is an
//! error where it is read.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBWithThreadMode, FlushOptions, LogLevel, MultiThreaded, Options, ReadOptions,
    SnapshotWithThreadMode, WriteBatch, WriteOptions,
};

use crate::disk::OpenMode;
use crate::disk::durable::folder_of;
use crate::error::ReadError;
use crate::format_level;
use crate::state::table::{
    KeptTables, MemoryTables, ScanVisitor, SnapshotBody, Table, TableBatch, TableChange,
    TableSnapshot, TableStore,
};

/// Of one column family.
const MEMTABLE_BYTES: usize = 32 << 20;
/// Of all column families together: two checkpoints, of which one is being flushed.
const MEMTABLES_BYTES: usize = 192 << 20;
const OPEN_FILES_MAX: i32 = 512;
const BLOCK_BYTES: usize = 16 << 10;
/// Of blobs and places together.
const BLOCK_CACHE_BYTES: usize = 8 << 20;
const FILE_BYTES: u64 = 64 << 20;
const MANIFEST_BYTES: usize = 16 << 20;
const BLOOM_BITS: f64 = 10.0;
const LOG_BYTES: usize = 1 << 20;
const LOG_FILES: usize = 2;
const BACKGROUND_JOBS: i32 = 2;
/// Tables of a level below it are always there.
const FIRST_LATER_LEVEL: u32 = 3;

/// A [`TableStore`] in a directory.
pub(crate) struct RocksTables {
    db: Db,
    cache: Cache,
    /// Of a snapshot: its directory, which goes with it. Dropped after the database.
    _directory: Option<SnapshotDirectory>,
}

/// Hard links to the files of the tables.
struct SnapshotDirectory(PathBuf);

impl Drop for SnapshotDirectory {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, "a snapshot of state stays until the next start");
        }
        // If it was the last.
        if let Some(folder) = self.0.parent() {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// Where snapshots of the tables in `directory` lie while they are read.
fn snapshot_path(directory: &Path) -> PathBuf {
    directory.with_extension("snapshot")
}

/// Tables may be made while it is open.
type Db = DBWithThreadMode<MultiThreaded>;

impl RocksTables {
    /// Opens the tables in `directory`, or makes them. RocksDB's own lock keeps a second process
    /// out.
    pub(crate) fn open(directory: &Path) -> Result<RocksTables, ReadError> {
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = families(directory, &cache);
        let db = Db::open_cf_descriptors(&store_options(), directory, families)
            .map_err(|error| unknown_table(directory).unwrap_or_else(|| failed(error)))?;
        // Of a process that was killed.
        let left_over = snapshot_path(directory);
        if left_over.exists()
            && let Err(error) = std::fs::remove_dir_all(&left_over)
        {
            tracing::warn!(%error, "an old snapshot of state cannot be removed");
        }
        Ok(RocksTables { db, cache, _directory: None })
    }

    /// Adds a table of a name that we do not know, as a newer binary might.
    #[cfg(test)]
    pub(crate) fn add_table(directory: &Path, name: &str) {
        let tables = RocksTables::open(directory).unwrap();
        tables.db.create_cf(name, &Options::default()).unwrap();
    }

    /// Opens the tables for reading and writing, or for reading only: then nothing in the directory
    /// changes but RocksDB's own LOG.
    pub(crate) fn open_in(
        directory: &Path,
        mode: OpenMode,
    ) -> Result<Arc<dyn TableStore>, ReadError> {
        if mode == OpenMode::ReadWrite {
            return Ok(Arc::new(RocksTables::open(directory)?));
        }
        // A store that was made and never opened since.
        if !directory.join("CURRENT").exists() {
            return Ok(Arc::new(MemoryTables::default()));
        }
        // For reading, RocksDB is content with the tables that it is told of.
        if let Some(newer) = unknown_table(directory) {
            return Err(newer);
        }
        // Its making was cut short. Nothing is written before all of them are there.
        if is_half_made(directory) {
            return Ok(Arc::new(MemoryTables::default()));
        }
        Ok(Arc::new(RocksTables::open_for_reading(directory, None)?))
    }

    fn open_for_reading(
        directory: &Path,
        own: Option<SnapshotDirectory>,
    ) -> Result<RocksTables, ReadError> {
        let options = store_options();
        let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
        let families = families(directory, &cache);
        let db = Db::open_cf_descriptors_read_only(&options, directory, families, false);
        Ok(RocksTables { db: db.map_err(failed)?, cache, _directory: own })
    }

    /// `None`: nothing was written to it so far.
    fn family(&self, table: Table) -> Result<Option<Arc<BoundColumnFamily<'_>>>, ReadError> {
        match self.db.cf_handle(table.name()) {
            None if table.level() < FIRST_LATER_LEVEL => {
                Err(ReadError::Table(format!("there is no table '{}'", table.name())))
            }
            family => Ok(family),
        }
    }

    fn made_family(&self, table: Table) -> Result<Arc<BoundColumnFamily<'_>>, ReadError> {
        if let Some(family) = self.family(table)? {
            return Ok(family);
        }
        let options = family_options(table, &self.cache);
        self.db.create_cf(table.name(), &options).map_err(failed)?;
        let missing = || ReadError::Table(format!("there is no table '{}'", table.name()));
        self.family(table)?.ok_or_else(missing)
    }
}

/// That a newer binary made a table that we do not know.
fn unknown_table(directory: &Path) -> Option<ReadError> {
    let is_known = |name: &String| {
        name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME || Table::ALL.iter().any(|t| t.name() == name)
    };
    let names = Db::list_cf(&Options::default(), directory).ok()?;
    names.into_iter().find(|name| !is_known(name)).map(|name| ReadError::NewerFormat {
        what: format!("the state in {}, which has a table {name:?},", directory.display()),
        found: format_level::NEWEST + 1,
        known: format_level::NEWEST,
    })
}

/// Whether a table is missing that is always there: they are made one after the other.
fn is_half_made(directory: &Path) -> bool {
    let Ok(names) = Db::list_cf(&Options::default(), directory) else { return false };
    let always = Table::ALL.into_iter().filter(|table| table.level() < FIRST_LATER_LEVEL);
    always.into_iter().any(|table| names.iter().all(|name| name != table.name()))
}

fn failed(error: rocksdb::Error) -> ReadError {
    ReadError::Table(error.into_string())
}

fn store_options() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_atomic_flush(true);
    options.set_paranoid_checks(true);
    options.set_db_write_buffer_size(MEMTABLES_BYTES);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    options.set_log_level(LogLevel::Warn);
    options.set_max_log_file_size(LOG_BYTES);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_stats_dump_period_sec(0);
    options.set_dump_malloc_stats(false);
    options
}

/// The tables of the first level, and of the later ones those that are there.
fn families(directory: &Path, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let there = Db::list_cf(&Options::default(), directory).unwrap_or_default();
    let is_there = |table: &Table| there.iter().any(|name| name == table.name());
    let tables = Table::ALL.into_iter();
    let tables = tables.filter(|table| table.level() < FIRST_LATER_LEVEL || is_there(table));
    let family =
        |table: Table| ColumnFamilyDescriptor::new(table.name(), family_options(table, cache));
    tables.map(family).collect()
}

fn family_options(table: Table, cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    if matches!(table, Table::Blob | Table::Placement) {
        blocks.set_block_cache(cache);
    } else {
        blocks.disable_cache();
    }
    blocks.set_block_size(BLOCK_BYTES);
    blocks.set_bloom_filter(BLOOM_BITS, false);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(MEMTABLE_BYTES);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(FILE_BYTES);
    options.set_level_compaction_dynamic_level_bytes(true);
    options
}

/// The first key above all that begin with `prefix`; `None` if there is none.
fn above_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let kept = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut bound = prefix.get(..=kept)?.to_vec();
    if let Some(last) = bound.last_mut() {
        *last += 1;
    }
    Some(bound)
}

struct RocksSnapshot<'a> {
    tables: &'a RocksTables,
    snapshot: SnapshotWithThreadMode<'a, Db>,
}

impl TableSnapshot for RocksSnapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(family) = self.tables.family(table)? else { return Ok(None) };
        self.snapshot.get_cf(&family, key).map_err(failed)
    }

    fn scan(&self, table: Table, visit: &mut ScanVisitor<'_>) -> Result<(), ReadError> {
        let Some(family) = self.tables.family(table)? else { return Ok(()) };
        let mut rows = self.snapshot.raw_iterator_cf(&family);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(failed)
    }
}

impl TableStore for RocksTables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let Some(family) = self.family(table)? else { return Ok(None) };
        self.db.get_cf(&family, key).map_err(failed)
    }

    fn scan_from(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        visit: &mut ScanVisitor<'_>,
    ) -> Result<(), ReadError> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from.max(prefix));
        if let Some(bound) = above_prefix(prefix) {
            options.set_iterate_upper_bound(bound);
        }
        let Some(family) = self.family(table)? else { return Ok(()) };
        let mut rows = self.db.raw_iterator_cf_opt(&family, options);
        rows.seek_to_first();
        while let Some((key, value)) = rows.item() {
            if !visit(key, value)? {
                return Ok(());
            }
            rows.next();
        }
        // An iterator that met an error looks as if it were at its end.
        rows.status().map_err(failed)
    }

    fn snapshot(&self) -> Result<Arc<dyn TableStore>, ReadError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = snapshot_path(self.db.path());
        let unmade = |error: std::io::Error| ReadError::Table(error.to_string());
        std::fs::create_dir_all(&folder).map_err(unmade)?;
        let path = folder.join(number.to_string());
        Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(&path))
            .map_err(failed)?;
        let own = SnapshotDirectory(path.clone());
        Ok(Arc::new(RocksTables::open_for_reading(&path, Some(own))?))
    }

    fn at_one_moment(&self, body: &mut SnapshotBody<'_>) -> Result<(), ReadError> {
        body(&RocksSnapshot { tables: self, snapshot: self.db.snapshot() })
    }

    fn write(&self, batch: TableBatch) -> Result<(), ReadError> {
        let mut writes = WriteBatch::default();
        for change in batch.changes() {
            match change {
                TableChange::Put { table, key, value } => {
                    writes.put_cf(&self.made_family(*table)?, key, value);
                }
                TableChange::Delete { table, key } => {
                    if let Some(family) = self.family(*table)? {
                        writes.delete_cf(&family, key);
                    }
                }
            }
        }
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(writes, &options).map_err(failed)
    }

    fn flush(&self) -> Result<(), ReadError> {
        let families: Vec<Option<Arc<BoundColumnFamily<'_>>>> =
            Table::ALL.into_iter().map(|table| self.family(table)).collect::<Result<_, _>>()?;
        let families: Vec<&Arc<BoundColumnFamily<'_>>> = families.iter().flatten().collect();
        let mut options = FlushOptions::default();
        options.set_wait(true);
        self.db.flush_cfs_opt(&families, &options).map_err(failed)
    }

    fn keep(&self, folder: &Path) -> Result<(), ReadError> {
        RocksKept.remove(folder)?;
        let checkpoint = Checkpoint::new(&self.db);
        checkpoint.and_then(|made| made.create_checkpoint(folder)).map_err(failed)?;
        sync_folder(folder).and_then(|()| sync_folder(folder_of(folder))).map_err(not_kept)
    }
}

/// Folders that [`TableStore::keep`] made.
pub(crate) struct RocksKept;

impl KeptTables for RocksKept {
    fn restore(&self, from: &Path, to: &Path) -> Result<(), ReadError> {
        self.remove(to)?;
        copy_folder(from, to).map_err(not_kept)
    }

    fn remove(&self, folder: &Path) -> Result<(), ReadError> {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(not_kept(error)),
            _ => Ok(()),
        }
    }
}

/// Files of rows are never written to again, so a second name will do; RocksDB goes on writing
/// others.
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        let copy = to.join(name);
        if path.extension().is_some_and(|ending| ending == "sst") {
            std::fs::hard_link(&path, &copy)?;
            continue;
        }
        std::fs::copy(&path, &copy)?;
        std::fs::File::open(&copy)?.sync_all()?;
    }
    sync_folder(to)?;
    sync_folder(folder_of(to))
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

fn not_kept(error: std::io::Error) -> ReadError {
    ReadError::Table(format!("a checkpoint of state: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &RocksTables, tables: &[Table], key: &[u8], value: &[u8]) {
        let mut batch = TableBatch::new();
        tables.iter().for_each(|&table| batch.put(table, key, value.to_vec()));
        store.write(batch).unwrap();
    }

    fn copy_of(directory: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        copy
    }

    #[test]
    fn rocks_reads_what_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        crate::state::table::tests::reads_what_was_written(&store);
        store.flush().unwrap();
        assert_eq!(store.get(Table::Page, b"b2").unwrap().as_deref(), Some(b"new".as_slice()));
    }

    #[test]
    fn a_table_of_a_later_level_is_made_when_it_is_first_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        let names = || Db::list_cf(&Options::default(), directory.path()).unwrap();
        let is_there = || names().iter().any(|name| name == Table::Retained.name());
        let mut batch = TableBatch::new();
        batch.delete(Table::Retained, b"key");
        store.write(batch).unwrap();
        put(&store, &[Table::Page], b"key", b"value");
        store.flush().unwrap();
        assert_eq!(store.get(Table::Retained, b"key").unwrap(), None);
        assert!(!is_there(), "a volume that keeps nothing can go back to an older binary");
        put(&store, &[Table::Retained], b"key", b"value");
        store.flush().unwrap();
        assert!(is_there());
        drop(store);
        let store = RocksTables::open_in(directory.path(), OpenMode::Read).unwrap();
        assert_eq!(store.get(Table::Retained, b"key").unwrap().as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn tables_whose_making_was_cut_short_are_read_as_empty_and_then_made() {
        let directory = tempfile::tempdir().unwrap();
        drop(Db::open(&store_options(), directory.path()).unwrap());
        let store = RocksTables::open_in(directory.path(), OpenMode::Read).unwrap();
        assert_eq!(store.get(Table::Page, b"key").unwrap(), None);
        let store = RocksTables::open(directory.path()).unwrap();
        put(&store, &Table::ALL, b"key", b"value");
    }

    #[test]
    fn what_was_flushed_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        put(&store, &Table::ALL, b"key", b"value");
        store.flush().unwrap();
        drop(store);
        let store = RocksTables::open(directory.path()).unwrap();
        for table in Table::ALL {
            assert_eq!(store.get(table, b"key").unwrap().as_deref(), Some(b"value".as_slice()));
        }
    }

    #[test]
    fn a_directory_image_holds_all_that_was_flushed_and_the_rest_wholly_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        put(&store, &Table::ALL, b"flushed", b"1");
        store.flush().unwrap();
        put(&store, &Table::ALL, b"waiting", b"2");
        let image = copy_of(directory.path());
        drop(store);
        for found in [image.path(), directory.path()] {
            let store = RocksTables::open(found).unwrap();
            let has = |key: &[u8]| {
                let there = |&table: &Table| store.get(table, key).unwrap().is_some();
                Table::ALL.iter().filter(|table| there(table)).count()
            };
            assert_eq!(has(b"flushed"), Table::ALL.len());
            let waiting = has(b"waiting");
            assert!(waiting == 0 || waiting == Table::ALL.len(), "{waiting} tables have it");
        }
    }

    #[test]
    fn the_image_during_many_checkpoints_is_always_between_two_batches() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        // Fewer flushes than start a compaction, whose deletions a copy file by file would meet.
        for round in 1..=3u8 {
            put(&store, &Table::ALL, b"round", &[round]);
            put(&store, &[Table::Page], &[round], &[round; 9000]);
            store.flush().unwrap();
            put(&store, &Table::ALL, b"round", &[round + 100]);
            let copied = copy_of(directory.path());
            let image = RocksTables::open(copied.path()).unwrap();
            for table in Table::ALL {
                assert_eq!(image.get(table, b"round").unwrap().as_deref(), Some(&[round][..]));
            }
            assert_eq!(image.get(Table::Page, &[round]).unwrap().unwrap().len(), 9000);
        }
    }

    #[test]
    fn rocksdb_writes_neither_keys_nor_values_into_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let store = RocksTables::open(directory.path()).unwrap();
        for round in 0..4u8 {
            put(&store, &Table::ALL, b"a-key-to-look-for", &[round; 10_000]);
            store.flush().unwrap();
        }
        let log = std::fs::read(directory.path().join("LOG")).unwrap();
        let hex = "612d6b65792d746f2d6c6f6f6b2d666f72";
        let text = String::from_utf8_lossy(&log).to_lowercase();
        assert!(!text.contains("a-key-to-look-for") && !text.contains(hex));
    }

    #[test]
    fn the_bound_above_a_prefix_leaves_out_nothing() {
        assert_eq!(above_prefix(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(above_prefix(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(above_prefix(b"\xff"), None);
        assert_eq!(above_prefix(b""), None);
    }
}
