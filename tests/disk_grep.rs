//! Nothing readable lies in the data directory: no word, name, address or keyword of a real
//! workload.
//!
//! Every file is searched as bytes, in the letters of the needle and in lower case, in UTF-16 of
//! both orders, in base64 at each of its three alignments, and in hexadecimal; while the server
//! runs, after it was killed, and after it was stopped.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests stop at the first surprise, and count small things"
)]

mod support;

use support::document::{mail_with, pdf};
use support::imap::{Imap, quoted};
use support::site::{DOMAIN, OTHER_USER, PASSWORD, Site, USER, files_below};
use support::tool;

/// What a thief would look for; each appears in the workload below, and all are invented.
const NEEDLES: [&str; 21] = [
    "Quaestor-Zypressen",
    "Xylophonbauer",
    "Kryptonwerkstatt",
    "Fjordpferdezucht",
    "zwiebelkuchen-absender",
    "geheimrat.empfaenger",
    "Bernsteinzimmer Akten",
    "Mondscheintarif",
    "Nachtigallenweg",
    "Wolkenkuckucksheim",
    "Pfefferminzkeyword",
    "Suchbegriff-Obelisk",
    "Anhangname-Troglodyt",
    "boundary-Jaguarundi",
    "Weichselkirsche-Alias",
    "papageientaucher.example",
    "Zaunkoenig-Detail",
    "Hagebuttenbody",
    "Eintrag-Kastanienallee",
    "Anmerkung-Leuchtturm",
    "Kolibrifeder-im-Dokument",
];

/// The shortest piece of a word that is no accident in random bytes.
const PIECE_BYTES: usize = 8;

#[test]
fn no_word_of_the_mail_lies_readable_on_the_disk() {
    let mut site = Site::new();
    if !site.is_pillarbox() {
        return;
    }
    site.pillarbox(&["domain", "add", "papageientaucher.example"]).well("domain add");
    let account = "geheimrat.empfaenger@papageientaucher.example";
    site.pillarbox(&["account", "add", account]).well("account add");
    let alias = format!("Weichselkirsche-Alias@{DOMAIN}");
    site.pillarbox(&["alias", "add", &alias, USER]).well("alias add");
    import(&site, account);
    site.configure(
        "[[extractor]]\ntypes = [\"application/pdf\"]\n\
         command = [\"pdftotext\", \"-q\", \"-enc\", \"UTF-8\", \"/dev/stdin\", \"-\"]\n",
    );
    site.start();
    work(&site, account, &alias);
    let indexed = site.pillarbox(&["index", "rebuild", account]).well("index rebuild");
    assert!(indexed.stdout.contains(" more are read when they are"), "{}", indexed.output());
    let files = files_below(&site.data.join("volumes/main/index")).unwrap();
    assert!(!files.is_empty(), "the index is among what is looked at");
    // M10: names of users are in the log, for tools that ban guessers; so it lies elsewhere.
    assert!(Imap::login(site.imap, USER, "a guess").is_err());
    site.await_log(&format!("imap-login: failed user=<{USER}>"));
    let needles: Vec<&str> =
        NEEDLES.iter().copied().chain([USER, OTHER_USER, DOMAIN, PASSWORD]).collect();
    assert_nothing_readable(&site, &needles, "while it runs");
    site.kill9();
    assert_nothing_readable(&site, &needles, "after SIGKILL");
    site.start();
    let mut imap = site.imap();
    imap.select("INBOX").unwrap();
    if tool::present("disk_grep", &["pdftotext"]) {
        assert_eq!(imap.search("BODY Kolibrifeder").unwrap().len(), 1, "and the document");
    }
    // By the alias, by the address with a detail, and the large one; the first was expunged.
    assert_eq!(imap.search("TEXT Hagebuttenbody").unwrap().len(), 3, "the mail itself is there");
    site.stop();
    assert_nothing_readable(&site, &needles, "after a clean stop");
    site.pillarbox(&["check"]).well("check");
    assert_nothing_readable(&site, &needles, "after check");
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let folder = tempfile::tempdir().unwrap();
    let needle = "Xylophonbauer";
    let utf16: Vec<u8> = needle.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes) in [
        ("plain", b"..Xylophonbauer..".to_vec()),
        ("lower", b"..xylophonbauer..".to_vec()),
        ("utf16", utf16),
        ("base64-0", base64(b"Xylophonbauer").into_bytes()),
        ("base64-1", base64(b".Xylophonbauer").into_bytes()),
        ("base64-2", base64(b"..Xylophonbauer").into_bytes()),
        ("hexadecimal", hexadecimal(b"Xylophonbauer").into_bytes()),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert!(!readable(folder.path(), &[needle]).is_empty(), "{name} is not found");
        std::fs::remove_file(path).unwrap();
    }
}

