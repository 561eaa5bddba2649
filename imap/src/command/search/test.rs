//! A search key made ready for a scan: sets resolved to UIDs, texts folded, cheap tests first.

use std::sync::Arc;

use engine::error::ReadError;
use engine::flags::{Keyword, SystemFlags};
use engine::ids::{EmailId, ThreadId, UnixSeconds};
use engine::message::text::fold;
use engine::search::{RankedAnswer, RankedVerdict, Scope, Score, TextAnswer, Verdict};
use engine::uid_set::UidSet;

use super::candidate::Candidate;
use super::like::Like;
use crate::codec::command::{DayTest, Numbers, SearchField, SearchKey};
use crate::codec::date::Day;
use crate::session::Selected;
use crate::stream::Unanswered;

/// Why a key cannot be searched for.
#[derive(Debug)]
pub(crate) enum CompileError {
    /// A text in another charset than the one given.
    NotUtf8,
    /// The view could not be read.
    Read(ReadError),
}

impl Unanswered for CompileError {
    fn is_not_at_hand(&self) -> bool {
        matches!(self, CompileError::Read(error) if error.is_not_at_hand())
    }
}

impl From<ReadError> for CompileError {
    fn from(error: ReadError) -> CompileError {
        CompileError::Read(error)
    }
}

/// A key ready for a scan.
#[derive(Clone, Debug)]
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
    /// OLDER and YOUNGER, as the moments that they mean.
    Until(UnixSeconds),
    From(UnixSeconds),
    Saved(DayTest, Day),
    Email(EmailId),
    Thread(ThreadId),
    /// A text within FUZZY.
    Like(Arc<Like>),
    /// The same of which the index has been asked (`plan.rs`).
    Ranked(Arc<RankedAnswer>, Arc<Like>),
    Header(String, String),
    /// FROM, TO, CC, BCC and SUBJECT.
    Field(SearchField, String),
    Body(String),
    Text(String),
    /// A text of which the index has been asked (`plan.rs`).
    Asked(Arc<TextAnswer>, Box<Test>),
    Not(Box<Test>),
    Or(Box<Test>, Box<Test>),
    And(Vec<Test>),
}

/// Whether texts are compared to the letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Matching {
    Exact,
    /// Within FUZZY (RFC 6203).
    Fuzzy,
}

/// Makes keys ready.
struct Compiler<'a> {
    selected: &'a Selected,
    now: UnixSeconds,
    matching: Matching,
}

impl Compiler<'_> {
    fn compile(&self, key: &SearchKey) -> Result<Test, CompileError> {
        Ok(match key {
            SearchKey::All => Test::Always(true),
            SearchKey::Nothing => Test::Always(false),
            SearchKey::Flag(flag) => Test::Flag(*flag),
            SearchKey::Keyword(keyword) => Test::Keyword(keyword.clone()),
            SearchKey::Sequence(set) => Test::Uids(self.selected.searched(Numbers::Sequence, set)?),
            SearchKey::Uid(set) => Test::Uids(self.selected.searched(Numbers::Uid, set)?),
            SearchKey::Internal(test, day) => Test::Internal(*test, *day),
            SearchKey::Sent(test, day) => Test::Sent(*test, *day),
            SearchKey::Saved(test, day) => Test::Saved(*test, *day),
            SearchKey::Older(seconds) => Test::Until(self.ago(*seconds)),
            SearchKey::Younger(seconds) => Test::From(self.ago(*seconds)),
            SearchKey::EmailId(id) => Test::Email(*id),
            SearchKey::ThreadId(id) => Test::Thread(*id),
            SearchKey::Larger(size) => Test::Larger(*size),
            SearchKey::Smaller(size) => Test::Smaller(*size),
            SearchKey::ModSeq(modseq) => Test::ModSeq(*modseq),
            SearchKey::Field(field, text) => match self.matching {
                Matching::Exact => Test::Field(*field, folded(text)?),
                Matching::Fuzzy => self.header(field.name(), text)?,
            },
            SearchKey::Header(name, text) => self.header(utf8(name)?, text)?,
            SearchKey::Body(text) => self.text(text, Scope::Body, Test::Body)?,
            SearchKey::Text(text) => self.text(text, Scope::Text, Test::Text)?,
            SearchKey::Fuzzy(key) => {
                Compiler { matching: Matching::Fuzzy, ..*self }.compile(key)?
            }
            SearchKey::Not(key) => Test::Not(Box::new(self.compile(key)?)),
            SearchKey::Or(a, b) => {
                let (mut a, mut b) = (self.compile(a)?, self.compile(b)?);
                if b.cost() < a.cost() {
                    std::mem::swap(&mut a, &mut b);
                }
                Test::Or(Box::new(a), Box::new(b))
            }
            SearchKey::And(keys) => {
                let mut tests = Vec::with_capacity(keys.len());
                for key in keys {
                    tests.push(self.compile(key)?);
                }
                tests.sort_by_key(Test::cost);
                Test::And(tests)
            }
        })
    }

    fn header(&self, name: &str, text: &[u8]) -> Result<Test, CompileError> {
        let scope = Scope::Header(name.to_ascii_lowercase());
        self.text(text, scope, |text| Test::Header(name.to_owned(), text))
    }

    /// A text; within FUZZY its words, if it has any.
    fn text(
        &self,
        text: &[u8],
        scope: Scope,
        exact: impl FnOnce(String) -> Test,
    ) -> Result<Test, CompileError> {
        let like = match self.matching {
            Matching::Exact => None,
            Matching::Fuzzy => Like::new(utf8(text)?, scope),
        };
        Ok(match like {
            Some(like) => Test::Like(Arc::new(like)),
            None => exact(folded(text)?),
        })
    }

    fn ago(&self, seconds: u32) -> UnixSeconds {
        UnixSeconds(self.now.0.saturating_sub(i64::from(seconds)))
    }
}

