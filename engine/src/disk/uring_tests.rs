//! The ring's promises: full length and flush or an error, on every way that a machine may allow.
//!
//! Where io_uring is forbidden there is nothing to test, and the tests say so.

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::*;
use crate::disk::{IoChoice, IoReport, PlainReason, system_disk};

/// Every way to write, with its name; the plain disk first.
fn wishes() -> Vec<(&'static str, UringWish)> {
    use {Caching::*, Registration::*};
    vec![
        ("direct, registered", UringWish { caching: Direct, registration: Wanted }),
        ("direct, unregistered", UringWish { caching: Direct, registration: Unwanted }),
        ("buffered, registered", UringWish { caching: Buffered, registration: Wanted }),
        ("buffered, unregistered", UringWish { caching: Buffered, registration: Unwanted }),
    ]
}

/// Disks over io_uring in `folder`; none where it is forbidden.
fn disks(folder: &Path) -> Vec<(&'static str, UringDisk)> {
    let probe = |(name, wish)| match UringDisk::probe(folder, wish) {
        Ok((disk, _)) => Some((name, disk)),
        Err(error) => {
            eprintln!("{name}: not tested, {error}");
            None
        }
    };
    wishes().into_iter().filter_map(probe).collect()
}

fn pages(count: usize, seed: u8) -> Vec<u8> {
    (0..count * GROUP_ALIGNMENT).map(|at| seed.wrapping_add((at / 7) as u8)).collect()
}

fn read(disk: &UringDisk, path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let found = disk.open(path, OpenMode::Read).unwrap().read_at(offset, &mut bytes).unwrap();
    bytes.truncate(found);
    bytes
}

#[test]
fn what_is_written_and_flushed_reads_the_same_through_every_handle() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in disks(folder.path()) {
        let path = folder.path().join(name);
        let file = disk.create_log(&path).unwrap();
        file.write_at(0, &pages(2, 1)).unwrap();
        file.write_zeros(8192, 1 << 20).unwrap();
        // One page, several, exactly the buffer, more than the buffer, and unaligned.
        let lengths = [4096, 3 * 4096, URING_BUFFER_BYTES, 2 * URING_BUFFER_BYTES + 4096, 5000];
        let mut expected = pages(2, 1);
        for (seed, length) in (2..).zip(lengths) {
            // Readers have the place in the page cache already.
            let at = u64_of(expected.len());
            read(&disk, &path, at, length);
            let mut bytes = pages(length.div_ceil(4096), seed);
            bytes.truncate(length);
            file.write_and_sync(at, &bytes).unwrap();
            expected.extend(bytes);
            assert!(read(&disk, &path, 0, expected.len()) == expected, "{name}: {length} bytes");
        }
        file.set_byte_count(u64_of(expected.len())).unwrap();
        file.sync_data().unwrap();
        file.forget_cached().unwrap();
        assert!(read(&disk, &path, 0, expected.len() + 1) == expected, "{name}: from the device");
    }
}

/// O_DIRECT: a reader's read ahead fetches pages that a direct write replaces at the same time.
#[test]
fn readers_beside_the_writer_never_see_what_was_there_before_a_flush() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in disks(folder.path()) {
        let path = folder.path().join(name);
        let file = disk.create_log(&path).unwrap();
        file.write_zeros(0, 512 * 4096).unwrap();
        file.sync_data().unwrap();
        let written = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let reader = disk.open(&path, OpenMode::Read).unwrap();
                    let mut bytes = vec![0; 16 * 4096];
                    loop {
                        let until = written.load(Ordering::Acquire);
                        // The newest pages, and by reading ahead those behind them.
                        let from = until.saturating_sub(8);
                        reader.read_at(from * 4096, &mut bytes).unwrap();
                        for (page, number) in bytes.chunks(4096).zip(from..until) {
                            let seen = page.iter().all(|byte| *byte == number as u8 | 1);
                            assert!(seen, "{name}: page {number} of {until}");
                        }
                        if until == 512 {
                            break;
                        }
                    }
                });
            }
            for number in 0..512_u64 {
                file.write_and_sync(number * 4096, &[number as u8 | 1; 4096]).unwrap();
                written.store(number + 1, Ordering::Release);
            }
        });
    }
}

#[test]
fn anything_but_full_length_and_a_flush_is_a_failure() {
    let (io, canceled) = (-libc::EIO, -libc::ECANCELED);
    let cases = [
        (Some(4096), Some(0), Piece::Last, None, "all is well"),
        (Some(4096), None, Piece::Inner, None, "the flush follows with the last piece"),
        (Some(4096), Some(io), Piece::Last, Some("fdatasync"), "the flush failed"),
        (Some(4096), Some(canceled), Piece::Last, Some("fdatasync"), "the flush was not made"),
        (Some(4096), None, Piece::Last, Some("fdatasync"), "nobody flushed"),
        (Some(4096), Some(1), Piece::Last, Some("fdatasync"), "no answer of a flush"),
        (Some(2048), Some(canceled), Piece::Last, Some("pwrite"), "a short write"),
        (Some(2048), Some(0), Piece::Last, Some("pwrite"), "a short write, flushed all the same"),
        (Some(2048), None, Piece::Inner, Some("pwrite"), "a short write before others"),
        (Some(io), Some(canceled), Piece::Last, Some("pwrite"), "the write failed"),
        (None, Some(0), Piece::Last, Some("pwrite"), "nobody wrote"),
    ];
    for (write, flush, kind, expected, reason) in cases {
        let found = verdict(Answers { write, flush }, 4096, kind).err().map(|refusal| refusal.0);
        assert_eq!(found, expected, "{reason}");
    }
}

