//! Question: does what others have in a store cost who searches, and what do many accounts cost the
//! index? Dataset: one account of `LARGE` (10,000) messages of the corpus (`PILLARBOX_CORPUS`;
//! generated mail without it) and one of 35, alone and beside `ACCOUNTS` (10,000) more of 20 to 50
//! messages. Unit: microseconds of CPU and of time a search (mean; median and 99th percentile of
//! `SEARCHES`, 100), MiB of memory, seconds to open, files.
//!
//! A search asks the index and reads every message that it leaves open, as IMAP does; a small
//! account has no index, so all of it is read.

#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "figures for people; a bench may fail loudly"
)]

mod dataset;
mod measured;

use std::time::{Duration, Instant};

use engine::flags::FlagList;
use engine::ids::{Uid, UnixSeconds};
use engine::message::text::{SearchText, fold};
use engine::seal::Secret;
use engine::search::{Needle, Scope, Verdict};
use engine::{Account, NewAccount, NewMessage, Store};

use crate::measured::{corpus, number_of, resident_kib, worked};

const LARGE: &str = "large@example.org";
const SMALL: &str = "small@example.org";

fn make_account(store: &Store, name: &str) -> Account {
    let (new, password) = (name.to_owned(), Secret::new("x".into()));
    store.create_account(NewAccount { name: new, password, quota_bytes: None }).expect("made");
    store.account(name).expect("a read").expect("it is there")
}

fn fill<'m>(store: &Store, account: &Account, messages: impl Iterator<Item = &'m Vec<u8>>) {
    let inbox = account.mailbox("INBOX").expect("a read").expect("INBOX is there");
    let messages: Vec<&Vec<u8>> = messages.collect();
    let tickets = messages.chunks(100).map(|batch| {
        let new = batch.iter().map(|message| NewMessage {
            prepared: store.prepare(message, &[account.number()]).expect("prepared"),
            flags: FlagList::default(),
            received: UnixSeconds(7),
        });
        inbox.append(new.collect())
    });
    tickets.for_each(|ticket| drop(ticket.wait().expect("an append")));
}

/// Messages that contain a needle.
fn search(account: &Account, needle: &Needle) -> usize {
    let inbox = account.mailbox("INBOX").expect("a read").expect("INBOX is there");
    let view = inbox.view().expect("a read").expect("a view");
    let answer = account.find_text(needle).expect("an answer");
    let mut found = 0;
    for row in view.rows_from(Uid(1), usize::MAX >> 1).expect("a read") {
        found += usize::from(match answer.verdict(row.blob) {
            Verdict::Contains => true,
            Verdict::Lacks => false,
            Verdict::Ask => {
                let structure = account.summary(&row).expect("a read").structure_tree();
                let bytes = account.message(&row).and_then(|mut message| message.read_all());
                let text = SearchText::new(&bytes.expect("a read"), &structure);
                match needle.scope {
                    Scope::Body => text.body_contains(&needle.text),
                    _ => text.text_contains(&needle.text),
                }
            }
        });
    }
    found
}

fn measure(store: &Store, when: &str) {
    for name in [SMALL, LARGE] {
        let account = store.account(name).expect("a read").expect("it is there");
        for text in ["17x", "the", "ormatio"] {
            let needle = Needle { text: fold(text), scope: Scope::Text, reads_addresses: false };
            let (count, mut wall, mut found) = (number_of("SEARCHES", 100), Vec::new(), 0);
            let begun = worked();
            for _ in 0..count {
                let at = Instant::now();
                found = search(&account, &needle);
                wall.push(at.elapsed().as_micros());
            }
            // The system counts in ticks, which a search is shorter than.
            let cpu = (worked() - begun) / 1000 / count as u64;
            wall.sort_unstable();
            println!(
                "{when}, {name}, {text:?}: {found} found, CPU {cpu} µs each, time p50 {} p99 {} µs",
                wall[count / 2],
                wall[count * 99 / 100]
            );
        }
    }
}

/// What an open store takes.
fn figures(site: &dataset::Site, when: &str) {
    let status = site.store.index_status();
    println!(
        "{when}: {} MiB resident, {} files of the index with {} messages, {} outside, {} behind",
        resident_kib() >> 10,
        site.index_files(),
        status.figures.indexed_count,
        status.waiting_count,
        status.behind_count,
    );
}

fn reopened(site: dataset::Site, when: &str) -> dataset::Site {
    let (begun, at) = (worked(), Instant::now());
    let site = site.reopen();
    println!(
        "{when}: closed and opened in {:.2} s, {:.2} s of CPU of that thread",
        at.elapsed().as_secs_f64(),
        (worked() - begun) as f64 / 1e9
    );
    site
}

fn main() {
    let site = dataset::Site::new();
    let messages = corpus(number_of("LARGE", 10_000));
    fill(&site.store, &make_account(&site.store, LARGE), messages.iter());
    fill(&site.store, &make_account(&site.store, SMALL), messages.iter().skip(100).take(35));
    let is_settled = |site: &dataset::Site| site.store.index_status().behind_count == 0;
    let settle = |site: &dataset::Site| {
        while !is_settled(site) {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(1));
    };
    settle(&site);
    figures(&site, "alone");
    measure(&site.store, "alone");
    let site = reopened(site, "alone");
    settle(&site);
    figures(&site, "alone, opened");

    let count = number_of("ACCOUNTS", 10_000);
    let (begun, mut next) = (Instant::now(), messages.iter().cycle());
    for number in 0..count {
        let account = make_account(&site.store, &format!("a{number}@example.org"));
        fill(&site.store, &account, next.by_ref().take(20 + number % 31));
    }
    println!("{count} accounts filled in {:.0} s", begun.elapsed().as_secs_f64());
    settle(&site);
    figures(&site, "beside many");
    measure(&site.store, "beside many");
    let site = reopened(site, "beside many");
    figures(&site, "beside many, opened");
    settle(&site);
    measure(&site.store, "beside many, opened");
    for number in (0..count).step_by(10) {
        let name = format!("a{number}@example.org");
        let account = site.store.account(&name).expect("a read").expect("it is there");
        let needle = Needle { text: "the".into(), scope: Scope::Text, reads_addresses: false };
        search(&account, &needle);
    }
    figures(&site, "after a search in each tenth of them");
    measure(&site.store, "after that");
    site.store.close();
}
