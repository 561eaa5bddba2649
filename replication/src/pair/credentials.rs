//! Who a node is towards the other: a key, a certificate that it signed for itself, and whom it
//! knows.
//!
//! ```text
//! DATA/pair/
//!   certificate.pem   self-signed, made once
//!   key.pem           its key, mode 0600; or
//!   key.sealed        the same, sealed under a key of the caller (engine::seal, purpose 16)
//!   peer              the other node, see `peer`
//! ```
//!
//! Certificates are not verified by authorities or dates but by their fingerprint: SHA-256 of the
//! whole certificate, which `openssl x509 -fingerprint -sha256` shows too. A pair that parts
//! because a date has come would lose mail to a calendar.
//!
//! # Invariants
//! 1. The key is written before the certificate: with a certificate there is its key, and a kill in
//!    between makes both anew.
//! 2. Files appear whole or not at all, and were never readable by others.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use engine::seal::{Aad, Key, Sealer};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

/// Our number among small sealed objects.
const SEALED_PURPOSE: u8 = 16;
const SEALED_NAME: &[u8] = b"key of the pair's certificate";
/// The name in every certificate: fingerprints tell them apart.
pub(crate) const CERTIFICATE_NAME: &str = "pillarbox-pair";
const CERTIFICATE_FILE: &str = "certificate.pem";
const KEY_FILE: &str = "key.pem";
const SEALED_KEY_FILE: &str = "key.sealed";

/// SHA-256 of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    pub fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.as_ref());
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        Fingerprint(bytes)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// How the key lies on the disk.
#[derive(Clone, Copy)]
pub enum Cover<'a> {
    /// In a file that only its owner may read.
    FileMode,
    /// Sealed, so that a stolen disk is no node of the pair.
    Sealed {
        /// Makes sealed objects.
        sealer: &'a Sealer,
        /// The key to seal with.
        key: &'a Key,
    },
}

/// Why a node has no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file could not be read or written.
    #[error("cannot {verb} {path}: {cause}", path = .path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file holds something else.
    #[error("{path} cannot be used: {why}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The key lies sealed, and no key to open it was given.
    #[error("{path} is sealed, and there is no key to open it", path = .path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
}

/// A node's key and certificate.
pub struct Credentials {
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    fingerprint: Fingerprint,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.fingerprint)
    }
}

