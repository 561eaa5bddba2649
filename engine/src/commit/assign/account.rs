//! Accounts, domains and aliases.

use crate::commit::change::NewAccountChange;
use crate::error::CommitError;
use crate::ids::AccountNumber;
use crate::record::{AccountUpdate, Body, PolicyChange};
use crate::state::INBOX;
use crate::store::SpecialUse;

use super::Assigner;

/// What an account begins with beside INBOX, all subscribed.
const FIRST_MAILBOXES: [(&str, Option<SpecialUse>); 6] = [
    (INBOX, None),
    ("Archive", Some(SpecialUse::Archive)),
    ("Drafts", Some(SpecialUse::Drafts)),
    ("Junk", Some(SpecialUse::Junk)),
    ("Sent", Some(SpecialUse::Sent)),
    ("Trash", Some(SpecialUse::Trash)),
];

/// Why an address of another domain can be neither an account's nor an alias's.
const FOREIGN: &str = "its domain is not one of ours; add it with 'pillarbox domain add'";

impl Assigner<'_> {
    pub(super) fn create_account(&mut self, new: NewAccountChange) -> Result<(), CommitError> {
        let name = new.update.name.clone();
        let (_, domain) = name.rsplit_once('@').ok_or_else(|| CommitError::BadName {
            name: name.clone(),
            why: "an account is named user@domain",
        })?;
        let policy = self.changes.policy(self.context.committed);
        if !policy.domains.contains(domain) {
            return Err(CommitError::BadName { name: name.clone(), why: FOREIGN });
        }
        if policy.aliases.contains_key(&name) || self.is_named(&name) {
            return Err(CommitError::AlreadyExists { what: format!("the address {name}") });
        }
        let account = new.number;
        let create = Body::AccountCreate { account, generation: new.generation };
        self.emit(AccountNumber::VOLUME, create)?;
        self.emit(account, Body::AccountUpdate(new.update))?;
        for (mailbox, special_use) in FIRST_MAILBOXES {
            self.create_mailbox(account, mailbox, special_use)?;
            self.subscribe(account, mailbox, true)?;
        }
        Ok(())
    }

    /// Whether an account has that name, as the assigned head knows it.
    fn is_named(&self, name: &str) -> bool {
        let changed = self.changes.accounts.values().flatten();
        changed.into_iter().any(|state| state.profile.name == name)
            || self
                .context
                .committed
                .account_named(name)
                .is_some_and(|number| self.existing_account(number).is_ok())
    }

    pub(super) fn update_account(
        &mut self,
        account: AccountNumber,
        update: AccountUpdate,
    ) -> Result<(), CommitError> {
        self.existing_account(account)?;
        self.emit(account, Body::AccountUpdate(update))?;
        Ok(())
    }

    pub(super) fn delete_account(&mut self, account: AccountNumber) -> Result<(), CommitError> {
        self.existing_account(account)?;
        self.refuse_if_held(account)?;
        self.emit(AccountNumber::VOLUME, Body::AccountDelete { account })?;
        Ok(())
    }

    pub(super) fn policy(&mut self, changes: Vec<PolicyChange>) -> Result<(), CommitError> {
        for change in &changes {
            self.check_policy(change)?;
        }
        self.emit(AccountNumber::VOLUME, Body::Policy(changes))?;
        Ok(())
    }

    fn check_policy(&self, change: &PolicyChange) -> Result<(), CommitError> {
        let policy = self.changes.policy(self.context.committed);
        match change {
            PolicyChange::DomainPut(name) if policy.domains.contains(name) => {
                Err(CommitError::AlreadyExists { what: format!("the domain {name}") })
            }
            PolicyChange::DomainDelete(name) => {
                let suffix = format!("@{name}");
                let mut addresses = policy
                    .aliases
                    .iter()
                    .flat_map(|(alias, targets)| targets.iter().chain([alias]));
                let in_use = addresses.any(|address| address.ends_with(&suffix))
                    || self
                        .context
                        .committed
                        .accounts()
                        .iter()
                        .any(|state| state.profile.name.ends_with(&suffix));
                if !policy.domains.contains(name) {
                    Err(CommitError::NotFound { what: format!("domain {name}") })
                } else if in_use {
                    Err(CommitError::NotPermitted {
                        what: "the domain still has accounts, or aliases from or to it; delete \
                               them first",
                    })
                } else {
                    Ok(())
                }
            }
            PolicyChange::AliasPut { address, targets } => {
                let is_foreign = |address: &&String| {
                    let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
                    !policy.domains.contains(domain)
                };
                if is_foreign(&address) {
                    return Err(CommitError::BadName { name: address.clone(), why: FOREIGN });
                }
                // It would be taken, and then bounced: mail for it.
                if let Some(target) = targets.iter().find(is_foreign) {
                    return Err(CommitError::BadName {
                        name: target.clone(),
                        why: "aliases lead to addresses here: its domain is not one of ours",
                    });
                }
                if self.is_named(address) {
                    let what = format!("an account of the address {address}");
                    return Err(CommitError::AlreadyExists { what });
                }
                Ok(())
            }
            PolicyChange::AliasDelete(address) if !policy.aliases.contains_key(address) => {
                Err(CommitError::NotFound { what: format!("alias {address}") })
            }
            PolicyChange::DomainPut(_) | PolicyChange::AliasDelete(_) => Ok(()),
        }
    }
}
