//! OAUTHBEARER and XOAUTH2 against an endpoint of the test's own (RFC 7628, RFC 7662).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::seal::Secret;
use imap::TokenOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::secure::Secured;

/// Knows one token, of demo@example.org.
async fn endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/introspect", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"hint=access_token") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let request = String::from_utf8(request).unwrap();
            let body = match request.contains("\r\n\r\ntoken=right&") {
                true => r#"{"active":true,"username":"demo@example.org"}"#,
                false => r#"{"active":false}"#,
            };
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

fn options(endpoint: String) -> TokenOptions {
    TokenOptions {
        endpoint,
        client_id: "pillarbox".into(),
        client_secret: Secret::new("secret".into()),
        account_claim: "username".into(),
        scope: String::new(),
        timeout: Duration::from_millis(500),
        cache_time: Duration::from_secs(60),
        tls: None,
    }
}

const DENIED: &str = "t NO [AUTHENTICATIONFAILED] The name or the password is wrong";

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_the_account_of_its_holder_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = endpoint().await;
    let secured =
        Secured::new(folder.path(), None, |config| config.with_tokens(options(endpoint)).unwrap());
    for (mechanism, message, is_right, why) in [
        ("OAUTHBEARER", "n,a=demo@example.org,|auth=Bearer right||", true, "by name"),
        ("OAUTHBEARER", "n,,|host=mail|port=993|auth=Bearer right||", true, "without a name"),
        ("OAUTHBEARER", "n,a=other@example.org,|auth=Bearer right||", false, "another's name"),
        ("OAUTHBEARER", "n,a=demo@example.org,|auth=Bearer wrong||", false, "another token"),
        ("XOAUTH2", "user=demo@example.org|auth=Bearer right||", true, "as Google does"),
        ("XOAUTH2", "user=demo@example.org|auth=Bearer wrong||", false, "another token"),
    ] {
        let mut client = secured.connect(None).await;
        let capabilities = client.ok("CAPABILITY").await.concat();
        assert!(capabilities.contains(" AUTH=OAUTHBEARER AUTH=XOAUTH2"), "{capabilities}");
        let message = STANDARD.encode(message.replace('|', "\u{1}"));
        client.send(format!("t AUTHENTICATE {mechanism} {message}\r\n").as_bytes()).await;
        let answer = client.line().await.unwrap();
        if is_right {
            assert!(answer.starts_with("t OK"), "{why}: {answer}");
            continue;
        }
        // RFC 7628 section 3.2.3: the error comes first, and is answered.
        let error = STANDARD.decode(answer.strip_prefix("+ ").unwrap()).unwrap();
        let error = String::from_utf8(error).unwrap();
        match mechanism {
            "XOAUTH2" => assert_eq!(error, r#"{"status":"401","schemes":"bearer"}"#),
            _ => assert_eq!(error, r#"{"status":"invalid_token"}"#),
        }
        client.send(b"AQ==\r\n").await;
        assert_eq!(client.line().await.unwrap(), DENIED, "{why}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_away_is_not_the_clients_fault() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| {
        config.with_tokens(options("http://127.0.0.1:1/".into())).unwrap()
    });
    let mut client = secured.connect(None).await;
    let message = STANDARD.encode("n,,\u{1}auth=Bearer right\u{1}\u{1}");
    client.send(format!("t AUTHENTICATE OAUTHBEARER {message}\r\n").as_bytes()).await;
    let answer = client.line().await.unwrap();
    assert_eq!(answer, "t NO [UNAVAILABLE] The token cannot be checked now; try again later");
}
