//! One pass over a mailbox: rows in batches, each tested from the cheapest key to the dearest.
//!
//! The scan looks at a view that does not change, and numbers messages as the client counted when
//! the command came (RFC 3501 section 7.4.1).

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::Account;
use engine::error::ReadError;
use engine::ids::Uid;
use engine::mailbox::View;
use engine::uid_set::UidSet;

use super::candidate::Candidate;
use super::progress::Progress;
use super::test::Test;
use crate::command::Talk;
use crate::session::{Ghosts, Selected};
use crate::stream::{Ended, blocking};

/// Rows read in one piece.
const BATCH_ROWS: usize = 256;
/// Of these, messages that may be opened before others have their turn.
const BATCH_OPENED: usize = 8;
/// How long others wait for their turn, where no message is opened.
const BATCH_TIME: Duration = Duration::from_millis(10);

/// The mailbox that is searched, as of one moment.
pub(super) struct Scope {
    pub(super) account: Account,
    pub(super) view: Arc<View>,
    ghosts: Ghosts,
}

impl Scope {
    /// What a session has selected.
    pub(super) fn of(selected: &Selected) -> Scope {
        let (view, ghosts) = (Arc::clone(&selected.view), selected.ghosts.clone());
        let account = selected.owner.clone();
        Scope { account, view, ghosts }
    }

    /// The messages from one UID to another.
    fn look(
        &self,
        test: &Test,
        (from, last): (u32, u32),
        take: &mut Take<'_>,
    ) -> Result<Pass, ReadError> {
        let begun = Instant::now();
        let (mut from, mut opened) = (from, 0);
        let mut summaries = self.account.summaries_of_some(self.view.mailbox());
        loop {
            let span = engine::width::usize_of_u32(last.saturating_sub(from)).saturating_add(1);
            let rows = self.view.rows_from(Uid(from), span.min(BATCH_ROWS))?;
            let Some(first) = rows.first() else { return Ok(Pass::End) };
            let first_rank = self.view.rank(first.uid)?.unwrap_or_else(|rank| rank);
            for (row, rank) in rows.iter().zip(first_rank..) {
                if row.uid.0 > last {
                    return Ok(Pass::End);
                }
                let within = (&self.account, &*self.view);
                let mut candidate = Candidate::new(within, row, &mut summaries);
                if test.holds(&mut candidate)? {
                    let number = self.ghosts.number_at(rank, row.uid);
                    if take(&mut candidate, number)?.is_break() {
                        return Ok(Pass::Enough);
                    }
                }
                opened += usize::from(candidate.was_opened());
                let Some(next) = row.uid.0.checked_add(1) else { return Ok(Pass::End) };
                if opened >= BATCH_OPENED {
                    return Ok(Pass::Rest { next, rank });
                }
                from = next;
            }
            if from > last {
                return Ok(Pass::End);
            }
            if begun.elapsed() >= BATCH_TIME {
                return Ok(Pass::Rest { next: from, rank: first_rank });
            }
        }
    }
}

/// What is done with a message that passes, and its number; says whether to go on.
type Take<'a> = dyn FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + 'a;

/// How far a look came.
enum Pass {
    /// There is more from this UID on; ranks below that one are done.
    Rest { next: u32, rank: u32 },
    /// Nothing is left.
    End,
    /// Nobody wants more.
    Enough,
}

/// Hands every message that passes to `take`, ascending.
pub(super) async fn scan(
    talk: &mut Talk,
    scope: &Scope,
    test: &Test,
    progress: &mut Progress,
    take: impl FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + Send,
) -> Result<Result<(), ReadError>, Ended> {
    scan_within(talk, scope, (test, &test.domain()), progress, take).await
}

/// The same for messages with these UIDs.
pub(super) async fn scan_within(
    talk: &mut Talk,
    scope: &Scope,
    (test, uids): (&Test, &UidSet),
    progress: &mut Progress,
    mut take: impl FnMut(&mut Candidate<'_>, u32) -> Result<ControlFlow<()>, ReadError> + Send,
) -> Result<Result<(), ReadError>, Ended> {
    for &(first, last) in uids.ranges() {
        let mut from = first;
        loop {
            match blocking(|| scope.look(test, (from, last), &mut take)) {
                Ok(Pass::Rest { next, rank }) => {
                    from = next;
                    progress.tell(talk, rank).await?;
                }
                Ok(Pass::End) => break,
                Ok(Pass::Enough) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
            tokio::task::yield_now().await;
        }
    }
    Ok(Ok(()))
}
