//! NOTIFY (RFC 5465) within its bounds, and how soon a client hears of news. What is told of what
//! is in `transcripts/notify.imap`.

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

const ALL: &str = "NOTIFY SET (personal (MessageNew MessageExpunge))";

fn served(folder: &std::path::Path, notify_mailboxes_max: usize) -> Served {
    let limits = Limits { notify_mailboxes_max, ..Limits::default() };
    Served::new(open_store(folder), Config::new(limits, "test".into(), None, true))
}

fn deliver_one(served: &Served) {
    deliver(served.store(), b"Subject: x\r\n\r\n", FlagList::default(), UnixSeconds(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_often_is_told_once_to_who_does_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 10);
    // No more than a few lines fit between the server and this client.
    let mut client = Client::new(served.connect(Transport::Plain, 256));
    client.log_in().await;
    client.ok(ALL).await;
    for _ in 0..300 {
        deliver_one(&served);
    }
    let mut lines = 0;
    loop {
        let line = client.line().await.unwrap();
        lines += 1;
        assert!(line.starts_with("* STATUS \"INBOX\" (MESSAGES "), "{line}");
        if line.contains("(MESSAGES 300 ") {
            break;
        }
    }
    assert!(lines < 50, "{lines} lines for 300 messages");
    client.ok("NOOP").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_mailboxes_than_are_watched_are_refused_or_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 2);
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    let mut other = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    other.log_in().await;
    let boxes = "NOTIFY SET (subtree box (MessageNew MessageExpunge))";
    other.ok("CREATE box").await;
    other.ok("CREATE box/one").await;
    client.ok(boxes).await;
    other.ok("CREATE box/two").await;
    let line = client.line().await.unwrap();
    assert!(line.starts_with("* OK [NOTIFICATIONOVERFLOW] "), "{line}");
    other.ok("APPEND box {1+}\r\nx").await;
    assert!(client.ok("NOOP").await.is_empty(), "nothing is told after that");
    let answer = client.answer(boxes).await;
    assert!(answer.starts_with("NO [NOTIFICATIONOVERFLOW] "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_brings_at_the_same_moment_is_told_and_what_the_client_brings_is_not() {
    const APPEND: &str = "APPEND box {1+}\r\nx";
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 10);
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    let mut other = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    other.log_in().await;
    other.ok("CREATE box").await;
    client.ok("NOTIFY SET (subtree box (MessageNew MessageExpunge FlagChange))").await;
    for _ in 0..20 {
        assert!(client.ok(APPEND).await.is_empty(), "its own message");
    }
    assert!(client.ok("NOOP").await.is_empty(), "its own messages");
    for round in 0..30 {
        let (mut told, answer) = tokio::join!(
            async {
                let mut told = Vec::new();
                for _ in 0..3 {
                    told.extend(client.ok(APPEND).await);
                }
                told
            },
            other.answer(APPEND)
        );
        // OK [APPENDUID 1 n] …
        let uid = answer.split([' ', ']']).nth(3).and_then(|uid| uid.parse::<u32>().ok());
        let uid = uid.unwrap_or_else(|| panic!("{answer}"));
        let is_told = |line: &String| {
            let next = line.split("UIDNEXT ").nth(1).and_then(|rest| rest.split(' ').next());
            next.and_then(|next| next.parse::<u32>().ok()).is_some_and(|next| next > uid)
        };
        while !told.iter().any(is_told) {
            let line = client.line().await.unwrap();
            assert!(line.starts_with("* STATUS \"box\""), "round {round}: {line}");
            told.push(line);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_idle_hears_of_every_message() {
    const MESSAGES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path(), 10);
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    client.send(b"i IDLE\r\n").await;
    assert_eq!(client.line().await.unwrap(), "+ idling");
    for number in 1..=MESSAGES {
        tokio::task::block_in_place(|| deliver_one(&served));
        assert_eq!(client.line().await.unwrap(), format!("* {number} EXISTS"));
        assert_eq!(client.line().await.unwrap(), "* 0 RECENT");
    }
}
