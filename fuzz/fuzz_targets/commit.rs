#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| runlake_fuzz::run(runlake_engine::fuzzing::commit, input));