impl Test {
    /// Makes a key ready, as of a time.
    pub(super) fn compile(
        key: &SearchKey,
        selected: &Selected,
        now: UnixSeconds,
    ) -> Result<Test, CompileError> {
        Compiler { selected, now, matching: Matching::Exact }.compile(key)
    }

    /// 0: the row tells; 1: the summary; 2: the header; 3: the whole message.
    pub(super) fn cost(&self) -> u8 {
        match self {
            Test::Sent(..) | Test::Email(_) => 1,
            Test::Header(..) | Test::Field(..) => 2,
            Test::Body(_) | Test::Text(_) | Test::Like(_) => 3,
            Test::Asked(..) | Test::Ranked(..) => 1,
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
                let sent = candidate.summary()?.sent_date();
                // A message without a date has been sent on no day.
                sent.is_some_and(|sent| {
                    let sent = Day { year: sent.year, month: sent.month, day: sent.day };
                    test.holds(sent, *day)
                })
            }
            Test::Larger(size) => u64::from(row.size) > *size,
            Test::Smaller(size) => u64::from(row.size) < *size,
            Test::ModSeq(modseq) => row.modseq.bits() >= *modseq,
            Test::Until(time) => row.received <= *time,
            Test::From(time) => row.received >= *time,
            Test::Saved(test, day) => test.holds(Day::of(row.saved), *day),
            Test::Email(id) => candidate.email_id()? == Some(*id),
            Test::Thread(id) => row.thread == *id,
            Test::Like(like) => {
                let found = candidate.resembles(like)?;
                judge(candidate, found)
            }
            Test::Ranked(answer, like) => {
                let found = match answer.verdict(row.blob) {
                    RankedVerdict::Has(score) => Some(score),
                    RankedVerdict::Lacks => None,
                    RankedVerdict::Ask => candidate.resembles(like)?,
                };
                judge(candidate, found)
            }
            Test::Header(name, text) => candidate.header_contains(name, text)?,
            Test::Field(field, text) => {
                candidate.header_contains(field.name(), text)?
                    || candidate.has_address(*field, text)?
            }
            Test::Body(text) => candidate.body_contains(text)?,
            Test::Text(text) => candidate.text_contains(text)?,
            Test::Asked(answer, test) => match answer.verdict(row.blob) {
                Verdict::Contains => true,
                Verdict::Lacks => false,
                Verdict::Ask => test.holds(candidate)?,
            },
            Test::Not(test) => {
                // What was nearly found, and should not have been, says nothing of what was.
                let score = candidate.score;
                let holds = test.holds(candidate)?;
                candidate.score = score;
                !holds
            }
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

/// Whether a FUZZY key found something; what several say adds up.
fn judge(candidate: &mut Candidate<'_>, found: Option<Score>) -> bool {
    let Some(score) = found else { return false };
    candidate.score = Some(candidate.score.map_or(score, |before| before.and(score)));
    true
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
