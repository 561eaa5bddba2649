//! How many messages a command may touch (MESSAGELIMIT and SAVELIMIT, RFC 9738), where the operator
//! says so.
//!
//! | command | with more messages |
//! |--|--|
//! | FETCH, STORE, SEARCH, MOVE, UID EXPUNGE | the highest UIDs, answered OK with the code |
//! | COPY, APPEND | none: they are all or nothing, answered NO with the code |
//! | EXPUNGE, CLOSE | no limit |
//!
//! The code is `MESSAGELIMIT n uid`: the limit, and the lowest UID that was dealt with, below which
//! the client goes on.

use engine::error::ReadError;
use engine::ids::Uid;
use engine::uid_set::UidSet;

use super::{Answer, Talk};
use crate::session::Selected;

/// Messages that were left out, because they were too many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Excess {
    limit: u32,
    lowest: Uid,
}

impl Talk {
    /// The limit of a command that stores messages.
    pub(super) fn save_limit(&self) -> Option<u32> {
        let limits = &self.session.config.limits;
        limits.messages_per_save.or(limits.messages_per_command)
    }
}

/// Leaves of `uids` the highest `limit` messages of the view.
pub(super) fn cut(
    selected: &Selected,
    uids: &mut UidSet,
    limit: Option<u32>,
) -> Result<Option<Excess>, ReadError> {
    let Some(limit) = limit.map(|limit| limit.max(1)) else { return Ok(None) };
    let view = &selected.view;
    let mut left = limit;
    let mut kept = Vec::new();
    let mut ranges = uids.ranges().iter().rev();
    let lowest = loop {
        let Some(&(first, last)) = ranges.next() else { return Ok(None) };
        // Ranks of a range of UIDs are consecutive, whatever holes it has.
        let low = view.rank(Uid(first))?.unwrap_or_else(|rank| rank);
        let end = view.rank(Uid(last))?.map_or_else(|rank| rank, |rank| rank.saturating_add(1));
        let count = end.saturating_sub(low);
        if count > left {
            let lowest = view.uid_at(end - left)?;
            kept.extend(lowest.filter(|_| left > 0).map(|lowest| (lowest.0, last)));
            break lowest.filter(|_| left > 0).or(kept.last().map(|&(first, _)| Uid(first)));
        }
        left -= count;
        if count > 0 {
            kept.push((first.max(view.uid_at(low)?.map_or(first, |uid| uid.0)), last));
        }
    };
    *uids = UidSet::from_ranges(kept);
    Ok(lowest.map(|lowest| Excess { limit, lowest }))
}

impl Excess {
    /// `MESSAGELIMIT n uid`
    pub(super) fn code(self) -> String {
        format!("MESSAGELIMIT {} {}", self.limit, self.lowest)
    }

    /// The answer to a command that does all or nothing.
    pub(super) fn refused(self) -> Answer {
        let sentence = format!("These are more than {} messages; try fewer", self.limit);
        Answer::no(self.code(), sentence)
    }
}

/// `OK text`, with the code if some messages were left out.
pub(super) fn done(excess: Option<Excess>, text: &str) -> Answer {
    match excess {
        Some(excess) => Answer::ok_code(excess.code(), format!("{text}, as many as may be")),
        None => Answer::ok(text),
    }
}
