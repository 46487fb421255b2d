//! Settings, favourite chats, quick replies and muted statuses: app state in both directions.
#![allow(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

#[path = "support/pair.rs"]
mod pair;

use pair::{ALICE, ECHO, OWN, Pair};
use prost::Message as _;
use serde_json::{Value, json};
use wazap::{
    account::{AccountSetting, Command, Recipient, StateChange, settings_view},
    proto::{
        SyncActionValue,
        sync_action_value::{
            DisableLinkPreviewsAction, FavoritesAction, LocaleSetting, QuickReplyAction, TimeFormatAction,
            UnarchiveChatsSetting, UserStatusMuteAction, favorites_action::Favorite,
        },
    },
    sandbox::PhoneChange,
    store::quick_replies::QuickReply,
    wire::Jid,
};

fn talking(seed: u64) -> Pair {
    let mut pair = Pair::linked(seed);
    for who in [ALICE, ECHO] {
        pair.phone_sends(who, "hello");
    }
    pair.drive();
    pair
}

/// The phone's user changes a record.
fn phone(pair: &mut Pair, collection: &str, index: &[&str], value: SyncActionValue, remove: bool) {
    let change = PhoneChange::Raw {
        collection: collection.into(),
        index: index.iter().map(|part| (*part).to_owned()).collect(),
        value: SyncActionValue { timestamp: Some(1), ..value }.encode_to_vec(),
        version: 1,
        remove,
    };
    pair.lab.change(OWN, &change, pair.now).unwrap();
    pair.drive();
}

fn on_phone(pair: &Pair, index: &[&str]) -> Value {
    let all = pair.lab.app_state(OWN).unwrap();
    all.into_iter().find(|record| record.index == index).map(|record| record.value).unwrap_or_default()
}

fn settings(pair: &Pair) -> Value {
    Value::Object(pair.store(|tx| settings_view(tx)))
}

fn ask(pair: &mut Pair, change: StateChange) {
    let ticket = pair.ask(Command::Change(change));
    pair.drive();
    assert_eq!(pair.settled(ticket), Some(Ok(())));
}

fn locale(name: &str) -> SyncActionValue {
    let locale_setting = Some(LocaleSetting { locale: Some(name.to_owned()) });
    SyncActionValue { locale_setting, ..Default::default() }
}

#[test]
fn settings_are_known_told_and_changed() {
    let mut pair = talking(801);
    // What was there when the account was linked is no event.
    let at_first =
        json!({ "unarchive_chats": false, "link_previews": true, "time_24h": null, "locale": "en_US" });
    assert_eq!(settings(&pair), at_first);
    assert!(pair.events_of("account.updated").is_empty());
    let time_format_action = Some(TimeFormatAction { is_twenty_four_hour_format_enabled: Some(true) });
    let value = SyncActionValue { time_format_action, ..Default::default() };
    phone(&mut pair, "regular_low", &["time_format"], value, false);
    phone(&mut pair, "critical_block", &["setting_locale"], locale("pt_BR"), false);
    phone(&mut pair, "critical_block", &["setting_locale"], locale(&"x".repeat(33)), false);
    let unarchive_chats_setting = Some(UnarchiveChatsSetting { unarchive_chats: Some(true) });
    let value = SyncActionValue { unarchive_chats_setting, ..Default::default() };
    phone(&mut pair, "regular_low", &["setting_unarchiveChats"], value, false);
    let action = DisableLinkPreviewsAction { is_previews_disabled: Some(true) };
    let value = SyncActionValue { disable_link_previews_action: Some(action), ..Default::default() };
    phone(&mut pair, "regular", &["setting_disableLinkPreviews"], value.clone(), false);
    phone(&mut pair, "regular", &["setting_disableLinkPreviews"], value, false);
    let told = pair.events_of("account.updated");
    let told: Vec<&Value> = told.iter().map(|data| &data["settings"]).collect();
    assert_eq!(
        told,
        [
            &json!({ "time_24h": true }),
            &json!({ "locale": "pt_BR" }),
            &json!({ "unarchive_chats": true }),
            &json!({ "link_previews": false }),
        ]
    );
    ask(&mut pair, StateChange::Setting(AccountSetting::UnarchiveChats(false)));
    ask(&mut pair, StateChange::Setting(AccountSetting::LinkPreviews(true)));
    let now = json!({ "unarchive_chats": false, "link_previews": true, "time_24h": true, "locale": "pt_BR" });
    assert_eq!(settings(&pair), now);
    let kept = on_phone(&pair, &["setting_unarchiveChats"]);
    assert_eq!(kept["unarchiveChatsSetting"]["unarchiveChats"], false);
    let kept = on_phone(&pair, &["setting_disableLinkPreviews"]);
    assert_eq!(kept["disableLinkPreviewsAction"]["isPreviewsDisabled"], false);
    pair.assert_well_behaved();
}

