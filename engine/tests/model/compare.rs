//! Everything that readers of the store see, beside what they should.

use std::collections::{BTreeMap, BTreeSet};

use engine::flags::SystemFlags;
use engine::ids::{Lsn, Uid};
use engine::mailbox::View;
use engine::{Account, MetadataScope, RetainedKey};

use crate::expected::{self, Client, Keep, Mailbox};
use crate::run::Run;

impl Run {
    /// Compares everything.
    pub(crate) fn compare(&mut self) {
        self.compare_directory();
        for name in self.model.accounts.keys().cloned().collect::<Vec<_>>() {
            self.compare_account(&name);
            self.compare_kept(&name);
            self.compare_sharing(&name);
        }
        let recount = self.store().recount(&mut || true).unwrap().expect("it goes to its end");
        assert_eq!(recount.differences, [] as [String; 0]);
        assert_eq!(self.store().status().stopped, None);
    }

    fn compare_account(&mut self, name: &str) {
        let account = self.account(name);
        let listing = account.listing().unwrap();
        let state = self.model.accounts.get_mut(name).unwrap();
        let names: BTreeSet<&String> = listing.mailboxes.iter().map(|entry| &entry.name).collect();
        assert_eq!(names, state.mailboxes.keys().collect(), "mailboxes of {name}");
        let subscribed: BTreeSet<String> = listing.subscribed.iter().cloned().collect();
        assert_eq!(subscribed, state.subscribed, "subscriptions of {name}");
        assert_eq!(account.quota().unwrap(), (state.usage(), state.quota), "quota of {name}");
        assert_eq!(account.usage().message_limit, state.message_limit, "limit of {name}");
        for (mailbox, expected) in &mut state.mailboxes {
            compare_beside(&account, mailbox, expected);
            let validity = compare_mailbox(&account, mailbox, expected);
            let key = (account.number().0, mailbox.clone(), validity);
            let before = self.model.validities.insert(key, expected.id);
            assert!(
                before.is_none_or(|before| before == expected.id),
                "the UIDVALIDITY of {name} {mailbox} was another mailbox's"
            );
        }
    }

    /// Compares who may give something to an account, and what.
    fn compare_sharing(&self, name: &str) {
        let account = self.account(name);
        let names = |mailbox: &Mailbox| {
            mailbox.rights.contains_key(&None) || mailbox.rights.contains_key(&Some(name.into()))
        };
        let gives = |(other, state): &(&String, &expected::Account)| {
            *other != name && state.mailboxes.values().any(names)
        };
        let givers = self.model.accounts.iter().filter(gives).map(|(name, _)| name.clone());
        let found: Vec<String> = account.sharing_with().iter().map(Account::name).collect();
        assert_eq!(found, givers.collect::<Vec<_>>(), "who shares with {name}");
        for owner in account.sharing_with() {
            for mailbox in self.model.accounts[&owner.name()].mailboxes.values() {
                let of = |who: Option<String>| mailbox.rights.get(&who).copied();
                let (all, own) = (of(None).unwrap_or_default(), of(Some(name.into())));
                let expected = all.with(own.unwrap_or_default());
                assert_eq!(owner.rights_of(mailbox.id, account.number()), expected);
            }
        }
    }

    /// Compares what is kept after it was expunged; forgets what was over time and is gone.
    pub(crate) fn compare_kept(&mut self, name: &str) {
        let (account, now) = (self.account(name), self.keeps(name));
        let state = self.model.accounts.get_mut(name).unwrap();
        let (own, effective) =
            self.store.as_ref().unwrap().account_retention(account.number()).unwrap();
        assert_eq!((own, effective), (state.keep.setting(), now.setting()), "{name}");
        let before = account.retained_usage();
        let entries = account.retained(RetainedKey::FIRST, usize::MAX).unwrap();
        let bytes = entries.iter().map(|entry| u64::from(entry.size)).sum();
        // What is over time may go between any two of these.
        if before == account.retained_usage() {
            assert_eq!(before, (entries.len() as u64, bytes), "what is kept of {name}, counted");
        }
        for entry in &entries {
            let is_it = |kept: &&expected::Kept| {
                (kept.mailbox, kept.uid) == (entry.mailbox_id, entry.uid.0)
            };
            let kept = state.kept.iter().find(is_it);
            let kept = kept.unwrap_or_else(|| panic!("{name} keeps what it never had: {entry:?}"));
            assert_eq!((&entry.mailbox, u64::from(entry.size)), (&kept.name, kept.message.size()));
            let flags = entry.flags.system;
            assert_eq!(flags.contains(SystemFlags::SEEN), kept.message.seen);
            assert_eq!(flags.contains(SystemFlags::DELETED), kept.message.deleted);
            assert_eq!(!entry.flags.keywords.is_empty(), kept.message.keyword);
            if !kept.is_over(now) {
                let text = account.retained_message(entry).unwrap().read_all().unwrap();
                assert!(text == *kept.message.text, "kept {name} {} {}", kept.name, kept.uid);
                account.retained_summary(entry).unwrap();
            }
        }
        state.kept.retain(|kept| {
            let is_it = |entry: &engine::RetainedEntry| {
                (entry.mailbox_id, entry.uid.0) == (kept.mailbox, kept.uid)
            };
            let is_there = entries.iter().any(is_it);
            assert!(is_there || kept.is_over(now), "{name} keeps it no more: {kept:?}");
            is_there
        });
        debug_assert_ne!(now, Keep::Store);
    }
}

