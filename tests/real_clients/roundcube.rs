//! Roundcube from Debian in headless Chromium, as a person uses it: log in, open a mail with an
//! attachment, search, move, flag, delete, look into what somebody shares.
//!
//! `tests/clients/roundcube.py` runs PHP's own server and drives the browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::recorder::Recorder;
use crate::support::imap::Imap;
use crate::support::site::{OTHER_USER, PASSWORD, Site, USER};
use crate::support::tool;
use crate::transcripts;

const DEADLINE: Duration = Duration::from_secs(300);
/// Where Debian's package has what is served.
const PUBLIC: &str = "/var/lib/roundcube/public_html/index.php";

/// Stores a message with that subject.
fn append(imap: &mut Imap, mailbox: &str, subject: &str, content_type: &str, body: &str) {
    let text = format!(
        "From: anna@example.com\r\nTo: {USER}\r\nSubject: {subject}\r\n\
         Date: Tue, 1 Jul 2025 10:00:00 +0000\r\nMIME-Version: 1.0\r\n\
         Content-Type: {content_type}\r\n\r\n{body}"
    );
    assert_eq!(imap.append(mailbox, "", text.as_bytes()).unwrap().status, "OK");
}

#[test]
fn a_person_works_with_roundcube() {
    let programs = ["chromium", "chromedriver", "php", "python3"];
    if !tool::present("Roundcube", &programs) {
        return;
    }
    if !Path::new(PUBLIC).is_file() {
        return tool::skipped("Roundcube", "roundcube-core is not installed (make deps)");
    }
    let mut site = Site::started();
    if !site.is_pillarbox() {
        return;
    }
    let recorder = Recorder::before(site.imap);
    let mut imap = Imap::login(recorder.address, USER, PASSWORD).unwrap();
    for subject in ["=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "to move", "to delete"] {
        append(&mut imap, "INBOX", subject, "text/plain", "Text.\r\n");
    }
    let parts = "--b\r\nContent-Type: text/plain\r\n\r\nSee it.\r\n\
                 --b\r\nContent-Type: text/csv; name=\"table.csv\"\r\n\
                 Content-Disposition: attachment; filename=\"table.csv\"\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\nYTtiDQoxOzINCg==\r\n--b--\r\n";
    append(&mut imap, "INBOX", "with attachment", "multipart/mixed; boundary=\"b\"", parts);
    imap.ok("LOGOUT").unwrap();
    drop(imap);
    recorder.settle();
    let mut other = Imap::login(recorder.address, OTHER_USER, PASSWORD).unwrap();
    other.ok("CREATE Team").unwrap();
    other.ok(&format!("SETACL Team {USER} lrs")).unwrap();
    append(&mut other, "Team", "shared", "text/plain", "For all of us.\r\n");
    other.ok("LOGOUT").unwrap();
    drop(other);
    recorder.settle();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/roundcube.py");
    let (http, driver) = (site.ports.next().port(), site.ports.next().port());
    let mut python = Command::new("python3");
    python.arg("-B").arg(script).arg(site.folder.join("roundcube"));
    python.args([recorder.address.port(), http, driver].map(|port| port.to_string()));
    python.args([USER, PASSWORD, &format!("Other Users/{OTHER_USER}/Team")]);
    tool::run(&mut python, b"", DEADLINE).well("Roundcube");

    let mut imap = site.imap();
    for (mailbox, query, count) in [
        ("INBOX", "ALL", 2),
        ("INBOX", "SUBJECT attachment SEEN", 1),
        ("INBOX", "FLAGGED UNSEEN", 1),
        ("Archive", "SUBJECT move", 1),
        ("Trash", "SUBJECT delete", 1),
    ] {
        imap.select(mailbox).unwrap();
        assert_eq!(imap.search(query).unwrap().len(), count, "{mailbox}: {query}");
    }
    recorder.settle();
    let mut headings = vec!["a client stores four messages", "another person shares a mailbox"];
    // A connection for each request of the browser.
    headings.resize(recorder.sessions().len(), "a request");
    let headings: Vec<String> = headings.into_iter().map(str::to_owned).collect();
    transcripts::keep("roundcube", "Roundcube of Debian", &recorder, &headings);
    recorder.assert_understood("Roundcube");
    site.assert_no_complaint("Roundcube");
}
