//! Question: what does the full-text index cost to make, to keep and to ask? Dataset: `MESSAGES`
//! (20,000) of the corpus (`PILLARBOX_CORPUS`; generated mail without it), each with a line of its
//! own, in one account. Unit: milliseconds of CPU a message, megabytes of text a CPU second, bytes
//! of files a byte of text; microseconds of CPU a question.

#![allow(
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "figures for people; a bench may fail loudly"
)]

mod dataset;
mod measured;

use engine::IndexDrive;
use engine::message::Summary;
use engine::message::text::{SearchText, fold};
use engine::search::{Needle, Scope};

use crate::measured::{corpus, number_of, worked};

/// Bytes that can be sought.
fn text_bytes(message: &[u8]) -> usize {
    let text = SearchText::new(message, &Summary::parse(message).structure);
    let bodies: usize = text.body_texts().map(str::len).sum();
    let fields = text.own_fields().chain(text.part_fields());
    bodies + fields.map(|(name, value)| name.len() + value.len()).sum::<usize>()
}

fn ask(site: &dataset::Site) {
    let account = site.account();
    let needle = |text: &str, scope| Needle { text: fold(text), scope, reads_addresses: false };
    for (name, needle) in [
        ("rare word", needle("17x", Scope::Text)),
        ("common word", needle("the", Scope::Body)),
        ("inside a word", needle("ormatio", Scope::Body)),
        ("two words", needle("in the", Scope::Body)),
        ("subject", needle("re:", Scope::Header("subject".into()))),
    ] {
        let mut times: Vec<u64> = Vec::new();
        let mut found = (0, 0);
        for _ in 0..30 {
            let begun = worked();
            let answer = account.find_text(&needle).expect("the index answers");
            times.push((worked() - begun) / 1000);
            found = (answer.contains().len(), answer.to_ask().len());
        }
        let first = times[0];
        times.sort_unstable();
        println!("{name}: {found:?} sure and asked, first {first} µs, median {} µs", times[15]);
    }
}

fn main() {
    let site = dataset::Site::with(|options| options.index_drive = IndexDrive::Caller);
    let messages = corpus(number_of("MESSAGES", 20_000));
    site.append(&messages);
    let mail_bytes: usize = messages.iter().map(Vec::len).sum();
    let text_bytes: usize = messages.iter().map(|message| text_bytes(message)).sum();
    let count = messages.len();
    drop(messages);
    let (begun, at) = (worked(), std::time::Instant::now());
    while site.store.index_step() {}
    let (cpu, wall) = ((worked() - begun) as f64 / 1e9, at.elapsed());
    let (status, text) = (site.store.index_status(), text_bytes as f64 / 1e6);
    println!("{count} messages, {:.1} MB of mail, {text:.1} MB of text", mail_bytes as f64 / 1e6);
    println!(
        "{cpu:.2} s of CPU ({:.3} ms a message, {:.1} MB of text a second), {:.2} s of time",
        cpu * 1e3 / count as f64,
        text / cpu,
        wall.as_secs_f64()
    );
    println!(
        "{} splits, {} bytes: {:.3} of the text, {:.3} of the mail",
        status.figures.split_count,
        status.figures.file_bytes,
        status.figures.file_bytes as f64 / text_bytes as f64,
        status.figures.file_bytes as f64 / mail_bytes as f64
    );
    ask(&site);
    let site = site.reopen();
    let begun = worked();
    site.account().index_status().expect("it is looked at");
    println!("looking at it first after a start: {:.1} ms", (worked() - begun) as f64 / 1e6);
}
