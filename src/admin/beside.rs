//! What stands beside an account's mail: special uses, metadata, access control lists.
//!
//! Names of entries are as in IMAP (`/shared/comment`); values are bytes, written as in the file of
//! an export (`mail_files/beside.rs`), so that a line of JSON has them. Metadata is what the
//! account sees: entries that others keep for themselves in its mailboxes are theirs.

use std::collections::BTreeMap;

use engine::error::CommitError;
use engine::rights::{Grantee, Identifier, Rights, Sign};
use engine::{Account, MetadataChange, MetadataScope, SpecialUse, Store};
use imap::codec::command::{EntryName, Visibility};
use imap::codec::grammar::SPECIAL_USES;
use serde::{Deserialize, Serialize};

use super::operation::Answer;
use crate::failure::{Exit, Failure};
use crate::mail_files::{RightsLine, Whom, escaped, unescaped};

/// What stands beside a mailbox, or beside the account itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Beside {
    /// Such as `\Sent`.
    pub(crate) special_use: Option<String>,
    /// Names of metadata with their values.
    pub(crate) entries: Vec<(String, String)>,
    /// Who may do what.
    pub(crate) rights: Vec<RightsLine>,
}

/// What stands beside a mailbox; `None`: beside the account itself. Nothing of one that is gone.
pub(super) fn read(account: &Account, mailbox: Option<&str>) -> Result<Answer, Failure> {
    let listing = account.listing()?;
    let found = mailbox.map(|name| listing.mailboxes.iter().find(|entry| entry.name == name));
    let mut beside = Beside::default();
    let id = match found {
        Some(None) => return Ok(Answer::Beside(beside)),
        Some(Some(entry)) => {
            let named = |office| SPECIAL_USES.iter().find(|(known, _)| *known == office);
            let office = entry.special_use.and_then(named);
            beside.special_use = office.map(|(_, name)| format!("\\{name}"));
            Some(entry.id)
        }
        None => None,
    };
    for entry in account.metadata(id, account.number()) {
        let visibility = match entry.scope {
            MetadataScope::Shared => Visibility::Shared,
            MetadataScope::Private(_) => Visibility::Private,
        };
        let name = format!("{}{}", visibility.prefix(), entry.name);
        beside.entries.push((name, escaped(&entry.value)));
    }
    for entry in id.map(|id| account.access_list(id)).unwrap_or_default() {
        beside.rights.push(RightsLine {
            takes: entry.identifier.sign == Sign::Negative,
            whom: entry.name.map_or(Whom::Anyone, Whom::User),
            letters: Rights::each()
                .filter_map(|(letter, right)| entry.rights.contains(right).then_some(letter))
                .collect(),
        });
    }
    Ok(Answer::Beside(beside))
}

/// Sets an entry of metadata.
pub(super) fn set_entry(
    account: &Account,
    mailbox: Option<&str>,
    (name, value): (&str, &str),
) -> Result<(), Failure> {
    let id = match mailbox {
        Some(mailbox) => Some(account.mailbox(mailbox)?.ok_or(CommitError::NoSuchMailbox)?.id()),
        None => None,
    };
    let parsed = EntryName::parse(name.as_bytes()).filter(|name| !name.rest.is_empty());
    let parsed = parsed.filter(|name| id.is_some() || name.visibility == Visibility::Private);
    let Some(EntryName { visibility, rest }) = parsed else {
        return Err(Failure::new(Exit::Refused, format!("{name} is no entry of metadata here")));
    };
    let scope = match visibility {
        Visibility::Shared => MetadataScope::Shared,
        Visibility::Private => MetadataScope::Private(account.number()),
    };
    let change = MetadataChange { scope, name: rest, value: Some(unescaped(value)) };
    Ok(account.set_metadata(id, vec![change]).wait()?)
}

