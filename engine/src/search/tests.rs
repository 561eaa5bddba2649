//! The index answers what the text of the messages answers, however splits are cut and merged.

use proptest::prelude::*;

use super::block::MemoryBlocks;
use super::builder::SplitBuilder;
use super::documents::decode;
use super::merge::{Merged, merge};
use super::ranked::Language;
use super::set::MessageSet;
use super::split::Split;
use super::texts::Texts;
use super::*;
use crate::message::text::{SearchText, fold};
use crate::message::{StoredSummary, Summary};

/// What the extractor is set to.
const SETTINGS: u64 = 7;

/// A message, and what SEARCH sees of it.
struct Mail {
    text: SearchText,
    documents: Vec<DocumentText>,
    summary: StoredSummary,
}

impl Mail {
    fn of((message, documents): &(Vec<u8>, Vec<DocumentText>)) -> Mail {
        let summary = Summary::parse(message);
        let mut text = SearchText::new(message, &summary.structure);
        documents.iter().for_each(|one| text.add_document(&one.text));
        let bytes = summary.encode();
        let documents = documents.clone();
        Mail { text, documents, summary: StoredSummary::of(&bytes).unwrap() }
    }

    fn add_to(&self, builder: &mut SplitBuilder, blob: u64) {
        builder.keep_documents(&self.documents);
        builder.add(blob, &Texts::of(&self.text, &self.summary));
    }

    /// What the text itself says.
    fn contains(&self, needle: &Needle) -> bool {
        match &needle.scope {
            Scope::Body => self.text.body_contains(&needle.text),
            Scope::Text => self.text.text_contains(&needle.text),
            Scope::Header(name) => self.text.header_contains(name, &needle.text),
        }
    }
}

fn split_of(mails: &[Mail], first: u64) -> Split {
    let mut builder = SplitBuilder::with(SETTINGS);
    for (blob, mail) in (first..).zip(mails) {
        mail.add_to(&mut builder, blob);
    }
    let blocks = builder.write(MemoryBlocks::default()).unwrap();
    Split::open(Box::new(blocks)).unwrap()
}

/// Compares what a split says with what the messages say.
fn compare(split: &Split, mails: &[&Mail], needle: &Needle) {
    let found = split.find(needle).unwrap();
    assert_eq!(split.document_places().settings, SETTINGS);
    for (number, mail) in (0u32..).zip(mails) {
        let kept = split.documents(number).unwrap().map(|(_, entry)| decode(&entry).unwrap());
        assert_eq!(kept.unwrap_or_default(), mail.documents, "documents of message {number}");
        let contains = mail.contains(needle);
        let (sure, ask) = (found.sure.contains(number), found.ask.contains(number));
        assert!(!(sure && ask), "{needle:?}: message {number} is sure and is asked");
        assert!(contains || !sure, "{needle:?}: message {number} does not contain it");
        assert!(!contains || sure || ask, "{needle:?}: message {number} is missed");
    }
}

/// Few words, of few letters, with what joins and separates.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "b", "ab", "ba", "abba", "o", " ", " ", " ", "  ", ", ", "_", ".", "-", "@", ": ",
        "\r\n", "東", "京", "か", "\u{3099}", "\u{301}", "ä", "ß", "a.b@ab.a", "1", "!",
    ]);
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn line() -> impl Strategy<Value = String> {
    text().prop_map(|text| text.replace("\r\n", " "))
}

fn documents() -> impl Strategy<Value = Vec<DocumentText>> {
    let flaw = prop::sample::select(vec![None, Some(Flaw::Failed), Some(Flaw::Cut)]);
    let document = (flaw, text()).prop_map(|(flaw, text)| DocumentText { flaw, text });
    prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(document, 1..4)]
}

fn mail() -> impl Strategy<Value = Vec<u8>> {
    (line(), line(), line(), line(), text(), text()).prop_map(
        |(from, subject, odd, name, body, more)| {
            let name = name.replace(['"', '\\'], "");
            format!(
                "From: {from} <a.b@ab.example>\r\nTo: (c) ab @ ba.example\r\n\
                 Subject: {subject}\r\nX-Ab: {odd}\r\n\
                 Content-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\
                 Content-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n--q\r\n\
                 Content-Type: text/html; charset=utf-8; name=\"{name}\"\r\n\
                 X-Ba: {odd}\r\n\r\n{more}\r\n--q--\r\n"
            )
            .into_bytes()
        },
    )
}

