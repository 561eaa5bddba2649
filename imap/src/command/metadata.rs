//! GETMETADATA and SETMETADATA (RFC 5464), also for LIST … RETURN (METADATA …) (RFC 9590).
//!
//! Private entries of a mailbox that is somebody else's are kept there, too, and count there,
//! within bounds of their own: neither its owner nor other guests lack room for them. The server
//! itself has private entries alone, of each account its own. `/private/specialuse` shows what
//! CREATE gave the mailbox (RFC 6154 section 4), and cannot be set.

use std::collections::BTreeMap;

use engine::error::CommitError;
use engine::ids::{AccountNumber, MailboxId};
use engine::limits::METADATA_VALUE_BYTES_MAX;
use engine::{Account, MetadataChange, MetadataScope};

use super::rights::Deed;
use super::{Answer, Talk, notify};
use crate::codec::command::{EntryName, EntryValue, MetadataRequest, Visibility};
use crate::codec::grammar::SPECIAL_USES;
use crate::codec::mailbox_name::WireName;
use crate::codec::put;
use crate::stream::{Ended, blocking};

/// The entry of RFC 6154, without `/private`.
const SPECIAL_USE: &str = "/specialuse";

/// Whose entries are meant.
struct Target {
    owner: Account,
    /// `None` for the server.
    mailbox: Option<MailboxId>,
    /// As the client says it.
    shown: String,
    viewer: AccountNumber,
}

/// Entries that the client sees, by visibility and name.
type Entries = BTreeMap<(Visibility, String), Vec<u8>>;

/// GETMETADATA
pub(super) async fn get(
    talk: &mut Talk,
    name: &WireName,
    request: &MetadataRequest,
) -> Result<Answer, Ended> {
    let target = match target(talk, name, Deed::ReadMetadata) {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    let largest_left_out = put_metadata(talk, &target, request);
    talk.wire.relieve().await?;
    Ok(match largest_left_out {
        Some(bytes) => {
            Answer::ok_code(format!("METADATA LONGENTRIES {bytes}"), "Some were left out")
        }
        None => Answer::ok("That is all"),
    })
}

/// `* METADATA name (entry value …)`; answers the size of the largest value that is left out.
fn put_metadata(talk: &mut Talk, target: &Target, request: &MetadataRequest) -> Option<u64> {
    let entries = blocking(|| seen(target));
    let mut left_out = None;
    let mut shown: BTreeMap<String, Option<&Vec<u8>>> = BTreeMap::new();
    for name in &request.entries {
        let mut is_there = false;
        for ((visibility, rest), value) in &entries {
            if !name.reaches(request.depth, *visibility, rest) {
                continue;
            }
            is_there |= *rest == name.rest;
            let bytes = engine::width::u64_of(value.len());
            if request.bytes_max.is_some_and(|limit| bytes > limit) {
                left_out = left_out.max(Some(bytes));
                continue;
            }
            shown.insert(format!("{}{rest}", visibility.prefix()), Some(value));
        }
        if !is_there && !name.rest.is_empty() {
            let full = format!("{}{}", name.visibility.prefix(), name.rest);
            shown.entry(full).or_insert(None);
        }
    }
    if shown.is_empty() {
        return left_out;
    }
    let (names, out) = (talk.session.dialect.names(), &mut talk.wire.out);
    out.extend_from_slice(b"* METADATA ");
    put::mailbox(out, &target.shown, names);
    for (index, (name, value)) in shown.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b" (" } else { b" " });
        put::astring(out, name.as_bytes());
        out.push(b' ');
        match value {
            Some(value) => put::string8(out, value),
            None => out.extend_from_slice(b"NIL"),
        }
    }
    out.extend_from_slice(b")\r\n");
    left_out
}

/// What the client sees of a mailbox, or of the server.
fn seen(target: &Target) -> Entries {
    let mut entries = Entries::new();
    for entry in target.owner.metadata(target.mailbox, target.viewer) {
        let visibility = match entry.scope {
            MetadataScope::Shared => Visibility::Shared,
            MetadataScope::Private(_) => Visibility::Private,
        };
        entries.insert((visibility, entry.name), entry.value);
    }
    let is_own = target.owner.number() == target.viewer;
    if let (Some(mailbox), true, Ok(listing)) = (target.mailbox, is_own, target.owner.listing()) {
        let entry = listing.mailboxes.iter().find(|entry| entry.id == mailbox);
        let office = entry.and_then(|entry| entry.special_use);
        let name = SPECIAL_USES.iter().find(|(known, _)| Some(*known) == office);
        if let Some((_, name)) = name {
            let value = format!("\\{name}").into_bytes();
            entries.insert((Visibility::Private, SPECIAL_USE.to_owned()), value);
        }
    }
    entries
}

