//! Two nodes of a pair as two processes on one machine: joining, following, dying, taking over.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

#[path = "../support/mod.rs"]
mod support;

mod bad_disk;
mod differ;
mod failover;
mod forwarder;
mod full_copy;
mod lag;
mod merge_mode;
mod missing;
mod proof;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::support::imap::Imap;
use crate::support::site::{PASSWORD, Site, USER, binary, text_of};
use crate::support::smtp::{Dialect, Smtp};
use crate::support::tool::{self, wait_until};

/// Whatever one node waits for of the other.
const DEADLINE: Duration = Duration::from_secs(60);

/// Both nodes, and where they meet.
struct Two {
    first: Site,
    second: Site,
    addresses: [SocketAddr; 2],
}

impl Two {
    /// A first node that runs, with mail, and a second one that has joined and runs.
    fn joined(acknowledge: &str) -> Two {
        let (mut first, mut second) = (Site::new(), Site::empty());
        let addresses = [first.ports.next(), second.ports.next()];
        let section = |listen| format!("[pair]\nlisten = \"{listen}\"\n{acknowledge}");
        first.configure(&section(addresses[0]));
        second.configure(&section(addresses[1]));
        first.start();
        (1..=3).for_each(|number| assert!(deliver(&first, number)));
        let token = invitation(&first, addresses[0]);
        join(&second, &token, addresses[1]).well("join");
        second.start();
        let two = Two { first, second, addresses };
        two.await_there();
        two
    }

    /// Waits until the second node has all that the first one has.
    fn await_there(&self) {
        wait_until("the second node catches up", DEADLINE, || {
            let status = status(&self.first)?;
            let volume = &status["volumes"][0];
            (volume["is_there"] == true && volume["last"] == volume["noted"]).then_some(())
        });
    }
}

impl Two {
    /// Waits until the first node has all that the second one has, which is primary now.
    fn await_second(&self) {
        wait_until("the first node catches up", DEADLINE, || {
            let status = status(&self.second)?;
            let volume = &status["volumes"][0];
            (volume["is_there"] == true && volume["last"] == volume["noted"]).then_some(())
        });
    }
}

/// What `replica invite` prints.
fn invitation(site: &Site, address: SocketAddr) -> String {
    let output = site.pillarbox(&["replica", "invite", "--address", &address.to_string()]);
    let output = output.well("invite").stdout;
    let token = output.split_whitespace().find(|word| word.starts_with("pillarbox-join-"));
    token.expect("there is a token").to_owned()
}

fn join(site: &Site, token: &str, address: SocketAddr) -> tool::Ended {
    let (data, key) = (text_of(&site.data), text_of(&site.key_file()));
    let address = address.to_string();
    let arguments =
        ["replica", "join", token, &data, "--new-key-file", &key, "--address", &address];
    binary(&arguments, &[], b"")
}

fn status(site: &Site) -> Option<Value> {
    let ended = site.pillarbox(&["replica", "status", "--json"]);
    serde_json::from_str(&ended.stdout).ok()
}

fn text(number: usize) -> Vec<u8> {
    format!("Subject: number {number}\r\n\r\nThis is message {number}.\r\n").into_bytes()
}

/// Delivers a message; answers whether it was accepted.
fn deliver(site: &Site, number: usize) -> bool {
    let replies = site.lmtp().deliver("s@example.net", &[USER], &text(number)).unwrap();
    replies[0].is_ok()
}

/// UID and number of each message.
fn numbers(imap: &mut Imap) -> Vec<(u32, usize)> {
    let mut all = Vec::new();
    for fetched in imap.fetch("1:*", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]").unwrap() {
        let text = String::from_utf8_lossy(fetched.body.as_ref().unwrap()).into_owned();
        let number = text.split_whitespace().find_map(|word| word.parse().ok());
        all.push((fetched.uid, number.expect("a message of this test")));
    }
    all
}

