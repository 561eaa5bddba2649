//! Where a mailbox name leads: into one's own account or into that of somebody else.
//!
//! ```text
//! Other Users/anna@example.org/Work   anna's mailbox Work, if she shares it
//! Shared/Projects                     the mailbox Projects of the account that `shared_account` in
//!                                     the configuration names
//! anything else                       one's own
//! ```
//! A mailbox of one's own with such a name, from before, stays reachable and wins.
//!
//! # Invariants
//! 1. What is found here was permitted: no handler asks an account that is not the client's own for
//!    a mailbox in any other way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use engine::error::ReadError;
use engine::ids::{AccountNumber, MailboxId};
use engine::rights::Rights;
use engine::{Account, Listing, Mailbox, MailboxEntry};

use super::rights::{Deed, needs, permit};
use super::{Answer, Talk};
use crate::codec::mailbox_name::{WireName, with_inbox_in_capitals};
use crate::session::{Reach, Session};
use crate::stream::blocking;

/// Mailboxes of other accounts are below.
pub(super) const OTHERS: &str = "Other Users/";
/// Mailboxes of the account of shared folders are below.
pub(super) const SHARED: &str = "Shared/";

/// Where a name leads; there may be no mailbox.
pub(super) struct Place {
    pub(super) owner: Account,
    /// In the owner's account.
    pub(super) name: String,
    /// As the client says it.
    pub(super) shown: String,
    viewer: AccountNumber,
}

/// A mailbox that the client may use as it asked to.
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) mailbox: Mailbox,
    /// What else it may do.
    pub(super) rights: Rights,
}

impl Found {
    /// The mailbox, its name as the client says it, and whose it is.
    pub(super) fn into_parts(self) -> (Mailbox, String, Reach) {
        let Place { owner, shown, viewer, .. } = self.place;
        (self.mailbox, shown, Reach { owner, viewer })
    }
}

impl Place {
    /// Whether it is in the client's own account.
    pub(super) fn is_own(&self) -> bool {
        self.owner.number() == self.viewer
    }

    /// What the client may do with the mailbox that is there; none if there is none.
    pub(super) fn rights(&self) -> Result<Rights, ReadError> {
        let mailbox = self.owner.mailbox(&self.name)?;
        Ok(mailbox.map_or(Rights::NONE, |found| self.rights_of(found.id())))
    }

    fn rights_of(&self, mailbox: MailboxId) -> Rights {
        self.owner.rights_of(mailbox, self.viewer)
    }

    /// Whether the client may make a mailbox here: below one where it may. The answer is the same
    /// whether there is anything.
    pub(super) fn permit_making(&self, session: &Session) -> Result<(), Answer> {
        if self.is_own() {
            return Ok(());
        }
        let rights = blocking(|| self.rights_above());
        let rights = rights.map_err(|error| Answer::unreadable(session, &error))?;
        permit(rights, Deed::MakeBelow, Answer::no_permission)
    }

    /// The rights to the nearest mailbox above this place; none if there is none.
    fn rights_above(&self) -> Result<Rights, ReadError> {
        let name = self.name.strip_suffix('/').unwrap_or(&self.name);
        for (at, _) in name.rmatch_indices('/') {
            let above = name.get(..at).unwrap_or_default();
            if let Some(mailbox) = self.owner.mailbox(above)? {
                return Ok(self.rights_of(mailbox.id()));
            }
        }
        Ok(Rights::NONE)
    }
}

impl Talk {
    /// Where a name leads; `None` if into an account that there is not, or that is no place for it.
    pub(super) fn place(&self, name: &WireName) -> Result<Option<Place>, Answer> {
        let name = name.decode().ok_or_else(Answer::bad_name)?;
        self.place_named(&name)
    }

    /// The same for a name in UTF-8.
    pub(super) fn place_named(&self, name: &str) -> Result<Option<Place>, Answer> {
        let account = self.account()?;
        if !leads_away(name) {
            return Ok(Some(own_place(&account, name)));
        }
        let place = blocking(|| place_of(&self.session, &account, name));
        place.map_err(|error| Answer::unreadable(&self.session, &error))
    }

    /// The mailbox of that name, for that deed; else `absent`, or what befits.
    pub(super) fn find(
        &self,
        name: &WireName,
        deed: Deed,
        absent: fn() -> Answer,
    ) -> Result<Found, Answer> {
        let name = name.decode().ok_or_else(absent)?;
        match self.place_named(&name)? {
            Some(place) => self.find_at(place, deed, absent),
            None => Err(Answer::no_mailbox()),
        }
    }

    /// The mailbox that is there, for that deed.
    pub(super) fn find_at(
        &self,
        place: Place,
        deed: Deed,
        absent: fn() -> Answer,
    ) -> Result<Found, Answer> {
        // Who may not make it need not be told to.
        let absent = if place.is_own() { absent } else { Answer::no_mailbox };
        let found = match place.owner.mailbox_at_hand(&place.name) {
            Some(mailbox) => Ok(Some(mailbox)),
            None => blocking(|| place.owner.mailbox(&place.name)),
        };
        match found {
            Ok(Some(mailbox)) => {
                let rights = place.rights_of(mailbox.id());
                permit(rights, deed, absent)?;
                Ok(Found { place, mailbox, rights })
            }
            Ok(None) => Err(absent()),
            Err(error) => Err(Answer::unreadable(&self.session, &error)),
        }
    }

