//! Fills an account with many small messages, for measuring what a large store costs.
//!
//! ```text
//! fill DIR ACCOUNT COUNT [--mailbox NAME] [--copies N] [--key FILE] [--abort]
//! ```
//!
//! Messages of about 600 bytes enter through the engine, each parsed, compressed and sealed on one
//! of two threads, 200 in a commit. With `--copies N` the first N of them are then copied until the
//! mailbox has COUNT. With `--abort` the process ends as by kill -9 once all are acknowledged, so
//! that the log holds what no checkpoint has. One line a 100,000 messages; the last says the rate.

#![allow(missing_docs, reason = "a program")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use engine::flags::FlagList;
use engine::ids::{Uid, UnixSeconds};
use engine::uid_set::UidSet;
use engine::{KeySource, Mailbox, NewMessage, OpenOptions, Store};

/// Messages in one commit.
const BATCH: u32 = 200;
/// Messages that one COPY takes.
const COPIED_AT_ONCE: u32 = 50_000;

struct Order {
    directory: PathBuf,
    key: PathBuf,
    account: String,
    count: u32,
    mailbox: String,
    copies: Option<u32>,
    abort: bool,
}

impl Order {
    fn read() -> Option<Order> {
        let mut arguments = std::env::args().skip(1);
        let directory = PathBuf::from(arguments.next()?);
        let mut key = directory.clone().into_os_string();
        key.push(".key");
        let mut order = Order {
            key: PathBuf::from(key),
            directory,
            account: arguments.next()?,
            count: arguments.next()?.parse().ok()?,
            mailbox: "INBOX".into(),
            copies: None,
            abort: false,
        };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--mailbox" => order.mailbox = arguments.next()?,
                "--copies" => order.copies = Some(arguments.next()?.parse().ok()?),
                "--key" => order.key = PathBuf::from(arguments.next()?),
                "--abort" => order.abort = true,
                _ => return None,
            }
        }
        Some(order)
    }
}

fn main() {
    let Some(order) = Order::read() else {
        eprintln!("fill DIR ACCOUNT COUNT [--mailbox NAME] [--copies N] [--key FILE] [--abort]");
        std::process::exit(2);
    };
    let options = OpenOptions::new(KeySource::KeyFile(order.key.clone()));
    let (store, report) = Store::open(&order.directory, options).expect("the store opens");
    println!("opened in {:?}: {report:?}", report.elapsed);
    let account = store.account(&order.account).expect("a read").expect("the account is there");
    if account.mailbox(&order.mailbox).expect("a read").is_none() {
        account.create_mailbox(&order.mailbox, None).wait().expect("a mailbox");
    }
    let mailbox = account.mailbox(&order.mailbox).expect("a read").expect("it was just made");

    let begin = Instant::now();
    let first = order.copies.unwrap_or(order.count).min(order.count);
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| append(&store, &mailbox, account.number(), first, &done));
        }
    });
    copy(&mailbox, order.count);
    let seconds = begin.elapsed().as_secs_f64();
    let status = store.status();
    println!(
        "{} messages in {seconds:.1} s, {:.0} a second, {} MiB of log, {} flushes",
        order.count,
        f64::from(order.count) / seconds,
        status.log_bytes >> 20,
        status.flush_count
    );
    if order.abort {
        std::process::abort();
    }
    store.close();
}

fn append(
    store: &Store,
    mailbox: &Mailbox,
    account: engine::ids::AccountNumber,
    count: u32,
    done: &AtomicU32,
) {
    loop {
        let first = done.fetch_add(BATCH, Ordering::Relaxed);
        if first >= count {
            return;
        }
        let messages = (first..count.min(first + BATCH)).map(|number| NewMessage {
            prepared: store.prepare(&small_mail(number), &[account]).expect("it is small"),
            flags: FlagList::default(),
            received: UnixSeconds(1_700_000_000 + i64::from(number)),
        });
        mailbox.append(messages.collect()).wait().expect("an append");
        if first.is_multiple_of(100_000) {
            println!("{first}");
        }
    }
}

fn copy(mailbox: &Mailbox, count: u32) {
    let mut present = mailbox.view().expect("a read").expect("a view").message_count();
    while present < count {
        let more = present.min(count - present).min(COPIED_AT_ONCE);
        let uids: UidSet = (1..=more).map(Uid).collect();
        mailbox.copy(&uids, mailbox).wait().expect("a copy");
        present += more;
    }
}

fn small_mail(number: u32) -> Vec<u8> {
    let minute = number / 60 % 60;
    format!(
        "Return-Path: <sender{}@example.org>\r\n\
         Received: from a.example.org by mail.example.org with LMTP id {number:x}\r\n\
         From: Sender {} <sender{}@example.org>\r\nTo: reader@example.org\r\n\
         Subject: Message number {number} of many\r\n\
         Date: Tue, 3 Mar 2026 10:{minute:02}:{:02} +0000\r\n\
         Message-ID: <{number}.fill@example.org>\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\n\r\n\
         This is message {number}. It is short, as most are, and says little:\r\n\
         {} {} {}\r\n",
        number % 997,
        number % 997,
        number % 997,
        number % 60,
        number.wrapping_mul(2_654_435_761),
        number.wrapping_mul(40_503),
        number.wrapping_mul(97),
    )
    .into_bytes()
}
