//! Question: does the indexer slow a delivery, and how far does it fall behind? Dataset: mail of
//! the corpus (`PILLARBOX_CORPUS`; generated mail without it), one sender, one account. Unit:
//! ratios with the indexer at work over with it paused; messages and seconds that it is behind.
//!
//! The machine may be busy and its clock drift: blocks of `BLOCK` (150) deliveries are taken in
//! turn with the indexer paused and at work (ABBA), each pair of neighbours gives a ratio, and the
//! median of `PAIRS` (80) ratios is given with its confidence interval of 95 %. What is compared:
//! the sender's CPU, the committer's CPU, the time of preparing (which waits for nothing), and the
//! median time from bytes to durable. Point `TMPDIR` at memory for times without a flush.
//!
//! Then deliveries without a break for `FLOOD` (20) seconds by `SENDERS` (2) threads, each second a
//! line.

#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "figures for people; a bench may fail loudly"
)]

mod dataset;
mod measured;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::measured::{corpus, median, median_between, number_of, resident_kib, worked, worked_by};

/// Messages that it may be behind when a pair of blocks begins: its rest is shortened by a tenth at
/// most then.
const BEHIND_MAX: u64 = 1600;

/// What a block of deliveries cost, a delivery.
struct Cost {
    sender_cpu: f64,
    committer_cpu: f64,
    prepare: f64,
    whole: f64,
}

fn deliver(site: &dataset::Site, message: &[u8]) -> (f64, f64) {
    let account = site.account().number();
    let at = Instant::now();
    let prepared = site.store.prepare(message, &[account]).expect("it can be prepared");
    let prepare = at.elapsed();
    let answers = site.store.deliver(prepared, dataset::RECEIVED, site.recipient()).wait();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    (prepare.as_secs_f64(), at.elapsed().as_secs_f64())
}

fn block<'m>(site: &dataset::Site, messages: impl Iterator<Item = &'m Vec<u8>>) -> Cost {
    let before = (worked(), worked_by("committer"));
    let times: Vec<(f64, f64)> = messages.map(|message| deliver(site, message)).collect();
    let count = times.len() as f64;
    Cost {
        sender_cpu: (worked() - before.0) as f64 / count,
        committer_cpu: (worked_by("committer") - before.1) as f64 / count,
        prepare: median(&times.iter().map(|time| time.0).collect::<Vec<_>>()),
        whole: median(&times.iter().map(|time| time.1).collect::<Vec<_>>()),
    }
}

/// What is asked is about its usual pace: it hurries when it is far behind.
fn catch_up(site: &dataset::Site) {
    if site.store.index_status().behind_count > BEHIND_MAX {
        site.store.pause_indexing(false);
        while site.store.index_status().behind_count > BEHIND_MAX / 2 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn compare(site: &dataset::Site, messages: &[Vec<u8>]) {
    let (size, pairs) = (number_of("BLOCK", 150), number_of("PAIRS", 80));
    let mut next = messages.iter().cycle();
    let mut take = |paused: bool| {
        site.store.pause_indexing(paused);
        // Until it is in the middle of something, or has left off.
        std::thread::sleep(Duration::from_millis(30));
        block(site, next.by_ref().take(size))
    };
    // So that there is something to index, and caches are warm.
    for _ in 0..6 {
        take(true);
    }
    let (mut ratios, mut paused) = (Vec::new(), Vec::new());
    let begun = (worked_by("indexer"), Instant::now());
    for pair in 0..pairs {
        catch_up(site);
        let (with, without) = match pair % 2 {
            0 => (take(false), take(true)),
            _ => {
                let without = take(true);
                (take(false), without)
            }
        };
        ratios.push([
            with.sender_cpu / without.sender_cpu,
            with.committer_cpu / without.committer_cpu,
            with.prepare / without.prepare,
            with.whole / without.whole,
        ]);
        paused.push(without);
    }
    let share = (worked_by("indexer") - begun.0) as f64 / begun.1.elapsed().as_nanos() as f64;
    let of = |value: fn(&Cost) -> f64| median(&paused.iter().map(value).collect::<Vec<_>>());
    println!(
        "paused, a delivery: {:.0} µs of the sender's CPU, {:.0} of the committer's, {:.0} µs to \
         prepare, {:.0} to be durable",
        of(|cost| cost.sender_cpu) / 1e3,
        of(|cost| cost.committer_cpu) / 1e3,
        of(|cost| cost.prepare) * 1e6,
        of(|cost| cost.whole) * 1e6,
    );
    let names = ["sender's CPU", "committer's CPU", "preparing", "durable"];
    for (at, name) in names.into_iter().enumerate() {
        let (low, middle, high) =
            median_between(&ratios.iter().map(|ratio| ratio[at]).collect::<Vec<_>>());
        println!("with the indexer, {name}: {middle:.3} times [{low:.3}, {high:.3}]");
    }
    let status = site.store.index_status();
    println!(
        "it worked {:.1} % of the whole time, indexed {} messages and is {} behind",
        share * 100.0,
        status.made_count,
        status.behind_count
    );
}

fn flood(site: &dataset::Site, messages: &[Vec<u8>]) {
    let (seconds, senders) = (number_of("FLOOD", 20), number_of("SENDERS", 2));
    let (over, next) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..senders {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed) % messages.len();
                    deliver(site, &messages[number]);
                }
            });
        }
        let mut before = (next.load(Ordering::Relaxed), worked_by("indexer"));
        for second in 1..=seconds {
            std::thread::sleep(Duration::from_secs(1));
            let now = (next.load(Ordering::Relaxed), worked_by("indexer"));
            let status = site.store.index_status();
            println!(
                "{second} s: {} delivered, indexer {:.0} % of a core, {} messages behind ({} MB, \
                 {:.1} s), {} MB resident",
                now.0 - before.0,
                (now.1 - before.1) as f64 / 1e7,
                status.behind_count,
                status.behind_bytes >> 20,
                status.behind_for.as_secs_f64(),
                resident_kib() >> 10,
            );
            before = now;
        }
        over.store(true, Ordering::Relaxed);
    });
    let at = Instant::now();
    while site.store.index_status().behind_count > 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!("it has caught up after {:.1} s", at.elapsed().as_secs_f64());
}

fn main() {
    let site = dataset::Site::new();
    let messages = corpus(number_of("MESSAGES", 20_000));
    compare(&site, &messages);
    site.store.pause_indexing(false);
    flood(&site, &messages);
    site.store.close();
}
