//! Question: how long until a mailbox of a million messages can be answered from, cold (nothing in
//! our caches, the system's page cache warm) and warm; and what do FETCH of flags, envelopes and
//! bodies cost below the protocol? Dataset: INBOX of 1,000,000 messages, copies of 1,000 generated
//! ones of about 4 KB (`BENCH_MESSAGES` sets another number). Unit: time an operation; for FETCH,
//! messages a second.
//!
//! What SELECT needs: the view, UIDNEXT, counts, keywords, and the first unseen message.

#![allow(missing_docs, reason = "the macros of Criterion make public items")]

mod dataset;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dataset::Site;
use engine::Mailbox;
use engine::ids::Uid;
use engine::message::generator::Generator;

/// Messages that FETCH asks for at once.
const FETCHED: usize = 1_000;

fn message_count() -> u32 {
    let set = std::env::var("BENCH_MESSAGES").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(1_000_000)
}

fn benches(criterion: &mut Criterion) {
    let site = Site::new();
    let mut generator = Generator::new(20);
    let messages: Vec<_> = (0..FETCHED).map(|_| generator.message(4_000)).collect();
    site.append(&messages);
    site.grow(message_count());
    let site = opening(criterion, site.reopen());
    fetching(criterion, &site);
}

/// All that SELECT asks of the engine.
fn select(mailbox: &Mailbox) {
    let view = mailbox.view().expect("a read").expect("a view");
    black_box((view.uid_validity(), view.uid_next(), view.highest_modseq(), view.keywords().len()));
    black_box((view.message_count(), view.unseen_count()));
    black_box(view.first_unseen().expect("a read"));
}

fn opening(criterion: &mut Criterion, site: Site) -> Site {
    let mut site = Some(site);
    let mut group = criterion.benchmark_group(format!("mailbox of {}", message_count()));
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("cold", |bencher| {
        bencher.iter_custom(|count| {
            let mut elapsed = Duration::ZERO;
            // Each is a store that has just been opened, so a sample is at most three of them.
            let rounds = count.min(3);
            for _ in 0..rounds {
                let opened = site.take().expect("it is put back").reopen();
                let account = opened.account();
                let begin = Instant::now();
                select(&account.mailbox("INBOX").expect("a read").expect("INBOX is there"));
                elapsed += begin.elapsed();
                drop(account);
                site = Some(opened);
            }
            elapsed.mul_f64(f64_of(count) / f64_of(rounds))
        });
    });
    let site = site.expect("it was put back");
    let account = site.account();
    group.bench_function("warm", |bencher| {
        bencher.iter(|| select(&account.mailbox("INBOX").expect("a read").expect("INBOX")));
    });
    group.finish();
    drop(account);
    site
}

fn f64_of(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn fetching(criterion: &mut Criterion, site: &Site) {
    let account = site.account();
    let view = site.inbox().view().expect("a read").expect("a view");
    let mut group = criterion.benchmark_group("FETCH of 1000 messages");
    group.throughput(Throughput::Elements(FETCHED.try_into().expect("a small number")));
    group.sample_size(20).measurement_time(Duration::from_secs(5));
    group.bench_function("flags", |bencher| {
        bencher.iter(|| black_box(view.rows_from(Uid(1), FETCHED).expect("a read").len()));
    });
    let rows = view.rows_from(Uid(1), FETCHED).expect("a read");
    group.bench_function("envelopes, warm", |bencher| {
        bencher.iter(|| {
            for row in &rows {
                black_box(account.summary(row).expect("a read"));
            }
        });
    });
    group.bench_function("bodies", |bencher| {
        bencher.iter(|| {
            for row in &rows {
                let mut message = account.message(row).expect("a read");
                black_box(message.read_all().expect("a read"));
            }
        });
    });
}

criterion_group!(all, benches);
criterion_main!(all);
