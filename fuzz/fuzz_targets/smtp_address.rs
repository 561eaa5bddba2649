//! See `smtp_ingest::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| smtp_ingest::fuzzing::run("smtp_address", bytes));