fn message(subject: &str) -> Vec<u8> {
    let inner = base64("Hagebuttenbody in base64, Mondscheintarif".as_bytes());
    format!(
        "From: Quaestor-Zypressen <zwiebelkuchen-absender@papageientaucher.example>\r\n\
         To: geheimrat.empfaenger@papageientaucher.example\r\nSubject: {subject}\r\n\
         Message-ID: <Wolkenkuckucksheim.1@papageientaucher.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"boundary-Jaguarundi\"\r\n\r\n\
         --boundary-Jaguarundi\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n\
         Hagebuttenbody am Nachtigallenweg, Kryptonwerkstatt.\r\n{}\
         --boundary-Jaguarundi\r\nContent-Type: application/octet-stream; \
         name=\"Anhangname-Troglodyt.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{inner}\r\n\
         --boundary-Jaguarundi--\r\n",
        "Fjordpferdezucht ohne Kompression gibt es nicht.\r\n".repeat(40)
    )
    .into_bytes()
}

fn import(site: &Site, account: &str) {
    let maildir = site.folder.join("Maildir");
    for part in ["cur", "new", "tmp"] {
        std::fs::create_dir_all(maildir.join(part)).unwrap();
    }
    // So many that their summaries lie together in pages, and that they have a full-text index.
    for number in 0..600 {
        let path = maildir.join(format!("cur/{number}.a.b:2,S"));
        std::fs::write(path, message("Xylophonbauer")).unwrap();
    }
    site.pillarbox(&["import", "maildir", account, maildir.to_str().unwrap()]).well("import");
}

/// Deliveries to everybody, odd mailbox names, keywords, searches, a large message in chunks.
fn work(site: &Site, account: &str, alias: &str) {
    let mut lmtp = site.lmtp();
    let detail = format!("demo+Zaunkoenig-Detail@{DOMAIN}");
    let sender = "zwiebelkuchen-absender@papageientaucher.example";
    for to in [account, alias, &detail] {
        let replies = lmtp.deliver(sender, &[to], &message("Xylophonbauer")).unwrap();
        assert_eq!(replies[0].code, 250, "{replies:?}");
    }
    let mut large = message("Xylophonbauer");
    large.extend("Nachtigallenweg, Kryptonwerkstatt und so weiter.\r\n".repeat(60_000).as_bytes());
    let replies = lmtp.deliver(sender, &[account, USER], &large).unwrap();
    assert!(replies.iter().all(|reply| reply.code == 250), "{replies:?}");
    let document = pdf("Kolibrifeder-im-Dokument");
    let document = mail_with("See", ("application/pdf", "a.pdf"), &document);
    let replies = lmtp.deliver(sender, &[account, USER], &document).unwrap();
    assert!(replies.iter().all(|reply| reply.code == 250), "{replies:?}");
    let mut imap = site.imap();
    let entry = "/private/Eintrag-Kastanienallee \"Anmerkung-Leuchtturm\"";
    imap.ok(&format!("SETMETADATA INBOX ({entry})")).unwrap();
    imap.ok(&format!("SETACL INBOX {account} lr")).unwrap();
    for name in ["Bernsteinzimmer Akten", "Bernsteinzimmer Akten/Mondscheintarif"] {
        imap.ok(&format!("CREATE {}", quoted(name))).unwrap();
        imap.ok(&format!("SUBSCRIBE {}", quoted(name))).unwrap();
    }
    imap.select("INBOX").unwrap();
    imap.ok("UID STORE 1:* +FLAGS (Pfefferminzkeyword \\Flagged)").unwrap();
    imap.ok("UID COPY 1:* \"Bernsteinzimmer Akten\"").unwrap();
    imap.search("OR TEXT Suchbegriff-Obelisk KEYWORD Pfefferminzkeyword").unwrap();
    let appended = imap.append("INBOX", "(Pfefferminzkeyword)", &message("Suchbegriff-Obelisk"));
    assert_eq!(appended.unwrap().status, "OK");
    imap.ok("RENAME \"Bernsteinzimmer Akten\" \"Bernsteinzimmer Akten 2\"").unwrap();
    imap.select("INBOX").unwrap();
    imap.ok("UID STORE 1 +FLAGS (\\Deleted)").unwrap();
    imap.ok("EXPUNGE").unwrap();
}

