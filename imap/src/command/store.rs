//! STORE (RFC 3501 section 6.4.6).
//!
//! The change is committed first; then the client is told what others did meanwhile, then, unless
//! it asked for silence, the flags of every message that it named. An echo of its own change is
//! never told a second time.

use engine::error::ReadError;
use engine::flags::{FlagChange, FlagList, SystemFlags};
use engine::ids::Uid;
use engine::rights::Rights;
use engine::uid_set::UidSet;

use super::rights::permitted;
use super::{Answer, Talk};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers, StoreAnswer};
use crate::session::{
    ALL_FLAGS, Answered, Expunges, OwnChange, Selected, Synced, changeable, put_flags, sync,
};
use crate::stream::{Ended, blocking};

/// Rows answered in one piece.
const BATCH_ROWS: usize = 256;

/// What STORE wants.
pub(super) struct Wanted {
    pub(super) change: FlagChange,
    pub(super) answer: StoreAnswer,
    pub(super) flags: FlagList,
}

/// STORE and UID STORE
pub(super) async fn store(
    talk: &mut Talk,
    numbers: Numbers,
    set: &SequenceSet,
    mut wanted: Wanted,
) -> Result<Answer, Ended> {
    let selected = match talk.selected() {
        Ok(selected) if selected.access == Access::ReadOnly => return Ok(Answer::read_only()),
        Ok(selected) => selected,
        Err(answer) => return Ok(answer),
    };
    let targets = match blocking(|| selected.targets(numbers, set)) {
        Ok(targets) => targets,
        Err(error) => return Ok(talk.untargeted(&error)),
    };
    // Only messages that the client may know: a set of UIDs may name some that came since.
    let known = match blocking(|| selected.view.existing(&targets.uids)) {
        Ok(known) => known,
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let mut missing = targets.ghosts;
    if !known.is_empty() {
        let Some(steps) = steps(selected, &mut wanted) else { return Ok(Answer::no_permission()) };
        for (change, flags) in steps {
            match selected.mailbox.store_flags(&known, change, &flags, None).await {
                Ok(stored) => missing |= !stored.gone.is_empty(),
                Err(error) => return Ok(Answer::refused(&talk.session, &error)),
            }
        }
        if tell(talk, known, wanted).await? == Synced::Gone {
            return Ok(Answer::no("NONEXISTENT", "The mailbox was deleted"));
        }
    }
    if missing && numbers == Numbers::Sequence {
        return Ok(Answer::expunge_issued());
    }
    Ok(Answer::ok("Stored"))
}

/// What is to be done, as far as the client may: of flags that it may not change, nothing (RFC 4314
/// section 4). `None` if it may change none of them. Where that makes a difference, the client is
/// told what became of the flags, whether it asked or not.
fn steps(selected: &Selected, wanted: &mut Wanted) -> Option<Vec<(FlagChange, FlagList)>> {
    let rights = selected.rights();
    if rights.contains(ALL_FLAGS) {
        return Some(vec![(wanted.change, wanted.flags.clone())]);
    }
    wanted.answer = StoreAnswer::Flags;
    let given = permitted(rights, wanted.flags.clone());
    if wanted.change != FlagChange::Replace {
        let is_any = given.system != SystemFlags(0) || !given.keywords.is_empty();
        return is_any.then(|| vec![(wanted.change, given)]);
    }
    if !rights.has_any(ALL_FLAGS) {
        return None;
    }
    let keywords = selected
        .view
        .keywords()
        .iter()
        .filter(|known| rights.contains(Rights::WRITE) && !given.keywords.contains(known));
    let others = FlagList {
        system: changeable(rights).without(given.system),
        keywords: keywords.cloned().collect(),
    };
    Some(vec![(FlagChange::Add, given), (FlagChange::Remove, others)])
}

/// News of others, then the answers of the command itself.
async fn tell(talk: &mut Talk, uids: UidSet, wanted: Wanted) -> Result<Synced, Ended> {
    let Some(selected) = &mut talk.session.selected else { return Ok(Synced::Current) };
    if wanted.answer == StoreAnswer::Silent {
        let own = OwnChange { uids, change: wanted.change, flags: wanted.flags };
        return sync(selected, &mut talk.wire, Expunges::Hold, Answered::Known(own)).await;
    }
    let answered = Answered::Messages(uids.clone());
    if sync(selected, &mut talk.wire, Expunges::Hold, answered).await? == Synced::Gone {
        return Ok(Synced::Gone);
    }
    for &(first, last) in uids.ranges() {
        let mut next = Some(first);
        while let Some(from) = next.filter(|&from| from <= last) {
            match blocking(|| answer_batch(talk, from, last)) {
                Ok(follows) => next = follows,
                Err(error) => {
                    tracing::error!(%error, "rows could not be read");
                    return Ok(Synced::Current);
                }
            }
            talk.wire.relieve().await?;
        }
    }
    Ok(Synced::Current)
}

/// Flags of some messages; answers where the next batch begins.
fn answer_batch(talk: &mut Talk, from: u32, last: u32) -> Result<Option<u32>, ReadError> {
    let Some(selected) = &talk.session.selected else { return Ok(None) };
    let span = engine::width::usize_of_u32(last.saturating_sub(from)).saturating_add(1);
    let rows = selected.view.rows_from(Uid(from), span.min(BATCH_ROWS))?;
    for row in rows.iter().take_while(|row| row.uid.0 <= last) {
        if let Some(number) = selected.number_of(row.uid)? {
            put_flags(&mut talk.wire.out, number, row, row.flags, selected);
        }
    }
    Ok(rows.last().and_then(|row| row.uid.0.checked_add(1)))
}
