//! Question: how many durable commits a second, by the number of concurrent writers; and how fast
//! is the log below them? Dataset: a message of 300 bytes, prepared anew for each commit, from 1,
//! 16 and 256 threads that each wait for their answer; groups of one record and one chunk of 4 KiB
//! and 1 MiB for the log alone. Unit: time a commit (the inverse of commits a second).
//!
//! What is measured is mostly the disk's flush, and how many commits share one.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::disk::{PlainDisk, SystemClock};
use engine::ids::{AccountNumber, BlobTag, KeyTableVersion, Lsn, VolumeId};
use engine::limits::SEGMENT_BYTES;
use engine::log::{
    BuiltGroup, ChainEnd, ChunkHeader, GroupBuilder, GroupHash, GroupStamp, LogSetup, LogWriter,
    RecordHeader, Role, ZerosAhead,
};

const TINY: &[u8] =
    b"From: ann@example.org\r\nTo: bench@example.org\r\nSubject: tiny\r\n\r\nhello\r\n";

fn commits(criterion: &mut Criterion) {
    let site = dataset::Site::new();
    let mut group = criterion.benchmark_group("commits, concurrent");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.measurement_time(Duration::from_secs(8));
    for writers in [1, 16, 256] {
        let before = site.store.status();
        group.bench_function(writers.to_string(), |bencher| {
            bencher.iter_custom(|count| commit_from_threads(&site, writers, count));
        });
        let after = site.store.status();
        let commits = after.change_count - before.change_count;
        let flushes = after.flush_count - before.flush_count;
        println!("  {flushes} flushes for {commits} commits of {writers} writers");
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

fn groups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log alone, one flush a group");
    group.sample_size(10).measurement_time(Duration::from_secs(4));
    for (label, bytes) in [("4 KiB", 4usize << 10), ("1 MiB", 1 << 20)] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let begin = Lsn::new(1, 0).expect("a position");
        let end = ChainEnd { last_lsn: begin, hash: GroupHash::NONE, durable_lsn: begin };
        let mut writer = LogWriter::create(setup(folder.path()), end).expect("a log");
        let chunk = vec![7; bytes];
        group.throughput(Throughput::Bytes(bytes.try_into().expect("a small number")));
        group.bench_function(label, |bencher| {
            bencher.iter(|| {
                let built = group_of(writer.end(), &chunk);
                writer.append(std::slice::from_ref(&built)).expect("the disk takes it")
            });
        });
    }
}

fn setup(directory: &std::path::Path) -> LogSetup {
    let disk = Arc::new(PlainDisk);
    LogSetup {
        zeros: ZerosAhead::for_directory(disk.as_ref(), directory).expect("statfs"),
        disk,
        clock: Arc::new(SystemClock::new()),
        incarnation: Arc::new(|| [9; 16]),
        directory: directory.to_path_buf(),
        volume: VolumeId([7; 16]),
        segment_bytes: SEGMENT_BYTES,
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

criterion_group!(benches, commits, groups);
criterion_main!(benches);