/// Compares metadata and rights.
fn compare_beside(account: &Account, name: &str, expected: &Mailbox) {
    let readers: BTreeSet<_> = expected.metadata.keys().filter_map(|(of, _)| *of).collect();
    for reader in readers.into_iter().chain([account.number()]) {
        let found = account.metadata(Some(expected.id), reader).into_iter();
        let found = found.map(|entry| {
            let of = match entry.scope {
                MetadataScope::Shared => None,
                MetadataScope::Private(account) => Some(account),
            };
            ((of, entry.name), entry.value)
        });
        let mut seen = expected.metadata.clone();
        seen.retain(|(of, _), _| of.is_none_or(|of| of == reader));
        assert_eq!(found.collect::<BTreeMap<_, _>>(), seen, "metadata of {name}");
    }
    let list = account.access_list(expected.id).into_iter();
    let list: BTreeMap<_, _> = list.map(|entry| (entry.name, entry.rights)).collect();
    assert_eq!(list, expected.rights, "rights of {name}");
}

/// Compares a mailbox; answers its UIDVALIDITY.
fn compare_mailbox(account: &Account, name: &str, expected: &mut Mailbox) -> u32 {
    let mailbox = account.mailbox(name).unwrap().unwrap();
    assert_eq!(mailbox.id(), expected.id, "{name}");
    let view = mailbox.view().unwrap().unwrap();
    assert_eq!(view.uid_next(), Some(Uid(expected.uid_next)), "{name}");
    let highest = view.highest_modseq();
    assert!(highest.bits() >= expected.highest_modseq, "HIGHESTMODSEQ of {name} fell");
    expected.highest_modseq = highest.bits();
    let rows = view.rows_from(Uid(1), usize::MAX >> 1).unwrap();
    let found: Vec<u32> = rows.iter().map(|row| row.uid.0).collect();
    assert_eq!(found, expected.messages.keys().copied().collect::<Vec<_>>(), "{name}");
    let count = |is: fn(&expected::Message) -> bool| {
        expected.messages.values().filter(|message| is(message)).count()
    };
    assert_eq!(view.message_count() as usize, rows.len(), "{name}");
    assert_eq!(view.unseen_count() as usize, count(|message| !message.seen), "{name}");
    assert_eq!(view.deleted_count() as usize, count(|message| message.deleted), "{name}");
    let bytes: u64 = expected.messages.values().map(expected::Message::size).sum();
    assert_eq!(view.message_bytes(), bytes, "{name}");
    for (row, (uid, message)) in rows.iter().zip(&mut expected.messages) {
        let text = account.message(row).unwrap().read_all().unwrap();
        assert!(text == *message.text, "text of {name} {uid}");
        account.summary(row).unwrap();
        assert_eq!(row.flags.contains(SystemFlags::SEEN), message.seen, "{name} {uid}");
        assert_eq!(row.flags.contains(SystemFlags::DELETED), message.deleted, "{name} {uid}");
        assert_eq!(!row.keywords.is_empty(), message.keyword, "{name} {uid}");
        let modseq = row.modseq.bits();
        assert!(modseq <= highest.bits(), "MODSEQ of {name} {uid}");
        if message.is_changed {
            assert!(modseq > message.modseq, "MODSEQ of {name} {uid} rises");
        } else {
            assert_eq!(modseq, message.modseq, "MODSEQ of {name} {uid}");
        }
        (message.modseq, message.is_changed) = (modseq, false);
    }
    resynchronize(&mailbox, &view, name, expected);
    view.uid_validity().0
}

/// Clients that were away learn what they missed, and nothing else (RFC 7162 section 3.2.5).
fn resynchronize(mailbox: &engine::Mailbox, view: &View, name: &str, expected: &mut Mailbox) {
    const CLIENTS_MAX: usize = 4;
    let now: BTreeMap<u32, _> =
        expected.messages.iter().map(|(uid, message)| (*uid, message.flags())).collect();
    for client in &expected.clients {
        let mut flags = client.flags.clone();
        let since = Lsn::from_bits(client.modseq).unwrap();
        let changed = mailbox.changed_after(view, since).unwrap();
        match mailbox.vanished_after(view, since).unwrap() {
            Some(uids) => {
                uids.iter().for_each(|uid| assert!(!now.contains_key(&uid.0), "{name} {uid}"));
                flags.retain(|uid, _| !uids.contains(Uid(*uid)));
            }
            None => flags.retain(|uid, _| now.contains_key(uid)),
        }
        flags.extend(now.iter().filter(|(uid, _)| changed.contains(Uid(**uid))));
        assert_eq!(flags, now, "{name} for a client of MODSEQ {}", client.modseq);
    }
    if expected.clients.len() == CLIENTS_MAX {
        expected.clients.remove(1);
    }
    expected.clients.push(Client { modseq: view.highest_modseq().bits(), flags: now });
}
