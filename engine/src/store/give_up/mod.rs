//! `check --repair --give-up`: damage that no copy mends is given up, and the store goes on.
//!
//! ```text
//! look, changing nothing ─► say what is lost ─► damaged bytes kept aside ─► marker
//!   ─► opened over the gaps, in a new epoch ─► what no record names comes back into "Recovered"
//!   ─► notices in the place of damaged messages ─► checkpoint ─► marker removed
//! ```
//! Why so, and what it means for clients: decision 0020.
//!
//! # Invariants
//! 1. Without damage nothing is changed, to the byte.
//! 2. Nothing is changed before the damaged bytes lie in the quarantine, flushed.
//! 3. Where changes are lost, no position and no UID of the old epoch is given again: the marker
//!    lets nobody open the volume for writing until its new epoch is in flushed state.
//!
//! # What can go wrong
//! A stop at any moment leaves a store that opens for reading, or as before; called again, this
//! goes on. What came back already is known by its content hash.

pub(super) mod marker;
mod messages;
mod parts;
mod quarantine;
mod salvage;
mod survey;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use self::survey::Survey;

use self::messages::Damaged;
use self::salvage::{Found, Salvage};
use super::create::KeySource;
use super::layout::Layout;
use super::open::{OpenOptions, OpenReport, take_lock};
use super::surroundings::Surroundings;
use super::{Account, Inner, NewMessage, Store};
use crate::check::Flaw;
use crate::commit::{Change, NewAccountChange};
use crate::disk::{Disk, OpenMode, PlainDisk};
use crate::error::{CommitError, OpenError};
use crate::flags::FlagList;
use crate::ids::{AccountNumber, BlobId, Lsn, MailboxId, Uid, UnixSeconds};
use crate::limits::EPOCH_UID_GAP;
use crate::log::{LogDamage, Recovered, Severity, before};
use crate::record::AccountUpdate;
use crate::state::INBOX;
use crate::uid_set::UidSet;
use crate::width::u64_of;

/// Where messages come back to that no record names.
const RECOVERED: &str = "Recovered";
/// The domain of accounts of which not even the name is known.
const NAMELESS_DOMAIN: &str = "recovered.invalid";
/// Rows that are looked at at a time.
const ROWS: usize = 512;

/// Whether damage is given up, or only said what would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consent {
    /// Nothing is changed.
    Asked,
    /// It is given up.
    Given,
}

/// What was given up, or would be.
#[derive(Clone, Debug, Default)]
pub struct GiveUpReport {
    /// One sentence for each thing that is lost.
    pub lost: Vec<String>,
    /// Messages that come back into "Recovered", because no record names them any more, or with a
    /// new UID into their mailbox, because no record brings a part of them any more.
    pub recovered_count: u64,
    /// Whether changes are lost, so that the volume goes on in a new epoch.
    pub changes_lost: bool,
    /// Whether it was done.
    pub is_done: bool,
    /// Where the damaged bytes are kept.
    pub quarantine: Option<PathBuf>,
}

impl GiveUpReport {
    /// Whether there is nothing to give up.
    pub fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.recovered_count == 0 && !self.changes_lost
    }
}

/// How a store is opened whose damage is given up.
#[derive(Default)]
pub(super) struct GivingUp {
    /// The last position that a new epoch inherits; `None`: none begins.
    inherited: Option<Lsn>,
    pub(super) survey: Survey,
}

/// From where the volume goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fork {
    pub(super) inherited: Lsn,
    /// The highest epoch that there may have been.
    above: u16,
    /// Positions that are lost: no mailbox gave more UIDs with them.
    lost: u64,
}

impl Fork {
    /// Nothing is lost, and an epoch begins.
    pub(super) fn at_the_end(inherited: Lsn) -> Fork {
        Fork { inherited, above: 0, lost: 0 }
    }

    /// The number of the epoch that begins, of the same parity; so far above that its UIDs begin
    /// above all that may have been given.
    pub(super) fn epoch(&self, current: u16) -> u16 {
        let pairs = self.lost.div_ceil(2 * u64::from(EPOCH_UID_GAP)).max(1);
        let jump = u16::try_from(pairs.saturating_mul(2)).unwrap_or(u16::MAX - 1);
        current.max(self.above).saturating_add(jump)
    }
}

impl GivingUp {
    /// From where the volume goes on, if changes are lost.
    pub(super) fn fork(&self, recovered: &Recovered) -> Option<Fork> {
        let inherited = self.inherited?;
        let ends = recovered.damage.iter().map(|damage| damage.last);
        let top = ends.chain([recovered.end.last_lsn, recovered.end.durable_lsn]).max()?;
        let of_damage =
            |damage: &LogDamage| damage.last.sequence().saturating_sub(damage.first.sequence()) + 1;
        let lost = recovered.damage.iter().filter(|damage| is_above(damage)).map(of_damage).sum();
        Some(Fork { inherited, above: top.epoch(), lost })
    }
}

