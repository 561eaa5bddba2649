//! Connections of one account have a bound, UNAUTHENTICATE gives a place back (RFC 8437), and
//! guessing is slow across connections.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use imap::Transport;

use crate::secure::Secured;

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_so_many_connections_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let secured = Secured::new(folder.path(), None, |config| config);
    let login = "LOGIN demo@example.org demo";
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = secured.connect(None).await;
        client.ok(login).await;
        clients.push(client);
    }
    let mut late = secured.connect(None).await;
    late.send(format!("t {login}\r\n").as_bytes()).await;
    let answer = late.line().await.unwrap();
    assert_eq!(answer, "t NO [LIMIT] This account has too many connections");
    clients[0].ok("UNAUTHENTICATE").await;
    late.ok(login).await;
    clients[1].ok("LOGOUT").await;
    let mut gone = clients.remove(1);
    assert_eq!(gone.line().await, None);
    clients[0].ok(login).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_from_an_address_is_answered_later_than_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let delay = Duration::from_millis(60);
    let secured = Secured::new(folder.path(), None, |mut config| {
        config.limits.login_failure_delay = delay;
        config
    });
    let there = SocketAddr::from(([192, 0, 2, 7], 1));
    for failures in 1..=4 {
        let transport = Transport::ImplicitTls;
        let (stream, _) = secured.served.connect_from(there, transport, 1 << 16);
        let mut client = secured.encrypt(stream).await;
        client.line().await.unwrap();
        let begun = Instant::now();
        client.send(b"t LOGIN demo@example.org wrong\r\n").await;
        let answer = client.line().await.unwrap();
        assert_eq!(answer, "t NO [AUTHENTICATIONFAILED] The name or the password is wrong");
        assert!(begun.elapsed() >= delay * failures, "{:?}", begun.elapsed());
    }
}
