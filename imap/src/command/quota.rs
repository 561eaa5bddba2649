//! GETQUOTA, GETQUOTAROOT, SETQUOTA (RFC 9208).
//!
//! Each account is one quota root: `""` is the client's own, that of another account has its name.
//! A mailbox counts where it is, so a shared one in its owner's account. Limits are the operator's:
//! SETQUOTA is understood and refused to everybody, and QUOTASET not announced.

use engine::{Account, Usage};

use super::place::Place;
use super::rights::Deed;
use super::{Answer, Talk};
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::stream::blocking;

/// GETQUOTA
pub(super) fn get(talk: &mut Talk, root: &[u8]) -> Result<Answer, Answer> {
    let account = talk.account()?;
    let owner = owner_of(talk, &account, root)?;
    put_quota(&mut talk.wire.out, root_of(&account, &owner), owner.usage());
    Ok(Answer::ok("That is what it takes and may"))
}

/// GETQUOTAROOT
pub(super) fn get_root(talk: &mut Talk, name: &WireName) -> Result<Answer, Answer> {
    let account = talk.account()?;
    let place = place_of(talk, name)?;
    let owner = place.owner;
    let root = root_of(&account, &owner);
    let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
    out.extend_from_slice(b"* QUOTAROOT ");
    put::mailbox(out, &place.shown, names);
    out.push(b' ');
    put::astring(out, root.as_bytes());
    out.extend_from_slice(b"\r\n");
    put_quota(out, root, owner.usage());
    Ok(Answer::ok("That is where it counts"))
}

/// Where a mailbox is that the client may read, or would be if the client made it (RFC 9208 section
/// 4.1.2: "the mailbox name parameter doesn't have to reference an existing mailbox").
fn place_of(talk: &Talk, name: &WireName) -> Result<Place, Answer> {
    let text = name.decode().ok_or_else(Answer::no_mailbox)?;
    let place = talk.place_named(&text)?.ok_or_else(Answer::no_mailbox)?;
    let exists = blocking(|| place.owner.mailbox(&place.name));
    let exists = exists.map_err(|error| Answer::unreadable(&talk.session, &error))?.is_some();
    if place.is_own() && !exists {
        return Ok(place);
    }
    Ok(talk.find_at(place, Deed::Read, Answer::no_mailbox)?.place)
}

/// SETQUOTA
pub(super) fn set(talk: &Talk, root: &[u8]) -> Result<Answer, Answer> {
    let account = talk.account()?;
    owner_of(talk, &account, root)?;
    Err(Answer::no("NOPERM", "Quotas are set by the operator of this server"))
}

/// The account of a root: the client's own, or one of which it reads a mailbox.
fn owner_of(talk: &Talk, account: &Account, root: &[u8]) -> Result<Account, Answer> {
    let unknown = || Answer::no("NONEXISTENT", "There is no such quota root");
    let root = std::str::from_utf8(root).map_err(|_| unknown())?;
    if root.is_empty() {
        return Ok(account.clone());
    }
    let found = blocking(|| {
        let owner = talk.session.store.account(root)?;
        let Some(owner) = owner.filter(|owner| owner.number() != account.number()) else {
            return Ok(None);
        };
        Ok(talk.reads_of(&owner, account)?.then_some(owner))
    });
    let found = found.map_err(|error| Answer::unreadable(&talk.session, &error))?;
    found.ok_or_else(unknown)
}

fn root_of<'a>(account: &Account, owner: &'a Account) -> &'a str {
    if owner.number() == account.number() { "" } else { owner.login_name() }
}

/// `* QUOTA root (resource used limit …)`: what has a limit.
fn put_quota(out: &mut Vec<u8>, root: &str, usage: Usage) {
    const UNIT_BYTES: u64 = 1024;
    out.extend_from_slice(b"* QUOTA ");
    put::astring(out, root.as_bytes());
    // Used is rounded up and the limit down, so that what seems to fit fits.
    let storage = usage
        .byte_limit
        .map(|limit| ("STORAGE", usage.byte_count.div_ceil(UNIT_BYTES), limit / UNIT_BYTES));
    let messages = usage.message_limit.map(|limit| ("MESSAGE", usage.message_count, limit));
    let resources: Vec<String> = [storage, messages]
        .into_iter()
        .flatten()
        .map(|(name, used, limit)| format!("{name} {used} {limit}"))
        .collect();
    out.extend_from_slice(format!(" ({})\r\n", resources.join(" ")).as_bytes());
}
