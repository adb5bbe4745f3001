//! Runs `wsd::fuzzing::configuration` with whatever the engine finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsd::fuzzing::configuration(data));
