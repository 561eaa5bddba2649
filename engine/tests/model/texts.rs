//! What the full-text index says of texts, beside what the model's messages hold.
//!
//! The model knows nothing of tokens, nor of how the text of a message is made: its messages are so
//! plain that their bytes are their text.

use std::collections::HashMap;

use engine::ids::{BlobId, Uid};
use engine::search::{Needle, Scope, TextAnswer, Verdict};

use crate::run::Run;

/// Where a needle is sought.
#[derive(Clone, Copy)]
enum Place {
    Subject,
    Body,
    Anywhere,
}

/// What is sought after each step. Subjects are numbers; bodies are the letter x so many times, and
/// some have lines of base64 behind it.
const SOUGHT: [(&str, Place); 8] = [
    ("1", Place::Subject),
    ("12", Place::Subject),
    ("3", Place::Anywhere),
    ("subject: 2", Place::Anywhere),
    ("xxxx", Place::Body),
    ("qujdq", Place::Body),
    ("jdqu", Place::Body),
    ("nothing of this kind", Place::Body),
];

/// Which of what is sought a text has; texts are told by their numbers.
#[derive(Default)]
pub(crate) struct Texts {
    known: HashMap<Vec<u8>, [bool; SOUGHT.len()]>,
    /// Messages of which the index, by itself, has said something.
    pub(crate) decided: u64,
}

impl Texts {
    fn of(&mut self, text: &[u8]) -> [bool; SOUGHT.len()] {
        let end = text.windows(4).position(|four| four == b"\r\n\r\n").expect("a header ends");
        let (header, body) = (&text[..end], &text[end + 4..]);
        if let Some(known) = self.known.get(header) {
            return *known;
        }
        let small = |bytes: &[u8]| String::from_utf8(bytes.to_ascii_lowercase()).unwrap();
        let (header, body) = (small(header), small(body));
        let value = header.strip_prefix("subject: ").unwrap();
        let has = SOUGHT.map(|(needle, place)| match place {
            Place::Subject => value.contains(needle),
            Place::Body => body.contains(needle),
            Place::Anywhere => header.contains(needle) || body.contains(needle),
        });
        self.known.insert(text[..end].to_vec(), has);
        has
    }

    fn compare(&mut self, answers: &[TextAnswer], blob: BlobId, text: &[u8], about: &str) {
        let has = self.of(text);
        for ((answer, has), (needle, _)) in answers.iter().zip(has).zip(SOUGHT) {
            match answer.verdict(blob) {
                Verdict::Ask => continue,
                Verdict::Contains => assert!(has, "{needle:?} is said to be in {about}"),
                Verdict::Lacks => assert!(!has, "{needle:?} is missed in {about}"),
            }
            self.decided += 1;
        }
    }
}

fn needle((text, place): (&str, Place)) -> Needle {
    let scope = match place {
        Place::Subject => Scope::Header("subject".into()),
        Place::Body => Scope::Body,
        Place::Anywhere => Scope::Text,
    };
    Needle { text: text.to_owned(), scope, reads_addresses: false }
}

impl Run {
    /// Asks the index of every account for everything that is sought.
    pub(crate) fn compare_texts(&mut self) {
        for name in self.model.accounts.keys().cloned().collect::<Vec<_>>() {
            let account = self.account(&name);
            let views: Vec<_> = self.model.accounts[&name]
                .mailboxes
                .keys()
                .map(|mailbox| {
                    let found = account.mailbox(mailbox).unwrap().expect("the model has it");
                    (mailbox, found.view().unwrap().expect("it is there"))
                })
                .collect();
            let ask = |sought| account.find_text(&needle(sought)).unwrap();
            let answers = SOUGHT.map(ask);
            for (mailbox, view) in views {
                let expected = &self.model.accounts[&name].mailboxes[mailbox].messages;
                for row in view.rows_from(Uid(1), usize::MAX >> 1).unwrap() {
                    let message = &expected[&row.uid.0];
                    let about = format!("{name} {mailbox} UID {}", row.uid);
                    self.texts_seen.compare(&answers, row.blob, &message.text, &about);
                }
            }
        }
    }

    /// Does all that the index has to do; then its folder holds what it names, and nothing else.
    pub(crate) fn finish_index(&self) {
        while self.store().index_step() {}
        let named: u64 = self
            .model
            .accounts
            .keys()
            .map(|name| self.account(name).index_status().unwrap().figures.split_count)
            .sum();
        let folder = self.directory().join("volumes/main/index");
        let files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().collect();
        assert_eq!(files.len() as u64, named, "{files:?}");
    }
}
