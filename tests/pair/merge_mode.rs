//! A pair that asks nobody: the other node goes on by itself, and both are merged when they meet.

use std::collections::BTreeSet;

use crate::forwarder::Forwarder;
use crate::support::site::{Site, USER};
use crate::support::smtp::{Dialect, Smtp};
use crate::support::tool::wait_until;
use crate::{
    DEADLINE, Two, await_held, await_merged, deliver, invitation, join, numbers, status, text,
};

const MODE: &str = "merge_mode_seconds = 1\n";

/// Two nodes in merge mode, and the lines by which either reaches the other one.
fn pair() -> (Two, [Forwarder; 2]) {
    let (mut first, mut second) = (Site::new(), Site::empty());
    let own = [first.ports.next(), second.ports.next()];
    let seen = [first.ports.next(), second.ports.next()];
    let lines = [Forwarder::start(seen[0], own[0]), Forwarder::start(seen[1], own[1])];
    for (site, address) in [(&mut first, own[0]), (&mut second, own[1])] {
        site.configure(&format!("[pair]\nlisten = \"{address}\"\n{MODE}"));
        site.announce_error("was made primary");
    }
    first.start();
    (1..=3).for_each(|number| assert!(deliver(&first, number)));
    let token = invitation(&first, seen[0]);
    join(&second, &token, seen[1]).well("join");
    second.start();
    let two = Two { first, second, addresses: own };
    two.await_there();
    [&two.first, &two.second].into_iter().for_each(await_held);
    (two, lines)
}

fn await_primary(site: &Site) {
    wait_until("it goes on by itself", DEADLINE, || {
        (status(site)?["volumes"][0]["role"] == "primary").then_some(())
    });
}

/// Waits until a node would know after a restart that it had all.
fn await_mark(site: &Site) {
    wait_until("it is known that it had all", DEADLINE, || {
        site.data.join("pair/had-all").exists().then_some(())
    });
}

/// Delivers a message to a node that may refuse it, or be about to open its store again.
fn try_to_deliver(site: &Site, number: usize) -> Option<()> {
    let mut smtp = Smtp::connect(site.lmtp, Dialect::Lmtp).ok()?;
    let replies = smtp.deliver("s@example.net", &[USER], &text(number)).ok()?;
    replies[0].is_ok().then_some(())
}

/// Both show these messages, each once.
fn assert_both_show(two: &Two, expected: &[usize]) {
    let [mut here, mut there] = [&two.first, &two.second].map(Site::imap);
    here.select("INBOX").unwrap();
    there.select("INBOX").unwrap();
    wait_until("both show the same", DEADLINE, || {
        here.ok("NOOP").unwrap();
        there.ok("NOOP").unwrap();
        (numbers(&mut here) == numbers(&mut there)).then_some(())
    });
    let shown: Vec<usize> = numbers(&mut here).into_iter().map(|(_, number)| number).collect();
    let once: BTreeSet<usize> = shown.iter().copied().collect();
    assert_eq!(once, expected.iter().copied().collect());
    assert_eq!(once.len(), shown.len(), "nothing came twice: {shown:?}");
}

#[test]
fn b2_when_only_the_line_is_cut_both_take_mail_and_it_is_merged() {
    let (two, lines) = pair();
    let Two { first, second, .. } = &two;
    lines.iter().for_each(Forwarder::cut);
    await_primary(second);
    (10..15).for_each(|number| assert!(deliver(first, number)));
    wait_until("the second node takes mail", DEADLINE, || try_to_deliver(second, 20));
    (21..25).for_each(|number| assert!(deliver(second, number)));
    let human = first.pillarbox(&["replica", "status"]).well("status").stdout;
    assert!(human.contains("merge mode: the other node is away, and may take over"), "{human}");
    let mut imap = first.imap();
    imap.select("INBOX").unwrap();
    imap.ok("STORE 2 +FLAGS (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
    drop(imap);
    lines.iter().for_each(Forwarder::mend);
    await_merged(first);
    two.await_second();
    let all: Vec<usize> = [1, 3].into_iter().chain(10..15).chain(20..25).collect();
    assert_both_show(&two, &all);
    assert!(deliver(first, 30) && deliver(second, 31), "both take changes again");
}

#[test]
fn a_lost_primary_is_followed_by_itself_and_a_node_that_finds_nobody_goes_on_alone() {
    let (mut two, _lines) = pair();
    let Two { first, second, .. } = &mut two;
    await_mark(second);
    first.kill9();
    await_primary(second);
    wait_until("the second node takes mail", DEADLINE, || try_to_deliver(second, 10));
    first.start();
    await_merged(first);
    two.await_second();
    assert_both_show(&two, &[1, 2, 3, 10]);
    // The power fails in the house, and the primary of the two is back before the other one.
    let Two { first, second, .. } = &mut two;
    first.kill9();
    second.kill9();
    second.start();
    wait_until("it goes on alone", DEADLINE, || try_to_deliver(second, 11));
    second.await_log("goes on in an epoch of its own");
    first.start();
    two.await_second();
    assert_both_show(&two, &[1, 2, 3, 10, 11]);
    // And once more, and the follower is back first: it had all, and takes over.
    let Two { first, second, .. } = &mut two;
    await_mark(first);
    second.kill9();
    first.kill9();
    first.start();
    await_primary(first);
    wait_until("the first node takes mail", DEADLINE, || try_to_deliver(first, 12));
    second.start();
    await_merged(second);
    two.await_there();
    assert_both_show(&two, &[1, 2, 3, 10, 11, 12]);
}
