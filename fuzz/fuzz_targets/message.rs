//! Any bytes as the content of a message that a contact sends: it is acknowledged, told once, and shown; nothing fails.
#![no_main]

#[path = "../../tests/support/pair.rs"]
mod pair;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use pair::{ALICE, OWN, Pair};
use wazap::account::{Status, Viewer};

/// Messages in one database, so that a find can be told from the few before it.
const ROUND: usize = 100;

thread_local!(static PAIR: RefCell<Option<(Pair, usize)>> = const { RefCell::new(None) });

fuzz_target!(|data: &[u8]| PAIR.with_borrow_mut(|slot| {
    let (pair, sent) = slot.get_or_insert_with(|| (Pair::linked(1), 0));
    *sent += 1;
    let _ = wazap::stanza::Class::of(data);
    let id = pair.lab.forge(ALICE, OWN, data.to_vec(), pair.now).expect("Alice can send");
    pair.drive();
    assert_eq!((pair.status(), pair.unanswered()), (Status::Connected, 0));
    pair.store(move |tx| {
        if let Some(message) = tx.messages().find_anywhere(&id)? {
            Viewer::new(tx, "http://127.0.0.1:3000")?.message(&message)?;
        }
        Ok(())
    });
    if *sent == ROUND {
        pair.assert_well_behaved();
        *slot = None;
    }
}));
