//! Any request of whoever has a token: an answer of the table, never a panic, never a fault of ours.
#![no_main]

#[path = "../../tests/api/harness.rs"]
#[allow(dead_code)]
mod harness;

use std::cell::RefCell;

use harness::Story;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use wazap::account::AskError;

const METHODS: [&str; 5] = ["GET", "POST", "PATCH", "PUT", "DELETE"];
const ROUTES: &str = include_str!("../../src/api.rs");

struct Setting {
    story: Story,
    runtime: Runtime,
    /// As the router's source has them, so that a new route is tried by itself.
    routes: Vec<&'static str>,
}

thread_local!(static SETTING: RefCell<Option<Setting>> = const { RefCell::new(None) });

fn setting() -> Setting {
    let quoted = ROUTES.split('"').skip(1).step_by(2);
    let routes = quoted.filter(|text| text.starts_with('/') && !text.contains("stream")).collect();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let story = runtime.block_on(async { Story::new() });
    // Which area is asked is up to the input: no one answer fits.
    story.instance.tells(Err(AskError::Unknown));
    Setting { story, runtime, routes }
}

fuzz_target!(|data: (u8, u8, String, String, String)| SETTING.with_borrow_mut(|slot| {
    let Setting { story, runtime, routes } = slot.get_or_insert_with(setting);
    let (method, route, place, query, body) = data;
    let method = METHODS[usize::from(method) % METHODS.len()];
    let route = routes[usize::from(route) % routes.len()];
    let encoded = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
    let mut path = String::new();
    for (n, part) in route.split(['{', '}']).enumerate() {
        if n % 2 == 0 { path += part } else { path += &encoded(&place) }
    }
    if !query.is_empty() {
        path = format!(
            "{path}?{}",
            query.chars().filter(|c| c.is_ascii_graphic() && *c != '#').collect::<String>()
        );
    }
    if path.parse::<axum::http::Uri>().is_err() || path.contains("wait") || body.contains("\"panic\"") {
        return;
    }
    let answer = runtime.block_on(story.call(method, &path, &body));
    story.instance.asked(std::mem::take);
    assert_ne!(answer.status.as_u16(), 500, "{method} {path} {body}");
}));
