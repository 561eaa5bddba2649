//! An import hands messages to the store many at a time, and speaks of each for itself.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::site;
use crate::support::imap::Imap;
use crate::support::site::{DOMAIN, OTHER_USER, PASSWORD, Site, USER, text_of};
use crate::support::tool;

const COUNT: usize = 300;
/// The one that is refused: others come before and after it in the same batch.
const LARGE: usize = 290;

/// An mbox of small messages and a large one.
fn mbox(site: &Site) -> String {
    let path = site.folder.join("many.mbox");
    let mut text = String::new();
    for number in 0..COUNT {
        let body = if number == LARGE { "large\n".repeat(3_000) } else { "small\n".to_owned() };
        text.push_str("From a@b Mon Jan  1 00:00:00 2001\n");
        text.push_str(&format!("Subject: number {number}\nX-Filler: {}\n\n", "x".repeat(80)));
        text.push_str(&body);
        text.push('\n');
    }
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// All but the large one, in their order.
fn assert_taken(site: &Site, name: &str, mailbox: &str) {
    let mut imap = Imap::login(site.imap, name, PASSWORD).unwrap();
    assert_eq!(imap.select(mailbox).unwrap().exists, u32::try_from(COUNT - 1).unwrap());
    let found = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])").unwrap();
    let expected = (0..COUNT).filter(|number| *number != LARGE);
    for (message, number) in found.into_iter().zip(expected) {
        let subject = String::from_utf8(message.body.unwrap()).unwrap();
        assert_eq!(subject.trim_end(), format!("Subject: number {number}"), "{mailbox}");
    }
}

