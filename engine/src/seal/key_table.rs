//! A volume's key table: its volume key and its accounts' keys, wrapped by the root key.
//!
//! ```text
//! offset  size      field
//!      0     4      magic        "PBKT"
//!      4     2      version      1, of this format
//!      6     2      zero
//!      8    16      volume
//!     24     8      table_version  epoch 16 ‖ counter 48
//!     32     4      entry_count  at most ENTRIES_MAX
//!     36     4      zero
//!     40   104      volume key   sealed object under the root key
//!    144   116 × n  entries      account 8, generation 4, key as sealed object 104; ascending.
//!                                Generation 0 seals nothing: it hashes content and conversations
//!    end    32      checksum     BLAKE3 of all bytes before
//! ```
//!
//! # Invariants
//! 1. It lives in two files, `table.a` and `table.b`, replaced one after the other, both flushed
//!    before a change is seen by anyone. So one of them is always whole.
//! 2. A version is never written twice, not even after a failed write.
//! 3. What a removed key sealed cannot be opened again: the key is in no file and no snapshot.
//!    (Free blocks of the disk may still hold it wrapped; who has the root key could look there.)
//!
//! # What can be wrong
//! One copy missing, damaged or behind: it is made anew from the other, and the report says so.
//! Both: the volume does not open, for an empty table would shred all mail.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use zeroize::Zeroizing;

use super::aad::{Aad, WrappedKey};
use super::derive::Sealer;
use super::error::{KeyError, SealError};
use super::fields::Fields;
use super::files;
use super::key::{KEY_BYTES, Key};
use super::object::{self, OBJECT_OVERHEAD_BYTES};
use super::root_key::RootKey;
use crate::disk::{Disk, OpenMode, durable};
use crate::ids::{AccountNumber, KeyGeneration, KeyTableVersion, VolumeId};
use crate::width::{u32_of, u64_of, usize_of_u32};

const WHAT: &str = "key table";
const MAGIC: [u8; 4] = *b"PBKT";
pub(super) const FORMAT_VERSION: u16 = 1;
const WRAPPED_BYTES: usize = KEY_BYTES + OBJECT_OVERHEAD_BYTES;
const HEAD_BYTES: usize = 144;
const ENTRY_BYTES: usize = 116;
const CHECKSUM_BYTES: usize = 32;
/// Accounts times generations of one volume.
const ENTRIES_MAX: usize = 1 << 20;
const FILE_BYTES_MAX: usize = HEAD_BYTES + ENTRIES_MAX * ENTRY_BYTES + CHECKSUM_BYTES;
const COUNTER_BITS: u32 = 48;
const _: () = assert!(HEAD_BYTES == 40 + WRAPPED_BYTES && ENTRY_BYTES == 12 + WRAPPED_BYTES);

/// The generation of an account's key that seals nothing and hashes names and content.
const NAMING_GENERATION: KeyGeneration = KeyGeneration(0);
/// The first generation that seals.
const FIRST_GENERATION: KeyGeneration = KeyGeneration(1);

/// One key of an account.
#[derive(Clone)]
pub struct AccountKey {
    /// The key.
    pub key: Key,
    sealed: [u8; WRAPPED_BYTES],
}

/// The table at one version: what readers hold on to.
#[derive(Clone)]
pub struct KeyTableSnapshot {
    version: KeyTableVersion,
    volume: VolumeId,
    volume_key: AccountKey,
    keys: BTreeMap<(AccountNumber, KeyGeneration), Arc<AccountKey>>,
    /// Retired keys that are about to be destroyed; in memory alone.
    ending: BTreeSet<(AccountNumber, KeyGeneration)>,
}

impl KeyTableSnapshot {
    /// The version.
    pub fn version(&self) -> KeyTableVersion {
        self.version
    }

    /// The volume whose table this is.
    pub fn volume(&self) -> VolumeId {
        self.volume
    }