fn assert_nothing_readable(site: &Site, needles: &[&str], when: &str) {
    let files = files_below(&site.data).unwrap();
    let bytes: u64 = files.iter().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum();
    assert!(bytes > 100_000, "{} files with {bytes} bytes: too little to judge", files.len());
    let found = readable(&site.data, needles);
    assert!(found.is_empty(), "readable {when}:\n{}", found.join("\n"));
    for file in files {
        let name = file.to_string_lossy().to_lowercase();
        let named = needles.iter().find(|needle| name.contains(&needle.to_lowercase()));
        assert_eq!(named, None, "a file is named after it: {name}");
    }
}

/// Every needle that is found, in which shape and file.
fn readable(folder: &std::path::Path, needles: &[&str]) -> Vec<String> {
    let mut patterns = Vec::new();
    for needle in needles {
        for (shape, bytes) in shapes(needle) {
            assert!(bytes.len() >= PIECE_BYTES, "{needle} in {shape} is too short");
            patterns.push((*needle, shape, bytes));
        }
    }
    // By their first two bytes, so that one pass over a file tries few patterns a place.
    let mut starts = vec![Vec::new(); 1 << 16];
    for (index, (_, _, bytes)) in patterns.iter().enumerate() {
        starts[usize::from(bytes[0]) << 8 | usize::from(bytes[1])].push(index);
    }
    let mut found = Vec::new();
    for file in files_below(folder).unwrap() {
        // A segment may be recycled and a table file removed while the server runs.
        let Ok(content) = std::fs::read(&file) else { continue };
        for (at, pair) in content.windows(2).enumerate() {
            for &index in &starts[usize::from(pair[0]) << 8 | usize::from(pair[1])] {
                let (needle, shape, bytes) = &patterns[index];
                if content[at..].starts_with(bytes) {
                    found.push(format!("{needle} in {shape} at {at} of {}", file.display()));
                }
            }
        }
    }
    found
}

/// What a needle may look like on a disk.
fn shapes(needle: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut shapes = Vec::new();
    let mut cases = vec![needle.to_owned(), needle.to_lowercase()];
    cases.dedup();
    for text in cases {
        let bytes = text.as_bytes();
        shapes.push(("plain letters", bytes.to_vec()));
        shapes.push(("UTF-16LE", text.encode_utf16().flat_map(u16::to_le_bytes).collect()));
        shapes.push(("UTF-16BE", text.encode_utf16().flat_map(u16::to_be_bytes).collect()));
        shapes.push(("hexadecimal", hexadecimal(bytes).into_bytes()));
        for alignment in 0..3 {
            let shifted = [&vec![0; alignment][..], bytes].concat();
            let whole = base64(&shifted);
            // Letters that also depend on neighbours are left out at both ends.
            let first = (alignment * 8).div_ceil(6);
            let last = shifted.len() * 8 / 6;
            shapes.push(("base64", whole.as_bytes()[first..last].to_vec()));
        }
    }
    shapes
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let mut word = 0;
        for index in 0..3 {
            word = word << 8 | u32::from(three.get(index).copied().unwrap_or(0));
        }
        for index in 0..4 {
            let letter = LETTERS[(word >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}
