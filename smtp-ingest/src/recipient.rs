//! The recipients of one message, and the copies that they lead to.
//!
//! # Invariants
//! 1. An account gets one copy, however many recipients lead to it; the first names its mailbox.
//! 2. A recipient is answered with success only if every copy that it leads to is committed.

use std::collections::HashMap;

use engine::error::CommitError;
use engine::flags::FlagList;
use engine::ids::AccountNumber;
use engine::{Appended, DeliverTo};

use crate::codec::address::Address;
use crate::config::OverQuota;
use crate::reply::{self, Reply};

/// What became of a delivery.
pub(crate) enum Outcome {
    /// The store answered, one result a copy, in order.
    Answered(Vec<Result<Appended, CommitError>>),
    /// It took nothing.
    Refused(CommitError),
    /// It never answered: a bug of ours, with the message uncommitted as far as we know.
    Vanished,
}

struct Recipient {
    address: Address,
    /// Indices into the copies.
    copies: Vec<usize>,
}

/// All recipients accepted so far, in the order of RCPT.
#[derive(Default)]
pub(crate) struct Recipients {
    accepted: Vec<Recipient>,
    copies: Vec<DeliverTo>,
    copy_of: HashMap<AccountNumber, usize>,
}

impl Recipients {
    /// RCPT commands accepted.
    pub(crate) fn count(&self) -> usize {
        self.accepted.len()
    }

    /// The recipient, if there is exactly one.
    pub(crate) fn only(&self) -> Option<&Address> {
        match self.accepted.as_slice() {
            [recipient] => Some(&recipient.address),
            _ => None,
        }
    }

    /// Copies there would be with these accounts as well.
    pub(crate) fn copy_count_with(&self, accounts: &[AccountNumber]) -> usize {
        let fresh = accounts.iter().filter(|account| !self.copy_of.contains_key(account));
        self.copies.len() + fresh.count()
    }

    /// Adds a recipient that leads to these accounts and mailboxes.
    pub(crate) fn add(&mut self, address: Address, targets: Vec<(AccountNumber, String)>) {
        let mut copies = Vec::with_capacity(targets.len());
        for (account, mailbox) in targets {
            let next = self.copies.len();
            let index = *self.copy_of.entry(account).or_insert(next);
            if index == next {
                self.copies.push(DeliverTo { account, mailbox, flags: FlagList::default() });
            }
            copies.push(index);
        }
        self.accepted.push(Recipient { address, copies });
    }

    /// Hands the copies over to the delivery.
    pub(crate) fn take_copies(&mut self) -> Vec<DeliverTo> {
        std::mem::take(&mut self.copies)
    }

    /// The addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.accepted.iter().map(|recipient| &recipient.address)
    }

    /// The answer for each recipient, in order: `None` is success.
    pub(crate) fn answers(
        &self,
        outcome: &Outcome,
        over_quota: OverQuota,
    ) -> impl Iterator<Item = (&Address, Option<&'static Reply>)> {
        self.accepted.iter().map(move |recipient| {
            let failures = recipient.copies.iter().filter_map(|&copy| match outcome {
                Outcome::Answered(results) => match results.get(copy) {
                    Some(Ok(_)) => None,
                    Some(Err(error)) => Some(reply::for_commit_error(error, over_quota)),
                    None => Some(&reply::TROUBLE),
                },
                Outcome::Refused(error) => Some(reply::for_commit_error(error, over_quota)),
                Outcome::Vanished => Some(&reply::TROUBLE),
            });
            (&recipient.address, worst(failures))
        })
    }
}

/// Of several failures the one to answer with. A transient one goes first: a second copy for those
/// who have the message already is better than a message that somebody never gets.
pub(crate) fn worst(failures: impl Iterator<Item = &'static Reply>) -> Option<&'static Reply> {
    let mut found: Option<&'static Reply> = None;
    for failure in failures {
        if failure.is_transient() {
            return Some(failure);
        }
        found = found.or(Some(failure));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::address::path;
    use engine::ids::{Lsn, Uid, UidValidity};

    fn address(text: &str) -> Address {
        path(format!("<{text}>").as_bytes()).unwrap().0
    }

    fn inbox(number: u64) -> (AccountNumber, String) {
        (AccountNumber(number), "INBOX".to_owned())
    }

    fn stored() -> Result<Appended, CommitError> {
        Ok(Appended { uid_validity: UidValidity(1), uids: vec![Uid(1)], modseq: Lsn::ZERO })
    }

    #[test]
    fn an_account_has_one_copy_and_every_recipient_an_answer() {
        let mut recipients = Recipients::default();
        recipients.add(address("a@x.example"), vec![inbox(1)]);
        recipients.add(address("list@x.example"), vec![inbox(1), inbox(2)]);
        recipients.add(address("a+b@x.example"), vec![(AccountNumber(1), "b".to_owned())]);
        assert_eq!(recipients.copy_count_with(&[AccountNumber(2), AccountNumber(3)]), 3);
        let copies = recipients.take_copies();
        let places: Vec<_> = copies.iter().map(|to| (to.account.0, to.mailbox.as_str())).collect();
        assert_eq!(places, [(1, "INBOX"), (2, "INBOX")]);

        let full = || Err(CommitError::OverQuota { limit_bytes: 1 });
        let codes = |outcome: &Outcome| -> Vec<Option<u16>> {
            let answers = recipients.answers(outcome, OverQuota::Retry);
            answers.map(|(_, failure)| failure.map(|reply| reply.code)).collect()
        };
        let second_full = Outcome::Answered(vec![stored(), full()]);
        assert_eq!(codes(&second_full), [None, Some(452), None]);
        let short = Outcome::Answered(vec![stored()]);
        assert_eq!(codes(&short), [None, Some(451), None], "no result is no success");
        assert_eq!(codes(&Outcome::Vanished), [Some(451); 3]);
        let refused = Outcome::Refused(CommitError::QueueFull);
        assert_eq!(codes(&refused), [Some(451); 3]);
    }

    #[test]
    fn a_transient_failure_goes_before_a_permanent_one() {
        assert_eq!(worst([&reply::REFUSED, &reply::BUSY].into_iter()), Some(&reply::BUSY));
        assert_eq!(worst([&reply::REFUSED].into_iter()), Some(&reply::REFUSED));
        assert_eq!(worst(std::iter::empty()), None);
    }
}