    /// The volume's own key, which seals the records of account 0.
    pub fn volume_key(&self) -> &Key {
        &self.volume_key.key
    }

    /// A key of an account; `None` if it was destroyed or never made.
    pub fn key(&self, account: AccountNumber, generation: KeyGeneration) -> Option<&Key> {
        self.keys.get(&(account, generation)).map(|entry| &entry.key)
    }

    /// The newest key of an account: the one that seals.
    pub fn current(&self, account: AccountNumber) -> Option<(KeyGeneration, &Key)> {
        let all = (account, KeyGeneration(0))..=(account, KeyGeneration(u32::MAX));
        self.keys.range(all).next_back().map(|((_, generation), entry)| (*generation, &entry.key))
    }

    /// The key that hashes an account's content and conversations, so that they stay the same when
    /// the key that seals changes: generation 0, which never seals, else the first.
    pub fn naming(&self, account: AccountNumber) -> Option<&Key> {
        let first = || self.key(account, FIRST_GENERATION);
        self.key(account, NAMING_GENERATION).or_else(first)
    }

    /// Keys that seal no more, by account and generation.
    pub fn retired(&self) -> impl Iterator<Item = (AccountNumber, KeyGeneration)> + '_ {
        let mut keys = self.keys.keys().copied().peekable();
        std::iter::from_fn(move || {
            loop {
                let (account, generation) = keys.next()?;
                let is_newest = keys.peek().is_none_or(|(next, _)| *next != account);
                if !is_newest && generation != NAMING_GENERATION {
                    return Some((account, generation));
                }
            }
        })
    }

    /// Whether any key is about to be destroyed.
    pub fn has_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// Whether nothing sealed under that key is taken any more.
    pub fn is_ending(&self, account: AccountNumber, generation: KeyGeneration) -> bool {
        self.ending.contains(&(account, generation))
    }

    /// Every account that has a key, ascending, each once.
    pub fn accounts(&self) -> impl Iterator<Item = AccountNumber> + '_ {
        let mut last = None;
        self.keys.keys().filter_map(move |(account, _)| {
            (last.replace(*account) != Some(*account)).then_some(*account)
        })
    }

    /// The table as it stands in a file, and as it travels to the follower.
    pub fn encode(&self) -> Vec<u8> {
        let length = HEAD_BYTES + self.keys.len() * ENTRY_BYTES + CHECKSUM_BYTES;
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&self.volume.0);
        bytes.extend_from_slice(&self.version.0.to_le_bytes());
        bytes.extend_from_slice(&u32_of(self.keys.len()).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.volume_key.sealed);
        for ((account, generation), entry) in &self.keys {
            bytes.extend_from_slice(&account.0.to_le_bytes());
            bytes.extend_from_slice(&generation.0.to_le_bytes());
            bytes.extend_from_slice(&entry.sealed);
        }
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Reads a table.
    ///
    /// # Errors
    /// [`KeyError::Damaged`], [`KeyError::NewerFormat`], or [`KeyError::OtherRootKey`].
    pub fn decode(bytes: &[u8], root: &RootKey) -> Result<KeyTableSnapshot, KeyError> {
        let damaged = |reason| KeyError::Damaged { what: WHAT, reason };
        let (body, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(damaged("it is cut short"))?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(damaged("its checksum differs"));
        }
        let mut fields = Fields::new(body);
        let cut = |_| damaged("it is cut short");
        if fields.array().map_err(cut)? != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let found = fields.u16().map_err(cut)?;
        if found != FORMAT_VERSION {
            return Err(KeyError::NewerFormat { what: WHAT, found, known: FORMAT_VERSION });
        }
        decode_fields(fields, root).map_err(|problem| match problem {
            TableProblem::OtherRootKey(volume) => KeyError::OtherRootKey { volume },
            TableProblem::AccountKey(account, generation) => {
                KeyError::DamagedAccountKey { account, generation }
            }
            TableProblem::Malformed(reason) => damaged(reason),
            TableProblem::Field(SealError::Truncated { .. }) => damaged("its length is wrong"),
            TableProblem::Field(_) => damaged("the volume's key in it does not open"),
        })
    }
}

