//! Damage that an operator gives up, and a state that is made anew, as mail clients see them.

use std::path::PathBuf;

use super::site;
use crate::support::imap::Imap;
use crate::support::site::{Site, USER};

/// Bytes that do not compress, as text.
fn noise(seed: u8) -> String {
    let mut state = u64::from(seed) + 1;
    let mut text = format!("Subject: mail {seed}\r\n\r\n");
    for _ in 0..400 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        text += &format!("{state:016x}\r\n");
    }
    text
}

fn segments(site: &Site) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(site.data.join("volumes/main/log")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Flips a bit of the largest chunk of the store's first large group.
fn damage(site: &Site) {
    for path in segments(site) {
        let mut content = std::fs::read(&path).unwrap();
        let is_large = |at: &usize| {
            let length = u32::from_le_bytes(content[at + 8..at + 12].try_into().unwrap());
            content[*at..].starts_with(b"PBXg") && length > 3000
        };
        let starts = (8192..content.len().saturating_sub(4096)).step_by(4096);
        if let Some(at) = starts.into_iter().find(is_large) {
            content[at + 1500] ^= 1;
            std::fs::write(&path, content).unwrap();
            return;
        }
    }
    panic!("there is no large group");
}

#[test]
fn a_message_that_no_copy_mends_is_named_and_given_up_only_when_told_to() {
    let Some(mut site) = site() else { return };
    site.start();
    for seed in 1..=3 {
        site.lmtp().deliver("s@example.com", &[USER], noise(seed).as_bytes()).unwrap();
    }
    site.stop();
    site.pillarbox(&["check"]).well("check");
    damage(&site);
    let refused = site.pillarbox(&["check", "--repair"]);
    assert_eq!(refused.code, Some(3), "{}", refused.output());
    let said = refused.output();
    assert!(said.contains(&format!("lost: {USER} INBOX UID 1: this message is lost")), "{said}");
    assert!(said.contains("nothing was given up") && said.contains("--give-up"), "{said}");
    let alone = site.pillarbox(&["check", "--give-up"]);
    assert_eq!(alone.code, Some(2), "{}", alone.output());

    let given = site.pillarbox(&["check", "--repair", "--give-up"]).well("giving up").output();
    assert!(given.contains("UID 1: this message is lost"), "{given}");
    assert!(given.contains("the damaged bytes are kept in"), "{given}");
    site.pillarbox(&["check"]).well("all is well now");
    site.start();
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 3);
    let mut texts = Vec::new();
    let keep = |fetched| texts.push(format!("{fetched:?}"));
    imap.fetch_each("1:*", "(UID BODY.PEEK[])", keep).unwrap();
    assert_eq!(texts.len(), 3, "every message is given: {texts:?}");
}

/// All that a client sees of an account.
fn seen(imap: &mut Imap) -> Vec<String> {
    let mut seen = Vec::new();
    for name in imap.mailboxes().unwrap() {
        let name = String::from_utf8(name).unwrap();
        let name = name.trim_matches('"').to_owned();
        // A level above a mailbox is none itself.
        let Ok(selected) = imap.select(&name) else {
            seen.push(name);
            continue;
        };
        let state = (selected.exists, selected.uid_validity, selected.uid_next);
        seen.push(format!("{name}: {state:?}"));
        if selected.exists > 0 {
            let items = "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])";
            let keep = |fetched| seen.push(format!("{fetched:?}"));
            imap.fetch_each("1:*", items, keep).unwrap();
        }
    }
    seen
}

#[test]
fn clients_see_the_same_after_the_state_was_lost_and_made_anew() {
    let Some(mut site) = site() else { return };
    site.start();
    let mut imap = site.imap();
    for seed in 1..=5 {
        let date = format!("(\\Flagged key{seed}) \"0{seed}-Mar-2021 10:00:00 +0100\"");
        imap.append("INBOX", &date, noise(seed).as_bytes()).unwrap();
    }
    for command in [
        "CREATE Projects/2021",
        "SELECT INBOX",
        "COPY 1:3 Projects/2021",
        "STORE 2 -FLAGS.SILENT (key2)",
        "STORE 4 +FLAGS.SILENT (\\Deleted)",
        "EXPUNGE",
        "MOVE 1 Archive",
        "RENAME Projects Done",
        "UNSUBSCRIBE Junk",
    ] {
        imap.ok(command).unwrap();
    }
    let before = seen(&mut imap);
    assert!(before.len() > 12, "{before:?}");
    drop(imap);
    site.stop();
    std::fs::remove_dir_all(site.data.join("volumes/main/state")).unwrap();
    let rebuilt = site.pillarbox(&["check", "--rebuild"]).well("rebuild").output();
    assert!(rebuilt.contains("made the state anew"), "{rebuilt}");
    site.start();
    assert_eq!(seen(&mut site.imap()), before);
}
