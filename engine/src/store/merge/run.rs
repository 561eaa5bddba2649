//! Doing the steps: each as a change with an id, on the route that every change of this node takes.
//!
//! Before the first step the log is read on, so that it is known what the others did since; where a
//! step depends on that, it is refused if something has changed meanwhile, and judged anew.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use self::requested::Requested;
use super::file::StepsFile;
use super::since::Since;
use super::step::{MessageStep, Origin, Place, Step};
use super::tally::MergeTally;
use super::walk::Walk;
use crate::commit::merged::{Merged, Unchanged};
use crate::commit::numbered::NumberedChange;
use crate::commit::{Change, CopyKind, PendingMessage};
use crate::error::{CommitError, ReadError};
use crate::flags::FlagChange;
use crate::ids::{AccountNumber, EpochId, Lsn, MailboxId, RequestId, Uid};
use crate::mailbox::View;
use crate::state::AccountState;
use crate::store::{Appended, Copied, NewMessage, SpecialUse, Store};
use crate::ticket::{Promise, Ticket};
use crate::uid_set::UidSet;
use crate::way_back::has_steps;

mod flags;
mod requested;
mod settings;

/// Messages that are on their way at a time.
const IN_FLIGHT: usize = 32;
/// How often a step is judged anew before it waits for another time.
const TRIES: u32 = 100;

/// A mailbox of an account.
type Mailbox = (AccountNumber, MailboxId);
/// The answer to a change.
type Answer<T> = Promise<Result<T, CommitError>>;

/// Why a merge has not come to its end. Nothing is lost: it is begun again.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The steps, the log or state cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The primary is busy, or away.
    #[error("the merge waits: {0}")]
    Later(CommitError),
    /// A message that no mailbox takes.
    #[error("a message of {account} cannot be merged: {why}; it stays in way-back/steps")]
    Refused {
        /// Whose.
        account: AccountNumber,
        /// What the primary said.
        why: CommitError,
    },
    /// The caller wanted no more.
    #[error("the merge was stopped")]
    Stopped,
}

/// What is known while steps are done.
pub(super) struct Run<'a> {
    store: &'a Store,
    ids: Ids,
    requested: Requested,
    since: Since,
    /// Mailboxes that are others here, by what they were at the node that went back.
    mailboxes: HashMap<Mailbox, MailboxId>,
    /// Mailboxes that mail was put into.
    filled: HashSet<Mailbox>,
    /// Mailboxes that a later step deletes.
    deleted: HashSet<Mailbox>,
    /// Where messages are that came, by the blob that they had.
    by_blob: HashMap<(AccountNumber, Lsn), Place>,
    coming: VecDeque<Coming>,
    tally: MergeTally,
}

/// A message on its way.
struct Coming {
    ticket: Ticket<Result<Appended, CommitError>>,
    to: Mailbox,
    recovered: bool,
    blob: Lsn,
}

/// Ids of the steps of a suffix.
///
/// ```text
/// id   first 8 bytes of BLAKE3 of "merge" and the epoch id
///      step: 0, number u32 (its highest bit zero), try u32; other: 1 as highest bit, 63 bits
/// ```
#[derive(Clone, Copy)]
struct Ids([u8; 8]);

impl Ids {
    fn of(epoch: EpochId) -> Ids {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"merge").update(&epoch.0);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        Ids(first)
    }

    fn with(self, rest: u64) -> RequestId {
        let mut id = [0; 16];
        let (first, last) = id.split_at_mut(8);
        first.copy_from_slice(&self.0);
        last.copy_from_slice(&rest.to_be_bytes());
        RequestId(id)
    }

    fn of_step(self, number: u64, part: u32) -> RequestId {
        self.with((number & 0x7fff_ffff) << 32 | u64::from(part))
    }

    /// Of the mailbox that takes mail for one that is gone.
    fn of_mailbox(self, mailbox: MailboxId) -> RequestId {
        let (first, _) = mailbox.0.split_first_chunk().unwrap_or((&[0; 8], &[]));
        self.with(u64::from_be_bytes(*first) | 1 << 63)
    }

    fn is_own(self, request: RequestId) -> bool {
        request.0.starts_with(&self.0)
    }
}

