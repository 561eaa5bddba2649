//! SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 section 6.3.1, RFC 3691), with CONDSTORE and QRESYNC
//! (RFC 7162).

use std::sync::Arc;

use engine::error::ReadError;
use engine::mailbox::View;
use engine::uid_set::UidSet;

use super::rights::{CHANGES, Deed, needs};
use super::{Answer, Talk};
use crate::codec::command::{Access, SelectParameter};
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::session::{Selected, put_flags_known, resynchronize};
use crate::stream::{Ended, asking, blocking};

/// SELECT and EXAMINE
pub(super) async fn select(
    talk: &mut Talk,
    name: &WireName,
    access: Access,
    parameter: &SelectParameter,
) -> Result<Answer, Ended> {
    let resync = match parameter {
        SelectParameter::Resync(_) if !talk.session.dialect.qresync => {
            return Ok(Answer::bad("Enable QRESYNC first"));
        }
        SelectParameter::Resync(resync) => Some(resync),
        SelectParameter::None | SelectParameter::CondStore => None,
    };
    if talk.session.selected.take().is_some() {
        talk.wire.line("* OK [CLOSED] The mailbox selected before is closed");
    }
    let found = match talk.find(name, Deed::Read, Answer::no_mailbox) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let changes = found.rights.has_any(CHANGES);
    let (mailbox, name, reach) = found.into_parts();
    let view = match mailbox.view() {
        Ok(Some(view)) => view,
        Ok(None) => return Ok(Answer::no_mailbox()),
        Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
    };
    let selected = Selected::new((mailbox, reach), name, access, Arc::clone(&view));
    if let Err(error) = asking(|| announce(talk, &selected, &view)) {
        return Ok(Answer::unreadable(&talk.session, &error));
    }
    let dialect = talk.session.dialect;
    if let Some(resync) = resync
        && let Err(error) = resynchronize(&selected, &mut talk.wire, dialect, resync).await?
    {
        return Ok(Answer::unreadable(&talk.session, &error));
    }
    // HIGHESTMODSEQ has been told.
    talk.session.dialect.condstore |= *parameter == SelectParameter::CondStore;
    talk.session.selected = Some(selected);
    Ok(match access {
        Access::ReadWrite if changes => Answer::ok_code("READ-WRITE", "Selected"),
        _ => Answer::ok_code("READ-ONLY", "Selected for reading"),
    })
}

/// The untagged answers of SELECT; what may fail is read first.
fn announce(talk: &mut Talk, selected: &Selected, view: &View) -> Result<(), ReadError> {
    let dialect = talk.session.dialect;
    // IMAP4rev2 has it no more, and a client without numbers could do nothing with it.
    let first_unseen = match dialect.rev2 || dialect.uid_only {
        true => None,
        false => selected.first_unseen()?,
    };
    let wire = &mut talk.wire;
    put_flags_known(selected, wire);
    wire.line(&format!("* {} EXISTS", selected.count()));
    if !dialect.rev2 {
        wire.line("* 0 RECENT");
    }
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
    if dialect.rev2 {
        // RFC 9051 section 6.3.2: the name as we write it.
        wire.out.extend_from_slice(b"* LIST () \"/\" ");
        put::mailbox(&mut wire.out, &selected.name, dialect.names());
        wire.line("");
    }
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
        if talk.session.dialect.qresync {
            return Ok(closed_at(&selected));
        }
    }
    Ok(Answer::ok("Closed"))
}

/// What a client with QRESYNC is told whose CLOSE removed messages (RFC 7162 section 3.2.8): if
/// nothing else came in between, it knows all up to there.
fn closed_at(selected: &Selected) -> Answer {
    let view = selected.mailbox.view().ok().flatten();
    let changes = view.as_ref().map(|view| blocking(|| view.changes_since(&selected.view)));
    match (view, changes) {
        (Some(view), Some(Ok(changes)))
            if changes.changed.is_empty() && changes.added.is_empty() =>
        {
            let highest = view.highest_modseq().bits();
            Answer::ok_code(format!("HIGHESTMODSEQ {highest}"), "Closed")
        }
        _ => Answer::ok("Closed"),
    }
}

/// Whether any message is marked deleted: a CLOSE that removes nothing costs no commit.
fn any_deleted(selected: &Selected) -> bool {
    let view = selected.mailbox.view();
    view.ok().flatten().is_some_and(|view| view.deleted_count() > 0)
}

/// UNSELECT: CLOSE that removes nothing.
pub(super) fn unselect(talk: &mut Talk) -> Answer {
    talk.session.selected = None;
    Answer::ok("Unselected")
}
