//! The commands that an operator types, on a stopped store and on a running one.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

#[path = "commands/give_up.rs"]
mod give_up;
#[path = "commands/import.rs"]
mod import;
#[path = "commands/keys.rs"]
mod keys;
#[path = "commands/quota.rs"]
mod quota;
#[path = "commands/retention.rs"]
mod retention;
#[path = "commands/search.rs"]
mod search;
mod support;

use support::imap::Imap;
use support::site::{DOMAIN, Kind, OTHER_USER, PASSWORD, Site, USER};

/// A site, unless another server stands in for ours: it has none of these commands.
fn site() -> Option<Site> {
    (Kind::chosen() == Kind::Pillarbox).then(Site::new)
}

/// The indented line that `init` and `key backup` show.
fn shown_key(output: &str) -> String {
    let line = output.lines().find(|line| line.starts_with("    ")).expect("a key is shown");
    line.trim().to_owned()
}

#[test]
fn the_recovery_key_is_shown_once_and_proves_itself() {
    let Some(site) = site() else { return };
    let key = shown_key(&site.init_output);
    let verify = |key: &str| {
        site.pillarbox_with_input(&["key", "verify-backup"], format!("{key}\n").as_bytes())
    };
    verify(&key).well("the key that init showed");
    let first = key.chars().next().unwrap();
    let other = key.replacen(first, if first == '2' { "3" } else { "2" }, 1);
    assert_eq!(verify(&other).code, Some(77), "a key with one wrong letter opens nothing");

    let new_key = shown_key(&site.pillarbox(&["key", "backup"]).well("key backup").stdout);
    assert_ne!(new_key, key);
    verify(&new_key).well("the new key");
    assert_eq!(verify(&key).code, Some(77), "the old one opens nothing any more");
    for command in [&["status"][..], &["check"], &["account", "list"]] {
        let output = site.pillarbox(command).well("a command").output();
        assert!(!output.contains(&new_key), "{command:?} shows the recovery key");
    }
}

#[test]
fn accounts_come_change_and_go_while_the_server_runs() {
    let Some(mut site) = site() else { return };
    site.start();
    let name = format!("third@{DOMAIN}");
    site.pillarbox(&["account", "add", &name]).well("account add");
    let again = site.pillarbox(&["account", "add", &name]);
    assert_eq!(again.code, Some(1), "{}", again.output());
    let stranger = site.pillarbox(&["account", "add", "somebody@unknown.example"]);
    assert_eq!(stranger.code, Some(1), "its domain is not ours: {}", stranger.output());
    let list = site.pillarbox(&["account", "list"]).well("account list").stdout;
    assert!([USER, OTHER_USER, &name].iter().all(|name| list.contains(name)), "{list}");

    Imap::login(site.imap, &name, PASSWORD).expect("the new account can log in");
    let password_file = site.folder.join("password");
    std::fs::write(&password_file, "an entirely new one\n").unwrap();
    let file = password_file.to_str().unwrap();
    site.pillarbox(&["account", "passwd", &name, "--password-file", file]).well("passwd");
    assert!(Imap::login(site.imap, &name, PASSWORD).is_err(), "the old password is void");
    Imap::login(site.imap, &name, "an entirely new one").expect("the new password works");

    let unsure = site.pillarbox(&["account", "delete", &name]);
    assert_ne!(unsure.code, Some(0), "deleting wants --yes");
    site.pillarbox(&["account", "delete", &name, "--yes"]).well("account delete");
    assert!(Imap::login(site.imap, &name, "an entirely new one").is_err());
    let replies = site.lmtp().deliver("s@example.com", &[&name], b"Subject: x\r\n\r\nx\r\n");
    assert_eq!(replies.unwrap()[0].code, 550);
    site.stop();
    site.pillarbox(&["check"]).well("check");
}

#[test]
fn aliases_and_catch_alls_lead_to_accounts() {
    let Some(mut site) = site() else { return };
    site.start();
    let sales = format!("sales@{DOMAIN}");
    let anything = format!("whatever-{}@{DOMAIN}", 17);
    let deliver = |site: &Site, to: &str| {
        let replies = site.lmtp().deliver("s@example.com", &[to], b"Subject: x\r\n\r\nx\r\n");
        replies.unwrap()[0].code
    };
    assert_eq!(deliver(&site, &sales), 550);
    site.pillarbox(&["alias", "add", &sales, USER, OTHER_USER]).well("alias add");
    assert_eq!(deliver(&site, &sales), 250);
    assert_eq!(deliver(&site, &anything), 550);
    site.pillarbox(&["alias", "add", &format!("@{DOMAIN}"), USER]).well("catch-all");
    assert_eq!(deliver(&site, &anything), 250);
    let list = site.pillarbox(&["alias", "list"]).well("alias list").stdout;
    assert!(list.contains(&sales) && list.contains(OTHER_USER), "{list}");
    site.pillarbox(&["alias", "delete", &sales]).well("alias delete");
    let refused = site.pillarbox(&["domain", "delete", DOMAIN]);
    assert_eq!(refused.code, Some(1), "it still has accounts: {}", refused.output());
    let mut second = Imap::login(site.imap, OTHER_USER, PASSWORD).unwrap();
    assert_eq!(second.select("INBOX").unwrap().exists, 1, "only the alias leads to the second");
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 2);
}

