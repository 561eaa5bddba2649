//! EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315).
//!
//! The EXPUNGE answers are the news that every command tells before its tagged answer.

use engine::uid_set::UidSet;

use super::rights::{Deed, needs};
use super::{Answer, Talk};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, Numbers};
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
    let uids = match set {
        None => UidSet::from_ranges([(1, u32::MAX)]),
        Some(set) => match selected.targets(Numbers::Uid, set) {
            Ok(targets) => targets.uids,
            Err(error) => return Ok(talk.untargeted(&error)),
        },
    };
    Ok(match selected.mailbox.expunge(&uids).await {
        Ok(_) => Answer::ok("Expunged"),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}
