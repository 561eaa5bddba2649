//! Where etcd is, who we are to it, and how long we wait: checked before anything is asked.

use std::time::Duration;

use engine::seal::Secret;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use ureq::http::Uri;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Endpoints at most.
pub const ENDPOINTS_MAX: usize = 16;

/// Where etcd is, and who we are to it.
#[derive(Debug)]
pub struct EtcdOptions {
    /// Its members: `http://HOST:PORT` or `https://HOST:PORT`, which are tried in turn.
    pub endpoints: Vec<String>,
    /// Certificates, in PEM, of the authorities that are trusted for `https`; no others are.
    pub authorities_pem: Option<Vec<u8>>,
    /// Our certificate and its key, in PEM, where etcd asks for one.
    pub certificate_pem: Option<(Vec<u8>, Secret)>,
    /// Name and password, where etcd asks for them.
    pub login: Option<(String, Secret)>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long an endpoint may take for a request, its connection and its whole answer included.
    pub answer_timeout: Duration,
}

impl EtcdOptions {
    /// These endpoints, with nothing but what they need.
    pub fn new(endpoints: &[&str]) -> EtcdOptions {
        EtcdOptions {
            endpoints: endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
            authorities_pem: None,
            certificate_pem: None,
            login: None,
            // A member that has no leader answers after seven seconds only; another may have one.
            connect_timeout: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(1),
        }
    }
}

/// Why options cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OptionsError {
    /// Too few, or too many.
    #[error("between 1 and {ENDPOINTS_MAX} endpoints of etcd are needed, and there are {0}")]
    EndpointCount(usize),
    /// No URL of an endpoint.
    #[error("{0:?} is no endpoint of etcd, such as \"https://192.0.2.1:2379\"")]
    Endpoint(String),
    /// `https` without anybody to trust.
    #[error("{0} needs the certificate of the authority that signed etcd's")]
    Authority(String),
    /// The authorities' file.
    #[error("the authorities' certificates cannot be used: {0}")]
    Authorities(String),
    /// Our certificate, or its key.
    #[error("the certificate for etcd, or its key, cannot be used: {0}")]
    Certificate(String),
    /// A timeout of nothing.
    #[error("a timeout for etcd is zero")]
    Timeout,
}

/// An endpoint's URL, without a slash at its end.
pub(crate) fn endpoint(text: &str) -> Result<String, OptionsError> {
    let refuse = || OptionsError::Endpoint(text.to_owned());
    let uri: Uri = text.parse().map_err(|_| refuse())?;
    let authority = uri.authority().ok_or_else(refuse)?;
    let is_plain = matches!(uri.scheme_str(), Some("http" | "https"))
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none()
        && !text.contains('#')
        && !authority.as_str().contains('@')
        && !authority.host().is_empty()
        && authority.port_u16().is_some_and(|port| port != 0);
    if !is_plain {
        return Err(refuse());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// What TLS is done with. ureq would panic on a key that does not fit, so all is tried here.
pub(crate) fn tls(options: &EtcdOptions) -> Result<TlsConfig, OptionsError> {
    let provider = std::sync::Arc::new(aws_lc_rs::default_provider());
    let authorities = options.authorities_pem.as_deref().map(authorities).transpose()?;
    let roots: Vec<Certificate<'static>> = certificates(authorities.as_deref());
    let mut builder = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider.clone())
        .root_certs(RootCerts::new_with_certs(&roots));
    if let Some((chain, key_pem)) = &options.certificate_pem {
        let refuse = |why: String| OptionsError::Certificate(why);
        let chain = chain_of(chain).map_err(refuse)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes())
            .map_err(|why| refuse(why.to_string()))?;
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| refuse(why.to_string()))?
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain.clone(), key)
            .map_err(|why| refuse(why.to_string()))?;
        let key = PrivateKey::from_pem(key_pem.expose().as_bytes())
            .map_err(|why| refuse(why.to_string()))?;
        let certificate = ClientCert::new_with_certs(&certificates(Some(&chain)), key);
        builder = builder.client_cert(Some(certificate));
    }
    Ok(builder.build())
}

fn certificates(chain: Option<&[CertificateDer<'static>]>) -> Vec<Certificate<'static>> {
    let chain = chain.unwrap_or_default().iter();
    chain.map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

fn chain_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(chain) => Ok(chain),
        Err(why) => Err(why.to_string()),
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, OptionsError> {
    let chain = chain_of(pem).map_err(OptionsError::Authorities)?;
    let mut store = RootCertStore::empty();
    for certificate in &chain {
        let added = store.add(certificate.clone());
        added.map_err(|why| OptionsError::Authorities(why.to_string()))?;
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let table = [
            ("http://127.0.0.1:2379", Some("http://127.0.0.1:2379"), "as usual"),
            ("https://etcd.example.org:2379/", Some("https://etcd.example.org:2379"), "a slash"),
            ("http://[::1]:2379", Some("http://[::1]:2379"), "IPv6"),
            ("127.0.0.1:2379", None, "no scheme"),
            ("unix:///run/etcd", None, "no network"),
            ("ftp://127.0.0.1:21", None, "another scheme"),
            ("http://127.0.0.1", None, "no port"),
            ("http://127.0.0.1:0", None, "port 0"),
            ("http://127.0.0.1:99999", None, "no such port"),
            ("http://127.0.0.1:2379/v3", None, "a path"),
            ("http://127.0.0.1:2379?a=b", None, "a query"),
            ("http://127.0.0.1:2379#a", None, "a fragment"),
            ("http://a:b@127.0.0.1:2379", None, "a password in it"),
            ("http://127.0.0.1:2379\r\nX: y", None, "a line end"),
            ("http://:2379", None, "no host"),
            ("", None, "nothing"),
        ];
        for (text, expected, reason) in table {
            assert_eq!(endpoint(text).ok().as_deref(), expected, "{reason}: {text}");
        }
    }

    #[test]
    fn certificates_are_checked_before_they_are_needed() {
        let made = |name: &str| {
            rcgen::generate_simple_self_signed(vec![name.to_owned()]).expect("a certificate")
        };
        let (ours, other) = (made("ours"), made("other"));
        let key =
            |of: &rcgen::CertifiedKey<rcgen::KeyPair>| Secret::new(of.signing_key.serialize_pem());
        let pem = ours.cert.pem().into_bytes();
        let options = |authorities_pem, certificate_pem| EtcdOptions {
            authorities_pem,
            certificate_pem,
            ..EtcdOptions::new(&["https://127.0.0.1:2379"])
        };
        let text = b"no certificate".to_vec();
        let table = [
            (options(Some(pem.clone()), None), true, "an authority"),
            (options(Some(text.clone()), None), false, "no authority"),
            (options(None, Some((pem.clone(), key(&ours)))), true, "a certificate"),
            (options(None, Some((pem.clone(), key(&other)))), false, "the key of another"),
            (options(None, Some((pem, Secret::new(String::new())))), false, "no key"),
            (options(None, Some((text, key(&ours)))), false, "no certificate"),
        ];
        for (options, expected, reason) in table {
            let found = tls(&options).map(|_| ());
            assert_eq!(found.is_ok(), expected, "{reason}: {found:?}");
        }
    }
}
