//! POP3 clients, unmodified: curl, Python's poplib, fetchmail, getmail.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::support::corpus::Mail;
use crate::support::site::{PASSWORD, Site, USER, files_below, set_mode};
use crate::support::tool;

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
    let home = folder.path().join("fetchmail");
    std::fs::create_dir_all(home.join("mail")).unwrap();
    let rc = home.join("rc");
    let mail = home.join("mail");
    let text = format!(
        "set no bouncemail\npoll localhost protocol pop3 port {tls_port} uidl bad-header accept\n\
         user \"{USER}\" password \"{PASSWORD}\" ssl sslcertfile {} keep no rewrite\n\
         mda \"cat > $(mktemp {}/XXXXXXXX)\"\n",
        certificate.display(),
        mail.display(),
    );
    std::fs::write(&rc, text).unwrap();
    set_mode(&rc, 0o600);
    let fetchmail = || {
        let mut fetchmail = Command::new("fetchmail");
        fetchmail.env("FETCHMAILHOME", &home).env("HOME", &home);
        fetchmail.args(["--nosyslog", "--nodetach", "--fetchmailrc"]).arg(&rc);
        tool::run(&mut fetchmail, b"", DEADLINE)
    };
    fetchmail().well("fetchmail");
    assert_eq!(files_below(&mail).unwrap().len(), messages.len(), "each message");
    // fetchmail's code 1: there was nothing new.
    assert_eq!(fetchmail().code, Some(1), "by their unique ids all are known");
    assert_eq!(files_below(&mail).unwrap().len(), messages.len(), "and only once");

    let home = folder.path().join("getmail");
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
    assert_eq!(files_below(&mail).unwrap().len(), messages.len());
    assert_eq!(site.imap().select("INBOX").unwrap().exists, 0, "fetched and deleted");
}