impl Credentials {
    /// Reads them from the folder, or makes them there. A key that lies open is sealed when a key
    /// to seal with is given.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn load_or_make(folder: &Path, cover: Cover<'_>) -> Result<Credentials, CredentialsError> {
        let certificate_file = folder.join(CERTIFICATE_FILE);
        if !certificate_file
            .try_exists()
            .map_err(|cause| failed("read", &certificate_file, cause))?
        {
            return Credentials::make(folder, cover);
        }
        let certificate = CertificateDer::from_pem_file(&certificate_file)
            .map_err(|why| unusable(&certificate_file, why.to_string()))?;
        let key = read_key(folder, cover)?;
        Ok(Credentials::new(certificate, key))
    }

    /// Makes new ones in the folder, in place of those that are there.
    ///
    /// # Errors
    /// [`CredentialsError`]
    pub fn make(folder: &Path, cover: Cover<'_>) -> Result<Credentials, CredentialsError> {
        let made = rcgen::generate_simple_self_signed(vec![CERTIFICATE_NAME.to_owned()])
            .map_err(|why| unusable(&folder.join(CERTIFICATE_FILE), why.to_string()))?;
        let key = Zeroizing::new(made.signing_key.serialize_der());
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|cause| failed("make", folder, cause))?;
        write_key(folder, &key, cover)?;
        write_private(&folder.join(CERTIFICATE_FILE), made.cert.pem().as_bytes())?;
        let key = PrivatePkcs8KeyDer::from(key.to_vec());
        Ok(Credentials::new(made.cert.der().clone(), key.into()))
    }

    fn new(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> Credentials {
        let fingerprint = Fingerprint::of(&certificate);
        Credentials { certificate, key, fingerprint }
    }

    /// What the other node knows this one by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

fn read_key(folder: &Path, cover: Cover<'_>) -> Result<PrivateKeyDer<'static>, CredentialsError> {
    let sealed_file = folder.join(SEALED_KEY_FILE);
    let open_file = folder.join(KEY_FILE);
    if open_file.try_exists().map_err(|cause| failed("read", &open_file, cause))? {
        let key = PrivateKeyDer::from_pem_file(&open_file)
            .map_err(|why| unusable(&open_file, why.to_string()))?;
        if let Cover::Sealed { .. } = cover {
            write_key(folder, key.secret_der(), cover)?;
        }
        return Ok(key);
    }
    let sealed =
        std::fs::read(&sealed_file).map_err(|cause| failed("read", &sealed_file, cause))?;
    let Cover::Sealed { key, .. } = cover else {
        return Err(CredentialsError::Sealed { path: sealed_file });
    };
    let aad = Aad::Named { purpose: SEALED_PURPOSE, name: SEALED_NAME };
    let plain = engine::seal::open(key, aad, &sealed)
        .map_err(|why| unusable(&sealed_file, why.to_string()))?;
    Ok(PrivatePkcs8KeyDer::from(plain).into())
}

fn write_key(folder: &Path, key: &[u8], cover: Cover<'_>) -> Result<(), CredentialsError> {
    let (sealed_file, open_file) = (folder.join(SEALED_KEY_FILE), folder.join(KEY_FILE));
    let other = match cover {
        Cover::FileMode => {
            use base64::Engine;
            let text = base64::engine::general_purpose::STANDARD.encode(key);
            let text = Zeroizing::new(format!(
                "-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n"
            ));
            write_private(&open_file, text.as_bytes())?;
            sealed_file
        }
        Cover::Sealed { sealer, key: seal } => {
            let aad = Aad::Named { purpose: SEALED_PURPOSE, name: SEALED_NAME };
            write_private(&sealed_file, &engine::seal::seal(sealer, seal, aad, key))?;
            open_file
        }
    };
    match std::fs::remove_file(&other) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(failed("remove", &other, cause))
        }
        _ => Ok(()),
    }
}

fn failed(verb: &'static str, path: &Path, cause: io::Error) -> CredentialsError {
    CredentialsError::File { verb, path: path.to_owned(), cause }
}

fn unusable(path: &Path, why: String) -> CredentialsError {
    CredentialsError::Unusable { path: path.to_owned(), why }
}

/// Writes a file of mode 0600 that is there wholly or not at all, even if the power goes.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), CredentialsError> {
    let write = || {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let _ = std::fs::remove_file(&new);
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|cause| failed("write", path, cause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn they_are_made_once_and_the_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("pair");
        let made = Credentials::load_or_make(&folder, Cover::FileMode).unwrap();
        let again = Credentials::load_or_make(&folder, Cover::FileMode).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        assert_eq!(made.key().secret_der(), again.key().secret_der());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("key.pem")), 0o600);
        let other = Credentials::make(&folder, Cover::FileMode).unwrap();
        assert_ne!(made.fingerprint(), other.fingerprint());
    }

    #[test]
    fn a_key_that_lies_open_is_sealed_and_opens_under_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let (sealer, key) = (Sealer::system(), Key::take(&mut [7; 32]));
        let cover = Cover::Sealed { sealer: &sealer, key: &key };
        let made = Credentials::load_or_make(folder.path(), Cover::FileMode).unwrap();
        let sealed = Credentials::load_or_make(folder.path(), cover).unwrap();
        assert!(!folder.path().join("key.pem").exists());
        let again = Credentials::load_or_make(folder.path(), cover).unwrap();
        assert_eq!(again.key().secret_der(), made.key().secret_der());
        assert_eq!(again.fingerprint(), sealed.fingerprint());
        let wrong = Cover::Sealed { sealer: &sealer, key: &Key::take(&mut [8; 32]) };
        for (cover, part) in [(Cover::FileMode, "no key to open it"), (wrong, "cannot be used")] {
            let why = Credentials::load_or_make(folder.path(), cover).unwrap_err().to_string();
            assert!(why.contains(part) && why.contains("key.sealed"), "{why}");
        }
    }
}
