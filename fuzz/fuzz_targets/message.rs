//! See `engine::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(init: let_the_parser_catch(), |bytes: &[u8]| {
    engine::fuzzing::run("message", bytes);
});

/// The engine catches panics of mail-parser's charset decoders; libFuzzer's hook would end the
/// process before it can. A panic that nobody catches still ends it.
fn let_the_parser_catch() {
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(|location| location.file()).unwrap_or_default();
        if !at.contains("mail-parser") {
            eprintln!("{panic}");
        }
    }));
}
