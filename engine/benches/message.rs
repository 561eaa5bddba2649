//! Question: what does parsing a message cost, once, when it comes in; and reading the stored
//! summary back? Dataset: 64 generated messages of about 4 KB, 20 KB and 200 KB. Unit: time a
//! message, and bytes of mail a second.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::message::Summary;

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("Summary::parse");
    for (label, bytes) in [("4 KB", 4_000), ("20 KB", 20_000), ("200 KB", 200_000)] {
        let mail = dataset::mail(bytes);
        group.throughput(Throughput::Bytes(dataset::mean_bytes(&mail)));
        let mut next = mail.iter().cycle();
        group.bench_function(label, |bencher| {
            bencher.iter(|| Summary::parse(next.next().expect("a cycle does not end")));
        });
    }
}

fn stored(criterion: &mut Criterion) {
    let mail = dataset::mail(4_000);
    let encoded: Vec<Vec<u8>> =
        mail.iter().map(|message| Summary::parse(message).encode()).collect();
    let mut next = encoded.iter().cycle();
    criterion.bench_function("Summary::decode", |bencher| {
        bencher.iter(|| Summary::decode(next.next().expect("a cycle does not end")));
    });
}

criterion_group!(benches, parsing, stored);
criterion_main!(benches);