#[test]
fn mail_can_be_delivered_and_imported_by_commands() {
    let Some(mut site) = site() else { return };
    let message = b"Subject: by hand\r\n\r\nSaid at the terminal.\r\n";
    site.pillarbox_with_input(&["deliver", USER, "--sender", "me@example.net"], message)
        .well("deliver on a stopped store");
    site.start();
    site.pillarbox_with_input(&["deliver", USER], message).well("deliver on a running store");
    let nobody = site.pillarbox_with_input(&["deliver", &format!("no@{DOMAIN}")], message);
    assert_eq!(nobody.code, Some(67), "EX_NOUSER, so that Postfix's pipe bounces");
    let mbox = site.folder.join("old.mbox");
    let text = "From a@b Mon Jan  1 00:00:00 2001\nSubject: one\n\n>From here on, text\n\n\
                From a@b Mon Jan  1 00:00:01 2001\nSubject: two\n\nbody\n\n";
    std::fs::write(&mbox, text).unwrap();
    let path = mbox.to_str().unwrap();
    site.pillarbox(&["import", "mbox", USER, path, "--into", "Old"]).well("import mbox");
    let mut imap = site.imap();
    assert_eq!(imap.select("INBOX").unwrap().exists, 2);
    assert_eq!(imap.select("Old").unwrap().exists, 2);
    let first = imap.fetch("1", "(BODY.PEEK[TEXT])").unwrap().remove(0).body.unwrap();
    assert!(first.starts_with(b"From here on, text\r\n"), "mboxrd's quoting is taken away");
    let status = site.pillarbox(&["status", "--json"]).well("status").stdout;
    for part in ["\"messages\":4,", "\"changes\":\"taken\"", "\"stopped\":null"] {
        assert!(status.contains(part), "{part} is not in {status}");
    }
}

/// As LMTP does it: by name, detail, alias and catch-all, on a stopped store and on a running one.
#[test]
fn deliver_finds_the_recipient_as_lmtp_does() {
    let Some(mut site) = site() else { return };
    site.configure("[delivery]\ndetail_mailboxes = true");
    let (sales, anyone) = (format!("Sales@{DOMAIN}"), format!("anyone@{DOMAIN}"));
    site.pillarbox(&["alias", "add", &sales, USER, OTHER_USER]).well("alias add");
    site.start();
    site.imap().ok("CREATE lists").unwrap();
    site.stop();
    let message = b"Subject: x\n\nx\n";
    let detail = |detail: &str| USER.replace('@', &format!("+{detail}@"));
    let table: [(&[&str], &str); 5] = [
        (&[&detail("lists")], "lists"),
        (&[&detail("none")], "INBOX"),
        (&[&detail("lists"), "--mailbox", "Archive"], "Archive"),
        (&[&sales.to_uppercase()], "INBOX"),
        (&["POSTMASTER"], "INBOX"),
    ];
    site.pillarbox(&["alias", "add", &format!("postmaster@{DOMAIN}"), USER]).well("alias add");
    for (round, counts) in [(1, [1, 1, 3]), (2, [2, 2, 6])] {
        for (arguments, mailbox) in table {
            let arguments = [&["deliver"], arguments].concat();
            let ended = site.pillarbox_with_input(&arguments, message);
            ended.well(&format!("{arguments:?} to {mailbox}, round {round}"));
        }
        let nobody = site.pillarbox_with_input(&["deliver", &anyone], message);
        assert_eq!(nobody.code, Some(67), "{}", nobody.output());
        if round == 1 {
            site.start();
        }
        let mut imap = site.imap();
        let found = ["lists", "Archive", "INBOX"].map(|name| imap.select(name).unwrap().exists);
        assert_eq!(found, counts, "round {round}");
    }
    // A detail makes no mailbox; a catch-all takes the rest.
    assert!(site.imap().mailboxes().unwrap().iter().all(|name| name != b"none"));
    site.pillarbox(&["alias", "add", &format!("@{DOMAIN}"), OTHER_USER]).well("catch-all");
    site.pillarbox_with_input(&["deliver", &anyone], message).well("a catch-all");
    let mut second = Imap::login(site.imap, OTHER_USER, PASSWORD).unwrap();
    assert_eq!(second.select("INBOX").unwrap().exists, 3);
    for (address, part) in [
        ("demo", "an address is written user@domain"),
        ("demo@elsewhere.example", "its domain is not one of ours"),
    ] {
        let nobody = site.pillarbox_with_input(&["deliver", address], message);
        assert_eq!(nobody.code, Some(67), "{}", nobody.output());
        assert!(nobody.stderr.contains(part), "{}", nobody.stderr);
    }
}

