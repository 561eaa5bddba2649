//! Question: what does parsing a message cost, once, when it comes in; and reading the stored
//! summary: as a tree, checked where it lies, and then for what FETCH and SORT ask? Dataset: 64
//! generated messages of about 4 KB, 20 KB and 200 KB. Unit: time a message, and bytes of mail a
//! second.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use engine::message::{KindRef, PartsRef, StoredSummary, Summary};

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
    criterion.bench_function("StoredSummary::of", |bencher| {
        bencher.iter(|| StoredSummary::of(next.next().expect("a cycle does not end")));
    });
    let checked: Vec<StoredSummary> =
        encoded.iter().map(|bytes| StoredSummary::of(bytes).expect("it was encoded")).collect();
    let mut next = checked.iter().cycle();
    criterion.bench_function("ENVELOPE and BODYSTRUCTURE, read where they lie", |bencher| {
        bencher.iter(|| {
            let summary = next.next().expect("a cycle does not end");
            let addresses = summary.envelope().addresses();
            let lists = [addresses.from, addresses.sender, addresses.reply_to];
            let more = [addresses.to, addresses.cc, addresses.bcc];
            let addresses = lists.into_iter().chain(more).flatten().count();
            addresses + count_parts(&mut summary.structure(), 0)
        });
    });
    criterion.bench_function("base subject and date, read where they lie", |bencher| {
        bencher.iter(|| {
            let summary = next.next().expect("a cycle does not end");
            (summary.base_subject().len(), summary.sent())
        });
    });
}

fn count_parts(parts: &mut PartsRef<'_>, parent_body_offset: u32) -> usize {
    let part = parts.next_part(parent_body_offset).expect("there is one");
    let inside = match part.kind {
        KindRef::Leaf => 0,
        KindRef::Message(_) => 1,
        KindRef::Multipart(count) => count,
    };
    1 + (0..inside).map(|_| count_parts(parts, part.body_offset)).sum::<usize>()
}

criterion_group!(benches, parsing, stored);
criterion_main!(benches);
