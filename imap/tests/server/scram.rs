//! SCRAM-SHA-256 and -PLUS over real TLS: whoever stands in between does not get through
//! (RFC 5802, 7677, 9266).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::DuplexStream;
use tokio_rustls::client::TlsStream;

use crate::secure::Secured;
use crate::support::Client;

type Encrypted = Client<TlsStream<DuplexStream>>;

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    use aws_lc_rs::hmac;
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec()
}

fn field<'a>(message: &'a str, name: &str) -> &'a str {
    message.split(',').find_map(|field| field.strip_prefix(name)).unwrap()
}

/// The proof of a password, and what the server must sign (RFC 5802 section 3).
fn proof(password: &str, server_first: &str, auth_message: &str) -> (String, String) {
    use aws_lc_rs::{digest, pbkdf2};
    let salt = STANDARD.decode(field(server_first, "s=")).unwrap();
    let iterations = field(server_first, "i=").parse().unwrap();
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
    let client_key = hmac(&salted, b"Client Key");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let signature = hmac(stored_key.as_ref(), auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server = hmac(&hmac(&salted, b"Server Key"), auth_message.as_bytes());
    (STANDARD.encode(proof), STANDARD.encode(server))
}

async fn challenge(client: &mut Encrypted) -> String {
    let line = client.line().await.unwrap();
    let challenge = line.strip_prefix("+ ").unwrap_or_else(|| panic!("no challenge: {line}"));
    String::from_utf8(STANDARD.decode(challenge).unwrap()).unwrap()
}

/// A whole exchange; the tagged answer.
async fn scram(
    client: &mut Encrypted,
    mechanism: &str,
    header: &str,
    binding: &[u8],
    (name, password): (&str, &str),
) -> String {
    let bare = format!("n={name},r=fyko+d2lbbFgONRv9qkxdawL");
    let first = STANDARD.encode(format!("{header}{bare}"));
    client.send(format!("t AUTHENTICATE {mechanism} {first}\r\n").as_bytes()).await;
    let server_first = challenge(client).await;
    let nonce = field(&server_first, "r=");
    let binding = STANDARD.encode([header.as_bytes(), binding].concat());
    let unproven = format!("c={binding},r={nonce}");
    let (proof, signature) =
        proof(password, &server_first, &format!("{bare},{server_first},{unproven}"));
    let last = STANDARD.encode(format!("{unproven},p={proof}"));
    client.send(format!("{last}\r\n").as_bytes()).await;
    let answer = client.line().await.unwrap();
    let Some(signed) = answer.strip_prefix("+ ") else { return answer };
    let signed = String::from_utf8(STANDARD.decode(signed).unwrap()).unwrap();
    assert_eq!(signed, format!("v={signature}"), "the server proves that it knows the password");
    client.send(b"\r\n").await;
    client.line().await.unwrap()
}

fn exporter(client: &Encrypted) -> [u8; 32] {
    let (_, connection) = client.stream().get_ref();
    let label = b"EXPORTER-Channel-Binding";
    connection.export_keying_material([0; 32], label, Some(b"")).unwrap()
}

const DEMO: (&str, &str) = ("Demo@Example.org", "demo");
const DENIED: &str = "t NO [AUTHENTICATIONFAILED] The name or the password is wrong";

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_is_bound_to_its_own_connection_is_taken_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| config);
    let plus = "SCRAM-SHA-256-PLUS";
    let mut client = secured.connect(None).await;
    let capabilities = client.ok("CAPABILITY").await.concat();
    assert!(capabilities.contains("AUTH=SCRAM-SHA-256-PLUS AUTH=SCRAM-SHA-256 AUTH=PLAIN"));
    // As if somebody passed on what was proved on a connection to them.
    let other = exporter(&secured.connect(None).await);
    let passed_on = scram(&mut client, plus, "p=tls-exporter,,", &other, DEMO).await;
    assert_eq!(passed_on, DENIED);
    let wrong = ("demo@example.org", "Demo");
    let own = exporter(&client);
    assert_eq!(scram(&mut client, plus, "p=tls-exporter,,", &own, wrong).await, DENIED);
    let answer = scram(&mut client, plus, "p=tls-exporter,,", &own, DEMO).await;
    assert!(answer.starts_with("t OK [CAPABILITY IMAP4rev1 "), "{answer}");
    client.ok("SELECT INBOX").await;

    let mut client = secured.connect(None).await;
    let answer = scram(&mut client, "SCRAM-SHA-256", "n,,", b"", DEMO).await;
    assert!(answer.starts_with("t OK"), "{answer}");
}

/// Whoever strikes -PLUS out of the capabilities is found out (RFC 5802 section 6).
#[tokio::test(flavor = "multi_thread")]
async fn a_downgrade_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| config);
    let mut client = secured.connect(None).await;
    let first = STANDARD.encode("y,,n=demo@example.org,r=abc");
    client.send(format!("t AUTHENTICATE SCRAM-SHA-256 {first}\r\n").as_bytes()).await;
    let answer = client.line().await.unwrap();
    assert_eq!(answer, "t BAD This server does support channel binding");

    // TLS 1.2 has no binding that is safe without more, so -PLUS is not offered, and `y` is true.
    let mut client = secured.connect_by_1_2().await;
    assert!(!client.ok("CAPABILITY").await.concat().contains("-PLUS"));
    let answer = scram(&mut client, "SCRAM-SHA-256", "y,,", b"", DEMO).await;
    assert!(answer.starts_with("t OK"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_without_an_account_looks_like_one_with_a_wrong_password() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| config);
    let mut salts = Vec::new();
    for name in ["nobody@example.org", "NOBODY@example.org", "no.address"] {
        let mut client = secured.connect(None).await;
        let first = STANDARD.encode(format!("n,,n={name},r=abc"));
        client.send(format!("t AUTHENTICATE SCRAM-SHA-256 {first}\r\n").as_bytes()).await;
        let server_first = challenge(&mut client).await;
        assert_eq!(field(&server_first, "i="), "20000");
        salts.push(field(&server_first, "s=").to_owned());
        client.send(b"*\r\n").await;
        assert_eq!(client.line().await.unwrap(), "t BAD Cancelled");
        let denied = scram(&mut client, "SCRAM-SHA-256", "n,,", b"", (name, "demo")).await;
        assert_eq!(denied, DENIED);
    }
    assert_eq!(salts[0], salts[1], "the same name, the same salt");
    assert_ne!(salts[0], salts[2]);
}
