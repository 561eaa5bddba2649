//! Operations on mailboxes and messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::flags::{FlagChange, FlagList, Keyword, SystemFlags};
use engine::ids::{Lsn, Uid, UnixSeconds};
use engine::rights::{Identifier, Rights};
use engine::uid_set::UidSet;
use engine::{DeliverTo, Mailbox, MetadataChange, MetadataScope, NewMessage, RetainedKey};

use crate::expected::{self, Keep, Message};
use crate::operation::{ACCOUNTS, Attachment, Guard, Operation};
use crate::run::Run;

/// Whether a transfer leaves the messages where they were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    Copy,
    Move,
}

fn set(uids: &[u32]) -> UidSet {
    uids.iter().map(|&uid| Uid(uid)).collect()
}

impl Run {
    pub(crate) fn mail(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { at, size, count, attachment } => {
                self.append(*at, *size, *count, *attachment);
            }
            Operation::Deliver { to, size, attachment } => self.deliver(to, *size, *attachment),
            Operation::Copy { account, from, to, pick } => {
                self.transfer(Moves::Copy, *account, (*from, *to), *pick);
            }
            Operation::Move { account, from, to, pick } => {
                self.transfer(Moves::Move, *account, (*from, *to), *pick);
            }
            Operation::Flags { at, pick, change, flags, guard } => {
                self.flags(*at, *pick, *change, *flags, *guard);
            }
            Operation::Expunge { at, pick } => {
                let marked = (false, true, false);
                self.flags(*at, *pick, FlagChange::Add, marked, Guard::None);
                self.expunge(*at);
            }
            Operation::Create { account, name } => {
                let Some(account) = self.chosen(*account) else { return };
                let name = Run::name(*name);
                let made = self.account(&account).create_mailbox(&name, None).wait();
                let is_there = self.model.accounts[&account].mailboxes.contains_key(&name);
                assert_eq!(made.is_ok(), !is_there, "{made:?}");
                self.learn(&account, &name);
            }
            Operation::Rename { account, from, to } => self.rename(*account, *from, *to),
            Operation::Delete { at } => self.delete(*at),
            Operation::Subscribe { account, name, subscribed } => {
                let Some(account) = self.chosen(*account) else { return };
                let (handle, name) = (self.account(&account), Run::name(*name));
                let names = &mut self.model.accounts.get_mut(&account).unwrap().subscribed;
                if *subscribed {
                    handle.subscribe(&name).wait().unwrap();
                    names.insert(name);
                } else {
                    handle.unsubscribe(&name).wait().unwrap();
                    names.remove(&name);
                }
            }
            Operation::Annotate { at, by, entry, value } => {
                self.annotate(*at, *by, *entry, value.as_ref());
            }
            Operation::Share { at, with, rights } => self.give(*at, *with, *rights),
            Operation::Undelete { account, pick } => self.undelete(*account, *pick),
            Operation::Purge { account } => self.purge(*account),
            _ => unreachable!("it is no operation on mail"),
        }
    }

    fn mailbox(&self, account: &str, name: &str) -> Mailbox {
        self.account(account).mailbox(name).unwrap().expect("the model has it")
    }

    fn expected(&mut self, account: &str, name: &str) -> &mut expected::Mailbox {
        let account = self.model.accounts.get_mut(account).unwrap();
        account.mailboxes.get_mut(name).unwrap()
    }

    /// A mailbox that may be new: takes over its identity.
    fn learn(&mut self, account: &str, name: &str) {
        let Some(mailbox) = self.account(account).mailbox(name).unwrap() else { return };
        let mailboxes = &mut self.model.accounts.get_mut(account).unwrap().mailboxes;
        // A new one is shared as the one above it.
        let mut levels = name.rmatch_indices('/');
        let above = levels.find_map(|(at, _)| mailboxes.get(&name[..at]));
        let mut new = expected::Mailbox::new(mailbox.id());
        new.rights = above.map(|above| above.rights.clone()).unwrap_or_default();
        mailboxes.entry(name.to_owned()).or_insert(new);
    }

    /// The mailbox was changed: its HIGHESTMODSEQ has risen.
    fn has_changed(&mut self, account: &str, name: &str) {
        let view = self.mailbox(account, name).view().unwrap().unwrap();
        let (now, expected) = (view.highest_modseq().bits(), self.expected(account, name));
        assert!(now > expected.highest_modseq, "HIGHESTMODSEQ of {account} {name} rises");
        expected.highest_modseq = now;
    }

    fn text(&mut self, size: usize, attachment: Attachment) -> Arc<Vec<u8>> {
        self.texts += 1;
        let mut text = format!("Subject: {}\r\n\r\n", self.texts).into_bytes();
        text.resize(text.len() + size, b'x');
        if matches!(attachment, Attachment::Shared) {
            // Base64, as attachments come.
            text.extend_from_slice(b"\r\n");
            let piece: &[u8] = if self.texts.is_multiple_of(2) { b"QUJD" } else { b"REVG" };
            let line = [piece.repeat(19), b"\r\n".to_vec()].concat();
            text.extend(line.repeat(400));
        }
        Arc::new(text)
    }

    fn annotate(
        &mut self,
        at: (usize, usize),
        by: Option<usize>,
        entry: u8,
        value: Option<&Vec<u8>>,
    ) {
        let Some((account, name)) = self.place(at) else { return };
        let by = by.and_then(|by| self.chosen(by)).map(|by| self.account(&by).number());
        let scope = by.map_or(MetadataScope::Shared, MetadataScope::Private);
        let key = (by, format!("/entry{entry}"));
        let change = MetadataChange { scope, name: key.1.clone(), value: value.cloned() };
        let id = self.mailbox(&account, &name).id();
        self.account(&account).set_metadata(Some(id), vec![change]).wait().unwrap();
        let metadata = &mut self.expected(&account, &name).metadata;
        match value {
            Some(value) => metadata.insert(key, value.clone()),
            None => metadata.remove(&key),
        };
    }

    fn give(&mut self, at: (usize, usize), with: Option<usize>, rights: Option<&str>) {
        let Some((account, name)) = self.place(at) else { return };
        let with = with.and_then(|with| self.chosen(with));
        let identifier = match &with {
            Some(with) => Identifier::account(self.account(with).number()),
            None => Identifier::ANYONE,
        };
        let rights = rights.map(|letters| Rights::from_letters(letters).unwrap());
        let id = self.mailbox(&account, &name).id();
        self.account(&account).set_rights(id, identifier, rights).wait().unwrap();
        let list = &mut self.expected(&account, &name).rights;
        match rights {
            Some(rights) => list.insert(with, rights),
            None => list.remove(&with),
        };
    }

    fn append(&mut self, at: (usize, usize), size: usize, count: usize, attachment: Attachment) {
        let Some((account, name)) = self.place(at) else { return };
        let number = self.account(&account).number();
        let mut new = Vec::new();
        let mut texts = Vec::new();
        for _ in 0..count {
            let text = self.text(size, attachment);
            let prepared = self.store().prepare(&text, &[number]).unwrap();
            let received = UnixSeconds(i64::from(self.texts));
            new.push(NewMessage { prepared, flags: FlagList::default(), received });
            texts.push(text);
        }
        let answer = self.mailbox(&account, &name).append(new).wait();
        let bytes = texts.iter().map(|text| text.len() as u64).sum();
        assert_eq!(answer.is_ok(), self.model.accounts[&account].fits(bytes), "{answer:?}");
        let Ok(answer) = answer else { return };
        let expected = self.expected(&account, &name);
        let uids: Vec<Uid> =
            texts.iter().map(|text| Uid(expected.add(Message::new(text)))).collect();
        assert_eq!(answer.uids, uids);
        self.has_changed(&account, &name);
    }

    fn deliver(&mut self, to: &[Option<usize>; 3], size: usize, attachment: Attachment) {
        let text = self.text(size, attachment);
        let mut recipients = Vec::new();
        for (account, mailbox) in ACCOUNTS.iter().zip(to) {
            let there = self.model.accounts.get(*account);
            if let (Some(account), Some(mailbox)) = (there, mailbox) {
                let (account, mailbox) = (account.number, Run::name(*mailbox));
                recipients.push(DeliverTo { account, mailbox, flags: FlagList::default() });
            }
        }
        let numbers: Vec<_> = recipients.iter().map(|to| to.account).collect();
        if numbers.is_empty() {
            return;
        }
        let prepared = self.store().prepare(&text, &numbers).unwrap();
        let answers = self.store().deliver(prepared, UnixSeconds(7), recipients.clone()).wait();
        for (to, answer) in recipients.iter().zip(answers) {
            let mut accounts = self.model.accounts.iter();
            let (account, state) = accounts.find(|(_, it)| it.number == to.account).unwrap();
            assert_eq!(answer.is_ok(), state.fits(text.len() as u64), "{account}: {answer:?}");
            let Ok(answer) = answer else { continue };
            let account = account.clone();
            self.learn(&account, &to.mailbox);
            let uid = self.expected(&account, &to.mailbox).add(Message::new(&text));
            assert_eq!(answer.uids, [Uid(uid)]);
            self.has_changed(&account, &to.mailbox);
        }
    }

    fn transfer(&mut self, moves: Moves, account: usize, (from, to): (usize, usize), pick: u32) {
        let Some((account, from)) = self.place((account, from)) else { return };
        let mailboxes = &self.model.accounts[&account].mailboxes;
        let to = mailboxes.keys().nth(to % mailboxes.len()).unwrap().clone();
        let picked = mailboxes[&from].picked(pick);
        let messages: Vec<Message> =
            picked.iter().map(|uid| mailboxes[&from].messages[uid].clone()).collect();
        let (source, target) = (self.mailbox(&account, &from), self.mailbox(&account, &to));
        let ticket = match moves {
            Moves::Copy => source.copy(&set(&picked), &target),
            Moves::Move => source.move_to(&set(&picked), &target),
        };
        let copied = ticket.wait();
        let bytes = messages.iter().map(Message::size).sum();
        let is_over = moves == Moves::Copy
            && !picked.is_empty()
            && !self.model.accounts[&account].fits(bytes);
        assert_eq!(copied.is_ok(), !is_over, "{copied:?}");
        let Ok(copied) = copied else { return };
        assert_eq!(copied.source, picked.iter().map(|uid| Uid(*uid)).collect::<Vec<_>>());
        let target = self.expected(&account, &to);
        let given: Vec<Uid> =
            messages.into_iter().map(|message| Uid(target.add(message))).collect();
        assert_eq!(copied.destination, given);
        if picked.is_empty() {
            return;
        }
        self.has_changed(&account, &to);
        if moves == Moves::Move {
            picked.iter().for_each(|uid| {
                self.expected(&account, &from).messages.remove(uid);
            });
            if from != to {
                self.has_changed(&account, &from);
            }
        }
    }

    fn flags(
        &mut self,
        at: (usize, usize),
        pick: u32,
        change: FlagChange,
        (seen, deleted, keyword): (bool, bool, bool),
        guard: Guard,
    ) {
        let Some((account, name)) = self.place(at) else { return };
        let picked = self.expected(&account, &name).picked(pick);
        let mailbox = self.mailbox(&account, &name);
        let (since, left_alone) = match guard {
            Guard::None => (None, Vec::new()),
            Guard::UnchangedSince => changed_lately(&mailbox, &picked),
        };
        let mut list = FlagList::default();
        if seen {
            list.system = list.system.union(SystemFlags::SEEN);
        }
        if deleted {
            list.system = list.system.union(SystemFlags::DELETED);
        }
        if keyword {
            list.keywords.push(Keyword::new("$Work").unwrap());
        }
        let stored = mailbox.store_flags(&set(&picked), change, &list, since).wait().unwrap();
        assert_eq!(stored.modified, set(&left_alone));
        let mut changed = UidSet::new();
        for uid in picked.into_iter().filter(|uid| !left_alone.contains(uid)) {
            let message = self.expected(&account, &name).messages.get_mut(&uid).unwrap();
            let before = message.clone();
            let next = |had: bool, named: bool| match change {
                FlagChange::Add => had || named,
                FlagChange::Remove => had && !named,
                FlagChange::Replace => named,
            };
            message.seen = next(message.seen, seen);
            message.deleted = next(message.deleted, deleted);
            message.keyword = next(message.keyword, keyword);
            if *message != before {
                message.is_changed = true;
                changed.push(Uid(uid));
            }
        }
        assert_eq!(stored.changed, changed);
        assert_eq!(stored.modseq.is_some(), !changed.is_empty());
        if !changed.is_empty() {
            self.has_changed(&account, &name);
        }
    }

    fn expunge(&mut self, at: (usize, usize)) {
        let Some((account, name)) = self.place(at) else { return };
        let all = UidSet::from_ranges([(1, u32::MAX)]);
        let gone = self.mailbox(&account, &name).expunge(&all).wait().unwrap();
        let messages = std::mem::take(&mut self.expected(&account, &name).messages);
        let (going, staying): (BTreeMap<_, _>, BTreeMap<_, _>) =
            messages.into_iter().partition(|(_, message)| message.deleted);
        self.expected(&account, &name).messages = staying;
        assert_eq!(gone, going.keys().map(|uid| Uid(*uid)).collect());
        let is_any = !going.is_empty();
        let under = self.keeps(&account);
        self.model.accounts.get_mut(&account).unwrap().let_go(&name, going, under);
        if is_any {
            self.has_changed(&account, &name);
        }
    }

    /// For how long an account keeps what is expunged now.
    pub(crate) fn keeps(&self, account: &str) -> Keep {
        self.model.accounts[account].keep.or(self.model.keep)
    }

    fn rename(&mut self, account: usize, from: usize, to: usize) {
        let Some((account, from)) = self.place((account, from)) else { return };
        let to = Run::name(to);
        let renamed = self.account(&account).rename_mailbox(&from, &to).wait();
        let state = self.model.accounts.get_mut(&account).unwrap();
        if from == "INBOX" {
            assert_eq!(renamed.is_ok(), !state.mailboxes.contains_key(&to), "{renamed:?}");
            if renamed.is_ok() {
                self.learn(&account, &to);
                let messages = std::mem::take(&mut self.expected(&account, "INBOX").messages);
                messages.into_values().for_each(|message| {
                    self.expected(&account, &to).add(message);
                });
            }
            return;
        }
        let renames = state.renames(&from, &to);
        assert_eq!(renamed.is_ok(), renames.is_some(), "{from} to {to}: {renamed:?}");
        for (before, now) in renames.into_iter().flatten() {
            let mailbox = state.mailboxes.remove(&before).unwrap();
            state.mailboxes.insert(now, mailbox);
        }
    }

    fn delete(&mut self, at: (usize, usize)) {
        let Some((account, name)) = self.place(at) else { return };
        let deleted = self.account(&account).delete_mailbox(&name).wait();
        assert_eq!(deleted.is_ok(), name != "INBOX", "{deleted:?}");
        if deleted.is_ok() {
            let messages = std::mem::take(&mut self.expected(&account, &name).messages);
            let under = self.keeps(&account);
            let state = self.model.accounts.get_mut(&account).unwrap();
            state.let_go(&name, messages, under);
            state.mailboxes.remove(&name);
        }
    }

    /// Brings back some of what is kept of one mailbox, but for what may go at any moment.
    fn undelete(&mut self, account: usize, pick: u32) {
        let Some(account) = self.chosen(account) else { return };
        let now = self.keeps(&account);
        let state = &self.model.accounts[&account];
        let staying: Vec<_> = state.kept.iter().filter(|kept| !kept.is_over(now)).collect();
        let Some(first) = staying.get(pick as usize % staying.len().max(1)) else { return };
        let of_mailbox = staying.iter().filter(|kept| kept.mailbox == first.mailbox);
        let chosen: Vec<_> = of_mailbox
            .filter(|kept| pick.rotate_left(kept.uid) & 3 != 0)
            .map(|kept| (*kept).clone())
            .collect();
        let handle = self.account(&account);
        let entries = handle.retained(RetainedKey::FIRST, usize::MAX).unwrap();
        let key_of = |kept: &expected::Kept| {
            let is_it = |entry: &&engine::RetainedEntry| {
                (entry.mailbox_id, entry.uid.0) == (kept.mailbox, kept.uid)
            };
            entries.iter().find(is_it).expect("it is kept").key
        };
        let back = handle.undelete(chosen.iter().map(key_of).collect()).wait();
        let bytes = chosen.iter().map(|kept| kept.message.size()).sum();
        let is_refused = !chosen.is_empty() && !state.fits(bytes);
        assert_eq!(back.is_ok(), !is_refused, "{back:?}");
        let Some(first) = chosen.first().filter(|_| !is_refused) else { return };
        let name = state.by_id(first.mailbox).unwrap_or(&first.name).clone();
        let back = back.unwrap();
        assert_eq!(back.mailbox, name);
        self.learn(&account, &name);
        let target = self.expected(&account, &name);
        let given = chosen
            .iter()
            .map(|kept| Uid(target.add(Message { deleted: false, ..kept.message.clone() })));
        assert_eq!(back.uids, given.collect::<Vec<_>>());
        let is_back = |kept: &expected::Kept| {
            chosen.iter().any(|it| (it.mailbox, it.uid) == (kept.mailbox, kept.uid))
        };
        self.model.accounts.get_mut(&account).unwrap().kept.retain(|kept| !is_back(kept));
        self.has_changed(&account, &name);
    }

    /// Asks for everything that is kept to go: what is over time does.
    fn purge(&mut self, account: usize) {
        let Some(account) = self.chosen(account) else { return };
        let handle = self.account(&account);
        let entries = handle.retained(RetainedKey::FIRST, usize::MAX).unwrap();
        handle.purge_retained(entries.iter().map(|entry| entry.key).collect()).wait().unwrap();
        let now = self.keeps(&account);
        self.model.accounts.get_mut(&account).unwrap().kept.retain(|kept| !kept.is_over(now));
        self.compare_kept(&account);
    }
}

/// A MODSEQ among those of these messages, and which of them changed since.
fn changed_lately(mailbox: &Mailbox, picked: &[u32]) -> (Option<Lsn>, Vec<u32>) {
    let view = mailbox.view().unwrap().unwrap();
    let rows: Vec<_> =
        picked.iter().map(|uid| view.row(Uid(*uid)).unwrap().expect("it is there")).collect();
    let mut all: Vec<Lsn> = rows.iter().map(|row| row.modseq).collect();
    all.sort_unstable();
    let Some(since) = all.get(all.len() / 2).copied() else { return (None, Vec::new()) };
    let later = rows.iter().filter(|row| row.modseq > since).map(|row| row.uid.0);
    (Some(since), later.collect())
}
