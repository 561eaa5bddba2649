//! `import imap` from a real Dovecot that goes on serving: what its clients have seen stays what it
//! is, run after run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::corpus::Mail;
use crate::support::imap::{Imap, quoted};
use crate::support::site::{OTHER_USER, PASSWORD, Site, USER, files_below, text_of};
use crate::support::tool::{self, Ended};

const DEADLINE: Duration = Duration::from_secs(120);
const MASTER: &str = "boss";
const MASTER_PASSWORD: &str = "master of all";
/// Mailboxes with odd names, as they stand on the wire.
const MAILBOXES: [&str; 6] = ["INBOX", "Work", "Work/Deep/er", "T&APY-pfe", "a \"q\" b", "Sent"];
const FLAGS: [&str; 5] =
    ["", "\\Seen", "\\Flagged $Forwarded NonJunk", "\\Answered $MDNSent", "\\Seen \\Draft x.y"];

/// A Dovecot with two users and a master user.
struct Peer {
    imap: SocketAddr,
    tls: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Peer {
    fn start(site: &mut Site, format: &str, namespace: &str) -> Peer {
        let folder = site.folder.join("dovecot");
        let mail = folder.join("mail");
        std::fs::create_dir_all(&mail).unwrap();
        let nobody = 65_534;
        std::os::unix::fs::chown(&mail, Some(nobody), Some(nobody)).unwrap();
        certificate(&folder);
        let users = format!("{USER}:{{PLAIN}}{PASSWORD}\n{OTHER_USER}:{{PLAIN}}{PASSWORD}\n");
        std::fs::write(folder.join("users"), users).unwrap();
        let masters = format!("{MASTER}:{{PLAIN}}{MASTER_PASSWORD}\n");
        std::fs::write(folder.join("masters"), masters).unwrap();
        let (imap, tls) = (site.ports.next(), site.ports.next());
        let base = folder.display();
        let config = format!(
            "base_dir = {base}/run\nstate_dir = {base}/state\nlog_path = {base}/log\n\
             protocols = imap\nlisten = 127.0.0.1\nssl = yes\nssl_cert = <{base}/cert.pem\n\
             ssl_key = <{base}/key.pem\ndisable_plaintext_auth = no\n\
             auth_master_user_separator = *\nmail_location = {format}:{base}/mail/%u\n\
             first_valid_uid = 1\nmail_max_userip_connections = 0\n\
             passdb {{\n driver = passwd-file\n args = {base}/masters\n master = yes\n \
             result_success = continue\n}}\n\
             passdb {{\n driver = passwd-file\n args = {base}/users\n}}\n\
             userdb {{\n driver = static\n args = uid=65534 gid=65534 home={base}/mail/%u\n}}\n\
             service imap-login {{\n inet_listener imap {{\n port = {}\n }}\n \
             inet_listener imaps {{\n port = {}\n ssl = yes\n }}\n}}\n\
             namespace inbox {{\n inbox = yes\n {namespace}\n}}\n",
            imap.port(),
            tls.port()
        );
        std::fs::write(folder.join("dovecot.conf"), config).unwrap();
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(folder.join("dovecot.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.process_group(0).spawn().unwrap();
        tool::wait_until("Dovecot greets", DEADLINE, || Imap::connect(imap).ok());
        Peer { imap, tls, folder, child }
    }

    fn client(&self) -> Imap {
        Imap::login(self.imap, USER, PASSWORD).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// A certificate for 127.0.0.1 by an authority of its own, and another authority.
fn certificate(folder: &Path) {
    let openssl = |line: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(line.split(' ')).current_dir(folder);
        tool::run(&mut openssl, b"", DEADLINE).well("openssl");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for name in ["ca", "other"] {
        openssl(&format!(
            "req -x509 {key} -days 30 -subj /CN={name} -keyout {name}.key -out {name}.pem"
        ));
    }
    openssl(&format!("req -new {key} -subj /CN=old -keyout key.pem -out cert.csr"));
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    openssl(
        "x509 -req -in cert.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
         -extfile names -out cert.pem",
    );
}

/// A mailbox as a client sees it: UIDVALIDITY, UIDNEXT, and by UID flags, date and bytes.
type Seen = (u32, u32, BTreeMap<u32, (BTreeSet<String>, String, Vec<u8>)>);

fn seen(imap: &mut Imap, mailbox: &str) -> Seen {
    let selected = imap.select(mailbox).unwrap();
    let mut messages = BTreeMap::new();
    if selected.exists > 0 {
        for fetched in imap.fetch("1:*", "(FLAGS INTERNALDATE BODY.PEEK[])").unwrap() {
            let date = fetched.items.iter().find(|(name, _)| name == "INTERNALDATE").unwrap();
            let flags = fetched.flags.into_iter().filter(|flag| flag != "\\Recent");
            let what = (flags.collect(), date.1.to_text(), fetched.body.unwrap());
            messages.insert(fetched.uid, what);
        }
    }
    imap.ok("UNSELECT").unwrap();
    (selected.uid_validity, selected.uid_next, messages)
}

fn names(imap: &mut Imap, command: &str) -> BTreeSet<String> {
    let reply = imap.ok(&format!("{command} \"\" \"*\"")).unwrap();
    let lines = reply.untagged.iter().map(|line| line.text());
    let names = lines.filter(|line| line.starts_with(&format!("* {command} ")));
    names
        // A name without a mailbox may be subscribed to.
        .filter(|line| command == "LSUB" || !line.to_lowercase().contains("\\no"))
        .map(|line| line.split_once("\"/\" ").unwrap().1.trim_matches('"').replace('\\', ""))
        .collect()
}

/// Both show the same in every mailbox of Dovecot.
fn assert_equal(site: &Site, peer: &Peer, what: &str) {
    let (mut there, mut here) = (peer.client(), site.imap());
    for mailbox in names(&mut there, "LIST") {
        let (there, here) = (seen(&mut there, &mailbox), seen(&mut here, &mailbox));
        assert_eq!((there.0, there.1), (here.0, here.1), "{what}: numbers of {mailbox}");
        let uids = |seen: &Seen| seen.2.keys().copied().collect::<Vec<_>>();
        assert_eq!(uids(&there), uids(&here), "{what}: UIDs of {mailbox}");
        assert!(there == here, "{what}: {mailbox} has other flags, dates or bytes");
    }
    let first = ["Archive", "Drafts", "Junk", "Trash"].map(str::to_owned);
    let subscribed: BTreeSet<String> =
        names(&mut here, "LSUB").into_iter().filter(|name| !first.contains(name)).collect();
    assert_eq!(subscribed, names(&mut there, "LSUB"), "{what}: subscriptions");
}

fn import(site: &Site, peer: &Peer, more: &[&str]) -> Ended {
    let password = site.folder.join("password");
    std::fs::write(&password, format!("{PASSWORD}\n")).unwrap();
    let port = peer.imap.port().to_string();
    let password = text_of(&password);
    let mut arguments = vec!["import", "imap", USER, "127.0.0.1", "--plain-on-loopback"];
    arguments.extend(["--port", &port, "--password-file", &password]);
    arguments.extend(more);
    site.pillarbox(&arguments)
}

fn append(imap: &mut Imap, mailbox: &str, number: usize, message: &[u8]) {
    let flags = FLAGS[number % FLAGS.len()];
    let options = format!("({flags}) \"{:02}-Feb-2020 13:45:06 +0130\"", 1 + number % 28);
    let reply = imap.append(mailbox, &options, message).unwrap();
    assert_eq!(reply.status, "OK", "{mailbox}: {}", reply.text);
}

/// Mail in all mailboxes, with holes among the UIDs.
fn fill(peer: &Peer, count: usize) -> Mail {
    let mail = Mail::load();
    let mut imap = peer.client();
    for mailbox in MAILBOXES.iter().skip(1) {
        imap.ok(&format!("CREATE {}", quoted(mailbox))).unwrap();
    }
    for mailbox in ["INBOX", "Work", "T&APY-pfe"] {
        imap.ok(&format!("SUBSCRIBE {}", quoted(mailbox))).unwrap();
    }
    for (number, sample) in mail.samples.iter().take(count).enumerate() {
        append(&mut imap, MAILBOXES[number % MAILBOXES.len()], number, &sample.bytes);
    }
    imap.select("INBOX").unwrap();
    imap.ok("UID STORE 2,5 +FLAGS.SILENT (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
    imap.ok("UNSELECT").unwrap();
    mail
}

fn site(test: &str) -> Option<Site> {
    let tools = ["dovecot", "openssl"];
    if !tool::present(test, &tools) || !tool::is_root() {
        return None;
    }
    let site = Site::started();
    site.is_pillarbox().then_some(site)
}

/// What mbsync says that it did.
fn mbsync(folder: &Path, port: u16) -> String {
    let path = folder.display();
    let config = format!(
        "IMAPStore far\nHost 127.0.0.1\nPort {port}\nUser {USER}\nPass \"{PASSWORD}\"\n\
         SSLType None\nAuthMechs LOGIN\n\n\
         MaildirStore near\nPath {path}/near/\nInbox {path}/near/INBOX\nSubFolders Verbatim\n\n\
         Channel all\nFar :far:\nNear :near:\nPatterns INBOX Work* T* a* Sent\nCreate Both\n\
         Expunge Both\nSyncState {path}/state/\n"
    );
    for part in ["state", "near"] {
        std::fs::create_dir_all(folder.join(part)).unwrap();
    }
    let file = folder.join("mbsyncrc");
    std::fs::write(&file, config).unwrap();
    let mut mbsync = Command::new("mbsync");
    mbsync.arg("--verbose").arg("--config").arg(&file).arg("all");
    tool::run(&mut mbsync, b"", DEADLINE).well("mbsync").output()
}

/// How many messages mbsync sees on either side of each mailbox.
fn counts_of(output: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut counts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut mailbox = String::new();
    for line in output.lines() {
        if let Some(name) = line.strip_prefix("Opening far side box ") {
            mailbox = name.to_owned();
        } else if line.contains(" side: ") {
            let count = line.split(" messages").next().unwrap().to_owned();
            counts.entry(mailbox.clone()).or_default().insert(count);
        }
    }
    counts
}

/// The files of a Maildir: their names have the flags and mbsync's UIDs.
fn mail_files(folder: &Path) -> BTreeSet<PathBuf> {
    let files = files_below(&folder.join("near")).unwrap().into_iter();
    let is_mail = |path: &PathBuf| {
        let part = path.parent().and_then(Path::file_name).unwrap();
        part == "cur" || part == "new"
    };
    files.filter(is_mail).collect()
}

#[test]
fn what_a_client_has_of_dovecot_it_has_of_pillarbox() {
    let Some(mut site) = site("migration") else { return };
    if !tool::present("migration", &["mbsync"]) {
        return;
    }
    let peer = Peer::start(&mut site, "sdbox", "separator = /");
    let mail = fill(&peer, 200);
    let near = tempfile::tempdir_in(&site.folder).unwrap();
    mbsync(near.path(), peer.imap.port());
    // Some mail of the corpus it does not take at all; the second run shows what there is to it.
    let at_dovecot = counts_of(&mbsync(near.path(), peer.imap.port()));
    let files = mail_files(near.path());
    let said = import(&site, &peer, &[]).well("the first import").output();
    assert!(said.contains("INBOX: "), "{said}");
    assert_equal(&site, &peer, "the first import");
    let at_pillarbox = counts_of(&mbsync(near.path(), site.imap.port()));
    for (mailbox, counts) in &at_dovecot {
        assert_eq!(at_pillarbox.get(mailbox), Some(counts), "mbsync sees another {mailbox}");
    }
    assert!(files.len() > 150, "{} files", files.len());
    assert_eq!(files, mail_files(near.path()), "a client that knew Dovecot has nothing to do");
    assert_equal(&site, &peer, "mbsync has changed nothing");

    // Everything that can change there.
    let mut imap = peer.client();
    for (number, sample) in mail.samples.iter().rev().take(20).enumerate() {
        append(&mut imap, MAILBOXES[number % MAILBOXES.len()], number, &sample.bytes);
    }
    imap.select("INBOX").unwrap();
    imap.ok("UID STORE 1:4 FLAGS.SILENT (\\Seen $Junk)").unwrap();
    imap.ok("UID STORE 7:9 +FLAGS.SILENT (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
    imap.ok("UNSELECT").unwrap();
    imap.ok("RENAME Work Werk").unwrap();
    imap.ok("DELETE \"a \\\"q\\\" b\"").unwrap();
    imap.ok("CREATE New").unwrap();
    imap.ok("SUBSCRIBE New").unwrap();
    imap.ok("UNSUBSCRIBE T&APY-pfe").unwrap();
    let said = import(&site, &peer, &[]).well("the second import").output();
    for words in ["Work: renamed to Werk", "a \"q\" b: deleted", "with other flags", "removed"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_equal(&site, &peer, "the second import");
    let mailboxes = names(&mut site.imap(), "LIST");
    assert!(!mailboxes.contains("Work") && !mailboxes.contains("a \"q\" b"), "{mailboxes:?}");
    let said = import(&site, &peer, &["--final"]).well("the last import").output();
    assert!(said.contains("both sides are equal"), "{said}");
    site.stop();
    let said = import(&site, &peer, &["--final"]).well("on a stopped store").output();
    assert!(said.contains("both sides are equal"), "{said}");
    site.pillarbox(&["check"]).well("check");
    mail.last_line("what_a_client_has_of_dovecot_it_has_of_pillarbox");
}

#[test]
fn what_happens_here_meanwhile_is_not_overwritten() {
    let Some(mut site) = site("migration") else { return };
    let peer = Peer::start(&mut site, "sdbox", "separator = /");
    fill(&peer, 60);
    import(&site, &peer, &[]).well("the first import");
    let (mut there, mut here) = (peer.client(), site.imap());
    for (imap, flags) in [(&mut there, "\\Flagged"), (&mut here, "\\Answered mine")] {
        imap.select("Work").unwrap();
        imap.ok(&format!("UID STORE 1 FLAGS.SILENT ({flags})")).unwrap();
    }
    there.ok("UID STORE 2 FLAGS.SILENT (\\Flagged)").unwrap();
    let said = import(&site, &peer, &[]).well("flags on both sides").output();
    let words = "Work: 1 with other flags, 1 changed here and left alone";
    assert!(said.contains(words), "{said}");
    let flags = here.fetch("1", "(FLAGS)").unwrap().remove(0).flags;
    assert!(flags.iter().any(|flag| flag == "mine"), "{flags:?}");
    let last = import(&site, &peer, &["--final"]);
    assert_eq!(last.code, Some(1), "{}", last.output());
    let words = "Work: not equal: 1 with other flags (UID 1)";
    assert!(last.output().contains(words), "{}", last.output());
    import(&site, &peer, &["--final", "--overwrite-flags"]).well("the operator has decided");
    assert_equal(&site, &peer, "flags of the source");

    // Mail that came in here under a number that the source gives, too.
    append(&mut here, "INBOX", 0, b"Subject: here\r\n\r\nhere\r\n");
    let said = import(&site, &peer, &[]).well("nothing new there").output();
    assert!(said.contains("INBOX: 1 messages came in here, and stay"), "{said}");
    append(&mut there, "INBOX", 0, b"Subject: there\r\n\r\nthere\r\n");
    let refused = import(&site, &peer, &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    for words in ["the source has given the same UIDs", "--allow-reset"] {
        assert!(refused.output().contains(words), "{words}: {}", refused.output());
    }
    let count = here.select("INBOX").unwrap().exists;
    let said = import(&site, &peer, &["--allow-reset", "--final"]).well("put aside").output();
    let words = format!("{count} messages lie in 'INBOX (before the import)' now");
    assert!(said.contains(&words), "{said}");
    drop(here);
    assert_equal(&site, &peer, "taken again");
    let aside = site.imap().select("INBOX (before the import)").unwrap();
    assert_eq!(aside.exists, count, "nothing is lost");

    // A mailbox that was made anew there.
    there.ok("UNSELECT").unwrap();
    there.ok("DELETE Sent").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    there.ok("CREATE Sent").unwrap();
    let refused = import(&site, &peer, &[]);
    assert_eq!(refused.code, Some(1), "{}", refused.output());
    assert!(refused.output().contains("Sent: it was made anew"), "{}", refused.output());
    import(&site, &peer, &["--allow-reset", "--final"]).well("taken again");
    assert_equal(&site, &peer, "made anew");
}

#[test]
fn a_run_that_was_broken_off_anywhere_is_gone_on_with() {
    let Some(mut site) = site("migration") else { return };
    let mut peer = Peer::start(&mut site, "sdbox", "separator = /");
    fill(&peer, 200);
    // Writes the configuration and the password.
    import(&site, &peer, &["--dry-run"]).well("a dry run");
    let mut counts = Vec::new();
    for round in 0..4 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pillarbox"));
        command.args(["import", "imap", USER, "127.0.0.1", "--plain-on-loopback", "--port"]);
        command.arg(peer.imap.port().to_string());
        command.arg("--password-file").arg(site.folder.join("password"));
        command.args(["--messages-per-second", "20", "--config"]);
        command.arg(site.folder.join("pillarbox.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.process_group(0).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1300));
        match round {
            // The source dies.
            1 => {
                let _ = kill_process_group(Pid::from_child(&peer.child), Signal::KILL);
                peer.child.wait().unwrap();
                assert_eq!(child.wait().unwrap().code(), Some(75), "the same may succeed later");
                let mut command = Command::new("dovecot");
                command.arg("-F").arg("-c").arg(peer.folder.join("dovecot.conf"));
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                peer.child = command.process_group(0).spawn().unwrap();
                let imap = peer.imap;
                tool::wait_until("Dovecot greets", DEADLINE, || Imap::connect(imap).ok());
            }
            // The store dies.
            2 => {
                site.kill9();
                assert_eq!(child.wait().unwrap().code(), Some(75), "the same may succeed later");
                site.start();
            }
            _ => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        let mut imap = site.imap();
        let brought = MAILBOXES.iter().filter_map(|name| Some(imap.select(name).ok()?.exists));
        counts.push(brought.sum::<u32>());
    }
    assert!(counts.is_sorted() && counts.last() > counts.first(), "it goes on: {counts:?}");
    import(&site, &peer, &["--final"]).well("to the end");
    assert_equal(&site, &peer, "broken off four times");
    site.stop();
    site.pillarbox(&["check"]).well("check");
}

#[test]
fn a_list_of_accounts_comes_by_a_master_user_and_prefixes_stay_there() {
    let Some(mut site) = site("migration") else { return };
    let namespace = "separator = .\n prefix = INBOX.";
    let peer = Peer::start(&mut site, "maildir", namespace);
    for user in [USER, OTHER_USER] {
        let mut imap = Imap::login(peer.imap, user, PASSWORD).unwrap();
        imap.ok("CREATE INBOX.Work.2024").unwrap();
        append(&mut imap, "INBOX.Work.2024", 1, b"Subject: a\r\n\r\na\r\n");
        append(&mut imap, "INBOX", 2, b"Subject: b\r\n\r\nb\r\n");
    }
    let list = site.folder.join("list");
    std::fs::write(&list, format!("# all\n{USER} {USER}\n{OTHER_USER}\t{OTHER_USER}\n")).unwrap();
    let password = site.folder.join("master");
    std::fs::write(&password, format!("{MASTER_PASSWORD}\n")).unwrap();
    let (port, list, password) = (peer.imap.port().to_string(), text_of(&list), text_of(&password));
    let ca = text_of(&peer.folder.join("ca.pem"));
    let mut arguments = vec!["import", "imap", "127.0.0.1", "--users", &list, "--port", &port];
    arguments.extend(["--starttls", "--ca", &ca, "--master", MASTER, "--password-file"]);
    arguments.extend([password.as_str(), "--jobs", "2", "--final"]);
    let said = site.pillarbox(&arguments).well("all accounts").output();
    assert!(said.contains("imported 4 messages into 2 accounts; both sides are equal"), "{said}");
    for user in [USER, OTHER_USER] {
        let mut there = Imap::login(peer.imap, user, PASSWORD).unwrap();
        let mut here = Imap::login(site.imap, user, PASSWORD).unwrap();
        for (prefixed, name) in [("INBOX", "INBOX"), ("INBOX.Work.2024", "Work/2024")] {
            assert!(seen(&mut there, prefixed) == seen(&mut here, name), "{user}: {name}");
        }
    }
}

/// A server that says something and then goes on saying it.
fn talker(greeting: &'static str, more: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(greeting.as_bytes());
        let mut line = [0; 256];
        while let Ok(1..) = stream.read(&mut line) {
            if more.is_empty() || stream.write_all(more.as_bytes()).is_err() {
                break;
            }
        }
    });
    port
}

#[test]
fn whatever_is_wrong_is_said_and_nothing_is_changed() {
    let Some(mut site) = site("migration") else { return };
    let peer = Peer::start(&mut site, "sdbox", "separator = /");
    import(&site, &peer, &["--dry-run"]).well("a dry run");
    let file = |name: &str| text_of(&site.folder.join(name));
    std::fs::write(file("wrong"), "wrong\n").unwrap();
    let (right, wrong) = (file("password"), file("wrong"));
    let (own, other) = (file("dovecot/ca.pem"), file("dovecot/other.pem"));
    let certificate = file("dovecot/cert.pem");
    let (port, tls) = (peer.imap.port().to_string(), peer.tls.port().to_string());
    let (lmtp, nobody) = (site.lmtp.port().to_string(), site.ports.next().port().to_string());
    let no_imap = talker("SSH-2.0-OpenSSH_9.2\r\n", "").to_string();
    let endless =
        talker("* OK [CAPABILITY IMAP4rev1] hi\r\n", "* 1 FETCH (BODY[] {99999999999}\r\n");
    let garbage = talker("* OK hi\r\n", "((((\"\r\n").to_string();
    let endless = endless.to_string();
    let zeros = "00".repeat(32);
    let stranger = format!("nobody@{}", USER.split_once('@').unwrap().1);
    let plain = "--plain-on-loopback";
    let cases: [(&[&str], i32, &str); 12] = [
        (&[USER, plain, "--port", &port, "--password-file", &wrong], 77, "does not let"),
        (&[&stranger, plain, "--port", &port, "--password-file", &right], 67, "no account"),
        (&[USER, plain, "--port", &nobody, "--password-file", &right], 75, "cannot connect"),
        (&[USER, plain, "--port", &lmtp, "--password-file", &right], 1, "does not speak IMAP"),
        (&[USER, plain, "--port", &no_imap, "--password-file", &right], 1, "no response"),
        (&[USER, plain, "--port", &endless, "--password-file", &right], 1, "a literal is larger"),
        (&[USER, plain, "--port", &garbage, "--password-file", &right], 1, "does not speak IMAP"),
        (&[USER, "--tls", "--port", &port, "--password-file", &right], 77, "no TLS with"),
        (&[USER, "--port", &tls, "--password-file", &right], 77, "see --ca and --fingerprint"),
        (
            &[USER, "--port", &tls, "--ca", &other, "--password-file", &right],
            77,
            "see --ca and --fingerprint",
        ),
        (
            &[USER, "--port", &tls, "--fingerprint", &zeros, "--password-file", &right],
            77,
            "has the fingerprint",
        ),
        (&[USER, "--port", &tls, "--fingerprint", "7", "--password-file", &right], 2, "64 hex"),
    ];
    for (more, code, words) in cases {
        let mut arguments = vec!["import", "imap", more[0], "127.0.0.1"];
        arguments.extend(&more[1..]);
        let ended = site.pillarbox(&arguments);
        assert_eq!(ended.code, Some(code), "{more:?}: {}", ended.output());
        assert!(ended.output().contains(words), "{more:?}: {}", ended.output());
        assert!(!ended.output().contains(PASSWORD), "{more:?} shows the password");
    }
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0);
    let arguments = ["import", "imap", USER, "127.0.0.1", "--port", &tls, "--ca", &own];
    let arguments = [&arguments[..], &["--password-file", &right]].concat();
    site.pillarbox(&arguments).well("the right authority");
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &certificate]);
    let fingerprint = tool::run(&mut openssl, b"", DEADLINE).well("openssl").stdout;
    let fingerprint = fingerprint.trim();
    let arguments = ["import", "imap", USER, "127.0.0.1", "--port", &tls, "--fingerprint"];
    let arguments = [&arguments[..], &[fingerprint, "--password-file", &right]].concat();
    site.pillarbox(&arguments).well("the right certificate");
}