impl Store {
    /// Whether something waits to be merged.
    ///
    /// # Errors
    /// The disk.
    pub fn has_merge(&self) -> Result<bool, ReadError> {
        let (disk, folder) = (self.inner.disk.as_ref(), self.way_back_folder());
        if !has_steps(disk, &folder)? {
            return Ok(false);
        }
        // Who merges says what is wrong with it.
        Ok(StepsFile::open(disk, &folder)
            .map_or(true, |file| file.is_some_and(|file| !self.has_not_gone_back(&file))))
    }

    /// What is to be merged is still in the log here: it was put aside, and a stop came between.
    fn has_not_gone_back(&self, file: &StepsFile) -> bool {
        if file.is_earlier {
            return false;
        }
        let history = self.inner.committed.volume().history;
        let is_newest = history.last().is_some_and(|link| link.id == file.header.epoch);
        is_newest && self.position().lsn > file.header.common.lsn
    }

    /// Merges what this node had alone when it went back, if there is anything. This node has to
    /// have everything that the primary had when it was met. Asks `goes_on` between steps.
    ///
    /// # Errors
    /// [`MergeError`]; it can be called again.
    pub fn merge(&self, goes_on: &dyn Fn() -> bool) -> Result<Option<MergeTally>, MergeError> {
        let (disk, folder) = (self.inner.disk.as_ref(), self.way_back_folder());
        let mut merged = None;
        while let Some(file) = StepsFile::open(disk, &folder)? {
            if self.has_not_gone_back(&file) {
                break;
            }
            // So that references are found in the tables.
            self.checkpoint();
            let tally = Run::new(self, &file)?.go_to_the_end(&file, goes_on)?;
            // Everything was answered, so the log here has what became of it.
            file.remove(disk, &folder).map_err(ReadError::from)?;
            merged = Some(merged.unwrap_or_default() + tally);
        }
        Ok(merged)
    }
}

