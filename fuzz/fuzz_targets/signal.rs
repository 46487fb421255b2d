//! Signal messages, stored sessions and device identities as a stranger would write them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wazap::crypto::fuzz_signal(data));
