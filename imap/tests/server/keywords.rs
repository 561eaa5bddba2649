//! A mailbox with as many keywords as one may have: everything works and nothing takes the square
//! of their number.

use std::time::{Duration, Instant};

use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, open_store};

/// `engine::limits::MAILBOX_KEYWORDS_MAX` and `MESSAGE_KEYWORDS_MAX`.
const KEYWORDS: usize = 65_000;
const EACH: usize = 1000;
/// A command that looks at each keyword once takes milliseconds.
const AT_ONCE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_has_sixty_five_thousand_keywords() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let served =
        Served::new(store.clone(), Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 20));
    client.log_in().await;
    for _ in 0..KEYWORDS / EACH {
        client.ok("APPEND INBOX {3+}\r\na\r\n").await;
    }
    client.ok("SELECT INBOX").await;
    let begun = Instant::now();
    for message in 0..KEYWORDS / EACH {
        let names: Vec<String> =
            (message * EACH..(message + 1) * EACH).map(|number| format!("k{number}")).collect();
        client.ok(&format!("STORE {} +FLAGS.SILENT ({})", message + 1, names.join(" "))).await;
    }
    println!("{KEYWORDS} keywords are set in {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(60));

    let refused = client.answer("STORE 1 FLAGS (k0 one-more)").await;
    assert_eq!(refused, MAILBOX_FULL);
    let refused = client.answer("STORE 1 +FLAGS (k64999)").await;
    assert_eq!(refused, MESSAGE_FULL);
    let refused = client.answer("APPEND INBOX (one-more) {3+}\r\na\r\n").await;
    assert_eq!(refused, MAILBOX_FULL);

    let begun = Instant::now();
    let mut other = Client::new(served.connect(Transport::Plain, 1 << 20));
    other.log_in().await;
    let selected = other.ok("SELECT INBOX").await;
    for begin in ["* FLAGS (", "* OK [PERMANENTFLAGS ("] {
        let line = selected.iter().find(|line| line.starts_with(begin)).unwrap();
        assert!(line.contains(" k0 ") && line.contains(" k64999"), "{begin}");
        assert!(line.split(' ').count() > KEYWORDS, "{begin}");
    }
    let fetched = other.ok("FETCH 1:* (FLAGS)").await;
    assert_eq!(fetched.iter().map(|line| line.split(' ').count()).max(), Some(EACH + 4));
    assert_eq!(other.ok("SEARCH KEYWORD K64999").await, ["* SEARCH 65"]);
    assert_eq!(other.ok("SEARCH UNKEYWORD k5 NOT KEYWORD k1000").await.len(), 1);
    println!("they are read in {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE);

    // What a message has goes with it, and not what its mailbox knows besides.
    other.ok("COPY 65 Archive").await;
    let copied = other.ok("SELECT Archive").await;
    let flags = copied.iter().find(|line| line.starts_with("* FLAGS ")).unwrap();
    assert!(flags.contains(" k64999") && !flags.contains(" k0 "));
    let begun = Instant::now();
    client.ok("COPY 1:64 Archive").await;
    client.ok("STORE 1:* FLAGS ()").await;
    println!("they are copied and taken away in {:?}", begun.elapsed());
    assert!(begun.elapsed() < AT_ONCE);
    let report = store.check(&mut |_| {}).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_of_keywords_is_not_told_with_each_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::new(
        open_store(folder.path()),
        Config::new(Limits::default(), "test".into(), None, true),
    );
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 20));
    client.log_in().await;
    for _ in 0..3 {
        client.ok("APPEND INBOX {3+}\r\na\r\n").await;
    }
    client.ok("SELECT INBOX").await;
    let told = |lines: Vec<String>| lines.iter().filter(|l| l.starts_with("* FLAGS")).count();
    assert_eq!(told(client.ok("STORE 1 +FLAGS.SILENT (first)").await), 1);
    let names: Vec<String> = (0..EACH).map(|number| format!("k{number}")).collect();
    let lines = client.ok(&format!("STORE 2 +FLAGS.SILENT ({})", names.join(" "))).await;
    assert_eq!(told(lines), 1, "all at once");
    let mut times = 0;
    for number in 0..130 {
        let lines = client.ok(&format!("STORE 3 +FLAGS (new{number})")).await;
        let is_shown = lines.iter().any(|line| line.contains(&format!("new{number})")));
        assert!(is_shown, "FETCH shows it");
        times += told(lines);
    }
    assert_eq!(times, 2, "a sixteenth more, twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_keywords_have_a_bound_too() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { line_bytes_max: 1 << 20, ..Limits::default() };
    let served =
        Served::new(open_store(folder.path()), Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 20));
    client.log_in().await;
    let mut refusals = 0;
    for message in 1..=10 {
        client.ok("APPEND INBOX {3+}\r\na\r\n").await;
        client.ok("SELECT INBOX").await;
        let tail = "x".repeat(240);
        let names: Vec<String> =
            (0..EACH).map(|number| format!("{message}-{number}-{tail}")).collect();
        let store = format!("STORE {message} +FLAGS.SILENT ({})", names.join(" "));
        let answer = client.answer(&store).await;
        if !answer.starts_with("OK") {
            assert_eq!(answer, BYTES_FULL);
            refusals += 1;
        }
    }
    assert_eq!(refusals, 2, "eight thousand of 249 letters fit into 2 MiB");
}

const MAILBOX_FULL: &str =
    "NO [LIMIT] the number of the mailbox's keywords exceeds the limit of 65000";
const MESSAGE_FULL: &str =
    "NO [LIMIT] the number of a message's keywords exceeds the limit of 1000";
const BYTES_FULL: &str =
    "NO [LIMIT] the length of the mailbox's keywords exceeds the limit of 2097152";
