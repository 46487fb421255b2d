//! Any plaintext: never a panic; what is read can be written, and then stays the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wazap::wire::{Node, codec};

fuzz_target!(|data: &[u8]| {
    let Ok(node) = codec::decode(data) else { return };
    let _ = (format!("{node:?}"), node.to_log());
    let again = |node: &Node| {
        codec::decode(&codec::encode(node).expect("read but not written")).expect("written but not read")
    };
    // The first round may turn an odd spelling into the plain one.
    let plain = again(&node);
    assert_eq!(again(&plain), plain);
});