enum TableProblem {
    OtherRootKey(VolumeId),
    Malformed(&'static str),
    AccountKey(AccountNumber, KeyGeneration),
    Field(SealError),
}

impl From<SealError> for TableProblem {
    fn from(error: SealError) -> TableProblem {
        TableProblem::Field(error)
    }
}

fn decode_fields(mut fields: Fields<'_>, root: &RootKey) -> Result<KeyTableSnapshot, TableProblem> {
    fields.zero::<2>("reserved field")?;
    let volume = VolumeId(fields.array()?);
    let version = KeyTableVersion(fields.u64()?);
    let entry_count = usize_of_u32(fields.u32()?);
    fields.zero::<4>("reserved field")?;
    if entry_count > ENTRIES_MAX {
        return Err(TableProblem::Malformed("it claims too many entries"));
    }
    let sealed = fields.array()?;
    let volume_key = match unwrap_key(root, WrappedKey::Volume { volume }, sealed) {
        Err(SealError::WrongKey) => return Err(TableProblem::OtherRootKey(volume)),
        other => other?,
    };
    let mut keys = BTreeMap::new();
    let mut last = None;
    for _ in 0..entry_count {
        let account = AccountNumber(fields.u64()?);
        let generation = KeyGeneration(fields.u32()?);
        if last.replace((account, generation)) >= Some((account, generation)) {
            return Err(TableProblem::Malformed("its entries are out of order"));
        }
        let what = WrappedKey::Account { volume, account, generation };
        let entry = unwrap_key(root, what, fields.array()?)
            .map_err(|_| TableProblem::AccountKey(account, generation))?;
        keys.insert((account, generation), Arc::new(entry));
    }
    fields.end()?;
    Ok(KeyTableSnapshot { version, volume, volume_key, keys, ending: BTreeSet::new() })
}

fn unwrap_key(
    root: &RootKey,
    what: WrappedKey,
    sealed: [u8; WRAPPED_BYTES],
) -> Result<AccountKey, SealError> {
    let plain = Zeroizing::new(object::open(root.key(), Aad::WrappedKey(what), &sealed)?);
    let key = Key::from_slice(&plain)
        .ok_or(SealError::Truncated { expected: KEY_BYTES, found: plain.len() })?;
    Ok(AccountKey { key, sealed })
}

fn fresh_key(sealer: &Sealer, root: &RootKey, what: WrappedKey) -> AccountKey {
    let key = Key::random(sealer.random());
    let sealed = object::seal(sealer, root.key(), Aad::WrappedKey(what), key.expose());
    let sealed = sealed.try_into().expect("a sealed key has a constant length");
    AccountKey { key, sealed }
}

/// One of the two files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TableCopy {
    /// `table.a`
    A,
    /// `table.b`
    B,
}

impl TableCopy {
    fn path(self, directory: &Path) -> PathBuf {
        directory.join(match self {
            TableCopy::A => "table.a",
            TableCopy::B => "table.b",
        })
    }
}

/// What loading found and did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyTableReport {
    /// The copy that was made anew from the other, and what was wrong with it.
    pub healed: Option<(TableCopy, String)>,
}

/// A volume's key table: many readers, one writer at a time, every change durable before it is
/// seen.
pub struct KeyTable {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    sealer: Sealer,
    root: RootKey,
    current: RwLock<Arc<KeyTableSnapshot>>,
    /// The last version that was tried, which may be above the current one after a failed write.
    tried: Mutex<KeyTableVersion>,
}