fn needle() -> impl Strategy<Value = Needle> {
    let names = ["from", "to", "cc", "subject", "x-ab", "x-ba", "content-type", "x-none"];
    let scope = prop_oneof![
        Just(Scope::Body),
        Just(Scope::Text),
        prop::sample::select(names.to_vec()).prop_map(|name| Scope::Header(name.to_owned())),
    ];
    let text = prop_oneof![
        4 => text().prop_map(|text| text.chars().take(5).collect::<String>()),
        1 => prop::sample::select(vec!["subject: a", "ject:", "x-ab: ", "type", ": a", "x-", "-ab"])
            .prop_map(str::to_owned),
    ];
    (text, scope).prop_map(|(text, scope)| Needle {
        text: fold(&text),
        scope,
        reads_addresses: false,
    })
}

#[test]
fn the_format_is_the_one_that_was_reviewed() {
    let mails = [
        "From: Ann <ann@example.org>\r\nSubject: The harbour\r\n\r\nIt is in the harbour.\r\n",
        "From: Bob <bob@example.org>\r\nSubject: Der Hafen\r\n\r\nDas ist nicht der Hafen.\r\n",
    ];
    let mut builder = SplitBuilder::default();
    let mails = mails.map(|mail| Mail::of(&(mail.as_bytes().to_vec(), Vec::new())));
    for (blob, mail) in (70..).zip(&mails) {
        builder.add(blob, &Texts::of(&mail.text, &mail.summary));
    }
    let blocks = builder.write(MemoryBlocks::default()).unwrap();
    crate::golden::compare("split_2.bin", &blocks.blocks.concat());
    let split = Split::open(Box::new(blocks)).unwrap();
    assert_eq!(split.languages(), [Language::ENGLISH.0, Language::GERMAN.0]);
}

proptest! {
    #[test]
    fn a_split_says_what_the_messages_say(
        mails in proptest::collection::vec((mail(), documents()), 1..12),
        needles in proptest::collection::vec(needle(), 1..40),
        dead in proptest::collection::btree_set(0usize..12, 0..4),
        cut in 0usize..12,
    ) {
        let mails: Vec<Mail> = mails.iter().map(Mail::of).collect();
        let all: Vec<&Mail> = mails.iter().collect();
        let split = split_of(&mails, 100);
        for needle in &needles {
            compare(&split, &all, needle);
        }

        let (one, other) = mails.split_at(cut.min(mails.len()));
        let parts = [split_of(one, 100), split_of(other, 100 + one.len() as u64)];
        let mut from = 0;
        let inputs: Vec<Merged<'_>> = parts.iter().map(|split| {
            let mut alive = MessageSet::full(split.message_count());
            for message in 0..split.message_count() {
                if dead.contains(&(from + message as usize)) {
                    let mut gone = MessageSet::empty(split.message_count());
                    gone.insert(message);
                    alive.subtract(&gone);
                }
            }
            from += split.message_count() as usize;
            Merged { split, alive }
        }).collect();
        let blocks = merge(&inputs, MemoryBlocks::default(), || true).unwrap().unwrap();
        let merged = Split::open(Box::new(blocks)).unwrap();
        let living: Vec<&Mail> = mails.iter().enumerate()
            .filter(|(index, _)| !dead.contains(index)).map(|(_, mail)| mail).collect();
        prop_assert_eq!(merged.message_count() as usize, living.len());
        for needle in &needles {
            compare(&merged, &living, needle);
        }
        if dead.is_empty() {
            let bytes = |blocks: MemoryBlocks| blocks.blocks.concat();
            let mut builder = SplitBuilder::with(SETTINGS);
            for (blob, mail) in (100..).zip(&mails) {
                mail.add_to(&mut builder, blob);
            }
            let whole = bytes(builder.write(MemoryBlocks::default()).unwrap());
            let blocks = merge(&inputs, MemoryBlocks::default(), || true).unwrap().unwrap();
            prop_assert_eq!(bytes(blocks), whole, "a merge makes what is made at once");
        }
    }
}
