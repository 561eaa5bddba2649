//! A mailbox of many messages in portions: UIDBATCHES (RFC 10022), and what a command may touch
//! (RFC 9738).

use engine::Store;
use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, USER, open_store};

/// Messages 1 to 1100 in INBOX, without 700 to 750.
fn fill(store: &Store) {
    let account = store.account(USER).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let new_message = |_| engine::NewMessage {
        prepared: store.prepare(b"Subject: x\r\n\r\n", &[account.number()]).unwrap(),
        flags: FlagList::default(),
        received: UnixSeconds(1),
    };
    inbox.append((0..1100).map(new_message).collect()).wait().unwrap();
    let some = engine::uid_set::UidSet::from_ranges([(700, 750)]);
    let archive = account.mailbox("Trash").unwrap().unwrap();
    inbox.move_to(&some, &archive).wait().unwrap();
}

async fn log_in(store: &Store, limits: Limits) -> Client<DuplexStream> {
    let served = Served::new(store.clone(), Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    std::mem::forget(served);
    client
}

/// How many untagged answers a command has, the last of them, and its tagged one.
async fn answers(client: &mut Client<DuplexStream>, command: &str) -> (usize, String, String) {
    client.send(format!("t {command}\r\n").as_bytes()).await;
    let (mut count, mut last) = (0, String::new());
    loop {
        let line = client.line().await.expect("an answer");
        if let Some(tagged) = line.strip_prefix("t ") {
            return (count, last, tagged.to_owned());
        }
        count += 1;
        last = line;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_adjacent_and_hold_equally_many_messages() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    fill(&store);
    let mut client = log_in(&store, Limits::default()).await;
    client.ok("EXAMINE INBOX").await;
    for (command, ranges) in [
        ("UIDBATCHES 500", " 1100:550,549:50,49:1"),
        ("UIDBATCHES 500 2:3", " 549:50,49:1"),
        ("UIDBATCHES 500 3:4000000000", " 49:1"),
        ("UIDBATCHES 500 4:5", ""),
        ("UIDBATCHES 1049", " 1100:1"),
        ("UIDBATCHES 1048", " 1100:2,1:1"),
        ("UIDBATCHES 4294967295 1:1", " 1100:1"),
    ] {
        let found = client.ok(command).await;
        assert_eq!(found, [format!("* UIDBATCHES (TAG \"t\"){ranges}")], "{command}");
    }
    for (command, answer) in [
        ("UIDBATCHES 499", "NO [TOOFEW] A batch has at least 500 messages"),
        ("UIDBATCHES 0", "BAD Not understood: expected a number above 0 at byte 13"),
        (
            "UIDBATCHES 500 2:1",
            "BAD Not understood: expected numbers of batches from low to high at byte 17",
        ),
    ] {
        assert_eq!(answers(&mut client, command).await.2, answer, "{command}");
    }
    client.ok("EXAMINE Drafts").await;
    assert_eq!(client.ok("UIDBATCHES 500").await, ["* UIDBATCHES (TAG \"t\")"]);
    // No batch is larger than what a command may touch.
    let limits = Limits { messages_per_command: Some(600), ..Limits::default() };
    let mut client = log_in(&store, limits).await;
    client.ok("EXAMINE INBOX").await;
    assert_eq!(client.ok("UIDBATCHES 900").await, ["* UIDBATCHES (TAG \"t\") 1100:450,449:1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_command_deals_with_the_newest_messages_and_says_how_far_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    fill(&store);
    let limits =
        Limits { messages_per_command: Some(10), messages_per_save: Some(5), ..Limits::default() };
    let mut client = log_in(&store, limits).await;
    let capabilities = client.ok("CAPABILITY").await.concat();
    assert!(capabilities.contains(" MESSAGELIMIT=10 SAVELIMIT=5"), "{capabilities}");
    client.ok("SELECT INBOX").await;
    for (command, count, last, answer) in [
        ("FETCH 1:* UID", 10, "* 1049 FETCH (UID 1100)", "OK [MESSAGELIMIT 10 1091] Fetched"),
        ("FETCH 1:10 UID", 10, "* 10 FETCH (UID 10)", "OK Fetched"),
        ("UID FETCH 690:755 UID", 10, "* 704 FETCH (UID 755)", "OK [MESSAGELIMIT 10 695] Fetched"),
        ("UID FETCH 745:760 UID", 10, "* 709 FETCH (UID 760)", "OK Fetched"),
        ("UID FETCH 740,746:760 UID", 10, "* 709 FETCH (UID 760)", "OK Fetched"),
        ("UID FETCH 5,751:760 UID", 10, "* 709 FETCH (UID 760)", "OK [MESSAGELIMIT 10 751] Fetc"),
        ("UID SEARCH 1:15", 1, "* SEARCH 6 7 8 9 10 11 12 13 14 15", "OK [MESSAGELIMIT 10 6] Sea"),
        ("STORE 1:11 +FLAGS.SILENT (\\Seen)", 0, "", "OK [MESSAGELIMIT 10 2] Stored"),
        ("UID COPY 1:6 Archive", 0, "", "NO [MESSAGELIMIT 5 2] These are more than 5 messages; t"),
        ("UID COPY 1:5 Archive", 0, "", "OK [COPYUID"),
        ("UID MOVE 1:12 Archive", 11, "* 3 EXPUNGE", "OK [MESSAGELIMIT 10 3] Moved"),
        ("UID STORE 1091:1100 +FLAGS.SILENT (\\Deleted)", 0, "", "OK Stored"),
        ("UID STORE 1081:1090 +FLAGS.SILENT (\\Deleted)", 0, "", "OK Stored"),
        ("UID EXPUNGE 1:*", 10, "* 1030 EXPUNGE", "OK [MESSAGELIMIT 10 1091] Expunged"),
        ("EXPUNGE", 10, "* 1020 EXPUNGE", "OK Expunged"),
    ] {
        let found = answers(&mut client, command).await;
        assert!(found.2.starts_with(answer), "{command}: {found:?}");
        assert_eq!((found.0, found.1.as_str()), (count, last), "{command}");
    }
    let six = " {1+}\r\nx".repeat(6);
    let found = answers(&mut client, &format!("APPEND Drafts{six}")).await;
    let expected = "NO [MESSAGELIMIT 5] These are more than 5 messages; nothing was appended";
    assert_eq!(found.2, expected);
}
