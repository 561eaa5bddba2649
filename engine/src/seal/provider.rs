//! Where a node's KEK comes from: a passphrase, a key file, or a credential of systemd.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::derive::{Purpose, Randomness};
use super::error::KeyError;
use super::files;
use super::key::{KEY_BYTES, Key};
use super::passphrase::Argon2Cost;
use super::secret::Secret;
use crate::disk::PlainDisk;
use crate::error::DiskError;

/// Largest key file.
const KEY_FILE_BYTES_MAX: usize = 4096;

/// A kind of key provider; the number stands in the file of the root key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProviderKind {
    /// A passphrase, through Argon2id.
    Passphrase,
    /// A key file or credential: the same bytes may come either way.
    KeyFile,
    /// The recovery key.
    RecoveryKey,
}

impl ProviderKind {
    pub(super) const fn byte(self) -> u8 {
        match self {
            ProviderKind::Passphrase => 1,
            ProviderKind::KeyFile => 2,
            ProviderKind::RecoveryKey => 3,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<ProviderKind> {
        match byte {
            1 => Some(ProviderKind::Passphrase),
            2 => Some(ProviderKind::KeyFile),
            3 => Some(ProviderKind::RecoveryKey),
            _ => None,
        }
    }
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProviderKind::Passphrase => "a passphrase",
            ProviderKind::KeyFile => "a key file or credential",
            ProviderKind::RecoveryKey => "a recovery key",
        })
    }
}

/// Gives the KEK that wraps the root key on this node.
pub trait KeyProvider {
    /// Its kind.
    fn kind(&self) -> ProviderKind;

    /// The cost to be stored with a new wrap.
    fn cost(&self) -> Argon2Cost;

    /// The KEK for a stored salt and cost.
    ///
    /// # Errors
    /// A [`KeyError`] that names the key that is missing or malformed.
    fn kek(&self, salt: &[u8; 16], cost: Argon2Cost) -> Result<Key, KeyError>;

    /// The error for "well formed, but not the key of this store".
    fn wrong(&self) -> KeyError;
}

/// A passphrase.
pub struct Passphrase {
    text: Secret,
    cost: Argon2Cost,
}

impl Passphrase {
    /// Takes a passphrase over; `cost` counts for what is wrapped anew.
    ///
    /// # Errors
    /// [`KeyError::EmptyPassphrase`]
    pub fn new(text: Secret, cost: Argon2Cost) -> Result<Passphrase, KeyError> {
        if text.expose().is_empty() {
            return Err(KeyError::EmptyPassphrase);
        }
        Ok(Passphrase { text, cost })
    }
}

impl KeyProvider for Passphrase {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Passphrase
    }

    fn cost(&self) -> Argon2Cost {
        self.cost
    }

    fn kek(&self, salt: &[u8; 16], cost: Argon2Cost) -> Result<Key, KeyError> {
        cost.stretch(self.text.expose(), salt)
    }

    fn wrong(&self) -> KeyError {
        KeyError::WrongPassphrase
    }
}

/// Permissions that a key file must not have: anything for everybody, writing for its group. A
/// group that may read it is how a service's user gets a file of root's.
const OPEN_TO_OTHERS: u32 = 0o007 | 0o020;

/// Who sees to it that others do not read a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guard {
    /// The permissions of its file.
    Permissions,
    /// systemd, by lists that permissions do not show.
    Systemd,
}