impl<'a> Run<'a> {
    fn new(store: &'a Store, file: &StepsFile) -> Result<Run<'a>, MergeError> {
        let mut accounts = HashSet::from([AccountNumber::VOLUME]);
        let mut deleted = HashSet::new();
        let mut requested = Requested::default();
        let keys = || store.inner.keys.snapshot();
        file.visit(&keys, &mut |number, account, step| -> Result<(), ReadError> {
            accounts.insert(account);
            match step {
                Some(Step::Delete { mailbox }) => drop(deleted.insert((account, mailbox))),
                Some(Step::Message(step)) => requested.see(number, account, &step),
                _ => {}
            }
            Ok(())
        })?;
        let ids = Ids::of(file.header.epoch);
        let walk = Walk::new(store.ship_behind(file.header.common));
        let own: HashSet<RequestId> = requested.all().collect();
        let is_own = move |request| ids.is_own(request) || own.contains(&request);
        let since = Since::new(walk, accounts, Box::new(is_own));
        let mut run = Run {
            store,
            ids,
            requested,
            since,
            mailboxes: HashMap::new(),
            filled: HashSet::new(),
            deleted,
            by_blob: HashMap::new(),
            coming: VecDeque::new(),
            tally: MergeTally { steps: file.header.count, ..MergeTally::default() },
        };
        run.read_on()?;
        Ok(run)
    }

    fn go_to_the_end(
        mut self,
        file: &StepsFile,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<MergeTally, MergeError> {
        let store = self.store;
        let keys = || store.inner.keys.snapshot();
        file.visit(&keys, &mut |number, account, step| {
            if !goes_on() {
                return Err(MergeError::Stopped);
            }
            match step {
                Some(step) if self.has_account(account) => self.step(number, account, step),
                _ => {
                    self.tally.of_deleted_accounts += 1;
                    Ok(())
                }
            }
        })?;
        self.settle(0)?;
        Ok(self.tally)
    }

    fn has_account(&self, account: AccountNumber) -> bool {
        account == AccountNumber::VOLUME || self.state(account).is_some()
    }

    fn step(&mut self, number: u64, account: AccountNumber, step: Step) -> Result<(), MergeError> {
        if let Step::Message(message) = step {
            return self.message(number, account, *message);
        }
        // What follows may speak of messages that are on their way.
        self.settle(0)?;
        match step {
            Step::Set(record) => self.set(number, account, record),
            Step::Create { mailbox, name, special_use } => {
                self.create(number, (account, mailbox), &name, special_use)
            }
            Step::Message(_) => Ok(()),
            Step::Flags { mailbox, changed, stamp } => {
                self.flags((account, mailbox), &changed, stamp)
            }
            Step::Expunge { mailbox, uids } => self.expunge((account, mailbox), &uids),
            Step::Floor { mailbox, next } => self.floor((account, mailbox), next),
            Step::Delete { mailbox } => self.delete((account, mailbox)),
        }
    }

    fn read_on(&mut self) -> Result<(), MergeError> {
        Ok(self.since.read_on(&self.store.inner.keys.snapshot())?)
    }

    fn state(&self, account: AccountNumber) -> Option<AccountState> {
        self.store.inner.committed.account(account)
    }

    fn view(&self, (account, mailbox): Mailbox) -> Result<Option<Arc<View>>, MergeError> {
        let cell = self.store.inner.committed.cell((account, mailbox))?;
        Ok(cell.and_then(|cell| cell.view()))
    }

    /// Asks for a change; one that was answered before is not made again.
    fn ask<T: Send + 'static>(
        &self,
        id: RequestId,
        unchanged: Option<Unchanged>,
        change: impl FnOnce(Answer<T>) -> Change,
    ) -> Ticket<Result<T, CommitError>> {
        let inner = &self.store.inner;
        let (promise, answer) = inner.ticket();
        let change = Change::Merged(Box::new(Merged { change: change(promise), unchanged }));
        match self.since.answer(id) {
            Some(outcome) => change.answer_from(outcome),
            None => self.store.push_as(id, change),
        }
        answer
    }

    /// The same, and waits. `Ok(Err)`: it was refused for good.
    fn asked<T: Send + 'static>(
        &self,
        id: RequestId,
        unchanged: Option<Unchanged>,
        change: impl FnOnce(Answer<T>) -> Change,
    ) -> Result<Result<T, CommitError>, MergeError> {
        judged(self.ask(id, unchanged, change).wait())
    }

    fn another_id(&self) -> RequestId {
        let drawn = self.store.inner.sealer.random_id();
        self.ids.of_mailbox(MailboxId(drawn))
    }

    /// Waits for messages on their way until no more than so many are.
    fn settle(&mut self, left: usize) -> Result<(), MergeError> {
        while self.coming.len() > left {
            let Some(Coming { ticket, to, recovered, blob }) = self.coming.pop_front() else {
                break;
            };
            match judged(ticket.wait())? {
                Ok(appended) => {
                    let uid = appended.uids.first().copied().unwrap_or(Uid(0));
                    self.by_blob.insert((to.0, blob), (to.1, uid));
                    self.filled.insert(to);
                    self.tally.messages_added += 1;
                    self.tally.messages_recovered += u64::from(recovered);
                }
                Err(why) => return Err(MergeError::Refused { account: to.0, why }),
            }
        }
        Ok(())
    }

    fn message(
        &mut self,
        number: u64,
        account: AccountNumber,
        step: MessageStep,
    ) -> Result<(), MergeError> {
        if let Some(request) = step.request
            && (self.since.answer(request).is_some() || self.store.outcome_of(request).is_some())
        {
            self.tally.requests_there += 1;
            return Ok(());
        }
        match step.origin {
            Origin::New => self.come(number, account, &step),
            Origin::Copy => {
                self.settle(0)?;
                if !self.copy(number, account, &step)? {
                    self.come(number, account, &step)?;
                }
                Ok(())
            }
            Origin::Move(source) => {
                self.settle(0)?;
                self.relocate(number, account, (source, &step))
            }
        }
    }

