//! Pillarbox: the binary. Wiring only; mail is the engine's, protocols are their own crates'.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::as_conversions, reason = "tests count small things"))]

mod admin;
mod cli;
mod command;
mod config;
mod demo;
mod failure;
mod import;
mod listener;
mod logging;
mod progress;
mod secrets;
mod serve;
mod service;
mod store_access;
mod tls;

use std::process::ExitCode;

// glibc's allocator keeps what ten thousand sessions once used; jemalloc gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Whatever we create (sockets, key files, segments) is for our own user alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pillarbox: {}", failure.sentence);
            ExitCode::from(failure.exit.code())
        }
    }
}
