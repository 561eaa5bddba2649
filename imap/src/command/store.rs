//! STORE (RFC 3501 section 6.4.6), with UNCHANGEDSINCE (RFC 7162 section 3.1.3).
//!
//! The change is committed first; then the client is told what others did meanwhile, then, unless
//! it asked for silence, the flags of every message that it named. An echo of its own change is
//! never told a second time.

use std::collections::HashSet;

use engine::error::ReadError;
use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::Lsn;
use engine::mailbox::RowRef;
use engine::rights::Rights;
use engine::uid_set::UidSet;

use super::rights::permitted;
use super::{Answer, Talk, message_limit};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers, StoreAnswer};
use crate::session::{
    ALL_FLAGS, Answered, Expunges, FlagsText, Manner, OwnChange, Selected, Synced, Telling,
    changeable, looked_up, put_flags, sync,
};
use crate::stream::{Ended, blocking};

/// What STORE wants.
pub(super) struct Wanted {
    pub(super) unchanged_since: Option<Lsn>,
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
    if wanted.unchanged_since.is_some() {
        talk.enable_condstore();
    }
    let selected = match talk.selected() {
        Ok(selected) if selected.access == Access::ReadOnly => return Ok(Answer::read_only()),
        Ok(selected) => selected,
        Err(answer) => return Ok(answer),
    };
    // Only messages that the client may know: a set of UIDs may name some that came since.
    let limit = talk.session.config.limits.messages_per_command;
    let named = looked_up(set, || {
        let targets = selected.targets(numbers, set)?;
        let mut known = selected.view.existing(&targets.uids)?;
        let excess = message_limit::cut(selected, &mut known, limit)?;
        Ok((known, targets.ghosts, excess))
    });
    let (known, mut missing, excess) = match named {
        Ok(named) => named,
        Err(error) => return Ok(talk.untargeted(&error)),
    };
    let mut modified = UidSet::new();
    if !known.is_empty() {
        let Some(steps) = steps(selected, &mut wanted) else { return Ok(Answer::no_permission()) };
        let mut since = wanted.unchanged_since;
        for (change, flags) in steps {
            let left = known.without(&modified);
            match selected.mailbox.store_flags(&left, change, &flags, since.take()).await {
                Ok(stored) => {
                    missing |= !stored.gone.is_empty();
                    modified = if stored.modified.is_empty() { modified } else { stored.modified };
                }
                Err(error) => return Ok(Answer::refused(&talk.session, &error)),
            }
        }
        if tell(talk, known.without(&modified), wanted).await? == Synced::Gone {
            return Ok(Answer::no("NONEXISTENT", "The mailbox was deleted"));
        }
        // Another session may have expunged some between our change and the answer.
        missing |=
            talk.session.selected.as_ref().is_some_and(|selected| {
                selected.ghosts.iter().any(|ghost| known.contains(ghost.uid))
            });
    }
    let missing = missing && numbers == Numbers::Sequence;
    Ok(match modified_set(talk, numbers, &modified) {
        Ok(None) if missing => Answer::expunge_issued(),
        Ok(None) => message_limit::done(excess, "Stored"),
        Ok(Some(set)) if missing => {
            let text = "Some of the messages changed before, some were expunged";
            Answer::no(format!("MODIFIED {set}"), text)
        }
        Ok(Some(set)) => {
            Answer::ok_code(format!("MODIFIED {set}"), "Some of the messages changed before")
        }
        Err(error) => Answer::unreadable(&talk.session, &error),
    })
}

/// Messages that were left alone, in the numbers of the command; `None` if there are none.
fn modified_set(
    talk: &Talk,
    numbers: Numbers,
    modified: &UidSet,
) -> Result<Option<UidSet>, ReadError> {
    let Some(selected) = talk.session.selected.as_ref().filter(|_| !modified.is_empty()) else {
        return Ok(None);
    };
    if numbers == Numbers::Uid {
        return Ok(Some(modified.clone()));
    }
    let mut set = UidSet::new();
    for uid in modified.iter() {
        if let Some(number) = blocking(|| selected.number_of(uid))? {
            set.push_range(number, number);
        }
    }
    // What was expunged meanwhile has no number to be told by.
    Ok(Some(set).filter(|set| !set.is_empty()))
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
    // The mailbox may know tens of thousands.
    let lower = |keyword: &Keyword| keyword.as_str().to_ascii_lowercase();
    let kept: HashSet<String> = given.keywords.iter().map(lower).collect();
    let keywords = selected.view.keywords().iter();
    let keywords =
        keywords.filter(|known| rights.contains(Rights::WRITE) && !kept.contains(&lower(known)));
    let others = FlagList {
        system: changeable(rights).without(given.system),
        keywords: keywords.cloned().collect(),
    };
    Some(vec![(FlagChange::Add, given), (FlagChange::Remove, others)])
}

/// News of others, then the answers of the command itself.
async fn tell(talk: &mut Talk, uids: UidSet, wanted: Wanted) -> Result<Synced, Ended> {
    let flags = super::notify::flag_news(&talk.session);
    let Some(selected) = &mut talk.session.selected else { return Ok(Synced::Current) };
    let manner = Manner { dialect: talk.session.dialect, expunges: Expunges::Hold, flags };
    // Who asks for UNCHANGEDSINCE is told the MODSEQ of each message, silent or not.
    if wanted.answer == StoreAnswer::Silent && wanted.unchanged_since.is_none() {
        let own = OwnChange { uids, change: wanted.change, flags: wanted.flags };
        return sync(selected, &mut talk.wire, manner, Answered::Known(own)).await;
    }
    let answered = Answered::Messages(uids.clone());
    if sync(selected, &mut talk.wire, manner, answered).await? == Synced::Gone {
        return Ok(Synced::Gone);
    }
    let Talk { session, wire, .. } = talk;
    let Some(selected) = &session.selected else { return Ok(Synced::Current) };
    let mut text = FlagsText::default();
    let put = |out: &mut Vec<u8>, rank: u32, row: RowRef<'_>| {
        let number = selected.number_at(rank, row.uid());
        let flags = (wanted.answer == StoreAnswer::Flags).then_some(&mut text);
        put_flags(out, session.dialect, number, row, flags, selected);
        Ok(())
    };
    if let Err(error) = Telling::of(&uids).finish(&selected.view, wire, put).await? {
        tracing::error!(%error, "rows could not be read");
    }
    Ok(Synced::Current)
}
