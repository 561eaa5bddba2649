//! A search that goes on says so (RFC 9585), between its answers and never within one.

use std::time::Duration;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};

use crate::support::{Client, Served, deliver, open_store};

/// More than are opened in one piece.
const MESSAGE_COUNT: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_search_that_goes_on_says_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    for number in 0..MESSAGE_COUNT {
        let message = format!("Subject: {number}\r\n\r\nharbour\r\n");
        deliver(&store, message.as_bytes(), FlagList::default(), UnixSeconds(1));
    }
    // Always due, so that no clock decides what the test sees.
    let limits = Limits { progress_interval: Duration::ZERO, ..Limits::default() };
    let served = Served::new(store, Config::new(limits, "test".into(), None, true));
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("SELECT INBOX").await;
    let results: Vec<String> = (1..=MESSAGE_COUNT).map(|number| number.to_string()).collect();
    for (command, last) in [
        ("SEARCH BODY harbour", format!("* SEARCH {}", results.join(" "))),
        ("SEARCH RETURN (COUNT) BODY harbour", "* ESEARCH (TAG \"t\") COUNT 40".to_owned()),
        ("SORT (ARRIVAL) UTF-8 BODY harbour", format!("* SORT {}", results.join(" "))),
    ] {
        let mut lines = client.ok(command).await;
        assert_eq!(lines.pop(), Some(last), "{command}");
        let mut done_before = 0;
        assert!(lines.len() >= 2, "{command}: {lines:?}");
        for line in lines {
            let told = line.strip_prefix("* OK [INPROGRESS (\"t\" ");
            let told = told.and_then(|rest| rest.split_once(")] "));
            let (done, goal) = told.and_then(|(numbers, _)| numbers.split_once(' ')).unwrap();
            assert_eq!(goal, MESSAGE_COUNT.to_string(), "{line}");
            let done: usize = done.parse().unwrap();
            assert!(done_before < done && done <= MESSAGE_COUNT, "{command}: {line}");
            done_before = done;
        }
    }
    assert!(client.ok("SEARCH SUBJECT 7 2:3").await.concat().ends_with("* SEARCH"));
}