fn is_above(damage: &LogDamage) -> bool {
    damage.severity == Severity::AboveState
}

/// Refuses to open a volume for writing whose damage is being given up.
pub(super) fn refuse_unfinished(
    disk: &dyn Disk,
    layout: &Layout,
    mode: OpenMode,
) -> Result<(), OpenError> {
    if mode == OpenMode::Read || !disk.exists(&layout.giving_up())? {
        return Ok(());
    }
    Err(OpenError::Invalid(
        "damage of this store is being given up, and that was interrupted; run 'pillarbox check \
         --repair --give-up' again, which goes on with it"
            .to_owned(),
    ))
}

impl Store {
    /// Gives up what of a closed store is damaged and has no copy; says what that is before
    /// anything is changed. `progress` is told messages read, of how many.
    ///
    /// # Errors
    /// [`OpenError`]; called again, it goes on.
    pub fn give_up(
        directory: &Path,
        options: &OpenOptions,
        consent: Consent,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<GiveUpReport, OpenError> {
        let surroundings = Surroundings::system(Arc::new(PlainDisk), options.segment_bytes);
        Store::give_up_in(&surroundings, (directory, options), consent, progress)
    }

    /// The same, on a given disk.
    pub(crate) fn give_up_in(
        surroundings: &Surroundings,
        (directory, options): (&Path, &OpenOptions),
        consent: Consent,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<GiveUpReport, OpenError> {
        let disk = surroundings.disk.as_ref();
        let layout = Layout::of(directory);
        if !disk.exists(&layout.node())? {
            return Err(OpenError::NotAStore(directory.to_path_buf()));
        }
        let marker = marker::read(disk, &layout.giving_up())?;
        let open = |mode, giving_up: &mut GivingUp| {
            let lock = take_lock(disk, &layout, directory)?;
            let options = quiet(options, mode);
            Store::open_for(surroundings, (directory, options), lock, Some(giving_up))
        };
        let mut giving_up = GivingUp::default();
        let (store, opened) = open(OpenMode::Read, &mut giving_up)?;
        let mut look = Look::at(&store, &opened, &giving_up.survey, progress)?;
        store.close();
        drop(store);
        look.report.changes_lost |= marker.is_some();
        if look.is_empty() || consent == Consent::Asked {
            return Ok(look.report);
        }
        let mut files = quarantine::keep(disk, &layout.log(), &layout.quarantine(), &look.flaws)?;
        giving_up = GivingUp::default();
        if look.report.changes_lost {
            let inherited = marker.or(look.inherited).unwrap_or(opened_end(&opened));
            marker::write(disk, &layout.giving_up(), inherited)?;
            giving_up.inherited = Some(inherited);
        }
        if marker.is_some() && disk.exists(&layout.quarantine())? {
            files = disk.list(&layout.quarantine())?;
        }
        let (store, _) = open(OpenMode::ReadWrite, &mut giving_up)?;
        let done = finish(&store, (&giving_up.survey, &look, &files));
        store.close();
        look.report.recovered_count = done?;
        if let Some(reason) = store.status().stopped {
            return Err(OpenError::Invalid(reason));
        }
        drop(store);
        marker::remove(disk, &layout.giving_up())?;
        look.report.is_done = true;
        look.report.quarantine = (!files.is_empty()).then(|| layout.quarantine());
        Ok(look.report)
    }
}

/// What is there and what is not.
struct Look {
    report: GiveUpReport,
    flaws: Vec<Flaw>,
    messages: Vec<Damaged>,
    /// Their blobs.
    hurt: HashSet<(AccountNumber, BlobId)>,
    inherited: Option<Lsn>,
    /// Something is damaged in the log that was not given up before.
    has_new_flaws: bool,
}

impl Look {
    /// Reads all of a store that was opened for reading.
    fn at(
        store: &Store,
        opened: &OpenReport,
        survey: &Survey,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Look, OpenError> {
        let switched = store.inner.committed.switched()?;
        let lost = opened.damage.iter().map(|damage| damage.last);
        let durable = lost.fold(survey.state, Lsn::max);
        let log = store.log_source();
        let flaws = log.read(&switched, durable, &mut |_| {})?.flaws;
        let is_new = |flaw: &Flaw| flaw.costs_bytes() && !log.is_given_up(flaw);
        let has_new_flaws = flaws.iter().any(is_new);
        let messages = messages::damaged(store, progress)?;
        let above = || opened.damage.iter().filter(|damage| is_above(damage));
        let changes_lost = above().next().is_some();
        let mut report = GiveUpReport { changes_lost, ..GiveUpReport::default() };
        report.lost.extend(above().map(|damage| {
            format!(
                "positions {} to {}: all that was acknowledged there and is not named as coming \
                 back (mail that came, flags, moves, names); {}",
                damage.first, damage.last, damage.damage
            )
        }));
        let hurt: HashSet<_> = messages.iter().map(Damaged::blob).collect();
        let mut mended = HashSet::new();
        let mut count = 0;
        let keys = store.inner.keys.snapshot();
        if report.changes_lost {
            let salvage = Salvage::new(survey, &keys, &log, (u16::MAX, &hurt));
            let without_part = salvage.run(&switched, (&flaws, &[]), &mut |found| {
                mended.insert((found.account, found.blob));
                count += 1;
                Ok(())
            })?;
            let unnamed = without_part.into_iter().filter(|of| !hurt.contains(of));
            report.lost.extend(unnamed.map(|(account, _)| {
                let account = store.inner.committed.account(account);
                let name = account.map(|account| account.profile.name.clone());
                format!(
                    "{}: a message that no record names any more does not come back: a part that \
                     it had in common with others is lost, too",
                    name.unwrap_or_default()
                )
            }));
        }
        let lost = messages.iter().filter(|message| !mended.contains(&message.blob()));
        report.lost.extend(lost.map(ToString::to_string));
        report.recovered_count = count;
        let inherited = above().map(|damage| before(damage.first)).min();
        Ok(Look { report, flaws, messages, hurt, inherited, has_new_flaws })
    }

    fn is_empty(&self) -> bool {
        self.report.is_empty() && !self.has_new_flaws
    }
}

fn opened_end(opened: &OpenReport) -> Lsn {
    opened.damage.iter().map(|damage| before(damage.first)).min().unwrap_or(Lsn::ZERO)
}

/// Brings back what can be, and puts notices in the place of what cannot; answers how many messages
/// came back.
fn finish(
    store: &Store,
    (survey, look, files): (&Survey, &Look, &[PathBuf]),
) -> Result<u64, OpenError> {
    let mut count = 0;
    let mut mended = HashSet::new();
    if look.report.changes_lost {
        take_accounts_in(store, survey)?;
        let keys = store.inner.keys.snapshot();
        let log = store.log_source();
        let switched = store.inner.committed.switched()?;
        let mut there = HashSet::new();
        let mut opened = HashSet::new();
        let salvage = Salvage::new(survey, &keys, &log, (store.status().epoch, &look.hurt));
        salvage.run(&switched, (&look.flaws, files), &mut |found| {
            count += 1;
            let of = (found.account, found.blob);
            if !look.hurt.contains(&of) {
                return bring_back(store, found, (&mut opened, &mut there));
            }
            mended.insert(of);
            for message in look.messages.iter().filter(|message| message.blob() == of) {
                replace(store, message, &found.text)?;
            }
            Ok(())
        })?;
    }
    for message in look.messages.iter().filter(|message| !mended.contains(&message.blob())) {
        replace(store, message, &message.notice())?;
    }
    if !store.checkpoint() {
        let why = "the checkpoint was not written; run the command again";
        return Err(OpenError::Invalid(why.to_owned()));
    }
    Ok(count)
}

/// Accounts whose making was lost, and whose keys are there.
fn take_accounts_in(store: &Store, survey: &Survey) -> Result<(), OpenError> {
    let inner = &store.inner;
    for number in inner.keys.accounts() {
        if inner.committed.account(number).is_some_and(|a| !a.profile.name.is_empty())
            || survey.deleted.contains(&number)
        {
            continue;
        }
        let is_free =
            |update: &&AccountUpdate| inner.committed.account_named(&update.name).is_none();
        let update = match survey.profiles.get(&number).filter(is_free) {
            Some(update) => update.clone(),
            None => AccountUpdate {
                name: format!("{number}@{NAMELESS_DOMAIN}"),
                credentials: Vec::new(),
                quota_bytes: None,
            },
        };
        let domain = update.name.rsplit_once('@').map_or(NAMELESS_DOMAIN, |(_, domain)| domain);
        if !inner.committed.policy().domains.contains(domain) {
            store.add_domain(domain).map_err(refused)?;
        }
        let Some((generation, _)) = inner.keys.current(number) else { continue };
        let made = if inner.committed.account(number).is_some() {
            let account = number;
            inner.submit(|promise| Change::UpdateAccount { account, update, promise })
        } else {
            let new = NewAccountChange { number, generation, update };
            inner.submit(|promise| Change::CreateAccount { new, promise })
        };
        made.wait().map_err(refused)?;
        if let Some(account) = store.account_by_number(number)? {
            mailbox_named(&account, INBOX)?;
        }
    }
    Ok(())
}

/// Appends a message to "Recovered" of its account, unless it is there already.
fn bring_back(
    store: &Store,
    found: Found,
    (opened, there): (&mut HashSet<AccountNumber>, &mut HashSet<(AccountNumber, [u8; 16])>),
) -> Result<(), OpenError> {
    let Some(account) = store.account_by_number(found.account)? else { return Ok(()) };
    let mailbox = mailbox_named(&account, RECOVERED)?;
    if opened.insert(found.account) {
        hashes_in(&account, mailbox, there)?;
    }
    let prepared = store.prepare(&found.text, &[found.account]).map_err(refused)?;
    let (hash, _) = prepared.sealed.for_account(found.account);
    if !there.insert((found.account, hash)) {
        return Ok(());
    }
    let now = UnixSeconds(i64::try_from(store.inner.clock.unix_ms() / 1000).unwrap_or(0));
    let (flags, received) = match found.row {
        Some(row) => (FlagList { system: row.flags, keywords: row.keywords }, row.received),
        None => (FlagList::default(), now),
    };
    let new = NewMessage { prepared, flags, received };
    put(&store.inner, (found.account, mailbox), &UidSet::new(), new)
}

fn mailbox_named(account: &Account, name: &str) -> Result<MailboxId, OpenError> {
    match account.mailbox(name)? {
        Some(mailbox) => Ok(mailbox.id()),
        None => account.create_mailbox(name, None).wait().map_err(refused),
    }
}

/// Content hashes of what is in a mailbox.
fn hashes_in(
    account: &Account,
    mailbox: MailboxId,
    there: &mut HashSet<(AccountNumber, [u8; 16])>,
) -> Result<(), OpenError> {
    let mailbox = account.mailbox_by_id(mailbox)?;
    let Some(view) = mailbox.map(|mailbox| mailbox.view()).transpose()?.flatten() else {
        return Ok(());
    };
    let mut from = Uid(1);
    loop {
        let rows = view.rows_from(from, ROWS)?;
        for row in &rows {
            if let Some(ids) = view.ids(row.uid)? {
                there.insert((account.number(), ids.content_hash));
            }
        }
        match rows.last().and_then(|row| row.uid.0.checked_add(1)) {
            Some(next) => from = Uid(next),
            None => return Ok(()),
        }
    }
}

/// Expunges a damaged message, and puts a notice in its mailbox, or what it was.
fn replace(store: &Store, damaged: &Damaged, text: &[u8]) -> Result<(), OpenError> {
    let prepared = store.prepare(text, &[damaged.account]).map_err(refused)?;
    let flags = FlagList { system: damaged.row.flags, keywords: damaged.keywords.clone() };
    let new = NewMessage { prepared, flags, received: damaged.row.received };
    let uids: UidSet = [damaged.row.uid].into_iter().collect();
    put(&store.inner, (damaged.account, damaged.mailbox), &uids, new)
}

fn put(
    inner: &Arc<Inner>,
    (account, mailbox): (AccountNumber, MailboxId),
    uids: &UidSet,
    new: NewMessage,
) -> Result<(), OpenError> {
    let messages = inner.pending(vec![new]).map_err(refused)?;
    let uids = uids.clone();
    let change = |promise| Change::GiveUp { account, mailbox, uids, messages, promise };
    inner.submit(change).wait().map_err(refused)?;
    Ok(())
}

fn refused(error: CommitError) -> OpenError {
    OpenError::Invalid(format!("{error}; nothing more was given up: run the command again"))
}

/// Options of a store that nothing but this works on.
fn quiet(options: &OpenOptions, mode: OpenMode) -> OpenOptions {
    let mut quiet = OpenOptions::new(options.key.again());
    quiet.page_cache_bytes = options.page_cache_bytes;
    quiet.summary_cache_bytes = options.summary_cache_bytes;
    quiet.index_bounds = options.index_bounds;
    quiet.index_drive = options.index_drive;
    quiet.message_bytes_max = u64_of(crate::limits::MESSAGE_BYTES_MAX);
    quiet.reclaim_bytes_per_second = 0;
    quiet.recount_interval = std::time::Duration::ZERO;
    quiet.scrub_bytes_per_second = 0;
    quiet.replay_checkpoint_bytes = options.replay_checkpoint_bytes;
    quiet.reserve_bytes = options.reserve_bytes;
    quiet.segment_bytes = options.segment_bytes;
    quiet.password_cost = options.password_cost;
    quiet.mode = mode;
    quiet
}

impl KeySource {
    /// The same once more.
    fn again(&self) -> KeySource {
        let copy = |text: &crate::seal::Secret| crate::seal::Secret::new(text.expose().to_owned());
        match self {
            KeySource::Passphrase(text) => KeySource::Passphrase(copy(text)),
            KeySource::KeyFile(path) => KeySource::KeyFile(path.clone()),
            KeySource::Credential(name) => KeySource::Credential(name.clone()),
            KeySource::RecoveryKey(text) => KeySource::RecoveryKey(copy(text)),
        }
    }
}
