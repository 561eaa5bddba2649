//! POP3 clients, unmodified: curl, Python's poplib, fetchmail, getmail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::recorder::Recorder;
use crate::support::corpus::Mail;
use crate::support::imap::Imap;
use crate::support::site::{PASSWORD, Site, USER, files_below, set_mode};
use crate::support::tool::{self, Ended};
use crate::transcripts;

const DEADLINE: Duration = Duration::from_secs(120);
/// Messages of the corpus that are read; each client asks for each several times.
const MESSAGES_MAX: usize = 60;

/// A site that speaks POP3, and its ports: with STLS, with TLS.
fn site() -> (Site, u16, u16) {
    let mut site = Site::new();
    let (plain, tls) = (site.ports.next(), site.ports.next());
    site.configure(&format!("[pop3]\nlisten = [\"{plain}\"]\nlisten_tls = [\"{tls}\"]"));
    site.start();
    (site, plain.port(), tls.port())
}

/// Messages whose lines end in CRLF, the last one too: others POP3 cannot carry unchanged.
fn messages() -> Vec<Vec<u8>> {
    let is_text = |message: &[u8]| {
        let lone = message.windows(2).any(|pair| (pair[0] == b'\r') != (pair[1] == b'\n'));
        !lone && message.ends_with(b"\r\n") && !message.starts_with(b"\n") && !message.contains(&0)
    };
    let samples = Mail::load().samples.into_iter().map(|sample| sample.bytes);
    let mut messages: Vec<_> = samples.filter(|bytes| is_text(bytes)).take(MESSAGES_MAX).collect();
    messages.push(b"From: a@example.com\r\nSubject: dots\r\n\r\n.\r\n..\r\n.a\r\n".to_vec());
    messages
}

fn filled(site: &Site) -> Vec<Vec<u8>> {
    let messages = messages();
    let mut imap = site.imap();
    for message in &messages {
        assert_eq!(imap.append("INBOX", "", message).unwrap().status, "OK");
    }
    messages
}

fn certificate(site: &Site) -> PathBuf {
    site.folder.join("data.tls/certificate.pem")
}

fn sorted(folder: &Path) -> Vec<Vec<u8>> {
    let read = files_below(folder).unwrap().into_iter().map(|file| std::fs::read(file).unwrap());
    let mut read: Vec<_> = read.collect();
    read.sort();
    read
}

/// Where fetchmail puts mail, and what fetches it.
fn fetchmail(folder: &Path, port: u16, tls: &str) -> (PathBuf, impl Fn() -> Ended) {
    let home = folder.join("fetchmail");
    std::fs::create_dir_all(home.join("mail")).unwrap();
    let rc = home.join("rc");
    let mail = home.join("mail");
    let text = format!(
        "set no bouncemail\npoll localhost protocol pop3 port {port} uidl bad-header accept\n\
         user \"{USER}\" password \"{PASSWORD}\" {tls} keep no rewrite\n\
         mda \"cat > $(mktemp {}/XXXXXXXX)\"\n",
        mail.display(),
    );
    std::fs::write(&rc, text).unwrap();
    set_mode(&rc, 0o600);
    let run = move || {
        let mut fetchmail = Command::new("fetchmail");
        fetchmail.env("FETCHMAILHOME", &home).env("HOME", &home);
        fetchmail.args(["--nosyslog", "--nodetach", "--fetchmailrc"]).arg(&rc);
        tool::run(&mut fetchmail, b"", DEADLINE)
    };
    (mail, run)
}

/// Fetches and deletes all mail; where getmail has put it.
fn getmail(folder: &Path, port: u16) -> PathBuf {
    let home = folder.join("getmail");
    let mail = home.join("mail");
    std::fs::create_dir_all(&mail).unwrap();
    let rc = home.join("rc");
    let text = format!(
        "[retriever]\ntype = SimplePOP3Retriever\nserver = localhost\nport = {port}\n\
         username = {USER}\npassword = {PASSWORD}\n\
         [destination]\ntype = MDA_external\npath = /bin/sh\nallow_root_commands = true\n\
         arguments = (\"-c\", \"cat > $(mktemp {}/XXXXXXXX)\")\n\
         [options]\ndelete = true\ndelivered_to = false\nreceived = false\nverbose = 1\n",
        mail.display()
    );
    std::fs::write(&rc, text).unwrap();
    let mut getmail = Command::new("getmail");
    getmail.env("HOME", &home).arg(format!("--getmaildir={}", home.display()));
    getmail.arg(format!("--rcfile={}", rc.display()));
    tool::run(&mut getmail, b"", DEADLINE).well("getmail");
    mail
}

/// A site with two messages, which another client has stored, and where a recorder hears POP3.
fn recorded() -> (Site, Recorder, u16) {
    let (site, port, _) = site();
    let recorder = Recorder::before(site.imap);
    let pop3 = recorder.also_before(([127, 0, 0, 1], port).into()).port();
    let mut other = Imap::login(recorder.address, USER, PASSWORD).unwrap();
    for text in ["Subject: one\r\n\r\nOne.\r\n", "Subject: two\r\n\r\n.\r\n..Two\r\n"] {
        assert_eq!(other.append("INBOX", "", text.as_bytes()).unwrap().status, "OK");
    }
    other.ok("LOGOUT").unwrap();
    drop(other);
    recorder.settle();
    (site, recorder, pop3)
}

