//! Token introspection against an endpoint of the test's own.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;

fn options(endpoint: String) -> TokenOptions {
    TokenOptions {
        endpoint,
        client_id: "mail store".into(),
        client_secret: Secret::new("s&cret".into()),
        account_claim: "email".into(),
        scope: "mail".into(),
        timeout: Duration::from_millis(500),
        cache_time: Duration::from_secs(60),
        tls: None,
    }
}

/// Answers every question with these bytes, after a look at the first one; counts them.
async fn endpoint_that_says(answer: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/introspect", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"hint=access_token") {
                assert!(stream.read_buf(&mut request).await.unwrap() > 0);
            }
            let request = String::from_utf8(request).unwrap();
            assert!(request.starts_with("POST /introspect HTTP/1.1\r\nHost: 127.0.0.1:"));
            // "mail%20store:s%26cret" in base64.
            assert!(request.contains("Authorization: Basic bWFpbCUyMHN0b3JlOnMlMjZjcmV0\r\n"));
            assert!(request.contains("\r\n\r\ntoken=a%2Bb&"), "{request}");
            counted.fetch_add(1, Ordering::Relaxed);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, count)
}

fn json(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn holder(answer: &str) -> Result<Option<String>, &'static str> {
    let (address, _) = endpoint_that_says(answer.to_owned()).await;
    let tokens = Introspection::new(options(address)).unwrap();
    tokens.holder(&Secret::new("a+b".into())).await.map_err(|NoAnswer| "no answer")
}

#[tokio::test]
async fn only_a_valid_token_has_a_holder() {
    let demo = Ok(Some("demo@example.org".to_owned()));
    let far = u64::from(u32::MAX);
    for (body, expected, why) in [
        (r#"{"active":true,"scope":"a mail","email":"demo@example.org"}"#, demo.clone(), "valid"),
        (r#"{"active":false}"#, Ok(None), "not active"),
        (r#"{"scope":"mail","email":"demo@example.org"}"#, Ok(None), "active is missing"),
        (r#"{"active":"true","scope":"mail","email":"demo@example.org"}"#, Ok(None), "a string"),
        (r#"{"active":true,"scope":"mails","email":"demo@example.org"}"#, Ok(None), "its scope"),
        (r#"{"active":true,"scope":"mail","username":"demo@example.org"}"#, Ok(None), "its claim"),
        (r#"{"active":true,"scope":"mail","email":"demo@example.org","exp":1}"#, Ok(None), "over"),
        ("no JSON", Err("no answer"), "an endpoint that is broken"),
    ] {
        assert_eq!(holder(&json(body)).await, expected, "{why}");
    }
    let body =
        format!(r#"{{"active":true,"scope":"mail","email":"demo@example.org","exp":{far}}}"#);
    assert_eq!(holder(&json(&body)).await, demo, "valid for years");
    assert_eq!(holder("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").await, Err("no answer"));
    let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(ANSWER_BYTES_MAX));
    assert_eq!(holder(&endless).await, Err("no answer"));
}

#[tokio::test]
async fn a_positive_answer_is_kept_for_as_long_as_configured_and_a_negative_one_is_not() {
    let good = json(r#"{"active":true,"scope":"mail","email":"demo@example.org"}"#);
    let bad = json(r#"{"active":false}"#);
    let token = Secret::new("a+b".into());
    for (answer, cache_ms, questions) in [(&good, 60_000, 1), (&good, 0, 3), (&bad, 60_000, 3)] {
        let (address, count) = endpoint_that_says(answer.clone()).await;
        let mut options = options(address);
        options.cache_time = Duration::from_millis(cache_ms);
        let tokens = Introspection::new(options).unwrap();
        for _ in 0..3 {
            assert!(tokens.holder(&token).await.is_ok());
        }
        assert_eq!(count.load(Ordering::Relaxed), questions, "{answer} kept {cache_ms} ms");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_silent_or_not_there_is_no_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let tokens = Introspection::new(options(address.clone())).unwrap();
    let token = Secret::new("a+b".into());
    assert!(tokens.holder(&token).await.is_err(), "the timeout");
    drop(listener);
    assert!(tokens.holder(&token).await.is_err(), "nobody listens");
}

#[test]
fn a_token_does_not_cross_the_network_unencrypted() {
    let parsed = |address: &str| {
        endpoint(address).map(|endpoint| (endpoint.host, endpoint.port, endpoint.path))
    };
    for (address, host, port, path) in [
        ("https://id.example.org/a?b", "id.example.org", 443, "/a?b"),
        ("https://id.example.org:8443", "id.example.org", 8443, "/"),
        ("http://127.0.0.1:80/x", "127.0.0.1", 80, "/x"),
        ("http://[::1]/x", "::1", 80, "/x"),
    ] {
        assert_eq!(parsed(address), Ok((host.to_owned(), port, path.to_owned())));
    }
    for address in ["http://id.example.org/", "http://127.0.0.1.example.org/"] {
        assert_eq!(parsed(address), Err(TokenOptionsError::Unencrypted), "{address}");
    }
    for address in ["", "id.example.org", "https://", "https://a b/", "https://u@h/", "https://h:x"]
    {
        assert_eq!(parsed(address), Err(TokenOptionsError::NoAddress), "{address}");
    }
}