/// (arguments, exit code, what is said, reason)
const MISTAKES: [(&[&str], i32, &str, &str); 14] = [
    (&["account", "add", "demo"], 1, "an account is named user@domain", "no domain"),
    (&["account", "add", "a@b.example"], 1, "'pillarbox domain add'", "not our domain"),
    (&["account", "add", USER], 1, "the account demo@example.org exists already", "twice"),
    (&["account", "add", "a+b@example.org"], 1, "contains no '+'", "it would be a detail"),
    (&["account", "add", "a@example.org", "--quota", "much"], 2, "5000000000, 500M or 5G", ""),
    (&["account", "passwd", "a@example.org"], 67, "there is no account a@example.org", ""),
    (&["account", "delete", USER], 2, "add --yes", "there is no way back"),
    (&["account", "delete", "a@example.org", "--yes"], 67, "there is no account", ""),
    (&["domain", "add", DOMAIN], 1, "the domain example.org exists already", "twice"),
    (&["domain", "add", "no domain"], 1, "it is not a domain", "a blank"),
    (&["domain", "delete", "b.example"], 1, "there is no domain b.example", ""),
    (&["alias", "add", "x@example.org", "a@b.example"], 1, "aliases lead to addresses here", ""),
    (&["alias", "add", USER, OTHER_USER], 1, "an account of the address demo@example.org", ""),
    (&["alias", "delete", "x@example.org"], 1, "there is no alias x@example.org", ""),
];

#[test]
fn mistakes_are_said_in_words_and_change_nothing() {
    let Some(mut site) = site() else { return };
    let before = site.pillarbox(&["account", "list"]).well("account list").stdout;
    for round in ["stopped", "running"] {
        for (arguments, code, said, reason) in MISTAKES {
            let ended = site.pillarbox(arguments);
            assert_eq!(ended.code, Some(code), "{round}, {arguments:?}, {reason}: {ended:?}");
            assert!(ended.stderr.contains(said), "{round}, {arguments:?}, {reason}: {ended:?}");
            assert_eq!(ended.stdout, "", "{round}, {arguments:?}");
        }
        if round == "stopped" {
            site.start();
        }
    }
    let after = site.pillarbox(&["account", "list"]).well("account list").stdout;
    assert_eq!(before, after);
    site.pillarbox(&["account", "add", "a@example.org", "--quota", "1M"]).well("a quota");
    let list = site.pillarbox(&["account", "list"]).well("account list").stdout;
    assert!(list.contains("a@example.org\t0 messages\t0 B of 1.00 MiB\n"), "{list}");
}

/// What was typed in one form opens in the other (RFC 4013), and what has no form is refused.
#[test]
fn a_password_beyond_ascii_is_one_in_every_form() {
    let Some(mut site) = site() else { return };
    let (file, name) = (site.folder.join("password"), format!("cafe@{DOMAIN}"));
    let add = |password: &str| {
        std::fs::write(&file, password).unwrap();
        site.pillarbox(&["account", "add", &name, "--password-file", file.to_str().unwrap()])
    };
    let refused = add("emoji \u{1f600}\n");
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    assert!(refused.stderr.contains("mail programs may send in different ways"));
    assert!(!refused.stderr.contains('\u{1f600}'), "no part of it is shown");
    add("cafe\u{301}\u{a0}noir\n").well("account add");
    site.start();
    let literal = |text: &str| format!("{{{}+}}\r\n{text}", text.len());
    for (typed, status) in [("café noir", "OK"), ("cafe\u{301} noir", "OK"), ("cafe noir", "NO")] {
        let mut imap = site.imap_stranger();
        let reply = imap.command(&format!("LOGIN {name} {}", literal(typed))).unwrap();
        assert_eq!(reply.status, status, "{typed:?}: {}", reply.text);
    }
}

