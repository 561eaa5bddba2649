//! Ranked search finds in splits what its definition finds in texts, over a sample of the corpus.
//!
//! The definition is [`Words::score`], which reads the text of one message and knows no index; the
//! queries are words of the messages themselves, with other endings and with typing errors. What
//! came after the splits were made has to be asked, and is compared, too.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a test may fail"
)]

mod corpus;

use std::path::Path;

use engine::flags::FlagList;
use engine::ids::{BlobId, UnixSeconds};
use engine::message::Summary;
use engine::message::generator::Generator;
use engine::message::text::SearchText;
use engine::seal::{Argon2Cost, Secret};
use engine::search::{RankedAnswer, RankedVerdict, Scope, Score, Words};
use engine::{Account, InitOptions, KeySource, NewAccount, NewMessage, OpenOptions, Store};

/// Every so many of the corpus's messages.
const SAMPLED: usize = 24;
const QUERIES: usize = 200;
const QUERIES_LATER: usize = 50;
const ENDINGS: [&str; 8] = ["s", "es", "ed", "ing", "en", "e", "er", "ungen"];

/// The store, and what is in it.
struct Ranked {
    store: Store,
    account: Account,
    messages: Vec<(BlobId, SearchText)>,
}

fn store_in(folder: &Path) -> Ranked {
    let key = || KeySource::KeyFile(folder.join("key"));
    Store::init(&folder.join("data"), &InitOptions { key: key() }).unwrap();
    let mut options = OpenOptions::new(key());
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    let (store, _) = Store::open(&folder.join("data"), options).unwrap();
    store.add_domain("example.org").unwrap();
    let (name, password) = ("reader@example.org".to_owned(), Secret::new("x".to_owned()));
    store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let account = store.account("reader@example.org").unwrap().unwrap();
    Ranked { store, account, messages: Vec::new() }
}

impl Ranked {
    fn append(&mut self, messages: &[Vec<u8>]) {
        let inbox = self.account.mailbox("INBOX").unwrap().unwrap();
        for batch in messages.chunks(200) {
            let new = batch.iter().map(|message| NewMessage {
                prepared: self.store.prepare(message, &[self.account.number()]).unwrap(),
                flags: FlagList::default(),
                received: UnixSeconds(1_700_000_000),
            });
            let appended = inbox.append(new.collect()).wait().unwrap();
            let view = inbox.view().unwrap().unwrap();
            for (message, uid) in batch.iter().zip(appended.uids) {
                let structure = Summary::parse(message).structure;
                let blob = view.row(uid).unwrap().unwrap().blob;
                self.messages.push((blob, SearchText::new(message, &structure)));
            }
        }
    }

    fn index(&self) {
        self.store.rebuild_index(self.account.number(), &mut |_, _| {}).unwrap();
    }

    /// A word or three of one message, some of them not quite as they stand there.
    fn query(&self, dice: &mut Generator) -> Words {
        loop {
            let mut below = |bound: usize| (dice.number() % bound.max(1) as u64) as usize;
            let (_, text) = &self.messages[below(self.messages.len())];
            let (scope, texts): (Scope, Vec<&str>) = match below(4) {
                0 => (Scope::Text, text.body_texts().chain(text.field_texts("from")).collect()),
                1 => (Scope::Body, text.body_texts().collect()),
                _ => {
                    let name = ["subject", "from", "to"][below(3)];
                    (Scope::Header(name.to_owned()), text.field_texts(name).collect())
                }
            };
            let words: Vec<&str> =
                texts.iter().flat_map(|text| text.split_whitespace()).take(400).collect();
            let from = below(words.len());
            let count = 1 + below(3);
            let query: Vec<String> =
                words.iter().skip(from).take(count).map(|word| altered(word, dice)).collect();
            if let Some(words) = Words::new(&query.join(" "), scope) {
                return words;
            }
        }
    }

    /// Compares some queries; answers how many messages were found by the index, and by being
    /// asked.
    fn compare(&self, dice: &mut Generator, queries: usize) -> (usize, usize) {
        let (mut found, mut asked) = (0, 0);
        for _ in 0..queries {
            let words = self.query(dice);
            let answer = self.account.find_ranked(&words).unwrap();
            for (blob, text) in &self.messages {
                let (here, by_asking) = compare_one(&answer, &words, *blob, text);
                found += here;
                asked += by_asking;
            }
        }
        (found, asked)
    }
}

fn compare_one(
    answer: &RankedAnswer,
    words: &Words,
    blob: BlobId,
    text: &SearchText,
) -> (usize, usize) {
    let expected = words.score(text, answer.statistics());
    match answer.verdict(blob) {
        RankedVerdict::Has(Score(found)) => {
            let Some(Score(expected)) = expected else {
                panic!("{words:?} is not in {blob:?}");
            };
            // Sums in another order.
            assert!(found.abs_diff(expected) <= 1, "{words:?}: {found} for {expected}");
            (1, 0)
        }
        RankedVerdict::Lacks => {
            assert_eq!(expected, None, "{words:?} in {blob:?} is missed");
            (0, 0)
        }
        RankedVerdict::Ask => (0, usize::from(expected.is_some())),
    }
}

/// A word with another ending, or with a typing error or two; mostly as it is.
fn altered(word: &str, dice: &mut Generator) -> String {
    let mut below = |bound: usize| (dice.number() % bound.max(1) as u64) as usize;
    let mut letters: Vec<char> = word.chars().take(40).collect();
    match below(5) {
        0 => letters.extend(ENDINGS[below(ENDINGS.len())].chars()),
        1 | 2 => {
            for _ in 0..1 + below(2) {
                let at = below(letters.len());
                match below(4) {
                    0 if letters.len() > 2 => drop(letters.remove(at)),
                    1 => letters.insert(at, 'q'),
                    2 if at + 1 < letters.len() => letters.swap(at, at + 1),
                    _ => letters[at] = 'x',
                }
            }
        }
        _ => {}
    }
    letters.into_iter().collect()
}

#[test]
fn the_index_ranks_as_the_texts_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut ranked = store_in(folder.path());
    let all = corpus::messages();
    let step = if all.len() > 10_000 { SAMPLED } else { 1 };
    let messages: Vec<Vec<u8>> = all.into_iter().step_by(step).collect();
    let (first, later) = messages.split_at(messages.len() - 200);
    ranked.append(first);
    ranked.index();
    let mut dice = Generator::new(3);
    let (found, _) = ranked.compare(&mut dice, QUERIES);
    println!("{QUERIES} queries found {found} times a message of {}", first.len());
    assert!(found > QUERIES, "most queries find something");

    ranked.append(later);
    let (_, asked) = ranked.compare(&mut dice, QUERIES_LATER);
    assert!(asked > 0, "what came later is asked");
    ranked.store.close();
}