/// Sets entries of a mailbox's access control list; answers those that mean nobody here. If one of
/// these would take rights away, none is set: what is left would give too much.
pub(super) fn set_rights(
    store: &Store,
    account: &Account,
    mailbox: &str,
    lines: Vec<RightsLine>,
) -> Result<Answer, Failure> {
    let id = account.mailbox(mailbox)?.ok_or(CommitError::NoSuchMailbox)?.id();
    let mut entries: BTreeMap<(bool, Identifier), Rights> = BTreeMap::new();
    let mut unknown = Vec::new();
    for line in lines {
        let grantee = match grantee(store, account, &line.whom)? {
            Named::Grantee(grantee) => grantee,
            Named::Owner => continue,
            Named::Nobody => {
                unknown.push(line);
                continue;
            }
        };
        let sign = if line.takes { Sign::Negative } else { Sign::Positive };
        // A letter that is no right of ours gives nothing.
        let rights = Rights::each().filter(|(letter, _)| line.letters.contains(*letter));
        let rights = rights.fold(Rights::NONE, |all, (_, right)| all.with(right));
        // What takes away comes first: nobody may do more in between.
        let entry = entries.entry((!line.takes, Identifier { grantee, sign }));
        let entry = entry.or_insert(Rights::NONE);
        *entry = entry.with(rights);
    }
    if unknown.iter().any(|line| line.takes) {
        let sentence = "an entry that takes rights away means nobody here, so the list is left out";
        return Err(Failure::new(Exit::Refused, sentence));
    }
    for ((_, identifier), rights) in entries {
        let rights = Some(rights).filter(|rights| !rights.is_empty());
        account.set_rights(id, identifier, rights).wait()?;
    }
    Ok(Answer::MeanNobody { whom: unknown.into_iter().map(|line| line.whom.text()).collect() })
}

/// Whom an entry means.
enum Named {
    Grantee(Grantee),
    /// Who has every right already.
    Owner,
    Nobody,
}

fn grantee(store: &Store, owner: &Account, whom: &Whom) -> Result<Named, Failure> {
    let name = match whom {
        Whom::Anyone => return Ok(Named::Grantee(Grantee::Anyone)),
        Whom::Owner => return Ok(Named::Owner),
        Whom::Other(_) => return Ok(Named::Nobody),
        Whom::User(name) => name,
    };
    let mut found = store.account(name)?;
    // Elsewhere users of one domain are called without it.
    if let (None, false, Some((_, domain))) =
        (&found, name.contains('@'), owner.login_name().rsplit_once('@'))
    {
        found = store.account(&format!("{name}@{domain}"))?;
    }
    Ok(match found {
        None => Named::Nobody,
        Some(found) if found.number() == owner.number() => Named::Owner,
        Some(found) => Named::Grantee(Grantee::Account(found.number())),
    })
}

/// The special use of that name, with its backslash.
pub(super) fn special_use(name: &str) -> Option<SpecialUse> {
    let name = name.strip_prefix('\\')?;
    SPECIAL_USES.iter().find(|(_, known)| *known == name).map(|(office, _)| *office)
}

/// Sees to it that the mailbox of a special use has a name: an empty one that an account has from
/// its first day is called so, if there is none of that name. What has mail keeps its name.
///
/// # Errors
/// Both names are taken.
pub(super) fn give_use(account: &Account, name: &str, office: SpecialUse) -> Result<(), Failure> {
    let listing = account.listing()?;
    let holder = listing.mailboxes.iter().find(|entry| entry.special_use == Some(office));
    let is_there = account.mailbox(name)?.is_some();
    let taken = |why: &str| Err(Failure::new(Exit::Refused, format!("{name} {why}")));
    let Some(holder) = holder else {
        return match is_there {
            true => taken("is there already, and a mailbox gets its use when it is made"),
            false => Ok(account.create_mailbox(name, Some(office)).wait().map(drop)?),
        };
    };
    if holder.name == name {
        return Ok(());
    }
    let above = format!("{}/", holder.name);
    let is_above = listing.mailboxes.iter().any(|entry| entry.name.starts_with(&above));
    let view = account.mailbox_by_id(holder.id)?.map_or(Ok(None), |mailbox| mailbox.view())?;
    let is_empty = view.is_some_and(|view| view.message_count() == 0);
    if is_there || is_above || !is_empty {
        return taken(&format!("cannot have the use that {} has", holder.name));
    }
    account.rename_mailbox(&holder.name, name).wait()?;
    Ok(account.unsubscribe(&holder.name).wait()?)
}