    /// A message comes anew.
    fn come(
        &mut self,
        number: u64,
        account: AccountNumber,
        step: &MessageStep,
    ) -> Result<(), MergeError> {
        let (mailbox, recovered) = self.target((account, step.mailbox), &step.name)?;
        let id = self.requested.id(number).unwrap_or_else(|| self.ids.of_step(number, 0));
        let messages = match self.since.answer(id) {
            // It is there; nothing of it is needed but the answer.
            Some(_) => Vec::new(),
            None => self.prepared(account, step)?,
        };
        let append = |promise| Change::Append { account, mailbox, messages, promise };
        let ticket = self.ask(id, None, append);
        let to = (account, mailbox);
        self.coming.push_back(Coming { ticket, to, recovered, blob: step.blob });
        self.settle(IN_FLIGHT)
    }

    fn prepared(
        &self,
        account: AccountNumber,
        step: &MessageStep,
    ) -> Result<Vec<PendingMessage>, MergeError> {
        let prepared = self.store.prepare(&step.bytes, &[account]);
        let prepared = judged(prepared)?.map_err(|why| MergeError::Refused { account, why })?;
        let (flags, received) = (step.flags.clone(), step.received);
        let message = NewMessage { prepared, flags, received };
        let pending = judged(self.store.inner.pending(vec![message]))?;
        pending.map_err(|why| MergeError::Refused { account, why })
    }

    /// Copies a message from where the same bytes are; answers whether they are anywhere.
    fn copy(
        &mut self,
        number: u64,
        account: AccountNumber,
        step: &MessageStep,
    ) -> Result<bool, MergeError> {
        let id = self.ids.of_step(number, 1);
        let source = match self.since.answer(id) {
            // Any will do.
            Some(_) => Some((step.mailbox, Uid(1))),
            None => self.whereabouts(account, step.blob)?,
        };
        let Some((source, uid)) = source else { return Ok(false) };
        let (destination, _) = self.target((account, step.mailbox), &step.name)?;
        let uids = std::iter::once(uid).collect();
        let kind = CopyKind::Copy;
        let transfer =
            |promise| Change::Transfer { kind, account, source, destination, uids, promise };
        let Ok(Copied { destination: placed, .. }) = self.asked(id, None, transfer)? else {
            return Ok(false);
        };
        let Some(uid) = placed.first().copied() else { return Ok(false) };
        self.by_blob.insert((account, step.blob), (destination, uid));
        self.filled.insert((account, destination));
        self.tally.messages_copied += 1;
        // Its flags are those that it had in the end. Too many keywords, or gone again: it stays as
        // it was copied.
        let (uids, flags) = (std::iter::once(uid).collect(), step.flags.clone());
        let _ =
            self.store_flags((account, destination), uids, (FlagChange::Replace, flags), None)?;
        Ok(true)
    }

    /// A message with these bytes, of that account.
    fn whereabouts(&self, account: AccountNumber, blob: Lsn) -> Result<Option<Place>, MergeError> {
        let known = self.by_blob.get(&(account, blob)).copied();
        let referring = self.store.inner.saved.rows_of_blob(blob, account)?;
        for (mailbox, uid) in known.into_iter().chain(referring) {
            let Some(view) = self.view((account, mailbox))? else { continue };
            let is_there = view.row(uid)?.is_some_and(|row| known.is_some() || row.blob.0 == blob);
            if is_there {
                return Ok(Some((mailbox, uid)));
            }
        }
        Ok(None)
    }

    /// Moves a message, unless the others did, or expunged it.
    fn relocate(
        &mut self,
        number: u64,
        account: AccountNumber,
        (source, step): (Place, &MessageStep),
    ) -> Result<(), MergeError> {
        let id = self.ids.of_step(number, 0);
        let is_done = self.since.answer(id).is_some();
        let is_there = match self.view((account, source.0))? {
            Some(view) => view.row(source.1)?.is_some(),
            None => false,
        };
        if !is_done && (!is_there || self.since.place(account, source) != source) {
            self.tally.moves_dropped += 1;
            return Ok(());
        }
        let (destination, _) = self.target((account, step.mailbox), &step.name)?;
        let uids = std::iter::once(source.1).collect();
        let (kind, from) = (CopyKind::Move, source.0);
        let transfer =
            |promise| Change::Transfer { kind, account, source: from, destination, uids, promise };
        let copied = self.asked(id, None, transfer)?;
        match copied.ok().and_then(|copied| copied.destination.first().copied()) {
            Some(uid) => {
                self.since.note_move(account, source, (destination, uid));
                self.filled.insert((account, destination));
                self.tally.messages_moved += 1;
            }
            None => self.tally.moves_dropped += 1,
        }
        Ok(())
    }

