//! `check` of the full-text index: its files, against the messages that they claim to know.
//!
//! Every block of every file is opened: one that does not is damage, which costs the file and no
//! answer, since its messages are read then. A file may also be whole and wrong, if whoever made it
//! was; only the messages can tell. All words of all messages would take as long as making the
//! index anew, so this is a sample: of each split [`SAMPLED_MESSAGES`] of its living messages,
//! evenly spread, and of each of these [`SAMPLED_WORDS`] words of every kind. Each has to be found
//! in its message, or be left to be asked; and the words of one message's Subject, From and To are
//! not to be found in the next, if that has them not. A small split is looked at wholly; in a large
//! one that mixes up one message in ten, chances are 97 of a hundred to see it.

use std::sync::atomic::Ordering;

use super::Store;
use crate::check::{CheckReport, Loss, Problem};
use crate::error::ReadError;
use crate::ids::AccountNumber;
use crate::message::text::SearchText;
use crate::search::{Needle, OpenSplit, Scope};

const SAMPLED_MESSAGES: usize = 32;
/// Of the body, and of each field that is looked at.
const SAMPLED_WORDS: usize = 12;
/// Longer words are cut: nobody seeks them whole.
const WORD_CHARACTERS_MAX: usize = 40;

/// What is wrong with a split.
type Wrong = String;

impl Store {
    /// Compares the files of the index with what they are about. Files are not flushed, so a power
    /// cut may leave some that are damaged, and that is no problem.
    pub(super) fn check_index(&self, report: &mut CheckReport) -> Result<(), ReadError> {
        let index = &self.inner.indexing.index;
        for account in index.accounts() {
            for split in index.splits_of(account)? {
                report.index_file_count += 1;
                let wrong = split.verify().and_then(|()| self.wrong_with(account, &split));
                match wrong {
                    Ok(None) => {}
                    Ok(Some(what)) => {
                        report.add(self.wrong_split(account, &split, &what));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a file of the index is made anew when it is read");
                        report.index_damaged_count += 1;
                    }
                }
            }
        }
        Ok(())
    }

    fn wrong_split(&self, account: AccountNumber, split: &OpenSplit, what: &str) -> Problem {
        let state = self.inner.committed.account(account);
        let name = state.map_or_else(|| account.to_string(), |state| state.profile.name.clone());
        let file = self.inner.indexing.index.folder().path(account, split.id());
        Problem {
            about: format!("{}, of the full-text index of {name}", file.display()),
            uid: None,
            what: format!("{what}; 'pillarbox index rebuild {name}' makes the index anew"),
            loss: Loss::Shown,
        }
    }

    /// The first that is found.
    fn wrong_with(
        &self,
        account: AccountNumber,
        split: &OpenSplit,
    ) -> Result<Option<Wrong>, ReadError> {
        let last = self.inner.commit_status.last_lsn.load(Ordering::Relaxed);
        if let Some(strange) = split.all().find(|blob| blob.0.bits() > last) {
            return Ok(Some(format!("it knows message {strange}, which there never was")));
        }
        let living = self.inner.indexing.index.living(account)?;
        let alive = split.living(|blob| living.binary_search(&blob).is_ok());
        let alive: Vec<u32> = alive.iter().collect();
        let mut others = Vec::new();
        for &message in spread(&alive, SAMPLED_MESSAGES) {
            let Some(blob) = split.split().blob(message) else { continue };
            // Gone meanwhile, or damaged, which is reported as a message's.
            let Ok((bytes, summary)) = self.inner.message_and_summary(account, blob) else {
                continue;
            };
            let text = SearchText::new(&bytes, &summary.structure_tree());
            let own = sampled(&text);
            for needle in &own {
                let found = split.split().find(needle)?;
                if !found.sure.contains(message) && !found.ask.contains(message) {
                    return Ok(Some(format!("a word of message {blob} is not found in it")));
                }
            }
            for needle in &others {
                let found = split.split().find(needle)?;
                if found.sure.contains(message) && !has(&text, needle) {
                    return Ok(Some(format!("message {blob} is found by a word that it lacks")));
                }
            }
            others = own.into_iter().filter(|needle| is_of_envelope(&needle.scope)).collect();
        }
        Ok(None)
    }
}

/// Subject, or people: what no extractor adds to.
fn is_of_envelope(scope: &Scope) -> bool {
    matches!(scope, Scope::Header(_))
}

fn has(text: &SearchText, needle: &Needle) -> bool {
    match &needle.scope {
        Scope::Header(name) => text.header_contains(name, &needle.text),
        _ => text.text_contains(&needle.text),
    }
}

fn needle(text: &str, scope: Scope) -> Needle {
    Needle { text: text.to_owned(), scope, reads_addresses: false }
}

/// Words of a message, with where they stand.
fn sampled(text: &SearchText) -> Vec<Needle> {
    let mut needles = Vec::new();
    let mut take = |texts: &mut dyn Iterator<Item = &str>, scope: &Scope| {
        let words: Vec<&str> = texts.flat_map(str::split_whitespace).collect();
        for word in spread(&words, SAMPLED_WORDS) {
            let word: String = word.chars().take(WORD_CHARACTERS_MAX).collect();
            needles.push(needle(&word, scope.clone()));
        }
    };
    take(&mut text.body_texts(), &Scope::Body);
    take(&mut text.header_texts(), &Scope::Text);
    for name in ["subject", "from", "to"] {
        take(&mut text.field_texts(name), &Scope::Header(name.to_owned()));
    }
    needles
}

/// At most so many of them, evenly spread.
fn spread<T>(all: &[T], count: usize) -> impl Iterator<Item = &T> {
    let step = all.len().div_ceil(count.max(1)).max(1);
    all.iter().step_by(step)
}