/// `import` says which message it could not take and why, on a stopped store and on a running one.
fn import_into(site: &Site, name: &str, mailbox: &str, path: &str) {
    let refused = site.pillarbox(&["import", "mbox", name, path, "--into", mailbox]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    let output = refused.output();
    assert_eq!(output.matches("not imported: ").count(), 1, "{output}");
    assert!(output.contains("16000"), "{output}");
    let counts = format!("imported {} messages into {name}, but 1 were not taken", COUNT - 1);
    assert!(output.contains(&counts), "{output}");
}

#[test]
fn a_message_beyond_the_quota_ends_the_import_and_those_sent_with_it_are_taken() {
    let Some(mut site) = site() else { return };
    let path = mbox(&site);
    for (name, is_running) in [("stopped", false), ("running", true)] {
        let name = format!("{name}@{DOMAIN}");
        site.pillarbox(&["account", "add", &name, "--quota", "50000"]).well("account add");
        if is_running {
            site.start();
        }
        let stopped = site.pillarbox(&["import", "mbox", &name, &path, "--into", "Old"]);
        assert_eq!(stopped.code, Some(75), "{}", stopped.output());
        let words = [format!("after {LARGE} messages: "), "over its quota".to_owned()];
        for words in words {
            assert!(stopped.output().contains(&words), "{words}: {}", stopped.output());
        }
    }
    for name in ["stopped", "running"] {
        assert_taken(&site, &format!("{name}@{DOMAIN}"), "Old");
    }
    site.stop();
    site.pillarbox(&["check"]).well("check");
}

#[test]
fn a_message_beyond_the_limit_is_named_and_the_others_are_taken() {
    let Some(mut site) = site() else { return };
    site.configure("[limits]\nmessage_bytes = 16000");
    let path = mbox(&site);
    let name = format!("third@{DOMAIN}");
    site.pillarbox(&["account", "add", &name]).well("account add");
    import_into(&site, &name, "Stopped", &path);
    site.start();
    import_into(&site, &name, "Running", &path);
    for mailbox in ["Stopped", "Running"] {
        assert_taken(&site, &name, mailbox);
    }
    site.stop();
    site.pillarbox(&["check"]).well("check");
}

/// A Maildir in which Dovecot itself made mailboxes, subscriptions and access control lists.
fn maildir_of_dovecot(folder: &Path) -> PathBuf {
    let home = folder.join("home");
    std::fs::create_dir(&home).unwrap();
    let nobody = 65_534;
    std::os::unix::fs::chown(&home, Some(nobody), Some(nobody)).expect("doveadm is run by root");
    let (base, maildir) = (folder.display(), home.join("Maildir"));
    let config = folder.join("dovecot.conf");
    let text = format!(
        "base_dir = {base}/run\nstate_dir = {base}/state\nlog_path = {base}/log\nssl = no\n\
         mail_location = maildir:{}\nmail_uid = {nobody}\nmail_gid = {nobody}\n\
         first_valid_uid = 1\nmail_plugins = acl\nplugin {{\n acl = vfile\n}}\n\
         namespace inbox {{\n inbox = yes\n separator = /\n}}\n",
        maildir.display()
    );
    std::fs::write(&config, text).unwrap();
    let named = "user=second";
    let by_address = format!("user={OTHER_USER}");
    let commands: [&[&str]; 6] = [
        &["mailbox", "create", "-s", "Work", "Work/Old stuff", "Secret"],
        &["acl", "set", "Work", &by_address, "lookup", "read", "write-seen"],
        &["acl", "set", "Work", "anyone", "lookup"],
        &["acl", "set", "Work/Old stuff", named, "lookup", "read", "insert"],
        &["acl", "set", "Secret", "group=staff", "lookup", "read"],
        &["save", "-m", "Work"],
    ];
    for arguments in commands {
        let mut doveadm = Command::new("doveadm");
        doveadm.env("HOME", &home).env("USER", "anna").arg("-c").arg(&config).args(arguments);
        let message = b"Subject: old\n\nmail\n";
        tool::run(&mut doveadm, message, Duration::from_secs(60)).well("doveadm");
    }
    maildir
}

#[test]
fn a_maildir_of_dovecot_brings_its_subscriptions_and_who_may_do_what() {
    let Some(mut site) = site() else { return };
    if !tool::present("import", &["doveadm"]) || !tool::is_root() {
        return;
    }
    let maildir = maildir_of_dovecot(&site.folder);
    // What takes rights away is written by other commands; none may be lost alone.
    let open = "anyone lr\n-group=guests lr\nuser=second lrs\n";
    std::fs::create_dir_all(maildir.join(".Open/cur")).unwrap();
    std::fs::write(maildir.join(".Open/dovecot-acl"), open).unwrap();
    site.start();
    let ended = site.pillarbox(&["import", "maildir", USER, &text_of(&maildir)]).well("import");
    let said = ended.output();
    assert!(said.contains("imported 1 messages into"), "{said}");
    assert!(said.contains("2 were left out (named above)"), "{said}");
    assert!(said.contains("access to Secret: group=staff means nobody here"), "{said}");
    assert!(said.contains("access to Open: an entry that takes rights away"), "{said}");
    let mut imap = site.imap();
    let mut acl = |mailbox: &str| {
        let reply = imap.ok(&format!("GETACL \"{mailbox}\"")).unwrap();
        reply.untagged.first().unwrap().text().replace(&format!(" {USER} lrswipkxteacd"), "")
    };
    assert_eq!(acl("Work"), format!("* ACL \"Work\" anyone l {OTHER_USER} lrs"));
    assert_eq!(acl("Work/Old stuff"), format!("* ACL \"Work/Old stuff\" {OTHER_USER} lri"));
    assert_eq!(acl("Secret"), "* ACL \"Secret\"");
    assert_eq!(acl("Open"), "* ACL \"Open\"");
    let reply = imap.ok("LSUB \"\" *").unwrap();
    let subscribed: Vec<String> = reply.untagged.iter().map(|line| line.text()).collect();
    for (mailbox, expected) in
        [("\"Work/Old stuff\"", true), ("\"Secret\"", true), ("\"Open\"", false)]
    {
        let found = subscribed.iter().any(|line| line.ends_with(mailbox));
        assert_eq!(found, expected, "{mailbox}: {subscribed:?}");
    }
}

/// A client that waits for its oldest answer and sends no more gets it, while later messages are
/// held for more to come.
#[test]
fn answers_are_not_kept_back_for_messages_that_are_held() {
    let Some(mut site) = site() else { return };
    let name = format!("waiting@{DOMAIN}");
    site.pillarbox(&["account", "add", &name]).well("account add");
    site.start();
    let mut stream = UnixStream::connect(site.data.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut requests = Vec::new();
    // 256 are committed together, and the others held.
    for number in 0..COUNT {
        let message = format!("Subject: number {number}\r\n\r\nsmall\r\n");
        let length = message.len();
        let line = format!(
            "{{\"verb\":\"append\",\"account\":\"{name}\",\"mailbox\":\"INBOX\",\"flags\":[],\
             \"received\":1,\"body_bytes\":{length},\"together\":true}}\n"
        );
        requests.extend_from_slice(line.as_bytes());
        requests.extend_from_slice(message.as_bytes());
    }
    stream.write_all(&requests).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap()).lines();
    for number in 0..256 {
        let answer = answers.next().unwrap().expect("an answer comes");
        assert_eq!(answer, "{\"answer\":\"done\"}", "message {number}");
    }
    stream.write_all(b"{\"verb\":\"append-commit\"}\n").unwrap();
    for number in 256..=COUNT {
        let answer = answers.next().unwrap().expect("an answer comes");
        assert_eq!(answer, "{\"answer\":\"done\"}", "message {number}");
    }
    site.stop();
}
