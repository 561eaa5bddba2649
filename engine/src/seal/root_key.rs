//! The root key of a data directory, and the file that holds it wrapped.
//!
//! ```text
//! offset  size      field
//!      0     4      magic       "PBRK"
//!      4     2      version     1
//!      6     2      wrap_count  1 or 2
//!      8    16      root key id, random
//!     24   136 × n  wraps       of this node's KEK first, then of the recovery key
//!    end    32      checksum    BLAKE3 of all bytes before
//!
//! a wrap:
//!      0     1      kind        1 passphrase, 2 key file or credential, 3 recovery key
//!      1     3      zero
//!      4    12      cost of Argon2id: memory in KiB 4, passes 4, lanes 4; zero for other kinds
//!     16    16      salt
//!     32   104      root key    sealed object under the KEK
//! ```
//!
//! Why two wraps and no more: another node's KEK is never here, it gets the root key over the
//! paired connection and wraps it itself.
//!
//! It lies in two files, `root.key` and `root.copy`, replaced one after the other. Where both are
//! whole and differ, `root.key` is the newer one.
//!
//! # Invariants
//! 1. Everything under the root key stays as it is when a KEK or the recovery key changes.
//! 2. The recovery key is stored nowhere, and an old one opens nothing once a new one is saved.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::aad::{Aad, WrappedKey};
use super::derive::Sealer;
use super::error::{KeyError, SealError};
use super::fields::Fields;
use super::files;
use super::key::{KEY_BYTES, Key};
use super::object::{self, OBJECT_OVERHEAD_BYTES};
use super::passphrase::Argon2Cost;
use super::provider::{KeyProvider, NO_COST, ProviderKind};
use super::recovery_key::RecoveryKey;
use crate::disk::{Disk, durable};
use crate::width::u64_of;

const WHAT: &str = "file of the root key";
const MAGIC: [u8; 4] = *b"PBRK";
pub(super) const FORMAT_VERSION: u16 = 1;
const WRAPPED_BYTES: usize = KEY_BYTES + OBJECT_OVERHEAD_BYTES;
const HEAD_BYTES: usize = 24;
const WRAP_BYTES: usize = 136;
const CHECKSUM_BYTES: usize = 32;
const FILE_BYTES_MAX: usize = HEAD_BYTES + 2 * WRAP_BYTES + CHECKSUM_BYTES;
/// A root key on its way to the second node.
const SECOND_NODE_BYTES_MAX: usize = 16 + KEY_BYTES + 1 + WRAP_BYTES;
const _: () = assert!(WRAP_BYTES == 4 + 12 + 16 + WRAPPED_BYTES);

/// The root key, in memory.
#[derive(Clone)]
pub struct RootKey {
    id: [u8; 16],
    key: Key,
}

impl RootKey {
    /// Names the key; says nothing about it.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// For fuzz targets and tests, which have a key of their own.
    pub(crate) fn new(id: [u8; 16], key: Key) -> RootKey {
        RootKey { id, key }
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(…)")
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Wrap {
    kind: ProviderKind,
    cost: Argon2Cost,
    salt: [u8; 16],
    sealed: [u8; WRAPPED_BYTES],
}

/// The file of the root key: wrapped under this node's KEK and under a recovery key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootKeyFile {
    id: [u8; 16],
    node: Wrap,
    recovery: Option<Wrap>,
}

impl RootKeyFile {
    /// Draws a root key and wraps it. The recovery key is to be shown once and kept nowhere.
    ///
    /// # Errors
    /// Those of the provider.
    pub fn create(
        sealer: &Sealer,
        provider: &dyn KeyProvider,
    ) -> Result<(RootKeyFile, RootKey, RecoveryKey), KeyError> {
        let root = RootKey { id: sealer.random_id(), key: Key::random(sealer.random()) };
        let node = wrap_for_node(sealer, &root, provider)?;
        let mut file = RootKeyFile { id: root.id, node, recovery: None };
        let recovery_key = file.new_recovery_key(sealer, &root)?;
        Ok((file, root, recovery_key))
    }

    /// A file for another node: wraps a root key that it was given. It has no recovery key until
    /// [`new_recovery_key`](Self::new_recovery_key); that of the first node stays good there.
    ///
    /// # Errors
    /// Those of the provider.
    pub fn wrap(
        sealer: &Sealer,
        root: &RootKey,
        provider: &dyn KeyProvider,
    ) -> Result<RootKeyFile, KeyError> {
        let node = wrap_for_node(sealer, root, provider)?;
        Ok(RootKeyFile { id: root.id, node, recovery: None })
    }