#[test]
fn quick_replies_come_change_and_go_on_either_side() {
    let mut pair = talking(802);
    let value = |shortcut: &str, message: &str, deleted| SyncActionValue {
        quick_reply_action: Some(QuickReplyAction {
            shortcut: Some(shortcut.to_owned()),
            message: Some(message.to_owned()),
            keywords: vec!["price".into()],
            count: Some(4),
            deleted: Some(deleted),
        }),
        ..Default::default()
    };
    let index = ["quick_reply", "1700000000"];
    phone(&mut pair, "regular", &index, value("price", "It is 10.", false), false);
    phone(&mut pair, "regular", &index, value("price", "It is 10.", false), false);
    phone(&mut pair, "regular", &["quick_reply", &"9".repeat(65)], value("x", "y", false), false);
    let known = QuickReply {
        id: "1700000000".into(),
        shortcut: "price".into(),
        message: "It is 10.".into(),
        keywords: vec!["price".into()],
        used: 4,
    };
    assert_eq!(pair.store(|tx| tx.quick_replies().list()), std::slice::from_ref(&known));
    let told = pair.events_of("quick_reply.updated");
    assert_eq!(
        (told.len(), &told[0]["message"], &told[0]["deleted"]),
        (1, &json!("It is 10."), &json!(false))
    );

    let changed = QuickReply { message: "It is 12.".into(), ..known };
    ask(&mut pair, StateChange::QuickReply { reply: changed.clone(), deleted: false });
    assert_eq!(on_phone(&pair, &index)["quickReplyAction"]["message"], "It is 12.");
    assert_eq!(on_phone(&pair, &index)["quickReplyAction"]["count"], 4);
    assert_eq!(pair.store(|tx| tx.quick_replies().list()), std::slice::from_ref(&changed));
    ask(&mut pair, StateChange::QuickReply { reply: changed, deleted: true });
    assert_eq!(on_phone(&pair, &index)["quickReplyAction"]["deleted"], true);
    assert_eq!(pair.store(|tx| tx.quick_replies().count()), 0);
    assert_eq!(pair.events_of("quick_reply.updated").pop().unwrap()["deleted"], true);
    // Another way to delete.
    phone(&mut pair, "regular", &["quick_reply", "5"], value("a", "b", false), false);
    phone(&mut pair, "regular", &["quick_reply", "5"], value("a", "b", false), true);
    assert_eq!(pair.store(|tx| tx.quick_replies().count()), 0);
    // Ids are seconds, each once.
    let (first, second) = pair.store(|tx| {
        let now = wazap::clock::Millis(1_767_115_800_000);
        Ok((tx.quick_replies().take_id(now)?, tx.quick_replies().take_id(now)?))
    });
    assert_eq!((first.as_str(), second.as_str()), ("1767115800", "1767115801"));
    pair.assert_well_behaved();
}

#[test]
fn favourite_chats_are_one_list_for_all_devices() {
    let mut pair = talking(803);
    let is_favorite = |pair: &Pair, who: &'static str| {
        pair.store(move |tx| {
            let chat = tx.messages().find_chat(&Jid::pn(who))?.expect("they wrote");
            Ok(tx.chats().view(chat.id)?.expect("it is shown").favorite)
        })
    };
    let favorite = |who: &str, on| StateChange::Favorite { chat: Recipient::Number(who.to_owned()), on };
    let listed = |pair: &Pair| -> Vec<String> {
        let list = on_phone(pair, &["favorites"])["favoritesAction"]["favorites"].clone();
        list.as_array().into_iter().flatten().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    // Two at once: neither forgets the other.
    let tickets = [ALICE, ECHO].map(|who| pair.ask(Command::Change(favorite(who, true))));
    pair.drive();
    assert!(tickets.iter().all(|ticket| pair.settled(*ticket) == Some(Ok(()))));
    assert_eq!(listed(&pair), [Jid::pn(ALICE).to_wire(), Jid::pn(ECHO).to_wire()]);
    assert!(is_favorite(&pair, ALICE) && is_favorite(&pair, ECHO));
    assert_eq!(pair.events_of("chat.updated").last().unwrap()["favorite"], true);
    ask(&mut pair, favorite(ALICE, false));
    assert_eq!(listed(&pair), [Jid::pn(ECHO).to_wire()]);
    assert!(!is_favorite(&pair, ALICE) && is_favorite(&pair, ECHO));

    let list = |names: &[String]| SyncActionValue {
        favorites_action: Some(FavoritesAction {
            favorites: names.iter().map(|id| Favorite { id: Some(id.clone()) }).collect(),
        }),
        ..Default::default()
    };
    let alice = Jid::pn(ALICE).to_wire();
    phone(&mut pair, "regular_high", &["favorites"], list(&[alice.clone(), alice, "nobody".into()]), false);
    assert!(is_favorite(&pair, ALICE) && !is_favorite(&pair, ECHO));
    phone(&mut pair, "regular_high", &["favorites"], list(&[]), true);
    assert!(!is_favorite(&pair, ALICE));
    pair.assert_well_behaved();
}

#[test]
fn whose_statuses_are_not_shown_is_said_on_either_side() {
    let mut pair = talking(804);
    let muted = |pair: &Pair| {
        let contact = pair.store(|tx| tx.contacts().find(&Jid::pn(ALICE)));
        contact.is_some_and(|contact| contact.status_muted)
    };
    let index = ["userStatusMute".to_owned(), Jid::pn(ALICE).to_wire()];
    let index = [index[0].as_str(), index[1].as_str()];
    ask(&mut pair, StateChange::MuteStatus { who: Recipient::Number(ALICE.to_owned()), on: true });
    assert_eq!(on_phone(&pair, &index)["userStatusMuteAction"]["muted"], true);
    assert!(muted(&pair));
    let user_status_mute_action = Some(UserStatusMuteAction { muted: Some(false) });
    let value = SyncActionValue { user_status_mute_action, ..Default::default() };
    phone(&mut pair, "regular_high", &index, value, false);
    assert!(!muted(&pair));
    let told = pair.events_of("contact.updated");
    let told: Vec<&Value> = told.iter().map(|data| &data["status_muted"]).collect();
    assert_eq!(told, [true, false]);
    pair.assert_well_behaved();
}
