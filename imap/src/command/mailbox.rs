//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE (RFC 3501 sections 6.3.3 to 6.3.7, RFC 6154).

use engine::error::CommitError;
use engine::{SpecialUse, Ticket};

use super::answer::printable;
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
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let name = name.strip_suffix('/').unwrap_or(&name);
    Ok(match account.create_mailbox(name, special_use).await {
        Ok(id) => Answer::ok_code(format!("MAILBOXID ({id})"), "Created"),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// DELETE. The mailbox that is selected here is closed first.
pub(super) async fn delete(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    if let Some(answer) = refuse_parent_only(talk, &account, &name) {
        return Ok(answer);
    }
    let id = blocking(|| account.mailbox(&name)).ok().flatten().map(|mailbox| mailbox.id());
    let answer = done(talk, account.delete_mailbox(&name), "Deleted").await;
    let here = talk.session.selected.as_ref().map(|selected| selected.mailbox.id());
    if answer.status == super::Status::Ok && here.is_some() && here == id {
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
    let (account, from) = match named(talk, from) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let Some(to) = to.decode() else { return Ok(Answer::bad_name()) };
    let to = to.strip_suffix('/').unwrap_or(&to);
    Ok(done(talk, account.rename_mailbox(&from, to), "Renamed").await)
}

/// SUBSCRIBE
pub(super) async fn subscribe(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let name = name.strip_suffix('/').unwrap_or(&name);
    Ok(done(talk, account.subscribe(name), "Subscribed").await)
}

/// UNSUBSCRIBE
pub(super) async fn unsubscribe(talk: &mut Talk, name: &WireName) -> Result<Answer, Ended> {
    let (account, name) = match named(talk, name) {
        Ok(found) => found,
        Err(answer) => return Ok(answer),
    };
    let name = name.strip_suffix('/').unwrap_or(&name);
    Ok(done(talk, account.unsubscribe(name), "Unsubscribed").await)
}

fn named(talk: &Talk, name: &WireName) -> Result<(engine::Account, String), Answer> {
    let account = talk.account()?;
    let name = name.decode().ok_or_else(Answer::bad_name)?;
    Ok((account, name))
}

async fn done(talk: &Talk, ticket: Ticket<Result<(), CommitError>>, text: &str) -> Answer {
    match ticket.await {
        Ok(()) => Answer::ok(text),
        Err(error) => Answer::refused(&talk.session, &error),
    }
}
