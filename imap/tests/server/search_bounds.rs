//! What searches refuse, and what they do without: bounds that are reached, mail that is damaged.

use std::os::unix::fs::FileExt;

use engine::NewMessage;
use engine::flags::{FlagList, SystemFlags};
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, USER, deliver, open_store};

/// Sends a command; answers its last line, and how many came before it.
async fn answer(client: &mut Client<DuplexStream>, command: &str) -> (String, usize) {
    client.send(format!("t {command}\r\n").as_bytes()).await;
    for count in 0.. {
        let line = client.line().await.unwrap();
        if line.starts_with("t ") {
            return (line, count);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_that_is_reached_is_said_and_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    for number in 0..40 {
        let message = format!("Subject: {number}{}\r\n\r\n", "x".repeat(500));
        let seen = if number % 2 == 0 { SystemFlags::SEEN } else { SystemFlags::default() };
        let flags = FlagList { system: seen, keywords: Vec::new() };
        deliver(&store, message.as_bytes(), flags, UnixSeconds(1));
    }
    let limits = Limits { sort_bytes_max: 12 << 10, saved_ranges_max: 19, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let too_much = "t NO [LIMIT] There is too much to sort at once; search for less";
    for command in ["SORT (SUBJECT) UTF-8 ALL", "THREAD REFERENCES UTF-8 ALL"] {
        assert_eq!(answer(&mut client, command).await, (too_much.to_owned(), 0), "{command}");
    }
    // Whatever is kept of the ones before: ten at a time always fit.
    for set in ["1:10", "11:20", "21:30", "31:40", "15:24"] {
        for command in ["SORT (SUBJECT)", "THREAD REFERENCES"] {
            assert_eq!(client.ok(&format!("{command} UTF-8 {set}")).await.len(), 1, "{command}");
        }
    }
    assert_eq!(client.ok("SORT (ARRIVAL) UTF-8 ALL").await.len(), 1);
    // Twenty ranges, and nineteen.
    client.ok("SEARCH RETURN (SAVE) 7").await;
    let not_saved = "t NO [NOTSAVED] The result is too large to be saved";
    let found = answer(&mut client, "SEARCH RETURN (SAVE) SEEN").await;
    assert_eq!(found, (not_saved.to_owned(), 0));
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"], "NO leaves nothing saved");
    client.ok("SEARCH RETURN (SAVE) SEEN 3:40").await;
    let found = client.ok("SEARCH RETURN (COUNT) $").await;
    assert_eq!(found, ["* ESEARCH (TAG \"t\") COUNT 19"]);
}

/// Results that take too much memory, or of which too much changes, are given up aloud; a search in
/// mailbox order is told in ranges and has no such bound.
#[tokio::test(flavor = "multi_thread")]
async fn results_that_are_too_much_to_keep_are_given_up() {
    const COUNT: usize = 600;
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let account = store.account(USER).unwrap().unwrap();
    let inbox = account.mailbox("INBOX").unwrap().unwrap();
    let new = |_| {
        let prepared = store.prepare(b"Subject: x\r\n\r\n", &[account.number()]).unwrap();
        NewMessage { prepared, flags: FlagList::default(), received: UnixSeconds(1) }
    };
    inbox.append((0..COUNT).map(new).collect()).wait().unwrap();
    let limits = Limits { sort_bytes_max: 50_000, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let told = client.ok("SEARCH RETURN (UPDATE COUNT) FLAGGED").await;
    assert_eq!(told, ["* ESEARCH (TAG \"t\") COUNT 0"]);
    client.send(b"s SORT RETURN (UPDATE COUNT) (ARRIVAL) UTF-8 FLAGGED\r\n").await;
    assert_eq!(client.line().await.unwrap(), "* ESEARCH (TAG \"s\") COUNT 0");
    assert_eq!(client.line().await.unwrap(), "s OK Sorted");
    let told = client.ok("STORE 1:* +FLAGS.SILENT (\\Flagged)").await;
    let added = "* ESEARCH (TAG \"t\") ADDTO (0 1:600)";
    assert_eq!(told, [added, "* NO [NOUPDATE \"s\"] Too much changed at once"]);
    // Some 20 KB each.
    for (tag, is_kept) in [("k1", true), ("k2", true), ("k3", false)] {
        client
            .send(format!("{tag} SORT RETURN (UPDATE COUNT) (SIZE) UTF-8 ALL\r\n").as_bytes())
            .await;
        assert_eq!(client.line().await.unwrap(), format!("* ESEARCH (TAG \"{tag}\") COUNT 600"));
        if !is_kept {
            let refused = format!("* NO [NOUPDATE \"{tag}\"] Too much is kept current");
            assert_eq!(client.line().await.unwrap(), refused);
        }
        assert_eq!(client.line().await.unwrap(), format!("{tag} OK Sorted"));
    }
}

/// Every byte of the messages is changed, so whoever reads one is told so.
#[tokio::test(flavor = "multi_thread")]
async fn what_rows_decide_reads_no_message() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    for number in 0..5 {
        let message = format!("Subject: {number}\r\n\r\nharbour\r\n");
        let flags = FlagList { system: SystemFlags::FLAGGED, keywords: Vec::new() };
        deliver(&store, message.as_bytes(), flags, UnixSeconds(86_400 * number));
    }
    let log = folder.path().join("data/volumes/main/log");
    let path = std::fs::read_dir(log).unwrap().next().unwrap().unwrap().path();
    let bytes: Vec<u8> = std::fs::read(&path).unwrap().iter().map(|byte| byte ^ 1).collect();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();

    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    for (command, found) in [
        ("SEARCH FLAGGED", "* SEARCH 1 2 3 4 5"),
        ("SEARCH UNFLAGGED BODY harbour", "* SEARCH"),
        ("SEARCH NOT 1:5 TEXT harbour", "* SEARCH"),
        ("SEARCH BODY harbour ON 5-Feb-1999", "* SEARCH"),
        ("SEARCH OR SUBJECT 4 FLAGGED", "* SEARCH 1 2 3 4 5"),
        ("SEARCH UID 2:3 LARGER 5 SAVEDSINCE 1-Jan-2000", "* SEARCH 2 3"),
        // What lies behind the last message that is told is not looked at.
        ("SEARCH RETURN (MIN) OR 2 SUBJECT 4 NOT 1", "* ESEARCH (TAG \"t\") MIN 2"),
        ("SEARCH RETURN (PARTIAL 2:1) OR 1:2 SUBJECT 4", "* ESEARCH (TAG \"t\") PARTIAL (2:1 1:2)"),
        ("SEARCH OLDER 86400 BEFORE 3-Jan-1970", "* SEARCH 1 2"),
        ("SORT (REVERSE ARRIVAL SIZE) UTF-8 ALL", "* SORT 5 4 3 2 1"),
        ("SEARCH RETURN (MAX COUNT) 2:4", "* ESEARCH (TAG \"t\") MAX 4 COUNT 3"),
    ] {
        assert_eq!(client.ok(command).await, [found], "{command}");
    }
    // What must be read cannot be; no answer claims anything, and nothing is saved.
    client.ok("SEARCH RETURN (SAVE) 1").await;
    let unreadable = "t NO [SERVERBUG] Stored data could not be read; the operator has been told";
    for command in [
        "SEARCH SUBJECT 1",
        "SEARCH RETURN (MIN COUNT) OR 2 SUBJECT 4 NOT 1",
        "SEARCH RETURN (PARTIAL -1:-2) OR 1:2 SUBJECT 4",
        "SORT (SUBJECT) UTF-8 ALL",
        "THREAD REFERENCES UTF-8 ALL",
        "ESEARCH IN (personal) BODY harbour",
        "SEARCH RETURN (SAVE COUNT) SUBJECT 1",
    ] {
        assert_eq!(answer(&mut client, command).await, (unreadable.to_owned(), 0), "{command}");
    }
    assert_eq!(client.ok("SEARCH $").await, ["* SEARCH"]);
    // A result that can be kept current no longer is given up aloud.
    client.ok("SEARCH RETURN (UPDATE) SUBJECT 1 UNFLAGGED").await;
    let told = client.ok("STORE 2 -FLAGS.SILENT (\\Flagged)").await;
    assert_eq!(told, ["* NO [NOUPDATE \"t\"] A message could not be read"]);
    assert!(client.ok("STORE 3 -FLAGS.SILENT (\\Flagged)").await.is_empty());
}
