//! Words of attached documents are found, whatever becomes of who makes text of them.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::document::{mail_with, pdf};
use support::site::{Site, USER, binary};
use support::tool;

const PDF: (&str, &str) = ("application/pdf", "offer.pdf");
const DEADLINE: Duration = Duration::from_secs(60);

/// As the example of the configuration has it.
const PDFTOTEXT: &str = "[[extractor]]\ntypes = [\"application/pdf\", \".pdf\"]\n\
    command = [\"pdftotext\", \"-q\", \"-enc\", \"UTF-8\", \"/dev/stdin\", \"-\"]\n";

fn site(config: &str) -> Option<Site> {
    let mut site = Site::new();
    site.configure(config);
    site.is_pillarbox().then(|| {
        site.start();
        site
    })
}

fn deliver(site: &Site, message: &[u8]) {
    let replies = site.lmtp().deliver("a@example.net", &[USER], message).unwrap();
    assert_eq!(replies[0].code, 250, "{replies:?}");
}

fn found(site: &Site, key: &str) -> usize {
    let mut imap = site.imap();
    imap.select("INBOX").unwrap();
    imap.search(key).unwrap().len()
}

fn status(site: &Site) -> String {
    site.pillarbox(&["index", "status", USER]).well("index status").stdout
}

fn await_status(site: &Site, words: &str) {
    tool::wait_until(words, DEADLINE, || status(site).contains(words).then_some(()));
}

fn number_before(words: &str, behind: &str) -> usize {
    let before = words.split(behind).next().unwrap();
    before.split_whitespace().next_back().unwrap().parse().unwrap()
}

#[test]
fn words_of_a_pdf_are_found_from_its_delivery_on_through_merges_and_restarts() {
    if !tool::present("documents", &["pdftotext"]) {
        return;
    }
    let Some(mut site) = site(PDFTOTEXT) else { return };
    deliver(&site, &mail_with("See the file.", PDF, &pdf("Zeppelin -- Hangar, 42 EUR")));
    assert_eq!(found(&site, "BODY zeppelin"), 1, "as soon as it is acknowledged");
    await_status(&site, "1 documents, 0 of which");
    let octets = ("application/octet-stream", "Offer.PDF");
    let needles = ["BODY eppeli", "TEXT \"ZEPPELIN -- HANGAR,\"", "BODY \"lin -- han\""];
    let all_found = |site: &Site| {
        for needle in needles {
            assert_eq!(found(site, needle), 1, "{needle}");
        }
        assert_eq!(found(site, "BODY \"zeppelin - hangar\""), 0);
        assert_eq!(found(site, "SUBJECT zeppelin"), 0);
    };
    all_found(&site);
    for number in 2..=12 {
        deliver(&site, &mail_with("And this.", octets, &pdf(&format!("Luftschiff{number}x"))));
        await_status(&site, &format!("{number} documents, 0 of which"));
    }
    tool::wait_until("a merge", DEADLINE, || {
        (number_before(&status(&site), " piece") < 8).then_some(())
    });
    all_found(&site);
    assert_eq!(found(&site, "BODY luftschiff"), 11);
    site.stop();
    // Nobody makes text of anything now: what is found was kept.
    site.configure_nothing();
    site.start();
    all_found(&site);
    assert!(status(&site).contains("12 messages were indexed when extractors were set otherwise"));
    site.stop();
    site.pillarbox(&["check"]).well("check");
}

/// What an extractor can do wrong: command, limits, what the log says, and a key that finds the
/// mail all the same.
const WRONG: [(&str, &str, &str, &str); 9] = [
    ("hang", "[\"sleep\", \"607\"]", "longer than timeout_seconds", "BODY mail-hang"),
    (
        "group",
        "[\"sh\", \"-c\", \"trap '' TERM; echo Begun-well; sleep 607 & sleep 607\"]",
        "longer than timeout_seconds",
        "BODY begun-well",
    ),
    ("memory", "[\"tail\", \"/dev/zero\"]", "memory exhausted", "BODY mail-memory"),
    ("endless", "[\"yes\", \"Endlosband\"]", "more than output_bytes", "BODY endlosband"),
    ("crash", "[\"sh\", \"-c\", \"kill -SEGV $$\"]", "crashed with signal 11", "BODY mail-crash"),
    (
        "code",
        "[\"sh\", \"-c\", \"echo bad  luck >&2; exit 3\"]",
        "ended with code 3: bad luck",
        "BODY mail-code",
    ),
    ("large", "[\"cat\"]", "it has 5000 bytes", "BODY mail-large"),
    (
        "open",
        "[\"sh\", \"-c\", \"echo held $(ls -l /proc/self/fd | grep -c /data/) at $(pwd) with \
         $(env | sort)\"]",
        "",
        "BODY \"held 0 at / with HOME=/ LANG=C.UTF-8 PATH=/usr/local/bin:/usr/bin:/bin PWD=/\"",
    ),
    (
        "file",
        "[\"sh\", \"-c\", \"exec cat > FOLDER/left-over\"]",
        "because it would write a file",
        "BODY mail-file",
    ),
];