impl KeyTable {
    /// Makes the table of a new volume in `directory`, with no accounts, at counter 1 of `epoch`.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] if there is a table already, [`KeyError::Disk`].
    pub fn create(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        sealer: &Sealer,
        root: &RootKey,
        volume: VolumeId,
        epoch: u16,
    ) -> Result<KeyTable, KeyError> {
        durable::create_dir_durable(disk.as_ref(), directory)?;
        for copy in [TableCopy::A, TableCopy::B] {
            if disk.exists(&copy.path(directory))? {
                let reason = "there is one already where a new one was to be made";
                return Err(KeyError::Damaged { what: WHAT, reason });
            }
        }
        let version = KeyTableVersion((u64::from(epoch) << COUNTER_BITS) | 1);
        let volume_key = fresh_key(sealer, root, WrappedKey::Volume { volume });
        let (keys, ending) = (BTreeMap::new(), BTreeSet::new());
        let snapshot = KeyTableSnapshot { version, volume, volume_key, keys, ending };
        let table = KeyTable::over(disk, directory, sealer, root, snapshot);
        table.write_both(&table.snapshot())?;
        Ok(table)
    }

    /// The table of a second node, as the first one has it.
    ///
    /// # Errors
    /// [`KeyError::OtherVolume`], those of [`KeyTableSnapshot::decode`], [`KeyError::Disk`].
    pub(crate) fn create_from(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        sealer: &Sealer,
        root: &RootKey,
        bytes: &[u8],
        volume: VolumeId,
    ) -> Result<KeyTable, KeyError> {
        let snapshot = KeyTableSnapshot::decode(bytes, root)?;
        if snapshot.volume != volume {
            return Err(KeyError::OtherVolume { expected: volume, found: snapshot.volume });
        }
        durable::create_dir_durable(disk.as_ref(), directory)?;
        let table = KeyTable::over(disk, directory, sealer, root, snapshot);
        table.write_both(&table.snapshot())?;
        Ok(table)
    }

    fn over(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        sealer: &Sealer,
        root: &RootKey,
        snapshot: KeyTableSnapshot,
    ) -> KeyTable {
        KeyTable {
            disk: Arc::clone(disk),
            directory: directory.to_owned(),
            sealer: sealer.clone(),
            root: root.clone(),
            tried: Mutex::new(snapshot.version),
            current: RwLock::new(Arc::new(snapshot)),
        }
    }

    /// Loads the newer of both copies, and makes a damaged, missing or older one anew from it,
    /// unless the store is opened for reading only.
    ///
    /// # Errors
    /// [`KeyError::NoKeyTable`] if neither copy is usable, [`KeyError::OtherRootKey`],
    /// [`KeyError::OtherVolume`], [`KeyError::NewerFormat`], [`KeyError::Disk`].
    pub fn load(
        disk: &Arc<dyn Disk>,
        directory: &Path,
        sealer: &Sealer,
        root: &RootKey,
        volume: VolumeId,
        mode: OpenMode,
    ) -> Result<(KeyTable, KeyTableReport), KeyError> {
        let read = |copy: TableCopy| read_copy(disk.as_ref(), &copy.path(directory), root, volume);
        let (snapshot, healed) = match (read(TableCopy::A)?, read(TableCopy::B)?) {
            (Err(copy_a), Err(copy_b)) => {
                let directory = directory.to_owned();
                return Err(KeyError::NoKeyTable { directory, copy_a, copy_b });
            }
            (Ok(a), Err(problem)) => (a, Some((TableCopy::B, problem))),
            (Err(problem), Ok(b)) => (b, Some((TableCopy::A, problem))),
            (Ok(a), Ok(b)) if a.version == b.version => (a, None),
            (Ok(a), Ok(b)) if a.version > b.version => (a, Some((TableCopy::B, behind(&b)))),
            (Ok(a), Ok(b)) => (b, Some((TableCopy::A, behind(&a)))),
        };
        let healed = healed.filter(|_| mode == OpenMode::ReadWrite);
        if let Some((copy, _)) = &healed {
            durable::replace_file(disk.as_ref(), &copy.path(directory), &snapshot.encode())?;
        }
        let table = KeyTable::over(disk, directory, sealer, root, snapshot);
        Ok((table, KeyTableReport { healed }))
    }

