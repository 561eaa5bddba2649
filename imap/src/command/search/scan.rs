//! One pass over a mailbox: rows that columns do not rule out, each tested from the cheapest key to
//! the dearest.
//!
//! The scan looks at a view that does not change, and numbers messages as the client counted when
//! the command came (RFC 3501 section 7.4.1).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::error::ReadError;
use engine::mailbox::{Rows, Sifting, View};
use engine::uid_set::UidSet;
use engine::{Account, SearchTexts, Summaries};

use super::candidate::Candidate;
use super::columns::ByColumns;
use super::plan::{Answers, plan};
use super::progress::Progress;
use super::test::Test;
use crate::command::Talk;
use crate::session::{Ghosts, Selected};
use crate::stream::{Ended, blocking};

/// Messages that may be opened before others have their turn.
const BATCH_OPENED: usize = 8;
/// How long others wait for their turn, where no message is opened.
const BATCH_TIME: Duration = Duration::from_millis(10);
/// The same where they have no other thread.
const SHORT_TIME: Duration = Duration::from_micros(500);

/// The mailbox that is searched, as of one moment.
pub(super) struct Scope {
    pub(super) account: Account,
    pub(super) view: Arc<View>,
    pub(super) ghosts: Ghosts,
}

impl Scope {
    /// What a session has selected.
    pub(super) fn of(selected: &Selected) -> Scope {
        let (view, ghosts) = (Arc::clone(&selected.view), selected.ghosts.clone());
        let account = selected.owner.clone();
        Scope { account, view, ghosts }
    }

    /// The messages that meet the condition, from where `seen` left off.
    fn look(
        &self,
        test: &Test,
        seen: &mut Seen<'_>,
        take: &mut Take<'_>,
    ) -> Result<Pass, ReadError> {
        let turn = Turn::begin();
        let mut opened = 0;
        while let Some(mut rows) = seen.rows(&self.view)? {
            let page_end = rows.last_rank();
            while let Some((rank, row)) = rows.pop() {
                let row = row.to_row();
                let within = (&self.account, &*self.view);
                let by = (&mut seen.summaries, &mut seen.texts);
                let mut candidate = Candidate::new(within, &row, by);
                if test.holds(&mut candidate)? {
                    let number = self.ghosts.number_at(rank, row.uid);
                    if take(&mut candidate, number)?.is_break() {
                        return Ok(Pass::Done);
                    }
                }
                opened += usize::from(candidate.was_opened());
                if opened >= BATCH_OPENED {
                    seen.left = Some(rows);
                    return Ok(Pass::Rest { rank });
                }
            }
            if turn.is_over() {
                return Ok(Pass::Rest { rank: page_end });
            }
        }
        Ok(Pass::Done)
    }
}

/// How long others wait.
pub(super) struct Turn {
    begun: Instant,
    time: Duration,
}

impl Turn {
    pub(super) fn begin() -> Turn {
        Turn { begun: Instant::now(), time: BATCH_TIME }
    }

    /// On a thread that others wait for.
    pub(super) fn short() -> Turn {
        Turn { begun: Instant::now(), time: SHORT_TIME }
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun.elapsed() >= self.time
    }
}

/// How far a scan has come.
struct Seen<'a> {
    sifting: Sifting<'a>,
    /// What is left of a page.
    left: Option<Rows>,
    summaries: Summaries,
    texts: SearchTexts,
}

impl Seen<'_> {
    fn rows(&mut self, view: &View) -> Result<Option<Rows>, ReadError> {
        if let Some(rows) = self.left.take() {
            return Ok(Some(rows));
        }
        while let Some(found) = self.sifting.next(view)? {
            if let Some(rows) = found.into_rows(view)? {
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }
}

/// What is done with a message that passes, and its number; says whether to go on.
type Take<'a> = dyn FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + 'a;

/// How far a look came.
enum Pass {
    /// There is more; ranks up to this one are done.
    Rest { rank: u32 },
    /// Nothing is left, or nobody wants more.
    Done,
}

/// Hands every message that passes to `take`, ascending, for whoever keeps nobody waiting.
pub(super) fn scan_at_once(
    scope: &Scope,
    test: &Test,
    answers: &mut Answers,
    take: &mut Take<'_>,
) -> Result<(), ReadError> {
    let test = plan(test, scope, answers)?;
    let condition = ByColumns::of(&test, &test.domain(), &scope.view).condition;
    let summaries = scope.account.summaries_of_some(scope.view.mailbox());
    let sifting = Sifting::new(&condition, (1, u32::MAX));
    let texts = scope.account.search_texts();
    let mut seen = Seen { sifting, left: None, summaries, texts };
    while !matches!(scope.look(&test, &mut seen, take)?, Pass::Done) {}
    Ok(())
}

/// Hands every message that passes to `take`, ascending.
pub(super) async fn scan(
    talk: &mut Talk,
    scope: &Scope,
    test: &Test,
    progress: &mut Progress,
    take: impl FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + Send,
) -> Result<Result<(), ReadError>, Ended> {
    let uids = test.domain();
    match plan(test, scope, &mut Answers::default()) {
        Ok(test) => scan_within(talk, scope, (&test, &uids), progress, take).await,
        Err(error) => Ok(Err(error)),
    }
}

/// The same for messages with these UIDs.
pub(super) async fn scan_within(
    talk: &mut Talk,
    scope: &Scope,
    (test, uids): (&Test, &UidSet),
    progress: &mut Progress,
    mut take: impl FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + Send,
) -> Result<Result<(), ReadError>, Ended> {
    let condition = ByColumns::of(test, uids, &scope.view).condition;
    let summaries = scope.account.summaries_of_some(scope.view.mailbox());
    let sifting = Sifting::new(&condition, (1, u32::MAX));
    let texts = scope.account.search_texts();
    let mut seen = Seen { sifting, left: None, summaries, texts };
    loop {
        match blocking(|| scope.look(test, &mut seen, &mut take)) {
            Ok(Pass::Rest { rank }) => progress.tell(talk, rank).await?,
            Ok(Pass::Done) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        tokio::task::yield_now().await;
    }
}
