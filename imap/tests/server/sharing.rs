//! Every command against every right: what is needed is enough, and each that is missing is missed;
//! what may not be seen is not there. And copies between accounts.

use imap::{Config, Limits, Transport};
use tokio::io::DuplexStream;

use crate::support::{Client, Served, open_store};

const WORK: &str = "\"Other Users/demo@example.org/Work\"";
const BELOW: &str = "\"Other Users/demo@example.org/Work/x\"";
const ELSEWHERE: &str = "\"Other Users/demo@example.org/Else/x\"";

/// A command on the mailbox `W` of somebody else, or on a selected one, and the rights that it
/// needs, by their letters.
const COMMANDS: &[(&str, &str)] = &[
    ("SELECT W", "r"),
    ("EXAMINE W", "r"),
    ("STATUS W (MESSAGES)", "r"),
    ("GETQUOTAROOT W", "r"),
    ("APPEND W {1+}\r\nx", "i"),
    ("CREATE B", "k"),
    ("DELETE W", "x"),
    ("RENAME W D", "kx"),
    ("GETACL W", "a"),
    ("SETACL W anna@example.org +p", "a"),
    ("DELETEACL W shared@example.org", "a"),
    ("LISTRIGHTS W anna@example.org", "a"),
    ("GETMETADATA W /shared/comment", "r"),
    ("SETMETADATA W (/private/comment \"x\")", "r"),
    ("SETMETADATA W (/shared/comment \"x\")", "rw"),
];

/// Commands in the selected mailbox, which `r` is needed for anyway.
const SELECTED: &[(&str, &str)] = &[
    ("FETCH 1 (BODY[])", ""),
    ("SEARCH ALL", ""),
    ("SORT (DATE) UTF-8 ALL", ""),
    ("THREAD REFERENCES UTF-8 ALL", ""),
    ("UIDBATCHES 2000", ""),
    ("STORE 1 +FLAGS (\\Seen)", "s"),
    ("STORE 1 +FLAGS (\\Deleted)", "t"),
    ("STORE 1 -FLAGS (\\Flagged)", "w"),
    ("STORE 1 +FLAGS ($Work)", "w"),
    ("EXPUNGE", "e"),
    ("UID EXPUNGE 1", "e"),
    ("COPY 1 INBOX", ""),
    ("MOVE 1 INBOX", "te"),
    ("COPY 1 W", "i"),
    ("MOVE 1 W", "tei"),
    ("REPLACE 1 W {1+}\r\nx", "tei"),
];

/// Commands that touch no mailbox, or need no right to one that others than the walks below show:
/// what LIST shows, and MYRIGHTS answers, is in `transcripts/acl.imap`.
const WITHOUT_RIGHTS: &[&str] = &[
    "CAPABILITY",
    "NOOP",
    "LOGOUT",
    "ID",
    "STARTTLS",
    "AUTHENTICATE",
    "LOGIN",
    "ENABLE",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "LIST",
    "LSUB",
    "NAMESPACE",
    "MYRIGHTS",
    "LANGUAGE",
    "COMPRESS",
    "UNAUTHENTICATE",
    // Looks into one's own mailboxes only.
    "ESEARCH",
    "CANCELUPDATE",
    "GETQUOTA",
    "SETQUOTA",
    "IDLE",
    "NOTIFY",
    "CHECK",
    "CLOSE",
    "UNSELECT",
];

#[test]
fn every_command_is_walked_with_its_rights_or_named_as_one_that_needs_none() {
    let walked = COMMANDS.iter().chain(SELECTED).map(|(command, _)| *command);
    let names = walked.chain(WITHOUT_RIGHTS.iter().copied());
    // One with UIDs does what that with numbers does.
    let name = |command: &'static str| {
        command.trim_start_matches("UID ").split(' ').next().unwrap_or_default()
    };
    let known: Vec<&str> = names.map(name).collect();
    for row in imap::extension::COMMANDS {
        assert!(known.contains(&name(row.example)), "{}: which rights does it need?", row.example);
    }
}

