//! Pillarbox: what the binary does. Wiring only; mail is the engine's, protocols are their own
//! crates'. A library for the sake of tests and fuzz targets, which link no binary; nobody else is
//! to depend on it.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

mod admin;
mod cli;
mod command;
mod config;
mod demo;
mod export;
mod extract;
mod failure;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod key_words;
mod listener;
mod logging;
mod mail_files;
mod pair;
mod progress;
mod secrets;
mod serve;
mod service;
mod store_access;
mod tls;

use std::process::ExitCode;

/// What other programs end with that write to a pipe which nobody reads (128 + SIGPIPE).
const NOBODY_READS: i32 = 141;

/// `pillarbox index status | head -1` is no mistake: printing to a pipe that is closed ends the
/// program, as it ends others, and is not told as a panic.
fn end_quietly_when_nobody_reads() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let what = panic.payload().downcast_ref::<String>();
        let is_closed = |what: &String| {
            what.starts_with("failed printing to stdout") && what.contains("Broken pipe")
        };
        if what.is_some_and(is_closed) {
            std::process::exit(NOBODY_READS);
        }
        tell(panic);
    }));
}

/// The whole program.
pub fn main() -> ExitCode {
    // Whatever we create (sockets, key files, segments) is for our own user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    end_quietly_when_nobody_reads();
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pillarbox: {}", failure.sentence);
            ExitCode::from(failure.exit.code())
        }
    }
}
