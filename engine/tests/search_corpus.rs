//! What the index answers is what a scan of every message's text answers, over the whole corpus.
//!
//! Thousands of needles: pieces of the messages' own texts, cut anywhere, and some that nobody
//! wrote. Nothing that a scan finds may be missed, nothing that it does not find may be sure; and
//! the scan here knows no tokens.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test may fail"
)]

mod corpus;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use engine::flags::FlagList;
use engine::ids::{BlobId, UnixSeconds};
use engine::message::Summary;
use engine::message::generator::Generator;
use engine::message::text::SearchText;
use engine::seal::{Argon2Cost, Secret};
use engine::search::{Needle, Scope, Verdict};
use engine::uid_set::UidSet;
use engine::{
    Account, InitOptions, KeySource, Mailbox, NewAccount, NewMessage, OpenOptions, Store,
};

/// Needles of the whole corpus in one split or a few.
const NEEDLES: usize = 1500;
/// The same after messages came and went.
const NEEDLES_LATER: usize = 250;
/// Ends texts in a haystack; no text has it, because none of ours does.
const END: char = '\u{0}';
const HEADERS: [&str; 6] = ["from", "to", "cc", "subject", "received", "x-mailer"];

/// Texts of many messages, end to end.
#[derive(Default)]
struct Haystack {
    text: String,
    /// Where each message's texts end, and which message it is.
    ends: Vec<(usize, usize)>,
}

impl Haystack {
    fn add<'a>(&mut self, message: usize, texts: impl Iterator<Item = &'a str>) {
        for text in texts {
            self.text += text;
            self.text.push(END);
        }
        self.ends.push((self.text.len(), message));
    }

    fn find(&self, needle: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut from = 0;
        let finder = memchr::memmem::Finder::new(needle);
        while let Some(at) = self.text.get(from..).and_then(|rest| finder.find(rest.as_bytes())) {
            let place = self.ends.partition_point(|(end, _)| *end <= from + at);
            let Some((end, message)) = self.ends.get(place) else { break };
            found.insert(*message);
            // The next message: this one is found.
            from = *end;
        }
        found
    }
}

/// What a scan sees.
#[derive(Default)]
struct Scan {
    bodies: Haystack,
    lines: Haystack,
    fields: HashMap<&'static str, Haystack>,
    /// Messages that have a field at all.
    with: HashMap<&'static str, BTreeSet<usize>>,
}

impl Scan {
    fn add(&mut self, message: usize, text: &SearchText) {
        self.bodies.add(message, text.body_texts());
        let line = |(name, value): (&str, &str)| match name {
            "" => value.to_owned(),
            name => format!("{name}: {value}"),
        };
        let lines: Vec<String> = text.own_fields().chain(text.part_fields()).map(line).collect();
        self.lines.add(message, lines.iter().map(String::as_str));
        for name in HEADERS {
            let haystack = self.fields.entry(name).or_default();
            haystack.add(message, text.field_texts(name));
            if text.field_texts(name).next().is_some() {
                self.with.entry(name).or_default().insert(message);
            }
        }
    }

    fn find(&self, needle: &Needle) -> BTreeSet<usize> {
        let text = needle.text.as_str();
        match &needle.scope {
            Scope::Body => self.bodies.find(text),
            Scope::Text => &self.bodies.find(text) | &self.lines.find(text),
            Scope::Header(name) => match text {
                "" => self.with.get(name.as_str()).cloned().unwrap_or_default(),
                text => self.fields[name.as_str()].find(text),
            },
        }
    }

    /// A piece of what is there, cut anywhere; sometimes something that is not.
    fn needle(&self, dice: &mut Generator) -> Needle {
        let mut below = |bound: usize| (dice.number() % bound.max(1) as u64) as usize;
        let (scope, haystack) = match below(5) {
            0 | 1 => (Scope::Body, &self.bodies),
            2 => (Scope::Text, [&self.bodies, &self.lines][below(2)]),
            _ => {
                let name = HEADERS[below(HEADERS.len())];
                (Scope::Header(name.to_owned()), &self.fields[name])
            }
        };
        let mut from = below(haystack.text.len());
        while !haystack.text.is_char_boundary(from) {
            from += 1;
        }
        let longest = [4, 12, 40][below(3)];
        let length = 1 + below(longest);
        let piece = haystack.text[from..].chars().take(length).take_while(|&c| c != END);
        let mut text: String = piece.collect();
        if below(12) == 0 {
            text = text.chars().rev().collect();
        }
        // Nothing is in every text, also in one that is not there.
        if text.is_empty() {
            text.push('q');
        }
        Needle { text, scope, reads_addresses: false }
    }
}

/// The store, and what is in it: each message's blob, while it lives.
struct Indexed {
    store: Store,
    account: Account,
    blobs: Vec<Option<BlobId>>,
    scan: Scan,
}

