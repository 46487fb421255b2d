//! What WhatsApp lets the account do, in `GET /account`.

use std::time::Duration;

use serde_json::{Value, json};
use wazap::{
    account::{ProfileAnswer, Told},
    store::standing::{NewChatCap, ReachoutLock, Standing, TemporaryBan},
};

use crate::harness::{START, Story, error};

async fn stands(story: &Story, standing: Standing) -> Value {
    story.store.write(move |tx| tx.standing().save(&standing)).await.unwrap();
    story.get("/account").await.json()["standing"].take()
}

#[tokio::test]
async fn the_standing_is_told_as_it_was_last_learnt() {
    let story = Story::new();
    let without = story.call_with("GET", "/account", &[], "").await;
    assert_eq!(without.error(), error(401, "UNAUTHENTICATED"));
    story.instance.tells(Ok(Told::Profile(ProfileAnswer::Done)));
    let body = story.get("/account").await.json();
    assert_eq!(body["standing"], json!({ "restricted": false, "reason": null, "until": null }));
    let until = START + Duration::from_secs(3600);
    let lock = Some(ReachoutLock { kind: "DEFAULT".into(), until });
    let shown = stands(&story, Standing { lock, ..Standing::default() }).await;
    assert_eq!(shown, json!({ "restricted": true, "reason": "reachout_timelock", "until": until.rfc3339() }));
    let warned =
        NewChatCap { status: "FIRST_WARNING".into(), total: Some(10), used: Some(7), until: Some(until) };
    let shown = stands(&story, Standing { cap: Some(warned), ..Standing::default() }).await;
    assert_eq!(shown, json!({ "restricted": false, "reason": null, "until": null, "new_chats_left": 3 }));
    let ban = Some(TemporaryBan { code: 101, until });
    let shown = stands(&story, Standing { ban, ..Standing::default() }).await;
    assert_eq!(shown["reason"], "temporarily_banned");
    for (reason, word) in [(403, "account_locked"), (406, "banned")] {
        let shown = stands(&story, Standing { shut: Some(reason), ..Standing::default() }).await;
        assert_eq!((&shown["reason"], &shown["until"]), (&json!(word), &Value::Null));
    }
}
