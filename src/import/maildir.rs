//! Maildir: one file a message, flags in the file's name.
//!
//! ```text
//! ROOT/cur ROOT/new               INBOX
//! ROOT/.Work.2024/cur             Work/2024    Maildir++: one folder a mailbox, levels by dots
//! ROOT/Work/2024/cur              Work/2024    "fs" layout: folders in folders
//! cur/1700000000.M1P2.host:2,FRS  after ":2,": D draft, F flagged, P passed on, R replied, S seen,
//!                                 T trashed; a to z: keywords by the file dovecot-keywords
//! ```
//!
//! Names of folders are in modified UTF-7 (RFC 3501 section 5.1.3) or plain UTF-8. What `export`
//! adds is in `mail_files.rs`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Importer, Incoming, below, unreadable, with_crlf};
use crate::failure::{Exit, Failure};
use crate::mail_files::{
    ACCESS_FILE, KEYWORDS_FILE, LETTERS, MORE_KEYWORDS_FILE, NAME_FILE, SUBSCRIPTIONS_FILE,
    level_of, mailbox_of, subscriptions_of, wire_bytes_of,
};
use crate::progress;

/// Levels of folders in the fs layout; a link that leads upwards must end somewhere.
const DEPTH_MAX: usize = 32;

/// Imports the Maildir at `root`.
pub(crate) fn import_maildir(
    connection: &mut crate::admin::Connection,
    account: &str,
    root: &Path,
    into: Option<&str>,
) -> Result<String, Failure> {
    let folders = folders(root)?;
    if folders.is_empty() {
        return Err(Failure::new(
            Exit::Refused,
            format!("{} is no Maildir: there is no folder 'cur' in it or below", root.display()),
        ));
    }
    let mut mailboxes = Vec::new();
    let mut total = 0;
    for (name, folder) in folders {
        let messages = messages(&folder)?;
        total += engine::width::u64_of(messages.len());
        mailboxes.push((below(into, &name), folder, messages));
    }
    let bar = progress::bar("Importing", total);
    let mut importer = Importer::new(connection, account, bar.clone());
    if let Ok(text) = fs::read_to_string(root.join(SUBSCRIPTIONS_FILE)) {
        importer.subscribe_to(subscriptions_of(&text), into)?;
    }
    importer.bring_beside(root, into)?;
    for (mailbox, folder, messages) in mailboxes {
        let keywords = Keywords::read(&folder);
        importer.ensure_mailbox(&mailbox)?;
        importer.bring_rights(&mailbox, &folder.join(ACCESS_FILE));
        for path in messages {
            bar.inc(1);
            let origin = path.display().to_string();
            let content = match fs::read(&path) {
                Ok(content) => content,
                Err(cause) => {
                    importer.refuse(&origin, &cause.to_string());
                    continue;
                }
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            importer.send(Incoming {
                mailbox: &mailbox,
                flags: flags(&name, &keywords),
                received: received(&path, &name),
                message: &as_stored(content, &name),
                origin,
            })?;
        }
    }
    importer.finish()
}

/// Mailbox names with their folders, by name, INBOX first where it is.
fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut found = BTreeMap::new();
    let entries = fs::read_dir(root).map_err(unreadable(root))?;
    if is_maildir(root) {
        found.insert(String::new(), root.to_path_buf());
    }
    for entry in entries {
        let entry = entry.map_err(unreadable(root))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = entry.path();
        match name.strip_prefix('.') {
            Some(dotted) if is_maildir(&path) => {
                let named = fs::read_to_string(path.join(NAME_FILE)).ok();
                found.insert(named.unwrap_or_else(|| mailbox_of(dotted)), path);
            }
            Some(_) => {}
            None => descend(&path, &level_of(&name), &mut found, 1),
        }
    }
    Ok(found.into_iter().collect())
}

fn descend(path: &Path, name: &str, found: &mut BTreeMap<String, PathBuf>, depth: usize) {
    if depth > DEPTH_MAX || ["cur", "new", "tmp"].contains(&name) {
        return;
    }
    // What cannot be read as a folder is a file, which the layout has beside folders.
    let Ok(entries) = fs::read_dir(path) else { return };
    if is_maildir(path) {
        found.insert(name.to_owned(), path.to_path_buf());
    }
    for entry in entries.flatten() {
        let below = entry.file_name().to_string_lossy().into_owned();
        if !below.starts_with('.') && !["cur", "new", "tmp"].contains(&below.as_str()) {
            let name = format!("{name}/{}", level_of(&below));
            descend(&entry.path(), &name, found, depth + 1);
        }
    }
}

fn is_maildir(path: &Path) -> bool {
    path.join("cur").is_dir()
}

/// The files of `cur` and `new`, oldest first: their names begin with the time of delivery.
fn messages(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        let part = folder.join(part);
        let entries = match fs::read_dir(&part) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(Failure::file("read", &part, &cause)),
        };
        for entry in entries {
            let entry = entry.map_err(unreadable(&part))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().is_file() {
                found.push((delivered(&name).unwrap_or(i64::MAX), name, entry.path()));
            }
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, _, path)| path).collect())
}

/// Seconds since 1970 at the begin of a file's name.
fn delivered(name: &str) -> Option<i64> {
    name.split('.').next()?.parse().ok().filter(|seconds| *seconds > 0)
}

/// The message in a file of that name, with CRLF line ends. A file as large as its name says that
/// the message is on the wire has them, and is taken as it is.
fn as_stored(content: Vec<u8>, name: &str) -> Vec<u8> {
    let bytes = engine::width::u64_of(content.len());
    if wire_bytes_of(name) == Some(bytes) { content } else { with_crlf(&content) }
}

