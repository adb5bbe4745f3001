//! Runs `wsd::fuzzing::inflate` with whatever the engine finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsd::fuzzing::inflate(data));
