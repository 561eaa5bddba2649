//! A Maildir and a store, changed at random on both sides, which a program makes equal again.
//!
//! Each round changes a message at most once, so that what both sides must hold is known exactly.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::readers::without_tuid;
use crate::recorder::Recorder;
use crate::support::imap::{Imap, quoted};
use crate::support::random::Random;
use crate::support::site::{PASSWORD, Site, USER};

const CHANGES_PER_ROUND: usize = 24;
/// Runs of the program after which nothing may change any more.
const RUNS_MAX: usize = 3;
/// Messages of the store at first.
const MESSAGES: usize = 60;
/// Mailboxes of the store at first, as they stand on the wire: INBOX, levels, a space, an
/// ampersand, letters beyond ASCII in modified UTF-7 (RFC 3501 section 5.1.3).
const MAILBOXES: [&str; 14] = [
    "INBOX",
    "Archive",
    "Archive/2024",
    "Archive/2025",
    "Archive/2025/Q1",
    "Sent",
    "Drafts",
    "Lists/imap",
    "Lists/rust",
    "Two words",
    "R&-D",
    "Entw&APw-rfe",
    "&ZeVnLIqe-",
    "&BB8EQAQ4BDIENQRC-/&BBwEOARA-",
];
/// Pieces of names as they stand on the wire, and as people write them.
const LETTERS: [(&str, &str); 7] = [
    ("&-", "&"),
    ("&APw-", "ü"),
    ("&AOQ-", "ä"),
    ("&ZeVnLIqe-", "日本語"),
    ("&BB8EQAQ4BDIENQRC-", "Привет"),
    ("&BBwEOARA-", "Мир"),
    ("&IKw-", "€"),
];
/// A flag in a Maildir's file name and in IMAP.
const FLAGS: [(char, &str); 4] =
    [('D', "\\Draft"), ('F', "\\Flagged"), ('R', "\\Answered"), ('S', "\\Seen")];

/// How the program names the folders of the Maildir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    AsOnTheWire,
    AsPeopleWriteThem,
}

/// Where a message is, and its flags as letters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    mailbox: String,
    flags: BTreeSet<char>,
}

/// Messages by number. A side that holds one twice has a line for it in `doubles`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mail {
    messages: BTreeMap<u32, Place>,
    mailboxes: BTreeSet<String>,
    doubles: Vec<u32>,
}

impl Mail {
    /// Stops the test where it is not as expected; tells only what differs.
    fn assert_is(&self, expected: &Mail, what: &str) {
        assert_eq!(self.mailboxes, expected.mailboxes, "{what}");
        assert_eq!(self.doubles, expected.doubles, "{what}: messages that are there twice");
        let mut numbers = self.messages.keys().chain(expected.messages.keys());
        let differ = |number: &&u32| self.messages.get(number) != expected.messages.get(number);
        if let Some(number) = numbers.find(differ) {
            let (found, wanted) = (self.messages.get(number), expected.messages.get(number));
            panic!("{what}: message {number} is {found:?}, not {wanted:?}");
        }
    }
}

fn text_of(number: u32) -> String {
    format!(
        "From: someone@example.com\r\nTo: {USER}\r\nSubject: message {number}\r\n\
         Message-ID: <m{number}@example.com>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Grüße, Nummer {number}.\r\n{}",
        "A line.\r\n".repeat(number as usize % 40)
    )
}

fn number_of(text: &str) -> u32 {
    let (_, rest) = text.split_once("Subject: message ").expect(text);
    let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
    number.parse().unwrap()
}

/// Both sides and what they should hold.
pub(crate) struct Both {
    imap: Imap,
    near: PathBuf,
    names: Names,
    expected: Mail,
    /// Mailboxes that both sides have.
    settled: Vec<String>,
    next: u32,
    random: Random,
}

impl Both {
    fn empty(site: &Site, near: &Path, names: Names) -> Both {
        fs::create_dir_all(near).unwrap();
        Both {
            imap: site.imap(),
            near: near.to_owned(),
            names,
            expected: Mail::default(),
            settled: Vec::new(),
            next: 1,
            random: Random::new(0),
        }
    }

