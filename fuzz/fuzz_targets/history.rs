//! History files as a phone could make them up, compressed and not.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wazap::account::fuzz_history(data));
