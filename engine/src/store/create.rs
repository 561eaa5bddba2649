//! `init`: a new data directory with its keys, and the recovery key that is shown once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Store;
use super::layout::{Layout, NodeFile};
use super::open::take_lock;
use super::surroundings::Surroundings;
use crate::disk::{Disk, PlainDisk, durable};
use crate::error::{DiskError, OpenError};
use crate::ids::{Lsn, NodeId, VolumeId};
use crate::log::{ChainEnd, FooterVersion, GroupHash, LogSetup, LogWriter, Role, ZerosAhead};
use crate::seal::{
    Argon2Cost, Credential, KeyError, KeyFile, KeyProvider, KeyTable, Passphrase, RecoveryKey,
    RootKey, RootKeyFile, Sealer, Secret,
};

/// A new volume's epoch.
const FIRST_EPOCH: u16 = 1;

/// Where the key comes from that opens the store.
#[derive(Debug, Clone)]
pub enum KeySource {
    /// Typed or handed over by the environment; stretched with Argon2id.
    Passphrase(Secret),
    /// A file of 32 random bytes; `init` makes it with mode 0600 if there is none.
    KeyFile(PathBuf),
    /// A systemd credential of that name.
    Credential(String),
    /// The recovery key, when the other is lost.
    RecoveryKey(Secret),
}

impl KeySource {
    /// Opens the root key.
    pub(super) fn unlock(&self, file: &RootKeyFile) -> Result<RootKey, KeyError> {
        match self {
            KeySource::RecoveryKey(typed) => {
                file.unlock_with_recovery(&RecoveryKey::parse(typed.expose())?)
            }
            other => file.unlock(other.provider()?.as_ref()),
        }
    }

    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(match self {
            // It opens beside a provider's key and is never one itself.
            KeySource::RecoveryKey(_) => return Err(KeyError::NoRecoveryKey),
            KeySource::Passphrase(text) => {
                let text = Secret::new(text.expose().to_owned());
                Box::new(Passphrase::new(text, Argon2Cost::PASSPHRASE)?)
            }
            KeySource::KeyFile(path) => Box::new(KeyFile::read(path)?),
            KeySource::Credential(name) => {
                let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
                Box::new(Credential::read(directory.as_deref(), name)?)
            }
        })
    }
}

/// How a store is made.
#[derive(Debug)]
pub struct InitOptions {
    /// What will open it.
    pub key: KeySource,
}

/// What makes a directory the second node of a pair.
#[derive(Clone, Copy)]
pub struct SecondNode<'a> {
    /// Its identity, which the first node was told.
    pub node: NodeId,
    /// The first node's [`Store::pair_seed`].
    pub seed: &'a [u8],
    /// The first node's [`Store::key_table`].
    pub key_table: &'a [u8],
}

impl Store {
    /// Makes a store in a new or empty directory. The answer is the recovery key: it opens the
    /// store if the key is lost, it is shown now and never again, and it is stored nowhere.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`], a key that cannot be had, or the disk.
    pub fn init(directory: &Path, options: &InitOptions) -> Result<Secret, OpenError> {
        let surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
        make_directory(&surroundings, directory, options)?;
        Store::init_in(&surroundings, directory, options)
    }

    /// The same in an empty directory on a given disk, with a key that is there.
    pub(crate) fn init_in(
        surroundings: &Surroundings,
        directory: &Path,
        options: &InitOptions,
    ) -> Result<Secret, OpenError> {
        let disk = surroundings.disk.as_ref();
        let sealer = surroundings.sealer.clone();
        let layout = Layout::of(directory);
        let provider = options.key.provider()?;
        let (file, root, recovery) = RootKeyFile::create(&sealer, provider.as_ref())?;
        let node =
            NodeFile { node: NodeId(sealer.random_id()), volume: VolumeId(sealer.random_id()) };
        make_folders(disk, &layout)?;
        file.save(disk, &layout.root_key())?;
        let keys = layout.keys();
        KeyTable::create(&surroundings.disk, &keys, &sealer, &root, node.volume, FIRST_EPOCH)?;
        LogWriter::create(log_setup(surroundings, &layout, node.volume)?, beginning())?;
        durable::replace_file(disk, &layout.node(), node.encode().as_bytes())?;
        Ok(recovery.show())
    }

    /// Makes the second node of a pair in a new or empty directory: the same volume and keys,
    /// another node, and no mail yet.
    ///
    /// # Errors
    /// [`OpenError::NotEmpty`], a seed that is none, a key that cannot be had, or the disk.
    pub fn init_second(
        directory: &Path,
        options: &InitOptions,
        second: &SecondNode<'_>,
    ) -> Result<(), OpenError> {
        let surroundings = Surroundings::system(Arc::new(PlainDisk), crate::limits::SEGMENT_BYTES);
        make_directory(&surroundings, directory, options)?;
        Store::init_second_in(&surroundings, directory, options, second)
    }

