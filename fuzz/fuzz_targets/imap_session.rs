//! See `imap::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| imap::fuzzing::run("imap_session", bytes));