    /// A store with many mailboxes, some mail in it, and an empty Maildir.
    pub(crate) fn new(site: &Site, near: &Path, names: Names, seed: u64) -> Both {
        let mut both = Both::empty(site, near, names);
        both.settled = MAILBOXES.map(str::to_owned).to_vec();
        both.random = Random::new(seed);
        let present = both.far().mailboxes;
        for name in MAILBOXES.iter().filter(|name| !present.contains(**name)) {
            both.create(true, name);
        }
        both.expected.mailboxes = both.far().mailboxes;
        for _ in 0..MESSAGES {
            both.arrive(true);
        }
        both
    }

    /// Changes both sides, and lets the program run until it changes nothing any more; then both
    /// sides hold what they must. The first of the rounds changes nothing.
    pub(crate) fn go(&mut self, rounds: usize, what: &str, mut run: impl FnMut(&str)) {
        for round in 0..=rounds {
            if round > 0 {
                self.change(round);
            }
            let what = format!("{what}, round {round}");
            let mut runs = 0;
            let mut before = (self.far(), self.near());
            loop {
                runs += 1;
                assert!(runs <= RUNS_MAX, "{what}: there is no end");
                run(&what);
                let now = (self.far(), self.near());
                if before == now {
                    break;
                }
                before = now;
            }
            let (far, near) = before;
            far.assert_is(&self.expected, &format!("{what}: the store"));
            near.assert_is(&self.expected, &format!("{what}: the Maildir"));
        }
    }

    /// What the store holds; every message must be as it was written.
    fn far(&mut self) -> Mail {
        let mut found = Mail::default();
        for name in self.imap.mailboxes().unwrap() {
            let name = String::from_utf8(name).unwrap();
            // A level that is no mailbox, such as Lists, cannot be selected.
            let Ok(selected) = self.imap.select(&name) else { continue };
            found.mailboxes.insert(name.clone());
            if selected.exists == 0 {
                continue;
            }
            for fetched in self.imap.fetch("1:*", "(UID FLAGS BODY.PEEK[])").unwrap() {
                let body = String::from_utf8(without_tuid(&fetched.body.unwrap())).unwrap();
                let number = number_of(&body);
                assert_eq!(body, text_of(number), "as it is in the store");
                let letters =
                    FLAGS.iter().filter(|(_, flag)| fetched.flags.iter().any(|f| f == flag));
                let flags = letters.map(|(letter, _)| *letter).collect();
                let place = Place { mailbox: name.clone(), flags };
                if found.messages.insert(number, place).is_some() {
                    found.doubles.push(number);
                }
            }
        }
        // Not to be in the way of the program.
        self.imap.ok("UNSELECT").unwrap();
        found
    }

