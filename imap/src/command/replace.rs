//! REPLACE and UID REPLACE (RFC 8508): the new message comes and the old one goes in one commit.

use engine::ids::Uid;

use super::append::{drafts, prepare_all};
use super::rights::{Deed, needs};
use super::{Answer, Talk, notify};
use crate::codec::SequenceSet;
use crate::codec::command::{Access, AppendMessage, Numbers};
use crate::codec::mailbox_name::WireName;
use crate::stream::{Ended, blocking};

/// REPLACE
pub(super) async fn replace(
    talk: &mut Talk,
    numbers: Numbers,
    old: &SequenceSet,
    name: &WireName,
    (message, literals): (AppendMessage, Vec<Vec<u8>>),
) -> Result<Answer, Ended> {
    let found = match talk.find(name, Deed::Insert, Answer::try_create) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let old = match old_message(talk, numbers, old) {
        Ok(uid) => uid,
        Err(answer) => return Ok(answer),
    };
    let (drafts, _budget) = match drafts(talk, vec![message], &literals).await {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let message = match prepare_all(talk, &found, drafts, literals).map(|mut all| all.pop()) {
        Ok(Some(message)) => message,
        Ok(None) => return Ok(Answer::bad("There is no message")),
        Err(answer) => return Ok(answer),
    };
    let Some(selected) = &talk.session.selected else {
        return Ok(Answer::bad("Select a mailbox first"));
    };
    if selected.owner.number() != found.place.owner.number() {
        // One commit is of one account.
        return Ok(Answer::no("CANNOT", "A message is replaced within one account only"));
    }
    Ok(match selected.mailbox.replace(old, &found.mailbox, message).await {
        Ok(appended) => {
            let deed = notify::Own::appended(found.mailbox.id(), &appended);
            notify::note(&mut talk.session, deed);
            let uid = appended.uids.first().map_or(0, |uid| uid.0);
            let code = format!("APPENDUID {} {uid}", appended.uid_validity.0);
            // RFC 8508 section 4.3: before the EXPUNGE answer.
            talk.wire.line(&format!("* OK [{code}] The replacement is stored"));
            Answer::ok("Replaced")
        }
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// The message that goes.
fn old_message(talk: &Talk, numbers: Numbers, old: &SequenceSet) -> Result<Uid, Answer> {
    let selected = talk.selected()?;
    if selected.access == Access::ReadOnly {
        return Err(Answer::read_only());
    }
    if !selected.rights().contains(needs(Deed::MoveAway)) {
        return Err(Answer::no_permission());
    }
    let found = blocking(|| {
        let targets = selected.targets(numbers, old)?;
        Ok((targets.ghosts, selected.view.existing(&targets.uids)?))
    });
    let (is_ghost, uids) = found.map_err(|error| talk.untargeted(&error))?;
    match uids.iter().next() {
        Some(uid) => Ok(uid),
        None if is_ghost => Err(Answer::expunge_issued()),
        None => Err(Answer::no("NONEXISTENT", "There is no message of that number")),
    }
}