    /// Where mail for a mailbox comes; and whether that is in place of one that is gone.
    fn target(&mut self, key: Mailbox, name: &str) -> Result<(MailboxId, bool), MergeError> {
        let (account, mailbox) = key;
        let state = self.state(account).ok_or(MergeError::Stopped)?;
        if let Some(own) = self.mailboxes.get(&key) {
            if state.names.name_of(*own).is_some() {
                return Ok((*own, false));
            }
        } else if state.names.name_of(mailbox).is_some() {
            return Ok((mailbox, false));
        }
        let name = free_name(&state, name);
        let id = self.ids.of_mailbox(mailbox);
        let create = |promise| Change::CreateMailbox { account, name, special_use: None, promise };
        let made = self.asked(id, None, create)?;
        let own = match made {
            Ok(own) => own,
            // As many mailboxes as there may be: mail is worth more than its place.
            Err(_) => state.names.id_of(crate::state::INBOX).ok_or(MergeError::Stopped)?,
        };
        self.mailboxes.insert(key, own);
        Ok((own, true))
    }

    fn create(
        &mut self,
        number: u64,
        key: Mailbox,
        name: &str,
        special_use: Option<SpecialUse>,
    ) -> Result<(), MergeError> {
        let (account, mailbox) = key;
        let state = self.state(account).ok_or(MergeError::Stopped)?;
        let id = self.ids.of_step(number, 0);
        if self.since.answer(id).is_none()
            && let Some(there) = state.names.id_of(name)
        {
            if !self.deleted.contains(&(account, there)) {
                self.mailboxes.insert(key, there);
                self.tally.mailboxes_same += 1;
                return Ok(());
            }
            // It was deleted before this one was made; that comes last.
            let (from, to) = (name.to_owned(), free_name(&state, name));
            let rename = |promise| Change::RenameMailbox { account, from, to, promise };
            let _ = self.asked(self.another_id(), None, rename)?;
        }
        let mut made = Err(CommitError::NoSuchMailbox);
        for (part, special_use) in [(0, special_use), (1, None)] {
            let name = name.to_owned();
            let create = |promise| Change::CreateMailbox { account, name, special_use, promise };
            made = self.asked(self.ids.of_step(number, part), None, create)?;
            if made.is_ok() {
                break;
            }
        }
        // Without one, its mail is recovered.
        if let Ok(own) = made {
            self.mailboxes.insert((account, mailbox), own);
            self.tally.mailboxes_made += 1;
        }
        Ok(())
    }

    fn expunge(&mut self, key: Mailbox, uids: &UidSet) -> Result<(), MergeError> {
        self.read_on()?;
        for _ in 0..TRIES {
            let places = self.places_now(key, uids);
            for ((account, mailbox), uids) in places.clone() {
                if self.view((account, mailbox))?.is_none() {
                    continue;
                }
                let remove = |promise| {
                    Change::Numbered(NumberedChange::Remove { account, mailbox, uids, promise })
                };
                if let Ok(gone) = self.asked(self.another_id(), None, remove)? {
                    self.tally.messages_expunged += gone.count();
                }
            }
            // Somebody may have moved one of them meanwhile.
            self.read_on()?;
            if self.places_now(key, uids) == places {
                break;
            }
        }
        Ok(())
    }

