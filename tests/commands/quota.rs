//! Limits of what an account may hold, as an operator sets them and as a mail program sees them.

use super::site;
use crate::support::site::{Site, USER};

#[test]
fn limits_are_set_shown_and_lifted_on_a_running_store_and_a_stopped_one() {
    let Some(mut site) = site() else { return };
    let said = |site: &Site, words: &[&str]| site.pillarbox(words).well("a command").stdout;
    let shown = said(&site, &["account", "quota", USER]);
    assert!(shown.contains("0 B, no limit; 0 messages, no limit"), "{shown}");
    let shown = said(&site, &["account", "quota", USER, "--bytes", "1M", "--messages", "1"]);
    assert!(shown.contains(" of 1.00 MiB; 0 messages of 1"), "{shown}");
    site.start();
    let mut imap = site.imap();
    let quota = imap.ok("GETQUOTA \"\"").unwrap();
    let told = quota.untagged[0].text();
    assert_eq!(told.trim_end(), "* QUOTA \"\" (STORAGE 0 1024 MESSAGE 0 1)");
    imap.ok("APPEND INBOX {1+}\r\nx").unwrap();
    let refused = imap.ok("APPEND INBOX {1+}\r\nx").unwrap_err();
    assert!(format!("{refused:?}").contains("OVERQUOTA"), "{refused:?}");
    said(&site, &["account", "quota", USER, "--messages", "none"]);
    imap.ok("APPEND INBOX {1+}\r\nx").unwrap();
    let shown = said(&site, &["account", "quota", USER]);
    assert!(shown.contains("2 messages, no limit"), "{shown}");
    let wrong = site.pillarbox(&["account", "quota", USER, "--messages", "many"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.output());
}
