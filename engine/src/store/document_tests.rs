//! Texts of documents in the index: found at once, kept through restarts and merges, made once.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::*;
use crate::search::{Document, Extracted, Flaw};

/// A document of this kind is its own text, backwards; some are not as one would wish.
#[derive(Default)]
struct Backwards {
    calls: AtomicU64,
    is_away: AtomicBool,
    salt: &'static str,
}

impl Extractor for Backwards {
    fn takes(&self, media_type: &str, _name: &str) -> bool {
        media_type == "application/x-backwards"
    }

    fn settings(&self) -> String {
        format!("backwards{}", self.salt)
    }

    fn extract(&self, document: &Document<'_>, _until: Option<Instant>) -> Extracted {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let flawed = |flaw| Extracted { text: String::new(), flaw: Some((flaw, "so".into())) };
        if self.is_away.load(Ordering::Relaxed) {
            return flawed(Flaw::NotNow);
        }
        let bytes = document.bytes();
        match bytes.as_ref() {
            b"broken" => flawed(Flaw::Failed),
            bytes => {
                let text = bytes.iter().rev().map(|byte| char::from(*byte)).collect();
                Extracted { text, flaw: None }
            }
        }
    }

    fn stop(&self) {}
}

impl Site {
    fn reopen(&mut self, extractor: Option<Arc<Backwards>>) {
        if let Some(store) = self.store.take() {
            store.close();
        }
        let extractor = extractor.map(|one| one as Arc<dyn Extractor>);
        self.store = Some(open_with(self.folder.path(), &self.data(), 64 << 20, extractor));
    }

    fn append(&self, document: &str) {
        self.fill_with(ANNA, "INBOX", 0..1, |_| with_document(document));
    }

    /// Messages that the index names for a text in bodies, after those to be asked were asked.
    fn found(&self, text: &str) -> usize {
        let account = self.account(ANNA);
        let needle = Needle { text: fold(text), scope: Scope::Body, reads_addresses: false };
        let answer = account.find_text(&needle).unwrap();
        let mut texts = account.search_texts();
        let mut is_found = |row: &Row| match answer.verdict(row.blob) {
            Verdict::Contains => true,
            Verdict::Lacks => false,
            Verdict::Ask => {
                let structure = account.summary(row).unwrap().structure_tree();
                contains(&texts.of(row, &structure).unwrap(), &needle)
            }
        };
        rows(&account).iter().filter(|row| is_found(row)).count()
    }
}

fn with_document(document: &str) -> String {
    format!(
        "From: a@example.org\r\nContent-Type: multipart/mixed; boundary=q\r\n\r\n--q\r\n\r\n\
         See the enclosed.\r\n--q\r\nContent-Type: application/x-backwards; name=d\r\n\r\n\
         {document}\r\n--q--\r\n"
    )
}

/// `hidden--treasure`, and `!`: what stands in between has to be looked up in the text.
const TREASURE: &str = "!erusaert--neddih";

#[test]
fn a_document_is_found_before_and_after_it_is_indexed_and_merged() {
    let mut site = Site::new();
    let extractor = Arc::new(Backwards::default());
    let calls = || extractor.calls.load(Ordering::Relaxed);
    site.reopen(Some(Arc::clone(&extractor)));
    site.append(TREASURE);
    assert_eq!(site.found("treasure"), 1, "before anything is indexed");
    assert_eq!((site.found("erusaert"), calls()), (0, 1), "what was made is kept for a while");
    site.make();
    assert_eq!(site.files().len(), 1, "a document is worth an index at once");
    assert_eq!(calls(), 1, "not made again");
    let status = site.status(ANNA);
    assert_eq!((status.figures.document_count, status.figures.flawed_document_count), (1, 0));

    for round in 0..8 {
        site.append(&format!("{}dnuor", char::from(b'a' + round)));
        site.make();
        site.fill(ANNA, "INBOX", u64::from(round) * 3..u64::from(round) * 3 + 3);
        site.make();
    }
    assert!(site.files().len() < 6, "they were merged: {}", site.files().len());
    assert_eq!(calls(), 9);
    // Whoever is asked now is not there.
    site.reopen(None);
    for text in ["treasure", "hidden--treasure!", "den--tre", "roundh"] {
        assert_eq!(site.found(text), 1, "{text}");
    }
    assert_eq!(site.found("hidden treasure"), 0, "another separator");
    site.compare(ANNA);
    let status = site.status(ANNA);
    assert_eq!(status.figures.document_count, 9);
    assert_eq!(status.figures.otherwise_count, status.figures.indexed_count);
    assert_eq!(site.store().check(&mut |_| {}).unwrap().problems, []);
}