fn keep(client: &str, version: &[&str], site: &Site, recorder: &Recorder, headings: &[&str]) {
    let ended = tool::run(Command::new(client).args(version), b"", DEADLINE);
    let version = ended.stdout.lines().next().unwrap_or_default().trim().to_owned();
    let first = "another client stores two messages";
    let headings = [&[first], headings].concat();
    let headings: Vec<String> = headings.into_iter().map(str::to_owned).collect();
    transcripts::keep(client, &version, recorder, &headings);
    recorder.assert_understood(client);
    site.assert_no_complaint(client);
}

#[test]
fn curl_fetchmail_and_getmail_are_written_down() {
    if !tool::present("transcripts of POP3", &["curl", "fetchmail", "getmail"]) {
        return;
    }
    let (site, recorder, port) = recorded();
    if !site.is_pillarbox() {
        return;
    }
    let imap = recorder.address;
    let urls = [
        (format!("pop3://127.0.0.1:{port}/"), "POP3: a list"),
        (format!("pop3://127.0.0.1:{port}/2"), "POP3: a message"),
        (format!("imap://{imap}/"), "a list of mailboxes"),
        (format!("imap://{imap}/INBOX?SUBJECT%20two"), "a search"),
        (format!("imap://{imap}/INBOX;UID=2"), "a message"),
    ];
    for (url, _) in &urls {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--login-options", "AUTH=PLAIN", "--user"]);
        curl.arg(format!("{USER}:{PASSWORD}")).arg(url);
        tool::run(&mut curl, b"", DEADLINE).well(url);
        recorder.settle();
    }
    keep("curl", &["--version"], &site, &recorder, &urls.each_ref().map(|(_, heading)| *heading));

    let (site, recorder, port) = recorded();
    let (mail, fetchmail) = fetchmail(&site.folder, port, "sslproto \"\"");
    fetchmail().well("fetchmail");
    assert_eq!(files_below(&mail).unwrap().len(), 2);
    recorder.settle();
    assert_eq!(fetchmail().code, Some(1), "by their unique ids all are known");
    let headings = ["POP3: two messages are new", "POP3: none is new"];
    keep("fetchmail", &["--version"], &site, &recorder, &headings);

    let (site, recorder, port) = recorded();
    assert_eq!(files_below(&getmail(&site.folder, port)).unwrap().len(), 2);
    keep("getmail", &["--version"], &site, &recorder, &["POP3: fetched and deleted"]);
}

#[test]
fn curl_and_poplib_read_every_byte() {
    if !tool::present("POP3 by curl and poplib", &["curl", "python3"]) {
        return;
    }
    let (site, port, tls_port) = site();
    if !site.is_pillarbox() {
        return;
    }
    let messages = filled(&site);
    for (scheme, port) in [("pop3", port), ("pop3s", tls_port)] {
        for (number, message) in messages.iter().enumerate().step_by(7) {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--ssl-reqd", "--user"]);
            curl.arg(format!("{USER}:{PASSWORD}")).arg("--cacert").arg(certificate(&site));
            let file = site.folder.join("curl");
            curl.arg("--output").arg(&file);
            curl.arg(format!("{scheme}://127.0.0.1:{port}/{}", number + 1));
            tool::run(&mut curl, b"", DEADLINE).well(scheme);
            assert!(std::fs::read(&file).unwrap() == *message, "{scheme}: message {number}");
        }
    }
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/poplib_reads.py");
    let mut python = Command::new("python3");
    python.arg(script).arg("127.0.0.1").args([port.to_string(), tls_port.to_string()]);
    python.arg(certificate(&site)).args([USER, PASSWORD]).arg(folder.path());
    tool::run(&mut python, b"", DEADLINE).well("poplib");
    let mut expected = messages.clone();
    expected.sort();
    assert!(sorted(folder.path()) == expected, "poplib read other bytes than were stored");
    assert_eq!(site.imap().select("INBOX").unwrap().exists as usize, messages.len() - 1);
}

#[test]
fn fetchmail_and_getmail_fetch_each_message_once() {
    if !tool::present("POP3 by fetchmail and getmail", &["fetchmail", "getmail"]) {
        return;
    }
    let (site, port, tls_port) = site();
    if !site.is_pillarbox() {
        return;
    }
    let messages = filled(&site);
    let certificate = certificate(&site);
    let folder = tempfile::tempdir_in(&site.folder).unwrap();
    let tls = format!("ssl sslcertfile {}", certificate.display());
    let (mail, fetchmail) = fetchmail(folder.path(), tls_port, &tls);
    fetchmail().well("fetchmail");
    assert_eq!(files_below(&mail).unwrap().len(), messages.len(), "each message");
    // fetchmail's code 1: there was nothing new.
    assert_eq!(fetchmail().code, Some(1), "by their unique ids all are known");
    assert_eq!(files_below(&mail).unwrap().len(), messages.len(), "and only once");

    let mail = getmail(folder.path(), port);
    assert_eq!(files_below(&mail).unwrap().len(), messages.len());
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0, "fetched and deleted");
}
