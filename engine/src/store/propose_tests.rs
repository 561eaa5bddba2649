//! Proposals where a volume has not been upgraded yet.

use parking_lot::Mutex;

use super::*;
use crate::ids::RequestId;
use crate::seal::{Argon2Cost, Secret};
use crate::ticket::ticket;

#[test]
fn a_volume_of_an_older_level_takes_no_proposals_until_it_is_raised() {
    let folder = tempfile::tempdir().unwrap();
    let (directory, key) = (folder.path().join("data"), folder.path().join("key"));
    let key = || KeySource::KeyFile(key.clone());
    Store::init(&directory, &InitOptions { key: key() }).unwrap();
    let mut options = OpenOptions::new(key());
    options.password_cost = Argon2Cost::CHEAP;
    options.reserve_bytes = 0;
    let store = Store::open(&directory, options).unwrap().0;
    store.add_domain("example.org").unwrap();
    let name = "anna@example.org".to_owned();
    let password = Secret::new("x".into());
    let account = store.create_account(NewAccount { name, password, quota_bytes: None }).unwrap();
    let propose = |store: &Store, id: u8| {
        let (promise, answer) = ticket();
        let name = "Elsewhere".to_owned();
        let change = Change::Subscribe { account, name, subscribed: true, promise };
        let (bytes, reply) = change.into_proposal().ok().unwrap();
        let reply = Mutex::new(Some(reply));
        let done = move |outcome: ProposalOutcome| {
            reply.lock().take().unwrap().answer(&outcome.bytes);
        };
        store.propose(RequestId([id; 16]), &bytes, done).unwrap();
        answer.wait()
    };
    store.inner.committed.set_format_level(crate::format_level::PROPOSALS - 1);
    // The committer hears of it with the next change.
    store.add_domain("example.net").unwrap();
    let refused = propose(&store, 1).unwrap_err().to_string();
    assert!(refused.contains("pillarbox upgrade finish"), "{refused}");
    assert!(store.outcome_of(RequestId([1; 16])).is_none());
    store.finish_upgrade().unwrap();
    propose(&store, 1).unwrap();
    assert!(store.outcome_of(RequestId([1; 16])).is_some());
    store.close();
}
