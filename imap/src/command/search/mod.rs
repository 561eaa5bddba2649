//! SEARCH (RFC 3501 section 6.4.4) and its family: a scan over a view, exact, from the cheapest
//! test to the dearest.
//!
//! | command | answer | from |
//! |--|--|--|
//! | SEARCH | `* SEARCH`, or `* ESEARCH` with RETURN and in IMAP4rev2 | here, `results` |
//! | SORT | `* SORT`, or `* ESEARCH` with RETURN | `order`, `sort` |
//! | THREAD | `* THREAD` | `order`, `thread` |
//! | ESEARCH | an `* ESEARCH` for each mailbox where something is found | `multi` |
//! | RETURN (UPDATE) | `* ESEARCH` whenever the result changes | `context` |
//!
//! What page heads and columns tell is found in them (`columns`); a row is made, and a summary, a
//! header or a whole message read, only for messages that these have not decided. Nothing is told
//! before all is found, so that a search that goes on for long can say so between its answers, and
//! one that fails tells no half truth.

mod candidate;
mod columns;
mod compared;
mod context;
mod like;
mod multi;
mod order;
mod plan;
mod progress;
mod results;
mod scan;
mod sort;
mod test;
mod texts;
mod thread;

use std::ops::ControlFlow;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::error::ReadError;
use engine::ids::{Lsn, UnixSeconds};
use engine::search::Score;
use engine::uid_set::UidSet;

use self::columns::ByColumns;
use self::plan::plan;
use self::progress::Progress;
use self::results::{Gathered, Results};
use self::scan::{Scope, scan_at_once, scan_within};
use self::test::Test;
use super::{Answer, Status, Talk, message_limit};
use crate::codec::Command;
use crate::codec::command::{ReturnOptions, SearchKey, SearchRequest};
use crate::session::Selected;
use crate::stream::{Ended, asking, blocking};

pub(crate) use self::compared::Compared;
pub(crate) use self::context::Contexts;
pub(super) use self::context::{asked_of_new, cancel_update, update as update_contexts};
pub(crate) use self::like::relevancies;
pub(super) use self::multi::multi_search;
pub(super) use self::order::{sort, thread};
pub(crate) use self::plan::Answers;
pub(crate) use self::test::CompileError;

/// SEARCH and UID SEARCH
pub(super) async fn search(talk: &mut Talk, request: &SearchRequest) -> Result<Answer, Ended> {
    let answer = search_selected(talk, request).await?;
    Ok(settled(talk, request, answer))
}

