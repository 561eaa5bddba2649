//! GETACL, SETACL, DELETEACL, LISTRIGHTS, MYRIGHTS (RFC 4314).
//!
//! Identifiers are names of accounts and `anyone`; with `-` before it, an entry takes rights away.

use engine::AccessEntry;
use engine::rights::{Grantee, Identifier, Rights, RightsChange, Sign};

use super::answer::printable;
use super::place::Found;
use super::rights::{Deed, KNOWS_OF};
use super::{Answer, Talk};
use crate::codec::command::AclChange;
use crate::codec::mailbox_name::{NameEncoding, WireName};
use crate::codec::put;
use crate::stream::{Ended, blocking};

/// The identifier of everybody.
const ANYONE: &str = "anyone";

/// GETACL
pub(super) fn get(talk: &mut Talk, name: &WireName) -> Result<Answer, Answer> {
    let found = talk.find(name, Deed::Administer, Answer::no_mailbox)?;
    let list = blocking(|| found.place.owner.access_list(found.mailbox.id()));
    let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
    out.extend_from_slice(b"* ACL ");
    put::mailbox(out, &found.place.shown, names);
    put_entry(out, &found.place.owner.name(), Rights::ALL);
    for AccessEntry { identifier, name, rights } in list {
        let minus = if identifier.sign == Sign::Negative { "-" } else { "" };
        let name = name.as_deref().unwrap_or(ANYONE);
        put_entry(out, &format!("{minus}{name}"), rights);
    }
    out.extend_from_slice(b"\r\n");
    Ok(Answer::ok("That is who may do what"))
}

fn put_entry(out: &mut Vec<u8>, identifier: &str, rights: Rights) {
    out.push(b' ');
    put::astring(out, identifier.as_bytes());
    out.push(b' ');
    put::astring(out, rights.letters().as_bytes());
}

/// SETACL, and DELETEACL, which takes the entry away.
pub(super) async fn set(
    talk: &mut Talk,
    name: &WireName,
    identifier: &[u8],
    change: Option<AclChange>,
) -> Result<Answer, Ended> {
    let (found, identifier) = match named(talk, name, identifier) {
        Ok((found, Some(identifier))) => (found, identifier),
        Ok((_, None)) => {
            return Ok(Answer::no("CANNOT", "Who owns a mailbox has every right to it"));
        }
        Err(answer) => return Ok(answer),
    };
    let (owner, mailbox) = (&found.place.owner, found.mailbox.id());
    let list = blocking(|| owner.access_list(mailbox));
    let before = list.iter().find(|entry| entry.identifier == identifier);
    let before = before.map_or(Rights::NONE, |entry| entry.rights);
    let now = match change {
        None => Rights::NONE,
        Some(AclChange { change, letters }) => {
            // RFC 4314 section 3.1: rights are lower-case letters and digits.
            match Rights::from_letters(&String::from_utf8_lossy(&letters)) {
                Ok(rights) => before.changed(change, rights),
                Err(unknown) => {
                    return Ok(Answer::bad(printable(&format!("There is no right {unknown}"))));
                }
            }
        }
    };
    let now = Some(now).filter(|rights| !rights.is_empty());
    Ok(match owner.set_rights(mailbox, identifier, now).await {
        Ok(()) => Answer::ok("Done"),
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// LISTRIGHTS
pub(super) fn list(talk: &mut Talk, name: &WireName, whom: &[u8]) -> Result<Answer, Answer> {
    let (found, identifier) = named(talk, name, whom)?;
    let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
    out.extend_from_slice(b"* LISTRIGHTS ");
    put::mailbox(out, &found.place.shown, names);
    out.push(b' ');
    put::astring(out, whom);
    if identifier.is_none() {
        out.extend_from_slice(format!(" {}", Rights::ALL.letters()).as_bytes());
    } else {
        out.extend_from_slice(b" \"\"");
        for letter in Rights::ALL.letters().bytes() {
            out.extend_from_slice(&[b' ', letter]);
        }
    }
    out.extend_from_slice(b"\r\n");
    Ok(Answer::ok("That is what can be given"))
}

/// MYRIGHTS
pub(super) fn mine(talk: &mut Talk, name: &WireName) -> Result<Answer, Answer> {
    let place = talk.place(name)?.ok_or_else(Answer::no_mailbox)?;
    let rights = blocking(|| place.rights());
    let rights = rights.map_err(|error| Answer::unreadable(&talk.session, &error))?;
    if !rights.has_any(KNOWS_OF) {
        return Err(Answer::no_mailbox());
    }
    let names = talk.session.dialect.names();
    put_mine(&mut talk.wire.out, (&place.shown, names), rights);
    Ok(Answer::ok("That is what you may do"))
}

/// `* MYRIGHTS name rights`, also for LIST … RETURN (MYRIGHTS) (RFC 8440).
pub(super) fn put_mine(out: &mut Vec<u8>, (name, names): (&str, NameEncoding), rights: Rights) {
    out.extend_from_slice(b"* MYRIGHTS ");
    put::mailbox(out, name, names);
    out.push(b' ');
    put::astring(out, rights.letters().as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The mailbox, for whoever administers it, and whom an identifier names; `None` is the owner.
fn named(
    talk: &Talk,
    name: &WireName,
    identifier: &[u8],
) -> Result<(Found, Option<Identifier>), Answer> {
    let found = talk.find(name, Deed::Administer, Answer::no_mailbox)?;
    let unknown = || Answer::no("NONEXISTENT", "There is no account of that name");
    let text = std::str::from_utf8(identifier).map_err(|_| unknown())?;
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (Sign::Negative, rest),
        None => (Sign::Positive, text),
    };
    if text.eq_ignore_ascii_case(ANYONE) {
        return Ok((found, Some(Identifier { grantee: Grantee::Anyone, sign })));
    }
    let account = blocking(|| talk.session.store.account(text));
    let account = account.map_err(|error| Answer::unreadable(&talk.session, &error))?;
    let account = account.ok_or_else(unknown)?.number();
    if account == found.place.owner.number() {
        return Ok((found, None));
    }
    Ok((found, Some(Identifier { grantee: Grantee::Account(account), sign })))
}

impl AclChange {
    /// From `[+-]letters`.
    pub(crate) fn parse(text: &[u8]) -> AclChange {
        let (change, letters) = match text.split_first() {
            Some((b'+', letters)) => (RightsChange::Add, letters),
            Some((b'-', letters)) => (RightsChange::Remove, letters),
            _ => (RightsChange::Replace, text),
        };
        AclChange { change, letters: letters.to_vec() }
    }
}
