//! Two nodes are compared while they serve, and one heals what is damaged on the other's disk.

use std::os::unix::fs::FileExt;

use engine::{KeySource, OpenOptions, Store};

use super::*;

/// Both nodes, with more mail.
fn with_mail() -> Two {
    let two = Two::joined("");
    (10..40).for_each(|number| assert!(deliver(&two.first, number)));
    two.await_there();
    two
}

#[test]
fn what_differs_is_named_by_account_and_mailbox() {
    let mut two = with_mail();
    let Two { first, second, .. } = &mut two;
    let same = first.pillarbox(&["replica", "compare"]).well("compare").stdout;
    assert!(same.contains("both nodes hold the same"), "{same}");
    let refused = second.pillarbox(&["replica", "compare"]);
    assert!(refused.code == Some(1) && refused.output().contains("on the primary"));

    second.stop();
    let options = OpenOptions::new(KeySource::KeyFile(second.key_file()));
    let (store, _) = Store::open(&second.data, options).unwrap();
    store.lose_a_row().unwrap();
    store.close();
    drop(store);
    second.start();
    two.await_there();
    let Two { first, .. } = &mut two;
    first.announce_error("the two nodes DIFFER");
    let json = first.pillarbox(&["replica", "compare", "--json"]);
    assert_eq!(json.code, Some(1), "{}", json.output());
    let found: Value = serde_json::from_str(&json.stdout).unwrap();
    let one = &found[0]["differences"][0];
    assert_eq!((&one["account"], &one["mailbox"]), (&USER.into(), &"INBOX".into()), "{found}");
    assert!(one["uid"].as_u64().is_some(), "{found}");
    let words = first.pillarbox(&["replica", "compare"]);
    assert!(words.stdout.contains(&format!("{USER} INBOX UID")), "{}", words.output());
    let status = status(first).unwrap();
    assert!(status["volumes"][0]["differences"].as_u64() > Some(0), "{status}");
    assert!(!first.log().contains(USER) || !first.log().contains("INBOX UID"), "{}", first.log());
}

#[test]
fn a_message_that_is_damaged_on_one_node_is_read_there_and_whole_afterwards() {
    let mut two = with_mail();
    let Two { first, .. } = &two;
    let line = |number: u32| format!("{}\r\n", blake3::hash(&number.to_le_bytes())).into_bytes();
    let large: Vec<u8> = (0..600).flat_map(line).collect();
    let letter = [b"Subject: large 99\r\n\r\n".as_slice(), &large].concat();
    assert!(first.lmtp().deliver("s@example.net", &[USER], &letter).unwrap()[0].is_ok());
    two.await_there();
    for is_second in [true, false] {
        let Two { first, second, .. } = &mut two;
        let site = if is_second { second } else { first };
        // What was written is closed by the next start.
        site.stop();
        let log = site.data.join("volumes/main/log");
        let segments = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
        let segments = segments.filter(|path| path.extension().is_some_and(|e| e == "segment"));
        let found = segments.filter_map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let at = chunk_in(&bytes)?;
            Some((path, at, bytes[at]))
        });
        let (path, at, byte) = found.last().expect("the letter is in the log");
        site.start();
        // The scrub may come to it before any reader, and can ask the other node then.
        two.await_there();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[byte ^ 1], u64::try_from(at).unwrap()).unwrap();
        drop(file);
        let Two { first, second, .. } = &two;
        let site = if is_second { second } else { first };
        let mut imap = site.imap();
        imap.select("INBOX").unwrap();
        let fetched = imap.fetch("*", "BODY.PEEK[TEXT]").unwrap();
        assert!(fetched[0].body.as_deref() == Some(&large[..]), "it is read as it came");
        drop(imap);
        let status = status(site).unwrap();
        assert_eq!(status["volumes"][0]["healed"], 1, "{status}");
        site.await_log("healed from the other node");
        assert_eq!(std::fs::read(&path).unwrap()[at], byte, "the disk has it again");
        let human = site.pillarbox(&["replica", "status"]).well("status").stdout;
        assert!(human.contains("healed from the other"), "{human}");
    }
    let Two { first, second, .. } = &mut two;
    first.stop();
    second.stop();
    for site in [&*first, &*second] {
        site.pillarbox(&["check"]).well("check");
    }
}

/// Where the bytes of a chunk of more than eight thousand bytes are in a segment, behind a header
/// of 64: kind, flags, number, length.
fn chunk_in(bytes: &[u8]) -> Option<usize> {
    let is_chunk = |at: usize| {
        let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        let sealed = bytes.get(at + 64..at + 64 + length)?;
        let hash = bytes.get(at + 32..at + 64)?;
        let fits = length > 8000 && length < 200_000;
        (fits && *blake3::hash(sealed).as_bytes() == *hash).then_some(at + 64 + length / 2)
    };
    (0..bytes.len().saturating_sub(72)).find_map(is_chunk)
}
