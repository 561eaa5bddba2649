//! Passwords and certificates: the right ones, the wrong ones, and none.

use std::time::Duration;

use engine::seal::Secret;
use replication::directory::client::Client;
use replication::directory::error::{EtcdError, Why};
use replication::directory::options::{EtcdOptions, OptionsError};

use crate::certificates::Authority;
use crate::impostor::{self, Manner};
use crate::server::Cluster;
use crate::{options, status, timed};

fn with_login(cluster: &Cluster, login: Option<(&str, &str)>) -> Client {
    let login = login.map(|(name, password)| (name.to_owned(), Secret::new(password.to_owned())));
    Client::new(EtcdOptions { login, ..options(&cluster.urls()) }).unwrap()
}

#[test]
fn a_password_is_asked_for_and_a_forgotten_token_is_renewed() {
    let mut cluster = Cluster::start(1);
    let root = Some(("root", "right"));
    let early = with_login(&cluster, root).range("key").unwrap_err();
    let EtcdError::Refused { words, .. } = early else { panic!("{early}") };
    assert_eq!(words, "etcdserver: authentication is not enabled");

    status::demand_passwords(cluster.urls()[0], "right");
    let refused = [
        (None, 3, "etcdserver: user name is empty"),
        (Some(("root", "wrong")), 3, "authentication failed, invalid user ID or password"),
        (Some(("nobody", "right")), 3, "authentication failed, invalid user ID or password"),
    ];
    for (login, expected, said) in refused {
        let error = with_login(&cluster, login).range("key").unwrap_err();
        let EtcdError::Refused { code, words, .. } = &error else { panic!("{login:?}: {error}") };
        assert!((*code, words.contains(said)) == (expected, true), "{login:?}: {error}");
        assert!(!error.to_string().contains("wrong"), "no password is told");
    }
    let client = with_login(&cluster, root);
    client.put("key", b"value", None).unwrap();
    for _ in 0..3 {
        // A server that was restarted knows no token any more.
        cluster.members[0].kill();
        cluster.members[0].start();
        cluster.members[0].answers(&client);
        assert_eq!(client.range("key").unwrap().unwrap().value, b"value");
    }
}

#[test]
fn etcd_shows_a_certificate_that_is_known_here() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let mut cluster = Cluster::prepare(1, "https", |folder| ours.arguments(folder.path()));
    cluster.members[0].start();
    let options = |pem: Option<&str>| EtcdOptions {
        authorities_pem: pem.map(|pem| pem.as_bytes().to_vec()),
        ..options(&cluster.urls())
    };
    let client = Client::new(options(Some(&ours.pem))).unwrap();
    let none = Client::new(options(None)).err();
    assert_eq!(none, Some(OptionsError::Authority(cluster.urls()[0].to_owned())));
    let stranger = Client::new(options(Some(&other.pem))).unwrap();
    let both = Client::new(options(Some(&format!("{}{}", other.pem, ours.pem)))).unwrap();
    let named = cluster.urls()[0].replace("127.0.0.1", "localhost");
    let named = EtcdOptions { endpoints: vec![named], ..options(Some(&ours.pem)) };
    let named = Client::new(named).unwrap();

    cluster.members[0].answers(&client);
    client.put("key", b"value", None).unwrap();
    both.put("key", b"value", None).unwrap();
    for (client, said) in [(stranger, "UnknownIssuer"), (named, "not valid for name")] {
        let error = client.range("key").unwrap_err();
        let EtcdError::Unreachable(attempts) = &error else { panic!("{error}") };
        let Why::Connection(words) = &attempts[0].why else { panic!("{error}") };
        assert!(words.contains(said), "{words}");
    }
}

#[test]
fn etcd_asks_for_our_certificate() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let mut cluster = Cluster::prepare(1, "https", |folder| ours.arguments_to_ask(folder.path()));
    cluster.members[0].start();
    let client = |certificate: Option<(String, String)>| {
        let certificate = certificate.map(|(pem, key)| (pem.into_bytes(), Secret::new(key)));
        let options = EtcdOptions {
            authorities_pem: Some(ours.pem.clone().into_bytes()),
            certificate_pem: certificate,
            ..options(&cluster.urls())
        };
        Client::new(options).unwrap()
    };
    let (known, stranger) = (client(Some(ours.sign("node"))), client(Some(other.sign("node"))));
    let nobody = client(None);
    cluster.members[0].answers(&known);
    known.put("key", b"value", None).unwrap();
    for client in [stranger, nobody] {
        let error = client.range("key").unwrap_err();
        assert!(matches!(error, EtcdError::Unreachable(_)), "{error}");
        println!("{error}");
    }
}

#[test]
fn who_accepts_and_does_not_shake_hands_is_given_up() {
    let silent = impostor::start(Manner::Silent).replace("http:", "https:");
    let options = EtcdOptions {
        authorities_pem: Some(Authority::new("ours").pem.into_bytes()),
        connect_timeout: Duration::from_millis(300),
        ..options(&[&silent])
    };
    let client = Client::new(options).unwrap();
    let (outcome, waited) = timed(|| client.range("key"));
    let error = outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no endpoint of etcd answered: {silent}: no connection in time")
    );
    assert!(waited < Duration::from_secs(3), "{waited:?}");
}