    /// Reads both copies again, and makes one that is damaged or missing anew from what is in
    /// memory; answers which, and what was wrong with it.
    ///
    /// # Errors
    /// [`KeyError::Disk`], or a copy that belongs elsewhere, which is left alone.
    pub fn heal(&self) -> Result<Option<(TableCopy, String)>, KeyError> {
        // No change comes between reading and writing.
        let _tried = self.tried.lock();
        let snapshot = self.snapshot();
        let mut healed = None;
        for copy in [TableCopy::A, TableCopy::B] {
            let path = copy.path(&self.directory);
            let read = read_copy(self.disk.as_ref(), &path, &self.root, snapshot.volume)?;
            let Err(why) = read else { continue };
            durable::replace_file(self.disk.as_ref(), &path, &snapshot.encode())?;
            healed = Some((copy, why));
        }
        Ok(healed)
    }

    /// Does something with the root key, one at a time: for whoever wraps it anew.
    pub(crate) fn with_root<T>(&self, work: impl FnOnce(&RootKey) -> T) -> T {
        let _changes = self.tried.lock();
        work(&self.root)
    }

    /// The table as it is now.
    pub fn snapshot(&self) -> Arc<KeyTableSnapshot> {
        self.current.read().clone()
    }

    /// The version of now.
    pub fn version(&self) -> KeyTableVersion {
        self.snapshot().version
    }

    /// The volume's own key.
    pub fn volume_key(&self) -> Key {
        self.snapshot().volume_key().clone()
    }

    /// A key of an account; `None` if it was destroyed or never made.
    pub fn key(&self, account: AccountNumber, generation: KeyGeneration) -> Option<Key> {
        self.snapshot().key(account, generation).cloned()
    }

    /// The newest key of an account: the one that seals.
    pub fn current(&self, account: AccountNumber) -> Option<(KeyGeneration, Key)> {
        self.snapshot().current(account).map(|(generation, key)| (generation, key.clone()))
    }

    /// Every account that has a key, ascending.
    pub fn accounts(&self) -> Vec<AccountNumber> {
        self.snapshot().accounts().collect()
    }

    /// Draws the number of a new account: 64 random bits, not 0 and not in use here.
    pub fn draw_account_number(&self) -> AccountNumber {
        let snapshot = self.snapshot();
        loop {
            let mut bytes = [0; 8];
            self.sealer.random().fill(&mut bytes);
            let account = AccountNumber(u64::from_le_bytes(bytes));
            if account != AccountNumber::VOLUME && snapshot.current(account).is_none() {
                return account;
            }
        }
    }

    /// Gives a new account its first key. Durable in both copies when this returns.
    ///
    /// # Errors
    /// [`KeyError::AccountExists`], [`KeyError::Exhausted`], [`KeyError::Disk`].
    pub fn add_account(&self, account: AccountNumber) -> Result<KeyTableVersion, KeyError> {
        self.change(|table, next| {
            if account == AccountNumber::VOLUME || table.current(account).is_some() {
                return Err(KeyError::AccountExists(account));
            }
            self.insert(next, account, FIRST_GENERATION)
        })
    }

    /// The same with a key that will hash its content for ever: what a volume has whose keys
    /// change.
    ///
    /// # Errors
    /// As for [`add_account`](Self::add_account).
    pub fn add_account_with_naming(
        &self,
        account: AccountNumber,
    ) -> Result<KeyTableVersion, KeyError> {
        self.change(|table, next| {
            if account == AccountNumber::VOLUME || table.current(account).is_some() {
                return Err(KeyError::AccountExists(account));
            }
            self.insert(next, account, NAMING_GENERATION)?;
            self.insert(next, account, FIRST_GENERATION)
        })
    }

