//! The certificate: configured PEM files, or a self-signed one that is made once and kept.
//!
//! The self-signed one lies beside the data directory, not in it: it is a node's own and no secret
//! of the store. Its key has mode 0600.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::CertificateSource;
use crate::failure::{Exit, Failure};

/// What answers TLS handshakes.
pub(crate) fn server_config(
    source: &CertificateSource,
    host_name: &str,
    client_ca_file: &Path,
) -> Result<Arc<ServerConfig>, Failure> {
    let (chain_file, key_file) = match source {
        CertificateSource::Files(chain, key) => (chain.clone(), key.clone()),
        CertificateSource::SelfSigned(folder) => {
            let files = (folder.join("certificate.pem"), folder.join("key.pem"));
            // The key is written last, so a kill in between makes both anew.
            if !files.1.exists() {
                make_self_signed(folder, &files.0, &files.1, host_name)?;
            }
            files
        }
    };
    let chain = CertificateDer::pem_file_iter(&chain_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| unusable(&chain_file, why.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(&chain_file, "it holds no certificate in PEM form".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&key_file)
        .map_err(|why| unusable(&key_file, why.to_string()))?;
    let verifier = client_verifier(client_ca_file)?;
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)
        })
        .map_err(|why| unusable(&chain_file, format!("{why} (key: {})", key_file.display())))?;
    Ok(Arc::new(config))
}

/// Who may be certified: whoever an authority in the file has signed for, and whoever shows no
/// certificate.
fn client_verifier(ca_file: &Path) -> Result<Arc<dyn ClientCertVerifier>, Failure> {
    if ca_file.as_os_str().is_empty() {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let roots = Arc::new(roots(ca_file)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let built = verifier.allow_unauthenticated().build();
    built.map_err(|why| unusable(ca_file, why.to_string()))
}

/// What trusts the authorities in a file, for the connections that we make.
pub(crate) fn client_config(ca_file: &Path) -> Result<Arc<ClientConfig>, Failure> {
    let roots = roots(ca_file)?;
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|why| unusable(ca_file, why.to_string()))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The authorities in a PEM file; some that cannot be used are passed over, as in bundles of
/// systems, but not all.
fn roots(ca_file: &Path) -> Result<RootCertStore, Failure> {
    let certificates = CertificateDer::pem_file_iter(ca_file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| unusable(ca_file, why.to_string()))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    match roots.is_empty() {
        true => Err(unusable(ca_file, "it holds no certificate of an authority".to_owned())),
        false => Ok(roots),
    }
}

fn unusable(path: &Path, why: String) -> Failure {
    Failure::new(Exit::Configuration, format!("cannot use {}: {why}", path.display()))
}

fn make_self_signed(
    folder: &Path,
    chain_file: &Path,
    key_file: &Path,
    host_name: &str,
) -> Result<(), Failure> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !names.iter().any(|name| name == host_name) && host_name.is_ascii() {
        names.push(host_name.to_owned());
    }
    let made = rcgen::generate_simple_self_signed(names).map_err(|why| {
        Failure::new(Exit::Configuration, format!("cannot make a certificate: {why}"))
    })?;
    std::fs::create_dir_all(folder).map_err(|cause| Failure::file("make", folder, &cause))?;
    let files = [(chain_file, made.cert.pem()), (key_file, made.signing_key.serialize_pem())];
    for (path, text) in files {
        write_private(path, text.as_bytes())
            .map_err(|cause| Failure::file("write", path, &cause))?;
    }
    tracing::info!(file = %chain_file.display(), "made a self-signed certificate");
    Ok(())
}

/// Writes a file of mode 0600 that is there wholly or not at all, even if the power goes.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let _ = std::fs::remove_file(&new);
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_self_signed_certificate_is_made_once_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let source = CertificateSource::SelfSigned(folder.path().join("demo.tls"));
        server_config(&source, "mail.example.org", Path::new("")).unwrap();
        let key = folder.path().join("demo.tls/key.pem");
        let first = std::fs::read(&key).unwrap();
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        server_config(&source, "mail.example.org", Path::new("")).unwrap();
        assert_eq!(std::fs::read(&key).unwrap(), first);
    }

    #[test]
    fn a_file_that_is_no_certificate_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chain.pem");
        std::fs::write(&path, "hello").unwrap();
        let source = CertificateSource::Files(path.clone(), path);
        let failure = server_config(&source, "localhost", Path::new("")).err().unwrap();
        assert!(failure.sentence.contains("chain.pem"), "{}", failure.sentence);
        assert_eq!(failure.exit, Exit::Configuration);
        let source = CertificateSource::SelfSigned(folder.path().join("demo.tls"));
        let authorities = folder.path().join("chain.pem");
        let failure = server_config(&source, "localhost", &authorities).err().unwrap();
        assert!(failure.sentence.contains("certificate of an authority"), "{}", failure.sentence);
        assert!(client_config(&authorities).is_err());
    }
}
