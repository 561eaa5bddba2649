//! A node that lacks what the other one's log no longer has becomes a full copy of it.

use super::*;

/// Small segments, so that space is reclaimed within a test.
const SMALL: &str = "segment_bytes = 1048576";

/// A text that fills segments.
fn large(number: usize) -> Vec<u8> {
    // What does not compress.
    let mut state = u64::try_from(number).unwrap() + 1;
    let mut text = format!("Subject: number {number}\r\n\r\n");
    for _ in 0..6000 {
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("{state:016x}"));
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}

/// A first node whose log was rewritten: most of its mail was expunged.
fn rewritten(pair: &str) -> (Site, SocketAddr) {
    let mut first = Site::new();
    let address = first.ports.next();
    first.configure_store(SMALL);
    first.configure(&format!("[pair]\nlisten = \"{address}\"\n{pair}"));
    first.start();
    for number in 1..=12 {
        let replies = first.lmtp().deliver("s@example.net", &[USER], &large(number)).unwrap();
        assert!(replies[0].is_ok());
    }
    let mut imap = first.imap();
    imap.select("INBOX").unwrap();
    imap.ok("STORE 1:3,5:8 +FLAGS (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
    wait_until("a segment is rewritten", DEADLINE, || {
        // Checkpoints come with the log.
        assert!(deliver(&first, 100));
        let names = std::fs::read_dir(first.data.join("volumes/main/log")).ok()?;
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut is_rewritten = names.map(|name| name.ends_with(".1.segment"));
        is_rewritten.any(|is_one| is_one).then_some(())
    });
    (first, address)
}

/// A second node that joins and runs.
fn second_of(first: &Site, address: SocketAddr) -> Site {
    let mut second = Site::empty();
    let own = second.ports.next();
    second.configure_store(SMALL);
    second.configure(&format!("[pair]\nlisten = \"{own}\"\n"));
    let token = invitation(first, address);
    join(&second, &token, own).well("join");
    second.start();
    second
}

fn all(site: &Site) -> Vec<(u32, usize)> {
    let mut imap = site.imap();
    imap.select("INBOX").unwrap();
    numbers(&mut imap)
}

#[test]
fn a_node_that_joins_when_the_log_was_rewritten_becomes_a_copy_by_itself() {
    let (first, address) = rewritten("");
    let second = second_of(&first, address);
    let mut two = Two { first, second, addresses: [address; 2] };
    two.await_there();
    let Two { first, second, .. } = &mut two;
    let here = all(first);
    assert_eq!(here, all(second), "the same messages of the same UIDs");
    assert!(here.iter().any(|(_, number)| *number == 12) && here.len() > 5);
    assert!(deliver(first, 101) && deliver(second, 102));
    let mut imap = second.imap();
    imap.select("INBOX").unwrap();
    let found = imap.ok("SEARCH TEXT \"message 102\"").unwrap();
    assert!(found.untagged[0].text().len() > "SEARCH".len(), "{}", found.untagged[0].text());
    drop(imap);
    wait_until("nothing is lent any more", DEADLINE, || {
        (!first.data.join("volumes/main/held/lent").exists()).then_some(())
    });
    // The copy takes over.
    first.stop();
    wait_until("the second node notices", DEADLINE, || {
        (status(second)?["is_connected"] == false).then_some(())
    });
    second.pillarbox(&["replica", "promote"]).well("promote");
    assert!(deliver(second, 103));
    assert_eq!(all(second).len(), here.len() + 3);
    second.stop();
    for site in [&*first, &*second] {
        site.pillarbox(&["check"]).well("check");
    }
}

#[test]
fn a_copy_that_is_killed_halfway_goes_on_and_the_node_is_nobody_s_heir_meanwhile() {
    let (first, address) = rewritten("copy_bytes_per_second = 2000000\n");
    let mut second = second_of(&first, address);
    let arrived = |site: &Site| status(site)?["volumes"][0]["copy"][0].as_u64();
    let some = wait_until("some has arrived", DEADLINE, || {
        arrived(&second).filter(|bytes| *bytes > 1 << 20)
    });
    let refused = second.pillarbox(&["replica", "promote"]).output();
    assert!(refused.contains("full copy") || refused.contains("is there"), "{refused}");
    let human = second.pillarbox(&["replica", "status"]).well("status").stdout;
    assert!(human.contains("a full copy is on its way: "), "{human}");
    second.kill9();
    second.start();
    let again = wait_until("it goes on", DEADLINE, || arrived(&second).filter(|bytes| *bytes > 0));
    assert!(again + (1 << 20) > some, "{again} after {some}: it begins again");
    let two = Two { first, second, addresses: [address; 2] };
    two.await_there();
    assert_eq!(all(&two.first), all(&two.second));
    // An operator may want one of a node that is well; and may think better of it.
    let Two { first, second, .. } = &two;
    let asked = second.pillarbox(&["replica", "full-sync"]);
    assert!(asked.output().contains("--yes"), "{}", asked.output());
    let refused = first.pillarbox(&["replica", "full-sync", "--yes"]).output();
    assert!(refused.contains("is primary"), "{refused}");
    second.pillarbox(&["replica", "full-sync", "--yes"]).well("full-sync");
    wait_until("some has arrived", DEADLINE, || arrived(second).filter(|bytes| *bytes > 0));
    let mut imap = second.imap();
    let created = imap.command("CREATE Elsewhere").unwrap();
    assert!(created.status == "NO" && created.text.contains("UNAVAILABLE"), "{}", created.text);
    second.await_log("this node takes a full copy of the other one; until it is");
    second.pillarbox(&["replica", "full-sync", "--stop"]).well("full-sync --stop");
    second.pillarbox(&["replica", "full-sync", "--yes"]).well("full-sync");
    wait_until("it is a copy", DEADLINE, || {
        let volume = &status(second)?["volumes"][0];
        (volume["copy"].is_null() && volume["role"] == "follower").then_some(())
    });
    two.await_there();
    assert!(deliver(&two.second, 104));
    assert_eq!(all(&two.first), all(&two.second));
}