    /// The accounts that share something with the client's, each with what its mailboxes' names
    /// begin with.
    fn shared_with_us(&self, account: &Account) -> Vec<(Account, String)> {
        let named = |owner: Account| {
            let prefix = match shared_account(&self.session) {
                Some(shared) if shared.number() == owner.number() => SHARED.to_owned(),
                _ => format!("{OTHERS}{}/", owner.name()),
            };
            (owner, prefix)
        };
        account.sharing_with().into_iter().map(named).collect()
    }

    /// All mailboxes that the client may see, its own and others'; and its subscriptions.
    pub(super) fn visible(&self, account: &Account) -> Result<Arc<Listing>, ReadError> {
        let own = account.listing()?;
        let others = self.shared_with_us(account);
        if others.is_empty() {
            return Ok(own);
        }
        let mut all = (*own).clone();
        let is_amid = |name: &&str| name.starts_with(OTHERS) || name.starts_with(SHARED);
        let names = own.mailboxes.iter().map(|entry| entry.name.as_str());
        let amid: BTreeSet<&str> = names.filter(is_amid).collect();
        for (owner, prefix) in others {
            for entry in &owner.listing()?.mailboxes {
                let rights = owner.rights_of(entry.id, account.number());
                let name = format!("{prefix}{}", entry.name);
                if rights.contains(needs(Deed::Lookup)) && !amid.contains(name.as_str()) {
                    // Where somebody else's sent mail goes is no business of ours.
                    all.mailboxes.push(MailboxEntry { id: entry.id, name, special_use: None });
                }
            }
        }
        Ok(Arc::new(all))
    }

    /// Whose the mailboxes are that others share with the client; some it may not see.
    pub(super) fn owners(
        &self,
        account: &Account,
    ) -> Result<HashMap<MailboxId, Account>, ReadError> {
        let mut owners = HashMap::new();
        for owner in account.sharing_with() {
            let listing = owner.listing()?;
            owners.extend(listing.mailboxes.iter().map(|entry| (entry.id, owner.clone())));
        }
        Ok(owners)
    }

    /// Whether some mailbox of that account can be read by the client.
    pub(super) fn reads_of(&self, owner: &Account, account: &Account) -> Result<bool, ReadError> {
        let rights = |entry: &MailboxEntry| owner.rights_of(entry.id, account.number());
        let listing = owner.listing()?;
        Ok(listing.mailboxes.iter().any(|entry| rights(entry).contains(needs(Deed::Read))))
    }
}

/// Whether a name may be one of somebody else's mailboxes.
fn leads_away(name: &str) -> bool {
    name.starts_with(OTHERS) || name.starts_with(SHARED)
}

fn own_place(account: &Account, name: &str) -> Place {
    let (owner, name) = (account.clone(), name.to_owned());
    Place { viewer: owner.number(), owner, shown: name.clone(), name }
}

fn place_of(session: &Session, account: &Account, name: &str) -> Result<Option<Place>, ReadError> {
    let viewer = account.number();
    let own = |name: &str| Some(own_place(account, name));
    if !leads_away(name) {
        return Ok(own(name));
    }
    let shared = shared_account(session);
    let (owner, prefix, rest) = if let Some(rest) = name.strip_prefix(OTHERS) {
        let Some((user, rest)) = rest.split_once('/') else {
            return own_or_none(account, name, own);
        };
        let found = session.store.account(user)?;
        let is_shared = |owner: &Account| {
            shared.as_ref().is_some_and(|shared| shared.number() == owner.number())
        };
        let found = found.filter(|owner| !is_shared(owner));
        let prefix = found.as_ref().map(|owner| format!("{OTHERS}{}/", owner.name()));
        (found, prefix.unwrap_or_default(), rest)
    } else if let (Some(rest), Some(shared)) = (name.strip_prefix(SHARED), shared) {
        (Some(shared), SHARED.to_owned(), rest)
    } else {
        return Ok(own(name));
    };
    if account.mailbox(name)?.is_some() {
        return Ok(own(name));
    }
    let Some(owner) = owner.filter(|owner| owner.number() != viewer) else { return Ok(None) };
    if rest.is_empty() {
        return Ok(None);
    }
    let name = with_inbox_in_capitals(rest.to_owned());
    let shown = format!("{prefix}{name}");
    Ok(Some(Place { owner, name, shown, viewer }))
}

/// A name in the midst of the tree of others: a mailbox of one's own from before, or nothing.
fn own_or_none(
    account: &Account,
    name: &str,
    own: impl Fn(&str) -> Option<Place>,
) -> Result<Option<Place>, ReadError> {
    Ok(account.mailbox(name)?.and_then(|_| own(name)))
}

/// The account of shared folders, where the configuration names one that there is.
pub(super) fn shared_account(session: &Session) -> Option<Account> {
    let name = session.config.shared_account.as_deref()?;
    session.store.account(name).ok().flatten()
}
