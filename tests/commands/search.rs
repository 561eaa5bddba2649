//! `pillarbox search`: what a mail program would find, on a running store and on a stopped one.

use crate::support::site::{DOMAIN, USER};

use super::site;

const MAILS: [(&str, &str); 3] = [
    ("From: Ann <ann@example.net>\nSubject: the first invoice\n", "Please pay by Friday."),
    ("From: bob@example.net\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\n", "An invoice? No."),
    ("From: Ann <ann@example.net>\nSubject: lunch\n", "Friday, at the usual place"),
];

#[test]
fn a_search_finds_what_a_mail_program_finds() {
    let Some(mut site) = site() else { return };
    for (header, body) in MAILS {
        let message = format!("{header}\n{body}\n");
        site.pillarbox_with_input(&["deliver", USER], message.as_bytes()).well("deliver");
    }
    let table: [(&[&str], &[&str], &str); 10] = [
        (&["--exact", "voice"], &["the first invoice", "Grüße", "2 found"], "a text in a word"),
        (&["voice"], &["nothing found"], "words are whole"),
        (&["invoices"], &["100  ", "An invoice? No.", "2 found"], "of the same stem"),
        (&["fryday", "pay"], &["Please pay by Friday.", "1 found"], "a typing error"),
        (
            &["--json", "friday place"],
            &["\"relevancy\":100", "{\"text\":\"Friday\",\"is_hit\":true}"],
            "for programs",
        ),
        (&["SUBJECT", "invoice"], &["the first invoice", "1 found"], "a key"),
        (&["FROM ann BODY friday"], &["lunch", "the first invoice", "2 found"], "two keys"),
        (&["SUBJECT grüsse"], &["bob@example.net", "1 found"], "an encoded word"),
        (&["--limit", "1", "friday"], &["2 found; --limit"], "more than is shown"),
        (&["nowhere"], &["nothing found"], "nothing"),
    ];
    for is_running in [false, true] {
        if is_running {
            site.start();
        }
        for (query, expected, reason) in table {
            let found = site.pillarbox(&[&["search", USER], query].concat());
            assert_eq!(found.code, Some(0), "{reason}: {}", found.output());
            for words in expected {
                assert!(found.output().contains(words), "{reason}: {}", found.output());
            }
        }
        let explained = site.pillarbox(&["search", USER, "--explain", "BODY friday"]);
        assert!(explained.output().contains("BODY \"friday\": "), "{}", explained.output());
        let explained = site.pillarbox(&["search", USER, "--explain", "friday"]);
        assert!(explained.output().contains("FUZZY TEXT friday: "), "{}", explained.output());
        let wrong = site.pillarbox(&["search", USER, "FORM ann"]);
        assert_eq!(wrong.code, Some(2), "{}", wrong.output());
        assert!(wrong.output().contains("not understood"), "{}", wrong.output());
        let nobody = site.pillarbox(&["search", &format!("nobody@{DOMAIN}"), "x"]);
        assert_eq!(nobody.code, Some(67), "{}", nobody.output());
    }
}
