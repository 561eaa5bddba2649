//! What is told from summary pages is what the messages themselves would tell.

use std::path::Path;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use engine::seal::Argon2Cost;
use engine::{KeySource, OpenOptions, Store};
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

/// Two full runs of UIDs, and some that may still grow.
const MESSAGES: u64 = 300;
const ASKED: [&str; 7] = [
    "FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)",
    "FETCH 1:* (BODY BODY.PEEK[HEADER.FIELDS (SUBJECT FROM DATE)])",
    "SORT (SUBJECT DATE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "SEARCH HEADER SUBJECT e",
    "FETCH 1:* (PREVIEW)",
    "FETCH 7 (ENVELOPE)",
];

fn reopen(folder: &Path) -> Store {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("data.key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    Store::open(&folder.join("data"), options).unwrap().0
}

async fn answers(store: &Store) -> Vec<Vec<String>> {
    let config = Config::new(Limits::default(), "test".into(), None, true);
    let served = Served::new(store.clone(), config);
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("EXAMINE INBOX").await;
    let mut answers = Vec::new();
    for command in ASKED {
        answers.push(client.ok(command).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_tell_what_messages_tell() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let mut generator = Generator::new(5);
    for _ in 0..MESSAGES {
        deliver(&store, &generator.message(2000), FlagList::default(), UnixSeconds(1));
    }
    let before = answers(&store).await;
    store.close();
    drop(store);
    let store = reopen(folder.path());
    let after = answers(&store).await;
    for ((command, before), after) in ASKED.iter().zip(before).zip(after) {
        assert_eq!(before, after, "{command}");
    }
    let opened = store.opened();
    assert_eq!(opened.summary_page_count, 2, "{opened:?}");
    // Previews, and the run that may still grow.
    assert!(opened.summary_count <= MESSAGES, "{opened:?}");
    store.close();
}
