//! What server, phone and companion say while a companion is linked with a passkey: never a panic, never an end of the
//! instance; the bytes are taken by every reader, and by an instance that waits for a passkey.
#![no_main]

#[path = "../../tests/support/pair.rs"]
mod pair;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use pair::{OWN, Pair};
use wazap::{
    account::Input,
    crypto::passkey::{Primary, Prologue},
    stanza::PasskeyNotice,
};

thread_local!(static PAIR: RefCell<Option<Pair>> = const { RefCell::new(None) });

/// A phone scanned, and a passkey is wanted.
fn demanded() -> Pair {
    let mut pair = Pair::new(3);
    pair.lab.want_passkey(OWN, true).expect("a phone of ours");
    pair.drive();
    pair.scan();
    pair
}

fuzz_target!(|data: &[u8]| {
    if let Ok(primary) = Primary::parse(data) {
        assert_eq!(Primary::parse(&primary.build()), Ok(primary));
    }
    drop(Prologue::parse(data));
    let notice = match std::str::from_utf8(data) {
        Ok(options) => PasskeyNotice::Wanted(Some(options.to_owned())),
        Err(_) => PasskeyNotice::Answered(data.to_vec()),
    };
    PAIR.with_borrow_mut(|slot| {
        let pair = slot.get_or_insert_with(demanded);
        pair.input(Input::Node(notice.build("h1", 1)));
        pair.drive();
        if pair.link().passkey.as_str() != "awaiting_assertion" {
            *slot = None;
        }
    });
});
