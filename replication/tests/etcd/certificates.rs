//! An authority, and certificates that it signed.

use std::fs;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

/// Signs certificates.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, and its key, for either side of a connection.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        // etcd's gateway talks to its own server, with the server's certificate.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// The arguments with which etcd speaks TLS, to anybody.
    pub(crate) fn arguments(&self, folder: &Path) -> Vec<String> {
        let (certificate, key) = self.sign("127.0.0.1");
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        vec![
            "--cert-file".to_owned(),
            write("server.pem", &certificate),
            "--key-file".to_owned(),
            write("server.key", &key),
        ]
    }

    /// And the arguments with which it speaks to those alone whom this authority knows.
    pub(crate) fn arguments_to_ask(&self, folder: &Path) -> Vec<String> {
        let mut arguments = self.arguments(folder);
        let path = folder.join("authority.pem");
        fs::write(&path, &self.pem).unwrap();
        arguments.extend(["--trusted-ca-file".to_owned(), path.display().to_string()]);
        arguments.push("--client-cert-auth".to_owned());
        arguments
    }
}
