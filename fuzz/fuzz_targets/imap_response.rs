//! See `pillarbox::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pillarbox::fuzzing::run("imap_response", bytes));