/// INTERNALDATE: the earlier of the name's time and the file's. A client's APPEND with an old date
/// gives an old file with a new name; a copied Maildir has new files with old names.
fn received(path: &Path, name: &str) -> i64 {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let changed = changed.and_then(|time| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).ok(),
        Err(before) => i64::try_from(before.duration().as_secs()).ok().map(|seconds| -seconds),
    });
    match (changed, delivered(name)) {
        (Some(changed), Some(delivered)) => changed.min(delivered),
        (Some(time), None) | (None, Some(time)) => time,
        (None, None) => 0,
    }
}

/// Which keywords the messages of a folder have.
#[derive(Default)]
struct Keywords {
    /// The keywords behind the letters a to z, from Dovecot's file, if there is one.
    letters: BTreeMap<char, String>,
    /// Keywords by the message's file name before the colon, from a file of `export`.
    more: HashMap<String, Vec<String>>,
}

impl Keywords {
    fn read(folder: &Path) -> Keywords {
        let mut keywords = Keywords::default();
        let text_of = |file| fs::read_to_string(folder.join(file)).unwrap_or_default();
        for line in text_of(KEYWORDS_FILE).lines() {
            let Some((number, keyword)) = line.split_once(' ') else { continue };
            if let Ok(number @ 0..26) = number.parse::<u8>() {
                keywords.letters.insert(char::from(b'a' + number), keyword.to_owned());
            }
        }
        for line in text_of(MORE_KEYWORDS_FILE).lines() {
            let mut words = line.split(' ').map(str::to_owned);
            if let Some(name) = words.next() {
                keywords.more.insert(name, words.collect());
            }
        }
        keywords
    }
}

/// Flags by their IMAP names, from the letters after `:2,`.
fn flags(name: &str, keywords: &Keywords) -> Vec<String> {
    // A colon cannot stand in a file's name everywhere; some write another sign before the 2.
    let letters = name.rsplit_once("2,").filter(|(before, _)| before.ends_with([':', ';', '!']));
    let mut flags = Vec::new();
    for letter in letters.map_or("", |(_, letters)| letters).chars() {
        let system = LETTERS.iter().find(|(known, _)| *known == letter).map(|(_, flag)| *flag);
        let keyword = keywords.letters.get(&letter).map(String::as_str);
        flags.extend(system.or(keyword).map(str::to_owned));
    }
    let more = name.split(':').next().and_then(|before| keywords.more.get(before));
    flags.extend(more.into_iter().flatten().cloned());
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, path: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "Subject: x\n\nbody\n").unwrap();
    }

    #[test]
    fn both_layouts_give_the_mailbox_names_that_a_client_would_show() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "cur/1700000000.a:2,S",
            "new/1700000001.b",
            ".Work.2024/cur/1.x",
            ".T&APY-pfe/cur/1.x",
            "Lists/rust/cur/1.x",
            ".git/objects/1",
            "notes.txt",
        ] {
            touch(root.path(), path);
        }
        let names: Vec<String> =
            folders(root.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["", "Lists/rust", "Töpfe", "Work/2024"]);
    }

    #[test]
    fn flags_follow_the_letters_of_the_name() {
        let keywords = Keywords {
            letters: BTreeMap::from([('a', "$Junk".to_owned())]),
            more: HashMap::from([("9.x".to_owned(), vec!["y".to_owned(), "z".to_owned()])]),
        };
        let cases = [
            ("1.host:2,FRS", vec!["\\Flagged", "\\Answered", "\\Seen"]),
            ("1.host:2,Pab", vec!["$Forwarded", "$Junk"]),
            ("1.host,S=12,W=13:2,", vec![]),
            ("9.x:2,Sa", vec!["\\Seen", "$Junk", "y", "z"]),
            ("1.host2,S", vec![]),
            ("1.host", vec![]),
        ];
        for (name, expected) in cases {
            assert_eq!(flags(name, &keywords), expected, "{name}");
        }
    }

    #[test]
    fn a_message_keeps_the_earlier_of_its_two_times() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "cur/1700000000.copied");
        let path = root.path().join("cur/1700000000.copied");
        assert_eq!(received(&path, "1700000000.copied"), 1_700_000_000, "a copied Maildir");
        let old = UNIX_EPOCH + std::time::Duration::from_secs(900_000_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        assert_eq!(received(&path, "1700000000.copied"), 900_000_000, "appended with a date");
        let older = UNIX_EPOCH - std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(older).unwrap();
        assert_eq!(received(&path, "1.copied"), -5, "before 1970");
    }

    #[test]
    fn a_file_that_is_as_large_as_its_message_is_taken_as_it_is() {
        assert_eq!(as_stored(b"a\n\r\n".to_vec(), "1.x,S=4,W=4:2,"), b"a\n\r\n");
        assert_eq!(as_stored(b"a\n\n".to_vec(), "1.x,S=3,W=5:2,"), b"a\r\n\r\n");
        assert_eq!(as_stored(b"a\n".to_vec(), "1.x"), b"a\r\n");
    }

    #[test]
    fn messages_come_in_the_order_of_their_delivery() {
        let root = tempfile::tempdir().unwrap();
        for name in ["cur/900.b:2,", "new/1000.a", "cur/1700000000.c:2,S"] {
            touch(root.path(), name);
        }
        let names: Vec<String> = messages(root.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["900.b:2,", "1000.a", "1700000000.c:2,S"]);
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_the_readers_panic(name in "\\PC{0,60}") {
            let _ = flags(&name, &Keywords::default());
            let _ = delivered(&name);
        }
    }
}
