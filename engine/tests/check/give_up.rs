//! Damage without a copy is named first, then given up; everything else is as it was.

use std::path::{Path, PathBuf};

use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::Uid;
use engine::uid_set::UidSet;
use engine::{Consent, GiveUpReport, Store};

use super::{
    NAME, anna, append, check, closed_store, contents, copy, flip, group_of, inbox, noise, open,
    options, sentences,
};

fn give_up(directory: &Path, consent: Consent) -> GiveUpReport {
    Store::give_up(directory, &options(directory), consent, &mut |_, _| {}).unwrap()
}

/// Every file below a folder with its content, but for the lock.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("pillarbox.lock") {
            let content = std::fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    found.sort();
    found
}

/// UIDs and texts of a mailbox.
fn messages(store: &Store, mailbox: &str) -> Vec<(u32, Vec<u8>)> {
    let account = anna(store);
    let Some(mailbox) = account.mailbox(mailbox).unwrap() else { return Vec::new() };
    let view = mailbox.view().unwrap().unwrap();
    let rows = view.rows_from(Uid(1), 100).unwrap();
    let text = |row| account.message(row).unwrap().read_all().unwrap();
    rows.iter().map(|row| (row.uid.0, text(row))).collect()
}

#[test]
fn a_healthy_store_is_left_as_it_is_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let directory = closed_store(folder.path());
    let before = files(&directory);
    for consent in [Consent::Asked, Consent::Given] {
        let report = give_up(&directory, consent);
        assert!(report.is_empty() && !report.is_done, "{report:?}");
    }
    let report = Store::repair(&directory, &options(&directory), None).unwrap();
    assert!(report.mended.is_empty() && report.left.is_empty(), "{report:?}");
    assert!(files(&directory) == before, "not a byte differs");
}

#[test]
fn a_damaged_message_goes_with_a_notice_in_its_place_and_its_bytes_are_kept_aside() {
    let folder = tempfile::tempdir().unwrap();
    let directory = closed_store(folder.path());
    let store = open(&directory);
    let second: UidSet = [Uid(2)].into_iter().collect();
    let keywords = vec![Keyword::new("$Work").unwrap()];
    let flags = FlagList { system: SystemFlags::default(), keywords };
    inbox(&store).store_flags(&second, FlagChange::Add, &flags, None).wait().unwrap();
    store.close();
    drop(store);
    let (file, at) = group_of(&directory, 2);
    flip(&file, at + 5000);
    let damaged = contents(&directory);
    let asked = give_up(&directory, Consent::Asked);
    assert!(!asked.is_done && !asked.changes_lost, "{asked:?}");
    assert!(asked.lost[0].starts_with(&format!("{NAME} INBOX UID 2: this message is lost")));
    assert!(asked.lost[0].contains("offset"), "{asked:?}");
    assert!(contents(&directory) == damaged, "asking changes nothing");

    let given = give_up(&directory, Consent::Given);
    assert_eq!((given.is_done, given.lost), (true, asked.lost));
    let report = check(&directory);
    assert_eq!(report.problems, [], "{}", sentences(&report));
    assert_eq!(report.given_up_count, 1);
    let kept = files(&given.quarantine.unwrap());
    assert_eq!(kept.len(), 1);
    let original = std::fs::read(&file).unwrap();
    assert!(original.windows(kept[0].1.len()).any(|bytes| bytes == kept[0].1), "as they lay");

    let store = open(&directory);
    assert_eq!(store.status().epoch, 1, "no change is lost, so no epoch begins");
    let found = messages(&store, "INBOX");
    let uids: Vec<u32> = found.iter().map(|(uid, _)| *uid).collect();
    assert_eq!(uids, [1, 3, 4, 6], "the notice has a UID of its own");
    let notice = String::from_utf8(found[3].1.clone()).unwrap();
    assert!(notice.contains("20000 bytes in the mailbox INBOX (UID 2)"), "{notice}");
    let view = inbox(&store).view().unwrap().unwrap();
    let row = view.row(Uid(6)).unwrap().unwrap();
    let named: Vec<&str> = row.keywords_in(view.keywords()).map(Keyword::as_str).collect();
    assert_eq!(named, ["$Work"], "it is found where the message was looked for");
    drop(view);
    assert_eq!(found[1].1, noise(3, 20_000));
    store.close();
    drop(store);
    let again = give_up(&directory, Consent::Given);
    assert!(again.is_empty() && !again.is_done, "{again:?}");
}

#[test]
fn with_state_lost_and_the_log_damaged_what_no_record_names_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let whole = closed_store(folder.path());
    let (file, at) = group_of(&whole, 2);
    let name = file.file_name().unwrap().to_owned();
    // A byte of the group's header; one of its record; one of the chunk: that message is gone.
    for (offset, is_back) in [(40, true), (5000, false)] {
        let directory = folder.path().join("copy");
        copy(&whole, &directory);
        std::fs::remove_dir_all(directory.join("volumes/main/state")).unwrap();
        std::fs::create_dir(directory.join("volumes/main/state")).unwrap();
        flip(&super::log(&directory).join(&name), at + offset);
        let refused = Store::rebuild(&directory, options(&directory), &mut |_, _| {}).unwrap_err();
        assert!(refused.to_string().contains("--give-up"), "{refused}");
        let given = give_up(&directory, Consent::Given);
        assert!(given.is_done, "{given:?}");
        let store = open(&directory);
        assert_eq!(store.status().stopped, None);
        let recovered = messages(&store, "Recovered");
        let inbox_now = messages(&store, "INBOX");
        let texts = |seeds: &[u8]| -> Vec<Vec<u8>> {
            seeds.iter().map(|seed| noise(*seed, 20_000)).collect()
        };
        let of = |found: &[(u32, Vec<u8>)]| -> Vec<Vec<u8>> {
            found.iter().map(|(_, text)| text.clone()).collect()
        };
        assert_eq!(of(&inbox_now[..3]), texts(&[1, 3, 4]), "with what was expunged still gone");
        assert_eq!(of(&recovered), if is_back { texts(&[2]) } else { Vec::new() });
        assert_eq!(inbox_now.len(), if is_back { 3 } else { 4 }, "a notice for what is gone");
        let uid = append(&store, b"Subject: new\r\n\r\n").0;
        let view = inbox(&store).view().unwrap().unwrap();
        if given.changes_lost {
            assert!(uid > 65_536 && view.highest_modseq().epoch() >= 3, "{uid}");
        }
        assert_eq!(view.last_uid(), Some(Uid(uid)));
        store.close();
        drop(store);
        let report = check(&directory);
        assert_eq!(report.problems, [], "{}", sentences(&report));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
