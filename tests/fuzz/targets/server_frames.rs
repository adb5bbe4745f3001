//! Runs `wsd::fuzzing::server_frames` with whatever the engine finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wsd::fuzzing::server_frames(data));
