//! Ways to log in, by clients that know nothing of us: SCRAM by Cyrus SASL in mbsync and by Python,
//! tokens and certificates by curl; and a session that Python's zlib compresses.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::site::{PASSWORD, Site, USER, files_below};
use crate::support::tool;

const DEADLINE: Duration = Duration::from_secs(120);

#[test]
fn imaplib_logs_in_by_every_mechanism_and_reads_compressed() {
    if !tool::present("logins by imaplib", &["python3"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/imaplib_logins.py");
    let mut python = Command::new("python3");
    python.arg(script).args(["127.0.0.1", &site.imap.port().to_string(), USER, PASSWORD]);
    tool::run(&mut python, b"", DEADLINE).well("imaplib");
    let failed = format!("imap-login: failed user=<{USER}> rip=127.0.0.1");
    site.await_log(&failed);
    let log = site.log();
    assert_eq!(log.matches(&failed).count(), 1, "a line for who bans guessers:\n{log}");
}

#[test]
fn mbsync_proves_its_password_by_scram() {
    if !tool::present("SCRAM by mbsync", &["mbsync"]) {
        return;
    }
    let site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let message = b"From: a@example.com\r\nSubject: a\r\n\r\nbody\r\n";
    assert_eq!(site.imap().append("INBOX", "", message).unwrap().status, "OK");
    for mechanism in ["SCRAM-SHA-256", "PLAIN", "LOGIN"] {
        let folder = tempfile::tempdir_in(&site.folder).unwrap();
        let path = folder.path().display();
        let config = format!(
            "IMAPStore far\nHost localhost\nPort {}\nUser {USER}\nPass \"{PASSWORD}\"\n\
             SSLType IMAPS\nCertificateFile {}\nAuthMechs {mechanism}\n\n\
             MaildirStore near\nPath {path}/\nInbox {path}/inbox\n\n\
             Channel all\nFar :far:INBOX\nNear :near:copy\nSync Pull\nCreate Near\n\
             SyncState {path}/state-\n",
            site.imap_tls.port(),
            site.folder.join("data.tls/certificate.pem").display(),
        );
        let config_file = folder.path().join("mbsyncrc");
        std::fs::write(&config_file, config).unwrap();
        let mut mbsync = Command::new("mbsync");
        mbsync.arg("--config").arg(&config_file).arg("all");
        tool::run(&mut mbsync, b"", DEADLINE).well(mechanism);
        assert_eq!(files_below(&folder.path().join("copy/new")).unwrap().len(), 1, "{mechanism}");
    }
}

/// An endpoint that knows the token "right" of [`USER`], on a thread of its own.
fn token_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/introspect", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.ends_with(b"token_type_hint=access_token") {
                match stream.read(&mut piece) {
                    Ok(count) if count > 0 => request.extend_from_slice(&piece[..count]),
                    _ => break,
                }
            }
            let request = String::from_utf8_lossy(&request);
            let body = match request.contains("\r\n\r\ntoken=right&") {
                true => format!("{{\"active\":true,\"username\":\"{USER}\"}}"),
                false => "{\"active\":false}".to_owned(),
            };
            let length = body.len();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        }
    });
    address
}

#[test]
fn curl_logs_in_with_tokens_over_imap_and_pop3() {
    if !tool::present("tokens by curl", &["curl"]) {
        return;
    }
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    let pop3 = site.ports.next();
    std::fs::write(site.folder.join("secret"), "s3cret\n").unwrap();
    let secret = site.folder.join("secret");
    site.configure(&format!(
        "[pop3]\nlisten_tls = [\"{pop3}\"]\n\
         [tokens]\nintrospection_url = \"{}\"\nclient_id = \"mail\"\n\
         client_secret_file = {secret:?}",
        token_endpoint()
    ));
    site.start();
    let message = b"From: a@example.com\r\nSubject: a\r\n\r\nbody\r\n";
    assert_eq!(site.imap().append("INBOX", "", message).unwrap().status, "OK");
    let imap = format!("imaps://{}/INBOX;UID=1", site.imap_tls);
    let pop3 = format!("pop3s://{pop3}/1");
    for url in [&imap, &pop3] {
        for mechanism in ["OAUTHBEARER", "XOAUTH2"] {
            for (token, is_right) in [("right", true), ("wrong", false)] {
                let mut curl = Command::new("curl");
                curl.args(["--silent", "--show-error", "--user", USER]);
                curl.args(["--oauth2-bearer", token]);
                curl.args(["--login-options", &format!("AUTH={mechanism}")]);
                curl.arg("--cacert").arg(site.folder.join("data.tls/certificate.pem"));
                curl.arg(url);
                let read = tool::run(&mut curl, b"", DEADLINE);
                // curl's code 67: the login was denied.
                let expected = if is_right { Some(0) } else { Some(67) };
                assert_eq!(read.code, expected, "{url} {mechanism} {token}: {}", read.output());
                assert!(!is_right || read.stdout.as_bytes() == message);
            }
        }
    }
}

#[test]
fn curl_logs_in_with_a_certificate() {
    if !tool::present("certificates by curl", &["curl", "openssl"]) {
        return;
    }
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    let folder = site.folder.clone();
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(&folder).args(arguments.split(' '));
        tool::run(&mut openssl, b"", DEADLINE).well(arguments);
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out \
         ca.pem -subj /CN=Authority -days 9",
    );
    openssl(&format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout me.key -out me.csr \
         -subj /CN=Me -addext subjectAltName=email:{USER}"
    ));
    openssl(
        "x509 -req -in me.csr -CA ca.pem -CAkey ca.key -out me.pem -days 9 -copy_extensions copy",
    );
    let authority = site.folder.join("ca.pem");
    site.configure(&format!("[tls]\nclient_ca_file = {authority:?}"));
    site.start();
    let message = b"From: a@example.com\r\nSubject: a\r\n\r\nbody\r\n";
    assert_eq!(site.imap().append("INBOX", "", message).unwrap().status, "OK");
    for (with_certificate, expected) in [(true, Some(0)), (false, Some(67))] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--user", &format!("{USER}:")]);
        curl.args(["--login-options", "AUTH=EXTERNAL"]);
        curl.arg("--cacert").arg(site.folder.join("data.tls/certificate.pem"));
        if with_certificate {
            curl.arg("--cert").arg(site.folder.join("me.pem"));
            curl.arg("--key").arg(site.folder.join("me.key"));
        }
        curl.arg(format!("imaps://{}/INBOX;UID=1", site.imap_tls));
        let read = tool::run(&mut curl, b"", DEADLINE);
        assert_eq!(read.code, expected, "{}", read.output());
    }
}