/// A key file: 32 bytes, 64 hexadecimal digits, or a text of 32 to 4096 bytes.
pub struct KeyFile {
    path: PathBuf,
    secret: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// Makes a new key file, readable by its owner alone; refuses to overwrite one.
    ///
    /// # Errors
    /// [`KeyError::Disk`]
    pub fn create(path: &Path, random: &dyn Randomness) -> Result<KeyFile, KeyError> {
        let key = Key::random(random);
        let mut text = Zeroizing::new(String::with_capacity(2 * KEY_BYTES + 1));
        for byte in key.expose() {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        text.push('\n');
        files::create_new(&PlainDisk, path, text.as_bytes())?;
        KeyFile::parse(path, text.as_bytes())
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// [`KeyError::MalformedKeyFile`], [`KeyError::Disk`]
    pub fn read(path: &Path) -> Result<KeyFile, KeyError> {
        KeyFile::read_from(path, Guard::Permissions)
    }

    fn read_from(path: &Path, guard: Guard) -> Result<KeyFile, KeyError> {
        let failed = |call, cause| DiskError { call, path: path.to_owned(), offset: None, cause };
        // It may be a pipe, which has no length. One byte too many is read, so that what is too
        // long is refused.
        let bytes_max = crate::width::u64_of(KEY_FILE_BYTES_MAX) + 1;
        let mut bytes = Zeroizing::new(Vec::new());
        let file = File::open(path).map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => KeyError::MissingKeyFile { path: path.to_owned() },
            _ => failed("open", cause).into(),
        })?;
        let metadata = file.metadata().map_err(|cause| failed("stat", cause))?;
        let mode = metadata.permissions().mode() & 0o777;
        if guard == Guard::Permissions && metadata.is_file() && mode & OPEN_TO_OTHERS != 0 {
            return Err(KeyError::OpenKeyFile { path: path.to_owned(), mode });
        }
        file.take(bytes_max).read_to_end(&mut bytes).map_err(|cause| failed("read", cause))?;
        KeyFile::parse(path, &bytes)
    }

    /// The key in the bytes of a file; `path` is for messages.
    ///
    /// # Errors
    /// [`KeyError::MalformedKeyFile`]
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<KeyFile, KeyError> {
        let path = path.to_owned();
        let text = bytes.trim_ascii();
        let secret = if bytes.len() == KEY_BYTES {
            bytes.to_vec()
        } else if let Some(decoded) = hexadecimal(text) {
            decoded
        } else if (KEY_BYTES..=KEY_FILE_BYTES_MAX).contains(&text.len()) {
            text.to_vec()
        } else {
            return Err(KeyError::MalformedKeyFile { path });
        };
        Ok(KeyFile { path, secret: Zeroizing::new(secret) })
    }
}

/// The 32 bytes of 64 hexadecimal digits.
fn hexadecimal(text: &[u8]) -> Option<Vec<u8>> {
    if text.len() != 2 * KEY_BYTES {
        return None;
    }
    let mut bytes = Vec::with_capacity(KEY_BYTES);
    for pair in text.chunks_exact(2) {
        let mut byte = 0;
        for digit in pair {
            let digit = char::from(*digit).to_digit(16)?;
            byte = (byte << 4) | u8::try_from(digit).ok()?;
        }
        bytes.push(byte);
    }
    Some(bytes)
}

impl KeyProvider for KeyFile {
    fn kind(&self) -> ProviderKind {
        ProviderKind::KeyFile
    }

    fn cost(&self) -> Argon2Cost {
        NO_COST
    }

    fn kek(&self, salt: &[u8; 16], _cost: Argon2Cost) -> Result<Key, KeyError> {
        Ok(Purpose::KEY_FILE.key(&[salt, &self.secret]))
    }

    fn wrong(&self) -> KeyError {
        KeyError::WrongKeyFile { path: self.path.clone() }
    }
}

/// Stored where nothing is stretched: the secret has 128 bits or more of its own.
pub(super) const NO_COST: Argon2Cost = Argon2Cost { memory_kib: 0, passes: 0, lanes: 0 };

/// A credential that systemd passed: a key file in `$CREDENTIALS_DIRECTORY`.
pub struct Credential;

impl Credential {
    /// Reads the credential `name` from the folder that systemd named, as `CREDENTIALS_DIRECTORY`
    /// had it at start.
    ///
    /// # Errors
    /// [`KeyError::NoCredential`] if no folder was named, and those of [`KeyFile::read`].
    pub fn read(directory: Option<&Path>, name: &str) -> Result<KeyFile, KeyError> {
        let plain_name = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        match directory {
            Some(directory) if plain_name => {
                KeyFile::read_from(&directory.join(name), Guard::Systemd).map_err(|error| {
                    let (name, directory) = (name.to_owned(), directory.to_owned());
                    match error {
                        KeyError::MissingKeyFile { .. } => {
                            KeyError::MissingCredential { name, directory }
                        }
                        other => other,
                    }
                })
            }
            _ => Err(KeyError::NoCredential { name: name.to_owned() }),
        }
    }
}
