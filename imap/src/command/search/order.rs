//! SORT and THREAD (RFC 5256): a search whose answer has an order.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::error::ReadError;
use engine::width::usize_of_u32;

use super::context::{self, Kept};
use super::progress::Progress;
use super::results::Results;
use super::scan::{Scope, scan};
use super::sort::SortTable;
use super::test::Test;
use super::thread::{ThreadTable, put_threads};
use super::{Answer, Talk, looked, prepare, settled, tell};
use crate::codec::command::{Numbers, SearchRequest, SortCriterion, ThreadAlgorithm};
use crate::stream::{Ended, blocking};

/// SORT and UID SORT
pub(in crate::command) async fn sort(
    talk: &mut Talk,
    criteria: &[SortCriterion],
    request: &SearchRequest,
) -> Result<Answer, Ended> {
    let answer = sort_selected(talk, criteria, request).await?;
    Ok(settled(talk, request, answer))
}

async fn sort_selected(
    talk: &mut Talk,
    criteria: &[SortCriterion],
    request: &SearchRequest,
) -> Result<Answer, Ended> {
    let (scope, test) = match prepare(talk, request) {
        Ok(prepared) => prepared,
        Err(answer) => return Ok(answer),
    };
    let mut table = match sort_table(talk, criteria, &scope, &test).await? {
        Ok(table) => table,
        Err(failure) => return Ok(failure.answer(talk)),
    };
    let compared = &talk.session.config.compared;
    let (results, order) = blocking(|| {
        table.keep(compared, &scope);
        let order = table.order();
        (Results::sorted(request.numbers, table.sorted(&order, request.numbers)), order)
    });
    if let Some(answer) = tell(talk, request, &scope, &results, "SORT").await? {
        return Ok(answer);
    }
    if request.returns.is_some_and(|options| options.update) {
        // What a client keeps for long takes no more than what it asked for.
        blocking(|| table.keep_own_texts());
        context::begin(talk, request, test, Kept::Sorted { table: Box::new(table), order });
    }
    Ok(looked(talk, "Sorted"))
}

/// Why there is no order.
enum Failure {
    /// The keys take more memory than one command may have.
    TooLarge,
    /// Something could not be read.
    Read(ReadError),
}

impl Failure {
    fn answer(&self, talk: &Talk) -> Answer {
        match self {
            Failure::TooLarge => {
                Answer::no("LIMIT", "There is too much to sort at once; search for less")
            }
            Failure::Read(error) => Answer::unreadable(&talk.session, error),
        }
    }
}

async fn sort_table(
    talk: &mut Talk,
    criteria: &[SortCriterion],
    scope: &Scope,
    test: &Test,
) -> Result<Result<SortTable, Failure>, Ended> {
    let config = Arc::clone(&talk.session.config);
    let bytes_max = config.limits.sort_bytes_max;
    let mut table = SortTable::new(criteria, Some((&config.compared, scope)));
    loop {
        let mut progress = Progress::new(talk, u64::from(scope.view.message_count()));
        let scanned = scan(talk, scope, test, &mut progress, |candidate, number| {
            table.add(candidate, number)?;
            Ok(go_on(table.bytes() <= bytes_max))
        });
        match scanned.await? {
            Err(error) => return Ok(Err(Failure::Read(error))),
            Ok(()) if table.bytes() <= bytes_max => return Ok(Ok(table)),
            // Texts of other messages take a part of the room.
            Ok(()) if table.has_kept() => table = SortTable::new(criteria, None),
            Ok(()) => return Ok(Err(Failure::TooLarge)),
        }
    }
}

fn go_on(fits: bool) -> ControlFlow<()> {
    if fits { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// THREAD and UID THREAD
pub(in crate::command) async fn thread(
    talk: &mut Talk,
    algorithm: ThreadAlgorithm,
    request: &SearchRequest,
) -> Result<Answer, Ended> {
    let (scope, test) = match prepare(talk, request) {
        Ok(prepared) => prepared,
        Err(answer) => return Ok(answer),
    };
    let table = match thread_table(talk, algorithm, request.numbers, &scope, &test).await? {
        Ok(table) => table,
        Err(failure) => return Ok(failure.answer(talk)),
    };
    let compared = &talk.session.config.compared;
    let forest = blocking(|| {
        let forest = table.forest();
        if let Some(kept) = table.kept_after(&forest, usize_of_u32(scope.view.message_count())) {
            compared.keep_threads(&scope, algorithm, kept);
        }
        forest
    });
    put_threads(&mut talk.wire, &forest).await?;
    Ok(looked(talk, "Threaded"))
}

async fn thread_table(
    talk: &mut Talk,
    algorithm: ThreadAlgorithm,
    numbers: Numbers,
    scope: &Scope,
    test: &Test,
) -> Result<Result<ThreadTable, Failure>, Ended> {
    let config = Arc::clone(&talk.session.config);
    let bytes_max = config.limits.sort_bytes_max;
    let mut table = ThreadTable::new(algorithm, config.compared.threads(scope, algorithm));
    loop {
        let mut progress = Progress::new(talk, u64::from(scope.view.message_count()));
        let scanned = scan(talk, scope, test, &mut progress, |candidate, number| {
            table.add(candidate, numbers, number)?;
            Ok(go_on(table.bytes() <= bytes_max))
        });
        match scanned.await? {
            Err(error) => return Ok(Err(Failure::Read(error))),
            Ok(()) if table.bytes() <= bytes_max => return Ok(Ok(table)),
            // Texts of other messages take a part of the room.
            Ok(()) if table.has_kept() => table = ThreadTable::that_keeps_nothing(algorithm),
            Ok(()) => return Ok(Err(Failure::TooLarge)),
        }
    }
}