#[test]
fn a_configuration_is_checked_without_opening_the_store() {
    let Some(mut site) = site() else { return };
    let path = site.folder.join("pillarbox.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        support::site::binary(&["config", "check", path.to_str().unwrap()], &[], b"")
    };
    check(&site.config_text()).well("the configuration of these tests");
    let misspelt = check(&site.config_text().replace("listen_tls", "listen_tsl"));
    assert_eq!(misspelt.code, Some(78));
    let said = misspelt.output();
    assert!(said.contains("line 6") && said.contains("listen_tls"), "line and nearest key: {said}");
    let pair = |more: &str| {
        check(&format!("{}[pair]\nlisten = \"127.0.0.1:4190\"\n{more}", site.config_text()))
    };
    let durable = "acknowledge = \"durable\"\n";
    let refused = pair(&format!("{durable}merge_mode_seconds = 5\n"));
    assert!(refused.code == Some(78) && refused.output().contains("takes nothing"));
    let two = "[pair.etcd]\nendpoints = [\"http://127.0.0.1:2379\"]\n";
    let refused = pair(&format!("merge_mode_seconds = 5\n{two}"));
    assert!(refused.code == Some(78) && refused.output().contains("pair.merge_mode_seconds"));
    let degrade = format!("{durable}away = \"degrade\"\n");
    for (settings, promised) in [
        (String::new(), "last moments"),
        (durable.to_owned(), "no acknowledged mail is lost (RPO 0), and none is taken"),
        (format!("{degrade}{two}"), "when a node takes over by itself (RPO 0)"),
        (format!("{degrade}merge_mode_seconds = 5\n"), "RPO 0 is NOT promised"),
    ] {
        let said = pair(&settings).well("a pair").stdout;
        assert!(said.contains(promised), "{settings}: {said}");
    }
    site.configure("[limits]\nmessage_bytes = 1");
    assert_eq!(check(&site.config_text()).code, Some(78), "a bound out of its range");
}

#[test]
fn a_damaged_store_is_checked_mended_from_a_copy_and_its_state_made_anew() {
    let Some(mut site) = site() else { return };
    site.start();
    let running = site.pillarbox(&["check", "--rebuild"]);
    assert_eq!(running.code, Some(75), "it runs: {}", running.output());
    let mail = format!("Subject: x\r\n\r\n{}\r\n", "0123456789abcdefghijklmnop".repeat(900));
    let replies = site.lmtp().deliver("s@example.com", &[USER], mail.as_bytes()).unwrap();
    assert_eq!(replies[0].code, 250);
    site.stop();
    let log = site.data.join("volumes/main/log");
    let copy = site.folder.join("copy");
    std::fs::create_dir(&copy).unwrap();
    let files = support::site::files_below(&log).unwrap();
    for file in &files {
        std::fs::copy(file, copy.join(file.file_name().unwrap())).unwrap();
    }
    let well = site.pillarbox(&["check"]).well("check of a whole store").stdout;
    assert!(well.contains("records") && well.contains(": 0 problems"), "{well}");

    // The first byte of every group's content hash.
    for file in &files {
        let mut content = std::fs::read(file).unwrap();
        for at in (8192..content.len()).step_by(4096) {
            if content[at..].starts_with(b"PBXg") {
                content[at + 104] ^= 1;
            }
        }
        std::fs::write(file, content).unwrap();
    }
    let damaged = site.pillarbox(&["check"]);
    assert_ne!(damaged.code, Some(0), "{}", damaged.output());
    let refused = site.pillarbox(&["check", "--rebuild"]);
    assert_eq!(refused.code, Some(3), "{}", refused.output());
    assert!(refused.output().contains("nothing was changed"), "{}", refused.output());
    let copied = copy.to_str().unwrap();
    let mended = site.pillarbox(&["check", "--repair", "--from", copied]).well("repair").stdout;
    assert!(mended.contains("mended: segment") && mended.contains(": 0 problems"), "{mended}");

    std::fs::remove_dir_all(site.data.join("volumes/main/state")).unwrap();
    let rebuilt = site.pillarbox(&["check", "--rebuild"]).well("rebuild").stdout;
    assert!(
        rebuilt.contains("made the state anew") && rebuilt.contains(" 1 messages"),
        "{rebuilt}"
    );
    let again = site.pillarbox(&["check", "--rebuild"]).well("rebuild once more").stdout;
    assert!(again.contains("compared with the state from before"), "{again}");
    site.start();
    let mut imap = site.imap();
    let exists = imap.select("INBOX").unwrap().exists;
    assert_eq!(exists, 1, "the message is served");
}

/// `pillarbox account list | head -1` is no mistake.
#[test]
fn a_command_whose_output_nobody_reads_ends_without_a_word() {
    let Some(site) = site() else { return };
    let (nobody, output) = std::io::pipe().unwrap();
    drop(nobody);
    let folder = site.folder.join("another");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pillarbox"));
    command.arg("init").arg(&folder).arg("--new-key-file").arg(site.folder.join("another.key"));
    let ended = command.stdout(output).output().unwrap();
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
    assert_eq!(ended.status.code(), Some(141));
}
