//! What every table store promises, asked of each.

use crate::state::table::{MemoryTables, Table, TableBatch, TableStore};

fn scanned(store: &dyn TableStore, table: Table, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    store
        .scan_prefix(table, prefix, &mut |key, value| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(true)
        })
        .unwrap();
    found
}

/// A batch is seen over all tables; scans are ordered, stay in their prefix and table, and can
/// stop.
pub(super) fn reads_what_was_written(store: &dyn TableStore) {
    let mut batch = TableBatch::new();
    for table in Table::ALL {
        batch.put(table, b"\x00key", table.name().as_bytes().to_vec());
    }
    for (key, value) in [(b"b2", b"two"), (b"b1", b"one"), (b"c1", b"see"), (b"b\xff", b"end")] {
        batch.put(Table::Page, key, value.to_vec());
    }
    batch.delete(Table::Page, b"never there");
    store.write(batch).unwrap();
    for table in Table::ALL {
        let value = store.get(table, b"\x00key").unwrap();
        assert_eq!(value.as_deref(), Some(table.name().as_bytes()));
    }
    let keys: Vec<Vec<u8>> =
        scanned(store, Table::Page, b"b").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"b1".to_vec(), b"b2".to_vec(), b"b\xff".to_vec()]);
    assert_eq!(scanned(store, Table::Page, b"").len(), 5);
    assert_eq!(scanned(store, Table::Ids, b"b"), []);
    store
        .at_one_moment(&mut |snapshot| {
            let mut batch = TableBatch::new();
            batch.put(Table::Page, b"b1", b"meanwhile".to_vec());
            batch.put(Table::Page, b"a", b"meanwhile".to_vec());
            store.write(batch)?;
            assert_eq!(snapshot.get(Table::Page, b"b1")?.as_deref(), Some(b"one".as_slice()));
            let mut count = 0;
            snapshot.scan(Table::Page, &mut |_, _| {
                count += 1;
                Ok(true)
            })?;
            assert_eq!(count, 5, "what came meanwhile is not seen");
            Ok(())
        })
        .unwrap();
    let mut seen = 0;
    store
        .scan_prefix(Table::Page, b"b", &mut |_, _| {
            seen += 1;
            Ok(false)
        })
        .unwrap();
    assert_eq!(seen, 1);
    let mut batch = TableBatch::new();
    batch.put(Table::Page, b"b1", b"later".to_vec());
    batch.delete(Table::Page, b"b1");
    batch.put(Table::Page, b"b2", b"new".to_vec());
    store.write(batch).unwrap();
    assert_eq!(store.get(Table::Page, b"b1").unwrap(), None);
    assert_eq!(store.get(Table::Page, b"b2").unwrap().as_deref(), Some(b"new".as_slice()));
}

#[test]
fn memory_reads_what_was_written() {
    reads_what_was_written(&MemoryTables::new());
}

#[test]
fn memory_forgets_what_was_not_flushed_and_goes_back_to_any_flush() {
    let store = MemoryTables::new();
    let write = |value: &[u8]| {
        let mut batch = TableBatch::new();
        batch.put(Table::Volume, b"lsn", value.to_vec());
        store.write(batch).unwrap();
    };
    let read = || store.get(Table::Volume, b"lsn").unwrap();
    write(b"1");
    store.flush().unwrap();
    write(b"2");
    store.flush().unwrap();
    write(b"3");
    assert_eq!(read().as_deref(), Some(b"3".as_slice()));
    store.forget_to(2);
    assert_eq!(read().as_deref(), Some(b"2".as_slice()));
    store.forget_to(1);
    assert_eq!(read().as_deref(), Some(b"1".as_slice()));
    assert_eq!(store.flush_count(), 1);
    store.forget_to(0);
    assert_eq!(read(), None);
}
