//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 section 6.3.1, RFC 3691).

use std::sync::Arc;

use engine::error::ReadError;
use engine::mailbox::View;
use engine::uid_set::UidSet;

use super::rights::{CHANGES, Deed, needs};
use super::{Answer, Talk};
use crate::codec::command::Access;
use crate::codec::mailbox_name::WireName;
use crate::session::{Selected, put_flags_known};
use crate::stream::{Ended, blocking};

/// SELECT and EXAMINE
pub(super) async fn select(
    talk: &mut Talk,
    name: &WireName,
    access: Access,
) -> Result<Answer, Ended> {
    if talk.session.selected.take().is_some() {
        talk.wire.line("* OK [CLOSED] The mailbox selected before is closed");
    }
    let found = match talk.find(name, Deed::Read, Answer::no_mailbox) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let changes = found.rights.has_any(CHANGES);
    let (mailbox, name, reach) = found.into_parts();
    let view = match blocking(|| mailbox.view()) {
        Ok(Some(view)) => view,
        Ok(None) => return Ok(Answer::no_mailbox()),
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let selected = Selected::new((mailbox, reach), name, access, Arc::clone(&view));
    if let Err(error) = blocking(|| announce(talk, &selected, &view)) {
        return Ok(Answer::unreadable(&talk.session, &error));
    }
    talk.session.selected = Some(selected);
    Ok(match access {
        Access::ReadWrite if changes => Answer::ok_code("READ-WRITE", "Selected"),
        _ => Answer::ok_code("READ-ONLY", "Selected for reading"),
    })
}

/// The untagged answers of SELECT; what may fail is read first.
fn announce(talk: &mut Talk, selected: &Selected, view: &View) -> Result<(), ReadError> {
    let first_unseen = selected.first_unseen()?;
    let wire = &mut talk.wire;
    put_flags_known(selected, wire);
    wire.line(&format!("* {} EXISTS\r\n* 0 RECENT", selected.count()));
    if let Some(number) = first_unseen {
        wire.line(&format!("* OK [UNSEEN {number}] First unseen message"));
    }
    wire.line(&format!("* OK [UIDVALIDITY {}] UIDs are valid", view.uid_validity().0));
    match view.uid_next() {
        Some(uid) => wire.line(&format!("* OK [UIDNEXT {uid}] Next UID")),
        None => wire.line("* NO The mailbox has no UIDs left; make a new one"),
    }
    wire.line(&format!("* OK [HIGHESTMODSEQ {}] Highest", view.highest_modseq().bits()));
    wire.line(&format!("* OK [MAILBOXID ({})] Mailbox", view.mailbox()));
    Ok(())
}

/// CLOSE: removes deleted messages without a word, if the mailbox was opened for that and the
/// client has the right to.
pub(super) async fn close(talk: &mut Talk) -> Result<Answer, Ended> {
    let Some(selected) = talk.session.selected.take() else {
        return Ok(Answer::bad("Select a mailbox first"));
    };
    let expunges = selected.rights().contains(needs(Deed::Expunge));
    if selected.access == Access::ReadWrite && expunges && any_deleted(&selected) {
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        if let Err(error) = selected.mailbox.expunge(&all).await {
            return Ok(Answer::refused(&talk.session, &error));
        }
    }
    Ok(Answer::ok("Closed"))
}

/// Whether any message is marked deleted: a CLOSE that removes nothing costs no commit.
fn any_deleted(selected: &Selected) -> bool {
    let view = blocking(|| selected.mailbox.view());
    view.ok().flatten().is_some_and(|view| view.deleted_count() > 0)
}

/// UNSELECT: CLOSE that removes nothing.
pub(super) fn unselect(talk: &mut Talk) -> Answer {
    talk.session.selected = None;
    Answer::ok("Unselected")
}