#[test]
fn a_second_node_joins_by_invitation_and_shows_the_same_mail_at_once() {
    let two = Two::joined("");
    let Two { first, second, addresses } = &two;
    let [mut here, mut there] = [first, second].map(|site| site.imap());
    let (selected, same) = (here.select("INBOX").unwrap(), there.select("INBOX").unwrap());
    assert_eq!(
        (selected.uid_validity, selected.uid_next, selected.highest_modseq),
        (same.uid_validity, same.uid_next, same.highest_modseq),
        "a client finds its cache good on either node"
    );
    assert_eq!(numbers(&mut here), numbers(&mut there));

    let tag = there.idle().unwrap();
    assert!(deliver(first, 4));
    there.wait_for(DEADLINE, |text| text.contains("4 EXISTS")).unwrap();
    there.done(&tag).unwrap();
    here.ok("STORE 2 +FLAGS (\\Flagged)").unwrap();
    wait_until("the flag arrives", DEADLINE, || {
        there.ok("NOOP").unwrap();
        (there.search("FLAGGED").unwrap().len() == 1).then_some(())
    });
    first.pillarbox(&["account", "add", "later@example.org"]).well("account add");
    two.await_there();
    Imap::login(second.imap, "later@example.org", PASSWORD).expect("accounts follow, too");

    // Changes are made on either node, and whoever made one sees it where it was made.
    let appended = there.append("INBOX", "", &text(5)).unwrap();
    assert_eq!(appended.status, "OK", "{}", appended.text);
    assert_eq!(numbers(&mut there).last().unwrap().1, 5);
    assert!(deliver(second, 6));
    there.ok("CREATE Later").unwrap();
    there.ok("UID MOVE 1:2 Later").unwrap();
    there.ok("STORE 1 +FLAGS (\\Deleted)").unwrap();
    there.ok("EXPUNGE").unwrap();
    here.ok("NOOP").unwrap();
    let left: Vec<usize> = numbers(&mut here).into_iter().map(|(_, number)| number).collect();
    assert_eq!(left, [4, 5, 6]);
    assert_eq!(numbers(&mut here), numbers(&mut there));
    let again = there.ok("STATUS Later (MESSAGES UIDVALIDITY)").unwrap().untagged[0].text();
    assert_eq!(here.ok("STATUS Later (MESSAGES UIDVALIDITY)").unwrap().untagged[0].text(), again);

    let token = invitation(first, addresses[0]);
    let third = Site::empty();
    let wrong =
        format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { "B" } else { "A" });
    let refused = join(&third, &wrong, addresses[1]);
    assert_eq!(refused.code, Some(2), "{}", refused.output());
    assert!(!third.data.exists(), "nothing was made");
    std::fs::create_dir(&third.data).unwrap();
    std::fs::write(third.data.join("other"), "").unwrap();
    let refused = join(&third, &token, addresses[1]);
    assert!(refused.output().contains("not empty"), "{}", refused.output());
}

/// Waits until a node could go back.
fn await_held(site: &Site) {
    wait_until("a checkpoint is held", DEADLINE, || {
        site.data.join("volumes/main/held/current").exists().then_some(())
    });
}

/// Waits until a node that was primary follows, and what it had alone is merged.
fn await_merged(site: &Site) {
    wait_until("it goes back, follows, and merges", DEADLINE, || {
        let volume = &status(site)?["volumes"][0];
        let is_done = volume["role"] == "follower" && volume["merged"].is_object();
        (is_done && volume["is_merging"] == false).then_some(())
    });
}

