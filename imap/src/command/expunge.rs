//! EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315).
//!
//! The EXPUNGE answers are the news that every command tells before its tagged answer.

use engine::error::ReadError;
use engine::flags::SystemFlags;
use engine::mailbox::Condition;
use engine::uid_set::UidSet;

use super::rights::{Deed, needs};
use super::{Answer, Talk, message_limit};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers};
use crate::session::{Selected, looked_up};
use crate::stream::Ended;

/// EXPUNGE of all deleted messages, or of those in a set of UIDs.
pub(super) async fn expunge(talk: &mut Talk, set: Option<&SequenceSet>) -> Result<Answer, Ended> {
    let selected = match talk.selected() {
        Ok(selected) if selected.access == Access::ReadOnly => return Ok(Answer::read_only()),
        Ok(selected) if !selected.rights().contains(needs(Deed::Expunge)) => {
            return Ok(Answer::no_permission());
        }
        Ok(selected) => selected,
        Err(answer) => return Ok(answer),
    };
    let limit = talk.session.config.limits.messages_per_command;
    let found = match set {
        None => Ok((UidSet::from_ranges([(1, u32::MAX)]), None)),
        Some(set) => looked_up(set, || {
            let mut uids = selected.targets(Numbers::Uid, set)?.uids;
            if limit.is_some() {
                uids = deleted_among(selected, &uids)?;
            }
            let excess = message_limit::cut(selected, &mut uids, limit)?;
            Ok((uids, excess))
        }),
    };
    let (uids, excess) = match found {
        Ok(found) => found,
        Err(error) => return Ok(talk.untargeted(&error)),
    };
    Ok(match selected.mailbox.expunge(&uids).await {
        Ok(_) => message_limit::done(excess, "Expunged"),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// What a limited UID EXPUNGE counts: the messages that it will remove.
fn deleted_among(selected: &Selected, uids: &UidSet) -> Result<UidSet, ReadError> {
    let deleted = Condition::Flags(SystemFlags::DELETED);
    selected.view.matching(&Condition::All(vec![deleted, Condition::Uids(uids.clone())]))
}