    /// The root key as it goes to the second node of a pair, over a connection that both ends have
    /// proved: `id 16, key 32, 1 and the wrap of the recovery key 136, or 0`.
    pub(crate) fn to_second_node(&self, root: &RootKey) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(SECOND_NODE_BYTES_MAX));
        bytes.extend_from_slice(&root.id);
        bytes.extend_from_slice(root.key.expose());
        bytes.push(u8::from(self.recovery.is_some()));
        self.recovery.iter().for_each(|wrap| wrap.encode(&mut bytes));
        bytes
    }

    /// The second node's file, under a key of its own; the recovery key opens it as it does the
    /// first node's.
    ///
    /// # Errors
    /// Bytes that [`to_second_node`](Self::to_second_node) does not make, and those of the
    /// provider.
    pub(crate) fn of_first_node(
        sealer: &Sealer,
        bytes: &[u8],
        provider: &dyn KeyProvider,
    ) -> Result<(RootKeyFile, RootKey), KeyError> {
        let damaged = KeyError::Damaged { what: "root key of the first node", reason: "it is cut" };
        let read = || -> Result<(RootKey, Option<Wrap>), SealError> {
            let mut fields = Fields::new(bytes);
            let id = fields.array()?;
            let key = Zeroizing::new(fields.array::<KEY_BYTES>()?);
            let key = Key::from_slice(key.as_slice());
            let key = key.ok_or(SealError::Truncated { expected: KEY_BYTES, found: 0 })?;
            let [has_recovery] = fields.array()?;
            let recovery = if has_recovery == 1 { Some(Wrap::decode(&mut fields)?) } else { None };
            fields.end()?;
            Ok((RootKey { id, key }, recovery))
        };
        let (root, recovery) = read().map_err(|_| damaged)?;
        let file = RootKeyFile::wrap(sealer, &root, provider)?;
        Ok((RootKeyFile { recovery, ..file }, root))
    }

    /// What kind of key opens it on this node.
    pub fn provider_kind(&self) -> ProviderKind {
        self.node.kind
    }

    /// Opens the root key with this node's KEK.
    ///
    /// # Errors
    /// [`KeyError::OtherProvider`], [`KeyError::WrongPassphrase`], [`KeyError::WrongKeyFile`],
    /// [`KeyError::Damaged`], and those of the provider.
    pub fn unlock(&self, provider: &dyn KeyProvider) -> Result<RootKey, KeyError> {
        let wrap = &self.node;
        if wrap.kind != provider.kind() {
            return Err(KeyError::OtherProvider { needed: wrap.kind, given: provider.kind() });
        }
        let kek = provider.kek(&wrap.salt, wrap.cost)?;
        self.open(&kek, WrappedKey::RootUnderNode { root: self.id }, wrap, || provider.wrong())
    }

    /// Opens the root key with the recovery key.
    ///
    /// # Errors
    /// [`KeyError::NoRecoveryKey`], [`KeyError::WrongRecoveryKey`], [`KeyError::Damaged`].
    pub fn unlock_with_recovery(&self, recovery_key: &RecoveryKey) -> Result<RootKey, KeyError> {
        let wrap = self.recovery.as_ref().ok_or(KeyError::NoRecoveryKey)?;
        let kek = recovery_key.kek(&wrap.salt);
        let what = WrappedKey::RootUnderRecovery { root: self.id };
        self.open(&kek, what, wrap, || KeyError::WrongRecoveryKey)
    }

    /// Proves that a recovery key that was written down opens this store.
    ///
    /// # Errors
    /// As [`unlock_with_recovery`](Self::unlock_with_recovery).
    pub fn verify_recovery(&self, recovery_key: &RecoveryKey) -> Result<(), KeyError> {
        self.unlock_with_recovery(recovery_key).map(|_| ())
    }

    /// Makes a new recovery key in place of the old one; counts when the file is saved.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] if `root` is not this file's root key.
    pub fn new_recovery_key(
        &mut self,
        sealer: &Sealer,
        root: &RootKey,
    ) -> Result<RecoveryKey, KeyError> {
        self.expect_own(root)?;
        let recovery_key = RecoveryKey::random(sealer.random());
        let salt = sealer.random_id();
        let what = WrappedKey::RootUnderRecovery { root: root.id };
        let sealed = seal_root(sealer, &recovery_key.kek(&salt), what, root);
        let kind = ProviderKind::RecoveryKey;
        self.recovery = Some(Wrap { kind, cost: NO_COST, salt, sealed });
        Ok(recovery_key)
    }

    /// Wraps the root key under another KEK of this node; counts when the file is saved.
    ///
    /// # Errors
    /// [`KeyError::Damaged`] if `root` is not this file's root key, and those of the provider.
    pub fn rewrap(
        &mut self,
        sealer: &Sealer,
        root: &RootKey,
        provider: &dyn KeyProvider,
    ) -> Result<(), KeyError> {
        self.expect_own(root)?;
        self.node = wrap_for_node(sealer, root, provider)?;
        Ok(())
    }

    fn expect_own(&self, root: &RootKey) -> Result<(), KeyError> {
        if self.id == root.id {
            return Ok(());
        }
        Err(KeyError::Damaged { what: WHAT, reason: "it is that of another root key" })
    }

    fn open(
        &self,
        kek: &Key,
        what: WrappedKey,
        wrap: &Wrap,
        wrong: impl FnOnce() -> KeyError,
    ) -> Result<RootKey, KeyError> {
        let damaged = |reason| KeyError::Damaged { what: WHAT, reason };
        let plain = match object::open(kek, Aad::WrappedKey(what), &wrap.sealed) {
            Ok(plain) => Zeroizing::new(plain),
            Err(SealError::WrongKey) => return Err(wrong()),
            Err(_) => return Err(damaged("its key fits, what it wraps was altered")),
        };
        let key = Key::from_slice(&plain).ok_or(damaged("it wraps something else"))?;
        Ok(RootKey { id: self.id, key })
    }

    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let wraps: Vec<&Wrap> = std::iter::once(&self.node).chain(&self.recovery).collect();
        let mut bytes = Vec::with_capacity(FILE_BYTES_MAX);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        let wrap_count: u16 = if self.recovery.is_some() { 2 } else { 1 };
        bytes.extend_from_slice(&wrap_count.to_le_bytes());
        bytes.extend_from_slice(&self.id);
        wraps.into_iter().for_each(|wrap| wrap.encode(&mut bytes));
        let checksum = blake3::hash(&bytes);
        bytes.extend_from_slice(checksum.as_bytes());
        bytes
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// [`KeyError::Damaged`], [`KeyError::NewerFormat`].
    pub fn decode(bytes: &[u8]) -> Result<RootKeyFile, KeyError> {
        let damaged = |reason| KeyError::Damaged { what: WHAT, reason };
        let cut = |_| damaged("its length or a field is wrong");
        let (body, checksum) =
            bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(damaged("it is cut short"))?;
        if blake3::hash(body).as_bytes() != checksum {
            return Err(damaged("its checksum differs"));
        }
        let mut fields = Fields::new(body);
        if fields.array().map_err(cut)? != MAGIC {
            return Err(damaged("it does not begin as one"));
        }
        let found = fields.u16().map_err(cut)?;
        if found != FORMAT_VERSION {
            return Err(KeyError::NewerFormat { what: WHAT, found, known: FORMAT_VERSION });
        }
        let wrap_count = fields.u16().map_err(cut)?;
        let id = fields.array().map_err(cut)?;
        let node = Wrap::decode(&mut fields).map_err(cut)?;
        let recovery = match wrap_count {
            1 => None,
            2 => Some(Wrap::decode(&mut fields).map_err(cut)?),
            _ => return Err(damaged("it claims too many wraps")),
        };
        fields.end().map_err(cut)?;
        let recovery_kind = recovery.as_ref().map(|wrap| wrap.kind);
        if node.kind == ProviderKind::RecoveryKey
            || recovery_kind.is_some_and(|kind| kind != ProviderKind::RecoveryKey)
        {
            return Err(damaged("its wraps are of the wrong kinds"));
        }
        Ok(RootKeyFile { id, node, recovery })
    }

    /// Reads the file or its copy; `None` if there is neither.
    ///
    /// # Errors
    /// [`KeyError::NoRootKey`] if neither is usable, [`KeyError::NewerFormat`],
    /// [`KeyError::Disk`].
    pub fn load(disk: &dyn Disk, path: &Path) -> Result<Option<RootKeyFile>, KeyError> {
        Ok(load_both(disk, path)?.map(|(file, _)| file))
    }

    /// The same, and makes a damaged, missing or older one of both anew. Says what was wrong; a
    /// copy that was never made, by builds that had none, is nothing to tell of.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn load_and_heal(
        disk: &dyn Disk,
        path: &Path,
    ) -> Result<Option<(RootKeyFile, Option<String>)>, KeyError> {
        let Some((file, state)) = load_both(disk, path)? else { return Ok(None) };
        let healed = match state {
            Copies::Same => return Ok(Some((file, None))),
            Copies::NoSecond => None,
            Copies::Bad(healed) => Some(healed),
        };
        file.save(disk, path)?;
        Ok(Some((file, healed)))
    }

    /// Replaces the file and its copy, durably; makes their folder if need be.
    ///
    /// # Errors
    /// [`KeyError::Disk`]
    pub fn save(&self, disk: &dyn Disk, path: &Path) -> Result<(), KeyError> {
        durable::create_dir_durable(disk, durable::folder_of(path))?;
        // The file first: where both are whole and differ, it counts.
        durable::replace_file(disk, path, &self.encode())?;
        durable::replace_file(disk, &copy_of(path), &self.encode())?;
        Ok(())
    }
}

