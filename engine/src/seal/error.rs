//! What can go wrong with keys and sealed bytes.

use std::path::PathBuf;

use super::provider::ProviderKind;
use crate::error::DiskError;
use crate::ids::{AccountNumber, KeyGeneration, KeyTableVersion};

/// Sealed bytes that do not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Fewer bytes than the format needs, or more than it allows.
    #[error("sealed bytes are cut short or too long: {found} bytes where {expected} were expected")]
    Truncated {
        /// Bytes that belong there, or the least that do.
        expected: usize,
        /// Bytes that were there.
        found: usize,
    },
    /// The key is not the one that sealed this: the commitment differs.
    #[error("sealed under another key")]
    WrongKey,
    /// The key fits, the bytes or what they claim to be do not.
    #[error("sealed bytes were altered, or belong to another place")]
    Altered,
    /// A field holds what no version of ours writes.
    #[error("sealed bytes are malformed: {field} cannot be {found}")]
    Malformed {
        /// The field.
        field: &'static str,
        /// What it held.
        found: u64,
    },
    /// The blob names no such account.
    #[error("the blob is not sealed for account {0}")]
    NotForAccount(AccountNumber),
    /// The key table lacks the key: the account was destroyed, or the table is older than the blob.
    #[error(
        "the key of account {account}, generation {}, is destroyed or not in the key table",
        .generation.0
    )]
    NoKey {
        /// Whose key.
        account: AccountNumber,
        /// Which of its keys.
        generation: KeyGeneration,
    },
    /// A chunk was compressed with a dictionary that is not at hand.
    #[error("the chunk needs dictionary {:016x}, which is not at hand", u64::from_be_bytes(*.0))]
    NoDictionary([u8; 8]),
    /// A chunk names a part that is kept once for several messages, and that was not had.
    #[error("the chunk needs a part that is kept apart from it, and that is not at hand")]
    NoPart,
    /// More than fits: accounts of a blob, or its bytes.
    #[error("too large to seal: {found} where at most {maximum} fit")]
    TooLarge {
        /// What was asked for.
        found: u64,
        /// What is allowed.
        maximum: u64,
    },
}