    /// Destroys all keys of an account: its mail can no longer be read on this node.
    ///
    /// # Errors
    /// [`KeyError::NoAccount`], [`KeyError::Disk`].
    pub fn remove_account(&self, account: AccountNumber) -> Result<KeyTableVersion, KeyError> {
        self.change(|table, next| {
            if table.current(account).is_none() {
                return Err(KeyError::NoAccount(account));
            }
            next.keys.retain(|(owner, _), _| *owner != account);
            Ok(())
        })
    }

    /// Gives accounts a further key each, which seals from now on; the older ones still open. An
    /// account of an older version gets the key that hashes its content too, before the first one
    /// may go.
    ///
    /// # Errors
    /// [`KeyError::NoAccount`], [`KeyError::Exhausted`], [`KeyError::Disk`].
    pub fn new_generations(
        &self,
        accounts: &[AccountNumber],
    ) -> Result<(KeyTableVersion, Vec<(AccountNumber, KeyGeneration)>), KeyError> {
        let mut made = Vec::with_capacity(accounts.len());
        let version = self.change(|table, next| {
            for &account in accounts {
                let (last, _) = table.current(account).ok_or(KeyError::NoAccount(account))?;
                let generation = last.0.checked_add(1).map(KeyGeneration);
                let what = "generation of an account's key";
                let generation = generation.ok_or(KeyError::Exhausted { what })?;
                if table.key(account, NAMING_GENERATION).is_none() {
                    self.insert(next, account, NAMING_GENERATION)?;
                }
                self.insert(next, account, generation)?;
                made.push((account, generation));
            }
            Ok(())
        })?;
        Ok((version, made))
    }

    /// Takes nothing more that is sealed under these retired keys. In memory alone: what comes
    /// before a key is destroyed. For one that is, it holds as long as the process, in which
    /// something sealed under it may still be on its way.
    pub fn begin_ending(&self, keys: &[(AccountNumber, KeyGeneration)]) {
        self.change_ending(|ending| ending.extend(keys));
    }

    /// Takes it again: these keys stay.
    pub fn stop_ending(&self, keys: &[(AccountNumber, KeyGeneration)]) {
        self.change_ending(|ending| ending.retain(|key| !keys.contains(key)));
    }

    fn change_ending(&self, edit: impl FnOnce(&mut BTreeSet<(AccountNumber, KeyGeneration)>)) {
        let _changes = self.tried.lock();
        let mut next = KeyTableSnapshot::clone(&self.snapshot());
        edit(&mut next.ending);
        *self.current.write() = Arc::new(next);
    }

    /// Drops one retired generation, once nothing is sealed under it.
    ///
    /// # Errors
    /// [`KeyError::NoAccount`] if there is no such key or it is the current one,
    /// [`KeyError::Disk`].
    pub fn remove_generation(
        &self,
        account: AccountNumber,
        generation: KeyGeneration,
    ) -> Result<KeyTableVersion, KeyError> {
        self.change(|table, next| {
            let (last, _) = table.current(account).ok_or(KeyError::NoAccount(account))?;
            if last == generation
                || generation == NAMING_GENERATION
                || next.keys.remove(&(account, generation)).is_none()
            {
                return Err(KeyError::NoAccount(account));
            }
            Ok(())
        })
    }

    /// Goes on in a later epoch: the first change of a new primary.
    ///
    /// # Errors
    /// [`KeyError::OlderTable`] if `epoch` is below the table's, [`KeyError::Disk`].
    pub fn begin_epoch(&self, epoch: u16) -> Result<KeyTableVersion, KeyError> {
        let offered = KeyTableVersion((u64::from(epoch) << COUNTER_BITS) | 1);
        let mut tried = self.tried.lock();
        if offered <= *tried {
            return Err(KeyError::OlderTable { offered, held: *tried });
        }
        let mut next = KeyTableSnapshot::clone(&self.snapshot());
        next.version = offered;
        self.install(&mut tried, next)
    }

    /// A table that came from elsewhere, with its keys opened.
    ///
    /// # Errors
    /// Those of [`KeyTableSnapshot::decode`].
    pub fn decode(&self, bytes: &[u8]) -> Result<KeyTableSnapshot, KeyError> {
        KeyTableSnapshot::decode(bytes, &self.root)
    }