async fn search_selected(talk: &mut Talk, request: &SearchRequest) -> Result<Answer, Ended> {
    let (scope, test) = match prepare(talk, request) {
        Ok(prepared) => prepared,
        Err(answer) => return Ok(answer),
    };
    let options = options_of(talk, request).unwrap_or_default();
    let limit = talk.session.config.limits.messages_per_command;
    let mut domain = test.domain();
    let cut = match &talk.session.selected {
        Some(selected) if limit.is_some() => {
            blocking(|| message_limit::cut(selected, &mut domain, limit))
        }
        _ => Ok(None),
    };
    let excess = match cut {
        Ok(excess) => excess,
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let mut progress = Progress::new(talk, u64::from(scope.view.message_count()));
    let within = (&test, &domain);
    let mut answers = Answers::default();
    let asked = (request, &options);
    let found = gather(talk, &scope, within, asked, &mut answers, &mut progress).await?;
    let gathered = match found {
        Ok(gathered) => gathered,
        // Some messages were not looked at: any answer would claim that they do not match.
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let kept = options.update.then(|| gathered.uids());
    let results = gathered.results();
    if let Some(answer) = tell(talk, request, &scope, &results, "SEARCH").await? {
        return Ok(answer);
    }
    if let Some(uids) = kept {
        context::begin(talk, request, test, context::Kept::Set(uids));
    }
    Ok(match excess {
        None => looked(talk, "Searched"),
        Some(_) => message_limit::done(excess, "Searched"),
    })
}

/// The OK of a search. Messages whose EXPUNGE is held back are not found (RFC 2180 section 4.3);
/// who misses them learns why.
fn looked(talk: &Talk, done: &'static str) -> Answer {
    match &talk.session.selected {
        Some(selected) if selected.ghosts.count() > 0 => Answer::ok_code(
            "EXPUNGEISSUED",
            format!("{done} what was not deleted by another session"),
        ),
        _ => Answer::ok(done),
    }
}

/// What is found by a test among these messages; stops where more would not be told.
async fn gather(
    talk: &mut Talk,
    scope: &Scope,
    (test, uids): (&Test, &UidSet),
    (request, options): (&SearchRequest, &ReturnOptions),
    answers: &mut Answers,
    progress: &mut Progress,
) -> Result<Result<Gathered, ReadError>, Ended> {
    let mut gathered = Gathered::new(request, options, asks_for_modseq(request));
    let test = match plan(test, scope, answers) {
        Ok(test) => test,
        Err(error) => return Ok(Err(error)),
    };
    let by_columns = ByColumns::of(&test, uids, &scope.view);
    // Columns do not know how well a message was found.
    let told = if by_columns.is_whole && !options.relevancy {
        columns::gather(talk, scope, &by_columns.condition, progress, &mut gathered).await?
    } else {
        let scanned = scan_within(talk, scope, (&test, uids), progress, |candidate, number| {
            gathered.add(candidate, number);
            Ok(match gathered.left() {
                0 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            })
        });
        scanned.await?
    };
    Ok(told.map(|()| gathered))
}

/// How much was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LookedAt {
    /// Messages that were found.
    pub(crate) found: u64,
    /// Messages that were opened for it, of those found.
    pub(crate) opened: u64,
}

/// Hands the rows of what a key finds in a mailbox to `take`, with their scores where FUZZY is in
/// the key, without a session.
pub(crate) fn in_mailbox(
    key: &SearchKey,
    mailbox: &Selected,
    now: UnixSeconds,
    answers: &mut Answers,
    mut take: impl FnMut(&engine::mailbox::Row, Option<Score>),
) -> Result<LookedAt, CompileError> {
    let test = Test::compile(key, mailbox, now)?;
    let mut looked = LookedAt::default();
    scan_at_once(&Scope::of(mailbox), &test, answers, &mut |candidate, _| {
        looked.found += 1;
        looked.opened += u64::from(candidate.was_opened());
        take(candidate.row, candidate.score);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(looked)
}

/// The options of RETURN, or those that stand for a plain search in IMAP4rev2 (RFC 9051 section
/// 6.4.4).
fn options_of(talk: &Talk, request: &SearchRequest) -> Option<ReturnOptions> {
    let all = ReturnOptions { all: true, ..ReturnOptions::default() };
    request.returns.or_else(|| talk.session.dialect.rev2.then_some(all))
}

/// Tells what was found and saves it, as the request says. An answer, if it was refused.
async fn tell(
    talk: &mut Talk,
    request: &SearchRequest,
    scope: &Scope,
    results: &Results,
    name: &str,
) -> Result<Option<Answer>, Ended> {
    let options = match name {
        "SEARCH" => options_of(talk, request),
        _ => request.returns,
    };
    let given = options.unwrap_or(ReturnOptions { all: true, ..ReturnOptions::default() });
    let modseq = match modseq_asked(request, results, &given, scope) {
        Ok(modseq) => modseq,
        Err(error) => return Ok(Some(Answer::unreadable(&talk.session, &error))),
    };
    if given.save {
        let saved = results.saved(&given);
        if saved.ranges().len() > talk.session.config.limits.saved_ranges_max {
            return Ok(Some(Answer::no("NOTSAVED", "The result is too large to be saved")));
        }
        if let Some(selected) = &mut talk.session.selected {
            selected.saved_result = saved;
        }
    }
    let tag = format!("TAG \"{}\"", talk.tag);
    let wire = &mut talk.wire;
    match options {
        None => results.put_plain(wire, name, modseq).await?,
        // SAVE alone is answered by nothing (RFC 5182 section 1).
        Some(options) if options.tells_nothing() => {}
        Some(options) => results.put_extended(wire, tag.as_bytes(), &options, modseq).await?,
    }
    Ok(None)
}

/// The MODSEQ item, which who searches by MODSEQ is told (RFC 7162 section 3.1.5).
fn modseq_asked(
    request: &SearchRequest,
    results: &Results,
    options: &ReturnOptions,
    scope: &Scope,
) -> Result<Option<Lsn>, ReadError> {
    if !asks_for_modseq(request) {
        return Ok(None);
    }
    blocking(|| results.modseq(options, &scope.view))
}

/// Whether a command searches by MODSEQ, which enables CONDSTORE (RFC 7162 section 3.1).
pub(super) fn uses_condstore(command: &Command) -> bool {
    match command {
        Command::Search(request)
        | Command::Sort { request, .. }
        | Command::Thread { request, .. } => asks_for_modseq(request),
        _ => false,
    }
}

fn asks_for_modseq(request: &SearchRequest) -> bool {
    request.key.any(|key| matches!(key, SearchKey::ModSeq(_)))
}

/// What a search in the selected mailbox needs.
fn prepare(talk: &Talk, request: &SearchRequest) -> Result<(Scope, Test), Answer> {
    let selected = talk.selected()?;
    let updates = request.returns.is_some_and(|options| options.update);
    if updates && selected.contexts.has(&talk.tag) {
        return Err(Answer::bad("A search with this tag is kept current already"));
    }
    refuse_charset(request)?;
    let test = compile(talk, &request.key, selected)?;
    Ok((Scope::of(selected), test))
}

fn refuse_charset(request: &SearchRequest) -> Result<(), Answer> {
    let known = |charset: &Vec<u8>| {
        charset.eq_ignore_ascii_case(b"UTF-8") || charset.eq_ignore_ascii_case(b"US-ASCII")
    };
    if request.charset.as_ref().is_none_or(known) {
        return Ok(());
    }
    let code = "BADCHARSET (US-ASCII UTF-8)";
    Err(Answer::no(code, "Texts are searched in US-ASCII or UTF-8"))
}

fn compile(talk: &Talk, key: &SearchKey, selected: &Selected) -> Result<Test, Answer> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let now = UnixSeconds(i64::try_from(since).unwrap_or(i64::MAX));
    let compile = || Test::compile(key, selected, now);
    // What sequence numbers mean is all that is read.
    let is_long = |key: &SearchKey| matches!(key, SearchKey::Sequence(set) if !set.is_short());
    match if key.any(is_long) { blocking(compile) } else { asking(compile) } {
        Ok(test) => Ok(test),
        Err(CompileError::NotUtf8) => Err(Answer::bad("A text to search for is not valid UTF-8")),
        Err(CompileError::Read(error)) => Err(Answer::unreadable(&talk.session, &error)),
    }
}

/// A search with SAVE that is answered NO leaves nothing saved (RFC 5182 section 2.1).
fn settled(talk: &mut Talk, request: &SearchRequest, answer: Answer) -> Answer {
    if answer.status == Status::No
        && request.returns.is_some_and(|options| options.save)
        && let Some(selected) = &mut talk.session.selected
    {
        selected.saved_result = UidSet::new();
    }
    answer
}