    /// Messages that were there at the common position, by where they are now.
    fn places_now(&self, key: Mailbox, uids: &UidSet) -> Vec<(Mailbox, UidSet)> {
        let moved = self.since.moved(key, uids);
        let gone: UidSet = moved.iter().map(|(uid, _)| *uid).collect();
        let mut by_mailbox: HashMap<Mailbox, Vec<Uid>> = HashMap::new();
        for (_, (mailbox, uid)) in moved {
            by_mailbox.entry((key.0, mailbox)).or_default().push(uid);
        }
        let rest = uids.without(&gone);
        let mut places: Vec<(Mailbox, UidSet)> =
            by_mailbox.into_iter().map(|(key, uids)| (key, uids.into_iter().collect())).collect();
        if !rest.is_empty() {
            places.push((key, rest));
        }
        places.sort_unstable_by_key(|(key, _)| *key);
        places
    }

    /// Numbers below `next` were given at the node that went back: nobody gets them any more.
    fn floor(&mut self, key: Mailbox, next: u64) -> Result<(), MergeError> {
        let (account, mailbox) = key;
        let Ok(next) = u32::try_from(next).map(Uid) else { return Ok(()) };
        for _ in 0..TRIES {
            let Some(view) = self.view(key)? else { return Ok(()) };
            let Some(expected) = view.uid_next().filter(|given| *given < next) else { break };
            let leave_out = |promise| {
                let change = NumberedChange::LeaveOut { account, mailbox, expected, next, promise };
                Change::Numbered(change)
            };
            if self.asked(self.another_id(), None, leave_out)?.is_ok() {
                break;
            }
        }
        self.read_on()?;
        let below = UidSet::from_ranges([(1, next.0.saturating_sub(1).max(1))]);
        let same = self.since.added(key).map(|added| added.intersection(&below));
        let Some(view) = self.view(key)? else { return Ok(()) };
        let uids = view.existing(&same.unwrap_or_default()).map_err(MergeError::Read)?;
        if uids.is_empty() {
            return Ok(());
        }
        self.tally.messages_renumbered += uids.count();
        let (kind, source) = (CopyKind::Move, mailbox);
        let transfer = |promise| Change::Transfer {
            kind,
            account,
            source,
            destination: mailbox,
            uids,
            promise,
        };
        let _: Result<Copied, CommitError> = self.asked(self.another_id(), None, transfer)?;
        Ok(())
    }

    fn delete(&mut self, key: Mailbox) -> Result<(), MergeError> {
        let (account, mailbox) = key;
        for _ in 0..TRIES {
            self.read_on()?;
            let name = self
                .state(account)
                .and_then(|state| state.names.name_of(mailbox).map(ToOwned::to_owned));
            let (Some(name), Some(view)) = (name, self.view(key)?) else { return Ok(()) };
            let is_added = self.since.added(key).is_some_and(|added| !added.is_empty());
            if is_added || self.filled.contains(&key) {
                self.tally.mailboxes_kept += 1;
                return Ok(());
            }
            let since = view.highest_modseq();
            let unchanged = Some(Unchanged { account, mailbox, since });
            let delete = |promise| Change::DeleteMailbox { account, name, promise };
            if self.asked(self.another_id(), unchanged, delete)?.is_ok() {
                self.tally.mailboxes_deleted += 1;
                return Ok(());
            }
        }
        self.tally.mailboxes_kept += 1;
        Ok(())
    }
}

/// Refused for good, or for now.
fn judged<T>(result: Result<T, CommitError>) -> Result<Result<T, CommitError>, MergeError> {
    match result {
        Err(
            error @ (CommitError::QueueFull
            | CommitError::DiskFull
            | CommitError::PartGone
            | CommitError::ReadOnly { .. }
            | CommitError::Primary { .. }),
        ) => Err(MergeError::Later(error)),
        Err(CommitError::Read(error)) => Err(MergeError::Read(error)),
        other => Ok(other),
    }
}

/// A name that nothing has, for what was called so.
fn free_name(state: &AccountState, name: &str) -> String {
    let first = format!("{name} (recovered)");
    if state.names.id_of(&first).is_none() {
        return first;
    }
    let numbered = (2..u32::MAX).map(|number| format!("{name} (recovered {number})"));
    let mut free = numbered.filter(|name| state.names.id_of(name).is_none());
    free.next().unwrap_or(first)
}
