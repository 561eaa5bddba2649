//! How long do the usual ways to read a mailbox of 10,000 messages (2 KB to 20 KB each) take? In
//! ms and MB/s of one connection over memory, the second time, so that caches are warm; printed,
//! not judged. `cargo test --release -p pillarbox-imap --test server pace -- --ignored --nocapture`

use std::time::Instant;

use engine::NewMessage;
use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, USER, open_store};

const MESSAGE_COUNT: usize = 10_000;
const APPENDED_TOGETHER: usize = 500;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn pace_of_fetch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let account = store.account(USER).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let mut generator = Generator::new(1);
    for _ in 0..MESSAGE_COUNT / APPENDED_TOGETHER {
        let new = |size: usize| {
            let message = generator.message(2_000 + size * 36);
            let prepared = store.prepare(&message, &[account.number()]).unwrap();
            NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1) }
        };
        inbox.append((0..APPENDED_TOGETHER).map(new).collect()).wait().unwrap();
    }
    store.checkpoint();
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 18));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    for command in [
        "FETCH 1:* (FLAGS UID)",
        "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
        "FETCH 1:* ENVELOPE",
        "FETCH 1:* BODYSTRUCTURE",
        "FETCH 1:* BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)]",
        "FETCH 1:* BODY.PEEK[HEADER]",
        "FETCH 1:* BODY.PEEK[]",
        "SEARCH UNSEEN",
        "SEARCH SUBJECT harbour",
        "SEARCH TEXT harbour",
    ] {
        for round in ["cold", "warm"] {
            let begun = Instant::now();
            let bytes = client.drain(command).await;
            let seconds = begun.elapsed().as_secs_f64();
            let (ms, rate) = (seconds * 1e3, bytes as f64 / 1e6 / seconds);
            println!("{round} {ms:9.1} ms {bytes:11} bytes {rate:8.1} MB/s  {command}");
        }
    }
}
