//! Trains the compression dictionaries in `engine/src/seal/dictionaries/`, and measures them.
//!
//! ```text
//! dictionary train DIR [MAIL_BYTES SUMMARY_BYTES]
//!                              writes mail.dict and summary.dict
//! dictionary mail COUNT SEED   prints so many generated messages, to see what is trained on
//! dictionary measure DIR...    compresses every file below, a message each: a table by size
//! ```
//!
//! The text comes from `grammar.txt` and `bodies.txt` beside this file, which were written for the
//! purpose, and from a seed: a dictionary in the binary holds no line of anybody's mail, because it
//! survives the shredding of every account. `measure` only compresses, and keeps nothing.

#![allow(missing_docs, reason = "a program")]

mod grammar;
mod measure;

use std::path::Path;

use engine::message::Summary;
use engine::message::generator::Generator;

/// Messages that are trained on.
const MESSAGES: usize = 12_000;
const SEED: u64 = 6;
/// Bytes of the two dictionaries; docs/benchmarks.md says how they were chosen.
const MAIL_BYTES: usize = 32 << 10;
const SUMMARY_BYTES: usize = 16 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["train", folder] => train(Path::new(folder), (MAIL_BYTES, SUMMARY_BYTES)),
        ["train", folder, mail, summary] => {
            let size = |text: &str| text.parse().expect("a number of bytes");
            train(Path::new(folder), (size(mail), size(summary)));
        }
        ["mail", count, seed] => {
            let seed = seed.parse().expect("a seed is a number");
            for message in messages(count.parse().expect("a count"), seed) {
                println!("{}", String::from_utf8_lossy(&message));
            }
        }
        ["measure", folders @ ..] if !folders.is_empty() => measure::run(folders),
        _ => {
            eprintln!("dictionary train DIR [BYTES BYTES] | mail COUNT SEED | measure DIR...");
            std::process::exit(2);
        }
    }
}

fn messages(count: usize, seed: u64) -> Vec<Vec<u8>> {
    let grammar =
        grammar::Grammar::read(&[include_str!("grammar.txt"), include_str!("bodies.txt")]);
    let mut random = Generator::new(seed);
    (0..count).map(|_| grammar.expand("message", &mut random).into_bytes()).collect()
}

fn train(folder: &Path, (mail_bytes, summary_bytes): (usize, usize)) {
    let messages = messages(MESSAGES, SEED);
    let summaries: Vec<Vec<u8>> =
        messages.iter().map(|message| Summary::parse(message).encode()).collect();
    let total: usize = messages.iter().map(Vec::len).sum();
    println!("{MESSAGES} messages, {total} bytes");
    for (name, samples, bytes_max) in
        [("mail.dict", &messages, mail_bytes), ("summary.dict", &summaries, summary_bytes)]
    {
        let mut dictionary = zstd::dict::from_samples(samples, bytes_max).expect("zstd trains");
        // zstd's number of the dictionary, which every frame would repeat: chunks have the hash.
        dictionary.get_mut(4..8).expect("a header").fill(0);
        let hash = blake3::hash(&dictionary);
        std::fs::write(folder.join(name), &dictionary).expect("a folder to write to");
        println!("{name}: {} bytes, BLAKE3 {}", dictionary.len(), hash.to_hex());
    }
}
