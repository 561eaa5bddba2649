//! Question: what does one delivery cost from raw bytes to durable, and how much of it is
//! preparing (parse, compress, hash, seal)? Dataset: 64 generated messages of about 4 KB and 20 KB,
//! one recipient, one caller. Unit: time a message, and bytes of mail a second.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn deliveries(criterion: &mut Criterion) {
    let site = dataset::Site::new();
    let account = site.account().number();
    for (label, bytes) in [("4 KB", 4_000), ("20 KB", 20_000)] {
        let mail = dataset::mail(bytes);
        let mut group = criterion.benchmark_group(format!("delivery of {label}"));
        group.throughput(Throughput::Bytes(dataset::mean_bytes(&mail)));
        group.sample_size(20).measurement_time(Duration::from_secs(6));
        let mut next = mail.iter().cycle();
        group.bench_function("prepare", |bencher| {
            bencher.iter(|| {
                let message = next.next().expect("a cycle does not end");
                site.store.prepare(message, &[account]).expect("it can be prepared")
            });
        });
        group.bench_function("prepare and commit", |bencher| {
            bencher.iter(|| {
                let message = next.next().expect("a cycle does not end");
                let prepared = site.store.prepare(message, &[account]).expect("prepared");
                let answers =
                    site.store.deliver(prepared, dataset::RECEIVED, site.recipient()).wait();
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
            });
        });
    }
}

criterion_group!(benches, deliveries);
criterion_main!(benches);