    /// What the Maildir holds.
    fn near(&self) -> Mail {
        let mut found = Mail::default();
        let mut folders = vec![self.near.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && !["cur", "new", "tmp"].iter().any(|part| path.ends_with(part)) {
                    folders.push(path);
                }
            }
            if !folder.join("cur").is_dir() {
                continue;
            }
            let mailbox = self.mailbox_of(&folder);
            found.mailboxes.insert(mailbox.clone());
            for (path, flags) in files_of(&folder) {
                let text = String::from_utf8(without_tuid(&fs::read(&path).unwrap())).unwrap();
                let number = number_of(&text);
                assert_eq!(text, text_of(number).replace('\r', ""), "as it is in the Maildir");
                let place = Place { mailbox: mailbox.clone(), flags };
                if found.messages.insert(number, place).is_some() {
                    found.doubles.push(number);
                }
            }
        }
        found
    }

    fn folder_of(&self, mailbox: &str) -> PathBuf {
        let mut name = mailbox.to_owned();
        if self.names == Names::AsPeopleWriteThem {
            for (wire, letters) in LETTERS.iter().rev() {
                name = name.replace(wire, letters);
            }
        }
        self.near.join(name)
    }

    fn mailbox_of(&self, folder: &Path) -> String {
        let mut name = folder.strip_prefix(&self.near).unwrap().to_str().unwrap().to_owned();
        if self.names == Names::AsPeopleWriteThem {
            for (wire, letters) in LETTERS {
                name = name.replace(letters, wire);
            }
        }
        name
    }

    fn some_flags(&mut self) -> BTreeSet<char> {
        let letters = FLAGS.iter().map(|(letter, _)| *letter);
        letters.filter(|_| self.random.below(3) == 0).collect()
    }

    fn some_mailbox(&mut self) -> String {
        self.random.pick(&self.settled).clone()
    }

    /// Changes some messages, each once, and makes new ones, on both sides.
    fn change(&mut self, round: usize) {
        self.settled = self.expected.mailboxes.iter().cloned().collect();
        let mut untouched: Vec<u32> = self.expected.messages.keys().copied().collect();
        for step in 0..CHANGES_PER_ROUND {
            let is_far = self.random.below(2) == 0;
            let deed = self.random.below(10);
            if deed < 3 || untouched.is_empty() {
                self.arrive(is_far);
                continue;
            }
            if deed == 9 && step % 7 == 0 {
                // offlineimap would make the level above a mailbox, too, and miss its folder.
                let level = if self.names == Names::AsOnTheWire { "New/" } else { "New " };
                self.create(is_far, &format!("{level}{round}-{step} &AOQ-"));
                continue;
            }
            let at = self.random.below(untouched.len());
            let number = untouched.swap_remove(at);
            match deed {
                3 | 4 => self.delete(is_far, number),
                5 | 6 => self.relocate(is_far, number),
                _ => self.flag(is_far, number),
            }
        }
    }

    fn arrive(&mut self, is_far: bool) {
        let place = Place { mailbox: self.some_mailbox(), flags: self.some_flags() };
        let number = self.next;
        self.next += 1;
        if is_far {
            let options = format!("({})", names_of(&place.flags));
            let text = text_of(number);
            let reply = self.imap.append(&place.mailbox, &options, text.as_bytes()).unwrap();
            assert_eq!(reply.status, "OK", "{}", reply.text);
        } else {
            write_file(&self.folder_of(&place.mailbox), number, &place.flags);
        }
        self.expected.messages.insert(number, place);
    }

    fn create(&mut self, is_far: bool, name: &str) {
        if is_far {
            self.imap.ok(&format!("CREATE {}", quoted(name))).unwrap();
        } else {
            make_maildir(&self.folder_of(name));
        }
        self.expected.mailboxes.insert(name.to_owned());
    }

    /// Selects the message's mailbox and finds its UID.
    fn uid_of(&mut self, number: u32) -> u32 {
        let mailbox = self.expected.messages[&number].mailbox.clone();
        self.imap.select(&mailbox).unwrap();
        let query = format!("HEADER Message-ID \"<m{number}@example.com>\"");
        let uids = self.imap.search(&query).unwrap();
        assert_eq!(uids.len(), 1, "message {number} in {mailbox}");
        uids[0]
    }

    fn file_of(&self, number: u32) -> PathBuf {
        let folder = self.folder_of(&self.expected.messages[&number].mailbox);
        let subject = format!("Subject: message {number}\n");
        let mut files = files_of(&folder).into_iter();
        let found = files.find(|(path, _)| fs::read_to_string(path).unwrap().contains(&subject));
        found.unwrap_or_else(|| panic!("message {number} in {folder:?}")).0
    }

    fn delete(&mut self, is_far: bool, number: u32) {
        if is_far {
            let uid = self.uid_of(number);
            self.imap.ok(&format!("UID STORE {uid} +FLAGS.SILENT (\\Deleted)")).unwrap();
            self.imap.ok(&format!("UID EXPUNGE {uid}")).unwrap();
        } else {
            fs::remove_file(self.file_of(number)).unwrap();
        }
        self.expected.messages.remove(&number);
    }

    fn relocate(&mut self, is_far: bool, number: u32) {
        let target = self.some_mailbox();
        if target == self.expected.messages[&number].mailbox {
            return;
        }
        if is_far {
            let uid = self.uid_of(number);
            self.imap.ok(&format!("UID MOVE {uid} {}", quoted(&target))).unwrap();
        } else {
            // Both programs keep a message's UID in its file name, which must not go with it.
            fs::remove_file(self.file_of(number)).unwrap();
            let flags = self.expected.messages[&number].flags.clone();
            write_file(&self.folder_of(&target), number, &flags);
        }
        self.expected.messages.get_mut(&number).unwrap().mailbox = target;
    }

    fn flag(&mut self, is_far: bool, number: u32) {
        let flags = self.some_flags();
        if is_far {
            let uid = self.uid_of(number);
            let names = names_of(&flags);
            self.imap.ok(&format!("UID STORE {uid} FLAGS.SILENT ({names})")).unwrap();
        } else {
            let file = self.file_of(number);
            let name = file.file_name().unwrap().to_str().unwrap();
            let base = name.split(":2,").next().unwrap();
            let letters: String = flags.iter().collect();
            let folder = file.parent().unwrap().parent().unwrap();
            fs::rename(&file, folder.join(format!("cur/{base}:2,{letters}"))).unwrap();
        }
        self.expected.messages.get_mut(&number).unwrap().flags = flags;
    }
}

