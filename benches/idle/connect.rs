//! Opens many TLS connections to an IMAP server, logs in on each, and leaves them in IDLE.
//!
//! Question: what does a connection cost that does nothing? Dataset: one account, an INBOX of few
//! messages. Unit: one line `open <count>` when all are there; then it waits for its standard input
//! to end while whoever started it reads the server's memory. `benches/idle/run.py` does.
//!
//! Logins are SCRAM where the server offers it: one hash for all of them, where PLAIN costs the
//! server tens of milliseconds each, by intent.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a load generator stops at the first surprise, and its figures are small"
)]

use std::io::Read;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Handshakes and logins at a time.
const AT_ONCE: usize = 32;

type Connection = TlsStream<TcpStream>;

/// Trusts everybody: the server is ours, on this machine.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, count, user, password, commands @ ..] = arguments.as_slice() else {
        eprintln!("usage: idle-load host:port count user password command…");
        std::process::exit(2);
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut opening = Vec::new();
    for _ in 0..count.parse().unwrap() {
        let (connector, places, address) = (connector.clone(), places.clone(), address.clone());
        let (user, password, said) = (user.clone(), password.clone(), commands.to_vec());
        opening.push(tokio::spawn(async move {
            let _place = places.acquire().await.unwrap();
            let mut connection = open(&connector, &address).await;
            log_in(&mut connection, &user, &password).await;
            for command in &said {
                carry_out(&mut connection, command).await;
            }
            connection.into_inner()
        }));
    }
    let mut open = Vec::new();
    for connection in opening {
        open.push(connection.await.unwrap());
    }
    println!("open {}", open.len());
    // Until whoever started this has seen enough.
    let _ = std::io::stdin().read(&mut [0]);
}

async fn open(connector: &TlsConnector, address: &str) -> BufReader<Connection> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = BufReader::new(connector.connect(name, stream).await.unwrap());
    let greeting = line(&mut stream).await;
    assert!(greeting.starts_with("* OK"), "{greeting}");
    stream
}

async fn line(stream: &mut BufReader<Connection>) -> String {
    let mut line = String::new();
    assert!(stream.read_line(&mut line).await.unwrap() > 0, "the server hung up");
    line.trim_end().to_owned()
}

async fn send(stream: &mut BufReader<Connection>, text: &str) {
    stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
}

/// Sends a command and reads to its answer, or to a continuation.
async fn carry_out(stream: &mut BufReader<Connection>, command: &str) -> String {
    send(stream, &format!("t {command}")).await;
    loop {
        let answer = line(stream).await;
        if answer.starts_with("t OK") || answer.starts_with('+') {
            return answer;
        }
        assert!(answer.starts_with('*'), "{command}: {answer}");
    }
}

fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

async fn log_in(stream: &mut BufReader<Connection>, user: &str, password: &str) {
    let capabilities = carry_out_all(stream, "CAPABILITY").await;
    if !capabilities.contains("AUTH=SCRAM-SHA-256 ") {
        carry_out(stream, &format!("LOGIN {user} \"{password}\"")).await;
        return;
    }
    let first = format!("n={user},r=idle");
    let begin = format!("AUTHENTICATE SCRAM-SHA-256 {}", STANDARD.encode(format!("n,,{first}")));
    let challenge = carry_out(stream, &begin).await;
    let server_first = STANDARD.decode(challenge.strip_prefix("+ ").unwrap()).unwrap();
    let server_first = String::from_utf8(server_first).unwrap();
    let field = |name| server_first.split(',').find_map(|f| f.strip_prefix(name)).unwrap();
    // The salt is the account's, so one hash serves all connections.
    static CLIENT_KEY: OnceLock<Vec<u8>> = OnceLock::new();
    let client_key = CLIENT_KEY.get_or_init(|| {
        let salt = STANDARD.decode(field("s=")).unwrap();
        let count = field("i=").parse().unwrap();
        let mut salted = [0; 32];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, count, &salt, password.as_bytes(), &mut salted);
        mac(&salted, b"Client Key")
    });
    let unproven = format!("c=biws,r={}", field("r="));
    let stored_key = digest::digest(&digest::SHA256, client_key);
    let message = format!("{first},{server_first},{unproven}");
    let signature = mac(stored_key.as_ref(), message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let last = format!("{unproven},p={}", STANDARD.encode(proof));
    send(stream, &STANDARD.encode(last)).await;
    let signed = line(stream).await;
    assert!(signed.starts_with('+'), "{signed}");
    send(stream, "").await;
    let answer = line(stream).await;
    assert!(answer.starts_with("t OK"), "{answer}");
}

/// The untagged answers to a command.
async fn carry_out_all(stream: &mut BufReader<Connection>, command: &str) -> String {
    send(stream, &format!("t {command}")).await;
    let mut answers = String::new();
    loop {
        let answer = line(stream).await;
        if answer.starts_with("t ") {
            return answers;
        }
        answers += &answer;
    }
}