impl Indexed {
    /// Compares some needles; answers for how many of them most messages had to be asked.
    fn compare(&self, dice: &mut Generator, needles: usize) -> usize {
        let mut asking = 0;
        for _ in 0..needles {
            let needle = self.scan.needle(dice);
            let expected = self.scan.find(&needle);
            let answer = self.account.find_text(&needle).unwrap();
            let mut asked = 0;
            for (message, blob) in self.blobs.iter().enumerate() {
                let Some(blob) = blob else { continue };
                let contains = expected.contains(&message);
                match answer.verdict(*blob) {
                    Verdict::Contains => assert!(contains, "{needle:?} is not in {message}"),
                    Verdict::Lacks => assert!(!contains, "{needle:?} in {message} is missed"),
                    Verdict::Ask => asked += 1,
                }
            }
            asking += usize::from(asked * 2 > self.blobs.len());
        }
        asking
    }

    fn mailbox(&self, name: &str) -> Mailbox {
        self.account.mailbox(name).unwrap().unwrap()
    }

    /// Appends messages that the scan knows by the numbers from here on.
    fn append(&mut self, messages: &[Vec<u8>]) {
        let inbox = self.mailbox("INBOX");
        for batch in messages.chunks(200) {
            let new = batch.iter().map(|message| NewMessage {
                prepared: self.store.prepare(message, &[self.account.number()]).unwrap(),
                flags: FlagList::default(),
                received: UnixSeconds(1_700_000_000),
            });
            let appended = inbox.append(new.collect()).wait().unwrap();
            let view = inbox.view().unwrap().unwrap();
            for (message, uid) in batch.iter().zip(appended.uids) {
                let summary = Summary::parse(message);
                self.scan.add(self.blobs.len(), &SearchText::new(message, &summary.structure));
                self.blobs.push(view.row(uid).unwrap().map(|row| row.blob));
            }
        }
    }

    fn index(&self) {
        self.store.rebuild_index(self.account.number(), &mut |_, _| {}).unwrap();
    }
}

fn options(folder: &Path) -> OpenOptions {
    let mut options = OpenOptions::new(KeySource::KeyFile(folder.join("key")));
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    options
}

fn open(folder: &Path) -> Store {
    let (store, report) = Store::open(&folder.join("data"), options(folder)).unwrap();
    assert_eq!(report.damage, []);
    store
}

#[test]
fn the_index_answers_what_a_scan_of_every_text_answers() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeySource::KeyFile(folder.path().join("key"));
    Store::init(&folder.path().join("data"), &InitOptions { key }).unwrap();
    let store = open(folder.path());
    store.add_domain("example.org").unwrap();
    let (name, password) = ("reader@example.org".to_owned(), Secret::new("x".to_owned()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let account = store.account("reader@example.org").unwrap().unwrap();
    let (blobs, scan) = (Vec::new(), Scan::default());
    let mut indexed = Indexed { store, account, blobs, scan };
    let messages = corpus::messages();
    let (first, later) = messages.split_at(messages.len() - messages.len().min(400));
    indexed.append(first);
    indexed.index();
    let mut dice = Generator::new(7);
    let asking = indexed.compare(&mut dice, NEEDLES);
    println!("{NEEDLES} needles: of {asking} the index said little");
    // Those that are punctuation, or a letter or two on both sides of a blank.
    assert!(asking < NEEDLES / 3, "the index answers most by itself");

    // What is not indexed yet is found, too; what is gone is not asked for; copies are found.
    indexed.append(later);
    indexed.compare(&mut dice, NEEDLES_LATER);
    let inbox = indexed.mailbox("INBOX");
    indexed.account.create_mailbox("Copies", None).wait().unwrap();
    inbox.copy(&UidSet::from_ranges([(10, 400)]), &indexed.mailbox("Copies")).wait().unwrap();
    let gone = UidSet::from_ranges([(1, 300), (700, 900)]);
    indexed.account.create_mailbox("Gone", None).wait().unwrap();
    inbox.move_to(&gone, &indexed.mailbox("Gone")).wait().unwrap();
    indexed.account.delete_mailbox("Gone").wait().unwrap();
    for uid in gone.ranges().iter().flat_map(|&(first, last)| first..=last) {
        if !(10..=400).contains(&uid) {
            indexed.blobs[uid as usize - 1] = None;
        }
    }
    indexed.compare(&mut dice, NEEDLES_LATER);
    let Indexed { store, account, blobs, scan } = indexed;
    drop((account, inbox));
    store.close();
    drop(store);
    let store = open(folder.path());
    let account = store.account("reader@example.org").unwrap().unwrap();
    let indexed = Indexed { store, account, blobs, scan };
    indexed.compare(&mut dice, NEEDLES_LATER);
    indexed.store.close();
}
