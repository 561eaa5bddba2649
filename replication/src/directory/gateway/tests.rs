//! Answers as Debian's etcd 3.4 gives them (`fuzz/corpus/etcd_answer`), and what is none.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;

const KEY: &str = "pillarbox/house/main/primary";
const OTHER: &str = "pillarbox/house/main/lease";

fn lease_id() -> LeaseId {
    LeaseId::new(7_587_848_390_000_000_001).unwrap()
}

/// A committed answer.
fn answer(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/etcd_answer");
    fs::read(folder.join(name)).unwrap()
}

fn row(lease: Option<LeaseId>) -> Row {
    Row { key: KEY.as_bytes().to_vec(), value: b"x".to_vec(), changed: Revision(2), lease }
}

#[test]
fn answers_are_read_as_etcd_gives_them() {
    assert_eq!(read_range(&answer("range_none"), KEY), Ok(None));
    assert_eq!(read_range(&answer("range_one"), KEY), Ok(Some(row(Some(lease_id())))));
    let reads = [Action::Read(KEY), Action::Read(OTHER)];
    let failed =
        Transacted { held: false, revision: Revision(3), found: vec![Some(row(None)), None] };
    assert_eq!(read_txn(&answer("txn_failed"), &[], &reads), Ok(failed));
    let write = [Action::Write { key: KEY, value: b"x", lease: None }, Action::Remove(OTHER)];
    let done = Transacted { held: true, revision: Revision(3), found: Vec::new() };
    assert_eq!(read_txn(&answer("txn_done"), &write, &reads), Ok(done));
    let grant = Grant { lease: lease_id(), seconds: 60, term: Term(2) };
    assert_eq!(read_grant(&answer("grant")), Ok(grant));
    let renewal = |seconds| Ok(Ok(Renewal { seconds, term: Term(2) }));
    assert_eq!(read_renewal(&answer("renewal"), lease_id()), renewal(Some(60)));
    assert_eq!(read_renewal(&answer("renewal_unknown"), lease_id()), renewal(None));
    let refusal = Refusal { code: 14, words: "etcdserver: no leader".to_owned() };
    assert_eq!(read_renewal(&answer("renewal_error"), lease_id()), Ok(Err(refusal.clone())));
    assert_eq!(read_refusal(&answer("renewal_error")), Ok(refusal));
    let left = TimeLeft { seconds: Some(59), keys: vec![KEY.as_bytes().to_vec()] };
    assert_eq!(read_time_to_live(&answer("time_left"), lease_id()), Ok(left));
    let left = TimeLeft { seconds: None, keys: Vec::new() };
    assert_eq!(read_time_to_live(&answer("time_left_none"), lease_id()), Ok(left));
    assert_eq!(read_token(&answer("token")), Ok("xFBKqOTGTXdlcZAl.9".to_owned()));
    let words = "etcdserver: requested lease not found".to_owned();
    assert_eq!(read_refusal(&answer("refusal")), Ok(Refusal { code: 5, words }));
}

#[test]
fn an_answer_to_something_else_is_none() {
    let reads = [Action::Read(KEY), Action::Read(OTHER)];
    let swapped = [Action::Read(OTHER), Action::Read(KEY)];
    let one = [Action::Read(KEY)];
    let other = LeaseId::new(1).unwrap();
    let table = [
        (read_range(b"{}", KEY).is_err(), "no header: not \"it is not there\""),
        (read_range(&answer("range_one"), OTHER).is_err(), "another key"),
        (read_txn(b"{}", &[], &[]).is_err(), "no header"),
        (read_txn(&answer("txn_failed"), &[], &one).is_err(), "a row too much"),
        (read_txn(&answer("txn_done"), &one, &reads).is_err(), "a row too few"),
        (read_txn(&answer("txn_failed"), &[], &swapped).is_err(), "rows in another order"),
        (read_grant(&answer("time_left_none")).is_err(), "no time"),
        (read_renewal(&answer("renewal"), other).is_err(), "another lease"),
        (read_renewal(b"{}", other).is_err(), "neither result nor error"),
        (read_renewal(b"", other).is_err(), "nothing"),
        (read_time_to_live(&answer("time_left"), other).is_err(), "another lease"),
        (read_token(br#"{"token":""}"#).is_err(), "an empty token"),
        (read_token(b"{\"token\":\"a\\r\\nX: y\"}").is_err(), "a token with a line end"),
        (read_refusal(b"<html>").is_err(), "a page"),
    ];
    for (is_refused, reason) in table {
        assert!(is_refused, "{reason}");
    }
}

#[test]
fn requests_are_written_as_etcd_reads_them() {
    let compare = [Compare { key: "k", changed: Revision(7) }];
    let write = [
        Action::Write { key: "k", value: &[0xFF], lease: LeaseId::new(i64::MAX) },
        Action::Remove("l"),
    ];
    let expected = json!({
        "compare": [{ "key": "aw==", "target": "MOD", "result": "EQUAL", "mod_revision": "7" }],
        "success": [
            { "request_put": { "key": "aw==", "value": "/w==", "lease": "9223372036854775807" } },
            { "request_delete_range": { "key": "bA==" } },
        ],
        "failure": [{ "request_range": { "key": "aw==" } }],
    });
    assert_eq!(txn(&compare, &write, &[Action::Read("k")]), expected);
}

proptest! {
    /// Numbers come as texts from the gateway, as numbers from others, or not at all if zero.
    #[test]
    fn numbers_are_read_either_way(revision in 0..i64::MAX, raft_term: u64) {
        let text = json!({ "header": {
            "revision": revision.to_string(), "raft_term": raft_term.to_string() } });
        let plain = json!({ "header": { "revision": revision, "raft_term": raft_term } });
        for answer in [text, plain] {
            let found = read_put(answer.to_string().as_bytes());
            prop_assert_eq!(found, Ok(Revision(revision)));
        }
    }
}
