//! The plan of a search: what the index knows of the texts that are sought is asked first.
//!
//! ```text
//! SINCE 1-Jan-2026 BODY "hello" NOT FROM "ann"
//!   BODY "hello"   ─► index ─► messages that contain it, and messages to be asked
//!   FROM "ann"     ─► index ─► likewise
//!                                of the time since 1-Jan-2026 alone
//! columns          dates, and the blobs of what BODY found: few rows are left   (`columns.rs`)
//! rows             those left are tested, and only what has to be asked is opened   (`scan.rs`)
//! ```
//!
//! An answer knows what was committed before it was given, and a scope shows what was committed
//! before it was taken: so a plan is made for a scope, and for no later one. Several scopes that
//! were all taken before share answers.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use engine::Account;
use engine::error::ReadError;
use engine::ids::{AccountNumber, BlobId, Lsn};
use engine::mailbox::Condition;
use engine::search::{Needle, RankedAnswer, Scope as Searched, TextAnswer, Words};
use engine::width::u64_of;

use super::columns::by_columns;
use super::like::Like;
use super::scan::Scope;
use super::test::Test;
use crate::stream::blocking;

/// From one blob to another.
type Within = (BlobId, BlobId);
/// From the lowest to the highest, and nothing at all.
const ALL: Within = (BlobId(Lsn::ZERO), BlobId(Lsn::MAX));
const NONE: Within = (BlobId(Lsn::MAX), BlobId(Lsn::ZERO));

/// What the index has answered so far.
#[derive(Default)]
pub(crate) struct Answers {
    known: HashMap<(AccountNumber, Needle, Within), Arc<TextAnswer>>,
    ranked: HashMap<(AccountNumber, Words), Arc<RankedAnswer>>,
    /// Several scopes use them.
    are_shared: bool,
}

impl Answers {
    /// For several scopes: nothing is asked for one of them alone.
    pub(crate) fn shared() -> Answers {
        Answers { are_shared: true, ..Answers::default() }
    }

    fn of(
        &mut self,
        (account, within): (&Account, Within),
        needle: Needle,
    ) -> Result<Arc<TextAnswer>, ReadError> {
        match self.known.entry((account.number(), needle, within)) {
            Entry::Occupied(known) => Ok(Arc::clone(known.get())),
            Entry::Vacant(place) => {
                let answer = account.find_text_within(&place.key().1, within)?;
                Ok(Arc::clone(place.insert(Arc::new(answer))))
            }
        }
    }

    fn ranked(&mut self, account: &Account, like: &Like) -> Result<Arc<RankedAnswer>, ReadError> {
        let answer = match self.ranked.entry((account.number(), like.words().clone())) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(place) => {
                let answer = account.find_ranked(like.words())?;
                Arc::clone(place.insert(Arc::new(answer)))
            }
        };
        like.compare_with(answer.statistics());
        Ok(answer)
    }

    /// What was asked and answered, in words.
    pub(crate) fn words(&self) -> Vec<String> {
        let exact = self.known.iter().map(|((_, needle, _), answer)| {
            let known = (answer.contains().len(), answer.to_ask().len());
            let sought = format!("{} {:?}", key_of(&needle.scope), needle.text);
            words_of(&sought, "contain it", answer.is_closed().then_some(known))
        });
        let ranked = self.ranked.iter().map(|((_, words), answer)| {
            let sought = format!("FUZZY {} {}", key_of(words.scope()), words.texts().join(" "));
            words_of(&sought, "have all words", answer.is_closed().then(|| answer.counts()))
        });
        let mut words: Vec<String> = exact.chain(ranked).collect();
        words.sort_unstable();
        words
    }
}

fn key_of(scope: &Searched) -> String {
    match scope {
        Searched::Body => "BODY".to_owned(),
        Searched::Text => "TEXT".to_owned(),
        Searched::Header(name) => name.to_ascii_uppercase(),
    }
}

