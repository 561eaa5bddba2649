//! The log on the disks of this machine: plain calls, and io_uring in each way it may be allowed.
//!
//! Power cuts need the simulated disk; what is here is what io_uring could do differently: order,
//! coherence with buffered writes and reads, and what a failure of any call leaves.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::disk::{Caching, DiskFile, Lock, PlainDisk, Registration, UringDisk, UringWish, failed};
use crate::error::DiskError;

/// Every disk that works in `folder`.
fn disks(folder: &Path) -> Vec<(&'static str, Arc<dyn Disk>)> {
    let wish = |caching, registration| UringWish { caching, registration };
    let wishes = [
        ("io_uring, direct, registered", UringWish::ALL),
        ("io_uring, direct", wish(Caching::Direct, Registration::Unwanted)),
        ("io_uring, buffered, registered", wish(Caching::Buffered, Registration::Wanted)),
        ("io_uring, buffered", wish(Caching::Buffered, Registration::Unwanted)),
    ];
    let mut disks: Vec<(&'static str, Arc<dyn Disk>)> = vec![("plain", Arc::new(PlainDisk))];
    for (name, wish) in wishes {
        match UringDisk::probe(folder, wish) {
            Ok((disk, _)) => disks.push((name, Arc::new(disk))),
            Err(error) => eprintln!("{name}: not tested, {error}"),
        }
    }
    disks
}

fn setup_on(disk: Arc<dyn Disk>, directory: &Path, zeros: ZerosAhead) -> LogSetup {
    let directory = directory.to_path_buf();
    LogSetup { disk, directory, zeros, ..setup(&SimulatedDisk::new(0)) }
}

const ZEROS: [ZerosAhead; 3] = [
    ZerosAhead::Off,
    ZerosAhead::Inline { step_bytes: 16 << 10 },
    ZerosAhead::Background { step_bytes: 16 << 10 },
];

#[test]
fn what_one_disk_wrote_every_other_reads_and_goes_on_with() {
    for zeros in ZEROS {
        let folder = tempfile::tempdir().unwrap();
        let disks = disks(folder.path());
        let first = setup_on(Arc::clone(&disks[0].1), folder.path(), zeros);
        drop(LogWriter::create(first, begin()).unwrap());
        let mut expected = Vec::new();
        for turn in 0..2 * disks.len() {
            let (name, disk) = &disks[turn % disks.len()];
            let (found, recovered) =
                open_log(setup_on(Arc::clone(disk), folder.path(), zeros), None).unwrap();
            assert_eq!(found, expected, "{name}, {zeros:?}");
            let mut writer = recovered.writer.unwrap();
            let sent = send(&mut writer, 30);
            assert_eq!(sent.acknowledged, sent.submitted, "{name}, {zeros:?}");
            expected.extend(sent.acknowledged);
        }
    }
}

#[test]
fn chunks_can_be_read_as_soon_as_their_group_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    for (turn, (name, disk)) in disks(folder.path()).into_iter().enumerate() {
        let directory = folder.path().join(turn.to_string());
        std::fs::create_dir(&directory).unwrap();
        let zeros = ZerosAhead::Background { step_bytes: 64 << 10 };
        let mut writer =
            LogWriter::create(setup_on(Arc::clone(&disk), &directory, zeros), begin()).unwrap();
        let reader = LogReader::new(disk, directory);
        for turn in 0..60 {
            let built = group(writer.end(), &format!("mail {turn} {}", "x".repeat(turn)));
            let place = writer.append(std::slice::from_ref(&built)).unwrap()[0];
            for chunk in built.chunk_places(place) {
                reader.read_chunk(&chunk).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
            reader.read_group(&place).unwrap();
        }
    }
}

/// Fails one change of files made in a folder, by number; the system's disk below does the rest.
struct Failing {
    below: Arc<dyn Disk>,
    calls: Arc<AtomicU64>,
    fails: u64,
}

struct FailingFile {
    below: Box<dyn DiskFile>,
    calls: Arc<AtomicU64>,
    fails: u64,
}

impl Failing {
    fn wrap(&self, below: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        Box::new(FailingFile { below, calls: Arc::clone(&self.calls), fails: self.fails })
    }
}

impl FailingFile {
    fn count(&self, call: &'static str) -> Result<(), DiskError> {
        if self.calls.fetch_add(1, Ordering::Relaxed) + 1 == self.fails {
            let cause = std::io::Error::other("made to fail");
            return Err(failed(call, Path::new("a segment"), None, cause));
        }
        Ok(())
    }
}

impl Disk for Failing {
    fn create(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(self.wrap(self.below.create(path)?))
    }
    fn create_log(&self, path: &Path) -> Result<Box<dyn DiskFile>, DiskError> {
        Ok(self.wrap(self.below.create_log(path)?))
    }
    fn open(&self, path: &Path, mode: OpenMode) -> Result<Box<dyn DiskFile>, DiskError> {
        self.below.open(path, mode)
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.below.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.below.link(from, to)
    }
    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.below.remove(path)
    }
    fn list(&self, directory: &Path) -> Result<Vec<PathBuf>, DiskError> {
        self.below.list(directory)
    }
    fn create_dir_all(&self, directory: &Path) -> Result<(), DiskError> {
        self.below.create_dir_all(directory)
    }
    fn sync_dir(&self, directory: &Path) -> Result<(), DiskError> {
        self.below.sync_dir(directory)
    }
    fn exists(&self, path: &Path) -> Result<bool, DiskError> {
        self.below.exists(path)
    }
    fn lock(&self, path: &Path) -> Result<Lock, DiskError> {
        self.below.lock(path)
    }
    fn free_bytes(&self, path: &Path) -> Result<u64, DiskError> {
        self.below.free_bytes(path)
    }
    fn copies_on_write(&self, path: &Path) -> Result<bool, DiskError> {
        self.below.copies_on_write(path)
    }
}