/// A short story for a transcript: some mail, changes on both sides, nothing to do at the end.
/// Other clients come through the recorder, too. Answers what each connection was for.
pub(crate) fn story(
    site: &Site,
    near: &Path,
    names: Names,
    recorder: &Recorder,
    mut run: impl FnMut(&str),
) -> Vec<String> {
    const OTHER: &str = "Entw&APw-rfe";
    let mut both = Both::empty(site, near, names);
    both.expected.mailboxes = ["INBOX", OTHER].map(str::to_owned).into();
    let place = |mailbox: &str, flags: &str| Place {
        mailbox: mailbox.to_owned(),
        flags: flags.chars().collect(),
    };
    let mut headings = Vec::new();
    let mut begin = |heading: &str| {
        recorder.settle();
        headings.push(heading.to_owned());
    };

    begin("another client stores three messages");
    let mut other = Imap::login(recorder.address, USER, PASSWORD).unwrap();
    // What is empty would only make the story long.
    for mailbox in ["Archive", "Drafts", "Junk", "Sent", "Trash"] {
        other.ok(&format!("DELETE {mailbox}")).unwrap();
    }
    other.ok(&format!("CREATE {OTHER}")).unwrap();
    for (number, mailbox) in [(1, "INBOX"), (2, "INBOX"), (3, OTHER)] {
        let reply = other.append(mailbox, "(\\Seen)", text_of(number).as_bytes()).unwrap();
        assert_eq!(reply.status, "OK");
        both.expected.messages.insert(number, place(mailbox, "S"));
    }
    other.ok("LOGOUT").unwrap();
    drop(other);
    begin("the first run");
    run("the first run");
    both.near().assert_is(&both.expected, "the first run");

    both.random = Random::new(1);
    both.settled = vec!["INBOX".to_owned()];
    both.flag(false, 1);
    both.delete(false, 2);
    both.next = 4;
    both.arrive(false);
    begin("another client stores a message and a flag; there are changes in the Maildir, too");
    let mut other = Imap::login(recorder.address, USER, PASSWORD).unwrap();
    other.append("INBOX", "", text_of(5).as_bytes()).unwrap();
    both.expected.messages.insert(5, place("INBOX", ""));
    other.select(OTHER).unwrap();
    other.ok("UID STORE 1 +FLAGS.SILENT (\\Answered)").unwrap();
    both.expected.messages.insert(3, place(OTHER, "RS"));
    other.ok("LOGOUT").unwrap();
    drop(other);
    for heading in ["a run that has something to do both ways", "a run that has nothing to do"] {
        begin(heading);
        run(heading);
        both.near().assert_is(&both.expected, heading);
        both.far().assert_is(&both.expected, heading);
    }
    headings
}

fn names_of(flags: &BTreeSet<char>) -> String {
    let names = FLAGS.iter().filter(|(letter, _)| flags.contains(letter)).map(|(_, name)| *name);
    names.collect::<Vec<_>>().join(" ")
}

fn files_of(folder: &Path) -> Vec<(PathBuf, BTreeSet<char>)> {
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        for entry in fs::read_dir(folder.join(part)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let flags = name.split_once(":2,").map_or("", |(_, flags)| flags).chars().collect();
            found.push((path, flags));
        }
    }
    found
}

fn make_maildir(folder: &Path) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
}

/// As a mail program does: a new message, which the other has not seen.
fn write_file(folder: &Path, number: u32, flags: &BTreeSet<char>) {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let letters: String = flags.iter().collect();
    let name = format!("cur/{number}.{count}.near:2,{letters}");
    fs::write(folder.join(name), text_of(number).replace('\r', "")).unwrap();
}
