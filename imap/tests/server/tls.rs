//! TLS, at once and after STARTTLS, with a certificate made for the test.

use std::sync::Arc;

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use imap::{Config, Limits, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::support::{Client, Served, deliver, open_store};

const HOST: &str = "mail.example.org";

/// A server with a certificate that takes passwords over TLS only, and how to connect to it.
fn served(folder: &std::path::Path) -> (Served, TlsConnector) {
    let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let certificate = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let store = open_store(folder);
    deliver(&store, &b"Subject: a\r\n\r\n".repeat(5000), FlagList::default(), UnixSeconds(1));
    let config = Config::new(Limits::default(), "test".into(), Some(Arc::new(server)), false);
    (Served::new(store, config), TlsConnector::from(Arc::new(client)))
}

async fn encrypted(
    connector: &TlsConnector,
    stream: DuplexStream,
) -> std::io::Result<Client<TlsStream<DuplexStream>>> {
    let name = ServerName::try_from(HOST).unwrap();
    Ok(Client::new(connector.connect(name, stream).await?))
}

async fn reads_mail(client: &mut Client<TlsStream<DuplexStream>>) {
    client.ok("LOGIN demo@example.org demo").await;
    client.ok("SELECT INBOX").await;
    let body = client.fetch_literal(1, "BODY.PEEK[]").await;
    assert!(body == b"Subject: a\r\n\r\n".repeat(5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_implicit_tls_the_greeting_is_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let (served, connector) = served(folder.path());
    let stream = served.connect(Transport::ImplicitTls, 1 << 16);
    let mut client = encrypted(&connector, stream).await.unwrap();
    let greeting = client.line().await.unwrap();
    assert!(greeting.contains("AUTH=PLAIN") && !greeting.contains("STARTTLS"), "{greeting}");
    reads_mail(&mut client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn starttls_encrypts_the_rest_and_only_then_passwords_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (served, connector) = served(folder.path());
    let mut plain = Client::new(served.connect(Transport::Plain, 1 << 16));
    let greeting = plain.line().await.unwrap();
    assert!(greeting.contains("STARTTLS LOGINDISABLED"), "{greeting}");
    plain.send(b"a LOGIN demo@example.org demo\r\n").await;
    let refused = plain.line().await.unwrap();
    assert!(refused.starts_with("a NO [PRIVACYREQUIRED]"), "{refused}");
    plain.ok("STARTTLS").await;
    let mut client = encrypted(&connector, plain.into_stream()).await.unwrap();
    let capabilities = client.ok("CAPABILITY").await.concat();
    assert!(capabilities.contains("AUTH=PLAIN"), "{capabilities}");
    assert!(!capabilities.contains("LOGINDISABLED"), "{capabilities}");
    client.send(b"b STARTTLS\r\n").await;
    assert!(client.line().await.unwrap().starts_with("b BAD"), "TLS is there already");
    reads_mail(&mut client).await;
}

/// CVE-2011-0411 and its many likes: what somebody on the way puts behind STARTTLS must not be
/// carried out as if it had come encrypted (RFC 9051 section 11.1).
#[tokio::test(flavor = "multi_thread")]
async fn plaintext_behind_starttls_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (served, connector) = served(folder.path());
    for injected in ["x LOGOUT\r\n", "x LOGIN {4+}\r\nab", "x NOOP"] {
        let mut plain = Client::new(served.connect(Transport::Plain, 1 << 16));
        plain.line().await.unwrap();
        plain.send(format!("t STARTTLS\r\n{injected}").as_bytes()).await;
        assert!(plain.line().await.unwrap().starts_with("t OK"));
        let mut client = encrypted(&connector, plain.into_stream()).await.unwrap();
        client.send(b"y NOOP\r\n").await;
        let first = client.line().await;
        assert!(first.as_deref().is_some_and(|line| line.starts_with("y OK")), "{first:?}");
        reads_mail(&mut client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_no_tls_is_told_nothing_on_its_port() {
    let folder = tempfile::tempdir().unwrap();
    let (served, _) = served(folder.path());
    let mut stream = served.connect(Transport::ImplicitTls, 1 << 16);
    stream.write_all(b"a LOGIN demo@example.org demo\r\n").await.unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    let text = String::from_utf8_lossy(&said);
    assert!(!text.contains("IMAP4rev1") && !text.contains("a OK"), "{text}");
    // An alert at most (RFC 8446 section 6): type 21, seven bytes.
    assert!(said.is_empty() || (said[0] == 21 && said.len() == 7), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_the_tls_port_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open_store(folder.path());
    let served = Served::new(store, Config::new(Limits::default(), "test".into(), None, false));
    let (mut stream, serving) = served.connect_watched(Transport::ImplicitTls, 1 << 16);
    let mut said = Vec::new();
    stream.read_to_end(&mut said).await.unwrap();
    assert_eq!(said, b"");
    serving.await.unwrap();
}