#[test]
fn whatever_an_extractor_does_mail_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    support::site::set_mode(folder.path(), 0o777);
    let mut config = String::new();
    for (name, command, ..) in WRONG {
        let command = command.replace("FOLDER", folder.path().to_str().unwrap());
        config += &format!(
            "[[extractor]]\ntypes = [\"application/x-{name}\"]\ncommand = {command}\n\
             timeout_seconds = 2\nmemory_bytes = \"64 MiB\"\ninput_bytes = 4000\n\
             output_bytes = 100000\n"
        );
    }
    let Some(mut site) = site(&config) else { return };
    for (name, _, reason, key) in WRONG {
        let kind = format!("application/x-{name}");
        let bytes = vec![b'x'; if name == "large" { 5000 } else { 500 }];
        let text = format!("mail-{name}");
        let begun = Instant::now();
        deliver(&site, &mail_with(&text, (&kind, "secret-name.bin"), &bytes));
        assert!(begun.elapsed() < Duration::from_secs(2), "{name}: delivery waits for nobody");
        site.await_log(reason);
        assert_eq!(found(&site, key), 1, "{name}");
    }
    await_status(&site, "9 documents, 8 of which gave no text or not all");
    let log = site.log();
    assert!(!log.contains("secret-name"), "no name of a file is logged");
    let left = std::fs::read(folder.path().join("left-over")).unwrap();
    assert_eq!(left, b"", "a file may be made, and gets no byte");
    for line in ["sleep\x00607\0", "yes\0Endlosband\0", "tail\0/dev/zero\0"] {
        assert_eq!(running(line), 0, "{line:?} is left over");
    }
    // What failed is not tried again.
    site.stop();
    site.start();
    await_status(&site, "9 documents, 8 of which gave no text or not all");
    assert_eq!(found(&site, "BODY endlosband"), 1);
    assert!(!site.log().contains("a document gave no text"), "{}", site.log());
}

/// Programs that run and were begun with this line.
fn running(begun_with: &str) -> usize {
    let line = |entry: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(entry.ok()?.path().join("cmdline")).ok()
    };
    let lines = std::fs::read_dir("/proc").unwrap().filter_map(line);
    lines.filter(|line| line.ends_with(begun_with)).count()
}

/// Stands in for Apache Tika, whose protocol is a PUT that is answered with text.
const SERVICE: &str = r#"
import http.server, sys, time
class Tika(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ok = self.path == "/tika" and self.headers["Accept"] == "text/plain"
        ok = ok and self.headers["Content-Type"] == "application/msword"
        if body == b"slow": time.sleep(60)
        text = b"" if body == b"encrypted" else b"Werkstatt " + body[::-1]
        if body == b"long": text = b"x" * 2000000
        self.send_response(422 if body == b"encrypted" else 200 if ok else 400)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Tika).serve_forever()
"#;

struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_service_makes_text_of_documents_as_soon_as_it_is_there() {
    if !tool::present("documents", &["python3"]) {
        return;
    }
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    let address = site.ports.next();
    site.configure(&format!(
        "[[extractor]]\ntypes = [\"application/msword\"]\nurl = \"http://{address}/tika\"\n\
         timeout_seconds = 2\noutput_bytes = 100000\n"
    ));
    site.start();
    let send = |site: &Site, document: &[u8]| {
        deliver(site, &mail_with("See.", ("application/msword", "a.doc"), document));
    };
    send(&site, b"tiehlekmokreV");
    site.await_log("a document's text is not to be had now");
    assert_eq!(found(&site, "BODY verkomkelheit"), 0, "nobody is there to make its text");
    assert_eq!(found(&site, "BODY see"), 1);
    let service = Command::new("python3")
        .args(["-c", SERVICE, &address.port().to_string()])
        .stdin(Stdio::null())
        .spawn();
    let _service = Service(service.unwrap());
    tool::wait_until("the service answers", DEADLINE, || {
        std::net::TcpStream::connect(address).is_ok().then_some(())
    });
    assert_eq!(found(&site, "BODY \"werkstatt verkomkelheit\""), 1);
    for (document, reason) in [
        (&b"encrypted"[..], "status 422"),
        (b"slow", "longer than timeout_seconds"),
        (b"long", "longer than output_bytes"),
    ] {
        send(&site, document);
        site.await_log(reason);
    }
    send(&site, b"ednE");
    await_status(&site, "4 documents, 3 of which");
    assert_eq!(found(&site, "BODY \"werkstatt ende\""), 1);
    // After a start what had to wait is taken up.
    site.stop();
    site.start();
    await_status(&site, "5 documents, 3 of which");
    assert_eq!(found(&site, "BODY \"werkstatt verkomkelheit\""), 1);
}

#[test]
fn a_program_that_is_not_there_is_said_by_config_check_and_stops_nobody() {
    let config = "[[extractor]]\ntypes = [\".xyz\"]\ncommand = [\"no-such-program\"]\n";
    let Some(site) = site(config) else { return };
    site.await_log("an extractor's program is not there");
    deliver(&site, &mail_with("Hello there.", ("application/x-xyz", "a.xyz"), b"x"));
    assert_eq!(found(&site, "BODY hello"), 1);
    let file = site.folder.join("pillarbox.toml");
    let checked = binary(&["config", "check", file.to_str().unwrap()], &[], b"");
    assert_eq!(checked.code, Some(78), "{}", checked.output());
    assert!(checked.output().contains("there is no program \"no-such-program\""));
}
