//! A primary whose disk fails: the other node takes over, and nothing is lost.

use crate::support::tool::wait_until;
use crate::{DEADLINE, Two, await_held, deliver, numbers, status};

#[test]
fn a_primary_whose_disk_fails_hands_over_and_follows_when_it_is_mended() {
    let mut two = Two::joined("");
    two.first.stop();
    two.first.start_for_a_bad_disk();
    two.await_there();
    let Two { first, .. } = &mut two;
    await_held(first);
    for expected in ["takes no more writes", "disk of this node failed", "was made primary"] {
        first.announce_error(expected);
    }
    // What a node writes that cannot write, it says as an error.
    first.announce_error("ERROR");
    assert!(deliver(first, 4));
    first.fail_disk();
    assert!(!deliver(first, 5), "it was not written");
    let Two { first, second, .. } = &mut two;
    wait_until("the other node takes over", DEADLINE, || {
        (status(second)?["volumes"][0]["role"] == "primary").then_some(())
    });
    wait_until("the other node takes mail", DEADLINE, || deliver(second, 6).then_some(()));
    first.kill9();
    first.start();
    two.await_second();
    let Two { first, second, .. } = &mut two;
    assert!(deliver(first, 7));
    let [mut here, mut there] = [&*first, &*second].map(|site| site.imap());
    here.select("INBOX").unwrap();
    there.select("INBOX").unwrap();
    assert_eq!(numbers(&mut here), numbers(&mut there));
    let shown: Vec<usize> = numbers(&mut here).into_iter().map(|(_, number)| number).collect();
    assert_eq!(shown, [1, 2, 3, 4, 6, 7], "what was accepted, once");
}
