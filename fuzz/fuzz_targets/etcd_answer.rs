//! See `replication::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| replication::fuzzing::run("etcd_answer", bytes));