impl DiskFile for FailingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.below.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.count("pwrite")?;
        self.below.write_at(offset, bytes)
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        self.count("fdatasync")?;
        self.below.sync_data()
    }
    fn write_and_sync(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
        // Half of it arrives, as when the device gives up.
        self.count("pwrite").inspect_err(|_| self.below.write_at(offset, part).unwrap())?;
        self.below.write_and_sync(offset, bytes)
    }
    fn byte_count(&self) -> Result<u64, DiskError> {
        self.below.byte_count()
    }
    fn set_byte_count(&self, byte_count: u64) -> Result<(), DiskError> {
        self.below.set_byte_count(byte_count)
    }
    fn forget_cached(&self) -> Result<(), DiskError> {
        self.below.forget_cached()
    }
}

#[test]
fn whichever_call_fails_nothing_acknowledged_is_lost_and_nothing_follows() {
    let folder = tempfile::tempdir().unwrap();
    for (name, below) in disks(folder.path()) {
        for fails in 1.. {
            let directory = tempfile::tempdir_in(folder.path()).unwrap();
            let calls = Arc::new(AtomicU64::new(0));
            let disk = Arc::new(Failing { below: Arc::clone(&below), calls, fails });
            let on = |disk| setup_on(disk, directory.path(), ZerosAhead::Off);
            let Ok(mut writer) = LogWriter::create(on(disk), begin()) else { continue };
            let sent = send(&mut writer, 9);
            let is_done =
                sent.acknowledged.len() == sent.submitted.len() && writer.poisoned().is_none();
            if !is_done {
                let again = writer.append(&[group(writer.end(), "refused ")]);
                assert!(matches!(again, Err(AppendError::Poisoned { .. })), "{name} {fails}");
            }
            drop(writer);
            let (found, _) = open_log(on(Arc::clone(&below)), None).unwrap();
            assert!(found.starts_with(&sent.acknowledged), "{name}, call {fails}: lost mail");
            assert!(sent.submitted.starts_with(&found), "{name}, call {fails}: invented mail");
            if is_done {
                assert!(fails > 12, "there were calls enough: {fails}");
                break;
            }
        }
    }
}

#[test]
fn a_batch_is_one_call_on_every_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (name, below) in disks(folder.path()) {
        let directory = tempfile::tempdir_in(folder.path()).unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let disk = Arc::new(Failing { below, calls: Arc::clone(&calls), fails: 0 });
        let setup = setup_on(disk, directory.path(), ZerosAhead::Off);
        let mut writer = LogWriter::create(setup, begin()).unwrap();
        let first = group(writer.end(), "a ");
        let second = group(after(&first, writer.end()), "b ");
        let before = calls.load(Ordering::Relaxed);
        writer.append(&[first, second]).unwrap();
        assert_eq!(calls.load(Ordering::Relaxed) - before, 1, "{name}");
    }
}