/// /dev/full answers ENOSPC to every write; the linked flush must not be taken for success.
#[test]
fn a_full_disk_fails_the_batch_and_the_ring_goes_on_with_other_files() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in disks(folder.path()) {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut ring = disk.ring.lock();
        let (call, cause) = ring.write_and_sync(&full, 99, 0, &pages(1, 1)).unwrap_err();
        assert_eq!((call, cause.kind()), ("pwrite", io::ErrorKind::StorageFull), "{name}");
        drop(ring);
        let file = disk.create_log(&folder.path().join(name)).unwrap();
        file.write_and_sync(0, &pages(1, 1)).unwrap();
        let reader = File::open("/dev/null").unwrap();
        let refused = disk.ring.lock().write_and_sync(&reader, 98, 0, &pages(1, 1)).unwrap_err();
        assert_eq!(refused.1.raw_os_error(), Some(libc::EBADF), "{name}: open for reading only");
    }
}

#[test]
fn a_closed_file_is_let_go_and_the_next_one_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    for (name, disk) in disks(folder.path()) {
        let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open_files();
        for number in 0..8 {
            let path = folder.path().join(format!("{name} {number}"));
            let file = disk.create_log(&path).unwrap();
            file.write_and_sync(0, &pages(1, number)).unwrap();
            drop(file);
            assert!(read(&disk, &path, 0, 4096) == pages(1, number));
            assert_eq!(disk.ring.lock().file, None, "{name}");
        }
        assert!(open_files() <= before + 1, "{name}: handles are closed");
    }
}

/// M4: the memlock limit refuses registered buffers to whoever is not privileged.
#[test]
fn without_locked_memory_the_buffer_is_not_registered_and_the_report_says_so() {
    let folder = tempfile::tempdir().unwrap();
    if disks(folder.path()).is_empty() {
        return;
    }
    let limited = std::thread::spawn({
        let folder = folder.path().to_path_buf();
        move || {
            // Capabilities belong to this thread alone; the limit is the process's, and others fall
            // back as this one does.
            let mut mine: CapabilitySets = capabilities(None).unwrap();
            mine.effective.remove(CapabilitySet::IPC_LOCK);
            set_capabilities(None, mine).unwrap();
            // Enough for the queues, which newer kernels count too, and not for the buffer.
            let bytes = Some(u64_of(URING_BUFFER_BYTES / 2));
            setrlimit(Resource::Memlock, Rlimit { current: bytes, maximum: bytes }).unwrap();
            let (disk, report) = system_disk(IoChoice::Uring, &folder).unwrap();
            let file = disk.create_log(&folder.join("log")).unwrap();
            file.write_and_sync(0, &pages(300, 3)).unwrap();
            report
        }
    });
    let report = limited.join().unwrap();
    assert!(read_plain(&folder.path().join("log")) == pages(300, 3));
    let words = report.to_string();
    let IoReport::Uring(found) = report else { panic!("{words}") };
    assert!(found.buffer_not_registered.is_some(), "{found:?}");
    assert!(words.contains("see RLIMIT_MEMLOCK"), "{words}");
}

fn read_plain(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn io_uring_is_used_on_demand_alone_and_a_demand_that_cannot_be_met_is_refused() {
    let nothing_can_be_made_here = Path::new("/proc/self");
    let cases = [(IoChoice::Auto, PlainReason::Measured), (IoChoice::Plain, PlainReason::Wanted)];
    for (choice, reason) in cases {
        let (_, report) = system_disk(choice, nothing_can_be_made_here).unwrap();
        assert_eq!(report, IoReport::Plain(reason));
    }
    assert!(system_disk(IoChoice::Uring, nothing_can_be_made_here).is_err());
}

/// The kernel must not flush what it could not write, and say of it that it is flushed.
#[test]
fn the_flush_waits_for_its_write_and_is_not_made_if_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log"), "").unwrap();
    for (name, disk) in disks(folder.path()) {
        let only_read = File::open(folder.path().join("log")).unwrap();
        let mut ring = disk.ring.lock();
        // Not the registered file, which is none yet.
        ring.is_file_registered = false;
        let answers = ring.submit(&only_read, 0, &pages(1, 1), Piece::Last).unwrap();
        assert_eq!(answers.write, Some(-libc::EBADF), "{name}");
        assert_eq!(answers.flush, Some(-libc::ECANCELED), "{name}");
    }
}

/// tmpfs takes O_DIRECT since Linux 6.6 only; both answers are good, a refusal is told.
#[test]
fn without_direct_writes_the_ring_writes_through_the_page_cache() {
    let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
    let Ok((disk, found)) = UringDisk::probe(folder.path(), UringWish::ALL) else { return };
    assert_eq!(found.not_direct.is_some(), disk.caching == Caching::Buffered, "{found}");
    let file = disk.create_log(&folder.path().join("log")).unwrap();
    file.write_and_sync(0, &pages(2, 5)).unwrap();
    assert!(read_plain(&folder.path().join("log")) == pages(2, 5));
}
