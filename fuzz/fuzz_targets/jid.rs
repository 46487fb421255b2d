//! Any text as an address: never a panic; what is read can be written, and then stays the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wazap::wire::Jid;

fuzz_target!(|text: &str| {
    let Ok(jid) = text.parse::<Jid>() else { return };
    let _ = (format!("{jid:?}"), jid.is_user(), jid.bare().under(&jid));
    let written = jid.to_wire();
    let again: Jid = written.parse().expect("written but not read");
    assert_eq!((&again, again.to_wire()), (&jid, written));
});