fn words_of(sought: &str, has: &str, known: Option<(usize, usize)>) -> String {
    match known {
        Some((sure, ask)) => format!(
            "{sought}: the index knows {sure} messages that {has}, and {ask} that have to be opened"
        ),
        None => format!("{sought}: there is no index, every message is opened"),
    }
}

/// So few messages are opened sooner than the index is asked.
const OPENED_AT_ONCE: usize = 4;

/// A test with the index's answers in it, where it seeks text in more than a few messages.
pub(super) fn plan<'a>(
    test: &'a Test,
    scope: &Scope,
    answers: &mut Answers,
) -> Result<Cow<'a, Test>, ReadError> {
    let is_small = test.domain().count() <= u64_of(OPENED_AT_ONCE);
    if is_small || !seeks_text(test) {
        return Ok(Cow::Borrowed(test));
    }
    let asked = || {
        let within = if answers.are_shared { ALL } else { within(test, scope)? };
        asked(test, (&scope.account, within), answers)
    };
    blocking(asked).map(Cow::Owned)
}

/// Which blobs are worth asking the index about, as dates and numbers say: those of a month are
/// few of many, and lie side by side in the lists of the index.
fn within(test: &Test, scope: &Scope) -> Result<Within, ReadError> {
    let parts = match test {
        Test::And(parts) => parts.as_slice(),
        test => std::slice::from_ref(test),
    };
    let narrow = parts.iter().filter(|part| narrows(part));
    let narrow: Vec<_> = narrow.map(|part| by_columns(part, &scope.view).condition).collect();
    if narrow.is_empty() {
        return Ok(ALL);
    }
    Ok(scope.view.blobs_about(&Condition::All(narrow))?.unwrap_or(NONE))
}

fn narrows(test: &Test) -> bool {
    matches!(
        test,
        Test::Internal(..)
            | Test::Saved(..)
            | Test::Until(_)
            | Test::From(_)
            | Test::Uids(_)
            | Test::ModSeq(_)
            | Test::Thread(_)
    )
}

fn seeks_text(test: &Test) -> bool {
    match test {
        Test::Not(test) => seeks_text(test),
        Test::Or(a, b) => seeks_text(a) || seeks_text(b),
        Test::And(tests) => tests.iter().any(seeks_text),
        Test::Like(_) => true,
        test => needle(test).is_some(),
    }
}

/// What the index is asked for a test, if it knows of such.
fn needle(test: &Test) -> Option<Needle> {
    let (text, scope, reads_addresses) = match test {
        Test::Body(text) => (text, Searched::Body, false),
        Test::Text(text) => (text, Searched::Text, false),
        Test::Header(name, text) => (text, Searched::Header(name.to_ascii_lowercase()), false),
        Test::Field(field, text) => {
            (text, Searched::Header(field.name().to_ascii_lowercase()), true)
        }
        _ => return None,
    };
    Some(Needle { text: text.clone(), scope, reads_addresses })
}

/// Depth is that of the key, which the grammar bounds.
fn asked(test: &Test, of: (&Account, Within), answers: &mut Answers) -> Result<Test, ReadError> {
    Ok(match test {
        Test::Not(test) => Test::Not(Box::new(asked(test, of, answers)?)),
        Test::Or(a, b) => {
            let (mut a, mut b) = (asked(a, of, answers)?, asked(b, of, answers)?);
            if b.cost() < a.cost() {
                std::mem::swap(&mut a, &mut b);
            }
            Test::Or(Box::new(a), Box::new(b))
        }
        Test::And(tests) => {
            let mut all = Vec::with_capacity(tests.len());
            for test in tests {
                all.push(asked(test, of, answers)?);
            }
            all.sort_by_key(Test::cost);
            Test::And(all)
        }
        Test::Like(like) => Test::Ranked(answers.ranked(of.0, like)?, Arc::clone(like)),
        test => match needle(test) {
            Some(needle) => Test::Asked(answers.of(of, needle)?, Box::new(test.clone())),
            None => test.clone(),
        },
    })
}