#[test]
fn what_each_node_took_alone_is_on_both_when_they_have_met() {
    let mut two = Two::joined("");
    let Two { first, second, .. } = &mut two;
    [&*first, &*second].into_iter().for_each(await_held);
    second.kill9();
    (10..15).for_each(|number| assert!(deliver(first, number)));
    let mut imap = first.imap();
    imap.select("INBOX").unwrap();
    imap.ok("STORE 1 +FLAGS (\\Flagged)").unwrap();
    imap.ok("STORE 2 +FLAGS (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
    imap.ok("CREATE \"Of the first\"").unwrap();
    imap.ok("UID COPY 1 \"Of the first\"").unwrap();
    imap.ok("UID MOVE 3 Archive").unwrap();
    drop(imap);
    first.kill9();
    second.start();
    second.pillarbox(&["replica", "promote"]).well("promote");
    (20..25).for_each(|number| assert!(deliver(second, number)));
    let mut imap = second.imap();
    imap.select("INBOX").unwrap();
    imap.ok("STORE 1 +FLAGS (\\Answered)").unwrap();
    imap.ok("CREATE \"Of the second\"").unwrap();
    drop(imap);
    first.announce_error("was made primary");
    first.start();
    await_merged(first);
    let [mut here, mut there] = [&*first, &*second].map(Site::imap);
    for (mailbox, expected) in [
        ("INBOX", [1].into_iter().chain(20..25).chain(10..15).collect::<Vec<usize>>()),
        ("Archive", vec![3]),
        ("Of the first", vec![1]),
        ("Of the second", vec![]),
    ] {
        here.select(mailbox).unwrap();
        there.select(mailbox).unwrap();
        let [one, other] = [numbers(&mut here), numbers(&mut there)];
        assert_eq!(one, other, "{mailbox}: the same UIDs on both");
        let found: Vec<usize> = one.into_iter().map(|(_, number)| number).collect();
        assert_eq!(found, expected, "{mailbox}");
    }
    here.select("INBOX").unwrap();
    assert_eq!(here.search("FLAGGED ANSWERED").unwrap().len(), 1, "flags of both sides");
    assert!(deliver(first, 30) && deliver(second, 31));
    let human = first.pillarbox(&["replica", "status"]).well("status").stdout;
    assert!(human.contains("merged: ") && human.contains("expunged 1"), "{human}");
    first.stop();
    second.stop();
    for site in [&*first, &*second] {
        site.pillarbox(&["check"]).well("check");
    }
}

#[test]
fn a_planned_hand_over_loses_nothing_and_each_node_can_ask_for_it() {
    // Each node tells a program of the operator's; both write into the same folder.
    let told = tempfile::tempdir().unwrap();
    let roles = told.path().join("roles");
    let script = format!("echo $PILLARBOX_ROLE $PILLARBOX_EPOCH >> {}", roles.display());
    let mut two = Two::joined(&format!("role_command = [\"sh\", \"-c\", \"{script}\"]\n"));
    let Two { first, second, .. } = &mut two;
    [&*first, &*second].into_iter().for_each(await_held);
    first.announce_error("was made primary");
    second.announce_error("was made primary");
    first.pillarbox(&["replica", "switch"]).well("switch");
    let role = |site: &Site| status(site).map(|status| status["volumes"][0]["role"].clone());
    wait_until("the first node follows", DEADLINE, || {
        (role(first)? == "follower" && role(second)? == "primary").then_some(())
    });
    two.await_second();
    wait_until("the roles are told", DEADLINE, || {
        let text = std::fs::read_to_string(&roles).ok()?;
        let told: BTreeSet<&str> = text.lines().collect();
        (told == ["follower 1", "follower 2", "primary 1", "primary 2"].into()).then_some(())
    });
    let Two { first, second, .. } = &mut two;
    assert!(deliver(first, 4) && deliver(second, 5));
    first.pillarbox(&["replica", "switch"]).well("switch, asked by the follower");
    wait_until("the second node follows", DEADLINE, || {
        (role(first)? == "primary" && role(second)? == "follower").then_some(())
    });
    two.await_there();
    let Two { first, second, .. } = &mut two;
    assert!(deliver(first, 6) && deliver(second, 7));
    let [mut here, mut there] = [&*first, &*second].map(Site::imap);
    here.select("INBOX").unwrap();
    there.select("INBOX").unwrap();
    let found: Vec<usize> = numbers(&mut here).into_iter().map(|(_, number)| number).collect();
    assert_eq!(found, [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(numbers(&mut here), numbers(&mut there));
    drop((here, there));
    second.kill9();
    wait_until("the first node notices", DEADLINE, || {
        (status(first)?["is_connected"] == false).then_some(())
    });
    let refused = first.pillarbox(&["replica", "switch"]);
    assert!(refused.output().contains("not connected"), "{}", refused.output());
    assert!(deliver(first, 8), "it goes on as before");
}

#[test]
fn in_durable_mode_mail_is_on_both_nodes_or_not_accepted_and_a_promoted_node_goes_on() {
    let mut two = Two::joined("acknowledge = \"durable\"\n");
    let Two { first, second, .. } = &mut two;
    await_held(first);
    second.kill9();
    wait_until("the first node notices", DEADLINE, || {
        (status(first)?["volumes"][0]["is_there"] == false).then_some(())
    });
    assert!(!deliver(first, 4), "it would be on one node alone");
    second.start();
    two.await_there();
    let Two { first, second, .. } = &mut two;
    assert!(deliver(first, 5));

    // Mail comes from four sides, and the first node dies in the middle of it.
    let (stop, lmtp) = (AtomicBool::new(false), first.lmtp);
    let accepted: BTreeSet<usize> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut accepted = BTreeSet::new();
                    let Ok(mut smtp) = Smtp::connect(lmtp, Dialect::Lmtp) else { return accepted };
                    for number in (0..).map(|count| 100 + 4 * count + sender) {
                        let sent = smtp.deliver("s@example.net", &[USER], &text(number));
                        match sent {
                            Ok(replies) if replies[0].is_ok() => drop(accepted.insert(number)),
                            _ => break,
                        }
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    accepted
                })
            })
            .collect();
        wait_until("some mail arrives", DEADLINE, || {
            let count: u64 =
                status(second)?["volumes"][0]["last"].as_str()?.split_once('.')?.1.parse().ok()?;
            (count > 100).then_some(())
        });
        first.kill9();
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().flat_map(|sender| sender.join().unwrap()).collect()
    });
    assert!(accepted.len() > 10, "{accepted:?}");
    wait_until("the second node notices", DEADLINE, || {
        (status(second)?["is_connected"] == false).then_some(())
    });
    second.pillarbox(&["replica", "promote"]).well("promote");
    let mut imap = second.imap();
    imap.select("INBOX").unwrap();
    let there: Vec<usize> = numbers(&mut imap).into_iter().map(|(_, number)| number).collect();
    let once: BTreeSet<usize> = there.iter().copied().collect();
    assert_eq!(once.len(), there.len(), "nothing came twice");
    assert!(once.is_superset(&accepted), "what was accepted is here");

    // There is no other node: nothing more is promised to be on two.
    assert!(!deliver(second, 6), "it would be on one node alone");
    second.stop();
    second.configure_nothing();
    second.configure("[pair]\nacknowledge = \"local\"\n");
    second.start();
    assert!(deliver(second, 7));
    // The first node comes back, learns that it was deposed, and follows.
    first.announce_error("was made primary");
    first.start();
    await_merged(first);
    assert!(deliver(first, 8), "the other node does it");
    assert!(deliver(second, 9));
    let mut imap = second.imap();
    imap.select("INBOX").unwrap();
    let there: Vec<usize> = numbers(&mut imap).into_iter().map(|(_, number)| number).collect();
    let once: BTreeSet<usize> = there.iter().copied().collect();
    assert_eq!(once.len(), there.len(), "nothing came twice by the way back");
    assert!(once.is_superset(&accepted) && [7, 8, 9].iter().all(|number| once.contains(number)));
    drop(imap);
    first.stop();
    wait_until("the second node notices", DEADLINE, || {
        (status(second)?["is_connected"] == false).then_some(())
    });
    // In local mode mail goes on, and accounts do not until the other node is given up.
    let alone = ["account", "add", "alone@example.org"];
    assert!(second.pillarbox(&alone).output().contains("both nodes"));
    second.pillarbox(&["replica", "forget"]).well("forget");
    second.pillarbox(&alone).well("account add");
    second.stop();
    second.pillarbox(&["check"]).well("check");
}