    /// The same in an empty directory on a given disk, with a key that is there.
    pub(crate) fn init_second_in(
        surroundings: &Surroundings,
        directory: &Path,
        options: &InitOptions,
        second: &SecondNode<'_>,
    ) -> Result<(), OpenError> {
        let sealer = surroundings.sealer.clone();
        let layout = Layout::of(directory);
        let no_seed = || OpenError::Invalid("what the first node sent is no seed of a pair".into());
        let PairSeed { volume, root } = PairSeed::decode(second.seed).ok_or_else(no_seed)?;
        let provider = options.key.provider()?;
        let (file, root) = RootKeyFile::of_first_node(&sealer, root, provider.as_ref())?;
        let disk = surroundings.disk.as_ref();
        make_folders(disk, &layout)?;
        file.save(disk, &layout.root_key())?;
        let (keys, table) = (layout.keys(), second.key_table);
        KeyTable::create_from(&surroundings.disk, &keys, &sealer, &root, table, volume)?;
        let log = log_setup(surroundings, &layout, volume)?;
        LogWriter::create(LogSetup { role: Role::Follower, ..log }, beginning())?;
        let node = NodeFile { node: second.node, volume };
        durable::replace_file(disk, &layout.node(), node.encode().as_bytes())?;
        Ok(())
    }

    /// What the second node of a pair begins with, beside the key table. It opens all mail: only
    /// for a connection whose other end has proved who it is.
    ///
    /// # Errors
    /// The disk.
    pub fn pair_seed(&self) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let root = self.edit_root_key(|file, root| Ok(file.to_second_node(root)))?;
        Ok(PairSeed { volume: self.inner.keys.snapshot().volume(), root: &root }.encode())
    }

    /// Replaces the recovery key and answers the new one; the old one opens nothing any more.
    ///
    /// # Errors
    /// A key that does not open the root key, or the disk.
    pub fn key_backup(directory: &Path, key: &KeySource) -> Result<Secret, OpenError> {
        let (_lock, mut file, path) = root_key_of(directory)?;
        let root = key.unlock(&file)?;
        let recovery = file.new_recovery_key(&Sealer::system(), &root)?;
        file.save(&PlainDisk, &path)?;
        Ok(recovery.show())
    }
}

impl Store {
    /// Puts a new key in the place of the one that opens the store: the root key alone is wrapped
    /// anew, so this takes no longer with more mail. The recovery key stays as it is. The store may
    /// be open.
    ///
    /// # Errors
    /// An old key that does not open the root key, a new one that cannot be had, or the disk.
    pub fn rotate_key(directory: &Path, old: &KeySource, new: &KeySource) -> Result<(), OpenError> {
        let (_lock, mut file, path) = root_key_of(directory)?;
        let root = old.unlock(&file)?;
        rewrap(&mut file, &root, new)?;
        file.save(&PlainDisk, &path)?;
        Ok(())
    }

    /// The same for the store that is open, which needs no old key.
    ///
    /// # Errors
    /// A new key that cannot be had, or the disk.
    pub fn change_key(&self, new: &KeySource) -> Result<(), OpenError> {
        self.edit_root_key(|file, root| rewrap(file, root, new))
    }

    /// Replaces the recovery key of the store that is open, and answers the new one.
    ///
    /// # Errors
    /// The disk.
    pub fn new_recovery_key(&self) -> Result<Secret, OpenError> {
        let sealer = &self.inner.sealer;
        let made = self.edit_root_key(|file, root| Ok(file.new_recovery_key(sealer, root)?))?;
        Ok(made.show())
    }

    fn edit_root_key<T>(
        &self,
        edit: impl FnOnce(&mut RootKeyFile, &RootKey) -> Result<T, OpenError>,
    ) -> Result<T, OpenError> {
        let (disk, path) = (self.inner.disk.as_ref(), Layout::of(&self.inner.directory).root_key());
        self.inner.keys.with_root(|root| {
            let file = RootKeyFile::load(disk, &path)?;
            let missing = || OpenError::NotAStore(self.inner.directory.clone());
            let mut file = file.ok_or_else(missing)?;
            let done = edit(&mut file, root)?;
            file.save(disk, &path)?;
            Ok(done)
        })
    }
}

/// What the first node tells the second.
///
/// ```text
/// magic "PBPS", version u16, zero u16, volume 16, root key as seal/root_key.rs has it
/// ```
struct PairSeed<'a> {
    volume: VolumeId,
    root: &'a [u8],
}