#[test]
fn a_document_that_fails_is_tried_once_and_counted() {
    let mut site = Site::new();
    let extractor = Arc::new(Backwards::default());
    site.reopen(Some(Arc::clone(&extractor)));
    site.append("broken");
    site.make();
    for _ in 0..2 {
        assert_eq!(site.found("enclosed"), 1, "the message itself is found");
        assert_eq!(extractor.calls.load(Ordering::Relaxed), 1);
        let figures = site.status(ANNA).figures;
        assert_eq!((figures.document_count, figures.flawed_document_count), (1, 1));
        site.reopen(Some(Arc::clone(&extractor)));
        site.make();
    }
}

#[test]
fn what_cannot_be_had_is_asked_until_it_can() {
    let mut site = Site::new();
    let extractor = Arc::new(Backwards::default());
    site.reopen(Some(Arc::clone(&extractor)));
    extractor.is_away.store(true, Ordering::Relaxed);
    site.append(TREASURE);
    site.fill(ANNA, "INBOX", 0..10);
    site.make();
    let status = site.status(ANNA);
    assert_eq!((status.figures.indexed_count, status.waiting_count), (10, 1));
    assert_eq!(site.found("treasure"), 0);
    extractor.is_away.store(false, Ordering::Relaxed);
    assert_eq!(site.found("treasure"), 1);
    site.reopen(Some(extractor));
    site.make();
    let status = site.status(ANNA);
    assert_eq!((status.figures.indexed_count, status.waiting_count), (11, 0));
}

#[test]
fn another_setting_is_told_and_a_rebuild_takes_it() {
    let mut site = Site::new();
    site.append(TREASURE);
    site.fill(ANNA, "INBOX", 0..10);
    site.make();
    assert_eq!((site.found("treasure"), site.status(ANNA).figures.otherwise_count), (0, 0));
    for salt in ["", "2"] {
        site.reopen(Some(Arc::new(Backwards { salt, ..Backwards::default() })));
        site.make();
        assert_eq!(site.status(ANNA).figures.otherwise_count, 11, "{salt:?}");
        site.store().inner.indexing.index.forget(site.account(ANNA).number());
        site.store().inner.committed.index_feed.want(site.account(ANNA).number());
        site.make();
        assert_eq!((site.found("treasure"), site.status(ANNA).figures.otherwise_count), (1, 0));
    }
}

/// An account with little mail has no index, and gets one for its documents.
#[test]
fn mail_from_before_is_looked_at_for_documents() {
    let mut site = Site::new();
    site.append(TREASURE);
    site.make();
    assert_eq!((site.files().len(), site.found("treasure")), (0, 0));
    site.reopen(Some(Arc::default()));
    assert_eq!(site.found("treasure"), 1);
    site.make();
    assert_eq!((site.files().len(), site.found("treasure")), (1, 1));
}

/// A file that is damaged is made anew with the documents in it.
#[test]
fn a_damaged_file_costs_time_and_no_document() {
    let mut site = Site::new();
    site.reopen(Some(Arc::default()));
    site.append(TREASURE);
    site.make();
    let file = site.files().remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    for byte in &mut bytes[200..] {
        *byte ^= 1;
    }
    site.store.take().unwrap().close();
    std::fs::write(&file, bytes).unwrap();
    site.reopen(Some(Arc::default()));
    assert_eq!(site.found("treasure"), 1);
    site.make();
    assert_eq!((site.files().len(), site.found("treasure")), (1, 1));
}
