#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| forno_local::fuzzing::query(data));
