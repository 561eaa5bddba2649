//! Question: how many durable commits a second, by the number of concurrent writers; and how fast
//! is the log below them; and does io_uring pay? Dataset: a message of 300 bytes, prepared anew for
//! each commit, from 1, 16 and 256 threads that each wait for their answer; groups of one record
//! and one chunk of 4 KiB and 1 MiB for the log alone; batches of 1, 16 and 256 pages for the disk
//! alone, onto flushed zeros. Unit: time a commit, a group, a batch.
//!
//! tokio-uring, which writes and flushes by two submissions, is there for comparison.
//!
//! What is measured is mostly the disk's flush, and how many commits share one.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::disk::{
    Caching, Disk, DiskFile, IoChoice, PlainDisk, Registration, SystemClock, UringDisk, UringWish,
};
use engine::ids::{AccountNumber, BlobTag, KeyTableVersion, Lsn, VolumeId};
use engine::limits::SEGMENT_BYTES;
use engine::log::{
    BuiltGroup, ChainEnd, ChunkHeader, FooterVersion, GroupBuilder, GroupHash, GroupStamp,
    LogSetup, LogWriter, RecordHeader, Role, ZerosAhead,
};
use engine::width::u64_of;

const TINY: &[u8] =
    b"From: ann@example.org\r\nTo: bench@example.org\r\nSubject: tiny\r\n\r\nhello\r\n";

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("commits, concurrent");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.measurement_time(Duration::from_secs(8));
    for (name, io) in [("plain", IoChoice::Plain), ("io_uring", IoChoice::Uring)] {
        let site = dataset::Site::with_io(io);
        for writers in [1, 16, 256] {
            let before = site.store.status();
            group.bench_function(format!("{name}, {writers}"), |bencher| {
                bencher.iter_custom(|count| commit_from_threads(&site, writers, count));
            });
            let after = site.store.status();
            let commits = after.change_count - before.change_count;
            let flushes = after.flush_count - before.flush_count;
            println!("  {flushes} flushes for {commits} commits of {writers} writers");
        }
    }
}

fn commit_from_threads(site: &dataset::Site, writers: u64, count: u64) -> Duration {
    let left = AtomicU64::new(count);
    let account = site.account().number();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..writers.min(count) {
            scope.spawn(|| {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, minus_one).is_ok() {
                    let prepared = site.store.prepare(TINY, &[account]).expect("it is small");
                    let ticket = site.store.deliver(prepared, dataset::RECEIVED, site.recipient());
                    ticket.wait().into_iter().for_each(|copy| drop(copy.expect("a delivery")));
                }
            });
        }
    });
    begin.elapsed()
}

fn minus_one(left: u64) -> Option<u64> {
    left.checked_sub(1)
}

/// The disks in a folder.
fn disks(folder: &Path) -> Vec<(&'static str, Arc<dyn Disk>)> {
    let wish = |caching, registration| {
        let disk = UringDisk::probe(folder, UringWish { caching, registration });
        Arc::new(disk.expect("io_uring works here").0)
    };
    vec![
        ("plain", Arc::new(PlainDisk)),
        ("io_uring", wish(Caching::Direct, Registration::Wanted)),
        ("io_uring, unregistered", wish(Caching::Direct, Registration::Unwanted)),
        ("io_uring, buffered", wish(Caching::Buffered, Registration::Wanted)),
    ]
}

fn groups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log alone, one flush a group");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    for (label, bytes) in [("4 KiB", 4usize << 10), ("1 MiB", 1 << 20)] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, disk) in disks(folder.path()) {
            let log = tempfile::tempdir_in(folder.path()).expect("a folder can be made");
            let begin = Lsn::new(1, 0).expect("a position");
            let end = ChainEnd { last_lsn: begin, hash: GroupHash::NONE, durable_lsn: begin };
            let mut writer = LogWriter::create(setup(disk, log.path()), end).expect("a log");
            let chunk = vec![7; bytes];
            group.throughput(Throughput::Bytes(bytes.try_into().expect("a small number")));
            group.bench_function(format!("{label}, {name}"), |bencher| {
                bencher.iter(|| {
                    let built = group_of(writer.end(), &chunk);
                    writer.append(std::slice::from_ref(&built)).expect("the disk takes it")
                });
            });
        }
    }
}