struct House {
    served: Served,
    owner: Client<DuplexStream>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> House {
        House::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> House {
        let folder = tempfile::tempdir().unwrap();
        let store = open_store(folder.path());
        let mut config = Config::new(limits, "test".into(), None, true);
        config.shared_account = Some("shared@example.org".into());
        let served = Served::new(store, config);
        let mut owner = Client::new(served.connect(Transport::Plain, 1 << 16));
        owner.log_in().await;
        House { served, owner, _folder: folder }
    }

    async fn guest(&self) -> Client<DuplexStream> {
        let mut guest = Client::new(self.served.connect(Transport::Plain, 1 << 16));
        guest.log_in_as("anna@example.org").await;
        guest
    }

    /// A new mailbox Work with a message, in which anna has these rights.
    async fn work(&mut self, letters: &str) {
        for name in ["Work/x", "Work", "Else/x", "Else"] {
            self.owner.answer(&format!("DELETE {name}")).await;
        }
        self.owner.ok("CREATE Work").await;
        self.owner.ok("CREATE Else").await;
        self.owner.ok("APPEND Work (\\Flagged) {16+}\r\nSubject: one\r\n\r\n").await;
        for name in ["Work", "Else"] {
            self.owner.ok(&format!("SETACL {name} anna@example.org \"{letters}\"")).await;
        }
        self.owner.ok("SETACL Work shared@example.org l").await;
    }
}

fn placed(command: &str) -> String {
    let word = |word: &str| match word {
        "W" => WORK.to_owned(),
        "B" => BELOW.to_owned(),
        "D" => ELSEWHERE.to_owned(),
        word => word.to_owned(),
    };
    command.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_needs_its_rights_and_no_others() {
    let mut house = House::new().await;
    for (command, needed) in COMMANDS {
        let sent = placed(command);
        for missing in needed.chars() {
            let others: String = "lrswipkxtea".chars().filter(|right| *right != missing).collect();
            house.work(&others).await;
            let answer = house.guest().await.answer(&sent).await;
            assert!(answer.starts_with("NO [NOPERM]"), "{command} without {missing}: {answer}");
            // Without the right to see it, its answer is that of one that is not there.
            house.work(&others.replace('l', "")).await;
            let answer = house.guest().await.answer(&sent).await;
            let hidden = if command.starts_with("CREATE") || missing == 'k' {
                "NO [NOPERM]"
            } else {
                "NO [NONEXISTENT]"
            };
            assert!(answer.starts_with(hidden), "{command} without l{missing}: {answer}");
        }
        house.work(&format!("l{needed}")).await;
        let answer = house.guest().await.answer(&sent).await;
        assert!(answer.starts_with("OK"), "{command} with l{needed}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_a_selected_mailbox_needs_its_rights_and_no_others() {
    let mut house = House::new().await;
    for (command, needed) in SELECTED {
        let sent = placed(command);
        for missing in needed.chars() {
            let others: String = "lrswipkxtea".chars().filter(|right| *right != missing).collect();
            house.work(&others).await;
            let mut guest = house.guest().await;
            guest.ok(&format!("SELECT {WORK}")).await;
            let answer = guest.answer(&sent).await;
            assert!(answer.starts_with("NO [NOPERM]"), "{command} without {missing}: {answer}");
        }
        house.work(&format!("lr{needed}")).await;
        let mut guest = house.guest().await;
        guest.ok(&format!("SELECT {WORK}")).await;
        let answer = guest.answer(&sent).await;
        assert!(answer.starts_with("OK"), "{command} with lr{needed}: {answer}");
        // Reading marks nothing where \Seen may not change.
        let unseen = house.owner.ok("STATUS Work (UNSEEN)").await;
        let expected = if command.contains("\\Seen") { "(UNSEEN 0)" } else { "(UNSEEN " };
        assert!(unseen[0].contains(expected), "{command}: {unseen:?}");
        if command.starts_with("FETCH") {
            assert!(unseen[0].contains("(UNSEEN 1)"), "{unseen:?}");
        }
        guest.ok("CLOSE").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_without_the_right_to_expunge_expunges_nothing() {
    let mut house = House::new().await;
    house.work("lrt").await;
    let mut guest = house.guest().await;
    guest.ok(&format!("SELECT {WORK}")).await;
    guest.ok("STORE 1 +FLAGS (\\Deleted)").await;
    guest.ok("CLOSE").await;
    assert_eq!(house.owner.ok("STATUS Work (MESSAGES)").await, ["* STATUS \"Work\" (MESSAGES 1)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_another_account_is_all_or_nothing_and_keeps_what_it_may() {
    let mut house = House::new().await;
    house.work("lrswite").await;
    let mut guest = house.guest().await;
    // More than one batch of messages.
    guest.ok("CREATE Many").await;
    for number in 0..300 {
        let date = "\"17-Jul-1996 02:44:25 +0000\"";
        let text = format!("Subject: {number:03}\r\n\r\n");
        let length = text.len();
        guest.ok(&format!("APPEND Many ($Work) {date} {{{length}+}}\r\n{text}")).await;
    }
    guest.ok("SELECT Many").await;
    house.owner.ok("SELECT Work").await;
    house.owner.send(b"i IDLE\r\n").await;
    assert_eq!(house.owner.line().await.as_deref(), Some("+ idling"));
    let answer = guest.answer(&format!("COPY 1:* {WORK}")).await;
    assert!(answer.contains(" 1:300 2:301]"), "{answer}");
    // Nobody ever sees a part of them.
    let mut line = house.owner.line().await.unwrap();
    while !line.ends_with(" EXISTS") {
        line = house.owner.line().await.unwrap();
    }
    assert_eq!(line, "* 301 EXISTS");
    house.owner.send(b"DONE\r\n").await;
    while !house.owner.line().await.unwrap().starts_with("i OK") {}
    let lines = house.owner.ok("FETCH 301 (FLAGS INTERNALDATE ENVELOPE)").await;
    let date = "INTERNALDATE \"17-Jul-1996 02:44:25 +0000\"";
    assert!(lines[0].contains("$Work") && lines[0].contains(date), "{lines:?}");
    assert!(lines[0].contains("\"299\""), "{lines:?}");
    // Each has the message under an EMAILID of its own.
    let theirs = house.owner.ok("FETCH 301 (EMAILID)").await;
    let ours = guest.ok("FETCH 300 (EMAILID)").await;
    let id = |lines: &[String]| lines[0].split("EMAILID ").nth(1).unwrap().to_owned();
    assert_ne!(id(&theirs), id(&ours));
    let answer = guest.answer(&format!("MOVE 1:* {WORK}")).await;
    assert!(answer.starts_with("OK"), "{answer}");
    assert_eq!(guest.ok("STATUS Many (MESSAGES)").await, ["* STATUS \"Many\" (MESSAGES 0)"]);
    let there = house.owner.ok("STATUS Work (MESSAGES)").await;
    assert!(there.contains(&"* STATUS \"Work\" (MESSAGES 601)".to_owned()), "{there:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_given_up_leaves_nothing_anywhere() {
    let mut house = House::new().await;
    house.work("lrswite").await;
    let owner = house.served.store().account("demo@example.org").unwrap().unwrap();
    let before = owner.usage().message_count;
    let mut guest = house.guest().await;
    guest.ok("CREATE Many").await;
    for number in 0..300 {
        guest.ok(&format!("APPEND Many {{3+}}\r\n{number:03}")).await;
    }
    guest.ok("SELECT Many").await;
    // The first batch fits, and more comes in before the second: it does not any more.
    house.served.store().set_message_limit(owner.number(), Some(before + 300)).unwrap();
    let account = owner.number();
    let copy = format!("COPY 1:* {WORK}");
    let more = async {
        for _ in 0..20 {
            house.owner.answer("APPEND INBOX {1+}\r\nx").await;
        }
    };
    let (copy, ()) = tokio::join!(guest.answer(&copy), more);
    assert!(copy.starts_with("NO [OVERQUOTA]") || copy.starts_with("OK"), "{copy}");
    let there = house.owner.ok("STATUS Work (MESSAGES)").await;
    let count = if copy.starts_with("OK") { 301 } else { 1 };
    assert_eq!(there, [format!("* STATUS \"Work\" (MESSAGES {count})")], "{copy}");
    // What is staged goes by a change that nobody waits for; this one comes behind it.
    house.owner.ok("SUBSCRIBE x").await;
    let inboxed = house.owner.ok("STATUS INBOX (MESSAGES)").await;
    let owner = house.served.store().account("demo@example.org").unwrap().unwrap();
    assert_eq!(owner.number(), account);
    let inboxed: u64 =
        inboxed[0].trim_end_matches(')').rsplit(' ').next().unwrap().parse().unwrap();
    assert_eq!(owner.usage().message_count, inboxed + count, "{copy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_keeps_so_many_entries_beside_a_mailbox_and_no_more() {
    let limits = Limits { metadata_guest_entries: 2, ..Limits::default() };
    let mut house = House::with(limits).await;
    house.work("lr").await;
    let mut guest = house.guest().await;
    let set = |name: &str| format!("SETMETADATA {WORK} (/private/{name} \"x\")");
    guest.ok(&set("a")).await;
    guest.ok(&set("b")).await;
    let answer = guest.answer(&set("c")).await;
    assert!(answer.starts_with("NO [METADATA TOOMANY] "), "{answer}");
    guest.ok(&format!("SETMETADATA {WORK} (/private/a NIL /private/c \"x\")")).await;
    for number in 0..10 {
        house.owner.ok(&format!("SETMETADATA Work (/private/{number} \"x\")")).await;
    }
    guest.ok("CREATE Mine").await;
    for number in 0..10 {
        guest.ok(&format!("SETMETADATA Mine (/private/{number} \"x\")")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mailbox_from_before_there_was_sharing_hides_one_of_others() {
    let mut house = House::new().await;
    house.work("lr").await;
    let account = house.served.store().account("anna@example.org").unwrap().unwrap();
    account.create_mailbox(WORK.trim_matches('"'), None).wait().unwrap();
    let mut guest = house.guest().await;
    let status = guest.ok(&format!("STATUS {WORK} (MESSAGES)")).await;
    assert!(status[0].ends_with("(MESSAGES 0)"), "{status:?}");
    let list = guest.ok(&format!("LIST \"\" {WORK}")).await;
    assert_eq!(list.len(), 1, "{list:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_idles_is_told_of_mail_that_others_put_into_a_shared_mailbox() {
    let mut house = House::new().await;
    house.work("lr").await;
    let mut guest = house.guest().await;
    guest.ok(&format!("SELECT {WORK}")).await;
    guest.send(b"i IDLE\r\n").await;
    assert_eq!(guest.line().await.as_deref(), Some("+ idling"));
    house.owner.ok("APPEND Work {1+}\r\nx").await;
    assert_eq!(guest.line().await.as_deref(), Some("* 2 EXISTS"));
    // The right to read goes, and the session at once with it.
    house.owner.ok("DELETEACL Work anna@example.org").await;
    let mut lines = Vec::new();
    while let Some(line) = guest.line().await {
        lines.push(line);
    }
    let last = lines.pop().unwrap_or_default();
    assert!(last.starts_with("* BYE [UNAVAILABLE]"), "{lines:?} {last}");
}
