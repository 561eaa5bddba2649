//! A search key made ready for a scan: sets resolved to UIDs, texts folded, cheap tests first.

use engine::error::ReadError;
use engine::flags::{Keyword, SystemFlags};
use engine::message::text::fold;
use engine::uid_set::UidSet;

use super::candidate::Candidate;
use crate::codec::command::{DayTest, Numbers, SearchKey};
use crate::codec::date::Day;
use crate::session::Selected;

/// Why a key cannot be searched for.
#[derive(Debug)]
pub(super) enum CompileError {
    /// A text in another charset than the one given.
    NotUtf8,
    /// The view could not be read.
    Read(ReadError),
}

impl From<ReadError> for CompileError {
    fn from(error: ReadError) -> CompileError {
        CompileError::Read(error)
    }
}

/// A key ready for a scan.
#[derive(Debug)]
pub(super) enum Test {
    Always(bool),
    Flag(SystemFlags),
    Keyword(Keyword),
    Uids(UidSet),
    Internal(DayTest, Day),
    Sent(DayTest, Day),
    Larger(u64),
    Smaller(u64),
    ModSeq(u64),
    Header(String, String),
    Body(String),
    Text(String),
    Not(Box<Test>),
    Or(Box<Test>, Box<Test>),
    And(Vec<Test>),
}

impl Test {
    /// Makes a key ready.
    pub(super) fn compile(key: &SearchKey, selected: &Selected) -> Result<Test, CompileError> {
        let compile = |key| Test::compile(key, selected);
        Ok(match key {
            SearchKey::All => Test::Always(true),
            SearchKey::Nothing => Test::Always(false),
            SearchKey::Flag(flag) => Test::Flag(*flag),
            SearchKey::Keyword(keyword) => Test::Keyword(keyword.clone()),
            SearchKey::Sequence(set) => Test::Uids(selected.searched(Numbers::Sequence, set)?),
            SearchKey::Uid(set) => Test::Uids(selected.searched(Numbers::Uid, set)?),
            SearchKey::Internal(test, day) => Test::Internal(*test, *day),
            SearchKey::Sent(test, day) => Test::Sent(*test, *day),
            SearchKey::Larger(size) => Test::Larger(*size),
            SearchKey::Smaller(size) => Test::Smaller(*size),
            SearchKey::ModSeq(modseq) => Test::ModSeq(*modseq),
            SearchKey::Field(field, text) => Test::Header(field.name().to_owned(), folded(text)?),
            SearchKey::Header(name, text) => Test::Header(utf8(name)?.to_owned(), folded(text)?),
            SearchKey::Body(text) => Test::Body(folded(text)?),
            SearchKey::Text(text) => Test::Text(folded(text)?),
            SearchKey::Not(key) => Test::Not(Box::new(compile(key)?)),
            SearchKey::Or(a, b) => {
                let (mut a, mut b) = (compile(a)?, compile(b)?);
                if b.cost() < a.cost() {
                    std::mem::swap(&mut a, &mut b);
                }
                Test::Or(Box::new(a), Box::new(b))
            }
            SearchKey::And(keys) => {
                let mut tests = Vec::with_capacity(keys.len());
                for key in keys {
                    tests.push(compile(key)?);
                }
                tests.sort_by_key(Test::cost);
                Test::And(tests)
            }
        })
    }

    /// 0: the row tells; 1: the summary; 2: the header; 3: the whole message.
    fn cost(&self) -> u8 {
        match self {
            Test::Sent(..) => 1,
            Test::Header(..) => 2,
            Test::Body(_) | Test::Text(_) => 3,
            Test::Not(test) => test.cost(),
            Test::Or(a, b) => a.cost().max(b.cost()),
            Test::And(tests) => tests.iter().map(Test::cost).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// UIDs outside of which nothing can match.
    pub(super) fn domain(&self) -> UidSet {
        match self {
            Test::Uids(uids) => uids.clone(),
            Test::Always(false) => UidSet::new(),
            Test::And(tests) => {
                let bounded = |test: &&Test| {
                    matches!(test, Test::Uids(_) | Test::Always(false) | Test::And(_))
                };
                let domains = tests.iter().filter(bounded).map(Test::domain);
                domains.min_by_key(UidSet::count).unwrap_or_else(everything)
            }
            _ => everything(),
        }
    }

    /// Whether a message passes.
    pub(super) fn holds(&self, candidate: &mut Candidate<'_>) -> Result<bool, ReadError> {
        let row = candidate.row;
        Ok(match self {
            Test::Always(holds) => *holds,
            Test::Flag(flag) => row.flags.contains(*flag),
            Test::Keyword(keyword) => candidate.has_keyword(keyword),
            Test::Uids(uids) => uids.contains(row.uid),
            Test::Internal(test, day) => test.holds(Day::of(row.received), *day),
            Test::Sent(test, day) => {
                let sent = candidate.summary()?.sent_date;
                // A message without a date has been sent on no day.
                sent.is_some_and(|sent| {
                    let sent = Day { year: sent.year, month: sent.month, day: sent.day };
                    test.holds(sent, *day)
                })
            }
            Test::Larger(size) => u64::from(row.size) > *size,
            Test::Smaller(size) => u64::from(row.size) < *size,
            Test::ModSeq(modseq) => row.modseq.bits() >= *modseq,
            Test::Header(name, text) => candidate.header_contains(name, text)?,
            Test::Body(text) => candidate.body_contains(text)?,
            Test::Text(text) => candidate.text_contains(text)?,
            Test::Not(test) => !test.holds(candidate)?,
            Test::Or(a, b) => a.holds(candidate)? || b.holds(candidate)?,
            Test::And(tests) => {
                for test in tests {
                    if !test.holds(candidate)? {
                        return Ok(false);
                    }
                }
                true
            }
        })
    }
}

fn everything() -> UidSet {
    UidSet::from_ranges([(1, u32::MAX)])
}

fn utf8(text: &[u8]) -> Result<&str, CompileError> {
    std::str::from_utf8(text).map_err(|_| CompileError::NotUtf8)
}

fn folded(text: &[u8]) -> Result<String, CompileError> {
    utf8(text).map(fold)
}