/// Bytes of a file that batches go around in.
const RING_BYTES: usize = 32 << 20;

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("disk alone, a batch written and flushed");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    let folder = tempfile::tempdir().expect("a folder can be made");
    for pages in [1_usize, 16, 256] {
        let batch = vec![7; pages * 4096];
        for (name, disk) in disks(folder.path()) {
            let path = folder.path().join(format!("{name} {pages}"));
            let file = zeroed(disk.as_ref(), &path);
            let mut at = 0;
            group.bench_function(format!("{pages} pages, {name}"), |bencher| {
                bencher.iter(|| {
                    at = (at + batch.len()) % RING_BYTES;
                    file.write_and_sync(u64_of(at), &batch).expect("the disk takes it");
                });
            });
        }
        let path = folder.path().join(format!("tokio-uring {pages}"));
        drop(zeroed(&PlainDisk, &path));
        group.bench_function(format!("{pages} pages, tokio-uring, buffered"), |bencher| {
            bencher.iter_custom(|count| with_tokio_uring(&path, &batch, count));
        });
    }
}

fn zeroed(disk: &dyn Disk, path: &Path) -> Box<dyn DiskFile> {
    let file = disk.create_log(path).expect("a file can be made");
    file.write_zeros(0, u64_of(RING_BYTES)).expect("the disk takes it");
    file.sync_data().expect("the disk takes it");
    file
}

fn with_tokio_uring(path: &Path, batch: &[u8], count: u64) -> Duration {
    tokio_uring::start(async {
        let mut options = tokio_uring::fs::OpenOptions::new();
        let file = options.write(true).open(path).await.expect("it is there");
        let mut bytes = batch.to_vec();
        let mut at = 0;
        let begin = Instant::now();
        for _ in 0..count {
            at = (at + batch.len()) % RING_BYTES;
            let (written, back) = file.write_all_at(bytes, u64_of(at)).await;
            written.expect("the disk takes it");
            bytes = back;
            file.sync_data().await.expect("the disk takes it");
        }
        begin.elapsed()
    })
}

fn setup(disk: Arc<dyn Disk>, directory: &Path) -> LogSetup {
    LogSetup {
        zeros: ZerosAhead::for_directory(disk.as_ref(), directory).expect("statfs"),
        disk,
        clock: Arc::new(SystemClock::new()),
        incarnation: Arc::new(|| [9; 16]),
        directory: directory.to_path_buf(),
        volume: VolumeId([7; 16]),
        segment_bytes: SEGMENT_BYTES,
        footer: Arc::new(|| FooterVersion::CountsChunks),
        role: Role::Primary,
        switched: Vec::new(),
    }
}

fn group_of(end: ChainEnd, chunk: &[u8]) -> BuiltGroup {
    let lsn = end.last_lsn.next().expect("positions are left");
    let mut builder = GroupBuilder::new();
    let hash = *blake3::hash(chunk).as_bytes();
    builder.push_chunk(&ChunkHeader { number: 1, lsn, tag: BlobTag([3; 16]), hash }, chunk);
    let record = RecordHeader { record_type: 4, account: AccountNumber(5), lsn, lsn_count: 1 };
    builder.push_record(&record, &[5; 200]);
    builder.finish(GroupStamp {
        flags: 0,
        volume: VolumeId([7; 16]),
        first_lsn: lsn,
        last_lsn: lsn,
        durable_lsn: end.durable_lsn,
        open_lsn: lsn.next().expect("positions are left"),
        key_version: KeyTableVersion(1),
        previous: end.hash,
    })
}

criterion_group!(benches, batches, groups, commits);
criterion_main!(benches);
