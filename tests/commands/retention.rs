//! Retention and undelete as an operator types them.

use super::site;
use crate::support::imap::Imap;
use crate::support::site::{OTHER_USER, PASSWORD, Site, USER};

/// Delivers to a running store and expunges it by IMAP.
fn deliver_and_expunge(site: &Site, subject: &str) {
    let message = format!("Subject: {subject}\r\n\r\nbody\r\n");
    site.lmtp().deliver("s@example.com", &[USER], message.as_bytes()).unwrap();
    let mut imap = Imap::login(site.imap, USER, PASSWORD).unwrap();
    imap.select("INBOX").unwrap();
    imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)").unwrap();
    imap.command("EXPUNGE").unwrap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 0, "gone for clients");
}

#[test]
fn expunged_mail_is_kept_listed_and_brought_back() {
    let Some(mut site) = site() else { return };
    let said = |site: &Site, words: &[&str]| site.pillarbox(words).well("a command").stdout;
    assert!(said(&site, &["retention"]).contains("not kept"), "nothing is kept by itself");
    assert!(said(&site, &["retention", "30"]).contains("kept for 30 days"));
    assert!(said(&site, &["retention", "--low-space", "shorten"]).contains("shortens it"));
    site.start();
    let shown = said(&site, &["account", "retention", USER]);
    assert!(shown.contains("kept for 30 days, as the store's setting says"), "{shown}");
    deliver_and_expunge(&site, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=");
    let list = said(&site, &["undelete", USER, "--list"]);
    assert!(list.contains("INBOX\tUID 1\t") && list.contains("Grüße"), "{list}");
    let nothing = said(&site, &["undelete", OTHER_USER, "--list"]);
    assert!(nothing.contains("nothing is kept of"), "{nothing}");
    let dry = said(&site, &["undelete", USER, "--dry-run", "--since", "1h"]);
    assert!(dry.contains("1 messages would come back to INBOX"), "{dry}");
    let other = said(&site, &["undelete", USER, "--mailbox", "Sent"]);
    assert!(other.contains("nothing of that is kept"), "{other}");
    let back = said(&site, &["undelete", USER, "--mailbox", "inbox"]);
    assert!(back.contains("1 messages came back to INBOX"), "{back}");
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 1);
    // A deleted mailbox comes back too, on a stopped store.
    imap.command("CREATE Projects").unwrap();
    imap.command("COPY 1 Projects").unwrap();
    imap.command("DELETE Projects").unwrap();
    drop(imap);
    site.stop();
    let back = said(&site, &["undelete", USER]);
    assert!(back.contains("1 messages came back to Projects"), "{back}");
    assert!(said(&site, &["undelete", USER, "--list"]).contains("nothing is kept"));
    site.pillarbox(&["check"]).well("check");
}

#[test]
fn a_held_account_is_not_deleted_and_wrong_settings_are_told() {
    let Some(site) = site() else { return };
    site.pillarbox(&["account", "retention", USER, "hold"]).well("hold");
    let refused = site.pillarbox(&["account", "delete", USER, "--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    assert!(refused.output().contains("legal hold"), "{}", refused.output());
    let refused = site.pillarbox(&["retention", "hold"]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    assert!(refused.output().contains("single accounts"), "{}", refused.output());
    let wrong = site.pillarbox(&["account", "retention", USER, "forever"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.output());
    let nobody = site.pillarbox(&["undelete", "nobody@example.org"]);
    assert_eq!(nobody.code, Some(67), "{}", nobody.output());
    site.pillarbox(&["account", "retention", USER, "off"]).well("the hold is lifted");
    site.pillarbox(&["account", "delete", USER, "--yes"]).well("account delete");
}
