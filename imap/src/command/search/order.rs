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
use crate::codec::command::{SearchRequest, SortCriterion, ThreadAlgorithm};
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
    let bytes_max = talk.session.config.limits.sort_bytes_max;
    let mut table = SortTable::new(criteria, &talk.session.config.compared, scope);
    let mut progress = Progress::new(talk, u64::from(scope.view.message_count()));
    let scanned = scan(talk, scope, test, &mut progress, |candidate, number| {
        table.add(candidate, number)?;
        Ok(go_on(table.bytes() <= bytes_max))
    });
    Ok(match scanned.await? {
        Err(error) => Err(Failure::Read(error)),
        Ok(()) if table.bytes() > bytes_max => Err(Failure::TooLarge),
        Ok(()) => Ok(table),
    })
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
    let bytes_max = talk.session.config.limits.sort_bytes_max;
    let compared = Arc::clone(&talk.session.config);
    let compared = &compared.compared;
    let mut table = ThreadTable::new(algorithm, compared.threads(&scope, algorithm));
    let mut progress = Progress::new(talk, u64::from(scope.view.message_count()));
    let scanned = scan(talk, &scope, &test, &mut progress, |candidate, number| {
        table.add(candidate, request.numbers, number)?;
        Ok(go_on(table.bytes() <= bytes_max))
    });
    match scanned.await? {
        Err(error) => return Ok(Failure::Read(error).answer(talk)),
        Ok(()) if table.bytes() > bytes_max => return Ok(Failure::TooLarge.answer(talk)),
        Ok(()) => {}
    }
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
