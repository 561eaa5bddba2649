//! What a node did alone, net: from the records behind the common position, and what is there in
//! the end.
//!
//! A message that came and went again is no step; one that came and was moved three times is one.
//! Accounts that were made are passed over: that commits on both nodes or on none, so nobody was
//! told that they are there.

use std::collections::{BTreeMap, HashSet};

use super::file::StepsWriter;
use super::step::{MessageStep, Origin, Place, Step};
use super::subject::{Subject, subjects};
use super::walk::Walk;
use crate::error::ReadError;
use crate::flags::FlagList;
use crate::ids::{AccountNumber, Lsn, MailboxId, RequestId, Stamp, Uid};
use crate::log::RecordHeader;
use crate::mailbox::View;
use crate::record::{Arrival, Body, FlagsChanged, Record, RetentionBody, Transfer};
use crate::state::is_staging;
use crate::store::{Account, SpecialUse, Store};
use crate::uid_set::UidSet;

type Mailbox = (AccountNumber, MailboxId);

/// A message that came.
struct Born {
    origin: Origin,
    request: Option<RequestId>,
    at: Lsn,
}

/// What is done in the order in which it was done, before messages.
enum Named {
    Create(Mailbox, Option<SpecialUse>),
    Set(Subject),
}

/// What was done behind a position.
#[derive(Default)]
pub(crate) struct Suffix {
    /// Accounts made or deleted: not ours to merge.
    passed_over: HashSet<AccountNumber>,
    named: Vec<Named>,
    sets: BTreeMap<Subject, (AccountNumber, Record)>,
    created: HashSet<Mailbox>,
    deleted: Vec<Mailbox>,
    born: BTreeMap<Mailbox, BTreeMap<Uid, Born>>,
    /// The lowest UID of each mailbox that came behind the position.
    first_born: BTreeMap<Mailbox, Uid>,
    flags: Vec<(Mailbox, FlagsChanged, Stamp)>,
    expunged: BTreeMap<Mailbox, UidSet>,
    floors: BTreeMap<Mailbox, u64>,
}

