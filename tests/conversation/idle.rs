//! Who waits with IDLE (RFC 2177) sees a change at once.

use std::time::Duration;

use crate::support::site::{Site, USER};

/// A mail program's user takes anything below this for "at once".
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn an_idling_client_sees_a_delivery_at_once() {
    let site = Site::started();
    let mut watcher = site.imap();
    watcher.select("INBOX").unwrap();
    let mut lmtp = site.lmtp();
    for count in 1..=3 {
        let tag = watcher.idle().unwrap();
        let message = b"Subject: you have mail\r\n\r\nHello.\r\n";
        let replies = lmtp.deliver("sender@example.com", &[USER], message).unwrap();
        assert_eq!(replies[0].code, 250, "{replies:?}");
        let expected = format!("* {count} EXISTS");
        let seen = watcher.wait_for(AT_ONCE, |text| text == expected);
        let (_, time) = seen.unwrap_or_else(|error| panic!("no {expected}: {error}"));
        println!("seen {time:?} after the answer to the sender");
        assert_eq!(watcher.done(&tag).unwrap().status, "OK");
    }
}

#[test]
fn an_idling_client_sees_flags_and_expunges_of_another_session() {
    let site = Site::started();
    let mut other = site.imap();
    for number in 0..3 {
        let message = format!("Subject: {number}\r\n\r\nx\r\n");
        assert_eq!(other.append("INBOX", "", message.as_bytes()).unwrap().status, "OK");
    }
    let mut watcher = site.imap();
    watcher.select("INBOX").unwrap();
    let tag = watcher.idle().unwrap();
    other.select("INBOX").unwrap();
    other.ok("UID STORE 2 +FLAGS.SILENT (\\Deleted)").unwrap();
    watcher
        .wait_for(AT_ONCE, |text| text.starts_with("* 2 FETCH") && text.contains("\\Deleted"))
        .expect("the flag is seen");
    other.ok("UID EXPUNGE 2").unwrap();
    watcher.wait_for(AT_ONCE, |text| text == "* 2 EXPUNGE").expect("the expunge is seen");
    assert_eq!(watcher.done(&tag).unwrap().status, "OK");
    let left = watcher.fetch("1:*", "(UID)").unwrap();
    assert_eq!(left.iter().map(|fetched| fetched.uid).collect::<Vec<_>>(), [1, 3]);
}
