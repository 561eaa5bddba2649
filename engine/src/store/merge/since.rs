//! What was done in the history that goes on, behind the common position: read from the log of the
//! node that merges, which follows it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::step::Place;
use super::subject::{Subject, subjects};
use super::walk::Walk;
use crate::error::ReadError;
use crate::flags::Keyword;
use crate::ids::{AccountNumber, MailboxId, RequestId, Stamp, Uid};
use crate::log::RecordHeader;
use crate::record::{Arrival, Body, FlagsChanged, Record, RetentionBody, Transfer};
use crate::seal::KeyTableSnapshot;
use crate::uid_set::UidSet;

type Mailbox = (AccountNumber, MailboxId);

/// A flag or keyword.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Flag {
    System(u8),
    Keyword(Keyword),
}

/// What the others did.
pub(super) struct Since {
    walk: Walk,
    /// Whether a request is a step of this merge.
    is_own: Box<dyn Fn(RequestId) -> bool + Send>,
    /// Only what belongs to them is of interest.
    accounts: HashSet<AccountNumber>,
    latest: BTreeMap<Subject, Stamp>,
    flags: BTreeMap<Mailbox, Vec<(FlagsChanged, Stamp)>>,
    moves: BTreeMap<(AccountNumber, Place), Place>,
    added: BTreeMap<Mailbox, UidSet>,
    answered: HashMap<RequestId, Vec<u8>>,
}

impl Since {
    pub(super) fn new(
        walk: Walk,
        accounts: HashSet<AccountNumber>,
        is_own: Box<dyn Fn(RequestId) -> bool + Send>,
    ) -> Since {
        Since {
            walk,
            is_own,
            accounts,
            latest: BTreeMap::new(),
            flags: BTreeMap::new(),
            moves: BTreeMap::new(),
            added: BTreeMap::new(),
            answered: HashMap::new(),
        }
    }

    /// Reads on up to the end of the log.
    pub(super) fn read_on(&mut self, keys: &Arc<KeyTableSnapshot>) -> Result<(), ReadError> {
        let Since { walk, is_own, accounts, latest, flags, moves, added, answered } = self;
        let mut seen = Seen { accounts, latest, flags, moves, added };
        walk.on(keys, &mut |header, record| {
            if let Body::Answered { request, outcome } = record.body {
                answered.insert(request, outcome);
                return;
            }
            let own = record.request.is_some_and(&*is_own);
            seen.see(header, record, own);
        })
    }

    /// How far it was read.
    pub(super) fn position(&self) -> crate::ids::Lsn {
        self.walk.position().lsn
    }

    /// What a request was answered.
    pub(super) fn answer(&self, request: RequestId) -> Option<&[u8]> {
        self.answered.get(&request).map(Vec::as_slice)
    }

    /// Whether the others said something of it later than that.
    pub(super) fn is_later(&self, subject: &Subject, than: Stamp) -> bool {
        self.latest.get(subject).is_some_and(|stamp| *stamp >= than)
    }

    /// UIDs that came into a mailbox.
    pub(super) fn added(&self, mailbox: Mailbox) -> Option<&UidSet> {
        self.added.get(&mailbox)
    }

    /// Where a message is that was there at the common position, as far as it was moved.
    pub(super) fn place(&self, account: AccountNumber, from: Place) -> Place {
        let mut place = from;
        // A message that is moved has another UID each time, so this ends.
        while let Some(next) = self.moves.get(&(account, place)) {
            place = *next;
        }
        place
    }

    /// This merge moved a message.
    pub(super) fn note_move(&mut self, account: AccountNumber, from: Place, to: Place) {
        self.moves.insert((account, from), to);
    }

    /// Messages of a mailbox whose flag the others set or took away later than that.
    pub(super) fn flagged_later(&self, mailbox: Mailbox, flag: &Flag, than: Stamp) -> UidSet {
        let mut later = UidSet::new();
        for (changed, stamp) in self.flags.get(&mailbox).into_iter().flatten() {
            if *stamp >= than && says(changed, flag) {
                later = later.union(&changed.uids);
            }
        }
        later
    }

    /// Those of `uids` that were moved on, each with where it is now.
    pub(super) fn moved(&self, (account, mailbox): Mailbox, uids: &UidSet) -> Vec<(Uid, Place)> {
        let first = (account, (mailbox, Uid(0)));
        let last = (account, (mailbox, Uid(u32::MAX)));
        let within = self.moves.range(first..=last).map(|((_, (_, uid)), _)| *uid);
        let moved = within.filter(|uid| uids.contains(*uid));
        moved.map(|uid| (uid, self.place(account, (mailbox, uid)))).collect()
    }
}

fn says(changed: &FlagsChanged, flag: &Flag) -> bool {
    match flag {
        Flag::System(bit) => (changed.add.0 | changed.remove.0) & bit != 0,
        Flag::Keyword(keyword) => {
            changed.add_keywords.contains(keyword) || changed.remove_keywords.contains(keyword)
        }
    }
}

/// Where it goes.
struct Seen<'a> {
    accounts: &'a HashSet<AccountNumber>,
    latest: &'a mut BTreeMap<Subject, Stamp>,
    flags: &'a mut BTreeMap<Mailbox, Vec<(FlagsChanged, Stamp)>>,
    moves: &'a mut BTreeMap<(AccountNumber, Place), Place>,
    added: &'a mut BTreeMap<Mailbox, UidSet>,
}

impl Seen<'_> {
    fn see(&mut self, header: &RecordHeader, record: Record, own: bool) {
        let account = header.account;
        if !self.accounts.contains(&account) {
            return;
        }
        // What this merge moved is where it put it; else its own steps count for nothing.
        if let Body::Move { source, mailbox, messages } = &record.body {
            for Transfer { source_uid, row, .. } in messages {
                self.moves.insert((account, (*source, *source_uid)), (*mailbox, row.uid));
            }
        }
        if own {
            return;
        }
        for (subject, _) in subjects(account, &record.body) {
            let latest = self.latest.entry(subject).or_insert(record.stamp);
            *latest = record.stamp.max(*latest);
        }
        match record.body {
            Body::Append { mailbox, messages } => {
                let uids = messages.iter().map(|Arrival { row, .. }| row.uid);
                self.add((account, mailbox), uids);
            }
            Body::Copy { mailbox, messages } | Body::Move { mailbox, messages, .. } => {
                self.add((account, mailbox), messages.iter().map(|message| message.row.uid));
            }
            Body::Retention(RetentionBody::Undelete { mailbox, messages, .. }) => {
                self.add((account, mailbox), messages.iter().map(|(_, message)| message.row.uid));
            }
            Body::Flags { mailbox, changes } => {
                let flags = self.flags.entry((account, mailbox)).or_default();
                flags.extend(changes.into_iter().map(|changed| (changed, record.stamp)));
            }
            _ => {}
        }
    }

    fn add(&mut self, mailbox: Mailbox, uids: impl Iterator<Item = Uid>) {
        let added = self.added.entry(mailbox).or_default();
        *added = added.union(&uids.collect());
    }
}
