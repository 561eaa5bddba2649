//! What records say something of that has one value at a time: the later stamp wins.

use crate::ids::{AccountNumber, MailboxId};
use crate::record::{Body, PolicyChange, RetentionBody, SharingBody};
use crate::rights::Identifier;

/// Something that has one value at a time.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subject {
    Domain(String),
    Alias(String),
    /// For how long what was expunged is kept, where an account says nothing else.
    Keeping,
    AccountKeeping(AccountNumber),
    Account(AccountNumber),
    Limits(AccountNumber),
    Subscription(AccountNumber, String),
    Name(AccountNumber, MailboxId),
    Entry(AccountNumber, MailboxId, AccountNumber, String),
    Rights(AccountNumber, MailboxId, Identifier),
}

/// What a record says something of, each with a body that says only that.
pub(super) fn subjects(account: AccountNumber, body: &Body) -> Vec<(Subject, Body)> {
    match body {
        Body::Policy(changes) => changes.iter().map(of_policy).collect(),
        Body::Retention(RetentionBody::Volume(_)) => vec![(Subject::Keeping, body.clone())],
        Body::Retention(RetentionBody::Account(_)) => {
            vec![(Subject::AccountKeeping(account), body.clone())]
        }
        Body::AccountUpdate(_) => vec![(Subject::Account(account), body.clone())],
        Body::Subscribe { name, .. } => {
            vec![(Subject::Subscription(account, name.clone()), body.clone())]
        }
        Body::MailboxRename(renames) => {
            let one = |(mailbox, name): &(MailboxId, String)| {
                let body = Body::MailboxRename(vec![(*mailbox, name.clone())]);
                (Subject::Name(account, *mailbox), body)
            };
            renames.iter().map(one).collect()
        }
        Body::Sharing(body) => of_sharing(account, body),
        _ => Vec::new(),
    }
}

fn of_policy(change: &PolicyChange) -> (Subject, Body) {
    let subject = match change {
        PolicyChange::DomainPut(name) | PolicyChange::DomainDelete(name) => {
            Subject::Domain(name.clone())
        }
        PolicyChange::AliasPut { address, .. } | PolicyChange::AliasDelete(address) => {
            Subject::Alias(address.clone())
        }
    };
    (subject, Body::Policy(vec![change.clone()]))
}

fn of_sharing(account: AccountNumber, body: &SharingBody) -> Vec<(Subject, Body)> {
    match body {
        SharingBody::Limits { .. } => {
            vec![(Subject::Limits(account), Body::Sharing(body.clone()))]
        }
        SharingBody::Metadata { mailbox, entries } => {
            let mailbox = *mailbox;
            let one = |entry: &crate::record::EntryChange| {
                let entries = vec![entry.clone()];
                let subject = Subject::Entry(account, mailbox, entry.of, entry.name.clone());
                (subject, Body::Sharing(SharingBody::Metadata { mailbox, entries }))
            };
            entries.iter().map(one).collect()
        }
        SharingBody::Rights { mailbox, entries } => {
            let mailbox = *mailbox;
            let one = |entry: &(Identifier, Option<crate::rights::Rights>)| {
                let entries = vec![*entry];
                let subject = Subject::Rights(account, mailbox, entry.0);
                (subject, Body::Sharing(SharingBody::Rights { mailbox, entries }))
            };
            entries.iter().map(one).collect()
        }
    }
}