/// How the file and its copy are.
enum Copies {
    Same,
    /// There is no copy, and the file is whole.
    NoSecond,
    /// One is to be made anew, for this reason.
    Bad(String),
}

/// Where the copy of the file lies.
fn copy_of(path: &Path) -> PathBuf {
    path.with_extension("copy")
}

fn load_both(disk: &dyn Disk, path: &Path) -> Result<Option<(RootKeyFile, Copies)>, KeyError> {
    let copy = copy_of(path);
    let name = |path: &Path| path.display().to_string();
    Ok(Some(match (read_one(disk, path)?, read_one(disk, &copy)?) {
        (Err(None), Err(None)) => return Ok(None),
        (Err(file), Err(second)) => {
            let why = |problem: Option<&'static str>| problem.unwrap_or("it is missing");
            let (why_file, why_copy) = (why(file), why(second));
            return Err(KeyError::NoRootKey { file: path.to_owned(), copy, why_file, why_copy });
        }
        (Ok(file), Ok(second)) if file == second => (file, Copies::Same),
        (Ok(file), Ok(_)) => (file, Copies::Bad(format!("{}: it was behind", name(&copy)))),
        (Ok(file), Err(None)) => (file, Copies::NoSecond),
        (Ok(file), Err(Some(why))) => (file, Copies::Bad(format!("{}: {why}", name(&copy)))),
        (Err(why), Ok(second)) => {
            let why = why.unwrap_or("it is missing");
            (second, Copies::Bad(format!("{}: {why}", name(path))))
        }
    }))
}