/// SETMETADATA: all entries or none.
pub(super) async fn set(
    talk: &mut Talk,
    name: &WireName,
    values: Vec<EntryValue>,
) -> Result<Answer, Ended> {
    let is_shared = |value: &EntryValue| value.name.visibility == Visibility::Shared;
    let deed = match values.iter().any(is_shared) {
        true => Deed::WriteMetadata,
        false => Deed::ReadMetadata,
    };
    let target = match target(talk, name, deed) {
        Ok(target) => target,
        Err(answer) => return Ok(answer),
    };
    if let Some(answer) = refused(&target, &values) {
        return Ok(answer);
    }
    let limit = talk.session.config.limits.metadata_guest_entries;
    let change = |EntryValue { name, value }| MetadataChange {
        scope: match name.visibility {
            Visibility::Private => MetadataScope::Private(target.viewer),
            Visibility::Shared => MetadataScope::Shared,
        },
        name: name.rest,
        value,
    };
    let changes: Vec<MetadataChange> = values.into_iter().map(change).collect();
    let set = target.owner.set_metadata_within(target.mailbox, changes.clone(), limit);
    Ok(match set.await {
        Ok(()) => {
            for MetadataChange { scope, name, value } in changes {
                let (owner, mailbox) = (target.owner.number(), target.mailbox);
                let deed = notify::Own::Set { owner, mailbox, scope, entry: name, value };
                notify::note(&mut talk.session, deed);
            }
            Answer::ok("Done")
        }
        Err(error @ CommitError::TooManyEntries { .. }) => {
            Answer::no("METADATA TOOMANY", super::printable(&error.to_string()))
        }
        Err(error) => Answer::refused(&talk.session, &error),
    })
}

/// What cannot be set whoever asks.
fn refused(target: &Target, values: &[EntryValue]) -> Option<Answer> {
    let too_long = |value: &EntryValue| {
        value.value.as_ref().is_some_and(|bytes| bytes.len() > METADATA_VALUE_BYTES_MAX)
    };
    let is_office =
        |name: &EntryName| name.visibility == Visibility::Private && name.rest == SPECIAL_USE;
    if values.iter().any(too_long) {
        return Some(value_too_long());
    }
    if target.mailbox.is_none()
        && values.iter().any(|value| value.name.visibility == Visibility::Shared)
    {
        return Some(Answer::no("NOPERM", "What all users of the server share cannot be set"));
    }
    if target.mailbox.is_some() && values.iter().any(|value| is_office(&value.name)) {
        return Some(Answer::no("CANNOT", "A mailbox gets its use when it is created"));
    }
    None
}

/// A value is larger than we keep (RFC 5464 section 4.3).
pub(super) fn value_too_long() -> Answer {
    let code = format!("METADATA MAXSIZE {METADATA_VALUE_BYTES_MAX}");
    Answer::no(code, "The value is too long")
}

fn target(talk: &Talk, name: &WireName, deed: Deed) -> Result<Target, Answer> {
    let account = talk.account()?;
    let viewer = account.number();
    if name.0.is_empty() {
        return Ok(Target { owner: account, mailbox: None, shown: String::new(), viewer });
    }
    let found = talk.find(name, deed, Answer::no_mailbox)?;
    Ok(Target {
        mailbox: Some(found.mailbox.id()),
        owner: found.place.owner,
        shown: found.place.shown,
        viewer,
    })
}

/// The entries of a mailbox that LIST shows; nothing where the client may not read them.
pub(super) fn put_listed(talk: &mut Talk, name: &str, entries: &[EntryName]) -> Result<(), Answer> {
    let Some(place) = talk.place_named(name)? else { return Ok(()) };
    let Ok(found) = talk.find_at(place, Deed::ReadMetadata, Answer::no_mailbox) else {
        return Ok(());
    };
    let viewer = talk.account()?.number();
    let target = Target {
        mailbox: Some(found.mailbox.id()),
        owner: found.place.owner,
        shown: found.place.shown,
        viewer,
    };
    let request = MetadataRequest { entries: entries.to_vec(), ..MetadataRequest::default() };
    put_metadata(talk, &target, &request);
    Ok(())
}
