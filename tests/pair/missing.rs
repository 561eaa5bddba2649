//! What a promotion says to be missing.

use super::{DEADLINE, Two, status};
use crate::support::tool::wait_until;

#[test]
fn a_promotion_says_what_may_be_missing() {
    let mut two = Two::joined("");
    let Two { first, second, .. } = &mut two;
    first.kill9();
    wait_until("the second node notices", DEADLINE, || {
        (status(second)?["is_connected"] == false).then_some(())
    });
    let promoted = second.pillarbox(&["replica", "promote"]).well("promote");
    assert!(promoted.stdout.contains("was last heard of "), "{}", promoted.stdout);
    assert!(promoted.stdout.contains("nothing is missing here"), "{}", promoted.stdout);
}

#[test]
fn a_node_that_never_heard_of_the_other_one_claims_nothing() {
    let mut two = Two::joined("");
    two.first.stop();
    two.second.stop();
    two.second.start();
    let promoted = two.second.pillarbox(&["replica", "promote"]).well("promote");
    assert!(promoted.stdout.contains("is not known"), "{}", promoted.stdout);
}