impl Suffix {
    /// Reads it. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn read(store: &Store, from: crate::pair::Position) -> Result<Suffix, ReadError> {
        let mut suffix = Suffix::default();
        let keys = store.inner.keys.snapshot();
        let mut walk = Walk::new(store.ship_behind(from));
        walk.on(&keys, &mut |header, record| suffix.see(header, record))?;
        Ok(suffix)
    }

    fn see(&mut self, header: &RecordHeader, record: Record) {
        let account = header.account;
        match &record.body {
            Body::AccountCreate { account, .. } | Body::AccountDelete { account } => {
                self.passed_over.insert(*account);
            }
            _ if self.passed_over.contains(&account) => return,
            _ => {}
        }
        let at = header.lsn;
        for (subject, body) in subjects(account, &record.body) {
            if let Subject::Name(..) = subject {
                self.named.push(Named::Set(subject.clone()));
            }
            let record = Record { body, ..record.clone() };
            self.sets.insert(subject, (account, record));
        }
        let request = record.request;
        match record.body {
            Body::Append { mailbox, messages } => {
                self.arrived((account, mailbox), &messages, request, at);
            }
            Body::Copy { mailbox, messages } => {
                self.copied((account, mailbox), &messages, request, at);
            }
            Body::Move { source, mailbox, messages } => {
                self.moved((account, source), (account, mailbox), &messages, (request, at));
            }
            Body::Retention(RetentionBody::Undelete { mailbox, messages, .. }) => {
                for (_, transfer) in messages {
                    let born = Born { origin: Origin::New, request, at };
                    self.bear((account, mailbox), transfer.row.uid, born);
                }
            }
            Body::Flags { mailbox, changes } => {
                for changed in changes {
                    self.flagged((account, mailbox), changed, record.stamp);
                }
            }
            Body::Expunge { mailbox, uids }
            | Body::Retention(RetentionBody::Retain { mailbox, uids: Some(uids), .. }) => {
                self.went((account, mailbox), &uids);
            }
            Body::MailboxCreate { mailbox, name, special_use, .. } => {
                let key = (account, mailbox);
                self.created.insert(key);
                if !is_staging(&name) {
                    self.named.push(Named::Create(key, special_use));
                }
            }
            Body::MailboxDelete { mailbox }
            | Body::Retention(RetentionBody::Retain { mailbox, uids: None, .. }) => {
                self.mailbox_went((account, mailbox));
            }
            Body::UidNext { mailbox, next } => {
                self.floors.insert((account, mailbox), next);
            }
            _ => {}
        }
    }

    fn arrived(&mut self, key: Mailbox, messages: &[Arrival], request: Option<RequestId>, at: Lsn) {
        for message in messages {
            self.bear(key, message.row.uid, Born { origin: Origin::New, request, at });
        }
    }

    fn copied(&mut self, to: Mailbox, messages: &[Transfer], request: Option<RequestId>, at: Lsn) {
        for message in messages {
            self.bear(to, message.row.uid, Born { origin: Origin::Copy, request, at });
        }
    }

    fn moved(
        &mut self,
        (account, from): Mailbox,
        to: Mailbox,
        messages: &[Transfer],
        (request, at): (Option<RequestId>, Lsn),
    ) {
        for Transfer { source_uid, row, .. } in messages {
            let source = (from, *source_uid);
            let before = self.born.get_mut(&(account, from));
            let before = before.and_then(|born| born.remove(source_uid));
            let born = before.unwrap_or(Born { origin: Origin::Move(source), request, at });
            self.bear(to, row.uid, Born { at, ..born });
        }
    }

    fn bear(&mut self, key: Mailbox, uid: Uid, born: Born) {
        self.born.entry(key).or_default().insert(uid, born);
        let first = self.first_born.entry(key).or_insert(uid);
        *first = uid.min(*first);
    }

    /// Flags of what came are those that it has in the end; others are told as they were set.
    fn flagged(&mut self, key: Mailbox, changed: FlagsChanged, stamp: Stamp) {
        let older = self.older(key, &changed.uids);
        for (uid, born) in self.born.get(&key).into_iter().flatten() {
            if let Origin::Move((mailbox, source)) = born.origin
                && changed.uids.contains(*uid)
            {
                let uids = std::iter::once(source).collect();
                let changed = FlagsChanged { uids, ..changed.clone() };
                self.flags.push(((key.0, mailbox), changed, stamp));
            }
        }
        if !older.is_empty() {
            self.flags.push((key, FlagsChanged { uids: older, ..changed }, stamp));
        }
    }

    /// Those that were there at the common position.
    fn older(&self, key: Mailbox, uids: &UidSet) -> UidSet {
        match self.first_born.get(&key) {
            Some(first) => uids.intersection(&UidSet::from_ranges([(1, first.0 - 1)])),
            None if self.created.contains(&key) => UidSet::new(),
            None => uids.clone(),
        }
    }

    fn went(&mut self, key: Mailbox, uids: &UidSet) {
        let older = self.older(key, uids);
        let mut roots: Vec<Place> = Vec::new();
        if let Some(born) = self.born.get_mut(&key) {
            born.retain(|uid, born| {
                let stays = !uids.contains(*uid);
                if let Origin::Move(source) = born.origin
                    && !stays
                {
                    roots.push(source);
                }
                stays
            });
        }
        if !older.is_empty() {
            self.expunge(key, &older);
        }
        for (mailbox, uid) in roots {
            self.expunge((key.0, mailbox), &std::iter::once(uid).collect());
        }
    }

    fn expunge(&mut self, key: Mailbox, uids: &UidSet) {
        let expunged = self.expunged.entry(key).or_default();
        *expunged = expunged.union(uids);
    }

    fn mailbox_went(&mut self, key: Mailbox) {
        let born = self.born.remove(&key).unwrap_or_default();
        for born in born.into_values() {
            if let Origin::Move((mailbox, uid)) = born.origin {
                self.expunge((key.0, mailbox), &std::iter::once(uid).collect());
            }
        }
        self.flags.retain(|(of, ..)| *of != key);
        self.expunged.remove(&key);
        if !self.created.contains(&key) {
            self.deleted.push(key);
        }
    }

    /// Writes the steps.
    ///
    /// # Errors
    /// [`ReadError`]: a message cannot be read, or the disk.
    pub(crate) fn write(
        mut self,
        store: &Store,
        steps: &mut StepsWriter<'_>,
    ) -> Result<(), ReadError> {
        self.write_named(store, steps)?;
        self.write_messages(store, steps)?;
        for ((account, mailbox), changed, stamp) in std::mem::take(&mut self.flags) {
            steps.push(account, &Step::Flags { mailbox, changed, stamp })?;
        }
        for ((account, mailbox), uids) in std::mem::take(&mut self.expunged) {
            steps.push(account, &Step::Expunge { mailbox, uids })?;
        }
        self.write_floors(store, steps)?;
        for (account, mailbox) in std::mem::take(&mut self.deleted) {
            steps.push(account, &Step::Delete { mailbox })?;
        }
        Ok(())
    }

    /// Names in the order in which they were given, with the last ones; then what else is set.
    fn write_named(&mut self, store: &Store, steps: &mut StepsWriter<'_>) -> Result<(), ReadError> {
        for named in std::mem::take(&mut self.named) {
            match named {
                Named::Create((account, mailbox), special_use) => {
                    // Gone again, or renamed: what counts is its last name.
                    let names = store.inner.committed.account(account).map(|account| account.names);
                    let Some(names) = names else { continue };
                    if let Some(name) = names.name_of(mailbox).map(ToOwned::to_owned) {
                        steps.push(account, &Step::Create { mailbox, name, special_use })?;
                    }
                    self.sets.remove(&Subject::Name(account, mailbox));
                }
                Named::Set(subject) => {
                    if let Some((account, record)) = self.sets.remove(&subject) {
                        steps.push(account, &Step::Set(record))?;
                    }
                }
            }
        }
        for (account, record) in std::mem::take(&mut self.sets).into_values() {
            steps.push(account, &Step::Set(record))?;
        }
        Ok(())
    }

    fn write_messages(
        &mut self,
        store: &Store,
        steps: &mut StepsWriter<'_>,
    ) -> Result<(), ReadError> {
        let mut order: Vec<(Lsn, Mailbox, Uid)> = Vec::new();
        for (key, born) in &self.born {
            order.extend(born.iter().map(|(uid, born)| (born.at, *key, *uid)));
        }
        order.sort_unstable();
        let mut open: Option<(Mailbox, Account, String, std::sync::Arc<View>)> = None;
        for (_, key, uid) in order {
            if open.as_ref().is_none_or(|(opened, ..)| *opened != key) {
                open = open_mailbox(store, key)?;
            }
            let Some((_, account, name, view)) = &open else { continue };
            let Some(row) = view.row(uid)? else { continue };
            let Some(born) = self.born.get(&key).and_then(|born| born.get(&uid)) else { continue };
            let bytes = match born.origin {
                Origin::Move(_) => Vec::new(),
                _ => account.message(&row)?.read_all()?,
            };
            let keywords = row.keywords_in(view.keywords()).cloned().collect();
            let message = MessageStep {
                mailbox: key.1,
                name: name.clone(),
                uid,
                blob: row.blob.0,
                origin: born.origin,
                request: born.request,
                flags: FlagList { system: row.flags, keywords },
                received: row.received,
                bytes,
            };
            steps.push(key.0, &Step::Message(Box::new(message)))?;
        }
        Ok(())
    }

    /// What each mailbox would have given next, where it gave anything.
    fn write_floors(&self, store: &Store, steps: &mut StepsWriter<'_>) -> Result<(), ReadError> {
        let touched: std::collections::BTreeSet<Mailbox> =
            self.first_born.keys().chain(self.floors.keys()).copied().collect();
        for (account, mailbox) in touched {
            if self.created.contains(&(account, mailbox)) {
                continue;
            }
            if let Some(state) = store.inner.committed.mailbox_state((account, mailbox))? {
                steps.push(account, &Step::Floor { mailbox, next: state.given_below() })?;
            }
        }
        Ok(())
    }
}

type Opened = (Mailbox, Account, String, std::sync::Arc<View>);

fn open_mailbox(store: &Store, key: Mailbox) -> Result<Option<Opened>, ReadError> {
    let state = store.inner.committed.account(key.0);
    let name = state.as_ref().and_then(|state| state.names.name_of(key.1));
    let Some(name) = name.filter(|name| !is_staging(name)).map(ToOwned::to_owned) else {
        return Ok(None);
    };
    let Some(account) = store.account_by_number(key.0)? else { return Ok(None) };
    let Some(mailbox) = account.mailbox_by_id(key.1)? else { return Ok(None) };
    Ok(mailbox.view()?.map(|view| (key, account, name, view)))
}
