//! TLS between two nodes: version 1.3, both sides show a certificate, and each knows the other's.
//!
//! Two protocols share the port and are told apart by ALPN: [`PAIR`] between nodes that know each
//! other, [`JOIN`] while one is invited, where any certificate is taken because the invitation's
//! secret decides. Sessions are never resumed: a resumed one would skip the look at the
//! certificate.
//!
//! # Invariants
//! 1. In a connection of [`PAIR`] the peer has proved that it holds the key of the pinned
//!    certificate, before a byte of it is read as a frame.
//! 2. Who is refused gets an alert, and each side has a sentence that names the cause.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName,
    Error, OtherError, PeerIncompatible, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::credentials::{Credentials, Fingerprint};
use super::refusal::{Cause, Refusal};

/// ALPN of two nodes that know each other.
pub const PAIR: &[u8] = b"pillarbox-pair/1";
/// ALPN of one that was invited.
pub const JOIN: &[u8] = b"pillarbox-join/1";

/// Whose certificate is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pin {
    /// That one.
    Only(Fingerprint),
    /// None: this node is paired with nobody.
    Nobody,
    /// Any: what follows decides.
    Anybody,
}

/// A certificate that is not the pinned one.
#[derive(Debug)]
struct OtherCertificate {
    seen: Fingerprint,
    pin: Pin,
    own: Fingerprint,
}

impl std::error::Error for OtherCertificate {}

impl fmt::Display for OtherCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OtherCertificate { seen, own, .. } = self;
        if seen == own {
            return write!(
                f,
                "the peer showed this node's own certificate ({seen}): the address leads back \
                 here, or the data directory was copied"
            );
        }
        match self.pin {
            Pin::Only(expected) => write!(
                f,
                "the peer showed a certificate with the fingerprint {seen}, and {expected} was \
                 expected: it is not the node that this one is paired with, or it was set up \
                 anew; check the address, or pair the nodes anew with an invitation"
            ),
            _ => write!(
                f,
                "the peer showed a certificate with the fingerprint {seen}, and this node is \
                 paired with nobody: pair the nodes with an invitation"
            ),
        }
    }
}

/// Verifies by fingerprint, on either side.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    own: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let seen = Fingerprint::of(certificate);
        let known = match self.pin {
            Pin::Only(expected) => seen == expected,
            Pin::Nobody => false,
            Pin::Anybody => true,
        };
        if known && seen != self.own {
            return Ok(());
        }
        let why = OtherCertificate { seen, pin: self.pin, own: self.own };
        Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why)))))
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered; this is never asked.
fn only_tls13() -> Error {
    Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13)
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(certificate).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(certificate).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

fn pinned(credentials: &Credentials, pin: Pin) -> (Arc<Pinned>, Arc<CryptoProvider>) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let own = credentials.fingerprint();
    (Arc::new(Pinned { pin, own, provider: Arc::clone(&provider) }), provider)
}

/// For the side that accepts.
///
/// # Errors
/// When the credentials fit no signature that TLS 1.3 knows.
pub fn server_config(
    credentials: &Credentials,
    pin: Pin,
    protocol: &[u8],
) -> Result<Arc<ServerConfig>, Error> {
    let (verifier, provider) = pinned(credentials, pin);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![credentials.certificate()], credentials.key())?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For the side that dials.
///
/// # Errors
/// When the credentials fit no signature that TLS 1.3 knows.
pub fn client_config(
    credentials: &Credentials,
    pin: Pin,
    protocol: &[u8],
) -> Result<Arc<ClientConfig>, Error> {
    let (verifier, provider) = pinned(credentials, pin);
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![credentials.certificate()], credentials.key())?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// What a failed handshake, or a connection that TLS ended, means; `None` if TLS is not to blame.
pub fn refusal_of(error: &io::Error, own: Fingerprint) -> Option<Refusal> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())?;
    Some(match inner {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
            Refusal::new(Cause::Certificate, why.to_string())
        }
        Error::InvalidCertificate(why) => {
            Refusal::new(Cause::Certificate, format!("the peer's certificate is refused: {why}"))
        }
        Error::NoCertificatesPresented => Refusal::new(
            Cause::NoCertificate,
            "the peer showed no certificate: it is no node of this pair",
        ),
        Error::NoApplicationProtocol => Refusal::new(
            Cause::Protocol,
            "the peer speaks TLS, but does not ask for the protocol of the pair",
        ),
        Error::PeerIncompatible(why) => Refusal::new(
            Cause::TlsVersion,
            format!("the peer does not speak TLS 1.3 as this node does: {why:?}"),
        ),
        Error::InvalidMessage(_) => Refusal::new(
            Cause::NotTls,
            "what the peer sends is not TLS: something else speaks at the other end",
        ),
        Error::AlertReceived(alert) => refused_by_peer(*alert, own),
        other => Refusal::new(Cause::Tls, format!("TLS failed: {other}")),
    })
}

fn refused_by_peer(alert: AlertDescription, own: Fingerprint) -> Refusal {
    let sentence = match alert {
        AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::UnknownCA
        | AlertDescription::CertificateRequired => format!(
            "the peer refused this node's certificate (fingerprint {own}): it is paired with \
             another node, or with an earlier certificate of this one; its log names what it \
             expected; pair the nodes anew with an invitation"
        ),
        AlertDescription::NoApplicationProtocol => {
            "the peer speaks TLS, but not the protocol of the pair".to_owned()
        }
        AlertDescription::ProtocolVersion => "the peer does not speak TLS 1.3".to_owned(),
        other => format!("the peer ended TLS with the alert {other:?}"),
    };
    Refusal::new(Cause::RefusedByPeer, sentence)
}
