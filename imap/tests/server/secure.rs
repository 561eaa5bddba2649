//! A server with TLS whose configuration a test has a say in, and clients that trust it.

use std::path::Path;
use std::sync::Arc;

use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::{Client, Served, open_store};

const HOST: &str = "mail.example.org";

/// An authority for clients' certificates.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// A client's certificate with its key.
pub(crate) type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    pub(crate) fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    /// A certificate for these e-mail addresses.
    pub(crate) fn identity(&self, addresses: &[&str]) -> Identity {
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for address in addresses {
            let name = rcgen::SanType::Rfc822Name((*address).try_into().unwrap());
            params.subject_alt_names.push(name);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        (certificate, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }
}

/// A server with a certificate that takes passwords over TLS only.
pub(crate) struct Secured {
    pub(crate) served: Served,
    certificate: CertificateDer<'static>,
}

impl Secured {
    /// With a store of its own; clients may show certificates of `authority`.
    pub(crate) fn new(
        folder: &Path,
        authority: Option<&Authority>,
        configure: impl FnOnce(Config) -> Config,
    ) -> Secured {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let builder = ServerConfig::builder();
        let builder = match authority {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.certificate.clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots));
                builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            }
        };
        let tls = builder.with_single_cert(vec![certificate.clone()], key).unwrap();
        let limits = Limits {
            login_failure_delay: std::time::Duration::from_millis(1),
            connections_per_user: 3,
            ..Limits::default()
        };
        let config = Config::new(limits, "test".into(), Some(Arc::new(tls)), false);
        let served = Served::new(open_store(folder), configure(config));
        Secured { served, certificate }
    }

    /// A connection after its handshake and greeting.
    pub(crate) async fn connect(
        &self,
        identity: Option<Identity>,
    ) -> Client<TlsStream<DuplexStream>> {
        self.connect_with(identity, &[&TLS13]).await
    }

    /// The same with TLS 1.2.
    pub(crate) async fn connect_by_1_2(&self) -> Client<TlsStream<DuplexStream>> {
        self.connect_with(None, &[&TLS12]).await
    }

    async fn connect_with(
        &self,
        identity: Option<Identity>,
        versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
    ) -> Client<TlsStream<DuplexStream>> {
        let stream = self.served.connect(Transport::ImplicitTls, 1 << 16);
        let mut client = self.handshake(stream, identity, versions).await;
        let greeting = client.line().await.unwrap();
        assert!(greeting.starts_with("* OK [CAPABILITY "), "{greeting}");
        client
    }

    /// A handshake on a connection that began without.
    pub(crate) async fn encrypt(&self, stream: DuplexStream) -> Client<TlsStream<DuplexStream>> {
        self.handshake(stream, None, &[&TLS13]).await
    }

    async fn handshake(
        &self,
        stream: DuplexStream,
        identity: Option<Identity>,
        versions: &[&'static tokio_rustls::rustls::SupportedProtocolVersion],
    ) -> Client<TlsStream<DuplexStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let verifier = WebPkiServerVerifier::builder(Arc::new(roots)).build().unwrap();
        let builder =
            ClientConfig::builder_with_protocol_versions(versions).with_webpki_verifier(verifier);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let name = ServerName::try_from(HOST).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        Client::new(stream)
    }
}
