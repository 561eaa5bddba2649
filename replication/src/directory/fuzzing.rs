//! The parsers of etcd's answers, and of what stands there, for `crate::fuzzing`.

use super::gateway::{self, Action, LeaseId, Unintelligible};
use super::standing::{STANDING_BYTES_MAX, Standing};

/// What stands in etcd of a volume.
pub(crate) fn standing(bytes: &[u8]) {
    if let Ok(standing) = Standing::decode(bytes) {
        let written = standing.encode();
        assert!(written.len() <= STANDING_BYTES_MAX);
        assert_eq!(Standing::decode(&written), Ok(standing));
    }
}

/// An answer of the gateway, taken for each that there is.
pub(crate) fn answer(bytes: &[u8]) {
    const KEY: &str = "pillarbox/house/main/primary";
    let lease = LeaseId::new(7_587_848_390_000_000_001).expect("it is positive");
    if let Ok(Some(row)) = gateway::read_range(bytes, KEY) {
        assert_eq!(row.key, KEY.as_bytes());
    }
    let reads = [Action::Read(KEY), Action::Read(KEY)];
    if let Ok(transacted) = gateway::read_txn(bytes, &[], &reads) {
        assert_eq!(transacted.found.len(), if transacted.held { 0 } else { 2 });
    }
    if let Ok(grant) = gateway::read_grant(bytes) {
        assert!(grant.lease.number() > 0 && grant.seconds > 0);
    }
    if let Ok(Ok(renewal)) = gateway::read_renewal(bytes, lease) {
        assert!(renewal.seconds.is_none_or(|seconds| seconds > 0));
    }
    if let Ok(token) = gateway::read_token(bytes) {
        assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(refusal) = gateway::read_refusal(bytes) {
        assert!(!refusal.words.chars().any(char::is_control));
    }
    let left = gateway::read_time_to_live(bytes, lease);
    let done = gateway::read_done(bytes);
    let put = gateway::read_put(bytes);
    for Unintelligible(why) in [left.err(), done.err(), put.err()].into_iter().flatten() {
        assert!(why.len() <= 256 + bytes.len());
    }
}