    /// Takes a newer table over whole: what a follower does with the primary's.
    ///
    /// # Errors
    /// [`KeyError::OlderTable`], [`KeyError::OtherVolume`], and those of
    /// [`KeyTableSnapshot::decode`].
    pub fn adopt(&self, bytes: &[u8]) -> Result<KeyTableVersion, KeyError> {
        let next = self.decode(bytes)?;
        let mut tried = self.tried.lock();
        let held = self.snapshot();
        if next.volume != held.volume {
            return Err(KeyError::OtherVolume { expected: held.volume, found: next.volume });
        }
        if next.version <= held.version {
            return Err(KeyError::OlderTable { offered: next.version, held: held.version });
        }
        self.install(&mut tried, next)
    }

    fn insert(
        &self,
        next: &mut KeyTableSnapshot,
        account: AccountNumber,
        generation: KeyGeneration,
    ) -> Result<(), KeyError> {
        if next.keys.len() >= ENTRIES_MAX {
            return Err(KeyError::Exhausted { what: "key table" });
        }
        let what = WrappedKey::Account { volume: next.volume, account, generation };
        let entry = fresh_key(&self.sealer, &self.root, what);
        next.keys.insert((account, generation), Arc::new(entry));
        Ok(())
    }

    fn change(
        &self,
        edit: impl FnOnce(&KeyTableSnapshot, &mut KeyTableSnapshot) -> Result<(), KeyError>,
    ) -> Result<KeyTableVersion, KeyError> {
        let mut tried = self.tried.lock();
        let held = self.snapshot();
        let mut next = KeyTableSnapshot::clone(&held);
        edit(&held, &mut next)?;
        let version =
            tried.0.checked_add(1).filter(|next| next >> COUNTER_BITS == tried.0 >> COUNTER_BITS);
        next.version =
            KeyTableVersion(version.ok_or(KeyError::Exhausted { what: "version of a key table" })?);
        self.install(&mut tried, next)
    }

    fn install(
        &self,
        tried: &mut KeyTableVersion,
        next: KeyTableSnapshot,
    ) -> Result<KeyTableVersion, KeyError> {
        let version = next.version;
        // Noted before the write: a copy may hold this version even if the write fails.
        *tried = (*tried).max(version);
        self.write_both(&next)?;
        *self.current.write() = Arc::new(next);
        Ok(version)
    }

    fn write_both(&self, snapshot: &KeyTableSnapshot) -> Result<(), KeyError> {
        let bytes = snapshot.encode();
        let disk = self.disk.as_ref();
        durable::replace_file(disk, &TableCopy::A.path(&self.directory), &bytes)?;
        durable::replace_file(disk, &TableCopy::B.path(&self.directory), &bytes)?;
        Ok(())
    }
}

fn behind(copy: &KeyTableSnapshot) -> String {
    format!("it was behind, at version {}", copy.version.0)
}

/// A copy, or what is wrong with it; other errors concern both copies and end the loading.
fn read_copy(
    disk: &dyn Disk,
    path: &Path,
    root: &RootKey,
    volume: VolumeId,
) -> Result<Result<KeyTableSnapshot, String>, KeyError> {
    let Some(bytes) = files::read(disk, path, u64_of(FILE_BYTES_MAX))? else {
        return Ok(Err("it is missing".to_owned()));
    };
    match KeyTableSnapshot::decode(&bytes, root) {
        Ok(table) if table.volume != volume => {
            Err(KeyError::OtherVolume { expected: volume, found: table.volume })
        }
        Ok(table) => Ok(Ok(table)),
        Err(KeyError::Damaged { reason, .. }) => Ok(Err(reason.to_owned())),
        Err(error @ KeyError::DamagedAccountKey { .. }) => Ok(Err(error.to_string())),
        Err(other) => Err(other),
    }
}
