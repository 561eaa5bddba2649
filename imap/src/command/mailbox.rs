//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 sections 6.3.3 to 6.3.7, RFC 6154).

use engine::error::CommitError;
use engine::{SpecialUse, Ticket};

use super::answer::printable;
use super::notify::{Own, note};
use super::place::Place;
use super::rights::{Deed, permit};
use super::{Answer, Talk};
use crate::codec::mailbox_name::WireName;
use crate::stream::{Ended, blocking};

/// CREATE. A name that ends in the separator only declares that names below it will be made
/// (RFC 3501 section 6.3.3): the mailbox itself is made.
pub(super) async fn create(
    talk: &mut Talk,
    name: &WireName,
    special_use: Result<Option<SpecialUse>, String>,
) -> Result<Answer, Ended> {
    let special_use = match special_use {
        Ok(special_use) => special_use,
        Err(unknown) => {
            let text = printable(&format!("A mailbox cannot be made for \\{unknown}"));
            return Ok(Answer::no("USEATTR", text));
        }
    };
    let place = match made_at(talk, name) {
        Ok(place) => place,
        Err(answer) => return Ok(answer),
    };
    if !place.is_own() && special_use.is_some() {
        return Ok(Answer::no("USEATTR", "A mailbox of somebody else gets no use"));
    }
    let name = place.name.strip_suffix('/').unwrap_or(&place.name);
    Ok(match place.owner.create_mailbox(name, special_use).await {
        Ok(id) => {
            let name = shown(&place.shown);
            note(&mut talk.session, Own::Created { mailbox: id, name });
            Answer::ok_code(format!("MAILBOXID ({id})"), "Created")
        }
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// DELETE. The mailbox that is selected here is closed first.
pub(super) async fn delete(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, own_name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    if let Some(answer) = refuse_parent_only(talk, &account, &own_name) {
        return Ok(answer);
    }
    let found = match talk.find(name, Deed::Remove, Answer::no_mailbox) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let ticket = found.place.owner.delete_mailbox(&found.place.name);
    let answer = done(talk, ticket, "Deleted").await;
    if answer.status == super::Status::Ok {
        note(&mut talk.session, Own::Deleted { mailbox: found.mailbox.id() });
    }
    let here = talk.session.selected.as_ref().map(|selected| selected.mailbox.id());
    if answer.status == super::Status::Ok && here == Some(found.mailbox.id()) {
        talk.session.selected = None;
        talk.wire.line("* OK [CLOSED] The selected mailbox was deleted");
    }
    Ok(answer)
}

/// A level that is no mailbox itself but has some below it cannot be deleted (RFC 3501 section
/// 6.3.4).
fn refuse_parent_only(talk: &Talk, account: &engine::Account, name: &str) -> Option<Answer> {
    let listing = match blocking(|| account.listing()) {
        Ok(listing) => listing,
        Err(error) => return Some(Answer::unreadable(&talk.session, &error)),
    };
    let there = listing.mailboxes.iter().any(|entry| entry.name == name);
    let below = format!("{name}/");
    let parent = listing.mailboxes.iter().any(|entry| entry.name.starts_with(&below));
    (!there && parent).then(|| Answer::no("CANNOT", "This level only holds other mailboxes"))
}

/// RENAME
pub(super) async fn rename(
    talk: &mut Talk,
    from: &WireName,
    to: &WireName,
) -> Result<Answer, Ended> {
    let places = talk.place(from).and_then(|from| Ok((from, made_at(talk, to)?)));
    let (from, to) = match places {
        Ok((Some(from), to)) => (from, to),
        Ok((None, _)) => return Ok(Answer::no_mailbox()),
        Err(answer) => return Ok(answer),
    };
    if !from.is_own() {
        // A level that is no mailbox is nobody's to rename but its owner's.
        let rights = match blocking(|| from.rights()) {
            Ok(rights) => rights,
            Err(error) => return Ok(Answer::unreadable(&talk.session, &error)),
        };
        if let Err(answer) = permit(rights, Deed::Remove, Answer::no_mailbox) {
            return Ok(answer);
        }
        if from.name == "INBOX" {
            return Ok(Answer::no("CANNOT", "The INBOX of somebody else stays where it is"));
        }
    }
    if from.owner.number() != to.owner.number() {
        return Ok(Answer::no("CANNOT", "A mailbox stays with whoever owns it"));
    }
    let new = to.name.strip_suffix('/').unwrap_or(&to.name);
    let answer = done(talk, from.owner.rename_mailbox(&from.name, new), "Renamed").await;
    // That of INBOX makes a mailbox, which is told.
    if answer.status == super::Status::Ok && from.name != "INBOX" {
        let (from, to) = (shown(&from.shown), shown(&to.shown));
        note(&mut talk.session, Own::Renamed { from, to });
    }
    Ok(answer)
}

/// SUBSCRIBE
pub(super) async fn subscribe(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let name = name.strip_suffix('/').unwrap_or(&name);
    let answer = done(talk, account.subscribe(name), "Subscribed").await;
    note_subscribed(talk, &answer, name, true);
    Ok(answer)
}

/// UNSUBSCRIBE
pub(super) async fn unsubscribe(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let name = name.strip_suffix('/').unwrap_or(&name);
    let answer = done(talk, account.unsubscribe(name), "Unsubscribed").await;
    note_subscribed(talk, &answer, name, false);
    Ok(answer)
}

fn note_subscribed(talk: &mut Talk, answer: &Answer, name: &str, subscribed: bool) {
    if answer.status == super::Status::Ok {
        let name = if name.eq_ignore_ascii_case("INBOX") { "INBOX" } else { name }.to_owned();
        note(&mut talk.session, Own::Subscribed { name, subscribed });
    }
}

/// A name as lists show it.
fn shown(name: &str) -> String {
    name.strip_suffix('/').unwrap_or(name).to_owned()
}

fn named(talk: &Talk, name: &WireName) -> Result<(engine::Account, String), Answer> {
    let account = talk.account()?;
    let name = name.decode().ok_or_else(Answer::bad_name)?;
    Ok((account, name))
}

/// Where a mailbox is to be made, if the client may.
fn made_at(talk: &Talk, name: &WireName) -> Result<Place, Answer> {
    let place = talk.place(name)?.ok_or_else(Answer::no_permission)?;
    place.permit_making(&talk.session)?;
    Ok(place)
}

async fn done(talk: &Talk, ticket: Ticket<Result<(), CommitError>>, text: &str) -> Answer {
    match ticket.await {
        Ok(()) => Answer::ok(text),
        Err(error) => Answer::refused(&talk.session, &error),
    }
}
