//! A volume that takes no changes: who wants to read is served, who wants to write is told.

use std::path::PathBuf;

use crate::support::site::{Site, USER, files_below};

/// Flips a bit in the last group above this size: of the log, which state has not applied yet.
fn damage_last_group_above(site: &Site, bytes: u32) {
    let mut last: Option<(PathBuf, Vec<u8>, usize)> = None;
    for path in files_below(&site.data.join("volumes/main/log")).unwrap() {
        let content = std::fs::read(&path).unwrap();
        let is_large = |at: &usize| {
            let length = content.get(at + 8..at + 12).map(|word| word.try_into().unwrap());
            content[*at..].starts_with(b"PBXg") && length.map(u32::from_le_bytes) > Some(bytes)
        };
        if let Some(at) = (8192..content.len()).step_by(4096).rev().find(is_large) {
            last = Some((path, content, at));
        }
    }
    let (path, mut content, at) = last.expect("there is such a group");
    content[at + 3000] ^= 1;
    std::fs::write(path, content).unwrap();
}

#[test]
fn m13_a_stopped_volume_takes_logins_and_serves_mail_and_says_that_it_takes_no_changes() {
    let mut site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let mail = b"Subject: from before\r\n\r\nstill here\r\n";
    assert_eq!(site.imap().append("INBOX", "", mail).unwrap().status, "OK");
    // State has this; what comes after it is in the log alone.
    site.stop();
    site.start();
    let large: String = (0..6000u64).map(|n| format!("{:x}", n * 0x9e37_79b9 % 65_521)).collect();
    for text in [large.as_bytes(), b"the last"] {
        let mail = [b"Subject: after\r\n\r\n", text, b"\r\n"].concat();
        assert_eq!(site.imap().append("INBOX", "", &mail).unwrap().status, "OK");
    }
    site.kill9();
    damage_last_group_above(&site, 6_000);
    site.announce_error("damaged");
    site.start();

    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 1, "as of the position before the damage");
    let fetched = imap.fetch("1", "(BODY.PEEK[])").unwrap();
    assert_eq!(fetched[0].body.as_deref(), Some(&mail[..]));
    assert_eq!(imap.search("SUBJECT before").unwrap(), [1]);
    for command in [
        "UID STORE 1 +FLAGS (\\Flagged)",
        "UID COPY 1 Archive",
        "UID MOVE 1 Archive",
        "CREATE New",
        "RENAME Archive Old",
        "DELETE Archive",
        "SUBSCRIBE INBOX",
    ] {
        let reply = imap.command(command).unwrap();
        assert_eq!(reply.status, "NO", "{command}: {reply:?}");
        assert!(format!("{reply:?}").contains("UNAVAILABLE"), "{command}: {reply:?}");
    }
    let refused = imap.append("INBOX", "", mail).unwrap();
    assert_eq!(refused.status, "NO", "{refused:?}");
    assert!(format!("{refused:?}").contains("UNAVAILABLE"), "{refused:?}");
    let replies = site.lmtp().deliver("sender@example.com", &[USER], mail).unwrap();
    assert!((400..500).contains(&replies[0].code), "its sender comes back: {replies:?}");
    let read = imap.fetch("1", "(BODY[])").unwrap();
    assert_eq!(
        read[0].body.as_deref(),
        Some(&mail[..]),
        "a read that would set \\Seen is answered all the same"
    );
}