/// Why a key was not had. Every sentence says which key, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The passphrase does not open the root key.
    #[error(
        "the passphrase is wrong: it does not open the root key of this data directory; try \
         again, or use the recovery key"
    )]
    WrongPassphrase,
    /// The key file or credential does not open the root key.
    #[error(
        "{} is not the key of this data directory: it does not open the root key; give the file \
         that 'init' made, or use the recovery key", .path.display()
    )]
    WrongKeyFile {
        /// The file that was read.
        path: PathBuf,
    },
    /// The recovery key is well formed, but another store's or an older one.
    #[error(
        "the recovery key is not the one of this data directory; a newer one may have been made \
         with 'key backup'"
    )]
    WrongRecoveryKey,
    /// The recovery key was not typed as it was shown.
    #[error("the recovery key is mistyped: {reason}; compare it with what was written down")]
    MistypedRecoveryKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No recovery key was ever made for this root key.
    #[error("this data directory has no recovery key; make one with 'pillarbox key backup'")]
    NoRecoveryKey,
    /// The root key is wrapped under another kind of key.
    #[error(
        "the root key of this data directory is opened by {needed}, but {given} was given; set \
         [keys] accordingly"
    )]
    OtherProvider {
        /// What opens it.
        needed: ProviderKind,
        /// What was given.
        given: ProviderKind,
    },
    /// A passphrase with nothing in it.
    #[error("the passphrase is empty; choose one of at least several words")]
    EmptyPassphrase,
    /// The key file holds too little or too much.
    #[error(
        "{} is no key file: it needs 32 bytes, 64 hexadecimal digits, or a text of 32 to 4096 \
         bytes; make one with 'pillarbox init'", .path.display()
    )]
    MalformedKeyFile {
        /// The file that was read.
        path: PathBuf,
    },
    /// systemd passed no credentials.
    #[error(
        "no credential '{name}' was passed: CREDENTIALS_DIRECTORY is not set; start Pillarbox by \
         systemd with LoadCredentialEncrypted={name}"
    )]
    NoCredential {
        /// Name of the credential.
        name: String,
    },
    /// A file of keys is not as it was written.
    #[error(
        "the {what} is damaged ({reason}); put it back from a backup of the keys, or use the \
         other node's"
    )]
    Damaged {
        /// Which file.
        what: &'static str,
        /// What was found.
        reason: &'static str,
    },
    /// The file of the root key and its copy are unusable.
    #[error(
        "the root key cannot be read: {} ({why_file}) and {} ({why_copy}) are both missing or \
         damaged; without it no mail of this data directory can be read: put one back from a \
         backup of the folder 'keys'", .file.display(), .copy.display()
    )]
    NoRootKey {
        /// The file.
        file: PathBuf,
        /// Its copy.
        copy: PathBuf,
        /// What is wrong with the first.
        why_file: &'static str,
        /// What is wrong with the second.
        why_copy: &'static str,
    },
    /// The key file is not there.
    #[error(
        "the key file {} is missing: it opens the root key of the data directory; put it back, or \
         set a new one with 'pillarbox key rotate --recovery-key-file F --new-key-file N'",
        .path.display()
    )]
    MissingKeyFile {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others may read the key file, or write it.
    #[error(
        "the key file {} may be read by everybody on this machine or written by its group (mode \
         {mode:03o}), so it is not used; run 'chmod 600' on it, and put a new key in its place \
         with 'pillarbox key rotate' if others may have read it", .path.display()
    )]
    OpenKeyFile {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// systemd passed other credentials.
    #[error(
        "there is no credential '{name}' in {}; start Pillarbox by systemd with \
         LoadCredentialEncrypted={name}", .directory.display()
    )]
    MissingCredential {
        /// Name of the credential.
        name: String,
        /// The folder that systemd named.
        directory: PathBuf,
    },
    /// An account's key does not open under the root key.
    #[error(
        "the key of account {account}, generation {}, does not open under the root key; put the \
         key table back from a backup or the other node", .generation.0
    )]
    DamagedAccountKey {
        /// Whose.
        account: AccountNumber,
        /// Which of its keys.
        generation: KeyGeneration,
    },
    /// Both copies of a volume's key table are unusable.
    #[error(
        "both copies of the key table in {} are missing or damaged (table.a: {copy_a}; table.b: \
         {copy_b}); without it no mail of this volume can be read: put one back from a backup or \
         the other node", .directory.display()
    )]
    NoKeyTable {
        /// The folder of both copies.
        directory: PathBuf,
        /// What is wrong with the first.
        copy_a: String,
        /// What is wrong with the second.
        copy_b: String,
    },
    /// The key table was made for another store.
    #[error(
        "the key table of volume {volume} is wrapped under another root key; it comes from \
         another data directory"
    )]
    OtherRootKey {
        /// The volume that the table names.
        volume: crate::ids::VolumeId,
    },
    /// The key table belongs to another volume.
    #[error(
        "the key table is that of volume {found}, but volume {expected} was opened; files were \
         mixed up"
    )]
    OtherVolume {
        /// The volume that was opened.
        expected: crate::ids::VolumeId,
        /// The volume that the table names.
        found: crate::ids::VolumeId,
    },
    /// A file of keys was written by a newer version.
    #[error(
        "the {what} has format {found}, but this version of Pillarbox reads up to {known}; \
         install a newer one"
    )]
    NewerFormat {
        /// Which file.
        what: &'static str,
        /// Its format.
        found: u16,
        /// The newest that we know.
        known: u16,
    },
    /// An older key table was to replace a newer one.
    #[error("key table version {offered:?} is not newer than {held:?} and was not taken")]
    OlderTable {
        /// The version offered.
        offered: KeyTableVersion,
        /// The version held.
        held: KeyTableVersion,
    },
    /// The account has a key already.
    #[error("account {0} has a key already")]
    AccountExists(AccountNumber),
    /// The account has no key.
    #[error("account {0} has no key; it was destroyed, or never made")]
    NoAccount(AccountNumber),
    /// There are no more generations or versions.
    #[error("the {what} has reached its last number")]
    Exhausted {
        /// What is numbered.
        what: &'static str,
    },
    /// Deriving a key from a passphrase failed, for lack of memory or with costs out of bounds.
    #[error("a key could not be derived from the passphrase: {reason}")]
    Derivation {
        /// What the library said.
        reason: String,
    },
    /// The disk said no.
    #[error(transparent)]
    Disk(#[from] DiskError),
}