const SEED_MAGIC: [u8; 8] = *b"PBPS\x01\0\0\0";

impl PairSeed<'_> {
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let length = SEED_MAGIC.len() + 16 + self.root.len();
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        bytes.extend_from_slice(&SEED_MAGIC);
        bytes.extend_from_slice(&self.volume.0);
        bytes.extend_from_slice(self.root);
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<PairSeed<'_>> {
        let rest = bytes.strip_prefix(&SEED_MAGIC)?;
        let (volume, root) = rest.split_first_chunk()?;
        Some(PairSeed { volume: VolumeId(*volume), root })
    }
}

/// Before the first group of a volume.
fn beginning() -> ChainEnd {
    let begin = Lsn::new(FIRST_EPOCH, 0).unwrap_or(Lsn::ZERO);
    ChainEnd { last_lsn: begin, hash: GroupHash::NONE, durable_lsn: begin }
}

fn make_folders(disk: &dyn Disk, layout: &Layout) -> Result<(), DiskError> {
    for folder in [layout.log(), layout.state(), layout.spool(), layout.keys()] {
        durable::create_dir_durable(disk, &folder)?;
    }
    Ok(())
}

/// Makes the directory, and the key file if there is none.
fn make_directory(
    surroundings: &Surroundings,
    directory: &Path,
    options: &InitOptions,
) -> Result<(), OpenError> {
    surroundings.disk.create_dir_all(directory)?;
    let mut entries = std::fs::read_dir(directory).map_err(|cause| DiskError {
        call: "read folder",
        path: directory.to_path_buf(),
        offset: None,
        cause,
    })?;
    if entries.next().is_some() {
        return Err(OpenError::NotEmpty(directory.to_path_buf()));
    }
    // Sizes and times are nobody else's business either.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(directory, mode).map_err(|cause| DiskError {
        call: "chmod",
        path: directory.to_path_buf(),
        offset: None,
        cause,
    })?;
    if let KeySource::KeyFile(path) = &options.key
        && !surroundings.disk.exists(path)?
    {
        KeyFile::create(path, surroundings.sealer.random())?;
    }
    Ok(())
}

/// Wraps the root key under a new key; a key file that is missing is made.
fn rewrap(file: &mut RootKeyFile, root: &RootKey, new: &KeySource) -> Result<(), OpenError> {
    let sealer = Sealer::system();
    if let KeySource::KeyFile(path) = new
        && !PlainDisk.exists(path)?
    {
        KeyFile::create(path, sealer.random())?;
    }
    Ok(file.rewrap(&sealer, root, new.provider()?.as_ref())?)
}

/// The file of the root key of a store that nobody has open, who would write it too.
fn root_key_of(
    directory: &Path,
) -> Result<(Box<dyn Send + Sync>, RootKeyFile, PathBuf), OpenError> {
    let layout = Layout::of(directory);
    let not_a_store = || OpenError::NotAStore(directory.to_path_buf());
    if !PlainDisk.exists(&layout.node())? {
        return Err(not_a_store());
    }
    let lock = take_lock(&PlainDisk, &layout, directory)?;
    let path = layout.root_key();
    let file = RootKeyFile::load(&PlainDisk, &path)?.ok_or_else(not_a_store)?;
    Ok((lock, file, path))
}

/// Proves that a recovery key opens the store's root key.
///
/// # Errors
/// [`KeyError`] that says whether the text is mistyped or belongs to another store.
pub fn verify_backup(directory: &Path, typed: &Secret) -> Result<(), OpenError> {
    let file = RootKeyFile::load(&PlainDisk, &Layout::of(directory).root_key())?
        .ok_or_else(|| OpenError::NotAStore(directory.to_path_buf()))?;
    file.verify_recovery(&RecoveryKey::parse(typed.expose())?)?;
    Ok(())
}

/// What the log needs.
pub(super) fn log_setup(
    surroundings: &Surroundings,
    layout: &Layout,
    volume: VolumeId,
) -> Result<LogSetup, OpenError> {
    let disk = Arc::clone(&surroundings.disk);
    let drawing = surroundings.sealer.clone();
    let zeros = match surroundings.zeros {
        Some(zeros) => zeros,
        None => ZerosAhead::for_directory(disk.as_ref(), &layout.log())?,
    };
    Ok(LogSetup {
        zeros,
        disk,
        clock: Arc::clone(&surroundings.clock),
        incarnation: Arc::new(move || drawing.random_id()),
        directory: layout.log(),
        volume,
        segment_bytes: surroundings.segment_bytes,
        footer: Arc::new(FooterVersion::default),
        role: Role::Primary,
        switched: Vec::new(),
    })
}
