//! Connections of one account have a bound, and UNAUTHENTICATE gives a place back (RFC 8437).

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
