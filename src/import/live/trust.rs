//! Whom a connection with TLS trusts: the machine's authorities, those of a file, or one
//! certificate by its fingerprint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::failure::{Exit, Failure};

/// Where systems keep the authorities that they trust.
const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Whom to trust.
#[derive(Clone, Debug, Default)]
pub(super) struct Trust {
    /// A file of authorities in the place of the machine's.
    pub(super) ca_file: Option<PathBuf>,
    /// The certificate itself, whoever has signed it.
    pub(super) fingerprint: Option<[u8; 32]>,
}

/// SHA-256 of a certificate as `openssl x509 -fingerprint -sha256` writes it, with or without
/// colons.
pub(super) fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let text = text.rsplit_once('=').map_or(text, |(_, text)| text);
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
    let mut bytes = [0; 32];
    let mut pairs = digits.chunks_exact(2);
    for (byte, pair) in bytes.iter_mut().zip(&mut pairs) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    (digits.len() == 64 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(bytes)
}

/// What a client's handshake goes by.
pub(super) fn client_config(trust: &Trust) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::new(Exit::Configuration, format!("TLS cannot be used: {why}")))?;
    let config = match trust.fingerprint {
        Some(expected) => {
            let verifier = Arc::new(ByFingerprint { expected, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        None => builder.with_root_certificates(authorities(trust)?).with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn authorities(trust: &Trust) -> Result<RootCertStore, Failure> {
    let usual = || AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
    let path = trust.ca_file.as_deref().or_else(usual).ok_or_else(|| {
        let sentence = "this machine has no list of authorities to trust (on Debian: the package \
                        ca-certificates); give --ca FILE or --fingerprint";
        Failure::new(Exit::Configuration, sentence)
    })?;
    let unusable = |why: String| {
        let sentence = format!("{} cannot be used to verify servers: {why}", path.display());
        Failure::new(Exit::Configuration, sentence)
    };
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|why| unusable(why.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (taken, _) = roots.add_parsable_certificates(certificates);
    if taken == 0 {
        return Err(unusable("it holds no certificate of an authority".to_owned()));
    }
    Ok(roots)
}

/// Trusts one certificate, whatever stands in it; its key must have signed the handshake.
#[derive(Debug)]
struct ByFingerprint {
    expected: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = digest(&SHA256, end_entity);
        if found.as_ref() == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        let found: Vec<String> = found.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
        let why = format!("its certificate has the fingerprint {}", found.join(":"));
        Err(rustls::Error::General(why))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_openssl_writes_it() {
        let colons = vec!["AB"; 32].join(":");
        for text in [&colons, &format!("sha256 Fingerprint={colons}"), &"ab".repeat(32)] {
            assert_eq!(fingerprint(text), Some([0xab; 32]), "{text}");
        }
        for text in ["", "AB", &"AB".repeat(33), &"+1".repeat(32), &"é".repeat(32)] {
            assert_eq!(fingerprint(text), None, "{text}");
        }
    }
}
