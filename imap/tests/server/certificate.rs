//! EXTERNAL (RFC 4422 appendix A): a client's certificate logs it in, if a configured CA signed it.

use crate::secure::{Authority, Secured};

const DENIED: &str = "t NO [AUTHENTICATIONFAILED] The name or the password is wrong";
const CANNOT: &str = "t NO [CANNOT] That mechanism is not offered here";

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_opens_the_account_that_it_names_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let secured = Secured::new(folder.path(), Some(&authority), |config| config);
    // "demo@example.org" and "other@example.org" in base64.
    let (demo, other) = ("ZGVtb0BleGFtcGxlLm9yZw==", "b3RoZXJAZXhhbXBsZS5vcmc=");
    for (addresses, response, expected, why) in [
        (&["demo@example.org"][..], "=", "t OK", "whoever the certificate names"),
        (&["demo@example.org"], demo, "t OK", "by name"),
        (&["x@example.net", "DEMO@example.org"], "=", "t OK", "the second has an account"),
        (&["demo@example.org"], other, DENIED, "somebody else"),
        (&["nobody@example.org"], "=", DENIED, "no account"),
        (&["nobody@example.org"], demo, DENIED, "not its account"),
        (&[], "=", CANNOT, "a certificate without a name"),
    ] {
        let mut client = secured.connect(Some(authority.identity(addresses))).await;
        let capabilities = client.ok("CAPABILITY").await.concat();
        assert_eq!(capabilities.contains("AUTH=EXTERNAL"), !addresses.is_empty(), "{why}");
        client.send(format!("t AUTHENTICATE EXTERNAL {response}\r\n").as_bytes()).await;
        let answer = client.line().await.unwrap();
        assert!(answer.starts_with(expected), "{why}: {answer}");
    }
    let mut client = secured.connect(None).await;
    assert!(!client.ok("CAPABILITY").await.concat().contains("AUTH=EXTERNAL"));
    client.send(b"t AUTHENTICATE EXTERNAL =\r\n").await;
    assert_eq!(client.line().await.unwrap(), CANNOT, "no certificate");
}

/// With TLS 1.3 the client learns of its certificate's refusal after its own side of the handshake.
#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "called `Option::unwrap()` on a `None` value")]
async fn a_certificate_of_another_authority_ends_the_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), Some(&Authority::new()), |config| config);
    secured.connect(Some(Authority::new().identity(&["demo@example.org"]))).await;
}
