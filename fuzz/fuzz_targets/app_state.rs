//! Patches and snapshots of app state as a server could make them up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wazap::crypto::app_state::fuzz_app_state(data));