/// One of both, or what is wrong with it; `None`: there is none.
fn read_one(
    disk: &dyn Disk,
    path: &Path,
) -> Result<Result<RootKeyFile, Option<&'static str>>, KeyError> {
    let Some(bytes) = files::read(disk, path, u64_of(FILE_BYTES_MAX))? else {
        return Ok(Err(None));
    };
    match RootKeyFile::decode(&bytes) {
        Ok(file) => Ok(Ok(file)),
        Err(KeyError::Damaged { reason, .. }) => Ok(Err(Some(reason))),
        Err(other) => Err(other),
    }
}

impl Wrap {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&[self.kind.byte(), 0, 0, 0]);
        bytes.extend_from_slice(&self.cost.memory_kib.to_le_bytes());
        bytes.extend_from_slice(&self.cost.passes.to_le_bytes());
        bytes.extend_from_slice(&self.cost.lanes.to_le_bytes());
        bytes.extend_from_slice(&self.salt);
        bytes.extend_from_slice(&self.sealed);
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Wrap, SealError> {
        let kind = fields.u8()?;
        let kind = ProviderKind::from_byte(kind)
            .ok_or(SealError::Malformed { field: "kind of a wrap", found: u64::from(kind) })?;
        fields.zero::<3>("reserved field of a wrap")?;
        let cost =
            Argon2Cost { memory_kib: fields.u32()?, passes: fields.u32()?, lanes: fields.u32()? };
        Ok(Wrap { kind, cost, salt: fields.array()?, sealed: fields.array()? })
    }
}

fn wrap_for_node(
    sealer: &Sealer,
    root: &RootKey,
    provider: &dyn KeyProvider,
) -> Result<Wrap, KeyError> {
    let (salt, cost) = (sealer.random_id(), provider.cost());
    let kek = provider.kek(&salt, cost)?;
    let sealed = seal_root(sealer, &kek, WrappedKey::RootUnderNode { root: root.id }, root);
    Ok(Wrap { kind: provider.kind(), cost, salt, sealed })
}

fn seal_root(sealer: &Sealer, kek: &Key, what: WrappedKey, root: &RootKey) -> [u8; WRAPPED_BYTES] {
    object::seal(sealer, kek, Aad::WrappedKey(what), root.key.expose())
        .try_into()
        .expect("a sealed key has a constant length")
}
