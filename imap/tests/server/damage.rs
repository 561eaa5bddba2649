//! Mail whose bytes on disk were changed: left out where nothing of it was told yet, cut short
//! where its length was; never sent, and never in the way of other mail.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use engine::message::generator::Generator;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

/// The one segment of a new store, and how much of it is written.
fn segment(folder: &Path) -> (PathBuf, u64) {
    let log = folder.join("data/volumes/main/log");
    let path = std::fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&path).unwrap();
    (path, bytes.iter().rposition(|&byte| byte != 0).unwrap() as u64)
}

/// The fullest page of those that were written between two ends of the segment: the first of a
/// message, and not a group that says how far commits are known, which comes when it likes.
fn fullest_page(path: &Path, from: u64, to: u64) -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let bytes = std::fs::read(path).unwrap();
    let fullness = |page: &u64| {
        let page = &bytes[*page as usize..][..PAGE_BYTES as usize];
        page.iter().filter(|&&byte| byte != 0).count()
    };
    let first = from.next_multiple_of(PAGE_BYTES);
    (first..to).step_by(PAGE_BYTES as usize).max_by_key(fullness).unwrap()
}

fn flip(path: &Path, offset: u64) {
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_another_account_that_fails_half_way_leaves_nothing_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    // The first batch is copied, the second has a message that cannot be read.
    for number in 0..260 {
        let message = format!("Subject: {number}\r\n\r\nbody\r\n");
        deliver(&store, message.as_bytes(), FlagList::default(), UnixSeconds(1));
    }
    let before = segment(folder.path()).1;
    deliver(&store, &Generator::new(3).message(9_000), FlagList::default(), UnixSeconds(1));
    // 700 bytes on lies what the message is read from first.
    let (path, after) = segment(folder.path());
    flip(&path, fullest_page(&path, before, after) + 700);

    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut anna = Client::new(served.connect(Transport::Plain, 1 << 16));
    anna.log_in_as("anna@example.org").await;
    anna.ok("CREATE In").await;
    anna.ok("SETACL In demo@example.org lrswi").await;
    let mut demo = Client::new(served.connect(Transport::Plain, 1 << 16));
    demo.log_in().await;
    demo.ok("SELECT INBOX").await;
    let there = "\"Other Users/anna@example.org/In\"";
    for command in ["COPY", "MOVE"] {
        let answer = demo.answer(&format!("{command} 1:* {there}")).await;
        assert!(answer.starts_with("NO [SERVERBUG]"), "{command}: {answer}");
        let found = anna.ok("STATUS In (MESSAGES)").await;
        assert_eq!(found, ["* STATUS \"In\" (MESSAGES 0)"], "{command}");
    }
    let answer = demo.answer(&format!("COPY 1:260 {there}")).await;
    assert!(answer.contains(" 1:260 1:260]"), "the first batch was never there: {answer}");
    let mine = demo.ok("STATUS INBOX (MESSAGES)").await;
    assert!(mine.contains(&"* STATUS \"INBOX\" (MESSAGES 261)".to_owned()), "{mine:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_message_is_left_out_or_cut_short_and_the_others_are_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let mut generator = Generator::new(3);
    let messages = [9_000, 9_000, 9_000, 900_000].map(|size| generator.message(size));
    let mut ends = Vec::new();
    for message in &messages {
        deliver(&store, message, FlagList::default(), UnixSeconds(1));
        ends.push(segment(folder.path()).1);
    }
    let (path, _) = segment(folder.path());
    flip(&path, fullest_page(&path, ends[0], ends[1]) + 700);
    // Behind the middle: in a chunk whose beginning comes after the first that is sent.
    flip(&path, ends[2] + (ends[3] - ends[2]) / 8 * 7);

    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let (stream, serving) = served.connect_watched(Transport::Plain, 1 << 16);
    let mut client = Client::new(stream);
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    client.send(b"a FETCH 1:3 (UID BODY.PEEK[])\r\n").await;
    for number in [1, 3] {
        let message = &messages[number - 1];
        let head = format!("* {number} FETCH (UID {number} BODY[] {{{}}}", message.len());
        assert_eq!(client.line().await, Some(head));
        assert!(client.bytes(message.len()).await == *message, "{number}");
        assert_eq!(client.line().await.as_deref(), Some(")"));
    }
    let answer = client.line().await.unwrap();
    assert!(answer.starts_with("a NO [SERVERBUG]"), "{answer}");

    client.send(b"b FETCH 4 BODY.PEEK[]\r\n").await;
    let head = format!("* 4 FETCH (BODY[] {{{}}}", messages[3].len());
    assert_eq!(client.line().await, Some(head));
    let begin = client.rest().await;
    serving.await.expect("a connection that cannot keep its word ends");
    assert!(begin.len() < messages[3].len() && messages[3].starts_with(&begin));
}
